"""An HS3 file, opened: one of its analyses, with the values and bounds of parameters."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from toymill.errors import ToymillError, nearest
from toymill.formats import hs3_schema
from toymill.formats.specification import location
from toymill.formats.validation import Json, Schema, refuse_duplicates, validate


@dataclass
class HS3File:
    """An HS3 file with one analysis chosen.

    Attributes:
        content: what the file holds.
        source: where it was read from, for messages.
        analysis: the chosen analysis.
        root: True if ROOT wrote the file.
        values: what the file says of a parameter's value, by its name.
        bounds: lower and upper bounds of parameters, by name.
    """

    content: Json
    source: str
    analysis: Json
    root: bool
    values: dict[str, Json] = field(default_factory=dict)
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)

    def refuse(self, text: str) -> ToymillError:
        """An error with the file's name."""
        return ToymillError(f"{self.source}: {text}")

    def items(self, key: str) -> list[Json]:
        """A list of the file."""
        found: list[Json] = self.content.get(key) or []
        return found

    def named(self, key: str, name: str, asked: str) -> Json:
        """The item of a list with that name; raises ToymillError, with who asks for it, if there is none."""
        for item in self.items(key):
            if item["name"] == name:
                return item
        names = [item["name"] for item in self.items(key)]
        msg = f"{asked} names {name!r}, which is not among its {key}. {nearest(name, names)}"
        raise self.refuse(msg)


def open_file(content: Json, source: str, analysis: str | None) -> HS3File:
    """Check a file, choose an analysis, and read its parameters' values and bounds.

    Raises:
        ToymillError: a schema violation, duplicate names, no such analysis, several and none named.
    """
    parsed = validate(hs3_schema.File, content, source)
    for key in ("distributions", "data", "likelihoods", "analyses", "domains", "parameter_points"):
        refuse_duplicates([item.name for item in getattr(parsed, key)], f"{key} in {source}")
    for points in parsed.parameter_points:
        refuse_duplicates([item.name for item in points.parameters], f"parameter_points {points.name!r} in {source}")
    packages = parsed.metadata.packages if parsed.metadata else None
    file = HS3File(content, source, {}, root="ROOT" in {item.name for item in packages or []})
    analyses = {item["name"]: item for item in file.items("analyses")}
    if analysis is None and len(analyses) > 1:
        msg = f"it holds several analyses: {', '.join(analyses)}. Name one as measurement."
        raise file.refuse(msg)
    chosen = analysis if analysis is not None else next(iter(analyses))
    if chosen not in analyses:
        msg = f"it has no analysis {chosen!r}. {nearest(chosen, analyses)}"
        raise file.refuse(msg)
    file.analysis = analyses[chosen]
    _read_points(file)
    _read_domains(file)
    file.root = file.root or any(name.startswith("nom_") for name in file.values)
    return file


def _read_points(file: HS3File) -> None:
    """Values of parameters: of the analysis' set, else of ROOT's ``default_values``, else of the others."""
    first = [file.analysis.get("init"), "default_values"]
    sets = sorted(
        file.items("parameter_points"), key=lambda item: first.index(item["name"]) if item["name"] in first else 2
    )
    for item in sets:
        for value in item.get("parameters", []):
            file.values.setdefault(str(value.get("name")), value)


def _read_domains(file: HS3File) -> None:
    wanted = [*file.analysis.get("domains", []), "default_domain"]
    domains = {item["name"]: item for item in file.items("domains")}
    for name in wanted:
        for axis in domains.get(name, {}).get("axes", []):
            file.bounds.setdefault(str(axis.get("name")), (axis.get("min", -np.inf), axis.get("max", np.inf)))


def parse(file: HS3File, schema: type[Schema], content: object, where: str) -> Schema:
    """A part of the file as an instance of its schema; refuses what is not HistFactory."""
    return validate(schema, content, f"{file.source}: {where}", advice=" Only HistFactory is read.")


def where_of(
    file: HS3File,
    distribution: hs3_schema.Distribution,
    sample: hs3_schema.Sample,
    modifier: hs3_schema.AnyModifier,
) -> str:
    """Where a modifier stands, for messages."""
    return location(file.source, distribution.channel, sample.name, f"{modifier.type} {modifier.name!r}")
