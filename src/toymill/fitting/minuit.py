"""Fitting toys again with iminuit, one by one: the independent check of the batched minimiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import iminuit
import jax
import numpy as np

from toymill.models.base import Kernel, Model

if TYPE_CHECKING:
    from jax import Array
    from jaxtyping import Bool, Float, PyTree

    from toymill.fitting.results import Held

    Value = Callable[[Float[np.ndarray, " parameter"]], float]
    Gradient = Callable[[Float[np.ndarray, " parameter"]], Float[np.ndarray, " parameter"]]


class MinuitFit(NamedTuple):
    """One fit by iminuit: parameters (P,), nll with all constants, and whether iminuit calls it valid."""

    parameters: np.ndarray
    nll: float
    valid: bool


@cache
def nll_and_gradient(kernel: Kernel) -> tuple[Any, Any]:
    """The nll with all constants and its gradient, jitted: functions of (x (P,), arrays, one dataset (D,))."""

    def nll(x: Float[Array, " parameter"], arrays: PyTree, data: Float[Array, " datum"]) -> Float[Array, ""]:
        values = kernel.nll(arrays, x[:, None], data[:, None]) + kernel.offset(arrays, data[:, None])
        first: Array = values[0]
        return first

    return jax.jit(nll), jax.jit(jax.grad(nll))


def of_dataset(model: Model, data: Float[np.ndarray, " datum"]) -> tuple[Value, Gradient]:
    """The nll of one dataset, (D,), with all constants, and its gradient, both functions of (P,) in NumPy."""
    nll, gradient = nll_and_gradient(model.kernel)
    arrays, on_device = jax.device_put((model.arrays, data))
    return lambda x: float(nll(x, arrays, on_device)), lambda x: np.asarray(gradient(x, arrays, on_device))


@cache
def _beyond_floor(kernel: Kernel) -> Any:
    """Whether an expectation is negative, jitted: a function of (x (P,), arrays, one dataset (D,))."""

    def beyond(x: Float[Array, " parameter"], arrays: PyTree, data: Float[Array, " datum"]) -> Bool[Array, ""]:
        first: Array = kernel.at_floor(arrays, x[:, None], data[:, None])[0][0]
        return first

    return jax.jit(beyond)


def comparable_nll(model: Model, data: Float[np.ndarray, " datum"], fit: MinuitFit) -> float:
    """The nll of iminuit's fit; NaN if it ended where an expectation is negative, and the likelihood is not the model's."""
    beyond = _beyond_floor(model.kernel)(fit.parameters, model.arrays, data)
    return float("nan") if bool(beyond) else fit.nll


def minuit_fit(model: Model, data: Float[np.ndarray, " datum"], fixed: Mapping[str, Held] | None = None) -> MinuitFit:
    """Fit one dataset, shape (D,), with MIGRAD and gradients by automatic differentiation.

    From the model's initial values, tolerance 1e-4 (an EDM of 2e-7), and MIGRAD again until it moves no more. Strategy 0:
    strategy 1 ends at the same minima to 1e-7, and takes three times as long with 70 parameters, for its Hessians by
    differences. It follows only where iminuit calls the fit invalid.
    """
    nll, gradient = of_dataset(model, data)
    values = model.parameters.values({name: float(value) for name, value in (fixed or {}).items()})
    minuit = iminuit.Minuit(
        nll,
        values,
        grad=gradient,
        name=model.parameters.names,
    )
    minuit.errordef = iminuit.Minuit.LIKELIHOOD
    minuit.strategy = 0
    minuit.tol = 1e-4
    minuit.limits = [(low, high) for low, high in model.parameters.bounds]
    for name, held in zip(model.parameters.names, model.parameters.fixed, strict=True):
        minuit.fixed[name] = bool(held) or name in (fixed or {})
    previous = np.inf
    for _ in range(10):
        minuit.migrad()
        value = np.inf if minuit.fval is None else float(minuit.fval)
        settled = minuit.valid and previous - value < 1e-9
        previous = min(previous, value)
        if settled:
            break
        if not minuit.valid:
            minuit.strategy = 1
    return MinuitFit(np.array(minuit.values), previous if np.isfinite(previous) else float("nan"), bool(minuit.valid))
