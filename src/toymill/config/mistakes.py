"""What is told of a mistake in a configuration: the key, the value, what is allowed. Needs no JAX."""

from __future__ import annotations

import json
import re

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from toymill.config.ensemble import Ensemble
from toymill.config.keys import advice_on_key
from toymill.config.model import KINDS, NamedPatch, Remote, WorkspaceConfig
from toymill.config.scan import ScanPatch
from toymill.config.sections import SECTIONS, BergerBoosConfig
from toymill.errors import nearest
from toymill.formats.settings import ParameterSettings
from toymill.formats.workspace import ModifierSettings, NormSysSettings, Prune, Rename

_EXPECTED = {
    "dict_type": "expected a mapping, as {key: value}",
    "model_type": "expected a mapping, as {key: value}",
    "list_type": "expected a list, as [value]",
    "string_type": "expected text; put a number in quotes",
    "too_short": "needs at least one",
    "string_pattern_mismatch": "expected letters, digits and . _ + - for a name, 64 digits for a sha256, http… for a url",
}


def explain(error: ErrorDetails, study: type[BaseModel]) -> str:
    """One line for one validation error of a study: key, value, what is allowed."""
    steps = list(error["loc"])
    at = 1 if steps[:1] == ["model"] else 3 if steps[2:3] == ["thrown_from"] else len(steps)
    kind = steps.pop(at) if len(steps) > at and steps[at] in KINDS else "workspace"
    tags = {"str", "Remote", "NamedPatch", "[key]", "section", "files", "ScanPatch", "[source]"}
    location = [str(step) for step in steps if step not in tags]
    key = ".".join(location)
    got = json.dumps(error["input"], default=str)
    got = got if len(got) <= 60 else got[:57] + "…"
    if error["type"] == "extra_forbidden":
        known = _known_keys(study, location[:-1], str(kind))
        return f"{key}: unknown key. {advice_on_key(location[-1], known, _places(study))}"
    if error["type"] == "missing":
        return f"{key}: missing. It is needed; 'toymill manual keys' describes it."
    if error["type"] == "union_tag_invalid":
        return f"{key}.kind: got {error['ctx']['tag']!r}. {nearest(error['ctx']['tag'], KINDS)}"
    advice = ""
    if isinstance(error["input"], str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", error["input"]):
        advice = " (YAML reads 1e4 as text: write 10000, 1.0e+6 or 1.0e-4)"
    if error["type"] == "too_short" and error["ctx"]["min_length"] > 1:
        return f"{key}: needs at least {error['ctx']['min_length']}; got {got}."
    text = _EXPECTED.get(error["type"]) or re.sub(r"^Value error, ", "", error["msg"])
    text = f"{text[0].lower()}{text[1:]}"
    return f"{key}: {text}; got {got}{advice}." if key else f"{text}."


def _sections(study: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The sections that have defaults throughout, and those that ask a question."""
    fields = study.model_fields.items()
    return {name: type(field.default) for name, field in fields if isinstance(field.default, BaseModel)} | {**SECTIONS}


def _places(study: type[BaseModel]) -> dict[str, list[str]]:
    """The keys of a study and of its sections, by where they stand."""
    places: dict[str, type[BaseModel]] = {"a study itself": study, "model": WorkspaceConfig, "ensembles.NAME": Ensemble}
    return {name: [*item.model_fields] for name, item in (places | _sections(study)).items()}


def _known_keys(study: type[BaseModel], location: list[str], kind: str) -> list[str]:
    """The keys that may stand at a place of the configuration."""
    if location[2:3] == ["thrown_from"]:
        location = ["model", *location[3:]]
    inside: dict[str, list[type[BaseModel]]] = {
        "path": [Remote],
        "patches": [Remote] if "path" in location[2:] else [NamedPatch, Remote],
        "prune": [Prune],
        "rename": [Rename],
        "parameters": [ParameterSettings],
        "modifier_settings": [ModifierSettings] if len(location) == 2 else [NormSysSettings],
    }
    sections: dict[str, type[BaseModel]] = {"model": KINDS[kind], "ensembles": Ensemble, **_sections(study)}
    if not location:
        classes: list[type[BaseModel]] = [study]
    elif location[0] == "model" and len(location) > 1:
        classes = inside[location[1]]
    elif location[0] == "scan" and len(location) > 1:
        classes = [ScanPatch, Remote]
    elif location[0] == "interval" and len(location) > 1:
        classes = [BergerBoosConfig]
    else:
        classes = [sections[location[0]]]
    return [key for item in classes for key in item.model_fields]
