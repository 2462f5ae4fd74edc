"""The same toys fitted by several optimisers, from the same start: what each finds, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import iminuit
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax import lax

from toymill.fitting.batching import block_size
from toymill.fitting.fit import fit
from toymill.fitting.minuit import nll_and_gradient
from toymill.inference.information import cramer_rao, expected_information
from toymill.models.base import Kernel, Model

NEAR = 1e-4
"""A fit has reached the best minimum if its nll is within this of the lowest that any optimiser found."""

_EDM = 1e-5  # gradient descent and Newton call themselves successful below this, like MIGRAD at its usual tolerance


class Outcome(NamedTuple):
    """What one optimiser made of n toys.

    Attributes:
        parameters: where it ended, (n, P).
        success: whether it says that it has converged, (n,).
        iterations: its steps, (n,); NaN where it does not tell.
        values: evaluations of the nll, (n,).
        gradients: evaluations of the gradient, (n,).
        hessians: evaluations of the Hessian, (n,).
        seconds: wall time of all toys, after a first call.
        first_call: seconds of the first call on one toy or block: compilation, or reading it from the cache.
    """

    parameters: np.ndarray
    success: np.ndarray
    iterations: np.ndarray
    values: np.ndarray
    gradients: np.ndarray
    hessians: np.ndarray
    seconds: float
    first_call: float


class Limits(NamedTuple):
    """How long the optimisers may try.

    Attributes:
        descent_steps: steps of gradient descent, all of which are done.
        newton_steps: most steps of Newton's method.
    """

    descent_steps: int = 1000
    newton_steps: int = 50


def compare(model: Model, data: np.ndarray, methods: Sequence[str], limits: Limits) -> dict[str, Outcome]:
    """Fit every toy, data of shape (n, D), from the model's initial values by each of the methods (see ``METHODS``)."""
    return {name: METHODS[name](model, data, limits) for name in methods}


def table(model: Model, data: np.ndarray, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    """For each optimiser: successes, how many are at the best minimum, iterations, calls, time, distance.

    The best minimum of a toy is the lowest nll that any of them found, evaluated by the same function for all. The
    distance in parameters is √((x - x̂)ᵀ H (x - x̂)) with the exact Hessian at the best point: in standard deviations.
    """
    nll = {name: _values_of(model, outcome.parameters, data) for name, outcome in outcomes.items()}
    stacked = np.stack(list(nll.values()))
    winner = np.argmin(np.where(np.isfinite(stacked), stacked, np.inf), axis=0)
    best = np.min(np.where(np.isfinite(stacked), stacked, np.inf), axis=0)
    points = np.stack([outcome.parameters for outcome in outcomes.values()])[winner, np.arange(len(data))]
    hessian = _hessians(model, points, data)
    rows = {}
    for name, outcome in outcomes.items():
        above = nll[name] - best
        away = outcome.parameters - points
        squared = np.einsum("np,npq,nq->n", away, hessian, away)
        distance = np.sqrt(np.maximum(squared, 0.0))
        reached = above <= NEAR
        rows[name] = {
            "toys": len(data),
            "success": int(outcome.success.sum()),
            "reached": int(reached.sum()),
            "false_success": int((outcome.success & ~reached).sum()),
            "first_call_seconds": outcome.first_call,
            "seconds_a_toy": outcome.seconds / len(data),
            "iterations": _quantiles(outcome.iterations),
            "values": _quantiles(outcome.values),
            "gradients": _quantiles(outcome.gradients),
            "hessians": _quantiles(outcome.hessians),
            "nll_above_best": _quantiles(above),
            "sigmas_from_best": _quantiles(distance),
        }
    return {"near": NEAR, "methods": rows}


def _quantiles(values: np.ndarray) -> dict[str, float | None]:
    """Median, 90 % quantile and largest; None where the values there are not finite."""
    ordered = np.sort(np.where(np.isfinite(values), values, np.inf).astype(float))
    found = {
        "median": ordered[(len(ordered) - 1) // 2],
        "q90": ordered[min(int(np.ceil(0.9 * len(ordered))), len(ordered)) - 1],
        "largest": ordered[-1],
    }
    return {name: float(value) if np.isfinite(value) else None for name, value in found.items()}


def _values_of(model: Model, parameters: np.ndarray, data: np.ndarray) -> np.ndarray:
    value, _ = nll_and_gradient(model.kernel)
    arrays = jax.tree.map(jnp.asarray, model.arrays)
    inside = np.clip(parameters, *model.parameters.bounds.T)
    return np.array([float(value(x, arrays, row)) for x, row in zip(inside, data, strict=True)])


def _hessians(model: Model, points: np.ndarray, data: np.ndarray) -> np.ndarray:
    exact = jax.jit(model.kernel.exact)
    found = [
        np.asarray(exact(model.arrays, x[:, None], row[:, None])[2])[0] for x, row in zip(points, data, strict=True)
    ]
    return np.stack(found)


def _timed(run: Callable[[np.ndarray], Any], data: np.ndarray, first: int) -> tuple[Any, float, float]:
    """The result for all toys, its seconds, and the seconds of a first call on some of them."""
    jax.clear_caches()  # type: ignore[no-untyped-call] # so that no optimiser uses what another has compiled
    nll_and_gradient.cache_clear()
    begin = time.perf_counter()
    run(data[:first])
    compiled = time.perf_counter()
    result = run(data)
    return result, time.perf_counter() - compiled, compiled - begin


def _batches(model: Model, function: Callable[[np.ndarray], tuple[Any, ...]], data: np.ndarray) -> list[np.ndarray]:
    """A function of blocks of toys, (D, T), on all of them; results have toys last, and come back toys first."""
    size = block_size(model)
    parts = []
    for begin in range(0, len(data), size):
        rows = np.minimum(np.arange(begin, begin + size), len(data) - 1)
        made = function(np.ascontiguousarray(data[rows].T))
        parts.append([np.moveaxis(np.asarray(part), -1, 0)[: len(data) - begin] for part in made])
    return [np.concatenate(items) for items in zip(*parts, strict=True)]


@partial(jax.jit, static_argnames=("kernel", "steps"))
def _descend(kernel: Kernel, arrays: Any, start: Any, rate: Any, fixed: Any, bounds: Any, data: Any, steps: int) -> Any:
    def total(x: Any) -> Any:
        return jnp.sum(kernel.nll(arrays, x, data))

    def slopes(x: Any) -> Any:
        return jnp.where(fixed[:, None], 0.0, jax.grad(total)(x))

    def step(x: Any, _: None) -> tuple[Any, None]:
        return jnp.clip(x - rate * slopes(x), bounds[:, :1], bounds[:, 1:]), None

    x, _ = lax.scan(step, start, None, length=steps)
    return x, slopes(x)


def gradient_descent(model: Model, data: np.ndarray, limits: Limits) -> Outcome:
    """Gradient descent x ← x - g/L with a fixed step in ``lax.scan``, on a block of toys at once.

    L is the largest eigenvalue of the expected information at the start: the largest step that is stable where the nll
    is as curved as expected. Success is ½ gᵀ C g below 1e-5, with C the inverse of that information.
    """
    start = model.parameters.init
    free = ~model.parameters.fixed
    information = expected_information(model, start).matrix
    inside = information[np.ix_(free, free)]
    rate = 1 / float(np.linalg.eigvalsh(inside)[-1])
    covariance = cramer_rao(information, model.parameters.fixed)

    def run(toys: np.ndarray) -> list[np.ndarray]:
        def block(columns: np.ndarray) -> Any:
            first = np.tile(start[:, None], (1, columns.shape[1]))
            return _descend(
                model.kernel,
                model.arrays,
                first,
                rate,
                ~free,
                model.parameters.bounds,
                columns,
                limits.descent_steps,
            )

        return _batches(model, block, toys)

    (x, gradient), seconds, first = _timed(run, data, 1)
    inverse = np.full((free.sum(), free.sum()), np.inf) if covariance is None else covariance
    with np.errstate(invalid="ignore"):
        edm = 0.5 * np.einsum("np,pq,nq->n", gradient[:, free], inverse, gradient[:, free])
    steps = np.full(len(data), limits.descent_steps)
    return Outcome(x, edm < _EDM, steps, 0 * steps, steps + 1, 0 * steps, seconds, first)


@partial(jax.jit, static_argnames=("kernel",))
def _newton(kernel: Kernel, arrays: Any, start: Any, fixed: Any, bounds: Any, data: Any, limit: Any) -> Any:
    keep = ~(fixed[:, None] | fixed[None])

    def solve(x: Any) -> tuple[Any, Any]:
        _, gradient, hessian = kernel.exact(arrays, x, data)
        gradient = jnp.where(fixed[:, None], 0.0, gradient)
        hessian = jnp.where(keep, hessian, jnp.diag(fixed.astype(x.dtype)))
        step = jnp.linalg.solve(hessian, gradient.T[..., None])[..., 0].T
        return step, 0.5 * jnp.sum(gradient * step, axis=0)

    def unfinished(state: Any) -> Any:
        _, edm, number, _ = state
        return (number < limit) & jnp.any(~(jnp.abs(edm) < _EDM))

    def advance(state: Any) -> Any:
        x, edm, number, taken = state
        step, now = solve(x)
        going = ~(jnp.abs(edm) < _EDM)
        x = jnp.where(going, jnp.clip(x - step, bounds[:, :1], bounds[:, 1:]), x)
        return x, jnp.where(going, now, edm), number + 1, taken + going

    toys = start.shape[1]
    first = (start, jnp.full(toys, jnp.inf), 0, jnp.zeros(toys, dtype=jnp.int32))
    x, _, _, taken = lax.while_loop(unfinished, advance, first)
    _, edm = solve(x)
    return x, edm, taken


def newton(model: Model, data: np.ndarray, limits: Limits) -> Outcome:
    """Newton's method with the exact Hessian and full steps, clipped to the bounds, on a block of toys at once.

    It goes to any stationary point, a saddle or a maximum too, or away; success is 0 ≤ ½ gᵀ H⁻¹ g < 1e-5, which says
    that a step is short and not where it leads.
    """

    def run(toys: np.ndarray) -> list[np.ndarray]:
        def block(columns: np.ndarray) -> Any:
            first = np.tile(model.parameters.init[:, None], (1, columns.shape[1]))
            fixed, bounds = model.parameters.fixed, model.parameters.bounds
            return _newton(model.kernel, model.arrays, first, fixed, bounds, columns, limits.newton_steps)

        return _batches(model, block, toys)

    (x, edm, taken), seconds, first = _timed(run, data, 1)
    with np.errstate(invalid="ignore"):
        success = (edm >= 0) & (edm < _EDM)
    return Outcome(x, success, taken, 0 * taken, taken + 1, taken + 1, seconds, first)


def toymill(model: Model, data: np.ndarray, limits: Limits) -> Outcome:  # noqa: ARG001 - it has its own
    """``toymill.fit``: scoring or damped Newton steps inside bounds, certified."""
    fits, seconds, first = _timed(lambda toys: fit(model, toys, covariance=False), data, 1)
    steps = fits.iterations
    # Each step makes one evaluation of all three, and either stage one where it begins and one where it ends; a toy
    # that is tried again from elsewhere makes more.
    return Outcome(fits.parameters, fits.ok, steps, steps + 4, steps + 4, steps + 4, seconds, first)


class _One(NamedTuple):
    """One toy's fit: as ``Outcome``, without times."""

    parameters: np.ndarray
    success: bool
    iterations: float
    values: int
    gradients: int


def _one_by_one(model: Model, data: np.ndarray, fit_one: Callable[[Any, Any, np.ndarray], _One]) -> Outcome:
    """Each toy by a function of (nll, gradient, toy): one after the other, as is done with such tools."""
    arrays = jax.tree.map(jnp.asarray, model.arrays)

    def run(toys: np.ndarray) -> list[_One]:
        value, gradient = nll_and_gradient(model.kernel)
        return [
            fit_one(
                lambda x, row=row: float(value(x, arrays, row)),
                lambda x, row=row: np.asarray(gradient(x, arrays, row)),
                row,
            )
            for row in toys
        ]

    fits, seconds, first = _timed(run, data, 1)
    parameters, success, iterations, values, gradients = (np.array(part) for part in zip(*fits, strict=True))
    return Outcome(parameters, success, iterations, values, gradients, 0 * values, seconds, first)


def _migrad(model: Model, data: np.ndarray, *, with_gradient: bool) -> Outcome:
    def fit_one(value: Any, gradient: Any, _: np.ndarray) -> _One:
        names = model.parameters.names
        minuit = iminuit.Minuit(value, model.parameters.init, grad=gradient if with_gradient else None, name=names)
        minuit.errordef = iminuit.Minuit.LIKELIHOOD
        minuit.limits = [(low, high) for low, high in model.parameters.bounds]
        for name, held in zip(names, model.parameters.fixed, strict=True):
            minuit.fixed[name] = bool(held)
        minuit.migrad()
        # Minuit does not tell its iterations.
        return _One(np.array(minuit.values), bool(minuit.valid), float("nan"), minuit.nfcn, minuit.ngrad)

    return _one_by_one(model, data, fit_one)


def iminuit_jax(model: Model, data: np.ndarray, limits: Limits) -> Outcome:  # noqa: ARG001 - it has its own
    """iminuit's MIGRAD as it comes, with gradients by JAX, one toy at a time."""
    return _migrad(model, data, with_gradient=True)


def iminuit_numerical(model: Model, data: np.ndarray, limits: Limits) -> Outcome:  # noqa: ARG001 - it has its own
    """iminuit's MIGRAD as it comes, with its own numerical gradients, one toy at a time."""
    return _migrad(model, data, with_gradient=False)


def scipy_lbfgsb(model: Model, data: np.ndarray, limits: Limits) -> Outcome:  # noqa: ARG001 - it has its own
    """SciPy's L-BFGS-B as it comes, with gradients by JAX, one toy at a time."""
    bounds = np.where(model.parameters.fixed[:, None], model.parameters.init[:, None], model.parameters.bounds)

    def fit_one(value: Any, gradient: Any, _: np.ndarray) -> _One:
        found = scipy.optimize.minimize(value, model.parameters.init, jac=gradient, method="L-BFGS-B", bounds=bounds)
        return _One(found.x, bool(found.success), int(found.nit), int(found.nfev), int(found.njev))

    return _one_by_one(model, data, fit_one)


METHODS: dict[str, Callable[[Model, np.ndarray, Limits], Outcome]] = {
    "gradient-descent": gradient_descent,
    "newton": newton,
    "toymill": toymill,
    "iminuit-jax": iminuit_jax,
    "iminuit-numerical": iminuit_numerical,
    "scipy-l-bfgs-b": scipy_lbfgsb,
}
"""The optimisers, by the names that a configuration uses."""
