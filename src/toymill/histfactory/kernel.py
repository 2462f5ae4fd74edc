"""The HistFactory likelihood and its derivatives (CERN-OPEN-2012-016), for many toys at once.

Toys are the last axis of every array: sums over samples and bins are then contiguous operations on toys. Derivatives
are assembled from what each kind of parameter does, not pushed through the whole model, and parameters stand in the
order of their kinds (``Templates.order``): what a kind does is then a slice. Sums over samples and bins are written out
term by term: XLA makes one loop over toys of them and keeps the sum in a register.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from toymill.histfactory.profiles import second_minima
from toymill.histfactory.templates import Templates
from toymill.linalg import TERMS, apart, outer, scoring_matrix, total, weighted_sum
from toymill.models.base import Fast, Kernel
from toymill.models.densities import (
    FLOOR,
    at_floor,
    bins_nll,
    constraint_curvature,
    constraint_gradient,
    constraint_information,
    constraint_nll,
    constraint_offset,
    expected_data,
    held_by_floor,
    poisson_offset,
)


def _inner(arrays: Templates, x: Any) -> Any:
    """Parameters in the templates' order."""
    return x[arrays.order]


def _outer(arrays: Templates, values: Any) -> Any:
    """Derivatives with respect to parameters in the templates' order, (P, …), in the model's."""
    padded = jnp.concatenate([values, jnp.zeros_like(values[:1])])
    return sum(padded[places] for places in arrays.places)


class _Kinds(NamedTuple):
    """How many parameters there are of each kind; see ``Templates``."""

    hist: int
    norm: int
    alpha: int
    wide: int
    own: int

    @property
    def both(self) -> int:
        return self.hist + self.norm - self.alpha


def _kinds(arrays: Templates) -> _Kinds:
    return _Kinds(
        arrays.hist_linear.shape[0],
        arrays.norm_log_hi.shape[0],
        arrays.alpha.shape[0],
        arrays.wide_present.shape[0],
        arrays.own_bin.shape[0],
    )


def _alphas(kinds: _Kinds, hist: Any, norm: Any) -> Any:
    """What histosys do, (H, …), and what normsys do, (N, …), as what the parameters that interpolate do, (A, …)."""
    only = kinds.hist - kinds.both
    return jnp.concatenate([hist[:only], hist[only:] + norm[: kinds.both], norm[kinds.both :]])


class _Even(NamedTuple):
    """g(α) of the histosys interpolation and g', each (H, T); see ``Templates.hist_shape``."""

    value: Any
    slope: Any


def _even(shape: Any, alpha: Any) -> _Even:
    edge, two, four, six, slope, offset = shape[:, :, None]
    square = alpha * alpha
    within = jnp.abs(alpha) < edge
    value = square * (two + square * (four + square * six))
    first = alpha * (2 * two + square * (4 * four + square * 6 * six))
    return _Even(
        jnp.where(within, value, slope * jnp.abs(alpha) + offset), jnp.where(within, first, slope * jnp.sign(alpha))
    )


def _even_bend(shape: Any, alpha: Any) -> Any:
    """g''(α), (H, T)."""
    edge, two, four, six, _, _ = shape[:, :, None]
    square = alpha * alpha
    second = 2 * two + square * (12 * four + square * 30 * six)
    return jnp.where(jnp.abs(alpha) < edge, second, 0.0)


class _Norm(NamedTuple):
    """Normsys factors f(α): those that there are, (F, T), f'/f of these, (F, T), and the products, (S, C, T)."""

    factor: Any
    slope: Any
    product: Any


def _norm(arrays: Templates, alpha: Any) -> _Norm:
    def factors(alpha: Any) -> tuple[Any, Any]:
        at = alpha[_norm_rows(arrays)]
        value, first = 0.0, 0.0
        for coefficient in _norm_constants(arrays, arrays.norm_polynomial)[::-1]:
            first = first * at + value
            value = value * at + coefficient
        first = first * at + value
        value = 1 + value * at
        rate, inside = _outside(arrays, at)
        return jnp.where(inside, value, jnp.exp(rate * at)), jnp.where(inside, first / value, rate)

    factor, slope = apart(_always(arrays), factors, alpha)

    def products(factor: Any) -> Any:
        every = _and(factor, 1.0)
        found = [
            math.prod(every[which[:, k]] for k in range(which.shape[1]))
            if which.shape[1] <= TERMS
            else jnp.prod(every[which], axis=1)
            for which in arrays.norm_products
        ]
        return jnp.concatenate([*found, jnp.ones((1, factor.shape[1]))])

    product = apart(_always(arrays), products, factor)
    return _Norm(factor, slope, product[arrays.norm_product])


def _and(values: Any, last: float) -> Any:
    """Values (F, T) and a constant after them, (F + 1, T)."""
    return jnp.concatenate([values, jnp.full_like(values, last, shape=(1, values.shape[1]))])


def _norm_bend(arrays: Templates, alpha: Any, factor: Any) -> Any:
    """f''/f of the normsys factors f, (F, T)."""
    at = alpha[_norm_rows(arrays)]
    polynomial = _norm_constants(arrays, arrays.norm_polynomial)
    second = 0.0
    for power in range(6, 1, -1):
        second = second * at + power * (power - 1) * polynomial[power - 1]
    rate, inside = _outside(arrays, at)
    return jnp.where(inside, second / factor, rate * rate)


def _norm_rows(arrays: Templates) -> Any:
    """The parameter of each factor that there is, of those with a normsys, (F,)."""
    return arrays.norm_cell // (arrays.norm_log_hi.shape[1] * arrays.norm_log_hi.shape[2])


def _norm_constants(arrays: Templates, values: Any) -> Any:
    """Constants of the factors that there are, (…, N, S, C) to (…, F, 1)."""
    flat = values.reshape(*values.shape[:-3], -1)
    return flat[..., arrays.norm_cell, None]


def _everywhere(arrays: Templates, values: Any) -> Any:
    """Values of the factors that there are, (F, T), as those of all, 0 for the others, (N, S, C, T)."""
    return _and(values, 0.0)[arrays.norm_place]


def _outside(arrays: Templates, at: Any) -> tuple[Any, Any]:
    """The rate at which a normsys factor is exponential outside its polynomial, and whether α is inside, (F, T)."""
    high, low = (_norm_constants(arrays, values) for values in (arrays.norm_log_hi, arrays.norm_log_lo))
    rate = jnp.where(at > 0, high, -low)
    return rate, jnp.abs(at) < arrays.norm_edge[_norm_rows(arrays)][:, None]


class _Cells(NamedTuple):
    """The expectation of every cell, a sample in a bin: ν = Y · M, an additive part times factors.

    Attributes:
        x: parameters in the templates' order, with those at 0 next to it, (P, T); see ``_beside_zero``.
        even: g of the histosys interpolation.
        norm: normsys factors.
        yields: Y, (S, B, T).
        multiplier: M, (S, B, T).
        value: ν, (S, B, T).
    """

    x: Any
    even: _Even
    norm: _Norm
    yields: Any
    multiplier: Any
    value: Any


def _cells(arrays: Templates, x: Any) -> _Cells:
    kinds = _kinds(arrays)
    hist = x[: kinds.hist]
    even, norm = _even(arrays.hist_shape, hist), _norm(arrays, x[kinds.alpha - kinds.norm : kinds.alpha])
    yields = arrays.nominal[..., None] + _added(arrays, hist, even.value)
    multiplier = _by_bin(arrays, norm.product) * _factors(arrays, x)
    return _Cells(x, even, norm, yields, multiplier, yields * multiplier)


def _added(arrays: Templates, hist: Any, bowed: Any) -> Any:
    """What histosys add to the yields, α and g(α) given, (H, T) each: (S, B, T)."""
    if not _few(arrays.hist_yields):
        linear, even = (
            jnp.tensordot(item, value, ((0,), (0,)))
            for item, value in ((arrays.hist_linear, hist), (arrays.hist_even, bowed))
        )
        return linear + even

    def sums(hist: Any, bowed: Any) -> list[Any]:
        return [
            sum(
                linear[:, k, None] * hist[parameter[:, k]] + even[:, k, None] * bowed[parameter[:, k]]
                for k in range(parameter.shape[1])
            )
            for parameter, linear, even, _ in arrays.hist_yields
        ]

    found = apart(_always(arrays), sums, hist, bowed)
    return jnp.concatenate([*found, jnp.zeros((1, hist.shape[1]))])[arrays.hist_yield_sum]


def _few(groups: Any) -> bool:
    """Whether sums have so few terms that they are written out."""
    return all(group[0].shape[1] <= TERMS for group in groups)


def _factors(arrays: Templates, x: Any) -> Any:
    """Product of the parameters that multiply each yield, (S, B, T)."""
    extended = jnp.concatenate([x, jnp.ones_like(x[:1])])
    product = jnp.ones((1, 1, x.shape[1]))
    for which in arrays.factor:
        product = product * extended[which]
    return product


def _by_bin(arrays: Templates, values: Any) -> Any:
    """(…, C, T) to (…, B, T), or to (…, 1, T) if there is one channel."""
    return values if values.shape[-2] == 1 else values[..., arrays.bin_channel, :]


def _beside_zero(arrays: Templates, x: Any) -> Any:
    """Parameters with those at 0 next to it: products of derivatives are then formed without a division by zero.

    They keep their full relative precision. At a kink 0 belongs to the lower side.
    """
    kinds = _kinds(arrays)
    kinked = _alphas(kinds, arrays.hist_shape[0] == 0, arrays.norm_edge == 0)
    beside = jnp.concatenate([jnp.where(kinked, -1e-60, 1e-60), jnp.full(x.shape[0] - kinds.alpha, 1e-60)])
    return jnp.where(x == 0, beside[:, None], x)


def _rates(arrays: Templates, x: Any) -> Any:
    """Expected main data, (P, T) in the templates' order to (B, T), before the floor."""
    return total(_cells(arrays, x).value)


@jax.jit
def expected(arrays: Templates, x: Any) -> Any:
    """Expected main and auxiliary data, (P, T) to (D, T)."""
    x = _inner(arrays, x)
    return expected_data(arrays.constraints, _rates(arrays, x), x)


def _main_nll(rates: Any, data: Any) -> Any:
    return bins_nll(rates, data[: rates.shape[0]])


def _nll(arrays: Templates, x: Any, data: Any) -> Any:
    x = _inner(arrays, x)
    return _main_nll(_rates(arrays, x), data) + constraint_nll(arrays.constraints, x, data)


def _main_offset(arrays: Templates, data: Any) -> Any:
    return jnp.sum(poisson_offset(data[: arrays.nominal.shape[1]]), axis=0)


def _offset(arrays: Templates, data: Any) -> Any:
    return _main_offset(arrays, data) + constraint_offset(arrays.constraints, data)


@jax.jit
def main_logpdf(arrays: Templates, x: Any, data: Any) -> Any:
    """Logarithm of the probability of the main data, (T,)."""
    return -(_main_nll(_rates(arrays, _inner(arrays, x)), data) + _main_offset(arrays, data))


@jax.jit
def constraint_logpdf(arrays: Templates, x: Any, data: Any) -> Any:
    """Logarithm of the probability density of the auxiliary data, (T,)."""
    constraints = arrays.constraints
    return -(constraint_nll(constraints, _inner(arrays, x), data) + constraint_offset(constraints, data))


class _Slopes(NamedTuple):
    """First derivatives, in the templates' order.

    Attributes:
        cells: the expectation of every cell.
        nll: with the constraints, (T,).
        rates: expected main data ν_b, (B, T), not below the floor, so that it divides.
        residual: 1 - n_b/ν_b, 0 where the floor holds a bin, (B, T).
        jacobian: ∂ν_b/∂θ_p, (P, B, T); 0 where the floor holds.
        gradient: of the nll, (P, T).
    """

    cells: _Cells
    nll: Any
    rates: Any
    residual: Any
    jacobian: Any
    gradient: Any


def _always(arrays: Templates) -> Any:
    """True, which the compiler does not know; see ``systems.apart``."""
    return arrays.order[0] >= 0


def _expected(arrays: Templates, x: Any, data: Any) -> tuple[_Cells, Any, Any, Any, Any]:
    """Cells, nll, rates not below the floor, where the floor holds, and residuals: see ``_Slopes``."""
    cells = apart(_always(arrays), lambda x: _cells(arrays, _beside_zero(arrays, x)), x)
    rates = total(cells.value)
    counts = data[: rates.shape[0]]
    held = held_by_floor(rates, counts)
    safe = jnp.maximum(rates, FLOOR)
    nll = _main_nll(rates, data) + constraint_nll(arrays.constraints, x, data)
    return cells, nll, safe, held, jnp.where(held, 0.0, 1 - counts / safe)


def _slopes(arrays: Templates, x: Any, data: Any) -> _Slopes:
    cells, nll, safe, held, residual = _expected(arrays, x, data)
    jacobian = apart(_always(arrays), lambda *given: _jacobian(arrays, *given), cells, held)
    gradient = weighted_sum(jacobian, residual) + constraint_gradient(arrays.constraints, x, data)
    return _Slopes(cells, nll, safe, residual, jacobian, gradient)


def _jacobian(arrays: Templates, cells: _Cells, held: Any) -> Any:
    kinds = _kinds(arrays)
    slots, bins, toys = cells.value.shape
    by_alpha = apart(_always(arrays), lambda cells: _by_interpolation(arrays, cells), cells)
    wide_x, own_x = _multiplying(kinds, cells.x)
    by_wide = sum(arrays.wide_present[:, slot, :, None] * cells.value[None, slot] for slot in range(slots))
    by_wide = by_wide / wide_x[:, None]
    own = sum(arrays.own_present[:, slot, None] * cells.value[slot, arrays.own_bin] for slot in range(slots)) / own_x
    by_own = jnp.where((arrays.own_bin[:, None] == jnp.arange(bins)[None])[..., None], own[:, None], 0.0)
    idle = jnp.zeros((cells.x.shape[0] - kinds.alpha - kinds.wide - kinds.own, bins, toys))
    jacobian = jnp.concatenate([by_alpha, by_wide, by_own, idle])
    return jnp.where(held[None], 0.0, jacobian)


def _by_interpolation(arrays: Templates, cells: _Cells) -> Any:
    """∂ν_b/∂α, (A, B, T)."""
    toys = cells.value.shape[-1]

    def sums(cells: _Cells) -> Any:
        value, rate = cells.value.reshape(-1, toys), _and(cells.norm.slope, 0.0)
        multiplier, slope = cells.multiplier.reshape(-1, toys), cells.even.slope
        by_hist = [
            sum(
                multiplier[cell[:, k]] * (linear[:, k, None] + even[:, k, None] * slope[parameter])
                for k in range(cell.shape[1])
            )
            for cell, linear, even, parameter in arrays.hist_terms
        ]
        by_norm = [
            sum(rate[factor[:, k]] * value[cell[:, k]] for k in range(factor.shape[1]))
            for factor, cell in arrays.norm_terms
        ]
        return by_hist, by_norm

    none = jnp.zeros((1, toys))
    found = apart(_always(arrays), sums, cells)
    by_hist, by_norm = apart(_always(arrays), lambda found: [jnp.concatenate([*some, none]) for some in found], found)
    return _alphas(_kinds(arrays), by_hist[arrays.hist_sum], by_norm[arrays.norm_sum])


def _multiplying(kinds: _Kinds, x: Any) -> tuple[Any, Any]:
    """The parameters that multiply several bins, (W, T), and those that multiply one, (O, T)."""
    end = kinds.alpha + kinds.wide
    return x[kinds.alpha : end], x[end : end + kinds.own]


def _gradient(arrays: Templates, x: Any, data: Any) -> tuple[Any, Any]:
    """nll and gradient, without the Jacobian."""
    always, kinds = _always(arrays), _kinds(arrays)
    cells, nll, _, _, residual = _expected(arrays, x, data)

    def main(cells: _Cells, residual: Any) -> Any:
        parts = (cells.multiplier, cells.value)
        additive, value = apart(always, lambda *parts: [residual[None] * part for part in parts], *parts)
        by_hist = _by_hist(arrays, cells.even.slope, additive)
        by_norm = _by_norm(arrays, cells.norm.slope, _by_channel(arrays, value))
        wide_x, own_x = _multiplying(kinds, cells.x)
        by_wide = jnp.tensordot(arrays.wide_present, value, 2) / wide_x
        own = sum(arrays.own_present[:, s, None] * value[s, arrays.own_bin] for s in range(value.shape[0])) / own_x
        idle = jnp.zeros((len(x) - kinds.alpha - kinds.wide - kinds.own, x.shape[1]))
        return jnp.concatenate([_alphas(kinds, by_hist, by_norm), by_wide, own, idle])

    gradient = apart(always, main, cells, residual) + constraint_gradient(arrays.constraints, x, data)
    return nll, gradient


def _by_hist(arrays: Templates, slope: Any, weights: Any) -> Any:
    """Σ_sb of the derivatives of each histosys' yields, g' given, (H, T), times weights, (S, B, T): (H, T)."""
    if not _few(arrays.hist_slopes):
        linear, even = _over_yields(arrays, weights)
        return linear + even * slope
    toys = weights.shape[-1]

    def sums(slope: Any, cells: Any) -> list[Any]:
        return [
            sum(
                cells[cell[:, k]] * (linear[:, k, None] + even[:, k, None] * slope[parameter])
                for k in range(cell.shape[1])
            )
            for cell, linear, even, parameter in arrays.hist_slopes
        ]

    found = apart(_always(arrays), sums, slope, weights.reshape(-1, toys))
    found = apart(_always(arrays), lambda found: jnp.concatenate([*found, jnp.zeros((1, toys))]), found)
    return found[arrays.hist_slope_sum]


def _by_norm(arrays: Templates, slope: Any, weights: Any) -> Any:
    """Σ_sc f'/f of each parameter's factors, (F, T), times weights, (S, C, T): (N, T)."""
    toys = weights.shape[-1]

    def sums(slope: Any, cells: Any) -> list[Any]:
        rate = _and(slope, 0.0)
        return [
            sum(rate[factor[:, k]] * cells[cell[:, k]] for k in range(factor.shape[1]))
            if factor.shape[1] <= TERMS
            else jnp.sum(rate[factor] * cells[cell], axis=1)
            for factor, cell in arrays.norm_slopes
        ]

    found = [*apart(_always(arrays), sums, slope, weights.reshape(-1, toys)), jnp.zeros((1, toys))]
    return jnp.concatenate(found)[arrays.norm_slope_sum]


def _scoring(arrays: Templates, x: Any, data: Any) -> tuple[Any, Any, Callable[..., Any]]:
    """nll, gradient, and the Fisher information H = Jᵀ W J + D, with W = 1/ν and D the constraints'; see ``Fast``."""
    slopes = apart(_always(arrays), lambda x, data: _slopes(arrays, x, data), x, data)
    diagonal = constraint_information(arrays.constraints, slopes.cells.x)

    def matrix(free: Any) -> Callable[[Any], Any]:
        kinds = _kinds(arrays)
        shared = kinds.alpha + kinds.wide
        return scoring_matrix(
            _always(arrays), slopes.jacobian, shared, slopes.rates, diagonal, arrays.unconstrained, free
        )

    return slopes.nll, slopes.gradient, matrix


def _quadratic(arrays: Templates, x: Any, data: Any) -> Any:
    """nll, gradient and the matrix of Fisher scoring; see ``_scoring``."""
    slopes = _slopes(arrays, _inner(arrays, x), data)
    curvature = outer(slopes.jacobian / slopes.rates[None], slopes.jacobian)
    diagonal = constraint_information(arrays.constraints, slopes.cells.x)
    return slopes.nll, _outer(arrays, slopes.gradient), _matrix(arrays, _with_diagonal(curvature, diagonal))


def _matrix(arrays: Templates, values: Any) -> Any:
    """Second derivatives in the templates' order, (P, P, T), in the model's and toys first, (T, P, P)."""
    rows = _outer(arrays, values)
    return jnp.moveaxis(_outer(arrays, jnp.swapaxes(rows, 0, 1)), -1, 0)


def _with_diagonal(matrix: Any, diagonal: Any) -> Any:
    """A matrix (P, P, T) plus a diagonal (P, T)."""
    return matrix + jnp.eye(matrix.shape[0])[..., None] * diagonal[:, None]


def _exact(arrays: Templates, x: Any, data: Any) -> Any:
    nll, gradient, hessian, _ = _hessian(arrays, _inner(arrays, x), data)
    return nll, _outer(arrays, gradient), _matrix(arrays, hessian)


def _hessian(arrays: Templates, x: Any, data: Any) -> Any:
    """nll (T,), gradient (P, T), exact Hessian (P, P, T), in the templates' order, and ``at_floor``.

    H = Σ_b (n_b/ν_b²) J_b J_bᵀ + Σ_b (1 - n_b/ν_b) ∂²ν_b + constraints.
    """
    always = _always(arrays)
    slopes = apart(always, lambda x, data: _slopes(arrays, x, data), x, data)
    weight = data[: slopes.rates.shape[0]] / slopes.rates**2
    first = apart(
        always, outer, apart(always, lambda jacobian: jacobian * weight[None], slopes.jacobian), slopes.jacobian
    )
    second = _second(arrays, slopes.cells, slopes.residual)
    diagonal = constraint_curvature(arrays.constraints, slopes.cells.x, data)
    floor = at_floor(total(slopes.cells.value), data[: slopes.rates.shape[0]])
    return slopes.nll, slopes.gradient, _with_diagonal(first + second, diagonal), floor


def _second(arrays: Templates, cells: _Cells, residual: Any) -> Any:
    """Σ_b r_b ∂²ν_b/∂θ∂θ', (P, P, T).

    With ν = Y · M for each cell, m = ∂ log M and a = M ∂Y, the second derivatives are ν m mᵀ + a mᵀ + m aᵀ off the
    diagonal. Parameters that multiply are linear in each cell: with one of them, the second derivative is the first
    with respect to the other over its value.
    """
    always = _always(arrays)
    between = apart(always, lambda *given: _interpolating(arrays, *given), cells, residual)
    to_wide, to_own = apart(always, lambda *given: _to_multiplying(arrays, *given), cells, residual)
    wide_wide, wide_own, own_own = apart(always, lambda *given: _multiplying_both(arrays, *given), cells, residual)
    rows = [
        [between, to_wide, to_own],
        [jnp.swapaxes(to_wide, 0, 1), wide_wide, wide_own],
        [jnp.swapaxes(to_own, 0, 1), jnp.swapaxes(wide_own, 0, 1), own_own],
    ]
    matrix = apart(always, lambda rows: jnp.concatenate([jnp.concatenate(row, axis=1) for row in rows]), rows)
    idle = cells.x.shape[0] - matrix.shape[0]
    return jnp.pad(matrix, ((0, idle), (0, idle), (0, 0))) if idle else matrix


def _to_multiplying(arrays: Templates, cells: _Cells, residual: Any) -> tuple[Any, Any]:
    """Σ_b r_b ∂²ν_b between parameters that interpolate and those that multiply, (A, W, T) and (A, O, T)."""
    kinds = _kinds(arrays)
    slots = cells.value.shape[0]
    wide_x, own_x = _multiplying(kinds, cells.x)
    slope, even = _everywhere(arrays, cells.norm.slope), cells.even.slope[:, None]
    additive, value = residual[None] * cells.multiplier, residual[None] * cells.value  # (S, B, T)
    to_wide = jnp.zeros((kinds.alpha, kinds.wide, residual.shape[1]))
    if kinds.wide:
        present = jnp.moveaxis(arrays.wide_present, 0, 2)[..., None]  # (S, B, W, 1)
        shift, bowed = _over_yields(arrays, present * additive[:, :, None])  # (H, W, T)
        summed = _by_channel(arrays, jnp.moveaxis(present * value[:, :, None], 2, 0))  # (W, S, C, T)
        by_norm = jnp.stack([jnp.sum(slope * one[None], axis=(1, 2)) for one in summed], axis=1)  # (N, W, T)
        to_wide = _alphas(kinds, shift + bowed * even, by_norm)
    at = arrays.own_bin
    additive, value = additive[:, at], value[:, at]  # (S, O, T)
    present = arrays.own_present.T[..., None]  # (S, O, 1)
    linear, bowed = arrays.hist_linear[:, :, at, None], arrays.hist_even[:, :, at, None]  # (H, S, O, 1)
    by_hist = sum((present[s] * additive[s])[None] * (linear[:, s] + bowed[:, s] * even) for s in range(slots))
    at_bin = _by_bin(arrays, slope)
    at_bin = at_bin[:, :, at] if at_bin.shape[2] > 1 else at_bin  # (N, S, O or 1, T)
    by_norm = sum((present[s] * value[s])[None] * at_bin[:, s] for s in range(slots))
    return to_wide / wide_x[None], _alphas(kinds, by_hist, by_norm) / own_x[None]


def _over_yields(arrays: Templates, weights: Any) -> tuple[Any, Any]:
    """Σ_sb of what histosys add to the yields, times weights (S, B, T): the linear and the even part, (H, T) each."""
    linear, even = (jnp.tensordot(item, weights, 2) for item in (arrays.hist_linear, arrays.hist_even))
    return linear, even


def _multiplying_both(arrays: Templates, cells: _Cells, residual: Any) -> tuple[Any, Any, Any]:
    """Σ_b r_b ∂²ν_b between parameters that multiply, (W, W, T), (W, O, T) and (O, O, T)."""
    kinds = _kinds(arrays)
    wide_x, own_x = _multiplying(kinds, cells.x)
    value = residual[None] * cells.value  # (S, B, T)
    own_present = arrays.own_present.T[..., None]  # (S, O, 1)
    wide_wide: Any = 0.0
    wide_own: Any = 0.0
    own_own: Any = 0.0
    for s in range(value.shape[0]):
        wide = arrays.wide_present[:, s]  # (W, B)
        wide_wide = wide_wide + jnp.einsum("wb,vb,bt->wvt", wide, wide, value[s])
        at_own = own_present[s] * value[s][arrays.own_bin]  # (O, T)
        wide_own = wide_own + wide[:, arrays.own_bin, None] * at_own[None]
        own_own = own_own + at_own[:, None] * own_present[None, s]
    together = (arrays.own_bin[:, None] == arrays.own_bin[None])[..., None]
    wide_wide = _off_diagonal(wide_wide / wide_x[:, None] / wide_x[None])
    wide_own = wide_own / wide_x[:, None] / own_x[None]
    return wide_wide, wide_own, _off_diagonal(jnp.where(together, own_own / own_x[:, None] / own_x[None], 0.0))


def _interpolating(arrays: Templates, cells: _Cells, residual: Any) -> Any:
    """Σ_b r_b ∂²ν_b between the parameters that interpolate, (A, A, T).

    Here m is the same in all bins of a channel, so that ν and a are first summed over its bins.
    """
    kinds, always = _kinds(arrays), _always(arrays)
    slots, _, toys = cells.value.shape
    before = kinds.alpha - kinds.norm

    def flat(values: Any) -> Any:
        return values.reshape(values.shape[0], slots * values.shape[2], toys) if values.ndim == 4 else values

    def parts(cells: _Cells, residual: Any) -> Any:
        slope, even = _everywhere(arrays, cells.norm.slope), cells.even.slope[:, None]
        summed = _by_channel(arrays, residual[None] * cells.value)  # (S, C, T)
        additive = residual[None] * cells.multiplier  # (S, B, T)
        if summed.shape[1] == 1:
            linear, bowed = (
                jnp.einsum("hsb,sbt->hst", item, additive) for item in (arrays.hist_linear, arrays.hist_even)
            )
            shifted, bowed = linear + bowed * even, jnp.sum(bowed, axis=1)
        else:
            moved = arrays.hist_linear[..., None] + arrays.hist_even[..., None] * even[:, :, None]  # (H, S, B, T)
            shifted = flat(_by_channel(arrays, additive[None] * moved))  # (H, S·C, T)
            _, bowed = _over_yields(arrays, additive)
        halves = _alphas(kinds, shifted, flat(0.5 * summed[None] * slope))  # (A, S·C, T)
        bend = _everywhere(arrays, _norm_bend(arrays, cells.x[before : kinds.alpha], cells.norm.factor))
        curved = bowed * _even_bend(arrays.hist_shape, cells.x[: kinds.hist])
        own = jnp.sum(flat(summed[None] * bend), axis=1)
        mixed = 2 * jnp.sum(shifted[kinds.hist - kinds.both :] * flat(slope)[: kinds.both], axis=1)
        own = jnp.concatenate([own[: kinds.both] + mixed, own[kinds.both :]])
        return halves, flat(slope), _alphas(kinds, curved, own)

    halves, slope, diagonal = apart(always, parts, cells, residual)
    left = apart(always, outer, halves, slope)  # (A, N, T)
    products = jnp.concatenate([jnp.zeros((kinds.alpha, before, toys)), left], axis=1)
    products = apart(always, lambda products: products, products)
    return _with_diagonal(_off_diagonal(products + jnp.swapaxes(products, 0, 1)), diagonal)


def _by_channel(arrays: Templates, values: Any) -> Any:
    """Sums over the bins of each channel, (…, B, T) to (…, C, T)."""
    channels = arrays.norm_log_hi.shape[2]
    if channels == 1:
        return jnp.sum(values, axis=-2, keepdims=True)
    inside = arrays.bin_channel[None] == jnp.arange(channels)[:, None]
    return (
        values if channels == values.shape[-2] else jnp.einsum("cb,...bt->...ct", inside.astype(values.dtype), values)
    )


def _off_diagonal(matrix: Any) -> Any:
    return jnp.where(jnp.eye(matrix.shape[0], dtype=bool)[..., None], 0.0, matrix)


def _at_floor(arrays: Templates, x: Any, data: Any) -> tuple[Any, Any]:
    rates = _rates(arrays, _inner(arrays, x))
    return at_floor(rates, data[: rates.shape[0]])


def _second_minima(arrays: Templates, x: Any, data: Any, fixed: Any, bounds: Any) -> Any:
    x = _inner(arrays, x)
    return second_minima(arrays, _slopes(arrays, x, data), x, data, fixed[arrays.order], bounds[arrays.order])


PLAIN = Kernel(
    nll=_nll, offset=_offset, quadratic=_quadratic, exact=_exact, at_floor=_at_floor, second_minima=_second_minima
)
"""For models with a parameter of two kinds, which is at two places of the templates' order."""

KERNEL = PLAIN._replace(
    fast=Fast(
        order=lambda arrays: arrays.order,
        places=lambda arrays: arrays.places[0],
        gradient=_gradient,
        scoring=_scoring,
        hessian=_hessian,
    )
)
