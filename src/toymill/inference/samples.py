"""The toys of a tested value and the background-only toys as one sample, of which each toy counts for both hypotheses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy

from toymill.errors import ToymillError
from toymill.record import NumberOrNone, Record

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_TRUSTED = 5.0  # errors, or toys, by which what densities foretell may differ from what toys are


class LogRatios(NamedTuple):
    """ln f_k/f_0 of toys: densities of all their data, at the truth of tested value k and without a signal.

    Attributes:
        signal: of the toys thrown at each tested value, at their own: K arrays (n_k,), failed toys included.
        background: of the background-only toys at each tested value, (K, N_b), likewise.
    """

    signal: Sequence[Float[np.ndarray, " toy"]]
    background: Float[np.ndarray, "test toy"]

    def shares(self, k: int) -> Float[np.ndarray, " toy"]:
        """The probability of the toys at a tested value to be of those with signal; see ``shares``."""
        return shares(np.concatenate([self.signal[k], self.background[k]]), len(self.signal[k]))


class PointWeights(Record):
    """How toys with and without a signal stand for each other at a tested value, and CLs of the observed data by them."""

    normalisation: NumberOrNone
    """The mean weight of all toys, as toys with signal; 1 up to its error if the densities are right."""
    normalisation_error: NumberOrNone
    """The Monte Carlo error of the mean weight."""
    overlap: NumberOrNone
    """Σs² of the background-only toys over Σs(1-s) of those with signal, s the probability of a toy to be of the latter; 1 up to its error likewise."""
    overlap_error: NumberOrNone
    """Its Monte Carlo error."""
    trusted: bool
    """Whether both are 1 within five errors, or but for five toys."""
    largest_weight: float
    """The largest weight of any toy, where the mean is 1."""
    clsb: NumberOrNone
    """CL_{s+b} of the observed data; null without them, like what follows."""
    clsb_error: NumberOrNone
    """Its Monte Carlo error; null where it is 0 or 1."""
    cls: NumberOrNone
    """CLs of the observed data."""
    cls_error: NumberOrNone
    """Its Monte Carlo error; null where CL_{s+b} is 0 or 1."""
    effective: NumberOrNone
    """Effective number of toys in the tail of CL_{s+b}, (Σw)²/Σw²."""


@dataclass(frozen=True)
class Sample:
    """Toys thrown at a tested value and background-only toys: certified ones, sorted by the statistic there.

    Attributes:
        q: the statistic, ascending, (n,).
        toy: which toy each is: those with signal from 0, background-only ones after them, (n,).
        share: how much of each counts as a toy with signal, the rest as a background-only one, (n,).
        thrown: toys with signal, and background-only toys.
        failed: how many of either are not certified.
        lost: how much of those counts as either.
    """

    q: Float[np.ndarray, " toy"]
    toy: Int[np.ndarray, " toy"]
    share: Float[np.ndarray, " toy"]
    thrown: tuple[int, int]
    failed: tuple[int, int]
    lost: tuple[float, float]

    @classmethod
    def of(
        cls, signal: Float[np.ndarray, " toy"], background: Float[np.ndarray, " toy"], share: Float[np.ndarray, " toy"]
    ) -> Sample:
        """Sort toys.

        Args:
            signal: the statistic of toys with signal, (n_k,); NaN for toys that are not certified.
            background: that of background-only toys, (n_b,); NaN likewise.
            share: see ``shares``, (n_k + n_b,).
        """
        q = np.concatenate([signal, background])
        failed = np.isnan(q)
        order = np.argsort(q)[: len(q) - np.count_nonzero(failed)].astype(np.int32)
        return cls(
            q=q[order],
            toy=order,
            share=share[order],
            thrown=(len(signal), len(background)),
            failed=(int(failed[: len(signal)].sum()), int(failed[len(signal) :].sum())),
            lost=(float(share[failed].sum()), float((1 - share[failed]).sum())),
        )

    @property
    def certified(self) -> tuple[int, int]:
        """Certified toys with signal, and background-only ones."""
        return self.thrown[0] - self.failed[0], self.thrown[1] - self.failed[1]

    @cached_property
    def sizes(self) -> tuple[float, float]:
        """How much of the certified toys counts as toys with signal, and as background-only ones."""
        (signal,), (background,) = self.beyond(np.zeros(1, dtype=np.int64))  # rounded as the tails are
        return float(signal), float(background)

    def beyond(
        self, below: Int[np.ndarray, " dataset"]
    ) -> tuple[Float[np.ndarray, " dataset"], Float[np.ndarray, " dataset"]]:
        """How much counts as either beyond datasets, of which so many toys lie ``below``."""
        signal, background = (
            np.append(np.cumsum(item[::-1])[::-1], 0.0)[below] for item in (self.share, 1 - self.share)
        )
        return signal, background

    def moved(
        self, by_clsb: Float[np.ndarray, " toy"], by_clb: Float[np.ndarray, " toy"]
    ) -> tuple[Float[np.ndarray, " signal"], Float[np.ndarray, " background"]]:
        """What each toy does to a number that depends on CL_{s+b} and CL_b, to first order.

        Both are means with weights, Σ w 1[q ≥ q_obs]/Σ w. The numbers of toys are fixed, so that the mean over toys of
        the same truth is taken off.

        Args:
            by_clsb: how far the number moves with CL_{s+b} of all datasets that the toy is beyond, in sum, (n,).
            by_clb: likewise with CL_b.

        Returns:
            The shifts by all toys thrown, (n_k,) and (n_b,); 0 for toys that are not certified.
        """
        found = np.zeros(len(self.q))
        for weight, size, by in ((self.share, self.sizes[0], by_clsb), (1 - self.share, self.sizes[1], by_clb)):
            found += weight * ((by - np.sum(weight * by) / size) / size)
        every = np.zeros(sum(self.thrown))
        own = self.toy < self.thrown[0]
        for stratum in (own, ~own):
            if stratum.any():
                every[self.toy[stratum]] = found[stratum] - found[stratum].mean()
        return every[: self.thrown[0]], every[self.thrown[0] :]


def shares(log_ratio: Float[np.ndarray, " toy"], signal: int) -> Float[np.ndarray, " toy"]:
    """The probability that a toy is of those with signal, s = n_k f_k/(n_k f_k + n_b f_0), (n,).

    s/n_k is the weight by which a toy counts in CL_{s+b} and (1 - s)/n_b that in CL_b: the balance heuristic, as
    ``mixture.weights`` has it.

    Args:
        log_ratio: ln f_k/f_0 of each toy: those with signal, then the background-only ones, (n,).
        signal: the former, n_k.

    Example:
        >>> x = np.array([2.0, 1.0, 0.0, -1.0])  # two toys of a unit normal at 2, two at 0
        >>> shares(2 * x - 2, 2).round(3).tolist()
        [0.881, 0.5, 0.119, 0.018]
    """
    with np.errstate(divide="ignore"):
        prior = np.log(signal) - np.log(len(log_ratio) - signal)
    found: np.ndarray = scipy.special.expit(log_ratio + prior)
    return found


def require_ratio_of_each(
    ratios: LogRatios, signal: Sequence[Float[np.ndarray, " toy"]], background: Float[np.ndarray, "test toy"]
) -> None:
    """Check that there is a ratio for every toy.

    Raises:
        ToymillError: where there is not.
    """
    expected, got = ([len(row) for row in rows] for rows in (signal, ratios.signal))
    shape = np.shape(ratios.background)
    if expected != got or shape != background.shape:
        msg = (
            f"log_ratios are of {got} toys with signal, and have the shape {shape} for background-only ones; expected "
            f"{expected} and {background.shape}: one of each toy, failed toys included."
        )
        raise ToymillError(msg)


def told_of(share: Float[np.ndarray, " toy"], signal: int) -> PointWeights:
    """What tells whether densities are those of the toys: toys of a probability s to be of signal are so in s of cases.

    Args:
        share: of each toy: those with signal, then the background-only ones, (n,).
        signal: the former.
    """
    own = np.arange(len(share)) < signal
    off, errors, units = np.zeros(2), np.zeros(2), np.array([signal, (share * (1 - share))[own].sum()])
    for k, part in enumerate((np.where(own, share - 1, share), np.where(own, -share * (1 - share), share**2))):
        off[k] = part.sum()
        errors[k] = np.sqrt(sum(np.sum((some - some.mean()) ** 2) for some in (part[own], part[~own]) if len(some)))
    with np.errstate(divide="ignore", invalid="ignore"):
        (normalisation, overlap), (normalisation_error, overlap_error) = 1 + off / units, errors / units
    return PointWeights(
        normalisation=normalisation,
        normalisation_error=normalisation_error,
        overlap=overlap,
        overlap_error=overlap_error,
        trusted=bool((np.abs(off) <= _TRUSTED * np.hypot(errors, 1)).all()),
        largest_weight=float(np.nan_to_num(share).max(initial=0.0)) * len(share) / max(signal, 1),
        clsb=None,
        clsb_error=None,
        cls=None,
        cls_error=None,
        effective=None,
    )


def weighted_tails(sample: Sample, q: float, told: PointWeights) -> PointWeights:
    """CL_{s+b} and CLs of one value of the statistic, besides what is told of the weights."""
    below = int(np.searchsorted(sample.q, q))
    (clsb,), (clb,) = (item / size for item, size in zip(sample.beyond(np.array([below])), sample.sizes, strict=True))
    beyond, tail = (np.arange(len(sample.q)) >= below).astype(float), sample.share[below:]

    def error(by_clsb: float, by_clb: float) -> float:
        return float(np.sqrt(sum(np.sum(shift**2) for shift in sample.moved(by_clsb * beyond, by_clb * beyond))))

    squares, within = float(np.sum(tail**2)), 0 < clsb < 1
    return told.model_copy(
        update={
            "clsb": float(clsb),
            "clsb_error": error(1.0, 0.0) if within else None,
            "cls": float(clsb / clb) if clb else None,
            "cls_error": error(1 / clb, -clsb / clb**2) if clb and within else None,
            "effective": float(tail.sum() ** 2 / squares) if squares else 0.0,
        }
    )


def why_unweighted(points: Float[np.ndarray, " test"], told: Sequence[PointWeights]) -> str:
    """Why toys are not weighted, in words: no densities, or what is told of the weights at the tested values."""
    wrong = [k for k, item in enumerate(told) if not item.trusted]
    if not wrong:
        return "Without densities of the toys, each counts for its own truth point alone."
    poi, found = points[wrong[0]], told[wrong[0]]
    return (
        f"The toys are not of the densities that the model states: where {poi:.4g} is tested, their mean weight is "
        f"{_with_error(found.normalisation, found.normalisation_error)} and their overlap "
        f"{_with_error(found.overlap, found.overlap_error)}, both expected to be 1. Toys are therefore not weighted: each "
        "counts for its own truth point alone, and limits have larger errors."
    )


def _with_error(value: float | None, error: float | None) -> str:
    return "not a number" if value is None or error is None else f"{value:.4g} ± {error:.2g}"
