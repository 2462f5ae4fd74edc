"""One toy of a study again: thrown, fitted by us and by iminuit, and held against what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import yaml

from toymill.config.designed import study_of
from toymill.config.study import Study, values_tested
from toymill.errors import ToymillError, nearest
from toymill.fitting.conditional import fit_tests
from toymill.fitting.minuit import comparable_nll, minuit_fit
from toymill.fitting.results import Fits, rows_of
from toymill.models.base import Model
from toymill.results.store import reading_shard
from toymill.study.layout import latest_design, range_of
from toymill.study.model import checked_model, poi_of, truth_of
from toymill.study.shards import fits_key
from toymill.toys import throw

if TYPE_CHECKING:
    from jaxtyping import Float

SAME = 1e-6
"""Two certified fits of the same toy differ by less than this in the nll, whatever batch each was in."""


class FitOfToy(NamedTuple):
    """A fit of a toy, three times: its nll with all constants, its parameter of interest, and how it ended.

    Attributes:
        value: where the parameter of interest is held; None of the free fit.
        ours: nll, parameter of interest, status as a number.
        stored: the same of the stored fit, or None.
        minuit: nll, parameter of interest, and whether iminuit calls it valid.
    """

    value: float | None
    ours: tuple[float, float, int]
    stored: tuple[float, float, int] | None
    minuit: tuple[float, float, bool]


class Replay(NamedTuple):
    """A toy again.

    Attributes:
        study: the study.
        model: its model.
        ensemble: name of the ensemble.
        number: index of the toy.
        data: the toy, (D,).
        truth: the truth point of the fitted model, (P,).
        best: its free fit by us, (P,).
        fits: the free fit, and one at each tested value.
        file: the file that has its stored fits, or None.
    """

    study: Study
    model: Model
    ensemble: str
    number: int
    data: Float[np.ndarray, " datum"]
    truth: Float[np.ndarray, " parameter"]
    best: Float[np.ndarray, " parameter"]
    fits: list[FitOfToy]
    file: Path | None

    @property
    def missed(self) -> list[FitOfToy]:
        """Fits of ours that lie above iminuit's by more than the study's audit allows."""
        allowed = self.study.fit.audit_tolerance
        return [item for item in self.fits if item.ours[0] - item.minuit[0] > allowed]

    @property
    def changed(self) -> list[FitOfToy]:
        """Fits of ours that are not as stored."""
        pairs = [(item, item.stored) for item in self.fits if item.stored is not None]
        return [item for item, stored in pairs if not abs(item.ours[0] - stored[0]) < SAME]


def replay(folder: Path, ensemble: str, index: int) -> Replay:
    """Throw a toy of a study again and fit it; paths in its configuration are relative to the working directory.

    Args:
        folder: the study's results directory.
        ensemble: name of an ensemble.
        index: index of the toy.

    Raises:
        ToymillError: no such toy; a model that is not there any more, or is another one by now.
    """
    study = study_in(folder)
    if ensemble not in study.ensembles:
        msg = f"The study {study.study!r} has no ensemble {ensemble!r}. {nearest(ensemble, study.ensembles)}"
        raise ToymillError(msg)
    settings = study.ensembles[ensemble]
    if not 0 <= index < settings.toys:
        msg = f"Ensemble {ensemble!r} has the toys 0 to {settings.toys - 1}; got {index}."
        raise ToymillError(msg)
    model = checked_model(study)
    poi = poi_of(model)
    values = values_tested(settings, poi)
    stored, file = stored_fits(folder, study, model, ensemble, index)
    truth = truth_of(study, model, ensemble)
    data = throw(truth.source, truth.at, 1, seed=study.seed, first=index, stream=ensemble, mode=settings.throw)
    held = [{poi: value} for value in values]
    free, tests = fit_tests(model, data, held, first=index, tolerance=study.fit.edm_tolerance)
    fits = [
        FitOfToy(value, _numbers(fit, poi), stored.get(value), _by_minuit(model, data[0], fit, poi))
        for value, fit in zip([None, *values], [free, *tests], strict=True)
    ]
    return Replay(study, model, ensemble, index, data[0], truth.point, free.parameters[0], fits, file)


def study_in(folder: Path) -> Study:
    """The study whose results a directory has, with the ensembles of its sections.

    Raises:
        ToymillError: a directory without a configuration.
    """
    config = folder / "config.yaml"
    if not config.exists():
        msg = f"{folder} has no config.yaml yet: the study has not begun to throw toys."
        raise ToymillError(msg)
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    return study_of(content, latest_design(folder))


def stored_fits(
    folder: Path, study: Study, model: Model, ensemble: str, index: int
) -> tuple[dict[float | None, tuple[float, float, int]], Path | None]:
    """What is stored of a toy's fits, by the tested value, None for the free one; and the file that has it.

    Nothing, if the toy's fits are not done yet, or not kept.

    Raises:
        ToymillError: a shard that is damaged, or of another model, seed or truth.
    """
    for path in sorted((folder / "fits" / ensemble).glob("*.h5")):
        shard = range_of(path)
        if shard is None or not shard.first <= index < shard.first + shard.toys:
            continue
        with reading_shard(path, fits_key(study, model, ensemble, shard)) as reader:
            if reader.keep != "summary":
                row = index - shard.first
                found = reader.rows(row, row + 1)
            else:
                tally = reader.tally()
                rows = np.flatnonzero(tally.kept == index)
                if not len(rows):
                    return {}, None
                row = int(rows[0])
                found = [rows_of(fits, np.array([row])) for fits in tally.kept_fits]
            poi = poi_of(model)
            held: list[float | None] = [None, *reader.tests]
            return {value: _numbers(fits, poi) for value, fits in zip(held, found, strict=True)}, path
    return {}, None


def _numbers(fits: Fits, poi: str) -> tuple[float, float, int]:
    return float(fits.nll[0]), float(fits.parameter(poi)[0]), int(fits.status[0])


def _by_minuit(model: Model, data: Float[np.ndarray, " datum"], fits: Fits, poi: str) -> tuple[float, float, bool]:
    found = minuit_fit(model, data, fits.fixed)
    return comparable_nll(model, data, found), float(found.parameters[model.parameters.index(poi)]), found.valid
