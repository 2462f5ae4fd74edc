"""The expectation of HistFactory's bins at one point, in NumPy: the plain twin of ``rates``. Needs no JAX.

For each sample in a bin, a cell, ν = (nominal + Σ histosys) · Π normsys · Π factors (CERN-OPEN-2012-016, eq. 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from toymill.histfactory.arrays import Normsys, Templates

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped


def expectation(templates: Templates[np.ndarray], x: Float[np.ndarray, " parameter"]) -> Float[np.ndarray, " bin"]:
    """Expected main data at one point."""
    found: np.ndarray = np.sum(np.multiply(*yields(templates, x)), axis=0)
    return found


def yields(
    templates: Templates[np.ndarray], x: Float[np.ndarray, " parameter *toy"]
) -> tuple[Float[np.ndarray, "sample bin *toy"], Float[np.ndarray, "sample bin *toy"]]:
    """The additive part of every cell's expectation at one point or at many, and its factor."""
    order, normsys = templates.order, templates.normsys
    theta, norm = x[order.parameters], x[order.interpolating][len(order.interpolating) - len(normsys.edge) :]
    scale = np.prod(_factors(normsys, norm[:, None, None]), axis=0)
    one = np.ones_like(theta[:1])
    factor = np.prod(np.concatenate([theta, one])[templates.multipliers.places], axis=0)
    return added(templates, x), scale[:, templates.bin_channel] * factor


def added(
    templates: Templates[np.ndarray], x: Float[np.ndarray, " parameter *toy"]
) -> Float[np.ndarray, "sample bin *toy"]:
    """The additive part of every cell's expectation, nominal + Σ histosys, at one point or at many."""
    histosys = templates.histosys
    hist = x[templates.order.interpolating[: len(histosys.linear)]]
    nominal = templates.nominal.reshape(*templates.nominal.shape, *(1,) * (x.ndim - 1))
    even = even_part(histosys.shape, hist)
    found: np.ndarray = nominal
    for part, values in ((histosys.linear, hist), (histosys.even, even)):
        found = found + np.tensordot(part, values, (0, 0))
    return found


def along(
    templates: Templates[np.ndarray], x: Float[np.ndarray, " parameter"], k: int, alphas: Float[np.ndarray, " value"]
) -> Float[np.ndarray, "value sample bin"]:
    """Every cell's expectation with the k-th of the parameters that interpolate at some values, the others at x."""
    histosys, normsys, interpolating = templates.histosys, templates.normsys, templates.order.interpolating
    shifted, multiplier = (part[None] for part in yields(templates, x))
    here = x[interpolating[k]]
    if k < len(histosys.linear):
        shape = histosys.shape[:, k]
        even = even_part(shape, alphas) - even_part(shape, here)
        shifted = shifted + (alphas - here)[:, None, None] * histosys.linear[k] + even[:, None, None] * histosys.even[k]
    n = k - (len(interpolating) - len(normsys.edge))
    if n >= 0:
        factor = _factors(normsys, alphas[:, None, None], n) / _factors(normsys, here, n)
        multiplier = multiplier * factor[:, :, templates.bin_channel]
    found: np.ndarray = shifted * multiplier
    return found


def even_part(shape: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """g(α), see ``arrays.Histosys.shape``."""
    edge, two, four, six, slope, offset = shape.reshape(*shape.shape, *(1,) * (np.ndim(alpha) + 1 - shape.ndim))
    square = alpha * alpha
    inside = square * (two + square * (four + square * six))
    found: np.ndarray = np.where(np.abs(alpha) < edge, inside, slope * np.abs(alpha) + offset)
    return found


def _factors(normsys: Normsys[np.ndarray], alpha: np.ndarray, only: int | None = None) -> np.ndarray:
    """The factors of all normsys parameters, or of one, at α, whose shape goes with (normsys, sample, channel, …)."""
    which, toys = slice(None) if only is None else slice(only, only + 1), (1,) * (alpha.ndim - 3)
    coefficients, hi, lo, edge = (
        part.reshape(*part.shape, *toys)
        for part in (
            normsys.polynomial[:, which],
            normsys.log_hi[which],
            normsys.log_lo[which],
            normsys.edge[which, None, None],
        )
    )
    polynomial = sum(c * alpha ** (k + 1) for k, c in enumerate(coefficients))
    exponential = np.exp(np.where(alpha > 0, hi, -lo) * alpha)
    found: np.ndarray = np.where(np.abs(alpha) < edge, 1 + polynomial, exponential)
    return found


def over_interpolating(
    templates: Templates[np.ndarray],
    hist: Shaped[np.ndarray, "histosys ..."] | None,
    norm: Shaped[np.ndarray, "normsys ..."] | None,
) -> Shaped[np.ndarray, "interpolating ..."]:
    """What parameters do by their histosys plus what they do by their normsys, None for nothing at all."""
    size = len(templates.order.interpolating)
    given = hist if hist is not None else norm
    assert given is not None
    found = np.zeros((size, *given.shape[1:]), dtype=given.dtype)
    if hist is not None:
        found[: len(hist)] += hist
    if norm is not None:
        found[size - len(norm) :] += norm
    return found
