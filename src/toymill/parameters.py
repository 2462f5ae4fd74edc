"""The parameters of a model: names, initial values, bounds, which are fixed, how each is constrained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from toymill.errors import ToymillError, nearest

if TYPE_CHECKING:
    from jax import Array
    from jaxtyping import Bool, Float, Int

    Numbers = np.ndarray | Array


@dataclass(frozen=True)
class Parameters:
    """The parameters of a model, in the model's order.

    Attributes:
        names: name of each parameter, length P; element i of a vector parameter is ``name[i]``.
        init: initial (nominal) values, shape (P,).
        bounds: lower and upper bounds, shape (P, 2).
        fixed: True where a parameter is not fitted, shape (P,).
        constraint: ``"none"``, ``"normal"`` or ``"poisson"`` for each parameter, length P: the
            density of its auxiliary datum.
    """

    names: tuple[str, ...]
    init: Float[np.ndarray, " parameter"]
    bounds: Float[np.ndarray, "parameter 2"]
    fixed: Bool[np.ndarray, " parameter"]
    constraint: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Position of a parameter; raises ToymillError for a name that the model does not have."""
        try:
            return self.names.index(name)
        except ValueError:
            msg = f"The model has no parameter {name!r}. {nearest(name, self.names)}"
            raise ToymillError(msg) from None

    def values(
        self, settings: Mapping[str, float], *, base: Float[np.ndarray, " parameter"] | None = None
    ) -> Float[np.ndarray, " parameter"]:
        """Parameter vector of shape (P,): ``base`` (the initial values if None) with ``settings`` put in.

        Raises:
            ToymillError: unknown name, value that is not finite or lies outside its bounds.
        """
        vector = np.array(self.init if base is None else base, dtype=np.float64)
        for name, value in settings.items():
            position = self.index(name)
            low, high = self.bounds[position]
            if not np.isfinite(value) or not low <= value <= high:
                msg = (
                    f"Parameter {name!r} cannot be {value:g}: its bounds are [{low:g}, {high:g}]. "
                    "Choose a value inside them, or widen the bounds in the model."
                )
                raise ToymillError(msg)
            vector[position] = value
        return vector


class Constraints(NamedTuple):
    """Where the auxiliary data are, and what they say; all arrays.

    Attributes:
        normal_parameter: index of the parameter of each normal constraint, (K,).
        normal_datum: index of its auxiliary datum, (K,).
        normal_sigma: its standard deviation, (K,).
        poisson_parameter: index of the parameter of each Poisson constraint, (L,).
        poisson_datum: index of its auxiliary datum, (L,).
        poisson_tau: expected count per unit of the parameter, (L,).
        normal_of: position in the normal constraints of each parameter's, K where it has none, (P,).
        poisson_of: position in the Poisson constraints of each parameter's, L where it has none, (P,).
    """

    normal_parameter: Int[Numbers, " normal"]
    normal_datum: Int[Numbers, " normal"]
    normal_sigma: Float[Numbers, " normal"]
    poisson_parameter: Int[Numbers, " poisson"]
    poisson_datum: Int[Numbers, " poisson"]
    poisson_tau: Float[Numbers, " poisson"]
    normal_of: Int[Numbers, " parameter"]
    poisson_of: Int[Numbers, " parameter"]


def constraints_of(
    normal: Sequence[tuple[int, int, float]], poisson: Sequence[tuple[int, int, float]], size: int
) -> Constraints:
    """Constraints from a (datum, parameter, σ) for each normal and (datum, parameter, τ) for each Poisson one."""

    def arrays(items: Sequence[tuple[int, int, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        datum, parameter, width = zip(*items, strict=True) if items else ((), (), ())
        of = np.full(size, len(items))
        of[list(parameter)] = np.arange(len(items))
        return np.array(parameter, np.int64), np.array(datum, np.int64), np.array(width, np.float64), of

    *normal_arrays, normal_of = arrays(normal)
    *poisson_arrays, poisson_of = arrays(poisson)
    names = Constraints._fields
    return Constraints(**dict(zip(names, (*normal_arrays, *poisson_arrays, normal_of, poisson_of), strict=True)))


class Trial(NamedTuple):
    """A place from which fits are tried.

    Attributes:
        parameter: index of the parameter that is held there at first.
        point: parameters, (P,), NaN where the fit's is meant.
        least: tried for fits whose nll could fall by more than this, as the kernel's ``second_minima`` has it.
    """

    parameter: int
    point: Float[np.ndarray, " parameter"]
    least: float
