"""How significant the largest of many local excesses is: by toys that all points share, and by Gross and Vitells."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import scipy.stats

from toymill.errors import ToymillError
from toymill.inference.p_values import PValue, counted
from toymill.record import NumberOrNone, Record

if TYPE_CHECKING:
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
