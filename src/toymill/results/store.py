"""HDF5: writing shards whole or not at all, and reading them with every check.

Files hold no wall-clock times: the same inputs give the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import h5py
import numpy as np

from toymill.errors import ToymillError
from toymill.fitting.results import Fits
from toymill.fitting.status import Status
from toymill.results.tally import ADDITIVE, CONTEXT, Tally

SCHEMA = 1
"""Version of the layout of the files; raised when a reader has to know."""

Keep = Literal["all", "poi", "summary"]
"""What a shard's file holds: every column, those of the parameter of interest, or none; the last two have a tally."""

_CHUNK_BYTES = 2**18  # of a dataset, written and checked at once

FIELDS = {
    "parameters": "fitted parameters, in the units of the model",
    "errors": "square roots of the diagonal of the inverse exact Hessian; NaN at a bound",
    "nll": "minimised negative log-likelihood with all constants",
    "status": "how the fit ended; the attribute 'meaning' lists the codes",
    "edm": "estimated distance of nll to its minimum",
    "iterations": "steps tried",
}


class ShardKey(NamedTuple):
    """What a shard is a shard of.

    Attributes:
        ensemble: name of the ensemble, which is also its random stream.
        digest: digest of everything that its toys and fits depend on, save the index.
        model: digest of the model.
        seed: the study's seed.
        first: index of its first toy.
        toys: number of its toys.
    """

    ensemble: str
    digest: str
    model: str
    seed: int
    first: int
    toys: int


class Audit(NamedTuple):
    """Toys of a shard that were fitted again with iminuit.

    Attributes:
        toy: index of each toy, (k,).
        nll_free: iminuit's nll of the free fit less ours, (k,).
        nll_tests: the same for each conditional fit, (tests, k).
        poi: iminuit's parameter of interest less ours, (k,).
        valid: True where iminuit calls both its fits valid, (k,).
    """

    toy: np.ndarray
    nll_free: np.ndarray
    nll_tests: np.ndarray
    poi: np.ndarray
    valid: np.ndarray


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
        self.data = _column(file, "data", key.toys, np.empty((0, len(data_names))))
        self.data.attrs["meaning"] = "main and auxiliary data, in counts or in the parameter's units"
        self.data.attrs["names"] = _texts(data_names)
        self.rows = 0

    def add(self, data: np.ndarray) -> None:
        """Write the next toys, (n, D)."""
        self.data[self.rows : self.rows + len(data)] = data
        self.rows += len(data)


@contextmanager
def writing_toys(path: str | Path, key: ShardKey, data_names: Sequence[str]) -> Iterator[ToysWriter]:
    """Write a file of raw toys chunk by chunk; it is there when all are."""
    with _atomically(path) as file:
        _describe(file, "toymill-toys", key)
        writer = ToysWriter(file, key, data_names)
        yield writer
        _require_all(writer.rows, key, path)


def read_toys(path: str | Path, key: ShardKey) -> np.ndarray:
    """Read raw toys, shape (n, D).

    Raises:
        ToymillError: a file that is damaged, or of another shard.
    """
    with _damage_named(path), _opened(path) as file:
        _check(file, path, "toymill-toys", key)
        return np.asarray(_read(file, path, "data"))


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
            self.file.attrs["parameters"] = _texts(every[0].names)
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
            _dataset(group, name, values, "toys fitted again with iminuit; see docs/file-format.md")
        if self.keep != "all":
            assert tally is not None
            _write_tally(self.file, self.names, tally)


@contextmanager
def writing_shard(path: str | Path, key: ShardKey, keep: Keep = "all") -> Iterator[ShardWriter]:
    """Write a shard's file chunk by chunk; it is there when all its toys are.

    All its columns are allotted at once, so that its bytes do not depend on how toys come in chunks.
    """
    with _atomically(path) as file:
        _describe(file, "toymill-fits", key)
        file.attrs["keep"] = keep
        writer = ShardWriter(file, key, keep)
        yield writer
        _require_all(writer.rows, key, path)


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
        self.key = _check(file, path, "toymill-fits", key)
        self.keep: Keep = next(item for item in get_args(Keep) if item == file.attrs["keep"])
        self.poi = str(file.attrs["poi"]) or None
        self.audit = Audit(**{name: np.asarray(_read(file, path, f"audit/{name}")) for name in Audit._fields})
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
        with _damage_named(self.path):
            return [_read_fits(self, group, slice(begin, end)) for group in self.groups]

    def tally(self) -> Tally:
        """The tally of a shard of which not every column is kept."""
        with _damage_named(self.path):
            arrays: dict[str, Any] = {
                name: np.asarray(_read(self.file, self.path, f"tally/{name}"))
                for name in (*CONTEXT, *ADDITIVE, "smallest", "most_iterations")
                if name != "roots"
            }
            tally = Tally.empty(arrays["truth"], arrays["tests"], arrays["levels"], arrays["derived_truth"])
            cells, counts = (_read(self.file, self.path, f"tally/roots/{name}") for name in ("cell", "count"))
            tally.roots.reshape(-1)[cells] = counts
            tally = replace(tally, **arrays)
            if tally.toys != self.key.toys:
                msg = f"{self.path}: its tally is of {tally.toys} toys; expected {self.key.toys}. Delete the file and run again."
                raise ToymillError(msg)
            kept = self.file["kept"]
            if "free" in kept:
                tally.kept, tally.kept_t = (np.asarray(_read(kept, self.path, name)) for name in ("toy", "t"))
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
    with _opened(path) as file:
        with _damage_named(path):
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


def write_comparison(path: str | Path, key: ShardKey, outcomes: Mapping[str, Any], names: Sequence[str]) -> None:
    """Write what each optimiser made of an ensemble's toys; ``outcomes`` have the fields of ``optimisers.Outcome``."""
    meanings = {
        "parameters": "where it ended, in the units of the model",
        "success": "whether it says that it has converged",
        "iterations": "its steps; NaN where it does not tell",
        "values": "evaluations of the nll",
        "gradients": "evaluations of the gradient",
        "hessians": "evaluations of the Hessian",
    }
    with _atomically(path) as file:
        _describe(file, "toymill-optimisers", key)
        file.attrs["parameters"] = _texts(names)
        for method, outcome in outcomes.items():
            group = file.create_group(method)
            for name, meaning in meanings.items():
                _dataset(group, name, getattr(outcome, name), meaning)


def write_summary(path: str | Path, summary: Mapping[str, Any]) -> None:
    """Write nested mappings of numbers, texts and lists as groups, datasets and attributes."""
    with _atomically(path) as file:
        file.attrs["filetype"] = "toymill-summary"
        file.attrs["schema"] = SCHEMA
        _write_tree(file, summary)


def _write_tree(group: h5py.Group, tree: Mapping[str, Any]) -> None:
    for key, value in tree.items():
        name = str(key).replace("/", "∕")
        if isinstance(value, Mapping):
            _write_tree(group.create_group(name), value)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for number, item in enumerate(value):
                _write_tree(group.create_group(f"{name}/{number:03d}"), item)
        elif isinstance(value, list) and (not value or not isinstance(value[0], str)):
            group.create_dataset(name, data=np.array(value, dtype=np.float64))
        elif value is None:
            group.attrs[name] = np.nan
        elif isinstance(value, list):
            group.attrs[name] = _texts(value)
        else:
            group.attrs[name] = value


class _atomically:  # noqa: N801 - reads as a word in a with statement
    """Opens a file under a temporary name in the same folder; renames it when it is whole and on the disk."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.temporary = self.path.with_name(f".{self.path.name}.part")

    def __enter__(self) -> h5py.File:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.file = h5py.File(self.temporary, "w", libver=("v110", "v110"))
        return self.file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.file.close()
            if kind is None:
                with self.temporary.open("rb") as handle:
                    os.fsync(handle.fileno())
                self.temporary.replace(self.path)
        finally:
            with suppress(FileNotFoundError):
                self.temporary.unlink()


@contextmanager
def _damage_named(path: str | Path) -> Iterator[None]:
    """Whatever else damage does to a file is told as damage, with the file's name."""
    try:
        yield
    except ToymillError:
        raise
    except (KeyError, IndexError, OSError, RuntimeError, TypeError, ValueError) as error:
        msg = f"{path} is damaged ({error}). Delete it and run again: only it will be made anew."
        raise ToymillError(msg) from None


def _opened(path: str | Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        msg = f"{path} cannot be read as HDF5 ({error}). Delete it and run again: only it will be made anew."
        raise ToymillError(msg) from None


def _describe(file: h5py.File, filetype: str, key: ShardKey) -> None:
    file.attrs["filetype"] = filetype
    file.attrs["schema"] = SCHEMA
    for name, value in key._asdict().items():
        file.attrs[name] = value


def _dataset(group: h5py.Group, name: str, values: np.ndarray, meaning: str, *, small: bool = False) -> None:
    """A dataset that is written at once, with a checksum; ``small`` is compressed."""
    array = np.asarray(values)
    options: dict[str, Any] = {"fletcher32": True, "chunks": True} if array.size and array.ndim else {}
    if small and options:
        options |= {"compression": "gzip", "compression_opts": 4, "shuffle": True}
    group.create_dataset(name, data=array, **options)
    group[name].attrs["meaning"] = meaning


def _column(group: h5py.Group, name: str, rows: int, like: np.ndarray) -> h5py.Dataset:
    """A dataset of ``rows`` rows that is written in slices, all of it allotted now."""
    width = like.dtype.itemsize * int(np.prod(like.shape[1:]))
    chunk = max(1, min(rows, 2 ** int(np.log2(max(_CHUNK_BYTES // width, 1)))))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    return group.create_dataset(
        name,
        (rows, *like.shape[1:]),
        like.dtype,
        chunks=(chunk, *like.shape[1:]),
        fletcher32=True,
        dcpl=properties,
    )


def _texts(words: Sequence[str]) -> np.ndarray:
    return np.array(list(words), dtype=h5py.string_dtype())


def _names(group: h5py.Group) -> tuple[str, ...]:
    return tuple(str(name) for name in group.attrs["parameters"])


def _groups(tests: int) -> list[str]:
    """The groups of the free fits and of those at each test point."""
    return ["free", *(f"tests/{k:03d}" for k in range(tests))]


def _create_fits(parent: h5py.Group, name: str, fits: Fits, rows: int) -> None:
    """The columns of the fits of ``rows`` toys, yet to be written."""
    group = parent.create_group(name)
    for fixed, value in fits.fixed.items():
        group.attrs[f"fixed:{fixed}"] = value
    for field, meaning in FIELDS.items():
        _column(group, field, rows, getattr(fits, field)).attrs["meaning"] = meaning
    group["status"].attrs["meaning"] = _texts([f"{status.value} {status.name.lower()}" for status in Status])


def _poi_alone(fits: Fits) -> Fits:
    """The fits with the parameter of interest as their only one."""
    assert fits.poi is not None
    i = fits.names.index(fits.poi)
    return replace(fits, names=(fits.poi,), parameters=fits.parameters[:, i : i + 1], errors=fits.errors[:, i : i + 1])


def _write_tally(file: h5py.File, names: Sequence[str], tally: Tally) -> None:
    """A tally: its arrays, its histograms where they are not empty, and the toys that it keeps."""
    group = file.create_group("tally")
    group.attrs["parameters"] = _texts(names)
    for name in (*CONTEXT, *ADDITIVE, "smallest", "most_iterations"):
        if name != "roots":
            _dataset(group, name, getattr(tally, name), "see docs/file-format.md", small=True)
    roots = group.create_group("roots")
    roots.attrs["shape"] = tally.roots.shape
    filled = np.flatnonzero(tally.roots)
    _dataset(roots, "cell", filled, "flat indices of the cells that are not empty", small=True)
    _dataset(roots, "count", tally.roots.reshape(-1)[filled], "toys in each of them", small=True)
    kept = file.create_group("kept")
    _dataset(kept, "toy", tally.kept, "index of each toy that is kept", small=True)
    _dataset(kept, "t", tally.kept_t, "its t at the truth; NaN if it failed", small=True)
    if tally.kept_fits:
        for name, fits in zip(_groups(len(tally.tests)), tally.kept_fits, strict=True):
            _create_fits(kept, name, fits, len(tally.kept))
            for field in FIELDS:
                kept[name][field][...] = getattr(fits, field)


def _require_all(rows: int, key: ShardKey, path: str | Path) -> None:
    if rows != key.toys:
        msg = f"{path}: {rows} toys were written; expected {key.toys}."
        raise ToymillError(msg)


def _check(file: h5py.File, path: str | Path, filetype: str, key: ShardKey | None) -> ShardKey:
    got = str(file.attrs.get("filetype", "no toymill file"))
    if got != filetype or int(file.attrs.get("schema", -1)) != SCHEMA:
        msg = (
            f"{path} is {got!r}, schema {file.attrs.get('schema', 'none')}; expected {filetype!r}, schema "
            f"{SCHEMA}. Delete it and run again: only it will be made anew."
        )
        raise ToymillError(msg)
    found = ShardKey(
        ensemble=str(file.attrs["ensemble"]),
        digest=str(file.attrs["digest"]),
        model=str(file.attrs["model"]),
        seed=int(file.attrs["seed"]),
        first=int(file.attrs["first"]),
        toys=int(file.attrs["toys"]),
    )
    if key is not None and found != key:
        name = next(field for field in ShardKey._fields if getattr(found, field) != getattr(key, field))
        msg = (
            f"{path} is of another study: its {name} is {getattr(found, name)}; expected {getattr(key, name)}. "
            "Delete it and run again: only it will be made anew."
        )
        raise ToymillError(msg)
    return found


def _read(file: h5py.Group, path: str | Path, name: str, rows: slice | None = None) -> np.ndarray:
    try:
        return np.asarray(file[name][... if rows is None else rows])
    except (OSError, KeyError) as error:
        msg = (
            f"{path}: {name} is damaged or missing ({error}). Delete the file and run again: only it will be made anew."
        )
        raise ToymillError(msg) from None


def _read_fits(reader: ShardReader, group: str, rows: slice) -> Fits:
    file = reader.file
    arrays = {name: _read(file, reader.path, f"{group}/{name}", rows) for name in FIELDS}
    attributes = file[group].attrs.items()
    fixed = {name.removeprefix("fixed:"): float(value) for name, value in attributes if name.startswith("fixed:")}
    names = _names(file["tally"]) if group.startswith("kept/") else _names(file)
    return Fits(names=names, poi=reader.poi, fixed=fixed, **arrays)
