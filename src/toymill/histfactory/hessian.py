"""The exact Hessian of the HistFactory likelihood, for many toys at once.

    H = Σ_b (n_b/ν_b²) J_b J_bᵀ + Σ_b (1 - n_b/ν_b) ∂²ν_b + constraints.

With ν = Y · M for each cell, an additive part times factors, m = ∂ log M and a = M ∂Y, the second derivatives of ν are
ν m mᵀ + a mᵀ + m aᵀ off the diagonal. Factors are linear in each cell: with one of them, the second derivative is the
first with respect to the other parameter, over the factor's value. The matrix is made of blocks, one for each pair of
kinds. Toys are the last axis of every array, ``theta`` is in the order by kind, see ``arrays``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import jax.numpy as jnp
from jax import Array

from toymill.arrow import Arrow, in_blocks, own_blocks
from toymill.histfactory.arrays import Templates
from toymill.histfactory.derivatives import over_cells, slopes_at
from toymill.histfactory.rates import (
    Cells,
    and_one_more,
    by_bin,
    by_channel,
    even_curvature,
    kinds_of,
    multiplying,
    norm_curvature,
    over_interpolating,
    own_bin,
)
from toymill.linalg import PAIRS, TERMS, apart, each, outer, sum_of, total, with_diagonal
from toymill.models.densities import at_floor, constraint_curvature

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def hessian_at(
    templates: Templates[Array], theta: Float[Array, "place lane"], data: Float[Array, "datum lane"]
) -> tuple[Float[Array, " lane"], Float[Array, "place lane"], Arrow, tuple[Bool[Array, " lane"], Bool[Array, " lane"]]]:
    """nll, gradient, exact Hessian, and ``Kernel.at_floor``; see ``Fast.hessian``."""
    kinds = kinds_of(templates)
    slopes = apart(slopes_at, templates, theta, data)
    weight = data[: slopes.rates.shape[0]] / slopes.rates**2
    weighted = apart(lambda jacobian: jacobian * weight[None], slopes.jacobian)
    first = apart(outer, weighted, slopes.jacobian)
    several, border, single = _second(templates, slopes.cells, slopes.residual)
    diagonal = constraint_curvature(templates.constraints, slopes.cells.theta, data)
    bins = own_bin(templates)
    idle = theta.shape[0] - kinds.effective
    border = jnp.pad(border, ((0, 0), (0, idle), (0, 0))) + weighted[:, bins] * slopes.own[None]
    blocks = templates.multipliers.blocks
    own = single + own_blocks(blocks, slopes.own, weight, diagonal[kinds.several :])
    hessian = Arrow(with_diagonal(first + several, diagonal[: kinds.several]), border, own, blocks)
    floor = at_floor(total(slopes.cells.value), data[: slopes.rates.shape[0]])
    return slopes.nll, slopes.gradient, hessian, floor


def _second(
    templates: Templates[Array], cells: Cells, residual: Float[Array, "bin lane"]
) -> tuple[
    Float[Array, "several several lane"], Float[Array, "several single lane"], Float[Array, "row row block lane"]
]:
    """Σ_b r_b ∂²ν_b/∂θ∂θ': of the several, between them and the single-bin factors, and of these by blocks."""
    between = apart(_interpolating, templates, cells, residual)
    to_multi, to_single = apart(_interpolating_factors, templates, cells, residual)
    multi, multi_single, single = apart(_factors, templates, cells, residual)
    rows = [[between, to_multi], [jnp.swapaxes(to_multi, 0, 1), multi]]
    matrix = apart(lambda rows: jnp.concatenate([jnp.concatenate(row, axis=1) for row in rows]), rows)
    return matrix, jnp.concatenate([to_single, multi_single]), single


def _everywhere(
    templates: Templates[Array], values: Float[Array, "factor lane"]
) -> Float[Array, "normsys sample channel lane"]:
    """Values of the normsys factors that there are as those of all, 0 for the others."""
    return and_one_more(values, 0.0)[templates.normsys.position]


def _interpolating_factors(
    templates: Templates[Array], cells: Cells, residual: Float[Array, "bin lane"]
) -> tuple[Float[Array, "interpolating multi lane"], Float[Array, "interpolating single lane"]]:
    """Σ_b r_b ∂²ν_b between parameters that interpolate and factors."""
    kinds, histosys, factors = kinds_of(templates), templates.histosys, templates.multipliers
    samples = cells.value.shape[0]
    multi_theta, single_theta = multiplying(kinds, cells.theta)
    slope, even = _everywhere(templates, cells.norm.slope), cells.even.slope[:, None]
    added, value = residual[None] * cells.multiplier, residual[None] * cells.value  # (sample, bin, lane)
    to_multi = jnp.zeros((kinds.interpolating, kinds.multi, residual.shape[1]))
    if kinds.multi:
        present = jnp.moveaxis(factors.multi_present, 0, 2)[..., None]  # (sample, bin, multi, 1)
        linear, bowed = over_cells(templates, present * added[:, :, None])  # (histosys, multi, lane)
        # (multi, sample, channel, lane)
        summed = apart(lambda value: by_channel(templates, jnp.moveaxis(present * value[:, :, None], 2, 0)), value)
        norm = jnp.stack([total(total(slope * one[None], 1), 1) for one in summed], axis=1)  # (normsys, multi, lane)
        to_multi = over_interpolating(kinds, linear + bowed * even, norm)
    at = factors.single_bin
    added, value = added[:, at], value[:, at]  # (sample, single, lane)
    present = factors.single_present.T[..., None]  # (sample, single, 1)
    # (histosys, sample, single, 1)
    linear, bowed = histosys.linear[:, :, at, None], histosys.even[:, :, at, None]
    hist = sum_of((present[s] * added[s])[None] * (linear[:, s] + bowed[:, s] * even) for s in range(samples))
    at_bin = by_bin(templates, slope)
    at_bin = at_bin[:, :, at] if at_bin.shape[2] > 1 else at_bin  # (normsys, sample, single or 1, lane)
    norm = sum_of((present[s] * value[s])[None] * at_bin[:, s] for s in range(samples))
    return to_multi / multi_theta[None], over_interpolating(kinds, hist, norm) / single_theta[None]


def _factors(
    templates: Templates[Array], cells: Cells, residual: Float[Array, "bin lane"]
) -> tuple[Float[Array, "multi multi lane"], Float[Array, "multi single lane"], Float[Array, "row row block lane"]]:
    """Σ_b r_b ∂²ν_b between factors: multi-bin with multi-bin, multi-bin with single-bin, and single-bin by blocks."""
    factors = templates.multipliers
    multi_theta, single_theta = multiplying(kinds_of(templates), cells.theta)
    value = residual[None] * cells.value  # (sample, bin, lane)
    single_present = factors.single_present.T[..., None]  # (sample, single, 1)
    multi: Array | float = 0.0
    multi_single: Array | float = 0.0
    for s in range(value.shape[0]):
        present = factors.multi_present[:, s]  # (multi, bin)
        multi = multi + jnp.einsum("wb,vb,bt->wvt", present, present, value[s])
        in_bin = single_present[s] * value[s][factors.single_bin]  # (single, lane)
        multi_single = multi_single + present[:, factors.single_bin, None] * in_bin[None]
    return (
        _off_diagonal(multi / multi_theta[:, None] / multi_theta[None]),
        multi_single / multi_theta[:, None] / single_theta[None],
        _together(templates, single_theta, value),
    )


def _together(
    templates: Templates[Array], theta: Float[Array, "single lane"], value: Float[Array, "sample bin lane"]
) -> Float[Array, "row row block lane"]:
    """Σ_s r_b ν_bs / (γ γ') of the single-bin factors γ ≠ γ' that multiply the same sample of a bin, by blocks."""
    factors = templates.multipliers
    depth, blocks = factors.blocks.shape
    samples, bins, lanes = value.shape
    if depth <= 1:
        return jnp.zeros((depth, depth, blocks, lanes))
    of_bins = factors.blocks[:, :bins]
    present = jnp.pad(factors.single_present, ((0, blocks - bins + 1), (0, 0)))[of_bins]  # (row, bin, sample)
    gamma = in_blocks(of_bins, jnp.pad(theta, ((0, blocks - bins), (0, 0)), constant_values=1.0), 1.0)
    shared = sum_of(
        (present[:, None, :, s] * present[None, :, :, s])[..., None] * value[s][None, None] for s in range(samples)
    )
    apart_from = ~jnp.eye(depth, dtype=bool)[:, :, None, None]
    pairs = jnp.where(apart_from, shared / gamma[:, None] / gamma[None], 0.0)
    return jnp.pad(pairs, ((0, 0), (0, 0), (0, blocks - bins), (0, 0)))


def _interpolating(
    templates: Templates[Array], cells: Cells, residual: Float[Array, "bin lane"]
) -> Float[Array, "interpolating interpolating lane"]:
    """Σ_b r_b ∂²ν_b between the parameters that interpolate.

    Here m is the same in all bins of a channel, so that ν and a are first summed over its bins.
    """
    kinds = kinds_of(templates)
    before, lanes = kinds.interpolating - kinds.normsys, cells.value.shape[-1]
    halves, slope, diagonal = apart(_interpolating_parts, templates, cells, residual)
    left = apart(outer, halves, slope)  # (interpolating, normsys, lane)
    products = jnp.concatenate([jnp.zeros((kinds.interpolating, before, lanes)), left], axis=1)
    products = apart(lambda products: products, products)
    return with_diagonal(_off_diagonal(products + jnp.swapaxes(products, 0, 1)), diagonal)


def _interpolating_parts(
    templates: Templates[Array], cells: Cells, residual: Float[Array, "bin lane"]
) -> tuple[
    Float[Array, "interpolating channel_cell lane"],
    Float[Array, "normsys channel_cell lane"],
    Float[Array, "interpolating lane"],
]:
    """a + ½ ν m of each parameter and m of each normsys, both by sample and channel, and the diagonal; see the module."""
    kinds, histosys = kinds_of(templates), templates.histosys
    samples, _, lanes = cells.value.shape

    def flat(values: Array) -> Array:
        return values.reshape(values.shape[0], samples * values.shape[2], lanes) if values.ndim == 4 else values

    slope, even = _everywhere(templates, cells.norm.slope), cells.even.slope[:, None]
    summed = apart(partial(by_channel, templates), residual[None] * cells.value)  # (sample, channel, lane)
    added = residual[None] * cells.multiplier  # (sample, bin, lane)
    if summed.shape[1] == 1:
        linear, bowed = (apart(_over_bins, item, added) for item in (histosys.linear, histosys.even))
        shifted, bowed = linear + bowed * even, total(bowed, 1)
    else:
        # (histosys, sample, bin, lane)
        moved = histosys.linear[..., None] + histosys.even[..., None] * even[:, :, None]
        shifted = flat(by_channel(templates, added[None] * moved))
        _, bowed = over_cells(templates, added)
    halves = over_interpolating(kinds, shifted, flat(0.5 * summed[None] * slope))
    alpha = cells.theta[kinds.interpolating - kinds.normsys : kinds.interpolating]
    bend = _everywhere(templates, norm_curvature(templates.normsys, alpha, cells.norm.factor))
    curved = bowed * even_curvature(histosys.shape, cells.theta[: kinds.histosys])
    alone = total(flat(summed[None] * bend), 1)
    mixed = 2 * total(shifted[kinds.histosys - kinds.both :] * flat(slope)[: kinds.both], 1)
    alone = jnp.concatenate([alone[: kinds.both] + mixed, alone[kinds.both :]])
    return halves, flat(slope), over_interpolating(kinds, curved, alone)


def _over_bins(
    shifts: Float[Array, "histosys sample bin"], weights: Float[Array, "sample bin lane"]
) -> Float[Array, "histosys sample lane"]:
    """Σ_b of what histosys add, times weights."""
    histosys, samples, bins = shifts.shape
    if bins > TERMS or histosys * samples > PAIRS:
        return jnp.einsum("hsb,sbt->hst", shifts, weights)
    return sum_of(
        shift[..., None] * weight[None] for shift, weight in zip(each(shifts, 2), each(weights, 1), strict=True)
    )


def _off_diagonal(matrix: Float[Array, "row row lane"]) -> Float[Array, "row row lane"]:
    return jnp.where(jnp.eye(matrix.shape[0], dtype=bool)[..., None], 0.0, matrix)
