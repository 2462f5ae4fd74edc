"""What the report page is made of: tables whose cells may be sorted, and figures with captions. Needs no matplotlib."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from toymill.report.numbers import interval_error, number, one_line, with_error, with_interval

Verdict = Literal["good", "bad", "open"]
"""How a number is marked: as it should be, not so, or not decided."""


def verdict_of(usable: bool | None) -> Verdict:
    """How a verdict is marked."""
    return "open" if usable is None else "good" if usable else "bad"


WIDTH = 90
"""Width of the drawing in a cell, in pixels; its height is 14."""


class Bar(NamedTuple):
    """A number with its error, drawn in a cell beside a line at what it should be.

    Attributes:
        x: where the number stands, in pixels; at an end where it lies beyond.
        low: where its error bar begins.
        high: where its error bar ends.
        beyond: whether it lies beyond an end.
    """

    x: float
    low: float
    high: float
    beyond: bool


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        text: what is written.
        order: what a column of numbers is sorted by; None for what is not defined, which stays last.
        bar: what is drawn beside the text.
        verdict: how it is marked.
        whole: the whole text, where what is written is shortened.
    """

    text: str
    order: float | None = None
    bar: Bar | None = None
    verdict: Verdict | None = None
    whole: str | None = None


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: its head.
        kind: what its cells are; tables are filtered by their names.
        note: what the head tells when it is pointed at.
    """

    title: str
    kind: Literal["name", "number", "words"] = "number"
    note: str = ""


class Table(NamedTuple):
    """A table.

    Attributes:
        key: its name in the page.
        title: its title.
        note: what it shows, in a sentence or two.
        columns: its columns.
        rows: its rows, a cell for each column.
        chosen: the values of the first column, of which one may be chosen; empty if there is nothing to choose.
        first: the value that is chosen at first; empty for all.
    """

    key: str
    title: str
    note: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    chosen: Sequence[str] = ()
    first: str = ""


class Picture(NamedTuple):
    """A figure.

    Attributes:
        name: name of its file, without the ending.
        title: its title.
        look: what to look for.
        found: what was found.
        source: the image as a URL that holds its content; None for one that is only linked.
        link: its file, relative to the page.
        wide: whether it takes the whole width.
    """

    name: str
    title: str
    look: str
    found: Sequence[str]
    source: str | None
    link: str
    wide: bool


def name_cell(text: str) -> Cell:
    """A name, on one line."""
    written = one_line(text, 80)
    return Cell(written, whole=None if written == text else one_line(text, 2000))


def words_cell(text: str, verdict: Verdict | None = None) -> Cell:
    """A sentence."""
    return Cell(one_line(text, 1000), verdict=verdict)


def number_cell(value: float | None, digits: int = 4) -> Cell:
    """A number without an error."""
    return Cell(number(value, digits), order=value)


def count_cell(count: int, *, bad: bool = False) -> Cell:
    """A number of toys; those that should not be are marked."""
    return Cell(f"{count:,}", order=float(count), verdict="bad" if bad and count else None)


def error_cell(value: float | None, error: float | None, bar: Bar | None = None) -> Cell:
    """A number with its error; alone where that is not known."""
    return Cell(number(value) if value is None else with_error(value, error), order=value, bar=bar)


def interval_cell(value: float | None, low: float | None, high: float | None) -> Cell:
    """A number with the error that its interval of 68.27 % stands for; the interval itself where it is lopsided."""
    error = interval_error(low, high)
    if value is None or error is None or low is None or high is None:
        return Cell("undefined" if value is None else number(value), order=value)
    if not 0.5 < (value - low + 1e-300) / (high - value + 1e-300) < 2:
        return Cell(with_interval(value, low, high), order=value)
    return Cell(with_error(value, error), order=value)


def bars(pairs: Iterable[tuple[float | None, float | None]], ideal: float) -> list[Bar | None]:
    """A drawing for each number and its error, all on one scale that has the ideal in its middle.

    The scale holds nine of ten of them; those beyond it stand at its ends. None is drawn where a number is not defined.

    Example:
        >>> one, far, none = bars([(1.0, 0.5), (-3.0, 0.5), (None, None)], 0.0)
        >>> one.x > 45 > far.x, none
        (True, None)
    """
    every = list(pairs)
    reach = sorted(abs(value - ideal) + (error or 0.0) for value, error in every if value is not None)
    span = 1.1 * reach[min(int(0.9 * len(reach)), len(reach) - 1)] if reach else 0.0
    span = span or 1.0
    found: list[Bar | None] = []
    for value, error in every:
        if value is None:
            found.append(None)
            continue
        place, half = _place(value - ideal, span), (error or 0.0) / span * (WIDTH / 2 - 4)
        x = min(max(place, 4.0), WIDTH - 4.0)
        found.append(Bar(x, max(place - half, 1.0), min(place + half, WIDTH - 1.0), x != place))
    return found


def _place(value: float, span: float) -> float:
    return WIDTH / 2 + value / span * (WIDTH / 2 - 4)
