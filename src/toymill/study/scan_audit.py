"""The audit of a scan: shared toys that the model of a point fits, fitted again with iminuit. The fits are made again."""

from __future__ import annotations

from toymill.config.dependencies import scan_digest
from toymill.config.scan import grid_of
from toymill.config.study import Study
from toymill.fitting.conditional import fit_tests
from toymill.results.audit import Audit
from toymill.study.audit import audit_of, audited_toys
from toymill.study.model import poi_of
from toymill.study.scan import background_of, point_model, shared_toys
from toymill.study.scan_layout import settings_of


def audit_point(study: Study, folder: str) -> Audit:
    """Fit the first toys without a signal again with iminuit, by the model of one point.

    Args:
        study: the study.
        folder: name of the point's folder.

    Raises:
        ToymillError: what ``scan.point_model`` refuses.
    """
    settings = settings_of(study)
    point = next(item for item in grid_of(settings).points if item.folder == folder)
    background = background_of(study)
    model = point_model(study, point, background)
    values = [0.0, settings.mu]
    count = study.fit.toys_audited(settings.toys)
    toys = []
    if count:
        data = shared_toys(background, model, count, seed=study.seed)
        tests = [{poi_of(model): value} for value in values]
        free, conditional = fit_tests(model, data, tests, tolerance=study.fit.edm_tolerance)
        toys = audited_toys(model, data, [[free, *conditional]])
    return audit_of(study, f"scan/{point.name}", scan_digest(study, point), values, toys)
