"""A search for a peak: unbinned events, signal on a falling background, with yields."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy
from jax import Array
from jax.scipy.special import gammaincc, ndtr, ndtri

from toymill.models.user import Parameter, UserModel, define_model

if TYPE_CHECKING:
    from jaxtyping import Float

_NODES = 400  # of Gauss-Legendre quadrature: the information is then right to 1e-12 for peaks of 1 % of the range


class _Range(NamedTuple):
    """The range of the events, and how many of them there is room for."""

    low: float
    high: float
    room: int

    @property
    def span(self) -> float:
        return self.high - self.low


def build(
    signal: float = 20.0,
    background: float = 200.0,
    slope: float = 2.0,
    mass: float = 125.0,
    width: float = 2.0,
    low: float = 100.0,
    high: float = 160.0,
    float_mass: bool = False,
    float_width: bool = False,
    capacity: int | None = None,
) -> UserModel:
    """Events x in [low, high] of rate S·f_S(x) + B·f_B(x), their number Poisson (extended likelihood).

    f_S is a normal peak, f_B ∝ exp(-slope·(x - low)/(high - low)), each normalised over the range:
    log L = -(S + B) + Σ log(S f_S(x_i) + B f_B(x_i)) (Barlow, NIM A297 (1990) 496), a density of unordered events.

    A dataset is an array of fixed length: the number of events, then the events, then zeros. A toy that has more
    events than there is room for is thrown as NaN, which stops the study with advice, never cut.

    Args:
        signal: initial value of S, which is 0 or more.
        background: initial value of B.
        slope: initial value of the background's slope, over the whole range.
        mass: the peak's position.
        width: the peak's standard deviation.
        low: lower end of the range.
        high: upper end of the range.
        float_mass: fit the position too.
        float_width: fit the width too.
        capacity: most events of one dataset; None is room for S + B, and as much again for a larger truth, beyond
            which Poisson fluctuations of a probability of 1e-12 fit.
    """
    room = capacity or int(scipy.stats.poisson.isf(1e-12, 2 * (signal + background))) + 1
    inside = _Range(low, high, room)
    positive = (0.0, math.inf)
    return define_model(
        {
            "signal": Parameter(signal, positive),
            "background": Parameter(background, positive),
            "slope": Parameter(slope, (-50.0, 50.0)),
            "mass": Parameter(mass, (low, high), fixed=not float_mass),
            "width": Parameter(width, (inside.span / 1000, inside.span), fixed=not float_width),
        },
        poi="signal",
        logpdf=partial(_logpdf, inside),
        throw=partial(_throw, inside),
        information=partial(_information, inside),
        name="events",
    )


def _peak(inside: _Range, x: Array, mass: Array, width: Array) -> Array:
    """f_S, a normal density over the range."""
    share: Array = ndtr((inside.high - mass) / width) - ndtr((inside.low - mass) / width)
    return jnp.exp(-0.5 * ((x - mass) / width) ** 2) / (math.sqrt(2 * math.pi) * width * share)


def _falling(inside: _Range, x: Array, slope: Array) -> Array:
    """f_B, an exponential density over the range."""
    # s/(1 - e^-s) is smooth at s = 0 but not its formula: the series there (error below 1e-15).
    small = jnp.abs(slope) < 1e-3
    safe = jnp.where(small, 1.0, slope)
    scale = jnp.where(small, 1 + slope / 2 + slope**2 / 12 - slope**4 / 720, safe / -jnp.expm1(-safe))
    density: Array = scale / inside.span * jnp.exp(-slope * (x - inside.low) / inside.span)
    return density


def _rate(inside: _Range, params: Array, x: Array) -> Array:
    """λ = S f_S + B f_B."""
    s, b, slope, mass, width = params
    rate: Array = s * _peak(inside, x, mass, width) + b * _falling(inside, x, slope)
    return rate


def _logpdf(inside: _Range, params: Array, data: Array) -> Array:
    count, x = data[0], data[1:]
    there = jnp.arange(inside.room) < count
    density = _rate(inside, params, jnp.where(there, x, inside.low))
    return -(params[0] + params[1]) + jnp.sum(jnp.where(there, jnp.log(jnp.where(there, density, 1.0)), 0.0))


def _throw(inside: _Range, key: Array, params: Array) -> Array:
    s, b, slope, mass, width = params
    low, high, room = inside
    number, kind, place = jax.random.split(key, 3)
    # Smallest k with P(n ≤ k) ≥ u, P(n ≤ k) = Q(k + 1, S + B).
    below = gammaincc(jnp.arange(room + 1) + 1.0, s + b) < jax.random.uniform(number)
    count = jnp.sum(below)
    u = jax.random.uniform(place, (room,))
    left, right = ndtr((low - mass) / width), ndtr((high - mass) / width)
    of_peak = mass + width * ndtri(jnp.clip(left + u * (right - left), 1e-300, 1 - 1e-16))
    flat = jnp.abs(slope) < 1e-12
    safe = jnp.where(flat, 1.0, slope)
    of_background = low + inside.span * jnp.where(flat, u, -jnp.log1p(u * jnp.expm1(-safe)) / safe)
    x = jnp.where(jax.random.uniform(kind, (room,)) * (s + b) < s, of_peak, of_background)
    x = jnp.where(jnp.arange(room) < count, x, 0.0)
    data = jnp.concatenate([count.astype(jnp.float64)[None], x])
    return jnp.where(count > room, jnp.nan, data)


def _information(inside: _Range, params: Array) -> Float[Array, "parameter parameter"]:
    """∫ (∂λ)(∂λ)ᵀ/λ dx, by quadrature in pieces around the peak."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    low, high, _ = inside
    mass, width = params[3], params[4]
    edges = jnp.clip(jnp.stack([low, mass - 8 * width, mass, mass + 8 * width, high]), low, high)
    half = (edges[1:] - edges[:-1])[:, None] / 2
    x = (half * nodes[None] + (edges[1:] + edges[:-1])[:, None] / 2).ravel()
    slopes: Array = jax.jacfwd(partial(_rate, inside))(params, x)
    return (slopes * ((half * weights[None]).ravel() / _rate(inside, params, x))[:, None]).T @ slopes
