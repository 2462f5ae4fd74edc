"""``audit/<ensemble>.json``: toys of an ensemble that were fitted again with iminuit. Needs no JAX."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from pydantic import TypeAdapter

from toymill.inference.audit import AuditSummary
from toymill.record import FileRecord, NumberOrNone, Record
from toymill.results.files import read_record, write_record, write_text


class AuditedToy(Record):
    """One toy, by iminuit and by us."""

    toy: int
    """Its index."""
    nll_free: NumberOrNone
    """iminuit's nll of the free fit less ours."""
    nll_tests: list[NumberOrNone]
    """The same of each conditional fit, in the order of the tested values."""
    poi: NumberOrNone
    """iminuit's parameter of interest less ours."""
    valid: bool
    """Whether iminuit calls all its fits valid."""

    @property
    def ours_higher_by(self) -> float:
        """The most that our nll lies above iminuit's."""
        return max((-value for value in (self.nll_free, *self.nll_tests) if value is not None), default=0.0)


class Audit(FileRecord):
    """The audit of an ensemble. How many toys it has depends on the time that they take, where the study says auto."""

    toymill: str
    """Version of toymill."""
    study: str
    """Name of the study."""
    ensemble: str
    """Name of the ensemble; of a scan, scan/ and the point."""
    digest: str
    """SHA-256 of everything that its toys and fits depend on, save the index and the test points."""
    tests: list[float]
    """The tested values of the parameter of interest, ascending."""
    tolerance: float
    """How much lower iminuit's nll may lie."""
    summary: AuditSummary
    """The largest differences."""
    toys: list[AuditedToy]
    """The toys, in the order of their index."""

    @property
    def sentence(self) -> str:
        """What it found, in words."""
        count, missed = self.summary.toys, self.summary.missed
        if not count:
            return "no toy was audited"
        if not missed:
            return f"audit: in none of {count} toys does iminuit's fit lie below ours by more than {self.tolerance:g}"
        worst = max(self.toys, key=lambda toy: toy.ours_higher_by)
        return (
            f"MISSED MINIMA: in {missed} of {count} audited toys iminuit's fit lies below ours by more than "
            f"{self.tolerance:g}, the most in toy {worst.toy}, by {worst.ours_higher_by:.3g}"
        )


def read_audits(paths: Iterable[str | Path] | None) -> dict[str, Audit]:
    """Read the audit of each ensemble, by its name; none if there are none.

    Raises:
        ToymillError: a file that is not one of this version, or is not what was written.
    """
    audits = [read_record(path, TypeAdapter(Audit)) for path in paths or ()]
    return {audit.ensemble: audit for audit in audits}


def write_audit(path: str | Path, audit: Audit, logs: Iterable[str | Path]) -> None:
    """Write an audit; missed minima are told on stderr and in the job's log too."""
    write_record(path, audit)
    if audit.summary.missed:
        told = f"toymill: ensemble {audit.ensemble!r}: {audit.sentence}\n"
        sys.stderr.write(told)
        for log in logs:
            write_text(log, told)
