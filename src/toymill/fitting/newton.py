"""The batched minimiser: damped Newton steps inside bounds, and how each fit ended.

A block of T toys is minimised at once. Vectors are shaped (P, T), toys last, so that the innermost
loops are contiguous; matrices are (T, P, P), as LAPACK wants them. Every toy's numbers depend on its
own data and on its lane only, not on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from toymill.fitting.status import Status
from toymill.linalg import SMALLEST_PIVOT
from toymill.models.base import Kernel

EDM_TOLERANCE = 1e-8
"""A fit is certified with an estimated vertical distance to the minimum below this, in units of the nll."""

ROUGH_EDM = 1e-4  # where Fisher scoring hands over to the exact Hessian: it then needs two or three steps
_FIRST_DAMPING = 1e-2
_LARGEST_DAMPING = 1e12
_BESIDE = 1e-60  # a parameter at a kink sits here on the side whose derivatives it takes


class Point(NamedTuple):
    """Where each toy of a block stands; also the state of the search.

    Attributes:
        x: parameters, (P, T).
        nll: negative log-likelihood less its offset, (T,).
        gradient: its gradient, (P, T).
        curvature: the matrix of the quadratic model, (T, P, P).
        damping: the Levenberg-Marquardt parameter λ, (T,).
        edm: estimated distance to the minimum, ½ gᵀ H⁻¹ g over the free parameters, (T,).
        iterations: steps tried, (T,).
        converged: True where edm fell below the tolerance with λ = 0, (T,).
    """

    x: Any
    nll: Any
    gradient: Any
    curvature: Any
    damping: Any
    edm: Any
    iterations: Any
    converged: Any


class Minimum(NamedTuple):
    """The end of a block's fits.

    Attributes:
        x: parameters, (P, T).
        nll: negative log-likelihood with all constants, (T,).
        status: a ``Status`` for each toy, (T,).
        edm: estimated distance to the minimum, (T,).
        iterations: steps tried in all, (T,).
        covariance: inverse of the exact Hessian over the free parameters, (T, P, P); zero for
            fixed parameters and for those held at a bound; NaN where it is not positive definite.
        errors: square roots of its diagonal, (P, T).
        held: True for a parameter that its gradient holds at a bound, (P, T).
    """

    x: Any
    nll: Any
    status: Any
    edm: Any
    iterations: Any
    covariance: Any
    errors: Any
    held: Any


@partial(jax.jit, static_argnames=("kernel",))
def minimize(
    kernel: Kernel,
    arrays: Any,
    start: Any,
    data: Any,
    bounds: Any,
    fixed: Any,
    tolerance: Any,
    limit: Any,
    kinks: Any = None,
) -> Minimum:
    """Minimise a block of toys: Fisher scoring first, then exact Newton steps until certified.

    Args:
        kernel: the model's functions.
        arrays: the model's constants.
        start: where each toy starts, (P, T); fixed parameters keep these values.
        data: the toys, (D, T).
        bounds: lower and upper bounds, (P, 2).
        fixed: True for parameters that are not fitted, (P,).
        tolerance: the largest estimated distance to the minimum of a certified fit.
        limit: the largest number of steps in each of the two stages.
        kinks: True for parameters with a kink at 0, (P,); None if there are none.
    """
    rough, kinked = _descended(kernel, arrays, start, data, bounds, fixed, limit, kinks)
    exact = partial(kernel.exact, arrays)
    if kinks is None:
        low, high = bounds[:, :1], bounds[:, 1:]
        end = _search(exact, rough.x, data, low, high, fixed, tolerance, limit)
        iterations = rough.iterations + end.iterations
    else:
        end, low, high, iterations = _across_kinks(exact, rough, data, bounds, fixed, kinked, tolerance, limit)
    free = movable(end.x, end.gradient, low, high, fixed)
    held = ~free & ~fixed[:, None]
    covariance, positive = _inverse(end.curvature, free)
    slope = jnp.where(free, end.gradient, 0.0)
    edm = jnp.where(end.converged & positive, 0.5 * jnp.einsum("pt,tpq,qt->t", slope, covariance, slope), end.edm)
    errors = jnp.sqrt(jnp.diagonal(covariance, axis1=1, axis2=2)).T
    finite = jnp.isfinite(end.nll) & jnp.all(jnp.isfinite(end.gradient), axis=0)
    at_kink = held & kinked & (jnp.abs(end.x) == _BESIDE)
    status = jnp.where(jnp.any(at_kink, axis=0), Status.AT_KINK, Status.CERTIFIED)
    status = jnp.where(jnp.any(held & ~at_kink, axis=0), Status.AT_BOUND, status)
    status = jnp.where(end.converged & (~positive | (edm <= tolerance)), status, Status.NOT_CONVERGED)
    status = jnp.where(positive, status, Status.HESSIAN_NOT_POSITIVE)
    beyond, near = kernel.at_floor(arrays, end.x, data)
    status = jnp.where(beyond | (near & ~end.converged), Status.AT_FLOOR, status)
    status = jnp.where(finite, status, Status.NOT_FINITE)
    x = jnp.where(kinked & (jnp.abs(end.x) == _BESIDE), 0.0, end.x)
    nll = end.nll + kernel.offset(arrays, data)
    return Minimum(x, nll, status, edm, iterations, covariance, errors, held)


@partial(jax.jit, static_argnames=("kernel",))
def descend(
    kernel: Kernel, arrays: Any, start: Any, data: Any, bounds: Any, fixed: Any, limit: Any, kinks: Any = None
) -> tuple[Any, Any]:
    """The first stage of ``minimize`` alone: where it ends, (P, T), and the nll there with all constants, (T,).

    The nll is within about 1e-4 of that of a minimum: enough to tell whether another fit is worth its while.
    """
    rough, _ = _descended(kernel, arrays, start, data, bounds, fixed, limit, kinks)
    return rough.x, rough.nll + kernel.offset(arrays, data)


def _descended(
    kernel: Kernel, arrays: Any, start: Any, data: Any, bounds: Any, fixed: Any, limit: Any, kinks: Any
) -> tuple[Point, Any]:
    """Fisher scoring from a start, each parameter with a kink on one side of it; and which these are, (P, T)."""
    low, high = bounds[:, :1], bounds[:, 1:]
    start = jnp.where(fixed[:, None], start, jnp.clip(start, low, high))
    quadratic = partial(kernel.quadratic, arrays)
    kinked = jnp.broadcast_to((jnp.zeros_like(fixed) if kinks is None else kinks & ~fixed)[:, None], start.shape)
    if kinks is not None:
        at_kink = kinked & (start == 0)
        beside = jnp.where(at_kink, jnp.where(low >= 0, _BESIDE, -_BESIDE), start)
        _, gradient, _ = quadratic(beside, data)
        start = jnp.where(at_kink & (gradient < 0) & (high > 0), _BESIDE, beside)
        low, high = _side(start, low, high, kinked)
    return _search(quadratic, start, data, low, high, fixed, ROUGH_EDM, limit), kinked


def _side(x: Any, low: Any, high: Any, kinked: Any) -> tuple[Any, Any]:
    """Bounds that keep a parameter with a kink at 0 on the side where it is, (P, T)."""
    below = jnp.where(kinked & (x > 0), jnp.maximum(low, _BESIDE), low)
    above = jnp.where(kinked & (x < 0), jnp.minimum(high, -_BESIDE), high)
    return below, above


@partial(jax.jit, static_argnames=("kernel",))
def curvature(kernel: Kernel, arrays: Any, x: Any, data: Any, bounds: Any, fixed: Any) -> tuple[Any, Any]:
    """The exact Hessian at x, (T, P, P), and which parameters are free to move there, (P, T)."""
    _, gradient, hessian = kernel.exact(arrays, x, data)
    return hessian, movable(x, gradient, bounds[:, :1], bounds[:, 1:], fixed)


@partial(jax.jit, static_argnames=("kernel",))
def second_minima(kernel: Kernel, arrays: Any, x: Any, data: Any, fixed: Any, bounds: Any) -> tuple[Any, Any, Any]:
    """The likeliest other minima of fits that ended at x, (P, T) each; see ``Kernel.second_minima``."""
    gap, value, gain = kernel.second_minima(arrays, x, data, fixed, bounds)
    return gap, value, gain


def _across_kinks(
    exact: Callable[..., Any],
    rough: Point,
    data: Any,
    bounds: Any,
    fixed: Any,
    kinked: Any,
    tolerance: Any,
    limit: Any,
) -> tuple[Point, Any, Any, Any]:
    """Exact Newton on one side of every kink at a time: the last point, its bounds, and steps tried in all.

    On one side the nll is smooth, and the kink is a bound. A parameter that ends there crosses it if the nll falls
    on the other side too, and the search goes on: every crossing lowers the nll. One-sided derivatives do not
    depend on the sides of other parameters, since the expectation is continuous.
    """
    low, high = bounds[:, :1], bounds[:, 1:]
    rounds = 2 * kinked.shape[0] + 4

    def search(x: Any) -> Point:
        return _search(exact, x, data, *_side(x, low, high, kinked), fixed, tolerance, limit)

    def crossing(point: Point) -> Any:
        mirrored = jnp.where(kinked & (jnp.abs(point.x) == _BESIDE), -point.x, point.x)
        mirrored = jnp.clip(mirrored, low, high)
        _, gradient, _ = exact(mirrored, data)
        falls = (mirrored != point.x) & (mirrored * gradient < 0)
        return jnp.where(falls, mirrored, point.x)

    def advance(state: tuple[Point, Any, Any, Any]) -> tuple[Point, Any, Any, Any]:
        _, x, iterations, number = state
        point = search(x)
        return point, crossing(point), iterations + point.iterations, number + 1

    def unfinished(state: tuple[Point, Any, Any, Any]) -> Any:
        point, x, _, number = state
        return (number == 0) | (jnp.any(x != point.x) & (number < rounds))

    nothing = jnp.zeros_like(rough.iterations)
    point, x, iterations, _ = lax.while_loop(
        unfinished, advance, (rough, rough.x, nothing, jnp.zeros((), dtype=jnp.int32))
    )
    still = jnp.any(x != point.x, axis=0)
    point = point._replace(converged=point.converged & ~still)
    return point, *_side(point.x, low, high, kinked), rough.iterations + iterations


def _search(
    derivatives: Callable[..., Any],
    start: Any,
    data: Any,
    low: Any,
    high: Any,
    fixed: Any,
    tolerance: Any,
    limit: Any,
) -> Point:
    """Levenberg-Marquardt on one source of curvature, until every toy has converged or given up.

    The step solves (H + λ diag|H|) s = -g over the parameters that are not held at a bound, is
    projected into the bounds, and is taken if it lowers the nll as the quadratic model promised
    (Nocedal & Wright, Numerical Optimization, ch. 4 and 10.3; projection: Bertsekas 1982).
    """
    toys = start.shape[1]
    nll, gradient, curvature = derivatives(start, data)
    first = Point(
        x=start,
        nll=nll,
        gradient=gradient,
        curvature=curvature,
        damping=jnp.zeros(toys),
        edm=jnp.full(toys, jnp.inf),
        iterations=jnp.zeros(toys, dtype=jnp.int32),
        converged=jnp.zeros(toys, dtype=bool),
    )

    def running(at: Point) -> Any:
        finite = jnp.isfinite(at.nll)
        return ~at.converged & (at.iterations < limit) & (at.damping < _LARGEST_DAMPING) & finite

    def advance(at: Point) -> Point:
        active = running(at)
        free = movable(at.x, at.gradient, low, high, fixed)
        newton = _solve(at.curvature, at.gradient, free, at.damping)
        solvable = jnp.all(jnp.isfinite(newton), axis=0)
        undamped = at.damping == 0
        edm = jnp.where(undamped & solvable, 0.5 * jnp.sum(at.gradient * newton, axis=0), at.edm)
        converged = undamped & solvable & (edm <= tolerance)
        target = jnp.clip(at.x - jnp.where(solvable, newton, 0.0), low, high)
        target = jnp.where(fixed[:, None], at.x, target)
        step = target - at.x
        nll, gradient, curvature = derivatives(target, data)
        bend = jnp.einsum("tpq,qt->pt", at.curvature, step)
        promised = -jnp.sum(step * (at.gradient + 0.5 * bend), axis=0)
        gained = at.nll - nll
        noise = 1e-12 * (1 + jnp.abs(at.nll))
        good = (gained >= 1e-4 * promised) & (promised > 0) | (jnp.abs(promised) < noise) & (gained > -noise)
        finite = jnp.isfinite(nll) & jnp.all(jnp.isfinite(gradient), axis=0)
        # A toy that has converged takes this last step too: it has been paid for, and ends far closer.
        taken = active & solvable & good & finite
        easy = gained > 0.5 * promised
        eased = jnp.where(at.damping > 1e-3, at.damping * 0.1, 0.0)
        damping = jnp.where(taken, jnp.where(easy, eased, at.damping), jnp.maximum(at.damping * 10, _FIRST_DAMPING))
        return Point(
            x=jnp.where(taken, target, at.x),
            nll=jnp.where(taken, nll, at.nll),
            gradient=jnp.where(taken, gradient, at.gradient),
            curvature=jnp.where(taken[:, None, None], curvature, at.curvature),
            damping=jnp.where(active & ~converged, damping, at.damping),
            edm=jnp.where(active, edm, at.edm),
            iterations=at.iterations + (active & ~converged),
            converged=at.converged | (active & converged),
        )

    return lax.while_loop(lambda at: jnp.any(running(at)), advance, first)


def movable(x: Any, gradient: Any, low: Any, high: Any, fixed: Any) -> Any:
    """Parameters that may move: neither fixed nor at a bound with the gradient pointing outwards, (P, T)."""
    held = ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))
    return ~fixed[:, None] & ~held


def _scaled(curvature: Any, free: Any, damping: Any) -> tuple[Any, Any]:
    """Curvature over the free parameters in units where its diagonal is 1, plus λ; and those units."""
    mask = free.T  # (T, P)
    diagonal = jnp.abs(jnp.diagonal(curvature, axis1=1, axis2=2))
    unit = jnp.where(mask, 1 / jnp.sqrt(jnp.maximum(diagonal, 1e-100)), 0.0)
    index = jnp.arange(curvature.shape[1])
    scaled = curvature * unit[:, :, None] * unit[:, None, :]
    scaled = scaled.at[:, index, index].add(jnp.where(mask, damping[:, None], 1.0))
    return scaled, unit


def _solve(curvature: Any, gradient: Any, free: Any, damping: Any) -> Any:
    """(H + λ diag|H|)⁻¹ g over the free parameters, 0 elsewhere, (P, T); NaN if not positive definite."""
    scaled, unit = _scaled(curvature, free, damping)
    factor = jnp.linalg.cholesky(scaled, symmetrize_input=False)
    right = (gradient.T * unit)[..., None]
    half = lax.linalg.triangular_solve(factor, right, left_side=True, lower=True)
    full = lax.linalg.triangular_solve(factor, half, left_side=True, lower=True, transpose_a=True)
    return (full[..., 0] * unit).T


def _inverse(curvature: Any, free: Any) -> tuple[Any, Any]:
    """Inverse over the free parameters, 0 elsewhere, (T, P, P), and whether it exists, (T,); NaN where not.

    A degenerate matrix may pass a Cholesky factorisation by rounding alone, so its pivots are looked at.
    """
    scaled, unit = _scaled(curvature, free, jnp.zeros(curvature.shape[0]))
    factor = jnp.linalg.cholesky(scaled, symmetrize_input=False)
    positive = jnp.all(jnp.diagonal(factor, axis1=1, axis2=2) ** 2 > SMALLEST_PIVOT, axis=1)
    identity = jnp.broadcast_to(jnp.eye(curvature.shape[1]), curvature.shape)
    half = lax.linalg.triangular_solve(factor, identity, left_side=True, lower=True)
    inverse = jnp.swapaxes(half, 1, 2) @ half
    inverse = inverse * unit[:, :, None] * unit[:, None, :]
    return jnp.where(positive[:, None, None], inverse, jnp.nan), positive
