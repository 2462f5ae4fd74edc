"""What an interval wants of its toys for the precision that is asked for; they are added by ``rounds``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from toymill.inference.neyman_records import ConfidenceInterval, End, NeymanIntervals
from toymill.results.answers import Precision
from toymill.results.design import Design
from toymill.study.rounds import SURER, Wanted, precision, toys_of

_SIGMAS = 3.0  # times the error that is asked for: farther from an end, values are to be decided


class _Told(NamedTuple):
    """An end of an interval, its level's key and side, and its distance from the best fit."""

    key: str
    side: Literal["low", "high"]
    end: End
    distance: float

    @property
    def error(self) -> float | None:
        """Its error relative to that distance; None where it is not known."""
        return self.end.error / self.distance if self.end.error is not None and self.distance else None

    @property
    def wanted(self) -> bool:
        """Whether it has an error, or would with more toys: not so of a bound that is surely accepted."""
        return not self.end.at_bound or self.end.undecided_low != self.end.undecided_high


def interval_wants(found: NeymanIntervals, ensembles: dict[str, float], design: Design, asked: float) -> Wanted:
    """What an interval wants of its toys for an error of each end, relative to its distance from the best fit.

    The variance of an end is that of the p-values next to it. A tested value that is not decided by three standard
    deviations doubles its toys, unless it lies within three times the error that is asked for of an end: such values need
    not be decided.

    Args:
        found: the intervals from the toys until now.
        ensembles: the ensembles at the tested values, each with its value; several of one value share its variance, so
            that they have equally many toys.
        design: the design of the round before.
        asked: the relative error that is asked for.
    """
    tested = [item.poi for item in found.points]
    places = [tested.index(value) for value in ensembles.values()]
    ends = list(_ends(found, design))
    exact = [item for item in ends if item.end.variance and item.distance]
    undecided = {value for key, item in found.intervals.items() for value in _unsettled(key, item, ends, asked)}
    return Wanted(
        ensembles=ensembles,
        errors={f"{item.key} {item.side}": item.error for item in ends if item.wanted},
        variances=[[item.end.variance[k] / places.count(k) for k in places] for item in exact],
        targets=[(SURER * asked * item.distance) ** 2 for item in exact],
        doubled=[name for name, value in ensembles.items() if value in undecided],
    )


def interval_precision(found: NeymanIntervals, ensembles: dict[str, float], design: Design, asked: float) -> Precision:
    """What the errors of the ends are in the end, beside what was asked for."""
    assert design.interval is not None
    sides = {"low": "lower", "high": "upper"}
    ends = list(_ends(found, design))
    errors = {f"{sides[item.side]} end at {100 * float(item.key):.4g} %": item.error for item in ends if item.wanted}
    for key, interval in found.intervals.items():
        for value in _unsettled(key, interval, ends, asked):
            errors[f"whether {value:.4g} is accepted at {100 * float(key):.4g} %"] = None
    return precision(asked, errors, toys_of(design, ensembles), design.interval.rounds)


def _ends(found: NeymanIntervals, design: Design) -> Iterator[_Told]:
    """Every end of the intervals."""
    assert design.interval is not None
    for key, interval in found.intervals.items():
        best = design.interval.asymptotic[key].best
        sides: tuple[tuple[Literal["low", "high"], End], ...] = (("low", interval.low), ("high", interval.high))
        for side, end in sides:
            yield _Told(key, side, end, 0.0 if end.value is None else abs(end.value - best))


def _unsettled(key: str, interval: ConfidenceInterval, ends: list[_Told], asked: float) -> list[float]:
    """Undecided values of a level that lie farther from its ends than these are to be known; a bound lies within none."""
    near = [
        (item.end.value, _SIGMAS * asked * item.distance)
        for item in ends
        if item.key == key and item.end.value is not None and not item.end.at_bound
    ]
    return [value for value in interval.undecided if not any(abs(value - end) <= far for end, far in near)]
