"""HDF5 files: written whole or not at all, the same bytes each time, and every damage found and named."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from toymill.budget import HDF5_CHUNK
from toymill.errors import ToymillError
from toymill.parameters import IN_PLACE_OF

SCHEMA = 1
"""Version of the layout of the files; raised when a reader has to know."""


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


class atomically:  # noqa: N801 - reads as a word in a with statement
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
def damage_named(path: str | Path) -> Iterator[None]:
    """Whatever else damage does to a file is told as damage, with the file's name."""
    try:
        yield
    except ToymillError:
        raise
    except (KeyError, IndexError, OSError, RuntimeError, TypeError, ValueError) as error:
        msg = f"{path} is damaged ({error}). Delete it and run again: only it will be made anew."
        raise ToymillError(msg) from None


def opened(path: str | Path) -> h5py.File:
    """A file to read; raises ToymillError for one that is not HDF5."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        msg = f"{path} cannot be read as HDF5 ({error}). Delete it and run again: only it will be made anew."
        raise ToymillError(msg) from None


def write_key(file: h5py.File, filetype: str, key: ShardKey) -> None:
    """What a file says that it is, as its attributes."""
    file.attrs["filetype"] = filetype
    file.attrs["schema"] = SCHEMA
    for name, value in key._asdict().items():
        file.attrs[name] = value


def write_dataset(group: h5py.Group, name: str, values: np.ndarray, meaning: str, *, small: bool = False) -> None:
    """A dataset that is written at once, with a checksum; ``small`` is compressed."""
    array = np.asarray(values)
    options: dict[str, Any] = {"fletcher32": True, "chunks": True} if array.size and array.ndim else {}
    if small and options:
        options |= {"compression": "gzip", "compression_opts": 4, "shuffle": True}
    group.create_dataset(name, data=array, **options)
    group[name].attrs["meaning"] = meaning


def create_column(group: h5py.Group, name: str, rows: int, like: np.ndarray) -> h5py.Dataset:
    """A dataset of ``rows`` rows that is written in slices, all of it allotted now."""
    width = like.dtype.itemsize * int(np.prod(like.shape[1:]))
    chunk = max(1, min(rows, 2 ** int(np.log2(max(HDF5_CHUNK // width, 1)))))
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


def texts(words: Sequence[str]) -> np.ndarray:
    """Words as HDF5 holds them."""
    return np.array(list(words), dtype=h5py.string_dtype())


def parameter_names(group: h5py.Group) -> tuple[str, ...]:
    """The parameters that a file or a group names."""
    return tuple(str(name) for name in group.attrs["parameters"])


def require_all(rows: int, key: ShardKey, path: str | Path) -> None:
    """Raise ToymillError unless every toy of a shard was written."""
    if rows != key.toys:
        msg = f"{path}: {rows} toys were written; expected {key.toys}."
        raise ToymillError(msg)


def read_key(file: h5py.File, path: str | Path, filetype: str, key: ShardKey | None) -> ShardKey:
    """What a file says that it is; raises ToymillError if it is no such file, or not of this key."""
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


def read_dataset(file: h5py.Group, path: str | Path, name: str, rows: slice | None = None) -> np.ndarray:
    """A dataset, or some rows of it; raises ToymillError for one that is damaged or missing."""
    try:
        return np.asarray(file[name][... if rows is None else rows])
    except (OSError, KeyError) as error:
        msg = (
            f"{path}: {name} is damaged or missing ({error}). Delete the file and run again: only it will be made anew."
        )
        raise ToymillError(msg) from None


def write_tree(path: str | Path, filetype: str, tree: Mapping[str, object]) -> None:
    """Write nested mappings of numbers, texts and lists as groups, datasets and attributes."""
    with atomically(path) as file:
        file.attrs["filetype"] = filetype
        file.attrs["schema"] = SCHEMA
        _write_tree(file, tree)


def _write_tree(group: h5py.Group, tree: Mapping[str, object]) -> None:
    for key, value in tree.items():
        name = str(key)
        for letter, other in IN_PLACE_OF.items():
            name = name.replace(letter, other) if letter == "/" or not name.strip(".") else name
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
            group.attrs[name] = texts(value)
        else:
            group.attrs[name] = value
