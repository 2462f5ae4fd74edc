"""From a file to a specification: pyhf workspaces and HS3 files, with patches. Needs no JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from toymill.errors import ToymillError, nearest
from toymill.formats.hs3 import is_hs3, specify_hs3
from toymill.formats.kinds import NO_WORKSPACE, kind_of
from toymill.formats.modifiers import specify
from toymill.formats.patches import Patch, load_patched
from toymill.formats.settings import ParameterSettings, settle
from toymill.formats.specification import Specification
from toymill.formats.validation import Json
from toymill.formats.workspace import DEFAULT_SETTINGS, ModifierSettings, Prune, Rename, parse_workspace

Settings = TypeVar("Settings", bound=BaseModel)


def read_specification(
    path: str | Path | Json,
    *,
    measurement: str | None = None,
    patches: Sequence[Patch] = (),
    poi: str | None = None,
    modifier_settings: ModifierSettings | Mapping[str, Mapping[str, str]] | None = None,
    prune: Prune | Mapping[str, Sequence[str]] | None = None,
    rename: Rename | Mapping[str, Mapping[str, str]] | None = None,
    parameters: Mapping[str, ParameterSettings | Mapping[str, object]] | None = None,
) -> Specification:
    """Read and check a pyhf workspace or an HS3 file.

    Args:
        path: a JSON file, or its content.
        measurement: name of a measurement, of an analysis in HS3; a workspace's first one if None.
        patches: JSON patches, applied in order, each a file or its content; of a patch set a tuple of the file and the
            patch's name.
        poi: name of the parameter of interest; the measurement's if None, none at all if "".
        modifier_settings: pyhf's interpolation codes; code4 for normsys and code4p for histosys if None.
        prune: what to remove from a workspace: ``channels``, ``samples``, ``modifiers``, ``modifier_types``,
            ``measurements``.
        rename: new names by old ones, for ``channels``, ``samples``, ``modifiers``, ``measurements``.
        parameters: ``init``, ``bounds`` and ``fixed`` of parameters in place of the file's, by name.

    Raises:
        ToymillError: a file, a patch or a setting that cannot be used.
    """
    for name, value in (("measurement", measurement), ("poi", poi)):
        if value is not None and not isinstance(value, str):
            msg = f"{name} is {value!r}; expected a name."
            raise ToymillError(msg)
    if not isinstance(parameters, Mapping | None):
        msg = f"parameters is {parameters!r}; expected a mapping of names, each to init, bounds or fixed."
        raise ToymillError(msg)
    settled = {name: _settings(item, f"parameters.{name}") for name, item in (parameters or {}).items()}
    content, source = load_patched(path, patches)
    settings = _checked(ModifierSettings, modifier_settings, "modifier_settings")
    removed, renamed = _checked(Prune, prune, "prune"), _checked(Rename, rename, "rename")
    kind = "JSON patch" if isinstance(content, list) else kind_of(content)
    if kind in NO_WORKSPACE:
        msg = f"{source} is {NO_WORKSPACE[kind]}"
        raise ToymillError(msg)
    if is_hs3(content):
        unused = {"prune": removed not in (None, Prune()), "rename": renamed not in (None, Rename())}
        unused["modifier_settings"] = settings not in (None, DEFAULT_SETTINGS)
        for name, given in unused.items():
            if given:
                msg = f"{name}: {source} is an HS3 file, which this does not apply to. Change the file by a JSON patch."
                raise ToymillError(msg)
        return settle(specify_hs3(content, source, analysis=measurement, poi=poi), settled)
    workspace = parse_workspace(
        content,
        source,
        measurement=measurement,
        poi=poi,
        modifier_settings=settings or DEFAULT_SETTINGS,
        prune=removed,
        rename=renamed,
    )
    return settle(specify(workspace), settled)


def _settings(given: ParameterSettings | Mapping[str, object], name: str) -> ParameterSettings:
    return _checked(ParameterSettings, given, name) or ParameterSettings()


def _checked(schema: type[Settings], given: Settings | Mapping[str, object] | None, name: str) -> Settings | None:
    if given is None or isinstance(given, schema):
        return given
    if not isinstance(given, Mapping):
        msg = f"{name} is {given!r}; expected a mapping of {', '.join(schema.model_fields)}."
        raise ToymillError(msg)
    try:
        return schema.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([name, *map(str, first["loc"])])
        if first["type"] == "extra_forbidden":
            msg = f"{key}: unknown key. {nearest(str(first['loc'][-1]), schema.model_fields)}"
        else:
            msg = f"{key}: {first['msg']}; got {first['input']!r}."
        raise ToymillError(msg) from None
