"""Shards: the files of an ensemble's toys and fits, written chunk by chunk and read with every check.

Files hold no wall-clock times: the same inputs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import h5py
import numpy as np

from toymill.errors import ToymillError
from toymill.fitting.results import Fits
from toymill.fitting.status import CERTIFIED_STATUSES, CODES, Status
from toymill.results.files import made_anew
from toymill.results.hdf5 import (
    SCHEMA,
    ShardKey,
    atomically,
    codes_of,
    create_column,
    damage_named,
    opened,
    parameter_names,
    read_dataset,
    read_key,
    require_all,
    texts,
    write_dataset,
    write_key,
)
from toymill.results.tally import ADDITIVE, CELLS, CONTEXT, NEGATIVE, Tally

if TYPE_CHECKING:
    from jaxtyping import Float

Keep = Literal["all", "poi", "summary"]
"""What a shard's file holds: every column, those of the parameter of interest, or none; the last two have a tally."""

FIELDS = {
    "parameters": "fitted parameters, in the units of the model",
    "errors": "square roots of the diagonal of the inverse exact Hessian; NaN at a bound",
    "nll": "minimised negative log-likelihood with all constants",
    "status": "how the fit ended; the attribute 'meaning' lists the codes",
    "edm": "estimated distance of nll to its minimum",
    "iterations": "steps tried",
}

_WIDE = ("parameters", "errors")
"""Those of them that have a column for each parameter."""

_CONDITIONAL_FIELDS = tuple(name for name in FIELDS if name != "errors")
"""Those of a conditional fit, whose errors are not computed."""


class ShardFits(NamedTuple):
    """The content of a shard: its key, and its free and conditional fits."""

    key: ShardKey
    free: Fits
    tests: list[Fits]


class ToysWriter:
    """Writes raw toys as they come, from ``writing_toys``."""

    def __init__(self, file: h5py.File, key: ShardKey, data_names: Sequence[str]) -> None:
        self.data = create_column(file, "data", key.toys, np.empty((0, len(data_names))))
        self.data.attrs["meaning"] = "main and auxiliary data, in counts or in the parameter's units"
        self.data.attrs["names"] = texts(data_names)
        self.rows = 0

    def add(self, data: Float[np.ndarray, "toy datum"]) -> None:
        """Write the next toys, (n, D)."""
        self.data[self.rows : self.rows + len(data)] = data
        self.rows += len(data)


@contextmanager
def writing_toys(path: str | Path, key: ShardKey, data_names: Sequence[str]) -> Iterator[ToysWriter]:
    """Write a file of raw toys chunk by chunk; it is there when all are."""
    with atomically(path) as file:
        write_key(file, "toymill-toys", key)
        writer = ToysWriter(file, key, data_names)
        yield writer
        require_all(writer.rows, key, path)


def read_toys(path: str | Path, key: ShardKey | None = None) -> Float[np.ndarray, "toy datum"]:
    """Read raw toys, shape (n, D).

    Raises:
        ToymillError: a file that is damaged, or of another shard.
    """
    with damage_named(path), opened(path) as file:
        read_key(file, path, "toymill-toys", key)
        return np.asarray(read_dataset(file, path, "data"))


class ShardWriter:
    """Writes a shard's fits as they come, from ``writing_shard``."""

    def __init__(self, file: h5py.File, path: str | Path, key: ShardKey, keep: Keep) -> None:
        self.file = file
        self.path = path
        self.key = key
        self.keep = keep
        self.names: tuple[str, ...] = ()
        self.rows = 0

    def add(self, free: Fits, tests: Sequence[Fits]) -> None:
        """Write the fits of the next toys; of a ``summary`` no more than the names are written."""
        if self.rows == 0:
            self.names = free.names
            self.file.attrs["poi"] = free.poi or ""
            self.file.attrs["tests"] = _tested(free.poi, tests)
        self._put([_poi_alone(fits) if self.keep == "poi" else fits for fits in (free, *tests)])
        self.rows += len(free.nll)

    def _put(self, every: Sequence[Fits]) -> None:
        if self.rows == 0:
            self.file.attrs["parameters"] = texts(every[0].names)
        if self.keep == "summary":
            return
        for name, fits in zip(_groups(len(every) - 1), every, strict=True):
            if self.rows == 0:
                _create_fits(self.file, name, fits, self.key.toys)
            for field in self.file[name]:
                values = getattr(fits, field)
                self.file[name][field][self.rows : self.rows + len(values)] = values

    def copy(self, other: ShardWriter | ShardReader) -> None:
        """Write, first of all, what another file of the same kind has of its first toys: but for its tally."""
        file = other.file
        rows = other.rows if isinstance(other, ShardWriter) else other.key.toys
        self.names = other.names
        for name in ("poi", "tests"):
            self.file.attrs[name] = file.attrs[name]
        columns = parameter_names(file)
        if self.keep == "summary":
            self.file.attrs["parameters"] = texts(columns)
        else:
            groups = _groups(len(file["tests"]))
            self._put([_read_fits(file, other.path, group, slice(rows), columns) for group in groups])
        self.rows += rows

    def add_tally(self, tally: Tally) -> None:
        """Write the tally of all toys, where not every column is kept."""
        _write_tally(self.file, self.names, tally)


@contextmanager
def writing_shard(path: str | Path, key: ShardKey, keep: Keep = "all") -> Iterator[ShardWriter]:
    """Write a shard's file chunk by chunk; it is there when all its toys are.

    All its columns are allotted at once, so that its bytes do not depend on how toys come in chunks.
    """
    with atomically(path) as file:
        write_key(file, "toymill-fits", key)
        file.attrs["keep"] = keep
        writer = ShardWriter(file, path, key, keep)
        yield writer
        require_all(writer.rows, key, path)


def write_shard(path: str | Path, shard: ShardFits) -> None:
    """Write a shard's fits, every column."""
    with writing_shard(path, shard.key) as writer:
        writer.add(shard.free, shard.tests)


class ShardReader:
    """Reads a shard's file piece by piece, from ``reading_shard``.

    Attributes:
        key: what it is a shard of.
        schema: version of its layout.
        code: digest of the code that wrote it; empty in schema 1.
        keep: which columns it has.
        tests: the tested values of the parameter of interest, ascending.
        names: names of all parameters of the model, in its order.
    """

    def __init__(self, file: h5py.File, path: str | Path, key: ShardKey | None) -> None:
        self.file = file
        self.path = path
        self.key = read_key(file, path, "toymill-fits", key)
        self.schema = int(file.attrs["schema"])
        self.code = str(file.attrs.get("code", ""))
        self.keep: Keep = next(item for item in get_args(Keep) if item == file.attrs["keep"])
        self.groups = _groups(len(file.get("tests", ()))) if self.keep != "summary" else []
        self.tests = self._tests()
        self.names = parameter_names(file if self.keep == "all" else file["tally"])
        for group in self.groups:
            for name in _fields(group):
                rows = len(file[group][name])
                if rows != self.key.toys:
                    msg = f"{path}: {group}/{name} has {rows} rows; expected {self.key.toys}. {made_anew(path)}"
                    raise ToymillError(msg)

    def _tests(self) -> tuple[float, ...]:
        if self.schema > 1:
            return tuple(float(value) for value in self.file.attrs["tests"])
        if self.keep == "summary":
            return tuple(float(value) for value in self.file["tally/tests"])
        return tuple(float(self.file[group].attrs[f"fixed:{self.file.attrs['poi']}"]) for group in self.groups[1:])

    def rows(self, begin: int, end: int) -> list[Fits]:
        """The free fits and those at each test point of some of its toys."""
        with damage_named(self.path):
            columns = parameter_names(self.file)
            return [
                _read_fits(self.file, self.path, group, slice(begin, end), columns, schema=self.schema)
                for group in self.groups
            ]

    def estimates(self, begin: int, end: int) -> list[Fits]:
        """The same fits as test statistics need them: the free ones with the parameter of interest alone, the others with none.

        So a small part of the file is read.
        """
        with damage_named(self.path):
            poi = str(self.file.attrs["poi"])
            place = parameter_names(self.file).index(poi)
            columns = [((poi,), slice(place, place + 1)), *[((), None)] * len(self.tests)]
            return [
                _read_fits(self.file, self.path, group, slice(begin, end), names, schema=self.schema, columns=which)
                for group, (names, which) in zip(self.groups, columns, strict=True)
            ]

    def field(self, group: str, name: str, begin: int, end: int) -> np.ndarray:
        """One of ``FIELDS`` of some of its toys: of ``free``, or of ``tests/000`` and so on."""
        with damage_named(self.path):
            return _read_field(self.file, self.path, f"{group}/{name}", slice(begin, end), self.schema)

    def tally(self) -> Tally:
        """The tally of a shard of which not every column is kept."""
        with damage_named(self.path):
            return _read_tally(self.file, self.path, self.key, schema=self.schema)


@contextmanager
def reading_shard(path: str | Path, key: ShardKey | None = None) -> Iterator[ShardReader]:
    """Read a shard's file piece by piece.

    Args:
        path: the file.
        key: what it must be a shard of; None accepts any.

    Raises:
        ToymillError: a file that is damaged, of another kind, or of another shard.
    """
    with opened(path) as file:
        with damage_named(path):
            reader = ShardReader(file, path, key)
        yield reader


def count_failed(path: str | Path) -> int:
    """How many toys of a shard are not certified; a quick look, which does not check the whole file.

    Raises:
        ToymillError: a file that is damaged where this looks.
    """
    with damage_named(path), h5py.File(path, "r", locking=False) as file:
        if "tally" in file:
            return int(file["tally/toys"][()]) - int(file["tally/certified"][()])
        groups = _groups(len(file["tests"]))
        ok = [np.isin(file[group]["status"][...], CERTIFIED_STATUSES) for group in groups]
        return int(np.sum(~np.logical_and.reduce(ok)))


def read_shard(path: str | Path, key: ShardKey | None = None) -> ShardFits:
    """Read all fits of a shard at once; of one that keeps ``poi`` only the parameter of interest is there.

    Raises:
        ToymillError: what ``reading_shard`` refuses, and a shard without columns.
    """
    with reading_shard(path, key) as reader:
        if reader.keep == "summary":
            msg = f"{path} holds a summary of its fits, not the fits: its study says 'keep: summary'."
            raise ToymillError(msg)
        free, *tests = reader.rows(0, reader.key.toys)
        return ShardFits(reader.key, free, tests)


class Part(NamedTuple):
    """What is counted of a part of an ensemble's toys.

    Attributes:
        names: names of the parameters, in the tally's order.
        tally: the tally.
        values: t_μ of the certified toys at each test point; empty if they are not held one by one.
        codes: digests of the code that made the shards.
    """

    names: tuple[str, ...]
    tally: Tally
    values: list[Float[np.ndarray, " toy"]]
    codes: set[str]


def write_part(path: str | Path, key: ShardKey, part: Part) -> None:
    """Write what is counted of a part."""
    with atomically(path) as file:
        write_key(file, "toymill-tally", key)
        file.attrs["poi"] = part.tally.kept_fits[0].poi or "" if part.tally.kept_fits else ""
        file.attrs["codes"] = texts(sorted(part.codes))
        for number, t in enumerate(part.values):
            write_dataset(file, f"t/{number:03d}", t, "t of each certified toy at a test point")
        _write_tally(file, part.names, part.tally)


def read_part(path: str | Path, key: ShardKey) -> Part:
    """Read what is counted of a part.

    Raises:
        ToymillError: a file that is damaged, or of another part.
    """
    with opened(path) as file, damage_named(path):
        read_key(file, path, "toymill-tally", key)
        tally = _read_tally(file, path, key)
        values = [np.asarray(read_dataset(file, path, f"t/{name}")) for name in sorted(file.get("t", ()))]
        return Part(parameter_names(file["tally"]), tally, values, {str(code) for code in file.attrs["codes"]})


def _groups(tests: int) -> list[str]:
    """The groups of the free fits and of those at each test point."""
    return ["free", *(f"tests/{k:03d}" for k in range(tests))]


def _fields(group: str) -> Collection[str]:
    """Which of ``FIELDS`` a group has: one of conditional fits may have errors, too, in files of earlier versions."""
    return _CONDITIONAL_FIELDS if "tests/" in group else FIELDS


def _create_fits(parent: h5py.Group, name: str, fits: Fits, rows: int) -> None:
    """The columns of the fits of ``rows`` toys, yet to be written."""
    group = parent.create_group(name)
    for fixed, value in fits.fixed.items():
        group.attrs[f"fixed:{fixed}"] = value
    for field in _fields(name):
        create_column(group, field, rows, getattr(fits, field)).attrs["meaning"] = FIELDS[field]
    group["status"].attrs["meaning"] = codes_of(Status)


def _poi_alone(fits: Fits) -> Fits:
    """The fits with the parameter of interest as their only one."""
    assert fits.poi is not None
    i = fits.names.index(fits.poi)
    return replace(fits, names=(fits.poi,), parameters=fits.parameters[:, i : i + 1], errors=fits.errors[:, i : i + 1])


def _write_tally(file: h5py.File, names: Sequence[str], tally: Tally) -> None:
    """A tally: its arrays, its histograms where they are not empty, and the toys that it keeps."""
    group = file.create_group("tally")
    group.attrs["parameters"] = texts(names)
    for name in (*CONTEXT, *ADDITIVE, *CELLS, *NEGATIVE, "smallest", "most_iterations"):
        if name != "roots":
            write_dataset(group, name, getattr(tally, name), "see docs/file-format.md", small=True)
    roots = group.create_group("roots")
    roots.attrs["shape"] = tally.roots.shape
    filled = np.flatnonzero(tally.roots)
    write_dataset(roots, "cell", filled, "flat indices of the cells that are not empty", small=True)
    write_dataset(roots, "count", tally.roots.reshape(-1)[filled], "toys in each of them", small=True)
    kept = file.create_group("kept")
    write_dataset(kept, "toy", tally.kept, "index of each toy that is kept", small=True)
    write_dataset(kept, "t", tally.kept_t, "its t at the truth; NaN if it failed", small=True)
    if tally.kept_fits:
        for name, fits in zip(_groups(len(tally.tests)), tally.kept_fits, strict=True):
            _create_fits(kept, name, fits, len(tally.kept))
            for field in kept[name]:
                kept[name][field][...] = getattr(fits, field)


def _read_tally(file: h5py.File, path: str | Path, key: ShardKey, *, schema: int = SCHEMA) -> Tally:
    """A tally; raises ToymillError for one of other toys, or one that contradicts itself."""
    arrays: dict[str, Any] = {
        name: np.asarray(read_dataset(file, path, f"tally/{name}"))
        for name in (*CONTEXT, *ADDITIVE, "smallest", "most_iterations")
        if name != "roots"
    }
    tally = Tally.empty(arrays["truth"], arrays["tests"], arrays["levels"], arrays["derived_truth"])
    cells, counts = (read_dataset(file, path, f"tally/roots/{name}") for name in ("cell", "count"))
    tally.roots.reshape(-1)[cells] = counts
    arrays |= {
        name: np.asarray(read_dataset(file, path, f"tally/{name}"))
        for name in (*CELLS, *NEGATIVE)
        if name in file["tally"]
    }
    tally = replace(tally, **arrays)
    if schema == 1:  # whose codes began at 0
        tally.status = np.pad(tally.status, ((0, 0), (1, 0)))
    tally.status = np.pad(tally.status, ((0, 0), (0, CODES - tally.status.shape[1])))  # statuses that are newer
    toys = f"it is of {tally.toys} toys; expected {key.toys}" if tally.toys != key.toys else None
    fault = toys or tally.fault()
    if fault:
        msg = f"{path}: its tally is wrong: {fault}. {made_anew(path)}"
        raise ToymillError(msg)
    kept = file["kept"]
    if "free" in kept:
        names = parameter_names(file["tally"])
        tally.kept, tally.kept_t = (np.asarray(read_dataset(kept, path, name)) for name in ("toy", "t"))
        tally.kept_fits = [
            _read_fits(file, path, f"kept/{group}", slice(None), names, schema=schema)
            for group in _groups(len(tally.tests))
        ]
    return tally


def _tested(poi: str | None, tests: Sequence[Fits]) -> list[float]:
    """The values of the parameter of interest at which conditional fits hold it."""
    return [float(np.squeeze(fits.fixed[poi])) for fits in tests if poi is not None]


def _read_fits(
    file: h5py.File,
    path: str | Path,
    group: str,
    rows: slice,
    names: tuple[str, ...],
    *,
    schema: int = SCHEMA,
    columns: slice | None = slice(None),
) -> Fits:
    """Some rows of a group, with those columns of parameters and errors that ``names`` names; None for none of them.

    Raises ToymillError where a row has no status.
    """
    arrays = {name: _read_field(file, path, f"{group}/{name}", rows, schema) for name in FIELDS if name not in _WIDE}
    for name in _WIDE:
        if columns is None:
            arrays[name] = np.empty((len(arrays["nll"]), 0))
        elif name in _fields(group):
            arrays[name] = read_dataset(file, path, f"{group}/{name}", (rows, columns))
        else:
            arrays[name] = np.full_like(arrays["parameters"], np.nan)
    attributes = file[group].attrs.items()
    fixed = {name.removeprefix("fixed:"): float(value) for name, value in attributes if name.startswith("fixed:")}
    return Fits(names=names, poi=str(file.attrs["poi"]) or None, fixed=fixed, **arrays)


def _read_field(file: h5py.File, path: str | Path, name: str, rows: slice, schema: int) -> np.ndarray:
    """Some rows of a column; raises ToymillError where a row has no status."""
    values = read_dataset(file, path, name, rows)
    if not name.endswith("/status"):
        return values
    if schema == 1:  # whose codes began at 0
        values = (values + 1).astype(np.int8)
    if not np.isin(values, list(Status)).all():
        msg = f"{path}: {name.rpartition('/')[0]} has toys without a status. {made_anew(path)}"
        raise ToymillError(msg)
    return values
