"""Sparse sums over samples, bins and parameters: which terms are not zero, in groups of sums of similar length.

In a published workspace one in eight of parameters × samples × channels has a systematic. Sums are grouped by their number
of terms, one, up to two, up to four, and so on, so that each group is written out without many idle terms. Needs no JAX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from toymill.histfactory.arrays import Products, ScaleGroup, ScaleSums, ShiftGroup, ShiftSums

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


class _Group(NamedTuple):
    """Sums of similar length: row and bin of each, (sum, 1), and its samples, (sum, term), -1 where it has fewer terms."""

    row: np.ndarray
    bin: np.ndarray
    samples: np.ndarray


def _groups(present: Bool[np.ndarray, "row sample bin"]) -> tuple[list[_Group], Int[np.ndarray, "row bin"]]:
    """The terms of sums over samples that are not zero.

    Returns:
        Sums of one term, of up to two, up to four, and so on; and the position of each sum among all of them, their number
        for those without a term.
    """
    counts = present.sum(axis=1)
    position = np.full(counts.shape, np.count_nonzero(counts))
    groups, found, fewer = [], 0, 0
    while fewer < counts.max(initial=0):
        size = max(2 * fewer, 1)
        row, bin_ = np.nonzero((counts > fewer) & (counts <= size))
        there = present[row, :, bin_]
        samples = np.argsort(~there, axis=1, kind="stable")[:, :size]
        samples = np.where(np.arange(samples.shape[1]) < counts[row, bin_][:, None], samples, -1)
        if len(row):
            groups.append(_Group(row[:, None], bin_[:, None], samples))
        position[row, bin_] = found + np.arange(len(row))
        found, fewer = found + len(row), size
    return groups, position


class ShiftTerms(NamedTuple):
    """The sparse sums of ``arrays.Histosys``."""

    jacobian: ShiftSums[np.ndarray]
    yields: ShiftSums[np.ndarray]
    gradient: ShiftSums[np.ndarray]


def shift_terms(
    present: Bool[np.ndarray, "histosys sample bin"],
    linear: Float[np.ndarray, "histosys sample bin"],
    even: Float[np.ndarray, "histosys sample bin"],
) -> ShiftTerms:
    """The sums over what histosys add, from where one does something, and what."""
    size, samples, bins = present.shape
    by_cell = [item.reshape(size, samples * bins).T[:, :, None] for item in (present, linear, even)]
    yields = _shift_sums(*by_cell)
    gradient = _shift_sums(*(np.swapaxes(item, 0, 1) for item in by_cell))
    return ShiftTerms(
        jacobian=_shift_sums(present, linear, even),
        yields=yields._replace(position=yields.position.reshape(samples, bins)),
        gradient=gradient._replace(position=gradient.position[:, 0]),
    )


def _shift_sums(present: np.ndarray, linear: np.ndarray, even: np.ndarray) -> ShiftSums[np.ndarray]:
    groups, position = _groups(present)
    found = []
    for row, column, which in groups:
        entry = np.where(which < 0, 0, which * present.shape[2] + column)
        shift, bow = (np.where(which < 0, 0.0, item[row, which, column]) for item in (linear, even))
        found.append(ShiftGroup(entry.astype(np.int32), shift, bow, row[:, 0].astype(np.int32)))
    return ShiftSums(tuple(found), position)


class ScaleTerms(NamedTuple):
    """The factors of ``arrays.Normsys`` that there are, and its sparse products and sums."""

    cell: Int[np.ndarray, " factor"]
    position: Int[np.ndarray, "normsys sample channel"]
    products: Products[np.ndarray]
    jacobian: ScaleSums[np.ndarray]
    gradient: ScaleSums[np.ndarray]


def scale_terms(
    present: Bool[np.ndarray, "normsys sample channel"], bin_channel: Int[np.ndarray, " bin"]
) -> ScaleTerms:
    """The products of and the sums over normsys factors, from where there is one, and the channel of each bin."""
    size, samples, channels = present.shape
    cell = np.flatnonzero(present)
    position = np.full(present.shape, len(cell))
    position.flat[cell] = np.arange(len(cell))
    by_cell = position.reshape(size, samples * channels).T[:, :, None]
    products = _scale_sums(by_cell, len(cell))
    gradient = _scale_sums(np.swapaxes(by_cell, 0, 1), len(cell))
    return ScaleTerms(
        cell=cell,
        position=position,
        products=Products(
            tuple(group.factor for group in products.groups), products.position.reshape(samples, channels)
        ),
        jacobian=_scale_sums(position[:, :, bin_channel], len(cell)),
        gradient=gradient._replace(position=gradient.position[:, 0]),
    )


def _scale_sums(position: np.ndarray, count: int) -> ScaleSums[np.ndarray]:
    """The sums of ``count`` factors of which each cell's position is given, (row, sample, bin), ``count`` for none."""
    groups, where = _groups(position < count)
    found = []
    for row, column, which in groups:
        factor = np.where(which < 0, count, position[row, which, column])
        cell = np.where(which < 0, 0, which * position.shape[2] + column)
        found.append(ScaleGroup(factor.astype(np.int32), cell.astype(np.int32)))
    return ScaleSums(tuple(found), where)
