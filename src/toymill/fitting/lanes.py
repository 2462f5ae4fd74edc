"""The fast program: Fisher scoring of the toys in every lane, then the exact Hessian of each once, where it ends."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from toymill import budget
from toymill.arrow import inverse
from toymill.fitting.device import device
from toymill.fitting.newton import ROUGH_EDM, Domain
from toymill.fitting.results import Ends
from toymill.fitting.scoring import Queues, Rough, Rules, Space, score
from toymill.fitting.status import Status
from toymill.linalg import apart
from toymill.models.base import FirstStep, Kernel, Tuning

if TYPE_CHECKING:
    from jax import Array
    from jaxtyping import Float, Int, PyTree

_MUCH = 4.0  # by which the first step may change an expectation, where it is linear
_NEWTON_EDM = 0.1  # below it a Newton step of the exact Hessian is taken without an evaluation of the nll


class Program(NamedTuple):
    """What one compiled program is made for; hashable.

    Attributes:
        kernel: the model's functions, with ``kernel.fast``.
        tuning: what the search is shaped by.
        covariance: whether the whole covariance is wanted.
    """

    kernel: Kernel
    tuning: Tuning
    covariance: bool


class Request(NamedTuple):
    """What is wanted of a call of a program.

    Attributes:
        tolerance: the largest estimated distance to the minimum of a certified fit.
        limit: the largest number of steps of Fisher scoring.
        hold_steps: in how many of the first steps a toy's ``Queues.hold`` is held.
        column: the parameter whose column of the covariance is wanted.
        certify: False to stop where the search does, within about 1e-4 of a minimum, without a Hessian.
        errors: whether errors and that column are wanted; else they are NaN.
        first_step: True where all toys start with the model's ``initial_step``.
    """

    tolerance: float
    limit: int
    hold_steps: int
    column: int
    certify: bool
    errors: bool
    first_step: bool


@partial(jax.jit, static_argnames=("program",))
def fit_lanes(
    program: Program,
    arrays: PyTree,
    queues: Queues,
    domain: Domain,
    request: Request,
    first_step: FirstStep[Array] | None = None,
) -> Ends:
    """Fit the toys in every lane in a model with ``kernel.fast``.

    The exact Hessian's Newton step is the last one: it has been paid for. A toy whose distance is above the tolerance
    before it is left NOT_CONVERGED after it, to go on from there.

    Args:
        program: what is compiled.
        arrays: the model's constants.
        queues: the toys and their starts, parameters in the model's order.
        domain: where parameters may be, in the model's order; without kinks.
        request: what is wanted.
        first_step: the model's, which is taken if ``request.first_step``.

    Returns:
        Where each toy ended, (N, T, …), parameters in the model's order.
    """
    fast = program.kernel.fast
    assert fast is not None
    order, places = fast.order(arrays), fast.places(arrays)
    bounds = domain.bounds
    space = Space(fast, arrays, bounds[order, :1], bounds[order, 1:], domain.fixed[order])
    enough = jnp.where(request.certify, 0.1 * request.tolerance, ROUGH_EDM)
    hold = jnp.where(queues.hold >= 0, places[queues.hold], -1)
    rules = Rules(request.hold_steps, enough, request.limit, foresee=request.certify)  # type: ignore[arg-type]
    start = queues.start
    if first_step is not None:
        start = lax.cond(request.first_step, partial(_after_first_step, first_step, bounds), lambda _: start, queues)
    inner = queues._replace(start=start[..., order], hold=hold)
    rough = score(space, inner, program.tuning, rules)
    empty = _empty(queues.start, rough, covariance=program.covariance)

    _, width, size = queues.start.shape
    lanes = _together(width, program.tuning.matrix, size**2 if program.covariance else 0)
    parts = width // lanes

    def block(number: Int[Array, ""], ends: Ends) -> Ends:
        place, lane = number // parts, number % parts * lanes

        def at(values: Array) -> Array:
            rest = values.ndim - 2
            part = lax.dynamic_slice(values, (place, lane, *[0] * rest), (1, lanes, *values.shape[2:]))
            return part[0].T

        def certified() -> Ends:
            column = places[request.column]
            return _certified(space, at(rough.x), at(queues.data), request, column, covariance=program.covariance)

        def uncertified() -> Ends:
            x, none = at(rough.x), jnp.zeros(lanes, dtype=jnp.int32)
            unknown = jnp.zeros_like(x)
            return Ends(
                x=x,
                nll=at(rough.nll),
                status=none.astype(jnp.int8),
                edm=at(rough.edm),
                iterations=none,
                errors=unknown,
                column=unknown,
                covariance=jnp.zeros((lanes, size, size)) if program.covariance else None,
            )

        end = lax.cond(request.certify, certified, uncertified)
        assert end.column is not None
        end = Ends(
            x=end.x[places].T,
            nll=end.nll + program.kernel.offset(arrays, at(queues.data)),
            status=end.status,
            edm=end.edm,
            iterations=at(rough.iterations),
            errors=end.errors[places].T,
            column=end.column[places].T,
            covariance=None if end.covariance is None else end.covariance[:, places][:, :, places],
        )

        def put(every: Array, one: Array) -> Array:
            return lax.dynamic_update_slice(every, one[None], (place, lane, *[0] * (one.ndim - 1)))

        updated: Ends = jax.tree.map(put, ends, end)
        return updated

    filled: Ends = lax.fori_loop(0, jnp.max(queues.counts) * parts, block, empty)
    return filled


def _after_first_step(
    first_step: FirstStep[Array], bounds: Float[Array, "parameter 2"], queues: Queues
) -> Float[Array, "place lane parameter"]:
    """Where the first step leads each toy, inside the bounds; where it changes an expectation much, where it starts."""

    def at_place(place: Array, starts: Array) -> Array:
        away = queues.data[place] - first_step.expected[None]  # (T, D)
        ratio = 1 + away @ first_step.change.T
        near = jnp.all((ratio > 1 / _MUCH) & (ratio < _MUCH), axis=1)
        moved = jnp.where(near[:, None], away @ first_step.slope.T, 0.0)
        inside = jnp.clip(first_step.start[None] + moved, bounds[None, :, 0], bounds[None, :, 1])
        return starts.at[place].set(jnp.where(first_step.fixed[None], first_step.start[None], inside))

    starts: Array = lax.fori_loop(0, jnp.max(queues.counts), at_place, queues.start)
    return starts


def _empty(start: Float[Array, "place lane parameter"], rough: Rough, *, covariance: bool) -> Ends:
    """Ends yet to be filled in."""
    return Ends(
        x=jnp.zeros_like(start),
        nll=jnp.zeros(start.shape[:2]),
        status=jnp.zeros(start.shape[:2], dtype=jnp.int8),
        edm=jnp.zeros(start.shape[:2]),
        iterations=rough.iterations,
        errors=jnp.zeros_like(start),
        column=jnp.zeros_like(start),
        covariance=jnp.zeros((*start.shape, start.shape[-1])) if covariance else None,
    )


def _together(lanes: int, size: int, covariance: int) -> int:
    """How many toys' Hessians are computed at once: as many as stay in cache, 32 or more.

    Fewer only if their covariances, of so many numbers each, would take too much memory.
    """
    hessians, covariances = (device().budget(least) for least in (budget.HESSIANS, budget.CERTIFIED_COVARIANCES))
    while lanes % 2 == 0 and ((lanes > 32 and 8 * size * lanes > hessians) or 8 * covariance * lanes > covariances):
        lanes //= 2
    return lanes


def _certified(
    space: Space,
    x: Float[Array, "parameter lane"],
    toys: Float[Array, "datum lane"],
    request: Request,
    column: Int[Array, ""],
    *,
    covariance: bool,
) -> Ends:
    """The exact Hessian at x, its Newton step, and what it says; toys last, nll less its offset."""
    nll, gradient, hessian, (beyond, near) = apart(space.fast.hessian, space.arrays, x, toys)
    free = space.movable(x, gradient)
    found = apart(partial(inverse, full=covariance), hessian, gradient, free, column, request.errors)
    edm = 0.5 * jnp.sum(jnp.where(free, gradient, 0.0) * found.newton, axis=0)
    converged = found.positive & (edm <= request.tolerance)
    near_enough = found.positive & (edm < _NEWTON_EDM)
    step = jnp.where(free & near_enough[None], found.newton, 0.0)
    bounded = ~free & ~space.fixed[:, None]
    status = jnp.where(jnp.any(bounded, axis=0), Status.AT_BOUND, Status.CERTIFIED)
    status = jnp.where(converged, status, Status.NOT_CONVERGED)
    status = jnp.where(found.positive, status, Status.HESSIAN_NOT_POSITIVE)
    status = jnp.where(beyond | (near & ~converged), Status.AT_FLOOR, status)
    finite = jnp.isfinite(nll) & jnp.all(jnp.isfinite(gradient), axis=0)
    status = jnp.where(finite, status, Status.NOT_FINITE)
    return Ends(
        x=jnp.clip(x - step, space.low, space.high),
        nll=nll - jnp.where(converged, edm, 0.0),
        status=status.astype(jnp.int8),
        edm=edm,
        iterations=jnp.zeros(edm.shape, dtype=jnp.int32),
        errors=jnp.where(bounded, jnp.nan, jnp.sqrt(found.variances)),
        column=found.column,
        covariance=found.covariance,
    )
