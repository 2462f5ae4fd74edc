"""Fisher scoring of many toys, and the exact Hessian of each once, where it ends: the fast path of ``Kernel.fast``.

Toys go through lanes, each a queue: whenever the search of one toy ends, its lane takes the next. A lane's numbers
depend on that lane's toy only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from toymill.fitting.newton import ROUGH_EDM, movable
from toymill.fitting.status import Status
from toymill.linalg import apart, inverse
from toymill.models.base import Fast, Kernel, Tuning

_MEMORABLE_EDM = 1.0  # farther from the minimum than this they say little about it
_NEWTON_EDM = 0.1  # below it a Newton step of the exact Hessian is taken without a look at the nll
_HESSIAN_BYTES = 2**20  # of the Hessians of toys that are computed at once: a part of a core's second-level cache
_SMALLEST_SCALE = 1e-8  # of a step that has been cut back again and again


class Ends(NamedTuple):
    """The end of the fits of N toys in each of T lanes.

    Attributes:
        x: parameters, (N, T, P).
        nll: negative log-likelihood with all constants, (N, T).
        status: a ``Status`` for each toy, (N, T).
        edm: estimated distance to the minimum, (N, T).
        iterations: steps tried, (N, T).
        errors: square roots of the diagonal of the inverse Hessian; NaN for a parameter held at a bound, (N, T, P).
        column: the column of that inverse of one parameter, (N, T, P).
        covariance: the inverse itself, (N, T, P, P), or None.
    """

    x: Any
    nll: Any
    status: Any
    edm: Any
    iterations: Any
    errors: Any
    column: Any
    covariance: Any


class _Problem(NamedTuple):
    """What all toys share, parameters in the order of ``kernel.fast``: bounds (P, 1), and which are held, (P,)."""

    fast: Fast
    arrays: Any
    low: Any
    high: Any
    held: Any

    def inside(self, x: Any) -> Any:
        return jnp.clip(x, self.low, self.high)

    def target(self, at: _Lanes) -> Any:
        return self.inside(at.x + at.scale[None] * at.step)

    def free(self, x: Any, gradient: Any) -> Any:
        return movable(x, gradient, self.low, self.high, self.held)


def _together(lanes: int, size: int) -> int:
    """How many toys' Hessians are computed at once: as many as stay in cache, 8 or more."""
    while lanes > 8 and lanes % 2 == 0 and 8 * size * size * lanes > _HESSIAN_BYTES:
        lanes //= 2
    return lanes


@partial(jax.jit, static_argnames=("kernel", "full", "tuning"))
def fit_lanes(
    kernel: Kernel,
    arrays: Any,
    counts: Any,
    start: Any,
    data: Any,
    kept: Any,
    led: Any,
    bounds: Any,
    fixed: Any,
    tolerance: Any,
    limit: Any,
    along: Any,
    certify: Any,
    *,
    full: bool,
    tuning: Tuning,
) -> Ends:
    """Fit the toys in every lane in a model with ``kernel.fast``.

    The exact Hessian's Newton step is the last one: it has been paid for. A toy whose distance is above the tolerance
    before it is left NOT_CONVERGED after it, to go on from there.

    Args:
        kernel: the model's functions.
        arrays: the model's constants.
        counts: how many toys each lane has, (T,); of its N places the first are filled.
        start: where each toy starts, (N, T, P); fixed parameters keep these values.
        data: the toys, (N, T, D).
        kept: a parameter of each toy that is held in the first ``led`` steps, or -1, (N, T).
        led: the number of these steps.
        bounds: lower and upper bounds, (P, 2).
        fixed: True for parameters that are not fitted, (P,).
        tolerance: the largest estimated distance to the minimum of a certified fit.
        limit: the largest number of steps of Fisher scoring.
        along: the parameter whose column of the covariance is wanted.
        certify: False to stop where the search does, within about 1e-4 of a minimum, without a Hessian.
        full: whether the whole covariance is wanted.
        tuning: what the search is shaped by.
    """
    assert kernel.fast is not None
    order, places = kernel.fast.order(arrays), kernel.fast.places(arrays)
    problem = _Problem(kernel.fast, arrays, bounds[order, :1], bounds[order, 1:], fixed[order])
    enough = jnp.where(certify, 0.1 * tolerance, ROUGH_EDM)
    at_first = jnp.where(kept >= 0, places[kept], -1)
    rules = _Rules(led, enough, limit, foresee=certify)
    rough = _scored(problem, counts, start[..., order], data, at_first, tuning, rules)
    empty = Ends(
        x=jnp.zeros_like(start),
        nll=jnp.zeros(start.shape[:2]),
        status=jnp.zeros(start.shape[:2], dtype=jnp.int8),
        edm=jnp.zeros(start.shape[:2]),
        iterations=rough.iterations,
        errors=jnp.zeros_like(start),
        column=jnp.zeros_like(start),
        covariance=jnp.zeros((*start.shape, start.shape[-1])) if full else None,
    )

    lanes = _together(*start.shape[1:])
    parts = start.shape[1] // lanes

    def block(number: Any, ends: Ends) -> Ends:
        place, lane = number // parts, number % parts * lanes

        def at(values: Any) -> Any:
            rest = values.ndim - 2
            part = lax.dynamic_slice(values, (place, lane, *[0] * rest), (1, lanes, *values.shape[2:]))
            return part[0].T

        def certified() -> Ends:
            return _certified(problem, at(rough.x), at(data), tolerance, places[along], full=full)

        def uncertified() -> Ends:
            none: Ends = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), jax.eval_shape(certified))
            return none._replace(x=at(rough.x), nll=at(rough.nll), edm=at(rough.edm))

        end = lax.cond(certify, certified, uncertified)
        end = Ends(
            x=end.x[places].T,
            nll=end.nll + kernel.offset(arrays, at(data)),
            status=end.status,
            edm=end.edm,
            iterations=at(rough.iterations),
            errors=end.errors[places].T,
            column=end.column[places].T,
            covariance=None if end.covariance is None else end.covariance[:, places][:, :, places],
        )

        def put(every: Any, one: Any) -> Any:
            return lax.dynamic_update_slice(every, one[None], (place, lane, *[0] * (one.ndim - 1)))

        updated: Ends = jax.tree.map(put, ends, end)
        return updated

    filled: Ends = lax.fori_loop(0, jnp.max(counts) * parts, block, empty)
    return filled


def _certified(problem: _Problem, x: Any, toys: Any, tolerance: Any, column: Any, *, full: bool) -> Ends:
    """The exact Hessian at x, (P, T), its Newton step, and what it says; toys last, nll less its offset."""
    always = tolerance >= 0
    nll, gradient, hessian, (beyond, near) = apart(always, partial(problem.fast.hessian, problem.arrays), x, toys)
    free = problem.free(x, gradient)
    found = apart(always, partial(inverse, full=full), hessian, gradient, free, column)
    edm = 0.5 * jnp.sum(jnp.where(free, gradient, 0.0) * found.newton, axis=0)
    converged = found.positive & (edm <= tolerance)
    near_enough = found.positive & (edm < _NEWTON_EDM)
    step = jnp.where(free & near_enough[None], found.newton, 0.0)
    bounded = ~free & ~problem.held[:, None]
    status = jnp.where(jnp.any(bounded, axis=0), Status.AT_BOUND, Status.CERTIFIED)
    status = jnp.where(converged, status, Status.NOT_CONVERGED)
    status = jnp.where(found.positive, status, Status.HESSIAN_NOT_POSITIVE)
    status = jnp.where(beyond | (near & ~converged), Status.AT_FLOOR, status)
    finite = jnp.isfinite(nll) & jnp.all(jnp.isfinite(gradient), axis=0)
    status = jnp.where(finite, status, Status.NOT_FINITE)
    return Ends(
        x=jnp.clip(x - step, problem.low, problem.high),
        nll=nll - jnp.where(converged, edm, 0.0),
        status=status.astype(jnp.int8),
        edm=edm,
        iterations=jnp.zeros(edm.shape, dtype=jnp.int32),
        errors=jnp.where(bounded, jnp.nan, jnp.sqrt(found.variances)),
        column=found.column,
        covariance=found.covariance,
    )


class _Rough(NamedTuple):
    """Where the search of each toy ended: (N, T, P) and (N, T)."""

    x: Any
    nll: Any
    edm: Any
    iterations: Any


class _Lanes(NamedTuple):
    """Where the search of each lane's toy stands.

    Attributes:
        number: the toy's place in its lane, (T,).
        data: the toy, (D, T).
        kept: the place of a parameter that is held at first, or -1, (T,).
        done: True where the search has ended, (T,).
        x: parameters, (P, T).
        nll: negative log-likelihood less its offset, infinite before the first look, (T,).
        gradient: its gradient, (P, T).
        step: the next step, -H⁻¹ g, (P, T).
        scale: the part of it that is tried, (T,); 0 if that step is not good and another matrix is wanted for it.
        stale: True where the step comes from the matrix of another point, (T,).
        edm: estimated distance to the minimum, ½ gᵀ H⁻¹ g, (T,).
        iterations: steps tried, (T,).
        steps: the last steps, (M, P, T); zero where there is none.
        changes: of the gradient in them, (M, P, T).
    """

    number: Any
    data: Any
    kept: Any
    done: Any
    x: Any
    nll: Any
    gradient: Any
    step: Any
    scale: Any
    stale: Any
    edm: Any
    iterations: Any
    steps: Any
    changes: Any


class _Rules(NamedTuple):
    """When a search ends, and what it holds at first: see the arguments of ``fit_lanes``."""

    led: Any
    enough: Any
    limit: Any
    foresee: Any


def _scored(problem: _Problem, counts: Any, start: Any, data: Any, kept: Any, tuning: Tuning, rules: _Rules) -> _Rough:
    """Fisher scoring of every toy until its distance is below ``enough``, or the limit of steps.

    The step -H⁻¹ g, H corrected by the last changes of the gradient (L-BFGS, with the Fisher information for H₀), is
    projected into the bounds, and cut to a quarter where it does not lower the nll (Armijo's rule along the projection
    arc: Bertsekas, SIAM J. Control Optim. 20 (1982) 221). If ``rules.foresee``, a toy is done as soon as the next step is
    expected to end there, and that step is taken without a look; and a matrix serves for the next steps of all lanes, ``tuning.matrix_reuse``
    of them, as long as they are taken and the same parameters are free. (Elsewhere the estimated distance, which is only as
    good as its matrix, has the last word.)
    """
    places, lanes, size = start.shape
    lane = jnp.arange(lanes)

    def fresh(at: _Lanes, where: Any, number: Any) -> _Lanes:
        """The next toy in the lanes ``where`` its predecessor is done."""
        place = jnp.minimum(number, places - 1)
        first = start[place, lane].T
        x = jnp.where(problem.held[:, None], first, jnp.clip(first, problem.low, problem.high))

        def new(value: Any, old: Any) -> Any:
            return _chosen(where, value, old)

        return _Lanes(
            number=number,
            data=new(data[place, lane].T, at.data),
            kept=new(kept[place, lane], at.kept),
            done=number >= counts,
            x=new(x, at.x),
            nll=new(jnp.inf, at.nll),
            gradient=at.gradient,
            step=new(0.0, at.step),
            scale=new(1.0, at.scale),
            stale=new(False, at.stale),
            edm=new(jnp.inf, at.edm),
            iterations=new(-1, at.iterations),
            steps=new(0.0, at.steps),
            changes=new(0.0, at.changes),
        )

    def advance(state: tuple[_Lanes, _Rough]) -> tuple[_Lanes, _Rough]:
        at, ends = state
        target = problem.target(at)
        nll, gradient, matrix = problem.fast.scoring(problem.arrays, target, at.data)
        free = _free(problem, at, target, gradient, rules.led)
        solve = matrix(free)
        at = _looked(problem, at, at.done, target, nll, gradient, free, solve, rules, stale=False)

        def look(state: tuple[Any, _Lanes, Any]) -> tuple[Any, _Lanes, Any]:
            number, at, rests = state
            target = problem.target(at)
            nll, gradient = problem.fast.gradient(problem.arrays, target, at.data)
            changed = jnp.any(free != _free(problem, at, target, gradient, rules.led), axis=0)
            rests = at.done | (at.scale < 1) | changed
            at = _looked(problem, at, rests, target, nll, gradient, free, solve, rules, stale=True)
            return number + 1, at, rests

        def wanted(state: tuple[Any, _Lanes, Any]) -> Any:
            number, at, rests = state
            return (number < jnp.where(rules.foresee, tuning.matrix_reuse, 0)) & ~jnp.all(rests | at.done)

        if tuning.matrix_reuse:
            _, at, _ = lax.while_loop(wanted, look, (jnp.zeros((), dtype=jnp.int32), at, at.done))
        place = jnp.where(at.done, at.number, places)

        def put(every: Any, one: Any) -> Any:
            return every.at[place, lane].set(one, mode="drop")

        ends = jax.tree.map(put, ends, _Rough(at.x.T, at.nll, at.edm, at.iterations))
        return fresh(at, at.done, at.number + at.done), ends

    empty = _Rough(
        jnp.zeros_like(start),
        jnp.zeros((places, lanes)),
        jnp.zeros((places, lanes)),
        jnp.zeros((places, lanes), dtype=jnp.int32),
    )
    vector, number = jnp.zeros((size, lanes)), jnp.zeros(lanes)
    memory = jnp.zeros((tuning.remembered, size, lanes))
    count = jnp.zeros(lanes, dtype=jnp.int32)
    none = _Lanes(
        count,
        jnp.zeros((data.shape[2], lanes)),
        count,
        count == 0,
        vector,
        number,
        vector,
        vector,
        number,
        count != 0,
        number,
        count,
        memory,
        memory,
    )
    begun = fresh(none, none.done, count), empty
    _, ends = lax.while_loop(lambda state: jnp.any(state[0].number < counts), advance, begun)
    return ends


def _free(problem: _Problem, at: _Lanes, x: Any, gradient: Any, led: Any) -> Any:
    """The parameters that a step from x changes, (P, T)."""
    held = jnp.where(_led(at, led), at.kept, -1)
    return problem.free(x, gradient) & (jnp.arange(len(x))[:, None] != held[None])


def _led(at: _Lanes, led: Any) -> Any:
    """Where a parameter is still held, (T,)."""
    return (at.iterations < led - 1) & (at.kept >= 0)


def _looked(
    problem: _Problem,
    at: _Lanes,
    rests: Any,
    target: Any,
    nll: Any,
    gradient: Any,
    free: Any,
    solve: Callable[[Any], Any],
    rules: _Rules,
    *,
    stale: bool,
) -> _Lanes:
    """The lanes after a look at ``target``, (P, T), with its matrix or a ``stale`` one; those that rest, (T,), do not change.

    A step from a stale matrix that does not lower the nll is given up: the next look is at the point where it began.
    """
    near = at.edm < _MEMORABLE_EDM
    steps, changes = (
        jnp.concatenate([last, _chosen(near, new, 0.0)[None]])[1:]
        for last, new in ((at.steps, target - at.x), (at.changes, gradient - at.gradient))
    )
    first = jnp.isinf(at.nll)
    step = -_corrected(solve, steps * free[None], changes * free[None], gradient * free)
    edm = -0.5 * jnp.sum(gradient * step, axis=0)
    gained = at.nll - nll
    promised = jnp.sum(at.gradient * (at.x - target), axis=0)
    noise = 1e-12 * (1 + jnp.abs(at.nll))
    good = (gained >= 1e-4 * promised) | (jnp.abs(promised) < noise) & (gained > -noise)
    taken = (good | first) & jnp.isfinite(nll) & jnp.isfinite(edm)
    # The distance falls by about the same factor in each of the last steps, or by more.
    followed = rules.foresee & (at.scale == 1) & ~first
    rate = jnp.where(followed, jnp.minimum(4 * edm / at.edm, 1.0), 1.0)
    there = taken & ~_led(at, rules.led) & ((edm * rate <= rules.enough) | (edm <= 0.1 * rules.enough))
    scale = jnp.where(taken, 1.0, jnp.where(first | at.stale, 0.0, 0.25 * at.scale))
    iterations = at.iterations + 1
    end = _chosen(there & rules.foresee, problem.inside(target + step), target)
    moved, changed = taken & ~rests, ~rests
    stuck = (scale <= _SMALLEST_SCALE) & (first | ~at.stale)
    done = changed & (there | (iterations >= rules.limit) | stuck)
    return at._replace(
        done=at.done | done,
        x=_chosen(moved, end, at.x),
        nll=_chosen(moved, nll, at.nll),
        gradient=_chosen(moved, gradient, at.gradient),
        step=_chosen(moved, step, at.step),
        scale=_chosen(changed, scale, at.scale),
        stale=_chosen(moved, stale, at.stale & ~changed),
        edm=_chosen(moved, edm, _chosen(done, jnp.inf, at.edm)),  # infinite where the last step was refused
        iterations=_chosen(changed, iterations, at.iterations),
        steps=_chosen(moved, steps, at.steps),
        changes=_chosen(moved, changes, at.changes),
    )


def _chosen(where: Any, value: Any, other: Any) -> Any:
    """``value`` in the lanes ``where`` it is wanted, else ``other``, (…, T)."""
    shape = jnp.shape(other) if jnp.ndim(other) else jnp.shape(value)
    lanes = where.reshape((1,) * (len(shape) - 1) + where.shape)
    return jnp.where(lanes, value, other)


def _corrected(solve: Callable[[Any], Any], steps: Any, changes: Any, gradient: Any) -> Any:
    """H⁻¹ g with H₀⁻¹ corrected by steps and the changes of the gradient in them, oldest first, (M, P, T).

    The two-loop recursion of L-BFGS (Nocedal & Wright, Numerical Optimization, 2nd ed., algorithm 7.4).
    """
    inner = jnp.sum(steps * changes, axis=1)
    weights = jnp.where(inner > 0, 1 / jnp.where(inner > 0, inner, 1.0), 0.0)
    taken = [jnp.zeros_like(gradient[0])] * len(weights)
    for i in reversed(range(len(weights))):
        taken[i] = weights[i] * jnp.sum(steps[i] * gradient, axis=0)
        gradient = gradient - taken[i][None] * changes[i]
    step = solve(gradient)
    for i in range(len(weights)):
        back = weights[i] * jnp.sum(changes[i] * step, axis=0)
        step = step + (taken[i] - back)[None] * steps[i]
    return step
