"""The figure of a study: coverage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from toymill.report.drawing import BLUE, ORANGE, column, plain
from toymill.results.summary import Summary

if TYPE_CHECKING:
    from jaxtyping import Float


_CLOSE = 0.1  # of the range of the truth points: those that are closer would be drawn over one another
_LABELS = 12  # of truth points on an axis


def _levels(summary: Summary) -> list[str]:
    """The confidence levels of the study's intervals, as text."""
    return list(next(iter(summary.ensembles.values())).intervals.profile) if summary.ensembles else []


def _coverage(summary: Summary) -> Figure:
    """Coverage of each interval method against the true POI, one panel for each level."""
    ensembles = summary.ensembles
    levels = _levels(summary)
    figure, panels = plt.subplots(1, len(levels), figsize=(5.6 * len(levels), 4.4), squeeze=False)
    truth = np.array([item.truth[summary.poi] for item in ensembles.values()])
    at, even = _places(truth)
    span = max(float(np.ptp(at)), 1.0)
    for panel, level in zip(panels[0], levels, strict=True):
        found = (
            ("profile", "black", "o", [item.intervals.profile[level] for item in ensembles.values()]),
            ("Hessian", BLUE, "s", [item.intervals.hessian[level] for item in ensembles.values()]),
        )
        both = [item for *_, items in found for item in items]
        for shift, (method, colour, mark, items) in enumerate(found):
            value = column(item.coverage for item in items)
            low = value - [item.coverage_low for item in items]
            high = [item.coverage_high for item in items] - value
            place = at + (shift - 0.5) * (0.3 if even else 0.04 * span)
            panel.errorbar(place, value, yerr=np.array([low, high]), fmt=mark, color=colour, label=method)
        nominal = float(level)
        panel.axhline(nominal, color=ORANGE, linewidth=1.5, label=f"nominal, {100 * nominal:g} %")
        panel.set_ylim(*_around(nominal, [item.coverage_low for item in both], [item.coverage_high for item in both]))
        panel.set_xlim(at.min() - 0.15 * span, at.max() + 0.15 * span)
        panel.set_xlabel(f"true {plain(summary.poi)}{', not to scale' if even else ''}")
        if even:
            panel.minorticks_off()
            every = max(1, len(at) // _LABELS)
            shown = np.argsort(at)[::every]
            panel.set_xticks(at[shown], [f"{truth[i]:.3g}" for i in shown], rotation=45 if len(shown) > 6 else 0)
        panel.set_ylabel("coverage")
        panel.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False, ncols=3, columnspacing=1.0)
    figure.suptitle(f"{summary.study}: coverage of {plain(summary.poi)}", fontsize=11)
    figure.tight_layout()
    return figure


def _places(truth: Float[np.ndarray, " point"]) -> tuple[Float[np.ndarray, " point"], bool]:
    """Where truth points are drawn: at their values, or one after the other where some of these are close together.

    Example:
        >>> _places(np.array([0.0, 2.0, 1.0]))[1], _places(np.array([0.1, 0.0, 4.0]))
        (False, (array([1., 0., 2.]), True))
    """
    values, order = np.unique(truth, return_inverse=True)
    if len(values) < 2 or np.min(np.diff(values)) >= _CLOSE * np.ptp(values):
        return truth, False
    return order.astype(np.float64), True


def _around(nominal: float, low: Sequence[float], high: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis that shows intervals and the nominal coverage, and not far more than there can be.

    Example:
        >>> _around(0.95, [0.93], [0.96]), _around(0.95, [0.4], [1.0])
        ((0.925, 0.965), (0.3, 1.02))
    """
    bottom, top = min(nominal, *low), max(nominal, *high)
    span = max(top - bottom, 1e-3)
    return round(bottom - span / 6, 6), min(round(top + span / 6, 6), 1.02)


FIGURES: dict[str, Callable[[Summary], Figure]] = {"coverage": _coverage}
"""The figures of a study, by name."""
