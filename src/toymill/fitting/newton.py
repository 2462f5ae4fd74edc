"""The batched minimiser: damped Newton steps inside bounds, and how each fit ended.

A block of T toys is minimised at once. Vectors are shaped (P, T), toys last, so that the innermost
loops are contiguous; matrices are (T, P, P), as LAPACK wants them. Every toy's numbers depend on its
own data and on its lane only, not on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from toymill.fitting.status import Status
from toymill.linalg import SMALLEST_PIVOT
from toymill.models.base import Kernel

if TYPE_CHECKING:
    from jax import Array
    from jaxtyping import Bool, Float, Int, PyTree

    Derivatives = Callable[[Array, Array], tuple[Array, Array, Array]]

ROUGH_EDM = 1e-4  # where Fisher scoring hands over to the exact Hessian: it then needs two or three steps
_FIRST_DAMPING = 1e-6  # along a narrow valley the curvature is 1e-7 of that across it: more would creep
_LEAST_DAMPING = 1e-7
_LARGEST_DAMPING = 1e12
_BESIDE = 1e-60  # a parameter at a kink sits here on the side whose derivatives it takes


class Domain(NamedTuple):
    """Where parameters may be.

    Attributes:
        bounds: lower and upper bounds, (P, 2).
        fixed: True for parameters that do not move, (P,).
        kinks: True for parameters with a kink at 0, (P,); None if there are none.
    """

    bounds: Float[Array, "parameter 2"]
    fixed: Bool[Array, " parameter"]
    kinks: Bool[Array, " parameter"] | None = None


class _Box(NamedTuple):
    """Bounds of each toy's search, (P, 1) or (P, T), and which parameters do not move, (P,)."""

    low: Float[Array, "parameter lane"]
    high: Float[Array, "parameter lane"]
    fixed: Bool[Array, " parameter"]

    def beside(self, x: Float[Array, "parameter lane"], kinked: Bool[Array, "parameter lane"]) -> _Box:
        """The part in which a parameter with a kink at 0 stays on the side where it is, (P, T)."""
        below = jnp.where(kinked & (x > 0), jnp.maximum(self.low, _BESIDE), self.low)
        above = jnp.where(kinked & (x < 0), jnp.minimum(self.high, -_BESIDE), self.high)
        return _Box(below, above, self.fixed)


class Stop(NamedTuple):
    """When a search ends: at an estimated distance to the minimum, or after a number of steps."""

    tolerance: float
    limit: int


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

    x: Float[Array, "parameter lane"]
    nll: Float[Array, " lane"]
    gradient: Float[Array, "parameter lane"]
    curvature: Float[Array, "lane parameter parameter"]
    damping: Float[Array, " lane"]
    edm: Float[Array, " lane"]
    iterations: Int[Array, " lane"]
    converged: Bool[Array, " lane"]


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

    x: Float[Array, "parameter lane"]
    nll: Float[Array, " lane"]
    status: Int[Array, " lane"]
    edm: Float[Array, " lane"]
    iterations: Int[Array, " lane"]
    covariance: Float[Array, "lane parameter parameter"]
    errors: Float[Array, "parameter lane"]
    held: Bool[Array, "parameter lane"]


@partial(jax.jit, static_argnames=("kernel",))
def minimize(
    kernel: Kernel,
    arrays: PyTree,
    start: Float[Array, "parameter lane"],
    data: Float[Array, "datum lane"],
    domain: Domain,
    stop: Stop,
) -> Minimum:
    """Minimise a block of toys: Fisher scoring first, then exact Newton steps until certified.

    Args:
        kernel: the model's functions.
        arrays: the model's constants.
        start: where each toy starts, (P, T); fixed parameters keep these values.
        data: the toys, (D, T).
        domain: where parameters may be.
        stop: the largest estimated distance to the minimum of a certified fit, and the largest number of steps in
            each of the two stages.
    """
    rough, kinked = _scored(kernel, arrays, start, data, domain, stop.limit)
    exact = partial(kernel.exact, arrays)
    if domain.kinks is None:
        box = _box(domain)
        end = _levenberg_marquardt(exact, rough.x, data, box, stop)
        iterations = rough.iterations + end.iterations
    else:
        end, box, iterations = _across_kinks(exact, rough, data, _box(domain), kinked, stop)
    free = movable(end.x, end.gradient, *box)
    held = ~free & ~domain.fixed[:, None]
    covariance, positive = _covariance(end.curvature, free)
    slope = jnp.where(free, end.gradient, 0.0)
    edm = jnp.where(end.converged & positive, 0.5 * jnp.einsum("pt,tpq,qt->t", slope, covariance, slope), end.edm)
    errors = jnp.sqrt(jnp.diagonal(covariance, axis1=1, axis2=2)).T
    finite = jnp.isfinite(end.nll) & jnp.all(jnp.isfinite(end.gradient), axis=0)
    at_kink = held & kinked & (jnp.abs(end.x) == _BESIDE)
    status = jnp.where(jnp.any(at_kink, axis=0), Status.AT_KINK, Status.CERTIFIED)
    status = jnp.where(jnp.any(held & ~at_kink, axis=0), Status.AT_BOUND, status)
    status = jnp.where(end.converged & (~positive | (edm <= stop.tolerance)), status, Status.NOT_CONVERGED)
    status = jnp.where(positive, status, Status.HESSIAN_NOT_POSITIVE)
    beyond, near = kernel.at_floor(arrays, end.x, data)
    status = jnp.where(beyond | (near & ~end.converged), Status.AT_FLOOR, status)
    status = jnp.where(finite, status, Status.NOT_FINITE)
    x = jnp.where(kinked & (jnp.abs(end.x) == _BESIDE), 0.0, end.x)
    nll = end.nll + kernel.offset(arrays, data)
    return Minimum(x, nll, status, edm, iterations, covariance, errors, held)


@partial(jax.jit, static_argnames=("kernel",))
def first_stage(
    kernel: Kernel,
    arrays: PyTree,
    start: Float[Array, "parameter lane"],
    data: Float[Array, "datum lane"],
    domain: Domain,
    limit: int,
) -> tuple[Float[Array, "parameter lane"], Float[Array, " lane"]]:
    """The first stage of ``minimize`` alone: where it ends, (P, T), and the nll there with all constants, (T,).

    The nll is within about 1e-4 of that of a minimum: enough to tell whether another fit is worth its while.
    """
    rough, _ = _scored(kernel, arrays, start, data, domain, limit)
    return rough.x, rough.nll + kernel.offset(arrays, data)


def _box(domain: Domain) -> _Box:
    return _Box(domain.bounds[:, :1], domain.bounds[:, 1:], domain.fixed)


def _scored(
    kernel: Kernel,
    arrays: PyTree,
    start: Float[Array, "parameter lane"],
    data: Float[Array, "datum lane"],
    domain: Domain,
    limit: int,
) -> tuple[Point, Bool[Array, "parameter lane"]]:
    """Fisher scoring from a start, each parameter with a kink on one side of it; and which these are, (P, T)."""
    box, fixed, kinks = _box(domain), domain.fixed, domain.kinks
    low, high = box.low, box.high
    start = jnp.where(fixed[:, None], start, jnp.clip(start, low, high))
    quadratic = partial(kernel.quadratic, arrays)
    kinked = jnp.broadcast_to((jnp.zeros_like(fixed) if kinks is None else kinks & ~fixed)[:, None], start.shape)
    if kinks is not None:
        at_kink = kinked & (start == 0)
        beside = jnp.where(at_kink, jnp.where(low >= 0, _BESIDE, -_BESIDE), start)
        _, gradient, _ = quadratic(beside, data)
        start = jnp.where(at_kink & (gradient < 0) & (high > 0), _BESIDE, beside)
        box = box.beside(start, kinked)
    return _levenberg_marquardt(quadratic, start, data, box, Stop(ROUGH_EDM, limit)), kinked


@partial(jax.jit, static_argnames=("kernel",))
def curvature(
    kernel: Kernel,
    arrays: PyTree,
    x: Float[Array, "parameter lane"],
    data: Float[Array, "datum lane"],
    domain: Domain,
) -> tuple[Float[Array, "lane parameter parameter"], Bool[Array, "parameter lane"]]:
    """The exact Hessian at x, (T, P, P), and which parameters are free to move there, (P, T)."""
    _, gradient, hessian = kernel.exact(arrays, x, data)
    return hessian, movable(x, gradient, *_box(domain))


def _across_kinks(
    exact: Derivatives,
    rough: Point,
    data: Float[Array, "datum lane"],
    box: _Box,
    kinked: Bool[Array, "parameter lane"],
    stop: Stop,
) -> tuple[Point, _Box, Int[Array, " lane"]]:
    """Exact Newton on one side of every kink at a time: the last point, its bounds, and steps tried in all.

    On one side the nll is smooth, and the kink is a bound. A parameter that ends there crosses it if the nll falls
    on the other side too, and the search goes on: every crossing lowers the nll. One-sided derivatives do not
    depend on the sides of other parameters, since the expectation is continuous.
    """
    rounds = 2 * kinked.shape[0] + 4

    def search(x: Array) -> Point:
        return _levenberg_marquardt(exact, x, data, box.beside(x, kinked), stop)

    def crossing(point: Point) -> Array:
        mirrored = jnp.where(kinked & (jnp.abs(point.x) == _BESIDE), -point.x, point.x)
        mirrored = jnp.clip(mirrored, box.low, box.high)
        _, gradient, _ = exact(mirrored, data)
        falls = (mirrored != point.x) & (mirrored * gradient < 0)
        return jnp.where(falls, mirrored, point.x)

    def advance(state: tuple[Point, Array, Array, Array]) -> tuple[Point, Array, Array, Array]:
        _, x, iterations, number = state
        point = search(x)
        return point, crossing(point), iterations + point.iterations, number + 1

    def unfinished(state: tuple[Point, Array, Array, Array]) -> Array:
        point, x, _, number = state
        return (number == 0) | (jnp.any(x != point.x) & (number < rounds))

    nothing = jnp.zeros_like(rough.iterations)
    point, x, iterations, _ = lax.while_loop(
        unfinished, advance, (rough, rough.x, nothing, jnp.zeros((), dtype=jnp.int32))
    )
    still = jnp.any(x != point.x, axis=0)
    point = point._replace(converged=point.converged & ~still)
    return point, box.beside(point.x, kinked), rough.iterations + iterations


def _levenberg_marquardt(
    derivatives: Derivatives,
    start: Float[Array, "parameter lane"],
    data: Float[Array, "datum lane"],
    box: _Box,
    stop: Stop,
) -> Point:
    """Levenberg-Marquardt on one source of curvature, until every toy has converged or given up.

    The step solves (H + λ diag|H|) s = -g over the parameters that are not held at a bound, is
    projected into the bounds, and is taken if it lowers the nll as the quadratic model promised
    (Nocedal & Wright, Numerical Optimization, ch. 4 and 10.3; projection: Bertsekas 1982).
    """
    toys = start.shape[1]
    low, high, fixed = box
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

    def running(at: Point) -> Array:
        finite = jnp.isfinite(at.nll)
        return ~at.converged & (at.iterations < stop.limit) & (at.damping < _LARGEST_DAMPING) & finite

    def advance(at: Point) -> Point:
        active = running(at)
        free = movable(at.x, at.gradient, low, high, fixed)
        newton = _solve(at.curvature, at.gradient, free, at.damping)
        solvable = jnp.all(jnp.isfinite(newton), axis=0)
        undamped = at.damping == 0
        edm = jnp.where(undamped & solvable, 0.5 * jnp.sum(at.gradient * newton, axis=0), at.edm)
        converged = undamped & solvable & (edm <= stop.tolerance)
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
        eased = jnp.where(at.damping > _LEAST_DAMPING, at.damping * 0.1, 0.0)
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


def movable(
    x: Float[Array, "parameter lane"],
    gradient: Float[Array, "parameter lane"],
    low: Float[Array, "parameter lane"],
    high: Float[Array, "parameter lane"],
    fixed: Bool[Array, " parameter"],
) -> Bool[Array, "parameter lane"]:
    """Parameters that may move: neither fixed nor at a bound with the gradient pointing outwards, (P, T)."""
    held = ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))
    return ~fixed[:, None] & ~held


def _scaled(
    curvature: Float[Array, "lane parameter parameter"],
    free: Bool[Array, "parameter lane"],
    damping: Float[Array, " lane"],
) -> tuple[Float[Array, "lane parameter parameter"], Float[Array, "lane parameter"]]:
    """Curvature over the free parameters in units where its diagonal is 1, plus λ; and those units."""
    mask = free.T  # (T, P)
    diagonal = jnp.abs(jnp.diagonal(curvature, axis1=1, axis2=2))
    unit = jnp.where(mask, 1 / jnp.sqrt(jnp.maximum(diagonal, 1e-100)), 0.0)
    index = jnp.arange(curvature.shape[1])
    scaled = curvature * unit[:, :, None] * unit[:, None, :]
    scaled = scaled.at[:, index, index].add(jnp.where(mask, damping[:, None], 1.0))
    return scaled, unit


def _solve(
    curvature: Float[Array, "lane parameter parameter"],
    gradient: Float[Array, "parameter lane"],
    free: Bool[Array, "parameter lane"],
    damping: Float[Array, " lane"],
) -> Float[Array, "parameter lane"]:
    """(H + λ diag|H|)⁻¹ g over the free parameters, 0 for the others, (P, T); NaN if not positive definite."""
    scaled, unit = _scaled(curvature, free, damping)
    factor = jnp.linalg.cholesky(scaled, symmetrize_input=False)
    right = (gradient.T * unit)[..., None]
    half = lax.linalg.triangular_solve(factor, right, left_side=True, lower=True)
    full = lax.linalg.triangular_solve(factor, half, left_side=True, lower=True, transpose_a=True)
    return (full[..., 0] * unit).T


def _covariance(
    curvature: Float[Array, "lane parameter parameter"], free: Bool[Array, "parameter lane"]
) -> tuple[Float[Array, "lane parameter parameter"], Bool[Array, " lane"]]:
    """Inverse over the free parameters, 0 for the others, (T, P, P), and whether it exists, (T,); NaN where not.

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
