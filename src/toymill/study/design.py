"""Designing the ensembles that a study's sections are answered from: truth points and tested values."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from toymill._version import __version__
from toymill.config.sections import (
    BACKGROUND,
    BEST_FIT,
    INJECTED,
    TILTS,
    DiscoveryConfig,
    IntervalConfig,
    at_set,
    at_tested,
    needs,
    region_ensembles,
    signal,
    tilted,
)
from toymill.config.study import Study
from toymill.errors import ToymillError
from toymill.fitting.conditional import fit_tests
from toymill.inference.global_impacts import toys_needed
from toymill.inference.information import cramer_rao, expected_information
from toymill.inference.likelihood_ratios import q_0
from toymill.models.base import Model
from toymill.results.design import Design, DesignedEnsemble, DesignedInterval, DesignedLimit
from toymill.study.bounded_asymptotics import Bounded, knows_bound
from toymill.study.channel_compatibility import require_told, split_by_channel
from toymill.study.confidence_set import parameters_of_set, points_of_set
from toymill.study.interval_points import asymptotic_intervals, can_fit, interval_points, physical
from toymill.study.limit_points import NO_FORMULA, asymptotic_limits, limit_points
from toymill.study.model import checked_model, observed_point, poi_of
from toymill.study.region_points import designed_region, grid_of
from toymill.toys import throw

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    Point = Float[np.ndarray, " parameter"]

_STEPS = 8  # of the search for a truth point whose Asimov dataset has a given q_0
_NEAR = 0.01  # of that √q_0, relative
_LEAST = 1e-12  # expected counts below it are taken for it
_FARTHEST = 8.0  # significance of observed data that tilted toys are to reach
_SPARE = 0.1  # more toys than impacts need, of which some may fail


def design_study(study: Study) -> Design:
    """The ensembles of a study's sections.

    Raises:
        ToymillError: sections that the model has no answer to; fits to the observed data that are not certified.
    """
    model = checked_model(study)
    _refuse_unanswerable(study, model)
    conditional = stands_at_data(study, model)
    truths: dict[str, tuple[Point, list[float]]] = {}
    limit = None
    statistic = study.limit.statistic if study.limit else ""
    with_zero = [0.0] if model.parameters.bounds[model.poi_index, 0] < 0 or statistic == "tevatron" else []
    if study.limit or study.discovery:
        null = hypothesis(study, model, 0.0)
        limit = _limit(study, model, null) if study.limit else None
        values = limit.values if limit else []
        tested = [] if statistic == "lep" else [0.0, *values]  # LEP's needs no fits
        truths[BACKGROUND] = null, tested
        for number, value in enumerate(values, 1):
            truths[signal(number)] = hypothesis(study, model, value), with_zero
        if study.limit and study.limit.injected is not None:
            truths[INJECTED] = hypothesis(study, model, study.limit.injected), tested
        if study.discovery:
            bound, reach = _bound(model, null, study.seed), _reach(study.discovery, model)
            for number in range(1, TILTS + 1):
                truths[tilted(number)] = tilt(model, null, bound, reach * number / TILTS), [0.0]
    interval = _interval(study, study.interval, model) if study.interval else None
    if study.interval and interval:
        tests = with_zero if study.interval.statistic == "ttilde" else []
        for name, value in zip(at_tested(study), interval.values, strict=True):
            truths.setdefault(name, (hypothesis(study, model, value), tests))
        if study.interval.berger_boos:
            points = points_of_set(study.interval.berger_boos, model, interval.nuisances, interval.values)
            for number, several in enumerate(points, 1):
                truths |= {name: (point, tests) for name, point in zip(at_set(study, number), several, strict=True)}
    region = designed_region(study.region, model) if study.region else None
    for name, at in zip(region_ensembles(study), grid_of(region) if region else [], strict=True):
        truths[name] = _grid_truth(study, model, at), []
    if BEST_FIT in needs(study):
        best = observed_point(model, {}, "The fit to the observed data with all parameters free")
        if study.goodness_of_fit and study.goodness_of_fit.channel_compatibility:
            require_told(study, model, best)
        truths[BEST_FIT] = best, []
    told = ~model.parameters.fixed
    if study.nuisances == "hybrid":
        drawn = np.array([item != "none" for item in model.parameters.constraint])
        told &= ~drawn | (np.arange(len(told)) == model.poi_index)
    return Design(
        toymill=__version__,
        study=study.study,
        nuisances=study.nuisances if study.nuisances == "hybrid" else "conditional" if conditional else "nominal",
        limit=limit,
        interval=interval,
        region=region,
        ensembles={
            name: DesignedEnsemble(
                truth={key: float(truths[name][0][i]) for i, key in enumerate(model.parameters.names) if told[i]},
                tests=truths[name][1],
                toys=need.toys,
                throw="hybrid" if study.nuisances == "hybrid" else "frequentist",
                sections=list(need.sections),
            )
            for name, need in needs(study).items()
        },
    )


def _refuse_unanswerable(study: Study, model: Model) -> None:
    """Refuse sections that this model's toys cannot answer, before any is thrown.

    Raises:
        ToymillError: the goodness of fit of a density; the compatibility of channels that are fewer than two; impacts from
            too few toys for the auxiliary data.
    """
    if study.goodness_of_fit and model.draw is not None:
        msg = (
            "goodness_of_fit: the model states a density, whose data are no counts of bins. Leave this section out, or "
            "state the model by its expected counts."
        )
        raise ToymillError(msg)
    if study.goodness_of_fit and study.goodness_of_fit.channel_compatibility:
        split_by_channel(study)
    toys, least = needs(study)[BEST_FIT].toys if study.impacts else 0, toys_needed(model)
    if study.impacts and toys < least * (1 + _SPARE):
        msg = (
            f"impacts.toys: there are {toys}, and the impacts of {np.count_nonzero(model.sampling.auxiliary)} auxiliary "
            f"data need {math.ceil(least * (1 + _SPARE))} at least."
        )
        raise ToymillError(msg)


def stands_at_data(study: Study, model: Model) -> bool:
    """Whether hypotheses stand at the conditional fit to the observed data."""
    return study.nuisances == "conditional" or (study.nuisances != "nominal" and model.observed is not None)


def hypothesis(study: Study, model: Model, value: float) -> Point:
    """The truth point of a value of the parameter of interest, (P,); the others as the study's ``nuisances`` says.

    Raises:
        ToymillError: a value outside the bounds, a conditional fit that is not certified.
    """
    poi = poi_of(model)
    nominal = model.parameters.values({poi: value})
    if not stands_at_data(study, model):
        return nominal
    return observed_point(model, {poi: value}, f"The fit to the observed data with {poi} held at {value:g}")


def _grid_truth(study: Study, model: Model, at: Mapping[str, float]) -> Point:
    """The truth point with two parameters at a point of a region's grid, (P,); the others as ``nuisances`` says.

    Raises:
        ToymillError: a conditional fit that is not certified.
    """
    if not stands_at_data(study, model):
        return model.parameters.values(at)
    place = " and ".join(f"{name} = {value:.4g}" for name, value in at.items())
    return observed_point(
        model, at, f"region.ranges: leave out {place}, if you can: the fit to the observed data there"
    )


def tilt(model: Model, null: Point, bound: Float[np.ndarray, "free free"], significance: float) -> Point:
    """A truth point at which toys reach the tail of q_0 of a hypothesis, (P,).

    Of all points with its signal, its expectation is the likeliest data of the null: a rare event comes about in the
    likeliest of the ways in which it can (Dembo and Zeitouni, Large deviations techniques and applications, 2.2). The
    signal is found by the Asimov dataset of the point, whose q_0 is to be the significance squared. A model that states a
    density has no expectation: the point lies as many standard deviations from the null, along the profile direction
    V_·μ / V_μμ.

    Args:
        model: the model.
        null: the truth point of the hypothesis, with the parameter of interest at 0.
        bound: the Cramér-Rao bound V at the null, over the free parameters.
        significance: √q_0 that toys of the point have, about.
    """
    position, free = model.poi_index, np.flatnonzero(~model.parameters.fixed)
    column = bound[:, free.tolist().index(position)]
    signal = significance * float(np.sqrt(column[free == position][0]))
    if model.draw is not None:
        point = null.copy()
        point[free] += column / column[free == position] * signal
        inside: np.ndarray = np.clip(point, *model.parameters.bounds.T)
        return inside
    for _ in range(_STEPS):
        signal = min(signal, float(model.parameters.bounds[position, 1]))
        point = _likest(model, null, np.sqrt(np.diag(bound)), signal)
        reached = _root_q_0(model, point)
        if not reached > 0 or abs(reached / significance - 1) < _NEAR:
            break
        signal *= min(max(significance / reached, 0.5), 2.0)
    return point


def _likest(model: Model, null: Point, sigma: Float[np.ndarray, " free"], signal: float) -> Point:
    """The point with this signal whose expectation λ is the likeliest data of the null, whose expectation is λ₀.

    It has the least Σ (λ ln(λ/λ₀) - λ + λ₀) over counts plus Σ (λ - λ₀)²/2σ² over normal data, by L-BFGS-B in units of
    the parameters' standard deviations.
    """
    others = np.flatnonzero(~model.parameters.fixed & (np.arange(len(null)) != model.poi_index))
    if not len(others):
        return np.where(np.arange(len(null)) == model.poi_index, signal, null)
    scale = sigma[np.isin(np.flatnonzero(~model.parameters.fixed), others)]
    poisson, width = model.sampling.poisson, np.where(model.sampling.poisson, 1.0, model.sampling.sigma)
    expected = jnp.asarray(model.expected_data(null))
    base = jnp.asarray(null).at[model.poi_index].set(signal)

    def divergence(units: Float[Array, " other"]) -> Float[Array, ""]:
        found = model.expected_data(base.at[others].add(units * scale))
        counts = jnp.maximum(found, _LEAST)
        of_counts = counts * jnp.log(counts / jnp.maximum(expected, _LEAST)) - found + expected
        return jnp.sum(jnp.where(poisson, of_counts, ((found - expected) / width) ** 2 / 2))

    bounds = (model.parameters.bounds[others] - null[others, None]) / scale[:, None]
    with_gradient = jax.jit(jax.value_and_grad(divergence))
    found = scipy.optimize.minimize(
        lambda units: tuple(np.asarray(item) for item in with_gradient(units)),
        np.zeros(len(others)),
        jac=True,
        bounds=bounds,
        method="L-BFGS-B",
    )
    point = null.copy()
    point[others] += found.x * scale
    point[model.poi_index] = signal
    inside: np.ndarray = np.clip(point, *model.parameters.bounds.T)
    return inside


def _bound(model: Model, null: Point, seed: int) -> Float[np.ndarray, "free free"]:
    """The Cramér-Rao bound without a signal, over the free parameters.

    Raises:
        ToymillError: an information without an inverse.
    """
    information = expected_information(model, null, seed=seed, stream=BACKGROUND)
    bound = cramer_rao(information.matrix, model.parameters.fixed)
    if bound is None:
        msg = (
            f"The expected information at {poi_of(model)} = 0 has no inverse: the data do not tell all parameters. Fix "
            "those in the model that have no effect."
        )
        raise ToymillError(msg)
    return bound


def _limit(study: Study, model: Model, null: Point) -> DesignedLimit:
    """The asymptotic limits and the values to test; these may be stated where the former are not known.

    Raises:
        ToymillError: neither asymptotic limits nor values.
    """
    settings = study.limit
    assert settings
    own = np.flatnonzero(~model.parameters.fixed).tolist().index(model.poi_index)
    try:
        bound = _bound(model, null, study.seed)
        asymptotic = asymptotic_limits(settings, model, null, float(np.sqrt(bound[own, own])))
    except ToymillError as error:
        if settings.values is None:
            msg = f"limit: the asymptotic limits, by which tested values are placed, are not known. {error} Or name the values, in limit.values."
            raise ToymillError(msg) from None
        return DesignedLimit(values=list(settings.values), asymptotic=None, why_no_asymptotic=str(error), rounds=[])
    high = float(model.parameters.bounds[model.poi_index, 1])
    values = limit_points(settings, asymptotic, high)
    if settings.statistic == "lep":
        return DesignedLimit(values=values, asymptotic=None, why_no_asymptotic=NO_FORMULA, rounds=[])
    return DesignedLimit(values=values, asymptotic=asymptotic, why_no_asymptotic=None, rounds=[])


def _reach(settings: DiscoveryConfig, model: Model) -> float:
    """The significance that tilted toys reach: what is asked for, and that of the observed data, up to ``_FARTHEST``."""
    if model.observed is None:
        return settings.reach
    free, (background,) = fit_tests(model, model.observed, [{poi_of(model): 0.0}])
    found = float(q_0(free, background)[0])
    return settings.reach if math.isnan(found) else max(settings.reach, min(math.sqrt(max(found, 0.0)), _FARTHEST))


def _interval(study: Study, settings: IntervalConfig, model: Model) -> DesignedInterval:
    """The values to test, placed by the intervals of the quantiles of χ², and the asymptotic intervals."""
    asymptotic, bounds = asymptotic_intervals(settings, model), physical(settings, model)
    values = interval_points(settings, asymptotic, bounds, functools.partial(can_fit, model))
    distances = None
    if knows_bound(model, bounds[0], settings.levels):
        bounded = Bounded.of(model, bounds[0], hypothesis(study, model, bounds[0]))
        asymptotic = {key: bounded.interval(item) for key, item in asymptotic.items()}
        distances = [bounded.distance(value) for value in values]
    nuisances = parameters_of_set(settings.berger_boos, model) if settings.berger_boos else []
    return DesignedInterval(values=values, asymptotic=asymptotic, distances=distances, nuisances=nuisances, rounds=[])


def _root_q_0(model: Model, point: Point) -> float:
    """√q_0 of a point's Asimov dataset."""
    free, (background,) = fit_tests(model, throw(model, point, 1, mode="asimov"), [{poi_of(model): 0.0}])
    return float(np.sqrt(max(q_0(free, background)[0], 0.0)))
