"""What a study will take: jobs, time and disk, from what its pilot measured. Needs no JAX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from toymill.config.scan import grid_of
from toymill.config.sections import audited, needs
from toymill.config.study import Study, shards, values_tested
from toymill.results.plan import Plan
from toymill.study.scan_layout import audited_points, counts_in, scan_shards

COLUMN = 8
"""Bytes of a parameter of a fit: its value; and of its error, which free fits have."""

FIT = 21
"""Bytes of a fit beside its parameters: nll, edm, status, iterations."""

SCANNED = 27
"""Bytes of a toy that is fitted by one point of a scan: an estimate, two statistics, three statuses."""

SUMMARY = 3e5
"""Bytes of a shard that keeps a summary of its fits, whatever its toys."""


DRAWN = 3.5
"""Time of the job that draws a truth point's figures, in units of what a job needs to have the model, by which the speed of
the machine is known. So are the four that follow; measured with studies of 29 and of 69 parameters."""

SHOWN = 1.5
"""Of a job that draws the figures of coverage or of the answers, or makes the page of toys."""

WRITTEN = 0.75
"""Of a job that writes the report or the provenance, and of the start of one that counts fits."""

SNAKEMAKE, PLANNED = 1.2, 0.1
"""Of Snakemake: its start, and what it does about each job."""

COUNTED = 1e-6
"""Seconds of a number that a fit leaves, to read and count it."""


class Part(NamedTuple):
    """Jobs of one kind.

    Attributes:
        jobs: how many.
        core_seconds: seconds of one core of all of them, with their starts.
        longest: seconds of the longest.
    """

    jobs: int = 0
    core_seconds: float = 0.0
    longest: float = 0.0

    def more(self, seconds: Sequence[float]) -> Part:
        """With further jobs, of so many seconds each."""
        longest = max([self.longest, *seconds])
        return Part(self.jobs + len(seconds), self.core_seconds + sum(seconds), longest)


class ScanRate(NamedTuple):
    """What was measured of one point of a scan: seconds of one core.

    Attributes:
        begin: from the start of a job to its first toy, beside what every job needs.
        a_toy: of a toy at all its tested values.
    """

    begin: float
    a_toy: float


class AuditRate(NamedTuple):
    """What was measured of iminuit: seconds of one core.

    Attributes:
        begin: from the start of a job to its first fit, beside what every job needs.
        a_fit: of a fit.
    """

    begin: float
    a_fit: float


class Expected(NamedTuple):
    """What a study will take.

    Attributes:
        alone: jobs that others wait for: design, pilot, answers, summary, report; and Snakemake.
        fits: jobs that fit.
        intervals: jobs that find profile intervals.
        scan: jobs that fit toys with the models of a scan's points.
        audits: jobs that fit toys again with iminuit.
        beside: jobs that run beside others: the description of the model, figures.
        bytes: bytes of the files of the fits, and of the raw toys where they are kept.
    """

    alone: Part
    fits: Part
    intervals: Part
    scan: Part
    audits: Part
    beside: Part
    bytes: float

    @property
    def parts(self) -> dict[str, Part]:
        """The jobs by their kind."""
        return {
            "fits": self.fits,
            "profile intervals": self.intervals,
            "scan": self.scan,
            "audits": self.audits,
            "figures": self.beside,
            "design, pilot and summary": self.alone,
        }

    @property
    def core_seconds(self) -> float:
        """Seconds of one core."""
        return sum(part.core_seconds for part in self.parts.values())

    def seconds(self, cores: int) -> float:
        """Seconds on so many cores."""
        shared = [self.fits, self.intervals, self.scan, self.audits, self.beside]
        longest = max(part.longest for part in shared)
        return self.alone.core_seconds + max(sum(part.core_seconds for part in shared) / cores, longest)


def expected(
    study: Study,
    plan: Plan,
    poi: str,
    parameters: int,
    data: int,
    *,
    audit: AuditRate,
    rate: ScanRate | None = None,
    before: Sequence[float] = (),
    start: float = 0.0,
) -> Expected:
    """What a study will take.

    Args:
        study: the study, with the ensembles of its sections as they were designed.
        plan: what a pilot measured.
        poi: the parameter of interest.
        parameters: parameters of the model.
        data: numbers in a dataset.
        audit: what was measured of iminuit.
        rate: of a study with a scan, what was measured of a point.
        before: seconds of each job that all fits wait for, its start among them.
        start: seconds that a job needs to have the model, without the programs of fits.
    """
    fits = intervals = scan = audits = Part()
    unit, start, size = start, plan.start_seconds, 0.0
    asked = {*audited(study), *(name for name in study.ensembles if name not in needs(study))}

    def audited_in(toys: int, tests: int) -> float:
        """Seconds of an audit, which fits some toys freely and at each test."""
        count = study.fit.toys_audited(toys)
        return audit.begin + count * (1 + tests) * audit.a_fit if count else 0.0

    for name, about in plan.ensembles.items():
        ensemble = study.ensembles[name]
        tests = len(values_tested(ensemble, poi))
        toys = [shard.toys for shard in shards(study, name, about.shard)]
        fits = fits.more([start + count * about.seconds_a_toy for count in toys])
        if ensemble.profile_intervals:
            intervals = intervals.more([start + count * about.interval_seconds_a_toy for count in toys])
        if name in asked:
            audits = audits.more([start + audited_in(ensemble.toys, tests)])
        each = bytes_a_toy(study, parameters, tests)
        size += ensemble.toys * (each + (8 * data if study.keep_toys else 0))
        size += SUMMARY * len(toys) if study.keep == "summary" else 0
    if study.scan and rate is not None:
        grid, begin = grid_of(study.scan), start + rate.begin
        for shard in scan_shards(study):
            count = sum(counts_in(study, shard.name))
            scan = scan.more([begin + count * rate.a_toy] * len(grid.points))
            size += SCANNED * count * len(grid.points)
        audits = audits.more([begin + audited_in(study.scan.toys, 2)] * len(audited_points(grid)))
    jobs = sum(part.jobs for part in (fits, intervals, scan, audits))
    drawn, figures = len(study.ensembles) - len(needs(study)), 2 + bool(needs(study))  # coverage, page of toys, answers
    beside = Part().more([start, *[DRAWN * unit] * drawn, *[SHOWN * unit] * figures])
    counted = COUNTED * sum(
        item.toys * (2 + len(values_tested(item, poi))) * (parameters if study.keep == "all" else 1)
        for item in study.ensembles.values()
    )
    after = [WRITTEN * unit + counted] * (1 + bool(needs(study))) + [
        WRITTEN * unit
    ] * 2  # summary, answers; page, provenance
    snakemake = (SNAKEMAKE + PLANNED * (jobs + beside.jobs)) * unit
    alone = Part().more([*before, *after])._replace(core_seconds=sum([*before, *after]) + snakemake)
    return Expected(alone, fits, intervals, scan, audits, beside, size)


def bytes_a_toy(study: Study, parameters: int, tests: int) -> int:
    """Bytes that a study keeps of a toy's free fit and of its conditional ones, in its shards' files."""
    if study.keep == "summary":
        return 0
    return (1 + tests) * FIT + (2 + tests) * COLUMN * (parameters if study.keep == "all" else 1)
