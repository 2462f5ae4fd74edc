"""The asymptotic distribution of t_μ.

Equation numbers are those of Cowan, Cranmer, Gross and Vitells, arXiv:1007.1727 (CCGV).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import scipy

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import ArrayLike

CDF = Callable[["ArrayLike"], np.ndarray]
"""A cumulative distribution function: values of the statistic to probabilities, of the same shape."""


def asymptotic_cdf(
    t: ArrayLike, *, noncentrality: float, mu: float, truth: float, sigma: float, lower: float = -np.inf
) -> Float[np.ndarray, "*shape"]:
    """Asymptotic cumulative distribution of t_μ at the truth μ'.

    Without a bound on μ̂, t_μ follows the non-central χ² of one degree of freedom with
    Λ = (μ - μ')²/σ² (CCGV eqs. 30-34; Wald 1943). With a lower bound L it is t̃_μ of CCGV eq. 44,
    with μ - L in place of μ:

        F(t) = Φ(√t + (μ-μ')/σ) + Φ(√t - (μ-μ')/σ) - 1                          t ≤ (μ-L)²/σ²
        F(t) = Φ(√t + (μ-μ')/σ) + Φ((t + (μ-L)²/σ²)/(2(μ-L)/σ) - (μ-μ')/σ) - 1   otherwise

    (the second form as rewritten from eq. 44 for μ̂ < L, where the statistic is linear in μ̂).

    Args:
        t: values of the statistic, any shape.
        noncentrality: Λ, from the Asimov dataset: t_{μ,A} (CCGV eq. 30).
        mu: the tested value μ.
        truth: the true value μ'.
        sigma: standard deviation of μ̂; used only with a bound.
        lower: the lower bound on μ̂.

    Returns:
        F(t), of the shape of t.
    """
    t = np.asarray(t, dtype=np.float64)
    root = np.sqrt(np.maximum(t, 0))
    distance = np.sqrt(noncentrality) * np.sign(mu - truth)
    below = scipy.special.ndtr(root - distance)
    reach = (mu - lower) / sigma if np.isfinite(lower) and sigma > 0 else np.inf
    if np.isfinite(reach) and reach > 0:
        beyond = scipy.special.ndtr((t + reach**2) / (2 * reach) - distance)
        below = np.where(root > reach, beyond, below)
    elif reach <= 0:  # μ at the bound: μ̂ cannot lie below it
        below = np.ones_like(root)
    return np.where(t < 0, 0.0, scipy.special.ndtr(root + distance) + below - 1)


def asymptotic_quantile(level: float, cdf: CDF) -> float:
    """The value that t_μ exceeds with probability 1 - ``level``; 0 where t_μ is 0 with at least that probability."""
    high = 1.0
    while cdf(high) < level:
        high *= 2
    if cdf(0.0) >= level:
        return 0.0
    return float(scipy.optimize.brentq(lambda value: float(cdf(value)) - level, 0.0, high, xtol=1e-10))


def critical_value(level: float, distance: float = np.inf) -> float:
    """The value that t_μ of data of the truth μ exceeds with probability 1 - ``level``, with a lower bound on μ̂ (CCGV eq. 44).

    Args:
        level: the confidence level.
        distance: (μ - L)/σ, of μ from the bound L; infinite without one, for the quantile of χ².

    Example:
        At the bound, one standard deviation from it, and without one:

        >>> [round(critical_value(0.95, distance), 3) for distance in (0.0, 1.0, np.inf)]
        [2.706, 3.31, 3.841]
    """
    if not np.isfinite(distance):
        return float(scipy.special.chdtri(1, 1 - level))

    def cdf(t: ArrayLike) -> Float[np.ndarray, "*shape"]:
        return asymptotic_cdf(t, noncentrality=0.0, mu=distance, truth=distance, sigma=1.0, lower=0.0)

    return asymptotic_quantile(level, cdf)


def expected_counts(total: int, edges: Float[np.ndarray, " edge"], cdf: CDF) -> list[float]:
    """Asymptotic counts of ``total`` toys in each bin; the first bin from 0 holds the toys at exactly 0."""
    from_below = np.where(edges == 0, -1.0, edges)
    counts: list[float] = (total * np.diff(cdf(from_below))).tolist()
    return counts
