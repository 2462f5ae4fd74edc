"""Made-up studies of any size, for what shows them: numbers that could be, of no fit."""

import random

import numpy as np

from toymill.config.study import read_study
from toymill.inference.agreement import Histogram, Quantile, Verdict
from toymill.inference.asymptotic_limits import AsymptoticLimit, AsymptoticPoint, AsymptoticUpperLimit
from toymill.inference.audit import AuditSummary
from toymill.inference.covariance import Efficiency
from toymill.inference.coverage import Coverage
from toymill.inference.impacts import Decomposition, Impact, Share
from toymill.inference.limit_records import ExpectedCLs, Limit, LimitPoint, UpperLimit
from toymill.inference.p_values import cls
from toymill.inference.verdicts import limit_verdict
from toymill.report.page import Found
from toymill.results.answers import Answers, ImpactsAnswer, LimitAnswer
from toymill.results.audit import Audit
from toymill.results.description import Description, ParameterDescription
from toymill.results.headline import ComparisonHeadline, Headline, TestedVerdict
from toymill.results.provenance import Provenance
from toymill.results.summary import (
    ComparisonSummary,
    EnsembleComparison,
    EnsembleSummary,
    InformationSummary,
    IntervalSummary,
    Iterations,
    MethodSummary,
    ParameterSummary,
    PullHistogram,
    Quantiles,
    Summary,
    Tail,
    TestSummary,
)

LONG = "mu_SIG_of_a_resonance_that_decays_to_two_bosons_in_the_boosted_category_of_run_three"
"""A name of a parameter of interest that is too long for any column."""

TOYS = 10_000

POINTS = (0.3, 0.6, 1.0, 1.5, 2.0, 2.4)
"""The tested values of a limit."""


def parameter(rng):
    shift = 0.01 * rng.gauss(0, 1)
    return ParameterSummary(
        truth=0.0, mean=shift, bias=shift, bias_error=0.01, bias_in_rms=shift, bias_in_rms_error=0.01, rms=1.0,
        rms_error=0.007, pulls=TOYS - 1, pull_mean=0.01 * rng.gauss(0, 1), pull_mean_error=0.01,
        pull_width=1 + 0.007 * rng.gauss(0, 1), pull_width_error=0.007, at_bound=1, at_bound_share=1 / TOYS,
        poi_correlation=0.1 * rng.gauss(0, 1), poi_correlation_error=0.01,
    )  # fmt: skip


def covered(rng, level):
    value, error = level + 0.003 * rng.gauss(0, 1), 0.003
    return Coverage(
        level=level, coverage=value, coverage_low=value - error, coverage_high=value + error, without_interval=0,
        if_failed_miss=value, if_failed_cover=value,
    )  # fmt: skip


def tested(rng, poi, agrees):
    beyond = 0.05 + 0.002 * rng.gauss(0, 1) if agrees else 0.09
    quantile = Quantile(
        level=0.95, value=3.84, low=3.8, high=3.9, error=0.05, binning=0.0, asymptotic=3.841, difference=0.0,
        beyond=beyond, beyond_low=beyond - 0.002, beyond_high=beyond + 0.002, beyond_asymptotic=0.05,
    )  # fmt: skip
    words = "may be trusted" if agrees else "is off"
    counts = [int(TOYS * 0.3 * 0.8**k) for k in range(50)]
    edges = [0.4 * k for k in range(51)]
    return TestSummary(
        poi=poi, noncentrality=0.0, noncentrality_error=0.0, mean=1.0, mean_error=0.01, smallest=0.0, at_zero=3,
        histogram=Histogram(edges=edges, counts=counts, underflow=0, overflow=0, asymptotic=[float(x) for x in counts]),
        quantiles={"0.95": quantile},
        verdict=Verdict(agrees=agrees, sentence=f"At 95 % the asymptotic formula {words}."),
    )  # fmt: skip


def ensemble(rng, poi, names, truth, *, failed=0, agrees=True):
    levels = (0.683, 0.95)
    efficiency = {
        name: Efficiency(bound=1.0, variance=1.0, variance_error=0.014, efficiency=1.0, efficiency_error=0.014)
        for name in names
    }
    return EnsembleSummary(
        digest="0" * 64, code=["0" * 64], keep="all", toys=TOYS, certified=TOYS - failed,
        failed={"not_converged": failed, "hessian_not_positive": 0}, at_bound=1, at_kink=0, throw="frequentist",
        thrown_from=None, truth=dict.fromkeys(names, 0.0) | {poi: truth},
        parameters={name: parameter(rng) for name in names}, derived={},
        information=InformationSummary(method="counts", parameters=list(names), efficiency=efficiency),
        pull_histogram=PullHistogram(edges=[-2.0, 0.0, 2.0], counts=[5000, 5000], underflow=0, overflow=0),
        intervals=IntervalSummary(
            hessian={str(level): covered(rng, level) for level in levels},
            profile={str(level): covered(rng, level) for level in levels},
        ),
        tests=[tested(rng, truth, agrees)], discovery=None,
        tail=Tail(threshold=9.0, toys=0, largest=[], failed=list(range(failed))),
        iterations=Iterations(free=5.0, largest=9), profile_intervals={},
    )  # fmt: skip


def expected_at(poi):
    """A band of CLs about exp(-1.2 poi²), of which no toy with signal reaches the lowest edge beyond 2."""

    def one(factor):
        value = float(np.exp(-1.2 * factor * poi**2))
        return ExpectedCLs(
            value=value, low=0.9 * value, high=1.1 * value, if_failed_low=value, if_failed_high=value
        )  # fmt: skip

    band = {key: one(factor) for key, factor in {"-2": 2.0, "-1": 1.5, "0": 1.0, "1": 0.7, "2": 0.5}.items()}
    if poi > 2:
        band["-2"] = ExpectedCLs(value=None, low=None, high=None, if_failed_low=None, if_failed_high=None)
    return band


def limit_point(poi):
    """A tested value of which CLs is some exp(-poi²): toys at quantiles of exponential distributions."""
    q = -2 * np.log(1 - (np.arange(1000) + 0.5) / 1000)
    return LimitPoint(
        poi=poi, signal_toys=1000, signal_failed=0, background_toys=1000, background_failed=0,
        observed=cls(q, q + 2 * poi**2, 2 * poi**2), coverage=None, weighted=None, expected=expected_at(poi),
    )  # fmt: skip


def limit_answer():
    def limit(value):
        return Limit(
            value=value, error=0.01, low=value - 0.01, high=value + 0.01, interpolation=0.0,
            total_error=0.01, if_failed_low=value,
            if_failed_high=value, outside=None, crossings=1, sentence=f"The limit is {value}.",
        )  # fmt: skip

    expected = {key: limit(value) for key, value in {"-2": 0.5, "-1": 0.7, "0": 0.95, "1": 1.4, "2": 2.0}.items()}
    formula = {key: AsymptoticLimit(value=0.9, outside=None, sentence="") for key in expected}
    return LimitAnswer(
        statistic="qtilde",
        toys=UpperLimit(level=0.95, method="CLs", points=[limit_point(value) for value in POINTS], why_unweighted=None, observed=limit(1.4), expected=expected),
        asymptotic=AsymptoticUpperLimit(
            level=0.95, method="CLs", observed=AsymptoticLimit(value=1.3, outside=None, sentence=""), expected=formula
        ),
        why_no_asymptotic=None,
        asymptotic_points=[
            AsymptoticPoint(
                observed=float(np.exp(-(poi**2))),
                expected={key: item.value or 1e-5 for key, item in expected_at(poi).items()},
            )
            for poi in POINTS
        ],
        verdict=limit_verdict(1.3, limit(1.4), count=TOYS),
        expected_verdicts={"0": limit_verdict(0.9, expected["0"], count=TOYS, what="The median expected limit")},
        injected=None,
        precision=None,
    )  # fmt: skip


def impacts_answer(names):
    """Impacts that fall as 1/k, of alternating sign; every fifth parameter has no auxiliary datum."""

    def impact(k, name):
        size = (-1) ** k / (k + 1)
        free = k % 5 == 4
        return Impact(
            parameter=name, pull=None if free else 0.1 * (k % 7) - 0.3, constraint=None if free else 0.9,
            global_toys=None if free else 0.8 * size, global_toys_error=None if free else 0.01, global_fit=size,
            postfit_up=size, postfit_down=-0.9 * size, prefit_up=None, prefit_down=None,
        )  # fmt: skip

    part = Share(variance=0.5, variance_error=0.01, sigma=0.71, sigma_error=0.01)
    whole = Decomposition(
        of="mu", toys=TOYS, failed=0, variance=1.0, variance_error=0.014, statistical=part, systematic=part,
        rest=Share(variance=0.0, variance_error=0.01, sigma=0.0, sigma_error=None), groups={},
    )  # fmt: skip
    return ImpactsAnswer(
        sentence="The error is of counts.", decomposition=whole,
        impacts=[impact(k, name) for k, name in enumerate(names)], why_no_shifts=None,
    )  # fmt: skip


def correlated(parameters, rho=0.5):
    """A covariance of estimates, (P, P): the correlation of two parameters is ρ to the power of their distance."""
    places = np.arange(parameters)
    scale = 1.0 + places
    return scale[:, None] * scale * rho ** np.abs(places[:, None] - places)


def made_up(
    parameters=3, truth_points=1, *, poi="mu", names=None, failed=0, agrees=True, limit=False, impacts=False, figures=()
):
    """A finished study, as a page is made of it: every number is made up."""
    rng = random.Random(1)
    names = [poi, *(names or [f"alpha_systematic_uncertainty_{k}" for k in range(1, parameters)])]
    ensembles = {
        f"point{k}": ensemble(rng, poi, names, 0.25 * k, failed=failed, agrees=agrees) for k in range(truth_points)
    }
    answers = None
    if limit or impacts:
        answers = Answers(
            limit=limit_answer() if limit else None, impacts=impacts_answer(names[1:]) if impacts else None
        )
    head = Headline(
        model=["ws.json"], data="20 observed data, main and auxiliary", toys=TOYS * truth_points,
        certified=(TOYS - failed) * truth_points, failed=failed * truth_points,
        answers=["limit: " + answers.limit.verdict.sentence] if limit else [],
        verdicts=[
            TestedVerdict(ensemble=name, poi=test.poi, agrees=test.verdict.agrees, sentence=test.verdict.sentence)
            for name, item in ensembles.items()
            for test in item.tests
        ],
    )  # fmt: skip
    summary = Summary(
        toymill="0.1.0", study="made-up", model_digest="0" * 64, poi=poi, headline=head, observed=None, answers=answers,
        ensembles=ensembles,
    )  # fmt: skip
    described = [
        ParameterDescription(name=name, init=0.0, bounds=(-5.0, 5.0), fixed=False, constraint="normal")
        for name in names
    ]
    description = Description(
        toymill="0.1.0", study="made-up", digest="0" * 64, inputs={"ws.json": "1" * 64}, poi=poi, parameters=described,
        data=["a"], observed=None, ensembles={},
    )  # fmt: skip
    origin = Provenance(
        toymill="0.1.0", command="snakemake", finished="2026-01-01T00:00:00+00:00", git=None, python="3.11",
        platform="Linux", packages={"jax": "0.10"}, inputs={"ws.json": "1" * 64}, digests={"summary": "2" * 64},
        seconds={"fits/a/0": 10.0, "fits/a/1": 12.0, "aggregate": 2.0},
    )  # fmt: skip
    audit = Audit(
        toymill="0.1.0", study="made-up", ensemble="point0", digest="0" * 64, tests=[0.0], tolerance=1e-4,
        summary=AuditSummary(
            toys=5, missed=0, not_finite=0, minuit_invalid=0, ours_higher_by=0.0, minuit_higher_by=0.0, poi_difference=0.0
        ),
        toys=[],
    )  # fmt: skip
    study = read_study({"study": "made-up", "model": "ws.json", "ensembles": {"point0": {"toys": 1}}})
    return Found(study, summary, description, {"point0": audit}, origin, "study: made-up\n", figures)


def compared_study(methods):
    """A made-up summary of optimisers: of each its toys, those at the best minimum, false successes, seconds a toy."""
    none = Quantiles(median=1.0, q90=1.0, largest=None)
    made = {
        name: MethodSummary(
            toys=toys, success=reached + false, reached=reached, false_success=false, first_call_seconds=1.0,
            seconds_a_toy=seconds, iterations=none, values=none, gradients=none, hessians=none, nll_above_best=none,
            sigmas_from_best=none,
        )
        for name, (toys, reached, false, seconds) in methods.items()
    }  # fmt: skip
    return ComparisonSummary(
        toymill="0.1.0", study="made-up", model_digest="0" * 64, poi="mu",
        headline=ComparisonHeadline(model=["normal"], toys=50, optimisers=list(methods), answers=[]),
        ensembles={"point0": EnsembleComparison(truth={"mu": 1.0}, near=1e-4, methods=made)},
    )  # fmt: skip
