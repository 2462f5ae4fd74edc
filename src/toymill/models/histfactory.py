"""HistFactory: Poisson bins with normal and Poisson constraints (CERN-OPEN-2012-016), as pyhf states it.

The functions of the kernel take toys as the last axis; see ``base.Kernel``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from toymill.models.base import Kernel, Model, Sampling, columns
from toymill.models.densities import (
    FLOOR,
    at_floor,
    bins_nll,
    constraint_information,
    constraint_nll,
    constraint_offset,
    expected_data,
    held_by_floor,
    poisson_offset,
)
from toymill.models.patches import Patch
from toymill.models.reader import read_specification
from toymill.models.templates import Compiled, Templates, compile_specification


@dataclass(frozen=True)
class HistFactory(Model):
    """A HistFactory model, made by ``read_workspace``."""

    def expected_data(self, params: Any) -> Any:
        """Expected main and auxiliary data in pyhf's order, shape (P,) to (D,) or (n, P) to (n, D).

        Raises:
            ToymillError: a number of parameters that is not the model's.
        """
        x = columns(params, len(self.parameters), "params", "parameters")
        expected = _expected_jitted(self.arrays, x).T
        return expected[0] if np.ndim(params) == 1 else expected

    def main_logpdf(self, params: Any, data: Any) -> Any:
        """The main data's part of ``logpdf``, Σ_b log Poisson(n_b | ν_b); arguments and result as there.

        Raises:
            ToymillError: a length that is not the model's.
        """
        return self._evaluate(_main_logpdf, params, data)

    def constraint_logpdf(self, params: Any, data: Any) -> Any:
        """The auxiliary data's part of ``logpdf``; arguments and result as there.

        Raises:
            ToymillError: a length that is not the model's.
        """
        return self._evaluate(_constraint_logpdf, params, data)


def read_workspace(
    path: str | Path | dict[str, Any],
    measurement: str | None = None,
    patches: Sequence[Patch] = (),
    poi: str | None = None,
    *,
    modifier_settings: Mapping[str, Any] | None = None,
    prune: Mapping[str, Any] | None = None,
    rename: Mapping[str, Any] | None = None,
) -> HistFactory:
    """Read a pyhf workspace, or an HS3 file of a HistFactory model, as a model.

    Args:
        path: a JSON file (or its content).
        measurement: name of a measurement, of an analysis in HS3; a workspace's first one if None.
        patches: JSON patches, applied in order, each a file or its content; of a patch set a tuple of the file and
            the patch's name.
        poi: name of the parameter of interest; the measurement's if None, none at all if "".
        modifier_settings: pyhf's interpolation codes, of normsys and histosys both:
            ``{"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}`` if None.
        prune: names of ``channels``, ``samples``, ``modifiers``, ``modifier_types`` or ``measurements`` to remove
            from a workspace, as pyhf's ``Workspace.prune`` does.
        rename: new names by old ones for ``channels``, ``samples``, ``modifiers`` or ``measurements``, as pyhf's
            ``Workspace.rename`` does.

    Raises:
        ToymillError: what ``read_specification`` and ``compile_specification`` refuse.

    Example:
        >>> import jax, toymill
        >>> jax.config.update("jax_enable_x64", True)
        >>> model = toymill.read_workspace("tests/data/onoff.json")
        >>> model.parameters.names, model.poi
        (('b', 'mu'), 'mu')
    """
    specification = read_specification(
        path,
        measurement=measurement,
        patches=patches,
        poi=poi,
        modifier_settings=modifier_settings,
        prune=prune,
        rename=rename,
    )
    return from_compiled(compile_specification(specification))


def from_compiled(compiled: Compiled) -> HistFactory:
    """The model of a compiled workspace."""
    arrays = compiled.templates
    size = len(compiled.observed)
    poisson = np.ones(size, dtype=bool)
    poisson[arrays.normal_datum] = False
    sigma = np.ones(size)
    sigma[arrays.normal_datum] = arrays.normal_sigma
    parameter = np.full(size, -1)
    parameter[arrays.normal_datum] = arrays.normal_parameter
    parameter[arrays.poisson_datum] = arrays.poisson_parameter
    scale = np.ones(size)
    scale[arrays.poisson_datum] = arrays.poisson_tau
    observed = np.where(parameter >= 0, compiled.observed, np.nan)
    return HistFactory(
        parameters=compiled.parameters,
        poi=compiled.poi,
        observed=compiled.observed,
        data_names=compiled.data_names,
        sampling=Sampling(poisson, sigma, parameter >= 0, parameter, scale, observed),
        arrays=arrays,
        kernel=KERNEL,
        digest=compiled.digest,
        two_minima=compiled.two_minima,
        weak=compiled.weak,
        kinks=compiled.kinks,
        width=arrays.nominal.size,
        starts=np.empty((0, len(compiled.parameters))),
        draw=None,
        information=None,
        derived={},
    )


def _even(shape: Any, alpha: Any) -> Any:
    """g(α) of each parameter's histosys interpolation, see ``Templates.hist_shape``; (P, T)."""
    edge, two, four, six, slope, offset = shape[:, :, None]
    square = alpha * alpha
    inside = square * (two + square * (four + square * six))
    return jnp.where(jnp.abs(alpha) < edge, inside, slope * jnp.abs(alpha) + offset)


def _even_derivatives(shape: Any, alpha: Any) -> tuple[Any, Any]:
    """g'(α) and g''(α)."""
    edge, two, four, six, slope, _ = shape[:, :, None]
    square = alpha * alpha
    first = alpha * (2 * two + square * (4 * four + square * 6 * six))
    second = 2 * two + square * (12 * four + square * 30 * six)
    within = jnp.abs(alpha) < edge
    return jnp.where(within, first, slope * jnp.sign(alpha)), jnp.where(within, second, 0.0)


def _norm_factors(arrays: Templates, x: Any) -> Any:
    """Factor of each parameter's normsys, shape (P, S, C, T)."""
    alpha = x[:, None, None]
    polynomial = 0.0
    for coefficient in arrays.norm_polynomial[::-1]:
        polynomial = (polynomial + coefficient[..., None]) * alpha
    slope = jnp.where(alpha > 0, arrays.norm_log_hi[..., None], -arrays.norm_log_lo[..., None])
    return jnp.where(jnp.abs(alpha) < _norm_edge(arrays), 1 + polynomial, jnp.exp(slope * alpha))


def _norm_derivatives(arrays: Templates, x: Any, factor: Any) -> tuple[Any, Any]:
    """f'/f and f''/f of each parameter's normsys factor f, shape (P, S, C, T)."""
    alpha = x[:, None, None]
    first, second = 0.0, 0.0
    for power in range(6, 0, -1):
        coefficient = arrays.norm_polynomial[power - 1][..., None]
        first = first * alpha + power * coefficient
        if power > 1:
            second = second * alpha + power * (power - 1) * coefficient
    slope = jnp.where(alpha > 0, arrays.norm_log_hi[..., None], -arrays.norm_log_lo[..., None])
    inside = jnp.abs(alpha) < _norm_edge(arrays)
    return jnp.where(inside, first / factor, slope), jnp.where(inside, second / factor, slope * slope)


def _norm_edge(arrays: Templates) -> Any:
    return arrays.norm_edge[:, None, None, None]


class _Cells(NamedTuple):
    """The parts of the expectation of each cell: yields · norm · factor, each (S, B, T)."""

    yields: Any
    norm: Any
    factor: Any


def _cells(arrays: Templates, x: Any, norm_factors: Any) -> _Cells:
    slots, bins = arrays.nominal.shape
    toys = x.shape[1:]
    shift = arrays.hist_linear @ x + arrays.hist_even @ _even(arrays.hist_shape, x)
    extended = jnp.concatenate([x, jnp.ones((1, *toys))])
    return _Cells(
        yields=arrays.nominal[..., None] + shift.reshape(slots, bins, *toys),
        norm=jnp.prod(norm_factors, axis=0)[:, arrays.bin_channel],
        factor=jnp.prod(extended[arrays.factor_parameter], axis=0),
    )


def _rates(arrays: Templates, x: Any) -> Any:
    """Expected main data, (P, T) to (B, T), before the floor."""
    cells = _cells(arrays, x, _norm_factors(arrays, x))
    return jnp.sum(cells.yields * cells.norm * cells.factor, axis=0)


def _expected(arrays: Templates, x: Any) -> Any:
    """Expected main and auxiliary data, (P, T) to (D, T)."""
    return expected_data(arrays, _rates(arrays, x), x)


_expected_jitted = jax.jit(_expected)


def _main_nll(rates: Any, data: Any) -> Any:
    return bins_nll(rates, data[: rates.shape[0]])


def _nll(arrays: Templates, x: Any, data: Any) -> Any:
    return _main_nll(_rates(arrays, x), data) + constraint_nll(arrays, x, data)


def _main_offset(arrays: Templates, data: Any) -> Any:
    return jnp.sum(poisson_offset(data[: arrays.nominal.shape[1]]), axis=0)


def _offset(arrays: Templates, data: Any) -> Any:
    return _main_offset(arrays, data) + constraint_offset(arrays, data)


@jax.jit
def _main_logpdf(arrays: Templates, x: Any, data: Any) -> Any:
    return -(_main_nll(_rates(arrays, x), data) + _main_offset(arrays, data))


@jax.jit
def _constraint_logpdf(arrays: Templates, x: Any, data: Any) -> Any:
    return -(constraint_nll(arrays, x, data) + constraint_offset(arrays, data))


class _Slopes(NamedTuple):
    """What the derivatives of the expectation are made of; cells are flattened to S·B.

    A cell's expectation is ν = Y · M(θ): an additive part Y (nominal plus histosys) times factors.

    Attributes:
        nll: of the main data, (T,).
        rates: expected main data ν_b, (B, T), not below the floor, so that it divides.
        held: True where the floor holds a bin, (B, T).
        multiplicative: ∂ log M / ∂θ, (P, S·B, T).
        second: (∂²M / ∂θ²) / M, the diagonal only, (P, S·B, T).
        cell: ν of each cell, (S·B, T).
        additive: M · ∂Y/∂θ, (P, S·B, T).
        bend: M · ∂²Y/∂θ², the diagonal only, (P, S·B, T).
    """

    nll: Any
    rates: Any
    held: Any
    multiplicative: Any
    second: Any
    cell: Any
    additive: Any
    bend: Any

    def jacobian(self) -> Any:
        """∂ν_b/∂θ_p, (P, B, T); zero where the floor holds."""
        size, _, toys = self.multiplicative.shape
        bins = self.rates.shape[0]
        by_cell = self.additive + self.cell[None] * self.multiplicative
        return jnp.where(self.held[None], 0.0, jnp.sum(by_cell.reshape(size, -1, bins, toys), axis=1))


def _slopes(arrays: Templates, x: Any, data: Any) -> _Slopes:
    # A factor that is exactly 0 (μ = 0) is replaced by 1e-60: products of derivatives are then formed
    # without a division by zero, and to full relative precision. At a kink 0 belongs to the lower side.
    edgeless = (arrays.norm_edge == 0) | (arrays.hist_shape[0] == 0)
    x = jnp.where(x == 0, jnp.where(edgeless, -1e-60, 1e-60)[:, None], x)
    size, toys = x.shape
    norm = _norm_factors(arrays, x)
    cells = _cells(arrays, x, norm)
    flat = (-1, toys)
    multiplier = (cells.norm * cells.factor).reshape(flat)
    cell = cells.yields.reshape(flat) * multiplier
    rates = jnp.sum(cell.reshape(cells.yields.shape), axis=0)
    first, second = _norm_derivatives(arrays, x, norm)
    present = arrays.factor_present[..., None] / x[:, None, None]
    slope, curve = _even_derivatives(arrays.hist_shape, x)
    even = arrays.hist_even.T[..., None]
    return _Slopes(
        nll=_main_nll(rates, data),
        rates=jnp.maximum(rates, FLOOR),
        held=held_by_floor(rates, data[: rates.shape[0]]),
        multiplicative=(first[:, :, arrays.bin_channel] + present).reshape(size, *flat),
        second=second[:, :, arrays.bin_channel].reshape(size, *flat),
        cell=cell,
        additive=multiplier[None] * (arrays.hist_linear.T[..., None] + even * slope[:, None]),
        bend=multiplier[None] * even * curve[:, None],
    )


def _gradient(arrays: Templates, x: Any, data: Any, slopes: _Slopes, jacobian: Any) -> Any:
    bins = slopes.rates.shape[0]
    gradient = jnp.sum(jacobian * (1 - data[:bins] / slopes.rates)[None], axis=1)
    pull = x[arrays.normal_parameter] - data[arrays.normal_datum]
    gradient = gradient.at[arrays.normal_parameter].add(pull / arrays.normal_sigma[:, None] ** 2)
    ratio = data[arrays.poisson_datum] / x[arrays.poisson_parameter]
    return gradient.at[arrays.poisson_parameter].add(arrays.poisson_tau[:, None] - ratio)


def _toys_first(tensor: Any) -> Any:
    return jnp.moveaxis(tensor, -1, 0)


def _quadratic(arrays: Templates, x: Any, data: Any) -> Any:
    """Fisher scoring: H ≈ Jᵀ W J + D, with W = 1/ν and D the constraints' expected information."""
    slopes = _slopes(arrays, x, data)
    jacobian = slopes.jacobian()
    nll = slopes.nll + constraint_nll(arrays, x, data)
    scaled = _toys_first(jacobian / jnp.sqrt(slopes.rates)[None])  # (T, P, B)
    curvature = scaled @ jnp.swapaxes(scaled, 1, 2)
    diagonal = constraint_information(arrays, x)
    index = jnp.arange(x.shape[0])
    return nll, _gradient(arrays, x, data, slopes, jacobian), curvature.at[:, index, index].add(diagonal.T)


def _exact(arrays: Templates, x: Any, data: Any) -> Any:
    """The exact Hessian.

    H = Σ_b (n_b/ν_b²) J_b J_bᵀ + Σ_b (1 - n_b/ν_b) ∂²ν_b + constraints. With ν = Y · M for each cell
    and m = ∂ log M, a = M ∂Y, the second derivatives are ν m mᵀ + a mᵀ + m aᵀ off the diagonal.
    """
    slopes = _slopes(arrays, x, data)
    jacobian = slopes.jacobian()
    counts = data[: slopes.rates.shape[0]]
    nll = slopes.nll + constraint_nll(arrays, x, data)
    residual = jnp.where(slopes.held, 0.0, 1 - counts / slopes.rates)
    slots = arrays.nominal.shape[0]
    weight = jnp.tile(residual, (slots, 1))  # (S·B, T)
    scale = jnp.sqrt(counts) / slopes.rates
    scaled = jacobian * scale[None]
    left = weight[None] * (0.5 * slopes.cell[None] * slopes.multiplicative + slopes.additive)
    products = _toys_first(jnp.concatenate([0.5 * scaled, left], axis=1)) @ jnp.swapaxes(
        _toys_first(jnp.concatenate([scaled, slopes.multiplicative], axis=1)), 1, 2
    )
    own = slopes.cell[None] * slopes.second + 2 * slopes.additive * slopes.multiplicative + slopes.bend
    diagonal = jnp.sum(scaled * scaled, axis=1) + jnp.sum(weight[None] * own, axis=1)
    diagonal = diagonal.at[arrays.normal_parameter].add(1 / arrays.normal_sigma[:, None] ** 2)
    gamma = x[arrays.poisson_parameter]
    diagonal = diagonal.at[arrays.poisson_parameter].add(data[arrays.poisson_datum] / gamma**2)
    index = jnp.arange(x.shape[0])
    hessian = (products + jnp.swapaxes(products, 1, 2)).at[:, index, index].set(diagonal.T)
    return nll, _gradient(arrays, x, data, slopes, jacobian), hessian


def _at_floor(arrays: Templates, x: Any, data: Any) -> tuple[Any, Any]:
    rates = _rates(arrays, x)
    return at_floor(rates, data[: rates.shape[0]])


_LOOKED_AT = (-0.75, -0.35, 0.0, 0.35, 0.75)  # where interpolation bends most: at 0, and back at 0.6 to 1
_KINK_CURVATURE = 40.0  # stands for the second derivative of |α| at 0


def _elsewhere(arrays: Templates, x: Any, data: Any) -> Any:
    """How likely a second minimum is along a parameter, (P, T): there is none below 1, or so.

    Interpolation takes C = Σ_b (n_b/ν_b - 1) ∂²ν_b/∂α² from the curvature along α, of which there is that of
    the constraint at least. This is their ratio where it is largest, with the other parameters where they are,
    or all such parameters at 0. (What the data add to the curvature differs between the sides: counting it at x
    missed some.) It is infinite for a parameter whose constraint expects less than one count.
    """
    least = jnp.ones_like(x).at[arrays.normal_parameter].set(1 / arrays.normal_sigma[:, None] ** 2)
    taken = [
        _bends(arrays, point, alpha, data) for point in (x, x.at[arrays.two_sided].set(0.0)) for alpha in _LOOKED_AT
    ]
    ratio = jnp.max(jnp.stack(taken), axis=0) / least[arrays.two_sided]
    weak = jnp.where(arrays.poisson_tau < 1, jnp.inf, 0.0)[:, None]
    return jnp.zeros_like(x).at[arrays.poisson_parameter].set(weak).at[arrays.two_sided].set(ratio)


def _bends(arrays: Templates, x: Any, alpha: float, data: Any) -> Any:
    """C of each parameter in ``two_sided`` with that parameter at α, see ``_elsewhere``; (K, T)."""
    slots, bins = arrays.nominal.shape
    shape = (-1, slots, bins, 1)
    chosen = arrays.two_sided
    moved = jnp.full((x.shape[0], 1), alpha)
    norm, there = _norm_factors(arrays, x), _norm_factors(arrays, moved)
    cells = _cells(arrays, x, norm)
    factor, slope, bend = (part[chosen] for part in (there, *_norm_derivatives(arrays, moved, there)))
    ratio = (factor / norm[chosen])[:, :, arrays.bin_channel]
    multiplier = (cells.norm * cells.factor)[None] * ratio
    linear, even = arrays.hist_linear.T[chosen].reshape(shape), arrays.hist_even.T[chosen].reshape(shape)

    def part(values: Any) -> Any:
        return values[chosen][:, None, None]

    g, (g_slope, g_bend) = _even(arrays.hist_shape, moved), _even_derivatives(arrays.hist_shape, moved)
    step = linear * (alpha - part(x)) + even * (part(g) - part(_even(arrays.hist_shape, x)))
    yields = cells.yields[None] + step
    g_bend = jnp.where(arrays.hist_shape[0][:, None] > 0, g_bend, _KINK_CURVATURE)
    kink = (arrays.norm_edge == 0)[:, None, None] * (arrays.norm_log_hi + arrays.norm_log_lo) * _KINK_CURVATURE / 2
    bend = (bend + kink[chosen][..., None])[:, :, arrays.bin_channel]
    slope = slope[:, :, arrays.bin_channel]
    curvature = even * part(g_bend) + 2 * (linear + even * part(g_slope)) * slope + yields * bend
    rates = jnp.sum(yields * multiplier, axis=1)
    residual = data[None, :bins] / jnp.maximum(rates, FLOOR) - 1
    return jnp.sum(residual * jnp.sum(multiplier * curvature, axis=1), axis=1)


KERNEL = Kernel(nll=_nll, offset=_offset, quadratic=_quadratic, exact=_exact, at_floor=_at_floor, elsewhere=_elsewhere)
