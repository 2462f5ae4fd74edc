"""Checking a file's content against a schema, with messages that name the place in the words of the file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from toymill.errors import ToymillError

Schema = TypeVar("Schema", bound=BaseModel)

Json = dict[str, Any]
"""A JSON object."""


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
        msg = f"{source}: {_where(content, first['loc'])}: {text}; got {shortened(first['input'])}{more}.{advice}"
        raise ToymillError(msg) from None


def shortened(value: object) -> str:
    """A value for a message, of 80 letters at most."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


def refuse_duplicates(names: Iterable[str], what: str) -> None:
    """Raises ToymillError if a name occurs twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            msg = f"Two of one name, {what}: {name!r}. Names must be unique."
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
