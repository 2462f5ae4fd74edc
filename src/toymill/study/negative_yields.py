"""Negative yields that a few toys of a study show before it is run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from toymill.config.study import Shard, Study, values_tested
from toymill.fitting.fit import fit
from toymill.inference.negative_yields import count_negative_yields, negative_yields, negative_yields_in_words
from toymill.models.base import Model
from toymill.models.negative_yields import NegativeYields
from toymill.results.tally import Measures, Tally
from toymill.study.model import measures_of, poi_of, truth_of
from toymill.study.shards import fit_chunks

if TYPE_CHECKING:
    from jaxtyping import Float

TOYS = 100
"""Toys of each truth point."""

POINTS = 5
"""Truth points, from the first to the last."""


def foreseen_negative_yields(study: Study, model: Model) -> list[str]:
    """Which yields shape variations make negative in the fit to the observed data, at truth points, and in a few toys' fits.

    Args:
        study: the study, with the truth points that its sections choose.
        model: its model.
    """
    negative = measures_of(model).negative
    if negative is None:
        return []
    names, every = list(study.ensembles), {}
    at_bound = {
        name: 0.0 for name, held in zip(model.parameters.names, model.parameters.fixed, strict=True) if not held
    }
    for place in sorted({round(at) for at in np.linspace(0, len(names) - 1, POINTS)}) if names else ():
        name = names[place]
        truth = truth_of(study, model, name)
        tally = _tally(study, model, name, truth.point, negative)
        at_truth = negative.at(truth.point[None])[0] * (truth.digest is None)
        counts = int(tally.examined), tally.negative_yields, tally.lowest_yields
        every[name] = count_negative_yields(negative.cells, at_truth, tally.tests.tolist(), *counts)
        shares = 1 - tally.pulls / max(int(tally.certified), 1)
        for key, share in zip(model.parameters.names, shares.tolist(), strict=True):
            if key in at_bound:
                at_bound[key] = max(at_bound[key], share)
    observed = []
    if model.observed is not None:
        best = fit(model, model.observed, covariance=False)
        observed = negative_yields(negative.cells, negative.at(best.parameters)[0]) if best.ok[0] else []
    return negative_yields_in_words(poi_of(model), observed, every, at_bound)


def _tally(
    study: Study, model: Model, ensemble: str, truth: Float[np.ndarray, " parameter"], negative: NegativeYields
) -> Tally:
    """What is counted of an ensemble's first toys."""
    measures = Measures(negative=negative)
    values = values_tested(study.ensembles[ensemble], poi_of(model))
    tally = Tally.empty(truth, values, (), cells=measures.cells)
    for first, free, tests in fit_chunks(
        study, model, ensemble, Shard("", 0, min(TOYS, study.ensembles[ensemble].toys))
    ):
        tally.add(first, free, tests, measures)
    return tally
