"""``toymill show``: the answers and the verdicts of a study in the terminal, or what is known before them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import chdir
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from toymill.cli.console import console, table
from toymill.cli.studies import home_of, results_folder
from toymill.cli.watch import lines
from toymill.config.study import read_study
from toymill.errors import ToymillError
from toymill.inference.limit_records import Limit
from toymill.inference.mixture import MixtureTail
from toymill.inference.neyman_records import End
from toymill.inference.p_values import PValue
from toymill.report.numbers import interval_error, number, quantile_name, with_error
from toymill.results.answers import Answers, ImpactsAnswer, LimitAnswer
from toymill.results.audit import Audit, read_audits
from toymill.results.design import Design
from toymill.results.scan import ScanAnswer
from toymill.results.summary import ComparisonSummary, Summary, read_summary
from toymill.study.before_toys import ALONE, design_in, end_in_words, limit_in_words
from toymill.study.failures import refusals
from toymill.study.ownership import running
from toymill.study.progress import Watcher
from toymill.study.remarks import remarks

MOST = 10
"""Impacts and signals that are shown, where not all are asked for."""


def show_summary(results: Path, *, every: bool) -> None:
    """Print the answers and the verdicts of a study.

    Args:
        results: its results directory.
        every: whether the ensembles of sections are shown too, and all impacts and signals.

    Raises:
        ToymillError: no results directory, or nothing in it that is known yet.
    """
    folder = results_folder(results)
    path = folder / "summary.json"
    out = console()
    if not path.exists():
        show_unfinished(out, folder)
        return
    summary = read_summary(path)
    if running(folder):
        out.print("A run is at work on this study: these are the answers before it.", style="yellow", markup=False)
    if isinstance(summary, ComparisonSummary):
        out.print(f"{summary.study}: {', '.join(summary.headline.model)}", style="bold", markup=False)
        out.print(
            f"{summary.headline.toys:,} toys, fitted by each of {len(summary.headline.optimisers)} optimisers",
            markup=False,
        )
        for sentence in summary.headline.answers:
            out.print(sentence, markup=False)
        for made in compared(summary):
            out.print(made)
        return
    head, audits = summary.headline, read_audits(sorted(folder.glob("audit/**/*.json")))
    out.print(f"{summary.study}: {', '.join(head.model)}", style="bold", markup=False)
    counts = f"; {head.toys:,} toys, {head.certified:,} certified, {head.failed:,} failed" if summary.ensembles else ""
    out.print(f"{head.data}{counts}", markup=False)
    for line in _refused(folder, summary, audits):
        out.print(f"The study is refused: {line}", style="red", markup=False)
    for sentence in head.answers:
        out.print(f"- {sentence}", markup=False)
    if summary.answers is not None:
        for made in answered(summary.answers, every=every):
            out.print(made)
    shown = {name: item for name, item in summary.ensembles.items() if every or not item.sections}
    if shown:
        out.print(ensembles(summary, list(shown)))
    if head.verdicts:
        rows = [(item.ensemble, f"{item.poi:g}", item.sentence) for item in head.verdicts]
        out.print(table("Asymptotic formulae", ("ensemble", f"tested {summary.poi}", "verdict"), rows, left=3))
    for line in remarks(summary, audits):
        out.print(f"Look at: {line}", markup=False)
    if (folder / "report.html").exists():
        out.print(f"More: {folder / 'report.html'}", markup=False)


def show_unfinished(out: Console, folder: Path) -> None:
    """Print what is known before a study has a summary: asymptotic answers, and how far it is.

    Raises:
        ToymillError: nothing is known yet.
    """
    design = design_in(folder)
    with chdir(home_of(folder)):
        state = Watcher(folder.absolute()).look()
    if design is None and not state.toys:
        msg = f"There is no {folder / 'summary.json'} yet, and nothing to show. Look how far it is: toymill watch {folder}"
        raise ToymillError(msg)
    out.print(f"{state.study}: not finished", style="bold", markup=False)
    for made in before_toys(design) if design else ():
        out.print(made)
    out.print(f"By toys: no answer yet; {state.done:,} of {state.toys:,} toys are fitted.", markup=False)
    for line in lines(state):
        out.print(line, markup=False)


def before_toys(design: Design) -> Iterator[Table | str]:
    """The answers by the asymptotic formulae alone."""
    if design.limit and (found := design.limit.asymptotic):
        rows = [("observed", limit_in_words(found.observed), "not yet")] if found.observed else []
        rows += [
            (f"expected, {quantile_name(sigma)}", limit_in_words(item), "not yet")
            for sigma, item in found.expected.items()
        ]
        title = f"Upper limit, {100 * found.level:g} % {found.method}: {ALONE.lower()}"
        yield table(title, ("limit", "asymptotic", "by toys"), rows)
    elif design.limit:
        yield f"There is no asymptotic limit: {design.limit.why_no_asymptotic}"
    if design.interval:
        ends = [
            (level, end_in_words(item.low), end_in_words(item.high), "not yet")
            for level, item in design.interval.asymptotic.items()
        ]
        yield table(f"Intervals: {ALONE.lower()}", ("level", "lower end", "upper end", "by toys"), ends)
    if design.region:
        pairs = zip(design.region.parameters, design.region.best, strict=True)
        yield f"Best fit to the observed data: {', '.join(f'{name} = {value:.4g}' for name, value in pairs)}"


def answered(answers: Answers, *, every: bool) -> Iterator[Table]:
    """The answers to a study's sections, as tables."""
    if answers.limit is not None:
        yield limits(answers.limit)
    if answers.interval is not None:
        rows = [(level, _shown(item.low), _shown(item.high)) for level, item in answers.interval.toys.intervals.items()]
        yield table("Intervals", ("level", "lower end", "upper end"), rows)
    if answers.region is not None:
        tested = len(answers.region.toys.points)
        points = [
            (
                level,
                f"{len(item.accepted)} of {tested}",
                len(item.undecided),
                len(answers.region.verdicts[level].asymptotic),
            )
            for level, item in answers.region.toys.regions.items()
        ]
        title = f"Region of {' and '.join(answers.region.parameters)}: accepted points of the grid"
        yield table(title, ("level", "by toys", "undecided", "asymptotic"), points)
    if answers.discovery is not None:
        tails = [*([answers.discovery.observed] if answers.discovery.observed else []), *answers.discovery.tail]
        rows = [
            (
                f"{item.q_0:.4g}",
                _p_value(item.weighted)
                if item.weighted.bound
                else with_error(item.weighted.value, item.weighted.error),
                f"{item.asymptotic:.3g}",
            )
            for item in tails
        ]
        yield table("Discovery: P(q_0) without a signal", ("q_0", "p-value by toys", "asymptotic"), rows)
    if answers.goodness_of_fit is not None:
        made = [
            (name, f"{item.observed:.4g}", _p_value(item.p_value), number(item.asymptotic))
            for name, item in answers.goodness_of_fit.statistics.items()
        ]
        yield table("Goodness of fit", ("statistic", "observed", "p-value by toys", "asymptotic"), made)
    if answers.impacts is not None:
        yield impacts(answers.impacts, every=every)
    if answers.scan is not None:
        yield scan(answers.scan, every=every)


def limits(answer: LimitAnswer) -> Table:
    """The observed and the expected limits, by toys and by the asymptotic formulae."""
    asymptotic = answer.asymptotic
    rows = []

    def add(name: str, found: Limit, other: float | None) -> None:
        rows.append((name, _shown(found), number(other)))

    if answer.toys.observed is not None:
        other = asymptotic.observed if asymptotic else None
        add("observed", answer.toys.observed, other.value if other else None)
    for sigma, found in answer.toys.expected.items():
        other = asymptotic.expected.get(sigma) if asymptotic else None
        add(
            f"expected, {quantile_name(sigma)}",
            found,
            other.value if other else None,
        )
    for sigma, found in (answer.injected or {}).items():
        add(f"with the injected signal, {quantile_name(sigma)}", found, None)
    title = f"Upper limit, {100 * answer.toys.level:g} % {answer.toys.method}"
    return table(title, ("limit", "by toys", "asymptotic"), rows)


def impacts(answer: ImpactsAnswer, *, every: bool) -> Table:
    """The largest impacts."""
    rows = [
        (item.parameter, number(item.pull), with_error(item.global_toys, item.global_toys_error))
        for item in answer.impacts[: None if every else MOST]
    ]
    more = len(answer.impacts) - len(rows)
    title = f"Impacts{f', the largest {len(rows)} of {len(answer.impacts)}' if more else ''}"
    return table(title, ("parameter", "pull", "impact by toys"), rows)


def scan(answer: ScanAnswer, *, every: bool) -> Table:
    """The signals of a scan, the largest excess first."""
    ordered = sorted(answer.points, key=lambda point: -(point.q_0 if point.q_0 is not None else -1.0))
    rows = [
        (
            point.name,
            number(point.estimate),
            number(point.q_0),
            _p_value(point.p_value),
            point.failed,
        )
        for point in ordered[: None if every else MOST]
    ]
    more = len(ordered) - len(rows)
    title = f"Signals{f', the largest {len(rows)} excesses of {len(ordered)}' if more else ''}"
    return table(title, ("signal", f"estimate of {answer.poi}", "q_0", "local p-value", "failed toys"), rows)


def ensembles(summary: Summary, names: list[str]) -> Table:
    """Bias, pulls and coverage of the truth points."""
    rows = []
    levels = list(dict.fromkeys(level for name in names for level in summary.ensembles[name].intervals.profile))
    for name in names:
        item = summary.ensembles[name]
        poi = item.parameters[summary.poi]
        covered = [item.intervals.profile.get(level) for level in levels]
        rows.append(
            (
                name,
                number(poi.truth),
                f"{item.toys:,}",
                f"{item.toys - item.certified:,}",
                with_error(poi.bias, poi.bias_error),
                with_error(poi.rms, poi.rms_error),
                with_error(poi.pull_width, poi.pull_width_error),
                *(
                    _coverage(found.coverage, found.coverage_low, found.coverage_high) if found else "–"
                    for found in covered
                ),
            )
        )
    columns = ("ensemble", f"true {summary.poi}", "toys", "failed", "bias", "spread", "pull width")
    return table("Truth points", (*columns, *(f"coverage at {level}" for level in levels)), rows)


def compared(summary: ComparisonSummary) -> Iterator[Table]:
    """The optimisers on each ensemble."""
    for name, item in summary.ensembles.items():
        rows = [
            (method, found.toys, found.success, found.reached, found.false_success, f"{found.seconds_a_toy:.3g}")
            for method, found in item.methods.items()
        ]
        columns = ("optimiser", "toys", "says converged", "at the best minimum", "false success", "seconds a toy")
        yield table(f"{summary.study}: {name}", columns, rows)


def _refused(folder: Path, summary: Summary, audits: Mapping[str, Audit]) -> list[str]:
    """Why a study is refused, if it is."""
    config = folder / "config.yaml"
    return (
        refusals(read_study(yaml.safe_load(config.read_text(encoding="utf-8"))), summary, audits)
        if config.exists()
        else []
    )


def _shown(found: Limit | End) -> str:
    """A limit or an end of an interval, with the errors of the toys and of the interpolation; or where it lies."""
    if found.value is None:
        return {"failed": "not known", None: "–"}.get(found.outside, f"{found.outside} the tested values")
    return with_error(found.value, found.total_error)


def _coverage(value: float | None, low: float, high: float) -> str:
    return with_error(value, interval_error(low, high))


def _p_value(found: PValue | MixtureTail | None) -> str:
    """A p-value from toys; its bound where no toy lies beyond."""
    if found is None or found.value is None:
        return "–"
    return f"below {found.high:.2g}" if found.bound else f"{found.value:.3g}"
