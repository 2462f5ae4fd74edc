"""Where a fit may have a second minimum: the profile of the nll along each parameter that interpolates, approximately.

With the other parameters adapted to first order and counts taken as normal, the nll along α is

    p(α) = ½ rᵀ K⁻¹ r + ½ (α - a)²/σ²,    r = n - ν(α) + Σ J (θ - a),    K = ν + Σ J Jᵀ/D,

with sums over the other parameters that are not fixed (D: the constraints' 1/σ²). Where p is not clearly convex, the
lowest value beyond there is taken. docs/statistics.md tells what is done with it.

Parameters that move are those that are neither fixed nor held at a bound by their gradient. ``products`` finds those
second minima in which several parameters move together.

Toys are the last axis, ``theta`` is in the order by kind, see ``arrays``. Of a profile the axes are (candidate, scanned,
lane): the parameters of ``Scan.places`` at the values ``SCANNED``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from toymill.arrow import in_blocks
from toymill.histfactory.arrays import Templates
from toymill.histfactory.derivatives import Slopes
from toymill.histfactory.products import Near, ProductMinimum, foreseen_products, product_minimum
from toymill.histfactory.rates import own_bin
from toymill.histfactory.second_minima import SCANNED
from toymill.linalg import lower_inverse, sum_of
from toymill.models.densities import constraint_gradient, constraint_information

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

_FLAT = 0.1  # curvature of a profile below which it may turn, in units of the constraint's
_BESIDE = 0.1  # a turn this close to the fit counts on both sides
_UNCONSTRAINED = 1e6  # variance of a parameter without a constraint, in units of what the data say


class ProfiledMinima(NamedTuple):
    """The likeliest second minimum along each parameter.

    Attributes:
        gap: how far its nll lies above the fit's, about; infinite where there is none.
        value: of the parameter there.
        products: the same as the first for the product of each loose factor, at least and roughly; see ``products``.
        undone: True for a factor whose product the fit has: it may have a second minimum at its lower bound.
    """

    gap: Float[Array, "parameter lane"]
    value: Float[Array, "parameter lane"]
    products: Float[Array, "loose lane"]
    undone: Bool[Array, "parameter lane"]


class _Profiles(NamedTuple):
    """p at the values ``SCANNED`` and at the fit."""

    scanned: Float[Array, "candidate scanned lane"]
    at_fit: Float[Array, "candidate lane"]


def profiled_minima(
    templates: Templates[Array],
    slopes: Slopes,
    theta: Float[Array, "place lane"],
    data: Float[Array, "datum lane"],
    fixed: Bool[Array, " place"],
    bounds: Float[Array, "place 2"],
) -> ProfiledMinima:
    """Second minima along the parameters of ``Scan.places``, of fits that ended at ``theta``; see the module."""
    scan = templates.scan
    near = _near(templates, slopes, theta, data, fixed[:, None] | _held(slopes, theta, bounds))
    profiles = _profiles(templates, slopes, near, theta)
    gap, value = _lower(templates, near, theta, bounds, profiles)
    usable = (near.variance > 0)[scan.places] & jnp.isfinite(gap)
    gaps = _of_parameters(templates, scan.places, jnp.where(usable, gap, jnp.inf), jnp.inf)
    values = _of_parameters(templates, scan.places, value, 0.0)
    freed = _near(templates, slopes, theta, data, _held_in_products(templates, slopes, theta, fixed, bounds))
    products = foreseen_products(templates, slopes, freed, theta, data, bounds)
    undone = _of_parameters(templates, templates.scan.loose.places, products.undone, False)
    return ProfiledMinima(jnp.min(gaps, axis=0), jnp.sum(values, axis=0), products.gap, jnp.any(undone, axis=0))


def profiled_product(
    templates: Templates[Array],
    slopes: Slopes,
    theta: Float[Array, "place lane"],
    data: Float[Array, "datum lane"],
    fixed: Bool[Array, " place"],
    bounds: Float[Array, "place 2"],
    number: Int[Array, ""],
) -> ProductMinimum:
    """The likeliest second minimum of the product of one loose factor."""
    near = _near(templates, slopes, theta, data, _held_in_products(templates, slopes, theta, fixed, bounds))
    return product_minimum(templates, slopes, near, theta, data, bounds, number)


def _held(slopes: Slopes, theta: Array, bounds: Array) -> Bool[Array, "place lane"]:
    """Parameters that their gradient holds at a bound."""
    return (theta <= bounds[:, :1]) & (slopes.gradient > 0) | (theta >= bounds[:, 1:]) & (slopes.gradient < 0)


def _held_in_products(
    templates: Templates[Array], slopes: Slopes, theta: Array, fixed: Array, bounds: Array
) -> Bool[Array, "place lane"]:
    """Parameters that do not move with a product: constrained ones at a bound may leave it.

    Without a constraint one at its bound would take up any misfit beyond it, and leave nothing to the product.
    """
    constrained = constraint_information(templates.constraints, theta) > 0
    return fixed[:, None] | (_held(slopes, theta, bounds) & ~constrained)


def _of_parameters(
    templates: Templates[Array], places: Int[Array, " some"], values: Float[Array, "some lane"], other: float
) -> Float[Array, "row parameter lane"]:
    """Values at some places as those of the model's parameters, of one of two kinds in two rows; else another value."""
    order = templates.order
    every = jnp.full((order.parameters.shape[0] + 1, values.shape[1]), other).at[places].set(values)
    return every[order.places]


def _near(templates: Templates[Array], slopes: Slopes, theta: Array, data: Array, held: Array) -> Near:
    jacobian, rates = slopes.jacobian, slopes.rates
    found = constraint_information(templates.constraints, theta)
    constrained = found > 0
    information = jnp.where(constrained, found, 1.0)
    slope, bins = constraint_gradient(templates.constraints, theta, data), own_bin(templates)
    pull = jnp.where(constrained & ~held, slope / information, 0.0)
    seen = jnp.concatenate([jnp.sum(jacobian**2 / rates[None], axis=1), slopes.own**2 / rates[bins]])
    seen = jnp.maximum(seen, 1e-300)
    variance = jnp.where(held, 0.0, jnp.where(constrained, 1 / information, _UNCONSTRAINED / seen))
    several, of_bins = len(jacobian), templates.multipliers.blocks[:, : len(rates)]
    own_pull, own_variance = (
        jnp.sum(in_blocks(of_bins, values, 0.0), axis=0)
        for values in (slopes.own * pull[several:], slopes.own**2 * variance[several:])
    )
    residual = data[: rates.shape[0]] - rates + jnp.einsum("pbt,pt->bt", jacobian, pull[:several]) + own_pull
    toys_first = covariance_solver(jacobian * jnp.sqrt(variance[:several])[:, None], rates + own_variance)

    def weigh(columns: Array) -> Array:
        return jnp.moveaxis(toys_first(jnp.moveaxis(columns, -1, 0)), 0, -1)

    return Near(constrained, information, pull, variance, residual, weigh)


def _profiles(templates: Templates[Array], slopes: Slopes, near: Near, theta: Array) -> _Profiles:
    """How a cell's expectation goes with α, relative to that at α = 0, is the nominal one's, a sum of a few functions φ_j.

    (``Scan.response`` and ``Scan.basis``.) So is then r = r_fit - Σ_j part_j (φ_j(α) - φ_j at the fit), and p takes the
    products of its parts with each other.
    """
    scan, rates = templates.scan, slopes.rates
    chosen = scan.places
    here, pull, variance = theta[chosen], near.pull[chosen], near.variance[chosen]
    bins, size, lanes = len(rates), len(scan.basis), theta.shape[1]
    slope = jnp.swapaxes(slopes.jacobian[chosen], 0, 1)  # (bin, candidate, lane)
    shares = jnp.swapaxes(slopes.cells.value / rates[None], 0, 1)  # (bin, sample, lane)
    response = (scan.response @ shares).reshape(bins, size, len(chosen), lanes)
    at_fit = jnp.einsum("jg,kgt->jkt", scan.basis, _interpolation(here))
    now = 1 + jnp.sum(response * at_fit[None], axis=1)
    part = response * jnp.where(now > 0, rates[:, None] / jnp.where(now > 0, now, 1.0), 0.0)[:, None]
    columns = [near.residual[:, None] - slope * pull[None], *jnp.moveaxis(part, 1, 0), slope]
    solved = near.weigh(jnp.concatenate(columns, axis=1))
    weighed = jnp.split(solved, len(chosen) * np.arange(1, len(columns)), axis=1)

    # The parameter itself is left out of K by the Sherman-Morrison formula.
    spare = variance / jnp.maximum(1 - variance * jnp.sum(weighed[-1] * slope, axis=0), 1e-12)
    along = [jnp.sum(column * weighed[-1], axis=0) for column in columns[:-1]]  # (candidate, lane)
    products = [
        [jnp.sum(columns[i] * weighed[j], axis=0) + spare * along[i] * along[j] for j in range(i + 1)]
        for i in range(size + 1)
    ]
    weights = [jnp.ones((len(chosen), 1, lanes)), *(at_fit[:, :, None] - jnp.asarray(scan.basis)[:, None, :, None])]
    pairs = [(i, j) for i in range(size + 1) for j in range(i + 1)]
    twice = sum_of((1 if i == j else 2) * products[i][j][:, None] * weights[i] * weights[j] for i, j in pairs)
    centre = here - pull
    prior = jnp.where(near.constrained, near.information, 0.0)[chosen]
    scanned = 0.5 * twice + 0.5 * prior[:, None] * (jnp.asarray(SCANNED)[None, :, None] - centre[:, None]) ** 2
    fitted = 0.5 * products[0][0] + 0.5 * prior * (here - centre) ** 2
    return _Profiles(scanned, fitted)


def _lower(
    templates: Templates[Array], near: Near, theta: Array, bounds: Array, profiles: _Profiles
) -> tuple[Float[Array, "candidate lane"], Float[Array, "candidate lane"]]:
    """How far above the fit the lowest value of each profile beyond a turn lies, and where it is."""
    chosen, profile = templates.scan.places, profiles.scanned
    here, scanned, step = theta[chosen], jnp.asarray(SCANNED)[None, :, None], jnp.diff(SCANNED)
    slope = jnp.diff(profile, axis=1) / step[None, :, None]
    curvature = jnp.diff(slope, axis=1) / (0.5 * (step[1:] + step[:-1]))[None, :, None]
    turning = curvature < _FLAT * near.information[chosen][:, None]
    low, high = bounds[chosen, 0], bounds[chosen, 1]
    inside = (scanned >= low[:, None, None]) & (scanned <= high[:, None, None])
    gaps, values = [], []
    for side in (-1, 1):
        away = side * (scanned[:, 1:-1] - here[:, None]) > -_BESIDE
        first = jnp.min(jnp.where(turning & away, side * scanned[:, 1:-1], jnp.inf), axis=1)
        beyond = (side * scanned > first[:, None] + 1e-6) & inside
        lowest, value = _lowest(profile, beyond)
        gaps.append(lowest - profiles.at_fit)
        values.append(value)
    lower = gaps[0] < gaps[1]
    return jnp.where(lower, gaps[0], gaps[1]), jnp.where(lower, values[0], values[1])


def covariance_solver(
    spread: Float[Array, "place bin lane"], rates: Float[Array, "bin lane"]
) -> Callable[[Float[Array, "lane bin column"]], Float[Array, "lane bin column"]]:
    """Multiplies by K⁻¹ from the left, with K = ν + Aᵀ A of A, ``spread``, and ν.

    As many equations as there are bins, or, by Woodbury's identity, as there are parameters, whichever is less.
    """
    size, bins, _ = spread.shape
    first = jnp.moveaxis(spread, -1, 0)  # (lane, place, bin)
    weight = 1 / rates.T[..., None]
    if bins <= size:
        covariance = jnp.swapaxes(first, 1, 2) @ first + jnp.eye(bins)[None] * rates.T[:, None]
        solved = _positive_inverse(covariance)
        return lambda rows: solved @ rows
    small = _positive_inverse(first @ (weight * jnp.swapaxes(first, 1, 2)) + jnp.eye(size)[None])
    return lambda rows: weight * (rows - jnp.swapaxes(first, 1, 2) @ (small @ (first @ (weight * rows))))


def _positive_inverse(matrix: Float[Array, "lane row row"]) -> Float[Array, "lane row row"]:
    """A⁻¹ of positive-definite A."""
    half = lower_inverse(matrix)
    return jnp.swapaxes(half, 1, 2) @ half


def _lowest(
    profile: Float[Array, "candidate scanned lane"], where: Bool[Array, "candidate scanned lane"]
) -> tuple[Float[Array, "candidate lane"], Float[Array, "candidate lane"]]:
    """The least of a profile over some scanned values, and where: of a parabola through it and next to it.

    A minimum may be narrower than the scan's steps.
    """
    scanned = jnp.asarray(SCANNED)
    lowest = jnp.argmin(jnp.where(where, profile, jnp.inf), axis=1)
    inner = jnp.clip(lowest, 1, len(SCANNED) - 2)
    low, mid, high = (jnp.take_along_axis(profile, (inner + k)[:, None], axis=1)[:, 0] for k in (-1, 0, 1))
    before, after = scanned[inner] - scanned[inner - 1], scanned[inner + 1] - scanned[inner]
    left, right = (mid - low) / before, (high - mid) / after
    bend = (right - left) / (before + after)
    slope = (left * after + right * before) / (before + after)
    step = -0.5 * slope / jnp.where(bend > 0, bend, 1.0)
    found = (bend > 0) & (lowest == inner) & (step > -before) & (step < after)
    value = jnp.take_along_axis(profile, lowest[:, None], axis=1)[:, 0]
    least = jnp.where(found, mid + 0.5 * slope * step, value)
    any_ = jnp.any(where, axis=1)
    return jnp.where(any_, least, jnp.inf), jnp.where(found, scanned[inner] + step, scanned[lowest])


def _interpolation(alpha: Float[Array, "candidate lane"]) -> Float[Array, "candidate scanned lane"]:
    """Weights of the scanned values in a linear interpolation to α; beyond them, of the last."""
    inside = jnp.clip(alpha, SCANNED[0], SCANNED[-1])[:, None]
    low, high = SCANNED[None, :-1, None], SCANNED[None, 1:, None]
    share = jnp.clip((inside - low) / (high - low), 0.0, 1.0)
    one = jnp.ones_like(inside)
    return jnp.minimum(jnp.concatenate([one, share], axis=1), jnp.concatenate([1 - share, one], axis=1))
