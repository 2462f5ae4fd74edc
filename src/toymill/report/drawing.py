"""What the figures share: colours, titles, error bars of counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import scipy
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from toymill.report.numbers import short_name
from toymill.results.summary import ComparisonSummary, Summary

if TYPE_CHECKING:
    from jaxtyping import Float, Int

BLUE, ORANGE, GREY, RED = "#3f90da", "#ffa90e", "#94a4a2", "#bd1f01"  # Petroff's palette, arXiv:2107.02270
ONE_SIGMA, TWO_SIGMA = "#607641", "#f5bb54"
"""Expected bands: as told apart by the colour-blind and in greyscale as green and yellow are not."""


def plain(text: str, longest: int = 40) -> str:
    """A name as matplotlib draws it letter by letter: no mathematics between dollars, on one line, and not too long."""
    return short_name(" ".join(text.split()), longest).replace("$", r"\$")


def title(summary: Summary | ComparisonSummary, ensemble: str) -> str:
    """Title of a figure of an ensemble: the study, the ensemble and its truth."""
    truth = summary.ensembles[ensemble].truth[summary.poi]
    return f"{summary.study}: {ensemble}, {plain(summary.poi, 40)} = {truth:g}"


def column(values: Iterable[float | None]) -> Float[np.ndarray, " value"]:
    """Numbers to draw: NaN, which is not drawn, where one is undefined."""
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def plain_log(axis: Axis) -> None:
    """A logarithmic axis of few decades, with 1, 2 and 5 of each written in full."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def poisson_interval(counts: Int[np.ndarray, " bin"]) -> tuple[Float[np.ndarray, " bin"], Float[np.ndarray, " bin"]]:
    """Central 68.27 % intervals for Poisson means (Garwood 1936)."""
    tail = scipy.special.ndtr(-1)
    low = np.where(counts > 0, scipy.special.gammaincinv(np.maximum(counts, 1), tail), 0.0)
    return low, scipy.special.gammainccinv(counts + 1, tail)
