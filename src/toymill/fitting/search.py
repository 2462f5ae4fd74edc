"""The search of every toy from its start to a certified minimum, in stages that shrink to the few that take long."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from toymill.fitting.batching import block_size, blocks, domain_of, in_calls, is_fast, straggler_block_size, toys_last
from toymill.fitting.descent import off_saddles
from toymill.fitting.newton import Stop, minimize
from toymill.fitting.results import Ends, Fits, finite_or, keep_lower, put
from toymill.fitting.status import Status
from toymill.models.base import Model

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from toymill.fitting.problem import FitProblem

STAGES = (12, 60, 400)
"""Step limits of the plain minimiser: toys unfinished after one are repacked into full blocks; the last starts afresh."""

_FAST_STEPS = {True: (8, 8, 8), False: (40, 12, 12)}
"""The same for Fisher scoring, by ``Tuning.hessian_is_cheap``: few steps where one costs about as much as the exact
Hessian, which ends a stage with a Newton step, and more where that costs much more."""


class _Stage(NamedTuple):
    """One stage: its limit of steps, and how it begins.

    Attributes:
        limit: the largest number of steps.
        in_lanes: True for Fisher scoring in lanes, False for the plain minimiser.
        off_saddles: True to go on from beside a saddle where the last stage ended at one.
        afresh: True to begin at the model's initial values, and to keep the result only where it is lower.
    """

    limit: int
    in_lanes: bool
    off_saddles: bool = False
    afresh: bool = False


def search(problem: FitProblem, starts: Float[np.ndarray, "toy parameter"], *, from_init: bool = False) -> Fits:
    """Fit every toy from its start, (n, P); the last stage starts afresh at the model's initial values.

    ``from_init`` says that all starts are these already, and that no parameter is held but those that the model fixes.
    """
    fits = problem.unfitted()
    starts, pending = starts.copy(), np.arange(len(problem))
    for number, stage in enumerate(_stages(problem.model)):
        if number:
            pending = np.flatnonzero(~fits.ok & (fits.status != Status.NOT_FINITE))
            starts[pending] = _restarts(problem, fits, starts, pending, afresh=stage.afresh)
        if not pending.size:
            break
        if stage.off_saddles:
            rows = pending[fits.status[pending] == Status.HESSIAN_NOT_POSITIVE]
            if rows.size:
                starts[rows] = off_saddles(problem.of(rows), starts[rows])
        found = problem.unfitted() if stage.afresh else fits
        calls = partial(in_calls, from_init=from_init and not number) if stage.in_lanes else _in_blocks
        for rows, ends in calls(problem, starts, pending, stage.limit):
            put(found, rows, ends)
        if stage.afresh:
            keep_lower(fits, found)
    return fits


def _stages(model: Model) -> list[_Stage]:
    plain = [_Stage(limit, in_lanes=False, afresh=limit == STAGES[-1]) for limit in STAGES]
    if not is_fast(model):
        return plain
    first, *more = _FAST_STEPS[model.tuning.hessian_is_cheap]
    return [_Stage(first, in_lanes=True), *(_Stage(limit, in_lanes=True, off_saddles=True) for limit in more), *plain]


def _restarts(
    problem: FitProblem,
    fits: Fits,
    starts: Float[np.ndarray, "toy parameter"],
    pending: Int[np.ndarray, " some"],
    *,
    afresh: bool,
) -> Float[np.ndarray, "some parameter"]:
    """Where the next stage of unfinished toys begins."""
    if afresh:
        return np.where(problem.fixed, starts[pending], problem.model.parameters.init)
    return finite_or(fits.parameters[pending], starts[pending])


def _in_blocks(
    problem: FitProblem, starts: Float[np.ndarray, "toy parameter"], rows: Int[np.ndarray, " some"], limit: int
) -> Iterator[tuple[Int[np.ndarray, " some"], Ends]]:
    """The plain minimiser on some rows, block by block: the rows of each block and their results, (k, …)."""
    model = problem.model
    size = straggler_block_size(model) if is_fast(model) else block_size(model)
    domain, stop = domain_of(problem), Stop(problem.tolerance, limit)
    for block, filled in blocks(rows, problem.indices[rows] % size, size):
        at, data = toys_last(starts, block), toys_last(problem.toys, block)
        end = minimize(model.kernel, model.arrays, at, data, domain, stop)
        covariance = np.asarray(end.covariance)[filled]
        yield (
            block[filled],
            Ends(
                x=np.asarray(end.x).T[filled],
                nll=np.asarray(end.nll)[filled],
                status=np.asarray(end.status)[filled],
                edm=np.asarray(end.edm)[filled],
                iterations=np.asarray(end.iterations)[filled],
                errors=np.where(end.held, np.nan, end.errors).T[filled],
                column=None if problem.column is None else covariance[:, :, problem.column],
                covariance=covariance,
            ),
        )
