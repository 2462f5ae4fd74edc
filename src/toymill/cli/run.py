"""``toymill run``: a study is checked, so that a mistake is told in a line; then Snakemake runs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from toymill.cli.studies import checked, workflow_folder
from toymill.config.designed import planned
from toymill.config.yaml_file import check_yaml
from toymill.errors import ToymillError, nearest
from toymill.study.ownership import Directory
from toymill.study.ownership import check as check_directory

_CHANGING = ("--config", "-C", "--directory", "-d")
"""Snakemake's options that change what is to be checked: then Snakemake alone does that."""


def run_study(path: Path, profile: str, arguments: Sequence[str]) -> None:
    """Check a study, and become Snakemake, which runs it.

    Args:
        path: the study's configuration.
        profile: a folder of ``workflow/profiles``, or the path of a profile's folder.
        arguments: further arguments of Snakemake.

    Raises:
        ToymillError: a study that cannot be run, results of another study, no such profile.
    """
    options = {word.partition("=")[0] for word in arguments}
    if options & {"--configfile", "--configfiles"}:
        msg = f"--configfile: the study is {path}, named first. Leave the option out, or put everything into one file."
        raise ToymillError(msg)
    if str(path).startswith("-"):
        msg = f"The study comes first, Snakemake's arguments after it; got {path}. Expected: toymill run STUDY.yaml {path}"
        raise ToymillError(msg)
    if options & {*_CHANGING}:
        check_yaml(path)
    else:
        study = planned(checked(path))
        check_directory(Directory(study, Path(f"results/{study.study}")))
    command = snakemake_command(path, profile, arguments)
    sys.stdout.flush()
    become(command, environment())


def snakemake_command(path: Path, profile: str, arguments: Sequence[str]) -> list[str]:
    """The words that run a study.

    Raises:
        ToymillError: no such profile.
    """
    folder = workflow_folder()
    words = [sys.executable, "-m", "toymill.cli.snakemake", "--snakefile", str(folder / "Snakefile")]
    words += ["--configfile", str(path), "--workflow-profile", str(profile_folder(folder, profile))]
    return [*words, *arguments]


def profile_folder(folder: Path, profile: str) -> Path:
    """The folder of a profile.

    Raises:
        ToymillError: no such profile.
    """
    for found in (folder / "workflow/profiles" / profile, Path(profile)):
        if (found / "config.yaml").is_file():
            return found
    names = profiles(folder)
    msg = f"There is no profile {profile!r}, in workflow/profiles or as a folder with a config.yaml. {nearest(profile, names)}"
    raise ToymillError(msg)


def profiles(folder: Path) -> list[str]:
    """The names of the workflow's profiles."""
    return sorted(path.parent.name for path in folder.glob("workflow/profiles/*/config.yaml"))


def environment() -> dict[str, str]:
    """The environment of Snakemake, which keeps copies of what it reads in a cache: here, since a home may be missing."""
    return {"XDG_CACHE_HOME": str(Path.cwd() / ".snakemake/toymill/cache"), **os.environ}


def become(command: Sequence[str], variables: Mapping[str, str]) -> None:
    """Replace this process by another, so that signals reach it and its exit code is that of the command."""
    os.execve(command[0], list(command), dict(variables))
