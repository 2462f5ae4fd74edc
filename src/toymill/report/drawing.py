"""What the figures share: colours, titles, tables, error bars of counts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import scipy.stats
from matplotlib.axes import Axes

from toymill.results.summary import ComparisonSummary, Summary

if TYPE_CHECKING:
    from jaxtyping import Float, Int

BLUE, ORANGE, GREY, RED = "#3f90da", "#ffa90e", "#94a4a2", "#bd1f01"  # Petroff's palette, arXiv:2107.02270


def plain(text: str, longest: int = 60) -> str:
    """A name or a sentence as matplotlib draws it letter by letter: no mathematics between dollars, on one line."""
    line = " ".join(text.split())
    line = line if len(line) <= longest else f"{line[: longest - 1]}…"
    return line.replace("$", r"\$")


def title(summary: Summary | ComparisonSummary, ensemble: str) -> str:
    """Title of a figure of an ensemble: the study, the ensemble and its truth."""
    truth = summary.ensembles[ensemble].truth[summary.poi]
    return f"{summary.study}: {ensemble}, {plain(summary.poi)} = {truth:g}"


def column(values: Iterable[float | None]) -> Float[np.ndarray, " value"]:
    """Numbers to draw: NaN, which is not drawn, where one is undefined."""
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def poisson_interval(counts: Int[np.ndarray, " bin"]) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, " bin"]]:
    """Central 68.27 % intervals for Poisson means (Garwood 1936)."""
    tail = scipy.stats.norm.sf(1)
    low = np.where(counts > 0, scipy.stats.gamma.ppf(tail, np.maximum(counts, 1)), 0.0)
    return low, scipy.stats.gamma.isf(tail, counts + 1)


def fill_table(axes: Axes, rows: list[list[str]], head: list[str]) -> None:
    """A table on empty axes, with a shaded head of two lines."""
    table = axes.table(rows, colLabels=head, loc="upper center", cellLoc="center")
    table.auto_set_font_size(False)
    table.set_fontsize(9.5)
    table.scale(1, 1.5)
    for (line, _), cell in table.get_celld().items():
        cell.set_linewidth(0.4)
        if line == 0:
            cell.set_height(cell.get_height() * 1.5)
            cell.set_facecolor("#e8eef4")


def with_error(value: float | None, error: float | None) -> str:
    """A number and its error, both to two digits of the error."""
    if value is None or error is None:
        return "undefined"
    if error <= 0:
        return f"{value:g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{digits}f} ± {error:.{digits}f}"
