"""The parameters of a model: names, initial values, bounds, which are fixed, how each is constrained."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np

from toymill.errors import ToymillError, nearest

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

A = TypeVar("A")

NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Characters that XML, UTF-8 or HDF5 cannot hold."""

IN_PLACE_OF = {"/": "\u2215", ".": "\u2024"}
"""What names have in HDF5 files for letters that have a meaning there: a slash, and the dots of ``.`` and ``..``."""

_LONGEST_NAME = 500
_SHOWN = 8  # names in a repr


def why_no_name(name: str) -> str:
    """Why a parameter or a quantity cannot have this name, for a message: empty if it can."""
    if not 0 < len(name) <= _LONGEST_NAME:
        return f"a name has 1 to {_LONGEST_NAME} letters; got {len(name)}. Give it another name."
    found = NO_TEXT.search(name) or re.search(f"[{''.join(IN_PLACE_OF.values())}]", name)
    return f"a name cannot have the character {found[0]!a}. Give it another name." if found else ""


@dataclass(frozen=True, repr=False)
class Parameters:
    """The parameters of a model, in the model's order.

    Attributes:
        names: name of each parameter, length P; element i of a vector parameter is ``name[i]``.
        init: initial (nominal) values, shape (P,).
        bounds: lower and upper bounds, shape (P, 2).
        fixed: True where a parameter is not fitted, shape (P,).
        constraint: ``"none"``, ``"normal"`` or ``"poisson"`` for each parameter, length P: the density of its
            auxiliary datum.
    """

    names: tuple[str, ...]
    init: Float[np.ndarray, " parameter"]
    bounds: Float[np.ndarray, "parameter 2"]
    fixed: Bool[np.ndarray, " parameter"]
    constraint: tuple[str, ...]

    def __repr__(self) -> str:
        some = ", ".join(self.names[:_SHOWN]) + (", …" if len(self) > _SHOWN else "")
        constrained = sum(kind != "none" for kind in self.constraint)
        return f"<{len(self)} parameters, {int(self.fixed.sum())} fixed, {constrained} constrained: {some}>"

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


class Constraints(NamedTuple, Generic[A]):
    """Where the auxiliary data are, and what they say; NumPy's arrays, or JAX's inside a program.

    Attributes:
        normal_parameter: index of the parameter of each normal constraint.
        normal_datum: index of its auxiliary datum.
        normal_sigma: its standard deviation.
        poisson_parameter: index of the parameter of each Poisson constraint.
        poisson_datum: index of its auxiliary datum.
        poisson_tau: expected count per unit of the parameter.
        normal_of: position in the normal constraints of each parameter's, their number where it has none.
        poisson_of: position in the Poisson constraints of each parameter's, their number where it has none.
    """

    normal_parameter: Int[A, " normal"]
    normal_datum: Int[A, " normal"]
    normal_sigma: Float[A, " normal"]
    poisson_parameter: Int[A, " poisson"]
    poisson_datum: Int[A, " poisson"]
    poisson_tau: Float[A, " poisson"]
    normal_of: Int[A, " parameter"]
    poisson_of: Int[A, " parameter"]


def constraints_of(
    normal: Sequence[tuple[int, int, float]], poisson: Sequence[tuple[int, int, float]], size: int
) -> Constraints[np.ndarray]:
    """Constraints of ``size`` parameters.

    Args:
        normal: auxiliary datum, parameter and σ of each normal constraint.
        poisson: auxiliary datum, parameter and τ of each Poisson constraint.
        size: number of parameters.
    """

    def arrays(items: Sequence[tuple[int, int, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        datum, parameter, width = zip(*items, strict=True) if items else ((), (), ())
        of = np.full(size, len(items))
        of[list(parameter)] = np.arange(len(items))
        return np.array(parameter, np.int64), np.array(datum, np.int64), np.array(width, np.float64), of

    normal_parameter, normal_datum, normal_sigma, normal_of = arrays(normal)
    poisson_parameter, poisson_datum, poisson_tau, poisson_of = arrays(poisson)
    return Constraints(
        normal_parameter=normal_parameter,
        normal_datum=normal_datum,
        normal_sigma=normal_sigma,
        poisson_parameter=poisson_parameter,
        poisson_datum=poisson_datum,
        poisson_tau=poisson_tau,
        normal_of=normal_of,
        poisson_of=poisson_of,
    )
