"""The tables of the report page of the answers to a study's sections. Needs no matplotlib."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from toymill.inference.acceptance import Acceptance
from toymill.inference.channel_compatibility import ChannelCompatibility
from toymill.report.numbers import number, one_line, quantile_name
from toymill.report.parts import (
    Cell,
    Column,
    Table,
    bars,
    count_cell,
    error_cell,
    interval_cell,
    name_cell,
    number_cell,
    verdict_of,
    words_cell,
)
from toymill.results.answers import DiscoveryAnswer, ImpactsAnswer, IntervalAnswer, LimitAnswer, RegionAnswer
from toymill.results.scan import ScanAnswer
from toymill.results.summary import Summary


def tables_of_answers(summary: Summary) -> Iterator[Table]:
    """A table or two for each section that was asked.

    Args:
        summary: the summary.
    """
    if not (answers := summary.answers):
        return
    poi = one_line(summary.poi)
    if answers.limit:
        yield _limits(answers.limit, poi)
        yield _limit_points(answers.limit, poi)
    if answers.interval:
        yield _interval_points(answers.interval, poi)
    if answers.region:
        yield _region_points(answers.region)
    if answers.discovery:
        yield _tail(answers.discovery)
    if answers.goodness_of_fit:
        columns = [Column("statistic", "name"), Column("observed"), Column("p-value"), Column("χ²"), Column("toys")]
        rows = [
            [
                name_cell(name),
                number_cell(item.observed),
                interval_cell(item.p_value.value, item.p_value.low, item.p_value.high),
                number_cell(item.asymptotic),
                count_cell(item.p_value.toys),
            ]
            for name, item in answers.goodness_of_fit.statistics.items()
        ]
        note = "Toys at the best fit; the p-value of χ² is for large counts."
        yield Table("goodness-of-fit", "Goodness of fit", note, columns, rows)
        if answers.goodness_of_fit.channel_compatibility:
            yield _channels(answers.goodness_of_fit.channel_compatibility, poi)
    if answers.impacts:
        yield _impacts(answers.impacts, poi)
    if answers.scan:
        yield _scan(answers.scan)


def _limits(found: LimitAnswer, poi: str) -> Table:
    columns = [Column("limit", "name"), Column("by toys"), Column("asymptotic"), Column("verdict", "words")]
    formula = found.asymptotic
    every = [("observed", found.toys.observed, formula and formula.observed, found.verdict)]
    for key, limit in found.toys.expected.items():
        every.append(
            (
                f"expected, {quantile_name(key)}",
                limit,
                formula and formula.expected.get(key),
                found.expected_verdicts.get(key),
            )
        )
    rows = []
    for name, item, asymptotic, verdict in every:
        if item is None:
            continue
        error = item.total_error
        by_toys = error_cell(item.value, error) if error is not None else Cell(number(item.value), order=item.value)
        mark = None if verdict is None else verdict_of(verdict.usable)
        sentence = verdict.sentence if verdict else item.sentence
        rows.append(
            [
                name_cell(name),
                by_toys,
                number_cell(asymptotic.value if asymptotic else None),
                words_cell(sentence, mark),
            ]
        )
    for key, item in (found.injected or {}).items():
        name = f"expected with a signal, {quantile_name(key)}"
        rows.append([name_cell(name), error_cell(item.value, item.error), number_cell(None), words_cell(item.sentence)])
    title = f"Upper limits on {poi}, {100 * found.toys.level:g} % {found.toys.method}"
    return Table(
        "limits", title, "Errors are of the toys and of the interpolation between tested values.", columns, rows
    )


def _limit_points(found: LimitAnswer, poi: str) -> Table:
    columns = [
        Column("tested", note=f"value of {poi}"),
        Column("CLs"),
        Column("CL_s+b"),
        Column("CL_b"),
        Column("coverage of the limit"),
        Column("toys there"),
        Column("failed there"),
        Column("toys without a signal"),
        Column("failed without"),
    ]
    rows = []
    for point in found.toys.points:
        seen, weights, covered = point.observed, point.weighted, point.coverage
        if weights is not None and weights.cls is not None:
            pair = [error_cell(weights.cls, weights.cls_error), error_cell(weights.clsb, weights.clsb_error)]
        elif seen is not None:
            pair = [
                interval_cell(seen.value, seen.low, seen.high),
                interval_cell(seen.clsb.value, seen.clsb.low, seen.clsb.high),
            ]
        else:
            pair = [number_cell(None), number_cell(None)]
        rows.append(
            [
                number_cell(point.poi, 6),
                *pair,
                interval_cell(seen.clb.value, seen.clb.low, seen.clb.high) if seen else number_cell(None),
                interval_cell(covered.coverage, covered.coverage_low, covered.coverage_high)
                if covered
                else number_cell(None),
                count_cell(point.signal_toys),
                count_cell(point.signal_failed, bad=True),
                count_cell(point.background_toys),
                count_cell(point.background_failed, bad=True),
            ]
        )
    note = "Of the observed data, at each tested value; how often the limit of toys thrown there is not below it."
    return Table("limit-points", "Tested values of the limit", note, columns, rows)


def _interval_points(found: IntervalAnswer, poi: str) -> Table:
    points = [([point.poi], point.test) for point in found.toys.points]
    title = "Tested values of the intervals"
    return _accepted("interval-points", title, [Column("tested", note=f"value of {poi}")], points, found.toys.intervals)


def _region_points(found: RegionAnswer) -> Table:
    points = [(point.at, point.test) for point in found.toys.points]
    columns = [Column(one_line(name, 28), note=one_line(name)) for name in found.parameters]
    return _accepted("region-points", "Tested points of the region", columns, points, found.toys.regions)


def _accepted(
    key: str,
    title: str,
    columns: Sequence[Column],
    points: Sequence[tuple[Sequence[float], Acceptance]],
    levels: Iterable[str],
) -> Table:
    """Tested values of one parameter, or of several, with their test at each level."""
    every, heads = list(levels), [*columns, Column("t of the data"), Column("p-value")]
    for level in every:
        words = f"{100 * float(level):.4g} %"
        heads += [Column(f"critical t, {words}"), Column(f"at {words}", "words")]
    rows = []
    for at, test in points:
        p = test.p_value
        row = [*(number_cell(value, 6) for value in at), number_cell(test.t)]
        row.append(interval_cell(p.value, p.low, p.high) if p else number_cell(None))
        for level in every:
            critical = test.critical[level]
            row += [interval_cell(critical.value, critical.low, critical.high), words_cell(test.decision[level])]
        rows.append(row)
    note = "A value is accepted where t of the data is at most the critical t of the toys thrown there."
    return Table(key, title, note, heads, rows)


def _tail(found: DiscoveryAnswer) -> Table:
    columns = [
        Column("q_0"),
        Column("p-value, weighted toys"),
        Column("p-value, toys without a signal"),
        Column("asymptotic"),
        Column("verdict", "words"),
    ]
    rows = []
    for item in [*([found.observed] if found.observed else []), *found.tail]:
        mark = verdict_of(item.verdict.usable)
        rows.append(
            [
                Cell(number(item.q_0, 5) + (" (observed)" if item is found.observed else ""), order=item.q_0),
                *(
                    Cell(f"below {p.high:.2g}", order=p.high) if p.bound else interval_cell(p.value, p.low, p.high)
                    for p in (item.weighted, item.plain)
                ),
                number_cell(item.asymptotic),
                words_cell(item.verdict.sentence, mark),
            ]
        )
    return Table("tail", "Tail of q_0", "The p-value of the hypothesis without a signal beyond q_0.", columns, rows)


def _channels(found: ChannelCompatibility, poi: str) -> Table:
    columns = [Column("channel", "name"), Column(f"fitted {one_line(poi, 28)}")]
    every = {"all together": found.common, **found.channels}
    rows = [[name_cell(name), error_cell(item.value, item.error)] for name, item in every.items()]
    return Table("channels", "Channels", found.sentence, columns, rows)


def _impacts(found: ImpactsAnswer, poi: str) -> Table:
    columns = [
        Column("parameter", "name"),
        Column("pull"),
        Column("constraint", note="error of the fit over that of the constraint"),
        Column("global impact", note="of its auxiliary datum, over toys"),
        Column("shift by +1 σ"),
        Column("shift by -1 σ"),
        Column("before the fit, +1 σ"),
        Column("before the fit, -1 σ"),
    ]
    drawn = bars(((item.pull, item.constraint) for item in found.impacts), 0.0)
    rows = [
        [
            name_cell(item.parameter),
            number_cell(item.pull, 3)._replace(bar=bar),
            number_cell(item.constraint, 3),
            error_cell(item.global_toys, item.global_toys_error) if item.global_toys is not None else number_cell(None),
            *(number_cell(value) for value in (item.postfit_up, item.postfit_down, item.prefit_up, item.prefit_down)),
        ]
        for item, bar in zip(found.impacts, drawn, strict=True)
    ]
    note = f"Impacts are in units of {poi}, the largest first; the drawing is the pull with its constraint."
    return Table("impacts", f"Pulls, and impacts on {poi}", note, columns, rows)


def _scan(found: ScanAnswer) -> Table:
    columns = [
        Column("signal", "name"),
        *(Column(one_line(label, 30)) for label in found.labels),
        Column("fitted", note=one_line(found.poi)),
        Column("q_0"),
        Column("local p-value"),
        Column("asymptotic"),
        Column(f"CLs at {found.mu:g}"),
        Column("asymptotic CLs"),
        Column("expected CLs"),
        Column("excluded", "words"),
        Column("failed"),
    ]
    rows = []
    for point in found.points:
        values = [*point.values[: len(found.labels)], *[""] * (len(found.labels) - len(point.values))]
        p, exclusion, formula = point.p_value, point.exclusion, point.asymptotic_cls
        seen = exclusion.observed if exclusion else None
        middle = exclusion.expected["0"] if exclusion else None
        decided = "" if exclusion is None else {True: "yes", False: "no", None: "undecided"}[exclusion.excluded]
        rows.append(
            [
                name_cell(point.name),
                *(number_cell(value, 6) if isinstance(value, float) else words_cell(value) for value in values),
                number_cell(point.estimate),
                number_cell(point.q_0),
                (Cell(f"below {p.high:.2g}", order=p.high) if p.bound else interval_cell(p.value, p.low, p.high))
                if p
                else number_cell(None),
                number_cell(point.asymptotic),
                interval_cell(seen.value, seen.low, seen.high) if seen else number_cell(None),
                number_cell(formula.cls if formula else None),
                interval_cell(middle.value, middle.low, middle.high) if middle else number_cell(None),
                words_cell(decided),
                count_cell(point.failed, bad=True),
            ]
        )
    note = f"{found.toys:,} toys without a signal, which all signals share, and {found.signal_toys:,} with each signal."
    return Table("scan", "Signals of the scan", note, columns, rows)
