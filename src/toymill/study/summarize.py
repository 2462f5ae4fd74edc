"""From shards to a summary: every number with its Monte Carlo error, every toy accounted for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from toymill._version import __version__
from toymill.config.sections import needs
from toymill.config.study import Study
from toymill.fitting.status import CERTIFIED_STATUSES, Status
from toymill.inference.agreement import LEVELS, compare_quantile, histogram, verdict, zeros
from toymill.inference.asymptotics import CDF, asymptotic_cdf
from toymill.inference.counting import Distribution, bias_in_rms, moments_of_sums, quantile
from toymill.inference.covariance import correlation_of, covariance_of_sums, efficiencies
from toymill.inference.coverage import coverage
from toymill.inference.discovery import discovery
from toymill.inference.interval_ends import ProfileIntervals
from toymill.inference.negative_yields import NegativeYields, count_negative_yields, negative_yields
from toymill.models.negative_yields import NegativeYields as Negative
from toymill.results import cells
from toymill.results.answers import Answers
from toymill.results.description import Description, EnsembleDescription
from toymill.results.store import Part, read_part
from toymill.results.summary import (
    QUANTILES,
    Comparison,
    ComparisonSummary,
    EnsembleComparison,
    EnsembleSummary,
    InformationMatrices,
    IntervalSummary,
    Iterations,
    Location,
    ObservedMatrices,
    ParameterSummary,
    PullHistogram,
    SampleQuantiles,
    Summary,
    Tail,
    TailToy,
    TestSummary,
)
from toymill.results.tally import PULL_EDGES, TAIL, Tally
from toymill.study.collect import Collected, collect, counted, part_key
from toymill.study.headline import headline, headline_of_comparison
from toymill.study.model import measures_of_study
from toymill.study.profile_intervals import summarize_intervals

if TYPE_CHECKING:
    from jaxtyping import Float

_LARGEST = 10  # toys of the largest t that the summary names


def summarize(
    study: Study,
    description: Description,
    files: Mapping[str, Sequence[str | Path]],
    tallies: Mapping[str, Sequence[str | Path]] = MappingProxyType({}),
    answers: Answers | None = None,
    intervals: Mapping[str, Sequence[str | Path]] = MappingProxyType({}),
) -> Summary:
    """The summary of a study.

    Args:
        study: the study.
        description: the content of its ``model.json``.
        files: the shards' files of each ensemble.
        tallies: of ensembles whose parts are counted already, the file of each part.
        answers: the answers to its sections.
        intervals: the files of the shards' profile intervals, of each ensemble that asks for them.

    Raises:
        ToymillError: a shard that is missing, damaged or of another study, by name.
    """
    measures = measures_of_study(study)

    def parts(name: str) -> Iterable[Part]:
        if name not in tallies:
            return counted(study, description, name, files.get(name, ()), measures)
        ordered = sorted(tallies[name], key=lambda path: int(Path(path).stem))
        return (read_part(path, part_key(study, description, name, int(Path(path).stem))) for path in ordered)

    ensembles = {
        name: _ensemble(
            study,
            description,
            name,
            collect(study, description, name, parts(name), measures),
            summarize_intervals(study, description, name, intervals.get(name, ())),
            measures.negative,
        )
        for name in study.ensembles
    }
    observed = _observed(description, measures.negative)
    return Summary(
        toymill=__version__,
        study=study.study,
        model_digest=description.digest,
        poi=description.poi,
        headline=headline(study, description, answers, observed, ensembles),
        observed=observed,
        answers=answers,
        ensembles=ensembles,
    )


def summarize_comparisons(
    study: Study, description: Description, tables: Mapping[str, Comparison]
) -> ComparisonSummary:
    """The summary of a study that compares optimisers: a table for each ensemble.

    Args:
        study: the study.
        description: the content of its ``model.json``.
        tables: what ``optimisers.table`` found, by ensemble.
    """
    ensembles = {
        name: EnsembleComparison(
            truth=description.ensembles[name].known, near=tables[name].near, methods=tables[name].methods
        )
        for name in study.ensembles
    }
    return ComparisonSummary(
        toymill=__version__,
        study=study.study,
        model_digest=description.digest,
        poi=description.poi,
        headline=headline_of_comparison(study, ensembles),
        ensembles=ensembles,
    )


def _observed(description: Description, negative: Negative | None) -> ObservedMatrices | None:
    """The fit to the observed data; None for a model without."""
    observed = description.observed
    if observed is None:
        return None
    point = [observed.parameters[name] for name in description.names]
    known = negative is not None and None not in point
    return ObservedMatrices(
        status=observed.status,
        poi=observed.parameters[description.poi],
        poi_error=observed.errors[description.poi],
        derived=observed.derived,
        information=observed.information,
        twice_nll=observed.twice_nll,
        tests=observed.tests,
        negative_yields=tuple(negative_yields(negative.cells, _yields_at(negative, point)))
        if negative and known
        else (),
    )


def _yields_at(negative: Negative, point: Sequence[float | None]) -> Float[np.ndarray, " cell"]:
    """The negative yields at one point, 0 for the others, (C,)."""
    values: np.ndarray = negative.at(np.array([point], dtype=np.float64))[0]
    return values


def _negative_yields(
    negative: Negative | None, about: EnsembleDescription, names: Sequence[str], tally: Tally
) -> NegativeYields | None:
    """The negative yields at an ensemble's truth and in its fits; none of the truth of another model."""
    if negative is None or not tally.examined:
        return None
    none = np.zeros(len(negative.cells))
    at_truth = none if about.thrown_from else _yields_at(negative, [about.truth[name] for name in names])
    counts, lowest = tally.negative_yields, tally.lowest_yields
    return count_negative_yields(negative.cells, at_truth, about.tests, int(tally.examined), counts, lowest)


def _ensemble(
    study: Study,
    description: Description,
    name: str,
    found: Collected,
    intervals: dict[str, ProfileIntervals],
    negative: Negative | None,
) -> EnsembleSummary:
    """One ensemble's part of the summary. A toy is certified if its free and all its conditional fits are."""
    about = description.ensembles[name]
    poi, truth = description.poi, about.truth[description.poi]
    tally = found.tally
    toys, certified, worst = int(tally.toys), int(tally.certified), tally.status[-1]
    failed = toys - certified
    place = found.names.index(poi)
    information = _information(about, found.names, tally)
    with_poi = _with_poi(information, poi, certified)
    return EnsembleSummary(
        digest=about.digest,
        code=sorted(found.codes),
        keep=study.keep,
        sections=needs(study)[name].sections if name in needs(study) else (),
        toys=toys,
        certified=certified,
        failed={status.name.lower(): int(worst[status]) for status in Status if status not in CERTIFIED_STATUSES},
        at_bound=int(worst[Status.AT_BOUND]),
        at_kink=int(worst[Status.AT_KINK]),
        throw=about.throw,
        thrown_from=about.thrown_from,
        truth=about.known,
        drawn=about.drawn,
        why_no_quantiles=_why_no_quantiles(tally),
        parameters={
            item.name: _parameter(tally, i, with_poi[item.name], known=item.name in about.known)
            for i, item in sorted(enumerate(description.parameters), key=lambda pair: pair[1].name != poi)
            if not item.fixed
        },
        derived={key: _derived(tally, i, known=not about.without_truth) for i, key in enumerate(about.derived)},
        information=information,
        pull_histogram=PullHistogram(
            edges=PULL_EDGES.tolist(),
            counts=tally.pull_histogram[1:-1].tolist(),
            underflow=int(tally.pull_histogram[0]),
            overflow=int(tally.pull_histogram[-1]),
        ),
        intervals=IntervalSummary(
            hessian=coverage(
                study.levels,
                tally.hessian.tolist(),
                certified=certified,
                failed=failed,
                without=certified - int(tally.pulls[place]),
            ),
            profile=coverage(study.levels, tally.profile.tolist(), certified=certified, failed=failed, without=0),
        ),
        profile_intervals=intervals,
        tests=[_test(description, name, k, found) for k in range(len(about.tests))],
        discovery=discovery(tally.one_sided(about.tests.index(0.0), above=True), failed=failed) if truth == 0 else None,
        negative_yields=_negative_yields(negative, about, found.names, tally),
        tail=_tail(tally, about.tests.index(truth), place),
        iterations=Iterations(free=float(tally.iterations / toys), largest=int(tally.most_iterations)),
    )


def _parameter(tally: Tally, i: int, with_poi: tuple[float, float], *, known: bool) -> ParameterSummary:
    """Bias, spread and pull of parameter i, and its correlation with that of interest; without a truth, mean and spread."""
    sums = np.array([tally.sums[i], tally.products[i, i], tally.products_21[i, i], tally.products_22[i, i]])
    away = int(tally.certified), sums
    pull = moments_of_sums(int(tally.pulls[i]) if known else 0, tally.pull_sums[i])
    estimates = pulls = None
    if _why_no_quantiles(tally) is None:
        estimates = _quantiles(cells.distribution(tally.estimates, i, float(tally.truth[i])))
        pulls = _quantiles(cells.distribution(tally.pull_cells, i)) if pull.size else None
    return ParameterSummary(
        **dict(_location(*away, float(tally.truth[i]), known=known)),
        pulls=pull.size,
        pull_mean=pull.mean,
        pull_mean_error=pull.mean_error,
        pull_width=pull.rms,
        pull_width_error=pull.rms_error,
        at_bound=int(tally.certified - tally.pulls[i]),
        at_bound_share=float(1 - tally.pulls[i] / tally.certified) if tally.certified else math.nan,
        poi_correlation=with_poi[0],
        poi_correlation_error=with_poi[1],
        estimate_quantiles=estimates,
        pull_quantiles=pulls,
    )


def _with_poi(information: InformationMatrices, poi: str, certified: int) -> dict[str, tuple[float, float]]:
    """The correlation of each free parameter's estimates with those of the parameter of interest, and its error."""
    value, error = correlation_of(np.array(information.covariance, dtype=float), certified)
    place = information.parameters.index(poi)
    rows = zip(information.parameters, value[place].tolist(), error[place].tolist(), strict=True)
    return {name: (rho, of_rho) for name, rho, of_rho in rows}


def _why_no_quantiles(tally: Tally) -> str | None:
    """Why the cells of the estimates do not tell their quantiles; None where they do."""
    if not tally.certified:
        return "no toy is certified"
    if tally.estimates[:, 1].sum() != tally.certified * len(tally.truth):
        return "some shards that keep a summary were written by a toymill that did not count estimates in cells"
    return None


def _quantiles(sample: Distribution) -> SampleQuantiles:
    """Quantiles of estimates or pulls, each with its Monte Carlo interval and the width of its cell."""
    found = [quantile(sample, level) for level in QUANTILES]
    return SampleQuantiles(
        value=[item.value for item in found],
        low=[item.low for item in found],
        high=[item.high for item in found],
        binning=[sample.width(level) for level in QUANTILES],
    )


def _derived(tally: Tally, i: int, *, known: bool) -> Location:
    """Bias and spread of derived quantity i."""
    return _location(int(tally.derived[i]), tally.derived_sums[i], float(tally.derived_truth[i]), known=known)


def _location(size: int, sums: Float[np.ndarray, " power"], truth: float, *, known: bool) -> Location:
    """Where estimates lie about the truth, if it is known: from sums of powers of their distances from it."""
    value = moments_of_sums(size, sums, truth)
    nan = float("nan")
    in_rms, in_rms_error = bias_in_rms(size, sums) if known else (nan, nan)
    return Location(
        truth=truth if known else None,
        mean=value.mean,
        bias=value.mean - truth if known else nan,
        bias_error=value.mean_error if known else nan,
        bias_in_rms=in_rms,
        bias_in_rms_error=in_rms_error,
        rms=value.rms,
        rms_error=value.rms_error,
    )


def _information(about: EnsembleDescription, names: Sequence[str], tally: Tally) -> InformationMatrices:
    """Expected information and Cramér-Rao bound at the truth, beside the toys' covariance.

    There is no efficiency where auxiliary data are held, or another model is thrown from: the bound is for data of the
    fitted model that all fluctuate.
    """
    stated = about.information
    columns = [names.index(name) for name in stated.parameters]
    inside = np.ix_(columns, columns)
    found = covariance_of_sums(
        int(tally.certified),
        tally.sums[columns],
        *(part[inside] for part in (tally.products, tally.products_21, tally.products_22)),
    )
    each = efficiencies(stated.bound, found, comparable=about.throw == "frequentist" and about.thrown_from is None)
    return InformationMatrices(
        **dict(stated),
        covariance=found.value.tolist(),
        covariance_error=found.error.tolist(),
        efficiency=dict(zip(stated.parameters, each, strict=True)),
    )


def _tail(tally: Tally, k: int, poi: int) -> Tail:
    """The toys of the largest t at the truth, test point k: how many, and the index of the first, to throw them again."""
    order = np.argsort(-tally.kept_t, kind="stable")[: min(_LARGEST, int(np.sum(~np.isnan(tally.kept_t))))]
    return Tail(
        threshold=TAIL,
        toys=tally.distribution(k).above(TAIL),
        largest=[
            TailToy(
                toy=int(tally.kept[row]),
                t=float(tally.kept_t[row]),
                estimate=float(tally.kept_fits[0].parameters[row, poi]),
            )
            for row in order
        ],
        failed=tally.kept[np.isnan(tally.kept_t)][:_LARGEST].tolist(),
    )


def _test(description: Description, name: str, k: int, found: Collected) -> TestSummary:
    """The distribution of t_μ at test point k, beside the asymptotic one."""
    about = description.ensembles[name]
    mu, truth = about.tests[k], about.truth[description.poi]
    t = found.t[k]
    mean = moments_of_sums(t.size, found.tally.t_sums[k])
    noncentrality, error = (0.0, 0.0) if mu == truth else (about.asimov.t[k], about.asimov.t_error[k])
    cdf, why_none = _asymptotic(description, about, mu, noncentrality)
    return TestSummary(
        poi=mu,
        noncentrality=noncentrality,
        noncentrality_error=error,
        mean=mean.mean,
        mean_error=mean.mean_error,
        smallest=float(found.tally.smallest[k]),
        at_zero=zeros(t),
        histogram=histogram(t, noncentrality or 0.0, cdf),
        quantiles={repr(level): compare_quantile(t, level, cdf) for level in LEVELS},
        verdict=verdict(t, cdf, why_none),
    )


def _asymptotic(
    description: Description, about: EnsembleDescription, mu: float, noncentrality: float | None
) -> tuple[CDF | None, str | None]:
    """The asymptotic distribution of t_μ at a tested value, or why there is none.

    The formula knows a lower bound of μ̂ and no upper one: none is given where the upper bound is within three sigma.
    """
    poi, truth, sigma = description.poi, about.truth[description.poi], about.asimov.sigma
    low, high = next(item.bounds for item in description.parameters if item.name == poi)
    lower = -math.inf if low is None else low
    upper = math.inf if high is None else high
    if sigma is not None and upper - max(mu, truth) < 3 * sigma:
        return None, f"the upper bound of {poi}, {upper:g}, is within three sigma"
    if noncentrality is None or sigma is None:
        return None, None
    return partial(asymptotic_cdf, noncentrality=noncentrality, mu=mu, truth=truth, sigma=sigma, lower=lower), None
