"""Asymptotic critical values near a lower bound of the parameter of interest, and the intervals that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy

from toymill.fitting.conditional import fit_tests
from toymill.fitting.fit import fit
from toymill.inference.asymptotics import critical_value
from toymill.inference.interval_verdicts import AsymptoticInterval
from toymill.models.base import Model
from toymill.study.model import poi_of
from toymill.toys import throw

if TYPE_CHECKING:
    from jaxtyping import Float

_FAR = 3.0  # times √χ²: data whose √t at the bound is larger do not know of it
_PRECISE = 1e-8  # relative, of an end
_UNKNOWN = 1e3  # standard deviations from the bound, where they are not known: χ² holds


@dataclass(frozen=True)
class Bounded:
    """The observed data of a model whose parameter of interest has a lower bound.

    Attributes:
        model: the model.
        lowest: the bound, 0 for t̃_μ.
        asimov: the Asimov data of the truth point at the bound, (1, D), and their nll at the bound.
        nll: of the fit to the observed data whose parameter is not below the bound.
    """

    model: Model
    lowest: float
    asimov: tuple[Float[np.ndarray, "one datum"], float]
    nll: float

    @classmethod
    def of(cls, model: Model, lowest: float, null: Float[np.ndarray, " parameter"]) -> Bounded:
        """Of a truth point at the bound, (P,)."""
        assert model.observed is not None
        data = throw(model, null, 1, mode="asimov")
        free, (held,) = fit_tests(model, model.observed, [{poi_of(model): lowest}])
        inside = free.parameter(poi_of(model))[0] >= lowest
        at_bound = float(fit(model, data, {poi_of(model): lowest}, covariance=False).nll[0])
        return cls(model, lowest, (data, at_bound), float((free if inside else held).nll[0]))

    def t(self, value: float) -> float:
        """t̃_μ of the observed data."""
        return max(2 * (self._nll(self.model.observed, value) - self.nll), 0.0)

    def distance(self, value: float) -> float:
        """(μ - L)/σ: the root of t_μ of the Asimov data (CCGV eq. 30); very large where they cannot be fitted."""
        data, at_bound = self.asimov
        found = 2 * (self._nll(data, value) - at_bound)
        return float(np.sqrt(max(found, 0.0))) if np.isfinite(found) else _UNKNOWN

    def interval(self, found: AsymptoticInterval) -> AsymptoticInterval:
        """The interval of the critical values of eq. 44, which lies in that of the quantile of χ²."""

        def beyond(value: float) -> float:
            return self.t(value) - critical_value(found.level, self.distance(value))

        low, high, best = found.low, found.high, found.best
        if high is not None and beyond(high) > 0:
            high = float(scipy.optimize.brentq(beyond, best, high, xtol=_PRECISE * (high - best)))
        if low is not None and low < best and beyond(low) > 0:
            low = float(scipy.optimize.brentq(beyond, low, best, xtol=_PRECISE * (best - low)))
        update = {
            "low": low,
            "high": high,
            "low_at_bound": found.low_at_bound and low == found.low,
            "high_at_bound": found.high_at_bound and high == found.high,
        }
        return found.model_copy(update=update)

    def _nll(self, data: Float[np.ndarray, "*shape datum"] | None, value: float) -> float:
        assert data is not None
        fits = fit(self.model, data, {poi_of(self.model): value}, covariance=False)
        return float(fits.nll[0]) if fits.ok[0] else np.nan


def knows_bound(model: Model, lowest: float, levels: Sequence[float]) -> bool:
    """Whether the observed data are so near to a lower bound that it matters; never of a model that states a density."""
    if not np.isfinite(lowest) or model.draw is not None or model.observed is None:
        return False
    free, (held,) = fit_tests(model, model.observed, [{poi_of(model): lowest}])
    if free.parameter(poi_of(model))[0] <= lowest:
        return bool(held.ok[0])
    t = 2 * float(held.nll[0] - free.nll[0])
    return bool(held.ok[0] and t < _FAR**2 * scipy.stats.chi2.ppf(max(levels), 1))
