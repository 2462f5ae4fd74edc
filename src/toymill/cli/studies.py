"""A study's configuration, read and checked as the workflow does; and where the workflow is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from toymill.config.study import Study, check_inputs, read_study
from toymill.config.yaml_file import check_yaml
from toymill.errors import ToymillError, nearest

PACKED = "_workflow"
"""The folder of the installed package that has the workflow's files; in a clone they are where they are."""

PARTS = ("Snakefile", "workflow", "scripts", "config", "envs")
"""What the workflow consists of."""


def stated(path: Path) -> Study:
    """The study that a file states, by itself.

    Raises:
        ToymillError: what ``check_yaml`` and ``read_study`` refuse.
    """
    check_yaml(path)
    return read_study(_content(path))


def checked(path: Path) -> Study:
    """The study that a file states, checked against its model.

    Raises:
        ToymillError: what ``stated`` and ``check_inputs`` refuse.
    """
    study = stated(path)
    check_inputs(study, path.parent)
    return study


def _content(path: Path) -> Mapping[str, object]:
    import yaml

    text = path.read_text(encoding="utf-8")
    try:
        content = json.loads(text)
    except ValueError:
        content = yaml.safe_load(text)
    return {} if content is None else content


def workflow_folder() -> Path:
    """The folder of the workflow to run: this one, if it has the workflow; else the package's own.

    Raises:
        ToymillError: neither is there.
    """
    here = Path.cwd()
    ours = here / "workflow/rules/common.smk"
    if (here / "Snakefile").is_file() and ours.is_file() and "toymill" in ours.read_text(encoding="utf-8"):
        return here
    return packed_workflow()


def packed_workflow() -> Path:
    """The folder of the workflow that came with the package: in the package, or the clone that it is in.

    Raises:
        ToymillError: a package without it.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / PACKED, package.parents[1]):
        if all((folder / part).exists() for part in PARTS):
            return folder
    msg = f"The workflow is not in {package / PACKED}. Install toymill again, from a wheel or in a clone."
    raise ToymillError(msg)


def results_folder(path: Path) -> Path:
    """The results directory that is meant: itself, or by a file in it.

    Raises:
        ToymillError: a path that is no results directory.
    """
    folder = path.parent if path.is_file() and path.name == "summary.json" else path
    if any((folder / name).exists() for name in ("study.json", "config.yaml", "summary.json", ".lock")):
        return folder
    known = [str(item.parent) for item in Path("results").glob("*/study.json")]
    what = "has no results of a study" if folder.is_dir() else "is no folder"
    offered = f" {nearest(str(path), known)}" if known else ""
    msg = f"{path} {what} (in {Path.cwd()}). Name a results directory, results/<study>.{offered}"
    raise ToymillError(msg)


def home_of(results: Path) -> Path:
    """The folder that a study was run in, which paths in its configuration are relative to."""
    return Path(os.path.abspath(results)).parents[1]  # noqa: PTH100 - results/ may be a link to another disk
