"""The profile intervals of an ensemble's toys: the job that finds their ends, shard by shard, and what they are like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from toymill.config.dependencies import intervals_digest
from toymill.config.study import Shard, Study
from toymill.fitting.conditional import fit_tests
from toymill.fitting.intervals import profile_interval
from toymill.inference.interval_ends import Ends, ProfileIntervals, lacks_end, profile_intervals, thresholds
from toymill.models.base import Model
from toymill.results.description import Description
from toymill.results.interval_store import read_ends, write_ends
from toymill.study.collect import files_and_keys
from toymill.study.model import checked_model, drawn_parameters, truth_of
from toymill.study.shards import throw_chunks, toys_key
from toymill.study.telling import telling


def find_intervals(study: Study, ensemble: str, shard: Shard, path: str | Path) -> None:
    """Throw a shard's toys and write the file of their profile intervals."""
    model = checked_model(study)
    key = toys_key(study, model, ensemble, shard)._replace(digest=intervals_digest(study, ensemble, model.digest))
    parts = []
    with telling(path) as tell:
        for part in interval_chunks(study, model, ensemble, shard):
            parts.append(part)
            lacking = np.logical_or.reduce([lacks_end(ends.low_status, ends.high_status) for ends in part.values()])
            tell(len(lacking), int(lacking.sum()))
        write_ends(path, key, study.levels, {name: _together([part[name] for part in parts]) for name in parts[0]})


def interval_chunks(study: Study, model: Model, ensemble: str, shard: Shard) -> Iterator[dict[str, Ends]]:
    """A shard's profile intervals in chunks: those of each parameter that the ensemble names.

    Beside the search for the ends, t at the truth is found of fits of its own, as a check.
    """
    names = study.ensembles[ensemble].profile_intervals
    truth = truth_of(study, model, ensemble)
    drawn = drawn_parameters(study, model, ensemble)
    known = [name for name in names if name in truth.source.parameters.names and name not in drawn]
    tests = {name: float(truth.point[model.parameters.index(name)]) for name in known}
    bounds = model.parameters.bounds
    tests = {name: at for name, at in tests.items() if _within(at, bounds[model.parameters.index(name)])}
    levels, tolerance = thresholds(study.levels), study.fit.edm_tolerance
    for first, data in throw_chunks(study, model, ensemble, shard):
        index = first + np.arange(len(data))
        free, conditional = fit_tests(
            model, data, [{name: at} for name, at in tests.items()], first=first, tolerance=tolerance
        )
        t = {
            name: np.where(free.ok & fits.ok, 2 * (fits.nll - free.nll), np.nan)
            for name, fits in zip(tests, conditional, strict=True)
        }
        chunk = {}
        for name in names:
            found = profile_interval(model, data, name, levels=levels, index=index, edm_tolerance=tolerance)
            chunk[name] = Ends(
                low=found.low,
                high=found.high,
                low_status=found.low_status,
                high_status=found.high_status,
                status=found.free.status,
                t=t.get(name, np.full(len(data), np.nan)),
            )
        yield chunk


def _within(value: float, bounds: np.ndarray) -> bool:
    """Whether a truth, which may be of another model, is one that the fitted model can hold."""
    low, high = bounds
    return bool(low <= value <= high)


def summarize_intervals(
    study: Study, description: Description, ensemble: str, files: Sequence[str | Path]
) -> dict[str, ProfileIntervals]:
    """What the profile intervals of an ensemble are like, by parameter; of one that asks for none, nothing.

    Args:
        study: the study.
        description: the content of its ``model.json``.
        ensemble: name of the ensemble.
        files: the files of its shards' intervals.

    Raises:
        ToymillError: a file that is missing, damaged or of another study, by name.
    """
    names = study.ensembles[ensemble].profile_intervals
    if not names:
        return {}
    digest = intervals_digest(study, ensemble, description.digest)
    parts = [
        read_ends(path, key._replace(digest=digest))
        for path, key in files_and_keys(study, description, ensemble, 0, files)
    ]
    truth = description.ensembles[ensemble].known
    return {
        name: profile_intervals(_together([part[name] for part in parts]), study.levels, truth.get(name))
        for name in names
    }


def _together(parts: Sequence[Ends]) -> Ends:
    """Toys one after the other."""
    return Ends(*(np.concatenate(column) for column in zip(*parts, strict=True)))
