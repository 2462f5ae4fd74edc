"""The answers to a study's sections: a part of ``summary.json``. Needs no JAX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import TypeAdapter

from toymill.inference.asymptotic_limits import AsymptoticPoint, AsymptoticUpperLimit
from toymill.inference.channel_compatibility import ChannelCompatibility
from toymill.inference.goodness_of_fit import GoodnessOfFit
from toymill.inference.impacts import Decomposition, Impact
from toymill.inference.interval_coverage import CoverageVerdict
from toymill.inference.interval_verdicts import AsymptoticInterval, EndVerdict
from toymill.inference.limit_records import Limit, UpperLimit
from toymill.inference.mixture import MixtureTail
from toymill.inference.neyman_records import NeymanIntervals
from toymill.inference.p_values import PValue
from toymill.inference.regions import NeymanRegions, RegionVerdict
from toymill.inference.verdicts import AsymptoticVerdict
from toymill.record import FileRecord, LevelText, Record, SigmaText
from toymill.results.design import Round
from toymill.results.files import read_record
from toymill.results.scan import ScanAnswer, ScanFile

StatisticName = Annotated[str, "statistic"]
"""Key of a mapping: the name of a goodness-of-fit statistic."""


class Precision(Record):
    """The Monte Carlo error that was asked for."""

    asked: float
    """The relative error that was asked for."""
    reached: bool
    """Whether every number of the answer that has one is known as well."""
    rounds: list[Round]
    """The rounds in which toys were added."""
    sentence: str
    """What was reached, and by how many toys, in words."""


class LimitAnswer(Record):
    """Upper limits on the parameter of interest."""

    statistic: str
    """The test statistic: qtilde, q, lep or tevatron."""
    toys: UpperLimit
    """The limits from toys."""
    asymptotic: AsymptoticUpperLimit | None
    """The asymptotic limits; null where they are not known."""
    why_no_asymptotic: str | None
    """Why they are not known; null where they are."""
    asymptotic_points: list[AsymptoticPoint | None] | None = None
    """CLs by the asymptotic formulae at each tested value, in their order; null where they are not known."""
    verdict: AsymptoticVerdict | None
    """Whether the asymptotic observed limit may be used; null without one, and without observed data."""
    expected_verdicts: dict[SigmaText, AsymptoticVerdict]
    """The same of each expected limit; empty without asymptotic limits."""
    injected: dict[SigmaText, Limit] | None
    """The limits that are expected with the injected signal in the data; null without one."""
    precision: Precision | None
    """The precision that was asked for; null without one."""


class EndVerdicts(Record):
    """Whether the ends of one asymptotic interval may be used."""

    low: EndVerdict
    """The lower end."""
    high: EndVerdict
    """The upper end."""


class CoverageVerdicts(Record):
    """Whether the intervals of one level hold the truth often enough, over the tested values."""

    toys: CoverageVerdict | None
    """The interval from toys, by halves of them; null with too few, and for p-values that are the largest over a set."""
    asymptotic: CoverageVerdict | None
    """The asymptotic one; null without certified toys."""


class IntervalAnswer(Record):
    """Confidence intervals of the parameter of interest."""

    statistic: str
    """What orders the data: t or ttilde."""
    over_set: str | None
    """What p-values are the largest over, in words; null where they are of toys at the fits to the observed data alone."""
    toys: NeymanIntervals
    """The intervals from toys."""
    asymptotic: dict[LevelText, AsymptoticInterval]
    """The asymptotic interval of each level."""
    verdicts: dict[LevelText, EndVerdicts]
    """Whether the asymptotic interval of each level may be used."""
    coverage: dict[LevelText, CoverageVerdicts]
    """Whether the intervals of each level cover."""
    precision: Precision | None
    """The precision that was asked for; null without one."""


class RegionAnswer(Record):
    """A joint confidence region of two parameters."""

    parameters: list[str]
    """The two parameters."""
    values: list[list[float]]
    """The values of each on the grid, ascending; of the points, the second runs fastest."""
    best: list[float]
    """Their best fit to the observed data."""
    toys: NeymanRegions
    """The region from toys."""
    verdicts: dict[LevelText, RegionVerdict]
    """Where the asymptotic region of each level differs."""
    precision: Precision | None
    """The precision that was asked for; null without one."""


class TailAnswer(Record):
    """The p-value of the hypothesis without a signal beyond one value of q_0."""

    q_0: float
    """The value of q_0."""
    weighted: MixtureTail
    """The p-value from the toys of all truth points, weighted."""
    plain: PValue
    """The p-value from the toys without a signal alone."""
    asymptotic: float
    """The asymptotic p-value 1 - Φ(√q_0)."""
    verdict: AsymptoticVerdict
    """Whether the asymptotic significance may be used."""


class DiscoveryAnswer(Record):
    """How significant a signal is."""

    observed: TailAnswer | None
    """Of the observed data; null without them, and where their fits are not certified."""
    why_no_observed: str | None
    """Which fit to the observed data is not certified; null where both are, and without observed data."""
    tail: list[TailAnswer]
    """At q_0 = 1, 4, 9, … as far as the section's ``reach``."""


class GoodnessOfFitAnswer(Record):
    """Whether the model describes the observed data."""

    sentence: str
    """The p-value of the saturated statistic in words."""
    statistics: dict[StatisticName, GoodnessOfFit]
    """Each statistic of the observed data with its p-value."""
    channel_compatibility: ChannelCompatibility | None
    """Whether the channels agree on the parameter of interest; null where it is not asked for."""


class ImpactsAnswer(Record):
    """Which data the error of the parameter of interest comes from."""

    sentence: str
    """The decomposition in words."""
    decomposition: Decomposition
    """The variance over toys, by kind of data."""
    impacts: list[Impact]
    """Each nuisance parameter, the largest impact first."""
    why_no_shifts: str | None
    """Why there are no shifts of the fit to the observed data; null where there are."""


class Answers(Record):
    """The answers to a study's sections; null for a section that it has not."""

    limit: LimitAnswer | None = None
    """Of the section ``limit``."""
    interval: IntervalAnswer | None = None
    """Of the section ``interval``."""
    region: RegionAnswer | None = None
    """Of the section ``region``."""
    discovery: DiscoveryAnswer | None = None
    """Of the section ``discovery``."""
    goodness_of_fit: GoodnessOfFitAnswer | None = None
    """Of the section ``goodness_of_fit``."""
    impacts: ImpactsAnswer | None = None
    """Of the section ``impacts``."""
    scan: ScanAnswer | None = None
    """Of the section ``scan``."""


class AnswersFile(FileRecord):
    """The answers as the summary takes them."""

    answers: Answers
    """The answers."""


def read_answers(path: str | Path | None, scan: str | Path | None = None) -> Answers | None:
    """Read the answers, and that of a scan; none of a study without, whose path is None, or empty as Snakemake has it.

    Raises:
        ToymillError: a file that is not one of this version, or is not what was written.
    """
    found = read_record(path, TypeAdapter(AnswersFile)).answers if path else None
    if not scan:
        return found
    return (found or Answers()).model_copy(update={"scan": read_record(scan, TypeAdapter(ScanFile)).scan})
