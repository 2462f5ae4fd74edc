"""The steps of Fisher scoring: H = Jᵀ W J + D factorised in the smaller of two spaces.

Published workspaces have more parameters than bins (69 and 4, 184 and 41). Woodbury's identity then solves a system of as
many equations as there are bins, bordered by the unconstrained parameters. Toys are the last axis of every array.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
from jax import Array

from toymill.linalg import (
    PAIRS,
    TERMS,
    apart,
    factorised,
    outer,
    substituted,
    sum_of,
    weighted_sum,
    weighted_total,
    with_diagonal,
)

if TYPE_CHECKING:
    from jax.typing import ArrayLike
    from jaxtyping import Bool, Float, Int

    from toymill.models.base import Solve


def scoring_matrix(
    always: ArrayLike,
    jacobian: Float[Array, "place bin lane"],
    several: int,
    rates: Float[Array, "bin lane"],
    diagonal: Float[Array, "place lane"],
    unconstrained: Int[Array, " unconstrained"],
    free: Bool[Array, "place lane"],
) -> Solve:
    """H = Jᵀ W J + D over the free parameters, with W = 1/ν, factorised: from g to H⁻¹ g, 0 for the others.

    Args:
        always: True; see ``linalg.apart``.
        jacobian: J = ∂ν_b/∂θ_p, finite.
        several: how many parameters, the first, may change several bins; each of the others changes one.
        rates: ν, positive.
        diagonal: D, 0 for a parameter without a constraint.
        unconstrained: indices of these.
        free: False for parameters that are not to move.
    """
    size, bins, _ = jacobian.shape
    if size <= bins + unconstrained.shape[0]:
        return _by_parameters(always, jacobian, rates, diagonal, free)
    return _by_bins(always, jacobian, several, rates, diagonal, unconstrained, free)


def _by_parameters(always: ArrayLike, jacobian: Array, rates: Array, diagonal: Array, free: Array) -> Solve:
    """As many equations as there are parameters."""

    def scaled(jacobian: Array, rates: Array) -> tuple[Array, Array]:
        rows = jnp.where(free[:, None], jacobian, 0.0)
        return rows / rates[None], rows

    matrix = apart(always, outer, *apart(always, scaled, jacobian, rates))
    matrix = with_diagonal(matrix, jnp.where(free, diagonal, 1.0))
    factor = apart(always, factorised, matrix)
    return lambda gradient: substituted(always, factor, jnp.where(free, gradient, 0.0)[:, None])[:, 0]


def _by_bins(
    always: ArrayLike,
    jacobian: Array,
    several: int,
    rates: Array,
    diagonal: Array,
    unconstrained: Array,
    free: Array,
) -> Solve:
    """As many equations as there are bins and unconstrained parameters.

    With K = ν + J D⁻¹ Jᵀ over the constrained parameters and J_u those of the unconstrained ones,

        s_u = (J_uᵀ K⁻¹ J_u)⁻¹ (g_u - J_uᵀ K⁻¹ J D⁻¹ g),    s = D⁻¹ (g - Jᵀ K⁻¹ (J D⁻¹ g + J_u s_u)).
    """
    bins = jacobian.shape[1]
    inverse = apart(
        always,
        lambda diagonal: jnp.where(free & (diagonal > 0), 1 / jnp.where(diagonal > 0, diagonal, 1.0), 0.0),
        diagonal,
    )
    single = rates + weighted_total(always, jacobian[several:] ** 2, inverse[several:])

    def covariance(jacobian: Array, inverse: Array) -> Array:
        return factorised(with_diagonal(_across(always, several, jacobian, inverse), single))

    factor = apart(always, covariance, jacobian, inverse)
    free_u = free[unconstrained]
    jacobian_u = jnp.swapaxes(jnp.where(free_u[:, None], jacobian[unconstrained], 0.0), 0, 1)  # J_u, (bin, u, lane)
    solved = substituted(always, factor, jacobian_u) if jacobian_u.shape[1] else jacobian_u  # K⁻¹ J_u, (bin, u, lane)

    def border(jacobian_u: Array, solved: Array) -> Array:
        inner = sum_of(jacobian_u[b][:, None] * solved[b, None] for b in range(bins))
        return factorised(with_diagonal(inner, jnp.where(free_u, 0.0, 1.0)))

    bordered = apart(always, border, jacobian_u, solved) if jacobian_u.shape[1] else None

    def solve(gradient: Array) -> Array:
        right = jnp.where(free, gradient, 0.0)
        moved = weighted_total(always, jacobian, inverse * right)
        taken = substituted(always, factor, moved[:, None])[:, 0]  # K⁻¹ J D⁻¹ g, (bin, lane)
        if bordered is None:
            return inverse * (right - weighted_sum(jacobian, taken))
        rest = right[unconstrained] - sum_of(jacobian_u[b] * taken[b][None] for b in range(bins))
        step = substituted(always, bordered, rest[:, None])[:, 0]
        taken = taken + weighted_sum(solved, step)
        found = inverse * (right - weighted_sum(jacobian, taken))
        return found.at[unconstrained].set(jnp.where(free_u, step, 0.0))

    return lambda gradient: apart(always, solve, gradient)


def _across(
    always: ArrayLike,
    several: int,
    jacobian: Float[Array, "place bin lane"],
    weights: Float[Array, "place lane"],
) -> Float[Array, "bin bin lane"]:
    """Σ_p w_p J_p J_pᵀ over the first parameters, the ``several`` ones."""
    if several <= TERMS and jacobian.shape[1] ** 2 <= PAIRS:
        weighted = apart(always, lambda jacobian: jacobian[:several] * weights[:several, None], jacobian)
        return apart(
            always,
            lambda weighted, jacobian: sum_of(weighted[p][:, None] * jacobian[p][None] for p in range(several)),
            weighted,
            jacobian,
        )
    first = apart(always, lambda jacobian: jacobian[:several].T, jacobian)  # (lane, bin, place)
    scaled = first * weights[:several].T[:, None]
    return jnp.moveaxis(jnp.einsum("tbp,tcp->tbc", scaled, first), 0, -1)
