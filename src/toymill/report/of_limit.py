"""The figure of upper limits: CLs against the tested value, and the observed and expected limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymill.inference.asymptotic_limits import AsymptoticPoint
from toymill.inference.limit_records import ExpectedCLs, LimitPoint
from toymill.report.drawing import BLUE, ONE_SIGMA, RED, TWO_SIGMA, column, plain, plain_log
from toymill.report.numbers import with_error
from toymill.results.answers import LimitAnswer
from toymill.results.summary import Summary

if TYPE_CHECKING:
    from jaxtyping import Float

_LOWEST = 1e-9  # CLs, below every figure


def limit_figure(summary: Summary) -> Figure:
    """CLs of the observed data at each tested value, and the limits from toys beside the asymptotic ones."""
    assert summary.answers is not None
    found = summary.answers.limit
    assert found is not None
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5.6), gridspec_kw={"width_ratios": [3, 2]})
    _curve(left, summary, found)
    _limits(right, summary, found)
    figure.suptitle(
        f"{summary.study}: upper limit on {plain(summary.poi)} at {100 * found.toys.level:g} %", fontsize=12
    )
    figure.tight_layout()
    return figure


def _curve(axes: Axes, summary: Summary, found: LimitAnswer) -> None:
    """CLs against the tested value: observed, the band expected of background-only toys, and the asymptotic curves."""
    name = found.toys.method.replace("CLsb", "CL$_{s+b}$").replace("CLs", "CL$_s$")
    points = np.array([point.poi for point in found.toys.points])
    _expected(axes, points, found.toys.points)
    _asymptotic(axes, points, found.asymptotic_points)
    observed = [_of_method(point, found.toys.method) for point in found.toys.points]
    value, low, high = (column(item[k] for item in observed) for k in range(3))
    if np.isfinite(value).any():
        bars = [value - low, high - value]
        axes.errorbar(points, value, yerr=bars, fmt="o", ms=4, color="black", label="observed", zorder=5)
    alpha = 1 - found.toys.level
    axes.axhline(alpha, color="black", linestyle="-.", linewidth=1, label=f"1 - level = {alpha:.3g}")
    limit = found.toys.observed
    if limit is not None and limit.value is not None:
        axes.axvline(
            limit.value,
            color=BLUE,
            linewidth=1.2,
            label=f"limit {with_error(limit.value, limit.total_error)}",
        )
    axes.set_yscale("log")
    axes.set_xscale("log")
    plain_log(axes.xaxis)
    axes.set_xlim(0.9 * points[0], 1.1 * points[-1])
    medians = column(_at(point, "0").value for point in found.toys.points)
    seen = np.concatenate([value, medians])
    bottom = np.nanmin(np.where(seen > 0, seen, np.nan)) if (seen > 0).any() else 1e-3
    axes.set_ylim(max(min(bottom, alpha) / 3, 1e-5), 1.5)
    axes.set_xlabel(f"tested {plain(summary.poi)}")
    axes.set_ylabel(name)
    axes.legend(loc="lower left", frameon=False, fontsize=9)


_NONE = ExpectedCLs(value=None, low=None, high=None, if_failed_low=None, if_failed_high=None)


def _at(point: LimitPoint, key: str) -> ExpectedCLs:
    """CLs of background-only toys at one quantile; of a summary that has none, what is not known."""
    return point.expected.get(key, _NONE)


def _expected(axes: Axes, points: Float[np.ndarray, " test"], tested: Sequence[LimitPoint]) -> None:
    """The bands of background-only toys, and their median; at every edge its Monte Carlo error.

    An edge that no toy with signal reaches lies below the figure.
    """
    if not any(point.expected for point in tested):
        return
    edges = {key: column(_at(point, key).value for point in tested) for key in ("-2", "-1", "0", "1", "2")}
    for edge, colour in (("2", TWO_SIGMA), ("1", ONE_SIGMA)):
        low, high = np.nan_to_num(edges[f"-{edge}"], nan=_LOWEST), edges[edge]
        axes.fill_between(points, low, high, color=colour, alpha=0.5, linewidth=0, label=f"expected, ±{edge} σ")
    axes.plot(points, edges["0"], "--", color="black", linewidth=1, label="expected, median")
    for key, value in edges.items():
        reach = [value - column(_at(point, key).low for point in tested)]
        reach.append(column(_at(point, key).high for point in tested) - value)
        axes.errorbar(points, value, yerr=reach, fmt="none", ecolor="black", elinewidth=0.8, capsize=2)


def _asymptotic(axes: Axes, points: Float[np.ndarray, " test"], found: Sequence[AsymptoticPoint | None] | None) -> None:
    """What the asymptotic formulae have: of the observed data, and the median and the edges of the bands."""
    known = found or []
    observed = column(None if item is None else item.observed for item in known)
    if np.isfinite(observed).any():
        axes.plot(points, observed, "-", color=RED, linewidth=1.5, label="observed, asymptotic")
    for key in ("-2", "-1", "0", "1", "2"):
        edge = column(None if item is None else item.expected[key] for item in known)
        if np.isfinite(edge).any():
            label = "expected, asymptotic" if key == "0" else None
            axes.plot(points, edge, ":", color=RED, linewidth=1, label=label)


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
    axes.yaxis.set_tick_params(which="minor", left=False, right=False)
    axes.set_ylim(len(rows) - 0.5, -0.8)
    axes.set_xscale("log")
    plain_log(axes.xaxis)
    axes.set_xlim(0.9 * found.toys.points[0].poi, 1.1 * found.toys.points[-1].poi)
    axes.set_xlabel(f"upper limit on {plain(summary.poi)}")
    axes.legend(loc="lower center", bbox_to_anchor=(0.35, 1.0), ncols=3, frameon=False)
