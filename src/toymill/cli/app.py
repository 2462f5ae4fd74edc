"""The commands and their options; what they do is in the modules that they import when they are used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from toymill._version import __version__

app = typer.Typer(
    name="toymill",
    help="Statistical toy studies, every fit certified: from a likelihood to limits, coverage and p-values.",
    epilog="Example: toymill new workspace.json --limit, then: toymill run workspace.yaml",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study's configuration.", show_default=False)]
Results = Annotated[
    Path, typer.Argument(metavar="RESULTS", help="A results directory, results/<study>.", show_default=False)
]
Workspace = Annotated[
    Path,
    typer.Argument(
        metavar="WORKSPACE.json", help="A pyhf workspace, or an HS3 file of a HistFactory model.", show_default=False
    ),
]
Signals = Annotated[
    list[str] | None,
    typer.Option(
        "--signal",
        metavar="PATCH",
        help="A JSON patch to apply; of a patch set FILE:NAME. May be given several times.",
        show_default=False,
    ),
]
Measurement = Annotated[str | None, typer.Option(help="A measurement of the workspace; else its first.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"toymill {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    """The options of the command itself."""


@app.command(epilog="Example: toymill new BkgOnly.json --signal patch.json --limit")
def new(
    workspace: Workspace,
    signal: Signals = None,
    limit: Annotated[bool, typer.Option("--limit", help="Ask for an upper limit.")] = False,
    interval: Annotated[bool, typer.Option("--interval", help="Ask for Feldman-Cousins intervals.")] = False,
    region: Annotated[bool, typer.Option("--region", help="Ask for a joint region of two parameters.")] = False,
    discovery: Annotated[bool, typer.Option("--discovery", help="Ask for a p-value and a significance.")] = False,
    goodness_of_fit: Annotated[bool, typer.Option("--goodness-of-fit", help="Ask whether the model fits.")] = False,
    impacts: Annotated[bool, typer.Option("--impacts", help="Ask what the error comes from.")] = False,
    scan: Annotated[
        str | None,
        typer.Option(
            metavar="PATCHES", help="Scan many signals: a patch set, or a folder of patches.", show_default=False
        ),
    ] = None,
    measurement: Measurement = None,
    poi: Annotated[str | None, typer.Option(help="The parameter of interest; else the workspace's.")] = None,
    name: Annotated[str | None, typer.Option(help="The study's name; else the workspace's.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write; else NAME.yaml.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a study's configuration, with comments, about a workspace.

    Without a question it has two truth points, with and without a signal, for bias, coverage and t.
    """
    from toymill.cli.new import write_new
    from toymill.cli.workspace import section_of

    questions = {
        "limit": limit,
        "interval": interval,
        "region": region,
        "discovery": discovery,
        "goodness_of_fit": goodness_of_fit,
        "impacts": impacts,
    }
    asked: dict[str, dict[str, str]] = {section: {} for section, wanted in questions.items() if wanted}
    if scan is not None:
        asked["scan"] = {"patches": scan}
    write_new(section_of(workspace, signal or [], measurement, poi), asked, name, output, force=force)


@app.command(epilog="Example: toymill check study.yaml")
def check(
    study: StudyFile,
    pilot: Annotated[
        bool, typer.Option("--pilot/--no-pilot", help="Fit a few toys, for the expected time: takes a minute or more.")
    ] = True,
) -> None:
    """Check a study before it is run: its model, truth points, jobs, expected time and disk."""
    from toymill.cli.check import show_check

    show_check(study, pilot=pilot)


@app.command(
    epilog="Example: toymill run study.yaml --cores 4",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
def run(
    context: typer.Context,
    study: StudyFile,
    workflow_profile: Annotated[
        str, typer.Option(metavar="NAME", help="A folder of workflow/profiles, such as slurm, or the path of one.")
    ] = "default",
) -> None:
    """Run a study, or go on with it. All other arguments are Snakemake's: toymill run study.yaml --dry-run.

    The exit code is Snakemake's.
    """
    from toymill.cli.run import run_study

    run_study(study, workflow_profile, context.args)


@app.command(epilog="Example: toymill watch results/hww")
def watch(
    results: Results,
    once: Annotated[bool, typer.Option("--once", help="Print how it stands, and end.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks at the files.")] = 2.0,
) -> None:
    """Show how far a study is: toys done, rate, failures, time left; from its files, wherever its jobs run.

    Ends when the study does: with 0 if it is finished.
    """
    from toymill.cli.watch import show_progress

    raise typer.Exit(show_progress(results, once=once, every=every))


@app.command(epilog="Example: toymill show results/hww")
def show(
    results: Results,
    every: Annotated[bool, typer.Option("--all", help="All ensembles and all impacts.")] = False,
) -> None:
    """Show the answers and verdicts of a study; before it is finished what is known by then."""
    from toymill.cli.show import show_summary

    show_summary(results, every=every)


@app.command(epilog="Example: toymill replay results/hww mu1/12345 --plot toy.svg")
def replay(
    results: Results,
    toy: Annotated[
        str, typer.Argument(metavar="ENSEMBLE/INDEX", help="The toy, such as mu1/12345.", show_default=False)
    ],
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw its data over the fit: .svg, .pdf or .png.")
    ] = None,
) -> None:
    """Throw a toy again, fit it with toymill and with iminuit, and compare with what is stored."""
    from toymill.cli.replay import show_replay

    show_replay(results, toy, plot)


@app.command(epilog="Example: toymill inspect BkgOnly.json --signal patchset.json:C1N2_100")
def inspect(
    workspace: Workspace,
    signal: Signals = None,
    measurement: Measurement = None,
    poi: Annotated[str | None, typer.Option(help="The parameter of interest; else the workspace's.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All parameters, however many.")] = False,
) -> None:
    """Show what a workspace holds: channels, samples, parameters, the parameter of interest."""
    from toymill.cli.workspace import section_of, show_workspace

    show_workspace(section_of(workspace, signal or [], measurement, poi), every=every)


@app.command(epilog="Example: toymill doctor")
def doctor() -> None:
    """Look whether studies can run here: Python, JAX, memory, disk, Snakemake, profiles."""
    from toymill.cli.doctor import show_health

    raise typer.Exit(show_health())


@app.command(epilog="Example: toymill manual keys")
def manual(
    page: Annotated[
        str | None, typer.Argument(metavar="[PAGE]", help="A page, such as keys; else their list.", show_default=False)
    ] = None,
) -> None:
    """Print a page of the manual, such as that of all keys of a study."""
    from toymill.cli.manual import show_manual

    show_manual(page)


@app.command(epilog="Example: toymill init my-study")
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="A folder; it is made if it is not there.")
    ] = Path(),
) -> None:
    """Write the workflow into a folder, to run it there and to change it."""
    from toymill.cli.init import write_workflow

    write_workflow(folder)
