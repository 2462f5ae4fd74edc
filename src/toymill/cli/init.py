"""``toymill init``: the workflow, written into a folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from toymill.cli.console import console
from toymill.cli.studies import PARTS, packed_workflow
from toymill.errors import ToymillError

MOST = 5
"""Files that are named where several are in the way."""


def write_workflow(folder: Path) -> None:
    """Write the workflow into a folder: its rules, scripts, profiles, environments, and example studies.

    Other files of the folder stay as they are.

    Raises:
        ToymillError: a folder with another file where one is to be written; a package without the workflow.
    """
    source = packed_workflow()
    if folder.exists() and not folder.is_dir():
        msg = f"{folder} is a file. Name a folder: toymill init my-study"
        raise ToymillError(msg)
    files = list(workflow_files(source))
    others = [path for path in files if _is_other(folder, path, source / path)]
    if others:
        some = ", ".join(str(folder / path) for path in others[:MOST])
        more = f" and {len(others) - MOST} more" if others[MOST:] else ""
        msg = (
            f"{some}{more} would be written, and {'are' if others[1:] else 'is'} there already with another content. Move "
            "what is there, or name another folder: toymill init my-study"
        )
        raise ToymillError(msg)
    for path in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / path, folder / path)
    go = "" if folder.resolve() == Path.cwd() else f"cd {folder}, then "
    console().print(
        f"Written: {folder.resolve()}. Next: {go}toymill run config/studies/tiny.yaml; all keys are in config/README.md",
        markup=False,
    )


def workflow_files(source: Path) -> Iterator[Path]:
    """The workflow's files, relative to its folder."""
    for part in PARTS:
        found = sorted((source / part).rglob("*")) if (source / part).is_dir() else [source / part]
        for path in found:
            relative = path.relative_to(source)
            if path.is_file() and path.suffix != ".pyc" and ".snakemake" not in relative.parts:
                yield relative


def _is_other(folder: Path, path: Path, source: Path) -> bool:
    """Whether something else is where a file is to be written, or where a folder of it should be."""
    target = folder / path
    if any((folder / above).is_file() for above in path.parents):
        return True
    return target.exists() and not (target.is_file() and target.read_bytes() == source.read_bytes())
