"""The file of a comparison of optimisers: what each made of every toy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from toymill.results.hdf5 import ShardKey, atomically, texts, write_dataset, write_key

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Num


class Outcome(NamedTuple):
    """What one optimiser made of n toys.

    Attributes:
        parameters: where it ended, (n, P).
        success: whether it says that it has converged, (n,).
        iterations: its steps, (n,); NaN where it does not tell.
        values: evaluations of the nll, (n,).
        gradients: evaluations of the gradient, (n,).
        hessians: evaluations of the Hessian, (n,).
        seconds: wall time of all toys, after a first call.
        first_call: seconds of a first call on one toy or block: compilation, or reading it from the cache.
    """

    parameters: Float[np.ndarray, "toy parameter"]
    success: Bool[np.ndarray, " toy"]
    iterations: Num[np.ndarray, " toy"]
    values: Num[np.ndarray, " toy"]
    gradients: Num[np.ndarray, " toy"]
    hessians: Num[np.ndarray, " toy"]
    seconds: float
    first_call: float


def write_comparison(path: str | Path, key: ShardKey, outcomes: Mapping[str, Outcome], names: Sequence[str]) -> None:
    """Write what each optimiser made of an ensemble's toys."""
    meanings = {
        "parameters": "where it ended, in the units of the model",
        "success": "whether it says that it has converged",
        "iterations": "its steps; NaN where it does not tell",
        "values": "evaluations of the nll",
        "gradients": "evaluations of the gradient",
        "hessians": "evaluations of the Hessian",
    }
    with atomically(path) as file:
        write_key(file, "toymill-optimisers", key)
        file.attrs["parameters"] = texts(names)
        for method, outcome in outcomes.items():
            group = file.create_group(method)
            for name, meaning in meanings.items():
                write_dataset(group, name, getattr(outcome, name), meaning)
