"""``toymill replay``: one toy again, beside what is stored of it and beside iminuit."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path

import typer

from toymill.cli.console import console, table
from toymill.cli.engine import ready
from toymill.cli.studies import home_of, results_folder
from toymill.errors import ToymillError


def show_replay(results: Path, toy: str, plot: Path | None) -> None:
    """Throw and fit a toy again, print how that compares, and draw it if that is asked for.

    Args:
        results: the study's results directory.
        toy: ``ENSEMBLE/INDEX``.
        plot: a file to draw the toy's data over its fit.

    Raises:
        ToymillError: no such toy, a model that cannot be used.
        typer.Exit: with code 1, if the fits are not as stored, or one has missed the minimum.
    """
    ensemble, index = toy_of(toy)
    folder = results_folder(results).resolve()
    drawn = None if plot is None else plot.absolute()
    with chdir(home_of(folder)):
        ready()
        from toymill.fitting.status import Status
        from toymill.study.replay import replay

        found = replay(folder, ensemble, index)
        out = console()
        poi = str(found.model.poi)
        out.print(f"{found.study.study}: toy {index} of {ensemble}", style="bold", markup=False)
        truth = found.truth[found.model.poi_index]
        out.print(f"{len(found.data)} data, thrown at {poi} = {truth:g}", markup=False)
        out.print(f"stored in {found.file}" if found.file else "its fits are not stored", markup=False)
        free = found.fits[0]
        rows = []
        for item in found.fits:
            stored = item.stored
            rows.append(
                (
                    "free" if item.value is None else f"{poi} = {item.value:g}",
                    Status(item.ours[2]).name.lower(),
                    f"{item.ours[1]:.6g}",
                    f"{item.ours[0]:.8g}",
                    "" if item.value is None else f"{2 * (item.ours[0] - free.ours[0]):.6g}",
                    f"{item.ours[0] - stored[0]:+.1e}" if stored else "–",
                    f"{item.minuit[0] - item.ours[0]:+.1e}{'' if item.minuit[2] else ' (invalid)'}",
                    f"{item.minuit[1]:.6g}",
                )
            )
        columns = ("fit", "status", f"{poi}", "nll", "t", "nll - stored", "iminuit's nll - ours", f"iminuit's {poi}")
        out.print(table("", columns, rows, left=2))
        if drawn is not None:
            from toymill.report.of_toy import draw_toy

            title = f"{found.study.study}: toy {index} of {ensemble}"
            settings = found.study.ensembles[ensemble]
            known = None if settings.thrown_from or settings.throw in {"hybrid", "templates"} else found.truth
            draw_toy(drawn, found.model, found.data, known, found.best, title)
            out.print(f"Drawn: {plot}", markup=False)
        if found.file:
            out.print(f"{'NOT as' if found.changed else 'As'} stored.", markup=False)
        out.print(
            f"{'MISSED: iminuit finds a lower' if found.missed else 'iminuit finds no lower'} minimum.", markup=False
        )
    if found.changed or found.missed:
        raise typer.Exit(1)


def toy_of(word: str) -> tuple[str, int]:
    """The ensemble and the index that a word names.

    Raises:
        ToymillError: a word that names no toy.

    Example:
        >>> toy_of("mu1/12345")
        ('mu1', 12345)
    """
    ensemble, _, index = word.rpartition("/")
    if not ensemble or not index.isdecimal():
        msg = f"{word!r} names no toy; expected ENSEMBLE/INDEX, such as mu1/12345."
        raise ToymillError(msg)
    return ensemble, int(index)
