"""The small text files of a study: JSON and YAML, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from toymill.errors import ToymillError
from toymill.record import Record

Content = TypeVar("Content")


def write_record(path: str | Path, record: Record) -> None:
    """Write a record as JSON."""
    write_json(path, record.model_dump(mode="json"))


def read_record(path: str | Path, kind: TypeAdapter[Content]) -> Content:
    """Read a record from JSON.

    Args:
        path: the file.
        kind: what it is: a class of records, or a union of such classes.

    Raises:
        ToymillError: a file that is not of this kind, with the key that is wrong.
    """
    try:
        found = kind.validate_json(Path(path).read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(step) for step in first["loc"])
        msg = (
            f"{path}: {key}: {first['msg']}. The file is not one that this version of toymill writes: delete it and run "
            "again."
        )
        raise ToymillError(msg) from None
    return found


def write_json(path: str | Path, content: Mapping[str, object]) -> None:
    """Write JSON; a number that is not finite is an error, not a word that other readers refuse."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def write_yaml(path: str | Path, content: Mapping[str, object]) -> None:
    """Write YAML with the keys in their given order."""
    write_text(path, yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True))


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole: under a temporary name, then renamed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
