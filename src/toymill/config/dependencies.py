"""What toys and fits depend on, written once: for the digests in files, and for the workflow's choice of jobs to repeat.

A file's digest names the model by its own digest, which is known once the model is built. The workflow decides before
that, by the model's section of the configuration and the digests of its files' content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import TypedDict

from toymill._version import __version__
from toymill.config.scan import Grid, Point
from toymill.config.sections import SECTIONS
from toymill.config.study import Study

Settings = dict[str, object]


class ToySettings(TypedDict):
    """What a toy depends on in the study: toymill's version, the seed, and the ensemble's settings."""

    toymill: str
    seed: int
    ensemble: Settings


class FitSettings(TypedDict):
    """What the fits of a toy depend on in the study, as they are stored; test points are named apart."""

    edm_tolerance: float
    kept: list[object]


def toys_depend_on(study: Study, ensemble: str) -> ToySettings:
    """What a toy of an ensemble depends on in the study, beside its model, its ensemble's name and its index."""
    about = study.ensembles[ensemble]
    settings = about.model_dump(mode="json", include={"truth", "throw", "nuisances"})
    if about.thrown_from is not None:
        settings["thrown_from"] = {"model": about.thrown_from.choices, "inputs": about.thrown_from.contents}
    return {"toymill": __version__, "seed": study.seed, "ensemble": settings}


def fits_depend_on(study: Study, ensemble: str) -> FitSettings:
    """What the fits of a toy, as they are stored, depend on in the study, beside the toy and the test points.

    Where not every column is kept, a shard counts what depends on all its test points and on the levels.
    """
    tests = study.ensembles[ensemble].tests
    return {
        "edm_tolerance": study.fit.edm_tolerance,
        "kept": [] if study.keep == "all" else [study.keep, tests, study.levels],
    }


def toys_digest(study: Study, ensemble: str, model_digest: str) -> str:
    """SHA-256 of everything that a toy of this ensemble depends on, save its index."""
    on = toys_depend_on(study, ensemble)
    return _digest([on["toymill"], model_digest, on["seed"], ensemble, on["ensemble"]])


def fits_digest(study: Study, ensemble: str, model_digest: str) -> str:
    """SHA-256 of everything that a toy of this ensemble and its fits depend on, save its index and the test points.

    So a shard with one test point more has the same digest, and its fits can be used.
    """
    on = fits_depend_on(study, ensemble)
    return _digest([toys_digest(study, ensemble, model_digest), on["edm_tolerance"], *on["kept"]])


def intervals_digest(study: Study, ensemble: str, model_digest: str) -> str:
    """SHA-256 of everything that the profile intervals of a toy of this ensemble depend on, save its index."""
    return _digest([toys_digest(study, ensemble, model_digest), _intervals_depend_on(study, ensemble)])


def _intervals_depend_on(study: Study, ensemble: str) -> Settings:
    """What profile intervals depend on in the study, beside the toys."""
    names = study.ensembles[ensemble].profile_intervals
    return {"edm_tolerance": study.fit.edm_tolerance, "profile_intervals": names, "levels": study.levels}


def toys_job(study: Study, ensemble: str) -> Settings:
    """What a job that throws an ensemble's toys depends on; a change of it throws them again."""
    return {**toys_depend_on(study, ensemble), "model": study.model.choices, "inputs": study.model.contents}


def fits_job(study: Study, ensemble: str) -> Settings:
    """What a job that fits an ensemble's toys depends on; a change of it does the job again.

    With other test points it takes the fits that are stored and stay; a change of anything else makes them useless.
    """
    tests = study.ensembles[ensemble].tests
    return {**toys_job(study, ensemble), **fits_depend_on(study, ensemble), "tests": tests}


def intervals_job(study: Study, ensemble: str) -> Settings:
    """What a job depends on that finds the profile intervals of an ensemble's toys; a change of it does the job again."""
    return {**toys_job(study, ensemble), **_intervals_depend_on(study, ensemble)}


def audit_job(study: Study, ensemble: str) -> Settings:
    """What a job that audits an ensemble's fits depends on, beside them."""
    return {**fits_job(study, ensemble), "audit": study.fit.audit, "tolerance": study.fit.audit_tolerance}


def tally_job(study: Study, ensemble: str) -> Settings:
    """What a job that counts toys of an ensemble depends on, beside their fits."""
    return {**fits_job(study, ensemble), "levels": study.levels, "toys": study.ensembles[ensemble].toys}


def pilot_job(study: Study) -> Settings:
    """What the pilot depends on; more toys, or another seed, leave its plan as it is."""
    return {
        "toymill": __version__,
        "model": study.model.choices,
        "inputs": study.model.contents,
        "edm_tolerance": study.fit.edm_tolerance,
        "ensembles": {
            name: _rate_depends_on(study, name, {*ensemble.tests, *ensemble.truth.values()})
            for name, ensemble in study.ensembles.items()
        },
    }


def rate_digest(study: Study, ensemble: str, model_digest: str, tests: Collection[float]) -> str:
    """SHA-256 of everything that the rate of an ensemble's fits depends on: where it is the same, so is the rate.

    Args:
        study: the study.
        ensemble: name of the ensemble.
        model_digest: digest of the model.
        tests: the values that are tested on its toys.
    """
    rate = _rate_depends_on(study, ensemble, tests)
    return _digest([__version__, model_digest, study.fit.edm_tolerance, rate])


def _rate_depends_on(study: Study, ensemble: str, tests: Collection[float]) -> list[object]:
    """What the rate of an ensemble's fits depends on in the study, beside the model."""
    settings = study.ensembles[ensemble]
    levels = study.levels if settings.profile_intervals else []
    return [settings.throw, len(tests), settings.profile_intervals, levels]


def design_job(study: Study) -> Settings:
    """What the design of the ensembles of a study's sections depends on; not the seed, save for a stated density."""
    return {
        "toymill": __version__,
        "model": study.model.choices,
        "inputs": study.model.contents,
        "nuisances": study.nuisances,
        "seed": study.seed,
        "sections": {
            name: getattr(study, name) and getattr(study, name).model_dump(mode="json", exclude={"precision"})
            for name in SECTIONS
            if name != "scan"  # which needs no ensemble
        },
    }


def scan_job(study: Study, point: Point) -> Settings:
    """What a job that fits the toys of one point of a scan depends on, beside the toys that it fits."""
    assert study.scan
    chosen = {name: value for name, value in study.model.choices.items() if name != "patches"}
    return {
        "toymill": __version__,
        "model": chosen,
        "workspace": study.model.contents[0],
        "patch": point.digest,
        "point": point.name,
        "seed": study.seed,
        "nuisances": study.nuisances,
        "edm_tolerance": study.fit.edm_tolerance,
        "mu": study.scan.mu,
        "statistic": study.scan.statistic,
    }


def scan_audit_job(study: Study, point: Point) -> Settings:
    """What a job depends on that audits the fits of one point of a scan."""
    assert study.scan
    audit = {"audit": study.fit.audit, "tolerance": study.fit.audit_tolerance, "toys": study.scan.toys}
    return {**scan_job(study, point), **audit}


def tilts_job(study: Study, grid: Grid) -> Settings:
    """What the tilted truths of a scan depend on, beside the fits of its points."""
    assert study.scan
    counts = {"toys": study.scan.toys, "tilted_toys": study.scan.tilted_toys}
    return {"points": [scan_job(study, point) for point in grid.points], **counts}


def tilts_digest(study: Study, grid: Grid) -> str:
    """SHA-256 of everything that the tilted truths of a scan depend on."""
    return _digest([tilts_job(study, grid)])


def scan_answer_job(study: Study, grid: Grid) -> Settings:
    """What the answer of a scan depends on, beside the files of its points."""
    assert study.scan
    points = [[point.name, list(point.values)] for point in grid.points]
    counts = [study.scan.toys, study.scan.signal_toys]
    stated = {"level": study.scan.level, "labels": list(grid.labels), "points": points, "toys": counts}
    return {"toymill": __version__, **stated}


def scan_digest(study: Study, point: Point) -> str:
    """SHA-256 of everything that the fits of a point's toys depend on, save their indices."""
    return _digest([scan_job(study, point)])


def rounds_job(study: Study) -> Settings:
    """What the toys depend on that a round adds, beside the fits of those before."""
    return {
        **answers_job(study),
        "precision": [item and item.precision for item in (study.limit, study.interval, study.region)],
    }


def answers_job(study: Study) -> Settings:
    """What the answers of a study's sections depend on, beside the fits and their design."""
    return {"toymill": __version__, "edm_tolerance": study.fit.edm_tolerance}


def comparison_job(study: Study, ensemble: str) -> Settings:
    """What a job that compares optimisers on an ensemble's toys depends on."""
    settings = {"toys": study.ensembles[ensemble].toys, "optimisers": study.optimisers.model_dump()}
    return {**toys_job(study, ensemble), **settings}


def _digest(identity: list[object]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
