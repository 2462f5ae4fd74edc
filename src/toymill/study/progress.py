"""How far a study is, from the files in its results directory alone, wherever its jobs run. Needs no JAX."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from toymill.config.designed import designed, planned
from toymill.config.scan import grid_of
from toymill.config.study import Shard, Study, read_study
from toymill.results.design import read_design
from toymill.results.store import count_failed
from toymill.study.layout import range_of
from toymill.study.ownership import Run, running
from toymill.study.scan_layout import counts_in, scan_files, settings_of


class Bar(NamedTuple):
    """How far one ensemble is, or a scan.

    Attributes:
        name: its name.
        toys: its toys; of a scan those of all signals.
        done: toys whose fits are on the disk.
        failed: those of them that are not certified.
    """

    name: str
    toys: int
    done: int
    failed: int


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
        return sum(bar.failed for bar in self.bars)


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
        finished = run is None and (self.folder / "provenance.json").exists() and done == toys
        rate = self._rate(files) if run is not None else None
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
        rounds = sorted(self.folder.glob("rounds/*.json"), key=lambda path: int(path.stem))
        for path in (self.folder / "design.json", *reversed(rounds)):
            if path.exists():
                return designed(study, read_design(path))
        return planned(study)

    def _files(self, study: Study) -> dict[str, list[Path]]:
        found = {name: sorted((self.folder / "fits" / name).glob("*.h5")) for name in study.ensembles}
        if study.scan:
            found[""] = sorted(self.folder.glob("scan/*/*.h5"))
        return found

    def _bar(self, study: Study, name: str, paths: Sequence[Path]) -> Bar:
        if not name:
            expected = [
                path for several in scan_files(study, grid_of(settings_of(study)), "").values() for path in several
            ]
            toys = sum(sum(counts_in(study, Path(path).stem)) for path in expected)
            done = sum(sum(counts_in(study, path.stem)) for path in paths)
            return Bar("scan", toys, min(done, toys), 0)
        toys = study.ensembles[name].toys
        ranges = {path: shard for path in paths if (shard := range_of(path)) is not None and shard.first < toys}
        return Bar(name, toys, covered(ranges.values(), toys), sum(self._failed(path) for path in ranges))

    def _failed(self, path: Path) -> int:
        key = path, path.stat().st_mtime_ns
        if key not in self.failures:
            self.failures[key] = count_failed(path)
        return self.failures[key]

    def _rate(self, files: dict[str, list[Path]]) -> float | None:
        """Toys a second since this run began, or since its pilot and its design if these are later."""
        began = [self.folder / name for name in (".lock", "plan.json", "design.json", "rounds/0.json")]
        start = max((path.stat().st_mtime for path in began if path.exists()), default=time.time())
        new = [path for paths in files.values() for path in paths if path.stat().st_mtime > start]
        toys = sum(shard.toys for path in new if (shard := range_of(path)) is not None)
        spent = max((path.stat().st_mtime for path in new), default=start) - start
        return toys / spent if spent > 0 else None

    def _stages(self) -> Iterable[str]:
        for name in ("summary.json", "plots", "provenance.json", "report.html"):
            if (self.folder / name).exists():
                yield name


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
