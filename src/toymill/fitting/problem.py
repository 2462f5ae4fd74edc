"""A fit problem: which toys are fitted, with which parameters held, and what is wanted of the fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from toymill.errors import ToymillError
from toymill.fitting.results import EDM_TOLERANCE, Fits
from toymill.fitting.status import Status
from toymill.models.base import Model, require_x64

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy.typing import ArrayLike

    from toymill.fitting.results import Held


@dataclass(frozen=True)
class FitProblem:
    """The fits of n toys that are asked for.

    Attributes:
        model: the model.
        toys: main and auxiliary data, (n, D).
        indices: index of each toy in its ensemble, which gives it its lane, (n,).
        held: parameters that are held beside those that the model fixes, by name: a number, or one for each toy, (n,).
        fixed: True for parameters that do not move, since the model fixes them or they are held, (P,).
        tolerance: the largest estimated distance to the minimum of a certified fit.
        covariance: whether the covariance matrices are wanted.
        column: index of the parameter whose column of the covariance is wanted, or None.
        errors: whether the errors are wanted.
    """

    model: Model
    toys: Float[np.ndarray, "toy datum"]
    indices: Int[np.ndarray, " toy"]
    held: Mapping[str, Held]
    fixed: Bool[np.ndarray, " parameter"]
    tolerance: float = EDM_TOLERANCE
    covariance: bool = False
    column: int | None = None
    errors: bool = True

    def __len__(self) -> int:
        return len(self.toys)

    def of(self, rows: Int[np.ndarray, " some"]) -> FitProblem:
        """The same problem for some of the toys."""
        held = {name: value[rows] if np.ndim(value) else value for name, value in self.held.items()}  # type: ignore[index]
        return replace(self, toys=self.toys[rows], indices=self.indices[rows], held=held)

    def without_covariance(self) -> FitProblem:
        """The same problem, with neither covariances nor a column of theirs."""
        return replace(self, covariance=False, column=None)

    def unfitted(self) -> Fits:
        """Fits that have not been done, NOT_CONVERGED."""
        count, size = len(self), len(self.model.parameters)
        return Fits(
            names=self.model.parameters.names,
            poi=self.model.poi,
            fixed=self.held,
            parameters=np.full((count, size), np.nan),
            errors=np.full((count, size), np.nan),
            nll=np.full(count, np.nan),
            status=np.full(count, Status.NOT_CONVERGED, dtype=np.int8),
            edm=np.full(count, np.nan),
            iterations=np.zeros(count, dtype=np.int32),
            covariance=np.empty((count, size, size)) if self.covariance else None,
            column=None if self.column is None else np.empty((count, size)),
        )


def state_problem(
    model: Model,
    data: ArrayLike,
    fixed: Mapping[str, Held] | None = None,
    *,
    start: ArrayLike | None = None,
    index: ArrayLike | None = None,
    tolerance: float = EDM_TOLERANCE,
    covariance: bool = False,
    along: str | None = None,
    errors: bool = True,
) -> tuple[FitProblem, Float[np.ndarray, "toy parameter"]]:
    """The problem that the arguments of ``fit`` state, and where each toy's fit starts, (n, P).

    Raises:
        ToymillError: what ``fit`` refuses.
    """
    require_x64()
    parameters = model.parameters
    held = dict(fixed or {})
    toys = as_rows(data, len(model.data_names), "data")
    values = _values(model, held, len(toys))
    starts = values[None] if start is None else as_rows(start, len(parameters), "start")
    if len(toys) == 0 or len(starts) not in (1, len(toys)):
        msg = f"There are {len(toys)} datasets and {len(starts)} starts; expected at least one dataset, and a start for each."
        raise ToymillError(msg)
    mask = parameters.fixed.copy()
    starts = np.where(mask, values, np.broadcast_to(starts, (len(toys), len(parameters))))
    for name, value in held.items():
        mask[parameters.index(name)] = True
        starts[:, parameters.index(name)] = value
    indices = np.arange(len(toys)) if index is None else np.asarray(index)
    _require_counts(model, toys, indices)
    column = None if along is None else parameters.index(along)
    errors = errors or covariance or along is not None
    return FitProblem(model, toys, indices, held, mask, tolerance, covariance, column, errors), starts


def as_rows(values: ArrayLike, length: int, name: str) -> Float[np.ndarray, "row length"]:
    """(length,) or (n, length) as float64 of shape (n, length); ToymillError for another shape."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        msg = f"{name} is no array of numbers; expected the shape (n, {length}) or ({length},)."
        raise ToymillError(msg) from None
    if array.ndim not in (1, 2) or array.shape[-1] != length:
        msg = f"{name} has shape {array.shape}; expected (n, {length}) or ({length},)."
        raise ToymillError(msg)
    return np.atleast_2d(array)


def _values(model: Model, held: Mapping[str, Held], count: int) -> Float[np.ndarray, " parameter"]:
    """The initial values with the held ones put in, (P,), the largest where toys differ; ToymillError for wrong ones."""
    for name, value in held.items():
        if np.shape(value) not in ((), (count,)) or not np.size(value):
            msg = (
                f"fixed[{name!r}] has shape {np.shape(value)}; expected a number, or one for each of {count} datasets."
            )
            raise ToymillError(msg)
    for extreme in (np.min, np.max):
        values = model.parameters.values({name: float(extreme(value)) for name, value in held.items()})
    return values


def _require_counts(model: Model, toys: Float[np.ndarray, "toy datum"], indices: Int[np.ndarray, " toy"]) -> None:
    """Raises ToymillError for data that no model of this kind can have made."""
    bad = ~np.isfinite(toys) | (model.sampling.poisson & (toys < 0))
    if bad.any():
        row, datum = np.argwhere(bad)[0]
        msg = (
            f"Toy {indices[row]} has {toys[row, datum]:g} as {model.data_names[datum]}: "
            f"expected {'a count, 0 or more' if model.sampling.poisson[datum] else 'a finite number'}."
        )
        raise ToymillError(msg)
