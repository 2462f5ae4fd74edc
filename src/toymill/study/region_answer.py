"""The answer to the section ``region``: which points of a grid of two parameters toys accept."""

from __future__ import annotations

import numpy as np

from toymill.config.sections import region_ensembles
from toymill.fitting.conditional import fit_tests
from toymill.inference.likelihood_ratios import t_mu
from toymill.inference.p_values import tie_tolerance
from toymill.inference.regions import NeymanRegions, neyman_regions, region_verdict
from toymill.results.answers import RegionAnswer
from toymill.study.finished import Stored
from toymill.study.region_fits import t_of
from toymill.study.region_points import grid_of
from toymill.study.region_rounds import region_precision, tested_ensembles


def regions(stored: Stored) -> NeymanRegions:
    """The regions from the toys of a study."""
    settings, designed = stored.study.region, stored.design.region
    assert settings
    assert designed is not None
    grid = grid_of(designed)
    toys = [t_of(stored, name) for name in region_ensembles(stored.study)]
    free, held = fit_tests(stored.model, stored.observed, grid, tolerance=stored.study.fit.edm_tolerance)
    return neyman_regions(
        np.array([list(at.values()) for at in grid]),
        toys,
        np.array([t_mu(free, item)[0] for item in held]),
        levels=settings.levels,
        tolerance=tie_tolerance(float(free.nll[0]), stored.study.fit.edm_tolerance),
    )


def region_answer(stored: Stored) -> RegionAnswer:
    """The region from the toys of a study, and where the asymptotic one differs."""
    settings, designed = stored.study.region, stored.design.region
    assert settings
    assert designed is not None
    found, asked = regions(stored), settings.precision
    return RegionAnswer(
        parameters=designed.parameters,
        values=designed.values,
        best=designed.best,
        toys=found,
        verdicts={key: region_verdict(found, key) for key in found.regions},
        precision=region_precision(found, tested_ensembles(stored), stored.design, asked) if asked else None,
    )
