"""Figures of the answers to a study's sections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymill.inference.limit_records import LimitPoint
from toymill.inference.mixture import MixtureTail
from toymill.inference.p_values import PValue
from toymill.report.drawing import BLUE, GREY, ONE_SIGMA, ORANGE, RED, TWO_SIGMA, column, plain, plain_log
from toymill.report.numbers import whole_error, with_error
from toymill.report.of_interval import draw_interval
from toymill.report.of_region import region_figure
from toymill.report.of_scan import scan_figure
from toymill.results.answers import Answers, LimitAnswer
from toymill.results.summary import Summary

if TYPE_CHECKING:
    from jaxtyping import Float

_MOST_IMPACTS = 30


def _answers(summary: Summary) -> Answers:
    assert summary.answers is not None
    return summary.answers


def _limit(summary: Summary) -> Figure:
    """CLs of the observed data at each tested value, and the limits from toys beside the asymptotic ones."""
    found = _answers(summary).limit
    assert found is not None
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.8), gridspec_kw={"width_ratios": [3, 2]})
    _curve(left, summary, found)
    _limits(right, summary, found)
    figure.suptitle(
        f"{summary.study}: upper limit on {plain(summary.poi)} at {100 * found.toys.level:g} %", fontsize=12
    )
    figure.tight_layout()
    return figure


def _curve(axes: Axes, summary: Summary, found: LimitAnswer) -> None:
    """The observed CLs against the tested value, with Monte Carlo errors."""
    name = found.toys.method.replace("CLsb", "CL$_{s+b}$").replace("CLs", "CL$_s$")
    points = np.array([point.poi for point in found.toys.points])
    observed = [_of_method(point, found.toys.method) for point in found.toys.points]
    value, low, high = (column(item[k] for item in observed) for k in range(3))
    axes.errorbar(
        points, value, yerr=[value - low, high - value], fmt="o", ms=4, color="black", label=f"observed {name}"
    )
    axes.axhline(1 - found.toys.level, color=RED, linewidth=1.2, label=f"{1 - found.toys.level:.3g}")
    limit = found.toys.observed
    if limit is not None and limit.value is not None:
        axes.axvline(
            limit.value,
            color=BLUE,
            linewidth=1.2,
            label=f"limit {with_error(limit.value, whole_error(limit.error, limit.interpolation))}",
        )
    axes.set_yscale("log")
    axes.set_xscale("log")
    plain_log(axes.xaxis)
    axes.set_xlim(0.9 * points[0], 1.1 * points[-1])
    bottom = np.nanmin(np.where(value > 0, value, np.nan)) if (value > 0).any() else 1e-3
    axes.set_ylim(max(min(bottom, 1 - found.toys.level) / 2, 1e-5), 2)
    axes.set_xlabel(f"tested {plain(summary.poi)}")
    axes.set_ylabel(name)
    axes.legend(loc="lower left", frameon=False)


def _of_method(point: LimitPoint, method: str) -> tuple[float | None, float | None, float | None]:
    """CLs or CL_{s+b} of the observed data with the ends of its interval, from weighted toys where they are."""
    if point.weighted is not None and point.weighted.cls is not None:
        weighted = point.weighted
        value, error = (weighted.cls, weighted.cls_error) if method == "CLs" else (weighted.clsb, weighted.clsb_error)
        if value is not None and error is not None:
            return value, max(value - error, 0.0), value + error
    if point.observed is None:
        return None, None, None
    if method == "CLs":
        return point.observed.value, point.observed.low, point.observed.high
    clsb = point.observed.clsb
    return clsb.value, clsb.low, clsb.high


def _limits(axes: Axes, summary: Summary, found: LimitAnswer) -> None:
    """Observed and expected limits, a line each: toys with Monte Carlo errors, asymptotic ones as open marks."""
    rows = ["observed", *found.toys.expected]
    from_toys = [found.toys.observed, *found.toys.expected.values()]
    asymptotic = [] if found.asymptotic is None else [found.asymptotic.observed, *found.asymptotic.expected.values()]
    for row, limit in enumerate(from_toys):
        if limit is None or limit.value is None:
            axes.annotate(
                "none" if limit is None else limit.sentence, (0.02, row), fontsize=8, xycoords=("axes fraction", "data")
            )
            continue
        low = limit.value if limit.low is None else limit.low
        high = limit.value if limit.high is None else limit.high
        axes.errorbar(
            [limit.value],
            [row],
            xerr=[[limit.value - low], [high - limit.value]],
            fmt="o",
            ms=4,
            color="black",
            capsize=3,
            label="toys" if row == 0 else None,
        )
    known = {key: limit.value for key, limit in found.toys.expected.items()}
    for edge, colour in (("2", TWO_SIGMA), ("1", ONE_SIGMA)):
        left, right = known.get(f"-{edge}"), known.get(edge)
        if left is not None and right is not None:
            axes.axvspan(left, right, color=colour, alpha=0.5, linewidth=0, label=f"expected, ±{edge} σ")
    median = known.get("0")
    if median is not None:
        axes.axvline(median, color="black", linestyle="--", linewidth=1, label="expected, median")
    places = column(None if item is None else item.value for item in asymptotic)
    axes.plot(places, np.arange(len(places)), "D", ms=6, markerfacecolor="white", color=RED, label="asymptotic")
    axes.set_yticks(
        range(len(rows)),
        ["observed", *(f"expected, {'median' if key == '0' else f'{int(key):+d} σ'}" for key in found.toys.expected)],
    )
    axes.set_ylim(len(rows) - 0.5, -0.8)
    axes.set_xscale("log")
    plain_log(axes.xaxis)
    axes.set_xlim(0.9 * found.toys.points[0].poi, 1.1 * found.toys.points[-1].poi)
    axes.set_xlabel(f"upper limit on {plain(summary.poi)}")
    axes.legend(loc="lower center", bbox_to_anchor=(0.35, 1.0), ncols=3, frameon=False)


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


def _impacts(summary: Summary) -> Figure:
    """Pulls and impacts of the nuisance parameters, the largest first."""
    found = _answers(summary).impacts
    assert found is not None
    shown = found.impacts[:_MOST_IMPACTS]
    rows = np.arange(len(shown))
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 1.8 + 0.3 * max(len(shown), 2)), sharey=True)
    left.errorbar(
        column(item.pull for item in shown),
        rows,
        xerr=column(item.constraint for item in shown),
        fmt="o",
        color="black",
    )
    reach = np.nanmax(np.abs(column(item.pull for item in shown)), initial=0.0) + 1.3
    left.set_xlim(-reach, reach)
    left.axvspan(-1, 1, color=GREY, alpha=0.25, linewidth=0)
    left.set_xlabel("pull of the observed fit, with its constraint")
    left.set_yticks(rows, [plain(item.parameter, 40) for item in shown])
    left.set_ylim(max(len(shown), 1) - 0.5, -0.5)
    right.barh(
        rows, column(item.postfit_up for item in shown), 0.7, color=BLUE, alpha=0.8, label="shift by +1 σ of the fit"
    )
    right.barh(
        rows,
        column(item.postfit_down for item in shown),
        0.7,
        color=ORANGE,
        alpha=0.6,
        hatch="///",
        edgecolor="white",
        label="shift by -1 σ of the fit",
    )
    right.errorbar(
        column(item.global_toys for item in shown),
        rows,
        xerr=column(item.global_toys_error for item in shown),
        fmt="o",
        color="black",
        label="global impact, toys",
    )
    right.axvline(0, color="black", linewidth=0.8)
    right.set_xlabel(f"impact on {plain(summary.poi)}")
    right.legend(frameon=False, loc="lower right")
    title = f"the {len(shown)} largest impacts of {len(found.impacts)}" if shown else "no nuisance parameters"
    figure.suptitle(f"{summary.study}: {title}", fontsize=12)
    figure.tight_layout()
    return figure


FIGURES: dict[str, Callable[[Summary], Figure]] = {
    "limit": _limit,
    "interval": _interval,
    "region": region_figure,
    "discovery": _discovery,
    "goodness_of_fit": _goodness_of_fit,
    "impacts": _impacts,
    "scan": scan_figure,
}
"""The figures of the answers, by the name of their section."""
