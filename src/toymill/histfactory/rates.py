"""The expectation of HistFactory's bins for many toys at once: interpolations, cells, rates, and the nll of main data.

For each sample in a bin, a cell, ν = (nominal + Σ histosys) · Π normsys · Π factors (CERN-OPEN-2012-016, eq. 3);
``expectation`` is the plain twin of this. Toys are the last axis of every array: sums over samples and bins are then
contiguous operations on toys. Sums are written out term by term: XLA makes one loop over toys of them and keeps the sum in
a register.

Here ``theta`` is in the order by kind, see ``arrays``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, cast

import jax.numpy as jnp
from jax import Array

from toymill.histfactory.arrays import Normsys, ScaleGroup, ShiftGroup, ShiftSums, Templates
from toymill.histfactory.codes import VANISHING
from toymill.linalg import TERMS, apart, each, sum_of, taken, total
from toymill.models.densities import bins_nll, poisson_offset

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Shaped


def by_kind(templates: Templates[Array], x: Shaped[Array, "parameter ..."]) -> Shaped[Array, "place ..."]:
    """Values of parameters in the order by kind: from ``x`` to ``theta``."""
    return taken(x, templates.order.parameters)


def by_model(templates: Templates[Array], values: Float[Array, "place ..."]) -> Float[Array, "parameter ..."]:
    """Derivatives with respect to ``theta`` as those with respect to ``x``: of a parameter of two kinds their sum."""
    padded = jnp.concatenate([values, jnp.zeros_like(values[:1])])
    return sum_of(taken(padded, places) for places in templates.order.places)


class Kinds(NamedTuple):
    """How many parameters there are of each kind, see ``arrays``: which places are whose."""

    histosys: int
    normsys: int
    interpolating: int
    multi: int
    single: int

    @property
    def both(self) -> int:
        """Those with a histosys and a normsys."""
        return self.histosys + self.normsys - self.interpolating

    @property
    def several(self) -> int:
        """Those that may change several bins."""
        return self.interpolating + self.multi

    @property
    def effective(self) -> int:
        """Those that do anything."""
        return self.interpolating + self.multi + self.single


def kinds_of(templates: Templates[Array]) -> Kinds:
    """How many parameters there are of each kind."""
    return Kinds(
        templates.histosys.linear.shape[0],
        templates.normsys.log_hi.shape[0],
        templates.order.interpolating.shape[0],
        templates.multipliers.multi_present.shape[0],
        templates.multipliers.single_bin.shape[0],
    )


def over_interpolating(
    kinds: Kinds, hist: Shaped[Array, "histosys ..."], norm: Shaped[Array, "normsys ..."]
) -> Shaped[Array, "interpolating ..."]:
    """What histosys do and what normsys do as what the parameters that interpolate do."""
    only = kinds.histosys - kinds.both
    return jnp.concatenate([hist[:only], hist[only:] + norm[: kinds.both], norm[kinds.both :]])


def multiplying(kinds: Kinds, theta: Array) -> tuple[Float[Array, "multi lane"], Float[Array, "single lane"]]:
    """The multi-bin and the single-bin factors."""
    return theta[kinds.interpolating : kinds.several], theta[kinds.several : kinds.effective]


def own_bin(templates: Templates[Array]) -> Int[Array, " own"]:
    """The bin of each parameter that changes no more than one; any bin for one that does nothing."""
    single = templates.multipliers.single_bin
    idle = templates.order.parameters.shape[0] - kinds_of(templates).effective
    return jnp.concatenate([single, jnp.zeros(idle, dtype=single.dtype)])


class EvenPart(NamedTuple):
    """g(α) of the histosys interpolation and g'; see ``arrays.Histosys.shape``."""

    value: Float[Array, "histosys lane"]
    slope: Float[Array, "histosys lane"]


def even_part(shape: Float[Array, "6 histosys"], alpha: Float[Array, "histosys lane"]) -> EvenPart:
    """g(α) and g'(α)."""
    edge, two, four, six, slope, offset = shape[:, :, None]
    square = alpha * alpha
    within = jnp.abs(alpha) < edge
    value = square * (two + square * (four + square * six))
    first = alpha * (2 * two + square * (4 * four + square * 6 * six))
    return EvenPart(
        jnp.where(within, value, slope * jnp.abs(alpha) + offset), jnp.where(within, first, slope * jnp.sign(alpha))
    )


def even_curvature(
    shape: Float[Array, "6 histosys"], alpha: Float[Array, "histosys lane"]
) -> Float[Array, "histosys lane"]:
    """g''(α)."""
    edge, two, four, six, _, _ = shape[:, :, None]
    square = alpha * alpha
    second = 2 * two + square * (12 * four + square * 30 * six)
    return jnp.where(jnp.abs(alpha) < edge, second, 0.0)


class NormFactors(NamedTuple):
    """Normsys factors f(α): those that there are, f'/f of these, and their products."""

    factor: Float[Array, "factor lane"]
    slope: Float[Array, "factor lane"]
    product: Float[Array, "sample channel lane"]


def norm_factors(templates: Templates[Array], alpha: Float[Array, "normsys lane"]) -> NormFactors:
    """The normsys factors at α."""
    normsys = templates.normsys

    def factors(alpha: Array) -> tuple[Array, Array]:
        at = taken(alpha, _rows(normsys))
        value: Array | float = 0.0
        first: Array | float = 0.0
        for coefficient in _constants(normsys, normsys.polynomial)[::-1]:
            first = first * at + value
            value = value * at + coefficient
        first = first * at + value
        value = 1 + value * at
        value = jnp.where(value == 0, VANISHING, value)  # by rounding, of a factor that vanishes at ±1
        rate, inside = _outside(normsys, at)
        return jnp.where(inside, value, jnp.exp(rate * at)), jnp.where(inside, first / value, rate)

    def products(factor: Array) -> Array:
        every = and_one_more(factor, 1.0)
        found = [
            cast("Array", math.prod(taken(every, which) for which in each(group, 1)))
            if group.shape[1] <= TERMS
            else jnp.prod(taken(every, group), axis=1)
            for group in normsys.products.groups
        ]
        return jnp.concatenate([*found, jnp.ones((1, factor.shape[1]))])

    factor, slope = apart(factors, alpha)
    product = apart(products, factor)
    return NormFactors(factor, slope, taken(product, normsys.products.position))


def norm_curvature(
    normsys: Normsys[Array], alpha: Float[Array, "normsys lane"], factor: Float[Array, "factor lane"]
) -> Float[Array, "factor lane"]:
    """f''/f of the normsys factors f."""
    at = taken(alpha, _rows(normsys))
    polynomial = _constants(normsys, normsys.polynomial)
    second: Array | float = 0.0
    for power in range(6, 1, -1):
        second = second * at + power * (power - 1) * polynomial[power - 1]
    rate, inside = _outside(normsys, at)
    return jnp.where(inside, second / factor, rate * rate)


def _rows(normsys: Normsys[Array]) -> Int[Array, " factor"]:
    """The parameter of each factor that there is, of those with a normsys."""
    return normsys.cell // (normsys.log_hi.shape[1] * normsys.log_hi.shape[2])


def _constants(
    normsys: Normsys[Array], values: Float[Array, "... normsys sample channel"]
) -> Float[Array, "... factor 1"]:
    """Constants of the factors that there are."""
    flat = values.reshape(*values.shape[:-3], -1)
    return flat[..., normsys.cell, None]


def _outside(
    normsys: Normsys[Array], at: Float[Array, "factor lane"]
) -> tuple[Float[Array, "factor lane"], Bool[Array, "factor lane"]]:
    """The rate at which a factor is exponential outside its polynomial, and whether α is inside."""
    high, low = (_constants(normsys, values) for values in (normsys.log_hi, normsys.log_lo))
    rate = jnp.where(at > 0, high, -low)
    return rate, jnp.abs(at) < taken(normsys.edge, _rows(normsys))[:, None]


def and_one_more(values: Float[Array, "factor lane"], last: float) -> Float[Array, "one_more lane"]:
    """Values and a constant after them."""
    return jnp.concatenate([values, jnp.full_like(values, last, shape=(1, values.shape[1]))])


def few(groups: tuple[ShiftGroup[Array], ...] | tuple[ScaleGroup[Array], ...]) -> bool:
    """Whether sums have so few terms that they are written out."""
    return all(group[0].shape[1] <= TERMS for group in groups)


def terms_of(*groups: Shaped[Array, "sum term"]) -> Iterator[tuple[Shaped[Array, " sum"], ...]]:
    """The terms of sums one after the other: what each of several matrices says of them."""
    return zip(*(each(group, 1) for group in groups), strict=True)


class Cells(NamedTuple):
    """The expectation of every cell, a sample in a bin: ν = Y · M, an additive part times factors.

    Attributes:
        theta: parameters by kind, with those at 0 next to it; see ``beside_zero``.
        even: g of the histosys interpolation.
        norm: normsys factors.
        added: Y.
        multiplier: M.
        value: ν.
    """

    theta: Float[Array, "place lane"]
    even: EvenPart
    norm: NormFactors
    added: Float[Array, "sample bin lane"]
    multiplier: Float[Array, "sample bin lane"]
    value: Float[Array, "sample bin lane"]


def cells_at(templates: Templates[Array], theta: Float[Array, "place lane"]) -> Cells:
    """The expectation of every cell."""
    kinds = kinds_of(templates)
    hist = theta[: kinds.histosys]
    even = even_part(templates.histosys.shape, hist)
    norm = norm_factors(templates, theta[kinds.interpolating - kinds.normsys : kinds.interpolating])
    added = templates.nominal[..., None] + _added(templates, hist, even.value)
    multiplier = by_bin(templates, norm.product) * _product(templates, theta)
    return Cells(theta, even, norm, added, multiplier, added * multiplier)


def _added(
    templates: Templates[Array], hist: Float[Array, "histosys lane"], even: Float[Array, "histosys lane"]
) -> Float[Array, "sample bin lane"]:
    """What histosys add to the yields, α and g(α) given."""
    histosys = templates.histosys
    sums: ShiftSums[Array] = histosys.yields
    if not few(sums.groups):
        linear, bowed = (
            jnp.tensordot(item, value, ((0,), (0,))) for item, value in ((histosys.linear, hist), (histosys.even, even))
        )
        return linear + bowed

    def groups(hist: Array, even: Array) -> list[Array]:
        return [
            sum_of(
                linear[:, None] * taken(hist, entry) + bowed[:, None] * taken(even, entry)
                for entry, linear, bowed in terms_of(*group[:3])
            )
            for group in sums.groups
        ]

    found = apart(groups, hist, even)
    return taken(jnp.concatenate([*found, jnp.zeros((1, hist.shape[1]))]), sums.position)


def _product(templates: Templates[Array], theta: Float[Array, "place lane"]) -> Float[Array, "sample bin lane"]:
    """Product of the parameters that multiply each yield."""
    extended = jnp.concatenate([theta, jnp.ones_like(theta[:1])])
    product = jnp.ones((1, 1, theta.shape[1]))
    for which in templates.multipliers.places:
        product = product * taken(extended, which)
    return product


def by_bin(templates: Templates[Array], values: Float[Array, "... channel lane"]) -> Float[Array, "... bin lane"]:
    """Values of channels as values of bins; of one channel as one value for all bins, (…, 1, lane)."""
    return values if values.shape[-2] == 1 else values[..., templates.bin_channel, :]


def by_channel(templates: Templates[Array], values: Float[Array, "... bin lane"]) -> Float[Array, "... channel lane"]:
    """Sums over the bins of each channel."""
    channels = templates.normsys.log_hi.shape[2]
    if channels == 1:
        return jnp.expand_dims(total(values, -2), -2)
    inside = templates.bin_channel[None] == jnp.arange(channels)[:, None]
    return (
        values if channels == values.shape[-2] else jnp.einsum("cb,...bt->...ct", inside.astype(values.dtype), values)
    )


def beside_zero(templates: Templates[Array], theta: Float[Array, "place lane"]) -> Float[Array, "place lane"]:
    """Parameters with those at 0 next to it: products of derivatives are then formed without a division by zero.

    They keep their full relative precision. At a kink 0 belongs to the lower side.
    """
    kinds = kinds_of(templates)
    kinked = over_interpolating(kinds, templates.histosys.shape[0] == 0, templates.normsys.edge == 0)
    rest = theta.shape[0] - kinds.interpolating
    beside = jnp.concatenate([jnp.where(kinked, -1e-60, 1e-60), jnp.full(rest, 1e-60)])
    return jnp.where(theta == 0, beside[:, None], theta)


def rates_at(templates: Templates[Array], theta: Float[Array, "place lane"]) -> Float[Array, "bin lane"]:
    """Expected main data, before the floor."""
    return total(cells_at(templates, theta).value)


def main_nll(rates: Float[Array, "bin lane"], data: Float[Array, "datum lane"]) -> Float[Array, " lane"]:
    """The nll of the main data less ``main_offset``."""
    return bins_nll(rates, data[: rates.shape[0]])


def main_offset(templates: Templates[Array], data: Float[Array, "datum lane"]) -> Float[Array, " lane"]:
    """What the nll of the main data has of the data alone."""
    return jnp.sum(poisson_offset(data[: templates.nominal.shape[1]]), axis=0)
