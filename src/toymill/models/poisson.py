"""Counting: repeated counts of one rate, and the on/off problem."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from toymill.models.user import Parameter, UserModel, define_model


def build(n: int = 5, rate: float = 2.0, observed: Sequence[float] | None = None) -> UserModel:
    """n_1 … n_k, independent Poisson counts of one rate λ.

    The estimate is the mean, N/k with N = Σ n_i; N is Poisson of mean kλ, so that every distribution of the estimate
    and of t_λ = 2(kλ - N + N ln(N/kλ)) is known exactly.

    Args:
        n: number of counts k.
        rate: initial value of λ.
        observed: the observed counts, if there are any.
    """
    return define_model(
        {"rate": Parameter(rate, (0.0, float("inf")))},
        poi="rate",
        expected=lambda params: params[0] * jnp.ones(n),
        observed=observed,
        name="count",
    )


def build_on_off(
    signal: float = 6.0, background: float = 9.0, tau: float = 1.0, observed: Sequence[float] | None = None
) -> UserModel:
    """n_on ~ Poisson(s + b) and n_off ~ Poisson(τ b): a count, and one that measures its background.

    The estimates are s = n_on - n_off/τ and b = n_off/τ (Cousins, Linnemann and Tucker, physics/0702156).

    Args:
        signal: initial value of s; it may become negative as long as s + b does not.
        background: initial value of b.
        tau: how much longer the background is measured.
        observed: the observed n_on and n_off, if there are any.
    """

    def expected(params: Array) -> Array:
        s, b = params
        return jnp.array([s + b, tau * b])

    return define_model(
        {"s": Parameter(signal), "b": Parameter(background, (0.0, float("inf")))},
        poi="s",
        expected=expected,
        observed=observed,
        name="count",
    )
