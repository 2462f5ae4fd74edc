"""Figures of one ensemble: t_μ beside its asymptotic distribution, the pull, every parameter."""

from __future__ import annotations

import math
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import scipy.stats
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymill.report.drawing import BLUE, ORANGE, column, plain, poisson_interval, title, with_error
from toymill.results.summary import Summary, TestSummary

_COLUMNS = 2


def _t_mu(summary: Summary, ensemble: str) -> Figure:
    """The distribution of t_μ at each test point, with the asymptotic one, and their ratio."""
    tests = summary.ensembles[ensemble].tests
    columns = min(_COLUMNS, len(tests))
    rows = math.ceil(len(tests) / columns)
    figure = plt.figure(figsize=(6.4 * columns, 5.4 * rows))
    outer = figure.add_gridspec(rows, columns, wspace=0.25, hspace=0.3)
    for k, test in enumerate(tests):
        grid = outer[k // columns, k % columns].subgridspec(2, 1, height_ratios=(3, 1), hspace=0.08)
        top = figure.add_subplot(grid[0])
        bottom = figure.add_subplot(grid[1], sharex=top)
        _t_panel(top, bottom, summary, test)
        top.set_title(f"{title(summary, ensemble)}, tested at {test.poi:g}", fontsize=11)
    return figure


def _t_panel(top: Axes, bottom: Axes, summary: Summary, test: TestSummary) -> None:
    edges, counts = np.array(test.histogram.edges), np.array(test.histogram.counts)
    asymptotic = test.histogram.asymptotic
    expected = np.full(len(counts), np.nan) if asymptotic is None else np.array(asymptotic)
    centres = (edges[:-1] + edges[1:]) / 2
    seen = counts > 0
    if not seen.any():
        top.text(0.5, 0.5, "no certified toys", transform=top.transAxes, ha="center")
        return
    low, high = poisson_interval(counts)
    none = "none"
    label = (
        none if asymptotic is None else "non-central χ²" if (test.noncentrality or 0) > 0 else "χ², 1 degree of freedom"
    )
    if (test.verdict.at_zero_asymptotic or 0) > 1e-3:
        label += ", with the lower bound"
    top.stairs(expected, edges, color=ORANGE, linewidth=2, label=f"asymptotic: {label}")
    error = np.array([(counts - low)[seen], (high - counts)[seen]])
    top.errorbar(centres[seen], counts[seen], yerr=error, fmt="o", color="black", markersize=3.5, label="toys")
    top.set_yscale("log")
    top.set_ylim(0.5, np.nanmax([counts.max(initial=1), *expected]) * 4)
    top.set_ylabel(f"toys / {edges[1] - edges[0]:.2g}")
    top.tick_params(labelbottom=False)
    beyond = test.quantiles["0.95"].beyond
    text = "" if beyond is None else f"beyond the asymptotic 95 % point: {100 * beyond:.2f} %"
    top.legend(title=text, title_fontsize=9, loc="upper right", frameon=False)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, down, up = counts / expected, (counts - low) / expected, (high - counts) / expected
    shown = seen & (expected > 0)
    bottom.axhline(1, color=ORANGE, linewidth=2)
    bottom.errorbar(
        centres[shown], ratio[shown], yerr=np.array([down[shown], up[shown]]), fmt="o", color="black", markersize=3.5
    )
    bottom.set_ylim(0, 2)
    bottom.set_ylabel("ratio")
    bottom.set_xlabel(rf"$t_\mu$ at {plain(summary.poi)} = {test.poi:g}")
    bottom.set_xlim(edges[0], edges[-1])


def _pull(summary: Summary, ensemble: str) -> Figure:
    """The pull of the POI against a unit normal."""
    item = summary.ensembles[ensemble]
    histogram, about = item.pull_histogram, item.parameters[summary.poi]
    edges, counts = np.array(histogram.edges), np.array(histogram.counts)
    centres = (edges[:-1] + edges[1:]) / 2
    figure, axes = plt.subplots(figsize=(6.4, 4.8))
    expected = counts.sum() * np.diff(scipy.stats.norm.cdf(edges))
    axes.stairs(expected, edges, color=ORANGE, linewidth=2, label="unit normal")
    low, high = poisson_interval(counts)
    axes.errorbar(
        centres,
        counts,
        yerr=np.array([counts - low, high - counts]),
        fmt="o",
        color="black",
        markersize=3.5,
        label="toys",
    )
    axes.set_xlabel(f"pull of {plain(summary.poi)}: (estimate − truth) / error")
    axes.set_ylabel(f"toys / {edges[1] - edges[0]:.2g}")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, counts.max(initial=1) * 1.35)
    axes.set_title(title(summary, ensemble), fontsize=11)
    lines = [
        f"mean {with_error(about.pull_mean, about.pull_mean_error)}",
        f"width {with_error(about.pull_width, about.pull_width_error)}",
        f"bias {with_error(about.bias, about.bias_error)}",
        f"{about.pulls} of {item.certified} toys",
    ]
    axes.text(0.04, 0.95, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=10)
    axes.legend(loc="upper right", frameon=False)
    return figure


def _parameters(summary: Summary, ensemble: str) -> Figure:
    """Bias over spread, mean and width of the pull, and the Cramér-Rao bound over the variance, of each parameter."""
    parameters = summary.ensembles[ensemble].parameters
    names = list(parameters)
    labels = [_label(summary, ensemble, name) for name in names]
    figure, (left, right, bound) = plt.subplots(
        1, 3, figsize=(14, 1.6 + 0.24 * len(names)), sharey=True, gridspec_kw={"wspace": 0.06}
    )
    items = parameters.values()
    rows = np.arange(len(names))[::-1]
    left.errorbar(
        column(item.bias_in_rms for item in items),
        rows,
        xerr=column(item.bias_in_rms_error for item in items),
        fmt="o",
        color="black",
        markersize=3.5,
    )
    left.axvline(0, color=ORANGE, linewidth=1.5)
    left.set_yticks(rows, labels, fontsize=9)
    for axes in (left, right, bound):
        axes.yaxis.set_tick_params(which="both", left=False, right=False)
    left.ticklabel_format(axis="x", style="plain", useOffset=False)
    left.set_xlabel("bias / rms")
    right.errorbar(
        column(item.pull_mean for item in items),
        rows,
        xerr=column(item.pull_width for item in items),
        fmt="o",
        color=BLUE,
        markersize=3.5,
        elinewidth=2,
    )
    for edge in (-1, 0, 1):
        right.axvline(edge, color=ORANGE, linewidth=1.5, linestyle="-" if edge == 0 else "--")
    right.set_xlim(-2, 2)
    right.set_xlabel("pull: mean, with its width as bar")
    efficiency = summary.ensembles[ensemble].information.efficiency
    efficiencies = [efficiency[name] for name in names]
    value = column(item.efficiency for item in efficiencies)
    error = column(item.efficiency_error for item in efficiencies)
    bound.errorbar(value, rows, xerr=error, fmt="o", color="black", markersize=3.5)
    bound.axvline(1, color=ORANGE, linewidth=1.5)
    bound.set_xlabel("Cramér-Rao bound / variance")
    if not np.isfinite(value).any():
        bound.text(0.5, 0.5, "no bound, held data, or another truth", transform=bound.transAxes, ha="center")
    left.set_ylim(-0.8, len(names) - 0.2)
    left.set_title(title(summary, ensemble), fontsize=11)
    return figure


def _label(summary: Summary, ensemble: str, name: str) -> str:
    """A parameter's name, whether it is that of interest, and the share of toys whose estimate is at a bound."""
    item = summary.ensembles[ensemble]
    share = item.parameters[name].at_bound_share or 0.0
    interest = " (of interest)" if name == summary.poi else ""
    return plain(name) + interest + (f", {100 * share:.2g} % at a bound" if share else "")


FIGURES: dict[str, Callable[[Summary, str], Figure]] = {"t_mu": _t_mu, "pull": _pull, "parameters": _parameters}
"""The figures of an ensemble, by name."""
