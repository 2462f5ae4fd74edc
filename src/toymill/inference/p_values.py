"""p-values and CLs, counted over toys: p = P(q ≥ q_obs), with ties, failed toys, and Monte Carlo intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy

from toymill.fitting.results import EDM_TOLERANCE
from toymill.inference.counting import CLOPPER_PEARSON, ONE_SIGMA, fraction
from toymill.record import NumberOrNone, Record

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import ArrayLike

MELDED = "Clopper-Pearson, melded, 68.27 %"
"""The interval of a ratio of two counted fractions, as files name it."""

_ROUNDING = 1e-12  # of an nll that is a sum of many terms, relative
_GRID = (np.arange(200) + 0.5) / 200  # probabilities at which the denominator of a ratio is taken


class PValue(Record):
    """A p-value P(q ≥ q_obs) counted over toys of one hypothesis."""

    value: NumberOrNone
    """Fraction of the certified toys with q ≥ q_obs; null without certified toys."""
    low: float
    """Lower end of its Monte Carlo interval."""
    high: float
    """Upper end of its Monte Carlo interval."""
    interval: str = CLOPPER_PEARSON
    """What kind of Monte Carlo interval that is."""
    bound: bool
    """Whether no toy lies beyond: the value is then 0, and the upper end of the interval is a bound."""
    toys: int
    """Certified toys."""
    beyond: int
    """Certified toys with q ≥ q_obs."""
    failed: int
    """Toys that are not certified."""
    if_failed_below: NumberOrNone
    """The fraction of all toys, if every failed toy lies below q_obs."""
    if_failed_beyond: NumberOrNone
    """The fraction of all toys, if every failed toy lies beyond it."""
    significance: NumberOrNone
    """Z = Φ⁻¹(1 - p); null where p is 0 or 1."""
    significance_low: NumberOrNone
    """Z of the upper end of the interval of p."""
    significance_high: NumberOrNone
    """Z of the lower end of the interval of p; null where that is 0."""


class CLs(Record):
    """CLs = CL_{s+b}/CL_b, counted over toys."""

    value: NumberOrNone
    """CLs; null where no background-only toy lies beyond."""
    error: NumberOrNone
    """Its Monte Carlo error; null where CL_{s+b} is 0 or 1, of which the interval tells more."""
    low: float
    """Lower end of its Monte Carlo interval."""
    high: NumberOrNone
    """Upper end of its Monte Carlo interval; null where no background-only toy lies beyond."""
    interval: str = MELDED
    """What kind of Monte Carlo interval that is."""
    bound: bool
    """Whether no signal toy lies beyond: the value is then 0, and the upper end of the interval is a bound."""
    clsb: PValue
    """CL_{s+b} = P(q ≥ q_obs) of toys with signal."""
    clb: PValue
    """CL_b = P(q ≥ q_obs) of the same statistic, of background-only toys."""
    if_failed_low: NumberOrNone
    """CLs if the failed toys with signal all lie below q_obs, and those without all beyond."""
    if_failed_high: NumberOrNone
    """CLs if the failed toys with signal all lie beyond q_obs, and those without all below."""


def tie_tolerance(nll: ArrayLike = 0.0, edm: float = EDM_TOLERANCE) -> float:
    """How far two values of q that are the same may differ, since fits end at a distance from their minima.

    q is twice the difference of two nlls, each above its minimum by the EDM at most, and rounded. Two such q differ
    by 4 (EDM + 10⁻¹² |nll|) at most. Values of q that differ by less are ties; in a model of few counts ties carry
    much of the probability.

    Args:
        nll: values of the nll, any shape, of which the largest counts.
        edm: tolerance of the fits' estimated distance to the minimum.

    Example:
        >>> f"{tie_tolerance(1e6):.2g}"
        '4e-06'
    """
    return float(4 * (edm + _ROUNDING * np.max(np.abs(np.asarray(nll)), initial=0.0)))


def tail(statistic: Float[np.ndarray, " toy"], observed: float, tolerance: float = 0.0) -> PValue:
    """The p-value P(q ≥ q_obs), ties included (CCGV, arXiv:1007.1727, eq. 5), with its Clopper-Pearson interval.

    Args:
        statistic: q of the toys of a hypothesis, (n,); NaN for toys that are not certified.
        observed: q_obs.
        tolerance: toys with q ≥ q_obs - tolerance count as beyond; see ``tie_tolerance``.

    Example:
        >>> found = tail(np.array([0.0, 1.0, 4.0, np.nan]), 4.0)
        >>> round(found.value, 4), found.if_failed_below, found.if_failed_beyond
        (0.3333, 0.25, 0.5)
    """
    failed = int(np.count_nonzero(np.isnan(statistic)))
    return counted(int(np.count_nonzero(statistic >= observed - tolerance)), len(statistic) - failed, failed)


def counted(beyond: int, toys: int, failed: int) -> PValue:
    """The p-value of which ``beyond`` of ``toys`` certified toys lie beyond, besides ``failed`` others."""
    found = fraction(beyond, toys)
    z, z_low, z_high = scipy.stats.norm.isf([found.value, found.high, found.low]).tolist()
    everything = toys + failed
    return PValue(
        value=found.value,
        low=found.low,
        high=found.high,
        bound=beyond == 0,
        toys=toys,
        beyond=beyond,
        failed=failed,
        if_failed_below=beyond / everything if everything else None,
        if_failed_beyond=(beyond + failed) / everything if everything else None,
        significance=z,
        significance_low=z_low,
        significance_high=z_high,
    )


def cls(
    signal: Float[np.ndarray, " toy"],
    background: Float[np.ndarray, " toy"],
    observed: float,
    tolerance: float = 0.0,
) -> CLs:
    """CLs = CL_{s+b}/CL_b with both tails P(q ≥ q_obs) of the same statistic (Read, J. Phys. G 28 (2002) 2693).

    The samples are independent: σ²(CLs) = (σ²_{s+b} + CLs² σ²_b)/CL_b². The interval holds for small counts too: its
    ends are quantiles of the ratio of the two Clopper-Pearson limits (Fay, Proschan and Brittain, Biometrics 71
    (2015) 146), so that CLs is never 0 ± 0.

    Args:
        signal: q of toys with signal, (n,); NaN for toys that are not certified.
        background: q of the same hypothesis, of background-only toys, (m,); NaN likewise.
        observed: q_obs.
        tolerance: see ``tail``.

    Example:
        >>> found = cls(np.repeat([0.0, 5.0], [95, 5]), np.repeat([0.0, 5.0], [50, 50]), 5.0)
        >>> [round(x, 3) for x in (found.value, found.error, found.low, found.high)]
        [0.1, 0.045, 0.056, 0.169]
    """
    clsb, clb = tail(signal, observed, tolerance), tail(background, observed, tolerance)
    low, high = _ratio_interval(clsb, clb)
    ratio, error = _ratio(clsb.value, clb.value), None
    if ratio is not None and 0 < clsb.beyond < clsb.toys:
        error = np.sqrt(_variance(clsb) + ratio**2 * _variance(clb)) / (clb.value or 1)
    return CLs(
        value=ratio,
        error=error,
        low=low,
        high=high,
        bound=clsb.bound,
        clsb=clsb,
        clb=clb,
        if_failed_low=_ratio(clsb.if_failed_below, clb.if_failed_beyond),
        if_failed_high=_ratio(clsb.if_failed_beyond, clb.if_failed_below),
    )


def _ratio(above: float | None, below: float | None) -> float | None:
    return None if above is None or not below else above / below


def _variance(p: PValue) -> float:
    """p(1-p)/n."""
    fails = (p.toys - p.beyond) / p.toys
    return p.beyond / p.toys * fails / p.toys


def _ratio_interval(above: PValue, below: PValue) -> tuple[float, float | None]:
    """The melded interval of a ratio of two fractions; without an upper end where the denominator may be zero."""
    outside = (1 - ONE_SIGMA) / 2
    low = 0.0
    if above.beyond:
        low = _ratio_quantile(_beta(above, upper=False), _beta(below, upper=True), outside)
    if not below.beyond or not above.toys:
        return low, None
    return low, _ratio_quantile(_beta(above, upper=True), _beta(below, upper=False), 1 - outside)


def _beta(p: PValue, *, upper: bool) -> tuple[float, float]:
    """The parameters of the beta distribution of which an end of the Clopper-Pearson interval is a quantile."""
    return (p.beyond + 1, p.toys - p.beyond) if upper else (p.beyond, p.toys - p.beyond + 1)


def _ratio_quantile(above: tuple[float, float], below: tuple[float, float], level: float) -> float:
    """A quantile of U/V, of U's distribution and of equally probable values of V; each is 1 if its b is 0."""
    inverse = scipy.special.betaincinv
    denominator = inverse(*below, _GRID) if below[1] else np.ones(1)
    if not above[1]:
        return float(np.quantile(1 / denominator, level))
    ends = inverse(*above, [level * 1e-3, 1 - (1 - level) * 1e-3])
    low, high = float(ends[0] / denominator.max()), float(ends[1] / denominator.min())
    found: float = scipy.optimize.brentq(
        lambda ratio: float(np.mean(scipy.special.betainc(*above, np.minimum(ratio * denominator, 1.0)))) - level,
        low,
        high,
        xtol=1e-9 * high,
        rtol=1e-9,
    )
    return found
