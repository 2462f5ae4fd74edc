"""A HistFactory model as a file states it, whatever its format: channels, samples, modifiers, parameters.

``modifiers`` makes it from a pyhf workspace, ``hs3`` from an HS3 file; ``histfactory.compiler`` turns it into arrays.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Constraint = Literal["none", "normal", "poisson"]


class NormSys(NamedTuple):
    """A parameter that scales a sample: the factors at one standard deviation up and down."""

    parameter: str
    hi: float
    lo: float
    code: str


class HistoSys(NamedTuple):
    """A parameter that shifts a sample: the yields at one standard deviation up and down, a number a bin."""

    parameter: str
    hi: list[float]
    lo: list[float]
    code: str


class StatError(NamedTuple):
    """The Monte Carlo statistical uncertainty of a sample's yields, a number a bin, and the parameters that stand for it."""

    parameters: list[str]
    sigma: list[float]


@dataclass(frozen=True)
class Sample:
    """A process in a channel.

    Attributes:
        name: its name.
        nominal: its yields, a number a bin.
        normsys: what scales it as a whole, with an interpolation.
        histosys: what shifts its bins, with an interpolation.
        factors: what multiplies it: for each factor the name of a parameter for each bin.
        staterrors: its Monte Carlo statistical uncertainties, whose parameters are among the factors.
    """

    name: str
    nominal: list[float]
    normsys: list[NormSys]
    histosys: list[HistoSys]
    factors: list[list[str]]
    staterrors: list[StatError] = field(default_factory=list)


@dataclass(frozen=True)
class Channel:
    """A histogram of events: its samples add up. ``observed`` has a count for each bin."""

    name: str
    observed: list[float]
    samples: list[Sample]


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter as a file states it.

    Attributes:
        name: its name.
        init: its initial value.
        bounds: its lower and upper bound.
        fixed: True if it is not fitted.
        constraint: the density of its auxiliary datum.
        auxiliary: that datum as observed.
        width: the standard deviation of a normal constraint, τ of a Poisson one.
    """

    name: str
    init: float
    bounds: tuple[float, float]
    fixed: bool
    constraint: Constraint = "none"
    auxiliary: float = 0.0
    width: float = 1.0


@dataclass(frozen=True)
class Specification:
    """A model to compile.

    Attributes:
        source: where it was read from, for messages.
        channels: in the order of the main data.
        parameters: in the order of the parameters and of their auxiliary data.
        poi: name of the parameter of interest, or None.
        digest: SHA-256 of everything that defines it.
    """

    source: str
    channels: list[Channel]
    parameters: list[ParameterSpec]
    poi: str | None
    digest: str


def location(source: str, channel: str, sample: str, modifier: str = "") -> str:
    """Where something stands, in the words of every message."""
    words = f"{source}: channel {channel!r}, sample {sample!r}"
    return f"{words}, {modifier}" if modifier else words
