"""What a study will take: jobs, time and disk, from what its pilot measured. Needs no JAX."""

from __future__ import annotations

from typing import NamedTuple

from toymill.config.study import Study, shards, values_tested
from toymill.results.plan import Plan

COLUMN = 16
"""Bytes of a parameter of a fit: its value and its error."""

FIT = 21
"""Bytes of a fit beside its parameters: nll, edm, status, iterations."""

AUDIT = 0.1
"""Time of the audits, as a part of that of the fits."""


class Expected(NamedTuple):
    """What the fits of a study will take.

    Attributes:
        jobs: jobs that fit.
        core_seconds: seconds of one core, with the starts of the jobs and the audits.
        longest: seconds of the longest job.
        bytes: bytes of the files of the fits, and of the raw toys where they are kept.
    """

    jobs: int
    core_seconds: float
    longest: float
    bytes: int

    def seconds(self, cores: int) -> float:
        """Seconds on so many cores, at least."""
        return max(self.core_seconds / cores, self.longest)


def expected(study: Study, plan: Plan, poi: str, parameters: int, data: int) -> Expected:
    """What the fits of a study will take.

    Args:
        study: the study, with the ensembles of its sections as they were designed.
        plan: what a pilot measured.
        poi: the parameter of interest.
        parameters: parameters of the model.
        data: numbers in a dataset.
    """
    jobs, spent, longest, size = 0, 0.0, 0.0, 0
    for name, about in plan.ensembles.items():
        ensemble = study.ensembles[name]
        toys = [shard.toys for shard in shards(study, name, about.shard)]
        fits = 1 + len(values_tested(ensemble, poi))
        jobs += len(toys)
        spent += ensemble.toys * about.seconds_a_toy * (1 + AUDIT) + len(toys) * plan.start_seconds
        longest = max(longest, max(toys) * about.seconds_a_toy + plan.start_seconds)
        size += ensemble.toys * (fits * bytes_a_fit(study, parameters) + (8 * data if study.keep_toys else 0))
    return Expected(jobs, spent, longest, size)


def bytes_a_fit(study: Study, parameters: int) -> int:
    """Bytes that a study keeps of a fit, in its shards' files."""
    return {"all": FIT + COLUMN * parameters, "poi": FIT + COLUMN, "summary": 0}[study.keep]
