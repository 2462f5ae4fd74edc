"""``toymill manual``: the pages of the documentation that came with the package, as text."""

from __future__ import annotations

from pathlib import Path

from toymill.cli.console import console, table
from toymill.cli.studies import packed_workflow
from toymill.errors import ToymillError, nearest

KEYS = "keys"
"""The page with all keys of a study's configuration."""

_POINTER = "This page of the site shows"
"""What a page says that is there for the web site alone."""


def show_manual(page: str | None) -> None:
    """Print a page, or which pages there are.

    Raises:
        ToymillError: no such page, a package without its workflow.
    """
    found = pages()
    if page is None:
        rows = [(name, text.partition("\n")[0].removeprefix("# ")) for name, text in found.items()]
        console().print(table("toymill manual PAGE", ("page", "about"), rows, left=2))
        return
    name = page.removeprefix("docs/").removesuffix(".md")
    if name not in found:
        msg = f"The manual has no page {page!r}. {nearest(name, found)}"
        raise ToymillError(msg)
    console().print(found[name], markup=False, soft_wrap=True)


def pages() -> dict[str, str]:
    """The texts of the manual, by the names of their pages.

    Raises:
        ToymillError: a package without its workflow.
    """
    folder = packed_workflow()
    files = {KEYS: folder / "config/README.md", **{path.stem: path for path in sorted(folder.glob("docs/*.md"))}}
    texts = {name: _text(path) for name, path in files.items()}
    return {name: text for name, text in texts.items() if _POINTER not in text and name != "index"}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
