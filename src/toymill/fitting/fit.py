"""Free and conditional maximum-likelihood fits of many toys, with errors from the exact Hessian."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from toymill.errors import ToymillError
from toymill.fitting.batching import block_size, blocks, in_calls, is_fast, kinks_of, toys_last
from toymill.fitting.minuit import minuit_fit
from toymill.fitting.newton import EDM_TOLERANCE, minimize
from toymill.fitting.results import (
    REPAIR,
    Fits,
    Wanted,
    concatenate,
    empty,
    finite_or,
    keep_lower,
    profile_direction,
    put,
)
from toymill.fitting.scoring import Ends
from toymill.fitting.second_minima import WORTH, descend, improve, off_saddles
from toymill.fitting.status import Status
from toymill.models.base import Model, require_x64

STAGES = (12, 60, 400)
"""Step limits: toys unfinished after one are repacked into full blocks; the last stage starts afresh."""

_FAST_STEPS = ((8, 8, 8), (40, 12, 12))
"""The same for Fisher scoring: few steps where one costs about as much as the exact Hessian, which ends a stage with a
Newton step, and more where that costs much more."""

_STRAGGLERS = 8  # toys a block of the stages after these: they are few
_COVARIANCE_BYTES = 2**27  # covariances that are held at once


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

    A toy whose likelihood seems to have another minimum that is no higher is fitted again from there, and every toy
    from the further starts that the model states; the lowest fit is kept.

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
        wanted = Wanted(held, covariance=covariance, column=column)
        return _search(model, toys[rows], first, mask, indices[rows], wanted, tolerance=tolerance)

    fits = search(np.arange(len(toys)), starts)
    if (model.two_minima & ~mask).any():
        improve(model, fits, toys, mask, indices, search)
    for other in model.starts:
        x, nll = descend(model, toys, np.where(mask, starts, other), mask, indices)
        worth = ~fits.ok | (nll < fits.nll - WORTH)
        if worth.any():
            rows = np.flatnonzero(worth)
            keep_lower(fits, search(rows, x[rows]), rows)
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
        keep_lower(fits, again, one)


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


def _search(
    model: Model,
    toys: np.ndarray,
    starts: np.ndarray,
    mask: np.ndarray,
    indices: np.ndarray,
    wanted: Wanted,
    *,
    tolerance: float,
) -> Fits:
    """Fit every toy from its start, shape (n, P), in stages; the last starts afresh at the model's initial values."""
    fits = empty(model, wanted, len(toys))
    pending = np.arange(len(toys))
    quick: tuple[int, ...] = ()
    if is_fast(model):
        quick = _FAST_STEPS[not model.tuning.hessian_is_cheap]
    for stage, limit in enumerate((*quick, *STAGES)):
        if stage:
            pending = _pending(fits)
            continued = finite_or(fits.parameters[pending], starts[pending])
            afresh = np.where(mask, starts[pending], model.parameters.init)
            starts = starts.copy()
            starts[pending] = afresh if limit == STAGES[-1] else continued
        if not pending.size:
            break
        if 0 < stage == len(quick) - 1:
            rows = pending[fits.status[pending] == Status.HESSIAN_NOT_POSITIVE]
            if rows.size:
                starts[rows] = off_saddles(model, starts[rows], toys[rows], mask, indices[rows])
        if stage < len(quick):
            calls = in_calls(
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
                put(fits, rows, end)
            continue
        last = limit == STAGES[-1]
        size = _STRAGGLERS if quick else block_size(model)
        found = empty(model, wanted, len(toys)) if last else fits
        for block, filled in blocks(pending, indices[pending] % size, size):
            _fit_block(model, found, block, filled, starts, toys, mask, tolerance, limit, wanted.column)
        if last:
            keep_lower(fits, found)
    return fits


def _pending(fits: Fits) -> np.ndarray:
    return np.flatnonzero(~fits.ok & (fits.status != Status.NOT_FINITE))


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


def _rows(values: Any, length: int, name: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2) or array.shape[-1] != length:
        msg = f"{name} has shape {array.shape}; expected (n, {length}) or ({length},)."
        raise ToymillError(msg)
    return np.atleast_2d(array)


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
        toys_last(starts, block),
        toys_last(toys, block),
        model.parameters.bounds,
        mask,
        tolerance,
        limit,
        kinks_of(model),
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
    put(fits, block[filled], result)


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
        keep_lower(free, again, higher)
    return free
