"""The Python blocks of the manual run as written, in order, and what a mistake is told is what the manual quotes."""

import re

import pytest

# ```python, or ```python raises=Error for a mistake, with a ```text block right after it that quotes the message.
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```$|"
    r"^```python raises=(?P<error>\w+)\n(?P<mistake>.*?)^```\n\n```text\n(?P<message>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@pytest.mark.parametrize("name", ["jax.md", "python-models.md"])
def test_the_blocks_of_a_page_run(root, tmp_path, name):
    text = (root / "docs" / name).read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python") > 0
    names = {"__name__": "page"}
    for number, block in enumerate(blocks):
        path = tmp_path / str(number) / "model.py"  # a file, so that messages can show lines of it
        path.parent.mkdir()
        path.write_text(block["code"] or block["mistake"], encoding="utf-8")
        code = compile(path.read_text(encoding="utf-8"), str(path), "exec", dont_inherit=True)
        if block["code"]:
            exec(code, names)
            continue
        with pytest.raises(Exception, match=re.escape(" ".join(block["message"].split()))) as told:
            exec(code, names)
        assert told.type.__name__ == block["error"]
