"""The figure of one toy: its counts over the expectation of its fit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

mpl.use("agg")

import matplotlib.pyplot as plt
import mplhep
from matplotlib.axes import Axes

from toymill.errors import ToymillError
from toymill.report.drawing import BLUE, ORANGE, plain, poisson_interval
from toymill.results.files import write_bytes

if TYPE_CHECKING:
    from jaxtyping import Float

    from toymill.models.base import Model

FORMATS = (".svg", ".pdf", ".png")


def draw_toy(
    path: Path,
    model: Model,
    data: Float[np.ndarray, " datum"],
    truth: Float[np.ndarray, " parameter"] | None,
    best: Float[np.ndarray, " parameter"],
    title: str,
) -> None:
    """Draw a toy's counts, what its fit expects of them, and what its truth does.

    Args:
        path: the file, whose ending says what it is.
        model: the model.
        data: the toy, (D,).
        truth: the truth point, (P,); None for a toy of another model, or whose own is drawn.
        best: its fit, (P,).
        title: the title.

    Raises:
        ToymillError: another kind of file; a model whose main data are not counts of bins.
    """
    if path.suffix not in FORMATS:
        msg = f"{path}: expected a name that ends with {', '.join(FORMATS)}."
        raise ToymillError(msg)
    main = ~model.sampling.auxiliary
    if model.draw is not None or not model.sampling.poisson[main].all():
        msg = "This model's data are not counts of bins, so there is no histogram to draw. Leave --plot out."
        raise ToymillError(msg)
    counts = data[main]
    fitted = np.asarray(model.expected_data(best))[main]
    edges = np.arange(len(counts) + 1) - 0.5
    low, high = poisson_interval(np.round(counts).astype(int))
    spread = np.sqrt(np.maximum(fitted, 1e-12))
    with mpl.rc_context():
        mplhep.style.use("ATLAS")
        mpl.rcParams.update({"svg.hashsalt": "toymill", "font.size": 12, "legend.fontsize": 10, "svg.fonttype": "path"})
        figure, (top, bottom) = plt.subplots(
            2, sharex=True, figsize=(8, 6), height_ratios=(3, 1), gridspec_kw={"hspace": 0.08}
        )
        top.stairs(fitted, edges, color=BLUE, linewidth=1.5, label="fit")
        if truth is not None:
            true = np.asarray(model.expected_data(truth))[main]
            top.stairs(true, edges, color=ORANGE, linewidth=1.5, linestyle="--", label="truth")
        places = np.arange(len(counts))
        top.errorbar(places, counts, (counts - low, high - counts), fmt="ko", markersize=4, linewidth=1, label="toy")
        top.set_ylabel("events")
        top.set_ylim(bottom=0)
        top.set_title(plain(title), fontsize=12, loc="left")
        top.legend()
        bottom.stairs((counts - fitted) / spread, edges, color=BLUE, fill=True, alpha=0.5)
        bottom.axhline(0, color="k", linewidth=0.8)
        bottom.set_ylabel("(toy - fit)/√fit", fontsize=10)
        _name_bins(bottom, [model.data_names[int(i)] for i in np.flatnonzero(main)])
        drawn = io.BytesIO()
        figure.savefig(drawn, format=path.suffix[1:], bbox_inches="tight", dpi=150)
        plt.close(figure)
    write_bytes(path, drawn.getvalue())


def _name_bins(axes: Axes, names: list[str]) -> None:
    """The channels below the axis, at their first bins; every bin by its name where there are few."""
    firsts = [0, *(i for i in range(1, len(names)) if _channel(names[i]) != _channel(names[i - 1]))]
    places = list(range(len(names))) if len(names) <= 10 else firsts
    axes.set_xticks(places, [plain(names[i], 20) for i in places], rotation=30 if len(places) > 1 else 0, ha="right")
    axes.tick_params(axis="x", which="minor", bottom=False, top=False)


def _channel(name: str) -> str:
    return name.rpartition("[")[0]
