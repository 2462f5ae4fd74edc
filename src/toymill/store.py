"""HDF5: writing shards whole or not at all, and reading them with every check.

Files hold no wall-clock times: the same inputs give the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from toymill.errors import ToymillError
from toymill.likelihood import Fits

SCHEMA = 1
"""Version of the layout of the files; raised when a reader has to know."""

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


class ShardFits(NamedTuple):
    """The content of a shard: its key, free and conditional fits, and audit."""

    key: ShardKey
    free: Fits
    tests: list[Fits]
    audit: Audit


def write_toys(path: str | Path, key: ShardKey, data: np.ndarray, data_names: Sequence[str]) -> None:
    """Write raw toys, data of shape (n, D)."""
    with _atomically(path) as file:
        _describe(file, "toymill-toys", key)
        _dataset(file, "data", data, "main and auxiliary data, in counts or in the parameter's units")
        file["data"].attrs["names"] = np.array(list(data_names), dtype=h5py.string_dtype())


def read_toys(path: str | Path, key: ShardKey) -> np.ndarray:
    """Read raw toys, shape (n, D).

    Raises:
        ToymillError: a file that is damaged, or of another shard.
    """
    with _damage_named(path), _opened(path) as file:
        _check(file, path, "toymill-toys", key)
        return np.asarray(_read(file, path, "data"))


def write_shard(path: str | Path, shard: ShardFits, statuses: Mapping[int, str]) -> None:
    """Write a shard's fits; ``statuses`` names the status codes."""
    with _atomically(path) as file:
        _describe(file, "toymill-fits", shard.key)
        names = np.array(shard.free.names, dtype=h5py.string_dtype())
        file.attrs["parameters"] = names
        file.attrs["poi"] = shard.free.poi or ""
        for group_name, fits in [("free", shard.free), *((f"tests/{k:03d}", f) for k, f in enumerate(shard.tests))]:
            group = file.create_group(group_name)
            for name, value in sorted(fits.fixed.items()):
                group.attrs[f"fixed:{name}"] = float(value)
            for name, meaning in FIELDS.items():
                _dataset(group, name, getattr(fits, name), meaning)
            group["status"].attrs["meaning"] = np.array(
                [f"{code} {name}" for code, name in sorted(statuses.items())], dtype=h5py.string_dtype()
            )
        audit = file.create_group("audit")
        for name, values in shard.audit._asdict().items():
            _dataset(audit, name, values, "toys fitted again with iminuit; see docs/file-format.md")


def read_shard(path: str | Path, key: ShardKey | None = None) -> ShardFits:
    """Read a shard's fits.

    Args:
        path: the file.
        key: what it must be a shard of; None accepts any.

    Raises:
        ToymillError: a file that is damaged, of another kind, or of another shard.
    """
    with _damage_named(path), _opened(path) as file:
        found = _check(file, path, "toymill-fits", key)
        names = tuple(str(name) for name in file.attrs["parameters"])
        poi = str(file.attrs["poi"]) or None
        free = _read_fits(file, path, "free", names, poi, found.toys)
        tests = [
            _read_fits(file, path, f"tests/{k}", names, poi, found.toys) for k in sorted(file.get("tests", ()), key=int)
        ]
        audit = Audit(**{name: np.asarray(_read(file, path, f"audit/{name}")) for name in Audit._fields})
    return ShardFits(found, free, tests, audit)


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
        file.attrs["parameters"] = np.array(list(names), dtype=h5py.string_dtype())
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
            group.attrs[name] = np.array(value, dtype=h5py.string_dtype())
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


def _dataset(group: h5py.Group, name: str, values: np.ndarray, meaning: str) -> None:
    array = np.asarray(values)
    options = {"fletcher32": True, "chunks": True} if array.size else {}
    group.create_dataset(name, data=array, **options)
    group[name].attrs["meaning"] = meaning


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


def _read(file: h5py.File, path: str | Path, name: str) -> np.ndarray:
    try:
        return np.asarray(file[name][...])
    except (OSError, KeyError) as error:
        msg = (
            f"{path}: {name} is damaged or missing ({error}). Delete the file and run again: only it will be made anew."
        )
        raise ToymillError(msg) from None


def _read_fits(
    file: h5py.File, path: str | Path, group: str, names: tuple[str, ...], poi: str | None, count: int
) -> Fits:
    arrays = {name: _read(file, path, f"{group}/{name}") for name in FIELDS}
    for name, values in arrays.items():
        if len(values) != count:
            msg = f"{path}: {group}/{name} has {len(values)} rows; expected {count}. Delete the file and run again."
            raise ToymillError(msg)
    attributes = file[group].attrs.items()
    fixed = {name.removeprefix("fixed:"): float(value) for name, value in attributes if name.startswith("fixed:")}
    return Fits(names=names, poi=poi, fixed=fixed, **arrays)
