"""Fitting toys again with iminuit, one by one: the independent check of the batched minimiser."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import iminuit
import jax
import numpy as np

from toymill.models.base import Kernel, Model


class MinuitFit(NamedTuple):
    """One fit by iminuit: parameters (P,), nll with all constants, and whether iminuit calls it valid."""

    parameters: np.ndarray
    nll: float
    valid: bool


@cache
def nll_and_gradient(kernel: Kernel) -> tuple[Any, Any]:
    """The nll with all constants and its gradient, jitted: functions of (x (P,), arrays, one dataset (D,))."""

    def nll(x: Any, arrays: Any, data: Any) -> Any:
        values = kernel.nll(arrays, x[:, None], data[:, None]) + kernel.offset(arrays, data[:, None])
        return values[0]

    return jax.jit(nll), jax.jit(jax.grad(nll))


def minuit_fit(model: Model, data: np.ndarray, fixed: Mapping[str, float] | None = None) -> MinuitFit:
    """Fit one dataset, shape (D,), with MIGRAD and gradients by automatic differentiation.

    Strategy 2, tolerance 1e-4 (an EDM of 2e-7), and MIGRAD again until it moves no more, from the
    model's initial values.
    """
    nll, gradient = nll_and_gradient(model.kernel)
    arrays = jax.tree.map(jax.numpy.asarray, model.arrays)
    values = model.parameters.values(dict(fixed or {}))
    minuit = iminuit.Minuit(
        lambda x: float(nll(x, arrays, data)),
        values,
        grad=lambda x: np.asarray(gradient(x, arrays, data)),
        name=model.parameters.names,
    )
    minuit.errordef = iminuit.Minuit.LIKELIHOOD
    minuit.strategy = 2
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
    return MinuitFit(np.array(minuit.values), previous if np.isfinite(previous) else float("nan"), bool(minuit.valid))
