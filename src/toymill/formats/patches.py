"""JSON files, JSON patches (RFC 6902), and patch sets as published on HEPData."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jsonpatch
import jsonpointer
from pydantic import BaseModel, ConfigDict, Field

from toymill.errors import ToymillError, nearest, no_file, one_line
from toymill.formats.kinds import NO_WORKSPACE
from toymill.formats.validation import Json, refuse_duplicates, require_plain, shortened, validate

MOST_COPIED = 10**6
"""Values that the copies of a patch may add; a published workspace has some 10⁵."""

Patch = str | Path | list[Json] | tuple[str | Path | Json, str]
"""A patch's file or content, or a patch set's file or content with the name of one of its patches."""


class _Open(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _PatchName(_Open):
    name: str
    values: list[float | str] = []


class _PatchEntry(_Open):
    metadata: _PatchName
    patch: list[Json]


class _SetMetadata(_Open):
    digests: dict[str, str] = {}
    labels: list[str] = []


class _PatchSet(_Open):
    patches: Annotated[list[_PatchEntry], Field(min_length=1)]
    metadata: _SetMetadata = _SetMetadata()


class ListedPatch(NamedTuple):
    """A patch of a patch set.

    Attributes:
        name: its name.
        values: its coordinates, by the set's labels.
        digest: SHA-256 of its operations.
    """

    name: str
    values: tuple[float | str, ...]
    digest: str


class Listing(NamedTuple):
    """What a patch set says of its patches.

    Attributes:
        labels: names of the coordinates; empty if the set has none.
        patches: the patches, in the set's order.
    """

    labels: tuple[str, ...]
    patches: tuple[ListedPatch, ...]


def list_patches(path: str | Path) -> Listing:
    """The patches of a patch set.

    Raises:
        ToymillError: unreadable file, not JSON, no patch set, two patches of one name.
    """
    path = Path(path)
    about = path.stat() if path.exists() else None
    return _listing(path, about and (about.st_mtime_ns, about.st_size))


@lru_cache(maxsize=4)
def _listing(path: Path, _version: tuple[int, int] | None) -> Listing:
    """The same, read once: sets of many signals are of a hundred megabytes."""
    origin = one_line(path)
    content = load_json(path)
    require_plain(content, origin)
    if not isinstance(content, dict) or "patches" not in content:
        msg = f"{origin} is no patch set: expected a mapping with patches; got {shortened(content)}."
        raise ToymillError(msg)
    found = validate(_PatchSet, content, origin)
    refuse_duplicates([item.metadata.name for item in found.patches], f"patch in {origin}")
    listed = [
        ListedPatch(item.metadata.name, tuple(item.metadata.values), digest_of(item.patch)) for item in found.patches
    ]
    return Listing(tuple(found.metadata.labels), tuple(listed))


def digest_of(content: object) -> str:
    """SHA-256 of the content of a JSON file."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False).encode(errors="surrogatepass")
    return hashlib.sha256(text).hexdigest()


def load_patched(path: str | Path | Json, patches: Sequence[Patch]) -> tuple[Any, str]:
    """The content of a JSON file with patches applied in order, and its name for messages.

    Raises:
        ToymillError: unreadable file, not JSON, a patch that does not apply, a patch set without a name or
            without that patch, or one that was made for another file (its digests differ).
    """
    source = "workspace" if isinstance(path, dict) else one_line(path)
    *_, content = _steps(path, patches, source)
    return content, source


def samples_given(path: str | Path | Json, patches: Sequence[Patch]) -> dict[tuple[str, str], tuple[int, ...]]:
    """Which patches give the yields of each sample: by its channel and its name, their numbers in order.

    A sample that no patch touches has none; a change of its modifiers alone is none.

    Raises:
        ToymillError: what ``load_patched`` refuses.
    """
    given: dict[tuple[str, str], tuple[int, ...]] = {}
    before: dict[tuple[str, str], object] = {}
    for number, content in enumerate(_steps(path, patches, "workspace" if isinstance(path, dict) else one_line(path))):
        now = dict(_yields(content))
        given = {
            key: given.get(key, ()) + ((number - 1,) if number and (key not in before or before[key] != data) else ())
            for key, data in now.items()
        }
        before = now
    return given


def _yields(content: object) -> Iterator[tuple[tuple[str, str], object]]:
    """The yields of each sample of a workspace or an HS3 file, which a later patch may have to complete."""
    for channel in _named(content, "channels", "distributions"):
        for sample in _named(channel, "samples"):
            yield (channel["name"].removeprefix("model_" * ("type" in channel)), sample["name"]), sample.get("data")


def _named(content: object, *keys: str) -> list[Json]:
    """The objects with a name that stand in a list of an object."""
    lists = [content[key] for key in keys if isinstance(content, dict) and isinstance(content.get(key), list)]
    return [
        item for several in lists for item in several if isinstance(item, dict) and isinstance(item.get("name"), str)
    ]


def _steps(path: str | Path | Json, patches: Sequence[Patch], source: str) -> Iterator[Any]:
    """The content of a JSON file, and what it is after each patch."""
    if not isinstance(path, str | Path | dict):
        msg = f"The workspace is given as {shortened(path)}; expected a path, or a file's content as a dictionary."
        raise ToymillError(msg)
    if not isinstance(patches, list | tuple):
        msg = f"patches is {shortened(patches)}; expected a list of patches."
        raise ToymillError(msg)
    original = path if isinstance(path, dict) else load_json(Path(path))
    require_plain(original, source)
    content = original
    yield content
    for number, patch in enumerate(patches):
        origin, operations = _operations(number, patch, original, source)
        content = _patched(content, operations, origin, source)
        yield content


def _patched(content: Any, operations: list[Json], origin: str, source: str) -> Any:
    """The content with one patch applied; what goes wrong is told with the names of both files."""
    try:
        return _applied(content, operations, f"{source} with {origin}")
    except ToymillError:
        raise
    except jsonpatch.InvalidJsonPatch as error:
        msg = f"{origin} is no valid JSON patch (RFC 6902): {str(error).rstrip('.')}."
        raise ToymillError(one_line(msg)) from None
    except (
        jsonpatch.JsonPatchException,
        jsonpointer.JsonPointerException,
        RecursionError,
        TypeError,
        KeyError,
        ValueError,
    ) as error:
        # jsonpatch puts the whole document into some of its messages
        reason = str(error).partition(" in {")[0].rstrip(".")
        msg = f"{origin} does not apply to {source}: {reason}. Is it the patch of another workspace?"
        raise ToymillError(one_line(msg)) from None


def _applied(content: Any, operations: list[Json], source: str) -> Any:
    """The content with a patch applied, itself unchanged.

    A copy that holds what it is copied into doubles the content: forty such operations would fill any memory.
    """
    content = copy.deepcopy(content)
    copied = 0
    for operation in operations:
        if operation.get("op") == "copy" and isinstance(operation.get("from"), str):
            copied += require_plain(jsonpointer.resolve_pointer(content, operation["from"]), source)
            if copied > MOST_COPIED:
                msg = f"{source}: its copies hold more than {MOST_COPIED} values. Is it the patch of a workspace?"
                raise ToymillError(msg)
        content = jsonpatch.apply_patch(content, [operation], in_place=True)
    require_plain(content, source)
    return content


def load_json(path: Path) -> Any:
    """The content of a JSON file; raises ToymillError if it cannot be read or is not JSON."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        msg = f"{one_line(path)} is not text in UTF-8, so not JSON. Is it an archive to unpack first?"
        raise ToymillError(msg) from None
    except FileNotFoundError:
        msg = f"There is {one_line(no_file(path))}"
        raise ToymillError(msg) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        msg = f"Cannot read {one_line(path)}: {reason}. Expected a JSON file."
        raise ToymillError(msg) from None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if Path(path).suffix in (".yaml", ".yml") and re.search(r"^study\s*:", text, re.MULTILINE):
            msg = f"{one_line(path)} is {NO_WORKSPACE['study']}"
            raise ToymillError(msg) from None
        python = " A model in Python needs kind: python beside its path." if str(path).endswith(".py") else ""
        msg = f"{one_line(path)} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.{python}"
        raise ToymillError(msg) from None
    except (ValueError, RecursionError) as error:
        msg = f"{one_line(path)} is no JSON that can be read: {error}."
        raise ToymillError(msg) from None


def _operations(number: int, patch: Patch, original: object, source: str) -> tuple[str, list[Json]]:
    """A patch's name for messages, and its operations."""
    if isinstance(patch, tuple) and len(patch) != 2:
        msg = f"patch {number} is {shortened(patch)}; expected a patch set and the name of one of its patches."
        raise ToymillError(msg)
    holder, wanted = patch if isinstance(patch, tuple) else (patch, None)
    origin = one_line(holder) if isinstance(holder, str | Path) else f"patch {number}"
    content: Any = load_json(Path(holder)) if isinstance(holder, str | Path) else holder
    require_plain(content, origin)
    is_set = isinstance(content, dict) and "patches" in content
    if wanted is None and not is_set:
        if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
            msg = f"{origin} is no JSON patch: expected a list of operations; got {shortened(content)}."
            raise ToymillError(msg)
        return origin, content
    if not is_set:
        msg = f"{origin} is no patch set, so it has no patch {wanted!r}. A JSON patch is given alone, without a name."
        raise ToymillError(msg)
    entries = validate(_PatchSet, content, origin)
    names = [item.metadata.name for item in entries.patches]
    refuse_duplicates(names, f"patch in {origin}")
    if wanted is None:
        listed = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        msg = (
            f"{origin} is a patch set of {len(names)} ({listed}), not a JSON patch. Name one of its patches: {{path: …, "
            f"patch: {names[0]}}} in a study, (…, {names[0]!r}) in Python."
        )
        raise ToymillError(msg)
    if wanted not in names:
        msg = f"{origin} has no patch {wanted!r}. {nearest(wanted, names)}"
        raise ToymillError(msg)
    _verify(entries.metadata.digests, origin, original, source)
    return f"{origin}, patch {wanted!r},", entries.patches[names.index(wanted)].patch


def _verify(digests: dict[str, str], origin: str, original: object, source: str) -> None:
    """Refuse a patch set whose digests are not those of the file before any patch, as pyhf computes them."""
    known = {name: value for name, value in digests.items() if name in {"md5", "sha256"}}
    if not known:
        msg = f"{origin} has no metadata.digests (md5 or sha256), so nothing says that it belongs to {source}."
        raise ToymillError(msg)
    text = json.dumps(original, sort_keys=True, ensure_ascii=False).encode(errors="surrogatepass")
    for name, expected in known.items():
        got = hashlib.new(name, text, usedforsecurity=False).hexdigest()
        if got != expected.lower():
            msg = (
                f"{origin} belongs to another workspace than {source}: it expects the {name} digest {expected}; got "
                f"{got}. Take the workspace that was published with it, unchanged."
            )
            raise ToymillError(msg)
