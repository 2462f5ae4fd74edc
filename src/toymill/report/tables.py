"""The tables of the report page, of every number that a reader may want to sort or to look up. Needs no matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from toymill.report.answer_tables import tables_of_answers
from toymill.report.numbers import one_line
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
from toymill.results.audit import Audit
from toymill.results.summary import ComparisonSummary, EnsembleSummary, Quantiles, Summary

LARGEST = 1e308
"""What an infinite number is sorted by."""

MOST_ROWS = 200
"""Rows up to which all ensembles of a table are shown at first; of more, one ensemble."""


def tables(summary: Summary, audits: Mapping[str, Audit]) -> list[Table]:
    """The tables of a study: its answers, its truth points, every parameter, every test, the audits."""
    found = list(tables_of_answers(summary))
    if summary.ensembles:
        found += [_truth_points(summary), _tests(summary), _parameters(summary)]
        if any(item.toys > item.certified for item in summary.ensembles.values()):
            found.insert(0, _failures(summary.ensembles))
        if any(item.profile_intervals for item in summary.ensembles.values()):
            found.append(_profiles(summary))
        if any(about.estimate_quantiles for item in summary.ensembles.values() for about in item.parameters.values()):
            found.append(_quantiles(summary))
        if any(item.derived for item in summary.ensembles.values()):
            found.append(_derived(summary))
        if any(item.discovery for item in summary.ensembles.values()):
            found.append(_background(summary))
    if audits:
        found.append(_audits(audits))
    return found


def _chosen(table: Table, names: Sequence[str]) -> Table:
    """The same table, with a choice among several truth points; of a long one, the first alone is shown at first."""
    if len(names) < 2:
        return table
    return table._replace(chosen=names, first=names[0] if len(table.rows) > MOST_ROWS else "")


def _failures(ensembles: Mapping[str, EnsembleSummary]) -> Table:
    kinds = list(dict.fromkeys(kind for item in ensembles.values() for kind, count in item.failed.items() if count))
    columns = [Column("truth point", "name"), Column("toys"), Column("certified")]
    columns += [Column(kind.replace("_", " ")) for kind in kinds] + [Column("first failed toys", "words")]
    rows = [
        [
            name_cell(name),
            count_cell(item.toys),
            count_cell(item.certified),
            *(count_cell(item.failed.get(kind, 0), bad=True) for kind in kinds),
            words_cell(", ".join(map(str, item.tail.failed[:10]))),
        ]
        for name, item in ensembles.items()
        if item.toys > item.certified
    ]
    note = "Toys by the worst status of their free and conditional fits, where some are not certified."
    return Table("failures", "How toys failed", note, columns, rows)


def _truth_points(summary: Summary) -> Table:
    poi = one_line(summary.poi)
    levels = list(next(iter(summary.ensembles.values())).intervals.profile)
    columns = [
        Column("truth point", "name"),
        Column("truth", note=f"true {poi}"),
        Column("toys"),
        Column("failed"),
        Column("at bound"),
        Column("bias", note=f"of {poi}"),
        Column("spread", note=f"rms of the estimates of {poi}"),
        Column("pull mean"),
        Column("pull width"),
    ]
    for level in levels:
        words = f"{100 * float(level):.4g} %"
        columns += [Column(f"coverage, {words}"), Column(f"{words}, Hessian")]
    sections = {item.sections for item in summary.ensembles.values()}
    if len(sections) > 1:
        columns.append(Column("for", "words", "the sections of the configuration that it was thrown for"))
    rows = []
    for name, item in summary.ensembles.items():
        about = item.parameters[summary.poi]
        row = [
            name_cell(name),
            number_cell(item.truth.get(summary.poi), 6),
            count_cell(item.toys),
            count_cell(item.toys - item.certified, bad=True),
            count_cell(item.at_bound),
            error_cell(about.bias, about.bias_error),
            error_cell(about.rms, about.rms_error),
            error_cell(about.pull_mean, about.pull_mean_error),
            error_cell(about.pull_width, about.pull_width_error),
        ]
        for level in levels:
            both = item.intervals.profile[level], item.intervals.hessian[level]
            row += [interval_cell(found.coverage, found.coverage_low, found.coverage_high) for found in both]
        rows.append([*row, words_cell(_sections(item))] if len(sections) > 1 else row)
    note = f"Bias, pulls and coverage of {poi}, with one standard deviation of the Monte Carlo."
    if len(sections) == 1 and sections != {()}:
        note += f" All were thrown for: {_sections(next(iter(summary.ensembles.values())))}."
    return Table("truth-points", "Truth points", note, columns, rows)


def _sections(item: EnsembleSummary) -> str:
    return ", ".join(item.sections).replace("_", " ") or "–"


def _tests(summary: Summary) -> Table:
    names = list(summary.ensembles)
    columns = [
        Column("truth point", "name"),
        Column("tested", note=one_line(summary.poi)),
        Column("beyond the asymptotic 95 % point"),
        Column("95 % quantile of t"),
        Column("asymptotic"),
        Column("at t = 0"),
        Column("verdict", "words"),
    ]
    rows = []
    for name, item in summary.ensembles.items():
        for test in item.tests:
            last = test.quantiles["0.95"]
            mark = verdict_of(test.verdict.agrees)
            rows.append(
                [
                    name_cell(name),
                    number_cell(test.poi, 6),
                    interval_cell(last.beyond, last.beyond_low, last.beyond_high)
                    if last.beyond is not None
                    else number_cell(None),
                    error_cell(last.value, last.error),
                    number_cell(last.asymptotic),
                    count_cell(test.at_zero),
                    words_cell(test.verdict.sentence, mark),
                ]
            )
    note = f"t_μ at each tested value of {one_line(summary.poi)}, beside its asymptotic distribution."
    return _chosen(Table("tests", "Tests", note, columns, rows), names)


def _parameters(summary: Summary) -> Table:
    names = list(summary.ensembles)
    columns = [
        Column("truth point", "name"),
        Column("parameter", "name"),
        Column("truth"),
        Column("bias / spread"),
        Column("pull mean"),
        Column("pull width - 1"),
        Column("spread", note="rms of the estimates"),
        Column("bound / variance", note="Cramér-Rao bound over the variance"),
        Column("correlation", note=f"of the estimates, with those of {one_line(summary.poi, 80)}"),
        Column("at a bound", note="share of toys whose estimate is at a bound"),
    ]
    every = [(name, key, about) for name, item in summary.ensembles.items() for key, about in item.parameters.items()]
    drawn = [
        bars(((about.bias_in_rms, about.bias_in_rms_error) for *_, about in every), 0.0),
        bars(((about.pull_mean, about.pull_mean_error) for *_, about in every), 0.0),
        bars(((about.pull_width, about.pull_width_error) for *_, about in every), 1.0),
    ]
    rows = []
    for (name, key, about), bias, mean, width in zip(every, *drawn, strict=True):
        efficiency = summary.ensembles[name].information.efficiency.get(key)
        less = None if about.pull_width is None else about.pull_width - 1
        share = about.at_bound_share
        rows.append(
            [
                name_cell(name),
                name_cell(key + (" (of interest)" if key == summary.poi else "")),
                number_cell(about.truth),
                error_cell(about.bias_in_rms, about.bias_in_rms_error, bias),
                error_cell(about.pull_mean, about.pull_mean_error, mean),
                error_cell(less, about.pull_width_error, width),
                error_cell(about.rms, about.rms_error),
                error_cell(efficiency.efficiency, efficiency.efficiency_error) if efficiency else number_cell(None),
                error_cell(about.poi_correlation, about.poi_correlation_error),
                Cell("–" if share is None else "0" if not share else f"{100 * share:.2g} %", order=share),
            ]
        )
    note = (
        "The drawings have 0 at their middle; all of a column have one scale, and an arrow stands for what lies beyond. "
        "Click a head to sort."
    )
    if any(item.drawn for item in summary.ensembles.values()):
        note += " Parameters that are drawn anew for each toy have no truth, so no bias and no pulls."
    return _chosen(Table("parameters", "Parameters", note, columns, rows), names)


def _profiles(summary: Summary) -> Table:
    columns = [
        Column("truth point", "name"),
        Column("parameter", "name"),
        Column("level"),
        Column("coverage"),
        Column("mean lower end"),
        Column("mean upper end"),
        Column("mean length"),
        Column("ends at a bound"),
        Column("ends not found"),
        Column("t disagrees", note="toys in which t at the truth disagrees with the ends"),
    ]
    rows = []
    for name, item in summary.ensembles.items():
        for key, every in item.profile_intervals.items():
            for found in every.levels.values():
                seen, low, high = found.coverage, found.low, found.high
                rows.append(
                    [
                        name_cell(name),
                        name_cell(key),
                        Cell(f"{100 * found.level:.4g} %", order=found.level),
                        interval_cell(seen.coverage, seen.coverage_low, seen.coverage_high)
                        if seen
                        else number_cell(None),
                        error_cell(low.mean, low.mean_error),
                        error_cell(high.mean, high.mean_error),
                        error_cell(found.length.mean, found.length.mean_error),
                        count_cell(low.at_bound + high.at_bound),
                        count_cell(low.not_found + high.not_found, bad=True),
                        count_cell(found.differing),
                    ]
                )
    return Table("profile-intervals", "Profile intervals", "Their ends, of every toy.", columns, rows)


def _quantiles(summary: Summary) -> Table:
    names = list(summary.ensembles)
    levels = [f"{100 * level:.3g} %" for level in next(iter(summary.ensembles.values())).quantile_levels]
    columns = [Column("truth point", "name"), Column("parameter", "name"), *(Column(level) for level in levels)]
    columns += [Column(f"pull, {level}") for level in levels]
    rows = []
    for name, item in summary.ensembles.items():
        for key, about in item.parameters.items():
            row = [name_cell(name), name_cell(key)]
            for found in (about.estimate_quantiles, about.pull_quantiles):
                triples = (
                    zip(found.value, found.low, found.high, strict=True)
                    if found
                    else [(None, None, None)] * len(levels)
                )
                row += [Cell("–") if value is None else interval_cell(value, low, high) for value, low, high in triples]
            rows.append(row)
    note = "Quantiles of estimates and of pulls over the certified toys, with Monte Carlo errors from order statistics."
    return _chosen(Table("quantiles", "Quantiles", note, columns, rows), names)


def _derived(summary: Summary) -> Table:
    columns = [
        Column("truth point", "name"),
        Column("quantity", "name"),
        Column("truth"),
        Column("mean"),
        Column("bias"),
        Column("spread"),
    ]
    rows = [
        [
            name_cell(name),
            name_cell(key),
            number_cell(about.truth),
            number_cell(about.mean),
            error_cell(about.bias, about.bias_error),
            error_cell(about.rms, about.rms_error),
        ]
        for name, item in summary.ensembles.items()
        for key, about in item.derived.items()
    ]
    return Table("derived", "Derived quantities", "Over the certified toys.", columns, rows)


def _background(summary: Summary) -> Table:
    columns = [
        Column("truth point", "name"),
        Column("Z"),
        Column("p-value"),
        Column("asymptotic"),
        Column("toys beyond"),
    ]
    rows = [
        [
            name_cell(name),
            number_cell(float(found.z)),
            interval_cell(found.p_value, found.p_value_low, found.p_value_high)
            if found.beyond
            else Cell(f"below {found.p_value_high:.2g}", order=found.p_value_high),
            number_cell(found.asymptotic),
            count_cell(found.beyond),
        ]
        for name, item in summary.ensembles.items()
        for found in item.discovery or ()
    ]
    note = "How often toys without a signal reach a significance Z, counted, beside the asymptotic p-value."
    return Table("background", "Discovery p-values of toys without a signal", note, columns, rows)


def _audits(audits: Mapping[str, Audit]) -> Table:
    columns = [
        Column("truth point", "name"),
        Column("audited toys"),
        Column("missed minima"),
        Column("what was found", "words"),
    ]
    rows = [
        [
            name_cell(name),
            count_cell(audit.summary.toys),
            count_cell(audit.summary.missed, bad=True),
            words_cell(audit.sentence, "bad" if audit.summary.missed else None),
        ]
        for name, audit in audits.items()
    ]
    return Table("audits", "Audits", "Toys that were fitted again with iminuit.", columns, rows)


def tables_of_optimisers(summary: ComparisonSummary) -> list[Table]:
    """The table of a study of kind optimisers: what each of them made of every ensemble's toys."""
    columns = [
        Column("truth point", "name"),
        Column("optimiser", "name"),
        Column("toys"),
        Column("says success"),
        Column("at best minimum"),
        Column("false success"),
        Column("iterations"),
        Column("nll"),
        Column("gradients"),
        Column("Hessians"),
        Column("ms a toy"),
        Column("first call, s"),
        *(
            Column(f"{distance}, {which}")
            for distance in ("nll above best", "σ from best")
            for which in ("median", "largest")
        ),
    ]
    rows = []
    for name, item in summary.ensembles.items():
        for method, found in item.methods.items():
            counts = (found.iterations, found.values, found.gradients, found.hessians)
            rows.append(
                [
                    name_cell(name),
                    name_cell(method),
                    count_cell(found.toys),
                    count_cell(found.success),
                    count_cell(found.reached),
                    count_cell(found.false_success, bad=True),
                    *(
                        Cell("unknown" if count.median is None else f"{count.median:g}", order=count.median)
                        for count in counts
                    ),
                    number_cell(1e3 * found.seconds_a_toy, 3),
                    number_cell(found.first_call_seconds, 2),
                    *_distances(found.nll_above_best),
                    *_distances(found.sigmas_from_best),
                ]
            )
    return [Table("optimisers", "Optimisers", "Counts of steps and evaluations are medians over toys.", columns, rows)]


def _distances(found: Quantiles) -> list[Cell]:
    return [
        Cell(
            "infinite" if value is None else f"{value:.1e}" if value else "0", order=LARGEST if value is None else value
        )
        for value in (found.median, found.largest)
    ]
