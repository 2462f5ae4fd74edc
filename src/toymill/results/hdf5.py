"""HDF5 files: written whole or not at all, the same bytes each time, and every damage found and named."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from toymill._version import code_digest
from toymill.budget import HDF5_CHUNK
from toymill.errors import ToymillError
from toymill.parameters import IN_PLACE_OF
from toymill.results.files import made_anew, put_in_place, temporary_name, writing

SCHEMA = 2
"""Version of the layout of the files; raised when a reader has to know. Older ones are read, newer ones refused."""

_SEAL = 512  # bytes before the HDF5 content, where a file has its digest: HDF5's user block

_SIGNATURE = b"\x89HDF\r\n\x1a\n"  # how a file of schema 1 begins: HDF5's own, without a user block


class ShardKey(NamedTuple):
    """What a shard is a shard of.

    Attributes:
        ensemble: name of the ensemble, which is also its random stream.
        digest: digest of everything that its toys and fits depend on, save the index and the test points.
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
    """Opens a new file under a temporary name in the same folder; seals and renames it when it is whole.

    The name is the writer's alone and is opened exclusively, so that no two jobs ever write to one file. Nothing locks a
    file: network file systems may have no locks, and only whole files have the name that others read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.temporary = temporary_name(self.path)

    def __enter__(self) -> h5py.File:
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = h5py.File(self.temporary, "x", libver=("v110", "v110"), userblock_size=_SEAL, locking=False)
        return self.file

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            with writing(self.path):
                try:
                    self.file.close()
                finally:
                    if isinstance(error, Exception):
                        raise error
                if kind is None:
                    _seal(self.temporary)
                    put_in_place(self.temporary, self.path)
        finally:
            with suppress(OSError):
                self.temporary.unlink()


def _seal_of(digest: str) -> bytes:
    """The first bytes of a file, all of which are checked: its schema, and the SHA-256 of all bytes after them."""
    text = f"toymill, schema {SCHEMA}: HDF5 after {_SEAL} bytes, whose SHA-256 is\n{digest}\n"
    return text.encode().ljust(_SEAL - 1) + b"\n"


def _digest_of(path: str | Path) -> str:
    """SHA-256 of all bytes of a file after its seal."""
    with Path(path).open("rb") as handle:
        handle.seek(_SEAL)
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _seal(path: Path) -> None:
    """Write a file's seal."""
    digest = _digest_of(path)
    with path.open("r+b") as handle:
        handle.write(_seal_of(digest))


def require_whole(path: str | Path) -> None:
    """Raise ToymillError unless a file is, to the bit, what was written; one of schema 1 has no digest to tell."""
    try:
        with Path(path).open("rb") as handle:
            seal = handle.read(_SEAL)
        if seal.startswith(_SIGNATURE):
            return
        whole = seal == _seal_of(_digest_of(path))
    except OSError as error:
        msg = f"{path} cannot be read ({error}). {made_anew(path)}"
        raise ToymillError(msg) from None
    if not whole:
        msg = f"{path} is damaged: its SHA-256 is not the one that it was written with. {made_anew(path)}"
        raise ToymillError(msg)


@contextmanager
def damage_named(path: str | Path) -> Iterator[None]:
    """Whatever else damage does to a file is told as damage, with the file's name."""
    try:
        yield
    except ToymillError:
        raise
    except (KeyError, IndexError, OSError, RuntimeError, TypeError, ValueError) as error:
        msg = f"{path} is damaged ({error}). {made_anew(path)}"
        raise ToymillError(msg) from None


def opened(path: str | Path) -> h5py.File:
    """A file to read, all of it checked; raises ToymillError for one that is not what was written, or not HDF5."""
    require_whole(path)
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        msg = f"{path} cannot be read as HDF5 ({error}). {made_anew(path)}"
        raise ToymillError(msg) from None


def write_key(file: h5py.File, filetype: str, key: ShardKey) -> None:
    """What a file says that it is, as its attributes."""
    file.attrs["filetype"] = filetype
    file.attrs["schema"] = SCHEMA
    file.attrs["code"] = code_digest()
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
    """A dataset of ``rows`` rows that is written in slices, all of it allotted now; no row yet says that a fit succeeded."""
    width = like.dtype.itemsize * int(np.prod(like.shape[1:]))
    chunk = max(1, min(rows, 2 ** int(np.log2(max(HDF5_CHUNK // width, 1)))))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    unwritten = np.nan if like.dtype.kind == "f" else 0 if like.dtype == np.int8 else -1
    return group.create_dataset(
        name,
        (rows, *like.shape[1:]),
        like.dtype,
        chunks=(chunk, *like.shape[1:]),
        fletcher32=True,
        fillvalue=unwritten,
        dcpl=properties,
    )


def write_columns(group: h5py.Group, columns: Mapping[str, np.ndarray], meanings: Mapping[str, str]) -> None:
    """Columns of as many rows, (n, …), by their names, each written at once with its meaning."""
    for name, values in columns.items():
        if len(values):
            create_column(group, name, len(values), values)[...] = values
        else:
            group.create_dataset(name, data=values)
        group[name].attrs["meaning"] = meanings[name]


def codes_of(kind: type[enum.IntEnum]) -> np.ndarray:
    """The members of an enumeration as a file tells them: value and name."""
    return texts([f"{item.value} {item.name.lower()}" for item in kind])


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
    got, schema = str(file.attrs.get("filetype", "no toymill file")), int(file.attrs.get("schema", -1))
    if got == filetype and schema > SCHEMA:
        msg = f"{path} has schema {schema}; this toymill knows those up to {SCHEMA}. Use the toymill that wrote it."
        raise ToymillError(msg)
    if got != filetype or not schema >= 1 or (schema == 1) != (file.userblock_size == 0):
        msg = f"{path} is {got!r}, schema {schema}; expected {filetype!r}, schema {SCHEMA}. {made_anew(path)}"
        raise ToymillError(msg)
    found = ShardKey(
        ensemble=str(file.attrs["ensemble"]),
        digest=str(file.attrs["digest"]),
        model=str(file.attrs["model"]),
        seed=int(file.attrs["seed"]),
        first=int(file.attrs["first"]),
        toys=int(file.attrs["toys"]),
    )
    if key is not None and schema < SCHEMA:
        msg = f"{path} has schema {schema}, which has no digest of its content. {made_anew(path)}"
        raise ToymillError(msg)
    if key is not None and found != key:
        name = next(field for field in ShardKey._fields if getattr(found, field) != getattr(key, field))
        msg = (
            f"{path} is of another study: its {name} is {getattr(found, name)}; expected {getattr(key, name)}. "
            f"{made_anew(path)}"
        )
        raise ToymillError(msg)
    return found


def read_dataset(
    file: h5py.Group, path: str | Path, name: str, rows: slice | tuple[slice, slice] | None = None
) -> np.ndarray:
    """A dataset, or some rows of it, or some columns of these; raises ToymillError for one that is damaged or missing."""
    try:
        return np.asarray(file[name][... if rows is None else rows])
    except (OSError, KeyError) as error:
        msg = f"{path}: {name} is damaged or missing ({error}). {made_anew(path)}"
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
