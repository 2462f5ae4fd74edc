"""The figure of a joint confidence region of two parameters: what toys accept, and the asymptotic contour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymill.inference.neyman import root_of
from toymill.report.drawing import BLUE, GREY, ORANGE, RED, column, plain
from toymill.results.answers import RegionAnswer
from toymill.results.summary import Summary

if TYPE_CHECKING:
    from jaxtyping import Float

_MARKS = {"accepted": ("o", BLUE), "undecided": ("s", ORANGE), "rejected": ("x", RED)}


def region_figure(summary: Summary) -> Figure:
    """A panel for each level: the tested points, and the contours by toys and by the asymptotic formula."""
    assert summary.answers is not None
    found = summary.answers.region
    assert found is not None
    levels = list(found.toys.regions)
    figure, panels = plt.subplots(1, len(levels), figsize=(6.5 * len(levels), 5.4), squeeze=False)
    for axes, level in zip(panels[0], levels, strict=True):
        _panel(axes, found, level)
    figure.suptitle(f"{summary.study}: confidence region of {' and '.join(map(plain, found.parameters))}", fontsize=12)
    figure.tight_layout()
    return figure


def _panel(axes: Axes, found: RegionAnswer, level: str) -> None:
    """The points of a level by what toys decide, and both contours, linear between points in √t and in r of p."""
    tests = [item.test for item in found.toys.points]
    points = np.array([item.at for item in found.toys.points])
    for decision, (mark, colour) in _MARKS.items():
        rows = [k for k, test in enumerate(tests) if test.decision[level] == decision]
        axes.plot(*points[rows].T, mark, ms=5, color=colour, label=decision)
    t = column(test.t for test in tests)
    asymptotic = np.sqrt(np.maximum(t, 0)) - np.sqrt(tests[0].critical[level].asymptotic)
    p = column(None if test.p_value is None else test.p_value.value for test in tests)
    least = column(None if test.p_value is None else 0.5 / max(test.p_value.toys, 1) for test in tests)
    by_toys = root_of(np.maximum(p, least)) - root_of(1 - float(level))
    _contour(axes, found, by_toys, BLUE, "solid", "toys")
    _contour(axes, found, asymptotic, GREY, "dashed", "asymptotic")
    axes.plot(*found.best, "+", ms=12, color="black", label="best fit")
    axes.set_xlabel(plain(found.parameters[0]))
    axes.set_ylabel(plain(found.parameters[1]))
    margin = 0.06 * np.ptp(points, axis=0)
    axes.set_xlim(points[:, 0].min() - margin[0], points[:, 0].max() + margin[0])
    axes.set_ylim(points[:, 1].min() - margin[1], points[:, 1].max() + margin[1])
    axes.set_title(f"{100 * float(level):.4g} %", fontsize=12)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1.06), ncols=3)


def _contour(
    axes: Axes, found: RegionAnswer, values: Float[np.ndarray, " point"], colour: str, style: str, name: str
) -> None:
    """Where values at the points of the grid are 0, if they are so anywhere."""
    axes.plot([], [], color=colour, ls=style, label=name)
    if np.nanmin(values, initial=np.inf) < 0 < np.nanmax(values, initial=-np.inf):
        table = np.ma.masked_invalid(values.reshape(len(found.values[0]), len(found.values[1]))).T
        axes.contour(*found.values, table, levels=[0.0], colors=[colour], linestyles=[style])
