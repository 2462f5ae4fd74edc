"""What a study wants to know: sections of its configuration, and the ensembles that each is answered from. No JAX."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple, Protocol, TypeVar

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from toymill.config.model import Number, Strict
from toymill.config.scan import ScanConfig

MOST_POINTS = 99
"""Tested values of one section."""

_ROUNDING = 1e-9

BACKGROUND, INJECTED, BEST_FIT = "background", "injected", "best-fit"
"""Names of the ensembles without a signal, with the injected one, and at the best fit to the observed data."""


def _once(items: list[Item] | None) -> list[Item] | None:
    """Refuse an item that is given twice."""
    twice = [item for k, item in enumerate(items or []) if items and item in items[:k]]
    if twice:
        msg = f"{twice[0]} is there twice; name each once"
        raise ValueError(msg)
    return items


def _ascending(values: list[float] | None) -> list[float] | None:
    """Refuse tested values that do not ascend."""
    if values is not None and any(one >= two for one, two in pairwise(values)):
        msg = "they do not ascend"
        raise ValueError(msg)
    return values


Asked = TypeVar("Asked")
Item = TypeVar("Item")

Section = Annotated[
    Annotated[Asked, Tag("section")] | Annotated[Literal[False], Tag("off")],
    Discriminator(lambda value: "off" if value is False else "section"),
    BeforeValidator(lambda value: {} if value is None or value is True else value),
]
"""A section, or false where a study has none; its key alone, or true, takes every default."""

Toys = Annotated[int, Field(ge=100, le=10**10, strict=True)]


class LimitConfig(Strict):
    """An upper limit on the parameter of interest, from toys with and without a signal."""

    level: Annotated[Number, Field(gt=0.5, lt=1)] = 0.95
    """Confidence level."""
    method: Literal["CLs", "CLsb"] = "CLs"
    """What is 1 - `level` at the limit: CLs, or CL_{s+b}."""
    statistic: Literal["qtilde", "q", "lep", "tevatron"] = "qtilde"
    """Test statistic: `qtilde`, q̃_μ, for a signal that is not negative, or `q`, q_μ; or the ratio of the likelihoods with
    and without the signal, of which `lep` has the other parameters at their initial values, and `tevatron` fitted in each."""
    points: Annotated[int, Field(ge=4, le=MOST_POINTS, strict=True)] = 15
    """Number of tested values. They are placed about the asymptotic limits."""
    values: Annotated[list[Annotated[Number, Field(gt=0)]], Field(min_length=2, max_length=MOST_POINTS)] | None = None
    """The tested values themselves, ascending; null places them."""
    toys: Toys = 3000
    """Toys with a signal, at each tested value."""
    background_toys: Toys = 10000
    """Toys without a signal, which are also the data of the expected limits."""
    injected: Number | None = None
    """A value of the parameter of interest: the limits that are expected with such a signal in the data are told too,
    from `background_toys` toys more."""
    precision: Annotated[Number, Field(ge=0.001, le=0.5)] | None = None
    """Relative Monte Carlo error of the observed limit and of the expected ones from -1 σ to +1 σ for which toys are
    added, in up to four rounds, where they reduce it most; null adds none."""

    _ascend = field_validator("values")(_ascending)

    @property
    def count(self) -> int:
        """Number of tested values."""
        return self.points if self.values is None else len(self.values)


class BergerBoosConfig(Strict):
    """p-values that hold whatever the nuisance parameters are: the largest over a confidence set of them, plus beta."""

    beta: Annotated[Number, Field(gt=0, le=0.1)] = 0.001
    """1 - the confidence level of the set; it is added to the largest p-value."""
    parameters: Annotated[list[str], Field(min_length=1, max_length=9)] | None = None
    """The nuisance parameters that the set is of; null takes the one most correlated with the parameter of interest."""
    points: Annotated[int, Field(ge=2, le=9, strict=True)] = 4
    """Points along each of them, evenly from end to end of the set, at which toys are thrown beside those at the fit."""

    _differ = field_validator("parameters")(_once)

    @property
    def count(self) -> int:
        """Points of the set at each tested value."""
        return self.points * len(self.parameters or [""])


class IntervalConfig(Strict):
    """Confidence intervals of the parameter of interest by the Neyman construction (Feldman and Cousins)."""

    levels: Annotated[list[Annotated[Number, Field(ge=0.5, lt=1)]], Field(min_length=1)] = [0.6827, 0.95]
    """The confidence levels."""
    statistic: Literal["t", "ttilde"] = "t"
    """What orders the data: `t`, t_μ, whose best fit respects the parameter's bounds, or `ttilde`, t̃_μ, whose best fit is
    not negative either."""
    points: Annotated[int, Field(ge=6, le=MOST_POINTS, strict=True)] = 20
    """How many values are tested. They are placed about the ends of the asymptotic intervals."""
    values: Annotated[list[Number], Field(min_length=2, max_length=MOST_POINTS)] | None = None
    """The tested values themselves, ascending; null places them."""
    toys: Toys = 5000
    """Toys at each tested value."""
    precision: Annotated[Number, Field(ge=0.001, le=0.5)] | None = None
    """Monte Carlo error of each end, relative to its distance from the best fit, for which toys are added at the tested
    values next to the ends and at undecided ones, in up to four rounds; null adds none."""

    berger_boos: Section[BergerBoosConfig] = False
    """p-values that hold whatever the nuisance parameters are, by the method of Berger and Boos; `berger_boos: {}` takes
    every default."""

    _differ = field_validator("levels")(_once)
    _ascend = field_validator("values")(_ascending)

    @model_validator(mode="after")
    def _rejects_something(self) -> IntervalConfig:
        if self.berger_boos and self.berger_boos.beta >= (1 - max(self.levels)) * (1 - _ROUNDING):
            msg = f"berger_boos.beta is {self.berger_boos.beta:g}, and is to be less than 1 - {max(self.levels):g}, the level"
            raise ValueError(msg)
        return self

    @property
    def count(self) -> int:
        """Number of tested values."""
        return self.points if self.values is None else len(self.values)


class RegionConfig(Strict):
    """A joint confidence region of two parameters by the Neyman construction (Feldman and Cousins), on a grid of points."""

    parameters: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None
    """The two parameters; null takes that of interest and the one most correlated with it."""
    ranges: (
        Annotated[list[Annotated[list[Number], Field(min_length=2, max_length=2)]], Field(min_length=2, max_length=2)]
        | None
    ) = None
    """The range of each on the grid, as `[[0, 2], [-1, 1]]`; null reaches beyond the asymptotic region."""
    points: Annotated[int, Field(ge=3, le=25, strict=True)] = 7
    """Values of each parameter on the grid: 7 make 49 points."""
    levels: Annotated[list[Annotated[Number, Field(ge=0.5, lt=1)]], Field(min_length=1)] = [0.6827, 0.95]
    """The confidence levels."""
    toys: Toys = 2000
    """Toys at each point of the grid."""
    precision: Annotated[Number, Field(ge=0.01, le=0.5)] | None = None
    """Part of the region's points on the grid that may be undecided at each level: toys are added, in up to four rounds, at
    undecided points, those far from the edge of acceptance first; null adds none."""

    _differ = field_validator("levels", "parameters")(_once)

    @field_validator("ranges")
    @classmethod
    def _rise(cls, ranges: list[list[float]] | None) -> list[list[float]] | None:
        if any(low >= high for low, high in ranges or []):
            msg = "a range does not ascend"
            raise ValueError(msg)
        return ranges


class DiscoveryConfig(Strict):
    """The p-value of the hypothesis without a signal, out to far tails."""

    toys: Toys = 20000
    """Toys of each truth point: one without a signal, and tilted ones that reach the tail, which are weighted."""
    reach: Annotated[Number, Field(ge=1, le=7)] = 5
    """Significance out to which p-values are told."""


class GoodnessOfFitConfig(Strict):
    """Whether the model describes the observed data."""

    toys: Toys = 5000
    """Toys at the best fit to the observed data."""
    channel_compatibility: Annotated[bool, Field(strict=True)] = False
    """Whether the channels agree on the parameter of interest, too: the fit with one for each channel against the common
    fit, of the same toys. For a workspace of two channels or more."""


class ImpactsConfig(Strict):
    """Which data the error of the parameter of interest comes from."""

    toys: Toys = 20000
    """Toys at the best fit to the observed data, whose estimates vary with what is thrown."""


SECTIONS: dict[str, type[Strict]] = {
    "limit": LimitConfig,
    "interval": IntervalConfig,
    "region": RegionConfig,
    "discovery": DiscoveryConfig,
    "goodness_of_fit": GoodnessOfFitConfig,
    "impacts": ImpactsConfig,
    "scan": ScanConfig,
}
"""The sections, by their key."""


HYBRID = ("limit", "interval")
"""The sections that may be answered from hybrid toys."""


class Asking(Protocol):
    """A study, as far as its sections go."""

    limit: LimitConfig | Literal[False]
    interval: IntervalConfig | Literal[False]
    region: RegionConfig | Literal[False]
    discovery: DiscoveryConfig | Literal[False]
    goodness_of_fit: GoodnessOfFitConfig | Literal[False]
    impacts: ImpactsConfig | Literal[False]


ROUNDS = 4
"""Times that toys are added for a precision."""


def rounds(study: Asking) -> range:
    """The rounds in which toys are added, from 1; none without a precision that is asked for."""
    asked = any(section and section.precision for section in (study.limit, study.interval, study.region))
    return range(1, 1 + ROUNDS if asked else 1)


class Need(NamedTuple):
    """An ensemble that sections are answered from.

    Attributes:
        toys: its toys.
        sections: the sections that use it.
    """

    toys: int
    sections: tuple[str, ...]


def signal(number: int) -> str:
    """Name of the ensemble at a tested value of the limit, by its number from 1."""
    return f"signal-{number:02d}"


def at_tested(study: Asking) -> list[str]:
    """Names of the ensembles at the tested values of the interval; those of other sections, where values are stated."""
    if not study.interval:
        return []
    known: dict[float, str] = {}
    if study.limit and study.limit.values is not None:
        known = {value: signal(number) for number, value in enumerate(study.limit.values, 1)}
    if study.limit or study.discovery:
        known[0.0] = BACKGROUND
    own = [f"interval-{number:02d}" for number in range(1, study.interval.count + 1)]
    if study.interval.values is None:
        return own
    return [known.get(value, name) for name, value in zip(own, study.interval.values, strict=True)]


def region_ensembles(study: Asking) -> list[str]:
    """Names of the ensembles at the points of the grid of a region."""
    return [f"region-{number:03d}" for number in range(1, study.region.points**2 + 1)] if study.region else []


def at_set(study: Asking, number: int) -> list[str]:
    """Names of the ensembles at points of the nuisance parameters' set, of a tested value of the interval, from 1."""
    settings = study.interval and study.interval.berger_boos
    return [f"interval-{number:02d}-{k}" for k in range(1, settings.count + 1)] if settings else []


def tilted(number: int) -> str:
    """Name of an ensemble that reaches the tail of q_0, by its number from 1."""
    return f"tilted-{number}"


TILTS = 2
"""Truth points beside the hypothesis itself from which a tail is found."""


def audited(study: Asking) -> list[str]:
    """The ensembles of sections of which toys are fitted again with iminuit: one of each kind."""
    return list({name.partition("-")[0]: name for name in needs(study)}.values())


def needs(study: Asking) -> Mapping[str, Need]:
    """The ensembles that a study's sections are answered from, by name; sections share them."""
    found: dict[str, Need] = {}

    def need(name: str, toys: int, section: str) -> None:
        before = found.get(name, Need(0, ()))
        found[name] = Need(max(before.toys, toys), (*before.sections, section))

    if study.limit:
        need(BACKGROUND, study.limit.background_toys, "limit")
        for number in range(1, study.limit.count + 1):
            need(signal(number), study.limit.toys, "limit")
        if study.limit.injected is not None:
            need(INJECTED, study.limit.background_toys, "limit")
    if study.interval:
        for number, name in enumerate(at_tested(study), 1):
            for each in (name, *at_set(study, number)):
                need(each, study.interval.toys, "interval")
    if study.region:
        for name in region_ensembles(study):
            need(name, study.region.toys, "region")
    if study.discovery:
        need(BACKGROUND, study.discovery.toys, "discovery")
        for number in range(1, TILTS + 1):
            need(tilted(number), study.discovery.toys, "discovery")
    for name, section in (("goodness_of_fit", study.goodness_of_fit), ("impacts", study.impacts)):
        if section:
            need(BEST_FIT, section.toys, name)
    return found
