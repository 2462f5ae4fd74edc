"""``summary.json`` and ``summary.h5``: every aggregated number of a study. Needs no JAX.

Matrices are in ``summary.h5`` only. The fields of the summary are of classes without them; ``summarize`` makes the
classes with them, of which JSON gets what the fields' classes have.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, TypeAdapter

from toymill.inference.agreement import Histogram, Quantile, Verdict
from toymill.inference.covariance import Efficiency
from toymill.inference.coverage import Coverage
from toymill.inference.discovery import Discovery
from toymill.inference.interval_ends import ProfileIntervals
from toymill.inference.negative_yields import NegativeYield, NegativeYields
from toymill.record import EnsembleName, FileRecord, LevelText, NumberOrNone, ParameterName, QuantityName, Record
from toymill.results.answers import Answers
from toymill.results.description import Information, ObservedTest, ThrownFrom
from toymill.results.files import read_record, write_record
from toymill.results.hdf5 import damage_named, opened, write_tree
from toymill.results.headline import ComparisonHeadline, Headline

if TYPE_CHECKING:
    from jaxtyping import Float


class Location(Record):
    """Where the estimates of a quantity lie about its truth."""

    truth: float | None
    """The truth; null for what only the fitted model has or each toy draws, which then has no bias and no pulls."""
    mean: NumberOrNone
    """Mean of the estimates."""
    bias: NumberOrNone
    """The mean less the truth."""
    bias_error: NumberOrNone
    """Monte Carlo error of the bias."""
    bias_in_rms: NumberOrNone
    """The bias in units of the rms."""
    bias_in_rms_error: NumberOrNone
    """Its Monte Carlo error."""
    rms: NumberOrNone
    """Root mean square deviation of the estimates from their mean."""
    rms_error: NumberOrNone
    """Monte Carlo error of the rms."""


QUANTILES = (0.025, 0.16, 0.5, 0.84, 0.975)
"""Levels of the quantiles of estimates and pulls."""


class SampleQuantiles(Record):
    """Quantiles over the certified toys, at the levels of ``quantile_levels``."""

    value: list[NumberOrNone]
    """The quantiles."""
    low: list[NumberOrNone]
    """Lower ends of their Monte Carlo intervals, from order statistics; null where fewer than ten toys are expected
    beyond."""
    high: list[NumberOrNone]
    """Upper ends of their Monte Carlo intervals."""
    binning: list[NumberOrNone]
    """The most that the cells, in which toys are counted, may move each: a 128th of its distance from the truth, or from 0
    for a pull, or less."""


class ParameterSummary(Location):
    """The estimates of one parameter, and their pulls (estimate - truth) / error."""

    pulls: int
    """Certified toys that have a pull: a parameter at a bound has no error."""
    pull_mean: NumberOrNone
    """Mean of the pulls."""
    pull_mean_error: NumberOrNone
    """Monte Carlo error of that mean."""
    pull_width: NumberOrNone
    """Root mean square deviation of the pulls from their mean."""
    pull_width_error: NumberOrNone
    """Monte Carlo error of that width."""
    at_bound: int
    """Certified toys without a pull."""
    at_bound_share: NumberOrNone
    """Their share of the certified toys, whose estimates a bound may bias."""
    poi_correlation: NumberOrNone = None
    """The correlation of the estimates with those of the parameter of interest."""
    poi_correlation_error: NumberOrNone = None
    """Its Monte Carlo error, that of normal estimates."""
    estimate_quantiles: SampleQuantiles | None = None
    """Quantiles of the estimates; null where ``why_no_quantiles`` says why."""
    pull_quantiles: SampleQuantiles | None = None
    """Quantiles of the pulls; null likewise, and without pulls."""


class InformationSummary(Record):
    """The variances of the toys' estimates beside the Cramér-Rao bound. The matrices are in `summary.h5`."""

    method: str
    """How the expected information was found: counts, model or toys."""
    parameters: list[str]
    """The free parameters, in the order of the matrices."""
    efficiency: dict[ParameterName, Efficiency]
    """The Cramér-Rao bound over the variance, by parameter."""


class InformationMatrices(InformationSummary, Information):
    """The same with the matrices, as ``summary.h5`` has them: expected information, and covariance of the estimates."""

    covariance: list[list[NumberOrNone]]
    """The covariance of the estimates over the toys."""
    covariance_error: list[list[NumberOrNone]]
    """Its Monte Carlo error."""


class PullHistogram(Record):
    """The histogram of the pull of the parameter of interest."""

    edges: list[float]
    """Edges of the bins, ascending."""
    counts: list[int]
    """Certified toys in each bin."""
    underflow: int
    """Certified toys below the first edge."""
    overflow: int
    """Certified toys above the last edge."""


class IntervalSummary(Record):
    """Coverage of the two kinds of interval of the parameter of interest, by confidence level."""

    hessian: dict[LevelText, Coverage]
    """Of the estimate and its error from the exact Hessian."""
    profile: dict[LevelText, Coverage]
    """Of the interval where t_μ is at most the χ² quantile."""


class TestSummary(Record):
    """The distribution of t_μ at one test point, beside the asymptotic one."""

    __test__ = False  # it is no test of pytest's

    poi: float
    """The tested value of the parameter of interest."""
    noncentrality: float | None
    """Λ of the asymptotic distribution."""
    noncentrality_error: float | None
    """Monte Carlo error of Λ; 0 where it is exact."""
    mean: NumberOrNone
    """Mean of t_μ over the certified toys."""
    mean_error: NumberOrNone
    """Monte Carlo error of the mean."""
    smallest: NumberOrNone
    """The smallest t_μ, below 0 by rounding only."""
    at_zero: int
    """Certified toys with t_μ = 0."""
    histogram: Histogram
    """The histogram of t_μ."""
    quantiles: dict[LevelText, Quantile]
    """Its quantiles, by level."""
    verdict: Verdict
    """Whether the asymptotic distribution may be trusted."""


class TailToy(Record):
    """A toy of large t_μ."""

    toy: int
    """Its index, by which it can be thrown again."""
    t: float
    """Its t_μ at the truth."""
    estimate: float
    """Its estimate of the parameter of interest."""


class Tail(Record):
    """The toys of the largest t_μ at the truth, and the failed ones."""

    threshold: float
    """Where the tail begins."""
    toys: int
    """Certified toys in the tail."""
    largest: list[TailToy]
    """The toys of the largest t_μ, descending."""
    failed: list[int]
    """Indices of the first toys that failed."""


class Iterations(Record):
    """What the fits cost."""

    free: float
    """Mean number of steps of a free fit."""
    largest: int
    """The most steps of any fit."""


class EnsembleSummary(Record):
    """One ensemble. A toy is certified if its free fit and all its conditional fits are."""

    digest: str
    """SHA-256 of everything that its toys and fits depend on, save the index and the test points."""
    code: list[str]
    """SHA-256 of the code that made its shards; several, if toymill or its libraries changed in between."""
    keep: Literal["all", "poi", "summary"]
    """What its files keep of the fits."""
    sections: tuple[str, ...] = ()
    """The sections of the configuration that it was thrown for; none of an ensemble that the configuration states."""
    toys: int
    """Number of toys."""
    certified: int
    """Number of certified toys; every number below is of these, if nothing else is said."""
    failed: dict[str, int]
    """Toys that are not certified, by the worst status of their fits."""
    at_bound: int
    """Certified toys whose worst status is at_bound."""
    at_kink: int
    """Certified toys whose worst status is at_kink."""
    throw: str
    """What fluctuates: frequentist, main-only, hybrid or templates."""
    thrown_from: ThrownFrom | None
    """The other model that its toys are thrown from; null for the fitted one."""
    truth: dict[ParameterName, float]
    """The truth, by parameter, of those that have one."""
    drawn: tuple[str, ...] = ()
    """Parameters whose values are drawn anew for each toy, as `hybrid` and `templates` do: they have no truth, and so
    neither bias, pulls nor coverage."""
    quantile_levels: tuple[float, ...] = QUANTILES
    """Levels of the quantiles of estimates and pulls."""
    why_no_quantiles: str | None = None
    """Why there are no quantiles; null where there are."""
    parameters: dict[ParameterName, ParameterSummary]
    """The free parameters, by name, that of interest first."""
    derived: dict[QuantityName, Location]
    """The derived quantities, by name."""
    information: InformationSummary
    """Variances of the estimates beside the Cramér-Rao bound."""
    pull_histogram: PullHistogram
    """The pull of the parameter of interest."""
    intervals: IntervalSummary
    """Coverage of intervals of the parameter of interest."""
    profile_intervals: dict[ParameterName, ProfileIntervals]
    """Profile intervals with their ends, by parameter, of those that the configuration names."""
    tests: list[TestSummary]
    """t_μ at each test point, ascending."""
    discovery: list[Discovery] | None
    """Discovery p-values, if the truth is 0; else null."""
    negative_yields: NegativeYields | None = None
    """Yields of samples that shape variations make negative; null where they cannot, and for other models."""
    tail: Tail
    """The toys of the largest t_μ at the truth, and the failed ones."""
    iterations: Iterations
    """What the fits cost."""


class ObservedSummary(Record):
    """The fit to the observed data."""

    status: str
    """How the free fit ended."""
    poi: NumberOrNone
    """The fitted parameter of interest."""
    poi_error: NumberOrNone
    """Its error from the exact Hessian."""
    derived: dict[QuantityName, float]
    """The derived quantities, by name."""
    twice_nll: NumberOrNone
    """2 nll at its minimum, with all constants."""
    tests: list[ObservedTest]
    """The observed t_μ at the tested values of all ensembles."""
    negative_yields: tuple[NegativeYield, ...] = ()
    """The samples whose yields shape variations make negative in the free fit."""


class ObservedMatrices(ObservedSummary):
    """The same with the observed information, as ``summary.h5`` has it."""

    information: list[list[NumberOrNone]]
    """The observed information over the free parameters."""


class _Head(FileRecord):
    """What every summary begins with."""

    toymill: str
    """Version of toymill."""
    study: str
    """Name of the study."""
    kind: Literal["toys", "optimisers"]
    """Kind of the study."""
    model_digest: str
    """SHA-256 of everything that defines the model."""
    poi: str
    """The parameter of interest."""


class Summary(_Head):
    """The summary of a study of kind toys."""

    kind: Literal["toys"] = "toys"
    """Kind of the study."""
    headline: Headline
    """The result in words."""
    errors: str = "Monte Carlo errors are one standard deviation; intervals on fractions are Clopper-Pearson, 68.27 %"
    """What the Monte Carlo errors and intervals are."""
    observed: ObservedSummary | None
    """The fit to the observed data; null for a model without."""
    answers: Answers | None = None
    """The answers to the study's sections; null without sections."""
    ensembles: dict[EnsembleName, EnsembleSummary]
    """The truth points, by ensemble."""


OptimiserName = Annotated[str, "optimiser"]
"""Key of a mapping: the name of an optimiser."""


class Quantiles(Record):
    """A number over the toys; null where it is not finite or not known."""

    median: NumberOrNone
    """The median."""
    q90: NumberOrNone
    """The 90 % quantile."""
    largest: NumberOrNone
    """The largest."""


class MethodSummary(Record):
    """What one optimiser made of an ensemble's toys."""

    toys: int
    """Number of toys."""
    success: int
    """Toys for which it says that it has converged."""
    reached: int
    """Toys for which it is at the best minimum that any optimiser found."""
    false_success: int
    """Toys for which it says so and is not there."""
    first_call_seconds: float
    """Seconds of a first call, which compiles or reads the compilation cache."""
    seconds_a_toy: float
    """Seconds a toy after that."""
    iterations: Quantiles
    """Its steps."""
    values: Quantiles
    """Evaluations of the nll."""
    gradients: Quantiles
    """Evaluations of the gradient."""
    hessians: Quantiles
    """Evaluations of the Hessian."""
    nll_above_best: Quantiles
    """Its nll less that of the best minimum."""
    sigmas_from_best: Quantiles
    """Its distance from the best minimum in standard deviations."""


class Comparison(FileRecord):
    """The optimisers compared on one ensemble's toys."""

    near: float
    """A fit is at the best minimum if its nll is within this of it."""
    methods: dict[OptimiserName, MethodSummary]
    """What each optimiser made of the toys, by its name."""


class EnsembleComparison(Record):
    """The optimisers compared on one ensemble's toys, with its truth."""

    truth: dict[ParameterName, float]
    """The truth, by parameter."""
    near: float
    """A fit is at the best minimum if its nll is within this of it."""
    methods: dict[OptimiserName, MethodSummary]
    """What each optimiser made of the toys, by its name."""


class ComparisonSummary(_Head):
    """The summary of a study of kind optimisers."""

    kind: Literal["optimisers"] = "optimisers"
    """Kind of the study."""
    headline: ComparisonHeadline
    """The result in words."""
    times: str = "wall-clock seconds of one job on one core: they differ from run to run"
    """What the times are."""
    ensembles: dict[EnsembleName, EnsembleComparison]
    """The truth points, by ensemble."""


SUMMARY: TypeAdapter[Summary | ComparisonSummary] = TypeAdapter(
    Annotated[Summary | ComparisonSummary, Field(discriminator="kind")]
)
"""The summary of a study of either kind."""


def read_summary(path: str | Path) -> Summary | ComparisonSummary:
    """Read ``summary.json``.

    Raises:
        ToymillError: a file that is not one of this version, with the key that is wrong.
    """
    return read_record(path, SUMMARY)


def read_comparisons(paths: Iterable[str | Path]) -> dict[str, Comparison]:
    """Read the comparison of each ensemble, from a file of the ensemble's name.

    Raises:
        ToymillError: a file that is not one of this version, with the key that is wrong.
    """
    return {Path(path).stem: read_record(path, TypeAdapter(Comparison)) for path in paths}


def read_matrices(path: str | Path, ensemble: str) -> dict[str, Float[np.ndarray, "parameter parameter"]]:
    """The matrices of ``summary.h5`` over the free parameters of an ensemble, (P, P), by name, such as ``covariance``.

    Args:
        path: the file.
        ensemble: name of the ensemble, which its ``summary.json`` has.

    Raises:
        ToymillError: a file that is missing or damaged.
    """
    with opened(path) as file, damage_named(path):
        found = file[f"ensembles/{ensemble}/information"].items()
        return {name: np.asarray(item) for name, item in found if getattr(item, "ndim", 0) == 2}


def write_summary(json: str | Path, hdf5: str | Path, summary: Summary | ComparisonSummary) -> None:
    """Write ``summary.json``, and ``summary.h5`` with the same numbers and the matrices besides."""
    write_record(json, summary)
    whole = summary.model_dump(mode="json", exclude={"sha256"}, serialize_as_any=True)
    write_tree(hdf5, "toymill-summary", whole)
