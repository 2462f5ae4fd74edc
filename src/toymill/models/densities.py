"""Densities that the models share: Poisson bins, and normal and Poisson constraints. Toys are the last axis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from toymill.linalg import taken
from toymill.models.base import require_x64
from toymill.parameters import Constraints

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

FLOOR = 1e-10
"""Expected counts below this are taken as this, in every path. A fit that ends there says so.

A bin without events is the exception: its nll is the expectation itself, down to 0, where a fit may well end.
"""

_NEAR_FLOOR = 1e-8


def by_parameter(
    values: Float[Array, "constraint lane"], position: Int[Array, " parameter"]
) -> Float[Array, "parameter lane"]:
    """Values of constraints, or one for all toys, as values of parameters: 0 where there is none.

    Rows are taken: adding them at their places would be a loop over single rows in XLA.

    Args:
        values: a row for each constraint.
        position: the row of each parameter, the number of rows where it has none.
    """
    if not values.shape[0]:
        return jnp.zeros((position.shape[0], 1))
    return taken(jnp.concatenate([values, jnp.zeros_like(values[:1])]), position)


@jax.custom_jvp
def log(x: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """log x for positive normal x, to an ulp or so.

    XLA takes the logarithm of one float64 after the other on a CPU; this, with the polynomial of fdlibm's e_log.c,
    is vectorised: 1.5 ns instead of 15 an entry where it was measured.
    """
    exponent, fraction = _split(x)
    return jnp.where(
        x < jnp.inf, exponent * math.log(2) + _log1p_near(fraction), x
    )  # infinity and nan stay what they are


@jax.custom_jvp
def _log_near_one(x: Array, excess: Array) -> Array:
    """The same, to the precision of x - 1 where that is small."""
    exponent, fraction = _split(x)
    near = jnp.abs(excess) < 0.29
    found = jnp.where(near, 0.0, exponent) * math.log(2) + _log1p_near(jnp.where(near, excess, fraction))
    return jnp.where(x < jnp.inf, found, x)


def _split(x: Array) -> tuple[Array, Array]:
    """k and f of x = 2ᵏ (1 + f), with 1 + f between sqrt(1/2) and sqrt(2)."""
    require_x64()
    half = np.int64(0x3FE6A09E667F3BCD)  # the bits of sqrt(1/2)
    bits = lax.bitcast_convert_type(x, jnp.int64) - half
    mantissa = lax.bitcast_convert_type((bits & np.int64(0xFFFFFFFFFFFFF)) + half, x.dtype)
    return (bits >> 52).astype(x.dtype), mantissa - 1


def _log1p_near(f: Array) -> Array:
    """log(1 + f) for 1 + f between sqrt(1/2) and sqrt(2)."""
    s = f / (2 + f)
    square = s * s
    polynomial = jnp.zeros_like(f)
    for coefficient in _LOG:
        polynomial = (polynomial + coefficient) * square
    return s * (2 + polynomial)


_LOG = (
    1.479819860511658591e-01,
    1.531383769920937332e-01,
    1.818357216161805012e-01,
    2.222219843214978396e-01,
    2.857142874366239149e-01,
    3.999999999940941908e-01,
    6.666666666666735130e-01,
)


@log.defjvp
def _log_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    return log(x), tangent * (1 / x)  # one division, shared by all derivatives


@_log_near_one.defjvp
def _log_near_one_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return _log_near_one(*primals), tangents[0] * (1 / primals[0])


def poisson_nll(count: Float[Array, " ..."], rate: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """-log Poisson(count | rate) less its value at rate = count: small near the minimum, so precise.

    Published workspaces hold constraints with counts of 10¹¹; the logarithm of 1 + excess/count keeps ten digits of
    the difference.
    """
    excess = rate - count
    safe = jnp.where(count > 0, count, 1.0)
    ratio = jnp.where(count > 0, rate / safe, 1.0)
    return jnp.where(count > 0, excess - count * _log_near_one(ratio, excess / safe), rate)


def poisson_offset(count: Float[Array, " ..."]) -> Float[Array, " ..."]:
    """-log Poisson(count | count) = n - n log n + log Γ(n+1), by Stirling's series (DLMF 5.11.1), without cancellation.

    Below 10 the series is that of n + 10: Γ(n+1) = Γ(n+11) / ((n+1) … (n+10)). (XLA's log Γ takes half a toy's fit.)
    """
    large = count >= 10
    n = jnp.where(large, count, count + 10)
    inverse = 1 / n
    square = inverse * inverse
    series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square * (1 / 1188)))))
    rest = 0.5 * log(2 * math.pi * n) + series
    rising = jnp.ones_like(count)
    for k in range(1, 11):
        rising = rising * (count + k)
    power = count * log(jnp.where(count > 0, count, 1.0))
    small = count - power + n * log(n) - n + rest - log(rising)
    return jnp.where(large, rest, jnp.where(count > 0, small, 0.0))


def bins_nll(rates: Float[Array, "bin lane"], counts: Float[Array, "bin lane"]) -> Float[Array, " lane"]:
    """``poisson_nll`` summed over bins, each no lower than its floor."""
    floor = _floor(counts)
    return jnp.sum(poisson_nll(counts, jnp.where(rates < floor, floor, rates)), axis=0)


def held_by_floor(rates: Float[Array, "bin lane"], counts: Float[Array, "bin lane"]) -> Bool[Array, "bin lane"]:
    """True where the floor, not the model, gives the nll of a bin."""
    return rates < _floor(counts)


def at_floor(
    rates: Float[Array, "bin lane"], counts: Float[Array, "bin lane"]
) -> tuple[Bool[Array, " lane"], Bool[Array, " lane"]]:
    """``Kernel.at_floor`` of Poisson bins with expectations ``rates``."""
    return jnp.any(held_by_floor(rates, counts), axis=0), jnp.any(rates < _NEAR_FLOOR, axis=0)


def _floor(counts: Array) -> Array:
    """The smallest expectation that the likelihood of a bin is evaluated at."""
    return jnp.where(counts > 0, FLOOR, 0.0)


def _away(constraints: Constraints[Array], x: Array, data: Array) -> Float[Array, "normal lane"]:
    """θ - a of the normal constraints."""
    return taken(x, constraints.normal_parameter) - taken(data, constraints.normal_datum)


def _factors(constraints: Constraints[Array], x: Array) -> Float[Array, "poisson lane"]:
    """γ of the Poisson constraints."""
    return taken(x, constraints.poisson_parameter)


def _counts(constraints: Constraints[Array], data: Array) -> Float[Array, "poisson lane"]:
    """m, the auxiliary counts of the Poisson constraints."""
    return taken(data, constraints.poisson_datum)


def constraint_nll(
    constraints: Constraints[Array], x: Float[Array, "parameter lane"], data: Float[Array, "datum lane"]
) -> Float[Array, " lane"]:
    """The constraints' nll less ``constraint_offset``."""
    pull = _away(constraints, x, data) / constraints.normal_sigma[:, None]
    poisson = poisson_nll(_counts(constraints, data), _factors(constraints, x) * constraints.poisson_tau[:, None])
    return jnp.sum(0.5 * pull * pull, axis=0) + jnp.sum(poisson, axis=0)


def constraint_offset(constraints: Constraints[Array], data: Float[Array, "datum lane"]) -> Float[Array, " lane"]:
    """What the constraints' nll has of the data alone."""
    normal = jnp.sum(jnp.log(constraints.normal_sigma) + 0.5 * jnp.log(2 * jnp.pi))
    return normal + jnp.sum(poisson_offset(_counts(constraints, data)), axis=0)


def constraint_gradient(
    constraints: Constraints[Array], x: Float[Array, "parameter lane"], data: Float[Array, "datum lane"]
) -> Float[Array, "parameter lane"]:
    """Gradient of ``constraint_nll``."""
    pull = _away(constraints, x, data) / constraints.normal_sigma[:, None] ** 2
    poisson = constraints.poisson_tau[:, None] - _counts(constraints, data) / _factors(constraints, x)
    return by_parameter(pull, constraints.normal_of) + by_parameter(poisson, constraints.poisson_of)


def constraint_information(
    constraints: Constraints[Array], x: Float[Array, "parameter lane"]
) -> Float[Array, "parameter lane"]:
    """Expected information of the constraints, a diagonal: 1/σ² of a normal, τ/γ of a Poisson one."""
    information = constraints.poisson_tau[:, None] / _factors(constraints, x)
    return _normal_information(constraints, x) + by_parameter(information, constraints.poisson_of)


def constraint_curvature(
    constraints: Constraints[Array], x: Float[Array, "parameter lane"], data: Float[Array, "datum lane"]
) -> Float[Array, "parameter lane"]:
    """Second derivatives of ``constraint_nll``, a diagonal: 1/σ² of a normal, m/γ² of a Poisson one."""
    curvature = _counts(constraints, data) / _factors(constraints, x) ** 2
    return _normal_information(constraints, x) + by_parameter(curvature, constraints.poisson_of)


def _normal_information(constraints: Constraints[Array], x: Array) -> Array:
    return jnp.broadcast_to(by_parameter(1 / constraints.normal_sigma[:, None] ** 2, constraints.normal_of), x.shape)


def expected_data(
    constraints: Constraints[Array], rates: Float[Array, "main lane"], x: Float[Array, "parameter lane"]
) -> Float[Array, "datum lane"]:
    """Expected main data, followed by the expected auxiliary data."""
    size = len(constraints.normal_datum) + len(constraints.poisson_datum)
    auxiliary = jnp.zeros((size, *x.shape[1:]))
    bins = rates.shape[0]
    auxiliary = auxiliary.at[constraints.normal_datum - bins].set(taken(x, constraints.normal_parameter))
    auxiliary = auxiliary.at[constraints.poisson_datum - bins].set(
        _factors(constraints, x) * constraints.poisson_tau[:, None]
    )
    return jnp.concatenate([rates, auxiliary])
