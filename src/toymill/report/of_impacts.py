"""The figures of impacts: pulls of the nuisance parameters, and what each does to the parameter of interest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from toymill.inference.impacts import Impact
from toymill.report.captions import IMPACTS_ON_A_PAGE as PAGE
from toymill.report.drawing import BLUE, GREY, ORANGE, column, plain
from toymill.results.answers import ImpactsAnswer
from toymill.results.summary import Summary

if TYPE_CHECKING:
    from jaxtyping import Float


def impacts_figure(summary: Summary) -> Figure:
    """Pulls and impacts of the nuisance parameters, the largest of them."""
    found = _of(summary)
    count = len(found.impacts)
    title = f"the {PAGE} largest impacts of {count}" if count > PAGE else f"all {count} impacts"
    return _pages(summary, [found.impacts[:PAGE]], title)


def all_impacts_figure(summary: Summary) -> Figure:
    """The same of all nuisance parameters, in pages below each other, the largest first, on the same scales."""
    found = _of(summary)
    pages = [found.impacts[first : first + PAGE] for first in range(0, max(len(found.impacts), 1), PAGE)]
    return _pages(summary, pages, f"all {len(found.impacts)} impacts")


def _of(summary: Summary) -> ImpactsAnswer:
    assert summary.answers is not None
    assert summary.answers.impacts is not None
    return summary.answers.impacts


def _pages(summary: Summary, pages: Sequence[Sequence[Impact]], title: str) -> Figure:
    heights = [0.9 + 0.3 * max(len(page), 2) for page in pages]
    tall = sum(heights) + 0.9
    figure = plt.figure(figsize=(12, tall))
    grid = figure.add_gridspec(
        len(pages), 2, height_ratios=heights, left=0.26, right=0.98, bottom=0.7 / tall, top=1 - 0.85 / tall,
        wspace=0.06, hspace=0.9 * len(pages) / tall,
    )  # fmt: skip
    every = [item for page in pages for item in page]
    reach = float(np.nanmax(np.abs(column(item.pull for item in every)), initial=0.0)) + 1.3
    first: tuple[Axes, Axes] | None = None
    for row, page in enumerate(pages):
        left = figure.add_subplot(grid[row, 0], sharex=first and first[0])
        right = figure.add_subplot(grid[row, 1], sharex=first and first[1], sharey=left)
        first = first or (left, right)
        _pulls(left, page, row * PAGE)
        _shifts(right, page, plain(summary.poi))
    assert first is not None
    first[0].set_xlim(-reach, reach)
    for axes in first:
        axes.xaxis.set_major_locator(MaxNLocator(6, prune="both"))
        axes.margins(x=0.08)
    first[1].legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=9, columnspacing=1)
    figure.suptitle(f"{summary.study}: {title if every else 'no nuisance parameters'}", fontsize=12, y=1 - 0.2 / tall)
    return figure


def _pulls(axes: Axes, page: Sequence[Impact], before: int) -> None:
    """Pulls of the fit to the observed data with their constraints; ``before`` parameters are on other pages."""
    rows = np.arange(len(page))
    axes.axvspan(-1, 1, color=GREY, alpha=0.25, linewidth=0)
    _points(axes, column(item.pull for item in page), column(item.constraint for item in page))
    axes.set_xlabel("pull of the observed fit, with its constraint", fontsize=11)
    axes.set_yticks(rows, [f"{before + k + 1}: {plain(item.parameter, 40)}" for k, item in enumerate(page)], fontsize=9)
    axes.set_ylim(max(len(page), 1) - 0.5, -0.5)
    axes.yaxis.set_tick_params(which="both", left=False, right=False)
    axes.yaxis.minorticks_off()


def _shifts(axes: Axes, page: Sequence[Impact], poi: str) -> None:
    """Shifts of the observed fit, and the global impact over toys with its Monte Carlo error."""
    rows = np.arange(len(page))
    up, down = column(item.postfit_up for item in page), column(item.postfit_down for item in page)
    axes.barh(rows, up, 0.7, color=BLUE, alpha=0.8, label="+1 σ in the fit")
    axes.barh(
        rows, down, 0.7, color=ORANGE, alpha=0.6, hatch="///", edgecolor="white", label="-1 σ in the fit"
    )  # hatched: told apart on grey paper
    values, errors = column(item.global_toys for item in page), column(item.global_toys_error for item in page)
    _points(axes, values, errors, label="global impact, toys")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel(f"impact on {poi}", fontsize=11)
    axes.yaxis.set_tick_params(which="both", left=False, right=False, labelleft=False)


def _points(
    axes: Axes, values: Float[np.ndarray, " row"], errors: Float[np.ndarray, " row"], label: str | None = None
) -> None:
    """A number of each parameter with its error, one below the other."""
    axes.errorbar(values, np.arange(len(values)), xerr=errors, fmt="o", ms=5, color="black", label=label)
