"""How far the t_μ of toys is from its asymptotic distribution: histogram, quantiles, and a verdict."""

from __future__ import annotations

import math

import numpy as np
import scipy

from toymill.inference.asymptotics import CDF, asymptotic_quantile, expected_counts
from toymill.inference.counting import Distribution, fraction, quantile
from toymill.record import NumberOrNone, Record

LEVELS = (0.683, 0.90, 0.95)
"""Levels at which the distribution of t_μ is compared with the asymptotic one."""

_ZERO = 2.0**-20  # t_μ below this, an end of a tally's cell, is 0 to the fits' tolerance
_THREE_SIGMA = 0.0027
_T_BINS = 50


class Histogram(Record):
    """The histogram of t_μ."""

    edges: list[float]
    """Edges of the bins, ascending."""
    counts: list[int]
    """Certified toys in each bin."""
    underflow: int
    """Certified toys below the first edge."""
    overflow: int
    """Certified toys above the last edge."""
    asymptotic: list[float] | None
    """Toys that the asymptotic distribution expects in each bin."""


class Quantile(Record):
    """A quantile of t_μ, and how often toys exceed the asymptotic quantile of the same level."""

    level: float
    """The level."""
    value: NumberOrNone
    """The quantile of the toys."""
    low: NumberOrNone
    """Lower end of its Monte Carlo interval, from order statistics."""
    high: NumberOrNone
    """Upper end of its Monte Carlo interval."""
    error: NumberOrNone
    """Half the width of that interval."""
    binning: NumberOrNone
    """The most that a histogram's cells may move it; 0 where every t_μ is known."""
    asymptotic: float | None
    """The asymptotic quantile."""
    difference: NumberOrNone
    """The quantile of the toys less the asymptotic one."""
    beyond: NumberOrNone
    """Fraction of the toys beyond the asymptotic quantile."""
    beyond_low: float | None
    """Lower end of its Monte Carlo interval."""
    beyond_high: float | None
    """Upper end of its Monte Carlo interval."""
    beyond_asymptotic: float
    """What that fraction should be: 1 less the level."""


class Verdict(Record):
    """Whether the asymptotic distribution may be trusted."""

    agrees: bool | None = None
    """Whether it agrees with the toys at 95 %; null where they cannot tell."""
    sentence: str
    """The verdict in words."""
    ks_distance: float | None = None
    """Kolmogorov-Smirnov distance of the toys with t_μ > 0."""
    ks_p_value: float | None = None
    """Its p-value; null for a discrete distribution."""
    at_zero: float | None = None
    """Fraction of the toys with t_μ = 0."""
    at_zero_asymptotic: float | None = None
    """The fraction that the asymptotic distribution expects there."""


def histogram(t: Distribution, noncentrality: float, cdf: CDF | None) -> Histogram:
    """t_μ in 50 bins about Λ, up to (√Λ + 4.2)², beside the asymptotic expectation where there is one."""
    centre = math.sqrt(noncentrality)
    top = float(np.ceil((centre + 4.2) ** 2))
    low = float(np.floor(max(0.0, centre - 4.2) ** 2))
    edges = np.linspace(low, top, _T_BINS + 1)
    underflow, *counts, overflow = t.histogram(edges).tolist()
    return Histogram(
        edges=edges.tolist(),
        counts=counts,
        underflow=underflow,
        overflow=overflow,
        asymptotic=None if cdf is None else expected_counts(t.size, edges, cdf),
    )


def compare_quantile(t: Distribution, level: float, cdf: CDF | None) -> Quantile:
    """A quantile of t_μ beside the asymptotic one; without an asymptotic distribution, alone."""
    found = quantile(t, level)
    threshold = None if cdf is None else asymptotic_quantile(level, cdf)
    beyond = None if threshold is None else fraction(t.above(threshold), t.size)
    return Quantile(
        level=level,
        value=found.value,
        low=found.low,
        high=found.high,
        error=(found.high - found.low) / 2,
        binning=t.width(level) if t.size else None,
        asymptotic=threshold,
        difference=None if threshold is None else found.value - threshold,
        beyond=None if beyond is None else beyond.value,
        beyond_low=None if beyond is None else beyond.low,
        beyond_high=None if beyond is None else beyond.high,
        beyond_asymptotic=1 - level,
    )


def zeros(t: Distribution) -> int:
    """How many values of t_μ are 0, to the fits' tolerance: toys whose μ̂ is the tested value or at its bound."""
    return t.size - t.above(_ZERO)


def verdict(t: Distribution, cdf: CDF | None, why_none: str | None = None) -> Verdict:
    """Whether the asymptotic distribution may be trusted: one sentence, and the distance from it.

    The formula is called off if the fraction of toys beyond its 95 % point is neither within half a
    per cent of 5 % nor compatible with it (exact binomial test, p ≥ 0.0027: three sigma). The
    Kolmogorov-Smirnov distance is of the toys with t > 0; those at 0, whose μ̂ is at its bound, are a
    fraction of their own. A discrete distribution has no such p-value.

    Args:
        t: t_μ of the certified toys.
        cdf: its asymptotic distribution; None where there is none.
        why_none: why there is none, for the sentence.
    """
    if cdf is None:
        reason = why_none or "the expected information or fit is not usable"
        return Verdict(sentence=f"No asymptotic distribution: {reason}.")
    if not t.size:
        return Verdict(sentence="No certified toys to compare.")
    threshold = asymptotic_quantile(0.95, cdf)
    passed = t.above(threshold)
    beyond = fraction(passed, t.size)
    error = (beyond.high - beyond.low) / 2
    p_value = scipy.stats.binomtest(passed, t.size, 0.05).pvalue
    agrees = bool(abs(beyond.value - 0.05) <= 0.005 or p_value >= _THREE_SIGMA)
    resolved = error <= 0.0025
    words = "may be trusted" if agrees and resolved else "cannot be judged yet" if agrees else "is off"
    advice = (
        "" if resolved or not agrees else f" About {math.ceil(0.05 * 0.95 / 0.0025**2)} toys resolve half a per cent."
    )
    distance, p_distance = _kolmogorov_smirnov(t.beyond(_ZERO), cdf)
    return Verdict(
        agrees=agrees if resolved or not agrees else None,
        sentence=(
            f"At 95 % the asymptotic formula {words}: {100 * beyond.value:.2f} ± {100 * error:.2f} % of toys lie "
            f"beyond t = {threshold:.3f}, where it expects 5 %.{advice}"
        ),
        ks_distance=distance,
        ks_p_value=p_distance,
        at_zero=zeros(t) / t.size,
        at_zero_asymptotic=float(cdf(0.0)),
    )


def _kolmogorov_smirnov(positive: Distribution, cdf: CDF) -> tuple[float | None, float | None]:
    """The distance of toys with t > 0 from the asymptotic distribution there, and its p-value; None without."""
    if not positive.size:
        return None, None
    at_zero = float(cdf(_ZERO))
    distance = positive.distance(lambda x: (cdf(x) - at_zero) / (1 - at_zero))
    p_value = float(scipy.stats.kstwo.sf(distance, positive.size)) if positive.continuous else None
    return distance, p_value
