"""A scan over many signals: the jobs of its points, whose models fit the same toys, and what they find together.

Toy i without a signal is thrown once, by the model of the workspace without a signal at its fit to the observed data. A
point's model takes from it the data that it shares, by their names. An auxiliary datum of a parameter that only signals
have is thrown from a number of its own, by its name. So points agree on all data that they share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from toymill.config.model import WorkspaceConfig
from toymill.config.opening import open_model
from toymill.config.scan import Point, grid_of
from toymill.config.study import Shard, Study
from toymill.errors import ToymillError, nearest
from toymill.fitting.conditional import fit_tests
from toymill.fitting.results import Fits
from toymill.inference.likelihood_ratios import q_0, q_mu, qtilde_mu
from toymill.models.base import Model
from toymill.results.scan_store import PointShard, Tested, together, write_point
from toymill.stopping import stop_if_asked
from toymill.study.design import hypothesis, stands_at_data
from toymill.study.model import observed_point, poi_of
from toymill.study.scan_layout import point_key, settings_of, toys_in
from toymill.study.shards import chunk_size
from toymill.study.telling import telling
from toymill.study.tilting import direction
from toymill.toys import fluctuate, throw, uniforms

if TYPE_CHECKING:
    from jaxtyping import Float

STREAM = "scan"
"""Stream of the toys without a signal; those with the signal of a point have the stream ``scan/<point>``."""

_SAME = 1e-9  # of an expectation that two models share, relative


class Background(NamedTuple):
    """What toys without a signal are thrown from: the model of the workspace alone, and the truth point, (P,)."""

    model: Model
    truth: Float[np.ndarray, " parameter"]


def background_of(study: Study) -> Background:
    """The background alone.

    Raises:
        ToymillError: a workspace that cannot be used, or whose fit to the observed data is not certified.
    """
    model = open_model(_section(study).model_copy(update={"patches": [], "poi": ""}))
    if not stands_at_data(study, model):
        return Background(model, model.parameters.values({}))
    return Background(model, observed_point(model, {}, "scan: the fit of the background alone to the observed data"))


def point_model(study: Study, point: Point, background: Background) -> Model:
    """The model of a point.

    Raises:
        ToymillError: a patch that does not apply, or that changes more than the signal; a model without a parameter of
            interest that can be 0 and ``scan.mu``.
    """
    where = f"scan: the patch of {point.name!r}"
    model = open_model(_section(study).model_copy(update={"patches": [point.patch]}))
    if model.poi is None or model.parameters.fixed[model.poi_index]:
        msg = f"{where} leaves the model without a free parameter of interest. {nearest('', model.parameters.names)}"
        raise ToymillError(msg)
    for value in (0.0, settings_of(study).mu):
        try:
            model.parameters.values({model.poi: value})
        except ToymillError as error:
            msg = f"scan: {point.name}: {error}"
            raise ToymillError(msg) from None
    base, places = background.model, places_in(background.model, model)
    auxiliary = model.sampling.auxiliary
    new = [model.data_names[i] for i in np.flatnonzero(~auxiliary).tolist() if places[i] < 0]
    if new:
        msg = f"{where} adds the channel of {new[0]!r}, which background toys do not have. A patch adds a signal only."
        raise ToymillError(msg)
    expected = np.asarray(model.expected_data(null_of(model, background)))
    before = np.asarray(base.expected_data(background.truth))
    assert model.observed is not None
    assert base.observed is not None
    for i in np.flatnonzero(~auxiliary).tolist():
        own, shared = float(expected[i]), float(before[places[i]])
        if abs(own - shared) > _SAME * max(abs(shared), 1.0) or model.observed[i] != base.observed[places[i]]:
            msg = (
                f"{where} changes the background or the data: {model.data_names[i]} is expected as {own:.10g} and "
                f"observed as {model.observed[i]:g}, without it {shared:.10g} and {base.observed[places[i]]:g}. "
                "A patch adds a signal only, which is nothing where the parameter of interest is 0."
            )
            raise ToymillError(msg)
    return model


def null_of(model: Model, background: Background) -> Float[np.ndarray, " parameter"]:
    """The truth point of a point's model without a signal, (P,): the background's, and initial values of the others."""
    truth = dict(zip(background.model.parameters.names, background.truth, strict=True))
    values = np.array(
        [truth.get(name, init) for name, init in zip(model.parameters.names, model.parameters.init, strict=True)]
    )
    values[model.poi_index] = 0.0
    return values


def shared_toys(
    background: Background, model: Model, count: int, *, seed: int, first: int = 0
) -> Float[np.ndarray, "toy datum"]:
    """Toys without a signal as a point's model has them, (n, D).

    Args:
        background: what they are thrown from.
        model: the point's model, from ``point_model``.
        count: number of toys.
        seed: the study's seed.
        first: index of the first.
    """
    base = background.model
    whole = throw(base, background.truth, count, seed=seed, first=first, stream=STREAM)
    own = uniforms(seed, STREAM, first, count, len(base.data_names))

    def number_of(name: str, place: int) -> Float[np.ndarray, " toy"]:
        return own[:, place] if place >= 0 else uniforms(seed, f"{STREAM}:{name}", first, count, 1)[:, 0]

    return as_seen(background, model, whole, number_of)


def as_seen(
    background: Background,
    model: Model,
    whole: Float[np.ndarray, "toy base_datum"],
    number_of: Callable[[str, int], Float[np.ndarray, " toy"]],
) -> Float[np.ndarray, "toy datum"]:
    """Toys of the background as a point's model has them, (n, D).

    Args:
        background: what they are toys of.
        model: the point's model.
        whole: the toys, as the background's model has them.
        number_of: the uniform numbers, (n,), of a datum that it does not have, or has otherwise, by the datum's name and
            its place in the background, which is -1 without one.
    """
    base, places, null = background.model, places_in(background.model, model), null_of(model, background)
    data = whole[:, places]
    ours, theirs = model.sampling, base.sampling
    expected, before = (np.asarray(item.expected_data(at)) for item, at in ((model, null), (base, background.truth)))
    same = (places >= 0) & (ours.poisson == theirs.poisson[places]) & (ours.sigma == theirs.sigma[places])
    same &= np.abs(expected - before[places]) <= _SAME * np.maximum(np.abs(before[places]), 1.0)
    other = np.flatnonzero(~same).tolist()
    if other:
        numbers = [number_of(model.data_names[i], int(places[i])) for i in other]
        data[:, other] = fluctuate(model, other, np.stack(numbers, axis=1), expected[other])
    return data


def fit_point(study: Study, folder: str, shard: Shard, path: str | Path) -> None:
    """Fit a range of toys with the model of one point, and write its file.

    Args:
        study: the study.
        folder: name of the point's folder.
        shard: the range.
        path: the file.

    Raises:
        ToymillError: what ``point_model`` refuses.
    """
    settings = settings_of(study)
    point = next(item for item in grid_of(settings).points if item.folder == folder)
    background = background_of(study)
    model = point_model(study, point, background)
    assert model.observed is not None
    with_signal = toys_in(shard, settings.signal_toys)
    truth = hypothesis(study, model, settings.mu) if with_signal else model.parameters.init
    asimov = throw(model, null_of(model, background), 1, mode="asimov")

    def shared(first: int, count: int) -> Float[np.ndarray, "toy datum"]:
        return shared_toys(background, model, count, seed=study.seed, first=first)

    def signal(first: int, count: int) -> Float[np.ndarray, "toy datum"]:
        return throw(model, truth, count, seed=study.seed, first=first, stream=f"{STREAM}/{point.name}")

    def tested(data: Float[np.ndarray, "toy datum"], first: int) -> Tested:
        found = fit_datasets(study, model, data, first)[0]
        tell(len(data), int(found.failed.sum()))
        return found

    def chunks(count: int) -> Iterator[tuple[int, int]]:
        size = chunk_size(model, 3)
        for first in range(shard.first, shard.first + count, size):
            stop_if_asked()
            yield first, min(size, shard.first + count - first)

    observed, free = fit_datasets(study, model, model.observed[None])
    with telling(path) as tell:
        groups = {
            "background": _all([tested(shared(*part), part[0]) for part in chunks(toys_in(shard, settings.toys))]),
            "signal": _all([tested(signal(*part), part[0]) for part in chunks(with_signal)]),
            "observed": observed,
            "asimov": fit_datasets(study, model, asimov)[0],
        }
        rise = rise_of(background, model)
        write_point(path, point_key(study, point, shard), PointShard(poi_of(model), float(free.nll[0]), groups, rise))


def fit_datasets(
    study: Study, model: Model, data: Float[np.ndarray, "toy datum"], first: int = 0
) -> tuple[Tested, Fits]:
    """What a point's model says of datasets, (n, D), and its free fits."""
    settings, poi = settings_of(study), poi_of(model)
    tests = [{poi: 0.0}, {poi: settings.mu}]
    free, (zero, at_mu) = fit_tests(model, data, tests, first=first, tolerance=study.fit.edm_tolerance)
    tilde = settings.statistic == "qtilde"
    return (
        Tested(
            free.parameter(poi),
            q_0(free, zero),
            qtilde_mu(free, at_mu, zero) if tilde else q_mu(free, at_mu),
            np.stack([fits.status for fits in (free, zero, at_mu)], axis=1),
        ),
        free,
    )


def rise_of(background: Background, model: Model) -> Float[np.ndarray, " base_datum"]:
    """How the background's data move with an excess of a point's signal, (D,), in their own units.

    Data of the signal alone stay, and so do those that nothing is expected of without it.
    """
    base, null = background.model, null_of(model, background)
    places, moved = places_in(model, base), direction(model, null)
    before, ours = np.asarray(base.expected_data(background.truth)), np.asarray(model.expected_data(null))
    theirs = model.sampling.sigma
    units = [
        (before[i] / ours[k] if ours[k] > 0 else 0.0)
        if base.sampling.poisson[i]
        else base.sampling.sigma[i] / theirs[k]
        for i, k in enumerate(places)
    ]
    found: np.ndarray = np.where(places >= 0, np.array(units) * moved[places], 0.0)
    return found


def _section(study: Study) -> WorkspaceConfig:
    assert isinstance(study.model, WorkspaceConfig)
    return study.model


def _all(parts: Sequence[Tested]) -> Tested:
    nothing = np.empty(0)
    return together(parts) if parts else Tested(nothing, nothing, nothing, np.empty((0, 3), dtype=np.int8))


def places_in(base: Model, model: Model) -> np.ndarray:
    """Where each datum of a model, the second, stands in the first, (D,); -1 where it does not."""
    at = {name: i for i, name in enumerate(base.data_names)}
    return np.array([at.get(name, -1) for name in model.data_names])
