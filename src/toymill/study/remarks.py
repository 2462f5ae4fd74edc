"""What is to be looked at when a study has finished: a line each, the worst first. Needs no JAX."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from toymill.results.audit import Audit, read_audits
from toymill.results.summary import ParameterSummary, Summary, read_summary

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
    yield from _far_pulls(summary)
    yield from _at_bounds(summary)


def _far_pulls(summary: Summary) -> Iterator[str]:
    """Of each ensemble, the parameter whose mean pull lies farthest from 0; of ensembles that share it, the worst.

    Not one that lies at a bound often: its pulls are those of the other toys, and their mean is not 0.
    """
    farthest: dict[str, dict[str, float]] = {}
    for name, item in summary.ensembles.items():
        distances = {key: _distance(about) for key, about in item.parameters.items()}
        key = max(distances, key=lambda one: distances[one], default="")
        if key and distances[key] > FAR:
            farthest.setdefault(key, {})[name] = distances[key]
    for key, found in sorted(farthest.items(), key=lambda pair: -max(pair[1].values())):
        name = max(found, key=lambda one: found[one])
        parameters = summary.ensembles[name].parameters
        others = sum(_distance(about) > FAR for about in parameters.values()) - 1
        more = "that of 1 other lies" if others == 1 else f"those of {others} others lie"
        line = f"{name}: the mean pull of {key} is {parameters[key].pull_mean:.3f}, {found[name]:.1f} σ from 0"
        line += f", and {more} beyond {FAR:g} σ too" if others else ""
        again = len(found) - 1
        yield line + (f"; likewise in {again} more ensemble{'s' * (again > 1)}" if again else "")


def _distance(about: ParameterSummary) -> float:
    """The mean pull in units of its error; 0 where it is not defined, and where a bound takes pulls away."""
    if about.pull_mean is None or not about.pull_mean_error or (about.at_bound_share or 0.0) >= OFTEN:
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
