"""Where the first step of Fisher scoring leads from a point: it is linear in the data.

At a point θ₀, with expectations ν₀ and a₀ of main and auxiliary data and J = ∂ν/∂θ, the gradient is linear in the data, and
the Fisher information does not depend on them:

    g = -Jᵀ (n - ν₀)/ν₀ - C (a - a₀),    H = Jᵀ diag(1/ν₀) J + D,    θ₁ = θ₀ - H⁻¹ g.

C is 1/σ² for a normal constraint and 1/θ₀ for a Poisson one, D their second derivatives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from toymill.histfactory.arrays import Templates
from toymill.histfactory.expectation import expectation
from toymill.models.base import FirstStep, Sampling

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

_DIFFERENCE = 1e-4  # of a parameter, for derivatives


def first_step(
    templates: Templates[np.ndarray],
    sampling: Sampling,
    start: Float[np.ndarray, " parameter"],
    fixed: Bool[np.ndarray, " parameter"],
) -> FirstStep[np.ndarray] | None:
    """The first step from ``start``; None where it is no number."""
    rates, moved = expectation(templates, start), np.flatnonzero(~fixed)
    expected = np.concatenate([rates, sampling.expected(start)[len(rates) :]])
    with np.errstate(all="ignore"):
        change = _jacobian(templates, start) / rates[:, None]  # ∂ log ν/∂θ
        scores, information = np.zeros((len(start), len(expected))), change.T @ (rates[:, None] * change)
        scores[:, : len(rates)] = change.T
        at = np.flatnonzero(sampling.parameter >= 0)
        which, poisson = sampling.parameter[at], sampling.poisson[at]
        scores[which, at] = np.where(poisson, 1 / start[which], 1 / sampling.sigma[at] ** 2)
        information[which, which] += scores[which, at] * np.where(poisson, sampling.scale[at], 1.0)
        slope = np.zeros_like(scores)
        known = np.isfinite(expected)  # all but auxiliary data without a parameter
        expected = np.where(known, expected, 0.0)
        try:
            slope[moved] = np.linalg.solve(information[np.ix_(moved, moved)], scores[moved])
        except np.linalg.LinAlgError:
            return None
        step = FirstStep(start, fixed, expected, slope, change @ slope, information)
    return step if all(np.isfinite(values).all() for values in step) else None


def _jacobian(
    templates: Templates[np.ndarray], start: Float[np.ndarray, " parameter"]
) -> Float[np.ndarray, "bin parameter"]:
    """∂ν/∂θ by differences."""
    step = _DIFFERENCE * np.maximum(np.abs(start), 1.0)
    up, down = (expectation(templates, start[:, None] + sign * np.diag(step)) for sign in (1, -1))
    found: np.ndarray = (up - down) / (2 * step)
    return found
