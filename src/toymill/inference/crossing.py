"""Where curves of counted CLs cross 1 - level, of many datasets at once, and how each toy moves the crossing.

Between test points a curve is interpolated linearly in z = Φ⁻¹(1 - CLs): for a Gaussian measurement z of CL_{s+b} is
linear in μ, and z of CLs nearly so. Above CLs = ½, z is continued by its tangent, so that it is finite at CLs = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import scipy.special

from toymill.errors import ToymillError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

Method = Literal["CLs", "CLsb"]
"""CLs = CL_{s+b}/CL_b, or CL_{s+b} alone."""

Case = Literal["certified", "low", "high"]
"""What failed toys count as: nothing, or what makes CLs smallest or largest."""

EMPTY = 0.5
"""The count that a tail without toys stands for, so that its z is finite: half a toy."""


class Counts(NamedTuple):
    """How many certified toys lie below each dataset's statistic, at each test point.

    Attributes:
        signal: of the toys thrown at the test point, (K, N).
        background: of the background-only toys, (K, N).
    """

    signal: Int[np.ndarray, "test dataset"]
    background: Int[np.ndarray, "test dataset"]


class Tails(NamedTuple):
    """CL_{s+b}, CL_b (1 where it is not asked for), and what falls to 1 - level, each (K, N)."""

    clsb: Float[np.ndarray, "test dataset"]
    clb: Float[np.ndarray, "test dataset"]
    cls: Float[np.ndarray, "test dataset"]


class Crossings(NamedTuple):
    """Where curves cross.

    Attributes:
        limit: the mean of the first and the last crossing, (N,); -inf and +inf where the curve lies below or ends above
            1 - level, NaN where it is not known.
        first: the test point before the first crossing, (N,).
        last: the test point before the last crossing, (N,).
        number: of crossings, (N,); more than one where the noise of the toys makes the curve rise.
    """

    limit: Float[np.ndarray, " dataset"]
    first: Int[np.ndarray, " dataset"]
    last: Int[np.ndarray, " dataset"]
    number: Int[np.ndarray, " dataset"]


class Influence(NamedTuple):
    """How each toy moves a mean limit.

    Attributes:
        signal_variance: the variance by the toys with signal, summed over the test points.
        background: the shift by each background-only toy, (N_b,); its sum is 0.
    """

    signal_variance: float
    background: Float[np.ndarray, " toy"]


@dataclass(frozen=True)
class Curves:
    """Sorted toys, of which CLs is counted at each test point.

    Attributes:
        points: the tested values, ascending, (K,).
        signal: q at each of them of the certified toys thrown there, sorted.
        background: q at each of them of the certified background-only toys, sorted.
        order: which toys these are.
        signal_failed: toys that are not certified, (K,).
        background_toys: background-only toys, certified or not.
        alpha: 1 - level.
        method: CLs or CL_{s+b}.
        tolerance: values of q that differ by less are ties.
    """

    points: Float[np.ndarray, " test"]
    signal: list[Float[np.ndarray, " toy"]]
    background: list[Float[np.ndarray, " toy"]]
    order: list[Int[np.ndarray, " toy"]]
    signal_failed: Int[np.ndarray, " test"]
    background_toys: int
    alpha: float
    method: Method
    tolerance: float

    @classmethod
    def of(
        cls,
        points: Float[np.ndarray, " test"],
        signal: Sequence[Float[np.ndarray, " toy"]],
        background: Float[np.ndarray, "test toy"],
        *,
        level: float,
        method: Method,
        tolerance: float,
    ) -> Curves:
        """Sort toys, after a check of the shapes.

        Raises:
            ToymillError: points that do not ascend, arrays that do not fit them, a level outside of 0 to 1.
        """
        points, background = np.asarray(points, dtype=np.float64), np.asarray(background)
        if points.ndim != 1 or not np.isfinite(points).all() or not (np.diff(points) > 0).all():
            msg = f"The tested values are {points.tolist()}; expected finite numbers that ascend."
            raise ToymillError(msg)
        if len(signal) != len(points) or background.ndim != 2 or len(background) != len(points):
            msg = (
                f"signal has toys of {len(signal)} points and background the shape {background.shape}; expected "
                f"{len(points)} points, as many as are tested."
            )
            raise ToymillError(msg)
        if not 0 < level < 1 or method not in ("CLs", "CLsb"):
            msg = f"level is {level} and method {method!r}; expected a level between 0 and 1, and CLs or CLsb."
            raise ToymillError(msg)
        order = [np.argsort(row)[: np.count_nonzero(~np.isnan(row))] for row in background]
        certified = [np.sort(np.asarray(row))[: np.count_nonzero(~np.isnan(row))] for row in signal]
        return cls(
            points=points,
            signal=certified,
            background=[row[first] for row, first in zip(background, order, strict=True)],
            order=order,
            signal_failed=np.array([len(row) - len(kept) for row, kept in zip(signal, certified, strict=True)]),
            background_toys=background.shape[1],
            alpha=1 - level,
            method=method,
            tolerance=tolerance,
        )

    def only(self, kept: Bool[np.ndarray, " test"]) -> Curves:
        """The curves at some of the points."""
        at = np.flatnonzero(kept)
        return Curves(
            points=self.points[at],
            signal=[self.signal[k] for k in at],
            background=[self.background[k] for k in at],
            order=[self.order[k] for k in at],
            signal_failed=self.signal_failed[at],
            background_toys=self.background_toys,
            alpha=self.alpha,
            method=self.method,
            tolerance=self.tolerance,
        )

    @property
    def usable(self) -> Bool[np.ndarray, " test"]:
        """Points with certified toys of both kinds, (K,)."""
        return np.array([len(s) > 0 and len(b) > 0 for s, b in zip(self.signal, self.background, strict=True)])

    @property
    def signal_toys(self) -> Int[np.ndarray, " test"]:
        """Certified toys with signal, (K,)."""
        return np.array([len(row) for row in self.signal])

    @property
    def background_certified(self) -> Int[np.ndarray, " test"]:
        """Certified background-only toys, (K,)."""
        return np.array([len(row) for row in self.background])

    def count(self, datasets: Float[np.ndarray, "test dataset"]) -> Counts:
        """Count the toys below each of N datasets, of which the statistic is given, (K, N)."""
        below = [
            [np.searchsorted(row, q - self.tolerance) for row, q in zip(rows, datasets, strict=True)]
            for rows in (self.signal, self.background)
        ]
        return Counts(*(np.array(item, dtype=np.int64).reshape(datasets.shape) for item in below))

    def tails(self, counts: Counts, case: Case = "certified") -> Tails:
        """CL_{s+b}, CL_b and CLs of each dataset.

        An empty tail stands for half a toy, so that z is finite, but CLs of it for half of 1 - level at most: no toy
        says that CLs is larger.
        """
        signal, background = self.signal_toys[:, None], self.background_certified[:, None]
        failed, lost = self.signal_failed[:, None], self.background_toys - background
        above, below = (np.maximum(n - item, EMPTY) for n, item in zip((signal, background), counts, strict=True))
        if case == "low":
            clsb, clb = above / (signal + failed), (below + lost) / (background + lost)
        elif case == "high":
            above = above + failed
            clsb, clb = above / (signal + failed), below / (background + lost)
        else:
            clsb, clb = above / signal, below / background
        if self.method == "CLsb":
            clb = np.ones_like(clsb)
        cls = clsb / clb
        return Tails(clsb, clb, np.where(above < 1, np.minimum(cls, self.alpha / 2), cls))

    def crossings(self, cls: Float[np.ndarray, "test dataset"]) -> Crossings:
        """Where curves of CLs, (K, N), fall below 1 - level."""
        above = cls >= self.alpha
        falls = above[:-1] & ~above[1:]
        first = np.argmax(falls, axis=0)
        last = len(falls) - 1 - np.argmax(falls[::-1], axis=0)
        limit = (self._crossing(cls, first) + self._crossing(cls, last)) / 2
        limit = np.where(above[-1], np.inf, np.where(above.any(axis=0), limit, -np.inf))
        return Crossings(np.where(np.isnan(cls).any(axis=0), np.nan, limit), first, last, falls.sum(axis=0))

    def _crossing(
        self, cls: Float[np.ndarray, "test dataset"], k: Int[np.ndarray, " dataset"]
    ) -> Float[np.ndarray, " dataset"]:
        """The crossing between the points k and k + 1 of each dataset."""
        n = np.arange(cls.shape[1])
        z, following = z_of(cls[k, n]), z_of(cls[k + 1, n])
        with np.errstate(divide="ignore", invalid="ignore"):
            share = (z_of(self.alpha) - z) / (following - z)
        found: np.ndarray = self.points[k] + share * (self.points[k + 1] - self.points[k])
        return found

    def influence(self, counts: Counts, found: Crossings, chosen: Int[np.ndarray, " chosen"]) -> Influence:
        """How the toys move the mean limit of some datasets: δL = -δz(L)/z'(L), of the interpolated z.

        Each toy changes CL_{s+b} or CL_b by (1[q ≥ q_obs] - CL)/n, at every point where it counts. Toys with signal are
        independent between points; a background-only toy is the same at all.

        Args:
            counts: of all datasets.
            found: their crossings.
            chosen: indices of datasets whose limit is finite, (W,).
        """
        _, clb, cls = (item[:, chosen] for item in self.tails(counts))
        by_cls = np.zeros_like(cls)  # ∂L/∂CLs at each point
        n = np.arange(len(chosen))
        for k in (found.first[chosen], found.last[chosen]):
            z, following = z_of(cls[k, n]), z_of(cls[k + 1, n])
            share = (z_of(self.alpha) - z) / (following - z)
            rise = self._rise(cls, k, counts.signal[:, chosen] < self.signal_toys[:, None])
            by_cls[k, n] -= (1 - share) / rise * _slope(cls[k, n]) / 2
            by_cls[k + 1, n] -= share / rise * _slope(cls[k + 1, n]) / 2
        by_cls /= len(chosen)
        variance, background = 0.0, np.zeros(self.background_toys)
        for k in np.flatnonzero(by_cls.any(axis=1)):
            below, size = counts.signal[k, chosen], len(self.signal[k])
            weight = by_cls[k] / clb[k]
            variance += size * np.var(_passed(weight, below, size)) / size**2
            variance += (np.abs(weight[below == size]).sum() / size) ** 2  # of an empty tail: as of a single toy
            if self.method == "CLs":
                passed = _passed(-by_cls[k] * cls[k] / clb[k], counts.background[k, chosen], len(self.order[k]))
                background[self.order[k]] += (passed - passed.mean()) / len(passed)
        return Influence(float(variance), background)

    def _rise(
        self,
        cls: Float[np.ndarray, "test chosen"],
        k: Int[np.ndarray, " chosen"],
        filled: Bool[np.ndarray, "test chosen"],
    ) -> Float[np.ndarray, " chosen"]:
        """z' at the crossing: over the next points to both sides too, where they have a z, since it is noisy.

        It is kept within a factor of two of z' between the two points, which is positive.
        """
        n = np.arange(len(k))
        before, after = np.maximum(k - 1, 0), np.minimum(k + 2, len(cls) - 1)
        low = np.where(cls[before, n] < 1, before, k)
        high = np.where(filled[after, n], after, k + 1)
        z = z_of(cls)
        near = (z[k + 1, n] - z[k, n]) / (self.points[k + 1] - self.points[k])
        far = (z[high, n] - z[low, n]) / (self.points[high] - self.points[low])
        rise: np.ndarray = np.clip(far, near / 2, near * 2)
        return rise

    def curvature_shift(
        self, cls: Float[np.ndarray, "test dataset"], found: Crossings, chosen: Int[np.ndarray, " chosen"]
    ) -> float:
        """How far the mean limit of some datasets would move if z were curved as the points beside have it.

        With the second divided difference c of z, of both sets of three points around the crossing: it is the mean of
        what leaving out either point next to it does, less what the longer interval does by itself. NaN without a
        third point whose CLs is between 0 and 1.
        """
        shifts = []
        for k in (found.first[chosen], found.last[chosen]):
            x = self._crossing(cls[:, chosen], k)
            n = np.arange(len(chosen))
            z = np.where(cls[:, chosen] < 1, z_of(cls[:, chosen]), np.nan)
            z[k, n], z[k + 1, n] = z_of(cls[k, chosen]), z_of(cls[k + 1, chosen])
            low, high = self.points[k], self.points[k + 1]
            slope = (z[k + 1, n] - z[k, n]) / (high - low)
            before, after = np.maximum(k - 1, 0), np.minimum(k + 2, len(self.points) - 1)
            with np.errstate(divide="ignore", invalid="ignore"):
                left = (slope - (z[k, n] - z[before, n]) / (low - self.points[before])) / (high - self.points[before])
                right = ((z[after, n] - z[k + 1, n]) / (self.points[after] - high) - slope) / (self.points[after] - low)
            sides = np.stack([np.where(k >= 1, left, np.nan), np.where(k + 2 < len(self.points), right, np.nan)])
            known = np.isfinite(sides)
            curvature = np.where(known, sides, 0).sum(axis=0) / np.where(known.any(axis=0), known.sum(axis=0), np.nan)
            shifts.append(curvature * (x - low) * (high - x) / slope)
        mean = np.concatenate(shifts)
        mean = mean[np.isfinite(mean)]
        return float(np.mean(mean)) if len(mean) else float("nan")


def z_of(cls: Float[np.ndarray, "*shape"] | float) -> Float[np.ndarray, "*shape"]:
    """Φ⁻¹(1 - CLs), continued by its tangent above CLs = ½."""
    z: np.ndarray = np.where(
        np.asarray(cls) < 0.5,
        -scipy.special.ndtri(np.minimum(cls, 0.5)),
        (0.5 - np.asarray(cls)) * np.sqrt(2 * np.pi),
    )
    return z


def _slope(cls: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """dz/dCLs."""
    z = np.maximum(z_of(cls), 0)
    slope: np.ndarray = -np.sqrt(2 * np.pi) * np.exp(z**2 / 2)
    return slope


def _passed(
    weight: Float[np.ndarray, " chosen"], below: Int[np.ndarray, " chosen"], size: int
) -> Float[np.ndarray, " toy"]:
    """Σ_i weight_i 1[toy ≥ dataset i] for each of ``size`` sorted toys, of which ``below`` lie below dataset i."""
    steps = np.bincount(below, weights=weight, minlength=size + 1)
    passed: np.ndarray = np.cumsum(steps)[:size]
    return passed
