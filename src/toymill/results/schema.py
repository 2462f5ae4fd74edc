"""What ``model.json`` and ``summary.json`` hold: their JSON schemas, and the tables of fields in docs/file-format.md.

``python -m toymill.results.schema`` writes all of them anew, from the records.
"""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter

from toymill.record import Record
from toymill.results.description import DESCRIPTION, Description
from toymill.results.summary import SUMMARY, ComparisonSummary, Summary
from toymill.results.tally import ADDITIVE, CELLS, CONTEXT, NEGATIVE, Tally

SCHEMAS: Mapping[Path, TypeAdapter[Description] | TypeAdapter[Summary | ComparisonSummary]] = {
    Path("workflow/schemas/model.schema.json"): DESCRIPTION,
    Path("workflow/schemas/summary.schema.json"): SUMMARY,
}
"""What each file of a schema is the schema of."""

PAGE = Path("docs/file-format.md")
"""The page that has a table of fields for each of ``TABLES``."""

TABLES: Mapping[str, type[Record]] = {
    "model.json": Description,
    "summary.json": Summary,
    "summary.json of optimisers": ComparisonSummary,
}
"""The records whose fields are told in ``PAGE``, each between two comments that have its name."""


def schema_text(kind: TypeAdapter[Description] | TypeAdapter[Summary | ComparisonSummary]) -> str:
    """The schema as JSON text."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **kind.json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def with_tables(page: str) -> str:
    """The page with its tables of fields made anew.

    Raises:
        ValueError: a page without the comments between which a table stands.
    """
    tables = {name: _tables(record) for name, record in TABLES.items()} | {"tally": _tally_table()}
    for name, table in tables.items():
        begin, end = f"<!-- fields of {name} -->", f"<!-- end of fields of {name} -->"
        before, found, rest = page.partition(begin)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            msg = f"{PAGE} has no place for the fields of {name}; expected one, between {begin} and {end}."
            raise ValueError(msg)
        page = f"{before}{begin}\n\n{table}\n{end}{after}"
    return page


def _tables(record: type[Record]) -> str:
    """A table for a record, and one for each record inside it, under the path that leads there."""
    parts = []
    told: dict[type[BaseModel], str] = {}
    for path, item in _inside(record, ""):
        if item in told:
            parts.append(textwrap.fill(f"`{path}`: as `{told[item]}`.", 100, break_on_hyphens=False) + "\n")
            continue
        told[item] = path
        title = textwrap.fill(f"`{path}`: {item.__doc__}" if path else str(item.__doc__), 100, break_on_hyphens=False)
        rows = [
            f"| `{key}` | {_word(field.annotation)} | {' '.join(str(field.description).split())} |"
            for key, field in item.model_fields.items()
        ]
        parts.append("\n".join([title, "", "| key | type | meaning |", "|---|---|---|", *rows, ""]))
    return "\n".join(parts)


def _tally_table() -> str:
    """A table of the datasets of a tally, from the docstring of ``Tally``."""
    _, _, attributes = inspect.cleandoc(str(Tally.__doc__)).partition("Attributes:\n")
    entries = re.sub(r"\n {5,}", " ", attributes).splitlines()
    told = dict(line.strip().split(": ", 1) for line in entries)
    names = [
        name for name in (*CONTEXT, *ADDITIVE, *CELLS, *NEGATIVE, "smallest", "most_iterations") if name != "roots"
    ]
    rows = [f"| `tally/{name}` | {told[name].replace('``', '`')} |" for name in names]
    return "\n".join(["| dataset | content |", "|---|---|", *rows, ""])


def _inside(record: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """A record and those inside it, each with the path of keys that leads there."""
    yield path, record
    for key, field in record.model_fields.items():
        for steps, item in _records(field.annotation):
            yield from _inside(item, f"{path}.{key}{steps}".lstrip("."))


def _records(annotation: object) -> Iterator[tuple[str, type[BaseModel]]]:
    """The records in a type, each with the steps from the key to it: ``[]`` of a list, ``.<name>`` of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "", annotation
        return
    origin, arguments = get_origin(annotation), get_args(annotation)
    step = "[]" if origin is list else ""
    if origin is dict:
        key = arguments[0]
        step = f".<{get_args(key)[1] if get_origin(key) is Annotated else 'name'}>"
    for argument in arguments:
        for further, item in _records(argument):
            yield step + further, item


_WORDS: Mapping[object, str] = {
    float: "number",
    int: "integer",
    bool: "true or false",
    str: "text",
    type(None): "null",
}


def _word(annotation: object) -> str:
    """A type in words.

    Raises:
        KeyError: a type that has none, like a name that a record used before it was defined.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _word(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(map(_word, arguments))
    if origin is Literal:
        return " or ".join(f"`{item}`" for item in arguments)
    if origin in (dict, list, tuple):
        inside = _word(arguments[1 if origin is dict else 0])
        inside = f"({inside})" if " or " in inside and not inside.startswith(("list", "mapping")) else inside
        return f"{'mapping' if origin is dict else 'list'} of {inside}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return _WORDS[annotation]


def main() -> None:
    """Write the schemas and the tables anew."""
    for path, kind in SCHEMAS.items():
        path.write_text(schema_text(kind), encoding="utf-8")
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
