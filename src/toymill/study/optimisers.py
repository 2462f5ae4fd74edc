"""The same toys fitted by several optimisers, from the same start: what each finds, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import iminuit
import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jax import lax

from toymill.fitting.batching import block_size
from toymill.fitting.fit import fit
from toymill.fitting.minuit import nll_and_gradient
from toymill.inference.information import cramer_rao, expected_information
from toymill.models.base import Kernel, Model
from toymill.results.comparison import Outcome
from toymill.results.summary import Comparison, MethodSummary, Quantiles

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int, Num, PyTree

    from toymill.fitting.minuit import Gradient, Value

    NewtonState = tuple[Float[Array, "parameter lane"], Float[Array, " lane"], int, Int[Array, " lane"]]
    Toys = Float[np.ndarray, "toy datum"]

NEAR = 1e-4
"""A fit has reached the best minimum if its nll is within this of the lowest that any optimiser found."""

_EDM = 1e-5  # gradient descent and Newton call themselves successful below this, like MIGRAD at its usual tolerance


Result = TypeVar("Result")


class Limits(NamedTuple):
    """How long the optimisers may try.

    Attributes:
        descent_steps: steps of gradient descent, all of which are done.
        newton_steps: most steps of Newton's method.
    """

    descent_steps: int = 1000
    newton_steps: int = 50


def compare(
    model: Model, data: Toys, methods: Sequence[str], limits: Limits, done: Callable[[], None] = lambda: None
) -> dict[str, Outcome]:
    """Fit every toy from the model's initial values by several methods.

    Args:
        model: the model.
        data: the toys, (n, D).
        methods: names of ``METHODS``.
        limits: how long they may try.
        done: called after each method.
    """
    found = {}
    for name in methods:
        found[name] = METHODS[name](model, data, limits)
        done()
    return found


def table(model: Model, data: Toys, outcomes: Mapping[str, Outcome]) -> Comparison:
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
        rows[name] = MethodSummary(
            toys=len(data),
            success=int(outcome.success.sum()),
            reached=int(reached.sum()),
            false_success=int((outcome.success & ~reached).sum()),
            first_call_seconds=outcome.first_call,
            seconds_a_toy=outcome.seconds / len(data),
            iterations=_quantiles(outcome.iterations),
            values=_quantiles(outcome.values),
            gradients=_quantiles(outcome.gradients),
            hessians=_quantiles(outcome.hessians),
            nll_above_best=_quantiles(above),
            sigmas_from_best=_quantiles(distance),
        )
    return Comparison(near=NEAR, methods=rows)


def _quantiles(values: Num[np.ndarray, " toy"]) -> Quantiles:
    """Median, 90 % quantile and largest; None where the values there are not finite."""
    ordered = np.sort(np.where(np.isfinite(values), values, np.inf).astype(float))
    return Quantiles(
        median=ordered[(len(ordered) - 1) // 2],
        q90=ordered[min(int(np.ceil(0.9 * len(ordered))), len(ordered)) - 1],
        largest=ordered[-1],
    )


def _values_of(model: Model, parameters: Float[np.ndarray, "toy parameter"], data: Toys) -> Float[np.ndarray, " toy"]:
    """The nll of each toy at parameters of its own, inside their bounds."""
    value, _ = nll_and_gradient(model.kernel)
    arrays = jax.device_put(model.arrays)
    inside = np.clip(parameters, *model.parameters.bounds.T)
    return np.array([float(value(x, arrays, row)) for x, row in zip(inside, data, strict=True)])


def _hessians(
    model: Model, points: Float[np.ndarray, "toy parameter"], data: Toys
) -> Float[np.ndarray, "toy parameter parameter"]:
    """The exact Hessian of each toy at parameters of its own."""
    exact = jax.jit(model.kernel.exact)
    found = [
        np.asarray(exact(model.arrays, x[:, None], row[:, None])[2])[0] for x, row in zip(points, data, strict=True)
    ]
    return np.stack(found)


def _timed(run: Callable[[Toys], Result], data: Toys, first: int) -> tuple[Result, float, float]:
    """The result for all toys, its seconds, and the seconds of a first call on some of them."""
    jax.clear_caches()  # type: ignore[no-untyped-call] # so that no optimiser uses what another has compiled
    nll_and_gradient.cache_clear()
    begin = time.perf_counter()
    run(data[:first])
    compiled = time.perf_counter()
    result = run(data)
    return result, time.perf_counter() - compiled, compiled - begin


def _batches(
    model: Model,
    function: Callable[[Float[np.ndarray, "datum lane"]], tuple[Num[Array, "*axes lane"], ...]],
    data: Toys,
) -> list[Num[np.ndarray, " toy *axes"]]:
    """A function of blocks of toys, (D, T), on all of them; results have toys last, and come back toys first."""
    size = block_size(model)
    parts = []
    for begin in range(0, len(data), size):
        rows = np.minimum(np.arange(begin, begin + size), len(data) - 1)
        made = function(np.ascontiguousarray(data[rows].T))
        parts.append([np.moveaxis(np.asarray(part), -1, 0)[: len(data) - begin] for part in made])
    return [np.concatenate(items) for items in zip(*parts, strict=True)]


@partial(jax.jit, static_argnames=("kernel", "steps"))
def _descend(
    kernel: Kernel,
    arrays: PyTree,
    start: Float[Array, "parameter lane"],
    rate: float,
    fixed: Bool[Array, " parameter"],
    bounds: Float[Array, "parameter 2"],
    data: Float[Array, "datum lane"],
    steps: int,
) -> tuple[Float[Array, "parameter lane"], Float[Array, "parameter lane"]]:
    """Where gradient descent ends after its steps, and the gradient there."""

    def total(x: Float[Array, "parameter lane"]) -> Float[Array, ""]:
        return jnp.sum(kernel.nll(arrays, x, data))

    def slopes(x: Float[Array, "parameter lane"]) -> Float[Array, "parameter lane"]:
        return jnp.where(fixed[:, None], 0.0, jax.grad(total)(x))

    def step(x: Float[Array, "parameter lane"], _: None) -> tuple[Float[Array, "parameter lane"], None]:
        return jnp.clip(x - rate * slopes(x), bounds[:, :1], bounds[:, 1:]), None

    x, _ = lax.scan(step, start, None, length=steps)
    return x, slopes(x)


def gradient_descent(model: Model, data: Toys, limits: Limits) -> Outcome:
    """Gradient descent x ← x - g/L with a fixed step in ``lax.scan``, on a block of toys at once.

    L is the largest eigenvalue of the expected information at the start: the largest step that is stable where the nll
    is as curved as expected. Success is ½ gᵀ C g below 1e-5, with C the inverse of that information.
    """
    start = model.parameters.init
    free = ~model.parameters.fixed
    information = expected_information(model, start).matrix
    inside = information[np.ix_(free, free)]
    largest = float(np.linalg.eigvalsh(inside)[-1]) if np.isfinite(inside).all() else np.inf
    rate = 1 / largest if largest > 0 else 0.0
    covariance = cramer_rao(information, model.parameters.fixed)

    def run(toys: Toys) -> list[np.ndarray]:
        def block(columns: Float[np.ndarray, "datum lane"]) -> tuple[Float[Array, "parameter lane"], ...]:
            first = np.tile(start[:, None], (1, columns.shape[1]))
            made: tuple[Array, ...] = _descend(
                model.kernel,
                model.arrays,
                first,
                rate,
                ~free,
                model.parameters.bounds,
                columns,
                limits.descent_steps,
            )
            return made

        return _batches(model, block, toys)

    (x, gradient), seconds, first = _timed(run, data, 1)
    inverse = np.full((free.sum(), free.sum()), np.inf) if covariance is None else covariance
    with np.errstate(invalid="ignore"):
        edm = 0.5 * np.einsum("np,pq,nq->n", gradient[:, free], inverse, gradient[:, free])
    steps = np.full(len(data), limits.descent_steps)
    return Outcome(x, edm < _EDM, steps, 0 * steps, steps + 1, 0 * steps, seconds, first)


@partial(jax.jit, static_argnames=("kernel",))
def _newton(
    kernel: Kernel,
    arrays: PyTree,
    start: Float[Array, "parameter lane"],
    fixed: Bool[Array, " parameter"],
    bounds: Float[Array, "parameter 2"],
    data: Float[Array, "datum lane"],
    limit: int,
) -> tuple[Float[Array, "parameter lane"], Float[Array, " lane"], Int[Array, " lane"]]:
    """Where Newton's method ends, ½ gᵀ H⁻¹ g there, and the steps of each toy."""
    keep = ~(fixed[:, None] | fixed[None])

    def solve(x: Float[Array, "parameter lane"]) -> tuple[Float[Array, "parameter lane"], Float[Array, " lane"]]:
        _, gradient, hessian = kernel.exact(arrays, x, data)
        gradient = jnp.where(fixed[:, None], 0.0, gradient)
        hessian = jnp.where(keep, hessian, jnp.diag(fixed.astype(x.dtype)))
        step = jnp.linalg.solve(hessian, gradient.T[..., None])[..., 0].T
        return step, 0.5 * jnp.sum(gradient * step, axis=0)

    def unfinished(state: NewtonState) -> Bool[Array, ""]:
        _, edm, number, _ = state
        return (number < limit) & jnp.any(~(jnp.abs(edm) < _EDM))

    def advance(state: NewtonState) -> NewtonState:
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


def newton(model: Model, data: Toys, limits: Limits) -> Outcome:
    """Newton's method with the exact Hessian and full steps, clipped to the bounds, on a block of toys at once.

    It goes to any stationary point, a saddle or a maximum too, or away; success is 0 ≤ ½ gᵀ H⁻¹ g < 1e-5, which says
    that a step is short and not where it leads.
    """

    def run(toys: Toys) -> list[np.ndarray]:
        def block(columns: Float[np.ndarray, "datum lane"]) -> tuple[Num[Array, "*axes lane"], ...]:
            first = np.tile(model.parameters.init[:, None], (1, columns.shape[1]))
            fixed, bounds = model.parameters.fixed, model.parameters.bounds
            made: tuple[Array, ...] = _newton(
                model.kernel, model.arrays, first, fixed, bounds, columns, limits.newton_steps
            )
            return made

        return _batches(model, block, toys)

    (x, edm, taken), seconds, first = _timed(run, data, 1)
    with np.errstate(invalid="ignore"):
        success = (edm >= 0) & (edm < _EDM)
    return Outcome(x, success, taken, 0 * taken, taken + 1, taken + 1, seconds, first)


def toymill(model: Model, data: Toys, limits: Limits) -> Outcome:  # noqa: ARG001 - it has its own
    """``toymill.fit``: scoring or damped Newton steps inside bounds, certified."""
    fits, seconds, first = _timed(lambda toys: fit(model, toys, covariance=False), data, 1)
    steps = fits.iterations
    # Each step makes one evaluation of all three, and either stage one where it begins and one where it ends; a toy
    # that is tried again from another start makes more.
    return Outcome(fits.parameters, fits.ok, steps, steps + 4, steps + 4, steps + 4, seconds, first)


class _One(NamedTuple):
    """One toy's fit: as ``Outcome``, without times."""

    parameters: np.ndarray
    success: bool
    iterations: float
    values: int
    gradients: int


def _one_by_one(model: Model, data: Toys, fit_one: Callable[[Value, Gradient], _One]) -> Outcome:
    """Each toy by a function of (nll, gradient): one after the other, as is done with such tools."""
    arrays = jax.device_put(model.arrays)

    def run(toys: Toys) -> list[_One]:
        value, gradient = nll_and_gradient(model.kernel)

        def of_one(row: Float[np.ndarray, " datum"]) -> tuple[Value, Gradient]:
            return lambda x: float(value(x, arrays, row)), lambda x: np.asarray(gradient(x, arrays, row))

        return [fit_one(*of_one(row)) for row in toys]

    fits, seconds, first = _timed(run, data, 1)
    parameters, success, iterations, values, gradients = (np.array(part) for part in zip(*fits, strict=True))
    return Outcome(parameters, success, iterations, values, gradients, 0 * values, seconds, first)


def _migrad(model: Model, data: Toys, *, with_gradient: bool) -> Outcome:
    def fit_one(value: Value, gradient: Gradient) -> _One:
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


def iminuit_jax(model: Model, data: Toys, limits: Limits) -> Outcome:  # noqa: ARG001 - it has its own
    """iminuit's MIGRAD as it comes, with gradients by JAX, one toy at a time."""
    return _migrad(model, data, with_gradient=True)


def iminuit_numerical(model: Model, data: Toys, limits: Limits) -> Outcome:  # noqa: ARG001 - it has its own
    """iminuit's MIGRAD as it comes, with its own numerical gradients, one toy at a time."""
    return _migrad(model, data, with_gradient=False)


def scipy_lbfgsb(model: Model, data: Toys, limits: Limits) -> Outcome:  # noqa: ARG001 - it has its own
    """SciPy's L-BFGS-B as it comes, with gradients by JAX, one toy at a time."""
    bounds = np.where(model.parameters.fixed[:, None], model.parameters.init[:, None], model.parameters.bounds)

    def fit_one(value: Value, gradient: Gradient) -> _One:
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
