"""Records of confidence intervals by the Neyman construction: the tested values, the ends, and the intervals."""

from __future__ import annotations

from typing import Literal

from toymill.inference.acceptance import Acceptance, Decision
from toymill.inference.berger_boos import LargestPValue
from toymill.inference.coverage import Coverage
from toymill.inference.p_values import PValue
from toymill.record import LevelText, NumberOrNone, Record


class End(Record):
    """One end of an interval."""

    value: NumberOrNone
    """The end: where p crosses 1 - level, or the parameter's bound; null where it is not among the tested values."""
    error: NumberOrNone
    """Its Monte Carlo error; null at the parameter's bound."""
    variance: list[float]
    """What the toys at each tested value add to the square of the error; empty where there is no error."""
    low: NumberOrNone
    """Lower end of its Monte Carlo interval; null where that lies outside of the tested values."""
    high: NumberOrNone
    """Upper end of its Monte Carlo interval, likewise."""
    undecided_low: NumberOrNone
    """The same at three standard deviations of every p, whatever failed toys count as: it holds undecided values."""
    undecided_high: NumberOrNone
    """Upper end of that wider interval, likewise."""
    interpolation: NumberOrNone
    """How far the curvature of p may move it, or half the distance of the tested values next to it where p jumps."""
    total_error: NumberOrNone = None
    """Both errors in quadrature, which every page shows; null at the parameter's bound."""
    if_failed_low: NumberOrNone
    """The end if failed toys counted such that it is lowest; null where that lies outside of the tested values."""
    if_failed_high: NumberOrNone
    """The end if failed toys counted such that it is highest, likewise."""
    at_bound: bool
    """Whether it is the parameter's bound, which is accepted."""
    outside: Literal["below", "above", "failed"] | None
    """Where it lies if not among the tested values; ``failed`` where none is accepted, or fewer than two are known."""
    crossings: int
    """How often p crosses 1 - level on the way from the rejected values to the accepted ones; 0 at a bound."""
    sentence: str
    """The end in words, with its Monte Carlo error and that of the interpolation in quadrature."""


class Region(Record):
    """A stretch of accepted values."""

    low: NumberOrNone
    """Its lower end; null where that is not among the tested values."""
    high: NumberOrNone
    """Its upper end, likewise."""


class ConfidenceInterval(Record):
    """The interval of one level."""

    level: float
    """The confidence level."""
    low: End
    """The lower end, of the lowest accepted values."""
    high: End
    """The upper end, of the highest accepted values."""
    regions: list[Region]
    """The stretches of accepted values, ascending; more than one where rejected values lie between accepted ones."""
    undecided: list[float]
    """Tested values that are neither accepted nor rejected by three standard deviations."""
    sentence: str
    """The interval in words, with the errors of its ends, of the toys and of the interpolation."""


class TestedValue(Record):
    """A tested value of the parameter."""

    __test__ = False  # pytest would collect it where it is imported

    poi: float
    """The value."""
    toys: int
    """Toys thrown there at the fit to the observed data, failed ones too."""
    test: Acceptance
    """Its test by the toys at the fit to the observed data."""
    over_set: list[PValue]
    """The p-values of toys at points of a confidence set of nuisance parameters; empty without one."""
    largest: LargestPValue | None
    """The largest of all these p-values, by which it is accepted or rejected; null without a confidence set."""
    coverage: dict[LevelText, Coverage]
    """How often the interval from toys holds the value where it is true, by halves of the toys; empty with too few, and
    with a confidence set."""
    asymptotic_coverage: dict[LevelText, Coverage]
    """How often the asymptotic interval holds it; empty without certified toys."""

    @property
    def deciding(self) -> PValue | None:
        """The p-value by which it is accepted or rejected, without beta."""
        return [self.test.p_value, *self.over_set][self.largest.at] if self.largest else self.test.p_value

    def decision(self, level: float) -> Decision:
        """Whether it is accepted at a level that was tested."""
        return self.largest.decision(level) if self.largest else self.test.decision[repr(level)]


class NeymanIntervals(Record):
    """The confidence intervals from toys."""

    points: list[TestedValue]
    """The tested values, ascending: the belt of critical values, and what the data say."""
    intervals: dict[LevelText, ConfidenceInterval]
    """The interval of each level."""
