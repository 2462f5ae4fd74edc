"""Whether channels agree on the parameter of interest: the fit with one for each channel against the common fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import numpy as np
import scipy

from toymill.errors import ToymillError
from toymill.inference.p_values import PValue, tail
from toymill.record import NumberOrNone, Record

if TYPE_CHECKING:
    from jaxtyping import Float

ChannelName = Annotated[str, "channel"]
"""Key of a mapping: the name of a channel."""


class Estimate(Record):
    """A fitted parameter of interest."""

    value: NumberOrNone
    """The fitted value."""
    error: NumberOrNone
    """Its error from the exact Hessian; null at a bound."""


class ChannelCompatibility(Record):
    """Whether the channels agree on the parameter of interest."""

    observed: float
    """-2 ln L(common) / L(one for each channel) of the observed data, both at their largest."""
    p_value: PValue
    """The probability of as large a ratio, or a larger one, counted over toys at the common fit."""
    degrees_of_freedom: int
    """Channels that the parameter of interest acts on, less one."""
    asymptotic: float
    """The p-value from χ² with these degrees of freedom, which large counts approach."""
    common: Estimate
    """The fitted parameter of interest that all channels share."""
    channels: dict[ChannelName, Estimate]
    """That of each channel, from the fit with one for each."""
    sentence: str
    """The p-values in words."""


def channel_compatibility(
    poi: str,
    observed: float,
    toys: Float[np.ndarray, " toy"],
    common: Estimate,
    channels: Mapping[str, Estimate],
    tolerance: float = 0.0,
) -> ChannelCompatibility:
    """The p-value P(-2 ln λ ≥ observed) of λ = L(θ̂ with one μ) / L(θ̂ with a μ_c for each channel c).

    -2 ln λ is asymptotically χ² with as many degrees of freedom as channels less one (Wilks, Ann. Math. Stat. 9 (1938) 60;
    Combine's ChannelCompatibilityCheck). Of independent channels whose estimates are normal it is Σ (μ̂_c - μ̂)²/σ_c², the
    χ² of their weighted mean.

    Args:
        poi: name of the parameter of interest.
        observed: -2 ln λ of the observed data.
        toys: that of toys thrown at the common fit, (n,); NaN for a toy with a fit that is not certified.
        common: the common estimate of the observed data.
        channels: that of each channel.
        tolerance: toys as far below the observed value count as beyond, too; see ``p_values.tie_tolerance``.

    Raises:
        ToymillError: a fit to the observed data that is not certified.

    Example:
        >>> each = {"SR1": Estimate(value=0.5, error=0.5), "SR2": Estimate(value=1.5, error=0.5)}
        >>> found = channel_compatibility("mu", 2.0, np.array([0.1, 3.0, 0.7, 1.2]), Estimate(value=1.0, error=0.4), each)
        >>> found.p_value.value, found.degrees_of_freedom, round(found.asymptotic, 4)
        (0.25, 1, 0.1573)
    """
    if np.isnan(observed):
        msg = "A fit to the observed data, common or by channel, is not certified: whether channels agree cannot be judged."
        raise ToymillError(msg)
    degrees = len(channels) - 1
    p_value, asymptotic = tail(toys, observed, tolerance), float(scipy.stats.chi2.sf(observed, degrees))
    value = "undefined" if p_value.value is None else f"{p_value.value:.3g}"
    failed = ""
    if p_value.failed:
        failed = (
            f" {p_value.failed} of {p_value.toys + p_value.failed} toys have a fit that is not certified: with them it is "
            f"{p_value.if_failed_below:.3g} to {p_value.if_failed_beyond:.3g}."
        )
    sentence = (
        f"That {len(channels)} channels agree on {poi} has a p-value of {value} ({p_value.low:.3g} to {p_value.high:.3g}) "
        f"by toys, and {asymptotic:.3g} by χ² with {degrees} degree{'s' if degrees > 1 else ''} of freedom.{failed}"
    )
    return ChannelCompatibility(
        observed=observed,
        p_value=p_value,
        degrees_of_freedom=degrees,
        asymptotic=asymptotic,
        common=common,
        channels=dict(channels),
        sentence=sentence,
    )
