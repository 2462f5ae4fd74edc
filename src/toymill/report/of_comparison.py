"""Figures of optimisers compared on one ensemble's toys: what each costs and where it ends, and the numbers."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from toymill.inference.counting import fraction
from toymill.report.drawing import BLUE, ORANGE, title
from toymill.results.summary import ComparisonSummary


def _optimisers(summary: ComparisonSummary, ensemble: str) -> Figure:
    """What each optimiser costs, and how far from the best minimum it stops."""
    methods = summary.ensembles[ensemble].methods
    near = summary.ensembles[ensemble].near
    figure, (cost, quality, distance) = plt.subplots(
        1, 3, figsize=(14, 1.6 + 0.5 * len(methods)), sharey=True, gridspec_kw={"wspace": 0.08}
    )
    rows = np.arange(len(methods))[::-1]
    cost.barh(rows, [1e3 * item.seconds_a_toy for item in methods.values()], 0.6, color=BLUE)
    cost.set_xscale("log")
    cost.set_xlabel("milliseconds a toy, once compiled")
    cost.set_yticks(rows, list(methods))
    every = list(methods.values())
    reached = np.array([100 * item.reached / item.toys for item in methods.values()])
    false = np.array([100 * item.false_success / item.toys for item in methods.values()])
    quality.barh(rows, reached, 0.6, color=BLUE, label="at the best minimum")
    quality.barh(rows, false, 0.6, left=reached, color=ORANGE, label="false success")
    for passed, shift in ((reached, -0.12), (reached + false, 0.12)):  # the ends of both bars
        shares = [
            fraction(round(share * item.toys / 100), item.toys) for share, item in zip(passed, every, strict=True)
        ]
        low = passed - 100 * np.array([share.low for share in shares])
        high = 100 * np.array([share.high for share in shares]) - passed
        quality.errorbar(passed, rows + shift, xerr=[low, high], fmt="none", ecolor="black", elinewidth=1.2, capsize=2)
    quality.set_xlim(0, 104)
    quality.set_ylim(-0.6, len(methods) + 0.5)
    quality.set_xlabel("% of toys")
    quality.legend(loc="upper left", frameon=False, ncols=2, fontsize=9)
    above = [item.nll_above_best for item in methods.values()]
    for label, marker, shown in (
        ("median", "o", [item.median for item in above]),
        ("90 %", "s", [item.q90 for item in above]),
        ("largest", "^", [item.largest for item in above]),
    ):
        values = np.array([_shown(value) for value in shown])
        distance.plot(values, rows, marker, color="black", markersize=5, label=label, fillstyle="none")
    distance.axvline(near, color=ORANGE, linewidth=1.5)
    distance.set_xscale("log")
    distance.set_xlabel("nll above the best minimum")
    distance.set_xlim(3e-13, 3e6)
    distance.set_xticks([1e-12, 1e-8, 1e-4, 1, 1e4], ["$10^{-12}$", "$10^{-8}$", "$10^{-4}$", "1", "$10^4$"])
    distance.legend(loc="upper right", frameon=False, ncols=3, fontsize=9)
    for axes in (cost, quality, distance):
        axes.yaxis.set_tick_params(which="both", left=False, right=False)
    figure.suptitle(title(summary, ensemble), fontsize=11)
    return figure


def _shown(value: float | None) -> float:
    """A distance on a logarithmic axis that has both ends."""
    return 1e6 if value is None else float(np.clip(value, 1e-12, 1e6))


FIGURES: dict[str, Callable[[ComparisonSummary, str], Figure]] = {"optimisers": _optimisers}
"""The figures of an ensemble, by name."""
