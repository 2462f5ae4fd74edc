"""What a job does with one shard: throw its toys, or throw and fit them.

A shard's toys are thrown, fitted and written in chunks, so that a job's memory does not grow with its toys.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from toymill.budget import TOYS
from toymill.config.dependencies import fits_digest, toys_digest
from toymill.config.study import Shard, Study, values_tested
from toymill.fitting.batching import block_size
from toymill.fitting.conditional import fit_more_tests, fit_tests
from toymill.fitting.results import Fits, concatenate
from toymill.models.base import Model
from toymill.results.hdf5 import ShardKey
from toymill.results.store import writing_shard, writing_toys
from toymill.results.tally import Tally
from toymill.stopping import stop_if_asked
from toymill.study.model import checked_model, measures_of, poi_of, truth_of, truth_point
from toymill.study.stored import Stored, keep_part, reading_stored
from toymill.study.telling import telling
from toymill.toys import throw

if TYPE_CHECKING:
    from jaxtyping import Float

CHUNK = 65536
"""Most toys that are held at once: so many that the few which take longer cost little."""


def toys_key(study: Study, model: Model, ensemble: str, shard: Shard) -> ShardKey:
    """What the file of a shard's toys must say that it is."""
    digest = toys_digest(study, ensemble, model.digest)
    return ShardKey(ensemble, digest, model.digest, study.seed, shard.first, shard.toys)


def fits_key(study: Study, model: Model, ensemble: str, shard: Shard) -> ShardKey:
    """What the file of a shard's fits must say that it is."""
    return toys_key(study, model, ensemble, shard)._replace(digest=fits_digest(study, ensemble, model.digest))


def throw_chunks(
    study: Study, model: Model, ensemble: str, shard: Shard
) -> Iterator[tuple[int, Float[np.ndarray, "toy datum"]]]:
    """A shard's toys in chunks: the index of the first toy, and data of shape (n, D).

    A chunk ends at a multiple of its size, whatever the shard, or with the shard.
    """
    settings = study.ensembles[ensemble]
    truth = truth_of(study, model, ensemble)
    fits = 1 + len(values_tested(settings, poi_of(model)))
    size = chunk_size(model, fits)
    first, end = shard.first, shard.first + shard.toys
    while first < end:
        stop_if_asked()
        count = min(size - first % size, end - first)
        data = throw(truth.source, truth.at, count, seed=study.seed, first=first, stream=ensemble, mode=settings.throw)
        yield first, data
        first += count


def chunk_size(model: Model, fits: int) -> int:
    """Toys that are held at once with so many fits of each."""
    per_toy = 8 * (len(model.data_names) + 2 * fits * len(model.parameters))
    return int(np.clip(2 ** int(np.log2(TOYS / per_toy)) if per_toy < TOYS else 1, block_size(model), CHUNK))


def throw_shard(study: Study, ensemble: str, shard: Shard, path: str | Path) -> None:
    """Write the file of a shard's toys."""
    model = checked_model(study)
    with writing_toys(path, toys_key(study, model, ensemble, shard), model.data_names) as file:
        for _, data in throw_chunks(study, model, ensemble, shard):
            file.add(data)


def fit_shard(
    study: Study,
    ensemble: str,
    shard: Shard,
    path: str | Path,
    aside: Path | None = None,
    model: Model | None = None,
) -> None:
    """Throw a shard's toys and write the file of their fits: free, and at each test point.

    Args:
        study: the study.
        ensemble: name of the ensemble.
        shard: the range of its toys.
        path: the file.
        aside: folder of fits that no shard holds. Fits there, and in other files beside ``path``, are used; what is done
            when the job is stopped is put there.
        model: the study's model, where it is open.
    """
    model = checked_model(study) if model is None else model
    poi = poi_of(model)
    values = values_tested(study.ensembles[ensemble], poi)
    measures = measures_of(model)
    key = fits_key(study, model, ensemble, shard)
    tally = None
    if study.keep != "all":
        truth = truth_point(study, model, ensemble)
        derived = [float(of(truth)) for of in model.derived.values()]
        tally = Tally.empty(truth, values, study.levels, derived, measures.cells)
    folders = [] if aside is None else [Path(path).parent, aside]
    with (
        telling(path) as tell,
        reading_stored(folders, key, study.keep, values) as stored,
        writing_shard(path, key, study.keep) as file,
    ):
        begun = None if tally is None else stored.beginning()
        if begun is not None:
            file.copy(begun[0])
            tally = begun[1]
            tell(int(tally.toys), int(tally.toys - tally.certified))
        rest = Shard(shard.name, shard.first + file.rows, shard.toys - file.rows)
        try:
            for first, free, conditional in fit_chunks(study, model, ensemble, rest, stored):
                file.add(free, conditional)
                if tally is not None:
                    tally.add(first, free, conditional, measures)
                tell(len(free.nll), int(np.sum(~np.logical_and.reduce([fits.ok for fits in (free, *conditional)]))))
        except KeyboardInterrupt:
            if aside is not None:
                keep_part(aside, file, tally)
            raise
        if tally is not None:
            file.add_tally(tally)
        if stored.used:
            sys.stderr.write(f"toymill: {ensemble}: stored fits of {stored.used} of {shard.toys} toys were used.\n")


def fit_chunks(
    study: Study, model: Model, ensemble: str, shard: Shard, stored: Stored | None = None
) -> Iterator[tuple[int, Fits, list[Fits]]]:
    """A shard's fits in chunks: the index of the first toy, and the free fits and those at each test point.

    Those that are stored are used, if all parameters of every toy are kept; the others are made.
    """
    values = values_tested(study.ensembles[ensemble], poi_of(model))
    for first, data in throw_chunks(study, model, ensemble, shard):
        begin, end = first, first + len(data)
        parts: list[list[Fits]] = []
        while begin < end:
            reader, upto = (None, end) if stored is None or study.keep != "all" else stored.at(begin, end)
            known = [] if reader is None else reader.rows(begin - reader.key.first, upto - reader.key.first)
            if stored is not None and known:
                stored.used += upto - begin
            free, tests = _fits_of_lot(study, model, begin, data[begin - first : upto - first], known, values)
            parts.append([free, *tests])
            begin = upto
        whole, *conditional = parts[0] if len(parts) == 1 else map(concatenate, zip(*parts, strict=True))
        yield first, whole, conditional


def _fits_of_lot(
    study: Study,
    model: Model,
    first: int,
    data: Float[np.ndarray, "toy datum"],
    known: list[Fits],
    values: Sequence[float],
) -> tuple[Fits, list[Fits]]:
    """The fits of some toys, of which all have the same fits stored: free and conditional ones, or none."""
    poi, tolerance = poi_of(model), study.fit.edm_tolerance
    if not known:
        return fit_tests(model, data, [{poi: value} for value in values], first=first, tolerance=tolerance)
    free, *tests = known
    at = {float(np.squeeze(fits.fixed[poi])): fits for fits in tests}
    new = [value for value in values if value not in at]
    if new:
        free, more = fit_more_tests(
            model, data, [{poi: value} for value in new], free, tests, first=first, tolerance=tolerance
        )
        at |= dict(zip(new, more, strict=True))
    return free, [at[value] for value in values]
