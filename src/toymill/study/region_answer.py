"""The answer to the section ``region``: which points of a grid of two parameters toys accept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from toymill.config.sections import region_ensembles
from toymill.fitting.conditional import fit_more_tests, fit_tests
from toymill.fitting.results import rows_of
from toymill.inference.likelihood_ratios import t_mu
from toymill.inference.p_values import tie_tolerance
from toymill.inference.regions import neyman_regions, region_verdict
from toymill.results.answers import RegionAnswer
from toymill.study.finished import Stored
from toymill.study.region_points import grid_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float


def region_answer(stored: Stored) -> RegionAnswer:
    """The region from the toys of a study, and where the asymptotic one differs."""
    settings, designed = stored.study.region, stored.design.region
    assert settings
    assert designed is not None
    grid = grid_of(designed)
    toys = [_t(stored, name, at) for name, at in zip(region_ensembles(stored.study), grid, strict=True)]
    free, held = fit_tests(stored.model, stored.observed, grid, tolerance=stored.study.fit.edm_tolerance)
    found = neyman_regions(
        np.array([list(at.values()) for at in grid]),
        toys,
        np.array([t_mu(free, item)[0] for item in held]),
        levels=settings.levels,
        tolerance=tie_tolerance(float(free.nll[0]), stored.study.fit.edm_tolerance),
    )
    return RegionAnswer(
        parameters=designed.parameters,
        values=designed.values,
        best=designed.best,
        toys=found,
        verdicts={key: region_verdict(found, key) for key in found.regions},
    )


def _t(stored: Stored, ensemble: str, at: Mapping[str, float]) -> Float[np.ndarray, " toy"]:
    """t of an ensemble's toys with both parameters held: the free fits are stored, those that hold both are made here."""
    lots = []
    for first, (free, *_) in stored.fits(ensemble):
        done = 0
        for data in stored.lots(ensemble, first, len(free.nll)):
            some = rows_of(free, np.arange(done, done + len(data)))
            tolerance = stored.study.fit.edm_tolerance
            known, (held,) = fit_more_tests(stored.model, data, [at], some, [], first=first + done, tolerance=tolerance)
            lots.append(t_mu(known, held))
            done += len(data)
    return np.concatenate(lots)
