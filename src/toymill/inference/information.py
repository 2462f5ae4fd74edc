"""Fisher information, expected and observed, and the Cramér-Rao bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from toymill.errors import ToymillError
from toymill.fitting.batching import block_size
from toymill.models.base import Model, columns
from toymill.models.densities import constraint_information, constraint_nll, constraint_offset
from toymill.models.sums import parallel_derivatives
from toymill.toys import throw

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float
    from numpy.typing import ArrayLike

_TOYS = 1024  # thrown for an information that the model does not state
_NUMBERS = 2**22  # main data that are held at once for the mean likelihood of toys


class Information(NamedTuple):
    """An expected Fisher information matrix.

    Attributes:
        matrix: over all parameters, (P, P).
        error: its Monte Carlo error, (P, P); zero where it is exact.
        method: how it was found: ``"counts"``: Σ (∂ν)(∂ν)ᵀ/ν of the expected counts; ``"model"``: as the model states
            it; ``"toys"``: the mean exact Hessian of toys thrown at the point.
    """

    matrix: Float[np.ndarray, "parameter parameter"]
    error: Float[np.ndarray, "parameter parameter"]
    method: str


def expected_information(
    model: Model, truth: Float[np.ndarray, " parameter"], *, seed: int = 0, stream: str = ""
) -> Information:
    """The expected Fisher information of main and auxiliary data at a truth point, I = E[-∂² log L].

    Args:
        model: the model.
        truth: parameter values, shape (P,).
        seed: seed of the toys that are thrown where the model does not state its information.
        stream: their stream; it is told apart from the ensemble of that name.
    """
    none = np.zeros((len(truth), len(truth)))
    if model.draw is None:
        asimov = throw(model, truth, 1, mode="asimov")
        *_, curvature = jax.jit(model.kernel.quadratic)(model.arrays, truth[:, None], asimov.T)
        return Information(np.asarray(curvature)[0], none, "counts")
    if model.information is not None:
        constraints = np.diag(np.asarray(constraint_information(model.arrays, jnp.asarray(truth)[:, None]))[:, 0])
        return Information(np.asarray(jax.jit(model.information)(truth)) + constraints, none, "model")
    count = int(np.clip(_NUMBERS // len(model.data_names), 16, _TOYS))
    toys = throw(model, truth, count, seed=seed, stream=f"{stream}:information")
    size = block_size(model)
    hessians = np.concatenate([observed_information(model, truth, toys[i : i + size]) for i in range(0, count, size)])
    return Information(hessians.mean(axis=0), hessians.std(axis=0, ddof=1) / np.sqrt(count), "toys")


class Noncentrality(NamedTuple):
    """Λ of the asymptotic distribution of t at a test point, and its Monte Carlo error (0 where it is exact)."""

    value: float
    error: float


def noncentralities(
    model: Model,
    truth: Float[np.ndarray, " parameter"],
    tests: Sequence[float],
    bound: Float[np.ndarray, "free free"],
    *,
    seed: int = 0,
    stream: str = "",
) -> list[Noncentrality]:
    """Λ = 2 min_θ E[log L(μ', θ') - log L(μ, θ)] at a truth point (μ', θ'), for a model that states a density.

    For Poisson counts the log-likelihood is linear in the data, and this is t of the Asimov dataset (CCGV eq. 30). A
    density has no such dataset: the expectation is the mean over toys, which are fitted jointly, free and with μ held.
    Its error is that of the mean difference.

    Args:
        model: a model that states a density and has a parameter of interest.
        truth: parameter values, shape (P,).
        tests: the tested values μ.
        bound: the Cramér-Rao bound at the truth, over the free parameters: the units in which the mean is minimised.
        seed: seed of the toys.
        stream: their stream; it is told apart from the ensemble of that name.
    """
    count = int(np.clip(_NUMBERS // len(model.data_names), 16, 2 * _TOYS))
    toys = jnp.asarray(throw(model, truth, count, seed=seed, stream=f"{stream}:information").T)

    def each(x: Float[Array, " parameter"]) -> Float[Array, " toy"]:
        nll: Array = model.kernel.nll(model.arrays, jnp.broadcast_to(x[:, None], (len(x), count)), toys)
        return nll

    each_jitted, mean = jax.jit(each), jax.jit(jax.value_and_grad(lambda x: jnp.mean(each(x))))
    unit = np.ones(len(truth))
    unit[~model.parameters.fixed] = np.sqrt(np.diag(bound))

    def fitted(
        start: Float[np.ndarray, " parameter"], held: Bool[np.ndarray, " parameter"]
    ) -> Float[np.ndarray, " parameter"]:
        low, high = np.where(held, start, model.parameters.bounds.T) / unit

        def scaled(z: Float[np.ndarray, " parameter"]) -> tuple[float, Float[np.ndarray, " parameter"]]:
            value, gradient = mean(z * unit)
            return float(value), np.asarray(gradient) * unit

        options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 1000}
        found = scipy.optimize.minimize(
            scaled, start / unit, jac=True, method="L-BFGS-B", bounds=np.stack([low, high], axis=1), options=options
        )
        best: np.ndarray = found.x * unit
        return best

    held = model.parameters.fixed.copy()
    free = each_jitted(fitted(truth, held))
    held[model.poi_index] = True
    found = []
    for mu in tests:
        start = truth.copy()
        start[model.poi_index] = mu
        difference = 2 * np.asarray(each_jitted(fitted(start, held)) - free)
        error = float(difference.std(ddof=1) / np.sqrt(count))
        found.append(Noncentrality(max(float(difference.mean()), 0.0), error))
    return found


def observed_information(
    model: Model, params: Float[np.ndarray, " parameter"], data: Float[np.ndarray, "toy datum"]
) -> Float[np.ndarray, "toy parameter parameter"]:
    """The observed information, -∂² log L, at one point (P,) for datasets (n, D): (n, P, P)."""
    x = jnp.tile(jnp.asarray(params)[:, None], (1, len(data)))
    *_, hessian = jax.jit(model.kernel.exact)(model.arrays, x, jnp.asarray(data).T)
    return np.asarray(hessian)


def derivatives(
    model: Model, params: ArrayLike, data: ArrayLike, *, threads: int | None = None
) -> tuple[Float[Array, ""], Float[Array, " parameter"], Float[Array, "parameter parameter"]]:
    """The negative log-likelihood of one dataset, its gradient and its exact Hessian.

    A model that states ``terms`` is evaluated block by block and on several cores: an image of 3000 × 3000 pixels in
    a few MB beside itself (docs/performance.md).

    Args:
        model: the model.
        params: parameter values, shape (P,).
        data: main and auxiliary data, shape (D,).
        threads: number of threads for such a model; all cores that this process may use if None.

    Returns:
        The nll with all constants, its gradient (P,), and its Hessian (P, P), over all parameters.

    Raises:
        ToymillError: a length that is not the model's.
    """
    x = columns(params, len(model.parameters), "params", "parameters")
    values = np.asarray(data, dtype=np.float64)
    if values.shape != (len(model.data_names),):
        msg = f"data has shape {values.shape}; expected ({len(model.data_names)},), one dataset."
        raise ToymillError(msg)
    rows = model.row_sum
    if rows is None:
        nll, gradient, hessian = jax.jit(model.kernel.exact)(model.arrays, x, values[:, None])
        return np.asarray(nll + model.kernel.offset(model.arrays, values[:, None]))[0], gradient[:, 0], hessian[0]
    size = math.prod(rows.shape)
    found = parallel_derivatives(rows.terms, x[:, 0], values[:size].reshape(rows.shape), threads)

    def constraints(point: Float[Array, " parameter"]) -> Float[Array, ""]:
        at, toy = point[:, None], jnp.asarray(values)[:, None]
        nll = constraint_nll(model.arrays, at, toy) + constraint_offset(model.arrays, toy)
        return nll[0]

    nll, gradient = jax.value_and_grad(constraints)(x[:, 0])
    return found[0] + nll, found[1] + gradient, found[2] + jax.hessian(constraints)(x[:, 0])


def cramer_rao(
    information: Float[np.ndarray, "parameter parameter"], fixed: Bool[np.ndarray, " parameter"]
) -> Float[np.ndarray, "free free"] | None:
    """The Cramér-Rao bound on the covariance of unbiased estimators: the inverse over the parameters that are free.

    (Cramér 1946, 32.6; Rao, Bull. Calcutta Math. Soc. 37 (1945) 81.) Shape (F, F) for F free parameters; None
    where the information has no inverse.
    """
    free = np.flatnonzero(~fixed)
    matrix = np.asarray(information)[np.ix_(free, free)]
    diagonal = np.diag(matrix)
    if not np.isfinite(matrix).all() or not (diagonal > 0).all():
        return None
    units = 1 / np.sqrt(diagonal)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = matrix * units * units[:, None]
        if not np.isfinite(scaled).all() or np.linalg.eigvalsh(scaled)[0] < 1e-12:
            return None
        inverse: np.ndarray = np.linalg.inv(scaled) * units * units[:, None]
    return inverse if np.isfinite(inverse).all() else None
