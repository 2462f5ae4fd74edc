"""Whether a tested value is accepted: the critical value of t and the p-value of the data, counted over its own toys.

The ordering is by the likelihood ratio (Feldman and Cousins, Phys. Rev. D 57 (1998) 3873, physics/9711021): t_μ, twice the
logarithm of the best likelihood over that at μ. "Best" is over the values that the parameter may have, so that t_μ of fits
which respect a bound μ ≥ 0 is their ordering, and t̃_μ is that of fits without the bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy

from toymill.errors import ToymillError
from toymill.inference.asymptotics import critical_value
from toymill.inference.counting import ONE_SIGMA, fraction
from toymill.inference.p_values import PValue, tail
from toymill.record import LevelText, NumberOrNone, Record

if TYPE_CHECKING:
    from jaxtyping import Float

THREE_SIGMA = 0.9973002039367398
"""Confidence level of the interval by which a value is accepted or rejected."""

Decision = Literal["accepted", "rejected", "undecided"]
"""Accepted or rejected at a level, by three Monte Carlo standard deviations at least, or undecided."""

_ROUNDING = 1e-9  # of a rank


class CriticalValue(Record):
    """The value of t that toys exceed with probability 1 - level at most."""

    value: NumberOrNone
    """The critical value; null without certified toys."""
    low: NumberOrNone
    """Lower end of its Monte Carlo interval, of order statistics at 68.27 %."""
    high: NumberOrNone
    """Upper end of it; null where too few toys lie beyond to tell."""
    asymptotic: float
    """The asymptotic one: the quantile of χ² of as many degrees of freedom as parameters are tested; less near a bound."""


class Acceptance(Record):
    """The test of one value, or of one point of several parameters, by the toys thrown there."""

    t: NumberOrNone
    """t of the observed data; null where their fit is not certified."""
    p_value: PValue | None
    """P(t ≥ t of the observed data); null where that is not known."""
    ties: NumberOrNone
    """Fraction of the certified toys whose t is that of the data within the tolerance: large in a model of few counts."""
    critical: dict[LevelText, CriticalValue]
    """The critical value of t at each level."""
    decision: dict[LevelText, Decision]
    """Whether it is accepted at each level: undecided where p may be 1 - level within three standard deviations."""


def acceptance(
    toys: Float[np.ndarray, " toy"],
    observed: float,
    levels: Sequence[float],
    *,
    parameters: int = 1,
    tolerance: float = 0.0,
    distance: float = math.inf,
) -> Acceptance:
    """Test one value: it is accepted where p = P(t ≥ t_obs) > 1 - level, which is where t_obs ≤ t_c.

    t_c is the smallest t that a fraction ``level`` of the toys does not exceed. In a model of few counts the accepted data
    so are the fewest, in the order of t, that have the probability ``level`` at least.

    Args:
        toys: t of the toys thrown at the value, (n,); NaN for toys that are not certified.
        observed: t of the observed data there; NaN if their fit is not certified.
        levels: confidence levels.
        parameters: how many parameters are tested.
        tolerance: values of t that differ by less are ties; see ``p_values.tie_tolerance``.
        distance: of a single parameter, how many standard deviations the value lies above a bound of its estimate.

    Raises:
        ToymillError: a level outside of 0 to 1.

    Example:
        A count with the mean 0.5, of which 0 is observed: t is 2 (0.5 - n + n ln(n/0.5)).

        >>> n = np.random.default_rng(1).poisson(0.5, 100_000)
        >>> t = 2 * (0.5 - n + scipy.special.xlogy(n, n / 0.5))
        >>> found = acceptance(t, 1.0, [0.9], tolerance=1e-9)
        >>> found.decision, round(found.critical["0.9"].value, 3)
        ({'0.9': 'accepted'}, 1.0)
    """
    for level in levels:
        if not 0 < level < 1:
            msg = f"A level is {level}; expected numbers between 0 and 1."
            raise ToymillError(msg)
    toys = np.asarray(toys, dtype=np.float64)
    ordered = np.sort(toys[~np.isnan(toys)])
    p_value = None if math.isnan(observed) else tail(toys, float(observed), tolerance)
    return Acceptance(
        t=observed,
        p_value=p_value,
        ties=float(np.mean(np.abs(ordered - observed) <= tolerance)) if len(ordered) and p_value else None,
        critical={
            repr(float(level)): _critical(ordered, level, _asymptotic(level, parameters, distance)) for level in levels
        },
        decision={repr(float(level)): decide(p_value, level) for level in levels},
    )


def decide(p_value: PValue | None, level: float) -> Decision:
    """Whether a value of which the data have this p-value is accepted."""
    low, high = three_sigma(p_value)
    if low > 1 - level:
        return "accepted"
    return "rejected" if high <= 1 - level else "undecided"


def three_sigma(p_value: PValue | None, several: int = 1) -> tuple[float, float]:
    """The Clopper-Pearson interval of a p-value at three standard deviations, whatever failed toys count as.

    Args:
        p_value: the p-value.
        several: of how many it is one, of which none may lie outside.
    """
    if p_value is None:
        return 0.0, 1.0
    level = 1 - (1 - THREE_SIGMA) / several
    everything = p_value.toys + p_value.failed
    low = fraction(p_value.beyond, everything, level).low
    return low, fraction(p_value.beyond + p_value.failed, everything, level).high


def _asymptotic(level: float, parameters: int, distance: float) -> float:
    """The asymptotic critical value."""
    return critical_value(level, distance) if parameters == 1 else float(scipy.stats.chi2.ppf(level, parameters))


def _critical(ordered: Float[np.ndarray, " toy"], level: float, asymptotic: float) -> CriticalValue:
    """The order statistic, with the distribution-free interval (David and Nagaraja, Order Statistics, 7.1)."""
    size = len(ordered)
    if not size:
        return CriticalValue(value=None, low=None, high=None, asymptotic=asymptotic)
    outside = (1 - ONE_SIGMA) / 2
    low, high = scipy.stats.binom.ppf([outside, 1 - outside], size, level).astype(int)
    return CriticalValue(
        value=float(ordered[max(math.ceil(level * size - _ROUNDING), 1) - 1]),
        low=float(ordered[low - 1]) if low else 0.0,
        high=float(ordered[high]) if high < size else None,
        asymptotic=asymptotic,
    )
