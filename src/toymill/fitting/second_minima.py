"""Second minima: where fits may have a lower minimum than the one that they ended in.

Nothing here fits: places are proposed, and ``fit`` searches from there. docs/second-minima.md has the theory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from toymill import budget
from toymill.fitting.batching import block_size, in_queues
from toymill.fitting.descent import descend, descend_beside
from toymill.fitting.device import device
from toymill.fitting.newton import Domain
from toymill.fitting.results import Fits, finite_or
from toymill.models.base import Kernel

if TYPE_CHECKING:
    from jax import Array
    from jaxtyping import Bool, Float, Int, PyTree

    from toymill.fitting.problem import FitProblem

    _Program = Callable[[Kernel, PyTree, "Ended", Domain], tuple[Array, ...]]

WORTH = 1e-6
"""A descent that ends lower than a fit by this is followed to its minimum."""

NEAR_FREE = 0.25
"""A conditional fit less than this above the free one may be spared a search of its own."""

SAME_BASIN = 1.0
"""The same for the descent from the initial values, from which the free fit began."""

_LEADS_BACK = 0.04  # a first step that ends within so much of a fit, in units of the nll, leads there
_SAME_FACTOR = 0.15  # and no factor with a Poisson constraint may be off by so much of its initial value
_PASSES = 64  # over parameters and data there: as few toys at once as stay in cache
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


class Searched(NamedTuple):
    """What a search for second minima says of fits.

    Attributes:
        nll: of the fits, (n,).
        spare: by how much the likeliest second minimum is foreseen to lie above those that are tried, (n,); -∞ where one was
            found, and where nothing was searched.
    """

    nll: Float[np.ndarray, " toy"]
    spare: Float[np.ndarray, " toy"]


def may_have_second_minima(problem: FitProblem) -> bool:
    """Whether any parameter that moves may have two minima."""
    return bool((problem.model.two_minima & ~problem.fixed).any())


def near_free(fits: Fits, free: Searched, most: float) -> Bool[np.ndarray, " toy"]:
    """Conditional fits so near to the free ones, less than ``most`` above, that no other minimum is expected to be lower.

    Another minimum is no lower in a conditional fit than in the free one. It may be lower than a conditional fit only if it
    lies less than t_μ/2 above the free fit.
    """
    above = fits.nll - free.nll
    near: np.ndarray = fits.ok & (above > -WORTH) & (above < np.minimum(free.spare, most))
    return near


def propose(
    problem: FitProblem, fits: Fits, rows: Int[np.ndarray, " some"]
) -> tuple[Proposals, Float[np.ndarray, " some"]]:
    """Where some rows of the fits may have a lower minimum along some parameter, and their ``Searched.spare``.

    A parameter is first held at its place there, until the others have followed: they may lead back otherwise.
    """
    trials, spare = _trials(problem.of(rows), finite_or(fits.parameters[rows], problem.model.parameters.init))
    row = rows[trials.row]
    known = np.where(fits.ok, fits.nll, np.inf)[row]
    x, nll = descend_beside(problem.of(row), trials.start, trials.hold, known)
    order = np.argsort(nll, kind="stable")
    rows, lowest = np.unique(row[order], return_index=True)
    best = order[lowest]
    worth = _is_worth(fits, rows, nll[best])
    return Proposals(rows[worth], x[best[worth]]), spare


def propose_from_initial(
    problem: FitProblem, fits: Fits, starts: Float[np.ndarray, "toy parameter"], rows: Int[np.ndarray, " some"]
) -> Proposals:
    """The same as ``propose_from`` of initial values, of those fits to which these do not obviously lead."""
    return propose_from(problem, fits, starts, rows[~_leads_back(problem, fits, starts)[rows]])


def propose_from(
    problem: FitProblem,
    fits: Fits,
    starts: Float[np.ndarray, "toy parameter"],
    rows: Int[np.ndarray, " some"],
) -> Proposals:
    """Where some fits may have a lower minimum: at the end of a descent from a start of its own."""
    x, nll = descend(problem.of(rows), starts[rows])
    worth = _is_worth(fits, rows, nll)
    return Proposals(rows[worth], x[worth])


def _leads_back(
    problem: FitProblem, fits: Fits, starts: Float[np.ndarray, "toy parameter"]
) -> Bool[np.ndarray, " toy"]:
    """Where the first step of Fisher scoring, from a start that is the same for all, ends next to a certified fit.

    The step is linear in the data, and so one matrix is enough. Where toys hold different values, none is said to do so.
    """
    back = np.zeros(len(problem), dtype=bool)
    if any(np.ndim(value) for value in problem.held.values()):
        return back
    model, free = problem.model, ~problem.fixed
    first = model.first_step(starts[0], problem.fixed) if model.first_step else None
    if first is None:
        return back
    start, (low, high) = starts[0, free], model.parameters.bounds[free].T
    slope, information = first.slope[free].T, first.information[np.ix_(free, free)]
    poisson = np.array(model.parameters.constraint)[free] == "poisson"
    reach = np.where(poisson, _SAME_FACTOR * np.abs(start), np.inf)
    size = block_size(model)
    for queued in in_queues(np.arange(len(problem)), problem.indices % size, size, _PASSES * 8 * len(start)):
        # In blocks of one shape: the same sums in any company.
        toys, ends = (queued.placed(values)[: queued.used] for values in (problem.toys, fits.parameters))
        away = np.clip(start + (toys - first.expected) @ slope, low, high) - ends[..., free]
        near = 0.5 * np.sum((away @ information) * away, axis=-1) < _LEADS_BACK
        back[queued.rows] = queued.of_toys(near & (np.abs(away) < reach).all(axis=-1))
    back &= fits.ok
    return back


def _is_worth(fits: Fits, rows: Int[np.ndarray, " some"], nll: Float[np.ndarray, " some"]) -> Bool[np.ndarray, " some"]:
    worth: np.ndarray = ~fits.ok[rows] | (nll < fits.nll[rows] - WORTH)
    return worth


def _trials(problem: FitProblem, x: Float[np.ndarray, "toy parameter"]) -> tuple[_Trials, Float[np.ndarray, " toy"]]:
    """What the kernel's ``second_minima`` names, one at a time and all together, and where parameters move together.

    And how far above what is tried the likeliest is that is not; -∞ where any is.
    """
    found, spare = [_back_to_constraints(problem, x)], np.full(len(problem), np.inf)
    likely: list[list[np.ndarray]] = []
    for rows, (gap, value, products, undone) in _in_blocks(problem, x, np.arange(len(problem)), _second_minima):
        few = np.flatnonzero((gap < _LIKELY).any(axis=1))
        found += _trials_of(rows[few], x[rows[few]], gap[few], value[few])
        found.append(_undone(problem, x, rows, undone))
        likely.append([rows[foreseen < _LIKELY_PRODUCT] for foreseen in products.T])
        spare[rows] = np.minimum(_least(gap) - _LIKELY, _least(products) - _LIKELY_PRODUCT)
    for number, parts in enumerate(zip(*likely, strict=True)):
        one = partial(_product, number=number)
        for rows, (gap, start) in _in_blocks(problem, x, np.sort(np.concatenate(parts)), one):
            few = np.flatnonzero(gap < _LIKELY_PRODUCT)
            found.append(_Trials(rows[few], np.full(len(few), -1), start[few]))
    trials = _Trials(*(np.concatenate(part) for part in zip(*found, strict=True)))
    spare[trials.row] = -np.inf
    return trials, spare


def _least(gaps: Float[np.ndarray, "some place"]) -> Float[np.ndarray, " some"]:
    least: np.ndarray = np.min(gaps, axis=1, initial=np.inf)
    return least


def _undone(
    problem: FitProblem,
    x: Float[np.ndarray, "toy parameter"],
    rows: Int[np.ndarray, " some"],
    undone: Bool[np.ndarray, "some parameter"],
) -> _Trials:
    """Trials of some rows with a parameter at its lower bound."""
    few, parameter = np.nonzero(undone)
    start = x[rows[few]]
    start[np.arange(len(few)), parameter] = problem.model.parameters.bounds[parameter, 0]
    return _Trials(rows[few], np.full(len(few), -1), start)


def _in_blocks(
    problem: FitProblem, x: Float[np.ndarray, "toy parameter"], rows: Int[np.ndarray, " some"], program: _Program
) -> Iterator[tuple[Int[np.ndarray, " some"], list[np.ndarray]]]:
    """A program on some rows of a problem, each in its lane: the rows of each call and what it says of them, (k, …)."""
    model = problem.model
    bins, doubtful = int(np.sum(~model.sampling.auxiliary)), int(np.sum(model.two_minima))
    evaluated = model.tuning.scanned + 1  # and the fit
    per_toy = 8 * bins * (min(bins, len(problem.fixed)) + evaluated * doubtful)
    size = block_size(model)
    while size > 1 and size * per_toy > device().budget(budget.PROFILES):
        size //= 2
    domain = Domain(model.parameters.bounds, problem.fixed)  # type: ignore[arg-type]
    for queued in in_queues(rows, problem.indices[rows] % size, size, 8 * 4 * x.shape[1]):
        ended = Ended(queued.used, queued.placed(x), queued.placed(problem.toys))  # type: ignore[arg-type]
        yield queued.rows, [queued.of_toys(part) for part in program(model.kernel, model.arrays, ended, domain)]


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


class Ended(NamedTuple):
    """Fits in blocks: how many blocks there are, where the fits ended, and the toys."""

    used: Int[Array, ""]
    x: Float[Array, "block lane parameter"]
    data: Float[Array, "block lane datum"]


@partial(jax.jit, static_argnames=("kernel",))
def _second_minima(kernel: Kernel, arrays: PyTree, ended: Ended, domain: Domain) -> tuple[Array, ...]:
    """The likeliest second minima of fits, each (block, lane, …); see ``Kernel.second_minima``."""
    return _of_each_block(ended, lambda x, data: kernel.second_minima(arrays, x, data, domain.fixed, domain.bounds))


@partial(jax.jit, static_argnames=("kernel",))
def _product(kernel: Kernel, arrays: PyTree, ended: Ended, domain: Domain, number: Int[Array, ""]) -> tuple[Array, ...]:
    """One product, (block, lane, …); see ``Kernel.product``."""
    return _of_each_block(ended, lambda x, data: kernel.product(arrays, x, data, domain.fixed, domain.bounds, number))


def _of_each_block(ended: Ended, function: Callable[[Array, Array], tuple[Array, ...]]) -> tuple[Array, ...]:
    """A function of parameters and data, toys last, of one block after the other; (block, lane, …)."""

    @partial(jax.jit, inline=True)  # traced once, for the shapes and for the loop
    def of(number: Int[Array, ""]) -> tuple[Array, ...]:
        found = function(ended.x[number].T, ended.data[number].T)
        return tuple(jnp.moveaxis(values, -1, 0) for values in found)

    def put(number: Int[Array, ""], every: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(old.at[number].set(new) for old, new in zip(every, of(number), strict=True))

    shapes = jax.eval_shape(of, ended.used)
    empty = tuple(jnp.zeros((len(ended.x), *one.shape), dtype=one.dtype) for one in shapes)
    filled: tuple[Array, ...] = lax.fori_loop(0, ended.used, put, empty)
    return filled
