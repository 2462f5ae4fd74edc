"""A free fit of every toy and conditional fits at test points, made together so that t_μ is not negative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from toymill import budget
from toymill.errors import ToymillError
from toymill.fitting.batching import block_size
from toymill.fitting.fit import fit
from toymill.fitting.problem import as_rows
from toymill.fitting.results import EDM_TOLERANCE, REPAIR, Fits, concatenate, keep_lower, profile_direction
from toymill.models.base import Model

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy.typing import ArrayLike


def fit_tests(
    model: Model,
    data: ArrayLike,
    tests: Sequence[Mapping[str, float]],
    *,
    first: int = 0,
    tolerance: float = EDM_TOLERANCE,
) -> tuple[Fits, list[Fits]]:
    """A free fit of every dataset, and a conditional fit at each test point.

    A conditional fit starts from the free one, moved along the profile direction. Where it ends
    below the free fit, that one had missed the minimum and is repeated from there, so that
    t_mu ≥ 0 up to the tolerance.

    Args:
        model: the model.
        data: main and auxiliary data, shape (n, D).
        tests: the parameters that each conditional fit holds, by name.
        first: index of the first toy in its ensemble; see ``index`` of ``fit``.
        tolerance: the largest estimated distance to the minimum of a certified fit.

    Returns:
        The free fits and, for each test point, the conditional fits; without covariances.

    Raises:
        ToymillError: what ``fit`` refuses, tests of a parameter that the model fixes.
    """
    _require_free(model, tests)
    toys = as_rows(data, len(model.data_names), "data")
    free: list[Fits] = []
    conditional: list[list[Fits]] = [[] for _ in tests]
    names = {name for test in tests for name in test}
    along = names.pop() if len(names) == 1 else None
    block = block_size(model, covariance=bool(names))
    per_toy = 8 * len(model.parameters) * (len(model.parameters) if names else 4)
    size = max(budget.COVARIANCES // per_toy // block, 1) * block
    for begin in range(0, max(len(toys), 1), size):  # of no toys, for fit to refuse
        chunk = toys[begin : begin + size]
        index = first + begin + np.arange(len(chunk))
        unconditional = fit(model, chunk, index=index, tolerance=tolerance, covariance=bool(names), along=along)
        for k, test in enumerate(tests):
            start = _profiled(model, unconditional, test)
            conditional[k].append(
                fit(model, chunk, test, start=start, index=index, tolerance=tolerance, covariance=False)
            )
        fits = [parts[-1] for parts in conditional]
        free.append(_repair(model, chunk, index, replace(unconditional, covariance=None, column=None), fits, tolerance))
    return concatenate(free), [concatenate(parts) for parts in conditional]


def fit_more_tests(
    model: Model,
    data: ArrayLike,
    tests: Sequence[Mapping[str, float]],
    free: Fits,
    known: Sequence[Fits],
    *,
    first: int = 0,
    tolerance: float = EDM_TOLERANCE,
) -> tuple[Fits, list[Fits]]:
    """A conditional fit at further test points, of datasets whose free and other conditional fits are known.

    A fit starts where the straight line through the free fit and the farthest known one leads; of several parameters, or
    without a known one, at the free fit with these at their values. As in ``fit_tests``, a
    free fit that ended above a conditional one is repeated from there.

    Args:
        model: the model.
        data: main and auxiliary data, shape (n, D).
        tests: the parameters that each conditional fit holds, by name.
        free: the free fits.
        known: conditional fits that hold the same parameter, if there are any.
        first: index of the first toy in its ensemble.
        tolerance: the largest estimated distance to the minimum of a certified fit.

    Returns:
        The free fits, and the conditional fits at ``tests``; without covariances.

    Raises:
        ToymillError: what ``fit`` refuses, tests of a parameter that the model fixes.
    """
    _require_free(model, tests)
    toys = as_rows(data, len(model.data_names), "data")
    index = first + np.arange(len(toys))
    conditional = [
        fit(
            model,
            toys,
            test,
            start=_continued(model, free, known, test),
            index=index,
            tolerance=tolerance,
            covariance=False,
        )
        for test in tests
    ]
    return _repair(model, toys, index, concatenate([free]), conditional, tolerance), conditional


def _require_free(model: Model, tests: Sequence[Mapping[str, float]]) -> None:
    """Refuse tests of a parameter that no fit frees: t would compare two values that are held."""
    for name in {name: None for test in tests for name in test}:
        if model.parameters.fixed[model.parameters.index(name)]:
            msg = f"tests hold {name!r}, which the model fixes: no fit frees it. Free it there, or test another parameter."
            raise ToymillError(msg)


def _continued(
    model: Model, free: Fits, known: Sequence[Fits], test: Mapping[str, float]
) -> Float[np.ndarray, "toy parameter"]:
    """Where conditional fits start: on the line from the free fit through the known one that is farthest from it."""
    if len(test) > 1 or not known:
        start = np.where(np.isfinite(free.parameters), free.parameters, model.parameters.init)
        for name, value in test.items():
            start[:, model.parameters.index(name)] = value
        return start
    ((name, value),) = test.items()
    i = model.parameters.index(name)
    away = np.stack([fits.parameters[:, i] - free.parameters[:, i] for fits in known])
    farthest = np.argmax(np.abs(np.nan_to_num(away)), axis=0)
    toys = np.arange(len(farthest))
    others = np.stack([fits.parameters for fits in known])[farthest, toys]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = (value - free.parameters[:, i]) / away[farthest, toys]
        start = free.parameters + part[:, None] * (others - free.parameters)
    start = np.where(np.isfinite(start), start, model.parameters.init)
    start[:, i] = value
    inside: np.ndarray = np.clip(start, *model.parameters.bounds.T)
    return inside


def _profiled(model: Model, free: Fits, test: Mapping[str, float]) -> Float[np.ndarray, "toy parameter"]:
    """Where the conditional fits start: the free fit, moved to the test point along the covariance.

    To second order the profile of θ at x_i is θ̂ + V_·i / V_ii (x_i - x̂_i).
    """
    start = free.parameters.copy()
    for name, value in test.items():
        i = model.parameters.index(name)
        direction = profile_direction(free, i)
        start = start + direction * (value - start[:, i])[:, None]
    start = np.where(np.isfinite(start), start, model.parameters.init)
    inside: np.ndarray = np.clip(start, *model.parameters.bounds.T)
    return inside


def _repair(
    model: Model,
    data: Float[np.ndarray, "toy datum"],
    index: Int[np.ndarray, " toy"],
    free: Fits,
    conditional: list[Fits],
    tolerance: float,
) -> Fits:
    """Refit the free fits that ended above a conditional one, from there."""
    for other in conditional:
        higher = np.flatnonzero(other.ok & ~(free.nll <= other.nll + REPAIR) | other.ok & ~free.ok)
        if not higher.size:
            continue
        again = fit(
            model,
            data[higher],
            start=other.parameters[higher],
            index=index[higher],
            tolerance=tolerance,
            covariance=False,
        )
        keep_lower(free, again, higher)
    return free
