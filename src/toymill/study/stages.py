"""The stages of a study, each as one call: describe the model, throw a shard, fit a shard.

A shard's toys are thrown, fitted and written in chunks, so that a job's memory does not grow with its toys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from toymill._version import __version__
from toymill.config.inspection import Facts
from toymill.config.opening import open_model
from toymill.config.study import Shard, Study, check_study, fits_digest, toys_digest, values_tested
from toymill.errors import ToymillError
from toymill.fitting.batching import block_size
from toymill.fitting.conditional import fit_tests
from toymill.fitting.fit import fit
from toymill.fitting.minuit import minuit_fit
from toymill.fitting.results import Fits
from toymill.fitting.status import Status
from toymill.inference.information import (
    Noncentrality,
    cramer_rao,
    expected_information,
    noncentralities,
    observed_information,
)
from toymill.inference.statistics import t_mu
from toymill.models.base import Model
from toymill.results.store import Audit, ShardKey, join_audits, writing_shard, writing_toys
from toymill.results.tally import Tally
from toymill.study.optimisers import Limits, Outcome, compare, table
from toymill.toys import throw

CHUNK = 65536
"""Most toys that are held at once: so many that the few which take longer cost little."""

_CHUNK_BYTES = 2**26  # data and fits that are held at once, if a block of toys is no larger


def checked_model(study: Study) -> Model:
    """The study's model, checked against the study.

    Raises:
        ToymillError: a model that cannot be used, a study that does not fit it.
    """
    model = open_model(study.model)
    check_study(study, Facts(model.parameters, model.poi, observed=model.observed is not None))
    return model


def truth_point(study: Study, model: Model, ensemble: str) -> np.ndarray:
    """The parameter values that an ensemble's toys are thrown at, shape (P,).

    Raises:
        ToymillError: a conditional fit to the observed data that is not certified.
    """
    settings = study.ensembles[ensemble]
    if settings.nuisances == "nominal":
        return model.parameters.values(settings.truth)
    assert model.observed is not None
    conditional = fit(model, model.observed, settings.truth)
    if not conditional.ok[0]:
        status = Status(int(conditional.status[0]))
        msg = (
            f"ensembles.{ensemble}.nuisances: the fit to the observed data at {dict(settings.truth)} ended as "
            f"{status.name.lower()}. {status.advice}"
        )
        raise ToymillError(msg)
    truth: np.ndarray = conditional.parameters[0]
    return truth


def toys_key(study: Study, model: Model, ensemble: str, shard: Shard) -> ShardKey:
    """What the file of a shard's toys must say that it is."""
    digest = toys_digest(study, ensemble, model.digest)
    return ShardKey(ensemble, digest, model.digest, study.seed, shard.first, shard.toys)


def fits_key(study: Study, model: Model, ensemble: str, shard: Shard) -> ShardKey:
    """What the file of a shard's fits must say that it is."""
    return toys_key(study, model, ensemble, shard)._replace(digest=fits_digest(study, ensemble, model.digest))


def throw_chunks(study: Study, model: Model, ensemble: str, shard: Shard) -> Iterator[tuple[int, np.ndarray]]:
    """A shard's toys in chunks: the index of the first toy, and data of shape (n, D).

    A chunk ends at a multiple of its size, whatever the shard, or with the shard.
    """
    settings = study.ensembles[ensemble]
    truth = truth_point(study, model, ensemble)
    fits = 1 + len(values_tested(settings, str(model.poi)))
    per_toy = 8 * (len(model.data_names) + 2 * fits * len(model.parameters))
    block = block_size(model)
    size = int(np.clip(2 ** int(np.log2(_CHUNK_BYTES / per_toy)) if per_toy < _CHUNK_BYTES else 1, block, CHUNK))
    first, end = shard.first, shard.first + shard.toys
    while first < end:
        count = min(size - first % size, end - first)
        yield first, throw(model, truth, count, seed=study.seed, first=first, stream=ensemble, mode=settings.throw)
        first += count


def throw_shard(study: Study, ensemble: str, shard: Shard, path: str | Path) -> None:
    """Write the file of a shard's toys."""
    model = checked_model(study)
    with writing_toys(path, toys_key(study, model, ensemble, shard), model.data_names) as file:
        for _, data in throw_chunks(study, model, ensemble, shard):
            file.add(data)


def fit_shard(study: Study, ensemble: str, shard: Shard, path: str | Path) -> None:
    """Throw a shard's toys and write the file of their fits: free, at each test point, and the audit's."""
    model = checked_model(study)
    assert model.poi is not None
    settings = study.ensembles[ensemble]
    values = values_tested(settings, model.poi)
    tests = [{model.poi: value} for value in values]
    tally = None
    if study.keep != "all":
        truth = truth_point(study, model, ensemble)
        tally = Tally.empty(truth, values, study.levels, [float(of(truth)) for of in model.derived.values()])
    audits = []
    with writing_shard(path, fits_key(study, model, ensemble, shard), study.keep) as file:
        for first, data in throw_chunks(study, model, ensemble, shard):
            free, conditional = fit_tests(model, data, tests, first=first, tolerance=study.fit.edm_tolerance)
            file.add(free, conditional)
            if tally is not None:
                tally.add(first, free, conditional, model.derived)
            audits.append(_audit(study, model, first, data, free, conditional))
        file.finish(join_audits(audits), tally)


def compare_optimisers(
    study: Study, ensemble: str, *, model: Model
) -> tuple[ShardKey, dict[str, Outcome], dict[str, Any]]:
    """Every optimiser's fits of an ensemble's toys: their key, what each did, the table."""
    whole = Shard("", 0, study.ensembles[ensemble].toys)
    data = np.concatenate([part for _, part in throw_chunks(study, model, ensemble, whole)])
    limits = Limits(study.optimisers.descent_steps, study.optimisers.newton_steps)
    outcomes = compare(model, data, study.optimisers.methods, limits)
    return toys_key(study, model, ensemble, whole), outcomes, table(model, data, outcomes)


def _audit(study: Study, model: Model, first: int, data: np.ndarray, free: Fits, conditional: list[Fits]) -> Audit:
    """Fit with iminuit the ensemble's first toys, as far as they are among these; toys are independent."""
    rows = np.arange(max(0, min(len(data), study.fit.audit - first)))
    result = Audit(
        toy=rows + first,
        nll_free=np.empty(len(rows)),
        nll_tests=np.empty((len(conditional), len(rows))),
        poi=np.empty(len(rows)),
        valid=np.ones(len(rows), dtype=bool),
    )
    for k, row in enumerate(rows):
        other = minuit_fit(model, data[row])
        result.nll_free[k] = other.nll - free.nll[row]
        result.poi[k] = other.parameters[model.poi_index] - free.parameters[row, model.poi_index]
        result.valid[k] = other.valid
        for number, fits in enumerate(conditional):
            held = minuit_fit(model, data[row], fits.fixed)
            result.nll_tests[number, k] = held.nll - fits.nll[row]
            result.valid[k] &= held.valid
    return result


def describe(study: Study) -> dict[str, Any]:
    """What ``model.json`` holds: the compiled model, its fit to the observed data, and the truth points."""
    model = checked_model(study)
    parameters = model.parameters
    return {
        "toymill": __version__,
        "study": study.study,
        "digest": model.digest,
        "inputs": {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in study.model.inputs},
        "poi": model.poi,
        "parameters": [
            {
                "name": name,
                "init": float(parameters.init[i]),
                "bounds": _finite(parameters.bounds[i]),
                "fixed": bool(parameters.fixed[i]),
                "constraint": parameters.constraint[i],
            }
            for i, name in enumerate(parameters.names)
        ],
        "data": list(model.data_names),
        "observed": None if model.observed is None else _describe_observed(study, model, model.observed),
        "ensembles": {name: _describe_ensemble(study, model, name) for name in study.ensembles},
    }


def _describe_observed(study: Study, model: Model, observed: np.ndarray) -> dict[str, Any]:
    """The observed data and their fits."""
    assert model.poi is not None
    every = sorted(
        {value for ensemble in study.ensembles.values() for value in values_tested(ensemble, str(model.poi))}
    )
    tests = [{model.poi: value} for value in every]
    free, conditional = fit_tests(model, observed, tests, tolerance=study.fit.edm_tolerance)
    information = observed_information(model, free.parameters[0], observed[None])[0]
    return {
        "data": observed.tolist(),
        "status": Status(int(free.status[0])).name.lower(),
        "twice_nll": _finite(2 * free.nll)[0],
        "parameters": dict(zip(free.names, _finite(free.parameters[0]), strict=True)),
        "errors": dict(zip(free.names, _finite(free.errors[0]), strict=True)),
        "derived": {name: float(function(free.parameters[0])) for name, function in model.derived.items()},
        "information": [_finite(row) for row in _over_free(information, model)],
        "tests": [
            {"poi": value, "t": _finite(t_mu(free, fits))[0]} for value, fits in zip(every, conditional, strict=True)
        ],
    }


def _describe_ensemble(study: Study, model: Model, name: str) -> dict[str, Any]:
    """An ensemble's truth point, its information, and its Asimov dataset's fits (arXiv:1007.1727, sec. 3.2)."""
    assert model.poi is not None
    settings = study.ensembles[name]
    truth = truth_point(study, model, name)
    tests = values_tested(settings, model.poi)
    information = expected_information(model, truth, seed=study.seed, stream=name)
    bound = cramer_rao(information.matrix, model.parameters.fixed)
    free = [
        parameter for parameter, fixed in zip(model.parameters.names, model.parameters.fixed, strict=True) if not fixed
    ]
    sigma = None if bound is None else float(np.sqrt(bound[free.index(model.poi), free.index(model.poi)]))
    return {
        "digest": fits_digest(study, name, model.digest),
        "throw": settings.throw,
        "truth": dict(zip(model.parameters.names, truth.tolist(), strict=True)),
        "derived": {key: float(function(truth)) for key, function in model.derived.items()},
        "tests": tests,
        "asimov": {**_noncentralities(study, model, name, truth, bound), "sigma": sigma},
        "information": {
            "method": information.method,
            "parameters": free,
            "expected": [_finite(row) for row in _over_free(information.matrix, model)],
            "expected_error": [_finite(row) for row in _over_free(information.error, model)],
            "bound": None if bound is None else [_finite(row) for row in bound],
        },
    }


def _noncentralities(
    study: Study, model: Model, name: str, truth: np.ndarray, bound: np.ndarray | None
) -> dict[str, list[float | None]]:
    """Λ of the asymptotic distribution of t at each test point: t of the Asimov dataset (CCGV eq. 30).

    A model that states a density has none; its Λ are ``information.noncentralities``, with errors.
    """
    assert model.poi is not None
    tests = values_tested(study.ensembles[name], model.poi)
    if model.draw is None:
        asimov = throw(model, truth, 1, mode="asimov")
        free, conditional = fit_tests(model, asimov, [{model.poi: value} for value in tests])
        t = [_finite(np.maximum(t_mu(free, fits), 0.0))[0] for fits in conditional]
        return {"t": t, "t_error": [0.0] * len(tests)}
    found = dict.fromkeys(tests, Noncentrality(0.0, 0.0))  # at the truth; the others are put in
    away = [value for value in tests if value != truth[model.poi_index]]
    if away and bound is None:
        found.update(dict.fromkeys(away, Noncentrality(float("nan"), float("nan"))))
    elif away and bound is not None:
        others = noncentralities(model, truth, away, bound, seed=study.seed, stream=name)
        found.update(zip(away, others, strict=True))
    values, errors = zip(*found.values(), strict=True)
    return {"t": _finite(np.array(values)), "t_error": _finite(np.array(errors))}


def _over_free(matrix: np.ndarray, model: Model) -> np.ndarray:
    free = np.flatnonzero(~model.parameters.fixed)
    part: np.ndarray = matrix[np.ix_(free, free)]
    return part


def _finite(values: np.ndarray) -> list[float | None]:
    """For JSON: numbers, with None where not finite."""
    return [float(value) if np.isfinite(value) else None for value in values]
