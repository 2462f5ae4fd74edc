"""Maximum-likelihood fits of many toys, with errors from the exact Hessian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from toymill.fitting.at_zero import minimise_at_zero
from toymill.fitting.descent import off_floor
from toymill.fitting.problem import FitProblem, state_problem
from toymill.fitting.rescue import rescue
from toymill.fitting.results import EDM_TOLERANCE, REPAIR, Fits, keep_lower, replace_rows
from toymill.fitting.search import search
from toymill.fitting.second_minima import (
    NEAR_FREE,
    SAME_BASIN,
    Proposals,
    Searched,
    may_have_second_minima,
    near_free,
    propose,
    propose_from,
    propose_from_initial,
)
from toymill.fitting.status import Status
from toymill.models.base import Model

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy.typing import ArrayLike

    from toymill.fitting.results import Held

_ROUNDS = 4  # in which a fit may move from minimum to lower minimum


def fit(
    model: Model,
    data: ArrayLike,
    fixed: Mapping[str, Held] | None = None,
    *,
    start: ArrayLike | None = None,
    index: ArrayLike | None = None,
    tolerance: float = EDM_TOLERANCE,
    covariance: bool = True,
    along: str | None = None,
    errors: bool = True,
) -> Fits:
    """Fit every dataset by maximum likelihood.

    A toy whose likelihood seems to have a second minimum that is no higher is fitted again from there, and every toy
    from the further starts that the model states; the lowest fit is kept. In a model that may have second minima, fits
    that are given a ``start`` are tried from the model's initial values, too.

    Args:
        model: the model.
        data: main and auxiliary data, shape (n, D) or (D,).
        fixed: parameters to hold, by name, beside those that the model fixes: a number, or one for each toy, (n,).
        start: initial values, shape (P,) or (n, P); the model's if None.
        index: index of each toy in its ensemble, shape (n,); 0 … n-1 if None. A toy is always computed
            in the lane ``index`` mod the block's size: vector units may round differently from lane to
            lane, and so its fit has the same bits whichever toys are fitted along with it.
        tolerance: the largest estimated distance to the minimum of a certified fit.
        covariance: keep the covariance matrices, n · P² numbers.
        along: keep their column of this parameter: how the others follow it.
        errors: compute the errors; else they are NaN, and the fit is a little faster.

    Returns:
        The fits; none raises, each has a status.

    Raises:
        ToymillError: data or start of the wrong shape, data that are negative counts or not finite, an
            unknown parameter, a value out of bounds.

    Example:
        >>> import jax, toymill
        >>> jax.config.update("jax_enable_x64", True)
        >>> model = toymill.read_workspace("tests/data/onoff.json")
        >>> fits = toymill.fit(model, model.observed)
        >>> round(float(fits.parameters[0, model.poi_index]), 6), int(fits.status[0])
        (1.0, 1)
    """
    problem, starts = state_problem(
        model,
        data,
        fixed,
        start=start,
        index=index,
        tolerance=tolerance,
        covariance=covariance,
        along=along,
        errors=errors,
    )
    return fit_problem(problem, starts, given=start is not None)[0]


def fit_problem(
    problem: FitProblem, starts: Float[np.ndarray, "toy parameter"], *, given: bool, free: Searched | None = None
) -> tuple[Fits, Searched]:
    """The fits of a problem from ``starts``, and what the search for their second minima says.

    Args:
        problem: the problem.
        starts: where each toy's fit starts, (n, P).
        given: whether these are starts of their own, not the model's initial values.
        free: of conditional fits, what the search says of the free ones: it spares them a search of their own near these.
    """
    fits = search(problem, starts, from_init=not given and not problem.held)
    _leave_floor(problem, fits)
    began, spare = fits.nll.copy(), np.full(len(problem), -np.inf)
    if may_have_second_minima(problem):
        if given:
            own = np.where(problem.fixed, starts, problem.model.parameters.init)
            _follow(problem, fits, propose_from_initial(problem, fits, own, _doubtful(fits, free, SAME_BASIN)))
        spare = _improve(problem, fits, _doubtful(fits, free, NEAR_FREE))
    every = np.arange(len(problem))
    for other in problem.model.starts:
        _follow(problem, fits, propose_from(problem, fits, np.where(problem.fixed, starts, other), every))
    minimise_at_zero(problem, fits)
    rescue(problem, fits)
    if not problem.errors:
        fits.errors[:] = np.nan
    moved = ~(fits.nll >= began - REPAIR)
    return fits, Searched(fits.nll, np.where(fits.ok & ~moved, spare, -np.inf))


def _leave_floor(problem: FitProblem, fits: Fits) -> None:
    """Search again where a fit ended at the floor of an expectation, from where the nll is still that of the model.

    A lower end at the floor is taken too: ``minimise_at_zero`` begins there.
    """
    rows = np.flatnonzero(fits.status == Status.AT_FLOOR)
    if rows.size:
        these = problem.of(rows)
        again = search(these, off_floor(these, fits.parameters[rows]))
        replace_rows(fits, again, rows, again.ok | (again.nll < fits.nll[rows] - REPAIR))
        fits.iterations[rows] += again.iterations


def _doubtful(fits: Fits, free: Searched | None, most: float) -> Int[np.ndarray, " some"]:
    """Fits that have to be searched for lower minima."""
    return np.arange(len(fits.nll)) if free is None else np.flatnonzero(~near_free(fits, free, most))


def _improve(problem: FitProblem, fits: Fits, rows: Int[np.ndarray, " some"]) -> Float[np.ndarray, " toy"]:
    """Search from where some fits may have a lower minimum, again as long as it helps; ``Searched.spare`` of all."""
    spare = np.full(len(problem), -np.inf)
    for _ in range(_ROUNDS):
        if not rows.size:
            break
        proposals, spare[rows] = propose(problem, fits, rows)
        before = fits.nll[proposals.rows].copy()
        _follow(problem, fits, proposals)
        rows = proposals.rows[~(fits.nll[proposals.rows] >= before - REPAIR)]
    return spare


def _follow(problem: FitProblem, fits: Fits, proposals: Proposals) -> None:
    """Search from what is proposed, and keep the lower fits."""
    if proposals.rows.size:
        keep_lower(fits, search(problem.of(proposals.rows), proposals.starts), proposals.rows)
