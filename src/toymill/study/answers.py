"""The answers to a study's sections, from the stored fits of their ensembles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy

from toymill.config.sections import BACKGROUND, BEST_FIT, TILTS, tilted
from toymill.config.study import Study
from toymill.errors import ToymillError
from toymill.fitting.fit import fit
from toymill.fitting.results import Fits, concatenate, rows_of
from toymill.fitting.status import Status
from toymill.inference.global_impacts import from_fit, from_toys, toys_needed
from toymill.inference.goodness_of_fit import goodness_of_fit
from toymill.inference.impacts import Decomposition, decompose, impacts
from toymill.inference.likelihood_ratios import q_0
from toymill.inference.misfit import degrees_of_freedom, statistics
from toymill.inference.mixture import mixture_tail, weights
from toymill.inference.p_values import tail, tie_tolerance
from toymill.inference.shifts import shifts
from toymill.inference.verdicts import significance_verdict
from toymill.results.answers import (
    Answers,
    DiscoveryAnswer,
    GoodnessOfFitAnswer,
    ImpactsAnswer,
    TailAnswer,
)
from toymill.results.description import Description
from toymill.results.design import Design
from toymill.study.channel_compatibility import compatibility
from toymill.study.finished import Files, Stored, held_at
from toymill.study.interval_answer import interval_answer
from toymill.study.limit_answer import limit_answer
from toymill.study.model import checked_model, truth_point
from toymill.study.region_answer import region_answer

_ROUNDING = 1e-6  # of the spread, below which a part of it is none

MOST_FOR_IMPACTS = 5 * 10**7
"""Numbers in the toys that impacts are taken from, at most."""


def answer(study: Study, description: Description, design: Design, files: Files, held: Files) -> Answers:
    """The answers to a study's sections.

    Args:
        study: the study with the ensembles of its sections.
        description: the content of its ``model.json``.
        design: the content of its ``design.json``.
        files: the shards' files of each ensemble.
        held: those of the fits of a region with both parameters held.

    Raises:
        ToymillError: a shard that is missing, damaged or of another study, by name.
    """
    stored = Stored(study, description, design, checked_model(study), files, held)
    return Answers(
        limit=limit_answer(stored) if study.limit else None,
        interval=interval_answer(stored) if study.interval else None,
        region=region_answer(stored) if study.region else None,
        discovery=_discovery(stored, study.discovery.reach) if study.discovery else None,
        goodness_of_fit=_goodness_of_fit(stored) if study.goodness_of_fit else None,
        impacts=_impacts(stored) if study.impacts else None,
    )


def _discovery(stored: Stored, reach: float) -> DiscoveryAnswer:
    """p-values of the hypothesis without a signal, from the toys of all truth points, weighted."""
    names = [BACKGROUND, *(tilted(k + 1) for k in range(TILTS))]
    truths = [truth_point(stored.study, stored.model, name) for name in names]
    statistic: list[np.ndarray] = []
    densities: list[np.ndarray] = []
    nll = 0.0
    for name in names:
        for first, (free, *tests) in stored.estimates(name):
            background = next(fits for fits in tests if held_at(fits) == 0.0)
            statistic.append(q_0(free, background))
            nll = max(nll, float(np.max(np.abs(free.nll[free.ok]), initial=0.0)))
            densities += [
                np.stack([np.asarray(stored.model.logpdf(truth, data)) for truth in truths])
                for data in stored.lots(name, first, len(free.nll))
            ]
    counts = [stored.study.ensembles[name].toys for name in names]
    q, log_f = np.concatenate(statistic), np.concatenate(densities, axis=1)
    weight = weights(log_f, counts, log_f[0])
    tolerance = tie_tolerance(nll, stored.study.fit.edm_tolerance)

    def at(value: float) -> TailAnswer:
        found = mixture_tail(q, weight, counts, value, tolerance)
        return TailAnswer(
            q_0=value,
            weighted=found,
            plain=tail(q[: counts[0]], value, tolerance),
            asymptotic=float(scipy.stats.norm.sf(np.sqrt(value))),
            verdict=significance_verdict(float(np.sqrt(value)), found),
        )

    observed = why = None
    if stored.model.observed is not None:
        free, (background,) = stored.observed_fits([0.0])
        value, why = float(q_0(free, background)[0]), _uncertified({"free": free, f"{stored.poi} = 0": background})
        observed = at(max(value, 0.0)) if why is None else None
    return DiscoveryAnswer(
        observed=observed, why_no_observed=why, tail=[at(float(z**2)) for z in range(1, int(reach) + 1)]
    )


def _uncertified(fits: Mapping[str, Fits]) -> str | None:
    """Which of the fits to the observed data, by what they hold, is not certified; None if all are."""
    for what, item in fits.items():
        if not item.ok[0]:
            status = Status(int(item.status[0]))
            return f"The fit to the observed data, {what}, ended as {status.name.lower()}. {status.advice}"
    return None


def _goodness_of_fit(stored: Stored) -> GoodnessOfFitAnswer:
    """Each statistic of the observed data among those of toys at the best fit."""
    lots: dict[str, list[np.ndarray]] = {}
    for first, (free, *_) in stored.fits(BEST_FIT):
        for name, values in statistics(stored.model, free, stored.toys(BEST_FIT, first, len(free.nll))).items():
            lots.setdefault(name, []).append(values)
    fits = fit(stored.model, stored.observed, covariance=False)
    observed = statistics(stored.model, fits, stored.observed)
    found = goodness_of_fit(
        {name: float(values[0]) for name, values in observed.items()},
        {name: np.concatenate(values) for name, values in lots.items()},
        degrees_of_freedom=degrees_of_freedom(stored.model),
    )
    saturated = found["saturated"].p_value
    value = "undefined" if saturated.value is None else f"{saturated.value:.3g}"
    between = f"{saturated.low:.3g} to {saturated.high:.3g}"
    sentence = f"The p-value of the observed data under the saturated statistic is {value} ({between})."
    asked = stored.study.goodness_of_fit and stored.study.goodness_of_fit.channel_compatibility
    return GoodnessOfFitAnswer(
        sentence=sentence, statistics=found, channel_compatibility=compatibility(stored) if asked else None
    )


def _impacts(stored: Stored) -> ImpactsAnswer:
    """The impact of each nuisance parameter, over toys and at the fit to the observed data."""
    model, lots, data = stored.model, [], []
    most = max(MOST_FOR_IMPACTS // len(model.data_names), toys_needed(model))
    for first, (free, *_) in stored.fits(BEST_FIT):
        count = min(len(free.nll), most - first)
        if count <= 0:
            break
        lots.append(rows_of(free, np.arange(count)))
        data.append(stored.toys(BEST_FIT, first, count))
    over_toys = from_toys(model, truth_point(stored.study, model, BEST_FIT), concatenate(lots), np.concatenate(data))
    observed = fit(model, stored.observed, tolerance=stored.study.fit.edm_tolerance)
    derived = shifted = why = None
    try:
        derived, shifted = from_fit(model, observed), shifts(model, stored.observed, observed)
    except ToymillError as error:
        why = str(error)
    decomposition = decompose(model, over_toys)
    return ImpactsAnswer(
        sentence=_decomposed(decomposition),
        decomposition=decomposition,
        impacts=impacts(model, observed, from_toys=over_toys, from_fit=derived, shifted=shifted),
        why_no_shifts=why,
    )


def _decomposed(found: Decomposition) -> str:
    """The decomposition of the variance in words."""
    total = np.sqrt(found.variance)
    parts = [
        ("statistical", found.statistical),
        ("systematic", found.systematic),
        ("not linear in the data", found.rest),
    ]
    if found.statistical is None:
        parts[2] = "statistical, and not linear in the data", found.rest
    told = [
        f"{share.sigma:.4g} {name}"
        for name, share in parts
        if share is not None and share.sigma is not None and share.sigma > _ROUNDING * total
    ]
    return f"The estimates of {found.of} spread by {total:.4g}: {', '.join(told)}, in quadrature."
