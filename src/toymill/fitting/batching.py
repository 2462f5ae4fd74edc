"""Toys in lanes and blocks: fixed shapes for the compiled programs, and the same bits in any company."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from toymill import budget
from toymill.fitting.device import device
from toymill.fitting.lanes import Program, Request, fit_lanes
from toymill.fitting.newton import Domain
from toymill.fitting.results import Ends
from toymill.fitting.scoring import Queues
from toymill.models.base import Model
from toymill.stopping import stop_if_asked

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from toymill.fitting.problem import FitProblem
    from toymill.fitting.results import Numbers

_FEWEST = (4, 16)  # toys of a block that the cache does not hold: of many data, and of few
_LONG_LOOP = 2**17  # bytes of a loop over all data of a block, beyond which more toys make it no more worth its start
_MATRICES = 4  # that the plain minimiser has of a toy at once, about


def block_size(model: Model, *, covariance: bool = False) -> int:
    """Toys a block: as many as keep its largest temporaries in cache, a power of two from 16 to 256.

    From 8 or 4 where a toy has more than 1,024 or 2,048 data: loops over them are long enough. Fewer only where their
    data or temporaries, or their covariances if these are wanted, would fill the memory.
    """
    here, data = device(), len(model.data_names)
    per_toy = max(model.tuning.block, data)
    held = max(per_toy, len(model.parameters) ** 2) if covariance else per_toy
    least = np.clip(_power_of_two(_LONG_LOOP, data), *_FEWEST)
    return int(
        min(
            np.clip(_power_of_two(here.budget(budget.CACHE_BLOCK), per_toy), least, here.toys),
            _power_of_two(here.budget(budget.MOST_OF_BLOCK), held),
        )
    )


def straggler_block_size(model: Model) -> int:
    """Toys a block of the plain minimiser, of a model that it fits only where Fisher scoring ended elsewhere: a few.

    Fewer than 8 where its matrices, a row for each parameter, would fill the memory.
    """
    here, matrices = device(), _MATRICES * len(model.parameters) ** 2
    return min(here.stragglers, _power_of_two(here.budget(budget.MOST_OF_BLOCK), matrices))


def _power_of_two(limit: int, numbers: int) -> int:
    """The largest power of two, 1 or more, of toys of so many numbers each that are no more than a limit in bytes."""
    return int(2 ** int(np.log2(max(limit // (8 * numbers), 1))))


class Hold(NamedTuple):
    """A parameter of each toy, (n,), which its search holds in its first ``steps``."""

    parameter: Int[np.ndarray, " toy"]
    steps: int


def in_calls(
    problem: FitProblem,
    starts: Float[np.ndarray, "toy parameter"],
    rows: Int[np.ndarray, " some"],
    limit: int,
    *,
    hold: Hold | None = None,
    certify: bool = True,
    from_init: bool = False,
) -> Iterator[tuple[Int[np.ndarray, " some"], Ends]]:
    """``fit_lanes`` on some rows of a problem, each in its lane: the rows of each call and their results, (k, …).

    Args:
        problem: what is fitted.
        starts: where each toy's search starts.
        rows: which toys.
        limit: the largest number of steps of Fisher scoring.
        hold: what is held at first, if anything.
        certify: False to stop within about 1e-4 of a minimum, without a Hessian.
        from_init: True where all toys start at the model's initial values and only parameters fixed by it are held.
    """
    model, size = problem.model, block_size(problem.model, covariance=problem.covariance)
    parameters = len(model.parameters)
    per_toy = 8 * parameters * (parameters if problem.covariance else 4)
    program = Program(model.kernel, model.tuning, problem.covariance)
    domain = Domain(model.parameters.bounds, problem.fixed)  # type: ignore[arg-type]
    steps = hold.steps if hold else 0
    request = Request(problem.tolerance, limit, steps, problem.column or 0, certify, problem.errors, from_init)
    for queued in in_queues(rows, problem.indices[rows] % size, size, per_toy):
        shape = (queued.places, size)
        queues = Queues(
            counts=queued.filled.sum(axis=0),
            start=queued.placed(starts),  # type: ignore[arg-type]
            data=queued.placed(problem.toys),  # type: ignore[arg-type]
            hold=np.full(shape, -1) if hold is None else queued.placed(hold.parameter),  # type: ignore[arg-type]
        )
        ends = fit_lanes(program, model.arrays, queues, domain, request, model.initial_step)
        yield queued.rows, Ends(*map(queued.of_toys, ends))


def in_queues(
    rows: Int[np.ndarray, " some"], lanes: Int[np.ndarray, " some"], size: int, per_toy: int
) -> Iterator[Queued]:
    """Rows, each in its lane of so many, in calls of compiled programs whose results take so many bytes a toy."""
    slots = in_lanes(lanes, size)
    here = device()
    places = int(np.clip(here.budget(budget.PROGRAM_RESULTS) // (per_toy * size), 1, here.places))
    if len(slots) <= here.few:
        places = min(places, here.few)
    for first in range(0, len(slots), places):
        stop_if_asked()
        chunk = slots[first : first + places]
        filled = chunk >= 0
        yield Queued(rows[chunk[filled]], filled, places)


class Queued(NamedTuple):
    """Which rows a call has, (k,), and which of its filled places and lanes, (n, T), of its N places, are theirs in turn."""

    rows: Int[np.ndarray, " some"]
    filled: Bool[np.ndarray, "filled lane"]
    places: int

    @property
    def used(self) -> int:
        """How many of its places are used."""
        return len(self.filled)

    def placed(self, values: np.ndarray) -> np.ndarray:
        """The values of these rows, (N, T, …), zero elsewhere; where rows are consecutive and fill all, no copy."""
        shape = (self.places, self.filled.shape[1], *values.shape[1:])
        first, count = int(self.rows[0]), len(self.rows)
        if count == shape[0] * shape[1] and (np.diff(self.rows) == 1).all():
            return values[first : first + count].reshape(shape)
        array = np.zeros(shape, dtype=values.dtype)
        array[: len(self.filled)][self.filled] = values[self.rows]
        return array

    def of_toys(self, values: Numbers | None) -> Any:
        """What a call says of these rows, (k, …)."""
        if values is None:
            return None
        array = np.asarray(values)[: len(self.filled)]
        return array.reshape(self.filled.size, *array.shape[2:]) if self.filled.all() else array[self.filled]


def in_lanes(lanes: Int[np.ndarray, " toy"], size: int) -> Int[np.ndarray, "block lane"]:
    """The row in every lane of every block, (N, size), each row in its lane, -1 where there is none."""
    order = np.argsort(lanes, kind="stable")
    sorted_lanes = lanes[order]
    block = np.empty(len(lanes), dtype=np.int64)
    block[order] = np.arange(len(lanes)) - np.searchsorted(sorted_lanes, sorted_lanes)
    found = np.full((int(block.max(initial=-1)) + 1, size), -1)
    found[block, lanes] = np.arange(len(lanes))
    return found


def blocks(
    rows: Int[np.ndarray, " toy"], lanes: Int[np.ndarray, " toy"], size: int
) -> Iterator[tuple[Int[np.ndarray, " lane"], Bool[np.ndarray, " lane"]]]:
    """Blocks of rows, each row in its lane, and which lanes hold one; an empty lane repeats a row of its block."""
    for slots in in_lanes(lanes, size):
        stop_if_asked()
        filled = slots >= 0
        yield rows[np.where(filled, slots, slots[filled][0])], filled


def toys_last(values: Float[np.ndarray, "toy item"], block: Int[np.ndarray, " lane"]) -> Float[np.ndarray, "item lane"]:
    """The rows of a block as compiled programs take them, (n, K) to (K, T)."""
    return np.ascontiguousarray(values[block].T)


def domain_of(problem: FitProblem) -> Domain:
    """Where a problem's parameters may be, for the plain minimiser."""
    model = problem.model
    kinks = model.kinks if model.kinks.any() else None
    return Domain(model.parameters.bounds, problem.fixed, kinks)  # type: ignore[arg-type]


def is_fast(model: Model) -> bool:
    """Whether Fisher scoring in lanes fits the model; the plain minimiser fits others."""
    return model.kernel.fast is not None and not model.kinks.any()
