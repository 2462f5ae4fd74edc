"""Densities of toys at truth points that they were not thrown at, from toys that are thrown again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from toymill.budget import TOYS
from toymill.models.base import Model

if TYPE_CHECKING:
    from jaxtyping import Float

    Point = Float[np.ndarray, " parameter"]

_COPIES = 8  # of a toy's data and parameters that an evaluation holds


def log_ratios_of(
    model: Model,
    toys: Callable[[int, int], Float[np.ndarray, "toy datum"]],
    count: int,
    truths: Sequence[Point],
    null: Point,
) -> Float[np.ndarray, "truth toy"]:
    """ln f/f_0 of the first toys of an ensemble, chunk by chunk: (T, count).

    Args:
        model: the model, whose densities are of all data, auxiliary data included.
        toys: the ensemble's toys, by the index of the first and their number.
        count: how many.
        truths: the truth points of the densities f, T times (P,).
        null: that of f_0, (P,).
    """
    most = max(TOYS // (8 * _COPIES * (len(model.data_names) + len(null))), 1)
    chunks = -(-count // most)
    size = -(-count // chunks)  # the same for all chunks, so that it is compiled once
    found = np.empty((len(truths), chunks * size))
    for first in range(0, chunks * size, size):
        data = toys(first, size)
        f_0 = np.asarray(model.logpdf(null, data))
        for row, truth in zip(found, truths, strict=True):
            row[first : first + size] = np.asarray(model.logpdf(truth, data)) - f_0
    return found[:, :count]
