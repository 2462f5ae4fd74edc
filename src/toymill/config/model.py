"""What a configuration may say of the model: one section for each kind. Needs no JAX."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from toymill._version import __version__
from toymill.formats.patches import Patch
from toymill.formats.settings import ParameterSettings
from toymill.formats.workspace import DEFAULT_SETTINGS, ModifierSettings, Prune, Rename

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]


def _is_name(value: str) -> str:
    if value.endswith(".") or re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", value, re.IGNORECASE):
        msg = "some file systems have no folder of this name: it may not end with a dot, nor be a device of Windows"
        raise ValueError(msg)
    return value


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=100), AfterValidator(_is_name)]
"""A name of files and folders: it leaves no folder, and is no option, no wildcard and no word to a shell."""


def _is_path(value: str) -> str:
    found = re.search(r"[{}<>\r\n]", value)
    if found:
        msg = f"a path may not have {found[0]!r}, which Snakemake takes for a wildcard or a variable; rename the file"
        raise ValueError(msg)
    try:
        return str(Path(value).expanduser()) if re.match("~[^/]*/|~$", value) else value
    except RuntimeError:
        msg = "~ stands for the home of a user who is not known; write the path out, or ./~ for a name that begins so"
        raise ValueError(msg) from None


LocalPath = Annotated[str, AfterValidator(_is_path)]
"""A path that Snakemake takes as it stands; ``~`` at its beginning is the home folder."""


def is_file(path: Path) -> bool:
    """Whether a file is there; False where no file system has such a path."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether a folder is there; False where no file system has such a path."""
    try:
        return path.is_dir()
    except OSError:
        return False


FETCHED = Path(".snakemake/toymill/fetched")
"""Where downloaded inputs are kept, by digest."""


class Strict(BaseModel):
    """A section of the configuration: no unknown keys, every key described."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Remote(Strict):
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
        parts = Path(self.member).parts if self.member else [self.url.rsplit("/", 1)[-1] or "file"]
        return Path(FETCHED / self.sha256, *map(file_name, parts))

    @property
    def seal(self) -> Path:
        """Where the SHA-256 of the downloaded file is kept."""
        return self.local.with_name(f"{self.local.name}.sha256")

    def is_as_fetched(self) -> bool:
        """Whether the downloaded file is, to the bit, what was downloaded."""
        try:
            expected = self.sha256 if self.member is None else self.seal.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return False
        return _sha256(self.local) == expected


def file_name(word: str) -> str:
    """A word of an address as the name of a file: itself, or what is harmless of it behind a digest of all of it."""
    if re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,99}", word):
        return word
    digest = hashlib.sha256(word.encode(errors="surrogatepass")).hexdigest()
    return f"{digest[:8]}-{re.sub(r'[^A-Za-z0-9._+-]', '_', word)[-60:]}"


def _kind_of_source(value: object) -> str:
    """Which form a source has, so that only that form's mistakes are told."""
    if isinstance(value, str):
        return "str"
    named = isinstance(value, NamedPatch) or (isinstance(value, Mapping) and ("patch" in value or "path" in value))
    return "NamedPatch" if named else "Remote"


Source = Annotated[
    Annotated[LocalPath, Tag("str")] | Annotated[Remote, Tag("Remote")],
    Discriminator(lambda value: "str" if isinstance(value, str) else "Remote"),
]


def local_of(source: str | Remote) -> Path:
    """Where a file lies."""
    return source.local if isinstance(source, Remote) else Path(source)


def _sha256(path: Path) -> str:
    """SHA-256 of a file's content; empty if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


class NamedPatch(Strict):
    """One patch of a patch set, as published on HEPData."""

    path: Source
    """The patch set: a path, or a mapping of url, sha256 and member. Its digests must be the workspace's."""
    patch: str
    """Name of the patch in the set."""


PatchSource = Annotated[
    Annotated[LocalPath, Tag("str")] | Annotated[Remote, Tag("Remote")] | Annotated[NamedPatch, Tag("NamedPatch")],
    Discriminator(_kind_of_source),
]


class _Kind(Strict):
    """What every kind of model has."""

    poi: str | None = None
    """Parameter of interest; null takes the model's own."""

    @property
    def sources(self) -> dict[str, str | Remote]:
        """The files as they are given, by their keys in the section."""
        return {}

    @property
    def inputs(self) -> list[Path]:
        """The local files, in the same order."""
        return [local_of(item) for item in self.sources.values()]

    @property
    def remotes(self) -> list[Remote]:
        """The inputs that have to be downloaded."""
        return [item for item in self.sources.values() if isinstance(item, Remote)]

    @cached_property
    def contents(self) -> list[str]:
        """What tells the content of each file: its SHA-256, or for a download that of the configuration, and the member.

        A file that is not there has none.
        """
        return [
            f"{item.sha256} {item.member or ''}".strip() if isinstance(item, Remote) else _sha256(Path(item))
            for item in self.sources.values()
        ]

    @property
    def choices(self) -> dict[str, Any]:
        """What is chosen, beside the content of the files."""
        return self.model_dump(mode="json", exclude={"path", "files"})


class WorkspaceConfig(_Kind):
    """A HistFactory model: a pyhf workspace, or an HS3 file."""

    kind: Literal["workspace"] = "workspace"
    """How the model is stated: `workspace` is pyhf/HistFactory JSON, or HS3 of a HistFactory model."""
    path: Source
    """The workspace: a path relative to the working directory, or a mapping of url, sha256 and member."""
    patches: list[PatchSource] = []
    """JSON patches applied in order, each a path, a mapping of url, sha256 and member, or a mapping of path and patch
    for one of a patch set."""
    measurement: str | None = None
    """Name of a measurement in the workspace; null takes the first. In HS3, name of an analysis."""
    modifier_settings: ModifierSettings = DEFAULT_SETTINGS
    """How modifiers are interpolated, as pyhf's `modifier_settings`: normsys and histosys, each a mapping of interpcode."""
    prune: Prune = Prune()
    """What to remove from the workspace, once patched."""
    rename: Rename = Rename()
    """What to rename in the workspace, once pruned."""
    parameters: dict[str, ParameterSettings] = {}
    """Settings of parameters in place of the file's, by name: init, bounds and fixed."""

    @property
    def sources(self) -> dict[str, str | Remote]:
        """The workspace, then the patches."""
        patches = {
            f"patches.{number}": item.path if isinstance(item, NamedPatch) else item
            for number, item in enumerate(self.patches)
        }
        return {"path": self.path, **patches}

    @property
    def local_path(self) -> Path:
        """Where the workspace lies."""
        return local_of(self.path)

    @property
    def local_patches(self) -> list[Patch]:
        """The patches as ``read_specification`` takes them."""
        return [
            (local_of(item.path), item.patch) if isinstance(item, NamedPatch) else local_of(item)
            for item in self.patches
        ]


class StatedConfig(_Kind):
    """A model that Python code builds from options."""

    builder: ClassVar[tuple[str, str]]
    """Module of ``toymill.models``, and the function in it, that build a model of the package from ``arguments``."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The options that the building function takes."""
        return self.model_dump(exclude={"kind", "poi"})

    def digest(self) -> str:
        """SHA-256 of what defines the model: the section, the content of its files, and toymill's version."""
        files = [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.inputs]
        identity = json.dumps([__version__, self.choices, files], sort_keys=True)
        return hashlib.sha256(identity.encode()).hexdigest()


class PythonConfig(StatedConfig):
    """A model of your own: a Python function that returns what `toymill.define_model` makes."""

    kind: Literal["python"]
    """`python`: a function of your own builds the model; docs/python-models.md is the guide."""
    path: LocalPath
    """The Python file, relative to the working directory."""
    entry: str = "build"
    """Name of the function in it that returns the model."""
    options: dict[str, Any] = {}
    """Keyword arguments of the function."""
    files: list[LocalPath] = []
    """Other files that it imports or reads; when one changes, everything is made anew."""

    @property
    def sources(self) -> dict[str, str | Remote]:
        """The Python file, then the others."""
        return {"path": self.path, **{f"files.{number}": item for number, item in enumerate(self.files)}}

    @property
    def arguments(self) -> dict[str, Any]:
        """The options that the building function takes."""
        return dict(self.options)


class PoissonConfig(StatedConfig):
    """Independent Poisson counts of one rate."""

    builder = ("poisson", "build")

    kind: Literal["poisson"]
    """`poisson`: independent counts of one rate; the parameter is `rate`."""
    n: Annotated[int, Field(ge=1, strict=True)] = 5
    """Number of counts."""
    rate: Positive = 2.0
    """Initial value of the rate."""
    observed: list[Annotated[Number, Field(ge=0)]] | None = None
    """The observed counts, if there are any."""


class OnOffConfig(StatedConfig):
    """A count, and one that measures its background."""

    builder = ("poisson", "build_on_off")

    kind: Literal["onoff"]
    """`onoff`: n_on ~ Poisson(s + b), n_off ~ Poisson(tau b); the parameters are `s` and `b`."""
    signal: Number = 6.0
    """Initial value of s."""
    background: Positive = 9.0
    """Initial value of b."""
    tau: Positive = 1.0
    """How much longer the background is measured."""
    observed: Annotated[list[Annotated[Number, Field(ge=0)]], Field(min_length=2, max_length=2)] | None = None
    """The observed n_on and n_off, if there are any."""


class NormalConfig(StatedConfig):
    """A normal sample of unknown mean and variance."""

    builder = ("normal", "build")

    kind: Literal["normal"]
    """`normal`: independent normal numbers; the parameters are `mu` and `log_variance`."""
    n: Annotated[int, Field(ge=2, strict=True)] = 10
    """Number of events."""
    mean: Number = 0.0
    """Initial value of the mean."""
    variance: Positive = 1.0
    """Initial value of the variance."""
    observed: list[Number] | None = None
    """The observed numbers, if there are any."""


class Gauss2dConfig(StatedConfig):
    """An image of one spot, with noise."""

    builder = ("gauss2d", "build")

    kind: Literal["gauss2d"]
    """`gauss2d`: a spot on n × n pixels; the parameters are `x0`, `y0`, `amp`, `sigma`, `rho`, `delta`."""
    n: Annotated[int, Field(ge=3, strict=True)] = 25
    """Pixels along each side of the image, which covers [-2, 2]²."""
    noise: Literal["cauchy", "normal"] = "cauchy"
    """The noise that the likelihood assumes: `cauchy`, or `normal`, which is least squares."""
    g: Positive = 0.5
    """Scale of the noise: half width at half maximum of `cauchy`, standard deviation of `normal`."""
    thrown_noise: Literal["cauchy", "normal"] | None = None
    """The noise that toys have; null is that of `noise`."""
    outliers: Annotated[int, Field(ge=0, strict=True)] = 0
    """Pixels of each toy, at random places, that are too bright."""
    brightness: Number = 20.0
    """What is added to such a pixel."""


class ExtendedConfig(StatedConfig):
    """A search for a peak in unbinned events."""

    builder = ("extended", "build")

    kind: Literal["extended"]
    """`extended`: a normal peak on an exponential; the parameters are `signal`, `background`, `slope`, `mass`, `width`."""
    signal: Annotated[Number, Field(ge=0)] = 20.0
    """Initial value of the expected signal events."""
    background: Positive = 200.0
    """Initial value of the expected background events."""
    slope: Number = 2.0
    """Initial value of the background's slope: its density falls by exp(-slope) over the range."""
    mass: Number = 125.0
    """Position of the peak."""
    width: Positive = 2.0
    """Standard deviation of the peak."""
    low: Number = 100.0
    """Lower end of the range."""
    high: Number = 160.0
    """Upper end of the range."""
    float_mass: Annotated[bool, Field(strict=True)] = False
    """Fit the position too."""
    float_width: Annotated[bool, Field(strict=True)] = False
    """Fit the width too."""
    capacity: Annotated[int, Field(ge=1, strict=True)] | None = None
    """Most events of one toy; null leaves room for twice the initial yields and their fluctuations."""

    @model_validator(mode="after")
    def _range_is_one(self) -> ExtendedConfig:
        if not self.low < self.high:
            msg = f"low is {self.low:g} and high is {self.high:g}; expected a range, low below high"
            raise ValueError(msg)
        return self


KINDS: dict[str, type[_Kind]] = {
    "workspace": WorkspaceConfig,
    "python": PythonConfig,
    "poisson": PoissonConfig,
    "onoff": OnOffConfig,
    "normal": NormalConfig,
    "gauss2d": Gauss2dConfig,
    "extended": ExtendedConfig,
}


def _kind_of_model(value: object) -> str:
    kind = value.get("kind", "workspace") if isinstance(value, Mapping) else getattr(value, "kind", "workspace")
    return kind if isinstance(kind, str) else str(kind)


ModelConfig = Annotated[
    Annotated[WorkspaceConfig, Tag("workspace")]
    | Annotated[PythonConfig, Tag("python")]
    | Annotated[PoissonConfig, Tag("poisson")]
    | Annotated[OnOffConfig, Tag("onoff")]
    | Annotated[NormalConfig, Tag("normal")]
    | Annotated[Gauss2dConfig, Tag("gauss2d")]
    | Annotated[ExtendedConfig, Tag("extended")],
    Discriminator(_kind_of_model),
]
