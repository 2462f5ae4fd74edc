"""A Gaussian blob on a square grid of pixels: the image, and log-densities of noise about it, for ``models.sums``."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from toymill.models.densities import log
from toymill.models.sums import NllDerivatives, RowDerivatives, Scalars, Terms
from toymill.models.user import Parameter, UserModel, define_model

if TYPE_CHECKING:
    from jax.typing import ArrayLike
    from jaxtyping import Float

Params = Array | tuple[Array | float, ...]
"""Values of ``PARAMETERS``: a vector or a tuple of numbers."""

PARAMETERS = ("x0", "y0", "amp", "sigma", "rho", "delta")


def row_image(params: Params, number: ArrayLike, n: int) -> Float[Array, " x"]:
    """One row of the image, at y = -2 + 4 number / (n - 1).

    m = amp exp(-(r² + rho dx dy + delta (dx² - dy²)) / (2 sigma²)), dx = x - x0, dy = y - y0, r² = dx² + dy².

    Args:
        params: x0, y0, amp, sigma, rho, delta, as ``PARAMETERS``.
        number: the row's number, 0 to n - 1.
        n: pixels along each axis, at ``np.linspace(-2, 2, n)``.

    Returns:
        The n pixels along x.
    """
    x0, y0, amp, sigma, rho, delta = params
    grid = np.linspace(-2, 2, n)
    dx, dy = grid - x0, jnp.asarray(grid)[number] - y0
    xx, yy = dx * dx, dy * dy
    # hypot's derivative at r = 0 is a trap: r² is all that is needed
    return amp * jnp.exp((-0.5 / (sigma * sigma)) * (xx + yy + rho * dx * dy + delta * (xx - yy)))


def image(params: Params, n: int) -> Float[Array, "y x"]:
    """The whole image, n rows along y; arguments as of ``row_image``.

    Example:
        >>> import jax
        >>> jax.config.update("jax_enable_x64", True)
        >>> image((0.0, 0.0, 1.0, 0.5, 0.0, 0.0), 3)[1].tolist() == [math.exp(-8), 1.0, math.exp(-8)]
        True
    """
    return jax.vmap(lambda number: row_image(params, number, n))(np.arange(n))


@cache
def normal_terms(n: int, g: float) -> Terms:
    """Log-density of a row of the n x n image with normal noise of standard deviation g, for ``models.sums``."""

    def terms(params: Scalars, row: Array, number: Array) -> Array:
        z = (row - row_image(params, number, n)) * (1 / g)
        return -0.5 * z * z - math.log(g * math.sqrt(2 * math.pi))

    return terms


@cache
def cauchy_terms(n: int, g: float) -> Terms:
    """Log-density of a row of the n x n image with Cauchy noise of scale g, for ``models.sums``."""

    def terms(params: Scalars, row: Array, number: Array) -> Array:
        z = (row - row_image(params, number, n)) * (1 / g)
        return -log(1 + z * z) - math.log(math.pi * g)

    return terms


_Moments = tuple[Array, list[Array], list[Array]]  # of a row: log-densities, v dy^b and w dy^b for b = 0 to 4

_POWERS = np.array([(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)])
"""Powers of dx and dy in each term of a quadratic form."""

_A, _B = np.moveaxis(_POWERS[:, None] + _POWERS, -1, 0)  # those of the product of two terms, each (6, 6)


@cache
def cauchy_derivatives(n: int, g: float) -> RowDerivatives[_Moments]:
    """NllDerivatives of the sum of ``cauchy_terms`` in closed form, for ``models.sums``.

    m = amp e with log e = Σ_k c_k X_k a quadratic form in X = (1, dx, dy, dx², dx dy, dy²), so that with
    u_i = ∂_i log e and u_ij = ∂_i ∂_j log e, which are such forms too, and D_i = amp u_i + [i is amp],

        ∂_i m = e D_i,    ∂_i ∂_j m = e (amp (u_i u_j + u_ij) + [i is amp] u_j + [j is amp] u_i).

    The nll is Σ log(1 + z²) and constants, z = (data - m) / g; its first and second derivatives by m are
    -2 z / (g (1 + z²)) and 2 (1 - z²) / (g² (1 + z²)²). With those times e and e² as weights v and w, gradient and
    Hessian need no more of the data than the moments Σ v dx^a dy^b and Σ w dx^a dy^b up to a + b = 4:

        ∂_i nll = Σ v D_i,    ∂_i ∂_j nll = Σ w D_i D_j + Σ v (∂_i ∂_j m / e).

    The powers of dy are a row's constants and those of dx a column's: rows add up v dy^b and w dy^b.
    """
    grid = np.linspace(-2, 2, n)

    def row(params: Scalars, values: Array, number: Array) -> _Moments:
        m = row_image((params[0], params[1], 1.0, *params[3:]), number, n)
        z = (values - params[2] * m) * (1 / g)
        density = 1 / (1 + z * z)
        v = (-2 / g) * z * density * m
        w = (2 / g**2) * (1 - z * z) * density * density * m * m
        dy = jnp.asarray(grid)[number] - params[1]
        powers = [dy**b for b in range(5)]
        return log(1 + z * z) + math.log(math.pi * g), [v * p for p in powers], [w * p for p in powers]

    def finish(params: Scalars, sums: _Moments) -> NllDerivatives:
        logs, first, second = sums
        dx = grid - params[0]
        columns = jnp.stack([dx**a for a in range(5)])
        v, w = columns @ jnp.stack(first).T, columns @ jnp.stack(second).T
        form, slope, bend = _exponent(params)
        v, w = v[_A, _B], w[_A, _B]
        amp = params[2]
        lone = jnp.zeros(6).at[2].set(1.0)  # [i is amp]
        each = amp * slope + jnp.outer(lone, form)
        cross = jnp.outer(lone, slope @ v[0])
        hessian = each @ w @ each.T + amp * (slope @ v @ slope.T + bend @ v[0]) + cross + cross.T
        return jnp.sum(logs), each @ v[0], hessian

    return RowDerivatives(row, finish)


def _exponent(
    params: Scalars,
) -> tuple[Float[Array, " form"], Float[Array, "parameter form"], Float[Array, "parameter parameter form"]]:
    """The form 1, and the first and second derivatives of log e by the parameters as forms."""

    def form(move: Array) -> Array:
        """Log e where dx, dy are those before x0 and y0 moved."""
        a, b, _, sigma, rho, delta = move
        parts = (
            (1 + delta) * a * a + rho * a * b + (1 - delta) * b * b,
            -2 * (1 + delta) * a - rho * b,
            -2 * (1 - delta) * b - rho * a,
            1 + delta,
            rho,
            1 - delta,
        )
        quadratic: Array = (-0.5 / (sigma * sigma)) * jnp.stack(parts)
        return quadratic

    here = jnp.stack([jnp.zeros_like(params[0]), jnp.zeros_like(params[1]), *params[2:]])
    slope, bend = jax.jacfwd(form)(here), jax.jacfwd(jax.jacfwd(form))(here)
    return jnp.zeros(6).at[0].set(1.0), slope.T, jnp.moveaxis(bend, 0, -1)


def build(
    n: int = 25,
    noise: str = "cauchy",
    g: float = 0.5,
    thrown_noise: str | None = None,
    outliers: int = 0,
    brightness: float = 20.0,
) -> UserModel:
    """An image of one spot on n × n pixels, with noise of a known scale in each of them.

    The Fisher information of a location is 1/(2g²) a pixel for Cauchy noise and 1/g² for normal noise, so that of the
    parameters is Σ (∂m)(∂m)ᵀ times it. It is that of the noise that toys have, without outliers.

    The likelihood has more than one minimum: a narrow or elongated spot that explains a few bright pixels may lie lower than
    the one that a fit finds from the initial values. Of 1,000 toys with n = 25 and g = 0.5, 37 had a lower one
    somewhere (24 random starts each). Fits here are those of an analyst who knows where the spot is.

    Args:
        n: pixels along each side.
        noise: what the likelihood assumes: ``"cauchy"``, or ``"normal"``, which is least squares.
        g: scale of the noise: half width at half maximum, or standard deviation.
        thrown_noise: what toys have; that of the likelihood if None.
        outliers: pixels of each toy, at random places, that are too bright.
        brightness: what is added to them.
    """
    thrown = thrown_noise or noise

    def throw(key: Array, params: Array) -> Array:
        fluctuation, place = jax.random.split(key)
        draw = jax.random.cauchy if thrown == "cauchy" else jax.random.normal
        made: Array = (image(params, n) + g * draw(fluctuation, (n, n))).ravel()
        where = jax.random.choice(place, n * n, (outliers,), replace=False)
        return made.at[where].add(brightness).reshape(n, n)

    def information(params: Array) -> Array:
        slopes: Array = jax.jacfwd(image)(params, n).reshape(n * n, -1)
        return slopes.T @ slopes / (2 * g**2 if thrown == "cauchy" else g**2)

    return define_model(
        {
            "x0": Parameter(0.0, (-2.0, 2.0)),
            "y0": Parameter(0.0, (-2.0, 2.0)),
            "amp": Parameter(1.0, (-20.0, 20.0)),
            "sigma": Parameter(0.5, (0.05, 5.0)),
            "rho": Parameter(0.0, (-1.9, 1.9)),
            "delta": Parameter(0.0, (-0.95, 0.95)),
        },
        poi="amp",
        terms=cauchy_terms(n, g) if noise == "cauchy" else normal_terms(n, g),
        row_derivatives=cauchy_derivatives(n, g) if noise == "cauchy" else None,
        throw=throw,
        information=information,
        mismatch=thrown != noise or outliers > 0,
        name="pixel",
    )
