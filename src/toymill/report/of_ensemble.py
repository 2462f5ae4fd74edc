"""Figures of one ensemble: t_μ beside its asymptotic distribution, the pull, every parameter."""

from __future__ import annotations

import math
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import scipy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from toymill.report.drawing import ORANGE, column, plain, poisson_interval, title
from toymill.report.numbers import with_error
from toymill.results.summary import EnsembleSummary, Summary, TestSummary

PANEL = 30
"""Parameters of a panel."""

_COLUMNS = 2
_MOST_RATIO = 2.0


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
    known = seen & np.isfinite(expected)
    outside = known & ~(ratio <= _MOST_RATIO)  # where the formula has nothing, too
    shown = known & (expected > 0)  # of points outside the lower bar may reach into the panel
    bottom.axhline(1, color=ORANGE, linewidth=2)
    bottom.errorbar(
        centres[shown], ratio[shown], yerr=np.array([down[shown], up[shown]]), fmt="o", color="black", markersize=3.5
    )
    bottom.plot(centres[outside], np.full(outside.sum(), 0.94 * _MOST_RATIO), "^", color="black", markersize=5)
    bottom.set_ylim(0, _MOST_RATIO)
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
    expected = counts.sum() * np.diff(scipy.special.ndtr(edges))
    axes.stairs(expected, edges, color=ORANGE, linewidth=2, label="unit normal")
    low, high = poisson_interval(counts)
    seen = counts > 0
    axes.errorbar(
        centres[seen],
        counts[seen],
        yerr=np.array([counts - low, high - counts])[:, seen],
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
    axes.text(0.07, 0.94, "\n".join(lines), transform=axes.transAxes, va="top", fontsize=10)
    axes.legend(loc="upper right", frameon=False)
    return figure


def _parameters(summary: Summary, ensemble: str) -> Figure:
    """Bias over spread, mean and width of the pull, and the Cramér-Rao bound over the variance, of each parameter.

    Those of many parameters are in panels of ``PANEL`` below each other, on the same scales.
    """
    item = summary.ensembles[ensemble]
    names = list(item.parameters)
    panels = [names[first : first + PANEL] for first in range(0, len(names), PANEL)]
    heights = [0.9 + 0.24 * len(panel) for panel in panels]
    tall = sum(heights) + 0.7
    figure = plt.figure(figsize=(15, tall))
    figure.suptitle(title(summary, ensemble), fontsize=11, y=1 - 0.25 / tall)
    place = {"left": 0.22, "right": 0.99, "bottom": 0.6 / tall, "top": 1 - 0.5 / tall}
    grid = figure.add_gridspec(
        len(panels), 4, height_ratios=heights, wspace=0.05, hspace=0.6 * len(panels) / tall, **place
    )
    columns = _columns(item)
    first: list[Axes | None] = [None] * len(columns)
    for row, panel in enumerate(panels):
        left: Axes | None = None
        for k, (label, ideal, value, error) in enumerate(columns):
            axes = figure.add_subplot(grid[row, k], sharex=first[k], sharey=left)
            first[k] = first[k] or axes
            left = left or axes
            chosen = slice(row * PANEL, row * PANEL + len(panel))
            places = np.arange(len(panel))[::-1]
            axes.errorbar(value[chosen], places, xerr=error[chosen], fmt="o", color="black", markersize=3.5)
            axes.axvline(ideal, color=ORANGE, linewidth=1.5)
            axes.set_xlabel(label, fontsize=11)
            axes.yaxis.set_tick_params(which="both", left=False, right=False, labelleft=k == 0)
            axes.minorticks_off()
            axes.xaxis.set_major_locator(MaxNLocator(4, prune="both"))
            axes.ticklabel_format(axis="x", style="plain", useOffset=False)
            if not np.isfinite(value).any():
                axes.text(0.5, 0.5, "not known", transform=axes.transAxes, ha="center")
        if left is not None:
            left.set_yticks(
                np.arange(len(panel))[::-1], [_label(summary, ensemble, name) for name in panel], fontsize=9
            )
            left.set_ylim(-0.8, len(panel) - 0.2)
    return figure


def _columns(item: EnsembleSummary) -> list[tuple[str, float, np.ndarray, np.ndarray]]:
    """What is drawn of each parameter: its label, what it should be, the values, (P,), and their errors, (P,)."""
    every = item.parameters.values()
    bounds = [item.information.efficiency.get(name) for name in item.parameters]
    return [
        (
            "bias / spread",
            0.0,
            column(about.bias_in_rms for about in every),
            column(about.bias_in_rms_error for about in every),
        ),
        (
            "pull mean",
            0.0,
            column(about.pull_mean for about in every),
            column(about.pull_mean_error for about in every),
        ),
        (
            "pull width - 1",
            0.0,
            column(about.pull_width for about in every) - 1,
            column(about.pull_width_error for about in every),
        ),
        (
            "Cramér-Rao bound / variance",
            1.0,
            column(bound.efficiency if bound else None for bound in bounds),
            column(bound.efficiency_error if bound else None for bound in bounds),
        ),
    ]


def _label(summary: Summary, ensemble: str, name: str) -> str:
    """A parameter's name, whether it is that of interest or drawn, and the share of toys with its estimate at a bound."""
    item = summary.ensembles[ensemble]
    share = item.parameters[name].at_bound_share or 0.0
    interest = " (of interest)" if name == summary.poi else " (drawn for each toy)" if name in item.drawn else ""
    return plain(name, 36) + interest + (f", {100 * share:.2g} % at a bound" if share else "")


FIGURES: dict[str, Callable[[Summary, str], Figure]] = {"t_mu": _t_mu, "pull": _pull, "parameters": _parameters}
"""The figures of an ensemble, by name."""
