"""The command ``toymill``, a thin layer: each command has a module, which is imported when the command is used."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from toymill.errors import ToymillError, one_line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command ``toymill``; a user's mistake is told on stderr, without a traceback.

    Args:
        arguments: what follows ``toymill`` on the command line; None takes the process's own.

    Returns:
        The exit code: 0; 1 for input that cannot be used; 2 for arguments that cannot; 130 for an interruption; of
        ``toymill run`` that of Snakemake.
    """
    import typer.main

    from toymill.cli.app import app

    command = typer.main.get_command(app)
    try:
        code = command.main(args=arguments, prog_name="toymill", standalone_mode=False)
    except ToymillError as error:
        return _failed(str(error), 1)
    except OSError as error:
        return _failed(one_line(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except Exception as error:
        if not hasattr(error, "format_message"):  # those of the CLI library have it
            raise
        said = one_line(error.format_message())
        return 2 if not said else _failed(f"{said.rstrip('.')}. See: toymill {_command_of(error)}--help", 2)
    return code if isinstance(code, int) else 0


def _failed(message: str, code: int) -> int:
    sys.stderr.write(f"toymill: {message}\n")
    return code


def _command_of(error: Exception) -> str:
    """The command that arguments were given to, for a message."""
    context = getattr(error, "ctx", None)
    name = context.info_name if context is not None and context.parent is not None else ""
    return f"{name} " if name else ""
