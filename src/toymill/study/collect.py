"""Reading an ensemble's shards: all its toys in the order of their index, checked, and counted part by part.

A part is a fixed range of indices, whatever the shards, so that parts can be counted by jobs of their own and the sum
has the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from toymill.budget import SHARD_ROWS
from toymill.config.dependencies import fits_digest
from toymill.config.study import Study, shard_named
from toymill.errors import ToymillError
from toymill.fitting.results import Fits, concatenate
from toymill.inference.counting import Distribution
from toymill.inference.likelihood_ratios import t_mu
from toymill.results.description import Description
from toymill.results.files import made_anew
from toymill.results.hdf5 import ShardKey
from toymill.results.store import Part, ShardReader, reading_shard, write_part
from toymill.results.tally import BLOCK, Measures, Tally
from toymill.study.layout import PART, files_of_part, keeps_values, parts
from toymill.study.model import measures_of_study

if TYPE_CHECKING:
    from jaxtyping import Float


class Collected(NamedTuple):
    """What is read of an ensemble's shards.

    Attributes:
        names: names of the parameters, in the tally's order.
        tally: the tally of all toys.
        t: the distribution of t_μ at each test point over the certified toys.
        codes: digests of the code that made the shards.
    """

    names: tuple[str, ...]
    tally: Tally
    t: list[Distribution]
    codes: set[str]


def by_ensemble(paths: Iterable[str | Path]) -> dict[str, list[Path]]:
    """The files of shards, by the folder that they are in, which has the ensemble's name."""
    found: dict[str, list[Path]] = {}
    for path in map(Path, paths):
        found.setdefault(path.parent.name, []).append(path)
    return found


def part_key(study: Study, description: Description, ensemble: str, number: int) -> ShardKey:
    """What the tally of a part of an ensemble must say that it is."""
    part = parts(study, ensemble)[number]
    digest = fits_digest(study, ensemble, description.digest)
    return ShardKey(ensemble, digest, description.digest, study.seed, part.start, len(part))


def count_part(
    study: Study, description: Description, ensemble: str, number: int, files: Iterable[str | Path], measures: Measures
) -> Part:
    """Count the toys of one part, from shards that are checked and read piece by piece.

    Args:
        study: the study.
        description: the content of its ``model.json``.
        ensemble: name of the ensemble.
        number: number of the part, from 0.
        files: the files of all shards of the ensemble, or of those that have toys of the part.
        measures: what is counted besides parameters, errors and nll.

    Raises:
        ToymillError: a shard that is missing, damaged or of another study, by name.
    """
    about = description.ensembles[ensemble]
    names = description.names
    tally = _no_toys(study, description, ensemble, measures)
    codes: set[str] = set()

    def readers() -> Iterator[ShardReader]:
        for reader in _readers(study, description, ensemble, number, files):
            codes.add(reader.code)
            if study.keep != "all":
                tally.merge(reader.tally())
            yield reader

    values: list[list[Float[np.ndarray, " toy"]]] = [[] for _ in about.tests]
    if study.keep == "summary":
        for _ in readers():
            pass
    else:
        for first, (free, *tests) in _chunks(readers(), parts(study, ensemble)[number], len(names)):
            if study.keep == "all":
                tally.add(first, free, tests, measures)
            if keeps_values(study, ensemble):
                ok = np.logical_and.reduce([fits.ok for fits in (free, *tests)])
                for found, fits in zip(values, tests, strict=True):
                    found.append(np.maximum(t_mu(free, fits)[ok], 0.0))
    return Part(names, tally, [np.concatenate(lots) for lots in values if lots], codes)


def tally_part(
    study: Study,
    description: Description,
    ensemble: str,
    number: int,
    files: Sequence[str | Path],
    path: str | Path,
) -> None:
    """Count the toys of one part, and write its file."""
    part = count_part(study, description, ensemble, number, files, measures_of_study(study))
    write_part(path, part_key(study, description, ensemble, number), part)


def collect(
    study: Study, description: Description, ensemble: str, found: Iterable[Part], measures: Measures
) -> Collected:
    """All toys of an ensemble, from its parts in their order.

    Args:
        study: the study.
        description: the content of its ``model.json``.
        ensemble: name of the ensemble.
        found: the parts.
        measures: what is counted besides parameters, errors and nll.
    """
    tally = _no_toys(study, description, ensemble, measures)
    codes: set[str] = set()
    values: list[list[Float[np.ndarray, " toy"]]] = [[] for _ in tally.tests]
    for part in found:
        tally.merge(part.tally)
        codes |= part.codes
        for lots, t in zip(values, part.values, strict=bool(part.values)):
            lots.append(t)
    distributions = [
        Distribution.of(np.concatenate(lots)) if lots else tally.distribution(k) for k, lots in enumerate(values)
    ]
    return Collected(description.names, tally, distributions, codes)


def fits_of(
    study: Study,
    description: Description,
    ensemble: str,
    files: Sequence[str | Path],
    *,
    estimates: bool = False,
) -> Iterator[tuple[int, list[Fits]]]:
    """All fits of an ensemble in chunks: the index of the first toy, and the free fits and those at each test point.

    Args:
        study: the study.
        description: the content of its ``model.json``.
        ensemble: name of the ensemble.
        files: the files of its shards.
        estimates: whether to read no more than test statistics need, as ``ShardReader.estimates`` does.

    Raises:
        ToymillError: a shard that is missing, damaged or of another study, by name.
    """
    read, parameters = (ShardReader.estimates, 1) if estimates else (ShardReader.rows, len(description.names))
    for number, part in enumerate(parts(study, ensemble)):
        yield from _chunks(_readers(study, description, ensemble, number, files), part, parameters, read)


def counted(
    study: Study, description: Description, ensemble: str, files: Sequence[str | Path], measures: Measures
) -> Iterator[Part]:
    """The parts of an ensemble one after the other, counted here from all its shards."""
    for number in range(len(parts(study, ensemble))):
        yield count_part(study, description, ensemble, number, files, measures)


def _no_toys(study: Study, description: Description, ensemble: str, measures: Measures) -> Tally:
    """The tally of an ensemble before any toy is counted."""
    about = description.ensembles[ensemble]
    truth = [about.truth[name] for name in description.names]
    derived = [about.derived[name] for name in measures.derived]
    return Tally.empty(truth, about.tests, study.levels, derived, measures.cells)


def _readers(
    study: Study, description: Description, ensemble: str, number: int, files: Iterable[str | Path]
) -> Iterator[ShardReader]:
    """The shards of a part in the order of their toys, each checked, and open until the next."""
    for path, key in files_and_keys(study, description, ensemble, number, files):
        with reading_shard(path, key) as reader:
            _require_tests(reader, description.ensembles[ensemble].tests)
            yield reader


def _require_tests(reader: ShardReader, tests: Sequence[float]) -> None:
    """Raise ToymillError for a shard with other test points."""
    if reader.tests != tuple(tests):
        msg = (
            f"{reader.path} has the test points {list(reader.tests)}; expected {list(tests)}. {made_anew(reader.path)}"
        )
        raise ToymillError(msg)


def files_and_keys(
    study: Study, description: Description, ensemble: str, number: int, files: Iterable[str | Path]
) -> list[tuple[Path, ShardKey]]:
    """The file of each shard of a part in the order of their toys, and what it must say that it is.

    Raises:
        ToymillError: files whose names leave toys out, or have some twice.
    """
    key, part = part_key(study, description, ensemble, number), parts(study, ensemble)[number]
    every = sorted((shard_named(Path(path).stem), Path(path)) for path in files_of_part(files, part))
    expected = part.start
    for shard, path in every:
        if shard.first > expected:
            break
        if shard.first < expected and expected > part.start:
            msg = (
                f"ensemble {ensemble!r} has toys twice: {path} begins before toy {expected}. Remove one of the shards."
            )
            raise ToymillError(msg)
        expected = shard.first + shard.toys
    if expected < part.stop:
        msg = f"ensemble {ensemble!r} lacks the shard of its toys from {expected} on. Run the workflow again."
        raise ToymillError(msg)
    if expected > study.ensembles[ensemble].toys:
        msg = f"ensemble {ensemble!r} has {expected} toys in its shards; expected {study.ensembles[ensemble].toys}."
        raise ToymillError(msg)
    return [(path, key._replace(first=shard.first, toys=shard.toys)) for shard, path in every]


def _chunks(
    readers: Iterable[ShardReader],
    part: range,
    parameters: int,
    read: Callable[[ShardReader, int, int], list[Fits]] = ShardReader.rows,
) -> Iterator[tuple[int, list[Fits]]]:
    """The fits of a part's toys in chunks that end at fixed indices, whatever the shards.

    Yields the index of the first toy, and the free fits and those at each test point, as they are ``read`` from a shard.
    """
    size, first = 0, part.start
    waiting: list[list[Fits]] = []
    for reader in readers:
        size = size or _chunk_size(parameters, len(reader.tests))
        begin, end = max(part.start, reader.key.first), min(part.stop, reader.key.first + reader.key.toys)
        while begin < end:
            upto = min(end, begin + size - begin % size)
            waiting.append(read(reader, begin - reader.key.first, upto - reader.key.first))
            begin = upto
            if begin % size == 0:
                yield first, _together(waiting)
                waiting, first = [], begin
    if waiting:
        yield first, _together(waiting)


def _together(lots: list[list[Fits]]) -> list[Fits]:
    """Lots of toys, each with its free fits and those at each test point, as one."""
    return lots[0] if len(lots) == 1 else [concatenate(parts) for parts in zip(*lots, strict=True)]


def _chunk_size(parameters: int, tests: int) -> int:
    """Toys that are read at once: a power of two, so that a part is of whole chunks."""
    rows = SHARD_ROWS // (16 * parameters * (1 + tests))
    size: int = 2 ** int(np.log2(max(rows, BLOCK)))
    return min(PART, size)
