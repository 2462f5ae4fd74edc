"""The pilot: a few toys fitted before all others, for the rate of the fits, and to compile programs once for all jobs."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import psutil

from toymill._version import __version__
from toymill.config.dependencies import rate_digest
from toymill.config.scan import grid_of
from toymill.config.study import MOST_SHARDS, Shard, Study, shard_of, values_tested
from toymill.fitting.batching import block_size
from toymill.models.base import Model
from toymill.results.plan import EnsemblePlan, Plan
from toymill.study.expected import ScanRate
from toymill.study.model import checked_model, poi_of
from toymill.study.profile_intervals import interval_chunks
from toymill.study.scan import fit_point
from toymill.study.scan_layout import counts_in, settings_of
from toymill.study.shards import fit_chunks

SECONDS = 180.0
"""Time of a job at least, where the study says ``shard: auto``."""

OVERHEAD = 0.05
"""The part of a job's time that its start may take."""

Chunks = Callable[[Study, Model, str, Shard], Iterator[object]]
"""What is measured: the work on some toys of an ensemble, in chunks."""

MEASURED = 2.0
"""Seconds of the fits that the rate is taken from, at least, if there are as many toys."""

BLOCKS = 8
"""Blocks of toys that the rate is taken from, at least: of fewer the few that take long count for too much."""


def plan_study(study: Study, *, start_seconds: float | None = None, before: Plan | None = None) -> Plan:
    """Measure how fast toys are fitted, and choose the shards.

    Ensembles whose toys fluctuate in the same way, with as many test points and the same profile intervals, are fitted by
    the same programs: of those the first is measured. What an earlier plan says of an ensemble stays, if its rate depends
    on the same; so do the files of its shards.

    Args:
        study: the study.
        start_seconds: seconds that a job needs to start; None for the time that this process needed.
        before: an earlier plan of the study.
    """
    model = checked_model(study)
    poi = poi_of(model)
    start = time.time() - psutil.Process().create_time() if start_seconds is None else start_seconds
    known = before.ensembles if before else {}
    rates = {item.measured: (item.seconds_a_toy, item.interval_seconds_a_toy) for item in known.values()}
    compiling = 0.0
    ensembles = {}
    for name, ensemble in study.ensembles.items():
        digest = rate_digest(study, name, model.digest, values_tested(ensemble, poi))
        if digest not in rates:
            jobs: list[Chunks] = [fit_chunks, *([interval_chunks] if ensemble.profile_intervals else [])]
            measured = [seconds_a_toy(study, model, name, job) for job in jobs]
            fits, *intervals = (seconds for seconds, _ in measured)
            rates[digest] = fits, sum(intervals)
            compiling += sum(compiled for _, compiled in measured)
        if name in known and known[name].measured == digest:
            ensembles[name] = known[name]
            continue
        fits, of_intervals = rates[digest]
        ensembles[name] = EnsemblePlan(
            measured=digest,
            shard=planned_size(study, name, max(rates[digest]), start),
            seconds_a_toy=fits,
            interval_seconds_a_toy=of_intervals,
        )
    return Plan(
        toymill=__version__, study=study.study, start_seconds=start, compile_seconds=compiling, ensembles=ensembles
    )


def planned_size(study: Study, ensemble: str, seconds_a_toy: float, start_seconds: float) -> int:
    """Toys a job: for three minutes, and for as long as makes the start 5 % of it; 1, 2 or 5 times a power of ten.

    Args:
        study: the study.
        ensemble: name of the ensemble.
        seconds_a_toy: seconds of a toy in the slower of its jobs.
        start_seconds: seconds that a job needs to start.
    """
    toys = study.ensembles[ensemble].toys
    wanted = max(SECONDS, start_seconds / OVERHEAD) / seconds_a_toy
    fewest = toys * len(study.ensembles) / MOST_SHARDS
    return round_number(max(wanted, 1.0)) if wanted > fewest else math.ceil(fewest)


def seconds_of_programs(study: Study, model: Model) -> float:
    """Seconds of one core that a job needs for its first fits, where an earlier one has kept the compiled programs.

    JAX forgets those of this process, so that it traces the model and reads the programs again, as a job does.
    """
    name = next(iter(study.ensembles))
    jax.clear_caches()  # type: ignore[no-untyped-call]
    begin = time.process_time()
    for _ in fit_chunks(study, model, name, Shard("", 0, min(block_size(model), study.ensembles[name].toys))):
        pass
    return time.process_time() - begin


def scan_rate(study: Study) -> ScanRate:
    """What the jobs of a scan need, by its first point, whose job is done with few and with more toys."""
    settings = settings_of(study)
    point, most = grid_of(settings).points[0], max(settings.toys, settings.signal_toys)
    few, more = min(100, most), min(1000, most)

    def seconds(toys: int) -> float:
        shard = shard_of(0, toys)
        begin = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            fit_point(study, point.folder, shard, Path(folder) / f"{shard.name}.h5")
        return time.process_time() - begin

    for toys in (few, more):
        seconds(toys)  # compiles
    warm, longer = seconds(few), seconds(more)
    fitted = sum(counts_in(study, shard_of(0, more).name)) - sum(counts_in(study, shard_of(0, few).name))
    a_toy = max(longer - warm, 0.0) / fitted if fitted else warm / sum(counts_in(study, shard_of(0, few).name))
    jax.clear_caches()  # type: ignore[no-untyped-call]
    return ScanRate(max(seconds(few) - few * a_toy, 0.0), a_toy)


def round_number(value: float) -> int:
    """The largest of 1, 2, 5, 10, 20, … that is not above a value of 1 or more."""
    power: int = 10 ** math.floor(math.log10(value))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= value)


@contextmanager
def programs_made() -> Iterator[list[str]]:
    """Lists what JAX does meanwhile to make programs: none of it where all are there."""
    made: list[str] = []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:  # noqa: ARG001 - as JAX calls it
        if event.startswith("/jax/core/compile/"):
            made.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield made
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def seconds_a_toy(study: Study, model: Model, ensemble: str, chunks: Chunks = fit_chunks) -> tuple[float, float]:
    """Seconds of the fits of a toy, from lots of toys that grow until they take long enough; and of compilation.

    They are those of a core, whatever else the machine does; of a GPU those of the clock. The toys count by which the last
    lot is larger than the one before: a job has a few that take long, whose blocks are not full, for many.
    """
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    toys = study.ensembles[ensemble].toys
    count, fewest = min(block_size(model), toys), BLOCKS * block_size(model)

    def seconds(number: int) -> tuple[float, bool]:
        with programs_made() as made:
            begin = clock()
            for _ in chunks(study, model, ensemble, Shard("", 0, number)):
                pass
            return clock() - begin, bool(made)

    fewer, before, compiling = 0, 0.0, 0.0
    while True:
        spent, made = seconds(count)
        if made:  # the same toys again: of any number a few may need programs of their own
            first, (spent, _) = spent, seconds(count)
            compiling += max(first - spent, 0.0)
        if (spent >= MEASURED and count >= fewest) or count == toys:
            break
        fewer, before = count, spent
        count = min(toys, max(fewest, count * max(2, math.ceil(MEASURED / max(spent, 0.25)))))
    return ((spent - before) / (count - fewer) if spent > before else spent / count), compiling
