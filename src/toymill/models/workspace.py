"""Reading a pyhf/HistFactory workspace: JSON, patches, schema, and the choice of a measurement.

Nothing here needs JAX, so that the workflow can check a workspace before any job starts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonpatch
import jsonpointer
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from toymill.errors import ToymillError, nearest

FiniteFloat = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NormSysData(_Strict):
    """Factors at one standard deviation up and down."""

    hi: FiniteFloat
    lo: FiniteFloat


class HistoSysData(_Strict):
    """Yields at one standard deviation up and down."""

    hi_data: list[FiniteFloat]
    lo_data: list[FiniteFloat]


class NormSys(_Strict):
    """A constrained change of a yield, as a factor."""

    name: str
    type: Literal["normsys"]
    data: NormSysData


class HistoSys(_Strict):
    """A constrained change of a shape, added."""

    name: str
    type: Literal["histosys"]
    data: HistoSysData


class ShapeSys(_Strict):
    """An uncertainty of each bin of one sample, with Poisson constraints."""

    name: str
    type: Literal["shapesys"]
    data: list[FiniteFloat]


class StatError(_Strict):
    """Monte Carlo statistical uncertainties, shared by the samples of a channel."""

    name: str
    type: Literal["staterror"]
    data: list[FiniteFloat]


class NormFactor(_Strict):
    """A free factor."""

    name: str
    type: Literal["normfactor"]
    data: None = None


class ShapeFactor(_Strict):
    """A free factor for each bin."""

    name: str
    type: Literal["shapefactor"]
    data: None = None


class Lumi(_Strict):
    """The luminosity, which the measurement configures."""

    name: Literal["lumi"]
    type: Literal["lumi"]
    data: None = None


Modifier = Annotated[
    NormSys | HistoSys | ShapeSys | StatError | NormFactor | ShapeFactor | Lumi, Field(discriminator="type")
]


class Sample(_Strict):
    """A process in a channel: yields and modifiers."""

    name: str
    data: Annotated[list[FiniteFloat], Field(min_length=1)]
    modifiers: list[Modifier]


class Channel(_Strict):
    """A histogram of events: its samples add up."""

    name: str
    samples: Annotated[list[Sample], Field(min_length=1)]


class Observation(_Strict):
    """The observed counts of a channel."""

    name: str
    data: list[FiniteFloat]


class ParameterConfig(_Strict):
    """What a measurement says of a parameter, in place of the defaults."""

    name: str
    inits: list[FiniteFloat] | None = None
    bounds: list[tuple[FiniteFloat, FiniteFloat]] | None = None
    auxdata: list[FiniteFloat] | None = None
    factors: list[FiniteFloat] | None = None
    sigmas: list[FiniteFloat] | None = None
    fixed: bool | None = None


class MeasurementConfig(_Strict):
    """The parameter of interest, and parameter configurations."""

    poi: str
    parameters: list[ParameterConfig] = []


class Measurement(_Strict):
    """A named measurement."""

    name: str
    config: MeasurementConfig


class _WorkspaceFile(_Strict):
    channels: Annotated[list[Channel], Field(min_length=1)]
    measurements: Annotated[list[Measurement], Field(min_length=1)]
    observations: list[Observation]
    version: Literal["1.0.0"]


@dataclass(frozen=True)
class Workspace:
    """A checked workspace with one measurement chosen.

    Attributes:
        source: where it was read from, for messages.
        channels: channels sorted by name, as pyhf orders them.
        observations: counts of each channel, by channel name.
        measurement: the chosen measurement.
        poi: name of the parameter of interest ("" for none).
        digest: SHA-256 of the patched workspace, the measurement's name and the POI.
    """

    source: str
    channels: tuple[Channel, ...]
    observations: dict[str, list[float]]
    measurement: Measurement
    poi: str
    digest: str


def load_workspace(
    path: str | Path | dict[str, Any],
    *,
    measurement: str | None = None,
    patches: Sequence[str | Path | list[dict[str, Any]]] = (),
    poi: str | None = None,
) -> Workspace:
    """Read and check a workspace.

    Args:
        path: a JSON file, or its content.
        measurement: name of a measurement; the first one if None.
        patches: JSON patches (files or contents), applied in order.
        poi: name of the parameter of interest; the measurement's if None.

    Raises:
        ToymillError: unreadable file, not JSON, a patch that does not apply, a schema violation,
            an unknown measurement, duplicate names, observations that are missing or too short.
    """
    source = "workspace" if isinstance(path, dict) else str(path)
    content = path if isinstance(path, dict) else _load_json(Path(path))
    for number, patch in enumerate(patches):
        origin = f"patch {number}" if isinstance(patch, list) else str(patch)
        operations = patch if isinstance(patch, list) else _load_json(Path(patch))
        content = _apply_patch(content, operations, origin=origin, source=source)
    parsed = _validate(content, source)
    chosen = _choose_measurement(parsed, measurement, source)
    _refuse_duplicates([channel.name for channel in parsed.channels], f"channel in {source}")
    for channel in parsed.channels:
        _refuse_duplicates([sample.name for sample in channel.samples], f"sample in {source}: channel {channel.name!r}")
    _refuse_duplicates(
        [item.name for item in chosen.config.parameters],
        f"parameter configuration in {source}: measurement {chosen.name!r}",
    )
    name = chosen.config.poi if poi is None else poi
    identity = json.dumps([content, chosen.name, name], sort_keys=True, separators=(",", ":"))
    return Workspace(
        source=source,
        channels=tuple(sorted(parsed.channels, key=lambda channel: channel.name)),
        observations=_observations(parsed, source),
        measurement=chosen,
        poi=name,
        digest=hashlib.sha256(identity.encode()).hexdigest(),
    )


def _load_json(path: Path) -> Any:
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


def _apply_patch(content: Any, operations: Any, *, origin: str, source: str) -> Any:
    if isinstance(operations, dict) and "patches" in operations:
        names = ", ".join(str(item.get("metadata", {}).get("name")) for item in operations["patches"][:5])
        msg = (
            f"{origin} is a patchset ({names}, …), not a JSON patch. Give one of its patches: save the "
            "list under its 'patch' key to a file."
        )
        raise ToymillError(msg)
    try:
        return jsonpatch.apply_patch(content, operations)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError) as error:
        msg = f"{origin} does not apply to {source}: {error}. Is it the patch of another workspace?"
        raise ToymillError(msg) from None


def _validate(content: Any, source: str) -> _WorkspaceFile:
    try:
        return _WorkspaceFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        more = f" ({error.error_count() - 1} more like it)" if error.error_count() > 1 else ""
        got = repr(first["input"])
        got = got if len(got) <= 80 else got[:77] + "…"
        msg = f"{source}: {_where(content, first['loc'])}: {first['msg']}; got {got}{more}."
        raise ToymillError(msg) from None


def _where(content: Any, location: tuple[Any, ...]) -> str:
    """A location in words: list positions become the names of what stands there."""
    words, here = [], content
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


def _choose_measurement(parsed: _WorkspaceFile, name: str | None, source: str) -> Measurement:
    if name is None:
        return parsed.measurements[0]
    for candidate in parsed.measurements:
        if candidate.name == name:
            return candidate
    msg = f"{source} has no measurement {name!r}. {nearest(name, [item.name for item in parsed.measurements])}"
    raise ToymillError(msg)


def _refuse_duplicates(names: list[str], what: str) -> None:
    for name in names:
        if names.count(name) > 1:
            msg = f"Two of one name, {what}: {name!r}. Names must be unique."
            raise ToymillError(msg)


def _observations(parsed: _WorkspaceFile, source: str) -> dict[str, list[float]]:
    observed = {item.name: item.data for item in parsed.observations}
    for channel in parsed.channels:
        bins = len(channel.samples[0].data)
        if channel.name not in observed:
            msg = f"{source}: channel {channel.name!r} has no observation. {nearest(channel.name, observed)}"
            raise ToymillError(msg)
        if len(observed[channel.name]) != bins:
            msg = (
                f"{source}: the observation of channel {channel.name!r} has {len(observed[channel.name])} "
                f"bins; its samples have {bins}."
            )
            raise ToymillError(msg)
        if min(observed[channel.name]) < 0:
            msg = f"{source}: the observation of channel {channel.name!r} has a negative count."
            raise ToymillError(msg)
    return observed
