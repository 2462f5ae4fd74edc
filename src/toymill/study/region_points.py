"""The parameters and the grid of points that a joint confidence region of two parameters is tested at."""

from __future__ import annotations

from itertools import product

import numpy as np
import scipy

from toymill.config.sections import RegionConfig
from toymill.errors import ToymillError
from toymill.fitting.fit import fit
from toymill.fitting.intervals import profile_interval
from toymill.models.base import Model
from toymill.results.design import DesignedRegion
from toymill.study.model import most_correlated, observed_point, poi_of

FAR = (1.25, 1.1, 1.0)
"""The grid reaches so many times as far as the asymptotic ends: the first at whose corners the data can be fitted."""


def designed_region(settings: RegionConfig, model: Model) -> DesignedRegion:
    """The two parameters of a region, the values of each that make the grid, and the best fit to the observed data.

    Without stated ranges the grid reaches up to 1.25 times as far from the best fit as the asymptotic region of the largest
    level, whose ends along a parameter are where the profile likelihood ratio is the quantile of χ² of two degrees of
    freedom; to the bounds of the parameters at most.

    Raises:
        ToymillError: a model of one free parameter, an end of the asymptotic region that is not found, data that cannot
            be fitted with all parameters free, or at no corners of a grid about the region.
    """
    if np.count_nonzero(~model.parameters.fixed) < 2:
        msg = "region: the model has one free parameter, and a region is of two. Ask for an interval."
        raise ToymillError(msg)
    names = settings.parameters or [poi_of(model), most_correlated(model, "region")]
    best = observed_point(model, {}, "region: the fit to the observed data with all parameters free")
    places = [float(best[model.parameters.index(name)]) for name in names]
    ranges = settings.ranges or _ranges(model, names, places, max(settings.levels))
    axes = [np.linspace(low, high, settings.points).tolist() for low, high in ranges]
    return DesignedRegion(parameters=list(names), values=axes, best=places, rounds=[])


def grid_of(design: DesignedRegion) -> list[dict[str, float]]:
    """The points of the grid, each as values by parameter; the second parameter runs fastest."""
    return [dict(zip(design.parameters, point, strict=True)) for point in product(*design.values)]


def _ranges(model: Model, names: list[str], best: list[float], level: float) -> list[list[float]]:
    """How far the grid reaches along each parameter."""
    assert model.observed is not None
    ends = []
    for name in names:
        found = profile_interval(model, model.observed, name, levels=[float(scipy.stats.chi2.ppf(level, 2))])
        ends.append([float(found.low[0, 0]), float(found.high[0, 0])])
        if not np.isfinite(ends[-1]).all():
            msg = f"region: the asymptotic region has an end along {name} that was not found. Name region.ranges."
            raise ToymillError(msg)
    bounds = [model.parameters.bounds[model.parameters.index(name)] for name in names]
    for far in FAR:
        ranges = [
            np.clip(place + far * (np.array(pair) - place), *bound).tolist()
            for place, pair, bound in zip(best, ends, bounds, strict=True)
        ]
        corners = [dict(zip(names, corner, strict=True)) for corner in product(*ranges)]
        if all(fit(model, model.observed, corner, covariance=False).ok[0] for corner in corners):
            return ranges
    msg = (
        f"region: the observed data cannot be fitted at every corner of {names[0]} from {ranges[0][0]:.4g} to "
        f"{ranges[0][1]:.4g} and {names[1]} from {ranges[1][0]:.4g} to {ranges[1][1]:.4g}, which hold the asymptotic "
        "region. Name smaller ones, in region.ranges."
    )
    raise ToymillError(msg)
