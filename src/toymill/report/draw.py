"""Figures, drawn from a summary alone, as deterministic files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import cast

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import mplhep
from matplotlib.figure import Figure

from toymill.config.figures import FiguresConfig, Setting
from toymill.errors import ToymillError
from toymill.report import of_answers, of_comparison, of_ensemble, of_study
from toymill.report.drawing import plain
from toymill.report.of_correlation import correlation_figure
from toymill.results.files import write_bytes
from toymill.results.summary import ComparisonSummary, Summary, read_matrices

_OURS: dict[str, Setting] = {
    "svg.hashsalt": "toymill",
    "svg.fonttype": "path",
    "font.size": 12,
    "legend.fontsize": 10,
    "axes.labelsize": 13,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
}
_DATES = {"svg": "Date", "pdf": "CreationDate", "png": "Software"}  # what a file would say that differs from run to run


def draw(
    summary: Summary | ComparisonSummary,
    outputs: Mapping[str, str | Path | Iterable[str | Path]],
    *,
    ensemble: str | None = None,
    matrices: str | Path | None = None,
    look: FiguresConfig | None = None,
) -> None:
    """Draw figures of a study, or of one of its ensembles.

    Args:
        summary: the content of ``summary.json``.
        outputs: a file for each figure, or several of other formats, by its name in ``FIGURES`` of ``of_study`` or
            ``of_answers``, or for an ensemble of ``of_ensemble`` or ``of_comparison``, or ``correlation``.
        ensemble: name of the ensemble; None for figures of the study.
        matrices: ``summary.h5``, which the figure ``correlation`` of an ensemble is drawn from.
        look: how figures are drawn; None for the defaults.

    Raises:
        ToymillError: a setting that matplotlib does not have, or not with this value; a ``summary.h5`` that is missing
            or damaged.
    """
    look = look or FiguresConfig()
    with mpl.rc_context():
        mplhep.style.use("ATLAS")
        for key, value in (_OURS | look.style).items():
            _set(key, value)
        for name, paths in outputs.items():
            figure = _figure(summary, name, ensemble, matrices)
            if look.label:
                left = min((axes.get_position().x0 for axes in figure.axes), default=0.0)
                figure.text(left, 1.0, plain(look.label, 80), ha="left", va="bottom", weight="bold", style="italic")
            for path in [paths] if isinstance(paths, str | Path) else paths:
                ending = Path(path).suffix[1:]
                drawn = io.BytesIO()
                figure.savefig(drawn, format=ending, bbox_inches="tight", metadata={_DATES[ending]: None}, dpi=200)
                write_bytes(path, drawn.getvalue())
            plt.close(figure)


def _set(key: str, value: Setting) -> None:
    try:
        cast("MutableMapping[str, Setting]", mpl.rcParams)[key] = value
    except (KeyError, ValueError) as error:
        told = str(error.args[0]).splitlines()[0]
        msg = f"figures.style: matplotlib does not take {key}: {value!r} ({told}). Its settings are its rcParams."
        raise ToymillError(msg) from None


def _figure(
    summary: Summary | ComparisonSummary, name: str, ensemble: str | None, matrices: str | Path | None
) -> Figure:
    if isinstance(summary, ComparisonSummary):
        assert ensemble is not None
        return of_comparison.FIGURES[name](summary, ensemble)
    if ensemble is None:
        return {**of_study.FIGURES, **of_answers.FIGURES}[name](summary)
    if name == "correlation":
        assert matrices is not None
        return correlation_figure(summary, ensemble, read_matrices(matrices, ensemble)["covariance"])
    return of_ensemble.FIGURES[name](summary, ensemble)
