"""The fits of a region's toys, free and with both parameters held: the job of a shard, and its files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from toymill.config.dependencies import fits_digest
from toymill.config.sections import region_ensembles
from toymill.config.study import Shard, Study
from toymill.fitting.conditional import fit_more_tests
from toymill.inference.likelihood_ratios import t_mu
from toymill.results.design import Design
from toymill.results.hdf5 import atomically, damage_named, opened, read_dataset, read_key, write_dataset, write_key
from toymill.results.store import reading_shard
from toymill.study.collect import files_and_keys
from toymill.study.finished import Stored
from toymill.study.layout import parts
from toymill.study.model import checked_model
from toymill.study.region_points import grid_of
from toymill.study.shards import fit_shard, fits_key, throw_chunks

if TYPE_CHECKING:
    from jaxtyping import Float

FILETYPE = "toymill-region"


def point_of(study: Study, design: Design, ensemble: str) -> Mapping[str, float]:
    """The point of the grid at which an ensemble is thrown."""
    assert design.region is not None
    return grid_of(design.region)[region_ensembles(study).index(ensemble)]


def fit_region_shard(
    study: Study,
    design: Design,
    ensemble: str,
    shard: Shard,
    fits: str | Path,
    path: str | Path,
    aside: Path | None = None,
) -> None:
    """Throw and fit a shard's toys, as every ensemble's are, and once more with both parameters held.

    Args:
        study: the study, with the ensembles of its sections.
        design: the content of its ``design.json``, or of that of a round.
        ensemble: name of the ensemble.
        shard: the range of its toys.
        fits: the file of its fits.
        path: the file of t with both parameters held.
        aside: as of ``shards.fit_shard``.
    """
    fit_shard(study, ensemble, shard, fits, aside)
    model, at = checked_model(study), point_of(study, design, ensemble)
    lots = []
    with reading_shard(fits, fits_key(study, model, ensemble, shard)) as reader:
        for first, data in throw_chunks(study, model, ensemble, shard):
            free, *_ = reader.rows(first - shard.first, first - shard.first + len(data))
            free, (held,) = fit_more_tests(model, data, [at], free, [], first=first, tolerance=study.fit.edm_tolerance)
            lots.append(t_mu(free, held))
    key = fits_key(study, model, ensemble, shard)
    with atomically(path) as file:
        write_key(file, FILETYPE, key._replace(digest=_digest(study, model.digest, ensemble, at)))
        write_dataset(file, "t", np.concatenate(lots), "t with both parameters held; NaN where a fit is not certified")


def t_of(stored: Stored, ensemble: str) -> Float[np.ndarray, " toy"]:
    """t of an ensemble's toys with both parameters held, (n,).

    Raises:
        ToymillError: a file that is missing, damaged or of another study, by name.
    """
    study, description = stored.study, stored.description
    digest = _digest(study, description.digest, ensemble, point_of(study, stored.design, ensemble))
    every = {
        path: key
        for number in range(len(parts(study, ensemble)))
        for path, key in files_and_keys(study, description, ensemble, number, stored.held[ensemble])
    }
    lots = []
    for path, key in every.items():
        with opened(path) as file, damage_named(path):
            read_key(file, path, FILETYPE, key._replace(digest=digest))
            lots.append(read_dataset(file, path, "t"))
    return np.concatenate(lots)


def _digest(study: Study, model_digest: str, ensemble: str, at: Mapping[str, float]) -> str:
    """SHA-256 of everything that t of a toy depends on, save its index."""
    return hashlib.sha256(f"{fits_digest(study, ensemble, model_digest)} {dict(at)}".encode()).hexdigest()
