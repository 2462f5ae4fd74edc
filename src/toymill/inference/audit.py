"""Certified fits beside iminuit's of the same toys."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from toymill.record import NumberOrNone, Record

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class AuditSummary(Record):
    """The largest differences between iminuit's fits and ours."""

    toys: int
    """Toys that were fitted again with iminuit."""
    missed: int
    """Toys with a fit of ours that lies above iminuit's by more than the tolerance: it has missed the minimum."""
    not_finite: int
    """Toys for which one of the differences is not a number."""
    minuit_invalid: int
    """Toys for which iminuit calls one of its fits invalid."""
    ours_higher_by: NumberOrNone
    """The most that our nll lies above iminuit's."""
    minuit_higher_by: NumberOrNone
    """The most that iminuit's nll lies above ours, where its fits are valid."""
    poi_difference: NumberOrNone
    """The largest difference of the parameter of interest, where they are valid."""


def summarize_audit(
    nll: Float[np.ndarray, "fit toy"],
    poi: Float[np.ndarray, " toy"],
    valid: Bool[np.ndarray, " toy"],
    tolerance: float,
) -> AuditSummary:
    """The largest differences, over the fits where both are numbers.

    A lower nll is evidence of a lower minimum whether iminuit calls its fit valid or not.

    Args:
        nll: iminuit's nll less ours: of the free fit first, then of each conditional one.
        poi: iminuit's parameter of interest less ours, of the free fit.
        valid: True where iminuit calls all its fits of a toy valid.
        tolerance: how much lower iminuit's nll may lie.
    """
    finite = np.isfinite(nll)
    usable = valid & np.all(finite, axis=0)
    return AuditSummary(
        toys=len(poi),
        missed=int(np.sum(np.any(finite & (nll < -tolerance), axis=0))),
        not_finite=int(np.sum(~np.all(finite, axis=0))),
        minuit_invalid=int(np.sum(~valid)),
        ours_higher_by=float(np.max(-nll[finite], initial=-math.inf)),
        minuit_higher_by=float(np.max(nll[:, usable], initial=-math.inf)),
        poi_difference=float(np.max(np.abs(poi[usable]))) if usable.any() else None,
    )
