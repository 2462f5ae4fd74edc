"""A results directory belongs to one study, and to one run of it at a time. Needs no JAX.

``study.json`` says what the stored fits depend on. A study of the same name for which they would be useless is refused.
``.lock`` names the run that writes there: Snakemake's own locks are removed by any run that ends.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import socket
import sys
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from pydantic import Field, TypeAdapter, ValidationError

from toymill._version import __version__
from toymill.cache import JOBS
from toymill.config.dependencies import fits_job
from toymill.config.figures import FORMATS
from toymill.config.sections import SECTIONS, needs, region_ensembles, rounds
from toymill.config.study import Study
from toymill.errors import ToymillError
from toymill.job import COMPILATION_CACHE
from toymill.record import EnsembleName, FileRecord, Record
from toymill.results.files import REMOVE, read_record, temporary_name, write_record
from toymill.study.layout import range_of, superseded

CACHES = COMPILATION_CACHE / JOBS
"""Where jobs have folders of their own, named by host and process."""

_FIGURES = ("t_mu", "pull", "parameters")  # of each ensemble
_ALONE = ("coverage", *SECTIONS, "overview", "status")  # the last two, of earlier versions

_SAME = 1.5
"""Seconds by which two readings of a process's start may differ: the machine's own start is known to the second."""


class Claim(FileRecord):
    """``study.json``: what the fits in a results directory depend on."""

    toymill: str
    """Version of toymill."""
    kind: str
    """Kind of the study."""
    ensembles: dict[EnsembleName, dict[str, Any]]
    """What the stored fits of each ensemble depend on; fits with other values, but for the tests, are useless."""
    toys: dict[EnsembleName, int] = Field(default_factory=dict)
    """Toys of each ensemble when the run began; a design may add others."""


class Run(Record):
    """``.lock``: the run of a study that writes to its results directory."""

    host: str
    """Name of the machine."""
    pid: int
    """Number of its process there."""
    started: float
    """When that process started, in seconds since the machine did, which steps of the clock do not change: another process
    of the same number started at another time."""


class Directory(NamedTuple):
    """The results directory of a study."""

    study: Study
    folder: Path

    @property
    def claim(self) -> Path:
        """The file that says what its fits depend on."""
        return self.folder / "study.json"

    @property
    def lock(self) -> Path:
        """The file that names the run that writes there."""
        return self.folder / ".lock"


def check(directory: Directory) -> None:
    """Refuse a study whose directory has results of another one, or is being written by another run.

    Raises:
        ToymillError: what differs and what to do; which run it is; or a file that is where a folder should be.
    """
    _require_folder(directory)
    running = _other_run(directory.lock)
    if running is not None:
        raise ToymillError(_refusal(directory, running))
    check_results(directory)


def _require_folder(directory: Directory) -> None:
    for path in [directory.folder, *directory.folder.parents]:
        if path.exists() and not path.is_dir():
            msg = (
                f"{directory.folder} cannot be written: {path} is a file. Move it, or run in another working directory."
            )
            raise ToymillError(msg)


def check_results(directory: Directory) -> None:
    """Refuse a study whose directory has results of another one, whether or not a run writes there.

    Raises:
        ToymillError: what differs and what to do; or a file that is where a folder should be.
    """
    _require_folder(directory)
    differences = list(_differences(directory))
    if differences and not directory.study.overwrite:
        lines = "\n".join(f"  - {line}" for line in differences[:10])
        msg = (
            f"{directory.folder} has results of another study of this name:\n{lines}\nGive this study a new name; or say "
            "'overwrite: true' (--config overwrite=True) to throw those results away."
        )
        raise ToymillError(msg)


def take(directory: Directory, kept: Iterable[str | Path]) -> None:
    """Take the directory for this run: lock it, and throw away what is to be overwritten.

    Args:
        directory: the directory.
        kept: files that it needs and does not make.

    Raises:
        ToymillError: what ``check`` refuses, and a directory that cannot be written.
    """
    study = directory.study
    try:
        directory.folder.mkdir(parents=True, exist_ok=True)
        _lock(directory)
        check(directory)
        if any(_differences(directory)):
            _empty(directory.folder, {directory.lock, *map(Path, kept)})
        remove_parts(directory.folder)
        toys = {name: item.toys for name, item in study.ensembles.items()}
        write_record(
            directory.claim, Claim(toymill=__version__, kind=study.kind, ensembles=_settings(study), toys=toys)
        )
    except OSError as error:
        msg = f"{directory.folder} cannot be written ({error}). Make it writable, or run in another working directory."
        raise ToymillError(msg) from None


def _settings(study: Study) -> dict[str, dict[str, Any]]:
    """What the fits of each ensemble depend on, as JSON has it."""
    found: dict[str, dict[str, Any]] = json.loads(json.dumps({name: fits_job(study, name) for name in study.ensembles}))
    return found


def release(directory: Directory) -> None:
    """Let other runs have the directory, if this one has it."""
    with suppress(OSError, ToymillError):
        if _is_this_run(_read_lock(directory.lock)):
            directory.lock.unlink()


def tidy(directory: Directory, shards: Iterable[str | Path]) -> None:
    """Remove what the present study has not; the run has the directory.

    Earlier shards of which the present ones hold everything, or whose toys are others than theirs; the rest is set aside.
    Audits and figures of ensembles and sections that it has no more. Points that it does not scan are named, and stay.

    Args:
        directory: the directory.
        shards: the files of the present shards.
    """
    present = {Path(path) for path in shards}
    if not all(path.exists() for path in present):
        return
    _remove_stale(directory)
    points = {path.parent for path in present} - set((directory.folder / "fits").glob("*"))
    for path in {path for point in points for path in point.glob("*.h5")} - present:
        path.unlink()  # of a scan with other shards
    removed = sorted(
        path.name for path in set((directory.folder / "scan").glob("*")) - points if any(path.glob("*.h5"))
    )
    if removed:
        some = ", ".join(removed[:5]) + (f" and {len(removed) - 5} more" if removed[5:] else "")
        sys.stderr.write(
            f"toymill: {directory.folder / 'scan'} has points that the study does not scan: {some}. Their files are used if "
            "it scans them again. Remove these folders if it will not.\n"
        )
    for path in sorted((directory.folder / "fits").glob("*/*.h5")):
        if path not in present and range_of(path) is not None:
            _set_aside(path)
    asking = {name for name, item in directory.study.ensembles.items() if item.profile_intervals}
    of_region = set(region_ensembles(directory.study))
    for kind, names in (("toys", set(directory.study.ensembles)), ("profile_intervals", asking), ("region", of_region)):
        kept = {directory.folder / kind / path.parent.name / path.name for path in present if path.parent.name in names}
        for path in set((directory.folder / kind).glob("*/*.h5")) - kept:
            path.unlink()  # made again where a shard needs them
    for path in sorted((directory.folder / "superseded").glob("*/*.h5")):
        if _is_held(directory.study, path, present):
            path.unlink()
    kinds = [directory.folder / kind for kind in ("fits", "toys", "profile_intervals", "region", "scan", "superseded")]
    for folder in [*(path for kind in kinds for path in kind.glob("*") if path.is_dir()), *kinds]:
        with suppress(OSError):
            folder.rmdir()  # if it is empty


def remove_parts(folder: Path) -> None:
    """Remove what killed writers left, and the caches of killed jobs; those of living processes of this machine stay."""
    for path in folder.rglob(".*.part"):
        words = path.name.rsplit(".", 3)  # name and host, process, token, part
        if len(words) < 4 or not _lives(words[0], words[1]):
            path.unlink(missing_ok=True)
    for path in CACHES.glob("*"):
        host, _, pid = path.name.rpartition(".")
        if not _lives(host, pid):
            shutil.rmtree(path, ignore_errors=True)


def _lives(host: str, pid: str) -> bool:
    return host.endswith(socket.gethostname()) and pid.isdigit() and psutil.pid_exists(int(pid))


def _remove_stale(directory: Directory) -> None:
    """Remove audits and figures of ensembles and sections that a study has no more."""
    study, folder = directory.study, directory.folder
    kept = {f"{kind}_{name}" for kind in _FIGURES for name in study.ensembles}
    kept |= {"coverage", *(name for name in SECTIONS if getattr(study, name))}
    endings = study.figures.endings
    figures = [
        path
        for name in (*(f"{kind}_*" for kind in _FIGURES), *_ALONE)
        for path in folder.glob(f"plots/{name}.*")
        if path.suffix[1:] in FORMATS and (path.stem not in kept or path.suffix[1:] not in endings)
    ]
    audits = [path for path in folder.glob("audit/*.json") if path.stem not in study.ensembles]
    audits += [] if study.scan else [*folder.glob("audit/scan/*.json")]
    for path in (*figures, *audits):
        path.unlink(missing_ok=True)
    designs = [] if needs(study) else [folder / "design.json"]
    designs += [] if rounds(study) else [*folder.glob("rounds/*.json")]
    for path in designs:
        path.unlink(missing_ok=True)
    with suppress(OSError):
        (folder / "rounds").rmdir()  # if it is empty


def _is_held(study: Study, path: Path, present: Iterable[Path]) -> bool:
    """Whether the present shards of a finished study hold all of a file that was set aside, or toys of another truth."""
    from toymill.results.store import reading_shard  # takes time to import, and is seldom needed

    about = range_of(path)
    ensemble = study.ensembles.get(path.parent.name)
    if about is None or ensemble is None:
        return False
    now = next(item for item in present if item.parent.name == path.parent.name)
    try:
        with reading_shard(path) as reader, reading_shard(now) as held:
            tests = {*ensemble.tests, *ensemble.truth.values()}
            within = set(reader.tests) <= tests and about.first + about.toys <= ensemble.toys
            return within or reader.key.digest != held.key.digest
    except ToymillError:
        return True  # damaged: of no use


def _set_aside(path: Path) -> None:
    folder = superseded(path)
    folder.mkdir(parents=True, exist_ok=True)
    path.replace(folder / path.name)


def _empty(folder: Path, kept: Container[Path]) -> None:
    """Remove all files but some."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            with suppress(OSError):
                path.rmdir()  # if it is empty
        elif path not in kept:
            path.unlink()


def _claimed(path: Path) -> Claim | None:
    """What the fits in a directory depend on, by its ``study.json``; None if it has none."""
    return read_record(path, TypeAdapter(Claim), REMOVE) if path.exists() else None


def toys_of_run(folder: Path) -> dict[str, int]:
    """Toys of each ensemble when the last run of a directory began; empty where that cannot be told."""
    try:
        claim = _claimed(folder / "study.json")
    except ToymillError:
        return {}
    return claim.toys if claim is not None and claim.kind == "toys" else {}


def _differences(directory: Directory) -> Iterator[str]:
    """What makes stored fits useless for the study, a line each."""
    claim = _claimed(directory.claim)
    if claim is None:
        return
    if claim.kind != directory.study.kind:
        yield f"kind: it was {claim.kind}, and is now {directory.study.kind}"
        return
    now = _settings(directory.study)
    for name, before in claim.ensembles.items():
        if name in now:
            for path, was, has in _changes({**before, "tests": None}, {**now[name], "tests": None}, ""):
                yield f"ensembles.{name}: {path} was {was}, and is now {has}"


def _changes(before: object, now: object, path: str) -> Iterator[tuple[str, str, str]]:
    """Where two trees differ: the path of keys, and both values as text."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            yield from _changes(before.get(key), now.get(key), f"{path}.{key}".lstrip("."))
    elif before != now:
        was, has = (text if len(text) <= 60 else f"{text[:57]}…" for text in map(json.dumps, (before, now)))
        yield path, was, has


def running(folder: Path) -> Run | None:
    """The run that writes to a results directory and, as far as this machine can tell, lives; None if there is none.

    Raises:
        ToymillError: a lock that cannot be read.
    """
    lock = folder / ".lock"
    found = _read_lock(lock)
    return found if _is_this_run(found) else _other_run(lock)


def _this_run() -> Run:
    process = psutil.Process()
    return Run(host=socket.gethostname(), pid=process.pid, started=_started(process))


def _started(process: psutil.Process) -> float:
    return float(process.create_time() - psutil.boot_time())


def _is_this_run(run: Run | None) -> bool:
    return run is not None and (run.host, run.pid) == (socket.gethostname(), os.getpid())


def _read_lock(lock: Path) -> Run | None:
    """The run that a lock names; None if there is no lock."""
    try:
        return TypeAdapter(Run).validate_json(lock.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValidationError:
        return Run(host="an unknown machine", pid=0, started=0.0)
    except OSError as error:
        msg = f"{lock} cannot be read ({error}). Make its folder readable, or run in another working directory."
        raise ToymillError(msg) from None


def _other_run(lock: Path) -> Run | None:
    """Another run that a lock names and that, as far as this machine can tell, lives."""
    found = _read_lock(lock)
    if found is None or _is_this_run(found):
        return None
    if found.host != socket.gethostname():
        return found
    try:
        alive = abs(_started(psutil.Process(found.pid)) - found.started) < _SAME
    except psutil.Error:
        alive = False
    return found if alive else None


def _lock(directory: Directory) -> None:
    """Write the lock whole and only if there is none; one whose run has ended is replaced."""
    ours, lock = _this_run(), directory.lock
    own = temporary_name(lock)
    own.write_text(ours.model_dump_json(), encoding="utf-8")
    try:
        while _read_lock(lock) != ours:
            running = _other_run(lock)
            if running is not None:
                raise ToymillError(_refusal(directory, running))
            _remove_ended(lock)
            with suppress(FileExistsError):
                os.link(own, lock)
    finally:
        own.unlink(missing_ok=True)
    atexit.register(release, directory)


def _remove_ended(lock: Path) -> None:
    """Remove the lock of a run that has ended, but not one that a living run has put in its place meanwhile."""
    moved = temporary_name(lock)
    with suppress(FileNotFoundError):
        lock.rename(moved)
        if _other_run(moved) is not None:
            with suppress(FileExistsError):
                os.link(moved, lock)
        moved.unlink()


def _refusal(directory: Directory, run: Run) -> str:
    since = f"process {run.pid} on {run.host}"
    return (
        f"{directory.folder} is being written by another run of this study: {since}. Wait for its end, or give this study "
        f"another name. If that run has ended without a trace, remove {directory.lock}."
    )
