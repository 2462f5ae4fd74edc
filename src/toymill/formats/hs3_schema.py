"""The parts of an HS3 file that make up a HistFactory model, as pydantic models; what is not among them is refused."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool

from toymill.formats.workspace import FiniteFloat


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Open(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


def _ascending(values: list[float]) -> list[float]:
    if any(low >= high for low, high in itertools.pairwise(values)):
        msg = "edges must ascend"
        raise ValueError(msg)
    return values


Edges = Annotated[list[FiniteFloat], Field(min_length=2), AfterValidator(_ascending)]


class Interpolation(_Strict):
    """ROOT's interpolation in words."""

    type: str
    inside: Annotated[str, Field(alias="in")]
    out: str | None


class Axis(_Open):
    """An axis of a histogram."""

    name: str = ""
    min: FiniteFloat | None = None
    max: FiniteFloat | None = None
    nbins: Annotated[int, Field(ge=1, strict=True)] | None = None
    edges: Edges | None = None
    bounds: Edges | None = None

    @property
    def bins(self) -> int:
        """Number of its bins."""
        edges = self.edges or self.bounds
        return len(edges) - 1 if edges else int(self.nbins or 1)


class Contents(_Open):
    """The contents of a histogram."""

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


class Values(_Open):
    """Uncertainties, a number a bin."""

    vals: list[FiniteFloat] = []


class Uncertainties(_Open):
    """Statistical uncertainties, a number a bin."""

    uncertainties: list[FiniteFloat] | None = None


class Modifier(_Strict):
    """What all modifiers have: a name, and perhaps a constraint."""

    name: str = ""
    constraint_name: str | None = None
    constraint_type: str | None = None
    constraint: str | None = None


class NormFactor(Modifier):
    """A factor."""

    type: Literal["normfactor"]
    parameter: str | None = None


class NormSys(Modifier):
    """A factor with an interpolation."""

    type: Literal["normsys"]
    parameter: str | None = None
    data: Limits
    interpolation: int | Interpolation | None = None


class HistoSys(Modifier):
    """A shift with an interpolation."""

    type: Literal["histosys"]
    parameter: str | None = None
    data: Shapes
    interpolation: int | Interpolation | None = None


class ShapeFactor(Modifier):
    """A free factor for each bin."""

    type: Literal["shapefactor"]
    parameters: list[str] = []
    data: Values | None = None


class ShapeSys(Modifier):
    """A constrained factor for each bin."""

    type: Literal["shapesys"]
    parameters: list[str] = []
    constraints: list[str | None] | None = None
    data: Values


class StatError(Modifier):
    """Statistical factors for each bin."""

    type: Literal["staterror"]
    parameters: list[str] = []
    constraints: list[str | None] | None = None
    data: Uncertainties | None = None


AnyModifier = Annotated[
    NormFactor | NormSys | HistoSys | ShapeFactor | ShapeSys | StatError, Field(discriminator="type")
]


class Sample(_Strict):
    """A process in a channel."""

    name: str
    data: Contents
    modifiers: list[AnyModifier] = []


class Staterror(_Open):
    """A channel's statistical settings."""

    constraint_type: str | None = None


class Distribution(_Strict):
    """A channel: a histfactory_dist."""

    name: str
    type: Literal["histfactory_dist"]
    axes: list[Axis]
    samples: Annotated[list[Sample], Field(min_length=1)]
    staterror: Staterror | None = None
    default_interpolation: Interpolation | None = None
    barlow_beeston_method: Literal["full", "lite"] = "lite"

    @property
    def channel(self) -> str:
        """Name of the channel, without the prefix that ROOT puts before it."""
        return self.name.removeprefix("model_")


class Gaussian(_Open):
    """A normal constraint."""

    type: Literal["gaussian_dist", "normal_dist"]
    x: str | FiniteFloat
    mean: str | FiniteFloat
    sigma: str | FiniteFloat


class Named(_Open):
    """Something with a name."""

    name: str


class Metadata(_Open):
    """What wrote the file."""

    packages: list[Named] | None = None


class Datum(Named):
    """Observed data: binned contents, or events."""

    type: str
    contents: list[FiniteFloat] | None = None
    entries: list[list[FiniteFloat]] | None = None
    weights: list[FiniteFloat] | None = None


class Likelihood(Named):
    """Distributions and their data, pair by pair."""

    distributions: Annotated[list[str], Field(min_length=1)]
    data: list[str]
    aux_distributions: list[str] | None = None


class Range(Named):
    """A parameter's range."""

    min: FiniteFloat = float("-inf")
    max: FiniteFloat = float("inf")


class Domain(Named):
    """Ranges of parameters."""

    axes: list[Range] = []


class Point(Range):
    """A parameter's value, and perhaps its range."""

    value: FiniteFloat
    const: StrictBool | None = None


class PointSet(Named):
    """Values of parameters."""

    parameters: list[Point] = []


class Analysis(Named):
    """A likelihood with its parameters of interest."""

    likelihood: str
    parameters_of_interest: list[str] | None = None
    domains: list[str] = []
    init: str | None = None


class File(_Open):
    """What is read of an HS3 file at once; distributions and data are read as they are named."""

    metadata: Metadata | None = None
    distributions: list[Named]
    data: list[Named]
    likelihoods: list[Likelihood]
    analyses: Annotated[list[Analysis], Field(min_length=1)]
    domains: list[Domain] = []
    parameter_points: list[PointSet] = []
