"""Compiled programs, kept between jobs: each with its digest, so that no job runs what another wrote by half.

JAX writes an entry of its cache in place, and reads it unchecked. So every job has a folder of its own for JAX: filled
with the entries that are whole, and emptied into the shared folder when the job ends.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import platform
import shutil
import socket
from pathlib import Path

JOBS = "jobs"
"""The folder, in the one that all jobs share, in which each has one of its own, named by host and process."""

_DIGEST = 32  # bytes of a SHA-256 before the content of an entry


def open_cache(folder: Path) -> Path | None:
    """A folder for JAX's cache, of this process alone, with the programs of earlier jobs.

    What the process compiles is kept when it ends in good order. The cache only saves time: where a file cannot be
    read or written, there is none.

    Args:
        folder: what all jobs share.

    Returns:
        The folder; None if it cannot be made.
    """
    shared = folder / _processor()
    own = folder / JOBS / f"{socket.gethostname()}.{os.getpid()}"
    try:
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(parents=True)
        shared.mkdir(parents=True, exist_ok=True)
        for path in shared.glob("[!.]*"):
            content = _read(path)
            if content is None:
                path.unlink(missing_ok=True)
            else:
                (own / path.name).write_bytes(content)
    except OSError:
        shutil.rmtree(own, ignore_errors=True)
        return None
    atexit.register(_close, own, shared)
    return own


def _close(own: Path, shared: Path) -> None:
    """Keep the entries that are new, and remove the process's folder."""
    with contextlib.suppress(OSError):
        for path in own.iterdir():
            if path.is_file() and not (shared / path.name).exists():
                _write(shared / path.name, path.read_bytes())
    shutil.rmtree(own, ignore_errors=True)


def _read(path: Path) -> bytes | None:
    """The content of an entry; None if it is not what was written."""
    stored = path.read_bytes()
    content = stored[_DIGEST:]
    return content if stored[:_DIGEST] == hashlib.sha256(content).digest() else None


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        temporary.write_bytes(hashlib.sha256(content).digest() + content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _processor() -> str:
    """A name for the kind of processor, for which XLA compiles: the digest of what it says that it can do."""
    told = f"{platform.system()} {platform.machine()} {platform.processor()}"
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        wanted = ("model name", "flags", "features", "cpu part")
        told += "".join(sorted({line for line in lines if line.lower().startswith(wanted)}))
    return hashlib.sha256(told.encode()).hexdigest()[:16]
