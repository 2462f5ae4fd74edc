"""The figure of the Neyman construction: critical values, what the data say, and the intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymill.inference.interval_verdicts import AsymptoticInterval
from toymill.inference.neyman_records import ConfidenceInterval
from toymill.report.drawing import BLUE, GREY, ORANGE, RED, column, plain
from toymill.results.answers import IntervalAnswer
from toymill.results.summary import Summary

if TYPE_CHECKING:
    from jaxtyping import Float

_COLOURS = (BLUE, RED, GREY, ORANGE)


def draw_interval(summary: Summary, found: IntervalAnswer) -> Figure:
    """Critical values with Monte Carlo errors and t of the data against the tested value; beside them the intervals."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.8), gridspec_kw={"width_ratios": [3, 2]})
    _belt(left, summary, found)
    _intervals(right, summary, found)
    title = f"{summary.study}: confidence intervals of {plain(summary.poi)}"
    figure.suptitle(f"{title}\n{plain(found.over_set, 140)}" if found.over_set else title, fontsize=12)
    figure.tight_layout()
    return figure


def _belt(axes: Axes, summary: Summary, found: IntervalAnswer) -> None:
    """t_c of each level, the χ² quantile, t of the data, and the accepted values, shaded."""
    points = np.array([item.poi for item in found.toys.points])
    name = r"$\tilde{t}$" if found.statistic == "ttilde" else "$t$"
    highest = 0.0
    for (level, interval), colour in zip(found.toys.intervals.items(), _COLOURS * 25, strict=False):
        critical = [item.test.critical[level] for item in found.toys.points]
        value, low, high = (column(getattr(item, key) for item in critical) for key in ("value", "low", "high"))
        axes.errorbar(
            points,
            value,
            yerr=[value - low, np.nan_to_num(high - value)],
            fmt="o",
            ms=3.5,
            color=colour,
            label=f"critical {name}, {100 * float(level):.4g} %",
        )
        asymptotic = [item.asymptotic for item in critical]
        axes.plot(points, asymptotic, "--", color=colour, linewidth=1)
        highest = max(highest, *asymptotic, float(np.nanmax(value, initial=0.0)))
        for region in interval.regions:
            ends = (points[0] if region.low is None else region.low, points[-1] if region.high is None else region.high)
            axes.axvspan(*ends, color=colour, alpha=0.12, linewidth=0)
    axes.plot([], [], "--", color=GREY, label="asymptotic")
    axes.plot(*_of_data(found), "-", color="black", label=f"{name} of the data")
    margin = 0.02 * (points[-1] - points[0])
    axes.set_xlim(points[0] - margin, points[-1] + margin)
    axes.set_ylim(0, 1.9 * highest)
    axes.set_xlabel(f"tested {plain(summary.poi)}")
    axes.set_ylabel(name)
    axes.legend(loc="upper center", ncols=2, facecolor="white", edgecolor="none", framealpha=0.9)


def _of_data(found: IntervalAnswer) -> tuple[Float[np.ndarray, " place"], Float[np.ndarray, " place"]]:
    """t of the data as a curve: √t, with the sign of μ - μ̂, is drawn straight between tested values and the best fit."""
    best = next(iter(found.asymptotic.values())).best
    known = {item.poi: item.test.t for item in found.toys.points if item.test.t is not None}
    if min(known, default=best) < best < max(known, default=best):
        known[best] = 0.0
    points = np.array(sorted(known))
    roots = np.array([np.copysign(np.sqrt(max(known[value], 0.0)), value - best) for value in points])
    places = np.unique(np.concatenate([points, np.linspace(points[0], points[-1], 400)]))
    return places, np.interp(places, points, roots) ** 2


def _intervals(axes: Axes, summary: Summary, found: IntervalAnswer) -> None:
    """A line each: the interval from toys, with the Monte Carlo errors of its ends, and the asymptotic one."""
    names: list[str] = []
    for (level, interval), colour in zip(found.toys.intervals.items(), _COLOURS * 25, strict=False):
        _from_toys(axes, len(names), interval, found, colour)
        _asymptotic(axes, len(names) + 1, found.asymptotic[level])
        words = f"{100 * float(level):.4g} %"
        names += [f"{words}, toys", f"{words}, asymptotic"]
    best = next(iter(found.asymptotic.values())).best
    axes.axvline(best, color=GREY, linewidth=1, label=f"best fit, {best:.4g}")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.3, -0.8)
    axes.set_xlabel(f"interval of {plain(summary.poi)}")
    axes.legend(loc="lower right", frameon=False)


def _from_toys(axes: Axes, row: int, interval: ConfidenceInterval, found: IntervalAnswer, colour: str) -> None:
    points = [item.poi for item in found.toys.points]
    if not interval.regions:
        axes.annotate("not known", (0.02, row), fontsize=9, xycoords=("axes fraction", "data"))
    for region in interval.regions:
        ends = (points[0] if region.low is None else region.low, points[-1] if region.high is None else region.high)
        axes.plot(ends, [row, row], "-", color=colour, linewidth=3)
    for end in (interval.low, interval.high):
        if end.value is not None:
            low, high = (end.value if item is None else item for item in (end.low, end.high))
            axes.errorbar(
                [end.value],
                [row],
                xerr=[[end.value - low], [high - end.value]],
                fmt="|",
                ms=12,
                capsize=4,
                color="black",
            )


def _asymptotic(axes: Axes, row: int, interval: AsymptoticInterval) -> None:
    ends = column([interval.low, interval.high])
    axes.plot(ends, [row, row], "|-", ms=12, color=ORANGE, linewidth=2)
