"""Tilted toys of a scan: they reach the tail of the largest excess, and are weighted to stand for toys without a signal.

A tilted truth is about the excess of one point, of the significance of the largest observed one. Every point has one, as
any of them may make the largest excess. Data that a point's model has of its own fluctuate as without a signal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy

from toymill.config.scan import grid_of
from toymill.config.study import Study
from toymill.fitting.conditional import fit_tests
from toymill.inference.likelihood_ratios import q_0
from toymill.models.base import Model
from toymill.results.scan_store import Tilts, read_tilts, write_tilted, write_tilts
from toymill.stopping import stop_if_asked
from toymill.study.model import poi_of
from toymill.study.scan import STREAM, Background, as_seen, background_of, point_model
from toymill.study.scan_answer import read_points
from toymill.study.scan_layout import settings_of, tilted_key, tilts_key
from toymill.study.shards import chunk_size
from toymill.study.telling import telling
from toymill.study.tilting import log_ratios, tilted
from toymill.toys import fluctuate, throw, uniforms

if TYPE_CHECKING:
    from jaxtyping import Float

FEWEST = 10
"""Toys without tilt that are expected beyond the largest local excess, below which there are tilted ones."""

_LEAST = 2  # toys of a tilted truth, whose spread is to be known


def tilt_scan(study: Study, files: Mapping[str, Sequence[str | Path]], path: str | Path) -> None:
    """Write the file of a scan's tilted truths, or why it needs none.

    Args:
        study: the study.
        files: the files of each point, by the name of its folder.
        path: the file.

    Raises:
        ToymillError: a file that is missing, damaged or of another study, by name.
    """
    settings = settings_of(study)
    shards = read_points(study, files)
    seen = {name: max(float(shard.groups["observed"].q_0[0]), 0.0) for name, shard in shards.items()}
    known = {name: value for name, value in seen.items() if math.isfinite(value)}
    significance = math.sqrt(max(known.values(), default=0.0))
    beyond = settings.toys * float(scipy.stats.norm.sf(significance))
    why = "No fit to the observed data is certified." if not known else ""
    if known and beyond >= FEWEST:
        why = f"Toys without tilt reach it: of {settings.toys}, {beyond:.3g} are expected beyond its local p-value."
    if why:
        nothing = Tilts(why, (), np.empty((0, 0)), 0, np.empty(0))
        write_tilts(path, tilts_key(study), nothing)
        return
    background = background_of(study)
    base = background.model
    expected = np.asarray(base.expected_data(background.truth))
    truths = np.array([tilted(expected, shards[name].rise, base.sampling, significance) for name in known])
    toys = max(math.ceil(settings.tilted_toys / len(known)), _LEAST)
    tilts = Tilts("", tuple(known), truths, toys, np.empty(0))
    counts = np.array([settings.toys, *[toys] * len(known)])
    shares = np.log(counts / counts.sum())

    def weights(data: Float[np.ndarray, "toy datum"]) -> Float[np.ndarray, " toy"]:
        """f_0 over the density of the mixture; as ``mixture.weights`` of all toys at once."""
        ratios = np.vstack([np.zeros(len(data)), log_ratios(data, expected, truths, base.sampling)])
        found: np.ndarray = np.exp(-scipy.special.logsumexp(ratios + shares[:, None], axis=0))
        return found

    lots, size = [], chunk_size(base, len(counts))
    for first in range(0, settings.toys, size):
        stop_if_asked()
        count = min(size, settings.toys - first)
        lots.append(weights(throw(base, background.truth, count, seed=study.seed, first=first, stream=STREAM)))
    lots += [weights(data) for data in _thrown(study, background, tilts)]
    write_tilts(path, tilts_key(study)._replace(toys=toys), tilts._replace(weights=np.concatenate(lots)))


def fit_tilted(study: Study, folder: str, tilts_path: str | Path, path: str | Path) -> None:
    """Fit all tilted toys with the model of one point, and write its file.

    Args:
        study: the study.
        folder: name of the point's folder.
        tilts_path: the file of the tilted truths.
        path: the file.

    Raises:
        ToymillError: what ``scan.point_model`` refuses; a file of another study.
    """
    point = next(item for item in grid_of(settings_of(study)).points if item.folder == folder)
    tilts = read_tilts(tilts_path, tilts_key(study))
    background = background_of(study)
    model = point_model(study, point, background)
    zero, size = [{poi_of(model): 0.0}], chunk_size(model, 2)
    found, waiting = [], np.empty((0, len(model.data_names)))
    with telling(path) as tell:
        for name, whole in zip(tilts.names, _thrown(study, background, tilts), strict=True):
            waiting = np.concatenate([waiting, _as_seen(study, background, model, name, whole)])
            while len(waiting) >= size or (len(waiting) and name == tilts.names[-1]):
                stop_if_asked()
                free, (held,) = fit_tests(model, waiting[:size], zero, tolerance=study.fit.edm_tolerance)
                found.append(q_0(free, held))
                tell(len(found[-1]), int(np.isnan(found[-1]).sum()))
                waiting = waiting[size:]
        write_tilted(path, tilted_key(study, point, tilts), np.concatenate(found))


def _stream(name: str) -> str:
    return f"tilted-{STREAM}/{name}"


def _thrown(study: Study, background: Background, tilts: Tilts) -> Iterator[Float[np.ndarray, "toy datum"]]:
    """The toys of each tilted truth, as the background's model has them: (n, D) each."""
    base = background.model
    every = np.arange(len(base.data_names))
    for name, expected in zip(tilts.names, tilts.expected, strict=True):
        numbers = uniforms(study.seed, _stream(name), 0, tilts.toys, len(every))
        yield fluctuate(base, every, numbers, expected)


def _as_seen(
    study: Study, background: Background, model: Model, name: str, whole: Float[np.ndarray, "toy base_datum"]
) -> Float[np.ndarray, "toy datum"]:
    """Toys of a tilted truth as a point's model has them, (n, D).

    A datum that the model has otherwise, as one of another width, has the same quantile without a signal. A quantile of a
    count is even between those of the count and of one less.
    """
    base = background.model
    expected = np.asarray(base.expected_data(background.truth))

    def number_of(datum: str, place: int) -> Float[np.ndarray, " toy"]:
        own: np.ndarray = uniforms(study.seed, f"{_stream(name)}:{datum}", 0, len(whole), 1)[:, 0]
        if place < 0:
            return own
        values, mean = whole[:, place], expected[place]
        if base.sampling.poisson[place]:
            low, high = scipy.special.pdtr([values - 1, values], mean)
            quantile = np.where(values > 0, low, 0.0) * (1 - own) + high * own
        else:
            quantile = scipy.special.ndtr((values - mean) / base.sampling.sigma[place])
        inside: np.ndarray = np.clip(quantile, 2.0**-53, 1 - 2.0**-53)
        return inside

    return as_seen(background, model, whole, number_of)
