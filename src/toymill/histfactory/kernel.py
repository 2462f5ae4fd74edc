"""The HistFactory likelihood as the minimiser takes it: a ``Kernel`` with parameters in the model's order.

``rates`` has the expectation, ``derivatives`` and ``hessian`` what follows from it; these take ``theta``, in the order by
kind, and here the two orders meet: every function of a ``Kernel`` takes ``x``, in the model's order, those of ``Fast`` take
``theta``. ``arrays`` says more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import Array

from toymill.arrow import dense
from toymill.histfactory.arrays import Templates
from toymill.histfactory.derivatives import gradient_at, information_of, scoring_at, slopes_at
from toymill.histfactory.fisher import information_matrix
from toymill.histfactory.hessian import hessian_at
from toymill.histfactory.profiles import ProfiledMinima, profiled_minima, profiled_product
from toymill.histfactory.rates import by_kind, by_model, cells_at, main_nll, main_offset, rates_at
from toymill.models.base import Fast, Kernel
from toymill.models.densities import (
    at_floor,
    constraint_information,
    constraint_nll,
    constraint_offset,
    expected_data,
)

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


@jax.jit
def expected(templates: Templates[Array], x: Float[Array, "parameter lane"]) -> Float[Array, "datum lane"]:
    """Expected main and auxiliary data."""
    theta = by_kind(templates, x)
    return expected_data(templates.constraints, rates_at(templates, theta), theta)


@jax.jit
def template_spread(
    templates: Templates[Array], staterrors: Float[Array, "sample bin"], x: Float[Array, " parameter"]
) -> Float[Array, " bin"]:
    """Standard deviation of the expected main data by independent errors of the nominal yields."""
    multiplier = cells_at(templates, by_kind(templates, x[:, None])).multiplier[..., 0]
    return jnp.sqrt(jnp.sum((multiplier * staterrors) ** 2, axis=0))


@jax.jit
def main_logpdf(
    templates: Templates[Array], x: Float[Array, "parameter lane"], data: Float[Array, "datum lane"]
) -> Float[Array, " lane"]:
    """Logarithm of the probability of the main data."""
    return -(main_nll(rates_at(templates, by_kind(templates, x)), data) + main_offset(templates, data))


@jax.jit
def constraint_logpdf(
    templates: Templates[Array], x: Float[Array, "parameter lane"], data: Float[Array, "datum lane"]
) -> Float[Array, " lane"]:
    """Logarithm of the probability density of the auxiliary data."""
    constraints = templates.constraints
    return -(constraint_nll(constraints, by_kind(templates, x), data) + constraint_offset(constraints, data))


def _nll(templates: Templates[Array], x: Array, data: Array) -> Float[Array, " lane"]:
    theta = by_kind(templates, x)
    return main_nll(rates_at(templates, theta), data) + constraint_nll(templates.constraints, theta, data)


def _offset(templates: Templates[Array], data: Array) -> Float[Array, " lane"]:
    return main_offset(templates, data) + constraint_offset(templates.constraints, data)


def _quadratic(
    templates: Templates[Array], x: Array, data: Array
) -> tuple[Float[Array, " lane"], Float[Array, "parameter lane"], Float[Array, "lane parameter parameter"]]:
    """nll, gradient and the matrix of Fisher scoring; see ``scoring_at``."""
    slopes = slopes_at(templates, by_kind(templates, x), data)
    diagonal = constraint_information(templates.constraints, slopes.cells.theta)
    gradient = by_model(templates, slopes.gradient)
    matrix = information_matrix(information_of(templates, slopes, diagonal))
    return slopes.nll, gradient, _matrix_by_model(templates, dense(matrix))


def _exact(
    templates: Templates[Array], x: Array, data: Array
) -> tuple[Float[Array, " lane"], Float[Array, "parameter lane"], Float[Array, "lane parameter parameter"]]:
    nll, gradient, hessian, _ = hessian_at(templates, by_kind(templates, x), data)
    return nll, by_model(templates, gradient), _matrix_by_model(templates, dense(hessian))


def _matrix_by_model(
    templates: Templates[Array], values: Float[Array, "place place lane"]
) -> Float[Array, "lane parameter parameter"]:
    """Second derivatives with respect to ``theta`` as those with respect to ``x``, toys first."""
    rows = by_model(templates, values)
    return jnp.moveaxis(by_model(templates, jnp.swapaxes(rows, 0, 1)), -1, 0)


def _at_floor(templates: Templates[Array], x: Array, data: Array) -> tuple[Bool[Array, " lane"], Bool[Array, " lane"]]:
    rates = rates_at(templates, by_kind(templates, x))
    return at_floor(rates, data[: rates.shape[0]])


def _second_minima(templates: Templates[Array], x: Array, data: Array, fixed: Array, bounds: Array) -> ProfiledMinima:
    theta = by_kind(templates, x)
    slopes = slopes_at(templates, theta, data)
    return profiled_minima(templates, slopes, theta, data, by_kind(templates, fixed), by_kind(templates, bounds))


def _product(
    templates: Templates[Array], x: Array, data: Array, fixed: Array, bounds: Array, number: Array
) -> tuple[Float[Array, " lane"], Float[Array, "parameter lane"]]:
    theta = by_kind(templates, x)
    slopes = slopes_at(templates, theta, data)
    fixed, bounds = by_kind(templates, fixed), by_kind(templates, bounds)
    gap, found = profiled_product(templates, slopes, theta, data, fixed, bounds, number)
    return gap, found[templates.order.places[0]]


PLAIN = Kernel(
    nll=_nll,
    offset=_offset,
    quadratic=_quadratic,
    exact=_exact,
    at_floor=_at_floor,
    second_minima=_second_minima,
    product=_product,
    rates=lambda templates, x: rates_at(templates, by_kind(templates, x)),
)
"""For models with a parameter of two kinds, which is at two places."""

KERNEL = PLAIN._replace(
    fast=Fast(
        order=lambda templates: templates.order.parameters,
        places=lambda templates: templates.order.places[0],
        gradient=gradient_at,
        scoring=scoring_at,
        hessian=hessian_at,
    )
)
