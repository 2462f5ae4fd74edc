"""How significant the largest of many local excesses is: by toys that all points share, and by Gross and Vitells."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import scipy

from toymill.errors import ToymillError
from toymill.inference.mixture import MixtureTail, mixture_tail, stratified_error
from toymill.inference.p_values import PValue, counted
from toymill.record import NumberOrNone, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Int

REFERENCE = 1.0
"""c_0: the value of q_0 whose up-crossings are counted. Toys have many there, and the formula holds above it."""


class UpCrossings(Record):
    """How often q_0 rises above a value along a grid, in background-only toys."""

    level: float
    """The value c_0."""
    mean: NumberOrNone
    """Mean number over the toys that are certified at every point; null without any."""
    error: NumberOrNone
    """Its Monte Carlo error."""
    toys: int
    """Toys that are certified at every point."""
    failed: int
    """Toys that are not."""
    if_failed_low: NumberOrNone
    """The mean over all toys, if the failed fits lie such that it is smallest."""
    if_failed_high: NumberOrNone
    """The mean over all toys, if they lie such that it is largest."""


class GrossVitells(Record):
    """The global p-value by the formula of Gross and Vitells."""

    crossings: UpCrossings
    """The up-crossings that it starts from."""
    value: float
    """The p-value, 1 at most."""
    error: NumberOrNone
    """Its Monte Carlo error, of the number of up-crossings."""
    significance: NumberOrNone
    """Z = Φ⁻¹(1 - p); null where p is 1."""


class Overlap(Record):
    """The global p-value of one significance, by weighted toys and by those without tilt alone."""

    z: int
    """The significance Z: of a largest q_0 of Z²."""
    weighted: MixtureTail
    """The p-value by the weighted toys."""
    plain: PValue
    """The p-value by the toys without tilt."""
    pull: NumberOrNone
    """Their difference in units of its Monte Carlo error, by which toys that both count cancel; null where it is none."""


class WeightedGlobal(Record):
    """Local and global p-value of the largest excess by weighted toys, of which most are thrown about excesses."""

    tilted: int
    """Toys that are thrown about excesses, of all points."""
    local: MixtureTail
    """The local p-value."""
    p_value: MixtureTail
    """The global p-value."""
    overlap: list[Overlap]
    """Both ways where toys without tilt lie beyond, up to the observed significance."""


def global_p_value(q_0: Float[np.ndarray, "point toy"], observed: float, tolerance: float = 0.0) -> PValue:
    """P(max over the points of q_0 ≥ observed) of toys without a signal, with its Clopper-Pearson interval.

    A toy whose fits have failed at some points lies beyond if it does so at another. Otherwise it counts as failed.

    Args:
        q_0: q_0 of the same toys at each point, (K, N); NaN where a fit is not certified.
        observed: the largest q_0 of the observed data.
        tolerance: values of q_0 that differ by less are ties; see ``p_values.tie_tolerance``.

    Raises:
        ToymillError: an array that has not two axes, or no point.

    Example:
        >>> q = np.array([[0.0, 5.0, 1.0, np.nan], [2.0, 0.0, np.nan, 6.0]])
        >>> found = global_p_value(q, 4.0)
        >>> found.beyond, found.toys, found.failed
        (2, 3, 1)
    """
    q = _points(q_0)
    beyond = np.any(q >= observed - tolerance, axis=0)
    failed = np.isnan(q).any(axis=0) & ~beyond
    return counted(int(np.count_nonzero(beyond)), int(np.count_nonzero(~failed)), int(np.count_nonzero(failed)))


def weighted_global(
    q_0: Float[np.ndarray, "point toy"],
    weights: Float[np.ndarray, " toy"],
    counts: Sequence[int],
    observed: float,
    *,
    largest: int,
    tolerance: float = 0.0,
) -> WeightedGlobal:
    """P(max over the points of q_0 ≥ observed) without a signal, by toys of several truths (``mixture.mixture_tail``).

    Toys are thrown without a signal, and about the excess of each point, so that each of the ways in which the maximum can
    be large has its toys. A toy with failed fits is taken as by ``global_p_value``.

    Args:
        q_0: q_0 of the same toys at each point, (K, n), truth after truth; NaN where a fit is not certified.
        weights: their weights for the hypothesis without a signal, (n,).
        counts: toys of each truth; the first is without a signal.
        observed: the largest q_0 of the observed data.
        largest: the point that has it, counted from 0.
        tolerance: values of q_0 that differ by less are ties.

    Raises:
        ToymillError: arrays that do not fit one another.

    Example:
        Two independent normal measurements, one of them 5 standard deviations high: p = 1 - (1 - 2.87e-7)² = 5.73e-7.

        >>> from toymill.inference.mixture import weights
        >>> tilts = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
        >>> x = np.random.default_rng(1).normal(size=(3, 4000, 2)) + tilts[:, None]
        >>> x = x.reshape(-1, 2)
        >>> log_f = -np.sum((x - tilts[:, None]) ** 2, axis=2) / 2
        >>> w = weights(log_f, [4000] * 3, log_f[0])
        >>> found = weighted_global(np.maximum(x.T, 0) ** 2, w, [4000] * 3, 25.0, largest=0)
        >>> f"{found.p_value.value:.3g} ± {found.p_value.error:.1g}, {found.local.value:.3g}"
        '5.71e-07 ± 2e-08, 2.79e-07'
    """
    q = _points(q_0)
    highest, uncertain = np.max(np.nan_to_num(q, nan=-np.inf), axis=0), np.isnan(q).any(axis=0)

    def at(value: float) -> tuple[MixtureTail, Float[np.ndarray, " toy"]]:
        beyond = highest >= value - tolerance
        return mixture_tail(np.where(uncertain & ~beyond, np.nan, highest), weights, counts, value, tolerance), beyond

    together, _ = at(observed)
    overlap, edges, first = [], np.cumsum(counts)[:-1], counts[0]
    for z in range(1, int(math.sqrt(max(observed, 0.0))) + 1):
        weighted, beyond = at(float(z**2))
        if not beyond[:first].any():
            break
        plain = np.zeros(len(weights))
        plain[:first] = len(weights) / first * beyond[:first]
        differs = weights * beyond - plain
        error = stratified_error(differs, edges)
        overlap.append(
            Overlap(
                z=z,
                weighted=weighted,
                plain=global_p_value(q[:, :first], float(z**2), tolerance),
                pull=float(np.mean(differs)) / error if error > 0 else None,
            )
        )
    return WeightedGlobal(
        tilted=int(sum(counts[1:])),
        local=mixture_tail(q[largest], weights, counts, observed, tolerance),
        p_value=together,
        overlap=overlap,
    )


def up_crossings(q_0: Float[np.ndarray, "point toy"], level: float = REFERENCE) -> UpCrossings:
    """The mean number of times that q_0 rises above a level from one point of an ordered grid to the next.

    Args:
        q_0: q_0 of the same toys at each point, in the order of the grid, (K, N); NaN where a fit is not certified.
        level: c_0.

    Raises:
        ToymillError: an array that has not two axes, or no point.

    Example:
        >>> found = up_crossings(np.array([[0.0, 2.0], [3.0, 0.0], [0.0, 5.0], [2.0, 4.0]]))
        >>> found.mean, found.toys
        (1.5, 2)
    """
    q = _points(q_0)
    least, most = _fewest(q, level), -_fewest(q, level, sign=-1)
    known = ~np.isnan(q).any(axis=0)
    counts, toys = least[known], int(np.count_nonzero(known))
    return UpCrossings(
        level=level,
        mean=float(np.mean(counts)) if toys else None,
        error=float(np.std(counts, ddof=1) / np.sqrt(toys)) if toys > 1 else None,
        toys=toys,
        failed=q.shape[1] - toys,
        if_failed_low=float(np.mean(least)) if q.shape[1] else None,
        if_failed_high=float(np.mean(most)) if q.shape[1] else None,
    )


def gross_vitells(crossings: UpCrossings, observed: float) -> GrossVitells | None:
    """The global p-value of the largest q_0 over an ordered grid (Gross and Vitells, arXiv:1005.1891, eqs. 1 and 3).

        P(max q_0 > c) ≤ P(q_0 > c) + ⟨N(c)⟩,  ⟨N(c)⟩ = ⟨N(c_0)⟩ exp(-(c - c_0)/2),  P(q_0 > c) = 1 - Φ(√c)

    where q_0 is asymptotic, with one parameter of interest. ⟨N(c_0)⟩ is of a grid so fine that neighbouring points are
    much alike.

    Args:
        crossings: the up-crossings of c_0.
        observed: c, the largest q_0 of the observed data.

    Returns:
        The p-value; None where c is below c_0, or no toy tells the number of up-crossings.

    Example:
        >>> found = gross_vitells(up_crossings(np.tile([[0.0], [2.0]], 100), 1.0), 9.0)
        >>> round(found.value, 5), found.error
        (0.01967, 0.0)
    """
    if crossings.mean is None or observed < crossings.level:
        return None
    falls = math.exp(-(observed - crossings.level) / 2)
    value = min(float(scipy.stats.norm.sf(math.sqrt(observed))) + crossings.mean * falls, 1.0)
    return GrossVitells(
        crossings=crossings,
        value=value,
        error=None if crossings.error is None else crossings.error * falls,
        significance=float(scipy.stats.norm.isf(value)),
    )


def _points(q_0: Float[np.ndarray, "point toy"]) -> Float[np.ndarray, "point toy"]:
    q = np.asarray(q_0)
    if q.ndim != 2 or not len(q):
        msg = f"q_0 has the shape {q.shape}; expected a row for each point, with all toys."
        raise ToymillError(msg)
    return q


def _fewest(q: Float[np.ndarray, "point toy"], level: float, sign: int = 1) -> Int[np.ndarray, " toy"]:
    """The fewest up-crossings of each toy, (N,), whatever q_0 is where it is not known; negative: the most, for sign -1.

    Of each toy the smallest count is kept that ends below, and that ends above; a state that is known not to be costs
    more than all points.
    """
    never = 2 * len(q)
    below: np.ndarray = np.where(q[0] > level, never, 0)
    above: np.ndarray = np.where(q[0] <= level, never, 0)
    for row in q[1:]:
        ends_below, ends_above = np.minimum(below, above), np.minimum(below + sign, above)
        below = np.where(row > level, never, ends_below)
        above = np.where(row <= level, never, ends_above)
    fewest: np.ndarray = np.minimum(below, above)
    return fewest
