"""Descents: Fisher scoring from a start to near a minimum, which tells whether a fit from there is worth its while."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from toymill.fitting.batching import (
    Hold,
    block_size,
    blocks,
    domain_of,
    in_calls,
    is_fast,
    straggler_block_size,
    toys_last,
)
from toymill.fitting.newton import Domain, curvature, first_stage
from toymill.models.base import Kernel

if TYPE_CHECKING:
    from jax import Array
    from jaxtyping import Float, Int, PyTree

    from toymill.fitting.problem import FitProblem

    Descent = tuple[Float[np.ndarray, "toy parameter"], Float[np.ndarray, " toy"]]

_STEPS = 60  # of a descent
_CLOSE = 0.01  # one is followed where two steps beside it, and one towards it, foresee it less than this above the fit
_PROMISING = 0.25  # the same of one that holds nothing, from its start
_DISTANCES = 2.0 ** np.arange(3, -31, -1)  # from the floor, in units of that to the initial values
_NARROWER = 30  # times that to either side of the lowest of these is looked, half as far where none is lower
_LARGEST = 1e100  # entry of a scaled Hessian whose eigenvectors are looked for


def descend(problem: FitProblem, starts: Float[np.ndarray, "toy parameter"]) -> Descent:
    """Where Fisher scoring ends from each start, (n, P), and the nll there, (n,), within 1e-4 of a minimum or so."""
    problem = problem.without_covariance()
    x, nll = starts.copy(), np.full(len(problem), np.inf)
    if is_fast(problem.model):
        _score(problem, x, nll, np.arange(len(x)), limit=_STEPS)
    else:
        _score_blocks(problem, x, nll, np.arange(len(x)), [problem.fixed])
    return x, nll


def descend_beside(
    problem: FitProblem,
    starts: Float[np.ndarray, "toy parameter"],
    hold: Int[np.ndarray, " toy"],
    known: Float[np.ndarray, " toy"],
) -> Descent:
    """The same with a parameter of each toy held at first, until the others have followed; -1 for none.

    Descents that foresee no nll below the one that is ``known`` are not followed; the plain minimiser follows all.
    """
    problem = problem.without_covariance()
    x, nll = starts.copy(), np.full(len(problem), np.inf)
    if not is_fast(problem.model):
        for parameter in np.unique(hold):
            fixed = problem.fixed | (np.arange(len(problem.fixed)) == parameter)
            _score_blocks(problem, x, nll, np.flatnonzero(hold == parameter), [fixed, problem.fixed])
        return x, nll
    followed = [np.flatnonzero(np.isposinf(known))]
    for some, limit, share, margin in ((hold >= 0, 2, 2.0, _CLOSE), (hold < 0, 0, 1.1, _PROMISING)):
        rows = np.flatnonzero(some)
        edm = _score(problem, x, nll, rows, limit=limit, hold=Hold(hold, 2))
        foreseen = _foreseen(nll[rows], edm[rows], share)
        followed.append(rows[np.isfinite(known[rows]) & (foreseen < known[rows] + margin)])
    _score(problem, x, nll, np.concatenate(followed), limit=_STEPS)
    return x, nll


def _score(
    problem: FitProblem,
    x: Float[np.ndarray, "toy parameter"],
    nll: Float[np.ndarray, " toy"],
    rows: Int[np.ndarray, " some"],
    *,
    limit: int,
    hold: Hold | None = None,
) -> Float[np.ndarray, " toy"]:
    """Move some rows of x, and their nll, by Fisher scoring in lanes; their estimated distances, NaN for the others."""
    edm = np.full(len(x), np.nan)
    for here, end in in_calls(problem, x, rows, limit, hold=hold, certify=False):
        x[here], nll[here], edm[here] = end.x, end.nll, end.edm
    return edm


def _foreseen(
    nll: Float[np.ndarray, " toy"], edm: Float[np.ndarray, " toy"], share: float
) -> Float[np.ndarray, " toy"]:
    """The nll that is foreseen: ``share`` times the estimated distance to a minimum below the present one.

    It may be anywhere where the last step was refused, which has an infinite distance.
    """
    taken = np.isfinite(edm)
    below = np.where(taken, share * np.where(taken, edm, 0.0), np.inf)
    return np.where(np.isfinite(nll), np.nan_to_num(nll) - below, np.inf)


def _score_blocks(
    problem: FitProblem,
    x: Float[np.ndarray, "toy parameter"],
    nll: Float[np.ndarray, " toy"],
    rows: Int[np.ndarray, " some"],
    fixed_in_turn: list[np.ndarray],
) -> None:
    """Move some rows of x, and their nll, by the plain minimiser's first stage, with these parameters fixed in turn."""
    model, size = problem.model, block_size(problem.model)
    starts = x.copy()
    for block, filled in blocks(rows, problem.indices[rows] % size, size):
        at, data = toys_last(starts, block), toys_last(problem.toys, block)
        for fixed in fixed_in_turn:
            domain = domain_of(replace(problem, fixed=fixed))
            at, end = first_stage(model.kernel, model.arrays, at, data, domain, _STEPS)
        x[block[filled]], nll[block[filled]] = np.asarray(at).T[filled], np.asarray(end)[filled]


def off_floor(problem: FitProblem, ends: Float[np.ndarray, "toy parameter"]) -> Float[np.ndarray, "toy parameter"]:
    """Where searches that ended at the floor of an expectation go on from, (n, P).

    A long step may end where the expectation of a bin with events is at its floor: the nll is flat there, and steep, as
    -n ln ν, beside it. The lowest point that is not at the floor is taken of the line from such an end to the model's
    initial values and beyond, within the bounds; the end itself where there is none.
    """
    model, size = problem.model, block_size(problem.model)
    away = np.where(problem.fixed, 0.0, model.parameters.init - ends)
    best, lowest, step = np.zeros(len(ends)), np.full(len(ends), np.inf), np.full(len(ends), 0.5)

    def at(distance: Float[np.ndarray, " toy"]) -> Float[np.ndarray, "toy parameter"]:
        inside: np.ndarray = np.clip(ends + distance[:, None] * away, *model.parameters.bounds.T)
        return np.where(problem.fixed, ends, inside)

    def take_if_lower(distance: Float[np.ndarray, " toy"]) -> None:
        points = at(distance)
        for block, filled in blocks(np.arange(len(ends)), problem.indices % size, size):
            rows, x, data = block[filled], toys_last(points, block), toys_last(problem.toys, block)
            nll = np.asarray(_off_floor_nll(model.kernel, model.arrays, x, data))[filled]
            lower = nll < lowest[rows]
            best[rows[lower]], lowest[rows[lower]] = distance[rows[lower]], nll[lower]

    for distance in _DISTANCES:
        take_if_lower(np.full(len(ends), distance))
    for _ in range(_NARROWER):
        before = best.copy()
        for factor in (1 - step, 1 + step):
            take_if_lower(factor * before)
        step[best == before] /= 2
    return at(best)


@partial(jax.jit, static_argnames=("kernel",))
def _off_floor_nll(
    kernel: Kernel, arrays: PyTree, x: Float[Array, "parameter lane"], data: Float[Array, "datum lane"]
) -> Float[Array, " lane"]:
    """The nll, infinite at the floor of an expectation."""
    return jnp.where(kernel.at_floor(arrays, x, data)[0], jnp.inf, kernel.nll(arrays, x, data))


def off_saddles(problem: FitProblem, x: Float[np.ndarray, "toy parameter"]) -> Float[np.ndarray, "toy parameter"]:
    """Where searches that ended at saddles go on from, (n, P): the lower end of two descents, one to either side.

    They start a standard deviation away, in the direction of the least curvature, both in units of the Hessian's diagonal.
    """
    model = problem.model
    domain = Domain(model.parameters.bounds, problem.fixed)  # type: ignore[arg-type]
    away = np.zeros_like(x)
    size = straggler_block_size(model)
    for block, filled in blocks(np.arange(len(x)), problem.indices % size, size):
        at, data = toys_last(x, block), toys_last(problem.toys, block)
        hessians, free = curvature(model.kernel, model.arrays, at, data, domain)
        unit = 1 / np.sqrt(np.maximum(np.abs(np.diagonal(hessians, axis1=1, axis2=2)), 1e-100)) * np.asarray(free).T
        with np.errstate(invalid="ignore", over="ignore"):
            scaled = np.asarray(hessians) * unit[:, :, None] * unit[:, None]
        usable = filled & (np.abs(scaled) < _LARGEST).all(axis=(1, 2))
        for row, matrix, width in zip(block[usable], scaled[usable], unit[usable], strict=True):
            _, vectors = scipy.linalg.eigh(matrix, subset_by_index=(0, 0), check_finite=False)
            away[row] = width * vectors[:, 0]
    twice = np.repeat(np.arange(len(x)), 2)
    starts = np.clip(
        x[twice] + np.where(np.arange(len(twice)) % 2, -1, 1)[:, None] * away[twice], *model.parameters.bounds.T
    )
    ends, nll = descend(problem.of(twice), np.where(problem.fixed, x[twice], starts))
    return ends[2 * np.arange(len(x)) + (nll[1::2] < nll[::2])]
