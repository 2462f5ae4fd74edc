"""``toymill doctor``: whether studies can run here, a line for each thing that they need."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

import psutil
import yaml
from rich.table import Table
from rich.text import Text

from toymill._version import __version__
from toymill.cli.console import amount, console, cores_here, table
from toymill.cli.run import profiles
from toymill.cli.studies import workflow_folder
from toymill.errors import ToymillError, one_line

Verdict = Literal["ok", "note", "missing"]

COLOURS = {"ok": "green", "note": "yellow", "missing": "red"}

MEMORY, DISK = 4e9, 1e9
"""Bytes of memory that one job may take, and of disk that a small study does, with all its files."""


class Finding(NamedTuple):
    """One thing that studies need: whether it is there, and what to do if it is not."""

    what: str
    verdict: Verdict
    words: str


def show_health() -> int:
    """Print what is there; returns 1 if something is missing that every study needs."""
    found = list(findings())
    made: Table = table("", ("", "", ""), [], left=3)
    made.show_header = False
    for item in found:
        made.add_row(Text(item.what), Text(item.verdict, style=COLOURS[item.verdict]), Text(item.words))
    console().print(made)
    return int(any(item.verdict == "missing" for item in found))


def findings() -> Iterator[Finding]:
    """Everything that is looked at, in order."""
    new = sys.version_info >= (3, 11)
    yield Finding("Python", "ok" if new else "missing", f"{platform.python_version()}, {sys.executable}")
    yield Finding("toymill", "ok", f"{__version__}, {Path(__file__).parents[1]}")
    yield from of_jax()
    yield of_memory()
    free = shutil.disk_usage(Path.cwd()).free
    writable = os.access(Path.cwd(), os.W_OK)
    words = f"{amount(free)} free in {Path.cwd()}" + ("" if writable else ", which cannot be written")
    yield Finding("disk", "missing" if not writable else "ok" if free > DISK else "note", words)
    yield from of_snakemake()


def of_jax() -> Iterator[Finding]:
    """JAX: its version, float64, its devices."""
    try:
        from toymill.cli.engine import ready

        ready()
        import jax
        import jax.numpy as jnp

        exact = bool(jnp.zeros(1).dtype == jnp.float64)
        devices = jax.devices()
    except (ImportError, RuntimeError, ToymillError) as error:
        yield Finding("JAX", "missing", f"{one_line(error)}. Install toymill again.")
        return
    yield Finding("JAX", "ok", f"{jax.__version__}, on {', '.join(str(device) for device in devices)}")
    yield Finding("float64", "ok" if exact else "missing", "on in every job" if exact else "JAX has no float64 here")
    plugin = next((name for name in ("jax_cuda13_plugin", "jax_cuda12_plugin") if importlib.util.find_spec(name)), None)
    words = f"{plugin} is there: profile gpu" if plugin else "no plugin of JAX for one: jobs take the processor"
    yield Finding("GPU", "ok" if plugin else "note", words)


def of_memory() -> Finding:
    """Cores, and the memory that each has."""
    cores = cores_here()
    memory = psutil.virtual_memory()
    words = f"{cores} cores, {amount(memory.total)} of memory, {amount(memory.available)} of it free"
    if memory.available < MEMORY * cores:
        fewer = max(1, int(memory.available / MEMORY))
        return Finding("machine", "note", f"{words}; with a large model run fewer jobs at once: --cores {fewer}")
    return Finding("machine", "ok", words)


def of_snakemake() -> Iterator[Finding]:
    """Snakemake, the workflow, and its profiles with the plugins that they need."""
    try:
        version = metadata.version("snakemake")
    except metadata.PackageNotFoundError:
        yield Finding("Snakemake", "missing", "not installed for this Python. Install toymill again.")
        return
    least = (9, 19)
    new = tuple(int(word) for word in version.split(".")[:2]) >= least
    yield Finding("Snakemake", "ok" if new else "missing", version + ("" if new else "; at least 9.19 is needed"))
    try:
        folder = workflow_folder()
    except ToymillError as error:
        yield Finding("workflow", "missing", str(error))
        return
    yield Finding("workflow", "ok", str(folder))
    for name in profiles(folder):
        yield of_profile(folder, name)


def of_profile(folder: Path, name: str) -> Finding:
    """A profile, and the plugin of its executor."""
    content = yaml.safe_load((folder / "workflow/profiles" / name / "config.yaml").read_text(encoding="utf-8")) or {}
    executor = content.get("executor", "")
    plugin = f"snakemake-executor-plugin-{executor}"
    if not executor:
        return Finding(f"profile {name}", "ok", "this machine")
    if importlib.util.find_spec(plugin.replace("-", "_")) is None:
        return Finding(f"profile {name}", "note", f"needs {plugin}: pip install 'toymill[{executor}]'")
    return Finding(f"profile {name}", "ok", f"{plugin} {metadata.version(plugin)}")
