"""The section ``scan``: many signals on one background, and what its points are. Needs no JAX."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Discriminator, Field, Tag

from toymill.config.model import (
    LocalPath,
    NamedPatch,
    Number,
    Remote,
    Source,
    Strict,
    file_name,
    is_file,
    is_folder,
    local_of,
)
from toymill.errors import ToymillError, nearest, no_file
from toymill.formats.patches import digest_of, list_patches, load_json

MOST_POINTS = 5000
"""Points of a scan, each of which is a job at least."""

SHARD = 50000
"""Toys of a job of a scan, where the study does not say it."""

Values = list[Annotated[float, Field(allow_inf_nan=False)] | str]


class ScanPatch(Strict):
    """One signal of a scan, in a file of its own."""

    path: Source
    """The JSON patch: a path, or a mapping of url, sha256 and member."""
    name: Annotated[str, Field(min_length=1)] | None = None
    """Name of the signal; null takes the file's."""
    values: Values = []
    """Its coordinates, such as masses."""


def _form(value: object) -> str:
    """Which form a patch of a scan has, so that only that form's mistakes are told."""
    if isinstance(value, str):
        return "str"
    return "Remote" if isinstance(value, Remote) or (isinstance(value, Mapping) and "url" in value) else "ScanPatch"


Patches = Annotated[
    Annotated[Source, Tag("[source]")]
    | Annotated[
        list[
            Annotated[
                Annotated[LocalPath, Tag("str")]
                | Annotated[Remote, Tag("Remote")]
                | Annotated[ScanPatch, Tag("ScanPatch")],
                Discriminator(_form),
            ]
        ],
        Field(min_length=1),
        Tag("files"),
    ],
    Discriminator(lambda value: "[source]" if _form(value) in {"str", "Remote"} else "files"),
]


class ScanConfig(Strict):
    """The significance and the exclusion of many signals, with toys that all of them share."""

    patches: Patches
    """The signals: a patch set as HEPData publishes it, a path or a mapping of url, sha256 and member; a folder of JSON
    patches; or a list of such files, each likewise or a mapping of path, name and values. `model.path` is the workspace
    without a signal."""
    points: Annotated[list[str], Field(min_length=1)] | None = None
    """Names of the signals to scan, of those in `patches`; null takes all."""
    labels: list[str] | None = None
    """Names of the coordinates; null takes those of the patch set."""
    toys: Annotated[int, Field(ge=100, le=10**8, strict=True)] = 5000
    """Toys without a signal, which the models of all points fit."""
    signal_toys: Annotated[int, Field(ge=0, le=10**8, strict=True)] = 5000
    """Toys with the signal of each point, for its exclusion; 0 leaves exclusion out."""
    tilted_toys: Annotated[int, Field(ge=0, le=10**7, strict=True)] = 5000
    """Toys without a signal that are thrown about excesses of all points, and weighted, where the largest observed excess
    is beyond what `toys` reach; the models of all points fit them too. 0 leaves them out."""
    mu: Annotated[Number, Field(gt=0)] = 1.0
    """Value of the parameter of interest that is excluded or not."""
    statistic: Literal["qtilde", "q"] = "qtilde"
    """Test statistic of the exclusion: `qtilde`, q̃_μ, for a signal that is not negative, or `q`, q_μ."""
    level: Annotated[Number, Field(gt=0.5, lt=1)] = 0.95
    """Confidence level of the exclusion, by CLs."""

    @property
    def remotes(self) -> list[Remote]:
        """The patches that have to be downloaded."""
        listed = self.patches if isinstance(self.patches, list) else [self.patches]
        given = [item.path if isinstance(item, ScanPatch) else item for item in listed]
        return [item for item in given if isinstance(item, Remote)]

    @property
    def missing(self) -> list[Remote]:
        """Those of them that are not there yet, each once: without them it is not known which points there are."""
        return list({str(item.local): item for item in self.remotes if not is_file(item.local)}.values())


class Point(NamedTuple):
    """One signal of a scan.

    Attributes:
        name: its name.
        folder: the name of the folder of its files.
        patch: the patch, as a model's section takes it.
        values: its coordinates.
        digest: SHA-256 of the patch's content.
    """

    name: str
    folder: str
    patch: str | Remote | NamedPatch
    values: tuple[float | str, ...]
    digest: str


class Grid(NamedTuple):
    """The signals of a scan.

    Attributes:
        labels: names of the coordinates; empty if there are none.
        points: the signals.
    """

    labels: tuple[str, ...]
    points: tuple[Point, ...]


def grid_of(scan: ScanConfig) -> Grid:
    """The signals of a scan, from the files of their patches.

    Raises:
        ToymillError: a file that is not there or holds no patch, a name that no patch or that two of them have, more
            points than a study can have.
    """
    labels, every = _listed(scan.patches)
    names = [point.name for point in every]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        msg = f"scan.patches: two patches have the name {twice[0]!r}. Give them names: {{path: …, name: …}}."
        raise ToymillError(msg)
    by_name = dict(zip(names, every, strict=True))
    for name in scan.points or ():
        if name not in by_name:
            msg = f"scan.points: there is no patch {name!r} in scan.patches. {nearest(name, names)}"
            raise ToymillError(msg)
    points = every if scan.points is None else [by_name[name] for name in dict.fromkeys(scan.points)]
    if len(points) > MOST_POINTS:
        msg = f"scan: {len(points)} points; expected at most {MOST_POINTS}. Name some of them in scan.points."
        raise ToymillError(msg)
    return Grid(tuple(labels if scan.labels is None else scan.labels), tuple(points))


def _listed(patches: str | Remote | Sequence[str | Remote | ScanPatch]) -> tuple[tuple[str, ...], list[Point]]:
    """The labels and the points that are in files."""
    if not isinstance(patches, str | Remote):
        return (), [_of_file(item if isinstance(item, ScanPatch) else ScanPatch(path=item)) for item in patches]
    path = local_of(patches)
    if is_folder(path):
        files = sorted(str(file) for file in path.glob("*.json") if isinstance(load_json(file), list))
        if not files:
            msg = f"scan.patches: there is no JSON patch in the folder {str(path)!r}."
            raise ToymillError(msg)
        return (), [_of_file(ScanPatch(path=file)) for file in files]
    _require_file(patches)
    listing = list_patches(path)
    found = [
        Point(item.name, file_name(item.name), NamedPatch(path=patches, patch=item.name), item.values, item.digest)
        for item in listing.patches
    ]
    return listing.labels, found


def _of_file(patch: ScanPatch) -> Point:
    """The point of a file that is a patch."""
    _require_file(patch.path)
    path = local_of(patch.path)
    content = load_json(path)
    if not isinstance(content, list):
        msg = (
            f"scan.patches: {path} is no JSON patch, which is a list of operations. A patch set is given alone, "
            "as scan.patches: its path."
        )
        raise ToymillError(msg)
    name = patch.name or path.stem.removeprefix("patch.")
    return Point(name, file_name(name), patch.path, tuple(patch.values), digest_of(content))


def _require_file(source: str | Remote) -> None:
    if is_file(local_of(source)):
        return
    if isinstance(source, Remote):
        msg = (
            f"scan.patches: {source.url} is not downloaded yet to {source.local}. A run of the workflow does it first."
        )
    else:
        msg = f"scan.patches: there is {no_file(source)}"
    raise ToymillError(msg)
