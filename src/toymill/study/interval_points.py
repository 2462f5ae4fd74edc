"""The asymptotic intervals of a study, and the values that its toys test about their ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import scipy

from toymill.config.sections import IntervalConfig
from toymill.errors import ToymillError
from toymill.fitting.conditional import fit_tests
from toymill.fitting.fit import fit
from toymill.fitting.intervals import EndStatus, profile_interval
from toymill.inference.interval_verdicts import AsymptoticInterval
from toymill.models.base import Model
from toymill.study.model import observed_point, poi_of

NEAR = (0.8, 1.3)
"""Most tested values lie between so many times the distance of an asymptotic end from the best fit."""

FAR = (2.0, 1.6, 1.3, 1.1, 1.0)
"""They reach so many times as far as the farthest end: the first of these at which the data can be fitted."""

FROM_BOUND = 2.7
"""The same of a best fit at a bound: of a count of 0 the exact interval at 68 % reaches 2.6 times as far."""

_NARROW = 0.01  # of all of the range, below which no values are placed about an end
_SPREAD = 0.35  # of the tested values lie evenly over all of the range


def asymptotic_intervals(settings: IntervalConfig, model: Model) -> dict[str, AsymptoticInterval]:
    """The profile likelihood interval of each level: t ≤ the quantile of χ² of one degree of freedom.

    t̃_μ is t_μ - t_0 where μ̂ < 0: its interval is from 0, and t_μ there is larger by t_0.

    Args:
        settings: the section of the configuration.
        model: a model with observed data.

    Raises:
        ToymillError: a fit to the observed data that is not certified.
    """
    assert model.observed is not None
    observed_point(model, {}, "interval: the fit to the observed data with all parameters free")
    poi, lowest = poi_of(model), physical(settings, model)[0]
    free, held = fit_tests(model, model.observed, [{poi: lowest}] if np.isfinite(lowest) else [])
    best = float(free.parameter(poi)[0])
    beyond = max(2 * float(held[0].nll[0] - free.nll[0]), 0.0) if held and best < lowest else 0.0
    quantiles = scipy.stats.chi2.ppf(settings.levels, 1)
    found = profile_interval(model, model.observed, levels=(quantiles + beyond).tolist())
    best = max(best, lowest)
    intervals = {}
    for k, level in enumerate(settings.levels):
        low, high = float(found.low[0, k]), float(found.high[0, k])
        low_bound = best <= lowest or low <= lowest or bool(found.low_status[0, k] == EndStatus.AT_BOUND)
        intervals[repr(float(level))] = AsymptoticInterval(
            level=level,
            best=best,
            low=lowest if low_bound else low,
            high=high,
            low_at_bound=low_bound,
            high_at_bound=bool(found.high_status[0, k] == EndStatus.AT_BOUND),
        )
    return intervals


def physical(settings: IntervalConfig, model: Model) -> tuple[float, float]:
    """The values that the parameter of interest may have: within its bounds, and not negative for t̃_μ."""
    low, high = (float(bound) for bound in model.parameters.bounds[model.poi_index])
    return (max(low, 0.0) if settings.statistic == "ttilde" else low), high


def interval_points(
    settings: IntervalConfig,
    asymptotic: Mapping[str, AsymptoticInterval],
    bounds: tuple[float, float],
    fitted: Callable[[float], bool],
) -> list[float]:
    """The tested values of an interval, ascending: most of them about the ends of the asymptotic intervals.

    Args:
        settings: the section of the configuration.
        asymptotic: the asymptotic intervals.
        bounds: of the parameter of interest.
        fitted: whether the observed data can be fitted with a value held.

    Raises:
        ToymillError: an asymptotic end that was not found.

    Example:
        Of a best fit at 1 with σ = 1, bounded at 0: the values are dense about 2, and beyond the lower end.

        >>> one = AsymptoticInterval(level=0.6827, best=1.0, low=0.0, high=2.0, low_at_bound=True, high_at_bound=False)
        >>> interval_points(IntervalConfig(points=9), {"0.6827": one}, (0.0, 10.0), lambda value: True)
        [0.0, 0.19, 0.38, 0.57, 1.5, 1.917, 2.08, 2.243, 3.0]
    """
    if settings.values is not None:
        return list(settings.values)
    best = next(iter(asymptotic.values())).best
    windows = []
    for item in asymptotic.values():
        for end, at_bound in ((item.low, item.low_at_bound), (item.high, item.high_at_bound)):
            if end is None:
                msg = (
                    f"interval: the asymptotic interval at {100 * item.level:.4g} % has an end that was not found, and "
                    "cannot tell which values to test. Name values in interval.values."
                )
                raise ToymillError(msg)
            if end != best:
                near = (NEAR[0] / 2, 1.0) if at_bound else (0.0, NEAR[1]) if best in bounds else NEAR
                windows.append(np.clip(sorted(best + (end - best) * np.array(near)), *bounds))
    ends = [end for item in asymptotic.values() for end in (item.low, item.high) if end is not None]
    low, high = (_reach(best, end, bounds, fitted) for end in (min(ends), max(ends)))
    windows = [item for item in windows if item[1] - item[0] > _NARROW * (high - low)]
    edges = np.unique(np.clip(np.concatenate([[low, high], *windows]), low, high))
    shares = _SPREAD * (edges - low) / (high - low) + (1 - _SPREAD) * np.mean(
        [np.clip((edges - window[0]) / (window[1] - window[0]), 0, 1) for window in windows], axis=0
    )
    places = np.interp(np.linspace(0, 1, settings.points), shares, edges)
    digits = 2 - math.floor(math.log10(np.diff(places).min()))
    return [low, *(round(value, digits) for value in places[1:-1].tolist()), high]


def can_fit(model: Model, value: float) -> bool:
    """Whether the observed data can be fitted with the parameter of interest held at a value."""
    assert model.observed is not None
    return bool(fit(model, model.observed, {poi_of(model): value}, covariance=False).ok[0])


def _reach(best: float, end: float, bounds: tuple[float, float], fitted: Callable[[float], bool]) -> float:
    """How far the tested values reach beyond an end."""
    every = (FROM_BOUND, *FAR) if best in bounds else FAR
    places = [float(np.clip(best + far * (end - best), *bounds)) for far in every]
    return next((place for place in places if fitted(place)), end)
