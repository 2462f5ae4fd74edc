"""``model.json``: the compiled model, its fit to the observed data, and the truth points. Needs no JAX."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter

from toymill.record import EnsembleName, FileRecord, NumberOrNone, ParameterName, QuantityName, Record
from toymill.results.files import read_record


class ParameterDescription(Record):
    """One parameter of the model."""

    name: str
    """Its name."""
    init: float
    """Its initial value."""
    bounds: tuple[NumberOrNone, NumberOrNone]
    """Its lower and upper bound; null where there is none."""
    fixed: bool
    """Whether the model fixes it."""
    constraint: str
    """The density of its auxiliary datum: none, normal or poisson."""


class ObservedTest(Record):
    """One tested value on the observed data."""

    poi: float
    """The tested value of the parameter of interest."""
    t: NumberOrNone
    """The observed t_μ there."""


class Observed(Record):
    """The observed data and their fits."""

    data: list[float]
    """The data, in the order of their names."""
    status: str
    """How the free fit ended."""
    twice_nll: NumberOrNone
    """2 nll at its minimum, with all constants."""
    parameters: dict[ParameterName, NumberOrNone]
    """The fitted values, by parameter."""
    errors: dict[ParameterName, NumberOrNone]
    """Their errors from the exact Hessian."""
    derived: dict[QuantityName, float]
    """The derived quantities, by name."""
    information: list[list[NumberOrNone]]
    """The observed information over the free parameters."""
    tests: list[ObservedTest]
    """The tested values of all ensembles, ascending."""


class Asimov(Record):
    """The fits of the Asimov dataset of a truth point (arXiv:1007.1727, sec. 3.2)."""

    t: list[NumberOrNone]
    """Λ of the asymptotic distribution at each test point."""
    t_error: list[NumberOrNone]
    """Monte Carlo error of Λ; 0 where it is exact."""
    sigma: float | None
    """Standard deviation of the parameter of interest, by the Cramér-Rao bound."""


class Information(Record):
    """The expected Fisher information at a truth point."""

    method: str
    """How it was found: counts, model or toys."""
    parameters: list[str]
    """The free parameters, in the order of the matrices."""
    expected: list[list[NumberOrNone]]
    """The expected information."""
    expected_error: list[list[NumberOrNone]]
    """Its Monte Carlo error; 0 where it is exact."""
    bound: list[list[NumberOrNone]] | None
    """The Cramér-Rao bound on the covariance; null without an inverse."""


class ThrownFrom(Record):
    """Another model than the fitted one, which toys are thrown from."""

    digest: str
    """SHA-256 of everything that defines it."""
    truth: dict[ParameterName, float]
    """The truth, by its parameters."""
    without_truth: list[str]
    """Parameters that only the fitted model has: they have no truth. Their auxiliary data fluctuate about the nominal
    values."""


class EnsembleDescription(Record):
    """The truth point of one ensemble."""

    digest: str
    """SHA-256 of everything that its toys and fits depend on, save the index and the test points."""
    throw: str
    """What fluctuates: frequentist, main-only, hybrid or templates."""
    thrown_from: ThrownFrom | None
    """The other model that its toys are thrown from; null for the fitted one."""
    truth: dict[ParameterName, float]
    """The truth, by parameter; for parameters without a truth, their initial values."""
    drawn: tuple[str, ...] = ()
    """Parameters whose values are drawn anew for each toy, as `hybrid` and `templates` do: they have no truth."""
    derived: dict[QuantityName, float]
    """The derived quantities there, by name."""
    tests: list[float]
    """The tested values of the parameter of interest, ascending."""
    asimov: Asimov
    """The fits of the Asimov dataset."""
    information: Information
    """The expected information."""

    @property
    def without_truth(self) -> list[str]:
        """Parameters that have no truth, since only the fitted model has them or each toy has a value of its own."""
        return [*(self.thrown_from.without_truth if self.thrown_from else ()), *self.drawn]

    @property
    def known(self) -> dict[str, float]:
        """The truth of the parameters that have one."""
        return {name: value for name, value in self.truth.items() if name not in self.without_truth}


class Description(FileRecord):
    """What is known of a study before its toys are thrown."""

    toymill: str
    """Version of toymill."""
    study: str
    """Name of the study."""
    digest: str
    """SHA-256 of everything that defines the model."""
    inputs: dict[str, str]
    """SHA-256 of each input file, by its path."""
    poi: str
    """The parameter of interest."""
    parameters: list[ParameterDescription]
    """The parameters, in the model's order."""
    data: list[str]
    """Name of each datum, main then auxiliary."""
    observed: Observed | None
    """The observed data and their fits; null for a model without."""
    ensembles: dict[EnsembleName, EnsembleDescription]
    """The truth points, by ensemble."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in the model's order."""
        return tuple(item.name for item in self.parameters)


DESCRIPTION = TypeAdapter(Description)
"""The content of ``model.json``."""


def read_description(path: str | Path) -> Description:
    """Read ``model.json``.

    Raises:
        ToymillError: a file that is not one of this version, with the key that is wrong.
    """
    return read_record(path, DESCRIPTION)
