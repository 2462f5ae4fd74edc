"""What a job does with one shard: throw its toys, or throw and fit them.

A shard's toys are thrown, fitted and written in chunks, so that a job's memory does not grow with its toys.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from toymill.budget import TOYS
from toymill.config.dependencies import fits_digest, toys_digest
from toymill.config.study import Shard, Study, values_tested
from toymill.fitting.batching import block_size
from toymill.fitting.conditional import fit_tests
from toymill.fitting.minuit import minuit_fit
from toymill.fitting.results import Fits
from toymill.models.base import Model
from toymill.results.hdf5 import ShardKey
from toymill.results.store import Audit, join_audits, writing_shard, writing_toys
from toymill.results.tally import Tally
from toymill.study.model import checked_model, derived_quantities, poi_of, truth_point
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
    truth = truth_point(study, model, ensemble)
    fits = 1 + len(values_tested(settings, poi_of(model)))
    per_toy = 8 * (len(model.data_names) + 2 * fits * len(model.parameters))
    block = block_size(model)
    size = int(np.clip(2 ** int(np.log2(TOYS / per_toy)) if per_toy < TOYS else 1, block, CHUNK))
    first, end = shard.first, shard.first + shard.toys
    while first < end:
        count = min(size - first % size, end - first)
        yield first, throw(model, truth, count, seed=study.seed, first=first, stream=ensemble, mode=settings.throw)
        first += count


def throw_shard(study: Study, ensemble: str, shard: Shard, path: str | Path) -> None:
    """Write the file of a shard's toys."""
    model = checked_model(study)
    with writing_toys(path, toys_key(study, model, ensemble, shard), model.data_names) as file:
        for _, data in throw_chunks(study, model, ensemble, shard):
            file.add(data)


def fit_shard(study: Study, ensemble: str, shard: Shard, path: str | Path) -> None:
    """Throw a shard's toys and write the file of their fits: free, at each test point, and the audit's."""
    model = checked_model(study)
    poi = poi_of(model)
    values = values_tested(study.ensembles[ensemble], poi)
    tests = [{poi: value} for value in values]
    derived = derived_quantities(model)
    tally = None
    if study.keep != "all":
        truth = truth_point(study, model, ensemble)
        tally = Tally.empty(truth, values, study.levels, [float(of(truth)) for of in model.derived.values()])
    audits = []
    with writing_shard(path, fits_key(study, model, ensemble, shard), study.keep) as file:
        for first, data in throw_chunks(study, model, ensemble, shard):
            free, conditional = fit_tests(model, data, tests, first=first, tolerance=study.fit.edm_tolerance)
            file.add(free, conditional)
            if tally is not None:
                tally.add(first, free, conditional, derived)
            audits.append(_audit(study, model, first, data, free, conditional))
        file.finish(join_audits(audits), tally)


def _audit(
    study: Study, model: Model, first: int, data: Float[np.ndarray, "toy datum"], free: Fits, conditional: list[Fits]
) -> Audit:
    """Fit with iminuit the ensemble's first toys, as far as they are among these; toys are independent."""
    rows = np.arange(max(0, min(len(data), study.fit.audit - first)))
    result = Audit(
        toy=rows + first,
        nll_free=np.empty(len(rows)),
        nll_tests=np.empty((len(conditional), len(rows))),
        poi=np.empty(len(rows)),
        valid=np.ones(len(rows), dtype=bool),
    )
    for k, row in enumerate(rows):
        other = minuit_fit(model, data[row])
        result.nll_free[k] = other.nll - free.nll[row]
        result.poi[k] = other.parameters[model.poi_index] - free.parameters[row, model.poi_index]
        result.valid[k] = other.valid
        for number, fits in enumerate(conditional):
            held = minuit_fit(model, data[row], fits.fixed)
            result.nll_tests[number, k] = held.nll - fits.nll[row]
            result.valid[k] &= held.valid
    return result
