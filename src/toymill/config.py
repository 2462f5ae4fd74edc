"""The validated study: what a configuration file may say, with every default. Needs no JAX."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

import toymill
from toymill.errors import ToymillError, nearest
from toymill.models.patches import Patch
from toymill.models.reader import read_specification
from toymill.models.templates import Compiled, compile_specification
from toymill.models.workspace import DEFAULT_SETTINGS, ModifierSettings, NormSysSettings, Prune, Rename

_NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]

FETCHED = Path(".snakemake/toymill/fetched")
"""Where downloaded inputs are kept, by digest."""


MOST_SHARDS = 20000
"""Snakemake plans hundreds of jobs in seconds, tens of thousands in minutes."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Remote(_Strict):
    """A file that is downloaded once, and refused if its digest is another."""

    url: Annotated[str, Field(pattern=r"^(https?|ftp)://")]
    """Address of the file, or of a tar or zip archive that holds it."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of what the address gives, 64 hexadecimal digits."""
    member: Annotated[str, Field(pattern=r"^[^/]")] | None = None
    """Path of the file inside the archive; null if the address gives the file itself."""

    @field_validator("member")
    @classmethod
    def _member_stays_inside(cls, value: str | None) -> str | None:
        if value is not None and ".." in Path(value).parts:
            msg = "a member may not leave its archive by '..'"
            raise ValueError(msg)
        return value

    @property
    def local(self) -> Path:
        """Where the downloaded file lies."""
        name = self.member or self.url.rsplit("/", 1)[-1] or "file"
        return FETCHED / self.sha256 / name


def _kind_of_source(value: Any) -> str:
    """Which form a source has, so that only that form's mistakes are told."""
    if isinstance(value, str):
        return "str"
    named = isinstance(value, NamedPatch) or (isinstance(value, Mapping) and ("patch" in value or "path" in value))
    return "NamedPatch" if named else "Remote"


Source = Annotated[
    Annotated[str, Tag("str")] | Annotated[Remote, Tag("Remote")],
    Discriminator(lambda value: "str" if isinstance(value, str) else "Remote"),
]


def _local(source: str | Remote) -> Path:
    return source.local if isinstance(source, Remote) else Path(source)


class NamedPatch(_Strict):
    """One patch of a patch set, as published on HEPData."""

    path: Source
    """The patch set: a path, or a mapping of url, sha256 and member. Its digests must be the workspace's."""
    patch: str
    """Name of the patch in the set."""


PatchSource = Annotated[
    Annotated[str, Tag("str")] | Annotated[Remote, Tag("Remote")] | Annotated[NamedPatch, Tag("NamedPatch")],
    Discriminator(_kind_of_source),
]


class ModelConfig(_Strict):
    """The statistical model."""

    kind: Literal["workspace"] = "workspace"
    """How the model is stated: `workspace` is pyhf/HistFactory JSON, or HS3 of a HistFactory model."""
    path: Source
    """The workspace: a path relative to the working directory, or a mapping of url, sha256 and member."""
    patches: list[PatchSource] = []
    """JSON patches applied in order, each a path, a mapping of url, sha256 and member, or a mapping of path and patch
    for one of a patch set."""
    measurement: str | None = None
    """Name of a measurement in the workspace; null takes the first. In HS3, name of an analysis."""
    poi: str | None = None
    """Parameter of interest; null takes the measurement's."""
    modifier_settings: ModifierSettings = DEFAULT_SETTINGS
    """How modifiers are interpolated, as pyhf's `modifier_settings`: normsys and histosys, each a mapping of interpcode."""
    prune: Prune = Prune()
    """What to remove from the workspace, once patched."""
    rename: Rename = Rename()
    """What to rename in the workspace, once pruned."""

    @property
    def sources(self) -> list[str | Remote]:
        """The files as they are given: the workspace, then the patches."""
        return [self.path, *(item.path if isinstance(item, NamedPatch) else item for item in self.patches)]

    @property
    def inputs(self) -> list[Path]:
        """The local files: the workspace, then the patches."""
        return [_local(item) for item in self.sources]

    @property
    def remotes(self) -> list[Remote]:
        """The inputs that have to be downloaded."""
        return [item for item in self.sources if isinstance(item, Remote)]

    @property
    def choices(self) -> dict[str, Any]:
        """What is chosen in the files, beside their content."""
        return self.model_dump(
            mode="json", include={"measurement", "poi", "modifier_settings", "prune", "rename", "patches"}
        )

    @property
    def local_patches(self) -> list[Patch]:
        """The patches as ``read_specification`` takes them."""
        return [
            (_local(item.path), item.patch) if isinstance(item, NamedPatch) else _local(item) for item in self.patches
        ]


class Ensemble(_Strict):
    """All toys of one truth point."""

    truth: dict[str, Number] = {}
    """Parameter values that the toys are thrown at, by name; the others as `nuisances` says."""
    toys: Annotated[int, Field(ge=1, strict=True)] = 10000
    """Number of toys."""
    tests: list[Number] = []
    """Values of the parameter of interest tested on every toy; the truth's own is always added."""
    throw: Literal["frequentist", "main-only", "hybrid"] = "frequentist"
    """What fluctuates: `frequentist` main and auxiliary data; `main-only` leaves auxiliary data as observed; `hybrid`
    leaves them and draws nuisance parameters from their constraints (Cousins and Highland)."""
    nuisances: Literal["nominal", "conditional"] = "nominal"
    """Where the other parameters stand: `nominal` at their initial values, `conditional` at their best fit to the
    observed data with `truth` held."""


class FitConfig(_Strict):
    """How toys are fitted."""

    edm_tolerance: Annotated[Number, Field(gt=0, le=1e-3)] = 1e-8
    """Largest estimated distance to the minimum of a certified fit, in units of the negative log-likelihood."""
    audit: Annotated[int, Field(ge=0, strict=True)] = 20
    """Toys of each ensemble that are fitted again with iminuit, for the comparison in the summary."""
    max_failed: Annotated[Number, Field(ge=0, le=1)] = 0.001
    """The study fails, after its summary is written, if a larger fraction of an ensemble's toys is not certified."""


class Study(_Strict):
    """A study: one model, its ensembles, and how they are run."""

    study: Annotated[str, Field(pattern=_NAME)]
    """Name of the study: its results are in `results/<study>/`."""
    model: ModelConfig
    """The statistical model."""
    ensembles: Annotated[dict[Annotated[str, Field(pattern=_NAME)], Ensemble], Field(min_length=1)]
    """The truth points, by a name of your choice. An ensemble's toys depend on the seed and on this name."""
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 0
    """Seed of every toy in the study."""
    shard: Annotated[int, Field(ge=1, strict=True)] = 10000
    """Toys a job: each shard is one job and one file."""
    levels: Annotated[list[Annotated[Number, Field(gt=0, lt=1)]], Field(min_length=1)] = [0.683, 0.95]
    """Confidence levels of the intervals whose coverage is counted."""
    fit: FitConfig = FitConfig()
    """How toys are fitted."""
    keep_toys: Annotated[bool, Field(strict=True)] = False
    """Keep the raw toys in `results/<study>/toys/`."""

    @field_validator("model", mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @field_validator("ensembles")
    @classmethod
    def _names_differ(cls, value: dict[str, Ensemble]) -> dict[str, Ensemble]:
        folded = [name.lower() for name in value]
        if len(set(folded)) < len(folded):
            msg = "two names differ only in case, and some file systems would mix their files"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _not_too_many_jobs(self) -> Study:
        jobs = sum(-(-ensemble.toys // self.shard) for ensemble in self.ensembles.values())
        if jobs > MOST_SHARDS:
            msg = f"shard: {self.shard} toys a job makes {jobs} jobs; expected at most {MOST_SHARDS}. Raise shard"
            raise ValueError(msg)
        return self


class Shard(NamedTuple):
    """A contiguous range of an ensemble's toys: one job, one file."""

    name: str
    first: int
    toys: int


def read_study(content: Mapping[str, Any]) -> Study:
    """The study that a configuration states.

    Raises:
        ToymillError: an unknown key, a wrong type or an impossible value; the message names the key,
            what was got, and what is allowed.
    """
    try:
        return Study.model_validate(dict(content))
    except ValidationError as error:
        lines = [_explain(dict(item)) for item in error.errors()]
        msg = "The configuration cannot be used:\n" + "\n".join(f"  - {line}" for line in dict.fromkeys(lines))
        raise ToymillError(msg) from None


def refuse_duplicate_keys(path: str | Path) -> None:
    """Refuse a YAML file that gives a key twice, of which YAML readers silently take the last.

    Raises:
        ToymillError: naming the key and its line. A file that is no YAML is left to Snakemake's own message.
    """

    def visit(node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if key.value in seen:
                    msg = f"{path}, line {key.start_mark.line + 1}: the key {key.value!r} is given twice. Keep one."
                    raise ToymillError(msg)
                seen.add(str(key.value))
                visit(value)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                visit(item)

    try:
        root = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return
    if root is not None:
        visit(root)


def compile_model(study: Study) -> Compiled:
    """The study's model as arrays, from local files.

    Raises:
        ToymillError: what ``read_specification`` and ``compile_specification`` refuse.
    """
    model = study.model
    specification = read_specification(
        _local(model.path),
        measurement=model.measurement,
        patches=model.local_patches,
        poi=model.poi,
        modifier_settings=model.modifier_settings,
        prune=model.prune,
        rename=model.rename,
    )
    return compile_specification(specification)


def check_study(study: Study, compiled: Compiled) -> None:
    """Refuse a study that does not fit its model.

    Raises:
        ToymillError: no parameter of interest, or a fixed one, a truth or a test of an unknown parameter
            or outside its bounds, a truth of the parameter of interest that is not given.
    """
    if compiled.poi is None:
        msg = f"model.poi: the workspace names no parameter of interest. {nearest('', compiled.parameters.names)}"
        raise ToymillError(msg)
    if compiled.parameters.fixed[compiled.parameters.index(compiled.poi)]:
        msg = f"model.poi: the workspace fixes the parameter of interest {compiled.poi!r}. Free it in the measurement."
        raise ToymillError(msg)
    for name, ensemble in study.ensembles.items():
        for key, values in (
            ("truth", [ensemble.truth]),
            ("tests", [{compiled.poi: test} for test in ensemble.tests]),
        ):
            for settings in values:
                try:
                    compiled.parameters.values(settings)
                except ToymillError as error:
                    msg = f"ensembles.{name}.{key}: {error}"
                    raise ToymillError(msg) from None
        constraint = dict(zip(compiled.parameters.names, compiled.parameters.constraint, strict=True))
        drawn = [item for item in ensemble.truth if item != compiled.poi and constraint[item] != "none"]
        if ensemble.throw == "hybrid" and drawn:
            msg = (
                f"ensembles.{name}.truth: hybrid toys draw {drawn[0]!r} from its constraint, so it has no truth. "
                "Leave it out, or choose another throw."
            )
            raise ToymillError(msg)
        if compiled.poi not in ensemble.truth:
            msg = (
                f"ensembles.{name}.truth: got {dict(ensemble.truth)}; expected a value for the parameter of "
                f"interest too, as {{{compiled.poi}: 1.0}}."
            )
            raise ToymillError(msg)


def check_inputs(study: Study) -> None:
    """Check the study against its model as far as its files are there; what is yet to be fetched is checked later.

    Raises:
        ToymillError: a local input that is not there, and what ``compile_model`` and ``check_study`` refuse.
    """
    keys = ["path", *(f"patches.{number}" for number in range(len(study.model.patches)))]
    for key, item in zip(keys, study.model.sources, strict=True):
        if isinstance(item, str) and not Path(item).is_file():
            msg = f"model.{key}: there is no file {item!r} in {Path.cwd()}. A download is a mapping of url and sha256."
            raise ToymillError(msg)
    if all(path.is_file() for path in study.model.inputs):
        check_study(study, compile_model(study))


def values_tested(ensemble: Ensemble, poi: str) -> list[float]:
    """The values of the parameter of interest that are tested: those asked for and the truth, ascending."""
    return sorted({float(value) for value in [*ensemble.tests, ensemble.truth[poi]]})


def shards(study: Study, ensemble: str) -> Iterator[Shard]:
    """The shards of an ensemble; the name is the range of indices, so that more toys leave whole shards as they are."""
    total = study.ensembles[ensemble].toys
    for first in range(0, total, study.shard):
        count = min(study.shard, total - first)
        yield Shard(f"{first:09d}-{first + count - 1:09d}", first, count)


def toys_digest(study: Study, ensemble: str, model_digest: str) -> str:
    """SHA-256 of everything that a toy of this ensemble depends on, save its index."""
    settings = study.ensembles[ensemble].model_dump(mode="json", exclude={"toys", "tests"})
    return _digest([toymill.__version__, model_digest, study.seed, ensemble, settings])


def fits_digest(study: Study, ensemble: str, model_digest: str) -> str:
    """SHA-256 of everything that a toy of this ensemble and its fits depend on, save its index."""
    tests = study.ensembles[ensemble].tests
    return _digest([toys_digest(study, ensemble, model_digest), tests, study.fit.edm_tolerance])


def _digest(identity: Any) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


_EXPECTED = {
    "dict_type": "expected a mapping, as {key: value}",
    "model_type": "expected a mapping, as {key: value}",
    "list_type": "expected a list, as [value]",
    "string_type": "expected text; put a number in quotes",
    "too_short": "needs at least one",
    "string_pattern_mismatch": "expected letters, digits and . _ + - for a name, 64 digits for a sha256, http… for a url",
}


def _explain(error: dict[str, Any]) -> str:
    """One line for one validation error: key, value, what is allowed."""
    location = [str(step) for step in error["loc"] if step not in {"str", "Remote", "NamedPatch", "[key]"}]
    key = ".".join(location)
    got = json.dumps(error["input"], default=str)
    got = got if len(got) <= 60 else got[:57] + "…"
    if error["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        return f"{key}: unknown key. {nearest(location[-1], known)}"
    if error["type"] == "missing":
        return f"{key}: missing. It is needed; config/README.md describes it."
    advice = ""
    if isinstance(error["input"], str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", error["input"]):
        advice = " (YAML reads 1e4 as text: write 10000; and 1.0e-4 for 1e-4)"
    text = _EXPECTED.get(error["type"]) or re.sub(r"^Value error, ", "", error["msg"])
    text = f"{text[0].lower()}{text[1:]}"
    return f"{key}: {text}; got {got}{advice}." if key else f"{text}."


def _known_keys(location: list[str]) -> list[str]:
    """The keys that may stand at a place of the configuration."""
    inside: dict[str, list[type[BaseModel]]] = {
        "path": [Remote],
        "patches": [Remote] if "path" in location[2:] else [NamedPatch, Remote],
        "prune": [Prune],
        "rename": [Rename],
        "modifier_settings": [ModifierSettings] if len(location) == 2 else [NormSysSettings],
    }
    sections: dict[str, type[BaseModel]] = {"model": ModelConfig, "ensembles": Ensemble, "fit": FitConfig}
    if not location:
        classes: list[type[BaseModel]] = [Study]
    elif location[0] == "model" and len(location) > 1:
        classes = inside[location[1]]
    else:
        classes = [sections[location[0]]]
    return [key for item in classes for key in item.model_fields]


def shard_named(study: Study, ensemble: str, name: str) -> Shard:
    """The shard of an ensemble that has this name."""
    return next(shard for shard in shards(study, ensemble) if shard.name == name)
