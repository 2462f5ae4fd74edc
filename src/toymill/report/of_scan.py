"""The figure of a scan: local and global significance, and which signals are excluded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from toymill.inference.p_values import CLs, PValue
from toymill.report.drawing import BLUE, GREY, ONE_SIGMA, ORANGE, RED, TWO_SIGMA, column, plain
from toymill.results.scan import ScanAnswer, ScanPoint
from toymill.results.summary import Summary

if TYPE_CHECKING:
    from jaxtyping import Float

_LEAST = 1e-5  # the smallest CLs of which a logarithm is interpolated


def scan_figure(summary: Summary) -> Figure:
    """Local p-values with the global one, and CLs of the points; in a plane of two coordinates the contour too."""
    assert summary.answers is not None
    found = summary.answers.scan
    assert found is not None
    plane = _plane(found)
    excludes = any(point.exclusion for point in found.points)
    contour = plane is not None and excludes
    wide = max(8.0, min(0.3 * len(found.points), 20.0))
    figure = plt.figure(figsize=(wide + 8 * contour, 4.2 * (1 + excludes)))
    grid = figure.add_gridspec(1 + excludes, 1 + contour, width_ratios=[wide, 8][: 1 + contour])
    panels = [figure.add_subplot(grid[row, 0]) for row in range(1 + excludes)]
    order, places, named = _line(found)
    points = [found.points[k] for k in order]
    _significance(panels[0], found, points, places)
    if excludes:
        _cls(panels[1], found, points, places)
    for panel in panels:
        panel.set_xlim(places[0] - _step(places), places[-1] + _step(places))
        if named:
            panel.set_xticks(places, [plain(point.name, 30) for point in points], rotation=90, fontsize=8)
            panel.minorticks_off()
        else:
            panel.set_xlabel(plain(_labels(found)[_varying(found)[0]]))
    if plane is not None and excludes:
        _contour(figure.add_subplot(grid[:, 1]), found, plane)
    figure.suptitle(f"{summary.study}: {len(found.points)} signals", fontsize=12)
    figure.tight_layout()
    return figure


def _significance(
    axes: Axes, found: ScanAnswer, points: Sequence[ScanPoint], places: Float[np.ndarray, " point"]
) -> None:
    """Local p-values, and the global one as a line."""
    local = [point.p_value for point in points]
    value, reach = _bars(local)
    value[value == 0] = np.nan
    axes.errorbar(places, value, yerr=reach, fmt="o", ms=4, color="black", label="local, toys")
    formula = column(point.asymptotic for point in points)
    axes.plot(places, formula, "D", markerfacecolor="none", color=ORANGE, ms=6, label="local, asymptotic")
    for p, place in zip(local, places, strict=True):
        if p is not None and p.bound:
            axes.errorbar([place], [p.high], yerr=[[0.5 * p.high], [0.0]], uplims=True, color="black")
    if found.largest is not None:
        weighted = found.largest.weighted
        together = weighted.p_value if weighted else found.largest.p_value
        axes.axhline(together.value or together.high, color=BLUE, label="global, toys")
        axes.axhspan(max(together.low, 1e-12), together.high, color=BLUE, alpha=0.25, linewidth=0)
        if found.largest.gross_vitells is not None:
            axes.axhline(found.largest.gross_vitells.value, color=RED, ls="--", label="global, Gross and Vitells")
    axes.set_yscale("log")
    axes.set_ylim(top=2)
    axes.set_ylabel("p-value without a signal")
    axes.legend(frameon=False, loc="best", ncols=2)


def _cls(axes: Axes, found: ScanAnswer, points: Sequence[ScanPoint], places: Float[np.ndarray, " point"]) -> None:
    """CLs of each point, observed and expected."""
    known = [point.exclusion for point in points]
    band = {
        sigma: column(None if item is None else item.expected[str(sigma)].value for item in known)
        for sigma in (-2, -1, 0, 1, 2)
    }
    width = 0.8 * _step(places)
    for edge, colour in ((2, TWO_SIGMA), (1, ONE_SIGMA)):
        height = band[edge] - band[-edge]
        axes.bar(places, height, width, bottom=band[-edge], color=colour, label=f"expected, ±{edge} σ")
    axes.hlines(band[0], places - width / 2, places + width / 2, color="white", ls="--", label="expected, median")
    seen = [None if item is None else item.observed for item in known]
    value, reach = _bars(seen)
    axes.errorbar(places, value, yerr=reach, fmt="o", ms=4, color="black", label="observed")
    axes.plot(
        places,
        column(None if item is None else item.cls for item in (point.asymptotic_cls for point in points)),
        "D",
        markerfacecolor="none",
        color=ORANGE,
        ms=6,
        label="observed, asymptotic",
    )
    axes.axhline(1 - found.level, color=RED, linewidth=1.2, label=f"{1 - found.level:.3g}")
    drawn = np.concatenate([value, *band.values()])
    drawn = drawn[drawn > 0]
    axes.set_yscale("log")
    axes.set_ylim(max(drawn.min(initial=1 - found.level) / 2, _LEAST), 3)
    axes.set_ylabel(f"CL$_s$ at {plain(found.poi)} = {found.mu:g}")
    axes.legend(frameon=False, loc="best", ncols=3)


def _contour(axes: Axes, found: ScanAnswer, plane: Float[np.ndarray, "point 2"]) -> None:
    """Where CLs is 1 - level, between points by linear interpolation of its logarithm on triangles."""
    triangles = Triangulation(*plane.T)
    expected = {
        sigma: column(
            None if point.exclusion is None else point.exclusion.expected[str(sigma)].value for point in found.points
        )
        for sigma in (-1, 0, 1)
    }
    observed, _ = _bars([None if point.exclusion is None else point.exclusion.observed for point in found.points])
    for name, values, colour, style in (
        ("observed", observed, RED, "solid"),
        ("expected", expected[0], "black", "dashed"),
        ("expected, ±1 σ", expected[1], GREY, "dotted"),
        (None, expected[-1], GREY, "dotted"),
    ):
        ratio = np.log(np.maximum(values, _LEAST) / (1 - found.level))
        axes.plot([], [], color=colour, ls=style, label=name)
        if np.isfinite(ratio).all() and ratio.min() < 0 < ratio.max():
            axes.tricontour(triangles, ratio, levels=[0.0], colors=[colour], linestyles=[style])
    decided = [None if point.exclusion is None else point.exclusion.excluded for point in found.points]
    for told, mark, colour, name in (
        (True, "o", RED, "excluded"),
        (False, "x", "black", "not excluded"),
        (None, "s", ORANGE, "undecided"),
    ):
        rows = [k for k, item in enumerate(decided) if item is told]
        if rows:
            axes.plot(*plane[rows].T, mark, ms=5, color=colour, label=name)
    first, second = _varying(found)
    axes.set_xlabel(plain(_labels(found)[first]))
    axes.set_ylabel(plain(_labels(found)[second]))
    low, span = plane.min(axis=0), np.ptp(plane, axis=0)
    axes.set_xlim(low[0] - 0.08 * span[0], low[0] + 1.08 * span[0])
    axes.set_ylim(low[1] - 0.08 * span[1], low[1] + 1.08 * span[1])
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)


def _bars(
    items: Sequence[PValue | CLs | None],
) -> tuple[Float[np.ndarray, " point"], list[Float[np.ndarray, " point"]]]:
    """Values, and how far their intervals reach below and above them; NaN where there is none."""
    value = column(None if item is None else item.value for item in items)
    low = column(None if item is None else item.low for item in items)
    high = column(None if item is None else item.high for item in items)
    return value, [value - low, high - value]


def _labels(found: ScanAnswer) -> list[str]:
    """The names of the coordinates; those without one are numbered."""
    size = max((len(point.values) for point in found.points), default=0)
    return [*found.labels, *(f"value {k + 1}" for k in range(len(found.labels), size))]


def _varying(found: ScanAnswer) -> list[int]:
    """The coordinates in which points differ; none if some are no numbers, or missing."""
    values = [point.values for point in found.points]
    if len({len(item) for item in values}) > 1 or any(isinstance(value, str) for item in values for value in item):
        return []
    return [k for k, items in enumerate(zip(*values, strict=True)) if len(set(items)) > 1]


def _plane(found: ScanAnswer) -> Float[np.ndarray, "point 2"] | None:
    """The points in a plane, (K, 2), where they differ in two coordinates and are enough for a contour."""
    varying = _varying(found)
    if len(varying) != 2:
        return None
    plane = np.array([[float(point.values[k]) for k in varying] for point in found.points])
    scaled = (plane - plane.mean(axis=0)) / np.ptp(plane, axis=0)
    flat = np.linalg.svd(scaled, compute_uv=False)[1] < 1e-9 * len(plane)
    return None if len(plane) < 4 or flat else plane


def _step(places: Float[np.ndarray, " point"]) -> float:
    """The least distance between places along an axis."""
    return float(np.diff(places).min(initial=np.inf)) if len(places) > 1 else 1.0


def _line(found: ScanAnswer) -> tuple[list[int], Float[np.ndarray, " point"], bool]:
    """The order of the points, their places along an axis, and whether they are named there for want of one value."""
    varying = _varying(found)
    if len(varying) == 1:
        values = np.array([float(point.values[varying[0]]) for point in found.points])
        order = np.argsort(values)
        return order.tolist(), values[order], False
    return list(range(len(found.points))), np.arange(len(found.points), dtype=float), True
