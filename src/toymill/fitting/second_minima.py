"""Second minima: where fits may have a lower minimum than the one that they ended in.

Nothing here fits: places are proposed, and ``fit`` searches from there. docs/second-minima.md has the theory.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from toymill import budget
from toymill.fitting.batching import block_size, blocks, toys_last
from toymill.fitting.descent import descend, descend_beside
from toymill.fitting.device import device
from toymill.fitting.results import Fits, finite_or
from toymill.models.base import Kernel

if TYPE_CHECKING:
    from jax import Array
    from jaxtyping import Bool, Float, Int, PyTree

    from toymill.fitting.problem import FitProblem

WORTH = 1e-6
"""A descent that ends lower than a fit by this is followed to its minimum."""

_LIKELY = 0.25  # a second minimum is looked for where it is expected less than this above the fit
_FAR_PULL = 4.0  # standard deviations of a normal constraint from which on a parameter is tried at its initial value
_LIKELY_PRODUCT = 0.75  # the same of one in which several parameters move together


class Proposals(NamedTuple):
    """Searches that promise a lower minimum: the row of each, (k,), and where it starts, (k, P)."""

    rows: Int[np.ndarray, " proposal"]
    starts: Float[np.ndarray, "proposal parameter"]


class _Trials(NamedTuple):
    """Where fits may have second minima: the row of each, a parameter to hold at first or -1, and a point."""

    row: Int[np.ndarray, " trial"]
    hold: Int[np.ndarray, " trial"]
    start: Float[np.ndarray, "trial parameter"]


def may_have_second_minima(problem: FitProblem) -> bool:
    """Whether any parameter that moves may have two minima."""
    return bool((problem.model.two_minima & ~problem.fixed).any())


def propose(problem: FitProblem, fits: Fits, rows: Int[np.ndarray, " some"]) -> Proposals:
    """Where some rows of the fits may have a lower minimum along some parameter.

    A parameter is first held at its place there, until the others have followed: they may lead back otherwise.
    """
    trials = _trials(problem.of(rows), finite_or(fits.parameters[rows], problem.model.parameters.init))
    row = rows[trials.row]
    known = np.where(fits.ok, fits.nll, np.inf)[row]
    x, nll = descend_beside(problem.of(row), trials.start, trials.hold, known)
    order = np.argsort(nll, kind="stable")
    rows, lowest = np.unique(row[order], return_index=True)
    best = order[lowest]
    worth = _is_worth(fits, rows, nll[best])
    return Proposals(rows[worth], x[best[worth]])


def propose_from(problem: FitProblem, fits: Fits, starts: Float[np.ndarray, "toy parameter"]) -> Proposals:
    """Where every fit may have a lower minimum: at the end of a descent from a start of its own."""
    x, nll = descend(problem, starts)
    rows = np.flatnonzero(_is_worth(fits, np.arange(len(problem)), nll))
    return Proposals(rows, x[rows])


def _is_worth(fits: Fits, rows: Int[np.ndarray, " some"], nll: Float[np.ndarray, " some"]) -> Bool[np.ndarray, " some"]:
    worth: np.ndarray = ~fits.ok[rows] | (nll < fits.nll[rows] - WORTH)
    return worth


def _trials(problem: FitProblem, x: Float[np.ndarray, "toy parameter"]) -> _Trials:
    """What the kernel's ``second_minima`` names, one at a time and all together, and where parameters move together.

    It is asked for many toys in blocks of one shape, each toy in its lane.
    """
    model = problem.model
    bins, doubtful = int(np.sum(~model.sampling.auxiliary)), int(np.sum(model.two_minima))
    evaluated = model.tuning.scanned + 1  # and the fit
    per_toy = 8 * bins * (min(bins, len(problem.fixed)) + evaluated * doubtful)
    size = block_size(model)
    while size > 1 and size * per_toy > device().budget(budget.PROFILES):
        size //= 2
    bounds = model.parameters.bounds
    found = [_back_to_constraints(problem, x)]
    for block, filled in blocks(np.arange(len(problem)), problem.indices % size, size):
        at, data = toys_last(x, block), toys_last(problem.toys, block)
        named = _second_minima(model.kernel, model.arrays, at, data, problem.fixed, bounds)
        gap, value, product_gap, product = map(np.asarray, named)
        likely = (gap < _LIKELY).any(axis=0) | (product_gap < _LIKELY_PRODUCT).any(axis=0)
        few = np.flatnonzero(filled & likely)
        found += _trials_of(block[few], x[block[few]], gap[:, few].T, value[:, few].T)
        row, number = np.nonzero(product_gap[:, few].T < _LIKELY_PRODUCT)
        found.append(_Trials(block[few[row]], np.full(len(row), -1), product[number, :, few[row]]))
    return _Trials(*(np.concatenate(part) for part in zip(*found, strict=True)))


def _back_to_constraints(problem: FitProblem, x: Float[np.ndarray, "toy parameter"]) -> _Trials:
    """Trials with a parameter at its initial value that a fit pulls far from it, against its normal constraint; and all such.

    A pull of many standard deviations is a sign that something else could take its part.
    """
    model = problem.model
    sampling, parameters = model.sampling, model.parameters
    sigma = np.full(len(parameters), np.inf)
    of = np.flatnonzero(~sampling.poisson & (sampling.parameter >= 0))
    sigma[sampling.parameter[of]] = sampling.sigma[of]
    low, high = parameters.bounds.T
    far = (np.abs(x - parameters.init) > _FAR_PULL * sigma) | (((x <= low) | (x >= high)) & np.isfinite(sigma))
    far &= ~problem.fixed
    row, parameter = np.nonzero(far)
    start = x[row]
    start[np.arange(len(row)), parameter] = parameters.init[parameter]
    several = np.flatnonzero(far.sum(axis=1) > 1)
    together = np.where(far, parameters.init, x)[several]
    return _Trials(
        np.concatenate([row, several]),
        np.concatenate([parameter, np.argmax(np.abs(together - x[several]), axis=1)]),
        np.concatenate([start, together]),
    )


def _trials_of(
    rows: Int[np.ndarray, " toy"],
    x: Float[np.ndarray, "toy parameter"],
    gap: Float[np.ndarray, "toy parameter"],
    value: Float[np.ndarray, "toy parameter"],
) -> list[_Trials]:
    """Trials along each parameter that has a likely second minimum, and of all of a toy's together."""
    likely = gap < _LIKELY
    row, parameter = np.nonzero(likely)
    start = x[row]
    start[np.arange(len(row)), parameter] = value[row, parameter]
    several = np.flatnonzero(likely.sum(axis=1) > 1)
    together = np.where(likely, value, x)[several]
    return [
        _Trials(rows[row], parameter, start),
        _Trials(rows[several], np.argmax(np.abs(together - x[several]), axis=1), together),
    ]


@partial(jax.jit, static_argnames=("kernel",))
def _second_minima(
    kernel: Kernel,
    arrays: PyTree,
    x: Float[Array, "parameter lane"],
    data: Float[Array, "datum lane"],
    fixed: Bool[Array, " parameter"],
    bounds: Float[Array, "parameter 2"],
) -> tuple[Float[Array, "... lane"], ...]:
    """The likeliest second minima of fits that ended at x; see ``Kernel.second_minima``."""
    return tuple(kernel.second_minima(arrays, x, data, fixed, bounds))
