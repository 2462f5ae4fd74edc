"""Fits that are on the disk already: those of earlier shards, and of shards whose job was stopped.

A job takes from them what it needs, so that toys are not fitted twice when a study has other shards, more toys or one
test point more, or was interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from toymill._version import code_digest
from toymill.config.study import shard_of
from toymill.errors import ToymillError
from toymill.results.hdf5 import ShardKey
from toymill.results.store import Keep, ShardReader, ShardWriter, reading_shard, writing_shard
from toymill.results.tally import BLOCK, Tally
from toymill.study.layout import range_of


@contextmanager
def reading_stored(folders: Sequence[Path], key: ShardKey, keep: Keep, tests: Sequence[float]) -> Iterator[Stored]:
    """What folders hold of the fits of a shard's toys, made by the same code; a damaged file is passed over and named.

    Args:
        folders: where to look.
        key: what the shard will be.
        keep: what it will keep. Where that is not ``all``, only its own beginning serves, with the same test points.
        tests: its test points.
    """
    end = key.first + key.toys
    with ExitStack() as stack:
        found = []
        for path in sorted(path for folder in folders for path in folder.glob("*.h5")):
            about = range_of(path)
            if about is None or about.first >= end or about.first + about.toys <= key.first:
                continue
            try:
                reader = stack.enter_context(reading_shard(path))
            except ToymillError as error:
                sys.stderr.write(f"toymill: passed over: {error}\n")
                continue
            usable = reader.code == code_digest() and reader.key == key._replace(first=about.first, toys=about.toys)
            if keep != "all":
                begins = about.first == key.first and about.toys < key.toys and about.toys % BLOCK == 0
                usable = usable and begins and key.first % BLOCK == 0 and reader.tests == tuple(tests)
            if usable and reader.keep == keep:
                found.append(reader)
        yield Stored(found, tests)


class Stored:
    """Readers of files that hold fits of a shard's toys.

    Attributes:
        readers: the files.
        tests: the test points that are wanted.
        used: toys of which fits were taken.
    """

    def __init__(self, readers: Sequence[ShardReader], tests: Sequence[float]) -> None:
        self.readers = readers
        self.tests = tests
        self.used = 0

    def at(self, first: int, end: int) -> tuple[ShardReader | None, int]:
        """The file that has most of the wanted fits of toy ``first``, or None; and where that changes, at ``end`` at most."""
        having = [reader for reader in self.readers if reader.key.first <= first < _end(reader)]
        changes = [reader.key.first for reader in self.readers] + [_end(reader) for reader in self.readers]
        upto = min([end, *(place for place in changes if place > first)])
        return max(having, key=lambda reader: len(set(reader.tests) & set(self.tests)), default=None), upto

    def beginning(self) -> tuple[ShardReader, Tally] | None:
        """The longest beginning of a shard of which not every column is kept, with its tally."""
        longest = max(self.readers, key=lambda reader: reader.key.toys, default=None)
        return None if longest is None else (longest, longest.tally())


def _end(reader: ShardReader) -> int:
    return reader.key.first + reader.key.toys


def keep_part(folder: Path, writer: ShardWriter, tally: Tally | None) -> None:
    """Keep what a job that is stopped has written, as a shard of the toys that are done."""
    if writer.rows == 0:
        return
    key = writer.key._replace(toys=writer.rows)
    with writing_shard(folder / f"{shard_of(key.first, key.toys).name}.h5", key, writer.keep) as part:
        part.copy(writer)
        if tally is not None:
            part.add_tally(tally)
    sys.stderr.write(f"toymill: stopped; the fits of {writer.rows} toys are kept in {folder} and used again.\n")
