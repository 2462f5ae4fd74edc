"""A finished study's fits, with what answers are made from beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from toymill.config.study import Study
from toymill.fitting.conditional import fit_tests
from toymill.fitting.results import Fits
from toymill.models.base import Model
from toymill.results.description import Description
from toymill.results.design import Design
from toymill.study.collect import fits_of
from toymill.study.model import poi_of, truth_point
from toymill.toys import throw

if TYPE_CHECKING:
    from jaxtyping import Float

LOT = 5 * 10**6
"""Numbers in the toys that are thrown again at once."""

Files = Mapping[str, Sequence[str | Path]]
"""The shards' files of each ensemble."""


@dataclass(frozen=True)
class Stored:
    """What answers are made from: a study as it was designed, its model, and the files of its fits.

    ``held`` are those of the fits of a region, with both parameters held.
    """

    study: Study
    description: Description
    design: Design
    model: Model
    files: Files
    held: Files = field(default_factory=dict)

    @property
    def poi(self) -> str:
        """The parameter of interest."""
        return poi_of(self.model)

    @property
    def observed(self) -> Float[np.ndarray, " datum"]:
        """The observed data, of a model that has any."""
        assert self.model.observed is not None
        return self.model.observed

    def fits(self, ensemble: str) -> Iterator[tuple[int, list[Fits]]]:
        """The fits of an ensemble in chunks: the index of the first toy, and free and conditional fits."""
        return fits_of(self.study, self.description, ensemble, self.files[ensemble])

    def estimates(self, ensemble: str) -> Iterator[tuple[int, list[Fits]]]:
        """The same as test statistics need them: with the parameter of interest alone in the free fits."""
        return fits_of(self.study, self.description, ensemble, self.files[ensemble], estimates=True)

    def toys(self, ensemble: str, first: int, count: int) -> Float[np.ndarray, "toy datum"]:
        """Toys of an ensemble, thrown again: (n, D)."""
        truth = truth_point(self.study, self.model, ensemble)
        mode = self.study.ensembles[ensemble].throw
        return throw(self.model, truth, count, seed=self.study.seed, first=first, stream=ensemble, mode=mode)

    def lots(self, ensemble: str, first: int, count: int) -> Iterator[Float[np.ndarray, "toy datum"]]:
        """The same toys, some at once."""
        step = max(LOT // len(self.model.data_names), 1)
        for begin in range(first, first + count, step):
            yield self.toys(ensemble, begin, min(step, first + count - begin))

    def observed_fits(self, tests: Sequence[float]) -> tuple[Fits, list[Fits]]:
        """The fits of the observed data: free, and at tested values."""
        held = [{self.poi: value} for value in tests]
        return fit_tests(self.model, self.observed, held, tolerance=self.study.fit.edm_tolerance)


def statistic_of(
    stored: Stored, ensemble: str, values: Callable[[Fits, Sequence[Fits]], Float[np.ndarray, "test toy"]]
) -> Float[np.ndarray, "test toy"]:
    """A statistic of all toys of an ensemble, NaN where a fit is not certified."""
    return np.concatenate([values(free, tests) for _, (free, *tests) in stored.estimates(ensemble)], axis=1)


def held_at(fits: Fits) -> float:
    """The value at which conditional fits hold the parameter of interest."""
    assert fits.poi is not None
    return float(np.squeeze(fits.fixed[fits.poi]))
