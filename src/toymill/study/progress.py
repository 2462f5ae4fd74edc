"""How far a study is, from the files in its results directory alone, wherever its jobs run. Needs no JAX."""

from __future__ import annotations

import glob
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from toymill.config.designed import designed, planned
from toymill.config.scan import grid_of
from toymill.config.study import Shard, Study, read_study
from toymill.errors import ToymillError
from toymill.results.design import read_design
from toymill.results.store import count_failed
from toymill.study.layout import latest_design, range_of
from toymill.study.ownership import Run, running
from toymill.study.scan_layout import counts_in, scan_files, settings_of


class Bar(NamedTuple):
    """How far one ensemble is, or a scan.

    Attributes:
        name: its name.
        toys: its toys; of a scan those of all signals.
        done: toys whose fits are on the disk.
        failed: those of them that are not certified; None where that is told at the end alone.
    """

    name: str
    toys: int
    done: int
    failed: int | None


class Progress(NamedTuple):
    """How far a study is.

    Attributes:
        study: its name.
        bars: its ensembles, and its scan; none before its configuration and its truth points are written.
        run: the run that writes to the directory, or None.
        finished: whether everything is there.
        rate: toys a second in this run, or None if that cannot be told yet.
        left: seconds to the last toy at that rate, or None.
        audits: audits that are done.
        stages: what there is after the fits: answers, summary, figures, provenance, report.
    """

    study: str
    bars: list[Bar]
    run: Run | None
    finished: bool
    rate: float | None
    left: float | None
    audits: int
    stages: list[str]

    @property
    def toys(self) -> int:
        """All toys."""
        return sum(bar.toys for bar in self.bars)

    @property
    def done(self) -> int:
        """Those that are done."""
        return sum(bar.done for bar in self.bars)

    @property
    def failed(self) -> int:
        """Those of them that are not certified."""
        return sum(bar.failed or 0 for bar in self.bars)


class Watcher:
    """Looks at a results directory again and again; what is known of a finished file is not read again.

    Args:
        folder: the results directory of a study. Paths in its configuration are relative to the working directory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failures: dict[tuple[Path, int], int] = {}

    def look(self) -> Progress:
        """How far the study is now.

        Raises:
            ToymillError: a file of the directory that cannot be used.
        """
        run = running(self.folder)
        study = self._study()
        files = {} if study is None else self._files(study)
        bars = [] if study is None else [self._bar(study, name, paths) for name, paths in files.items()]
        done, toys = sum(bar.done for bar in bars), sum(bar.toys for bar in bars)
        finished = run is None and done == toys and self._newest("provenance.json")
        rate = self._rate(study, files) if study and run is not None else None
        return Progress(
            study=self.folder.name,
            bars=bars,
            run=run,
            finished=finished,
            rate=rate,
            left=(toys - done) / rate if rate else None,
            audits=len(list(self.folder.glob("audit/**/*.json"))),
            stages=list(self._stages()),
        )

    def _study(self) -> Study | None:
        """The study, with the ensembles of its sections as they are designed by now; None before it is written."""
        config = self.folder / "config.yaml"
        if not config.exists():
            return None
        study = read_study(yaml.safe_load(config.read_text(encoding="utf-8")))
        design = latest_design(self.folder)
        try:
            return designed(study, read_design(design)) if design else planned(study)
        except ToymillError:  # that of the configuration before, which this run replaces
            if running(self.folder) is None:
                raise
            return None

    def _newest(self, name: str) -> bool:
        """Whether a file is there, and made since the configuration and the summary were."""
        times = [
            path.stat().st_mtime for other in ("config.yaml", "summary.json") if (path := self.folder / other).exists()
        ]
        path = self.folder / name
        return path.exists() and path.stat().st_mtime >= max(times, default=0.0)

    def _files(self, study: Study) -> dict[str, list[Path]]:
        if study.kind == "optimisers":
            return {name: sorted(self.folder.glob(f"optimisers/{glob.escape(name)}.h5")) for name in study.ensembles}
        found = {name: sorted((self.folder / "fits" / name).glob("*.h5")) for name in study.ensembles}
        if study.scan:
            paths = self._scanned(study)
            found[""] = [path for path in paths if path.exists()]
        return found

    def _scanned(self, study: Study) -> list[Path]:
        files = scan_files(study, grid_of(settings_of(study)), self.folder / "scan")
        return [Path(path) for several in files.values() for path in several]

    def _bar(self, study: Study, name: str, paths: Sequence[Path]) -> Bar:
        if not name:
            toys = sum(sum(counts_in(study, path.stem)) for path in self._scanned(study))
            return Bar("scan", toys, sum(sum(counts_in(study, path.stem)) for path in paths), None)
        toys = study.ensembles[name].toys
        if study.kind == "optimisers":
            return Bar(name, toys, toys if paths else 0, None)
        ranges = {path: shard for path in paths if (shard := range_of(path)) is not None and shard.first < toys}
        return Bar(
            name, toys, covered(ranges.values(), toys), sum(self._failed(path) for path in without_overlap(ranges))
        )

    def _failed(self, path: Path) -> int:
        try:
            key = path, path.stat().st_mtime_ns
            if key not in self.failures:
                self.failures[key] = count_failed(path)
        except FileNotFoundError:  # set aside in the meantime, since another replaces it
            return 0
        return self.failures[key]

    def _rate(self, study: Study, files: dict[str, list[Path]]) -> float | None:
        """Toys a second since this run began, or since its pilot and its design if these are later."""
        began = [self.folder / name for name in (".lock", "plan.json", "design.json", "rounds/0.json")]
        start = max(map(_made, began)) or time.time()
        new = [(name, path) for name, paths in files.items() for path in paths if _made(path) > start]
        toys = sum(_toys_in(study, name, path) for name, path in new)
        spent = max((_made(path) for _, path in new), default=start) - start
        return toys / spent if toys and spent > 0 else None

    def _stages(self) -> Iterable[str]:
        for name in ("summary.json", "plots", "provenance.json", "report.html"):
            if (self.folder / name).exists():
                yield name


def _made(path: Path) -> float:
    """When a file was made, in seconds; 0 if it is not there, or not any more."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _toys_in(study: Study, name: str, path: Path) -> int:
    """How many toys a file of fits has; the name of a scan's is empty."""
    if not name:
        return sum(counts_in(study, path.stem))
    shard = range_of(path)
    return shard.toys if shard is not None else 0


def without_overlap(ranges: Mapping[Path, Shard]) -> list[Path]:
    """Files that hold each toy once: of those that overlap, the one that begins first, and of these the longest."""
    found, upto = [], 0
    for path, shard in sorted(ranges.items(), key=lambda pair: (pair[1].first, -pair[1].toys)):
        if shard.first >= upto:
            found.append(path)
            upto = shard.first + shard.toys
    return found


def covered(ranges: Iterable[Shard], toys: int) -> int:
    """How many of so many toys are in any of some ranges.

    Example:
        >>> covered([Shard("", 0, 10), Shard("", 5, 10), Shard("", 20, 10)], 25)
        20
    """
    upto = count = 0
    for shard in sorted(ranges, key=lambda shard: shard.first):
        end = min(shard.first + shard.toys, toys)
        count += max(0, end - max(shard.first, upto))
        upto = max(upto, end)
    return count
