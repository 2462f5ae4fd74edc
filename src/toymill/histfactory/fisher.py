"""The steps of Fisher scoring: H = Jᵀ W J + D, factorised in the smaller of two spaces.

The parameters of one bin are eliminated first. With their slopes j and x = g they leave the others with

    W = 1/K,    K = ν + Σ j²/D,    g - J t/K,    t = Σ j x/D,

and follow them with s = (x - j (t + Jᵀ s)/K)/D. Published workspaces have more parameters than bins (69 and 4, 184 and 41). Woodbury's identity then solves a system of as
many equations as there are bins, bordered by the unconstrained parameters. Toys are the last axis of every array.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
from jax import Array

from toymill.arrow import Arrow, in_blocks, own_blocks
from toymill.linalg import (
    PAIRS,
    TERMS,
    apart,
    factorised,
    outer,
    substituted,
    sum_of,
    total,
    weighted_sum,
    weighted_total,
    with_diagonal,
)

_UNCONSTRAINED = 1e-8  # D of an own parameter without a constraint, in units of what the data say

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from toymill.models.base import Solve


class Information(NamedTuple):
    """H = Jᵀ W J + D, with W = 1/ν. Its rows are those of the several, then those of the own parameters.

    Attributes:
        jacobian: J = ∂ν_b/∂θ_p of parameters that may change several bins, finite.
        own: that of the others, in their bin.
        rates: ν, positive.
        diagonal: D, 0 for a parameter without a constraint.
        blocks: which of the own parameters are in each bin, and in blocks after these; padded with their number.
        own_bin: the bin of each own parameter.
        unconstrained: which of the several have no constraint.
    """

    jacobian: Float[Array, "several bin lane"]
    own: Float[Array, "own lane"]
    rates: Float[Array, "bin lane"]
    diagonal: Float[Array, "parameter lane"]
    blocks: Int[Array, "row block"]
    own_bin: Int[Array, " own"]
    unconstrained: Int[Array, " unconstrained"]


def information_matrix(information: Information) -> Arrow:
    """H itself."""
    weight = 1 / information.rates
    several = information.jacobian.shape[0]
    weighted = information.jacobian * weight[None]
    matrix = with_diagonal(outer(weighted, information.jacobian), information.diagonal[:several])
    border = weighted[:, information.own_bin] * information.own[None]
    own = own_blocks(information.blocks, information.own, weight, information.diagonal[several:])
    return Arrow(matrix, border, own, information.blocks)


def scoring_matrix(information: Information, free: Bool[Array, "parameter lane"]) -> Solve:
    """H over the free parameters, factorised: from g to H⁻¹ g, 0 for the others.

    Args:
        information: H.
        free: False for parameters that are not to move.
    """
    several, bins, _ = information.jacobian.shape
    first, last = free[:several], free[several:]
    alone = apart(_alone, information, last)
    scaled = apart(
        lambda jacobian, spread: jnp.where(first[:, None], jacobian / jnp.sqrt(spread)[None], 0.0),
        information.jacobian,
        alone.spread,
    )
    diagonal = information.diagonal[:several]
    by_parameters = several <= bins + information.unconstrained.shape[0]
    inner = (
        _by_parameters(scaled, diagonal, first)
        if by_parameters
        else _by_bins(scaled, diagonal, information.unconstrained, first)
    )
    if not information.own.shape[0]:
        return inner
    of_bins = information.blocks[:, :bins]

    def solve(gradient: Array) -> Array:
        right = jnp.where(last, gradient[several:], 0.0)
        moved = total(in_blocks(of_bins, information.own * alone.inverse * right, 0.0)) / alone.spread
        found = gradient[:several]
        if several:
            found = inner(jnp.where(first, found - weighted_sum(information.jacobian, moved), 0.0))
            moved = moved + weighted_total(information.jacobian, found) / alone.spread
        return jnp.concatenate([found, alone.inverse * (right - information.own * moved[information.own_bin])])

    return lambda gradient: apart(solve, gradient)


class _Alone(NamedTuple):
    """The own parameters by themselves: 1/D, and ν + Σ j²/D of each bin, which takes the place of ν for the others."""

    inverse: Float[Array, "own lane"]
    spread: Float[Array, "bin lane"]


def _alone(information: Information, free: Bool[Array, "own lane"]) -> _Alone:
    rates, own, size = information.rates, information.own, information.own.shape[0]
    if not size:
        return _Alone(own, rates)
    seen = own * own / rates[information.own_bin]
    diagonal = jnp.maximum(information.diagonal[-size:], jnp.maximum(_UNCONSTRAINED * seen, 1e-300))
    inverse = jnp.where(free, 1 / diagonal, 0.0)
    return _Alone(inverse, rates + total(in_blocks(information.blocks[:, : len(rates)], own * own * inverse, 0.0)))


def _by_parameters(jacobian: Array, diagonal: Array, free: Array) -> Solve:
    """J Jᵀ + D, as many equations as there are parameters."""
    if not free.shape[0]:
        return lambda gradient: gradient
    matrix = apart(outer, jacobian, jacobian)
    matrix = with_diagonal(matrix, jnp.where(free, diagonal, 1.0))
    factor = apart(factorised, matrix)
    return lambda gradient: substituted(factor, jnp.where(free, gradient, 0.0)[:, None])[:, 0]


def _by_bins(jacobian: Array, diagonal: Array, unconstrained: Array, free: Array) -> Solve:
    """J Jᵀ + D, as many equations as there are bins and unconstrained parameters.

    With K = 1 + Jᵀ D⁻¹ J over the constrained parameters and J_u those of the unconstrained ones,

        s_u = (J_u K⁻¹ J_uᵀ)⁻¹ (g_u - J_u K⁻¹ Jᵀ D⁻¹ g),    s = D⁻¹ (g - J K⁻¹ (Jᵀ D⁻¹ g + J_uᵀ s_u)).
    """
    bins = jacobian.shape[1]
    inverse = apart(
        lambda diagonal: jnp.where(free & (diagonal > 0), 1 / jnp.where(diagonal > 0, diagonal, 1.0), 0.0),
        diagonal,
    )

    def covariance(jacobian: Array, inverse: Array) -> Array:
        matrix = _across(jacobian, inverse)
        return factorised(with_diagonal(matrix, jnp.ones(matrix.shape[1:])))

    factor = apart(covariance, jacobian, inverse)
    free_u = free[unconstrained]
    jacobian_u = jnp.swapaxes(jacobian[unconstrained], 0, 1)  # J_u, (bin, u, lane)
    solved = substituted(factor, jacobian_u) if jacobian_u.shape[1] else jacobian_u  # K⁻¹ J_u, (bin, u, lane)

    def border(jacobian_u: Array, solved: Array) -> Array:
        inner = sum_of(jacobian_u[b][:, None] * solved[b, None] for b in range(bins))
        return factorised(with_diagonal(inner, jnp.where(free_u, 0.0, 1.0)))

    bordered = apart(border, jacobian_u, solved) if jacobian_u.shape[1] else None

    def solve(gradient: Array) -> Array:
        right = jnp.where(free, gradient, 0.0)
        moved = weighted_total(jacobian, inverse * right)
        taken = substituted(factor, moved[:, None])[:, 0]  # K⁻¹ J D⁻¹ g, (bin, lane)
        if bordered is None:
            return inverse * (right - weighted_sum(jacobian, taken))
        rest = right[unconstrained] - sum_of(jacobian_u[b] * taken[b][None] for b in range(bins))
        step = substituted(bordered, rest[:, None])[:, 0]
        taken = taken + weighted_sum(solved, step)
        found = inverse * (right - weighted_sum(jacobian, taken))
        return found.at[unconstrained].set(jnp.where(free_u, step, 0.0))

    return lambda gradient: apart(solve, gradient)


def _across(
    jacobian: Float[Array, "several bin lane"], weights: Float[Array, "several lane"]
) -> Float[Array, "bin bin lane"]:
    """Σ_p w_p J_p J_pᵀ."""
    several, bins, _ = jacobian.shape
    if several <= TERMS and bins**2 <= PAIRS:
        weighted = apart(lambda jacobian: jacobian * weights[:, None], jacobian)
        return apart(
            lambda weighted, jacobian: sum_of(weighted[p][:, None] * jacobian[p][None] for p in range(several)),
            weighted,
            jacobian,
        )
    first = apart(lambda jacobian: jacobian.T, jacobian)  # (lane, bin, place)
    scaled = first * weights.T[:, None]
    return jnp.moveaxis(jnp.einsum("tbp,tcp->tbc", scaled, first), 0, -1)
