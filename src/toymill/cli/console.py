"""Printing: tables and lines, as wide as the terminal, or as they are where the output is a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDE = 200
"""Columns where the output is no terminal."""


def console() -> Console:
    """Where a command prints to: the present stdout."""
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, soft_wrap=not sys.stdout.isatty())


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, left: int = 1) -> Table:
    """A table of texts, which are not read for markup.

    Args:
        title: what stands above it.
        columns: the heads of its columns.
        rows: its rows.
        left: how many columns, from the first, are aligned to the left; the others are numbers.
    """
    made = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        made.add_column(Text(column), justify="left" if number < left else "right", overflow="fold")
    for row in rows:
        made.add_row(*(Text(str(cell)) for cell in row))
    return made


@contextmanager
def at_work() -> Iterator[Callable[[str], None]]:
    """Gives a function that says what is done now: a line on a terminal's stderr, which goes when all is done."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return

    def say(words: str) -> None:
        sys.stderr.write(f"\r\x1b[2K{words} …" if words else "\r\x1b[2K")
        sys.stderr.flush()

    try:
        yield say
    finally:
        say("")


def warn(out: Console, lines: Iterable[str]) -> int:
    """Print warnings, a line each; returns how many."""
    every = list(lines)
    for line in every:
        out.print(f"Warning: {line}", style="yellow", markup=False)
    return len(every)


def duration(seconds: float) -> str:
    """A time in words, with two digits.

    Example:
        >>> duration(0.2), duration(75), duration(7200)
        ('1 s', '1.2 min', '2.0 h')
    """
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.2g} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def amount(size: float) -> str:
    """Bytes in words.

    Example:
        >>> amount(512), amount(1.5e6)
        ('512 B', '1.5 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def cores_here() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
