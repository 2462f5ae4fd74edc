"""Toys of several truth points, weighted to stand for any one hypothesis: p-values of rare events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy

from toymill.errors import ToymillError
from toymill.inference.counting import ONE_SIGMA
from toymill.record import NumberOrNone, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float, Int

GAMMA = "gamma of the effective count, 68.27 %"
"""The interval of a weighted fraction, as files name it."""


class MixtureTail(Record):
    """A p-value P(q ≥ q_obs) of one hypothesis, from weighted toys of several truth points."""

    value: NumberOrNone
    """The p-value; null without certified toys."""
    error: NumberOrNone
    """Its Monte Carlo error; null where no toy lies beyond."""
    low: float
    """Lower end of its Monte Carlo interval."""
    high: float
    """Upper end of its Monte Carlo interval."""
    interval: str = GAMMA
    """What kind of Monte Carlo interval that is."""
    bound: bool
    """Whether no toy lies beyond: the value is then 0, and the upper end of the interval is a bound."""
    toys: int
    """Certified toys, of all truth points."""
    beyond: int
    """Certified toys with q ≥ q_obs, of all truth points."""
    failed: int
    """Toys that are not certified."""
    if_failed_below: NumberOrNone
    """The p-value, if every failed toy lies below q_obs."""
    if_failed_beyond: NumberOrNone
    """The p-value, if every failed toy lies beyond it."""
    effective: float
    """Effective number of toys beyond, (Σw)²/Σw² over these toys."""
    largest_weight: float
    """The largest weight of any toy."""
    normalisation: NumberOrNone
    """The mean weight, which is 1 up to its error if the weights are right."""
    normalisation_error: NumberOrNone
    """The Monte Carlo error of the mean weight."""
    significance: NumberOrNone
    """Z = Φ⁻¹(1 - p); null where p is 0 or 1."""
    significance_low: NumberOrNone
    """Z of the upper end of the interval of p."""
    significance_high: NumberOrNone
    """Z of the lower end of the interval of p; null where that is 0."""


def weights(
    log_densities: Float[np.ndarray, "truth toy"], counts: Sequence[int], log_target: Float[np.ndarray, " toy"]
) -> Float[np.ndarray, " toy"]:
    """Weights of toys of several truth points that make them stand for one hypothesis f: the balance heuristic.

    w(x) = f(x) / Σ_j (n_j/n) f_j(x), where n_j of the n toys are of density f_j (Veach and Guibas, SIGGRAPH 1995,
    419; Owen, Monte Carlo theory, methods and examples, 2013, 9.11). No weight exceeds n/n_j if f is f_j.

    Args:
        log_densities: ln f_j of every toy, whichever truth point it was thrown at, (J, n); of all data that
            fluctuate, auxiliary data included. A constant of each toy, the same for all densities, drops out.
        counts: toys thrown at each truth point, n_j, (J,); fixed before the toys were seen.
        log_target: ln f of every toy, (n,).

    Returns:
        w of every toy, (n,), in units in which the mean is 1.

    Raises:
        ToymillError: counts that do not add up to the toys, or that are negative.

    Example:
        >>> x = np.array([0.0, 2.0, 2.0])  # one toy of a unit normal at 0, two at 2
        >>> w = weights(np.stack([-(x**2) / 2, -((x - 2) ** 2) / 2]), [1, 2], -(x**2) / 2)
        >>> [round(item, 4) for item in w.tolist()]
        [2.361, 0.1901, 0.1901]
    """
    share = _shares(counts, log_densities.shape)
    with np.errstate(divide="ignore"):
        mixture = scipy.special.logsumexp(log_densities + np.log(share)[:, None], axis=0)
    found: np.ndarray = np.exp(log_target - mixture)
    return found


def _shares(counts: Sequence[int], shape: tuple[int, ...]) -> Float[np.ndarray, " truth"]:
    """n_j/n, after a check."""
    numbers = np.asarray(counts)
    if numbers.shape != shape[:-1] or numbers.sum() != shape[-1] or (numbers < 0).any():
        msg = f"counts is {numbers.tolist()}, for densities of shape {shape}; expected the toys of each truth point, {shape[-1]} in all."
        raise ToymillError(msg)
    return numbers / max(shape[-1], 1)


def mixture_tail(
    statistic: Float[np.ndarray, " toy"],
    weights: Float[np.ndarray, " toy"],
    counts: Sequence[int],
    observed: float,
    tolerance: float = 0.0,
) -> MixtureTail:
    """p = P(q ≥ q_obs) = Σ w 1[q ≥ q_obs]/n under the hypothesis for which the toys are weighted.

    Its variance is that of strata, since each truth point has a fixed number of toys: Σ_j n_j Var_j(w 1[…])/n²
    (Owen 2013, 9.11), with Var_j the sample variance over the toys of truth point j. Its interval is that of a
    Poisson count k = p²/σ² which is scaled to p (Bohm and Zech, NIM A 748 (2014) 1); where no toy lies beyond, the
    bound of a count of 0, each with the largest weight that occurs. Beyond p = ½ all this is of 1 - p, so that p is 1 at
    most. Failed toys are left out with their weight, as
    ``tail`` does; with the worst and the best case beside.

    Args:
        statistic: q of every toy, (n,), ensemble after ensemble; NaN for toys that are not certified.
        weights: their weights for the hypothesis, (n,).
        counts: toys of each ensemble, (J,), in the same order.
        observed: q_obs.
        tolerance: toys with q ≥ q_obs - tolerance count as beyond; see ``tie_tolerance``.

    Raises:
        ToymillError: counts that do not add up to the toys, or weights that are not of the same number of toys.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> x = np.concatenate([rng.normal(size=10000), 5 + rng.normal(size=10000)])
        >>> w = weights(np.stack([-(x**2) / 2, -((x - 5) ** 2) / 2]), [10000, 10000], -(x**2) / 2)
        >>> found = mixture_tail(x, w, [10000, 10000], 5.0)
        >>> f"{found.value:.3g} ± {found.error:.1g}, exact {scipy.stats.norm.sf(5):.3g}"
        '2.92e-07 ± 7e-09, exact 2.87e-07'
    """
    n = len(statistic)
    _shares(counts, (len(counts), n))
    if len(weights) != n:
        msg = f"weights are of {len(weights)} toys, the statistic of {n}; expected the same toys."
        raise ToymillError(msg)
    failed, beyond = np.isnan(statistic), statistic >= observed - tolerance
    edges, largest = np.cumsum(counts)[:-1], float(np.max(weights, initial=0.0))
    value, least, most, error = _fraction(beyond, failed, weights, edges)
    count = int(np.count_nonzero(beyond))
    if value > 0.5:  # of the two tails, whose sum is 1, the smaller is the better known
        rest, rest_least, rest_most, error = _fraction(~beyond & ~failed, failed, weights, edges)
        value, least, most = max(1 - rest, 0.0), max(1 - rest_most, 0.0), max(1 - rest_least, 0.0)
        high, low = (max(1 - end, 0.0) for end in _interval(rest, error, largest / n))
    else:
        low, high = _interval(value, error, largest / max(n, 1))
    z, z_low, z_high = scipy.stats.norm.isf([value, min(high, 1.0), low]).tolist()
    squares = float((weights[beyond] ** 2).sum())
    return MixtureTail(
        value=value,
        error=error if count else None,
        low=low,
        high=high,
        bound=count == 0,
        toys=n - int(np.count_nonzero(failed)),
        beyond=count,
        failed=int(np.count_nonzero(failed)),
        if_failed_below=least if n else None,
        if_failed_beyond=most if n else None,
        effective=float(weights[beyond].sum() ** 2 / squares) if squares else 0.0,
        largest_weight=largest,
        normalisation=float(weights.mean()) if n else None,
        normalisation_error=stratified_error(weights, edges),
        significance=z,
        significance_low=z_low,
        significance_high=z_high,
    )


def _fraction(
    which: Bool[np.ndarray, " toy"],
    failed: Bool[np.ndarray, " toy"],
    weights: Float[np.ndarray, " toy"],
    edges: Int[np.ndarray, " edge"],
) -> tuple[float, float, float, float]:
    """Weighted fraction of toys, if no failed toy counts among all, if none is one of them, if all are; and its error."""
    n = len(weights)
    if not n:
        return np.nan, 0.0, 0.0, np.nan
    certified, least = float((~failed * weights).sum() / n), float((which * weights).sum() / n)
    value = least / certified * float(weights.sum() / n) if certified > 0 else np.nan
    error = stratified_error(np.where(failed, value, which) * weights, edges)
    return value, least, float(((which | failed) * weights).sum() / n), error


def stratified_error(contributions: Float[np.ndarray, " toy"], edges: Int[np.ndarray, " edge"]) -> float:
    """The error of the mean of contributions from strata of fixed size; NaN where a stratum has a single toy."""
    variance = sum(
        len(part) * part.var(ddof=1) if len(part) > 1 else np.nan
        for part in np.split(contributions, edges)
        if len(part)
    )
    return float(np.sqrt(variance) / max(len(contributions), 1))


def _interval(value: float, error: float, largest: float) -> tuple[float, float]:
    """The interval of a Poisson count (value/error)², scaled; of a count of 0, ``largest`` each, where none is."""
    tail = (1 - ONE_SIGMA) / 2
    if not value > 0:
        return 0.0, float(min(-np.log(tail) * largest, 1.0)) if largest else 1.0
    if not error > 0:
        return (value, value) if error == 0 else (0.0, 1.0)
    count = (value / error) ** 2
    low, high = scipy.stats.gamma.ppf([tail, 1 - tail], [count, count + 1]) * value / count
    return float(low), float(high)
