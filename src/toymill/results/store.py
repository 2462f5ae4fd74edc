"""Shards: the files of an ensemble's toys and fits, written chunk by chunk and read with every check.

Files hold no wall-clock times: the same inputs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import h5py
import numpy as np

from toymill.errors import ToymillError
from toymill.fitting.results import Fits
from toymill.fitting.status import Status
from toymill.results.hdf5 import (
    ShardKey,
    atomically,
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
from toymill.results.tally import ADDITIVE, CONTEXT, Tally

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

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


class Audit(NamedTuple):
    """Toys of a shard that were fitted again with iminuit.

    Attributes:
        toy: index of each toy, (n,).
        nll_free: iminuit's nll of the free fit less ours, (n,).
        nll_tests: the same for each conditional fit, (K, n).
        poi: iminuit's parameter of interest less ours, (n,).
        valid: True where iminuit calls all its fits valid, (n,).
    """

    toy: Int[np.ndarray, " toy"]
    nll_free: Float[np.ndarray, " toy"]
    nll_tests: Float[np.ndarray, "test toy"]
    poi: Float[np.ndarray, " toy"]
    valid: Bool[np.ndarray, " toy"]


def join_audits(parts: Sequence[Audit]) -> Audit:
    """The audits of several lots of toys as one."""

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts], axis=1 if name == "nll_tests" else 0)

    return Audit(*(joined(name) for name in Audit._fields))


class ShardFits(NamedTuple):
    """The content of a shard: its key, free and conditional fits, and audit."""

    key: ShardKey
    free: Fits
    tests: list[Fits]
    audit: Audit


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


def read_toys(path: str | Path, key: ShardKey) -> Float[np.ndarray, "toy datum"]:
    """Read raw toys, shape (n, D).

    Raises:
        ToymillError: a file that is damaged, or of another shard.
    """
    with damage_named(path), opened(path) as file:
        read_key(file, path, "toymill-toys", key)
        return np.asarray(read_dataset(file, path, "data"))


class ShardWriter:
    """Writes a shard's fits as they come, from ``writing_shard``."""

    def __init__(self, file: h5py.File, key: ShardKey, keep: Keep) -> None:
        self.file = file
        self.key = key
        self.keep = keep
        self.names: tuple[str, ...] = ()
        self.rows = 0

    def add(self, free: Fits, tests: Sequence[Fits]) -> None:
        """Write the fits of the next toys; of a ``summary`` no more than the names are written."""
        every = [_poi_alone(fits) if self.keep == "poi" else fits for fits in (free, *tests)]
        if self.rows == 0:
            self.names = free.names
            self.file.attrs["parameters"] = texts(every[0].names)
            self.file.attrs["poi"] = free.poi or ""
        if self.keep != "summary":
            for name, fits in zip(_groups(len(tests)), every, strict=True):
                if self.rows == 0:
                    _create_fits(self.file, name, fits, self.key.toys)
                for field in FIELDS:
                    values = getattr(fits, field)
                    self.file[name][field][self.rows : self.rows + len(values)] = values
        self.rows += len(free.nll)

    def finish(self, audit: Audit, tally: Tally | None = None) -> None:
        """Write what is known when all toys are fitted; ``tally`` is of all of them, where not every column is kept."""
        group = self.file.create_group("audit")
        for name, values in audit._asdict().items():
            write_dataset(group, name, values, "toys fitted again with iminuit; see docs/file-format.md")
        if self.keep != "all":
            assert tally is not None
            _write_tally(self.file, self.names, tally)


@contextmanager
def writing_shard(path: str | Path, key: ShardKey, keep: Keep = "all") -> Iterator[ShardWriter]:
    """Write a shard's file chunk by chunk; it is there when all its toys are.

    All its columns are allotted at once, so that its bytes do not depend on how toys come in chunks.
    """
    with atomically(path) as file:
        write_key(file, "toymill-fits", key)
        file.attrs["keep"] = keep
        writer = ShardWriter(file, key, keep)
        yield writer
        require_all(writer.rows, key, path)


def write_shard(path: str | Path, shard: ShardFits) -> None:
    """Write a shard's fits, every column."""
    with writing_shard(path, shard.key) as writer:
        writer.add(shard.free, shard.tests)
        writer.finish(shard.audit)


class ShardReader:
    """Reads a shard's file piece by piece, from ``reading_shard``.

    Attributes:
        key: what it is a shard of.
        keep: which columns it has.
        audit: its toys that were fitted again with iminuit.
    """

    def __init__(self, file: h5py.File, path: str | Path, key: ShardKey | None) -> None:
        self.file = file
        self.path = path
        self.key = read_key(file, path, "toymill-fits", key)
        self.keep: Keep = next(item for item in get_args(Keep) if item == file.attrs["keep"])
        self.poi = str(file.attrs["poi"]) or None
        self.audit = Audit(**{name: np.asarray(read_dataset(file, path, f"audit/{name}")) for name in Audit._fields})
        self.groups = _groups(len(file.get("tests", ()))) if self.keep != "summary" else []
        for group in self.groups:
            for name in FIELDS:
                rows = len(file[group][name])
                if rows != self.key.toys:
                    msg = (
                        f"{path}: {group}/{name} has {rows} rows; expected {self.key.toys}. Delete the file and run "
                        "again."
                    )
                    raise ToymillError(msg)

    def rows(self, begin: int, end: int) -> list[Fits]:
        """The free fits and those at each test point of some of its toys."""
        with damage_named(self.path):
            return [_read_fits(self, group, slice(begin, end)) for group in self.groups]

    def tally(self) -> Tally:
        """The tally of a shard of which not every column is kept."""
        with damage_named(self.path):
            arrays: dict[str, Any] = {
                name: np.asarray(read_dataset(self.file, self.path, f"tally/{name}"))
                for name in (*CONTEXT, *ADDITIVE, "smallest", "most_iterations")
                if name != "roots"
            }
            tally = Tally.empty(arrays["truth"], arrays["tests"], arrays["levels"], arrays["derived_truth"])
            cells, counts = (read_dataset(self.file, self.path, f"tally/roots/{name}") for name in ("cell", "count"))
            tally.roots.reshape(-1)[cells] = counts
            tally = replace(tally, **arrays)
            if tally.toys != self.key.toys:
                msg = f"{self.path}: its tally is of {tally.toys} toys; expected {self.key.toys}. Delete the file and run again."
                raise ToymillError(msg)
            kept = self.file["kept"]
            if "free" in kept:
                tally.kept, tally.kept_t = (np.asarray(read_dataset(kept, self.path, name)) for name in ("toy", "t"))
                tally.kept_fits = [
                    _read_fits(self, f"kept/{group}", slice(None)) for group in _groups(len(tally.tests))
                ]
            return tally


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
        return ShardFits(reader.key, free, tests, reader.audit)


def _groups(tests: int) -> list[str]:
    """The groups of the free fits and of those at each test point."""
    return ["free", *(f"tests/{k:03d}" for k in range(tests))]


def _create_fits(parent: h5py.Group, name: str, fits: Fits, rows: int) -> None:
    """The columns of the fits of ``rows`` toys, yet to be written."""
    group = parent.create_group(name)
    for fixed, value in fits.fixed.items():
        group.attrs[f"fixed:{fixed}"] = value
    for field, meaning in FIELDS.items():
        create_column(group, field, rows, getattr(fits, field)).attrs["meaning"] = meaning
    group["status"].attrs["meaning"] = texts([f"{status.value} {status.name.lower()}" for status in Status])


def _poi_alone(fits: Fits) -> Fits:
    """The fits with the parameter of interest as their only one."""
    assert fits.poi is not None
    i = fits.names.index(fits.poi)
    return replace(fits, names=(fits.poi,), parameters=fits.parameters[:, i : i + 1], errors=fits.errors[:, i : i + 1])


def _write_tally(file: h5py.File, names: Sequence[str], tally: Tally) -> None:
    """A tally: its arrays, its histograms where they are not empty, and the toys that it keeps."""
    group = file.create_group("tally")
    group.attrs["parameters"] = texts(names)
    for name in (*CONTEXT, *ADDITIVE, "smallest", "most_iterations"):
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
            for field in FIELDS:
                kept[name][field][...] = getattr(fits, field)


def _read_fits(reader: ShardReader, group: str, rows: slice) -> Fits:
    file = reader.file
    arrays = {name: read_dataset(file, reader.path, f"{group}/{name}", rows) for name in FIELDS}
    attributes = file[group].attrs.items()
    fixed = {name.removeprefix("fixed:"): float(value) for name, value in attributes if name.startswith("fixed:")}
    names = parameter_names(file["tally"]) if group.startswith("kept/") else parameter_names(file)
    return Fits(names=names, poi=reader.poi, fixed=fixed, **arrays)
