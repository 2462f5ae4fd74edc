"""Points of a confidence set of nuisance parameters, at which toys of an interval by Berger and Boos are thrown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy

from toymill.config.sections import BergerBoosConfig
from toymill.errors import ToymillError
from toymill.fitting.fit import fit
from toymill.fitting.results import Fits
from toymill.fitting.status import Status
from toymill.models.base import Model
from toymill.study.model import most_correlated, poi_of

if TYPE_CHECKING:
    from jaxtyping import Float

_DOUBLINGS, _HALVINGS = 30, 30  # of the search for an end of the set


def parameters_of_set(settings: BergerBoosConfig, model: Model) -> list[str]:
    """The nuisance parameters of the set: those that are named, or the one most correlated with that of interest.

    Raises:
        ToymillError: a model without nuisance parameters.
    """
    if settings.parameters is not None:
        return list(settings.parameters)
    if np.count_nonzero(~model.parameters.fixed) < 2:
        msg = "interval.berger_boos: the model has no nuisance parameter. Leave it out."
        raise ToymillError(msg)
    return [most_correlated(model, "interval.berger_boos")]


def points_of_set(
    settings: BergerBoosConfig, model: Model, names: Sequence[str], tested: Sequence[float]
) -> Float[np.ndarray, "test place parameter"]:
    """Points of C_β at each tested value of the parameter of interest, (K, J, P).

    C_β is where 2 (nll at μ and θ - nll of the fit with μ held) is at most the quantile of χ² at 1 - β, of as many degrees
    of freedom as there are parameters. Along each of these, the points lie evenly from end to end of the set, with all
    other nuisance parameters at their fit.

    Args:
        settings: the section of the configuration.
        model: a model with observed data.
        names: the parameters of the set.
        tested: the tested values, K of them.

    Raises:
        ToymillError: a fit to the observed data that is not certified.
    """
    quantile = float(scipy.stats.chi2.isf(settings.beta, len(names)))
    held = {poi_of(model): np.asarray(tested, dtype=float)}
    centre = _fitted(model, held, len(tested))
    found = []
    for name in names:
        ends = [_end(model, held, centre, name, quantile, upwards=upwards) for upwards in (False, True)]
        for share in np.linspace(0, 1, settings.points):
            place = {**held, name: (1 - share) * ends[0] + share * ends[1]}
            found.append(_fitted(model, place, len(tested)).parameters)
    return np.stack(found, axis=1)


def _end(
    model: Model, held: dict[str, np.ndarray], centre: Fits, name: str, quantile: float, *, upwards: bool
) -> Float[np.ndarray, " test"]:
    """Where the set ends along a parameter, one way, at each tested value; its bound where that is inside.

    Raises:
        ToymillError: a fit about the end that is not certified, or no end.
    """
    best, bound = centre.parameter(name), float(model.parameters.bounds[model.parameters.index(name), int(upwards)])
    room = np.abs(bound - best)

    def at(distance: Float[np.ndarray, " test"]) -> np.ndarray:
        value: np.ndarray = np.where(distance >= room, bound, best + (distance if upwards else -distance))
        return value

    def inside(distance: Float[np.ndarray, " test"]) -> np.ndarray:
        fits = fit(model, _data(model, len(best)), {**held, name: at(distance)}, covariance=False)
        result: np.ndarray = fits.ok & (2 * (fits.nll - centre.nll) <= quantile)
        return result

    low, high = np.zeros(len(best)), np.minimum(np.maximum(np.abs(best), 1.0), room)
    for _ in range(_DOUBLINGS):
        further = inside(high) & (high < room)
        if not further.any():
            break
        low, high = np.where(further, high, low), np.where(further, np.minimum(2 * high, room), high)
    whole = inside(high)
    if (whole & (high < room)).any():
        msg = f"interval.berger_boos: the data do not limit {name}, whose confidence set has no end. Name other parameters."
        raise ToymillError(msg)
    for _ in range(_HALVINGS):
        half = (low + high) / 2
        within = inside(half)
        low, high = np.where(within, half, low), np.where(within, high, half)
    _fitted(model, {**held, name: at(high)}, len(best))  # else the set would end where fits do
    return at(np.where(whole, room, low))


def _data(model: Model, count: int) -> Float[np.ndarray, "test datum"]:
    assert model.observed is not None
    return np.repeat(model.observed[None], count, axis=0)


def _fitted(model: Model, held: dict[str, np.ndarray], count: int, *, covariance: bool = False) -> Fits:
    """The fits to the observed data with parameters held, one for each tested value.

    Raises:
        ToymillError: one that is not certified.
    """
    fits = fit(model, _data(model, count), held, covariance=covariance)
    if not fits.ok.all():
        first = int(np.argmin(fits.ok))
        at = ", ".join(f"{name} = {value[first]:.4g}" for name, value in held.items()) or "all parameters free"
        status = Status(int(fits.status[first]))
        msg = f"interval.berger_boos: the fit to the observed data with {at} ended as {status.name.lower()}. {status.advice}"
        raise ToymillError(msg)
    return fits
