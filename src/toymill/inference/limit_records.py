"""What is told of upper limits from toys."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from toymill.inference.coverage import Coverage
from toymill.inference.p_values import CLs
from toymill.inference.samples import PointWeights
from toymill.record import NumberOrNone, Record, SigmaText

SIGMAS = (-2, -1, 0, 1, 2)
"""The expected band is of the levels Φ(-2), Φ(-1), ½, Φ(1), Φ(2), as pyhf has it."""


class ExpectedCLs(Record):
    """CLs of background-only data, at one quantile."""

    value: NumberOrNone
    """The CLs; null without certified toys, and where no toy with signal lies beyond that one."""
    low: NumberOrNone
    """Lower end of its Monte Carlo interval; null where fewer than ten toys lie on one side of the quantile."""
    high: NumberOrNone
    """Upper end of its Monte Carlo interval, likewise."""
    if_failed_low: NumberOrNone
    """The quantile if the failed background-only toys all had a smaller CLs."""
    if_failed_high: NumberOrNone
    """The quantile if they all had a larger one."""


class LimitVariance(Record):
    """The Monte Carlo variance of a limit by ensemble: what falls as one over the toys of each."""

    signal: list[float]
    """By the toys thrown at each tested value."""
    background: float
    """By the background-only toys."""
    datasets: float
    """By the toys taken as data, where these are not the background-only ones."""


class Limit(Record):
    """An upper limit."""

    value: NumberOrNone
    """The limit; null where it lies outside of the tested values."""
    error: NumberOrNone
    """Its Monte Carlo error; null where fewer than ten toys lie on one side of an expected limit."""
    low: NumberOrNone
    """Lower end of its Monte Carlo interval; null where that lies outside of the tested values."""
    high: NumberOrNone
    """Upper end of its Monte Carlo interval, likewise."""
    interpolation: NumberOrNone
    """How far the curvature between tested values may move it; null where there is no third value to tell."""
    total_error: NumberOrNone = None
    """Both errors in quadrature, which every page shows; null where the former is."""
    if_failed_low: NumberOrNone
    """The limit if failed toys counted such that it is lowest; null where that lies outside of the tested values."""
    if_failed_high: NumberOrNone
    """The limit if failed toys counted such that it is highest, likewise."""
    outside: Literal["below", "above", "failed"] | None
    """Where it lies if not among the tested values; ``failed`` where fits or toys that would tell are missing."""
    crossings: int
    """How often CLs falls below 1 - level; more than once where toys are too few for such close values."""
    sentence: str
    """The limit in words."""
    variance: LimitVariance | None = None
    """The square of its error by ensemble; null where it has none."""


class LimitPoint(Record):
    """A tested value."""

    poi: float
    """The tested value of the parameter of interest."""
    signal_toys: int
    """Certified toys thrown there."""
    signal_failed: int
    """Toys thrown there that are not certified."""
    background_toys: int
    """Certified background-only toys whose statistic is known there."""
    background_failed: int
    """Background-only toys whose statistic is not known there."""
    observed: CLs | None
    """CLs of the observed data, counted over the toys of their own truth points; null without data, or where their fit is not certified."""
    coverage: Coverage | None
    """How often the limit of toys thrown there is not below it, which is their coverage; null without certified toys."""
    weighted: PointWeights | None
    """The weights of the toys there, and CLs by them; null without densities."""
    expected: dict[SigmaText, ExpectedCLs] = Field(default_factory=dict)
    """Quantiles of CLs, or of CL_{s+b}, of background-only toys, at Φ(-2) to Φ(2)."""


class UpperLimit(Record):
    """The observed and the expected upper limits from toys."""

    level: float
    """The confidence level."""
    method: Literal["CLs", "CLsb"]
    """What falls to 1 - level at the limit: CLs, or CL_{s+b} alone."""
    points: list[LimitPoint]
    """The tested values, ascending."""
    why_unweighted: str | None
    """Why each toy counts for its own truth point alone; null where toys are weighted."""
    observed: Limit | None
    """The limit from the observed data; null without them."""
    expected: dict[SigmaText, Limit]
    """Quantiles of the limits of background-only toys, at Φ(-2) to Φ(2)."""
