"""``design.json``: the truth points and tested values that a study's sections are answered from. Needs no JAX."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter

from toymill.inference.asymptotic_limits import AsymptoticUpperLimit
from toymill.record import EnsembleName, FileRecord, ParameterName, Record
from toymill.results.files import REMOVE, read_record


class DesignedEnsemble(Record):
    """One ensemble that sections are answered from."""

    truth: dict[ParameterName, float]
    """The truth, by parameter; those that the model fixes are left out."""
    tests: list[float]
    """Values of the parameter of interest that are tested beside the truth's own, ascending."""
    toys: int
    """Number of toys."""
    sections: list[str]
    """The sections that use it."""


class DesignedLimit(Record):
    """What the section ``limit`` tests."""

    values: list[float]
    """The tested values, ascending."""
    asymptotic: AsymptoticUpperLimit | None
    """The asymptotic limits, by which they were placed; null where they are not known."""
    why_no_asymptotic: str | None
    """Why they are not known; null where they are."""


class Design(FileRecord):
    """The ensembles of a study's sections."""

    toymill: str
    """Version of toymill."""
    study: str
    """Name of the study."""
    nuisances: str
    """Where the other parameters stand at the truth points: conditional or nominal."""
    limit: DesignedLimit | None
    """What the section ``limit`` tests; null without it."""
    ensembles: dict[EnsembleName, DesignedEnsemble]
    """The ensembles, by name."""


def read_design(path: str | Path) -> Design:
    """Read ``design.json``.

    Raises:
        ToymillError: a file that is not one of this version, or is not what was written.
    """
    return read_record(path, TypeAdapter(Design), REMOVE)
