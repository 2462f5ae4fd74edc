"""What is to be looked at when a study has finished: a line each, the worst first. Needs no JAX."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from toymill.results.audit import Audit, read_audits
from toymill.results.summary import EnsembleSummary, ParameterSummary, Summary, read_summary

FAR = 5.0
"""Standard errors from 0 beyond which a mean pull is told."""

OFTEN = 0.01
"""Share of the toys with a parameter at a bound from which on that is told."""

MOST = 12
"""Lines that are told."""


def remarks_on(folder: Path) -> list[str]:
    """What is to be looked at in a results directory: ``MOST`` lines, and how many there are besides.

    Raises:
        ToymillError: a summary or an audit that cannot be used.
    """
    summary = read_summary(folder / "summary.json")
    if not isinstance(summary, Summary):
        return []
    found = list(remarks(summary, read_audits(sorted(folder.glob("audit/**/*.json")))))
    more = [f"{len(found) - MOST} more: toymill show {folder}"] if len(found) > MOST else []
    return [*found[:MOST], *more]


def remarks(summary: Summary, audits: Mapping[str, Audit]) -> Iterator[str]:
    """What is to be looked at: missed minima, failed toys, fits that iminuit calls invalid, pulls, bounds."""
    for name, audit in audits.items():
        if audit.summary.missed:
            yield f"{name}: {audit.sentence}"
    for name, item in summary.ensembles.items():
        failed = item.toys - item.certified
        if failed:
            kinds = ", ".join(f"{count} {status}" for status, count in item.failed.items() if count)
            yield f"{name}: {failed:,} of {item.toys:,} toys failed ({kinds})"
    for point in summary.answers.scan.points if summary.answers and summary.answers.scan else ():
        if point.failed:
            yield f"scan, {point.name}: {point.failed:,} toys failed"
    for name, audit in audits.items():
        if audit.summary.minuit_invalid:
            count = f"{audit.summary.minuit_invalid} of {audit.summary.toys} audited toys"
            yield f"{name}: iminuit calls its own fits invalid in {count}: they do not check ours"
    for name, item in summary.ensembles.items():
        yield from _far_pulls(name, item)
    yield from _at_bounds(summary)


def _far_pulls(name: str, item: EnsembleSummary) -> Iterator[str]:
    """Of an ensemble, the parameter whose mean pull lies farthest from 0, and how many others lie far."""
    distances = {key: _distance(about) for key, about in item.parameters.items()}
    far = sorted((key for key in distances if distances[key] > FAR), key=lambda key: -distances[key])
    if far:
        about = item.parameters[far[0]]
        more = "that of 1 other lies" if len(far) == 2 else f"those of {len(far) - 1} others lie"
        others = f", and {more} beyond {FAR:g} σ too" if len(far) > 1 else ""
        yield f"{name}: the mean pull of {far[0]} is {about.pull_mean:.3f}, {distances[far[0]]:.1f} σ from 0{others}"


def _distance(about: ParameterSummary) -> float:
    """The mean pull in units of its error; 0 where it is not defined."""
    if about.pull_mean is None or not about.pull_mean_error:
        return 0.0
    return math.fabs(about.pull_mean) / about.pull_mean_error


def _at_bounds(summary: Summary) -> Iterator[str]:
    """Of each parameter, the ensemble in which it lies at a bound most often."""
    names: Iterable[str] = dict.fromkeys(key for item in summary.ensembles.values() for key in item.parameters)
    for key in names:
        shares = {
            name: item.parameters[key].at_bound_share or 0.0
            for name, item in summary.ensembles.items()
            if key in item.parameters
        }
        name = max(shares, key=lambda one: shares[one])
        if shares[name] >= OFTEN:
            yield f"{key}: at a bound in {100 * shares[name]:.1f} % of the toys of {name}, where it has no pull"
