"""The stages of a study, each as one call: describe the model, throw a shard, fit a shard."""

from __future__ import annotations

import hashlib
from typing import Any

import jax
import numpy as np

import toymill
from toymill.audit import minuit_fit
from toymill.config import Shard, Study, check_study, compile_model, fits_digest, toys_digest, values_tested
from toymill.errors import ToymillError
from toymill.likelihood import Fits, fit, fit_tests
from toymill.minimize import Status
from toymill.models.base import Model
from toymill.models.histfactory import from_compiled
from toymill.store import Audit, ShardFits, ShardKey
from toymill.toys import throw


def open_model(study: Study) -> Model:
    """The study's model, checked against the study.

    Raises:
        ToymillError: a workspace that cannot be used, a study that does not fit it.
    """
    compiled = compile_model(study)
    check_study(study, compiled)
    return from_compiled(compiled)


def truth_point(study: Study, model: Model, ensemble: str) -> np.ndarray:
    """The parameter values that an ensemble's toys are thrown at, shape (P,).

    Raises:
        ToymillError: a conditional fit to the observed data that is not certified.
    """
    settings = study.ensembles[ensemble]
    if settings.nuisances == "nominal":
        return model.parameters.values(settings.truth)
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


def throw_shard(study: Study, ensemble: str, shard: Shard) -> tuple[ShardKey, np.ndarray, tuple[str, ...]]:
    """A shard's toys: its key, data of shape (toys, D), and the names of the data."""
    model = open_model(study)
    data = throw(
        model,
        truth_point(study, model, ensemble),
        shard.toys,
        seed=study.seed,
        first=shard.first,
        stream=ensemble,
        mode=study.ensembles[ensemble].throw,
    )
    return toys_key(study, model, ensemble, shard), data, model.data_names


def fit_shard(study: Study, ensemble: str, shard: Shard, data: np.ndarray, *, model: Model | None = None) -> ShardFits:
    """Every fit of a shard's toys, data of shape (toys, D): free, at each test point, and the audit's."""
    model = model or open_model(study)
    assert model.poi is not None
    tests = [{model.poi: value} for value in values_tested(study.ensembles[ensemble], model.poi)]
    free, conditional = fit_tests(model, data, tests, first=shard.first, tolerance=study.fit.edm_tolerance)
    audit = _audit(study, model, shard, data, free, conditional)
    return ShardFits(fits_key(study, model, ensemble, shard), free, conditional, audit)


def _audit(study: Study, model: Model, shard: Shard, data: np.ndarray, free: Fits, conditional: list[Fits]) -> Audit:
    """Fit with iminuit the ensemble's first toys, as far as they lie in this shard; toys are independent."""
    rows = np.arange(max(0, min(shard.toys, study.fit.audit - shard.first)))
    result = Audit(
        toy=rows + shard.first,
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
    model = open_model(study)
    poi = model.poi
    assert poi is not None
    assert model.observed is not None
    tolerance = study.fit.edm_tolerance
    every = sorted({value for ensemble in study.ensembles.values() for value in values_tested(ensemble, poi)})
    free, conditional = fit_tests(model, model.observed, [{poi: value} for value in every], tolerance=tolerance)
    parameters = model.parameters
    return {
        "toymill": toymill.__version__,
        "study": study.study,
        "digest": model.digest,
        "inputs": {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in study.model.inputs},
        "poi": poi,
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
        "observed": {
            "data": model.observed.tolist(),
            "status": Status(int(free.status[0])).name.lower(),
            "twice_nll": _finite(2 * free.nll)[0],
            "parameters": dict(zip(free.names, _finite(free.parameters[0]), strict=True)),
            "errors": dict(zip(free.names, _finite(free.errors[0]), strict=True)),
            "tests": [
                {"poi": value, "t": _finite(toymill.t_mu(free, fits))[0]}
                for value, fits in zip(every, conditional, strict=True)
            ],
        },
        "ensembles": {name: _describe_ensemble(study, model, name) for name in study.ensembles},
    }


def _describe_ensemble(study: Study, model: Model, name: str) -> dict[str, Any]:
    """An ensemble's truth point, and its Asimov dataset's fits (arXiv:1007.1727, sec. 3.2)."""
    assert model.poi is not None
    settings = study.ensembles[name]
    truth = truth_point(study, model, name)
    asimov = throw(model, truth, 1, mode="asimov")
    tests = values_tested(settings, model.poi)
    free, conditional = fit_tests(model, asimov, [{model.poi: value} for value in tests])
    t_asimov = [_finite(np.maximum(toymill.t_mu(free, fits), 0.0))[0] for fits in conditional]
    return {
        "digest": fits_digest(study, name, model.digest),
        "throw": settings.throw,
        "truth": dict(zip(model.parameters.names, truth.tolist(), strict=True)),
        "tests": tests,
        "asimov": {"t": t_asimov, "sigma": expected_error(model, truth)},
    }


def expected_error(model: Model, truth: np.ndarray) -> float | None:
    """Standard deviation of the POI's estimator from the expected information at a truth point.

    √((F⁻¹)_μμ), with F the Fisher information over the parameters that are not fixed (CCGV eq. 28);
    None where it has no inverse.
    """
    asimov = throw(model, truth, 1, mode="asimov")
    *_, curvature = jax.jit(model.kernel.quadratic)(model.arrays, truth[:, None], asimov.T)
    free = np.flatnonzero(~model.parameters.fixed)
    information = np.asarray(curvature)[0][np.ix_(free, free)]
    diagonal = np.diag(information)
    if not (diagonal > 0).all():
        return None
    units = 1 / np.sqrt(diagonal)
    scaled = information * np.outer(units, units)
    if np.linalg.eigvalsh(scaled)[0] < 1e-12:
        return None
    poi = int(np.flatnonzero(free == model.poi_index)[0])
    return float(np.sqrt(np.linalg.inv(scaled)[poi, poi]) * units[poi])


def _finite(values: np.ndarray) -> list[float | None]:
    """For JSON: numbers, with None where not finite."""
    return [float(value) if np.isfinite(value) else None for value in values]
