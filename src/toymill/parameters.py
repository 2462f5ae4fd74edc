"""The parameters of a model: names, initial values, bounds, which are fixed, how each is constrained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from toymill.errors import ToymillError, nearest


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
    init: np.ndarray
    bounds: np.ndarray
    fixed: np.ndarray
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

    def values(self, settings: Mapping[str, float], *, base: np.ndarray | None = None) -> np.ndarray:
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
