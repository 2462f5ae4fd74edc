"""``plan.json``: what a pilot measured, and the shards that follow from it. Needs no JAX."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter

from toymill.record import EnsembleName, FileRecord, Record
from toymill.results.files import REMOVE, read_record


class EnsemblePlan(Record):
    """One ensemble."""

    measured: str
    """SHA-256 of what its rate depends on: it stays as it is while that does."""
    shard: int
    """Toys a job."""
    seconds_a_toy: float
    """Seconds of one core to throw and fit a toy at all its test points."""
    interval_seconds_a_toy: float = 0.0
    """Seconds of one core to find its profile intervals, where the ensemble asks for some."""


class Plan(FileRecord):
    """What a pilot measured on one core of the machine that it ran on, and the shards that follow from it."""

    toymill: str
    """Version of toymill."""
    study: str
    """Name of the study."""
    start_seconds: float
    """Seconds from the start of a job to its first fit, with compiled programs at hand."""
    compile_seconds: float
    """Seconds that the pilot took to compile the programs, or to read them from the cache."""
    ensembles: dict[EnsembleName, EnsemblePlan]
    """The ensembles, by name."""


def read_plan(path: str | Path) -> Plan:
    """Read ``plan.json``.

    Raises:
        ToymillError: a file that is not one of this version, or is not what was written.
    """
    return read_record(path, TypeAdapter(Plan), REMOVE)


def earlier_plan(path: str | Path) -> Plan | None:
    """The plan that a file has; None if there is none.

    Raises:
        ToymillError: what ``read_plan`` refuses.
    """
    return read_plan(path) if Path(path).exists() else None
