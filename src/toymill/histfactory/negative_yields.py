"""Yields of a sample that shape variations make negative. Needs no JAX.

The additive part of a yield, nominal + Σ histosys, has no lower end. ROOT's ``PiecewiseInterpolation`` puts it to 0 where
it is negative; pyhf and toymill do not. The bin's expectation, a sum over samples, may be positive all the same.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from toymill.histfactory.expectation import added, even_part, yields
from toymill.models.negative_yields import IN_SIGMA, Cell, NegativeYields

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from toymill.formats.specification import Specification
    from toymill.histfactory.arrays import Templates
    from toymill.parameters import Parameters

_NUMBERS = 2**21  # of arrays that are held at once
_FAR = 1e3  # standard deviations that stand for a parameter without a bound


def negative_yields(
    specification: Specification, templates: Templates[np.ndarray], parameters: Parameters
) -> NegativeYields:
    """The cells of a model whose yields shape variations may make negative within the parameters' bounds.

    Args:
        specification: the model as its file states it.
        templates: the same as arrays.
        parameters: its parameters.
    """
    slots, bins = np.nonzero(_may_be_negative(templates, parameters))
    order = np.append(templates.order.parameters, -1)
    channels = [(item, i) for item in specification.channels for i in range(len(item.observed))]
    cells = []
    for slot, column in zip(slots.tolist(), bins.tolist(), strict=True):
        channel, place = channels[column]
        which = order[templates.multipliers.places[:, slot, column]].tolist()
        factors = tuple(parameters.names[p] for p in which if p >= 0)
        cells.append(Cell(channel.samples[slot].name, channel.name, place, factors))
    return NegativeYields(tuple(cells), partial(_at, templates, slots, bins))


def _at(
    templates: Templates[np.ndarray],
    slots: Int[np.ndarray, " cell"],
    bins: Int[np.ndarray, " cell"],
    parameters: Float[np.ndarray, "toy parameter"],
) -> Float[np.ndarray, "toy cell"]:
    """``NegativeYields.at`` of the cells in these slots and bins."""
    found = np.zeros((len(parameters), len(slots)))
    rows = np.flatnonzero(np.any(_added(templates, slots, bins, parameters) < 0, axis=1))
    a_toy = templates.nominal.size * (4 + len(templates.multipliers.places)) + 4 * templates.normsys.log_hi.size
    for block in np.array_split(rows, -(-len(rows) * a_toy // _NUMBERS)) if rows.size else ():
        shifted, multiplier = yields(templates, parameters[block].T)
        rates = shifted * multiplier
        spread = np.sqrt(np.maximum(rates.sum(axis=0), 0.0))[bins]
        value = rates[slots, bins]
        counts = (shifted[slots, bins] < 0) & (value < -IN_SIGMA * spread)
        found[block] = np.where(counts, value, 0.0).T
    return found


def _added(
    templates: Templates[np.ndarray],
    slots: Int[np.ndarray, " cell"],
    bins: Int[np.ndarray, " cell"],
    parameters: Float[np.ndarray, "toy parameter"],
) -> Float[np.ndarray, "toy cell"]:
    """The additive part of the yields of a few cells."""
    histosys = templates.histosys
    alpha = parameters[:, templates.order.interpolating[: len(histosys.linear)]]
    shifted = (
        alpha @ histosys.linear[:, slots, bins] + even_part(histosys.shape, alpha.T).T @ histosys.even[:, slots, bins]
    )
    found: np.ndarray = templates.nominal[slots, bins] + shifted
    return found


def _may_be_negative(templates: Templates[np.ndarray], parameters: Parameters) -> Bool[np.ndarray, "sample bin"]:
    """Cells whose additive part is negative at the initial values, or where every histosys goes down as far as it may."""
    histosys = templates.histosys
    which = templates.order.interpolating[: len(histosys.linear)]
    ends = np.where(parameters.fixed[which, None], parameters.init[which, None], parameters.bounds[which])
    far = np.max(np.abs(np.clip(ends, -_FAR, _FAR)), axis=1, initial=0.0)
    even = np.abs(even_part(histosys.shape, far))
    down = np.tensordot(far, np.abs(histosys.linear), 1) + np.tensordot(even, np.abs(histosys.even), 1)
    return (added(templates, parameters.init) < 0) | ((templates.nominal < down) & (down > 0))
