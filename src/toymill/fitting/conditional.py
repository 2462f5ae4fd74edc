"""A free fit of every toy and conditional fits at test points, made together so that t_μ is not negative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from toymill import budget
from toymill.errors import ToymillError
from toymill.fitting.batching import block_size
from toymill.fitting.fit import fit, fit_problem
from toymill.fitting.problem import as_rows, state_problem
from toymill.fitting.results import EDM_TOLERANCE, REPAIR, Fits, concatenate, keep_lower, profile_direction
from toymill.models.base import Model

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy.typing import ArrayLike

    from toymill.fitting.second_minima import Searched


def fit_tests(
    model: Model,
    data: ArrayLike,
    tests: Sequence[Mapping[str, float]],
    *,
    first: int = 0,
    tolerance: float = EDM_TOLERANCE,
) -> tuple[Fits, list[Fits]]:
    """A free fit of every dataset, and a conditional fit at each test point.

    A conditional fit starts from the free one, moved along the profile direction, or where the fits at other test points
    of the same parameter lead, if one of them is nearer. Where it ends below the free fit, that one had missed the minimum
    and is repeated from there, so that t_mu ≥ 0 up to the tolerance.

    Args:
        model: the model.
        data: main and auxiliary data, shape (n, D).
        tests: the parameters that each conditional fit holds, by name.
        first: index of the first toy in its ensemble; see ``index`` of ``fit``.
        tolerance: the largest estimated distance to the minimum of a certified fit.

    Returns:
        The free fits and, for each test point, the conditional fits; without covariances, and the latter without errors.

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
        problem, starts = state_problem(
            model, chunk, index=index, tolerance=tolerance, covariance=bool(names), along=along
        )
        unconditional, searched = fit_problem(problem, starts, given=False)
        fits = _conditional_fits(model, chunk, tests, unconditional, [], index, tolerance, searched)
        for parts, found in zip(conditional, fits, strict=True):
            parts.append(found)
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

    A fit starts where the straight line through two known ones leads, the nearest and one that is not too near to it; of
    several parameters, or without a known conditional fit, at the free fit with these at their values. As in ``fit_tests``,
    a free fit that ended above a conditional one is repeated from there.

    Args:
        model: the model.
        data: main and auxiliary data, shape (n, D).
        tests: the parameters that each conditional fit holds, by name.
        free: the free fits.
        known: conditional fits that hold the same parameter, if there are any.
        first: index of the first toy in its ensemble.
        tolerance: the largest estimated distance to the minimum of a certified fit.

    Returns:
        The free fits, and the conditional fits at ``tests``; without covariances, and the latter without errors.

    Raises:
        ToymillError: what ``fit`` refuses, tests of a parameter that the model fixes.
    """
    _require_free(model, tests)
    toys = as_rows(data, len(model.data_names), "data")
    index = first + np.arange(len(toys))
    conditional = _conditional_fits(model, toys, tests, free, known, index, tolerance)
    return _repair(model, toys, index, concatenate([free]), conditional, tolerance), conditional


def _require_free(model: Model, tests: Sequence[Mapping[str, float]]) -> None:
    """Refuse tests of a parameter that no fit frees: t would compare two values that are held."""
    for name in {name: None for test in tests for name in test}:
        if model.parameters.fixed[model.parameters.index(name)]:
            msg = f"tests hold {name!r}, which the model fixes: no fit frees it. Free it there, or test another parameter."
            raise ToymillError(msg)


def _conditional_fits(
    model: Model,
    toys: Float[np.ndarray, "toy datum"],
    tests: Sequence[Mapping[str, float]],
    free: Fits,
    known: Sequence[Fits],
    index: Int[np.ndarray, " toy"],
    tolerance: float,
    searched: Searched | None = None,
) -> list[Fits]:
    """The conditional fits at every test point: of one parameter in the order of its values, so that one leads to the next.

    ``searched`` is what the search for second minima says of the free fits, if they were made just now.
    """
    found: dict[int, Fits] = {}
    of_one = len({name for test in tests for name in test}) == 1
    for k in sorted(range(len(tests)), key=lambda k: [*tests[k].values()]) if of_one else range(len(tests)):
        before = [*known, *found.values()] if of_one else []
        start = _started(model, free, before, tests[k])
        problem, starts = state_problem(
            model, toys, tests[k], start=start, index=index, tolerance=tolerance, errors=False
        )
        found[k], _ = fit_problem(problem, starts, given=True, free=searched)
    return [found[k] for k in range(len(tests))]


def _started(
    model: Model, free: Fits, known: Sequence[Fits], test: Mapping[str, float]
) -> Float[np.ndarray, "toy parameter"]:
    """Where conditional fits start: at the free fit, moved along its profile direction, or where other fits lead.

    To second order the profile of θ at x_i is θ̂ + V_·i / V_ii (x_i - x̂_i). Where fits at other values of the parameter
    are known, and one of them is nearer to the test than the free fit, or the covariance is not, a line leads there.
    """
    start, has_direction = free.parameters.copy(), free.covariance is not None or free.column is not None
    for name, value in test.items():
        i = model.parameters.index(name)
        if has_direction:
            start = start + profile_direction(free, i) * (value - start[:, i])[:, None]
        start[:, i] = value
    if known:
        line, nearest = _along_known(model, [free, *known], test)
        continued = np.isfinite(line).all(axis=1) & ((nearest > 0) | (not has_direction))
        start = np.where(continued[:, None], line, start)
    inside: np.ndarray = np.clip(np.where(np.isfinite(start), start, model.parameters.init), *model.parameters.bounds.T)
    return inside


def _along_known(
    model: Model, known: Sequence[Fits], test: Mapping[str, float]
) -> tuple[Float[np.ndarray, "toy parameter"], Int[np.ndarray, " toy"]]:
    """Where a line through two known fits leads, and which of all is the nearest to the test; not finite without two.

    The first is the nearest one. The second is that which is the nearest to it, but at least half as far from it as the
    test, so that rounding does not turn the line; else the farthest.
    """
    ((name, value),) = test.items()
    i, toys = model.parameters.index(name), np.arange(len(known[0].nll))
    at = np.stack([np.where(fits.ok, fits.parameters[:, i], np.nan) for fits in known])
    nearest = np.argmin(np.where(np.isfinite(at), np.abs(at - value), np.inf), axis=0)
    ahead = value - at[nearest, toys]
    apart = np.nan_to_num(np.abs(at - at[nearest, toys]))
    enough = (apart >= 0.5 * np.abs(ahead)) & (apart > 0)
    second = np.where(enough.any(axis=0), np.argmin(np.where(enough, apart, np.inf), axis=0), np.argmax(apart, axis=0))
    one, other = (_of_each(known, which) for which in (nearest, second))
    with np.errstate(divide="ignore", invalid="ignore"):
        line = one + (ahead / (other[:, i] - one[:, i]))[:, None] * (other - one)
    line[:, i] = np.where(np.isfinite(line[:, i]), value, line[:, i])
    return line, nearest


def _of_each(fits: Sequence[Fits], which: Int[np.ndarray, " toy"]) -> Float[np.ndarray, "toy parameter"]:
    """The parameters of each toy in the one of its fits that is named."""
    found = np.empty_like(fits[0].parameters)
    for number, one in enumerate(fits):
        rows = which == number
        found[rows] = one.parameters[rows]
    return found


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
