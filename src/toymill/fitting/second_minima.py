"""Lower minima than those that fits ended in: where to look, and descents from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from toymill.fitting.batching import block_size, blocks, in_calls, is_fast, kinks_of, toys_last
from toymill.fitting.newton import curvature, second_minima
from toymill.fitting.newton import descend as rough
from toymill.fitting.results import REPAIR, Fits, Wanted, finite_or, keep_lower
from toymill.models.base import Model

WORTH = 1e-6
"""A descent that ends lower than a fit by this is followed to its minimum."""

_ROUNDS = 4
_LIKELY = 0.25  # another minimum is looked for where it is expected less than this above the fit
_CLOSE = 0.01  # and followed where two steps beside it, and one towards it, foresee it less than this above the fit
_PROMISING = 0.1  # the same for a weak parameter, which is held throughout four steps
_DESCENT = 60  # steps of a descent
_AT_ONCE = 8  # Hessians of saddles: they are few
_SCAN_BYTES = 2**27  # the largest temporaries of ``second_minima``


def improve(
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
    for _ in range(_ROUNDS):
        trials = _trials(model, fits, toys, mask, indices, rows)
        known = np.where(fits.ok, fits.nll, np.inf)[trials.row]
        x, nll = descend(model, toys[trials.row], trials.start, mask, indices[trials.row], trials.parameter, known)
        order = np.argsort(nll, kind="stable")
        rows, lowest = np.unique(trials.row[order], return_index=True)
        best = order[lowest]
        worth = ~fits.ok[rows] | (nll[best] < fits.nll[rows] - WORTH)
        rows, best = rows[worth], best[worth]
        if not rows.size:
            return
        before = fits.nll[rows].copy()
        keep_lower(fits, search(rows, x[best]), rows)
        rows = rows[~(fits.nll[rows] >= before - REPAIR)]


class _Trials(NamedTuple):
    """Where fits may have lower minima: the row of each, a parameter to hold at first, and a point, (K,) and (K, P)."""

    row: np.ndarray
    parameter: np.ndarray
    start: np.ndarray


def _trials(
    model: Model, fits: Fits, toys: np.ndarray, mask: np.ndarray, indices: np.ndarray, rows: np.ndarray
) -> _Trials:
    """What the kernel's ``second_minima`` names, one at a time and all together, and the model's own ``trials``."""
    x = finite_or(fits.parameters[rows], model.parameters.init)
    gap, value, gain = _other_minima(model, x, toys[rows], mask, indices[rows])
    likely = gap < _LIKELY
    row, parameter = np.nonzero(likely)
    start = x[row]
    start[np.arange(len(row)), parameter] = value[row, parameter]
    several = np.flatnonzero(likely.sum(axis=1) > 1)
    together = np.where(likely, value, x)[several]
    found = [
        _Trials(rows[row], parameter, start),
        _Trials(rows[several], np.argmax(np.abs(together - x[several]), axis=1), together),
    ]
    for held, point, least in model.trials:
        away = np.abs(x[:, held] - point[held]) > 0.3 * np.maximum(np.abs(x[:, held]), np.abs(point[held]))
        away &= ~(gain[:, held] <= least)
        if not mask[held] and away.any():
            start = np.where(mask | np.isnan(point), x[away], point)
            found.append(_Trials(rows[away], np.full(len(start), held), start))
    return _Trials(*(np.concatenate(part) for part in zip(*found, strict=True)))


def descend(
    model: Model,
    toys: np.ndarray,
    starts: np.ndarray,
    mask: np.ndarray,
    indices: np.ndarray,
    kept: np.ndarray | None = None,
    known: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Where Fisher scoring ends from each start, (n, P), and the nll there, (n,), within 1e-4 of a minimum or so.

    With a parameter ``kept`` for each and the nll that is ``known``, (n,) both, that parameter is held at first, and only
    descents that may end below that nll are followed from there on; the plain minimiser follows all.
    """
    x, nll = starts.copy(), np.full(len(toys), np.inf)
    if is_fast(model):
        wanted = Wanted({}, covariance=False, column=None)

        def scored(rows: np.ndarray, limit: int, led: int, share: float) -> np.ndarray:
            """The nll that is foreseen, (n,): that many times the estimated distance to a minimum below the present one.

            It may be anywhere where the last step was refused.
            """
            foreseen = np.full(len(toys), np.inf)
            calls = in_calls(
                model,
                toys,
                x,
                mask,
                indices,
                rows,
                kept=kept if led else None,
                led=led,
                tolerance=0.0,
                limit=limit,
                wanted=wanted,
                certify=False,
            )
            for here, end in calls:
                x[here], nll[here] = end.x, end.nll
                taken = np.isfinite(end.edm)
                below = np.where(taken, share * np.where(taken, end.edm, 0.0), np.inf)
                foreseen[here] = np.where(np.isfinite(end.nll), np.nan_to_num(end.nll) - below, np.inf)
            return foreseen

        rows = np.arange(len(toys))
        if kept is not None and known is not None:
            weak = np.isin(kept, [trial.parameter for trial in model.trials])
            followed = [rows[np.isposinf(known)]]
            for some, led, limit, share, margin in ((~weak, 2, 2, 2.0, _CLOSE), (weak, 4, 3, 1.0, _PROMISING)):
                foreseen = scored(np.flatnonzero(some), limit, led, share)
                followed.append(np.flatnonzero(some & np.isfinite(known) & (foreseen < known + margin)))
            rows = np.concatenate(followed)
        scored(rows, _DESCENT, 0, 0.0)
        return x, nll
    size = block_size(model)
    for parameter in np.unique(np.full(len(toys), -1) if kept is None else kept):
        rows = np.arange(len(toys)) if kept is None else np.flatnonzero(kept == parameter)
        holds = [mask] if kept is None else [mask | (np.arange(len(mask)) == parameter), mask]
        for block, filled in blocks(rows, indices[rows] % size, size):
            at, data = toys_last(starts, block), toys_last(toys, block)
            for hold in holds:
                at, end = rough(
                    model.kernel,
                    model.arrays,
                    at,
                    data,
                    model.parameters.bounds,
                    hold,
                    _DESCENT,
                    kinks_of(model),
                )
            x[block[filled]], nll[block[filled]] = np.asarray(at).T[filled], np.asarray(end)[filled]
    return x, nll


def off_saddles(model: Model, x: np.ndarray, toys: np.ndarray, mask: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Where searches that ended at saddles go on from, (n, P): the lower end of two descents, one to either side.

    They start a standard deviation away, in the direction of the least curvature, both in units of the Hessian's diagonal.
    """
    away = np.zeros_like(x)
    for block, filled in blocks(np.arange(len(x)), indices % _AT_ONCE, _AT_ONCE):
        hessians, free = curvature(
            model.kernel,
            model.arrays,
            toys_last(x, block),
            toys_last(toys, block),
            model.parameters.bounds,
            mask,
        )
        unit = 1 / np.sqrt(np.maximum(np.abs(np.diagonal(hessians, axis1=1, axis2=2)), 1e-100)) * np.asarray(free).T
        scaled = np.asarray(hessians) * unit[:, :, None] * unit[:, None]
        usable = filled & np.isfinite(scaled).all(axis=(1, 2))
        _, vectors = np.linalg.eigh(scaled[usable])
        away[block[usable]] = unit[usable] * vectors[:, :, 0]
    twice = np.repeat(np.arange(len(x)), 2)
    starts = np.clip(
        x[twice] + np.where(np.arange(len(twice)) % 2, -1, 1)[:, None] * away[twice], *model.parameters.bounds.T
    )
    ends, nll = descend(model, toys[twice], np.where(mask, x[twice], starts), mask, indices[twice])
    return ends[2 * np.arange(len(x)) + (nll[1::2] < nll[::2])]


def _other_minima(
    model: Model, x: np.ndarray, toys: np.ndarray, mask: np.ndarray, indices: np.ndarray
) -> tuple[np.ndarray, ...]:
    """The kernel's ``second_minima`` for many toys, (n, P) each, in blocks of one shape, each toy in its lane."""
    bins, doubtful = int(np.sum(~model.sampling.auxiliary)), int(np.sum(model.two_minima))
    looked_at = model.tuning.scanned + 1  # and the fit
    per_toy = 8 * bins * (min(bins, len(mask)) + looked_at * doubtful)
    size = block_size(model)
    while size > 1 and size * per_toy > _SCAN_BYTES:
        size //= 2
    found = tuple(np.empty(x.shape) for _ in range(3))
    for block, filled in blocks(np.arange(len(toys)), indices % size, size):
        parts = second_minima(
            model.kernel,
            model.arrays,
            toys_last(x, block),
            toys_last(toys, block),
            mask,
            model.parameters.bounds,
        )
        for every, one in zip(found, parts, strict=True):
            every[block[filled]] = np.asarray(one).T[filled]
    return found
