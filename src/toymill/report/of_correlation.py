"""The figure of how the estimates of an ensemble's toys are correlated: with that of interest, and all with each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from toymill.inference.covariance import correlation_of
from toymill.report.drawing import ORANGE, plain, title
from toymill.report.numbers import with_error
from toymill.results.summary import Summary

if TYPE_CHECKING:
    from jaxtyping import Float

NAMED = 30
"""Parameters that are named: those whose estimates are most correlated with that of interest."""

_COLOURS = "cividis"  # from dark to light by way of grey: for the colour-blind and on grey paper the sign is seen too


def correlation_figure(summary: Summary, ensemble: str, covariance: Float[np.ndarray, "parameter parameter"]) -> Figure:
    """Correlations with the parameter of interest, those of the most correlated with each other, and those of all.

    The third is drawn where not all are named.

    Args:
        summary: the summary.
        ensemble: name of the ensemble.
        covariance: of the estimates over its toys, in the order of its ``information.parameters``, (P, P).
    """
    item = summary.ensembles[ensemble]
    names = item.information.parameters
    value, error = correlation_of(covariance, item.certified)
    poi = names.index(summary.poi)
    strength = np.nan_to_num(np.abs(value[poi]))
    strength[poi] = np.inf
    order = np.argsort(-strength, kind="stable")
    named, many = order[: NAMED + 1], len(names) > NAMED + 1
    tall = max(0.19 * len(named), 2.2)
    figure = plt.figure(figsize=(15, tall + 1.3))
    grid = figure.add_gridspec(
        1, 4, width_ratios=[3.4, tall, tall if many else 0.01, 0.2], left=0.19, right=0.95,
        bottom=0.8 / (tall + 1.3), top=1 - 0.5 / (tall + 1.3), wspace=0.12,
    )  # fmt: skip
    figure.suptitle(f"{title(summary, ensemble)}: correlation of the estimates", fontsize=11, y=1 - 0.2 / (tall + 1.3))
    left = figure.add_subplot(grid[0])
    _row(left, summary.poi, [names[i] for i in named[1:]], value[poi, named[1:]], error[poi, named[1:]])
    middle = figure.add_subplot(grid[1])
    image = _image(middle, value[np.ix_(named, named)])
    ticks = np.arange(len(named))
    middle.set_xticks(ticks, [str(k) if k else "POI" for k in ticks], fontsize=7, rotation=90)
    middle.set_yticks(ticks, [str(k) if k else "POI" for k in ticks], fontsize=7)
    middle.set_xlabel("the numbers of the parameters to the left", fontsize=10)
    if many:
        whole = figure.add_subplot(grid[2])
        _image(whole, value)
        whole.set_yticks([])
        whole.set_xlabel(f"all {len(names)}, in the order of the model", fontsize=10)
    bar = figure.colorbar(image, cax=figure.add_subplot(grid[3]), ticks=[-1, -0.5, 0, 0.5, 1])
    bar.ax.tick_params(labelsize=9)
    bar.set_label("correlation", fontsize=10)
    return figure


def _row(
    axes: Axes,
    poi: str,
    names: list[str],
    value: Float[np.ndarray, " parameter"],
    error: Float[np.ndarray, " parameter"],
) -> None:
    """Correlations with the parameter of interest, as points with errors and as numbers."""
    places = np.arange(1, len(names) + 1)
    axes.axvline(0, color=ORANGE, linewidth=1.5)
    axes.errorbar(value, places, xerr=error, fmt="o", color="black", markersize=3.5)
    reach = 1.15 * float(np.nanmax(np.abs(value) + error, initial=0.02))
    axes.set_xlim(-reach, 2.3 * reach)
    axes.set_xticks([tick for tick in MaxNLocator(4, symmetric=True).tick_values(-reach, reach) if abs(tick) <= reach])
    for place, rho, of_rho in zip(places.tolist(), value.tolist(), error.tolist(), strict=True):
        axes.text(2.25 * reach, place, with_error(rho, of_rho), ha="right", va="center", fontsize=7)
    labels = [f"{k}: {plain(name, 36)}" for k, name in zip(places, names, strict=True)]
    axes.set_yticks(places, labels, fontsize=8)
    axes.set_ylim(len(names) + 0.5, -0.5)
    axes.yaxis.set_tick_params(which="both", left=False, right=False)
    axes.minorticks_off()
    axes.tick_params(axis="x", labelsize=9)
    axes.set_xlabel(f"correlation with {plain(poi, 30)}", fontsize=10)


def _image(axes: Axes, value: Float[np.ndarray, "parameter parameter"]) -> AxesImage:
    """Correlations as an image; what is not known is white."""
    image = axes.imshow(value, cmap=_COLOURS, vmin=-1, vmax=1, interpolation="nearest", aspect="auto")
    axes.minorticks_off()
    axes.tick_params(which="both", top=False, right=False, bottom=False, left=False)
    axes.set_xticks([])
    return image
