"""The steps of Fisher scoring: H = Jᵀ W J + D, factorised in the smaller of two spaces.

The parameters of one bin are eliminated first: they leave the others with another weight of that bin,

    W' = w - w² jᵀ (D_b + w j jᵀ)⁻¹ j,    w = 1/ν_b.

Published workspaces have more parameters than bins (69 and 4, 184 and 41). Woodbury's identity then solves a system of as
many equations as there are bins, bordered by the unconstrained parameters. Toys are the last axis of every array.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
from jax import Array

from toymill.arrow import Arrow, in_blocks, of_rows, own_blocks
from toymill.linalg import (
    PAIRS,
    TERMS,
    apart,
    cholesky_written_out,
    factorised,
    inverse_written_out,
    outer,
    substituted,
    sum_of,
    total,
    weighted_sum,
    weighted_total,
    with_diagonal,
)

if TYPE_CHECKING:
    from jax.typing import ArrayLike
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


def scoring_matrix(always: ArrayLike, information: Information, free: Bool[Array, "parameter lane"]) -> Solve:
    """H over the free parameters, factorised: from g to H⁻¹ g, 0 for the others.

    Args:
        always: True; see ``linalg.apart``.
        information: H.
        free: False for parameters that are not to move.
    """
    several, bins, _ = information.jacobian.shape
    size = information.own.shape[0]
    first, last = free[:several], free[several:]
    alone = apart(always, _own_part, information, last)
    scaled = apart(
        always,
        lambda jacobian, weight: jnp.where(first[:, None], jacobian * jnp.sqrt(weight)[None], 0.0),
        information.jacobian,
        alone.weight,
    )
    diagonal = information.diagonal[:several]
    by_parameters = several <= bins + information.unconstrained.shape[0]
    inner = (
        _by_parameters(always, scaled, diagonal, first)
        if by_parameters
        else _by_bins(always, scaled, diagonal, information.unconstrained, first)
    )
    if not size:
        return lambda gradient: inner(gradient)

    def solve(gradient: Array) -> Array:
        right = jnp.where(last, gradient[several:], 0.0)
        half = in_blocks(information.blocks, right, 0.0)
        half = jnp.sum(alone.root * half[None], axis=1)
        step = of_rows(information.blocks, jnp.sum(alone.root * half[:, None], axis=0), size)
        if not several:
            return step
        moved = total(in_blocks(information.blocks[:, :bins], information.own * step, 0.0)) / information.rates
        rest = jnp.where(first, gradient[:several] - weighted_sum(information.jacobian, moved), 0.0)
        found = inner(rest)
        follow = weighted_total(always, information.jacobian, found)
        return jnp.concatenate([found, step - alone.follow * follow[information.own_bin]])

    return lambda gradient: apart(always, solve, gradient)


class _Own(NamedTuple):
    """What the own parameters leave: L⁻¹ of their blocks, how they follow a change of their bin, and the weight of each bin."""

    root: Float[Array, "row row block lane"]
    follow: Float[Array, "own lane"]
    weight: Float[Array, "bin lane"]


def _own_part(information: Information, free: Bool[Array, "own lane"]) -> _Own:
    rows, (bins, lanes), size = information.blocks, information.rates.shape, information.own.shape[0]
    weight = 1 / information.rates
    if not size:
        return _Own(jnp.zeros((0, 0, rows.shape[1], lanes)), information.own, weight)
    slope = jnp.where(free, information.own, 0.0)
    matrix = own_blocks(rows, slope, weight, jnp.where(free, information.diagonal[-size:], 1.0))
    root = jnp.stack(inverse_written_out(*cholesky_written_out(matrix)))
    half = jnp.sum(root * in_blocks(rows, slope * weight[information.own_bin], 0.0)[None], axis=1)
    follow = of_rows(rows, jnp.sum(root * half[:, None], axis=0), size)
    left = 1 - total(in_blocks(rows[:, :bins], slope * follow, 0.0))
    return _Own(root, follow, weight * jnp.maximum(left, 0.0))


def _by_parameters(always: ArrayLike, jacobian: Array, diagonal: Array, free: Array) -> Solve:
    """J Jᵀ + D, as many equations as there are parameters."""
    if not free.shape[0]:
        return lambda gradient: gradient
    matrix = apart(always, outer, jacobian, jacobian)
    matrix = with_diagonal(matrix, jnp.where(free, diagonal, 1.0))
    factor = apart(always, factorised, matrix)
    return lambda gradient: substituted(always, factor, jnp.where(free, gradient, 0.0)[:, None])[:, 0]


def _by_bins(always: ArrayLike, jacobian: Array, diagonal: Array, unconstrained: Array, free: Array) -> Solve:
    """J Jᵀ + D, as many equations as there are bins and unconstrained parameters.

    With K = 1 + Jᵀ D⁻¹ J over the constrained parameters and J_u those of the unconstrained ones,

        s_u = (J_u K⁻¹ J_uᵀ)⁻¹ (g_u - J_u K⁻¹ Jᵀ D⁻¹ g),    s = D⁻¹ (g - J K⁻¹ (Jᵀ D⁻¹ g + J_uᵀ s_u)).
    """
    bins = jacobian.shape[1]
    inverse = apart(
        always,
        lambda diagonal: jnp.where(free & (diagonal > 0), 1 / jnp.where(diagonal > 0, diagonal, 1.0), 0.0),
        diagonal,
    )

    def covariance(jacobian: Array, inverse: Array) -> Array:
        matrix = _across(always, jacobian, inverse)
        return factorised(with_diagonal(matrix, jnp.ones(matrix.shape[1:])))

    factor = apart(always, covariance, jacobian, inverse)
    free_u = free[unconstrained]
    jacobian_u = jnp.swapaxes(jacobian[unconstrained], 0, 1)  # J_u, (bin, u, lane)
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
    always: ArrayLike, jacobian: Float[Array, "several bin lane"], weights: Float[Array, "several lane"]
) -> Float[Array, "bin bin lane"]:
    """Σ_p w_p J_p J_pᵀ."""
    several, bins, _ = jacobian.shape
    if several <= TERMS and bins**2 <= PAIRS:
        weighted = apart(always, lambda jacobian: jacobian * weights[:, None], jacobian)
        return apart(
            always,
            lambda weighted, jacobian: sum_of(weighted[p][:, None] * jacobian[p][None] for p in range(several)),
            weighted,
            jacobian,
        )
    first = apart(always, lambda jacobian: jacobian.T, jacobian)  # (lane, bin, place)
    scaled = first * weights.T[:, None]
    return jnp.moveaxis(jnp.einsum("tbp,tcp->tbc", scaled, first), 0, -1)
