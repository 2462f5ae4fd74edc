"""The first screen of the report page: what was studied, the answers in words, and one table with the verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import scipy

from toymill.inference.limit_records import SIGMAS
from toymill.inference.mixture import MixtureTail
from toymill.inference.p_values import PValue
from toymill.report.numbers import (
    counted,
    in_sigmas,
    interval_error,
    number,
    one_line,
    per_cent,
    quantile_name,
    sigmas,
    with_error,
)
from toymill.report.parts import Verdict
from toymill.results.answers import (
    Answers,
    DiscoveryAnswer,
    GoodnessOfFitAnswer,
    IntervalAnswer,
    LimitAnswer,
    RegionAnswer,
)
from toymill.results.scan import ScanAnswer
from toymill.results.summary import EnsembleSummary, Summary, TestSummary

MOST_SHOWN = 3
"""Truth points that are told one by one; of more, the one that is farthest from what it should be."""

_MISSING = "–"


class Line(NamedTuple):
    """A line of the table.

    Attributes:
        what: what is asked.
        toys: the answer by toys, with its Monte Carlo error.
        asymptotic: the asymptotic answer, or what it should be.
        difference: how far the two are from each other.
        verdict: whether the asymptotic one may be used.
        words: the verdict in a word or two.
    """

    what: str
    toys: str
    asymptotic: str
    difference: str
    verdict: Verdict | None
    words: str


class Group(NamedTuple):
    """Lines of the table with a title."""

    title: str
    lines: Sequence[Line]


def groups(summary: Summary) -> list[Group]:
    """The table of the first screen: the answers to sections, then truth points that the configuration states."""
    found = []
    lines = list(_of_answers(summary.answers)) if summary.answers else []
    if lines:
        limit = summary.answers.limit if summary.answers else None
        of_limit = f": limits at {100 * limit.toys.level:g} % {limit.toys.method}" if limit else ""
        found.append(Group(f"Answers, of {_name(summary.poi)}{of_limit}", lines))
    stated = {name: item for name, item in summary.ensembles.items() if not item.sections}
    if len(stated) > MOST_SHOWN:
        title = f"{len(stated)} truth points: of each quantity, the one farthest from what is expected"
        found.append(Group(title, list(_farthest(summary.poi, stated))))
    else:
        for name, item in stated.items():
            truth = f"{_name(summary.poi)} = {item.truth[summary.poi]:g}" if summary.poi in item.truth else ""
            title = f"Truth point {name}: {truth}, {counted(item.certified, 'certified toy')}"
            found.append(Group(title, list(_of_ensemble(summary.poi, item))))
    return found


def sentences(summary: Summary, told: Sequence[str]) -> list[str]:
    """The answers in words; then what truth points tell of the asymptotic formula, and what else is told.

    Args:
        summary: the summary.
        told: sentences on audits and other models.
    """
    verdicts = summary.headline.verdicts
    lines = [one_line(line, 600) for line in summary.headline.answers]
    if len(verdicts) <= 2 * MOST_SHOWN:
        lines += [f"{item.ensemble}, {_name(summary.poi)} = {item.poi:g}: {item.sentence}" for item in verdicts]
    else:
        count = {key: sum(item.agrees is key for item in verdicts) for key in (True, False, None)}
        lines.append(
            f"Of {len(verdicts)} tests of t_μ at 95 %, the asymptotic formula may be trusted in {count[True]}, is off in "
            f"{count[False]}, and cannot be judged in {count[None]}."
        )
        lines += [
            f"{item.ensemble}, {_name(summary.poi)} = {item.poi:g}: {item.sentence}"
            for item in verdicts
            if item.agrees is False
        ][:MOST_SHOWN]
    return [*lines, *told]


def _name(text: str) -> str:
    return one_line(text, 40)


def _of_answers(answers: Answers) -> Iterator[Line]:
    if answers.limit:
        yield from _limit(answers.limit)
    if answers.discovery:
        yield _discovery(answers.discovery)
    if answers.interval:
        yield from _intervals(answers.interval)
    if answers.region:
        yield from _regions(answers.region)
    if answers.goodness_of_fit:
        yield from _goodness(answers.goodness_of_fit)
    if answers.impacts:
        parts = answers.impacts.decomposition
        for words, share in (("statistical", parts.statistical), ("systematic", parts.systematic)):
            if share is not None:
                shown = with_error(share.sigma, share.sigma_error)
                yield Line(f"error of the fit, {words} part", shown, _MISSING, _MISSING, None, _MISSING)
    if answers.scan:
        yield from _scan(answers.scan)


def _limit(found: LimitAnswer) -> Iterator[Line]:
    asymptotic = found.asymptotic
    formulae = asymptotic.expected if asymptotic else {}
    expected = [
        (
            f"expected, {quantile_name(key)}",
            found.toys.expected.get(key),
            found.expected_verdicts.get(key),
            formulae.get(key),
        )
        for key in map(str, SIGMAS)
    ]
    observed = "observed", found.toys.observed, found.verdict, asymptotic and asymptotic.observed
    for name, limit, verdict, formula in (observed, *expected):
        if limit is None:
            continue
        error = limit.total_error
        shown = with_error(limit.value, error) if error is not None else _alone(limit.value, limit.outside)
        difference, mark, words = _MISSING, None, _MISSING
        if verdict is not None:
            difference = _relative(verdict.difference, verdict.error)
            mark, words = _usable(verdict.usable)
        what = f"upper limit, {name}"
        yield Line(what, shown, number(formula.value) if formula else _MISSING, difference, mark, words)


def _alone(value: float | None, outside: str | None) -> str:
    """A limit or an end that has no error."""
    if value is not None:
        return number(value)
    return {"failed": "not known: fits failed", None: "undefined"}.get(outside, f"{outside} the tested values")


def _discovery(found: DiscoveryAnswer) -> Line:
    tail = found.observed
    if tail is None:
        farthest = found.tail[-1]
        verdict, words = _usable(farthest.verdict.usable)
        p = farthest.weighted
        what = f"p-value beyond q_0 = {farthest.q_0:g} (no observed significance)"
        return Line(what, _p_value(p), number(farthest.asymptotic, 3), _of(farthest.verdict), verdict, words)
    verdict, words = _usable(tail.verdict.usable)
    p = tail.weighted
    error = interval_error(p.significance_low, p.significance_high)
    shown = f"above {number(p.significance_low, 3)} σ" if p.bound else f"{with_error(p.significance, error)} σ"
    if p.significance is None and not p.bound:
        shown = "0" if tail.q_0 <= 0 else "undefined"
    return Line("significance", shown, f"{math.sqrt(max(tail.q_0, 0.0)):.4g} σ", _of(tail.verdict), verdict, words)


def _p_value(p: PValue | MixtureTail) -> str:
    """A p-value with its error; its bound where no toy lies beyond."""
    return f"below {p.high:.2g}" if p.bound else with_error(p.value, interval_error(p.low, p.high))


def _of(verdict: object) -> str:
    return _relative(getattr(verdict, "difference", None), getattr(verdict, "error", None))


def _intervals(found: IntervalAnswer) -> Iterator[Line]:
    for level, item in found.toys.intervals.items():
        formula, ends = found.asymptotic[level], found.verdicts[level]
        shown = []
        for end in (item.low, item.high):
            error = end.total_error
            shown.append(with_error(end.value, error) if error is not None else _alone(end.value, end.outside))
        usable = [ends.low.usable, ends.high.usable]
        verdict, words = _usable(False if False in usable else None if None in usable else True)
        difference = f"{_of(ends.low)}; {_of(ends.high)}" if {_of(ends.low), _of(ends.high)} != {_MISSING} else _MISSING
        asymptotic = f"{number(formula.low)} to {number(formula.high)}"
        what = f"{100 * float(level):.4g} % interval"
        yield Line(what, " to ".join(shown), asymptotic, difference, verdict, words)


def _regions(found: RegionAnswer) -> Iterator[Line]:
    names = " and ".join(map(_name, found.parameters))
    for level, item in found.toys.regions.items():
        verdict = found.verdicts[level]
        other = len(verdict.accepted_by_toys) + len(verdict.rejected_by_toys)
        shown = f"{len(item.accepted)} of {counted(len(found.toys.points), 'point')}, {len(item.undecided)} undecided"
        formula = counted(len(verdict.asymptotic), "point")
        what = f"{100 * float(level):.4g} % region of {names}"
        usable, words = _usable(False if other else None if item.undecided else True)
        yield Line(what, shown, formula, counted(other, "point"), usable, words)


def _goodness(found: GoodnessOfFitAnswer) -> Iterator[Line]:
    """The p-value of the first statistic, the saturated one, and that of the channels' agreement."""
    every: list[tuple[str, PValue, float | None]] = [
        ("goodness of fit, p-value", item.p_value, item.asymptotic) for item in list(found.statistics.values())[:1]
    ]
    if found.channel_compatibility:
        agreement = found.channel_compatibility
        every.append(("channels agree, p-value", agreement.p_value, agreement.asymptotic))
    for what, p, asymptotic in every:
        difference = None if asymptotic is None or p.value is None or p.bound else p.value - asymptotic
        away = sigmas(difference, interval_error(p.low, p.high))
        verdict, words = _compatible(away, 3.0, "agrees", "is off")
        known = difference is not None
        yield Line(
            what, _p_value(p), number(asymptotic, 3), in_sigmas(away), verdict if known else None, words if known else _MISSING
        )  # fmt: skip


def _scan(found: ScanAnswer) -> Iterator[Line]:
    if found.largest is not None:
        weighted, formula = found.largest.weighted, found.largest.gross_vitells
        together = weighted.p_value if weighted else found.largest.p_value
        point = next(point for point in found.points if point.name == found.largest.point)
        if point.p_value is not None:
            formal = (
                None
                if point.asymptotic is None or point.p_value.value is None
                else point.p_value.value - point.asymptotic
            )
            error = interval_error(point.p_value.low, point.p_value.high)
            verdict, words = _compatible(sigmas(formal, error), 3.0, "agrees", "is off")
            yield Line(
                f"local p-value of the largest excess, {_name(point.name)}", _p_value(point.p_value),
                number(point.asymptotic, 3), in_sigmas(sigmas(formal, error)),
                None if formal is None or point.p_value.bound else verdict, words if not point.p_value.bound else _MISSING,
            )  # fmt: skip
        yield Line(
            f"global p-value, {len(found.points)} signals", _p_value(together),
            f"{number(formula.value, 3)} (Gross, Vitells)" if formula else _MISSING, _MISSING, None, _MISSING,
        )  # fmt: skip
    decided = [point.exclusion.excluded for point in found.points if point.exclusion]
    if decided:
        undecided = f", {decided.count(None)} undecided" if None in decided else ""
        formulae = [point.asymptotic_cls for point in found.points]
        by_formula = sum(item is not None and item.cls < 1 - found.level for item in formulae)
        what = f"signals excluded at {100 * found.level:g} %, of {len(decided)}"
        yield Line(what, f"{decided.count(True)}{undecided}", str(by_formula), _MISSING, None, _MISSING)


class _Measured(NamedTuple):
    """A number of a truth point that has an expected value."""

    what: str
    value: float | None
    error: float | None
    expected: float
    small: float  # a difference up to this is small, however many errors it is
    unit: float  # what a difference is told in
    words: str


def _measured(poi: str, item: EnsembleSummary) -> Iterator[_Measured]:
    about = item.parameters[poi]
    yield _Measured("bias", about.bias, about.bias_error, 0.0, 0.05 * (about.rms or 0.0), about.rms or 1.0, "of its spread")  # fmt: skip
    yield _Measured("pull, mean", about.pull_mean, about.pull_mean_error, 0.0, 0.05, 1.0, "")
    yield _Measured("pull, width", about.pull_width, about.pull_width_error, 1.0, 0.02, 1.0, "")
    for level, interval in item.intervals.profile.items():
        error = interval_error(interval.coverage_low, interval.coverage_high)
        what = f"coverage, {100 * float(level):.4g} % interval"
        yield _Measured(what, interval.coverage, error, float(level), 0.005, 1.0, "")


def _of_ensemble(poi: str, item: EnsembleSummary) -> Iterator[Line]:
    for found in _measured(poi, item):
        yield _line(found, 3.0)
    for test in item.tests:
        yield _of_test(test, item.certified)


def _beyond(test: TestSummary) -> tuple[float | None, float | None]:
    """The fraction of toys beyond the asymptotic 95 % point, and its error."""
    last = test.quantiles["0.95"]
    return last.beyond, interval_error(last.beyond_low, last.beyond_high)


def _too_many(test: TestSummary, certified: int) -> float | None:
    """How many errors that fraction lies from 5 %: those that 5 % of the certified toys have, also where none lies beyond."""
    beyond, _ = _beyond(test)
    return None if beyond is None else sigmas(beyond - 0.05, math.sqrt(0.05 * 0.95 / max(certified, 1)))


def _of_test(test: TestSummary, certified: int) -> Line:
    beyond, error = _beyond(test)
    mark, words = _trusted(test.verdict.agrees)
    scaled = None if beyond is None or error is None else 100 * error
    shown = _MISSING if beyond is None else f"{with_error(100 * beyond, scaled)} %"
    what = f"t beyond its 95 % point, at {test.poi:g}"
    return Line(
        what, shown, "5 %" if beyond is not None else "none", in_sigmas(_too_many(test, certified)), mark, words
    )


def _line(found: _Measured, threshold: float, where: str = "") -> Line:
    away = None if found.value is None else sigmas(found.value - found.expected, found.error)
    verdict, words = _compatible(away, threshold, "as expected", "differs")
    if verdict == "bad" and found.value is not None and abs(found.value - found.expected) <= found.small:
        verdict, words = "open", "differs little"
    difference = in_sigmas(away)
    if found.words and away is not None and found.value is not None:
        difference += f", {per_cent((found.value - found.expected) / found.unit, 2)} {found.words}"
    expected = "0" if found.expected == 0 else f"{found.expected:g}"
    return Line(found.what + where, with_error(found.value, found.error), expected, difference, verdict, words)


def _farthest(poi: str, ensembles: Mapping[str, EnsembleSummary]) -> Iterator[Line]:
    """Of every number the truth point where it is farthest from what is expected, in errors."""
    threshold = -float(scipy.special.ndtri(scipy.special.ndtr(-3.0) / len(ensembles)))
    rows = [(name, list(_measured(poi, item))) for name, item in ensembles.items()]
    for k in range(len(rows[0][1])):
        name, found = max(((name, items[k]) for name, items in rows), key=lambda pair: _distance(pair[1]))
        yield _line(found, threshold, f", {name}")
    tests = [(name, test, item.certified) for name, item in ensembles.items() for test in item.tests]
    tests = [one for one in tests if _too_many(*one[1:]) is not None]
    if tests:
        name, test, certified = max(tests, key=lambda one: abs(_too_many(*one[1:]) or 0.0))
        line = _of_test(test, certified)
        yield line._replace(what=f"{line.what}, {name}")


def _distance(found: _Measured) -> float:
    """How many errors a number lies from what is expected; -1 where that is not known."""
    away = None if found.value is None else sigmas(found.value - found.expected, found.error)
    return -1.0 if away is None else abs(away)


def _compatible(away: float | None, threshold: float, within: str, beyond: str) -> tuple[Verdict, str]:
    if away is None:
        return "open", "not known"
    return ("good", within) if abs(away) <= threshold else ("bad", beyond)


def _usable(usable: bool | None) -> tuple[Verdict, str]:
    return ("good", "usable") if usable else ("open", "not decided") if usable is None else ("bad", "differs")


def _trusted(agrees: bool | None) -> tuple[Verdict, str]:
    return (
        ("good", "may be trusted") if agrees else ("open", "cannot be judged") if agrees is None else ("bad", "is off")
    )


def _relative(difference: float | None, error: float | None) -> str:
    if difference is None:
        return _MISSING
    return f"{with_error(100 * difference, None if error is None else 100 * error)} %"
