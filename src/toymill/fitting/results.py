"""The fits of many toys: what is kept of each, and how better ones take the place of others. Needs no JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from toymill.errors import ToymillError, nearest
from toymill.fitting.status import CERTIFIED_STATUSES, Status

if TYPE_CHECKING:
    from jax import Array
    from jaxtyping import Bool, Float, Int, Int8

    Numbers = np.ndarray | Array
    Held = float | Float[np.ndarray, " toy"]

EDM_TOLERANCE = 1e-8
"""A fit is certified with an estimated vertical distance to the minimum below this, in units of the nll."""

REPAIR = 1e-9
"""A fit that ends lower than another by more than this takes its place."""


@dataclass(frozen=True, repr=False)
class Fits:
    """The fits of n toys; toys are the first axis.

    Attributes:
        names: names of the P parameters.
        poi: name of the parameter of interest, or None.
        fixed: values of the parameters that this fit held fixed, by name: a number, or one for each toy, (n,).
        parameters: fitted values, (n, P).
        errors: square roots of the covariance's diagonal, (n, P): 0 for a fixed parameter, NaN for
            one held at a bound, for a fit without a positive-definite Hessian, and where ``fit`` was to leave them out.
        nll: minimised negative log-likelihood with all constants, (n,).
        status: how each fit ended, a ``Status``, (n,).
        edm: estimated distance of nll to its minimum, (n,).
        iterations: steps tried, (n,).
        covariance: inverse of the exact Hessian, (n, P, P), or None if it was not asked for.
        column: its column of the parameter ``along`` of ``fit``, (n, P), or None.
    """

    names: tuple[str, ...]
    poi: str | None
    fixed: Mapping[str, Held]
    parameters: Float[np.ndarray, "toy parameter"]
    errors: Float[np.ndarray, "toy parameter"]
    nll: Float[np.ndarray, " toy"]
    status: Int8[np.ndarray, " toy"]
    edm: Float[np.ndarray, " toy"]
    iterations: Int[np.ndarray, " toy"]
    covariance: Float[np.ndarray, "toy parameter parameter"] | None = None
    column: Float[np.ndarray, "toy parameter"] | None = None

    def __repr__(self) -> str:
        held = ", ".join(f"{name} = {_range_of(value)}" for name, value in self.fixed.items())
        interest = ""
        if self.poi is not None and self.poi in self.names:
            interest = f" of interest {self.poi}, median {_median(self.parameter(self.poi)):.4g};"
        return (
            f"<Fits of {len(self.nll)} toys, {int(self.ok.sum())} certified: {len(self.names)} parameters;{interest} "
            f"held: {held or 'none'}>"
        )

    @property
    def ok(self) -> Bool[np.ndarray, " toy"]:
        """True where a fit is certified, (n,)."""
        return np.isin(self.status, CERTIFIED_STATUSES)

    def parameter(self, name: str) -> Float[np.ndarray, " toy"]:
        """Fitted values of one parameter, (n,); raises ToymillError for an unknown name."""
        if name not in self.names:
            msg = f"The fits have no parameter {name!r}. {nearest(name, self.names)}"
            raise ToymillError(msg)
        return self.parameters[:, self.names.index(name)]


def _median(values: Float[np.ndarray, " toy"]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else np.nan


def _range_of(held: Held) -> str:
    """A value that a parameter is held at, or the range of those of many toys."""
    values = np.unique(held)
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g}" if len(values) else "no value"


class Ends(NamedTuple):
    """Where a minimiser ended, for some toys; toys are the first axis, or the first two: N toys in each of T lanes.

    Attributes:
        x: parameters, (…, P).
        nll: negative log-likelihood with all constants, (…,).
        status: a ``Status`` for each toy, (…,).
        edm: estimated distance to the minimum, (…,).
        iterations: steps tried, (…,).
        errors: square roots of the diagonal of the inverse Hessian, (…, P); NaN for a parameter held at a bound.
        column: the column of that inverse of one parameter, (…, P), or None.
        covariance: the inverse itself, (…, P, P), or None.
    """

    x: Float[Numbers, "*toy parameter"]
    nll: Float[Numbers, "*toy"]
    status: Int8[Numbers, "*toy"]
    edm: Float[Numbers, "*toy"]
    iterations: Int[Numbers, "*toy"]
    errors: Float[Numbers, "*toy parameter"]
    column: Float[Numbers, "*toy parameter"] | None
    covariance: Float[Numbers, "*toy parameter parameter"] | None


def put(fits: Fits, rows: Int[np.ndarray, " some"], ends: Ends) -> None:
    """Put what a minimiser made of some toys into their ``rows`` of ``fits``; steps tried add up."""
    fits.parameters[rows] = ends.x
    fits.errors[rows] = ends.errors
    fits.nll[rows] = ends.nll
    fits.status[rows] = ends.status
    fits.edm[rows] = ends.edm
    fits.iterations[rows] += ends.iterations
    if fits.covariance is not None:
        fits.covariance[rows] = ends.covariance
    if fits.column is not None:
        fits.column[rows] = ends.column


def keep_lower(fits: Fits, again: Fits, rows: Int[np.ndarray, " some"] | None = None) -> None:
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


def replace_rows(fits: Fits, again: Fits, rows: Int[np.ndarray, " some"], which: Bool[np.ndarray, " some"]) -> None:
    """Put those of ``again`` which are True in place of their ``rows`` of ``fits``; steps tried are not changed."""
    for name in ("parameters", "errors", "nll", "status", "edm", "covariance", "column"):
        ours, theirs = getattr(fits, name), getattr(again, name)
        if ours is not None and theirs is not None:
            ours[rows[which]] = theirs[which]


def finite_or(values: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Values, and others in place of those that are not finite."""
    return np.where(np.isfinite(values), values, other)


def profile_direction(free: Fits, position: int) -> Float[np.ndarray, "toy parameter"]:
    """How the other parameters follow one to first order, V_·i / V_ii, (n, P); only itself without an error."""
    column = free.column if free.covariance is None else free.covariance[:, :, position]
    assert column is not None
    with np.errstate(divide="ignore", invalid="ignore"):
        direction: np.ndarray = column / column[:, position, None]
    direction = np.where(np.isfinite(direction), direction, 0.0)
    direction[:, position] = 1.0
    return direction


def rows_of(fits: Fits, rows: Int[np.ndarray, " some"]) -> Fits:
    """The fits of some toys, without covariances."""
    names = ("parameters", "errors", "nll", "status", "edm", "iterations")
    return replace(fits, covariance=None, column=None, **{name: getattr(fits, name)[rows] for name in names})


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
