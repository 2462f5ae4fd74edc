"""Where a fit may have a lower minimum: the profile of the nll along each parameter that interpolates, approximately."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from toymill.histfactory.templates import SCANNED, Templates
from toymill.linalg import lower_inverse
from toymill.models.densities import constraint_gradient, constraint_information

_FLAT = 0.1  # curvature of a profile below which it may turn, in units of the constraint's
_BESIDE = 0.1  # a turn this close to the fit is looked for to both sides
_LOOSE = 1e6  # variance of a parameter without a constraint, in units of what the data say


class SecondMinima(NamedTuple):
    """The likeliest other minimum along each parameter.

    Attributes:
        gap: how far its nll lies above the fit's, about, (P, T); infinite where there is none.
        value: of the parameter there, (P, T).
        gain: how much the nll could fall at most, about, whatever a parameter of ``Templates.weak`` did to its bin, (P, T);
            infinite for the others, and for one that is not at its lower bound.
    """

    gap: Any
    value: Any
    gain: Any


class _Near(NamedTuple):
    """The nll near a fit, counts taken as normal and expectations as linear in the parameters; see ``second_minima``.

    Attributes:
        constrained: True for a parameter with a constraint, (P, T).
        information: its 1/σ², 1 for the others, (P, T).
        pull: θ - a of those that are not fixed, 0 for the others, (P, T).
        variance: 1/D, 0 for a parameter that is fixed, (P, T).
        residual: n - ν + Σ J (θ - a), (B, T).
        inverse: multiplies by K⁻¹ from the left, (B, N, T) to the same, over all parameters.
    """

    constrained: Any
    information: Any
    pull: Any
    variance: Any
    residual: Any
    inverse: Callable[[Any], Any]


def second_minima(arrays: Templates, slopes: Any, x: Any, data: Any, fixed: Any, bounds: Any) -> SecondMinima:
    """Other minima along the parameters in ``two_sided``, of fits that ended at x, (P, T), in the templates' order.

    With the other parameters adapted to first order and counts taken as normal, the nll along α is

        p(α) = ½ rᵀ K⁻¹ r + ½ (α - a)²/σ²,    r = n - ν(α) + Σ J (θ - a),    K = ν + Σ J Jᵀ/D,

    with sums over the other parameters that are not fixed (see ``systems.solve``). Where p is not clearly convex, the
    lowest value beyond there is taken.

    Without the bin b, whatever happened to it, the nll would be lower by about ½ (K⁻¹ r)_b² / (K⁻¹)_bb, with all
    parameters in K and r: the most that a weak parameter of that bin can gain.
    """
    near = _near(arrays, slopes, x, data, fixed)
    profile, start, misfit = _profiles(arrays, slopes, near, x)
    gap, value = _lower(arrays, near, x, bounds, profile, start)
    usable = (near.variance > 0)[arrays.two_sided] & jnp.isfinite(gap)
    at_bound = x[arrays.weak] <= bounds[arrays.weak, :1]
    gaps = _of_parameters(arrays, arrays.two_sided, jnp.where(usable, gap, jnp.inf), jnp.inf)
    values = _of_parameters(arrays, arrays.two_sided, value, 0.0)
    gains = _of_parameters(arrays, arrays.weak, jnp.where(at_bound, misfit, jnp.inf), jnp.inf)
    return SecondMinima(jnp.min(gaps, axis=0), jnp.sum(values, axis=0), jnp.min(gains, axis=0))


def _of_parameters(arrays: Templates, places: Any, values: Any, other: float) -> Any:
    """Values at some places of the templates' order, (K, T), as those of the model's parameters, (R, P, T)."""
    every = jnp.full((arrays.order.shape[0] + 1, values.shape[1]), other).at[places].set(values)
    return every[arrays.places]


def _near(arrays: Templates, slopes: Any, x: Any, data: Any, fixed: Any) -> _Near:
    jacobian, rates = slopes.jacobian, slopes.rates
    found = constraint_information(arrays.constraints, x)
    constrained = found > 0
    information = jnp.where(constrained, found, 1.0)
    slope = constraint_gradient(arrays.constraints, x, data)
    pull = jnp.where(constrained & ~fixed[:, None], slope / information, 0.0)
    seen = jnp.maximum(jnp.sum(jacobian**2 / rates[None], axis=1), 1e-300)
    variance = jnp.where(fixed[:, None], 0.0, jnp.where(constrained, 1 / information, _LOOSE / seen))
    residual = data[: rates.shape[0]] - rates + jnp.einsum("pbt,pt->bt", jacobian, pull)
    toys_first = _inverse(jacobian * jnp.sqrt(variance)[:, None], rates)

    def inverse(columns: Any) -> Any:
        return jnp.moveaxis(toys_first(jnp.moveaxis(columns, -1, 0)), 0, -1)

    return _Near(constrained, information, pull, variance, residual, inverse)


def _profiles(arrays: Templates, slopes: Any, near: _Near, x: Any) -> tuple[Any, Any, Any]:
    """p at the values ``SCANNED``, (K, G, T), and at the fit, (K, T); and the misfits of the weak parameters' bins, (V, T).

    How a cell's expectation goes with α, relative to that at α = 0, is the nominal one's, a sum of a few functions φ_j(α)
    (``Templates.response``). So is then r = r_fit - Σ_j part_j (φ_j(α) - φ_j at the fit), and p takes the products of
    its parts with each other.
    """
    chosen, rates = arrays.two_sided, slopes.rates
    here, pull, variance = x[chosen], near.pull[chosen], near.variance[chosen]
    bins, size, toys = len(rates), len(arrays.basis), x.shape[1]
    own = jnp.swapaxes(slopes.jacobian[chosen], 0, 1)  # (B, K, T)
    shares = jnp.swapaxes(slopes.cells.value / rates[None], 0, 1)  # (B, S, T)
    response = (arrays.response @ shares).reshape(bins, size, len(chosen), toys)
    at_fit = jnp.einsum("jg,kgt->jkt", arrays.basis, _interpolation(here))
    now = 1 + jnp.sum(response * at_fit[None], axis=1)
    part = response * jnp.where(now > 0, rates[:, None] / jnp.where(now > 0, now, 1.0), 0.0)[:, None]
    columns = [near.residual[:, None] - own * pull[None], *jnp.moveaxis(part, 1, 0), own]
    weak = arrays.own_bin[arrays.weak - len(arrays.alpha) - len(arrays.wide_present)]
    alone = jnp.broadcast_to((jnp.arange(bins)[:, None] == weak[None])[..., None], (bins, len(weak), toys))
    solved = near.inverse(jnp.concatenate([*columns, alone], axis=1))
    *weighed, weighed_alone = jnp.split(solved, len(chosen) * np.arange(1, len(columns) + 1), axis=1)

    # The parameter itself is left out of K by the Sherman-Morrison formula.
    spare = variance / jnp.maximum(1 - variance * jnp.sum(weighed[-1] * own, axis=0), 1e-12)
    along = [jnp.sum(column * weighed[-1], axis=0) for column in columns[:-1]]  # (K, T)
    products = [
        [jnp.sum(columns[i] * weighed[j], axis=0) + spare * along[i] * along[j] for j in range(i + 1)]
        for i in range(size + 1)
    ]
    weights = [jnp.ones((len(chosen), 1, toys)), *(at_fit[:, :, None] - jnp.asarray(arrays.basis)[:, None, :, None])]
    pairs = [(i, j) for i in range(size + 1) for j in range(i + 1)]
    twice = sum((1 if i == j else 2) * products[i][j][:, None] * weights[i] * weights[j] for i, j in pairs)
    centre = here - pull
    prior = jnp.where(near.constrained, near.information, 0.0)[chosen]
    profile = 0.5 * twice + 0.5 * prior[:, None] * (jnp.asarray(SCANNED)[None, :, None] - centre[:, None]) ** 2
    start = 0.5 * products[0][0] + 0.5 * prior * (here - centre) ** 2
    misfit = 0.5 * jnp.sum(weighed_alone * near.residual[:, None], axis=0) ** 2 / jnp.sum(weighed_alone * alone, axis=0)
    return profile, start, misfit


def _lower(arrays: Templates, near: _Near, x: Any, bounds: Any, profile: Any, start: Any) -> tuple[Any, Any]:
    """How far above the fit the lowest value of each profile beyond a turn lies, and where it is, (K, T) each."""
    chosen = arrays.two_sided
    here, scanned, step = x[chosen], jnp.asarray(SCANNED)[None, :, None], jnp.diff(SCANNED)
    slope = jnp.diff(profile, axis=1) / step[None, :, None]
    curvature = jnp.diff(slope, axis=1) / (0.5 * (step[1:] + step[:-1]))[None, :, None]
    turning = curvature < _FLAT * near.information[chosen][:, None]
    low, high = bounds[chosen, 0], bounds[chosen, 1]
    inside = (scanned >= low[:, None, None]) & (scanned <= high[:, None, None])
    gaps, places = [], []
    for side in (-1, 1):
        away = side * (scanned[:, 1:-1] - here[:, None]) > -_BESIDE
        first = jnp.min(jnp.where(turning & away, side * scanned[:, 1:-1], jnp.inf), axis=1)
        beyond = (side * scanned > first[:, None] + 1e-6) & inside
        best, place = _lowest(profile, beyond)
        gaps.append(best - start)
        places.append(place)
    lower = gaps[0] < gaps[1]
    return jnp.where(lower, gaps[0], gaps[1]), jnp.where(lower, places[0], places[1])


def _inverse(spread: Any, rates: Any) -> Callable[[Any], Any]:
    """Multiplies by K⁻¹ from the left, (T, B, N) to the same, with K = ν + Aᵀ A of A, (P, B, T), and ν, (B, T).

    As many equations as there are bins, or, by Woodbury's identity, as there are parameters, whichever is less.
    """
    size, bins, _ = spread.shape
    first = jnp.moveaxis(spread, -1, 0)  # (T, P, B)
    weight = 1 / rates.T[..., None]
    if bins <= size:
        kernel = jnp.swapaxes(first, 1, 2) @ first + jnp.eye(bins)[None] * rates.T[:, None]
        solved = _positive_inverse(kernel)
        return lambda rows: solved @ rows
    small = _positive_inverse(first @ (weight * jnp.swapaxes(first, 1, 2)) + jnp.eye(size)[None])
    return lambda rows: weight * (rows - jnp.swapaxes(first, 1, 2) @ (small @ (first @ (weight * rows))))


def _positive_inverse(matrix: Any) -> Any:
    """A⁻¹ of positive-definite A, (T, N, N)."""
    half = lower_inverse(matrix)
    return jnp.swapaxes(half, 1, 2) @ half


def _lowest(profile: Any, where: Any) -> tuple[Any, Any]:
    """The least of a profile over some scanned values, (K, G, T), and where, (K, T): of a parabola through it and next to it.

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


def _interpolation(alpha: Any) -> Any:
    """Weights of the scanned values in a linear interpolation to α, (K, T) to (K, G, T); beyond them, of the last."""
    inside = jnp.clip(alpha, SCANNED[0], SCANNED[-1])[:, None]
    low, high = SCANNED[None, :-1, None], SCANNED[None, 1:, None]
    share = jnp.clip((inside - low) / (high - low), 0.0, 1.0)
    one = jnp.ones_like(inside)
    return jnp.minimum(jnp.concatenate([one, share], axis=1), jnp.concatenate([1 - share, one], axis=1))
