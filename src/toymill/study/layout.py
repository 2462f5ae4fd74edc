"""Where the files of a study's shards are. Needs no JAX."""

from __future__ import annotations

from pathlib import Path

from toymill.config.study import Shard, shard_named


def range_of(path: Path) -> Shard | None:
    """The range of toys that a shard's file is named by; None for another file."""
    try:
        return shard_named(path.stem) if path.suffix == ".h5" else None
    except ValueError:
        return None


def superseded(path: str | Path) -> Path:
    """The folder for fits of an ensemble that no present shard holds, by the file of one of its shards.

    ``results/<study>/superseded/<ensemble>`` for ``results/<study>/fits/<ensemble>/<shard>.h5``.
    """
    shard = Path(path)
    return shard.parents[2] / "superseded" / shard.parent.name
