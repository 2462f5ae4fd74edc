"""Tilted truths of the toys without a signal: expectations about which the data of one signal's excess fluctuate.

The data of a scan's background are counts and normal numbers, each on its own given the truth. So a tilted truth is no more
than another expectation of each, and the density of a toy there, relative to that without a signal, has a closed form:

    ln f/f_0 = Σ n ln(m/m₀) - (m - m₀)  over counts,  Σ ((x - m₀)² - (x - m)²)/2σ²  over normal data
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from toymill.inference.information import cramer_rao, expected_information
from toymill.models.base import Model, Sampling

if TYPE_CHECKING:
    from jaxtyping import Float

    Data = Float[np.ndarray, " datum"]

_FLOOR = 0.01  # times the expectation without a signal, below which no tilted one falls


def direction(model: Model, null: Float[np.ndarray, " parameter"]) -> Data:
    """How the expectations move with a rising excess, (D,): to first order along the likeliest data of no signal.

    The other parameters follow that of interest as V_·μ / V_μμ, with V the Cramér-Rao bound; they stay where the
    information has no inverse.

    Args:
        model: the model of a signal.
        null: its truth point without a signal, (P,).
    """
    bound, step = cramer_rao(expected_information(model, null).matrix, model.parameters.fixed), np.zeros(len(null))
    step[model.poi_index] = 1.0
    if bound is not None:
        free = np.flatnonzero(~model.parameters.fixed)
        own = free.tolist().index(model.poi_index)
        step[free] = bound[:, own] / bound[own, own]
    _, moved = jax.jvp(model.expected_data, (jnp.asarray(null),), (jnp.asarray(step),))
    return np.asarray(moved)


def tilted(expected: Data, along: Data, sampling: Sampling, significance: float) -> Data:
    """Expectations at which an excess has a significance Z, (D,): 2 Σ (m ln(m/m₀) - m + m₀ or (m - m₀)²/2σ²) = Z².

    That is q_0 of the Asimov dataset if the fit without a signal to it is where it was; counts stay positive.

    Args:
        expected: the expectations without a signal, m₀.
        along: how they move with an excess.
        sampling: what the data are.
        significance: Z.
    """

    def at(scale: float) -> Data:
        moved = expected + scale * along
        found: np.ndarray = np.where(sampling.poisson, np.maximum(moved, _FLOOR * expected), moved)
        return found

    def short(scale: float) -> float:
        moved = at(scale)
        counts = scipy.special.kl_div(moved, expected)
        width = np.where(sampling.poisson, 1.0, sampling.sigma)
        normal = ((moved - expected) / width) ** 2 / 2
        return float(2 * np.sum(np.where(sampling.poisson, counts, normal)) - significance**2)

    high = 1.0
    while short(high) < 0 and high < 1e12:
        high *= 4
    low = high
    while short(low) > 0 and low > 1e-12:
        low /= 4
    return at(scipy.optimize.brentq(short, low, high) if short(low) < 0 < short(high) else high)


def log_ratios(
    data: Float[np.ndarray, "toy datum"], expected: Data, tilts: Float[np.ndarray, "truth datum"], sampling: Sampling
) -> Float[np.ndarray, "truth toy"]:
    """ln f/f_0 of each toy at each tilted truth, (J, n).

    Args:
        data: the toys.
        expected: the expectations without a signal.
        tilts: those at each tilted truth.
        sampling: what the data are.
    """
    poisson, variance = sampling.poisson, np.where(sampling.poisson, 1.0, sampling.sigma) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        of_counts = np.where(tilts == expected, 0.0, np.log(tilts / expected))
    slope = np.where(poisson, of_counts, (tilts - expected) / variance)
    constant = np.where(poisson, tilts - expected, (tilts**2 - expected**2) / (2 * variance))
    found: np.ndarray = slope @ data.T - constant.sum(axis=1)[:, None]
    return found
