"""First derivatives of the HistFactory likelihood, and the steps of Fisher scoring, for many toys at once.

Derivatives are assembled from what each kind of parameter does, not pushed through the whole model. What a histosys adds
times the factors of its cell is its derivative; a normsys' is ν f'/f; a factor's is ν over its value. Toys are the last
axis of every array, ``theta`` is in the order by kind, see ``arrays``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
from jax import Array

from toymill.histfactory.arrays import Multipliers, Templates
from toymill.histfactory.fisher import Information, scoring_matrix
from toymill.histfactory.rates import (
    Cells,
    and_one_more,
    beside_zero,
    by_channel,
    cells_at,
    few,
    kinds_of,
    main_nll,
    multiplying,
    over_interpolating,
    own_bin,
    terms_of,
)
from toymill.linalg import TERMS, apart, each, sum_of, taken, total, weighted_sum
from toymill.models.densities import (
    FLOOR,
    constraint_gradient,
    constraint_information,
    constraint_nll,
    held_by_floor,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float

    from toymill.models.base import Solve


class Value(NamedTuple):
    """The nll and what its derivatives start from.

    Attributes:
        cells: the expectation of every cell.
        nll: with the constraints.
        rates: expected main data ν_b, not below the floor, so that it divides.
        held: True where the floor gives the nll of a bin.
        residual: 1 - n_b/ν_b, 0 where the floor holds a bin.
    """

    cells: Cells
    nll: Float[Array, " lane"]
    rates: Float[Array, "bin lane"]
    held: Bool[Array, "bin lane"]
    residual: Float[Array, "bin lane"]


class Slopes(NamedTuple):
    """First derivatives with respect to ``theta``.

    Attributes:
        cells: the expectation of every cell.
        nll: with the constraints.
        rates: expected main data ν_b, not below the floor.
        residual: 1 - n_b/ν_b, 0 where the floor holds a bin.
        jacobian: ∂ν_b/∂θ_p of the parameters that may change several bins; 0 where the floor holds.
        own: ∂ν_b/∂θ_p of the others in their bin; 0 where the floor holds, and for those that do nothing.
        gradient: of the nll.
    """

    cells: Cells
    nll: Float[Array, " lane"]
    rates: Float[Array, "bin lane"]
    residual: Float[Array, "bin lane"]
    jacobian: Float[Array, "several bin lane"]
    own: Float[Array, "own lane"]
    gradient: Float[Array, "place lane"]


def _value(templates: Templates[Array], theta: Array, data: Array) -> Value:
    cells = apart(lambda theta: cells_at(templates, beside_zero(templates, theta)), theta)
    rates = total(cells.value)
    counts = data[: rates.shape[0]]
    held = held_by_floor(rates, counts)
    safe = jnp.maximum(rates, FLOOR)
    nll = main_nll(rates, data) + constraint_nll(templates.constraints, theta, data)
    return Value(cells, nll, safe, held, jnp.where(held, 0.0, 1 - counts / safe))


def slopes_at(
    templates: Templates[Array], theta: Float[Array, "place lane"], data: Float[Array, "datum lane"]
) -> Slopes:
    """The nll, the Jacobian of the rates, and the gradient."""
    cells, nll, safe, held, residual = apart(_value, templates, theta, data)
    jacobian, own = apart(_jacobian, templates, cells, held)
    main = jnp.concatenate([apart(weighted_sum, jacobian, residual), own * taken(residual, own_bin(templates))])
    gradient = main + constraint_gradient(templates.constraints, theta, data)
    return Slopes(cells, nll, safe, residual, jacobian, own, gradient)


def _jacobian(
    templates: Templates[Array], cells: Cells, held: Bool[Array, "bin lane"]
) -> tuple[Float[Array, "several bin lane"], Float[Array, "own lane"]]:
    kinds, factors = kinds_of(templates), templates.multipliers
    samples, _, lanes = cells.value.shape
    interpolating = apart(_by_interpolation, templates, cells)
    multi_theta, single_theta = multiplying(kinds, cells.theta)
    multi = sum_of(factors.multi_present[:, s, :, None] * cells.value[None, s] for s in range(samples))
    multi = multi / multi_theta[:, None]
    in_bin = jnp.where(taken(held, factors.single_bin), 0.0, _in_own_bins(factors, cells.value) / single_theta)
    idle = jnp.zeros((cells.theta.shape[0] - kinds.effective, lanes))
    jacobian = jnp.concatenate([interpolating, multi])
    return jnp.where(held[None], 0.0, jacobian), jnp.concatenate([in_bin, idle])


def _in_own_bins(factors: Multipliers[Array], values: Float[Array, "sample bin lane"]) -> Float[Array, "single lane"]:
    """Sums over the samples that each single-bin factor multiplies, in its bin."""
    return sum_of(
        present[:, None] * taken(value, factors.single_bin)
        for present, value in zip(each(factors.single_present, 1), each(values), strict=True)
    )


def _by_interpolation(templates: Templates[Array], cells: Cells) -> Float[Array, "interpolating bin lane"]:
    """∂ν_b/∂α."""
    histosys, normsys = templates.histosys.jacobian, templates.normsys.jacobian
    lanes = cells.value.shape[-1]

    def sums(cells: Cells) -> tuple[list[Array], list[Array]]:
        value, rate = cells.value.reshape(-1, lanes), and_one_more(cells.norm.slope, 0.0)
        multiplier, slope = cells.multiplier.reshape(-1, lanes), cells.even.slope
        by_histosys = [
            sum_of(
                taken(multiplier, entry) * (linear[:, None] + even[:, None] * taken(slope, group.row))
                for entry, linear, even in terms_of(*group[:3])
            )
            for group in histosys.groups
        ]
        by_normsys = [
            sum_of(taken(rate, factor) * taken(value, cell) for factor, cell in terms_of(*group))
            for group in normsys.groups
        ]
        return by_histosys, by_normsys

    none = jnp.zeros((1, lanes))
    found = apart(sums, cells)
    hist, norm = apart(lambda found: [jnp.concatenate([*some, none]) for some in found], found)
    return over_interpolating(kinds_of(templates), taken(hist, histosys.position), taken(norm, normsys.position))


def gradient_at(
    templates: Templates[Array], theta: Float[Array, "place lane"], data: Float[Array, "datum lane"]
) -> tuple[Float[Array, " lane"], Float[Array, "place lane"]]:
    """The nll and its gradient, without the Jacobian; see ``Fast.gradient``."""
    kinds, factors = kinds_of(templates), templates.multipliers
    cells, nll, _, _, residual = apart(_value, templates, theta, data)

    def main(cells: Cells, residual: Array) -> Array:
        parts = (cells.multiplier, cells.value)
        added, value = apart(lambda *parts: [residual[None] * part for part in parts], *parts)
        hist = _histosys_gradient(templates, cells.even.slope, added)
        norm = _normsys_gradient(templates, cells.norm.slope, by_channel(templates, value))
        multi_theta, single_theta = multiplying(kinds, cells.theta)
        multi = jnp.tensordot(factors.multi_present, value, 2) / multi_theta
        single = _in_own_bins(factors, value) / single_theta
        idle = jnp.zeros((len(theta) - kinds.effective, theta.shape[1]))
        return jnp.concatenate([over_interpolating(kinds, hist, norm), multi, single, idle])

    gradient = apart(main, cells, residual) + constraint_gradient(templates.constraints, theta, data)
    return nll, gradient


def _histosys_gradient(
    templates: Templates[Array], slope: Float[Array, "histosys lane"], weights: Float[Array, "sample bin lane"]
) -> Float[Array, "histosys lane"]:
    """Sums over cells of the derivatives of what each histosys adds, g' given, times weights."""
    histosys = templates.histosys.gradient
    if not few(histosys.groups):
        linear, even = over_cells(templates, weights)
        return linear + even * slope
    lanes = weights.shape[-1]

    def sums(slope: Array, cells: Array) -> list[Array]:
        return [
            sum_of(
                taken(cells, entry) * (linear[:, None] + even[:, None] * taken(slope, group.row))
                for entry, linear, even in terms_of(*group[:3])
            )
            for group in histosys.groups
        ]

    found = apart(sums, slope, weights.reshape(-1, lanes))
    joined = apart(lambda found: jnp.concatenate([*found, jnp.zeros((1, lanes))]), found)
    return taken(joined, histosys.position)


def _normsys_gradient(
    templates: Templates[Array], slope: Float[Array, "factor lane"], weights: Float[Array, "sample channel lane"]
) -> Float[Array, "normsys lane"]:
    """Sums over samples and channels of f'/f of each parameter's factors, times weights."""
    normsys = templates.normsys.gradient
    lanes = weights.shape[-1]

    def sums(slope: Array, cells: Array) -> list[Array]:
        rate = and_one_more(slope, 0.0)
        return [
            sum_of(taken(rate, factor) * taken(cells, cell) for factor, cell in terms_of(*group))
            if group.factor.shape[1] <= TERMS
            else jnp.sum(taken(rate, group.factor) * taken(cells, group.cell), axis=1)
            for group in normsys.groups
        ]

    found = [*apart(sums, slope, weights.reshape(-1, lanes)), jnp.zeros((1, lanes))]
    return taken(jnp.concatenate(found), normsys.position)


def over_cells(
    templates: Templates[Array], weights: Float[Array, "sample bin ..."]
) -> tuple[Float[Array, "histosys ..."], Float[Array, "histosys ..."]]:
    """Sums over cells of what histosys add, times weights: the linear and the even part."""
    histosys = templates.histosys
    linear, even = (jnp.tensordot(item, weights, 2) for item in (histosys.linear, histosys.even))
    return linear, even


def information_of(templates: Templates[Array], slopes: Slopes, diagonal: Float[Array, "place lane"]) -> Information:
    """The Fisher information, from first derivatives and that of the constraints."""
    return Information(
        jacobian=slopes.jacobian,
        own=slopes.own,
        rates=slopes.rates,
        diagonal=diagonal,
        blocks=templates.multipliers.blocks,
        own_bin=own_bin(templates),
        unconstrained=templates.order.unconstrained,
    )


def scoring_at(
    templates: Templates[Array], theta: Float[Array, "place lane"], data: Float[Array, "datum lane"]
) -> tuple[Float[Array, " lane"], Float[Array, "place lane"], Callable[[Bool[Array, "place lane"]], Solve]]:
    """nll, gradient, and the Fisher information H = Jᵀ W J + D, with W = 1/ν and D the constraints'; see ``Fast``."""
    slopes = apart(slopes_at, templates, theta, data)
    diagonal = constraint_information(templates.constraints, slopes.cells.theta)

    def matrix(free: Bool[Array, "place lane"]) -> Solve:
        return scoring_matrix(information_of(templates, slopes, diagonal), free)

    return slopes.nll, slopes.gradient, matrix
