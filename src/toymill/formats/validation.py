"""Checking a file's content against a schema, with messages that name the place in the words of the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from toymill.errors import ToymillError, one_line
from toymill.parameters import NO_TEXT

Schema = TypeVar("Schema", bound=BaseModel)

Json = dict[str, Any]
"""A JSON object."""

DEEPEST = 100
"""Levels of lists and objects in a file; what reads it recursively would end in an overflow of the stack."""

UNKNOWN_KEY = "unknown_key"
"""Type of the error of a schema that names a key itself, so that the message needs not show what holds it."""

_LARGEST = 1024  # bits of an integer


def require_plain(content: object, source: str) -> int:
    """Refuse what no file of a model holds, and what would break a reader or a writer: of any format, before it is read.

    Returns the number of values.

    Raises:
        ToymillError: objects and lists more than ``DEEPEST`` levels deep, text with control characters or lone
            surrogates, keys that are no text, integers beyond a float, what JSON has not.
    """
    open_: list[tuple[object, int]] = [(content, 1)]
    values = 0
    while open_:
        here, level = open_.pop()
        values += 1
        if isinstance(here, str):
            found = NO_TEXT.search(here)
            if found:
                msg = f"{source}: the text {shortened(here)} has the character {found[0]!a}, which names cannot have."
                raise ToymillError(msg)
        elif isinstance(here, Mapping | list | tuple):
            if level > DEEPEST:
                msg = f"{source} has lists or objects more than {DEEPEST} levels deep. No model is stated like that."
                raise ToymillError(msg)
            if isinstance(here, Mapping):
                wrong = next((key for key in here if not isinstance(key, str)), None)
                if wrong is not None:
                    msg = f"{source} has a key that is no text, {shortened(wrong)}. Put it in quotes."
                    raise ToymillError(msg)
                open_.extend((key, level) for key in here)
                open_.extend((value, level + 1) for value in here.values())
            else:
                open_.extend((value, level + 1) for value in here)
        elif not isinstance(here, int | float | None) or (isinstance(here, int) and here.bit_length() > _LARGEST):
            msg = f"{source} holds {shortened(here)}; expected text, true, false, null, or a number below 1.8e308."
            raise ToymillError(msg)
    return values


def validate(schema: type[Schema], content: object, source: str, *, advice: str = "") -> Schema:
    """The content as an instance of the schema.

    Raises:
        ToymillError: naming the source, the place of the first violation, and what was got there.
    """
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        more = f" ({error.error_count() - 1} more like it)" if error.error_count() > 1 else ""
        text = re.sub(r"^Value error, ", "", first["msg"])
        text = re.sub(r"a valid dictionary or (an )?instance of \w+", "an object, {…}", text)
        got = "" if first["type"] == UNKNOWN_KEY else f"; got {shortened(first['input'])}"
        msg = f"{source}: {_where(content, first['loc'])}: {text}{got}{more}.{advice}"
        raise ToymillError(one_line(msg)) from None


def shortened(value: object) -> str:
    """A value for a message, of 80 letters at most."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # too deep, or an integer of more digits than Python writes
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "…"


def refuse_duplicates(names: Iterable[str], what: str, advice: str = "") -> None:
    """Raises ToymillError if a name occurs twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            msg = f"Two of one name, {what}: {name!r}. Names must be unique.{advice}"
            raise ToymillError(msg)
        seen.add(name)


def _where(content: object, location: tuple[int | str, ...]) -> str:
    """A location in words: list positions become the names of what stands there."""
    words: list[str] = []
    here: Any = content
    for step in location:
        if isinstance(here, dict) and step not in here and step == here.get("type"):
            continue  # the discriminator that pydantic puts into the location
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            here = None
        named = isinstance(step, int) and isinstance(here, dict) and "name" in here
        words.append(repr(here["name"]) if named else str(step))
    return " → ".join(words) or "top level"
