"""The ends of profile intervals over many toys: where they lie, how long intervals are, and whether they hold the truth.

Needs no JAX.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy

from toymill.fitting.end_status import EndStatus
from toymill.fitting.status import CERTIFIED_STATUSES
from toymill.inference.counting import Distribution, moments, quantile
from toymill.inference.coverage import Coverage, coverage
from toymill.record import LevelText, NumberOrNone, Record

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int8

_CLOSE = 1e-5
"""Toys whose t at the truth is this close to the level are told to neither side: both numbers come from fits."""


class Ends(NamedTuple):
    """The profile intervals of one parameter, of n toys at L levels, and its t at the truth.

    Attributes:
        low: lower ends, (n, L); the bound where it is inside the interval, NaN where no end was found.
        high: upper ends, (n, L).
        low_status: how the search for each lower end ended, an ``EndStatus``, (n, L).
        high_status: the same of the upper ends, (n, L).
        status: how the free fit ended, a ``Status``, (n,).
        t: t at the truth, of fits that are made apart from the search, (n,); NaN where one of them is not certified, or
            there is no truth.
    """

    low: Float[np.ndarray, "toy level"]
    high: Float[np.ndarray, "toy level"]
    low_status: Int8[np.ndarray, "toy level"]
    high_status: Int8[np.ndarray, "toy level"]
    status: Int8[np.ndarray, " toy"]
    t: Float[np.ndarray, " toy"]


def lacks_end(low: Int8[np.ndarray, "toy level"], high: Int8[np.ndarray, "toy level"]) -> Bool[np.ndarray, " toy"]:
    """True for toys of which an end was not found, (n,), by how the searches for lower and upper ends ended, (n, L)."""
    missing: np.ndarray = np.any((low == EndStatus.NOT_FOUND) | (high == EndStatus.NOT_FOUND), axis=1)
    return missing


class Typical(Record):
    """Mean and median of a length in units of the parameter, over the toys of which it is known."""

    mean: NumberOrNone
    """The mean."""
    mean_error: NumberOrNone
    """Its Monte Carlo error."""
    median: NumberOrNone
    """The median."""
    median_low: NumberOrNone
    """Lower end of its Monte Carlo interval, from order statistics."""
    median_high: NumberOrNone
    """Upper end of its Monte Carlo interval."""


class IntervalEnd(Typical):
    """One end of the intervals: where it lies, over the toys of which it is found or at the parameter's bound."""

    found: int
    """Toys of which it is found: t equals the quantile there."""
    at_bound: int
    """Toys whose t is below the quantile at the parameter's bound, which is the end."""
    not_found: int
    """Toys of which it was not found, those with a free fit that is not certified among them."""


class IntervalLength(Typical):
    """The upper end less the lower one."""

    toys: int
    """Toys of which both ends are known."""


class ProfileInterval(Record):
    """The profile intervals of one parameter at one confidence level."""

    level: float
    """The confidence level."""
    t: float
    """The χ² quantile of the level, which t equals at an end."""
    coverage: Coverage | None
    """How often the truth lies between the ends; null for a parameter without a truth."""
    compared: int
    """Toys of which both ends and t at the truth are known."""
    differing: int
    """Those in which t disagrees with the ends, as where it has several minima: an interval is about the lowest."""
    low: IntervalEnd
    """The lower ends."""
    high: IntervalEnd
    """The upper ends."""
    length: IntervalLength
    """The lengths of the intervals."""


class ProfileIntervals(Record):
    """The profile likelihood intervals of one parameter, of every toy."""

    truth: float | None
    """Its true value; null for a parameter without a truth."""
    certified: int
    """Toys with a certified free fit; the others have no interval."""
    levels: dict[LevelText, ProfileInterval]
    """The intervals, by confidence level."""


def thresholds(levels: Sequence[float]) -> list[float]:
    """The χ²₁ quantiles of confidence levels: what t equals at the ends of an interval.

    Example:
        >>> [round(t, 4) for t in thresholds([0.6827, 0.95])]
        [1.0, 3.8415]
    """
    found: list[float] = scipy.stats.chi2.ppf(levels, 1).tolist()
    return found


def profile_intervals(ends: Ends, levels: Sequence[float], truth: float | None) -> ProfileIntervals:
    """What the profile intervals of all toys are like: every toy is counted.

    Coverage is counted over toys with a certified free fit; one without both ends does not cover. Means and medians are
    over the ends that are known.

    Args:
        ends: the intervals.
        levels: their confidence levels.
        truth: the true value of the parameter; None if it has none.

    Example:
        >>> found, bound, lost = 1, 2, 3
        >>> three = Ends(
        ...     low=np.array([[1.0], [0.0], [np.nan]]),
        ...     high=np.array([[3.0], [1.5], [4.0]]),
        ...     low_status=np.array([[found], [bound], [lost]]),
        ...     high_status=np.array([[found], [found], [found]]),
        ...     status=np.array([1, 1, 1]),
        ...     t=np.array([0.1, 5.0, 0.2]),
        ... )
        >>> about = profile_intervals(three, [0.95], truth=2.0).levels["0.95"]
        >>> about.coverage.without_interval, about.compared, about.differing, about.length.mean
        (1, 2, 0, 1.75)
    """
    certified = np.isin(ends.status, CERTIFIED_STATUSES)
    ok = certified[:, None] & (ends.low_status != EndStatus.NOT_FOUND) & (ends.high_status != EndStatus.NOT_FOUND)
    quantiles = np.asarray(thresholds(levels))
    compared = differing = np.zeros_like(ok)
    covering: Mapping[str, Coverage] = {}
    if truth is not None:
        with np.errstate(invalid="ignore"):
            inside = ok & (ends.low <= truth) & (truth <= ends.high)
            above = ends.t[:, None] - quantiles
        compared = ok & np.isfinite(above)
        differing = compared & (inside == (above > 0)) & (np.abs(above) > _CLOSE)
        covering = coverage(
            levels,
            inside.sum(axis=0).tolist(),
            certified=int(certified.sum()),
            failed=int((~certified).sum()),
            without=(certified[:, None] & ~ok).sum(axis=0).tolist(),
        )
    return ProfileIntervals(
        truth=truth,
        certified=int(certified.sum()),
        levels={
            repr(float(level)): ProfileInterval(
                level=level,
                t=float(quantiles[k]),
                coverage=covering.get(repr(float(level))),
                compared=int(compared[:, k].sum()),
                differing=int(differing[:, k].sum()),
                low=_end(ends.low[:, k], ends.low_status[:, k]),
                high=_end(ends.high[:, k], ends.high_status[:, k]),
                length=IntervalLength(**_typical((ends.high - ends.low)[ok[:, k], k]), toys=int(ok[:, k].sum())),
            )
            for k, level in enumerate(levels)
        },
    )


def _end(values: Float[np.ndarray, " toy"], status: Int8[np.ndarray, " toy"]) -> IntervalEnd:
    """One end of the intervals of one level."""
    found, at_bound, not_found = (int(np.sum(status == item)) for item in EndStatus)
    typical = _typical(values[status != EndStatus.NOT_FOUND])
    return IntervalEnd(**typical, found=found, at_bound=at_bound, not_found=not_found)


def _typical(values: Float[np.ndarray, " toy"]) -> dict[str, float]:
    """Mean and median with their Monte Carlo errors."""
    about, middle = moments(values), quantile(Distribution.of(values), 0.5)
    return {
        "mean": about.mean,
        "mean_error": about.mean_error,
        "median": middle.value,
        "median_low": middle.low,
        "median_high": middle.high,
    }
