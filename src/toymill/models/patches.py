"""JSON files, JSON patches (RFC 6902), and patch sets as published on HEPData."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonpatch
import jsonpointer

from toymill.errors import ToymillError, nearest

Patch = str | Path | list[dict[str, Any]] | tuple[str | Path | dict[str, Any], str]
"""A patch's file or content, or a patch set's file or content with the name of one of its patches."""


def load_patched(path: str | Path | dict[str, Any], patches: Sequence[Patch]) -> tuple[Any, str]:
    """The content of a JSON file with patches applied in order, and its name for messages.

    Raises:
        ToymillError: unreadable file, not JSON, a patch that does not apply, a patch set without a name or
            without that patch, or one that was made for another file (its digests differ).
    """
    source = "workspace" if isinstance(path, dict) else str(path)
    original = path if isinstance(path, dict) else load_json(Path(path))
    content = original
    for number, patch in enumerate(patches):
        origin, operations = _operations(number, patch, original, source)
        try:
            content = jsonpatch.apply_patch(content, operations)
        except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError) as error:
            msg = f"{origin} does not apply to {source}: {error}. Is it the patch of another workspace?"
            raise ToymillError(msg) from None
    return content, source


def load_json(path: Path) -> Any:
    """The content of a JSON file; raises ToymillError if it cannot be read or is not JSON."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        msg = f"Cannot read {path}: {error.strerror}. Check the path; paths are relative to the working directory."
        raise ToymillError(msg) from None
    except UnicodeDecodeError:
        msg = f"{path} is not text, so not JSON. Is it an archive to unpack first?"
        raise ToymillError(msg) from None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        msg = f"{path} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        raise ToymillError(msg) from None


def _operations(number: int, patch: Patch, original: Any, source: str) -> tuple[str, Any]:
    """A patch's name for messages, and its operations."""
    holder, wanted = patch if isinstance(patch, tuple) else (patch, None)
    origin = str(holder) if isinstance(holder, str | Path) else f"patch {number}"
    content: Any = load_json(Path(holder)) if isinstance(holder, str | Path) else holder
    is_set = isinstance(content, dict) and "patches" in content
    if wanted is None and not is_set:
        if not isinstance(content, list):
            msg = f"{origin} is no JSON patch: expected a list of operations; got {_shortened(content)}."
            raise ToymillError(msg)
        return origin, content
    if not is_set:
        msg = f"{origin} is no patch set, so it has no patch {wanted!r}. Give its path alone."
        raise ToymillError(msg)
    names = [item.get("metadata", {}).get("name") for item in content["patches"]]
    if wanted is None:
        msg = (
            f"{origin} is a patch set of {len(names)} ({', '.join(map(str, names[:5]))}, …), not a JSON patch. Name "
            f"one of its patches: {{path: {origin}, patch: {names[0]}}} in a study, ({origin!r}, {names[0]!r}) in Python."
        )
        raise ToymillError(msg)
    if wanted not in names:
        msg = f"{origin} has no patch {wanted!r}. {nearest(wanted, names)}"
        raise ToymillError(msg)
    _verify(content, origin, original, source)
    return f"{origin}, patch {wanted!r},", content["patches"][names.index(wanted)].get("patch")


def _verify(patch_set: dict[str, Any], origin: str, original: Any, source: str) -> None:
    """Refuse a patch set whose digests are not those of the file before any patch, as pyhf computes them."""
    digests = patch_set.get("metadata", {}).get("digests", {})
    known = {name: value for name, value in digests.items() if name in {"md5", "sha256"}}
    if not known:
        msg = f"{origin} has no metadata.digests (md5 or sha256), so nothing says that it belongs to {source}."
        raise ToymillError(msg)
    text = json.dumps(original, sort_keys=True, ensure_ascii=False).encode()
    for name, expected in known.items():
        got = hashlib.new(name, text, usedforsecurity=False).hexdigest()
        if got != str(expected).lower():
            msg = (
                f"{origin} belongs to another workspace than {source}: it expects the {name} digest {expected}; got "
                f"{got}. Take the workspace that was published with it, unchanged."
            )
            raise ToymillError(msg)


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
