"""The parts of an HS3 file that make up a HistFactory model, as pydantic models; a key that is not theirs is refused.

A key that is read by nobody here could change the likelihood: it is refused by name, with the nearest key that is
known. ``unused`` of a part names the keys that cannot, which other programs write and read: they are accepted.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, model_validator
from pydantic_core import PydanticCustomError

from toymill.errors import nearest
from toymill.formats.validation import UNKNOWN_KEY
from toymill.formats.workspace import FiniteFloat

_PLOTTING = frozenset({"color", "comment", "description", "label", "latex", "title", "unit"})
"""Keys of any part that say how it is drawn, or are for its reader."""


class _Strict(BaseModel):
    """A part of which every key is used, is among the ``unused``, or is refused."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    unused: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, content: Any) -> Any:
        if isinstance(content, Mapping):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            for key in content:
                if key not in known and key not in cls.unused and key not in _PLOTTING:
                    text = "unknown key {key}, which could change the likelihood. {nearest} Or remove it"
                    raise PydanticCustomError(UNKNOWN_KEY, text, {"key": repr(key), "nearest": nearest(key, known)})
        return content


class _Open(BaseModel):
    """A part of which other keys are none of the likelihood's."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def _ascending(values: list[float]) -> list[float]:
    if any(low >= high for low, high in itertools.pairwise(values)):
        msg = "edges must ascend"
        raise ValueError(msg)
    return values


def _or_empty(value: Any) -> Any:
    return [] if value is None else value


_Empty = BeforeValidator(_or_empty)  # ROOT may write null for a list of nothing

Edges = Annotated[list[FiniteFloat], Field(min_length=2), AfterValidator(_ascending)]


class Interpolation(_Strict):
    """ROOT's interpolation in words."""

    type: str
    inside: Annotated[str, Field(alias="in")]
    out: str | None


class Axis(_Strict):
    """An axis of a histogram: edges (``bounds`` before ROOT 6.32), or a number of bins between two ends."""

    name: str = ""
    min: FiniteFloat | None = None
    max: FiniteFloat | None = None
    nbins: Annotated[int, Field(ge=1, strict=True)] | None = None
    edges: Edges | None = None
    bounds: Edges | None = None

    @model_validator(mode="after")
    def _one_binning(self) -> Axis:
        stated = {self.nbins, *(len(edges) - 1 for edges in (self.edges, self.bounds) if edges)} - {None}
        if len(stated) > 1:
            msg = f"nbins and edges state {' and '.join(map(str, stated))} bins"
            raise ValueError(msg)
        return self

    @property
    def bins(self) -> int:
        """Number of its bins."""
        edges = self.edges or self.bounds
        return len(edges) - 1 if edges else int(self.nbins or 1)

    @property
    def ends(self) -> list[float] | None:
        """The edges of its bins; None if the file does not say where they are."""
        edges = self.edges or self.bounds
        if edges is None and self.min is not None and self.max is not None:
            edges = [float(value) for value in np.linspace(self.min, self.max, self.bins + 1)]
        return edges


class DataAxis(Axis):
    """An axis of data; where its observable stands has no use."""

    unused: ClassVar[frozenset[str]] = frozenset({"value", "const", "err", "relErr"})


class Contents(_Strict):
    """The contents of a histogram. Errors are used of a sample's, for its staterror; a variation's have no use."""

    contents: list[FiniteFloat]
    errors: list[FiniteFloat] | None = None


class Limits(_Strict):
    """Factors at one standard deviation up and down."""

    hi: FiniteFloat
    lo: FiniteFloat
    interpolation: str | int | None = None


class Shapes(_Strict):
    """Histograms at one standard deviation up and down."""

    hi: Contents
    lo: Contents
    interpolation: str | int | None = None


class Values(_Strict):
    """Uncertainties, a number a bin."""

    vals: list[FiniteFloat] = []


class Uncertainties(_Strict):
    """Statistical uncertainties, a number a bin."""

    uncertainties: list[FiniteFloat] | None = None


class Modifier(_Strict):
    """What all modifiers have: a name, and perhaps the type of a constraint.

    ``constraint`` is a type in files of ROOT up to 6.30 and of pyhs3, and the name of a distribution since ROOT 6.42;
    between them ROOT wrote ``constraint_type`` and ``constraint_name``. ``constraints`` has a name for each parameter.
    """

    name: str = ""
    constraint_type: str | None = None
    constraint: str | None = None
    constraints: list[str | None] | None = None
    parameters: Annotated[list[str], _Empty] = []


class SampleModifier(Modifier):
    """A modifier of a whole sample, with one parameter; lists, which newer drafts of the standard have, hold one."""

    constraint_name: str | None = None
    parameter: str | None = None

    @model_validator(mode="after")
    def _one_parameter(self) -> SampleModifier:
        stated = {name for name in (self.parameter, *self.parameters) if name}
        if len(stated) > 1 or len(self.parameters) > 1 or (self.constraints is not None and len(self.constraints) != 1):
            msg = f"it has one parameter, and one constraint; got {[*sorted(stated)]} and {self.constraints}"
            raise ValueError(msg)
        if not stated and not self.name:
            msg = "it has neither a name nor a parameter"
            raise ValueError(msg)
        return self

    @property
    def stated(self) -> str | None:
        """The name of its parameter, if the file gives one."""
        return self.parameter or next(iter(self.parameters), None)


class BinModifier(Modifier):
    """A modifier with a parameter for each bin."""

    @model_validator(mode="after")
    def _named(self) -> BinModifier:
        if not self.name and not self.parameters:
            msg = "it has neither a name nor parameters"
            raise ValueError(msg)
        return self


class NormFactor(SampleModifier):
    """A factor."""

    type: Literal["normfactor"]


class NormSys(SampleModifier):
    """A factor with an interpolation."""

    type: Literal["normsys"]
    data: Limits
    interpolation: int | Interpolation | None = None


class HistoSys(SampleModifier):
    """A shift with an interpolation."""

    type: Literal["histosys"]
    data: Shapes
    interpolation: int | Interpolation | None = None


class ShapeFactor(BinModifier):
    """A free factor for each bin."""

    type: Literal["shapefactor"]
    data: Values | None = None

    @model_validator(mode="after")
    def _free(self) -> ShapeFactor:
        types = {self.constraint_type, self.constraint} - {None, "Const", "none"}
        if types or any(self.constraints or []) or any(self.data.vals if self.data else []):
            msg = "a shapefactor is free, and this one has uncertainties or a constraint: a shapesys has them"
            raise ValueError(msg)
        return self


class ShapeSys(BinModifier):
    """A constrained factor for each bin."""

    type: Literal["shapesys"]
    data: Values | None = None


class StatError(BinModifier):
    """Statistical factors for each bin."""

    type: Literal["staterror"]
    data: Uncertainties | None = None


AnyModifier = Annotated[
    NormFactor | NormSys | HistoSys | ShapeFactor | ShapeSys | StatError, Field(discriminator="type")
]


class Sample(_Strict):
    """A process in a channel."""

    name: str
    data: Contents
    modifiers: Annotated[list[AnyModifier], _Empty] = []


class Staterror(_Strict):
    """A channel's statistical settings: factors of bins whose relative uncertainty is below the threshold are held."""

    constraint_type: str | None = None
    rel_threshold: Annotated[FiniteFloat, Field(alias="relThreshold", ge=0)] = 0.0


class Distribution(_Strict):
    """A channel: a histfactory_dist."""

    name: str
    type: Literal["histfactory_dist"]
    axes: list[Axis]
    samples: Annotated[list[Sample], Field(min_length=1)]
    staterror: Staterror | None = None
    default_interpolation: Interpolation | None = None
    barlow_beeston_method: Literal["full", "lite"] | None = None

    @property
    def channel(self) -> str:
        """Name of the channel, without the prefix that ROOT puts before it."""
        return self.name.removeprefix("model_")


class Gaussian(_Strict):
    """A normal constraint."""

    name: str
    type: Literal["gaussian_dist", "normal_dist"]
    x: str | FiniteFloat
    mean: str | FiniteFloat
    sigma: str | FiniteFloat


class Poisson(_Strict):
    """A Poisson constraint; ``integer`` rounds the count down, which changes nothing of a whole one."""

    name: str
    type: Literal["poisson_dist"]
    x: str | FiniteFloat
    mean: str
    integer: StrictBool = False


class Product(_Strict):
    """A function: a product, as the mean of a Poisson constraint is one."""

    name: str
    type: Literal["product"]
    factors: list[str | FiniteFloat]


class Named(_Open):
    """Something with a name, of which the rest is read where it is used."""

    name: str


class Metadata(_Open):
    """What wrote the file."""

    packages: list[Named] | None = None


class Datum(_Strict):
    """Observed data: binned contents, or events. Their errors are no part of a Poisson likelihood."""

    unused: ClassVar[frozenset[str]] = frozenset({"errors"})

    name: str
    type: str
    axes: list[DataAxis] | None = None
    contents: list[FiniteFloat] | None = None
    entries: list[list[FiniteFloat]] | None = None
    weights: list[FiniteFloat] | None = None
    uncertainty: None = None
    entries_uncertainties: None = None


class Likelihood(_Strict):
    """Distributions and their data, pair by pair."""

    name: str
    distributions: Annotated[list[str], Field(min_length=1)]
    data: list[str]
    aux_distributions: list[str] | None = None


class Range(_Strict):
    """A parameter's range; a side that is null or left out is open. A binning of it, in ROOT since 6.42, has no use."""

    unused: ClassVar[frozenset[str]] = frozenset({"nbins"})

    name: str
    min: FiniteFloat | None = None
    max: FiniteFloat | None = None
    edges: Edges | None = None
    const: StrictBool | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """Lower and upper bound; the outer edges where a side is not stated."""
        low, high = (self.edges[0], self.edges[-1]) if self.edges else (-np.inf, np.inf)
        return (
            low if "min" not in self.model_fields_set else -np.inf if self.min is None else self.min,
            high if "max" not in self.model_fields_set else np.inf if self.max is None else self.max,
        )


class Domain(_Strict):
    """Ranges of parameters."""

    name: str
    type: Literal["product_domain"] = "product_domain"
    axes: Annotated[list[Range], _Empty] = []


class Point(Range):
    """A parameter's value, and perhaps its range. The errors with which ROOT's minimisers begin have no use."""

    unused: ClassVar[frozenset[str]] = frozenset({"nbins", "err", "relErr"})

    value: FiniteFloat


class PointSet(_Strict):
    """Values of parameters."""

    name: str
    parameters: Annotated[list[Point], _Empty] = []


class Analysis(Named):
    """A likelihood with its parameters of interest. Other keys, as a prior, are for what is done with the likelihood."""

    likelihood: str
    parameters_of_interest: list[str] | None = None
    domains: Annotated[list[str], _Empty] = []
    init: str | None = None


class File(_Strict):
    """What is read of an HS3 file at once: the names. What of it is used is read as it is named."""

    unused: ClassVar[frozenset[str]] = frozenset({"misc", "$schema"})

    metadata: Metadata | None = None
    distributions: list[Named]
    functions: Annotated[list[Named], _Empty] = []
    data: list[Named]
    likelihoods: list[Named]
    analyses: Annotated[list[Named], Field(min_length=1)]
    domains: Annotated[list[Named], _Empty] = []
    parameter_points: Annotated[list[Named], _Empty] = []
