"""What is known of a study before its toys are thrown: the content of ``model.json``."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from toymill._version import __version__
from toymill.config.dependencies import fits_digest
from toymill.config.study import Study, values_tested
from toymill.fitting.conditional import fit_tests
from toymill.fitting.status import Status
from toymill.inference.information import (
    Noncentrality,
    cramer_rao,
    expected_information,
    noncentralities,
    observed_information,
)
from toymill.inference.likelihood_ratios import t_mu
from toymill.models.base import Model
from toymill.results.description import (
    Asimov,
    Description,
    EnsembleDescription,
    Information,
    Observed,
    ObservedTest,
    ParameterDescription,
    ThrownFrom,
)
from toymill.study.model import Truth, checked_model, drawn_parameters, poi_of, truth_of
from toymill.toys import throw

if TYPE_CHECKING:
    from jaxtyping import Float


def describe(study: Study) -> Description:
    """The compiled model, its fit to the observed data, and the truth points."""
    model = checked_model(study)
    parameters = model.parameters
    return Description(
        toymill=__version__,
        study=study.study,
        digest=model.digest,
        inputs={
            str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for section in study.models.values()
            for path in section.inputs
        },
        poi=poi_of(model),
        parameters=[
            ParameterDescription(
                name=name,
                init=float(parameters.init[i]),
                bounds=(float(parameters.bounds[i, 0]), float(parameters.bounds[i, 1])),
                fixed=bool(parameters.fixed[i]),
                constraint=parameters.constraint[i],
            )
            for i, name in enumerate(parameters.names)
        ],
        data=list(model.data_names),
        observed=None if model.observed is None else _observed(study, model, model.observed),
        ensembles={name: _ensemble(study, model, name) for name in study.ensembles},
    )


def _observed(study: Study, model: Model, observed: Float[np.ndarray, " datum"]) -> Observed:
    """The observed data and their fits."""
    poi = poi_of(model)
    every = sorted({value for ensemble in study.ensembles.values() for value in values_tested(ensemble, poi)})
    tests = [{poi: value} for value in every]
    free, conditional = fit_tests(model, observed, tests, tolerance=study.fit.edm_tolerance)
    information = observed_information(model, free.parameters[0], observed[None])[0]
    return Observed(
        data=observed.tolist(),
        status=Status(int(free.status[0])).name.lower(),
        twice_nll=float(2 * free.nll[0]),
        parameters=dict(zip(free.names, free.parameters[0].tolist(), strict=True)),
        errors=dict(zip(free.names, free.errors[0].tolist(), strict=True)),
        derived={name: float(function(free.parameters[0])) for name, function in model.derived.items()},
        information=_over_free(information, model),
        tests=[
            ObservedTest(poi=value, t=float(t_mu(free, fits)[0]))
            for value, fits in zip(every, conditional, strict=True)
        ],
    )


def _ensemble(study: Study, model: Model, name: str) -> EnsembleDescription:
    """An ensemble's truth point, its information, and its Asimov dataset's fits (arXiv:1007.1727, sec. 3.2).

    Information and Asimov dataset are always those of the model that is fitted, as if it were true.
    """
    poi = poi_of(model)
    found = truth_of(study, model, name)
    truth = found.point
    information = expected_information(model, truth, seed=study.seed, stream=name)
    bound = cramer_rao(information.matrix, model.parameters.fixed)
    free = [
        parameter for parameter, fixed in zip(model.parameters.names, model.parameters.fixed, strict=True) if not fixed
    ]
    sigma = None if bound is None else float(np.sqrt(bound[free.index(poi), free.index(poi)]))
    tests = values_tested(study.ensembles[name], poi)
    noncentrality = _noncentralities(study, model, name, truth, bound)
    return EnsembleDescription(
        digest=fits_digest(study, name, model.digest),
        throw=study.ensembles[name].throw,
        thrown_from=_thrown_from(model, found),
        truth=dict(zip(model.parameters.names, truth.tolist(), strict=True)),
        drawn=drawn_parameters(study, model, name),
        derived={key: float(function(truth)) for key, function in model.derived.items()},
        tests=tests,
        asimov=Asimov(
            t=[item.value for item in noncentrality], t_error=[item.error for item in noncentrality], sigma=sigma
        ),
        information=Information(
            method=information.method,
            parameters=free,
            expected=_over_free(information.matrix, model),
            expected_error=_over_free(information.error, model),
            bound=None if bound is None else bound.tolist(),
        ),
    )


def _thrown_from(model: Model, truth: Truth) -> ThrownFrom | None:
    """The other model that toys are thrown from; None where that is the model that is fitted."""
    if truth.digest is None:
        return None
    names = truth.source.parameters.names
    return ThrownFrom(
        digest=truth.digest,
        truth=dict(zip(names, truth.at.tolist(), strict=True)),
        without_truth=[name for name in model.parameters.names if name not in names],
    )


def _noncentralities(
    study: Study,
    model: Model,
    name: str,
    truth: Float[np.ndarray, " parameter"],
    bound: Float[np.ndarray, "free free"] | None,
) -> list[Noncentrality]:
    """Λ of the asymptotic distribution of t at each test point: t of the Asimov dataset (CCGV eq. 30).

    A model that states a density has none; its Λ are ``information.noncentralities``, with errors.
    """
    poi = poi_of(model)
    tests = values_tested(study.ensembles[name], poi)
    if model.draw is None:
        asimov = throw(model, truth, 1, mode="asimov")
        free, conditional = fit_tests(model, asimov, [{poi: value} for value in tests])
        return [Noncentrality(float(np.maximum(t_mu(free, fits), 0.0)[0]), 0.0) for fits in conditional]
    found = dict.fromkeys(tests, Noncentrality(0.0, 0.0))  # at the truth; the others are put in
    away = [value for value in tests if value != truth[model.poi_index]]
    if away and bound is None:
        found.update(dict.fromkeys(away, Noncentrality(float("nan"), float("nan"))))
    elif away and bound is not None:
        others = noncentralities(model, truth, away, bound, seed=study.seed, stream=name)
        found.update(zip(away, others, strict=True))
    return list(found.values())


def _over_free(matrix: Float[np.ndarray, "parameter parameter"], model: Model) -> list[list[float | None]]:
    """The part of a matrix over the parameters that the model does not fix."""
    free = np.flatnonzero(~model.parameters.fixed)
    part: list[list[float | None]] = matrix[np.ix_(free, free)].tolist()
    return part
