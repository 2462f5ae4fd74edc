"""Counts of numbers of any size in cells whose width is a 128th of their size or less: histograms that add over shards.

A cell is what shares a sign, a power of two and the seven bits that follow: no scale has to be known before, and
counts of different toys add. Cells are stored if they are not empty, as rows (which, count) in the order of ``which``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from toymill.inference.counting import Distribution

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    Cells = Int[np.ndarray, "filled 2"]

_SHIFT = 52 - 7  # bits of a double that a cell does not tell apart
_ZERO = 2**18  # place of the cell that begins at 0; those below are of negative numbers
_PLACES = 2**19  # of a column


def no_cells() -> Cells:
    """No counts."""
    return np.zeros((0, 2), dtype=np.int64)


def counted(values: Float[np.ndarray, "toy column"]) -> Cells:
    """The finite values of each column, counted in cells.

    Example:
        >>> counted(np.array([[1.0, 0.5], [1.001, np.nan]])).tolist()
        [[393088, 2], [917248, 1]]
    """
    parts = [no_cells()]
    for column in range(values.shape[1]):
        x = values[:, column]
        x = x[np.isfinite(x)]
        if x.size:
            size = (np.abs(x).view(np.int64) >> _SHIFT).astype(np.int32)
            place = np.where(x < 0, _ZERO - 1 - size, _ZERO + size)
            place.sort()
            begin = _begins(place)
            counts = np.diff(np.append(begin, len(place)))
            parts.append(np.stack([place[begin] + np.int64(column * _PLACES), counts], axis=1))
    return np.concatenate(parts)


def together(one: Cells, other: Cells) -> Cells:
    """The counts of two lots of toys."""
    if not len(one) or not len(other):
        return one if len(one) else other
    both = np.concatenate([one, other])
    both = both[np.argsort(both[:, 0], kind="stable")]
    begin = _begins(both[:, 0])
    return np.stack([both[begin, 0], np.add.reduceat(both[:, 1], begin)], axis=1)


def _begins(ordered: Int[np.ndarray, " number"]) -> Int[np.ndarray, " run"]:
    """Where runs of equal numbers begin."""
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def distribution(cells: Cells, column: int, origin: float = 0.0) -> Distribution:
    """The values of a column, each put to ``origin`` and evenly into its cell."""
    begin, end = np.searchsorted(cells[:, 0], [column * _PLACES, (column + 1) * _PLACES])
    place = cells[begin:end, 0] - column * _PLACES - _ZERO
    low, high = _edge(place), _edge(place + 1)
    return Distribution(origin + low, origin + high, cells[begin:end, 1])


def _edge(place: Int[np.ndarray, " cell"]) -> Float[np.ndarray, " cell"]:
    """The lower end of a cell, counted from that which begins at 0."""
    size = (np.abs(place) << _SHIFT).view(np.float64)
    edge: np.ndarray = np.where(place < 0, -size, size)
    return edge
