"""Figures, drawn from a summary alone, as deterministic SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import mplhep
from matplotlib.figure import Figure

from toymill.report import of_answers, of_comparison, of_ensemble, of_study
from toymill.results.files import write_bytes
from toymill.results.summary import ComparisonSummary, Summary


def draw(
    summary: Summary | ComparisonSummary,
    outputs: Mapping[str, str | Path],
    *,
    ensemble: str | None = None,
) -> None:
    """Draw figures of a study, or of one of its ensembles.

    Args:
        summary: the content of ``summary.json``.
        outputs: a file for each figure, by its name in ``FIGURES`` of ``of_study``, or for an ensemble of
            ``of_ensemble`` or ``of_comparison``.
        ensemble: name of the ensemble; None for figures of the study.
    """
    with mpl.rc_context():
        mplhep.style.use("ATLAS")
        mpl.rcParams.update({"svg.hashsalt": "toymill", "font.size": 12, "legend.fontsize": 10, "axes.labelsize": 13})
        mpl.rcParams.update({"xtick.labelsize": 11, "ytick.labelsize": 11, "svg.fonttype": "path"})
        for name, path in outputs.items():
            figure = _figure(summary, name, ensemble)
            drawn = io.BytesIO()
            figure.savefig(drawn, format=Path(path).suffix[1:], bbox_inches="tight", metadata={"Date": None})
            plt.close(figure)
            write_bytes(path, drawn.getvalue())


def _figure(summary: Summary | ComparisonSummary, name: str, ensemble: str | None) -> Figure:
    if isinstance(summary, ComparisonSummary):
        assert ensemble is not None
        return of_comparison.FIGURES[name](summary, ensemble)
    if ensemble is None:
        return {**of_study.FIGURES, **of_answers.FIGURES}[name](summary)
    return of_ensemble.FIGURES[name](summary, ensemble)
