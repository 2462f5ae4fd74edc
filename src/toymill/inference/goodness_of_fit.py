"""Goodness of fit: how often the fits of toys are as far from their data as the fit of the observed data is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import scipy

from toymill.errors import ToymillError
from toymill.inference.p_values import PValue, tail, tie_tolerance
from toymill.record import Record

if TYPE_CHECKING:
    from jaxtyping import Float

SATURATED = "saturated"
"""Name of the statistic that has an asymptotic distribution, χ²."""

_TIES = 1e-6  # relative: a certified fit leaves its parameters open by some 1e-6 of their errors, seldom by more


class GoodnessOfFit(Record):
    """One goodness-of-fit statistic of the observed data, and its p-value."""

    observed: float
    """The statistic of the observed data."""
    p_value: PValue
    """The probability of as large a statistic, or a larger one, counted over toys."""
    degrees_of_freedom: int | None = None
    """Data less fitted parameters, for the saturated statistic of all channels."""
    asymptotic: float | None = None
    """The p-value from χ² with these degrees of freedom, which large counts approach."""


def goodness_of_fit(
    observed: Mapping[str, float | Float[np.ndarray, " 1"]],
    toys: Mapping[str, Float[np.ndarray, " toy"]],
    *,
    degrees_of_freedom: int | None = None,
) -> dict[str, GoodnessOfFit]:
    """p = P(S ≥ S_observed) of every statistic, counted over toys that are thrown at the fit to the observed data.

    Toys count as beyond if they lie within 4e-8 and a part in a million of the observed value, which certified fits may
    leave open: in a model of few counts, ties carry much of the probability.

    Args:
        observed: the statistics of the observed data, as ``misfit.statistics`` gives them.
        toys: those of the toys, by the same names; NaN counts as a failed toy.
        degrees_of_freedom: those of the statistic ``saturated``, for the asymptotic p-value.

    Raises:
        ToymillError: the fit to the observed data is not certified, statistics of the toys are missing.

    Example:
        >>> toys = {"saturated": np.array([1.0, 6.0, 3.0, 2.0])}
        >>> found = goodness_of_fit({"saturated": 5.0}, toys, degrees_of_freedom=3)["saturated"]
        >>> found.p_value.value, round(found.asymptotic, 4)
        (0.25, 0.1718)
    """
    found = {}
    for name, value in observed.items():
        seen = float(np.squeeze(value))
        if np.isnan(seen):
            msg = "The fit to the observed data is not certified, so its goodness cannot be judged."
            raise ToymillError(msg)
        if name not in toys:
            msg = f"The toys have no statistic {name!r}; they have {', '.join(map(repr, toys)) or 'none'}."
            raise ToymillError(msg)
        degrees = degrees_of_freedom if name == SATURATED else None
        found[name] = GoodnessOfFit(
            observed=seen,
            p_value=tail(toys[name], seen, tie_tolerance() + _TIES * abs(seen)),
            degrees_of_freedom=degrees,
            asymptotic=None if degrees is None else float(scipy.stats.chi2.sf(seen, degrees)),
        )
    return found
