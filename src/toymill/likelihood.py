"""Free and conditional maximum-likelihood fits of many toys, with errors from the exact Hessian."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from toymill.audit import minuit_fit
from toymill.errors import ToymillError, nearest
from toymill.minimize import (
    CERTIFIED_STATUSES,
    EDM_TOLERANCE,
    Status,
    descend,
    elsewhere,
    minimize,
)
from toymill.models.base import Model, require_x64
from toymill.models.systems import UNROLLED
from toymill.scoring import LED, Ends, fit_lanes

STAGES = (12, 60, 400)
"""Step limits: toys unfinished after one are repacked into full blocks; the last stage starts afresh."""

_FAST_STEPS = ((8, 8, 8), (40, 12, 12))
"""The same for Fisher scoring, whose blocks go on until their slowest toy: few steps where one costs about as much as
the exact Hessian, which ends a stage with a Newton step, and more where that costs much more."""

_STRAGGLERS = 8  # toys a block of the stages after these: they are few
_ROUNDS_ELSEWHERE = 4
_LIKELY = 0.25  # another minimum is looked for where it is expected less than this above the fit
_PROMISING = 0.1  # and followed where the first steps promise it less than this above the fit
_DESCENT = 60  # steps of a descent from elsewhere
_WORTH = 1e-6  # a descent that ends lower than a fit by this is followed to its minimum

REPAIR = 1e-9
"""A free fit whose nll lies above a conditional fit's by more than this is refitted from there."""

_BLOCK_BYTES = 4 * 2**20  # the largest temporaries of a block then stay in a core's second-level cache
_MOST_BYTES = 2**29  # the largest temporaries of a block at all
_COVARIANCE_BYTES = 2**27  # covariances that are held at once
_CALL_BYTES = 2**24  # results of one call of the compiled program, which goes through several blocks


@dataclass(frozen=True)
class Fits:
    """The fits of n toys; toys are the first axis.

    Attributes:
        names: names of the P parameters.
        poi: name of the parameter of interest, or None.
        fixed: values of the parameters that this fit held fixed, by name: a number, or one for each toy, (n,).
        parameters: fitted values, (n, P).
        errors: square roots of the covariance's diagonal, (n, P): 0 for a fixed parameter, NaN for
            one held at a bound and for a fit without a positive-definite Hessian.
        nll: minimised negative log-likelihood with all constants, (n,).
        status: how each fit ended, a ``Status``, (n,).
        edm: estimated distance of nll to its minimum, (n,).
        iterations: steps tried, (n,).
        covariance: inverse of the exact Hessian, (n, P, P), or None if it was not asked for.
        column: its column of the parameter ``along`` of ``fit``, (n, P), or None.
    """

    names: tuple[str, ...]
    poi: str | None
    fixed: dict[str, Any]
    parameters: np.ndarray
    errors: np.ndarray
    nll: np.ndarray
    status: np.ndarray
    edm: np.ndarray
    iterations: np.ndarray
    covariance: np.ndarray | None = None
    column: np.ndarray | None = None

    @property
    def ok(self) -> np.ndarray:
        """True where a fit is certified, (n,)."""
        return np.isin(self.status, CERTIFIED_STATUSES)

    def parameter(self, name: str) -> np.ndarray:
        """Fitted values of one parameter, (n,); raises ToymillError for an unknown name."""
        if name not in self.names:
            msg = f"The fits have no parameter {name!r}. {nearest(name, self.names)}"
            raise ToymillError(msg)
        return self.parameters[:, self.names.index(name)]


def fit(
    model: Model,
    data: Any,
    fixed: Mapping[str, Any] | None = None,
    *,
    start: Any = None,
    index: Any = None,
    tolerance: float = EDM_TOLERANCE,
    covariance: bool = True,
    along: str | None = None,
) -> Fits:
    """Fit every dataset by maximum likelihood.

    A toy whose likelihood may have two minima is fitted again from the other sides of the parameters that may
    cause them, and every toy from the further starts that the model states; the lowest fit is kept.

    Args:
        model: the model.
        data: main and auxiliary data, shape (n, D) or (D,).
        fixed: parameters to hold, by name, beside those that the model fixes: a number, or one for each toy, (n,).
        start: initial values, shape (P,) or (n, P); the model's if None.
        index: index of each toy in its ensemble, shape (n,); 0 … n-1 if None. A toy is always computed
            in the lane ``index`` mod the block's size: vector units may round differently from lane to
            lane, and so its fit has the same bits whichever toys are fitted along with it.
        tolerance: the largest estimated distance to the minimum of a certified fit.
        covariance: keep the covariance matrices, n · P² numbers.
        along: keep their column of this parameter: how the others follow it.

    Returns:
        The fits; none raises, each has a status.

    Raises:
        ToymillError: data or start of the wrong shape, data that are negative counts or not finite, an
            unknown parameter, a value out of bounds.

    Example:
        >>> import jax, toymill
        >>> jax.config.update("jax_enable_x64", True)
        >>> model = toymill.read_workspace("tests/data/onoff.json")
        >>> fits = toymill.fit(model, model.observed)
        >>> round(float(fits.parameters[0, model.poi_index]), 6), int(fits.status[0])
        (1.0, 0)
    """
    require_x64()
    held = dict(fixed or {})
    size = len(model.parameters)
    toys = _rows(data, len(model.data_names), "data")
    values = _values(model, held, len(toys))
    starts = values[None] if start is None else _rows(start, size, "start")
    if len(toys) == 0 or len(starts) not in (1, len(toys)):
        msg = f"There are {len(toys)} datasets and {len(starts)} starts; expected at least one dataset, and a start for each."
        raise ToymillError(msg)
    mask = model.parameters.fixed.copy()
    starts = np.where(mask, values, np.broadcast_to(starts, (len(toys), size)))
    for name, value in held.items():
        mask[model.parameters.index(name)] = True
        starts[:, model.parameters.index(name)] = value
    indices = np.arange(len(toys)) if index is None else np.asarray(index)
    _require_counts(model, toys, indices)

    column = None if along is None else model.parameters.index(along)

    def search(rows: np.ndarray, first: np.ndarray) -> Fits:
        wanted = _Wanted(held, covariance=covariance, column=column)
        return _search(model, toys[rows], first, mask, indices[rows], wanted, tolerance=tolerance)

    fits = search(np.arange(len(toys)), starts)
    if (model.two_minima & ~mask).any():
        _try_elsewhere(model, fits, toys, mask, indices, search)
    for other in model.starts:
        x, nll = _descend(model, toys, np.where(mask, starts, other), mask, indices)
        worth = ~fits.ok | (nll < fits.nll - _WORTH)
        if worth.any():
            rows = np.flatnonzero(worth)
            _keep_lower(fits, search(rows, x[rows]), rows)
    _rescue(model, fits, toys, held, search)
    return fits


def _rescue(
    model: Model,
    fits: Fits,
    toys: np.ndarray,
    held: Mapping[str, Any],
    search: Callable[[np.ndarray, np.ndarray], Fits],
) -> None:
    """Fit toys whose search ended before a minimum with iminuit, and certify its minimum by a search from there."""
    for row in np.flatnonzero(fits.status == Status.NOT_CONVERGED):
        one = np.array([row])
        values = {name: float(np.broadcast_to(value, len(toys))[row]) for name, value in held.items()}
        found = minuit_fit(model, toys[row], values)
        again = search(one, found.parameters[None])
        again.status[again.ok] = Status.RESCUED
        _keep_lower(fits, again, one)


def _values(model: Model, held: Mapping[str, Any], count: int) -> np.ndarray:
    """The initial values with the held ones put in, (P,), the largest where toys differ; ToymillError for wrong ones."""
    for name, value in held.items():
        if np.shape(value) not in ((), (count,)) or not np.size(value):
            msg = (
                f"fixed[{name!r}] has shape {np.shape(value)}; expected a number, or one for each of {count} datasets."
            )
            raise ToymillError(msg)
    for extreme in (np.min, np.max):
        values = model.parameters.values({name: float(extreme(value)) for name, value in held.items()})
    return values


def _try_elsewhere(
    model: Model,
    fits: Fits,
    toys: np.ndarray,
    mask: np.ndarray,
    indices: np.ndarray,
    search: Callable[[np.ndarray, np.ndarray], Fits],
) -> None:
    """Improve fits that may have a lower minimum elsewhere along some parameter, again as long as it helps.

    A parameter is first held elsewhere, until the others have followed: they may lead back otherwise.
    """
    rows = np.arange(len(toys))
    for _ in range(_ROUNDS_ELSEWHERE):
        trials = _trials(model, fits, toys, mask, rows)
        known = np.where(fits.ok, fits.nll, np.inf)[trials.row]
        x, nll = _descend(model, toys[trials.row], trials.start, mask, indices[trials.row], trials.parameter, known)
        order = np.argsort(nll, kind="stable")
        rows, lowest = np.unique(trials.row[order], return_index=True)
        best = order[lowest]
        worth = ~fits.ok[rows] | (nll[best] < fits.nll[rows] - _WORTH)
        rows, best = rows[worth], best[worth]
        if not rows.size:
            return
        before = fits.nll[rows].copy()
        _keep_lower(fits, search(rows, x[best]), rows)
        rows = rows[~(fits.nll[rows] >= before - REPAIR)]


class _Trials(NamedTuple):
    """Where fits may have lower minima: the row of each, a parameter to hold at first, and a point, (K,) and (K, P)."""

    row: np.ndarray
    parameter: np.ndarray
    start: np.ndarray


def _trials(model: Model, fits: Fits, toys: np.ndarray, mask: np.ndarray, rows: np.ndarray) -> _Trials:
    """What the kernel's ``elsewhere`` names, one at a time and all together, and the model's own ``trials``."""
    x = _finite_or(fits.parameters[rows], model.parameters.init)
    gap, value = _elsewhere(model, x, toys[rows], mask)
    likely = gap < _LIKELY
    row, parameter = np.nonzero(likely)
    start = x[row]
    start[np.arange(len(row)), parameter] = value[row, parameter]
    several = np.flatnonzero(likely.sum(axis=1) > 1)
    together = np.where(likely, value, x)[several]
    found = [
        _Trials(rows[row], parameter, start),
        _Trials(rows[several], np.argmin(gap[several], axis=1), together),
    ]
    for held, point in model.trials:
        away = np.abs(x[:, held] - point[held]) > 0.3 * np.maximum(np.abs(x[:, held]), np.abs(point[held]))
        if not mask[held] and away.any():
            start = np.where(mask | np.isnan(point), x[away], point)
            found.append(_Trials(rows[away], np.full(len(start), held), start))
    return _Trials(*(np.concatenate(part) for part in zip(*found, strict=True)))


def _descend(
    model: Model,
    toys: np.ndarray,
    starts: np.ndarray,
    mask: np.ndarray,
    indices: np.ndarray,
    kept: np.ndarray | None = None,
    known: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Where Fisher scoring ends from each start, (n, P), and the nll there, (n,), within 1e-4 of a minimum or so.

    A parameter ``kept`` for each, (n,), is held at first. Where an nll is ``known``, (n,), only those are followed from
    there on that promise to end below it, or not far above.
    """
    x, nll = starts.copy(), np.full(len(toys), np.inf)
    if _is_fast(model):
        wanted = _Wanted({}, covariance=False, column=None)

        def scored(rows: np.ndarray, limit: int, kept: np.ndarray | None) -> np.ndarray:
            promised = np.full(len(toys), np.inf)
            calls = _in_calls(
                model, toys, x, mask, indices, rows, kept=kept, tolerance=0.0, limit=limit, wanted=wanted, certify=False
            )
            for here, end in calls:
                x[here], nll[here], promised[here] = end.x, end.nll, end.nll - end.edm
            return promised

        rows = np.arange(len(toys))
        if kept is not None:
            promised = scored(rows, LED - 1, kept)
            if known is not None:
                rows = np.flatnonzero(promised < known + _PROMISING)
        scored(rows, _DESCENT, None)
        return x, nll
    size = block_size(model)
    for parameter in np.unique(np.full(len(toys), -1) if kept is None else kept):
        rows = np.arange(len(toys)) if kept is None else np.flatnonzero(kept == parameter)
        holds = [mask] if kept is None else [mask | (np.arange(len(mask)) == parameter), mask]
        for block, filled in _blocks(rows, indices[rows] % size, size):
            at = np.ascontiguousarray(starts[block].T)
            for hold in holds:
                at, end = descend(
                    model.kernel,
                    model.arrays,
                    at,
                    np.ascontiguousarray(toys[block].T),
                    model.parameters.bounds,
                    hold,
                    _DESCENT,
                    _kinks(model),
                )
            x[block[filled]], nll[block[filled]] = np.asarray(at).T[filled], np.asarray(end)[filled]
    return x, nll


def _kinks(model: Model) -> np.ndarray | None:
    return model.kinks if model.kinks.any() else None


def _is_fast(model: Model) -> bool:
    return model.kernel.fast is not None and _kinks(model) is None


def _elsewhere(model: Model, x: np.ndarray, toys: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The kernel's ``elsewhere`` for many toys, (n, P) each, in blocks of one shape."""
    size = block_size(model)
    gap, value = np.empty(x.shape), np.empty(x.shape)
    for first in range(0, len(toys), size):
        rows = np.minimum(np.arange(first, first + size), len(toys) - 1)
        found = elsewhere(
            model.kernel, model.arrays, np.ascontiguousarray(x[rows].T), np.ascontiguousarray(toys[rows].T), mask
        )
        count = min(size, len(toys) - first)
        for every, block in zip((gap, value), found, strict=True):
            every[first : first + count] = np.asarray(block).T[:count]
    return gap, value


class _Wanted(NamedTuple):
    """What the fits of a search hold: parameters by name, whether covariances, and the covariances' column of which."""

    held: dict[str, Any]
    covariance: bool
    column: int | None


def _search(
    model: Model,
    toys: np.ndarray,
    starts: np.ndarray,
    mask: np.ndarray,
    indices: np.ndarray,
    wanted: _Wanted,
    *,
    tolerance: float,
) -> Fits:
    """Fit every toy from its start, shape (n, P), in stages; the last starts afresh at the model's initial values."""
    fits = _empty(model, wanted, len(toys))
    pending = np.arange(len(toys))
    quick: tuple[int, ...] = ()
    if _is_fast(model):
        quick = _FAST_STEPS[len(model.parameters) > UNROLLED]
    for stage, limit in enumerate((*quick, *STAGES)):
        if stage:
            pending = _pending(fits)
            continued = _finite_or(fits.parameters[pending], starts[pending])
            afresh = np.where(mask, starts[pending], model.parameters.init)
            starts = starts.copy()
            starts[pending] = afresh if limit == STAGES[-1] else continued
        if not pending.size:
            break
        if stage < len(quick):
            calls = _in_calls(
                model,
                toys,
                starts,
                mask,
                indices,
                pending,
                tolerance=tolerance,
                limit=limit,
                wanted=wanted,
                certify=True,
            )
            for rows, end in calls:
                _put(fits, rows, end)
            continue
        last = limit == STAGES[-1]
        size = _STRAGGLERS if quick else block_size(model)
        found = _empty(model, wanted, len(toys)) if last else fits
        for block, filled in _blocks(pending, indices[pending] % size, size):
            _fit_block(model, found, block, filled, starts, toys, mask, tolerance, limit, wanted.column)
        if last:
            _keep_lower(fits, found)
    return fits


def _pending(fits: Fits) -> np.ndarray:
    return np.flatnonzero(~fits.ok & (fits.status != Status.NOT_FINITE))


def _in_calls(
    model: Model,
    toys: np.ndarray,
    starts: np.ndarray,
    mask: np.ndarray,
    indices: np.ndarray,
    rows: np.ndarray,
    *,
    kept: np.ndarray | None = None,
    tolerance: float,
    limit: int,
    wanted: _Wanted,
    certify: bool,
) -> Iterator[tuple[np.ndarray, Ends]]:
    """``fit_lanes`` on some rows, each in its lane: the rows of each call and its results, (k, …)."""
    size, parameters = block_size(model), len(model.parameters)
    per_toy = 8 * parameters * (parameters if wanted.covariance else 4)
    places = int(np.clip(_CALL_BYTES // (per_toy * size), 1, 64))
    slots = _slots(indices[rows] % size, size)
    for first in range(0, len(slots), places):
        chunk = slots[first : first + places]
        filled = chunk >= 0
        at = np.zeros((places, size), dtype=np.int64)
        at[: len(chunk)] = rows[np.where(filled, chunk, 0)]
        ends = fit_lanes(
            model.kernel,
            model.arrays,
            filled.sum(axis=0),
            starts[at],
            toys[at],
            np.full(at.shape, -1) if kept is None else kept[at],
            model.parameters.bounds,
            mask,
            tolerance,
            limit,
            wanted.column or 0,
            certify,
            full=wanted.covariance,
        )
        yield (
            at[: len(chunk)][filled],
            Ends(*(None if item is None else np.asarray(item)[: len(chunk)][filled] for item in ends)),
        )


def _slots(lanes: np.ndarray, size: int) -> np.ndarray:
    """The row in every lane of every block, (N, size), each row in its lane, -1 where there is none."""
    order = np.argsort(lanes, kind="stable")
    sorted_lanes = lanes[order]
    block = np.empty(len(lanes), dtype=np.int64)
    block[order] = np.arange(len(lanes)) - np.searchsorted(sorted_lanes, sorted_lanes)
    slots = np.full((int(block.max(initial=-1)) + 1, size), -1)
    slots[block, lanes] = np.arange(len(lanes))
    return slots


def _put(fits: Fits, rows: np.ndarray, end: Ends) -> None:
    """Put the results of blocks, toys first, into ``fits``."""
    fits.parameters[rows] = end.x
    fits.errors[rows] = end.errors
    fits.nll[rows] = end.nll
    fits.status[rows] = end.status
    fits.edm[rows] = end.edm
    fits.iterations[rows] += end.iterations
    if fits.covariance is not None:
        fits.covariance[rows] = end.covariance
    if fits.column is not None:
        fits.column[rows] = end.column


def _keep_lower(fits: Fits, again: Fits, rows: np.ndarray | None = None) -> None:
    """Put certified fits of ``again`` in place of those at ``rows`` that lie higher.

    A fit that is not certified gives way to a certified one, unless it has seen a lower nll: then the
    certified one is not the minimum. An nll that the floor holds, or that is no number, is no such evidence.
    """
    rows = np.arange(len(fits.nll)) if rows is None else rows
    margin = np.where(fits.ok[rows], -REPAIR, REPAIR)
    hollow = np.isin(fits.status[rows], (Status.AT_FLOOR, Status.NOT_FINITE)) | ~np.isfinite(fits.nll[rows])
    better = again.ok & (hollow | (again.nll < fits.nll[rows] + margin))
    replace_rows(fits, again, rows, better)
    fits.iterations[rows] += again.iterations


def replace_rows(fits: Fits, again: Fits, rows: np.ndarray, which: np.ndarray) -> None:
    """Put those of ``again`` which are True, (k,), in place of their ``rows`` of ``fits``; steps tried are not changed."""
    for name in ("parameters", "errors", "nll", "status", "edm", "covariance", "column"):
        ours, theirs = getattr(fits, name), getattr(again, name)
        if ours is not None and theirs is not None:
            ours[rows[which]] = theirs[which]


def _finite_or(values: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, other)


def _require_counts(model: Model, toys: np.ndarray, indices: np.ndarray) -> None:
    """Raises ToymillError for data that no model of this kind can have made."""
    bad = ~np.isfinite(toys) | (model.sampling.poisson & (toys < 0))
    if bad.any():
        row, datum = np.argwhere(bad)[0]
        msg = (
            f"Toy {indices[row]} has {toys[row, datum]:g} as {model.data_names[datum]}: "
            f"expected {'a count, 0 or more' if model.sampling.poisson[datum] else 'a finite number'}."
        )
        raise ToymillError(msg)


def fit_tests(
    model: Model,
    data: Any,
    tests: Sequence[Mapping[str, float]],
    *,
    first: int = 0,
    tolerance: float = EDM_TOLERANCE,
) -> tuple[Fits, list[Fits]]:
    """A free fit of every dataset, and a conditional fit at each test point.

    A conditional fit starts from the free one, moved along the profile direction. Where it ends
    below the free fit, that one had missed the minimum and is repeated from there, so that
    t_mu ≥ 0 up to the tolerance.

    Args:
        model: the model.
        data: main and auxiliary data, shape (n, D).
        tests: the parameters that each conditional fit holds, by name.
        first: index of the first toy in its ensemble; see ``index`` of ``fit``.
        tolerance: the largest estimated distance to the minimum of a certified fit.

    Returns:
        The free fits and, for each test point, the conditional fits; without covariances.

    Raises:
        ToymillError: what ``fit`` refuses.
    """
    toys = _rows(data, len(model.data_names), "data")
    free: list[Fits] = []
    conditional: list[list[Fits]] = [[] for _ in tests]
    names = {name for test in tests for name in test}
    along = names.pop() if len(names) == 1 else None
    block = block_size(model)
    per_toy = 8 * len(model.parameters) * (len(model.parameters) if names else 4)
    size = max(_COVARIANCE_BYTES // per_toy // block, 1) * block
    for begin in range(0, len(toys), size):
        chunk = toys[begin : begin + size]
        index = first + begin + np.arange(len(chunk))
        unconditional = fit(model, chunk, index=index, tolerance=tolerance, covariance=bool(names), along=along)
        for k, test in enumerate(tests):
            start = _profiled(model, unconditional, test)
            conditional[k].append(
                fit(model, chunk, test, start=start, index=index, tolerance=tolerance, covariance=False)
            )
        fits = [parts[-1] for parts in conditional]
        free.append(_repair(model, chunk, index, replace(unconditional, covariance=None, column=None), fits, tolerance))
    return concatenate(free), [concatenate(parts) for parts in conditional]


def block_size(model: Model) -> int:
    """Toys a block: as many as keep its largest temporaries in cache, a power of two from 16 to 256.

    Fewer than 16 only where their data or temporaries would fill the memory.
    """
    per_toy = 8 * len(model.parameters) * max(len(model.parameters), model.width)
    cached, fitting = (
        2 ** int(np.log2(max(limit // max(per_toy, 8 * len(model.data_names)), 1)))
        for limit in (_BLOCK_BYTES, _MOST_BYTES)
    )
    return int(min(np.clip(cached, 16, 256), fitting))


def _rows(values: Any, length: int, name: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2) or array.shape[-1] != length:
        msg = f"{name} has shape {array.shape}; expected (n, {length}) or ({length},)."
        raise ToymillError(msg)
    return np.atleast_2d(array)


def _blocks(rows: np.ndarray, lanes: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of rows, each row in its lane, and which lanes hold one; an empty lane repeats a row of its block."""
    for slots in _slots(lanes, size):
        filled = slots >= 0
        yield rows[np.where(filled, slots, slots[filled][0])], filled


def _empty(model: Model, wanted: _Wanted, count: int) -> Fits:
    size = len(model.parameters)
    return Fits(
        names=model.parameters.names,
        poi=model.poi,
        fixed=wanted.held,
        parameters=np.full((count, size), np.nan),
        errors=np.full((count, size), np.nan),
        nll=np.full(count, np.nan),
        status=np.full(count, Status.NOT_CONVERGED, dtype=np.int8),
        edm=np.full(count, np.nan),
        iterations=np.zeros(count, dtype=np.int32),
        covariance=np.empty((count, size, size)) if wanted.covariance else None,
        column=None if wanted.column is None else np.empty((count, size)),
    )


def _fit_block(
    model: Model,
    fits: Fits,
    block: np.ndarray,
    filled: np.ndarray,
    starts: np.ndarray,
    toys: np.ndarray,
    mask: np.ndarray,
    tolerance: float,
    limit: int,
    column: int | None,
) -> None:
    """Fit one block of rows and put the results of its filled lanes into ``fits``."""
    end = minimize(
        model.kernel,
        model.arrays,
        np.ascontiguousarray(starts[block].T),
        np.ascontiguousarray(toys[block].T),
        model.parameters.bounds,
        mask,
        tolerance,
        limit,
        _kinks(model),
    )
    covariance = np.asarray(end.covariance)[filled]
    result = Ends(
        x=np.asarray(end.x).T[filled],
        nll=np.asarray(end.nll)[filled],
        status=np.asarray(end.status)[filled],
        edm=np.asarray(end.edm)[filled],
        iterations=np.asarray(end.iterations)[filled],
        errors=np.where(end.held, np.nan, end.errors).T[filled],
        column=None if column is None else covariance[:, :, column],
        covariance=covariance,
    )
    _put(fits, block[filled], result)


def profile_direction(free: Fits, position: int) -> np.ndarray:
    """How the other parameters follow one to first order, V_·i / V_ii, (n, P); only itself without an error."""
    column = free.column if free.covariance is None else free.covariance[:, :, position]
    assert column is not None
    with np.errstate(divide="ignore", invalid="ignore"):
        direction: np.ndarray = column / column[:, position, None]
    direction = np.where(np.isfinite(direction), direction, 0.0)
    direction[:, position] = 1.0
    return direction


def _profiled(model: Model, free: Fits, test: Mapping[str, float]) -> np.ndarray:
    """Where the conditional fits start: the free fit, moved to the test point along the covariance.

    To second order the profile of θ at x_i is θ̂ + V_·i / V_ii (x_i - x̂_i).
    """
    start = free.parameters.copy()
    for name, value in test.items():
        i = model.parameters.index(name)
        direction = profile_direction(free, i)
        start = start + direction * (value - start[:, i])[:, None]
    start = np.where(np.isfinite(start), start, model.parameters.init)
    inside: np.ndarray = np.clip(start, *model.parameters.bounds.T)
    return inside


def _repair(
    model: Model, data: np.ndarray, index: np.ndarray, free: Fits, conditional: list[Fits], tolerance: float
) -> Fits:
    """Refit the free fits that ended above a conditional one, from there."""
    for other in conditional:
        higher = np.flatnonzero(other.ok & ~(free.nll <= other.nll + REPAIR) | other.ok & ~free.ok)
        if not higher.size:
            continue
        again = fit(
            model,
            data[higher],
            start=other.parameters[higher],
            index=index[higher],
            tolerance=tolerance,
            covariance=False,
        )
        _keep_lower(free, again, higher)
    return free


def concatenate(parts: Sequence[Fits]) -> Fits:
    """The fits of several lots of toys as one, without covariances."""

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    return replace(
        parts[0],
        parameters=joined("parameters"),
        errors=joined("errors"),
        nll=joined("nll"),
        status=joined("status"),
        edm=joined("edm"),
        iterations=joined("iterations"),
        covariance=None,
        column=None,
    )
