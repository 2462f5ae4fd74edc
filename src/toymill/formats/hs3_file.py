"""An HS3 file, opened: one of its analyses, with the values and bounds of parameters."""

from __future__ import annotations

from dataclasses import dataclass, field

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
        bounds: lower and upper bounds of parameters that are in a domain, by name.
        constants: names of parameters that a domain or ROOT's attributes hold.
        numbers: names of parameters of which constraints used the value.
    """

    content: Json
    source: str
    analysis: hs3_schema.Analysis
    root: bool
    values: dict[str, hs3_schema.Point] = field(default_factory=dict)
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)
    constants: set[str] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)

    def refuse(self, text: str) -> ToymillError:
        """An error with the file's name."""
        return ToymillError(f"{self.source}: {text}")

    @property
    def place(self) -> str:
        """The file and its analysis, for messages."""
        return f"{self.source}: analysis {self.analysis.name!r}"

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
        raise ToymillError(msg)


def open_file(content: Json, source: str, analysis: str | None) -> HS3File:
    """Check a file, choose an analysis, and read its parameters' values and bounds.

    Raises:
        ToymillError: a schema violation, duplicate names, no such analysis, several and none named.
    """
    parsed = validate(hs3_schema.File, content, source)
    for key in ("distributions", "functions", "data", "likelihoods", "analyses", "domains", "parameter_points"):
        refuse_duplicates([item.name for item in getattr(parsed, key)], f"{key} in {source}")
    names = [item.name for item in parsed.analyses]
    if analysis is None and len(names) > 1:
        msg = f"{source}: it holds several analyses: {', '.join(names)}. Name one as measurement."
        raise ToymillError(msg)
    chosen = names[0] if analysis is None else analysis
    if chosen not in names:
        msg = f"{source}: it has no analysis {chosen!r}. {nearest(chosen, names)}"
        raise ToymillError(msg)
    stated = validate(hs3_schema.Analysis, content["analyses"][names.index(chosen)], f"{source}: analysis {chosen!r}")
    packages = parsed.metadata.packages if parsed.metadata else None
    file = HS3File(content, source, stated, root="ROOT" in {item.name for item in packages or []})
    _read_points(file)
    _read_domains(file)
    _read_attributes(file)
    file.root = file.root or any(name.startswith("nom_") for name in file.values)
    return file


def _read_points(file: HS3File) -> None:
    """Values of parameters: of the analysis' set, else of ROOT's ``default_values``, else of the others."""
    first = [file.analysis.init, "default_values"]
    if file.analysis.init is not None:
        file.named("parameter_points", file.analysis.init, file.place)
    sets = sorted(
        file.items("parameter_points"), key=lambda item: first.index(item["name"]) if item["name"] in first else 2
    )
    for item in sets:
        points = parse(file, hs3_schema.PointSet, item, f"parameter_points {item['name']!r}")
        refuse_duplicates(
            [value.name for value in points.parameters], f"parameter_points {points.name!r} in {file.source}"
        )
        for value in points.parameters:
            file.values.setdefault(value.name, value)


def _read_domains(file: HS3File) -> None:
    """Ranges of parameters: of the analysis' domains, else of the one that ROOT writes for all parameters."""
    wanted = [file.named("domains", name, file.place) for name in file.analysis.domains]
    wanted += [item for item in file.items("domains") if item["name"] == "default_domain" and item not in wanted]
    for item in wanted:
        for axis in parse(file, hs3_schema.Domain, item, f"domain {item['name']!r}").axes:
            file.bounds.setdefault(axis.name, axis.bounds)
            file.constants |= {axis.name} if axis.const else set()


def _read_attributes(file: HS3File) -> None:
    """ROOT holds what has the tag ``Constant``, also without ``const`` beside its value."""
    found: object = file.content.get("misc")
    for key in ("ROOT_internal", "attributes"):
        found = found.get(key) if isinstance(found, dict) else None
    for name, item in found.items() if isinstance(found, dict) else ():
        tags = item.get("tags") if isinstance(item, dict) else None
        if isinstance(tags, list) and "Constant" in tags:
            file.constants.add(name)


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
