"""The audit: toys of an ensemble fitted again with iminuit, and held against their stored fits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from toymill._version import __version__
from toymill.config.dependencies import fits_digest
from toymill.config.study import Study, shard_named, values_tested
from toymill.fitting.conditional import fit_tests
from toymill.fitting.minuit import MinuitFit, comparable_nll, minuit_fit
from toymill.fitting.results import Fits
from toymill.inference.audit import summarize_audit
from toymill.models.base import Model
from toymill.results.audit import Audit, AuditedToy
from toymill.results.store import reading_shard
from toymill.stopping import stop_if_asked
from toymill.study.expected import AuditRate
from toymill.study.model import checked_model, poi_of, truth_of
from toymill.toys import throw

if TYPE_CHECKING:
    from jaxtyping import Float


TIMED = 3
"""Toys that iminuit's time is taken from, before a study runs."""


def audit_ensemble(study: Study, ensemble: str, files: Sequence[str | Path]) -> Audit:
    """Fit an ensemble's first toys again with iminuit, from the initial values; toys are independent.

    The fits that are held against iminuit's are the stored ones, if all parameters of every toy are kept; else they are
    made again.

    Args:
        study: the study.
        ensemble: name of the ensemble.
        files: the files of its shards, in the order of their toys.
    """
    model = checked_model(study)
    settings = study.ensembles[ensemble]
    count = study.fit.toys_audited(sum(shard_named(Path(path).stem).toys for path in files))
    values = values_tested(settings, poi_of(model))
    toys: list[AuditedToy] = []
    if count:
        truth = truth_of(study, model, ensemble)
        data = throw(truth.source, truth.at, count, seed=study.seed, stream=ensemble, mode=settings.throw)
        ours = _ours(study, model, data, values, files)
        toys = audited_toys(model, data, ours)
    return audit_of(study, ensemble, fits_digest(study, ensemble, model.digest), values, toys)


def audit_rate(study: Study, model: Model) -> AuditRate:
    """What an audit needs, by iminuit's free fits of a few toys at the model's initial values."""
    data = throw(model, model.parameters.init, TIMED, seed=study.seed)
    minuit_fit(model, data[0])  # compiles
    begin = time.process_time()
    for row in data:
        minuit_fit(model, row)
    a_fit = (time.process_time() - begin) / TIMED
    jax.clear_caches()  # type: ignore[no-untyped-call]
    begin = time.process_time()
    minuit_fit(model, data[0])
    return AuditRate(max(time.process_time() - begin - a_fit, 0.0), a_fit)


def audited_toys(model: Model, data: Float[np.ndarray, "toy datum"], ours: list[list[Fits]]) -> list[AuditedToy]:
    """Toys fitted again with iminuit one after the other.

    Args:
        model: the model.
        data: the toys, (n, D).
        ours: our fits of them, in lots of consecutive toys: free, and at each test point.
    """
    toys: list[AuditedToy] = []
    for row in range(len(data)):
        stop_if_asked()
        toys.append(_audited(model, row, data[row], ours))
    return toys


def audit_of(study: Study, name: str, digest: str, values: Sequence[float], toys: Sequence[AuditedToy]) -> Audit:
    """The audit of audited toys.

    Args:
        study: the study.
        name: name of their ensemble.
        digest: digest of what its fits depend on.
        values: the tested values of the parameter of interest.
        toys: the audited toys.
    """
    nll = np.array([[toy.nll_free, *toy.nll_tests] for toy in toys], dtype=np.float64).reshape(-1, 1 + len(values)).T
    return Audit(
        toymill=__version__,
        study=study.study,
        ensemble=name,
        digest=digest,
        tests=list(values),
        tolerance=study.fit.audit_tolerance,
        summary=summarize_audit(
            nll,
            np.array([toy.poi for toy in toys], dtype=np.float64),
            np.array([toy.valid for toy in toys], dtype=bool),
            study.fit.audit_tolerance,
        ),
        toys=list(toys),
    )


def _ours(
    study: Study,
    model: Model,
    data: Float[np.ndarray, "toy datum"],
    values: Sequence[float],
    files: Sequence[str | Path],
) -> list[list[Fits]]:
    """Our fits of the first toys, in lots of consecutive toys: free, and at each test point."""
    if study.keep != "all":
        tests = [{poi_of(model): value} for value in values]
        free, conditional = fit_tests(model, data, tests, tolerance=study.fit.edm_tolerance)
        return [[free, *conditional]]
    lots: list[list[Fits]] = []
    missing = len(data)
    for path in files:
        if missing <= 0:
            break
        with reading_shard(path) as reader:
            count = min(reader.key.toys, missing)
            lots.append(reader.rows(0, count))
        missing -= count
    return lots


def _audited(model: Model, toy: int, data: Float[np.ndarray, " datum"], ours: list[list[Fits]]) -> AuditedToy:
    """iminuit's fits of one toy less ours."""
    row = toy
    for lot in ours:
        if row < len(lot[0].nll):
            break
        row -= len(lot[0].nll)
    free, *conditional = lot
    other = minuit_fit(model, data)
    held = [minuit_fit(model, data, fits.fixed) for fits in conditional]

    def above(other: MinuitFit, fits: Fits) -> float:
        return comparable_nll(model, data, other) - float(fits.nll[row])

    return AuditedToy(
        toy=toy,
        nll_free=above(other, free),
        nll_tests=[above(one, fits) for one, fits in zip(held, conditional, strict=True)],
        poi=float(other.parameters[model.poi_index] - free.parameters[row, model.poi_index]),
        valid=bool(other.valid and all(one.valid for one in held)),
    )
