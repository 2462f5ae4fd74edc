"""Figures of a study: the overview, coverage, and how every toy ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymill.inference.discovery import Discovery
from toymill.report.drawing import BLUE, GREY, ORANGE, RED, column, fill_table, plain, with_error
from toymill.results.audit import Audit
from toymill.results.summary import EnsembleSummary, Summary


def _levels(summary: Summary) -> list[str]:
    """The confidence levels of the study's intervals, as text."""
    return list(next(iter(summary.ensembles.values())).intervals.profile) if summary.ensembles else []


def _coverage(summary: Summary, _audits: Mapping[str, Audit]) -> Figure:
    """Coverage of each interval method against the true POI, one panel for each level."""
    ensembles = summary.ensembles
    levels = _levels(summary)
    figure, panels = plt.subplots(1, len(levels), figsize=(5.6 * len(levels), 4.4), squeeze=False)
    truth = np.array([item.truth[summary.poi] for item in ensembles.values()])
    span = max(float(np.ptp(truth)), 1.0)
    for panel, level in zip(panels[0], levels, strict=True):
        found = (
            ("profile", "black", [item.intervals.profile[level] for item in ensembles.values()]),
            ("hessian", BLUE, [item.intervals.hessian[level] for item in ensembles.values()]),
        )
        for shift, (method, colour, items) in enumerate(found):
            value = column(item.coverage for item in items)
            low = value - [item.coverage_low for item in items]
            high = [item.coverage_high for item in items] - value
            place = truth + (shift - 0.5) * 0.03 * span
            panel.errorbar(place, value, yerr=np.array([low, high]), fmt="o", color=colour, label=method)
        nominal = float(level)
        panel.axhline(nominal, color=ORANGE, linewidth=1.5, label=f"nominal, {100 * nominal:g} %")
        around = max(abs(bound - nominal) for bound in panel.get_ylim())
        panel.set_ylim(nominal - 1.6 * around, nominal + 2.2 * around)
        panel.set_xlim(truth.min() - 0.15 * span, truth.max() + 0.15 * span)
        panel.set_xlabel(f"true {plain(summary.poi)}")
        panel.set_ylabel("coverage")
        panel.legend(loc="upper right", frameon=False, ncols=3, columnspacing=1.0)
    figure.suptitle(f"{summary.study}: coverage of {plain(summary.poi)}", fontsize=11)
    figure.tight_layout()
    return figure


def _status(summary: Summary, _audits: Mapping[str, Audit]) -> Figure:
    """How many toys ended in each status, per ensemble; every toy is in one bar."""
    ensembles = summary.ensembles
    kinds = ["certified", *next(iter(ensembles.values())).failed]
    figure, axes = plt.subplots(figsize=(8, 1.8 + 0.3 * len(kinds) * len(ensembles)))
    height = 0.8 / len(ensembles)
    colours = [BLUE, ORANGE, GREY, RED, "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"]
    for k, (name, item) in enumerate(ensembles.items()):
        counts = [item.certified, *item.failed.values()]
        rows = np.arange(len(kinds))[::-1] - (k - (len(ensembles) - 1) / 2) * height
        axes.barh(rows, counts, height, color=colours[k % len(colours)], label=name, left=0)
        for row, count in zip(rows, counts, strict=True):
            axes.annotate(f"{count}", (count, row), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(0, max(item.toys for item in ensembles.values()) * 12)
    axes.set_yticks(np.arange(len(kinds))[::-1], [kind.replace("_", " ") for kind in kinds])
    axes.yaxis.set_tick_params(which="both", left=False, right=False)
    axes.set_xlabel("toys")
    axes.legend(loc="lower right", frameon=False)
    axes.set_title(f"{summary.study}: how every toy ended", fontsize=11)
    return figure


def _overview(summary: Summary, audits: Mapping[str, Audit]) -> Figure:
    """The study's main numbers as a table, its verdicts, and what the audits found."""
    poi, levels = summary.poi, _levels(summary)
    head = [
        "ensemble",
        f"true {plain(poi, 20)}",
        "toys",
        "failed",
        "at bound",
        f"bias of {plain(poi, 20)}",
        "pull mean",
        "pull width",
    ]
    head += [f"coverage {100 * float(level):g} %\n(profile)" for level in levels]
    rows: list[list[str]] = []
    sentences = [plain(line, 400) for line in summary.headline.answers]
    for name, item in summary.ensembles.items():
        about = item.parameters[poi]
        row = [name, f"{about.truth:g}", f"{item.toys}", f"{item.toys - item.certified}", f"{item.at_bound}"]
        row.append(with_error(about.bias, about.bias_error))
        row.append(with_error(about.pull_mean, about.pull_mean_error))
        row.append(with_error(about.pull_width, about.pull_width_error))
        for level in levels:
            interval = item.intervals.profile[level]
            row.append(with_error(interval.coverage, (interval.coverage_high - interval.coverage_low) / 2))
        rows.append(row)
        if item.thrown_from:
            sentences.append(plain(f"{name}: {mismodelled(summary.poi, item)}", 400))
        if not item.sections:
            sentences += [plain(f"{name}, {poi} = {test.poi:g}: {test.verdict.sentence}", 400) for test in item.tests]
    missed = [f"{name}: {audit.sentence}" for name, audit in audits.items() if audit.summary.missed]
    sentences += [f"{name}: {audit.sentence}" for name, audit in audits.items() if not audit.summary.missed]
    found = {name: item.discovery for name, item in summary.ensembles.items() if item.discovery}
    heights = [0.9 + 0.42 * len(rows) + 0.24 * (len(sentences) + len(missed))]
    if found:
        heights.append(1.4 + 0.42 * len(found))
    figure, panels = plt.subplots(
        len(heights), 1, figsize=(13, sum(heights)), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    axes = panels[0, 0]
    axes.axis("off")
    if rows:
        fill_table(axes, rows, head)
    axes.text(0, 0, "\n".join(sentences) + "\n" * len(missed), transform=axes.transAxes, va="bottom", fontsize=9.5)
    axes.text(0, 0, "\n".join(missed), transform=axes.transAxes, va="bottom", fontsize=9.5, color=RED, weight="bold")
    axes.set_title(f"{summary.study}: bias, pulls, coverage, and the asymptotic formula", fontsize=12)
    if found:
        _discovery(panels[1, 0], found)
    return figure


def mismodelled(poi: str, item: EnsembleSummary) -> str:
    """What an ensemble that is thrown from another model says of the one that is fitted."""
    about, without = item.parameters[poi], item.thrown_from.without_truth if item.thrown_from else []
    sentence = (
        f"thrown from another model than the fitted one; {poi} is biased by "
        f"{with_error(about.bias_in_rms, about.bias_in_rms_error)} of its spread."
    )
    return f"{sentence} Without a truth: {', '.join(without)}." if without else sentence


def _discovery(axes: Axes, found: Mapping[str, list[Discovery]]) -> None:
    """Counted discovery p-values of background-only toys, beside the asymptotic ones."""
    axes.axis("off")
    head = ["ensemble"]
    head += [f"Z = {item.z}\nasymptotic {item.asymptotic:.3g}" for item in next(iter(found.values()))]
    rows = []
    for name, items in found.items():
        row = [name]
        for item in items:
            if item.p_value is None:
                row.append("undefined")
                continue
            low, high = item.p_value_low, item.p_value_high
            between = f"{low:.3g} to {high:.3g}" if item.beyond else f"below {high:.2g}"
            row.append(f"{item.p_value:.4g}\n{between}, {item.beyond} toys")
        rows.append(row)
    fill_table(axes, rows, head)
    for (line, _), cell in axes.tables[0].get_celld().items():
        if line:
            cell.set_height(cell.get_height() * 1.5)
    axes.set_title("discovery: $p(q_0 \\geq Z^2)$ of background-only toys, with 68.27 % intervals", fontsize=12)


FIGURES: dict[str, Callable[[Summary, Mapping[str, Audit]], Figure]] = {
    "overview": _overview,
    "coverage": _coverage,
    "status": _status,
}
"""The figures of a study, by name."""
