"""Quantiles of toys as order statistics: which one, and those around it that tell its error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

FEWEST = 10
"""Toys on either side of a quantile, below which it has no error."""

_TIES = 0.5  # more of the values near a quantile are the same as it: they are discrete
_DIGITS = 1e-9  # of a value, within which two are the same


def rank(probability: float, size: int) -> int:
    """The order statistic, counted from 0, at or below which a fraction of a sample lies."""
    return max(int(np.ceil(probability * size - 1e-9)) - 1, 0)


def around(
    ranked: Float[np.ndarray, " dataset"], at: int, probability: float
) -> tuple[Bool[np.ndarray, " dataset"], float]:
    """The values around a quantile, and how far a rank more or less moves it: 1/(N f) of their density f.

    Those within a standard deviation of the rank; where most of these are the same, up to rounding, the same ones alone.

    Args:
        ranked: the values, ascending, (N,). Infinite ones are not around it.
        at: the rank of the quantile, of a finite value.
        probability: its level.

    Returns:
        Which are around it, (N,), and the distance of two ranks.
    """
    near = np.abs(np.arange(len(ranked)) - at) <= np.sqrt(len(ranked) * probability * (1 - probability))
    near &= np.isfinite(ranked)
    with np.errstate(invalid="ignore"):
        same = near & (np.abs(ranked - ranked[at]) <= _DIGITS * abs(ranked[at]))
    discrete = same.sum() > _TIES * near.sum()
    low, high = _beside(ranked, near, at, probability, discrete=bool(discrete))
    return same if discrete else near, float((ranked[high] - ranked[low]) / max(high - low, 1))


def _beside(
    ranked: Float[np.ndarray, " dataset"],
    near: Bool[np.ndarray, " dataset"],
    at: int,
    probability: float,
    *,
    discrete: bool,
) -> tuple[int, int]:
    """The order statistics on both sides of a quantile between which the density of finite values is taken.

    Bofinger's bandwidth (Austral. J. Stat. 17 (1975) 1), for a normal density. Where most values near are the same,
    one standard deviation of the rank, which makes the error that of the interval of order statistics.
    """
    if discrete:
        low, *_, high = np.flatnonzero(near).tolist() * 2
        return low, high
    size, z = len(ranked), scipy.stats.norm.ppf(probability)
    bandwidth = (4.5 * scipy.stats.norm.pdf(z) ** 4 / (2 * z**2 + 1) ** 2 / size) ** 0.2
    half = min(max(round(size * bandwidth), 1), at, size - 1 - at)
    finite = np.flatnonzero(np.isfinite(ranked))
    return max(at - half, int(finite[0])), min(at + half, int(finite[-1]))
