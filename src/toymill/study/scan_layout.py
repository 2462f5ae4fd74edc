"""Which files the points of a scan have, and what each must say that it is. Needs no JAX."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from toymill.config.dependencies import scan_digest, tilts_digest
from toymill.config.scan import SHARD, Grid, Point, ScanConfig, grid_of
from toymill.config.study import Shard, Study, shard_named, shard_of
from toymill.results.hdf5 import ShardKey

if TYPE_CHECKING:
    from toymill.results.scan_store import Tilts


def scan_shards(study: Study) -> list[Shard]:
    """The ranges of toys of each point's jobs; toys with a signal have the same ranges, as far as there are some."""
    settings = settings_of(study)
    size = SHARD if study.shard == "auto" else study.shard
    total = max(settings.toys, settings.signal_toys)
    return [shard_of(first, min(size, total - first)) for first in range(0, total, size)]


def scan_files(study: Study, grid: Grid, folder: str | Path) -> dict[str, list[str]]:
    """The files of each point, by the name of the folder that it has in a folder."""
    return {
        point.folder: [f"{folder}/{point.folder}/{shard.name}.h5" for shard in scan_shards(study)]
        for point in grid.points
    }


def audited_points(grid: Grid) -> list[Point]:
    """The points of which toys are fitted again with iminuit: the first, the middle one and the last."""
    count = len(grid.points)
    return [grid.points[k] for k in sorted({0, count // 2, count - 1})]


def by_point(paths: Iterable[str | Path]) -> dict[str, list[Path]]:
    """The files of each point, by the name of their folder."""
    found: dict[str, list[Path]] = {}
    for path in map(Path, paths):
        found.setdefault(path.parent.name, []).append(path)
    return found


class Tilted(NamedTuple):
    """The files of a scan's tilted toys: of their truths, and of each point by the name of its folder."""

    truths: str | Path
    points: Mapping[str, str | Path]


def tilted_files(study: Study, folder: str | Path) -> Tilted:
    """The files of a scan's tilted toys, in a folder for such files."""
    points = grid_of(settings_of(study)).points
    return Tilted(f"{folder}/tilts.h5", {point.folder: f"{folder}/tilted/{point.folder}.h5" for point in points})


def tilted_by_point(truths: str | Path | Sequence[str], paths: Iterable[str | Path]) -> Tilted | None:
    """The files of a scan's tilted toys; None in a scan that has none, whose ``truths`` are empty."""
    if not truths:
        return None
    assert isinstance(truths, str | Path)
    return Tilted(truths, {path.stem: path for path in map(Path, paths)})


def point_key(study: Study, point: Point, shard: Shard) -> ShardKey:
    """What the file of some toys of a point must say that it is."""
    count = toys_in(shard, settings_of(study).toys)
    return ShardKey(point.name, scan_digest(study, point), point.digest, study.seed, shard.first, count)


def tilts_key(study: Study) -> ShardKey:
    """What the file of a scan's tilted truths must say that it is; but for its toys."""
    return ShardKey("tilts", tilts_digest(study, grid_of(settings_of(study))), "", study.seed, 0, 0)


def tilted_key(study: Study, point: Point, tilts: Tilts) -> ShardKey:
    """What the file of the tilted toys of a point must say that it is."""
    content = scan_digest(study, point).encode() + repr(tilts.names).encode() + tilts.expected.tobytes()
    return ShardKey(point.name, hashlib.sha256(content).hexdigest(), point.digest, study.seed, 0, tilts.tilted)


def settings_of(study: Study) -> ScanConfig:
    """The section ``scan`` of a study that has one."""
    assert study.scan
    return study.scan


def counts_in(study: Study, shard: str) -> list[int]:
    """How many toys without and with a signal are in a range, by its name; a change of either fits the range again."""
    settings = settings_of(study)
    return [toys_in(shard_named(shard), toys) for toys in (settings.toys, settings.signal_toys)]


def toys_in(shard: Shard, toys: int) -> int:
    """How many of so many toys are in a range."""
    return min(max(toys - shard.first, 0), shard.toys)
