"""A scan over many signals: what it found, a part of ``summary.json``. Needs no JAX."""

from __future__ import annotations

from toymill.inference.asymptotic_limits import AsymptoticCLs
from toymill.inference.exclusion import Exclusion
from toymill.inference.look_elsewhere import GrossVitells, WeightedGlobal
from toymill.inference.p_values import PValue
from toymill.record import FileRecord, NumberOrNone, Record


class ScanPoint(Record):
    """One signal of a scan."""

    name: str
    """Name of the signal."""
    values: list[float | str]
    """Its coordinates; empty if its patch states none."""
    patch: str
    """SHA-256 of its patch."""
    estimate: NumberOrNone
    """The fitted parameter of interest; null where the fit to the observed data is not certified."""
    q_0: NumberOrNone
    """q_0 of the observed data, likewise."""
    p_value: PValue | None
    """The local p-value of the hypothesis without a signal, from toys; null without q_0."""
    asymptotic: NumberOrNone
    """The asymptotic local p-value 1 - Φ(√q_0)."""
    failed: int
    """Toys without and with the signal of which a fit is not certified."""
    exclusion: Exclusion | None
    """Whether the signal is excluded, from toys; null in a scan without toys with a signal."""
    asymptotic_cls: AsymptoticCLs | None
    """CLs by the asymptotic formulae; null where a fit that they need is not certified."""


class GlobalSignificance(Record):
    """How significant the largest of the local excesses is."""

    point: str
    """The signal of the largest q_0 of the observed data."""
    q_0: float
    """That q_0."""
    p_value: PValue
    """The fraction of toys without a signal of which the largest q_0 of all points is as large."""
    gross_vitells: GrossVitells | None
    """The same by the formula of Gross and Vitells."""
    why_no_gross_vitells: str | None
    """Why there is no such formula; null where there is."""
    weighted: WeightedGlobal | None = None
    """Local and global p-value by weighted toys, thrown where the largest excess is beyond what those without tilt reach."""
    why_not_weighted: str | None = None
    """Why there are no weighted toys; null where there are."""


class ScanAnswer(Record):
    """The significance and the exclusion of many signals, from toys that all of them share."""

    sentences: list[str]
    """The largest excess, and how many signals are excluded, in words."""
    poi: str
    """The parameter of interest."""
    mu: float
    """Its value that is excluded or not."""
    statistic: str
    """Test statistic of the exclusion: qtilde or q."""
    level: float
    """Confidence level of the exclusion."""
    labels: list[str]
    """Names of the coordinates; empty if there are none."""
    toys: int
    """Toys without a signal, which the models of all points fit."""
    signal_toys: int
    """Toys with the signal of each point."""
    points: list[ScanPoint]
    """The signals."""
    largest: GlobalSignificance | None
    """The largest local excess; null where no fit to the observed data is certified."""


class ScanFile(FileRecord):
    """The answer as the summary takes it."""

    scan: ScanAnswer
    """The answer."""
