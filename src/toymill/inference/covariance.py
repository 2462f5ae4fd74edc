"""The covariance of the fitted parameters over toys, and how near it comes to the Cramér-Rao bound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from toymill.record import NumberOrNone, Record

if TYPE_CHECKING:
    from jaxtyping import Float


class Covariance(NamedTuple):
    """A covariance matrix and its Monte Carlo error, both (P, P); NaN of fewer than two toys."""

    value: Float[np.ndarray, "parameter parameter"]
    error: Float[np.ndarray, "parameter parameter"]


def covariance_of_sums(
    count: int,
    sums: Float[np.ndarray, " parameter"],
    products: Float[np.ndarray, "parameter parameter"],
    products_21: Float[np.ndarray, "parameter parameter"],
    products_22: Float[np.ndarray, "parameter parameter"],
) -> Covariance:
    """The sample covariance, from sums over toys of deviations d from one origin, such as the truth.

    Its error is √((m₂₂ - c²)/n), with m₂₂ the mean of the squared products of deviations from the mean.

    Args:
        count: number of toys n.
        sums: Σ dᵢ.
        products: Σ dᵢ dⱼ.
        products_21: Σ dᵢ² dⱼ.
        products_22: Σ dᵢ² dⱼ².
    """
    if count < 2:
        nan = np.full(products.shape, np.nan)
        return Covariance(nan, nan)
    bias = sums / count
    second, m21, m22 = (part / count for part in (products, products_21, products_22))
    covariance = (second - np.outer(bias, bias)) * (count / (count - 1))
    # E[(x - bx)² (y - by)²] of deviations x, y from the truth, whose means are bx and by.
    square = np.diag(second)
    squares = (
        m22
        - 2 * (m21 * bias + (m21 * bias).T)
        + np.outer(square, bias**2)
        + np.outer(bias**2, square)
        + 4 * second * np.outer(bias, bias)
        - 3 * np.outer(bias**2, bias**2)
    )
    return Covariance(covariance, np.sqrt(np.maximum(squares - covariance**2, 0) / count))


def correlation_of(
    covariance: Float[np.ndarray, "parameter parameter"], count: int
) -> tuple[Float[np.ndarray, "parameter parameter"], Float[np.ndarray, "parameter parameter"]]:
    """The correlations ρ of a sample covariance, and their Monte Carlo errors (1 - ρ²)/√(n - 1), those of normal estimates.

    Args:
        covariance: (P, P).
        count: number of toys n.

    Returns:
        Both (P, P); NaN where a variance is not positive.

    Example:
        >>> value, error = correlation_of(np.array([[4.0, 1.0], [1.0, 1.0]]), 401)
        >>> value.tolist(), error.round(6).tolist()
        ([[1.0, 0.5], [0.5, 1.0]], [[0.0, 0.0375], [0.0375, 0.0]])
        >>> float(correlation_of(np.array([[19.471888932322173]]), 401)[1][0, 0])
        0.0
    """
    variance = np.diag(covariance)
    scale = np.sqrt(np.where(variance > 0, variance, np.nan))
    value = np.clip(covariance / scale / scale[:, None], -1, 1)
    np.fill_diagonal(value, np.where(variance > 0, 1.0, np.nan))  # not what rounding leaves of it
    return value, (1 - value**2) / np.sqrt(max(count - 1, 1))


class Efficiency(Record):
    """How near the variance of one parameter comes to the Cramér-Rao bound."""

    bound: NumberOrNone
    """The Cramér-Rao bound on its variance."""
    variance: NumberOrNone
    """Its variance over the toys."""
    variance_error: NumberOrNone
    """Monte Carlo error of the variance."""
    efficiency: NumberOrNone
    """The bound over the variance."""
    efficiency_error: NumberOrNone
    """Monte Carlo error of the efficiency."""


def efficiencies(
    bound: Sequence[Sequence[float | None]] | None, covariance: Covariance, *, comparable: bool
) -> list[Efficiency]:
    """The Cramér-Rao bound over the variance, for each parameter; its error is that of the variance.

    The bound is for unbiased estimators and data that all fluctuate: a biased estimator or one at its bounds may fall
    below it.

    Args:
        bound: the Cramér-Rao bound, (P, P); None where the information has no inverse.
        covariance: of the same parameters over the toys.
        comparable: whether all data fluctuate; if not, the bound says nothing of the variance.
    """
    found = []
    for i in range(len(covariance.value)):
        variance, error = float(covariance.value[i, i]), float(covariance.error[i, i])
        stated = None if bound is None else bound[i][i]
        usable = stated is not None and variance > 0 and comparable
        value = stated / variance if stated is not None and usable else math.nan
        found.append(
            Efficiency(
                bound=stated,
                variance=variance,
                variance_error=error,
                efficiency=value,
                efficiency_error=value * error / variance if usable else None,
            )
        )
    return found
