"""What is told of a study in the terminal when its run ends. Needs no JAX."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from toymill.errors import ToymillError
from toymill.results.summary import Summary, read_summary
from toymill.study.progress import Watcher, is_newest
from toymill.study.remarks import remarks_on

MOST = 12
"""Sentences of the answers that are told."""


def ending(folder: Path) -> Iterator[str]:
    """Of a finished study: its headline, what is to be looked at, and where the report is.

    Raises:
        ToymillError: a summary or an audit that cannot be used.
    """
    summary = read_summary(folder / "summary.json")
    head = summary.headline
    answers = [f"- {sentence}" for sentence in head.answers]
    if isinstance(summary, Summary):
        if summary.ensembles:
            told = f"{summary.headline.certified:,} certified, {summary.headline.failed:,} failed"
            yield f"{head.toys:,} toys, {told}"
        if not answers:
            verdicts = summary.headline.verdicts
            answers = [f"- {item.ensemble}, {summary.poi} = {item.poi:g}: {item.sentence}" for item in verdicts]
    yield from answers[:MOST]
    if len(answers) > MOST:
        yield f"{len(answers) - MOST} more: toymill show {folder}"
    for line in remarks_on(folder):
        yield f"Look at: {line}"
    yield from report_of(folder)


def report_of(folder: Path) -> Iterator[str]:
    """Where the report is, if it is there."""
    if (folder / "report.html").exists():
        yield f"Report: {folder / 'report.html'}"


def up_to_date(folder: Path) -> Iterator[str]:
    """Of a study of which nothing is to be done: the same; nothing if it is not finished."""
    if is_newest(folder / "provenance.json"):
        yield "Nothing to be done: the answers are up to date."
        yield from ending(folder)


def interruption(folder: Path) -> str:
    """Of a run that was asked to stop: what is kept, and how to go on."""
    try:
        state = Watcher(folder).look()
    except ToymillError:
        state = None
    toys = f"{state.done:,} of {state.toys:,} toys" if state and state.toys else "every file that is whole"
    return f"Stopped, as asked. Kept in {folder}: {toys}. To go on, run the same command again."
