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
    Ratios = Callable[[Float[np.ndarray, "toy datum"]], Float[np.ndarray, "truth toy"]]

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
    ratios = _evaluated(model, truths, null) if model.draw is not None else _of_counts(model, truths, null)
    for first in range(0, chunks * size, size):
        found[:, first : first + size] = ratios(toys(first, size))
    return found[:, :count]


def _evaluated(model: Model, truths: Sequence[Point], null: Point) -> Ratios:
    """ln f/f_0 as the model evaluates both."""

    def ratios(data: Float[np.ndarray, "toy datum"]) -> Float[np.ndarray, "truth toy"]:
        f_0 = np.asarray(model.logpdf(null, data))
        return np.stack([np.asarray(model.logpdf(truth, data)) - f_0 for truth in truths])

    return ratios


def _of_counts(model: Model, truths: Sequence[Point], null: Point) -> Ratios:
    """The same where every datum is a Poisson count or a normal variable of known width: linear in the data.

    For expectations ν, ν_0 of a count n it is n ln(ν / ν_0) - (ν - ν_0), for those of a normal variable a
    (ν - ν_0) (a - (ν + ν_0) / 2) / σ². Sums are about the data's expectations ν_0, so that few digits cancel.
    """
    sampling, null_mean = model.sampling, np.asarray(model.expected_data(null))
    means = np.stack([np.asarray(model.expected_data(truth)) for truth in truths])
    if not (np.vstack([means, null_mean])[:, sampling.poisson] > 0).all():  # n ln 0 is no product
        return _evaluated(model, truths, null)
    apart = means - null_mean
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log(means / null_mean)
        slope = np.where(sampling.poisson, log, apart / sampling.sigma**2)
        at_null = np.where(sampling.poisson, null_mean * log - apart, -(apart**2) / (2 * sampling.sigma**2)).sum(axis=1)
    return lambda data: slope @ (data - null_mean).T + at_null[:, None]
