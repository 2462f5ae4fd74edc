"""Yields of a sample that a model's parameters make negative: which may be, and which are. Needs no JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

IN_SIGMA = 0.1
"""A yield is counted that lies below 0 by more than so many standard deviations √ν of its bin's count."""


class Cell(NamedTuple):
    """A sample in a bin.

    Attributes:
        sample: the sample.
        channel: its channel.
        bin: the bin in the channel, from 0.
        factors: the parameters that multiply the yield themselves.
    """

    sample: str
    channel: str
    bin: int
    factors: tuple[str, ...]


class NegativeYields(NamedTuple):
    """The cells of a model whose yields may be negative.

    Attributes:
        cells: these cells, C of them.
        at: their yields that are negative, 0 for the others and for those that ``IN_SIGMA`` leaves out: parameters of
            shape (n, P) to (n, C).
    """

    cells: tuple[Cell, ...]
    at: Callable[[Float[np.ndarray, "toy parameter"]], Float[np.ndarray, "toy cell"]]
