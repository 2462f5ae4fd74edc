"""How an estimate follows each nuisance parameter: fits of the observed data with it held one error up and down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from toymill.errors import ToymillError
from toymill.fitting.fit import fit
from toymill.inference.global_impacts import one_column
from toymill.inference.impacts import Shifts, constraints

if TYPE_CHECKING:
    from jaxtyping import Float

    from toymill.fitting.results import Fits
    from toymill.models.base import Model


def shifts(model: Model, data: Float[np.ndarray, " datum"], fits: Fits, *, of: str | None = None) -> dict[str, Shifts]:
    """The change of an estimate if each nuisance parameter is held at θ̂ ± σ, and all others are fitted.

    σ is the parameter's error in the fit (post-fit), and the standard deviation of its constraint (pre-fit). These are
    the impacts of most rankings. Their squares do not add up to a variance; those of ``global_impacts`` do.

    Args:
        model: the model.
        data: the observed main and auxiliary data, shape (D,).
        fits: their free fit, with its covariance.
        of: name of the parameter that is estimated; the parameter of interest if None.

    Returns:
        The shifts by parameter. NaN where there is no such error, where the parameter cannot be held there (beyond its
        bounds), and where the fit is not certified.

    Raises:
        ToymillError: more than one fit, one without a covariance or not certified, an unknown parameter, one that is held.
    """
    index = model.poi_index if of is None else model.parameters.index(of)
    one_column(fits, index)
    if fits.covariance is None:
        msg = "The fit has only one column of its covariance; fit with covariance=True."
        raise ToymillError(msg)
    best, errors, covariance = fits.parameters[0], fits.errors[0], fits.covariance[0]
    low, high = model.parameters.bounds.T
    _, prefit = constraints(model)
    found = {}
    for i, name in enumerate(model.parameters.names):
        if i == index or model.parameters.fixed[i] or name in fits.fixed:
            continue
        step = np.array([errors[i], -errors[i], prefit[i], -prefit[i]])
        value = best[i] + step
        possible = np.isfinite(value) & (step != 0) & (low[i] <= value) & (value <= high[i])
        moved = np.full(4, np.nan)
        if possible.any():
            follow = covariance[i] / covariance[i, i] if covariance[i, i] > 0 else np.zeros(len(best))
            starts = np.clip(best + np.outer(step[possible], follow), low, high)
            held = {**fits.fixed, name: value[possible]}
            again = fit(
                model,
                np.tile(data, (len(starts), 1)),
                held,
                start=starts,
                index=np.flatnonzero(possible),
                covariance=False,
            )
            moved[possible] = np.where(again.ok, again.parameters[:, index] - best[index], np.nan)
        found[name] = Shifts(*map(float, moved))
    return found
