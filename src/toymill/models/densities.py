"""Densities that the models share: Poisson bins, and normal and Poisson constraints. Toys are the last axis."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.scipy.special import gammaln, xlogy

FLOOR = 1e-10
"""Expected counts below this are taken as this, in every path. A fit that ends there says so.

A bin without events is the exception: its nll is the expectation itself, down to 0, where a fit may well end.
"""

_NEAR_FLOOR = 1e-8


class Constraints(NamedTuple):
    """Where the auxiliary data are, and what they say; ``Templates`` has these fields too.

    Attributes:
        normal_parameter: index of the parameter of each normal constraint, (K,).
        normal_datum: index of its auxiliary datum, (K,).
        normal_sigma: its standard deviation, (K,).
        poisson_parameter: index of the parameter of each Poisson constraint, (L,).
        poisson_datum: index of its auxiliary datum, (L,).
        poisson_tau: expected count per unit of the parameter, (L,).
    """

    normal_parameter: Any
    normal_datum: Any
    normal_sigma: Any
    poisson_parameter: Any
    poisson_datum: Any
    poisson_tau: Any


def poisson_nll(count: Any, rate: Any) -> Any:
    """-log Poisson(count | rate) less its value at rate = count: small near the minimum, so precise.

    Published workspaces hold constraints with counts of 10¹¹; log1p keeps ten digits of the difference.
    """
    excess = rate - count
    safe = jnp.where(count > 0, count, 1.0)
    near = jnp.abs(excess) < 0.5 * safe
    far = jnp.where(count > 0, rate, 1.0)
    log_ratio = jnp.where(near, jnp.log1p(jnp.where(near, excess, 0.0) / safe), jnp.log(far / safe))
    return jnp.where(count > 0, excess - count * log_ratio, rate)


def poisson_offset(count: Any) -> Any:
    """-log Poisson(count | count), by Stirling's series where log Γ(n+1) - n log n would cancel (DLMF 5.11.1)."""
    large = jnp.maximum(count, 1e3)
    series = 0.5 * jnp.log(2 * jnp.pi * large) + (1 - (1 / 30 - 1 / (105 * large**2)) / large**2) / (12 * large)
    return jnp.where(count > 1e3, series, count - xlogy(count, count) + gammaln(count + 1))


def bins_nll(rates: Any, counts: Any) -> Any:
    """``poisson_nll`` summed over bins, each no lower than its floor; (B, T) to (T,)."""
    floor = _floor(counts)
    return jnp.sum(poisson_nll(counts, jnp.where(rates < floor, floor, rates)), axis=0)


def held_by_floor(rates: Any, counts: Any) -> Any:
    """True where the floor, not the model, gives the nll of a bin, (B, T)."""
    return rates < _floor(counts)


def at_floor(rates: Any, counts: Any) -> tuple[Any, Any]:
    """``Kernel.at_floor`` of Poisson bins with expectations ``rates``."""
    return jnp.any(held_by_floor(rates, counts), axis=0), jnp.any(rates < _NEAR_FLOOR, axis=0)


def _floor(counts: Any) -> Any:
    """The smallest expectation that the likelihood of a bin is evaluated at."""
    return jnp.where(counts > 0, FLOOR, 0.0)


def constraint_nll(arrays: Any, x: Any, data: Any) -> Any:
    """The constraints' nll less ``constraint_offset``, (T,); ``arrays`` has the fields of ``Constraints``."""
    pull = (data[arrays.normal_datum] - x[arrays.normal_parameter]) / arrays.normal_sigma[:, None]
    rate = x[arrays.poisson_parameter] * arrays.poisson_tau[:, None]
    poisson = poisson_nll(data[arrays.poisson_datum], rate)
    return jnp.sum(0.5 * pull * pull, axis=0) + jnp.sum(poisson, axis=0)


def constraint_offset(arrays: Any, data: Any) -> Any:
    """What the constraints' nll has of the data alone, (T,)."""
    normal = jnp.sum(jnp.log(arrays.normal_sigma) + 0.5 * jnp.log(2 * jnp.pi))
    return normal + jnp.sum(poisson_offset(data[arrays.poisson_datum]), axis=0)


def constraint_information(arrays: Any, x: Any) -> Any:
    """Expected information of the constraints, a diagonal: 1/σ² of a normal, τ/γ of a Poisson one, (P, T)."""
    diagonal = jnp.zeros_like(x).at[arrays.normal_parameter].add(1 / arrays.normal_sigma[:, None] ** 2)
    information = arrays.poisson_tau[:, None] / x[arrays.poisson_parameter]
    return diagonal.at[arrays.poisson_parameter].add(information)


def expected_data(arrays: Any, rates: Any, x: Any) -> Any:
    """Expected main data, (B, T), followed by the expected auxiliary data: (D, T)."""
    size = len(arrays.normal_datum) + len(arrays.poisson_datum)
    auxiliary = jnp.zeros((size, *x.shape[1:]))
    bins = rates.shape[0]
    auxiliary = auxiliary.at[arrays.normal_datum - bins].set(x[arrays.normal_parameter])
    auxiliary = auxiliary.at[arrays.poisson_datum - bins].set(x[arrays.poisson_parameter] * arrays.poisson_tau[:, None])
    return jnp.concatenate([rates, auxiliary])
