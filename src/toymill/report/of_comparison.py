"""Figures of optimisers compared on one ensemble's toys: what each costs and where it ends, and the numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from toymill.inference.counting import fraction
from toymill.report.drawing import BLUE, ORANGE, title
from toymill.results.summary import ComparisonSummary

if TYPE_CHECKING:
    from jaxtyping import Float


def _optimisers(summary: ComparisonSummary, ensemble: str) -> Figure:
    """What each optimiser costs, and how far from the best minimum it stops."""
    methods = summary.ensembles[ensemble].methods
    near = summary.ensembles[ensemble].near
    figure, (cost, quality, distance) = plt.subplots(
        1, 3, figsize=(14, 1.6 + 0.5 * len(methods)), sharey=True, gridspec_kw={"wspace": 0.08}
    )
    rows = np.arange(len(methods))[::-1]
    milliseconds = np.array([1e3 * item.seconds_a_toy for item in methods.values()])
    cost.plot(milliseconds, rows, "o", color=BLUE)  # points: bars have no beginning on a logarithmic axis
    for row, value in zip(rows.tolist(), milliseconds.tolist(), strict=True):
        cost.annotate(f"{value:.3g}", (value, row), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=9)
    cost.set_xscale("log")
    cost.set_xlim(milliseconds.min() / 2, milliseconds.max() * 2)
    cost.set_xlabel("milliseconds a toy, once compiled")
    cost.set_yticks(rows, list(methods))
    every = list(methods.values())
    reached = np.array([100 * item.reached / item.toys for item in methods.values()])
    false = np.array([100 * item.false_success / item.toys for item in methods.values()])
    quality.barh(rows, reached, 0.6, color=BLUE, label="at the best minimum")
    quality.barh(rows, false, 0.6, left=reached, color=ORANGE, label="false success")
    _intervals(quality, rows - 0.12, [(item.reached, item.toys) for item in every])
    misled = [k for k, item in enumerate(every) if item.false_success]
    both = [(every[k].reached + every[k].false_success, every[k].toys) for k in misled]
    _intervals(quality, rows[misled] + 0.12, both)
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
    figure.suptitle(title(summary, ensemble), fontsize=11, y=1.02)
    return figure


def _intervals(axes: Axes, rows: Float[np.ndarray, " row"], counts: Sequence[tuple[int, int]]) -> None:
    """The intervals of shares, in per cent, of counts and the toys that they are of."""
    shares = 100 * np.array([fraction(*count) for count in counts]).reshape(-1, 3)
    reach = [shares[:, 0] - shares[:, 1], shares[:, 2] - shares[:, 0]]
    axes.errorbar(shares[:, 0], rows, xerr=reach, fmt="none", ecolor="black", elinewidth=1.2, capsize=2)


def _shown(value: float | None) -> float:
    """A distance on a logarithmic axis that has both ends."""
    return 1e6 if value is None else float(np.clip(value, 1e-12, 1e6))


FIGURES: dict[str, Callable[[ComparisonSummary, str], Figure]] = {"optimisers": _optimisers}
"""The figures of an ensemble, by name."""
