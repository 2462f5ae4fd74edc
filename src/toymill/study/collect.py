"""Reading an ensemble's shards: all its toys in the order of their index, checked, and counted piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from toymill.budget import SHARD_ROWS
from toymill.config.dependencies import fits_digest
from toymill.config.study import Shard, Study, shard_named
from toymill.errors import ToymillError
from toymill.fitting.results import Fits, concatenate
from toymill.inference.counting import Distribution
from toymill.inference.likelihood_ratios import t_mu
from toymill.results.description import Description
from toymill.results.files import made_anew
from toymill.results.hdf5 import ShardKey
from toymill.results.store import ShardReader, reading_shard
from toymill.results.tally import BLOCK, Tally

if TYPE_CHECKING:
    from jaxtyping import Float

    from toymill.results.tally import Derived

MOST_VALUES = 10**7
"""Toys of an ensemble whose t_μ are held one by one, 80 MB a test point; of more, histograms."""


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


def collect(
    study: Study, description: Description, ensemble: str, files: Iterable[str | Path], derived: Derived
) -> Collected:
    """All toys of an ensemble in the order of their index, from shards that are checked and read piece by piece.

    Args:
        study: the study.
        description: the content of its ``model.json``.
        ensemble: name of the ensemble.
        files: the files of its shards.
        derived: the quantities that the model derives from its parameters, each a function (n, P) to (n,).

    Raises:
        ToymillError: a shard that is missing, damaged or of another study, by name.
    """
    about = description.ensembles[ensemble]
    names = description.names
    truth = [about.truth[name] for name in names]
    tally = Tally.empty(truth, about.tests, study.levels, [about.derived[name] for name in derived])
    codes: set[str] = set()

    def readers() -> Iterator[ShardReader]:
        for path, key in _shard_files(study, description, ensemble, files):
            with reading_shard(path, key) as reader:
                _require_tests(reader, about.tests)
                codes.add(reader.code)
                if study.keep != "all":
                    tally.merge(reader.tally())
                yield reader

    values: list[list[Float[np.ndarray, " toy"]]] = [[] for _ in about.tests]
    if study.keep == "summary":
        for _ in readers():
            pass
    else:
        for first, (free, *tests) in _chunks(readers(), len(names), len(about.tests)):
            if study.keep == "all":
                tally.add(first, free, tests, derived)
            if study.ensembles[ensemble].toys <= MOST_VALUES:
                ok = np.logical_and.reduce([fits.ok for fits in (free, *tests)])
                for found, fits in zip(values, tests, strict=True):
                    found.append(np.maximum(t_mu(free, fits)[ok], 0.0))
    t = [Distribution.of(np.concatenate(parts)) if parts else tally.distribution(k) for k, parts in enumerate(values)]
    return Collected(names, tally, t, codes)


def _require_tests(reader: ShardReader, tests: Sequence[float]) -> None:
    """Raise ToymillError for a shard with other test points."""
    if reader.tests != tuple(tests):
        msg = (
            f"{reader.path} has the test points {list(reader.tests)}; expected {list(tests)}. {made_anew(reader.path)}"
        )
        raise ToymillError(msg)


def _shard_files(
    study: Study, description: Description, ensemble: str, files: Iterable[str | Path]
) -> list[tuple[Path, ShardKey]]:
    """The file of each shard in the order of their toys, and what it must say that it is.

    Raises:
        ToymillError: files whose names leave toys out, or have some twice.
    """
    digest = fits_digest(study, ensemble, description.digest)
    every = sorted((shard_named(Path(path).stem), Path(path)) for path in files)
    end = 0
    for shard, path in [
        *((shard, str(path)) for shard, path in every),
        (Shard("", study.ensembles[ensemble].toys, 0), ""),
    ]:
        if shard.first > end:
            msg = (
                f"ensemble {ensemble!r} lacks the shard of its toys {end} to {shard.first - 1}. Run the workflow again."
            )
            raise ToymillError(msg)
        if shard.first < end:
            msg = (
                f"ensemble {ensemble!r} has toys {shard.first} to {end - 1} twice, or too many, at {path or 'its end'}."
            )
            raise ToymillError(msg)
        end += shard.toys
    return [
        (path, ShardKey(ensemble, digest, description.digest, study.seed, shard.first, shard.toys))
        for shard, path in every
    ]


def _chunks(readers: Iterable[ShardReader], parameters: int, tests: int) -> Iterator[tuple[int, list[Fits]]]:
    """The fits of an ensemble's toys in chunks that end at fixed indices, whatever the shards.

    Yields the index of the first toy, and the free fits and those at each test point.
    """
    size = 2 ** int(np.log2(max(SHARD_ROWS // (16 * parameters * (1 + tests)), BLOCK)))
    waiting: list[list[Fits]] = []
    first = 0
    for reader in readers:
        begin, end = reader.key.first, reader.key.first + reader.key.toys
        while begin < end:
            upto = min(end, begin + size - begin % size)
            waiting.append(reader.rows(begin - reader.key.first, upto - reader.key.first))
            begin = upto
            if begin % size == 0:
                yield first, [concatenate(parts) for parts in zip(*waiting, strict=True)]
                waiting, first = [], begin
    if waiting:
        yield first, [concatenate(parts) for parts in zip(*waiting, strict=True)]
