"""Where curves of counted CLs cross 1 - level, of many datasets at once, and how each toy moves the crossing.

Between test points a curve is interpolated linearly in z = Φ⁻¹(1 - CLs): for a Gaussian measurement z of CL_{s+b} is
linear in μ, and z of CLs nearly so. Above CLs = ½, z is continued by its tangent, so that it is finite at CLs = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import scipy

from toymill.errors import ToymillError
from toymill.inference.samples import (
    LogRatios,
    PointWeights,
    Sample,
    require_ratio_of_each,
    told_of,
    weighted_tails,
    why_unweighted,
)

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

Method = Literal["CLs", "CLsb"]
"""CLs = CL_{s+b}/CL_b, or CL_{s+b} alone."""

Case = Literal["certified", "low", "high"]
"""What failed toys count as: nothing, or what makes CLs smallest or largest."""

EMPTY = 0.5
"""The count that a tail without toys stands for, so that its z is finite: half a toy."""


class Counts(NamedTuple):
    """The toys beyond each dataset's statistic, at each test point.

    Attributes:
        below: certified toys of both kinds that are not, (K, N).
        signal: how many count as toys with signal, (K, N); whole numbers unless toys are weighted.
        background: how many count as background-only ones, (K, N).
    """

    below: Int[np.ndarray, "test dataset"]
    signal: Float[np.ndarray, "test dataset"]
    background: Float[np.ndarray, "test dataset"]


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
        signal: the variance by the toys thrown at each test point, (K,).
        background: the shift by each background-only toy, (N_b,); its sum is 0.
    """

    signal: Float[np.ndarray, " test"]
    background: Float[np.ndarray, " toy"]


@dataclass(frozen=True)
class Curves:
    """Toys of which CLs is counted at each test point.

    Attributes:
        points: the tested values, ascending, (K,).
        samples: the toys at each of them, with signal and background-only.
        background_toys: background-only toys, certified or not.
        told: of each of them, what the densities of its toys tell; empty without densities.
        weighted: whether each toy counts for both hypotheses.
        alpha: 1 - level.
        method: CLs or CL_{s+b}.
        tolerance: values of q that differ by less are ties.
    """

    points: Float[np.ndarray, " test"]
    samples: list[Sample]
    background_toys: int
    told: list[PointWeights]
    weighted: bool
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
        log_ratios: LogRatios | None = None,
    ) -> Curves:
        """Sort toys, after a check of the shapes.

        They are not weighted where the densities are not those of the toys.

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
        if log_ratios is not None:
            require_ratio_of_each(log_ratios, signal, background)
        told = [] if log_ratios is None else [told_of(log_ratios.shares(k), len(own)) for k, own in enumerate(signal)]
        weighted = bool(told) and all(item.trusted for item in told)
        samples = []
        for k, own in enumerate(signal):
            share = np.repeat([1.0, 0.0], [len(own), background.shape[1]])
            if log_ratios is not None and weighted:
                share = log_ratios.shares(k)
            samples.append(Sample.of(np.asarray(own), background[k], share))
        return cls(
            points=points,
            samples=samples,
            background_toys=background.shape[1],
            told=told,
            weighted=weighted,
            alpha=1 - level,
            method=method,
            tolerance=tolerance,
        )

    def only(self, kept: Bool[np.ndarray, " test"]) -> Curves:
        """The curves at some of the points."""
        at = np.flatnonzero(kept)
        return replace(
            self,
            points=self.points[at],
            samples=[self.samples[k] for k in at],
            told=[self.told[k] for k in at] if self.told else [],
        )

    @property
    def usable(self) -> Bool[np.ndarray, " test"]:
        """Points with certified toys of both kinds, (K,)."""
        return np.array([min(sample.certified) > 0 for sample in self.samples])

    @property
    def signal_toys(self) -> Int[np.ndarray, " test"]:
        """Certified toys with signal, (K,)."""
        return np.array([sample.certified[0] for sample in self.samples])

    @property
    def background_certified(self) -> Int[np.ndarray, " test"]:
        """Certified background-only toys, (K,)."""
        return np.array([sample.certified[1] for sample in self.samples])

    @property
    def some_failed(self) -> bool:
        """Whether any toy is not certified."""
        return any(any(sample.failed) for sample in self.samples)

    @property
    def why_unweighted(self) -> str | None:
        """Why each toy counts for its own truth point alone, in words; None where toys are weighted."""
        return None if self.weighted else why_unweighted(self.points, self.told)

    def weights_at(self, k: int, q: float) -> PointWeights | None:
        """What the weights at a tested value are, and CLs of a value of the statistic by them."""
        if not self.told:
            return None
        if np.isnan(q) or not self.weighted or not self.usable[k]:
            return self.told[k]
        return weighted_tails(self.samples[k], q - self.tolerance, self.told[k])

    def count(self, datasets: Float[np.ndarray, "test dataset"]) -> Counts:
        """Count the toys beyond each of N datasets, of which the statistic is given, (K, N)."""
        found = []
        for sample, q in zip(self.samples, datasets, strict=True):
            below = np.searchsorted(sample.q, q - self.tolerance)
            found.append((below, *sample.beyond(below)))
        return Counts(*(np.array(item).reshape(datasets.shape) for item in zip(*found, strict=True)))

    def tails(self, counts: Counts, case: Case = "certified") -> Tails:
        """CL_{s+b}, CL_b and CLs of each dataset.

        An empty tail stands for half a toy, so that z is finite, but CLs of it for half of 1 - level at most: no toy
        says that CLs is larger.
        """
        (signal, background), (failed, lost) = (
            np.array(item)[:, :, None].swapaxes(0, 1)
            for item in ([sample.sizes for sample in self.samples], [sample.lost for sample in self.samples])
        )
        above, below = (np.where(item > 0, item, EMPTY) for item in (counts.signal, counts.background))
        if case == "low":
            clsb, clb = above / (signal + failed), (below + lost) / (background + lost)
        elif case == "high":
            clsb, clb = (above + failed) / (signal + failed), below / (background + lost)
        else:
            clsb, clb = above / signal, below / background
        if self.method == "CLsb":
            clb = np.ones_like(clsb)
        cls = clsb / clb
        empty = counts.signal + (failed if case == "high" else 0.0) <= 0
        return Tails(clsb, clb, np.where(empty, np.minimum(cls, self.alpha / 2), cls))

    def cls(
        self, datasets: Float[np.ndarray, "test dataset"], case: Case = "certified"
    ) -> Float[np.ndarray, "test dataset"]:
        """CLs of each dataset, (K, N), NaN where it is not known; point by point, since datasets may be many."""
        found = np.empty(datasets.shape)
        for k, q in enumerate(datasets):
            one = self.only(np.arange(len(self.points)) == k)
            found[k] = np.where(np.isnan(q), np.nan, one.tails(one.count(q[None]), case).cls[0])
        return found

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

        Each toy changes CL_{s+b} and CL_b by w (1[q ≥ q_obs] - CL)/Σw, at every point where it counts; w is 1 or 0 unless
        toys are weighted. Toys with signal are independent between points; a background-only toy is the same at all.

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
            rise = self._rise(cls, k, counts.signal[:, chosen] > 0)
            by_cls[k, n] -= (1 - share) / rise * _slope(cls[k, n]) / 2
            by_cls[k + 1, n] -= share / rise * _slope(cls[k + 1, n]) / 2
        by_cls /= len(chosen)
        variance, background = np.zeros(len(self.points)), np.zeros(self.background_toys)
        for k in np.flatnonzero(by_cls.any(axis=1)):
            sample, below = self.samples[k], counts.below[k, chosen]
            weight = by_cls[k] / clb[k]
            by_clsb = _passed(weight, below, len(sample.q))
            by_clb = np.zeros_like(by_clsb)
            if self.method == "CLs":
                by_clb = _passed(-weight * cls[k], below, len(sample.q))
            by_signal, by_background = sample.moved(by_clsb, by_clb)
            background += by_background
            variance[k] = np.sum(by_signal**2)
            empty = counts.signal[k, chosen] <= 0  # as of a single toy
            variance[k] += (np.abs(weight[empty]).sum() / sample.sizes[0]) ** 2
        return Influence(variance, background)

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
