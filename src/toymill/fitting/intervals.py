"""Profile likelihood intervals: where t = 2 (conditional nll - free nll) passes a level, for many toys at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from toymill import budget
from toymill.errors import ToymillError
from toymill.fitting.batching import block_size
from toymill.fitting.end_status import EndStatus as EndStatus
from toymill.fitting.fit import fit
from toymill.fitting.results import EDM_TOLERANCE, REPAIR, Fits, concatenate, profile_direction, replace_rows
from toymill.models.base import Model

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int8
    from numpy.typing import ArrayLike

T_TOLERANCE = 1e-6
"""An end is found where t is this close to its level: 5e-7 σ/√level in the parameter, where t is a parabola."""

_STEPS = 48  # conditional fits of one end; four to six are enough where t is smooth
_ROUND = 16  # steps after which a search that goes on mistrusts the fits with t above the level
_HALVING = 8  # steps of a round from which on every other one halves the bracket
_FAILURES = 12  # conditional fits of one end that may fail: after each, the next goes half the way
_GROWTH = 4.0  # until t has passed the level, a step goes this many times as far as the last at most
_REPEATS = 5  # times that a toy's free fit is repeated from below


@dataclass(frozen=True)
class Intervals:
    """Profile likelihood intervals of one parameter, of n toys at L levels.

    Attributes:
        parameter: name of the parameter.
        levels: the levels of t, length L.
        free: the free fits, without covariances; ``free.parameter(parameter)`` is the best fit, (n,).
        low: lower ends, (n, L): the bound where it is inside the interval, NaN where no end was found.
        high: upper ends, (n, L).
        low_status: how the search for each lower end ended, an ``EndStatus``, (n, L).
        high_status: the same of the upper ends, (n, L).
    """

    parameter: str
    levels: tuple[float, ...]
    free: Fits
    low: Float[np.ndarray, "toy level"]
    high: Float[np.ndarray, "toy level"]
    low_status: Int8[np.ndarray, "toy level"]
    high_status: Int8[np.ndarray, "toy level"]

    @property
    def ok(self) -> Bool[np.ndarray, "toy level"]:
        """True where both ends are known, (n, L)."""
        known: np.ndarray = (self.low_status != EndStatus.NOT_FOUND) & (self.high_status != EndStatus.NOT_FOUND)
        return known


@dataclass
class _Search:
    """The search for m = n · 2 · L ends, ordered by toy, side and level; distances are from the best fit, outwards.

    Attributes:
        toy: row of the toy, (m,).
        index: gives each end a lane of its own, whichever toys are computed along with it, (m,).
        side: -1 for a lower end, 1 for an upper one, (m,).
        root: √level, (m,).
        room: distance to the parameter's bound, (m,).
        sigma: the parameter's error; 0 for a best fit at a bound or a kink, where t begins linearly, (m,).
        inside: the largest distance at which t is known to be below the level, (m,).
        outside: the smallest one at which it is known to be above; infinite at first, (m,).
        barrier: where the last fit failed; infinite if it did not, since from nearer by it may succeed, (m,).
        distance: of the last two certified conditional fits, the newest first; NaN if there are none, (m, 2).
        s: their √t, (m, 2).
        at: parameters of the farthest one with t below the level, at first of the free fit, (m, P).
        beyond: those of the farthest one with t above it, (m, P).
        confirming: True where t was found to be the level, and the fit is repeated from ``beyond``, (m,).
        steps: conditional fits tried, (m,).
        failures: those of them that failed, (m,).
        end: the parameter's value at the end, (m,).
        status: an ``EndStatus``, or -1 as long as the search goes on, (m,).
    """

    toy: np.ndarray
    index: np.ndarray
    side: np.ndarray
    root: np.ndarray
    room: np.ndarray
    sigma: np.ndarray
    inside: np.ndarray
    outside: np.ndarray
    barrier: np.ndarray
    distance: np.ndarray
    s: np.ndarray
    at: np.ndarray
    beyond: np.ndarray
    confirming: np.ndarray
    steps: np.ndarray
    failures: np.ndarray
    end: np.ndarray
    status: np.ndarray


def profile_interval(
    model: Model,
    data: ArrayLike,
    parameter: str | None = None,
    *,
    levels: Sequence[float] = (1.0, 3.84),
    index: ArrayLike | None = None,
    tolerance: float = T_TOLERANCE,
    edm_tolerance: float = EDM_TOLERANCE,
) -> Intervals:
    """Profile likelihood interval of a parameter for every dataset: where t_μ ≤ level, around the best fit.

    The ends are where t(μ) = 2 (nll of the fit with μ held - nll of the free fit), CCGV eq. 8, equals the level
    (MINOS; James and Roos, Computer Physics Communications 10 (1975) 343): 1 for 68.27 % and 3.84 for 95 % where t follows χ²₁.
    A search goes outwards from the best fit. If t has several minima, the interval is the piece around the lowest
    that the free fit finds, as far as the steps see: a rise and fall of t between two of them goes unnoticed.

    Args:
        model: the model.
        data: main and auxiliary data, shape (n, D) or (D,).
        parameter: whose interval; the model's parameter of interest if None.
        levels: values of t, each above the tolerance.
        index: index of each toy in its ensemble, shape (n,), as in ``fit``: an interval has the same bits
            whichever toys are computed along with it.
        tolerance: how close t is to its level at an end that is found.
        edm_tolerance: the largest estimated distance to the minimum of a certified fit.

    Returns:
        The intervals; none raises, each end has a status.

    Raises:
        ToymillError: what ``fit`` refuses, a parameter that the model fixes, levels that are not such numbers.

    Example:
        >>> import jax, toymill
        >>> jax.config.update("jax_enable_x64", True)
        >>> model = toymill.read_workspace("tests/data/onoff.json")
        >>> found = toymill.profile_interval(model, model.observed, levels=[1.0])
        >>> found.low.round(4).tolist(), found.high.round(4).tolist(), found.high_status.tolist()
        ([[0.6848]], [[1.3179]], [[1]])
    """
    name = model.parameters.names[model.poi_index] if parameter is None else parameter
    position = model.parameters.index(name)
    if model.parameters.fixed[position]:
        msg = f"Parameter {name!r} is fixed by the model: it has no interval. Free it there, or name another parameter."
        raise ToymillError(msg)
    wanted = np.asarray(levels, dtype=np.float64)
    if wanted.ndim != 1 or not wanted.size or not np.all(np.isfinite(wanted) & (wanted > tolerance)):
        msg = f"levels are {levels!r}; expected a list of finite numbers above the tolerance, {tolerance:g}."
        raise ToymillError(msg)
    toys = np.atleast_2d(np.asarray(data, dtype=np.float64))
    indices = np.arange(len(toys)) if index is None else np.asarray(index)
    ends_of_toy = 2 * len(wanted)
    per_toy = 8 * ends_of_toy * max(len(model.parameters), toys.shape[-1])
    size = max(budget.INTERVAL_ENDS // per_toy // block_size(model), 1) * block_size(model)
    free, searches = [], []
    for first in range(0, max(len(toys), 1), size):
        rows = slice(first, first + size)
        fits, search = _searched(model, toys[rows], position, wanted, indices[rows], tolerance, edm_tolerance)
        free.append(replace(fits, column=None))
        searches.append(search)
    end, status = (
        np.concatenate([getattr(search, item) for search in searches]).reshape(-1, 2, len(wanted))
        for item in ("end", "status")
    )
    return Intervals(
        parameter=name,
        levels=tuple(wanted.tolist()),
        free=concatenate(free),
        low=end[:, 0],
        high=end[:, 1],
        low_status=status[:, 0],
        high_status=status[:, 1],
    )


def _searched(
    model: Model,
    toys: np.ndarray,
    position: int,
    levels: np.ndarray,
    index: np.ndarray,
    tolerance: float,
    edm_tolerance: float,
) -> tuple[Fits, _Search]:
    """Free fits and finished searches of some toys: every step fits all ends that are still searched for."""
    name = model.parameters.names[position]
    free = fit(model, toys, index=index, tolerance=edm_tolerance, covariance=False, along=name)
    search = _started(model, free, position, levels, index)
    repeats = np.zeros(len(toys), dtype=np.int64)
    while (search.status < 0).any():
        rows = np.flatnonzero(search.status < 0)
        toy = search.toy[rows]
        distance = _proposed(search, model, position)[rows]
        value = _value(search, rows, distance, free.parameters[toy, position], model.parameters.bounds[position])
        near = np.where(search.confirming[rows, None], search.beyond[rows], search.at[rows])
        start = near + profile_direction(free, position)[toy] * (value - near[:, position])[:, None]
        conditional = fit(
            model,
            toys[toy],
            {name: value},
            start=np.clip(start, *model.parameters.bounds.T),
            index=search.index[rows],
            tolerance=edm_tolerance,
            covariance=False,
        )
        _advance(search, rows, distance, value, conditional, free.nll[toy], tolerance)
        below = np.flatnonzero(conditional.ok & (conditional.nll < free.nll[toy] - REPAIR))
        if below.size:
            lowest = below[np.lexsort((conditional.nll[below], toy[below]))]
            again, first = np.unique(toy[lowest], return_index=True)
            start = conditional.parameters[lowest[first]]
            lower = _repeated(model, toys, free, position, again, start, index, edm_tolerance)
            repeats[again] += 1
            lower &= repeats[again] <= _REPEATS
            _put(search, _started(model, free, position, levels, index), np.isin(search.toy, again[lower]))
            _give_up(search, np.isin(search.toy, again[~lower]))
    return free, search


def _started(model: Model, free: Fits, position: int, levels: np.ndarray, index: np.ndarray) -> _Search:
    """The search at its start; it is over for a free fit that is not certified, and on the side of a bound it is at."""
    count = len(free.nll)
    ends = 2 * len(levels)
    toy = np.repeat(np.arange(count), ends)
    side = np.tile(np.repeat([-1.0, 1.0], len(levels)), count)
    low, high = model.parameters.bounds[position]
    best = free.parameters[toy, position]
    sigma = free.errors[toy, position]
    search = _Search(
        toy=toy,
        index=np.repeat(index, ends) * ends + np.tile(np.arange(ends), count),
        side=side,
        root=np.tile(np.sqrt(levels), 2 * count),
        room=np.where(side < 0, best - low, high - best),
        sigma=np.where(np.isfinite(sigma), sigma, 0.0),
        inside=np.zeros(len(toy)),
        outside=np.full(len(toy), np.inf),
        barrier=np.full(len(toy), np.inf),
        distance=np.full((len(toy), 2), np.nan),
        s=np.full((len(toy), 2), np.nan),
        at=free.parameters[toy],
        beyond=free.parameters[toy],
        confirming=np.zeros(len(toy), dtype=bool),
        steps=np.zeros(len(toy), dtype=np.int64),
        failures=np.zeros(len(toy), dtype=np.int64),
        end=np.full(len(toy), np.nan),
        status=np.full(len(toy), -1, dtype=np.int8),
    )
    bounded = search.room <= 0
    search.end[bounded] = np.where(side < 0, low, high)[bounded]
    search.status[bounded] = EndStatus.AT_BOUND
    _give_up(search, ~free.ok[toy])
    return search


def _proposed(search: _Search, model: Model, position: int) -> np.ndarray:
    """How far to go next, (m,).

    Inverse interpolation of distance d as a function of s = √t, nearly a straight line: d(s) = σ s + g(s) s² with g
    linear through the last two fits, which holds d = 0 and d' = σ at s = 0. With σ = 0 it is the straight line of t.
    A proposal outside the bracket gives way to the bracket's middle, and so does every other one of a long round.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        g = (search.distance - search.sigma[:, None] * search.s) / search.s**2
        slope = (g[:, 0] - g[:, 1]) / (search.s[:, 0] - search.s[:, 1])
        at_root = g[:, 0] + np.where(np.isfinite(slope), slope, 0.0) * (search.root - search.s[:, 0])
    at_root = np.where(np.isnan(search.s[:, 0]), 0.0, at_root)
    proposal = search.sigma * search.root + at_root * search.root**2
    scale = 0.1 * max(abs(model.parameters.init[position]), 1.0)
    farthest = np.where(search.inside > 0, _GROWTH * search.inside, np.where(search.sigma > 0, np.inf, scale))
    proposal = np.where(proposal > search.inside, np.minimum(proposal, farthest), farthest)
    limit = np.minimum(search.outside, search.barrier)
    slow = (search.steps % _ROUND >= _HALVING) & (search.steps % 2 == 1)
    halve = np.isfinite(limit) & (slow | (proposal >= limit))
    proposal = np.where(halve, 0.5 * (search.inside + limit), proposal)
    distance: np.ndarray = np.where(search.confirming, search.distance[:, 0], np.minimum(proposal, search.room))
    return distance


def _value(search: _Search, rows: np.ndarray, distance: np.ndarray, best: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """The parameter's value at a distance from its best fit: exactly the bound where it is reached."""
    low, high = bounds
    bound = np.where(search.side[rows] < 0, low, high)
    inside = np.clip(best + search.side[rows] * distance, low, high)
    value: np.ndarray = np.where(distance >= search.room[rows], bound, inside)
    return value


def _advance(
    search: _Search,
    rows: np.ndarray,
    distance: np.ndarray,
    value: np.ndarray,
    conditional: Fits,
    free_nll: np.ndarray,
    tolerance: float,
) -> None:
    """Take in what the conditional fits of some ends say.

    A fit may miss the lower of two minima, so that t is too large there. Every fit starts from one with t below the
    level, and after a round without an end those above it are forgotten: the next ones start from nearer by, and stay in
    that minimum. An end counts only after a fit from farther out, which may stay in another minimum, ended no lower.
    """
    level, ok = search.root[rows] ** 2, conditional.ok
    t = np.where(ok, 2 * (conditional.nll - free_nll), np.inf)
    below = t < level
    near = np.abs(t - level) <= tolerance
    confirmed = search.confirming[rows] & (near | ~below)
    asked = near & ~confirmed & np.isfinite(search.outside[rows])
    found = confirmed | near & ~asked
    lowered = rows[search.confirming[rows] & ~confirmed]
    above = ok & ~below & ~near
    search.confirming[rows] = asked
    search.inside[rows[below]] = distance[below]
    search.at[rows[below]] = conditional.parameters[below]
    farthest = above & np.isinf(search.outside[rows])
    search.beyond[rows[farthest]] = conditional.parameters[farthest]
    search.outside[rows[above]] = distance[above]
    search.barrier[rows] = np.where(ok, np.inf, distance)
    search.distance[rows[ok]] = np.stack([distance[ok], search.distance[rows[ok], 0]], axis=1)
    search.s[rows[ok]] = np.stack([np.sqrt(np.maximum(t[ok], 0.0)), search.s[rows[ok], 0]], axis=1)
    search.steps[rows] += 1
    search.failures[rows] += ~ok
    anew = rows[(search.steps[rows] % _ROUND == 0) & ~asked]
    search.outside[anew] = search.outside[lowered] = np.inf
    search.distance[anew] = search.s[anew] = np.nan
    search.distance[lowered, 1] = search.s[lowered, 1] = np.nan
    _give_up(search, rows[(search.failures[rows] > _FAILURES) | (search.steps[rows] >= _STEPS)])
    at_bound = ~near & below & (distance >= search.room[rows])
    for which, status in ((found, EndStatus.FOUND), (at_bound, EndStatus.AT_BOUND)):
        search.end[rows[which]] = value[which]
        search.status[rows[which]] = status


def _give_up(search: _Search, rows: np.ndarray) -> None:
    search.end[rows] = np.nan
    search.status[rows] = EndStatus.NOT_FOUND


def _put(search: _Search, other: _Search, rows: np.ndarray) -> None:
    for field in fields(search):
        getattr(search, field.name)[rows] = getattr(other, field.name)[rows]


def _repeated(
    model: Model,
    toys: np.ndarray,
    free: Fits,
    position: int,
    rows: np.ndarray,
    start: np.ndarray,
    index: np.ndarray,
    edm_tolerance: float,
) -> np.ndarray:
    """Repeat free fits that a conditional fit lies below, from there: which of them, shape of rows, ended lower."""
    along = free.names[position]
    again = fit(
        model, toys[rows], start=start, index=index[rows], tolerance=edm_tolerance, covariance=False, along=along
    )
    lower: np.ndarray = again.ok & (again.nll < free.nll[rows] - REPAIR)
    replace_rows(free, again, rows, lower)
    free.iterations[rows] += again.iterations
    return lower
