"""Toys whose search ended before a minimum: other minimisers go on, one by one, and a search certifies where they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy

from toymill.fitting.minuit import minuit_fit, of_dataset
from toymill.fitting.results import Fits, finite_or, keep_lower
from toymill.fitting.search import search
from toymill.fitting.status import Status

if TYPE_CHECKING:
    from jaxtyping import Float

    from toymill.fitting.problem import FitProblem

_REMEMBERED = 50  # changes of the gradient: a bent valley 1e8 times as steep across as along takes 1,500 steps
_MOST = 2500  # evaluations of the gradient: a toy without a minimum takes them all


def rescue(problem: FitProblem, fits: Fits) -> None:
    """Fit toys that are NOT_CONVERGED with iminuit; where a search does not certify its minimum, on from there by L-BFGS-B."""
    for row in np.flatnonzero(fits.status == Status.NOT_CONVERGED):
        one = problem.of(np.array([row]))
        held = {name: float(np.squeeze(value)) for name, value in one.held.items()}
        found = minuit_fit(problem.model, one.toys[0], held).parameters
        again = search(one, found[None])
        if not again.ok[0]:
            again = search(one, _along_valleys(one, found)[None])
        again.status[again.ok] = Status.RESCUED
        keep_lower(fits, again, np.array([row]))


def _along_valleys(problem: FitProblem, start: Float[np.ndarray, " parameter"]) -> Float[np.ndarray, " parameter"]:
    """Where L-BFGS-B ends, for one toy.

    Newton steps are short in a bent valley: its Hessian is that of the tangent. Corrections by many changes of the gradient
    follow the bend (Byrd, Lu, Nocedal & Zhu, SIAM J. Sci. Comput. 16 (1995) 1190).
    """
    parameters = problem.model.parameters
    nll, gradient = of_dataset(problem.model, problem.toys[0])
    found = scipy.optimize.minimize(
        nll,
        finite_or(start, parameters.init),
        jac=gradient,
        method="L-BFGS-B",
        bounds=np.where(problem.fixed[:, None], start[:, None], parameters.bounds),
        options={"maxcor": _REMEMBERED, "maxfun": _MOST, "maxiter": _MOST, "ftol": 0.0, "gtol": 0.0},
    )
    end: np.ndarray = found.x
    return end
