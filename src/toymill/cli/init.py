"""``toymill init``: the workflow, written into an empty folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from toymill.cli.console import console
from toymill.cli.studies import PARTS, packed_workflow
from toymill.errors import ToymillError

_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".snakemake")


def write_workflow(folder: Path) -> None:
    """Write the workflow into a folder: its rules, scripts, profiles, environments, and example studies.

    Raises:
        ToymillError: a folder that is not empty, or that cannot be written; a package without the workflow.
    """
    source = packed_workflow()
    if folder.exists() and not folder.is_dir():
        msg = f"{folder} is a file. Name an empty folder, or a new one."
        raise ToymillError(msg)
    if folder.exists() and any(folder.iterdir()):
        msg = f"{folder.resolve()} is not empty. Name an empty folder, or a new one: toymill init my-study"
        raise ToymillError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        if (source / part).is_dir():
            shutil.copytree(source / part, folder / part, ignore=_LEFT_OUT)
        else:
            shutil.copy2(source / part, folder / part)
    go = "" if folder.resolve() == Path.cwd() else f"cd {folder}, then "
    console().print(
        f"Written: {folder}. Next: {go}toymill run config/studies/tiny.yaml; all keys are in config/README.md",
        markup=False,
    )
