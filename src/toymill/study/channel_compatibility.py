"""Whether the channels of a study's workspace agree on the parameter of interest, by the toys at the best fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from toymill.config.inspection import specification_of
from toymill.config.model import WorkspaceConfig
from toymill.config.sections import BEST_FIT
from toymill.config.study import Study
from toymill.errors import ToymillError
from toymill.fitting.fit import fit
from toymill.fitting.results import Fits
from toymill.formats.by_channel import by_channel
from toymill.histfactory.compiler import compile_specification
from toymill.histfactory.model import from_compiled
from toymill.inference.channel_compatibility import ChannelCompatibility, Estimate, channel_compatibility
from toymill.inference.information import expected_information
from toymill.inference.p_values import tie_tolerance
from toymill.models.base import Model
from toymill.study.finished import Stored

if TYPE_CHECKING:
    from jaxtyping import Float


_KEY = "goodness_of_fit.channel_compatibility"
_NOTHING = 1e-20  # of the information of the channel that tells most
_FLAT = 1e-10  # an eigenvalue of the information in units of its diagonal: that which fits are certified by
_PART = 1e-3  # of a direction in which the likelihood is flat


class Split(NamedTuple):
    """A model with a parameter of interest for each channel.

    Attributes:
        model: the model, of the same data.
        names: the parameter of each channel that has a signal, by the channel's name.
    """

    model: Model
    names: dict[str, str]


def split_by_channel(study: Study) -> Split:
    """The study's model with a parameter of interest for each channel.

    Raises:
        ToymillError: a model that Python states, and what ``by_channel`` refuses.
    """
    if not isinstance(study.model, WorkspaceConfig):
        msg = f"{_KEY}: needs a model of kind workspace, which has channels; this is of kind {study.model.kind}. Leave it out."
        raise ToymillError(msg)
    try:
        found = by_channel(specification_of(study.model))
    except ToymillError as error:
        msg = f"{_KEY}: {error}"
        raise ToymillError(msg) from None
    return Split(from_compiled(compile_specification(found.specification)), found.names)


def require_told(study: Study, model: Model, best: Float[np.ndarray, " parameter"]) -> None:
    """Refuse a workspace with a channel whose data do not tell a parameter of interest of its own, before toys are thrown.

    Args:
        study: a study that asks for the compatibility of channels.
        model: its model.
        best: the fit to the observed data, (P,).

    Raises:
        ToymillError: such a channel, by name.
    """
    split = split_by_channel(study)
    matrix = expected_information(split.model, best[_columns(split, model)]).matrix
    places = [split.model.parameters.index(name) for name in split.names.values()]
    told = np.diag(matrix)
    nothing = told <= _NOTHING * told[places].max()
    nothing[[i for i in range(len(told)) if i not in places]] = False
    free = np.flatnonzero(~split.model.parameters.fixed & ~nothing)
    units = np.sqrt(np.where(told[free] > 0, told[free], 1.0))
    values, vectors = np.linalg.eigh(matrix[np.ix_(free, free)] / units / units[:, None])
    nothing[free] = np.abs(vectors[:, values < _FLAT]).max(axis=1, initial=0.0) > _PART
    channels = [channel for channel, place in zip(split.names, places, strict=True) if nothing[place]]
    if channels:
        msg = (
            f"{_KEY}: the data of channel {channels[0]!r} do not tell a {model.poi!r} of its own: its signal vanishes at the "
            "best fit, or free parameters have the same effect. Leave channel_compatibility out, or fix or constrain them."
        )
        raise ToymillError(msg)


def compatibility(stored: Stored) -> ChannelCompatibility:
    """The fit with one parameter of interest for each channel against the common fit, of observed data and toys.

    Raises:
        ToymillError: a fit to the observed data that is not certified, a shard that is missing or damaged.
    """
    split, tolerance = split_by_channel(stored.study), stored.study.fit.edm_tolerance
    common = fit(stored.model, stored.observed, covariance=False, tolerance=tolerance)
    each = fit_by_channel(stored.model, split, common, stored.observed[None], np.zeros(1, dtype=int), tolerance)
    toys, nll = [], float(np.abs(common.nll[0]))
    for first, (free, *_) in stored.fits(BEST_FIT):
        index = first + np.arange(len(free.nll))
        data = stored.toys(BEST_FIT, first, len(index))
        toys.append(ratio(free, fit_by_channel(stored.model, split, free, data, index, tolerance)))
        nll = max(nll, float(np.max(np.abs(free.nll[free.ok]), initial=0.0)))
    return channel_compatibility(
        stored.poi,
        float(ratio(common, each)[0]),
        np.concatenate(toys),
        _estimate(common, stored.poi),
        {channel: _estimate(each, name) for channel, name in split.names.items()},
        tie_tolerance(nll, tolerance),
    )


def fit_by_channel(
    model: Model,
    split: Split,
    common: Fits,
    data: Float[np.ndarray, "toy datum"],
    index: Float[np.ndarray, " toy"],
    tolerance: float,
) -> Fits:
    """The fits with a parameter of interest for each channel, each from the common fit of its toy.

    Args:
        model: the model with the common parameter.
        split: that with one for each channel.
        common: the fits of the former.
        data: main and auxiliary data, (n, D).
        index: index of each toy in its ensemble, (n,).
        tolerance: the largest estimated distance to the minimum of a certified fit.
    """
    start = common.parameters[:, _columns(split, model)]
    start = np.where(np.isfinite(start), start, split.model.parameters.init)
    return fit(split.model, data, start=start, index=index, covariance=False, tolerance=tolerance)


def _columns(split: Split, model: Model) -> list[int]:
    """Which parameter of the model each parameter of the split one stands for."""
    of = dict.fromkeys(split.names.values(), model.poi)
    return [model.parameters.index(str(of.get(name, name))) for name in split.model.parameters.names]


def ratio(common: Fits, each: Fits) -> Float[np.ndarray, " toy"]:
    """-2 ln λ of the common fits and of those by channel, (n,); NaN where either is not certified."""
    return np.where(common.ok & each.ok, np.maximum(2 * (common.nll - each.nll), 0.0), np.nan)


def _estimate(fits: Fits, name: str) -> Estimate:
    """A parameter of the observed data's fit."""
    i = fits.names.index(name)
    return Estimate(value=float(fits.parameters[0, i]), error=float(fits.errors[0, i]))
