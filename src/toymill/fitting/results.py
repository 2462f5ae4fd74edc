"""The fits of many toys: what is kept of each, and how better ones take the place of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from toymill.errors import ToymillError, nearest
from toymill.fitting.scoring import Ends
from toymill.fitting.status import CERTIFIED_STATUSES, Status
from toymill.models.base import Model

REPAIR = 1e-9
"""A fit that ends lower than another by more than this takes its place."""


@dataclass(frozen=True)
class Fits:
    """The fits of n toys; toys are the first axis.

    Attributes:
        names: names of the P parameters.
        poi: name of the parameter of interest, or None.
        fixed: values of the parameters that this fit held fixed, by name: a number, or one for each toy, (n,).
        parameters: fitted values, (n, P).
        errors: square roots of the covariance's diagonal, (n, P): 0 for a fixed parameter, NaN for
            one held at a bound and for a fit without a positive-definite Hessian.
        nll: minimised negative log-likelihood with all constants, (n,).
        status: how each fit ended, a ``Status``, (n,).
        edm: estimated distance of nll to its minimum, (n,).
        iterations: steps tried, (n,).
        covariance: inverse of the exact Hessian, (n, P, P), or None if it was not asked for.
        column: its column of the parameter ``along`` of ``fit``, (n, P), or None.
    """

    names: tuple[str, ...]
    poi: str | None
    fixed: dict[str, Any]
    parameters: np.ndarray
    errors: np.ndarray
    nll: np.ndarray
    status: np.ndarray
    edm: np.ndarray
    iterations: np.ndarray
    covariance: np.ndarray | None = None
    column: np.ndarray | None = None

    @property
    def ok(self) -> np.ndarray:
        """True where a fit is certified, (n,)."""
        return np.isin(self.status, CERTIFIED_STATUSES)

    def parameter(self, name: str) -> np.ndarray:
        """Fitted values of one parameter, (n,); raises ToymillError for an unknown name."""
        if name not in self.names:
            msg = f"The fits have no parameter {name!r}. {nearest(name, self.names)}"
            raise ToymillError(msg)
        return self.parameters[:, self.names.index(name)]


class Wanted(NamedTuple):
    """What the fits of a search hold: parameters by name, whether covariances, and the covariances' column of which."""

    held: dict[str, Any]
    covariance: bool
    column: int | None


def empty(model: Model, wanted: Wanted, count: int) -> Fits:
    """Fits that have not been done, NOT_CONVERGED."""
    size = len(model.parameters)
    return Fits(
        names=model.parameters.names,
        poi=model.poi,
        fixed=wanted.held,
        parameters=np.full((count, size), np.nan),
        errors=np.full((count, size), np.nan),
        nll=np.full(count, np.nan),
        status=np.full(count, Status.NOT_CONVERGED, dtype=np.int8),
        edm=np.full(count, np.nan),
        iterations=np.zeros(count, dtype=np.int32),
        covariance=np.empty((count, size, size)) if wanted.covariance else None,
        column=None if wanted.column is None else np.empty((count, size)),
    )


def put(fits: Fits, rows: np.ndarray, end: Ends) -> None:
    """Put the results of blocks, toys first, into ``fits``."""
    fits.parameters[rows] = end.x
    fits.errors[rows] = end.errors
    fits.nll[rows] = end.nll
    fits.status[rows] = end.status
    fits.edm[rows] = end.edm
    fits.iterations[rows] += end.iterations
    if fits.covariance is not None:
        fits.covariance[rows] = end.covariance
    if fits.column is not None:
        fits.column[rows] = end.column


def keep_lower(fits: Fits, again: Fits, rows: np.ndarray | None = None) -> None:
    """Put certified fits of ``again`` in place of those at ``rows`` that lie higher.

    A fit that is not certified gives way to a certified one, unless it has seen a lower nll: then the
    certified one is not the minimum. An nll that the floor holds, or that is no number, is no such evidence.
    """
    rows = np.arange(len(fits.nll)) if rows is None else rows
    margin = np.where(fits.ok[rows], -REPAIR, REPAIR)
    hollow = np.isin(fits.status[rows], (Status.AT_FLOOR, Status.NOT_FINITE)) | ~np.isfinite(fits.nll[rows])
    better = again.ok & (hollow | (again.nll < fits.nll[rows] + margin))
    replace_rows(fits, again, rows, better)
    fits.iterations[rows] += again.iterations


def replace_rows(fits: Fits, again: Fits, rows: np.ndarray, which: np.ndarray) -> None:
    """Put those of ``again`` which are True, (k,), in place of their ``rows`` of ``fits``; steps tried are not changed."""
    for name in ("parameters", "errors", "nll", "status", "edm", "covariance", "column"):
        ours, theirs = getattr(fits, name), getattr(again, name)
        if ours is not None and theirs is not None:
            ours[rows[which]] = theirs[which]


def finite_or(values: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Values, and others in place of those that are not finite."""
    return np.where(np.isfinite(values), values, other)


def profile_direction(free: Fits, position: int) -> np.ndarray:
    """How the other parameters follow one to first order, V_·i / V_ii, (n, P); only itself without an error."""
    column = free.column if free.covariance is None else free.covariance[:, :, position]
    assert column is not None
    with np.errstate(divide="ignore", invalid="ignore"):
        direction: np.ndarray = column / column[:, position, None]
    direction = np.where(np.isfinite(direction), direction, 0.0)
    direction[:, position] = 1.0
    return direction


def concatenate(parts: Sequence[Fits]) -> Fits:
    """The fits of several lots of toys as one, without covariances."""

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    return replace(
        parts[0],
        parameters=joined("parameters"),
        errors=joined("errors"),
        nll=joined("nll"),
        status=joined("status"),
        edm=joined("edm"),
        iterations=joined("iterations"),
        covariance=None,
        column=None,
    )
