"""How far a study is, from the files in its results directory alone, wherever its jobs run. Needs no JAX."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import yaml

from toymill.config.designed import designed, planned
from toymill.config.scan import grid_of
from toymill.config.sections import audited, needs
from toymill.config.study import Shard, Study, read_study, shard_named
from toymill.errors import ToymillError
from toymill.results.design import read_design
from toymill.results.interval_store import count_failed_intervals
from toymill.results.scan_store import count_failed_of_point, count_failed_of_tilted, toys_tilted
from toymill.results.store import count_failed
from toymill.study.layout import latest_design, range_of, scratch_of
from toymill.study.ownership import Run, running, toys_of_run
from toymill.study.scan_layout import audited_points, counts_in, scan_files, settings_of, tilted_files
from toymill.study.telling import Told, told_in

Count = Callable[[Path], int]
"""Counts toys of a file, such as those that are not certified."""


class Bar(NamedTuple):
    """How far one ensemble is, or its profile intervals, a scan or its tilted toys.

    Attributes:
        name: its name.
        toys: its toys; of a scan those of all signals, of optimisers those of each.
        done: toys that are fitted: those whose fits are on the disk, and those that running jobs tell of.
        failed: those of them that are not certified; None where that is told at the end alone.
    """

    name: str
    toys: int
    done: int
    failed: int | None


class Piece(NamedTuple):
    """Toys that are fitted: those of a file, or those that a running job tells of.

    Attributes:
        shard: which toys.
        failed: those of them that are not certified; None where that is not known.
        time: when that was written, in seconds.
    """

    shard: Shard
    failed: int | None
    time: float


class Work(NamedTuple):
    """What there is of an ensemble, or of a scan: its name, its toys, and those that are fitted."""

    name: str
    toys: int
    pieces: list[Piece]


class Progress(NamedTuple):
    """How far a study is.

    Attributes:
        study: its name.
        bars: its ensembles, and its scan; none before the first run.
        run: the run that writes to the directory, or None.
        finished: whether everything is there.
        rate: toys a second in this run, or None if that cannot be told yet.
        left: seconds to the last toy at that rate, or None.
        audits: audits that are done.
        stages: what there is after the fits: answers, summary, figures, provenance, report.
        waits: what the fits wait for, or None.
        follows: what is made after the toys and is not there yet: audits, answers, figures.
        changed: when a file of it was last written, in seconds; 0 where there is none.
    """

    study: str
    bars: list[Bar]
    run: Run | None
    finished: bool
    rate: float | None
    left: float | None
    audits: int
    stages: list[str]
    waits: str | None
    follows: list[str]
    changed: float

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
        self.counts: dict[tuple[Path, int, Count], int] = {}

    def look(self) -> Progress:
        """How far the study is now.

        Raises:
            ToymillError: a file of the directory that cannot be used.
        """
        run = running(self.folder)
        study = self._study()
        works = list(self._begun(run) if study is None else self._works(study, run))
        bars = [_bar(work) for work in works]
        done, toys = sum(bar.done for bar in bars), sum(bar.toys for bar in bars)
        finished = run is None and done == toys and is_newest(self.folder / "provenance.json")
        rate = self._rate(works) if run is not None else None
        return Progress(
            study=self.folder.name,
            bars=bars,
            run=run,
            finished=finished,
            rate=rate,
            left=(toys - done) / rate if rate else None,
            audits=len(list(self.folder.glob("audit/**/*.json"))),
            stages=list(self._stages()),
            waits=self._waits(study, works),
            follows=list(self._follows(study)),
            changed=self._changed(works),
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

    def _waits(self, study: Study | None, known: Iterable[Work]) -> str | None:
        """What the fits wait for, by the files that are not there yet."""
        if study is None:
            return None if known else "its first jobs are not done yet"
        if needs(study) and latest_design(self.folder) is None:
            return "its truth points are not known yet"
        if (
            study.kind == "toys"
            and study.ensembles
            and study.shard == "auto"
            and not (self.folder / "plan.json").exists()
        ):
            return "a pilot measures how fast its toys are fitted"
        return None

    def _follows(self, study: Study | None) -> Iterator[str]:
        """What is made after the toys, by the files that are not there yet."""
        if study is None or study.kind == "optimisers":
            return
        ensembles = {*audited(study), *(set(study.ensembles) - set(needs(study)))}
        points = len(audited_points(grid_of(study.scan))) if study.scan else 0
        due = len(ensembles) + points if study.fit.audit else 0
        audits = due - len(list(self.folder.glob("audit/**/*.json")))
        if audits > 0:
            yield f"{audits} audit{'s' * (audits > 1)}"
        if not (self.folder / "summary.json").exists():
            yield "answers" if needs(study) or study.scan else "the summary"
        if not is_newest(self.folder / "report.html"):
            yield "figures"

    def _changed(self, works: Iterable[Work]) -> float:
        """When a file was last written."""
        times = [piece.time for work in works for piece in work.pieces]
        files = chain(*(self.folder.glob(pattern) for pattern in ("*", "audit/**/*.json", "plots/*", "rounds/*")))
        return max([*times, *(_made(path) for path in files if path.is_file())], default=0.0)

    def _begun(self, run: Run | None) -> Iterator[Work]:
        """What there is of each ensemble before the configuration is written, by the design and by what the run began with."""
        path = latest_design(self.folder)
        design = {name: item.toys for name, item in read_design(path).ensembles.items()} if path else {}
        for name, toys in {**toys_of_run(self.folder), **design}.items():
            yield self._shards(name, toys, self.folder / "fits" / name, count_failed, run)

    def _works(self, study: Study, run: Run | None) -> Iterator[Work]:
        """What there is of each ensemble, of its profile intervals, and of the scan; what no run is at work on is not told.

        An optimiser's study counts a toy once for each optimiser.
        """
        if study.kind == "optimisers":
            for name, item in study.ensembles.items():
                yield self._compared(name, item.toys, len(study.optimisers.methods), run)
            return
        for name, item in study.ensembles.items():
            yield self._shards(name, item.toys, self.folder / "fits" / name, count_failed, run)
            if item.profile_intervals:
                folder = self.folder / "profile_intervals" / name
                yield self._shards(f"{name}, intervals", item.toys, folder, count_failed_intervals, run)
        if study.scan:
            yield self._scanned(study, run)
            yield from self._tilted(study, run)

    def _compared(self, name: str, toys: int, methods: int, run: Run | None) -> Work:
        """What there is of the toys of an ensemble by several optimisers."""
        path = self.folder / "optimisers" / f"{name}.h5"
        return Work(name, toys * methods, self._pieces([(path, toys * methods)], None, run))

    def _shards(self, name: str, toys: int, folder: Path, count: Count, run: Run | None) -> Work:
        """What there is of an ensemble in a folder: whole shards, whatever their sizes, and those of running jobs."""
        files = {path: shard for path in sorted(folder.glob("*.h5")) if (shard := range_of(path)) is not None}
        whole = [
            Piece(shard, self._counted(path, count), _made(path)) for path, shard in files.items() if shard.first < toys
        ]
        told = [
            Piece(Shard("", shard_named(item.name).first, item.toys), item.failed, item.time)
            for item in (told_in(folder) if run else ())
        ]
        return Work(name, toys, [*whole, *told])

    def _scanned(self, study: Study, run: Run | None) -> Work:
        """What there is of the scan: the toys of all its points."""
        files = scan_files(study, grid_of(settings_of(study)), self.folder / "scan")
        toys = [(Path(path), sum(counts_in(study, Path(path).stem))) for path in chain(*files.values())]
        return Work("scan", sum(count for _, count in toys), self._pieces(toys, count_failed_of_point, run))

    def _tilted(self, study: Study, run: Run | None) -> Iterator[Work]:
        """What there is of a scan's tilted toys; nothing before their truths are known, or where none are needed."""
        files = tilted_files(study, self.folder.parents[1] / scratch_of(study.study) / "scan")
        toys = self._counted(Path(files.truths), toys_tilted) if settings_of(study).tilted_toys else 0
        if toys:
            every = [(Path(path), toys) for path in files.points.values()]
            yield Work("scan, tilted", toys * len(every), self._pieces(every, count_failed_of_tilted, run))

    def _pieces(self, files: Iterable[tuple[Path, int]], count: Count | None, run: Run | None) -> list[Piece]:
        """What there is of files with so many toys each, numbered one after the other; ``count`` counts failures."""
        pieces, first = [], 0
        told: dict[Path, dict[str, Told]] = {}
        for path, toys in files:
            if path.exists():
                failed = None if count is None else self._counted(path, count)
                pieces.append(Piece(Shard("", first, toys), failed, _made(path)))
            elif run:
                if path.parent not in told:
                    told[path.parent] = {item.name: item for item in told_in(path.parent)}
                if item := told[path.parent].get(path.stem):
                    pieces.append(Piece(Shard("", first, item.toys), None if count is None else item.failed, item.time))
            first += toys
        return pieces

    def _counted(self, path: Path, count: Count) -> int:
        """What is counted in a file, once; 0 where it is not there."""
        try:
            key = path, path.stat().st_mtime_ns, count
            if key not in self.counts:
                self.counts[key] = count(path)
        except FileNotFoundError:  # set aside in the meantime, since another replaces it
            return 0
        return self.counts[key]

    def _rate(self, works: Sequence[Work]) -> float | None:
        """Toys a second since this run began, or since its pilot and its design if these are later."""
        began = [self.folder / name for name in (".lock", "plan.json", "design.json", "rounds/0.json")]
        start = max(map(_made, began)) or time.time()
        new = [piece for work in works for piece in work.pieces if piece.time > start]
        toys = sum(piece.shard.toys for piece in new)
        spent = max((piece.time for piece in new), default=start) - start
        return toys / spent if toys and spent > 0 else None

    def _stages(self) -> Iterable[str]:
        for name in ("summary.json", "plots", "provenance.json", "report.html"):
            if (self.folder / name).exists():
                yield name


def is_newest(path: Path) -> bool:
    """Whether a file of a results directory is there, and made since the configuration and the summary were."""
    return path.exists() and _made(path) >= max(_made(path.parent / name) for name in ("config.yaml", "summary.json"))


def _made(path: Path) -> float:
    """When a file was made, in seconds; 0 if it is not there, or not any more."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _bar(work: Work) -> Bar:
    failures = [piece.failed for piece in without_overlap(work.pieces)]
    known = [count for count in failures if count is not None]
    done = covered((piece.shard for piece in work.pieces), work.toys)
    return Bar(work.name, work.toys, done, sum(known) if len(known) == len(failures) else None)


def without_overlap(pieces: Iterable[Piece]) -> list[Piece]:
    """Pieces that hold each toy once: of those that overlap, the one that begins first, and of these the longest."""
    found, upto = [], 0
    for piece in sorted(pieces, key=lambda piece: (piece.shard.first, -piece.shard.toys)):
        if piece.shard.first >= upto:
            found.append(piece)
            upto = piece.shard.first + piece.shard.toys
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
