"""Toys in lanes and blocks: fixed shapes for the compiled programs, and the same bits in any company."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from toymill.fitting.results import Wanted
from toymill.fitting.scoring import Ends, fit_lanes
from toymill.models.base import Model

_BLOCK_BYTES = 4 * 2**20  # the largest temporaries of a block then stay in a core's second-level cache
_MOST_BYTES = 2**29  # the largest temporaries of a block at all
_CALL_BYTES = 2**24  # results of one call of the compiled program, which goes through several blocks


def block_size(model: Model) -> int:
    """Toys a block: as many as keep its largest temporaries in cache, a power of two from 16 to 256.

    Fewer than 16 only where their data or temporaries would fill the memory.
    """
    per_toy = 8 * len(model.parameters) * max(len(model.parameters), model.tuning.width)
    cached, fitting = (
        2 ** int(np.log2(max(limit // max(per_toy, 8 * len(model.data_names)), 1)))
        for limit in (_BLOCK_BYTES, _MOST_BYTES)
    )
    return int(min(np.clip(cached, 16, 256), fitting))


def in_calls(
    model: Model,
    toys: np.ndarray,
    starts: np.ndarray,
    mask: np.ndarray,
    indices: np.ndarray,
    rows: np.ndarray,
    *,
    kept: np.ndarray | None = None,
    led: int = 0,
    tolerance: float,
    limit: int,
    wanted: Wanted,
    certify: bool,
) -> Iterator[tuple[np.ndarray, Ends]]:
    """``fit_lanes`` on some rows, each in its lane: the rows of each call and its results, (k, …)."""
    size, parameters = block_size(model), len(model.parameters)
    per_toy = 8 * parameters * (parameters if wanted.covariance else 4)
    places = int(np.clip(_CALL_BYTES // (per_toy * size), 1, 128))
    slots = in_lanes(indices[rows] % size, size)
    for first in range(0, len(slots), places):
        chunk = slots[first : first + places]
        filled = chunk >= 0
        here = rows[chunk[filled]]

        def placed(values: np.ndarray, here: np.ndarray = here, filled: np.ndarray = filled) -> np.ndarray:
            array = np.zeros((places, size, *values.shape[1:]), dtype=values.dtype)
            array[: len(filled)][filled] = values[here]
            return array

        ends = fit_lanes(
            model.kernel,
            model.arrays,
            filled.sum(axis=0),
            placed(starts),
            placed(toys),
            np.full((places, size), -1) if kept is None else placed(kept),
            led,
            model.parameters.bounds,
            mask,
            tolerance,
            limit,
            wanted.column or 0,
            certify,
            full=wanted.covariance,
            tuning=model.tuning,
        )
        yield here, Ends(*(None if item is None else np.asarray(item)[: len(filled)][filled] for item in ends))


def in_lanes(lanes: np.ndarray, size: int) -> np.ndarray:
    """The row in every lane of every block, (N, size), each row in its lane, -1 where there is none."""
    order = np.argsort(lanes, kind="stable")
    sorted_lanes = lanes[order]
    block = np.empty(len(lanes), dtype=np.int64)
    block[order] = np.arange(len(lanes)) - np.searchsorted(sorted_lanes, sorted_lanes)
    found = np.full((int(block.max(initial=-1)) + 1, size), -1)
    found[block, lanes] = np.arange(len(lanes))
    return found


def blocks(rows: np.ndarray, lanes: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of rows, each row in its lane, and which lanes hold one; an empty lane repeats a row of its block."""
    for slots in in_lanes(lanes, size):
        filled = slots >= 0
        yield rows[np.where(filled, slots, slots[filled][0])], filled


def toys_last(values: np.ndarray, block: np.ndarray) -> np.ndarray:
    """The rows of a block as compiled programs take them, (n, K) to (K, T)."""
    return np.ascontiguousarray(values[block].T)


def kinks_of(model: Model) -> np.ndarray | None:
    """The model's ``kinks``, or None if it has none."""
    return model.kinks if model.kinks.any() else None


def is_fast(model: Model) -> bool:
    """Whether Fisher scoring in lanes fits the model; the plain minimiser fits others."""
    return model.kernel.fast is not None and kinks_of(model) is None
