"""The small text files of a study: JSON and YAML, written whole or not at all, and its provenance."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from toymill._version import __version__

_PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "h5py", "iminuit", "snakemake", "pydantic", "matplotlib", "mplhep")


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write JSON; a number that is not finite is an error, not a word that other readers refuse."""
    _write(Path(path), json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object."""
    content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return content


def write_yaml(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write YAML with the keys in their given order."""
    _write(Path(path), yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True))


def provenance(model: Mapping[str, Any], files: Mapping[str, str], benchmarks: str | Path) -> dict[str, Any]:
    """Where a study's results came from.

    Args:
        model: the content of ``model.json``.
        files: results whose digests are recorded, by name.
        benchmarks: folder of Snakemake's benchmark tables, one a job.
    """
    return {
        "toymill": __version__,
        "command": os.environ.get("TOYMILL_COMMAND", "unknown: the job ran on another machine"),
        "finished": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "git": _git(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "inputs": model["inputs"],
        "digests": {name: hashlib.sha256(Path(path).read_bytes()).hexdigest() for name, path in files.items()},
        "seconds": _seconds(Path(benchmarks)),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # a rule's conda environment has no Snakemake
        return None


def _git() -> dict[str, Any] | None:
    """The commit of toymill's checkout, and whether tracked files differ from it; None outside a checkout."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", Path(__file__).parent, *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "modified": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _seconds(benchmarks: Path) -> dict[str, float]:
    """Wall-clock seconds of each job that was measured, from Snakemake's benchmark tables."""
    seconds = {}
    for path in sorted(benchmarks.rglob("*.tsv")):
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) < 2:
            continue
        first = lines[1]
        seconds[str(path.relative_to(benchmarks).with_suffix(""))] = float(first.split("\t")[0])
    return seconds


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
