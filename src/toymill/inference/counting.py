"""What is counted of a sample, each with its Monte Carlo error: fractions, moments, quantiles, distributions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy.typing import ArrayLike

ONE_SIGMA = 0.6826894921370859
"""Confidence level of every Monte Carlo error and interval on a counted fraction."""

CLOPPER_PEARSON = "Clopper-Pearson, 68.27 %"
"""The interval of ``fraction`` at that level, as files name it."""


class Fraction(NamedTuple):
    """A counted fraction with its Clopper-Pearson interval."""

    value: float
    low: float
    high: float


def fraction(passed: int, total: int, level: float = ONE_SIGMA) -> Fraction:
    """A counted fraction and its central Clopper-Pearson interval (Biometrika 26 (1934) 404).

    Example:
        >>> [round(x, 4) for x in fraction(0, 10, 0.95)]
        [0.0, 0.0, 0.3085]
    """
    if total == 0:
        return Fraction(float("nan"), 0.0, 1.0)
    tail = (1 - level) / 2
    low = scipy.special.betaincinv(passed, total - passed + 1, tail) if passed else 0.0
    high = scipy.special.betaincinv(passed + 1, total - passed, 1 - tail) if passed < total else 1.0
    return Fraction(passed / total, float(low), float(high))


def whole_error(error: float, interpolation: float | None) -> float:
    """The error of the toys and that of the interpolation between tested values, where it is known, in quadrature."""
    return math.hypot(error, 0.0 if interpolation is None or math.isnan(interpolation) else interpolation)


class Moments(NamedTuple):
    """Mean and root mean square deviation of a sample, each with its Monte Carlo error, and its size."""

    size: int
    mean: float
    mean_error: float
    rms: float
    rms_error: float


def moments(values: Float[np.ndarray, " toy"]) -> Moments:
    """Moments of the finite values.

    The error of the rms uses the sample's fourth central moment m₄: Var(s²) ≈ (m₄ - s⁴)/n, so
    σ(s) = √((m₄ - s⁴)/n)/(2s) (Cramér, Mathematical Methods of Statistics, 27.4), for large n.
    """
    x = values[np.isfinite(values)]
    n = len(x)
    if n < 2:
        nan = float("nan")
        return Moments(n, float(x[0]) if n else nan, nan, nan, nan)
    mean = float(np.mean(x))
    rms = float(np.std(x, ddof=1))
    fourth = float(np.mean((x - mean) ** 4))
    rms_error = float(np.sqrt(max(fourth - rms**4, 0.0) / n) / (2 * rms)) if rms > 0 else 0.0
    return Moments(n, mean, rms / np.sqrt(n), rms, rms_error)


def moments_of_sums(size: int, sums: Float[np.ndarray, " power"], origin: float = 0.0) -> Moments:
    """``moments`` of values x of which only the sums Σ(x - origin)ᵏ are known, k = 1 to 4, shape (4,).

    Sound where the origin is within some thousand rms of the mean: sums are about the truth, not about zero.
    """
    nan = float("nan")
    if size < 2:
        return Moments(size, origin + float(sums[0]) if size else nan, nan, nan, nan)
    away, second, third, fourth = (float(item) / size for item in sums)
    variance = max(second - away**2, 0.0) * size / (size - 1)
    rms = float(np.sqrt(variance))
    central = max(fourth - 4 * away * third + 6 * away**2 * second - 3 * away**4, 0.0)
    rms_error = float(np.sqrt(max(central - rms**4, 0.0) / size) / (2 * rms)) if rms > 0 else 0.0
    return Moments(size, origin + away, rms / np.sqrt(size), rms, rms_error)


def bias_in_rms(size: int, sums: Float[np.ndarray, " power"]) -> tuple[float, float]:
    """Mean over rms, of deviations x of which only the sums Σ xᵏ are known, k = 1 to 4, shape (4,), and its error.

    With r = x̄/s, Var(r) ≈ (s² - r m₃/s + r² (m₄ - s⁴)/(4 s²)) / (n s²), by Var(x̄), Cov(x̄, s) = m₃/(2ns) and Var(s)
    (Cramér, Mathematical Methods of Statistics, 27.4 and 28.4), for large n.

    Example:
        >>> bias_in_rms(4, np.array([4.0, 8.0, 16.0, 32.0]))  # 0, 0, 2 and 2
        (0.8660254037844387, 0.5)
    """
    found = moments_of_sums(size, sums)
    if not found.rms > 0:
        nan = float("nan")
        return nan, nan
    mean, second, cube, _ = (float(item) / size for item in sums)
    third = cube - 3 * mean * second + 2 * mean**3
    ratio = found.mean / found.rms
    variance = found.mean_error**2 - ratio * third / (size * found.rms) + (ratio * found.rms_error) ** 2
    return ratio, float(np.sqrt(max(variance, 0.0))) / found.rms


@dataclass(frozen=True)
class Distribution:
    """A sample as counts in ascending cells that may be empty between; values spread evenly over their cell.

    Attributes:
        low: lower end of each cell.
        high: its upper end, of the same shape; a cell of no width is a value itself.
        count: values in each cell, of the same shape.
    """

    low: Float[np.ndarray, " cell"]
    high: Float[np.ndarray, " cell"]
    count: Int[np.ndarray, " cell"]

    @classmethod
    def of(cls, values: Float[np.ndarray, " toy"]) -> Distribution:
        """The values themselves, (n,)."""
        ordered = np.sort(values)
        return cls(ordered, ordered, np.ones(len(ordered), dtype=np.int64))

    @property
    def size(self) -> int:
        """Number of values."""
        return int(self._upto[-1]) if len(self.count) else 0

    @cached_property
    def _upto(self) -> Int[np.ndarray, " cell"]:
        upto: np.ndarray = np.cumsum(self.count)
        return upto

    def above(self, value: float) -> int:
        """How many lie above a value: exact at a cell's end and where cells have no width, else interpolated."""
        first = int(np.searchsorted(self.high, value, side="right"))
        beyond = self.size - (int(self._upto[first - 1]) if first else 0)
        if first < len(self.low) and self.low[first] < value:
            below = (value - self.low[first]) / (self.high[first] - self.low[first])
            return beyond - round(float(self.count[first] * below))
        return beyond

    def beyond(self, value: float) -> Distribution:
        """The cells that lie wholly above a value."""
        here = (self.low >= value) & (self.high > value)
        return Distribution(self.low[here], self.high[here], self.count[here])

    def quantile(self, probability: ArrayLike) -> Float[np.ndarray, "*shape"]:
        """Sample quantiles, interpolated between order statistics as NumPy does by default."""
        at = np.asarray(probability) * (self.size - 1)
        below = np.floor(at)
        value, following = self._ordered(below), self._ordered(np.ceil(at))
        with np.errstate(invalid="ignore"):  # in a cell without an end
            return np.where(following > value, value + (at - below) * (following - value), value)

    def _ordered(self, number: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Order statistics, counted from 0."""
        cell = np.searchsorted(self._upto, number, side="right")
        width = self.high[cell] - self.low[cell]
        inside = (number - self._upto[cell] + self.count[cell] + 0.5) / self.count[cell]
        ordered: np.ndarray = self.low[cell] + np.where(width > 0, inside * width, 0.0)
        return ordered

    def width(self, probability: float) -> float:
        """Width of the wider of the cells about a quantile: the most that binning may move it; 0 where values are known."""
        at = probability * (self.size - 1)
        cells = np.searchsorted(self._upto, [np.floor(at), np.ceil(at)], side="right")
        return float(np.max(self.high[cells] - self.low[cells]))

    def histogram(self, edges: Float[np.ndarray, " edge"]) -> Int[np.ndarray, " bin"]:
        """Counts between edges, and below the first and above the last: (len(edges) + 1,)."""
        middle = (self.low + self.high) / 2
        inside, _ = np.histogram(middle, edges, weights=self.count)
        under, over = (self.count[far].sum() for far in (middle < edges[0], middle > edges[-1]))
        counts: np.ndarray = np.concatenate([[under], inside, [over]]).astype(np.int64)
        return counts

    def distance(self, cdf: Callable[[Float[np.ndarray, " cell"]], Float[np.ndarray, " cell"]]) -> float:
        """The Kolmogorov-Smirnov distance from a distribution, at the ends of the cells."""
        after = self._upto / self.size
        before = (self._upto - self.count) / self.size
        return float(max(np.max(after - cdf(self.high)), np.max(cdf(self.low) - before)))

    @property
    def continuous(self) -> bool:
        """Whether hardly any two values are the same; of cells, whether none holds more than one in a thousand."""
        if (self.high > self.low).any():
            return bool(self.count.max() <= 10 + 1e-3 * self.size)
        return bool(self.size and len(np.unique(np.round(self.low, 7))) > 0.9 * self.size)


def quantile(sample: Distribution, probability: float) -> Fraction:
    """A sample quantile and the one-sigma interval between order statistics.

    The interval's ends are the sample quantiles at p ± √(p(1-p)/n): distribution-free (David and
    Nagaraja, Order Statistics, 7.1). NaN where fewer than ten values are expected on either side.
    """
    n = sample.size
    if n * min(probability, 1 - probability) < 10:
        nan = float("nan")
        return Fraction(float(sample.quantile(probability)) if n else nan, nan, nan)
    spread = np.sqrt(probability * (1 - probability) / n)
    at = np.clip([probability, probability - spread, probability + spread], 0, 1)
    centre, low, high = sample.quantile(at)
    return Fraction(float(centre), float(low), float(high))
