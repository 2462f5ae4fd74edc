"""The files of profile intervals: both ends of each, of a shard's toys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from toymill.errors import ToymillError
from toymill.fitting.end_status import EndStatus
from toymill.fitting.status import Status
from toymill.inference.interval_ends import Ends, lacks_end, thresholds
from toymill.results.files import made_anew
from toymill.results.hdf5 import (
    ShardKey,
    atomically,
    codes_of,
    damage_named,
    opened,
    read_dataset,
    read_key,
    texts,
    write_columns,
    write_key,
)

FILETYPE = "toymill-profile-intervals"

MEANING = {
    "low": "lower ends, a column a level; the bound where it is inside the interval, NaN where none was found",
    "high": "upper ends, likewise",
    "low_status": "how the search for each lower end ended; the attribute 'codes' lists the codes",
    "high_status": "the same of the upper ends",
    "status": "how the free fit ended; the attribute 'codes' lists the codes",
    "t": "t at the truth, of fits made apart; NaN where one is not certified, or there is no truth",
}
"""The columns of each parameter."""


def write_ends(path: str | Path, key: ShardKey, levels: Sequence[float], ends: Mapping[str, Ends]) -> None:
    """Write a file of intervals: whole, or not at all.

    Args:
        path: the file.
        key: what it is of.
        levels: the confidence levels.
        ends: the intervals of each parameter, by its name.
    """
    with atomically(path) as file:
        write_key(file, FILETYPE, key)
        file.attrs["levels"] = list(levels)
        file.attrs["t"] = thresholds(levels)
        file.attrs["parameters"] = texts(list(ends))
        for number, found in enumerate(ends.values()):
            group = file.create_group(f"{number:03d}")
            write_columns(group, found._asdict(), MEANING)
            for column, codes in (("low_status", EndStatus), ("high_status", EndStatus), ("status", Status)):
                group[column].attrs["codes"] = codes_of(codes)


def count_failed_intervals(path: str | Path) -> int:
    """How many toys of a file have an interval without an end; a quick look, which does not check the whole file.

    Raises:
        ToymillError: a file that is damaged where this looks.
    """
    with damage_named(path), h5py.File(path, "r", locking=False) as file:
        groups = [file[f"{number:03d}"] for number in range(len(file.attrs["parameters"]))]
        missing = [lacks_end(group["low_status"][...], group["high_status"][...]) for group in groups]
    return int(np.logical_or.reduce(missing).sum())


def read_ends(path: str | Path, key: ShardKey) -> dict[str, Ends]:
    """Read a file of intervals: those of each parameter, by its name.

    Raises:
        ToymillError: a file that is damaged, or of another study.
    """
    with opened(path) as file, damage_named(path):
        read_key(file, path, FILETYPE, key)
        names = [str(name) for name in file.attrs["parameters"]]
        shape = key.toys, len(file.attrs["levels"])
        found = {
            name: Ends(*(np.asarray(read_dataset(file, path, f"{number:03d}/{column}")) for column in Ends._fields))
            for number, name in enumerate(names)
        }
    for name, ends in found.items():
        shapes = [values.shape for values in ends]
        if (
            shapes != [shape] * 4 + [shape[:1]] * 2
            or not np.isin([ends.low_status, ends.high_status], list(EndStatus)).all()
        ):
            msg = f"{path}: the intervals of {name!r} are not those of {key.toys} toys. {made_anew(path)}"
            raise ToymillError(msg)
    return found
