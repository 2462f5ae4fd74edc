"""Toys of one model as data of another: its main data, with the auxiliary data of the model that is fitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from toymill.models.base import Model, Sampling
from toymill.parameters import Parameters

if TYPE_CHECKING:
    from jax import Array
    from jaxtyping import Float
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class OtherTruth:
    """What toys are thrown from, where that is another model than the fitted one.

    Main data are thrown by ``source``. Auxiliary data are the measurements of the fitted model, each with its own density,
    about the parameter of that name in ``source``, or about its nominal value where there is none.

    Attributes:
        source: the model of the truth.
        data_names: a name for each datum, as the fitted model has them.
        sampling: how data fluctuate; ``parameter`` is an index into those of ``source``, -1 for none.
    """

    source: Model
    data_names: Sequence[str]
    sampling: Sampling

    @property
    def parameters(self) -> Parameters:
        """The parameters of the truth."""
        return self.source.parameters

    @property
    def poi(self) -> str | None:
        """The source's parameter of interest."""
        return self.source.poi

    @property
    def draw(self) -> Callable[..., Float[Array, " main"]] | None:
        """What throws the main data of a source that states a density; else None."""
        return self.source.draw

    def expected_data(self, params: ArrayLike) -> Float[np.ndarray, " datum"]:
        """Expected main and auxiliary data at one point of the source, shape (P,) to (D,); not of a density."""
        auxiliary = self.sampling.auxiliary
        main = np.asarray(self.source.expected_data(params))[: int(np.count_nonzero(~auxiliary))]
        return np.concatenate([main, self.sampling.expected(np.asarray(params, dtype=np.float64))[auxiliary]])


def thrown_from(source: Model, fitted: Model) -> OtherTruth:
    """The toys of one model as data of another.

    Args:
        source: the model of the truth.
        fitted: the model that is fitted, of the same main data.
    """
    size = int(np.count_nonzero(~fitted.sampling.auxiliary))
    theirs, ours = source.sampling, fitted.sampling
    names = {name: i for i, name in enumerate(source.parameters.names)}
    parameter = [names.get(fitted.parameters.names[int(i)], -1) for i in ours.parameter[size:]]
    main = ours if source.draw is not None else theirs  # a density's own draw asks for none
    joined = {
        field: np.concatenate([getattr(main, field)[:size], getattr(ours, field)[size:]])
        for field in ("poisson", "sigma", "scale", "observed")
    }
    return OtherTruth(
        source=source,
        data_names=fitted.data_names,
        sampling=Sampling(
            auxiliary=ours.auxiliary,
            parameter=np.concatenate([np.full(size, -1), np.array(parameter, dtype=np.int64)]),
            **joined,
        ),
    )
