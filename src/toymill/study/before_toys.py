"""What a study knows before its toys: the answers of the asymptotic formulae, by which it was designed. Needs no JAX."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from toymill.inference.asymptotic_limits import AsymptoticLimit
from toymill.results.design import Design, read_design
from toymill.study.layout import latest_design

ALONE = "By the asymptotic formulae alone"
"""How such answers are marked."""


def design_in(folder: Path) -> Design | None:
    """The latest design in a results directory; None before there is one.

    Raises:
        ToymillError: a design that cannot be used.
    """
    path = latest_design(folder)
    return read_design(path) if path else None


def known_in_a_line(folder: Path) -> str:
    """The asymptotic answers in a line, until there is a summary; empty where none is known.

    Raises:
        ToymillError: a design that cannot be used.
    """
    design = None if (folder / "summary.json").exists() else design_in(folder)
    words = list(_in_words(design)) if design else []
    return f"{ALONE}: {', '.join(words)}." if words else ""


def _in_words(design: Design) -> Iterator[str]:
    found = design.limit.asymptotic if design.limit else None
    if found:
        if found.observed:
            yield f"observed limit {limit_in_words(found.observed)}"
        yield f"median expected limit {limit_in_words(found.expected['0'])}"
    for level, item in design.interval.asymptotic.items() if design.interval else ():
        yield f"interval at {level} from {end_in_words(item.low)} to {end_in_words(item.high)}"


def limit_in_words(found: AsymptoticLimit) -> str:
    """A limit, or where it lies."""
    return f"{found.value:.4g}" if found.value is not None else f"{found.outside or 'beyond'} the bounds"


def end_in_words(value: float | None) -> str:
    """An end of an interval."""
    return "an end that is not found" if value is None else f"{value:.4g}"
