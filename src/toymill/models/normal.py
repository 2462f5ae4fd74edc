"""A normal sample: the textbook's biased estimator, unbinned."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from toymill.models.user import Parameter, UserModel, define_model


def build(n: int = 10, mean: float = 0.0, variance: float = 1.0, observed: Sequence[float] | None = None) -> UserModel:
    """x_1 … x_n, independent normal numbers of unknown mean μ and variance σ², fitted as μ and log σ².

    The estimates are the sample's mean and mean square deviation; E[σ̂²] = σ²(n-1)/n, Var[μ̂] = σ²/n, the expected
    information is diag(n/σ², n/2), and t_μ = n ln(1 + T²/(n-1)) with T Student's t of n - 1 degrees of freedom.

    Args:
        n: number of events, 2 or more.
        mean: initial value of μ.
        variance: initial value of σ².
        observed: the observed numbers, if there are any.
    """

    def logpdf(params: Array, x: Array) -> Array:
        mu, log_variance = params
        return -0.5 * jnp.sum((x - mu) ** 2 * jnp.exp(-log_variance) + log_variance + jnp.log(2 * jnp.pi))

    def throw(key: Array, params: Array) -> Array:
        mu, log_variance = params
        thrown: Array = mu + jnp.exp(log_variance / 2) * jax.random.normal(key, (n,))
        return thrown

    return define_model(
        {"mu": Parameter(mean), "log_variance": Parameter(float(jnp.log(variance)))},
        poi="mu",
        logpdf=logpdf,
        throw=throw,
        observed=observed,
        information=lambda params: jnp.diag(jnp.array([n * jnp.exp(-params[1]), n / 2])),
        derived={"variance": lambda params: jnp.exp(params[1])},
        name="x",
    )
