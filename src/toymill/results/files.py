"""Files are written whole or not at all; and the small text files of a study, JSON and YAML."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from toymill.errors import ToymillError
from toymill.record import FileRecord

Content = TypeVar("Content")


def temporary_name(path: Path) -> Path:
    """A name in the folder of ``path`` that no other writer has: with its machine, its process and a token."""
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{uuid.uuid4().hex[:12]}.part")


def put_in_place(temporary: Path, path: Path) -> None:
    """Give a finished file its name: once its content is on the disk, and until its name is too."""
    _to_disk(temporary)
    temporary.replace(path)
    _to_disk(path.parent)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """A file that cannot be written, on a disk that is full or read-only, is told with its name.

    Raises:
        ToymillError: what the system said, and what to do.
    """
    try:
        yield
    except ToymillError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        told = re.search("errno = [0-9]+, error message = '([^']+)'", str(error))  # the system's error in HDF5's words
        if told is None and not isinstance(error, OSError):
            raise
        reason = told[1] if told else str(error)
        msg = f"{path} could not be written ({reason}). Make room for it, or make its folder writable, and run again."
        raise ToymillError(msg) from None


def bring_back(folders: Iterable[Path]) -> None:
    """Give the present time to files from the future, in their order: a clock was put back since they were written.

    Snakemake refuses what is made from such files.
    """
    now = time.time_ns()
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    late = sorted((path.stat().st_mtime_ns, path) for path in paths if path.stat().st_mtime_ns > now)
    times = {old: now - 1000 * before for before, old in enumerate(sorted({old for old, _ in late}, reverse=True))}
    for old, path in late:
        os.utime(path, ns=(times[old], times[old]))


def made_anew(path: str | Path) -> str:
    """What to do about a file that cannot be used. Snakemake knows it by its path from the folder that has ``results``.

    Example:
        >>> made_anew("/home/me/study/results/hww/summary.json").split("'")[1]
        '--forcerun results/hww/summary.json'
    """
    parts = Path(path).parts
    if Path(path).is_absolute() and "results" in parts:
        path = Path(*parts[len(parts) - 1 - parts[::-1].index("results") :])
    return f"Add '--forcerun {path}' to the snakemake command: this file alone is made anew, and what depends on it."


REMOVE = "Remove it and run again: it is made anew when it is needed, and stored fits are used."
"""What to do about a file that is read before Snakemake knows what to make anew."""


def write_record(path: str | Path, record: FileRecord) -> None:
    """Write a record as JSON, with the digest of its content."""
    content = record.model_dump(mode="json", exclude={"sha256"})
    write_json(path, {"sha256": _digest(content), **content})


def read_record(path: str | Path, kind: TypeAdapter[Content], todo: str | None = None) -> Content:
    """Read a record from JSON.

    Args:
        path: the file.
        kind: what it is: a class of records, or a union of such classes.
        todo: what to do about a file that cannot be used; as ``made_anew`` says by default.

    Raises:
        ToymillError: a file that is not of this kind, with the key that is wrong, or whose content is not what was
            written.
    """
    todo = made_anew(path) if todo is None else todo
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        digest = content.pop("sha256", "")
        found = kind.validate_json(_json(content))
        whole = digest == _digest(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(step) for step in first["loc"])
        msg = f"{path}: {key}: {first['msg']}. This version of toymill writes no such file. {todo}"
        raise ToymillError(msg) from None
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        msg = f"{path} cannot be read as JSON ({error}). {todo}"
        raise ToymillError(msg) from None
    if not whole:
        msg = f"{path} is not what was written: its content has another SHA-256 than it says. {todo}"
        raise ToymillError(msg)
    return found


def _digest(content: Mapping[str, object]) -> str:
    """SHA-256 of the content of a record but for its digest."""
    return hashlib.sha256(_json(content).encode()).hexdigest()


def _json(content: Mapping[str, object]) -> str:
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write_json(path: str | Path, content: Mapping[str, object]) -> None:
    """Write JSON, a list of numbers on one line; one that is not finite is an error, not a word that readers refuse."""
    write_text(path, re.sub(r'\[\n[^\[\]{}"]*\]', _on_one_line, _json(content)))


def _on_one_line(numbers: re.Match[str]) -> str:
    return re.sub(r"\s+", " ", numbers[0]).replace("[ ", "[").replace(" ]", "]")


def write_yaml(path: str | Path, content: Mapping[str, object]) -> None:
    """Write YAML with the keys in their given order."""
    write_text(path, yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True))


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole, as ``write_bytes`` does."""
    write_bytes(path, text.encode())


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file whole: under a temporary name, then renamed."""
    path = Path(path)
    temporary = temporary_name(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
            put_in_place(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
