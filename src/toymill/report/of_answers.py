"""Figures of the answers to a study's sections, by name; those of one figure that have no module of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from toymill.inference.mixture import MixtureTail
from toymill.inference.p_values import PValue
from toymill.report.drawing import BLUE, GREY, ORANGE, column, plain
from toymill.report.of_impacts import all_impacts_figure, impacts_figure
from toymill.report.of_interval import draw_interval
from toymill.report.of_limit import limit_figure
from toymill.report.of_region import region_figure
from toymill.report.of_scan import scan_figure
from toymill.results.answers import Answers
from toymill.results.summary import Summary

if TYPE_CHECKING:
    from jaxtyping import Float


def _answers(summary: Summary) -> Answers:
    assert summary.answers is not None
    return summary.answers


def _interval(summary: Summary) -> Figure:
    """The critical values at each tested value, and the intervals from toys beside the asymptotic ones."""
    found = _answers(summary).interval
    assert found is not None
    return draw_interval(summary, found)


def _discovery(summary: Summary) -> Figure:
    """p(q_0) of weighted toys beside plain ones and the asymptotic formula."""
    found = _answers(summary).discovery
    assert found is not None
    figure, axes = plt.subplots(figsize=(7.5, 5))
    q = np.array([item.q_0 for item in found.tail])
    for shift, name, colour, mark, items in (
        (0.0, "weighted toys", "black", "o", [item.weighted for item in found.tail]),
        (0.25, "toys without signal", BLUE, "s", [item.plain for item in found.tail]),
    ):
        value = column(item.value or None for item in items)
        axes.errorbar(q + shift, value, yerr=_reach(value, items), fmt=mark, ms=4, color=colour, label=name)
    axes.plot(q, [item.asymptotic for item in found.tail], "-", color=ORANGE, label="asymptotic")
    if found.observed is not None and found.observed.q_0 > 0:
        axes.axvline(found.observed.q_0, color=GREY, label=f"observed $q_0$ = {found.observed.q_0:.3g}")
    axes.set_yscale("log")
    axes.set_xlim(0, 1.04 * max(q))
    axes.set_xlabel("$q_0$")
    axes.set_ylabel("p-value without a signal")
    axes.legend(frameon=False)
    axes.set_title(f"{summary.study}: tail of $q_0$", fontsize=12)
    return figure


def _reach(
    value: Float[np.ndarray, " value"], items: Sequence[PValue | MixtureTail]
) -> list[Float[np.ndarray, " value"]]:
    """How far the intervals of p-values reach below and above them, as error bars take it."""
    return [value - column(item.low for item in items), column(item.high for item in items) - value]


def _goodness_of_fit(summary: Summary) -> Figure:
    """The p-value of each statistic."""
    found = _answers(summary).goodness_of_fit
    assert found is not None
    names = list(found.statistics)[:40]
    figure, axes = plt.subplots(figsize=(7.5, 1.6 + 0.28 * len(names)))
    rows = np.arange(len(names))
    values = [found.statistics[name].p_value for name in names]
    value = column(item.value for item in values)
    axes.errorbar(value, rows, xerr=_reach(value, values), fmt="o", color="black", label="toys")
    axes.plot(
        column(found.statistics[name].asymptotic for name in names),
        rows,
        "D",
        markerfacecolor="none",
        color=ORANGE,
        label="χ²",
    )
    axes.set_yticks(rows, [plain(name, 40) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.8)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("p-value of the observed data")
    axes.legend(frameon=False)
    axes.set_title(f"{summary.study}: goodness of fit", fontsize=12)
    return figure


FIGURES: dict[str, Callable[[Summary], Figure]] = {
    "limit": limit_figure,
    "interval": _interval,
    "region": region_figure,
    "discovery": _discovery,
    "goodness_of_fit": _goodness_of_fit,
    "impacts": impacts_figure,
    "all_impacts": all_impacts_figure,
    "scan": scan_figure,
}
"""The figures of the answers, by the name of their section; two of impacts."""
