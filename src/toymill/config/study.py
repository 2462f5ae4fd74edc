"""The validated study: what a configuration file may say, with every default. Needs no JAX."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import Field, ValidationError, field_validator, model_validator

from toymill.config.ensemble import Ensemble, check_ensemble, check_thrown, path_alone
from toymill.config.figures import FiguresConfig
from toymill.config.inspection import Facts, facts_of
from toymill.config.mistakes import explain
from toymill.config.model import (
    ModelConfig,
    Name,
    Number,
    Remote,
    Strict,
    WorkspaceConfig,
    is_file,
)
from toymill.config.scan import ScanConfig, grid_of
from toymill.config.sections import (
    HYBRID,
    SECTIONS,
    DiscoveryConfig,
    GoodnessOfFitConfig,
    ImpactsConfig,
    IntervalConfig,
    LimitConfig,
    RegionConfig,
    Section,
    needs,
)
from toymill.errors import ToymillError, nearest, no_file
from toymill.formats.kinds import NO_STUDY, kind_of
from toymill.formats.modifiers import ADD_SIGNAL
from toymill.formats.validation import require_plain, shortened

MOST_SHARDS = 20000
"""Snakemake plans hundreds of jobs in seconds, tens of thousands in minutes."""

FEWEST_AUDITED, ONE_AUDITED_IN = 5, 50_000
"""With ``audit: auto`` so many toys are audited at least, and one in so many: iminuit takes hundreds of times longer."""


class FitConfig(Strict):
    """How toys are fitted."""

    edm_tolerance: Annotated[Number, Field(gt=0, le=1e-3)] = 1e-8
    """Largest estimated distance to the minimum of a certified fit, in units of the negative log-likelihood."""
    audit: Literal["auto"] | Annotated[int, Field(ge=0, strict=True)] = "auto"
    """Toys of each ensemble that are fitted again with iminuit, once its fits are done: a number, or `auto` for one in
    50,000, and 5 at least. Of a million toys that is a few percent of the time of the fits; of 10,000 it may be as long as
    the fits, some seconds to a minute: `toymill check` tells. Of the ensembles of questions, one of each kind; of a scan, the
    first, the middle and the last point."""
    audit_tolerance: Annotated[Number, Field(gt=0)] = 1e-4
    """A fit of ours has missed the minimum if iminuit's negative log-likelihood lies lower by more than this."""
    max_failed: Annotated[Number, Field(ge=0, le=1)] = 0.001
    """The study fails, after its summary is written, if a larger fraction of an ensemble's toys is not certified, or of
    its audited toys has missed the minimum."""

    def toys_audited(self, toys: int) -> int:
        """How many of an ensemble's toys are audited.

        Example:
            >>> [FitConfig().toys_audited(toys) for toys in (3, 1000, 1_000_000)], FitConfig(audit=300).toys_audited(1000)
            ([3, 5, 20], 300)
        """
        wanted = max(FEWEST_AUDITED, toys // ONE_AUDITED_IN) if self.audit == "auto" else self.audit
        return min(wanted, toys)


Method = Literal["gradient-descent", "newton", "toymill", "iminuit-jax", "iminuit-numerical", "scipy-l-bfgs-b"]


class OptimisersConfig(Strict):
    """Which optimisers a study of kind `optimisers` compares, and how long they may try."""

    methods: Annotated[list[Method], Field(min_length=1)] = list(get_args(Method))
    """The optimisers: each fits every toy from the model's initial values."""
    descent_steps: Annotated[int, Field(ge=1, strict=True)] = 1000
    """Steps of gradient descent, all of which are done."""
    newton_steps: Annotated[int, Field(ge=1, strict=True)] = 50
    """Most steps of Newton's method."""


class Study(Strict):
    """A study: one model, its ensembles, and how they are run."""

    study: Name
    """Name of the study: its results are in `results/<study>/`."""
    kind: Literal["toys", "optimisers"] = "toys"
    """What is done with the toys: `toys` fits them all for bias, coverage and t; `optimisers` compares optimisers."""
    model: ModelConfig
    """The statistical model."""
    ensembles: dict[Name, Ensemble] = {}
    """The truth points, by a name of your choice. An ensemble's toys depend on the seed and on this name. Not needed
    beside one of the sections that follow, which choose truth points of their own."""
    limit: Section[LimitConfig] = False
    """An upper limit on the parameter of interest, observed and expected. `limit: {}` takes every default."""
    interval: Section[IntervalConfig] = False
    """Confidence intervals of the parameter of interest, by the Neyman construction of Feldman and Cousins."""
    region: Section[RegionConfig] = False
    """A joint confidence region of two parameters, by the same construction."""
    discovery: Section[DiscoveryConfig] = False
    """The p-value of the observed data without a signal, its significance, and the tail of q_0."""
    goodness_of_fit: Section[GoodnessOfFitConfig] = False
    """Whether the model describes the observed data."""
    impacts: Section[ImpactsConfig] = False
    """Which data the error of the parameter of interest comes from."""
    scan: Section[ScanConfig] = False
    """Many signals on one background: the local and the global significance, and which are excluded."""
    nuisances: Literal["auto", "conditional", "nominal", "hybrid"] = "auto"
    """Where the other parameters stand at the truth points of these sections: `conditional` at their best fit to the
    observed data with the parameter of interest held, `nominal` at their initial values; `auto` is `conditional` for a
    model with observed data. `hybrid` is as `auto`, but parameters with a constraint are drawn from it for each toy, whose
    auxiliary data stay as observed (Cousins and Highland); for `limit` and `interval`."""
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 0
    """Seed of every toy in the study."""
    shard: Literal["auto"] | Annotated[int, Field(ge=1, strict=True)] = "auto"
    """Toys a job: each shard is one job and one file. A number, or `auto` for shards of some minutes each, by the rate
    that a pilot measures."""
    levels: Annotated[list[Annotated[Number, Field(gt=0, lt=1)]], Field(min_length=1)] = [0.683, 0.95]
    """Confidence levels of the intervals whose coverage is counted."""
    fit: FitConfig = FitConfig()
    """How toys are fitted."""
    optimisers: OptimisersConfig = OptimisersConfig()
    """What a study of kind `optimisers` compares."""
    figures: FiguresConfig = FiguresConfig()
    """How figures are drawn."""
    keep: Literal["all", "poi", "summary"] = "all"
    """What is stored of the fits: `all` parameters of every toy, those of the parameter of interest (`poi`), or no toy
    by itself but a `summary`: counts, sums and histograms, with the toys of the tail and the failed ones."""
    keep_toys: Annotated[bool, Field(strict=True)] = False
    """Keep the raw toys in `results/<study>/toys/`."""
    overwrite: Annotated[bool, Field(strict=True)] = False
    """Replace results that this study's name has from another model, seed or truth; otherwise they are kept, and the
    study is refused."""

    _model_path = field_validator("model", mode="before")(path_alone)

    @field_validator("ensembles")
    @classmethod
    def _names_differ(cls, value: dict[str, Ensemble]) -> dict[str, Ensemble]:
        folded = [name.lower() for name in value]
        if len(set(folded)) < len(folded):
            msg = "two names differ only in case, and some file systems would mix their files"
            raise ValueError(msg)
        return value

    @property
    def models(self) -> dict[str, ModelConfig]:
        """The model that is fitted, and those that toys are thrown from, by their keys."""
        others = {f"ensembles.{name}.thrown_from": item.thrown_from for name, item in self.ensembles.items()}
        return {"model": self.model, **{key: item for key, item in others.items() if item is not None}}

    @property
    def remotes(self) -> list[Remote]:
        """What has to be downloaded for any of them, each once."""
        every = [item for model in self.models.values() for item in model.remotes]
        every += self.scan.remotes if self.scan else []
        return list({str(item.local): item for item in every}.values())

    @property
    def contents(self) -> dict[str, list[str]]:
        """What tells the content of their files, by the keys of the models."""
        return {key: model.contents for key, model in self.models.items()}

    @model_validator(mode="after")
    def _asks_something(self) -> Study:
        asked = [name for name in SECTIONS if getattr(self, name)]
        if not self.ensembles and not asked:
            msg = f"ensembles: needs at least one, or one of the sections {', '.join(SECTIONS)}"
            raise ValueError(msg)
        if asked and self.kind != "toys":
            msg = f"{asked[0]}: is for a study of kind toys; a study of kind {self.kind} has ensembles only"
            raise ValueError(msg)
        finding = [name for name, item in self.ensembles.items() if item.profile_intervals]
        if finding and self.kind != "toys":
            msg = f"ensembles.{finding[0]}.profile_intervals: is for a study of kind toys, not {self.kind}"
            raise ValueError(msg)
        if asked and self.keep != "all":
            msg = f"keep: {self.keep} stores too little for {asked[0]}, which needs every fit. Leave it at all"
            raise ValueError(msg)
        weighted = [name for name in asked if name not in HYBRID]
        if weighted and self.nuisances == "hybrid":
            msg = f"nuisances: hybrid is for {' and '.join(HYBRID)}; {weighted[0]} needs toys that fluctuate as the data do"
            raise ValueError(msg)
        if self.interval and self.interval.berger_boos and self.nuisances == "hybrid":
            msg = "interval.berger_boos: needs toys at fixed nuisance parameters, and nuisances: hybrid draws them. Choose one"
            raise ValueError(msg)
        taken = {name.lower() for name in self.ensembles} & needs(self).keys()
        if taken:
            msg = f"ensembles: {sorted(taken)[0]} is the name of an ensemble of {asked[0]}. Choose another"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _scans_patches(self) -> Study:
        if not self.scan:
            return self
        if not isinstance(self.model, WorkspaceConfig):
            msg = "scan: needs a model of kind workspace, whose path is the workspace without a signal"
            raise ValueError(msg)  # noqa: TRY004 - pydantic tells these
        if self.model.patches:
            return self
        asked = [name for name in SECTIONS if getattr(self, name) and name != "scan"]
        others = [*(["ensembles"] if self.ensembles else []), *asked]
        if others:
            msg = f"model.patches: name the signal that {others[0]} is about; scan has many"
            raise ValueError(msg)
        try:
            first = grid_of(self.scan).points[0]
        except ToymillError:  # for check_inputs to tell
            return self
        return self.model_copy(update={"model": self.model.model_copy(update={"patches": [first.patch]})})

    @model_validator(mode="after")
    def _not_too_many_jobs(self) -> Study:
        if self.shard == "auto":
            return self
        every = [*(item.toys for item in self.ensembles.values()), *(item.toys for item in needs(self).values())]
        jobs = sum(-(-toys // self.shard) for toys in every)
        if jobs > MOST_SHARDS:
            msg = f"shard: {self.shard} toys a job makes {jobs} jobs; expected at most {MOST_SHARDS}. Raise shard"
            raise ValueError(msg)
        return self


class Shard(NamedTuple):
    """A contiguous range of an ensemble's toys: one job, one file."""

    name: str
    first: int
    toys: int


def read_study(content: Mapping[str, object]) -> Study:
    """The study that a configuration states.

    Raises:
        ToymillError: an unknown key, a wrong type or an impossible value; the message names the key,
            what was got, and what is allowed.
    """
    if not isinstance(content, Mapping):
        msg = f"The configuration is {shortened(content)}; expected a mapping of keys to values."
        raise ToymillError(msg)
    require_plain(content, "The configuration")
    kind = kind_of(content)
    if kind in NO_STUDY:
        msg = f"The configuration is {NO_STUDY[kind].format(path='FILE')}"
        raise ToymillError(msg)
    try:
        return Study.model_validate(dict(content))
    except ValidationError as error:
        lines = [explain(item, Study) for item in error.errors()]
        msg = "The configuration cannot be used:\n" + "\n".join(f"  - {line}" for line in dict.fromkeys(lines))
        raise ToymillError(msg) from None


def check_study(study: Study, facts: Facts, others: Mapping[str, Facts] = MappingProxyType({})) -> None:
    """Refuse a study that does not fit its models.

    Args:
        study: the study.
        facts: what is known of the model that is fitted.
        others: of the model that an ensemble's toys are thrown from, where it is another one, by ensemble. What is not
            known yet is checked later.

    Raises:
        ToymillError: no parameter of interest, or a fixed one, and what ``check_ensemble`` and ``check_sections`` refuse.
    """
    if facts.poi is None:
        msg = f"model.poi: the model names no parameter of interest. {nearest('', facts.parameters.names)}"
        if isinstance(study.model, WorkspaceConfig) and not study.model.patches:
            msg += f" Or, if the workspace has no signal: {ADD_SIGNAL}"
        raise ToymillError(msg)
    if facts.parameters.fixed[facts.parameters.index(facts.poi)]:
        msg = f"model.poi: the model fixes the parameter of interest {facts.poi!r}. Free it there, or name another."
        raise ToymillError(msg)
    check_sections(study, facts)
    for name, ensemble in study.ensembles.items():
        if ensemble.thrown_from is None:
            check_ensemble(name, ensemble, facts, facts)
        elif name in others:
            check_thrown(name, study.model, ensemble, facts, others[name])
            check_ensemble(name, ensemble, facts, others[name])


def check_sections(study: Study, facts: Facts) -> None:
    """Refuse sections that do not fit the model.

    Raises:
        ToymillError: sections that need observed data which the model has not, tested values out of bounds.
    """
    asked = [name for name in SECTIONS if getattr(study, name)]
    poi = str(facts.poi)
    for key, needed in (
        ("interval", bool(study.interval)),
        ("region", bool(study.region)),
        ("goodness_of_fit", bool(study.goodness_of_fit)),
        ("impacts", bool(study.impacts)),
        ("nuisances: 'conditional'", study.nuisances == "conditional" and bool(asked)),
    ):
        if needed and not facts.observed:
            msg = f"{key} needs a fit to the observed data, and this model has none. Give it observed data, or leave it out."
            raise ToymillError(msg)
    lowest = float(facts.parameters.bounds[facts.parameters.index(poi), 0])
    for name, section in (("limit", study.limit), ("scan", study.scan)):
        if section and section.statistic == "q" and lowest >= 0:
            msg = (
                f"{name}.statistic: q_μ lets the estimate of {poi!r} be negative, and the model bounds it at {lowest:g}. "
                "Lower its bound in the model, or take qtilde, which is for a signal that is not negative."
            )
            raise ToymillError(msg)
    values = {
        f"{asked[0] if asked else ''}, which needs a hypothesis without a signal": [0.0]
        if study.limit or study.discovery or study.scan
        else [],
        "limit.values": study.limit.values or [] if study.limit else [],
        "limit.injected": [study.limit.injected] if study.limit and study.limit.injected is not None else [],
        "scan.mu": [study.scan.mu] if study.scan else [],
        "interval.values": study.interval.values or [] if study.interval else [],
    }
    for key, value in ((key, value) for key, several in values.items() for value in several):
        try:
            facts.parameters.values({poi: value})
        except ToymillError as error:
            msg = f"{key}: {error}"
            raise ToymillError(msg) from None
    free = [key for key, fixed in zip(facts.parameters.names, facts.parameters.fixed, strict=True) if not fixed]
    for name in study.region.parameters or [] if study.region else []:
        if name not in free:
            msg = f"region.parameters: {name!r} is no free parameter. {nearest(name, free)}"
            raise ToymillError(msg)
    if study.region and study.region.parameters and study.region.ranges:
        for k in (0, 1):
            try:
                facts.parameters.values(
                    {name: ends[k] for name, ends in zip(study.region.parameters, study.region.ranges, strict=True)}
                )
            except ToymillError as error:
                msg = f"region.ranges: {error}"
                raise ToymillError(msg) from None
    of_set = study.interval and study.interval.berger_boos
    for name in of_set.parameters or [] if of_set else []:
        if name not in free or name == poi:
            msg = f"interval.berger_boos.parameters: {name!r} is no free nuisance parameter. {nearest(name, sorted({*free} - {poi}))}"
            raise ToymillError(msg)
    for value in study.interval.values or [] if study.interval else []:
        if value < 0 and study.interval and study.interval.statistic == "ttilde":
            msg = f"interval.values: {value:g} is negative, which ttilde does not allow. Test others, or choose t."
            raise ToymillError(msg)


def check_inputs(study: Study, beside: Path | None = None) -> None:
    """Check the study against its model as far as its files are there; what is yet to be fetched is checked later.

    Args:
        study: the study.
        beside: the folder of its configuration, which its paths may be meant to begin at.

    Raises:
        ToymillError: a local input that is not there, a download that was changed since, and what ``facts_of`` and
            ``check_study`` refuse.
    """
    for place, model in study.models.items():
        for key, item in model.sources.items():
            if isinstance(item, str) and not is_file(Path(item)):
                download = " A download is a mapping of url and sha256." if "://" in item else ""
                msg = f"{place}.{key}: there is {no_file(item)}{download}"
                if beside and is_file(beside / item):
                    msg = f"{place}.{key}: paths begin at {Path.cwd()}, not at the study's folder. Write {str(beside / item)!r}."
                raise ToymillError(msg)
    for remote in study.remotes:
        if is_file(remote.local) and not remote.is_as_fetched():
            msg = f"{remote.local} is not what {remote.url} gave. Remove it: the next run downloads it again."
            raise ToymillError(msg)
    if study.scan:
        if study.scan.missing:
            return
        grid_of(study.scan)
    known = {
        place: facts_of(model, place)
        for place, model in study.models.items()
        if all(is_file(path) for path in model.inputs)
    }
    if "model" in known:
        others = {name: known[key] for name in study.ensembles if (key := f"ensembles.{name}.thrown_from") in known}
        check_study(study, known["model"], others)


def values_tested(ensemble: Ensemble, poi: str) -> list[float]:
    """The values of the parameter of interest that are tested: those asked for and the truth, ascending."""
    return sorted({float(value) for value in [*ensemble.tests, ensemble.truth[poi]]})


def shards(study: Study, ensemble: str, planned: int | None = None) -> Iterator[Shard]:
    """The shards of an ensemble; the name is the range of indices, so that more toys leave whole shards as they are.

    Args:
        study: the study.
        ensemble: name of the ensemble.
        planned: toys a shard where the study says ``shard: auto``.
    """
    size = planned if study.shard == "auto" else study.shard
    assert size is not None
    total = study.ensembles[ensemble].toys
    for first in range(0, total, size):
        yield shard_of(first, min(size, total - first))


def shard_of(first: int, toys: int) -> Shard:
    """The shard of so many toys from ``first``."""
    return Shard(f"{first:09d}-{first + toys - 1:09d}", first, toys)


def shard_named(name: str) -> Shard:
    """The shard that has this name, which is its range of indices.

    Raises:
        ValueError: a name that is no range.
    """
    first, last = (int(word) for word in name.split("-"))
    if shard_of(first, last - first + 1).name != name or last < first:
        msg = f"{name!r} is no name of a shard"
        raise ValueError(msg)
    return shard_of(first, last - first + 1)
