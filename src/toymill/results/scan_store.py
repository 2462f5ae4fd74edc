"""The files of a scan: what the model of one point says of shared toys, of toys with its signal, and of the observed data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import h5py
import numpy as np

from toymill.errors import ToymillError
from toymill.fitting.status import CERTIFIED_STATUSES, Status
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
    write_dataset,
    write_key,
)

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int8

FILETYPE = "toymill-scan"

MEANING = {
    "estimate": "fitted parameter of interest",
    "q_0": "q_0; NaN where a fit is not certified",
    "q_mu": "the statistic of the exclusion at the tested value; NaN where a fit is not certified",
    "status": "how the free fit, that at 0 and that at the tested value ended; 0: there is none",
}
"""The columns of each group."""

GROUPS = ("background", "signal", "observed", "asimov")
"""Toys without a signal, toys with it, the observed data, and the Asimov data without a signal."""


class Tested(NamedTuple):
    """What the model of one point says of n datasets.

    Attributes:
        estimate: the fitted parameter of interest, (n,).
        q_0: q_0, (n,); NaN where a fit is not certified.
        q_mu: the statistic of the exclusion, (n,); NaN likewise.
        status: how the free fit, that at 0 and that at the tested value ended, a ``Status`` or 0 for none, (n, 3).
    """

    estimate: Float[np.ndarray, " toy"]
    q_0: Float[np.ndarray, " toy"]
    q_mu: Float[np.ndarray, " toy"]
    status: Int8[np.ndarray, "toy 3"]

    @property
    def failed(self) -> Bool[np.ndarray, " toy"]:
        """True for datasets of which a fit is not certified, (n,)."""
        return _failed(self.status)


def _failed(status: Int8[np.ndarray, "toy 3"]) -> Bool[np.ndarray, " toy"]:
    bad: np.ndarray = np.any(~np.isin(status, [0, *CERTIFIED_STATUSES]), axis=1)
    return bad


def together(parts: Sequence[Tested]) -> Tested:
    """Datasets one after the other."""
    return Tested(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class PointShard(NamedTuple):
    """The content of a file of a scan.

    Attributes:
        poi: the parameter of interest.
        nll: twice the nll of the free fit to the observed data is a number of this size.
        groups: what is said of the datasets of each of ``GROUPS``.
        rise: how the background's data move with an excess of this signal, (D,), in their own units.
    """

    poi: str
    nll: float
    groups: Mapping[str, Tested]
    rise: Float[np.ndarray, " base_datum"]


def write_point(path: str | Path, key: ShardKey, shard: PointShard) -> None:
    """Write a file of a scan: whole, or not at all."""
    with atomically(path) as file:
        write_key(file, FILETYPE, key)
        file.attrs["poi"] = shard.poi
        file.attrs["nll"] = shard.nll
        write_dataset(file, "rise", shard.rise, "how the background's data move with an excess of this signal")
        for name in GROUPS:
            group = file.create_group(name)
            write_columns(group, shard.groups[name]._asdict(), MEANING)
            group["status"].attrs["codes"] = codes_of(Status)


def count_failed_of_point(path: str | Path) -> int:
    """How many toys of a file have a fit that is not certified; a quick look, which does not check the whole file.

    Raises:
        ToymillError: a file that is damaged where this looks.
    """
    with damage_named(path), h5py.File(path, "r", locking=False) as file:
        return sum(int(_failed(file[name]["status"][...]).sum()) for name in ("background", "signal"))


def read_point(path: str | Path, key: ShardKey, signal_toys: int) -> PointShard:
    """Read a file of a scan.

    Args:
        path: the file.
        key: what it must be.
        signal_toys: number of its toys with a signal.

    Raises:
        ToymillError: a file that is damaged, of another scan, or with other numbers of toys.
    """
    with opened(path) as file, damage_named(path):
        read_key(file, path, FILETYPE, key)
        groups = {
            name: Tested(*(read_dataset(file, path, f"{name}/{column}") for column in Tested._fields))
            for name in GROUPS
        }
        expected = dict(zip(GROUPS, (key.toys, signal_toys, 1, 1), strict=True))
        for name, found in groups.items():
            if {len(values) for values in found} != {expected[name]}:
                msg = f"{path}: {name} has {len(found.q_mu)} rows; expected {expected[name]}. {made_anew(path)}"
                raise ToymillError(msg)
        return PointShard(str(file.attrs["poi"]), float(file.attrs["nll"]), groups, read_dataset(file, path, "rise"))


class Tilts(NamedTuple):
    """Tilted truths of toys without a signal, and what their toys weigh.

    Attributes:
        why_none: why there are none; empty where there are.
        names: the points whose excess each has, J of them.
        expected: the expectations of the background's data at each, (J, D).
        toys: toys of each.
        weights: weights of all toys for the hypothesis without a signal, (n,): first those without tilt, then each tilt's.
    """

    why_none: str
    names: tuple[str, ...]
    expected: Float[np.ndarray, "truth base_datum"]
    toys: int
    weights: Float[np.ndarray, " toy"]

    @property
    def tilted(self) -> int:
        """Tilted toys, of all truths."""
        return len(self.names) * self.toys

    @property
    def counts(self) -> list[int]:
        """Toys of each truth, that without tilt first."""
        return [len(self.weights) - self.tilted, *[self.toys] * len(self.names)]


def write_tilts(path: str | Path, key: ShardKey, tilts: Tilts) -> None:
    """Write the file of a scan's tilted truths."""
    with atomically(path) as file:
        write_key(file, f"{FILETYPE}-tilts", key)
        file.attrs["why_none"] = tilts.why_none
        file.attrs["names"] = texts(tilts.names)
        write_dataset(file, "expected", tilts.expected, "expectations of the background's data at each tilted truth")
        write_dataset(file, "weights", tilts.weights, "weights of all toys for the hypothesis without a signal")


def read_tilts(path: str | Path, key: ShardKey) -> Tilts:
    """Read the file of a scan's tilted truths; ``key.toys`` are those of each.

    Raises:
        ToymillError: a file that is damaged, or of another scan.
    """
    with opened(path) as file, damage_named(path):
        read_key(file, path, f"{FILETYPE}-tilts", key._replace(toys=int(file.attrs["toys"])))
        return Tilts(
            str(file.attrs["why_none"]),
            tuple(str(name) for name in file.attrs["names"]),
            read_dataset(file, path, "expected"),
            int(file.attrs["toys"]),
            read_dataset(file, path, "weights"),
        )


def why_no_tilts(path: str | Path) -> str:
    """Why a scan has no tilted toys, from the file of their truths; empty where it has some.

    Raises:
        ToymillError: a file that is damaged.
    """
    with opened(path) as file, damage_named(path):
        return str(file.attrs["why_none"])


def toys_tilted(path: str | Path) -> int:
    """How many tilted toys a scan has, from the file of their truths; a quick look, which does not check the whole file.

    Raises:
        ToymillError: a file that is damaged where this looks.
    """
    with damage_named(path), h5py.File(path, "r", locking=False) as file:
        return len(file.attrs["names"]) * int(file.attrs["toys"])


def count_failed_of_tilted(path: str | Path) -> int:
    """How many tilted toys of a point have a fit that is not certified; a quick look, as that of ``toys_tilted``.

    Raises:
        ToymillError: a file that is damaged where this looks.
    """
    with damage_named(path), h5py.File(path, "r", locking=False) as file:
        return int(np.isnan(file["q_0"][...]).sum())


def write_tilted(path: str | Path, key: ShardKey, q_0: Float[np.ndarray, " toy"]) -> None:
    """Write what the model of one point says of all tilted toys: q_0, NaN where a fit is not certified."""
    with atomically(path) as file:
        write_key(file, f"{FILETYPE}-tilted", key)
        write_dataset(file, "q_0", q_0, MEANING["q_0"])


def read_tilted(path: str | Path, key: ShardKey) -> Float[np.ndarray, " toy"]:
    """Read the same.

    Raises:
        ToymillError: a file that is damaged, or of other toys.
    """
    with opened(path) as file, damage_named(path):
        read_key(file, path, f"{FILETYPE}-tilted", key)
        return read_dataset(file, path, "q_0")
