"""Figures, drawn from a summary alone, as deterministic SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import mplhep
import numpy as np
import scipy.stats
from matplotlib.figure import Figure

Summary = Mapping[str, Any]

_BLUE, _ORANGE, _GREY = "#3f90da", "#ffa90e", "#94a4a2"  # Petroff's palette, arXiv:2107.02270
_COLUMNS = 2


def draw(summary: Summary, outputs: Mapping[str, str], *, ensemble: str | None = None) -> None:
    """Draw figures of a study, or of one of its ensembles.

    Args:
        summary: the content of ``summary.json``.
        outputs: a file for each figure, by the figure's name: overview, coverage and status of a
            study; t_mu, pull and parameters of an ensemble; of a comparison of optimisers, optimisers and
            optimisers_table of an ensemble.
        ensemble: name of the ensemble.
    """
    with mpl.rc_context():
        mplhep.style.use("ATLAS")
        mpl.rcParams.update({"svg.hashsalt": "toymill", "font.size": 12, "legend.fontsize": 10, "axes.labelsize": 13})
        mpl.rcParams.update({"xtick.labelsize": 11, "ytick.labelsize": 11, "svg.fonttype": "path"})
        for name, path in outputs.items():
            figure = _STUDY[name](summary) if ensemble is None else _ENSEMBLE[name](summary, ensemble)
            figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
            plt.close(figure)


def _title(summary: Summary, ensemble: str) -> str:
    item = summary["ensembles"][ensemble]
    return f"{summary['study']}: {ensemble}, {summary['poi']} = {item['truth'][summary['poi']]:g}"


def _t_mu(summary: Summary, ensemble: str) -> Figure:
    """The distribution of t_μ at each test point, with the asymptotic one, and their ratio."""
    tests = summary["ensembles"][ensemble]["tests"]
    columns = min(_COLUMNS, len(tests))
    rows = math.ceil(len(tests) / columns)
    figure = plt.figure(figsize=(6.4 * columns, 5.4 * rows))
    outer = figure.add_gridspec(rows, columns, wspace=0.25, hspace=0.3)
    for k, test in enumerate(tests):
        grid = outer[k // columns, k % columns].subgridspec(2, 1, height_ratios=(3, 1), hspace=0.08)
        top = figure.add_subplot(grid[0])
        bottom = figure.add_subplot(grid[1], sharex=top)
        _t_panel(top, bottom, summary, test)
        top.set_title(f"{_title(summary, ensemble)}, tested at {test['poi']:g}", fontsize=11)
    return figure


def _t_panel(top: Any, bottom: Any, summary: Summary, test: Mapping[str, Any]) -> None:
    histogram = test["histogram"]
    edges, counts = np.array(histogram["edges"]), np.array(histogram["counts"])
    asymptotic = histogram["asymptotic"]
    expected = np.full(len(counts), np.nan) if asymptotic is None else np.array(asymptotic)
    centres = (edges[:-1] + edges[1:]) / 2
    seen = counts > 0
    if not seen.any():
        top.text(0.5, 0.5, "no certified toys", transform=top.transAxes, ha="center")
        return
    low, high = _poisson_interval(counts)
    none = "none"
    label = (
        none
        if asymptotic is None
        else "non-central χ²"
        if (test["noncentrality"] or 0) > 0
        else "χ², 1 degree of freedom"
    )
    if (test["verdict"]["at_zero_asymptotic"] or 0) > 1e-3:
        label += ", with the lower bound"
    top.stairs(expected, edges, color=_ORANGE, linewidth=2, label=f"asymptotic: {label}")
    error = np.array([(counts - low)[seen], (high - counts)[seen]])
    top.errorbar(centres[seen], counts[seen], yerr=error, fmt="o", color="black", markersize=3.5, label="toys")
    top.set_yscale("log")
    top.set_ylim(0.5, np.nanmax([counts.max(initial=1), *expected]) * 4)
    top.set_ylabel(f"toys / {edges[1] - edges[0]:.2g}")
    top.tick_params(labelbottom=False)
    beyond = test["quantiles"]["0.95"]
    text = "" if asymptotic is None else f"beyond the asymptotic 95 % point: {100 * beyond['beyond']:.2f} %"
    top.legend(title=text, title_fontsize=9, loc="upper right", frameon=False)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, down, up = counts / expected, (counts - low) / expected, (high - counts) / expected
    shown = seen & (expected > 0)
    bottom.axhline(1, color=_ORANGE, linewidth=2)
    bottom.errorbar(
        centres[shown], ratio[shown], yerr=np.array([down[shown], up[shown]]), fmt="o", color="black", markersize=3.5
    )
    bottom.set_ylim(0, 2)
    bottom.set_ylabel("ratio")
    bottom.set_xlabel(rf"$t_\mu$ at {summary['poi']} = {test['poi']:g}")
    bottom.set_xlim(edges[0], edges[-1])


def _poisson_interval(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Central 68.27 % intervals for Poisson means (Garwood 1936)."""
    tail = scipy.stats.norm.sf(1)
    low = np.where(counts > 0, scipy.stats.gamma.ppf(tail, np.maximum(counts, 1)), 0.0)
    return low, scipy.stats.gamma.isf(tail, counts + 1)


def _pull(summary: Summary, ensemble: str) -> Figure:
    """The pull of the POI against a unit normal."""
    item = summary["ensembles"][ensemble]
    histogram, about = item["pull_histogram"], item["parameters"][summary["poi"]]
    edges, counts = np.array(histogram["edges"]), np.array(histogram["counts"])
    centres = (edges[:-1] + edges[1:]) / 2
    figure, axes = plt.subplots(figsize=(6.4, 4.8))
    expected = counts.sum() * np.diff(scipy.stats.norm.cdf(edges))
    axes.stairs(expected, edges, color=_ORANGE, linewidth=2, label="unit normal")
    low, high = _poisson_interval(counts)
    axes.errorbar(
        centres,
        counts,
        yerr=np.array([counts - low, high - counts]),
        fmt="o",
        color="black",
        markersize=3.5,
        label="toys",
    )
    name = summary["poi"]
    axes.set_xlabel(f"pull of {name}: (estimate − truth) / error")
    axes.set_ylabel(f"toys / {edges[1] - edges[0]:.2g}")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, counts.max(initial=1) * 1.35)
    axes.set_title(_title(summary, ensemble), fontsize=11)
    lines = [
        f"mean {_with_error(about['pull_mean'], about['pull_mean_error'])}",
        f"width {_with_error(about['pull_width'], about['pull_width_error'])}",
        f"bias {_with_error(about['bias'], about['bias_error'])}",
        f"{about['pulls']} of {item['certified']} toys",
    ]
    axes.text(0.04, 0.95, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=10)
    axes.legend(loc="upper right", frameon=False)
    return figure


def _parameters(summary: Summary, ensemble: str) -> Figure:
    """Bias over spread, mean and width of the pull, and the Cramér-Rao bound over the variance, of each parameter."""
    parameters = summary["ensembles"][ensemble]["parameters"]
    names = list(parameters)
    figure, (left, right, bound) = plt.subplots(
        1, 3, figsize=(14, 1.6 + 0.24 * len(names)), sharey=True, gridspec_kw={"wspace": 0.06}
    )
    rows = np.arange(len(names))[::-1]
    rms = _column(parameters, "rms")
    with np.errstate(divide="ignore", invalid="ignore"):
        left.errorbar(
            _column(parameters, "bias") / rms,
            rows,
            xerr=_column(parameters, "bias_error") / rms,
            fmt="o",
            color="black",
            markersize=3.5,
        )
    left.axvline(0, color=_ORANGE, linewidth=1.5)
    left.set_yticks(rows, names, fontsize=9)
    for axes in (left, right, bound):
        axes.yaxis.set_tick_params(which="both", left=False, right=False)
    left.ticklabel_format(axis="x", style="plain", useOffset=False)
    left.set_xlabel("bias / rms")
    right.errorbar(
        _column(parameters, "pull_mean"),
        rows,
        xerr=_column(parameters, "pull_width"),
        fmt="o",
        color=_BLUE,
        markersize=3.5,
        elinewidth=2,
    )
    for edge in (-1, 0, 1):
        right.axvline(edge, color=_ORANGE, linewidth=1.5, linestyle="-" if edge == 0 else "--")
    right.set_xlim(-2, 2)
    right.set_xlabel("pull: mean, with its width as bar")
    efficiency = summary["ensembles"][ensemble]["information"]["efficiency"]
    value, error = (_column(efficiency, key) for key in ("efficiency", "efficiency_error"))
    bound.errorbar(value, rows, xerr=error, fmt="o", color="black", markersize=3.5)
    bound.axvline(1, color=_ORANGE, linewidth=1.5)
    bound.set_xlabel("Cramér-Rao bound / variance")
    if not np.isfinite(value).any():
        bound.text(0.5, 0.5, "no bound, or held data", transform=bound.transAxes, ha="center")
    left.set_ylim(-0.8, len(names) - 0.2)
    left.set_title(_title(summary, ensemble), fontsize=11)
    return figure


def _column(items: Mapping[str, Mapping[str, Any]], key: str) -> np.ndarray:
    return np.array([np.nan if item[key] is None else item[key] for item in items.values()], dtype=float)


def _coverage(summary: Summary) -> Figure:
    """Coverage of each interval method against the true POI, one panel for each level."""
    ensembles = summary["ensembles"]
    levels = list(next(iter(ensembles.values()))["intervals"]["profile"])
    figure, panels = plt.subplots(1, len(levels), figsize=(5.6 * len(levels), 4.4), squeeze=False)
    truth = np.array([item["truth"][summary["poi"]] for item in ensembles.values()])
    span = max(float(np.ptp(truth)), 1.0)
    for panel, level in zip(panels[0], levels, strict=True):
        for shift, (method, colour) in enumerate((("profile", "black"), ("hessian", _BLUE))):
            items = [item["intervals"][method][level] for item in ensembles.values()]
            value = np.array([np.nan if item["coverage"] is None else item["coverage"] for item in items])
            low = value - [item["coverage_low"] for item in items]
            high = [item["coverage_high"] for item in items] - value
            place = truth + (shift - 0.5) * 0.03 * span
            panel.errorbar(place, value, yerr=np.array([low, high]), fmt="o", color=colour, label=method)
        nominal = float(level)
        panel.axhline(nominal, color=_ORANGE, linewidth=1.5, label=f"nominal, {100 * nominal:g} %")
        around = max(abs(bound - nominal) for bound in panel.get_ylim())
        panel.set_ylim(nominal - 1.6 * around, nominal + 2.2 * around)
        panel.set_xlim(truth.min() - 0.15 * span, truth.max() + 0.15 * span)
        panel.set_xlabel(f"true {summary['poi']}")
        panel.set_ylabel("coverage")
        panel.legend(loc="upper right", frameon=False, ncols=3, columnspacing=1.0)
    figure.suptitle(f"{summary['study']}: coverage of {summary['poi']}", fontsize=11)
    figure.tight_layout()
    return figure


def _status(summary: Summary) -> Figure:
    """How many toys ended in each status, per ensemble; every toy is in one bar."""
    ensembles = summary["ensembles"]
    kinds = ["certified", *next(iter(ensembles.values()))["failed"]]
    figure, axes = plt.subplots(figsize=(8, 1.8 + 0.3 * len(kinds) * len(ensembles)))
    height = 0.8 / len(ensembles)
    colours = [_BLUE, _ORANGE, _GREY, "#bd1f01", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"]
    for k, (name, item) in enumerate(ensembles.items()):
        counts = [item["certified"], *item["failed"].values()]
        rows = np.arange(len(kinds))[::-1] - (k - (len(ensembles) - 1) / 2) * height
        axes.barh(rows, counts, height, color=colours[k % len(colours)], label=name, left=0)
        for row, count in zip(rows, counts, strict=True):
            axes.annotate(f"{count}", (count, row), (4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(0, max(item["toys"] for item in ensembles.values()) * 12)
    axes.set_yticks(np.arange(len(kinds))[::-1], [kind.replace("_", " ") for kind in kinds])
    axes.yaxis.set_tick_params(which="both", left=False, right=False)
    axes.set_xlabel("toys")
    axes.legend(loc="lower right", frameon=False)
    axes.set_title(f"{summary['study']}: how every toy ended", fontsize=11)
    return figure


def _overview(summary: Summary) -> Figure:
    """The study's main numbers as a table, and its verdicts."""
    poi = summary["poi"]
    levels = list(next(iter(summary["ensembles"].values()))["intervals"]["profile"])
    head = ["ensemble", f"true {poi}", "toys", "failed", "at bound", f"bias of {poi}", "pull mean", "pull width"]
    head += [f"coverage {100 * float(level):g} %\n(profile)" for level in levels]
    rows, sentences = [], []
    for name, item in summary["ensembles"].items():
        about = item["parameters"][poi]
        row = [name, f"{about['truth']:g}", f"{item['toys']}", f"{item['toys'] - item['certified']}"]
        row.append(f"{item['at_bound']}")
        row += [_with_error(about[key], about[f"{key}_error"]) for key in ("bias", "pull_mean", "pull_width")]
        for level in levels:
            interval = item["intervals"]["profile"][level]
            row.append(_with_error(interval["coverage"], (interval["coverage_high"] - interval["coverage_low"]) / 2))
        rows.append(row)
        sentences += [f"{name}, {poi} = {test['poi']:g}: {test['verdict']['sentence']}" for test in item["tests"]]
    found = {name: item["discovery"] for name, item in summary["ensembles"].items() if item["discovery"]}
    heights = [0.9 + 0.42 * len(rows) + 0.24 * len(sentences)]
    if found:
        heights.append(1.4 + 0.42 * len(found))
    figure, panels = plt.subplots(
        len(heights), 1, figsize=(13, sum(heights)), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    axes = panels[0, 0]
    axes.axis("off")
    _fill_table(axes, rows, head)
    axes.text(0, 0, "\n".join(sentences), transform=axes.transAxes, va="bottom", fontsize=9.5)
    axes.set_title(f"{summary['study']}: bias, pulls, coverage, and the asymptotic formula", fontsize=12)
    if found:
        _discovery(panels[1, 0], found)
    return figure


def _discovery(axes: Any, found: Mapping[str, Any]) -> None:
    """Counted discovery p-values of background-only toys, beside the asymptotic ones."""
    axes.axis("off")
    head = ["ensemble"]
    head += [f"Z = {item['z']}\nasymptotic {item['asymptotic']:.3g}" for item in next(iter(found.values()))]
    rows = []
    for name, items in found.items():
        row = [name]
        for item in items:
            if item["p_value"] is None:
                row.append("undefined")
                continue
            low, high = item["p_value_low"], item["p_value_high"]
            between = f"{low:.3g} to {high:.3g}" if item["beyond"] else f"below {high:.2g}"
            row.append(f"{item['p_value']:.4g}\n{between}, {item['beyond']} toys")
        rows.append(row)
    _fill_table(axes, rows, head)
    for (line, _), cell in axes.tables[0].get_celld().items():
        if line:
            cell.set_height(cell.get_height() * 1.5)
    axes.set_title("discovery: $p(q_0 \\geq Z^2)$ of background-only toys, with 68.27 % intervals", fontsize=12)


def _optimisers(summary: Summary, ensemble: str) -> Figure:
    """What each optimiser costs, and how far from the best minimum it stops."""
    methods = summary["ensembles"][ensemble]["methods"]
    near = summary["ensembles"][ensemble]["near"]
    figure, (cost, quality, distance) = plt.subplots(
        1, 3, figsize=(14, 1.6 + 0.5 * len(methods)), sharey=True, gridspec_kw={"wspace": 0.08}
    )
    rows = np.arange(len(methods))[::-1]
    cost.barh(rows, [1e3 * item["seconds_a_toy"] for item in methods.values()], 0.6, color=_BLUE)
    cost.set_xscale("log")
    cost.set_xlabel("milliseconds a toy, once compiled")
    cost.set_yticks(rows, list(methods))
    reached = np.array([100 * item["reached"] / item["toys"] for item in methods.values()])
    false = np.array([100 * item["false_success"] / item["toys"] for item in methods.values()])
    quality.barh(rows, reached, 0.6, color=_BLUE, label="at the best minimum")
    quality.barh(rows, false, 0.6, left=reached, color=_ORANGE, label="false success")
    quality.set_xlim(0, 100)
    quality.set_ylim(-0.6, len(methods) + 0.5)
    quality.set_xlabel("% of toys")
    quality.legend(loc="upper left", frameon=False, ncols=2, fontsize=9)
    for key, marker in (("median", "o"), ("q90", "s"), ("largest", "^")):
        values = np.array([_shown(item["nll_above_best"][key]) for item in methods.values()])
        label = {"median": "median", "q90": "90 %", "largest": "largest"}[key]
        distance.plot(values, rows, marker, color="black", markersize=5, label=label, fillstyle="none")
    distance.axvline(near, color=_ORANGE, linewidth=1.5)
    distance.set_xscale("log")
    distance.set_xlabel("nll above the best minimum")
    distance.set_xlim(3e-13, 3e6)
    distance.set_xticks([1e-12, 1e-8, 1e-4, 1, 1e4], ["$10^{-12}$", "$10^{-8}$", "$10^{-4}$", "1", "$10^4$"])
    distance.legend(loc="upper right", frameon=False, ncols=3, fontsize=9)
    for axes in (cost, quality, distance):
        axes.yaxis.set_tick_params(which="both", left=False, right=False)
    figure.suptitle(_title(summary, ensemble), fontsize=11)
    return figure


def _shown(value: float | None) -> float:
    """A distance on a logarithmic axis that has both ends."""
    return 1e6 if value is None else float(np.clip(value, 1e-12, 1e6))


def _optimisers_table(summary: Summary, ensemble: str) -> Figure:
    """The comparison as a table."""
    methods = summary["ensembles"][ensemble]["methods"]
    head = ["optimiser", "says\nsuccess", "at best\nminimum", "false\nsuccess", "iterations", "nll", "gradients"]
    head += ["Hessians", "ms a toy", "first call, s", "nll above best\nmedian, largest", "σ from best\nmedian, largest"]
    rows = []
    for name, item in methods.items():
        row = [name, *(f"{item[key]} / {item['toys']}" for key in ("success", "reached", "false_success"))]
        row += [_count(item[key]["median"]) for key in ("iterations", "values", "gradients", "hessians")]
        row += [f"{1e3 * item['seconds_a_toy']:.3g}", f"{item['first_call_seconds']:.2g}"]
        for key in ("nll_above_best", "sigmas_from_best"):
            row.append(", ".join(_short(item[key][which]) for which in ("median", "largest")))
        rows.append(row)
    figure, axes = plt.subplots(figsize=(16, 1.1 + 0.42 * len(rows)))
    axes.axis("off")
    _fill_table(axes, rows, head)
    axes.set_title(f"{_title(summary, ensemble)} (counts are medians over toys)", fontsize=12)
    return figure


def _count(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"


def _short(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.1e}"


def _fill_table(axes: Any, rows: list[list[str]], head: list[str]) -> None:
    """A table on empty axes, with a shaded head of two lines."""
    table = axes.table(rows, colLabels=head, loc="upper center", cellLoc="center")
    table.auto_set_font_size(False)
    table.set_fontsize(9.5)
    table.scale(1, 1.5)
    for (line, _), cell in table.get_celld().items():
        cell.set_linewidth(0.4)
        if line == 0:
            cell.set_height(cell.get_height() * 1.5)
            cell.set_facecolor("#e8eef4")


def _with_error(value: float | None, error: float | None) -> str:
    """A number and its error, both to two digits of the error."""
    if value is None or error is None:
        return "undefined"
    if error <= 0:
        return f"{value:g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


_STUDY: dict[str, Callable[[Summary], Figure]] = {"overview": _overview, "coverage": _coverage, "status": _status}
_ENSEMBLE: dict[str, Callable[[Summary, str], Figure]] = {
    "t_mu": _t_mu,
    "pull": _pull,
    "parameters": _parameters,
    "optimisers": _optimisers,
    "optimisers_table": _optimisers_table,
}
