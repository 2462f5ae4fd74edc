"""Where a study's results came from: versions, command, state of the code, digests, times."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from toymill._version import __version__
from toymill.job import SECONDS
from toymill.record import FileRecord, Record
from toymill.results.description import read_description

_PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "h5py", "iminuit", "snakemake", "pydantic", "matplotlib", "mplhep")


class Commit(Record):
    """The state of toymill's checkout."""

    commit: str
    """Its commit."""
    modified: bool
    """Whether tracked files differ from it."""


class Provenance(FileRecord):
    """``provenance.json``: where a study's results came from."""

    toymill: str
    """Version of toymill."""
    command: str
    """The command that made them."""
    finished: str
    """When, in UTC."""
    git: Commit | None
    """The state of toymill's checkout; null outside one."""
    python: str
    """Version of Python."""
    platform: str
    """Operating system and processor."""
    packages: dict[str, str | None]
    """Version of each package; null where it is not installed."""
    inputs: dict[str, str]
    """SHA-256 of each input file, by its path."""
    digests: dict[str, str]
    """SHA-256 of the results, by what they are."""
    seconds: dict[str, float]
    """Wall-clock seconds of each job."""


def provenance(config: str | Path, model: str | Path, summary: str | Path, logs: str | Path) -> Provenance:
    """Where a study's results came from.

    Args:
        config: its resolved configuration, of which the digest is recorded, as of the next two.
        model: its ``model.json``.
        summary: its ``summary.json``.
        logs: folder of the jobs' logs, with their times.
    """
    files = {"config": config, "model": model, "summary": summary}
    return Provenance(
        toymill=__version__,
        command=os.environ.get("TOYMILL_COMMAND", "unknown: the job ran on another machine"),
        finished=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        git=_git(),
        python=platform.python_version(),
        platform=platform.platform(),
        packages={name: _version(name) for name in _PACKAGES},
        inputs=read_description(model).inputs,
        digests={name: hashlib.sha256(Path(path).read_bytes()).hexdigest() for name, path in files.items()},
        seconds=_seconds(Path(logs)),
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # a rule's conda environment has no Snakemake
        return None


def _git() -> Commit | None:
    """The commit of toymill's checkout, and whether tracked files differ from it; None outside a checkout."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", Path(__file__).parent, *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return Commit(commit=git("rev-parse", "HEAD"), modified=bool(git("status", "--porcelain", "-uno")))
    except (OSError, subprocess.CalledProcessError):
        return None


def _seconds(logs: Path) -> dict[str, float]:
    """Wall-clock seconds of each job, from what it has written beside its log."""
    return {
        str(path.relative_to(logs).with_suffix("")): float(path.read_text(encoding="ascii"))
        for path in sorted(logs.rglob(f"*{SECONDS}"))
    }
