"""The command ``toymill`` in this process, for the tests of it."""

import pytest

from toymill.cli import main


@pytest.fixture
def toy_mill(capsys):
    """Runs a command: ``toy_mill(*words)`` returns its exit code, stdout and stderr."""

    def call(*words):
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return call


def failed(result, code=1):
    """The one line that a command says of a mistake."""
    assert result[0] == code
    assert result[2].startswith("toymill: ")
    assert result[2].count("\n") == 1
    return result[2]
