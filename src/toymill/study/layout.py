"""Where the files of a study's shards are, and which parts of its ensembles are counted at once. Needs no JAX."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from toymill.config.sections import needs, rounds
from toymill.config.study import Shard, Study, shard_named

PART = 2**20
"""Toys that are counted at once, in a job of their own if an ensemble has more."""

MOST_VALUES = 10**7
"""Toys of an ensemble whose t_μ are held one by one, 80 MB a test point; of more, histograms."""


def scratch_of(study: str) -> Path:
    """The folder of a study's files that are no results, from the folder that it runs in."""
    return Path(".snakemake/toymill") / study


def parts(study: Study, ensemble: str) -> list[range]:
    """The ranges of indices in which an ensemble's toys are counted, whatever the shards.

    Shards of which not every column is kept have counted them already: then all is one part.
    """
    toys = study.ensembles[ensemble].toys
    size = PART if study.keep == "all" else toys
    return [range(first, min(first + size, toys)) for first in range(0, toys, size)]


def design_of_fits(study: Study) -> str | None:
    """The file in a results directory with the truth points and tested values; None of a study without sections.

    Where toys are added in rounds, each round has a file, and ``design.json`` is the last.
    """
    if not needs(study):
        return None
    return "rounds/0.json" if rounds(study) else "design.json"


def keeps_values(study: Study, ensemble: str) -> bool:
    """Whether every t_μ of an ensemble is held by itself."""
    return study.keep != "summary" and study.ensembles[ensemble].toys <= MOST_VALUES


def files_of_part(files: Iterable[str | Path], part: range) -> list[str | Path]:
    """The files of the shards that have toys of a part."""

    def has_some(path: str | Path) -> bool:
        shard = shard_named(Path(path).stem)
        return shard.first < part.stop and shard.first + shard.toys > part.start

    return [path for path in files if has_some(path)]


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


def latest_design(folder: Path) -> Path | None:
    """The file of a results directory that has its truth points as they were chosen last; None before they are.

    While toys are added for a precision, it is that of a round.
    """
    paths = [path for path in (folder / "design.json", *folder.glob("rounds/*.json")) if path.exists()]
    return max(paths, key=lambda path: (path.stat().st_mtime_ns, path.name), default=None)
