"""The ``Kernel`` of a model stated in Python: functions of one dataset, differentiated by JAX and mapped over toys.

Where the model states expected counts, Fisher scoring takes the information Σ_b (∂ν_b)(∂ν_b)ᵀ/ν_b; other models take
Newton steps with the exact Hessian throughout. Constraints are added here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import Array

from toymill.models.base import Kernel
from toymill.models.densities import (
    FLOOR,
    at_floor,
    bins_nll,
    constraint_information,
    constraint_nll,
    constraint_offset,
    poisson_offset,
)
from toymill.models.sums import NllDerivatives, RowTerms, Terms, derivatives, negative_log_likelihood
from toymill.parameters import Constraints

if TYPE_CHECKING:
    from jax.typing import ArrayLike
    from jaxtyping import Bool, Float

LogDensity = Callable[[Array, Array], Array]
"""``(params, data) -> log-density``, a scalar, of one dataset."""

Expectation = Callable[[Array], Array]
"""``params -> expected counts`` of one dataset."""


def flattened(function: Callable[..., ArrayLike]) -> Callable[..., Float[Array, " datum"]]:
    """The function with its array flattened and in float64."""
    return lambda *arguments: jnp.ravel(jnp.asarray(function(*arguments), dtype=jnp.float64))


def poisson_logpdf(expected: Expectation) -> LogDensity:
    """The log-density of flat independent Poisson counts, from flat expectations."""

    def logpdf(params: Array, main: Array) -> Array:
        counts = main[:, None]
        return -(bins_nll(expected(params)[:, None], counts) + jnp.sum(poisson_offset(counts), axis=0))[0]

    return logpdf


def sum_logpdf(terms: Terms, shape: tuple[int, ...]) -> LogDensity:
    """The log-density of a flat dataset that is a sum over rows of that shape."""
    return lambda params, main: -negative_log_likelihood(terms, params, main.reshape(shape))


def shaped_logpdf(logpdf: LogDensity, shape: tuple[int, ...]) -> LogDensity:
    """The log-density of a flat dataset, from that of a dataset of that shape."""
    return lambda params, main: logpdf(params, main.reshape(shape))


def kernel_of(
    logpdf: LogDensity, rows: RowTerms | None, shape: tuple[int, ...], expected: Expectation | None
) -> Kernel:
    """The minimiser's functions: those of one toy, mapped over the last axis.

    Args:
        logpdf: log-density of the flat main data.
        rows: where the log-density is a sum over rows, their terms or derivatives.
        shape: shape of the main data.
        expected: flat expected counts, of a model that states these.
    """
    size = math.prod(shape)
    nll = _nll(logpdf, size)

    def of_toy(x: Array, toy: Array, constraints: Constraints[Array]) -> Array:
        return nll(constraints, x[:, None], toy[:, None])[0]

    def by_autodiff(x: Array, toy: Array, constraints: Constraints[Array]) -> NllDerivatives:
        value, gradient = jax.value_and_grad(of_toy)(x, toy, constraints)
        return value, gradient, jax.hessian(of_toy)(x, toy, constraints)

    of_one = by_autodiff if rows is None else _by_rows(rows, shape)

    def exact(constraints: Constraints[Array], x: Array, data: Array) -> NllDerivatives:
        value, gradient, hessian = jax.vmap(of_one, (1, 1, None))(x, data, constraints)
        return value, gradient.T, hessian

    def scoring(constraints: Constraints[Array], x: Array, data: Array) -> NllDerivatives:
        assert expected is not None
        value, gradient = jax.vmap(jax.value_and_grad(of_toy), (1, 1, None))(x, data, constraints)
        slopes = gradient.T
        return value, slopes, poisson_information(expected, x) + _diagonal(constraint_information(constraints, x))

    def floors(_: Constraints[Array], x: Array, data: Array) -> tuple[Bool[Array, " lane"], Bool[Array, " lane"]]:
        if expected is None:
            return jnp.zeros(x.shape[1], dtype=bool), jnp.zeros(x.shape[1], dtype=bool)
        return at_floor(jax.vmap(expected, 1, 1)(x), data[:size])

    return Kernel(
        nll=nll,
        offset=lambda _, data: jnp.zeros(data.shape[1]),
        quadratic=exact if expected is None else scoring,
        exact=exact,
        at_floor=floors,
        second_minima=lambda _, x, *__: (
            jnp.full_like(x, jnp.inf),
            x,
            jnp.zeros((0, x.shape[1])),
            jnp.zeros(x.shape, dtype=bool),
        ),
        product=lambda _, x, *__: (jnp.full(x.shape[1], jnp.inf), x),
        rates=None if expected is None else lambda _, x: jax.vmap(expected, 1, 1)(x),
    )


def _nll(logpdf: LogDensity, size: int) -> Callable[[Constraints[Array], Array, Array], Float[Array, " lane"]]:
    """The nll of many toys, with all constants."""

    def nll(constraints: Constraints[Array], x: Array, data: Array) -> Array:
        main: Array = jax.vmap(lambda params, toy: -logpdf(params, toy), (1, 1))(x, data[:size])
        return main + constraint_nll(constraints, x, data) + constraint_offset(constraints, data)

    return nll


def _by_rows(rows: RowTerms, shape: tuple[int, ...]) -> Callable[[Array, Array, Constraints[Array]], NllDerivatives]:
    """The nll of one toy and its derivatives, those of the main data as sums over rows."""
    size = math.prod(shape)

    def of_toy(x: Array, toy: Array, constraints: Constraints[Array]) -> NllDerivatives:
        def constraint(x: Array) -> Array:
            columns = toy[:, None]
            return (constraint_nll(constraints, x[:, None], columns) + constraint_offset(constraints, columns))[0]

        value, gradient, hessian = derivatives(rows, x, toy[:size].reshape(shape))
        added = jax.value_and_grad(constraint)(x)
        return value + added[0], gradient + added[1], hessian + jax.hessian(constraint)(x)

    return of_toy


def poisson_information(
    expected: Expectation, x: Float[Array, "parameter lane"]
) -> Float[Array, "lane parameter parameter"]:
    """Expected Fisher information of Poisson counts, Σ_b (∂ν_b)(∂ν_b)ᵀ/ν_b."""

    def of_toy(params: Array) -> Array:
        jacobian = jax.jacfwd(expected)(params)  # (bin, parameter)
        scaled: Array = jacobian / jnp.sqrt(jnp.maximum(expected(params), FLOOR))[:, None]
        return scaled.T @ scaled

    found: Array = jax.vmap(of_toy, 1)(x)
    return found


def _diagonal(values: Float[Array, "parameter lane"]) -> Float[Array, "lane parameter parameter"]:
    """Matrices with these on their diagonals."""
    found: Array = jax.vmap(jnp.diag, 1)(values)
    return found
