"""A study's model, its truth points, and the quantities that it derives from its parameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np
from pydantic import TypeAdapter

from toymill.config.ensemble import Ensemble, check_ensemble, check_thrown
from toymill.config.model import ModelConfig
from toymill.config.opening import facts_of_model, open_model
from toymill.config.study import Study, check_study
from toymill.errors import ToymillError
from toymill.fitting.fit import fit
from toymill.fitting.status import Status
from toymill.inference.information import cramer_rao, expected_information
from toymill.models.base import Model
from toymill.models.other_truth import thrown_from
from toymill.results.tally import Measures
from toymill.toys import Source

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def checked_model(study: Study) -> Model:
    """The study's model, checked against the study.

    Raises:
        ToymillError: a model that cannot be used, a study that does not fit it.
    """
    model = _opened(study.model)
    check_study(study, facts_of_model(model))
    return model


def poi_of(model: Model) -> str:
    """The parameter of interest of a checked model."""
    assert model.poi is not None
    return model.poi


def most_correlated(model: Model, key: str) -> str:
    """The free parameter whose estimate is most correlated with that of the parameter of interest.

    By the Cramér-Rao bound at the best fit to the observed data: unlike the covariance of that fit, it knows of parameters
    that are at a bound.

    Args:
        model: a checked model with observed data and two free parameters or more.
        key: what asks, as messages begin.

    Raises:
        ToymillError: data that cannot be fitted, or do not tell all parameters.
    """
    best = observed_point(model, {}, f"{key}: the fit to the observed data with all parameters free")
    bound = cramer_rao(expected_information(model, best).matrix, model.parameters.fixed)
    if bound is None:
        msg = (
            f"{key}: the data do not tell all parameters, so that the most important one is not known. Name parameters."
        )
        raise ToymillError(msg)
    free = np.flatnonzero(~model.parameters.fixed)
    names = [model.parameters.names[i] for i in free]
    column = bound[names.index(poi_of(model))] ** 2 / np.diagonal(bound)
    column[names.index(poi_of(model))] = -1.0
    return names[int(np.argmax(column))]


class Truth(NamedTuple):
    """What an ensemble's toys are thrown from, and at.

    Attributes:
        source: the model that they are thrown from.
        at: its parameter values, shape (P,) of that model.
        point: the same for the model that is fitted; parameters that only it has are at their initial values.
        digest: SHA-256 of what defines the other model; None where the fitted one is thrown from.
    """

    source: Source
    at: Float[np.ndarray, " parameter"]
    point: Float[np.ndarray, " parameter"]
    digest: str | None = None


def truth_of(study: Study, model: Model, ensemble: str) -> Truth:
    """What an ensemble's toys are thrown from, and at.

    Raises:
        ToymillError: a conditional fit to the observed data that is not certified; a model to throw from that cannot be
            used, or does not fit the one that is fitted.
    """
    settings = study.ensembles[ensemble]
    if settings.thrown_from is None:
        at = _values(ensemble, settings, model)
        return Truth(model, at, at)
    source = _opened(settings.thrown_from)
    facts = facts_of_model(model), facts_of_model(source)
    check_thrown(ensemble, study.model, settings, *facts)
    check_ensemble(ensemble, settings, *facts)
    at = _values(ensemble, settings, source)
    point = model.parameters.init.copy()
    for i, name in enumerate(model.parameters.names):
        if name in source.parameters.names:
            point[i] = at[source.parameters.index(name)]
    return Truth(thrown_from(source, model), at, point, source.digest)


def _opened(section: ModelConfig) -> Model:
    """The model of a section, opened once in a process: every other time its programs would be traced anew."""
    return _opened_once(json.dumps([section.model_dump(mode="json"), section.contents]))


@lru_cache(maxsize=4)
def _opened_once(key: str) -> Model:
    """The same by the section and what tells the content of its files."""
    return open_model(TypeAdapter[ModelConfig](ModelConfig).validate_python(json.loads(key)[0]))


def truth_point(study: Study, model: Model, ensemble: str) -> Float[np.ndarray, " parameter"]:
    """The parameter values of the fitted model that an ensemble's toys are thrown at, shape (P,).

    Raises:
        ToymillError: what ``truth_of`` refuses.
    """
    return truth_of(study, model, ensemble).point


def drawn_parameters(study: Study, model: Model, ensemble: str) -> tuple[str, ...]:
    """The free parameters whose values are drawn for each toy of an ensemble, so that no value is their truth.

    Hybrid toys draw those that auxiliary data constrain; toys of templates, what staterrors stand for.
    """
    throw, parameters = study.ensembles[ensemble].throw, model.parameters
    staterrors = facts_of_model(model).staterrors if throw == "templates" else ()
    return tuple(
        name
        for name, constraint, fixed in zip(parameters.names, parameters.constraint, parameters.fixed, strict=True)
        if name in staterrors or (throw == "hybrid" and constraint != "none" and name != model.poi)
        if not fixed
    )


def _values(ensemble: str, settings: Ensemble, model: Model) -> Float[np.ndarray, " parameter"]:
    """The truth point of the model that toys are thrown from, shape (P,)."""
    if settings.nuisances == "nominal":
        return model.parameters.values(settings.truth)
    what = f"ensembles.{ensemble}.nuisances: the fit to the observed data at {dict(settings.truth)}"
    staterrors = (
        facts_of_model(model).staterrors if settings.throw == "templates" else ()
    )  # they are drawn about nominal
    of = {name: model.parameters.index(name) for name in staterrors}
    nominal = {name: float(model.parameters.init[i]) for name, i in of.items() if not model.parameters.fixed[i]}
    return observed_point(model, {**settings.truth, **nominal}, what)


def observed_point(model: Model, held: Mapping[str, float], what: str) -> Float[np.ndarray, " parameter"]:
    """The fit to the observed data, shape (P,).

    Args:
        model: a model with observed data.
        held: parameters that the fit holds, by name.
        what: which fit it is, as the message begins if it is not certified.

    Raises:
        ToymillError: a fit that is not certified.
    """
    assert model.observed is not None
    fits = fit(model, model.observed, held, covariance=False)
    if not fits.ok[0]:
        status = Status(int(fits.status[0]))
        msg = f"{what} ended as {status.name.lower()}. {status.advice}"
        raise ToymillError(msg)
    point: np.ndarray = fits.parameters[0]
    return point


def measures_of(model: Model) -> Measures:
    """What is counted of the fits of a model's toys besides their parameters."""
    derived = {name: _of_each(quantity) for name, quantity in model.derived.items()}
    negative = model.negative_yields
    return Measures(derived, negative if negative and negative.cells else None)


def measures_of_study(study: Study) -> Measures:
    """The same for a study's model."""
    return measures_of(_opened(study.model))


@cache
def _of_each(
    quantity: Callable[[Float[Array, " parameter"]], Float[Array, ""]],
) -> Callable[[Float[np.ndarray, "toy parameter"]], Float[Array, " toy"]]:
    """A function of one toy's parameters, of those of many."""
    return jax.jit(jax.vmap(quantity))
