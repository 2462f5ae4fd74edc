"""``design.json``: the truth points and tested values that a study's sections are answered from. Needs no JAX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import TypeAdapter

from toymill.inference.asymptotic_limits import AsymptoticUpperLimit
from toymill.inference.interval_verdicts import AsymptoticInterval
from toymill.record import EnsembleName, FileRecord, LevelText, NumberOrNone, ParameterName, Record
from toymill.results.files import REMOVE, read_record

NumberName = Annotated[str, "number"]
"""Key of a mapping: ``observed``, or σ of an expected limit; of an interval, level and side of an end, ``0.95 low``."""


class DesignedEnsemble(Record):
    """One ensemble that sections are answered from."""

    truth: dict[ParameterName, float]
    """The truth, by parameter; those that the model fixes are left out."""
    tests: list[float]
    """Values of the parameter of interest that are tested beside the truth's own, ascending."""
    toys: int
    """Number of toys."""
    throw: str = "frequentist"
    """What fluctuates: frequentist or hybrid."""
    sections: list[str]
    """The sections that use it."""


class Round(Record):
    """What the toys of a round tell, and how many follow."""

    toys: int
    """Toys of the answer until then, of all its ensembles."""
    errors: dict[NumberName, NumberOrNone]
    """Relative Monte Carlo error of each limit, or of each end that has one, null where it is not known; of a region the
    undecided part."""
    added: int
    """Toys that are added."""


class DesignedLimit(Record):
    """What the section ``limit`` tests."""

    values: list[float]
    """The tested values, ascending."""
    asymptotic: AsymptoticUpperLimit | None
    """The asymptotic limits, by which they were placed; null where they are not known."""
    why_no_asymptotic: str | None
    """Why they are not known; null where they are."""
    rounds: list[Round]
    """The rounds in which toys are added for the precision that is asked for, as far as they are done."""


class DesignedInterval(Record):
    """What the section ``interval`` tests."""

    values: list[float]
    """The tested values, ascending."""
    asymptotic: dict[LevelText, AsymptoticInterval]
    """The asymptotic interval of each level, by which they were placed."""
    distances: list[float] | None
    """(μ - L)/σ of each tested value from a lower bound L that the data are near to; null where they are near to none."""
    nuisances: list[str]
    """The nuisance parameters of a confidence set, over which p-values are the largest; empty without one."""
    rounds: list[Round]
    """The rounds in which toys are added for the precision that is asked for, as far as they are done."""


class DesignedRegion(Record):
    """What the section ``region`` tests."""

    parameters: list[str]
    """The two parameters."""
    values: list[list[float]]
    """The values of each, ascending, whose combinations are tested; the second runs fastest."""
    best: list[float]
    """Their best fit to the observed data."""
    rounds: list[Round]
    """The rounds in which toys are added for the precision that is asked for, as far as they are done."""


class Design(FileRecord):
    """The ensembles of a study's sections."""

    toymill: str
    """Version of toymill."""
    study: str
    """Name of the study."""
    nuisances: str
    """Where the other parameters stand at the truth points: conditional, nominal or hybrid."""
    limit: DesignedLimit | None
    """What the section ``limit`` tests; null without it."""
    interval: DesignedInterval | None
    """What the section ``interval`` tests; null without it."""
    region: DesignedRegion | None
    """What the section ``region`` tests; null without it."""
    ensembles: dict[EnsembleName, DesignedEnsemble]
    """The ensembles, by name."""


def read_design(path: str | Path) -> Design:
    """Read ``design.json``.

    Raises:
        ToymillError: a file that is not one of this version, or is not what was written.
    """
    return read_record(path, TypeAdapter(Design), REMOVE)
