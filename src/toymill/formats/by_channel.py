"""A specification whose channels have a parameter of interest each, in place of the common one. Needs no JAX."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import NamedTuple

from toymill.errors import ToymillError
from toymill.formats.specification import Channel, Specification


class ByChannel(NamedTuple):
    """A model with a parameter of interest for each channel.

    Attributes:
        specification: the model, which has no parameter of interest of its own.
        names: the parameter of each channel that has a signal, by the channel's name. A signal of 0 in every bin is none.
    """

    specification: Specification
    names: dict[str, str]


def by_channel(specification: Specification) -> ByChannel:
    """Put a parameter of its own, named ``POI[CHANNEL]``, in the place of the parameter of interest in each channel.

    Each has the initial value and the bounds of the common one. Channels that it does not act on have none: those without
    it, and those in which all that it multiplies is 0.

    Raises:
        ToymillError: no parameter of interest; one that is constrained, interpolates, or acts on fewer than two channels.
    """
    poi = specification.poi
    common = next((item for item in specification.parameters if item.name == poi), None)
    if poi is None or common is None:
        msg = f"{specification.source} has no parameter of interest, which each channel could have one of. Name it, in poi."
        raise ToymillError(msg)
    samples = [sample for channel in specification.channels for sample in channel.samples]
    shifts = {item.parameter for sample in samples for item in sample.normsys}
    shifts |= {item.parameter for sample in samples for item in sample.histosys}
    interpolates = poi in shifts
    if interpolates or common.constraint != "none":
        what = "interpolates" if interpolates else "is constrained by auxiliary data"
        msg = (
            f"{specification.source}: the parameter of interest {poi!r} {what}, so that channels cannot have one each. "
            "Take a free factor of the signal, as a normfactor is."
        )
        raise ToymillError(msg)
    names = {channel.name: f"{poi}[{channel.name}]" for channel in specification.channels if _has(channel, poi)}
    taken = {item.name for item in specification.parameters} & set(names.values())
    if taken:
        msg = f"{specification.source} has a parameter {sorted(taken)[0]!r} already. Rename it."
        raise ToymillError(msg)
    if len(names) < 2:
        where = f"channel {next(iter(names))!r} alone" if names else "no channel"
        msg = f"{specification.source}: {poi!r} acts on {where}; expected two channels at least, to compare."
        raise ToymillError(msg)
    any_of_them = next(iter(names.values()))  # in the place of a factor of 0, where no value makes a difference
    channels = [_renamed(item, poi, names.get(item.name, any_of_them)) for item in specification.channels]
    parameters = [
        new
        for item in specification.parameters
        for new in ([dataclasses.replace(item, name=name) for name in names.values()] if item is common else [item])
    ]
    digest = hashlib.sha256(f"{specification.digest}: {poi} of each channel".encode()).hexdigest()
    split = dataclasses.replace(specification, channels=channels, parameters=parameters, poi=None, digest=digest)
    return ByChannel(split, names)


def _has(channel: Channel, name: str) -> bool:
    """Whether a parameter moves the expectation of some bin of a channel: it is a factor of a yield that is not 0."""
    return any(
        factor[bin_] == name
        and (sample.nominal[bin_] or any(item.hi[bin_] or item.lo[bin_] for item in sample.histosys))
        for sample in channel.samples
        for factor in sample.factors
        for bin_ in range(len(sample.nominal))
    )


def _renamed(channel: Channel, old: str, new: str) -> Channel:
    """A channel with another parameter in the place of one of its factors."""
    samples = [
        dataclasses.replace(
            sample, factors=[[new if name == old else name for name in factor] for factor in sample.factors]
        )
        for sample in channel.samples
    ]
    return dataclasses.replace(channel, samples=samples)
