"""``toymill watch``: bars of the toys that are done, while a study runs."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from toymill.cli.console import console, duration
from toymill.cli.studies import home_of, results_folder
from toymill.study.before_toys import known_in_a_line
from toymill.study.progress import Bar, Progress, Watcher

STALE = 3600.0
"""Seconds without a change after which a run on another machine, which may have ended, is doubted."""

MOST = 25
"""Bars that are shown; of more ensembles those that are not done come first."""


def show_progress(results: Path, *, once: bool, every: float) -> int:
    """Show how far a study is, until it ends.

    Args:
        results: its results directory.
        once: whether to print one state and end.
        every: seconds between two looks.

    Returns:
        0 if the study is finished, or if one state was asked for; 1 if its run ended before.

    Raises:
        ToymillError: no results directory, or one whose files cannot be used.
    """
    folder = results_folder(results).absolute()
    watcher = Watcher(folder)
    out = console()
    with chdir(home_of(folder)):
        state = watcher.look()
        if once or state.run is None:
            out.print(drawn(state, known_in_a_line(folder)))
            return 0 if once or state.finished else 1
        with Live(drawn(state, known_in_a_line(folder)), console=out, auto_refresh=False) as live:
            while state.run is not None:
                time.sleep(every)
                state = watcher.look()
                live.update(drawn(state, known_in_a_line(folder)), refresh=True)
    return 0 if state.finished else 1


def drawn(state: Progress, known: str = "") -> RenderableType:
    """A state as it is shown, with what is known before the toys are done."""
    grid = Table.grid(padding=(0, 2))
    for bar in shown(state):
        grid.add_row(*_row(bar))
    if len(state.bars) > 1:
        grid.add_row(*_row(Bar("all toys", state.toys, state.done, state.failed)))
    before = [] if state.finished or not known else [known]
    return Group(grid, *(Text(line) for line in (*before, *lines(state))))


def shown(state: Progress) -> list[Bar]:
    """The bars that are shown: all, or those that are not done first."""
    if len(state.bars) <= MOST:
        return state.bars
    return sorted(state.bars, key=lambda bar: bar.done >= bar.toys)[:MOST]


def lines(state: Progress) -> Iterator[str]:
    """What else there is to say of a state."""
    if len(state.bars) > MOST:
        yield f"{len(state.bars) - MOST} more truth points"
    if state.waits and not state.done:
        yield f"{state.study}: {state.waits}"
    words = [f"{state.rate:,.3g} toys/s"] if state.rate is not None else []
    if state.left is not None and state.done < state.toys:
        words.append(f"about {duration(state.left)} left for the toys{_after(state.follows)}")
    if state.failed:
        words.append(f"{state.failed} toys failed")
    if state.audits:
        words.append(f"{state.audits} audit{'s' * (state.audits > 1)} done")
    words += [f"{name} is there" for name in state.stages if name != "plots"]
    if words:
        yield f"{state.study}: {', '.join(words)}"
    if state.toys and state.done == state.toys and state.follows:
        yield f"{state.study}: still to be made: {', '.join(state.follows)}"
    yield _standing(state)


def _after(follows: list[str]) -> str:
    return f" alone ({', '.join(follows)} follow)" if follows else ""


def _standing(state: Progress) -> str:
    """Whether a study is finished, or a run is at work on it, and how old that news is."""
    age = max(0.0, time.time() - state.changed)
    last = f"last change {duration(age)} ago" if state.changed else "nothing is written yet"
    if state.finished:
        return f"{state.study} is finished."
    if state.run is not None:
        if age > STALE and state.run.host != socket.gethostname():
            return (
                f"{state.study}: {last}: nothing seems to run. If process {state.run.pid} on {state.run.host} has ended, "
                "remove .lock in this folder, and run it again."
            )
        return f"process {state.run.pid} on {state.run.host} is at work on it; {last}"
    if "report.html" in state.stages and state.done == state.toys:
        return f"{state.study} is refused, or was interrupted at its end ({last}): see report.html, or run it again."
    return f"{state.study} is not finished, and no run is at work on it ({last}): run it again."


def _row(bar: Bar) -> tuple[RenderableType, ...]:
    share = f"{100 * bar.done / bar.toys:.0f} %" if bar.toys else ""
    failed = f"{bar.failed} failed" if bar.failed else ""
    whole = Text(f"{bar.done:,}/{bar.toys:,}", justify="right")
    bars = ProgressBar(total=max(bar.toys, 1), completed=bar.done, width=40)
    return Text(bar.name), bars, whole, Text(share, justify="right"), Text(failed, style="red")
