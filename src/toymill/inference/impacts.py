"""Impacts: what the data, and what the nuisance parameters, do to an estimate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np

from toymill.record import NumberOrNone, ParameterName, Record

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from toymill.fitting.results import Fits
    from toymill.inference.global_impacts import GlobalImpacts
    from toymill.models.base import Model


GroupName = Annotated[str, "group"]
"""Key of a mapping: the name of a group of parameters."""


class Share(Record):
    """A part of the variance of an estimate, which some data bring in."""

    variance: float
    """Sum of the squared global impacts; below 0 where it is 0 within its Monte Carlo error."""
    variance_error: float
    """Its Monte Carlo error; 0 where it is not from toys."""
    sigma: float
    """Its square root: the part of the error, added in quadrature; 0 where the variance is below 0."""
    sigma_error: NumberOrNone
    """Its Monte Carlo error."""


class Decomposition(Record):
    """The variance of an estimate as a sum of parts."""

    of: str
    """Name of the parameter that is estimated."""
    toys: int
    """Certified toys; 0 where the decomposition is not from toys."""
    failed: int
    """Toys that are not certified, which are left out."""
    variance: float
    """The variance of the estimate: over the toys, or the fit's."""
    variance_error: float
    """Its Monte Carlo error; 0 where it is not from toys."""
    statistical: Share | None
    """The main data's part; null where it is not known apart from the rest."""
    systematic: Share
    """The auxiliary data's part."""
    rest: Share
    """What is not linear in the data, or of data whose impacts are not known."""
    groups: dict[GroupName, Share]
    """The parts of the auxiliary data of each group of parameters."""


class Shifts(NamedTuple):
    """How an estimate changes if a parameter is held at its best value plus or minus an error, and all others are fitted.

    Attributes:
        postfit_up: for the value plus its error in the fit; NaN where it is not known, as all.
        postfit_down: for the value less that error.
        prefit_up: for the value plus the standard deviation of its constraint.
        prefit_down: for the value less that standard deviation.
    """

    postfit_up: float = math.nan
    postfit_down: float = math.nan
    prefit_up: float = math.nan
    prefit_down: float = math.nan


class Impact(Record):
    """What one nuisance parameter does to an estimate; null is what is not defined, or was not asked for."""

    parameter: str
    """Name of the parameter."""
    pull: NumberOrNone
    """Its best value less the centre of its constraint, over the constraint's standard deviation."""
    constraint: NumberOrNone
    """Its error in the fit over the constraint's standard deviation."""
    global_toys: NumberOrNone
    """Change of the estimate with the parameter's auxiliary datum, per standard deviation, over the toys."""
    global_toys_error: NumberOrNone
    """Its Monte Carlo error."""
    global_fit: NumberOrNone
    """The same to first order at the observed fit."""
    postfit_up: NumberOrNone
    """Change of the estimate if the parameter is held at its best value plus its error in the fit."""
    postfit_down: NumberOrNone
    """The same for the best value less that error."""
    prefit_up: NumberOrNone
    """The same for the best value plus the standard deviation of the constraint."""
    prefit_down: NumberOrNone
    """The same for the best value less that standard deviation."""


def decompose(
    model: Model, impacts: GlobalImpacts, groups: Mapping[str, Sequence[ParameterName]] | None = None
) -> Decomposition:
    """The variance of an estimate as a sum over data (Pinto et al., arXiv:2307.04007).

    Var(μ̂) = Σ (∂μ̂/∂d)² Var(d) + rest. Over toys a squared impact is larger than its expectation by its Monte Carlo
    variance, which is subtracted. The error of a sum of squares i² is √(4 iᵀCi + 2 tr C²), C being the covariance of the i.

    Args:
        model: the model.
        impacts: from ``from_toys`` or ``from_fit`` of ``global_impacts``.
        groups: names of parameters by group; by their common name the elements of parameters with several if None.

    Raises:
        ToymillError: a group names an unknown parameter.
    """
    auxiliary, of = model.sampling.auxiliary[impacts.data], model.sampling.parameter[impacts.data]
    shares = {}
    for name, members in (_vectors(model) if groups is None else groups).items():
        shares[name] = _share(impacts, auxiliary & np.isin(of, [model.parameters.index(member) for member in members]))
    return Decomposition(
        of=impacts.of,
        toys=impacts.toys,
        failed=impacts.failed,
        variance=impacts.variance,
        variance_error=impacts.variance_error,
        statistical=None if auxiliary.all() else _share(impacts, ~auxiliary),
        systematic=_share(impacts, auxiliary),
        rest=_part(impacts.rest, impacts.rest_error),
        groups=shares,
    )


def _share(impacts: GlobalImpacts, which: Bool[np.ndarray, " known"]) -> Share:
    values = impacts.impacts[which]
    if impacts.covariance is None:
        return _part(float(values @ values), 0.0)
    errors = impacts.covariance[np.ix_(which, which)]
    variance = float(4 * values @ errors @ values + 2 * np.sum(errors**2))
    return _part(float(values @ values - np.trace(errors)), math.sqrt(variance))


def _part(variance: float, error: float) -> Share:
    sigma = math.sqrt(max(variance, 0.0))
    return Share(
        variance=variance,
        variance_error=error,
        sigma=sigma,
        sigma_error=error / (2 * sigma) if sigma > 0 else None,
    )


def _vectors(model: Model) -> dict[str, list[str]]:
    """The elements of parameters with several constrained ones, by their common name."""
    found: dict[str, list[str]] = {}
    for index in model.sampling.parameter[model.sampling.auxiliary]:
        name = model.parameters.names[index]
        if name.endswith("]"):
            found.setdefault(name.rpartition("[")[0], []).append(name)
    return {name: members for name, members in found.items() if len(members) > 1}


def impacts(
    model: Model,
    fits: Fits,
    *,
    of: str | None = None,
    from_toys: GlobalImpacts | None = None,
    from_fit: GlobalImpacts | None = None,
    shifted: Mapping[str, Shifts] | None = None,
) -> list[Impact]:
    """What every nuisance parameter does to an estimate, the largest first.

    Sorted by the larger of the post-fit shifts, and of the global impacts where a parameter has none.

    Args:
        model: the model.
        fits: the fit of the observed data.
        of: name of the parameter that is estimated; the parameter of interest if None.
        from_toys: global impacts over toys.
        from_fit: global impacts at the observed fit.
        shifted: shifts of the estimate by parameter, from ``shifts``.
    """
    index = model.poi_index if of is None else model.parameters.index(of)
    centre, sigma = constraints(model)
    over_toys, errors = _by_parameter(model, from_toys)
    at_fit, _ = _by_parameter(model, from_fit)
    found = []
    for i, name in enumerate(model.parameters.names):
        if i == index or model.parameters.fixed[i] or name in fits.fixed:
            continue
        of_parameter = (shifted or {}).get(name, Shifts())
        found.append(
            Impact(
                parameter=name,
                pull=(fits.parameters[0, i] - centre[i]) / sigma[i],
                constraint=fits.errors[0, i] / sigma[i],
                global_toys=over_toys[i],
                global_toys_error=errors[i],
                global_fit=at_fit[i],
                **of_parameter._asdict(),
            )
        )
    return sorted(found, key=_size, reverse=True)


def _by_parameter(
    model: Model, impacts: GlobalImpacts | None
) -> tuple[Float[np.ndarray, " parameter"], Float[np.ndarray, " parameter"]]:
    """The impact of each parameter's auxiliary datum, and its error: NaN where there is none."""
    values, errors = np.full((2, len(model.parameters)), np.nan)
    if impacts is not None:
        here = model.sampling.auxiliary[impacts.data]
        of = model.sampling.parameter[impacts.data[here]]
        values[of] = impacts.impacts[here]
        if impacts.covariance is not None:
            errors[of] = np.sqrt(np.diag(impacts.covariance)[here])
    return values, errors


def constraints(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Centre and standard deviation of each parameter's constraint, (P,): from the auxiliary datum; NaN without one.

    That of a Poisson constraint with a datum a of expectation τθ is √a/τ about a/τ.
    """
    sampling = model.sampling
    auxiliary = np.flatnonzero(sampling.auxiliary)
    centre, sigma = np.full((2, len(model.parameters)), np.nan)
    seen, scale = sampling.observed[auxiliary], sampling.scale[auxiliary]
    of = sampling.parameter[auxiliary]
    centre[of] = seen / scale
    sigma[of] = np.where(sampling.poisson[auxiliary], np.sqrt(np.maximum(seen, 0.0)), sampling.sigma[auxiliary]) / scale
    return centre, np.where(sigma > 0, sigma, np.nan)


def _size(impact: Impact) -> float:
    postfit = [abs(value) for value in (impact.postfit_up, impact.postfit_down) if value is not None]
    either = [abs(value) for value in (impact.global_fit, impact.global_toys) if value is not None]
    return max(postfit or either, default=0.0)
