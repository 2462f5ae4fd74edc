"""Second minima of products: where a loosely constrained factor γ and what else multiplies its yields grow together.

With the other parameters adapted to first order and counts taken as normal (see ``profiles``), a yield s of the cells that
γ multiplies, put into their bins in shares u, changes the nll by

    -A s + ½ B s²,    A = uᵀ K⁻¹ r,    B = uᵀ K⁻¹ u,

and moves the others by -V Jᵀ K⁻¹ u s. The yield is s = γ c Y exp(L): Y sums what histosys do to the cells, L what normsys
do, each linear in its parameter on either side of 0. It costs τγ - n log γ, and ½ δ²/V for parameters that move by δ
beyond that. Stationary points have δ = V (ψ L' + ζ Y'), so that only ψ and ζ are searched, on a grid, and γ follows: a Y
of the wrong sign is crossed by a large ζ. Then the length of δ is searched with L and Y as they are there, and last γ
follows from the model's own yield. docs/second-minima.md has what was measured.

Toys are the last axis. One factor is looked at after the other; (term, lane) are the parameters that change its yields.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from toymill.histfactory.arrays import Loose, Templates
from toymill.histfactory.derivatives import Slopes
from toymill.histfactory.rates import cells_at, own_bin

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

_SCALES = np.array([0.0, 0.1, 0.25, 0.45, 0.7, 1.0, 1.4, 1.9, 2.5, 3.2])[:, None, None]  # ψ
_SHIFTS = np.array([0.0, 0.15, 0.35, 0.6, 1.0, 1.5, 2.2, 3.0])[None, :, None]  # ζ
_LENGTHS = np.array([0.15, 0.3, 0.45, 0.6, 0.8, 1.0, 1.25, 1.55, 2.0, 2.6, 3.4])[
    :, None, None
]  # of δ, in units of the grid's best
_FIRST_YIELDS = (0.8, 0.5, 0.3)  # of A/B, before it is known
_LARGEST_LOG = 30.0  # of a product of factors
_VISIBLE = 0.05  # ½ s² Σ u²/ν from which a yield is there at all
_COARSE_SHIFTS = np.array([0.05, 0.4, 1.2])[None, :, None]  # ζ of a first look, beyond where the yield turns positive
_COARSE_YIELD = 0.3  # of A/B, of the same
_COARSE_MARGIN = 0.6  # by which it may miss; 0.41 was enough for 24,324 products that led to lower minima
_UNSURE = 0.35  # of the misfit ½ A²/B by which a gap may be overestimated


class ProductMinimum(NamedTuple):
    """The likeliest second minimum of the product of a factor of ``Scan.loose``.

    Attributes:
        gap: how far its nll lies above the fit's at least, about; infinite where there is none.
        theta: parameters there.
    """

    gap: Float[Array, " lane"]
    theta: Float[Array, "place lane"]


class ForeseenProducts(NamedTuple):
    """What is known beforehand of the second minimum of the product of each factor of ``Scan.loose``.

    Attributes:
        gap: how far its nll lies above the fit's at least, roughly; infinite where the fit has such a yield already.
        undone: True where it has, and may have a second minimum without: where the factor's auxiliary datum is 0.
    """

    gap: Float[Array, "loose lane"]
    undone: Bool[Array, "loose lane"]


class Near(NamedTuple):
    """The nll near a fit, counts taken as normal and expectations as linear in the parameters; see ``profiles``.

    Attributes:
        constrained: True for a parameter with a constraint.
        information: its 1/σ², 1 for the others.
        pull: θ - a of those that move, 0 for the others.
        variance: V = 1/D, 0 for a parameter that does not move.
        residual: r = n - ν + Σ J (θ - a).
        weigh: multiplies by K⁻¹ from the left, (bin, column, lane) to the same, over all parameters.
    """

    constrained: Bool[Array, "place lane"]
    information: Float[Array, "place lane"]
    pull: Float[Array, "place lane"]
    variance: Float[Array, "place lane"]
    residual: Float[Array, "bin lane"]
    weigh: Callable[[Array], Array]


class _Factor(NamedTuple):
    """What a yield by a factor does to the nll, and what the factor costs.

    Attributes:
        strength: |A|.
        sign: of A: yields are positive in its direction.
        stiffness: B.
        visible: Σ u²/ν, with the expectations ν of the bins.
        tau: τ.
        events: n, its auxiliary datum.
        now: γ of the fit.
        low: bound of γ.
        high: bound of γ.
    """

    strength: Float[Array, " lane"]
    sign: Float[Array, " lane"]
    stiffness: Float[Array, " lane"]
    visible: Float[Array, " lane"]
    tau: Float[Array, ""]
    events: Float[Array, " lane"]
    now: Float[Array, " lane"]
    low: Float[Array, ""]
    high: Float[Array, ""]

    def best(self, unit: Float[Array, "*some lane"]) -> tuple[Array, Array, Array]:
        """γ, its yield and the change of the nll, from the yield for γ = 1."""
        factor = _Factor(*(_ranked(values, unit.ndim) for values in self))
        bend, slope = factor.stiffness * unit**2, factor.tau - factor.strength * unit
        gamma = (jnp.sqrt(slope**2 + 4 * bend * factor.events) - slope) / jnp.maximum(2 * bend, 1e-300)
        gamma = jnp.clip(gamma, factor.low, factor.high)
        found = gamma * unit
        change = factor.tau * (gamma - factor.now) - factor.strength * found + 0.5 * factor.stiffness * found**2
        change = change - jnp.where(factor.events > 0, factor.events * jnp.log(gamma / factor.now), 0.0)
        return gamma, found, jnp.where((found > 0) & factor.is_there(found), change, jnp.inf)

    def misfit(self) -> Float[Array, " lane"]:
        """½ A²/B, the most that a yield may gain."""
        return 0.5 * self.strength**2 / self.stiffness

    def is_there(self, found: Float[Array, "*some lane"]) -> Bool[Array, "*some lane"]:
        """Whether a yield can be told from none."""
        return 0.5 * found**2 * self.visible > _VISIBLE


class _Product(NamedTuple):
    """The best product of a factor: δ, its yield, and the change of the nll."""

    moved: Float[Array, "term lane"]
    found: Float[Array, " lane"]
    change: Float[Array, " lane"]


def foreseen_products(
    templates: Templates[Array],
    slopes: Slopes,
    near: Near,
    theta: Float[Array, "place lane"],
    data: Float[Array, "datum lane"],
    bounds: Float[Array, "place 2"],
) -> ForeseenProducts:
    """Whether ``product_minimum`` may find a second minimum of fits that ended at ``theta``.

    From a few of its grid's places, so that most fits need no more.
    """
    loose, lanes = templates.scan.loose, theta.shape[1]
    if not len(loose.places):
        return ForeseenProducts(jnp.zeros((0, lanes)), jnp.zeros((0, lanes), dtype=bool))
    every = jnp.broadcast_to(loose.shares.T[..., None], (*loose.shares.T.shape, lanes))
    weighed = jnp.swapaxes(near.weigh(every), 0, 1)

    def foreseen(one: tuple[Loose[Array], Array]) -> ForeseenProducts:
        loose, weighed = one
        factor = _factor(loose, slopes, near, weighed, theta, data, bounds)
        follow = _follow(templates, slopes, near, weighed)[loose.terms]
        lines = _Lines.of(loose, near, factor, theta[loose.terms], follow, _COARSE_YIELD)
        change = jnp.min(lines.searched_coarsely(), axis=(0, 1))
        gap = change - _UNSURE * factor.misfit() - _COARSE_MARGIN
        there = factor.is_there(_of_cells(loose, slopes.cells.value))
        return ForeseenProducts(jnp.where(there, jnp.inf, gap), there & (factor.events == 0))

    found: ForeseenProducts = lax.map(foreseen, (loose, weighed))
    return found


def product_minimum(
    templates: Templates[Array],
    slopes: Slopes,
    near: Near,
    theta: Float[Array, "place lane"],
    data: Float[Array, "datum lane"],
    bounds: Float[Array, "place 2"],
    number: Int[Array, ""],
) -> ProductMinimum:
    """The likeliest second minimum of the product of one factor, of fits that ended at ``theta``; see the module."""
    loose: Loose[Array] = jax.tree.map(lambda values: values[number], templates.scan.loose)
    weighed = near.weigh(jnp.broadcast_to(loose.shares[:, None, None], (len(loose.shares), 1, theta.shape[1])))[:, 0]
    factor = _factor(loose, slopes, near, weighed, theta, data, bounds)
    follow = _follow(templates, slopes, near, weighed)

    def the_lower(best: ProductMinimum, share: Array) -> tuple[ProductMinimum, None]:
        product = _best_product(loose, near, factor, theta[loose.terms], follow[loose.terms], share)
        at = (theta + follow * (factor.sign * product.found)[None]).at[loose.terms].add(product.moved)
        at = jnp.where(near.variance > 0, jnp.clip(at, bounds[:, :1], bounds[:, 1:]), theta)
        unit = factor.sign * _of_cells(loose, cells_at(templates, at.at[loose.places].set(1.0)).value)
        gamma, _, change = factor.best(unit)
        gap = change + _cost(product.moved, near.variance[loose.terms])
        at = jnp.where((gap < best.gap)[None], at.at[loose.places].set(gamma), best.theta)
        return ProductMinimum(jnp.minimum(gap, best.gap), at), None

    nothing = ProductMinimum(jnp.full(theta.shape[1], jnp.inf), theta)
    best, _ = lax.scan(the_lower, nothing, jnp.asarray(_FIRST_YIELDS))  # written out, all would be compiled three times
    return best._replace(gap=best.gap - _UNSURE * factor.misfit())


def _of_cells(loose: Loose[Array], values: Float[Array, "sample bin lane"]) -> Float[Array, " lane"]:
    """The sum over the cells that a factor multiplies."""
    return jnp.sum(jnp.where(loose.cells[..., None], values, 0.0), axis=(0, 1))


def _follow(templates: Templates[Array], slopes: Slopes, near: Near, weighed: Array) -> Float[Array, "place lane"]:
    """How all parameters follow a yield, -V Jᵀ K⁻¹ u."""
    several, own = jnp.sum(slopes.jacobian * weighed[None], axis=1), slopes.own * weighed[own_bin(templates)]
    return -jnp.concatenate([several, own]) * near.variance


def _factor(
    loose: Loose[Array], slopes: Slopes, near: Near, weighed: Array, theta: Array, data: Array, bounds: Array
) -> _Factor:
    strength, shares = jnp.sum(weighed * near.residual, axis=0), loose.shares[:, None]
    return _Factor(
        strength=jnp.abs(strength),
        sign=jnp.where(strength < 0, -1.0, 1.0),
        stiffness=jnp.sum(weighed * shares, axis=0),
        visible=jnp.sum(shares**2 / slopes.rates, axis=0),
        tau=loose.tau,
        events=data[loose.datum],
        now=jnp.maximum(theta[loose.places], 1e-300),
        low=bounds[loose.places, 0],
        high=bounds[loose.places, 1],
    )


class _Lines(NamedTuple):
    """The products of a factor whose δ are V (ψ L' + ζ Y'), with L' and Y' as they are at a first yield.

    Attributes:
        loose: the factor.
        factor: what its yield does to the nll.
        variance: V of the parameters that change the yield, 0 without a constraint.
        by_scale: L'.
        by_shift: Y'.
        sums: Σ V L'², Σ V L' Y', Σ V Y'².
        scale: L at the first yield.
        shift: Y there, in units of the nominal yield and positive in its direction.
    """

    loose: Loose[Array]
    factor: _Factor
    variance: Float[Array, "term lane"]
    by_scale: Float[Array, "term lane"]
    by_shift: Float[Array, "term lane"]
    sums: tuple[Float[Array, "1 1 lane"], ...]
    scale: Float[Array, "1 1 lane"]
    shift: Float[Array, "1 1 lane"]

    @classmethod
    def of(
        cls,
        loose: Loose[Array],
        near: Near,
        factor: _Factor,
        here: Array,
        follow: Array,
        share: Float[Array, ""] | float,
    ) -> _Lines:
        """Those at a share of A/B; ``here`` are the parameters of the fit, ``follow`` how they follow a yield."""
        variance = jnp.where(near.constrained, near.variance, 0.0)[loose.terms]
        start = here + follow * (factor.sign * share * factor.strength / factor.stiffness)[None]
        by_scale = _steepest(lambda x: _scale(loose, x), start)
        by_shift = _steepest(lambda x: _shift(loose, factor, x), start)
        pairs = ((by_scale, by_scale), (by_scale, by_shift), (by_shift, by_shift))
        sums = tuple(jnp.sum(variance * one * other, axis=0)[None, None] for one, other in pairs)
        scale = jnp.sum(_scale(loose, start), axis=0)[None, None]
        shift = (factor.sign + jnp.sum(_shift(loose, factor, start), axis=0))[None, None]
        return cls(loose, factor, variance, by_scale, by_shift, sums, scale, shift)

    def searched(self, psi: Array | np.ndarray, zeta: Array | np.ndarray) -> tuple[Array, Array]:
        """The yield and the change of the nll at ψ and ζ, (scale, shift, lane) all."""
        first, both, second = self.sums
        unit = _unit(self.loose, self.scale + psi * first + zeta * both, self.shift + psi * both + zeta * second)
        _, found, change = self.factor.best(unit)
        return found, change + 0.5 * (psi**2 * first + 2 * psi * zeta * both + zeta**2 * second)

    def searched_coarsely(self) -> Float[Array, "scale shift lane"]:
        """The change of the nll at a few places, ζ from where Y turns positive."""
        second = self.sums[2]
        crossed = jnp.where(second > 0, jnp.maximum(-self.shift, 0.0) / jnp.where(second > 0, second, 1.0), 0.0)
        return self.searched(_SCALES, crossed + _COARSE_SHIFTS)[1]


def _best_product(
    loose: Loose[Array],
    near: Near,
    factor: _Factor,
    here: Float[Array, "term lane"],
    follow: Float[Array, "term lane"],
    share: Float[Array, ""],
) -> _Product:
    """The best product of a factor; ``here`` are the parameters of the fit, ``follow`` how they follow a yield."""
    lines = _Lines.of(loose, near, factor, here, follow, share)
    found, change = lines.searched(_SCALES, _SHIFTS)
    lowest = jnp.argmin(change.reshape(-1, change.shape[-1]), axis=0)[None]

    def at_lowest(values: Array | np.ndarray) -> Array:
        every = jnp.broadcast_to(values, found.shape).reshape(-1, found.shape[-1])
        return jnp.take_along_axis(every, lowest, axis=0)[0]

    whole = lines.variance * (at_lowest(_SCALES)[None] * lines.by_scale + at_lowest(_SHIFTS)[None] * lines.by_shift)
    start = here + follow * (factor.sign * jnp.where(jnp.isfinite(at_lowest(change)), at_lowest(found), 0.0))[None]
    at = start[None] + _LENGTHS * whole[None]  # (length, term, lane)
    sums = factor.sign[None] + jnp.sum(_shift(loose, factor, at), axis=1)
    _, found, change = factor.best(_unit(loose, jnp.sum(_scale(loose, at), axis=1), sums))
    change = change + _LENGTHS[:, 0] ** 2 * _cost(whole, lines.variance)[None]
    lowest = jnp.argmin(change, axis=0)[None]
    return _Product(
        jnp.asarray(_LENGTHS)[lowest[0], 0, 0][None] * whole,
        jnp.take_along_axis(found, lowest, axis=0)[0],
        jnp.take_along_axis(change, lowest, axis=0)[0],
    )


def _scale(loose: Loose[Array], x: Float[Array, "*some term lane"]) -> Float[Array, "*some term lane"]:
    """What each parameter adds to L."""
    return _two_sided(loose.scale, x)


def _shift(loose: Loose[Array], factor: _Factor, x: Float[Array, "*some term lane"]) -> Float[Array, "*some term lane"]:
    """What each parameter adds to Y, in units of the nominal yield and positive in the yield's direction."""
    return _two_sided(loose.shift, x) * _ranked(factor.sign, x.ndim)


def _unit(loose: Loose[Array], scales: Float[Array, "*some lane"], sums: Float[Array, "*some lane"]) -> Array:
    """The yield for γ = 1, from L and Y."""
    return loose.yields * sums * jnp.exp(jnp.clip(scales, -_LARGEST_LOG, _LARGEST_LOG))


def _cost(moved: Float[Array, "term lane"], variance: Float[Array, "term lane"]) -> Float[Array, " lane"]:
    """½ Σ δ²/V."""
    return 0.5 * jnp.sum(jnp.where(variance > 0, moved**2 / jnp.where(variance > 0, variance, 1.0), 0.0), axis=0)


def _two_sided(slopes: Float[Array, "2 term"], x: Float[Array, "*some term lane"]) -> Float[Array, "*some term lane"]:
    """What is linear on either side of 0, given at 1 and at -1."""
    up, down = (_ranked(values[:, None], x.ndim) for values in slopes)
    return up * jnp.maximum(x, 0.0) + down * jnp.maximum(-x, 0.0)


def _ranked(values: Array, rank: int) -> Array:
    """An array with so many axes, new ones first; a number stays one."""
    return values.reshape((1,) * (rank - values.ndim) + values.shape) if values.ndim else values


def _steepest(function: Callable[[Array], Array], x: Float[Array, "term lane"]) -> Float[Array, "term lane"]:
    """The slope over a step of 1 up or down, whichever raises the function more; 0 where neither does."""
    here = function(x)
    up, down = function(x + 1.0) - here, function(x - 1.0) - here
    return jnp.where(jnp.maximum(up, down) > 0, jnp.where(up > down, up, -down), 0.0)
