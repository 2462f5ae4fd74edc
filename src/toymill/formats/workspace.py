"""A pyhf/HistFactory workspace: its schema, what is pruned and renamed, and the choice of a measurement."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from toymill.errors import ToymillError, nearest
from toymill.formats.validation import Json, refuse_duplicates, validate

TWO_SIGNALS = " If two patches add it, they may be two signals that exclude each other: give one."
"""What to do about two samples of one name."""

FiniteFloat = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


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
    fixed: StrictBool | None = None


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


class NormSysSettings(_Strict):
    """How a normsys is interpolated."""

    interpcode: Literal["code1", "code4"]
    """`code1`: exponential; `code4`: exponential beyond ±1, joined inside by a polynomial."""


class HistoSysSettings(_Strict):
    """How a histosys is interpolated."""

    interpcode: Literal["code0", "code2", "code4p"]
    """`code0`: linear; `code2`: quadratic inside ±1, linear beyond; `code4p`: linear beyond ±1, joined inside by a polynomial."""


class ModifierSettings(_Strict):
    """pyhf's `modifier_settings`; both or none, since pyhf takes another default for the one that is left out."""

    normsys: NormSysSettings
    """How every normsys is interpolated."""
    histosys: HistoSysSettings
    """How every histosys is interpolated."""

    @model_validator(mode="before")
    @classmethod
    def _both(cls, value: object) -> object:
        missing = [key for key in cls.model_fields if isinstance(value, Mapping) and key not in value]
        if missing:
            msg = (
                f"{missing[0]} is missing: give normsys and histosys both, for pyhf takes code1 and code0 where one is "
                "left out, and code4 and code4p where both are"
            )
            raise ValueError(msg)
        return value

    @property
    def codes(self) -> dict[str, str]:
        """The interpolation code of each modifier type."""
        return {"normsys": self.normsys.interpcode, "histosys": self.histosys.interpcode}


DEFAULT_SETTINGS = ModifierSettings(
    normsys=NormSysSettings(interpcode="code4"), histosys=HistoSysSettings(interpcode="code4p")
)
"""pyhf's interpolations of a workspace."""


class Prune(_Strict):
    """What is removed from a workspace, as pyhf's `Workspace.prune` does."""

    channels: list[str] = []
    """Channels to remove, with their observations."""
    samples: list[str] = []
    """Samples to remove from every channel."""
    modifiers: list[str] = []
    """Modifiers to remove from every sample, by name."""
    modifier_types: list[str] = []
    """Types of modifiers to remove from every sample."""
    measurements: list[str] = []
    """Measurements to remove."""


class Rename(_Strict):
    """What is renamed in a workspace, after pruning, as pyhf's `Workspace.rename` does."""

    channels: dict[str, str] = {}
    """New names of channels, by their old ones."""
    samples: dict[str, str] = {}
    """New names of samples, by their old ones."""
    modifiers: dict[str, str] = {}
    """New names of modifiers and their parameters, by their old ones. Modifiers of one name share a parameter."""
    measurements: dict[str, str] = {}
    """New names of measurements, by their old ones."""


@dataclass(frozen=True)
class Workspace:
    """A checked workspace with one measurement chosen.

    Attributes:
        source: where it was read from, for messages.
        channels: channels sorted by name, as pyhf orders them.
        observations: counts of each channel, by channel name.
        measurement: the chosen measurement.
        poi: name of the parameter of interest ("" for none).
        modifier_settings: how modifiers are interpolated.
        digest: SHA-256 of the workspace as patched, pruned and renamed, and of these choices.
    """

    source: str
    channels: tuple[Channel, ...]
    observations: dict[str, list[float]]
    measurement: Measurement
    poi: str
    modifier_settings: ModifierSettings
    digest: str


def parse_workspace(
    content: object,
    source: str,
    *,
    measurement: str | None = None,
    poi: str | None = None,
    modifier_settings: ModifierSettings = DEFAULT_SETTINGS,
    prune: Prune | None = None,
    rename: Rename | None = None,
) -> Workspace:
    """Check a workspace and choose a measurement.

    Args:
        content: what the JSON file holds, patches applied.
        source: where it was read from, for messages.
        measurement: name of a measurement; the first one if None.
        poi: name of the parameter of interest; the measurement's if None, none at all if "".
        modifier_settings: how modifiers are interpolated.
        prune: what to remove.
        rename: what to rename, once pruned.

    Raises:
        ToymillError: a schema violation, an unknown measurement, duplicate names, observations that are missing
            or of another length, and what ``prune`` and ``rename`` name that is not there.
    """
    parsed = validate(_WorkspaceFile, content, source)
    if prune is not None and prune != Prune():
        content = _pruned(cast("Json", content), parsed, prune, source)
        parsed = validate(_WorkspaceFile, content, f"{source} (pruned)")
    if rename is not None and rename != Rename():
        content = _renamed(
            cast("Json", content), parsed, rename, f"{source} (pruned)" if prune not in (None, Prune()) else source
        )
        parsed = validate(_WorkspaceFile, content, f"{source} (renamed)")
    refuse_duplicates([item.name for item in parsed.channels], f"channel in {source}")
    refuse_duplicates([item.name for item in parsed.measurements], f"measurement in {source}")
    refuse_duplicates([item.name for item in parsed.observations], f"observation in {source}")
    for channel in parsed.channels:
        where = f"sample in {source}: channel {channel.name!r}"
        refuse_duplicates([sample.name for sample in channel.samples], where, TWO_SIGNALS)
    chosen = _choose_measurement(parsed, measurement, source)
    refuse_duplicates(
        [item.name for item in chosen.config.parameters],
        f"parameter configuration in {source}: measurement {chosen.name!r}",
    )
    name = chosen.config.poi if poi is None else poi
    identity = json.dumps([content, chosen.name, name, modifier_settings.codes], sort_keys=True, separators=(",", ":"))
    return Workspace(
        source=source,
        channels=tuple(sorted(parsed.channels, key=lambda channel: channel.name)),
        observations=_observations(parsed, source),
        measurement=chosen,
        poi=name,
        modifier_settings=modifier_settings,
        digest=hashlib.sha256(identity.encode()).hexdigest(),
    )


def _modifiers_of(parsed: _WorkspaceFile) -> list[Modifier]:
    return [item for channel in parsed.channels for sample in channel.samples for item in sample.modifiers]


def _known(parsed: _WorkspaceFile) -> dict[str, set[str]]:
    """What a workspace holds that may be pruned or renamed, by kind."""
    return {
        "channels": {channel.name for channel in parsed.channels},
        "samples": {sample.name for channel in parsed.channels for sample in channel.samples},
        "modifiers": {item.name for item in _modifiers_of(parsed)},
        "modifier_types": {item.type for item in _modifiers_of(parsed)},
        "measurements": {item.name for item in parsed.measurements},
    }


def _require_known(verb: str, wanted: Mapping[str, Iterable[str]], parsed: _WorkspaceFile, source: str) -> None:
    known = _known(parsed)
    for kind, names in wanted.items():
        for name in names:
            if name not in known[kind]:
                noun = kind[:-1].replace("_", " ")
                msg = f"{verb}.{kind}: {source} has no {noun} {name!r}. {nearest(name, sorted(known[kind]))}"
                raise ToymillError(msg)


def _pruned(content: Json, parsed: _WorkspaceFile, prune: Prune, source: str) -> Json:
    _require_known("prune", prune.model_dump(), parsed, source)
    pruned = copy.deepcopy(content)
    pruned["channels"] = [channel for channel in pruned["channels"] if channel["name"] not in prune.channels]
    for channel in pruned["channels"]:
        channel["samples"] = [sample for sample in channel["samples"] if sample["name"] not in prune.samples]
        for sample in channel["samples"]:
            sample["modifiers"] = [
                item
                for item in sample["modifiers"]
                if item["name"] not in prune.modifiers and item["type"] not in prune.modifier_types
            ]
    pruned["measurements"] = [item for item in pruned["measurements"] if item["name"] not in prune.measurements]
    for item in pruned["measurements"]:
        parameters = item["config"].get("parameters", [])
        item["config"]["parameters"] = [entry for entry in parameters if entry["name"] not in prune.modifiers]
    pruned["observations"] = [item for item in pruned["observations"] if item["name"] not in prune.channels]
    return pruned


def _renamed(content: Json, parsed: _WorkspaceFile, rename: Rename, source: str) -> Json:
    _require_known("rename", rename.model_dump(), parsed, source)
    renamed = copy.deepcopy(content)

    def put(items: list[Json], names: dict[str, str]) -> None:
        for item in items:
            item["name"] = names.get(item["name"], item["name"])

    put(renamed["channels"], rename.channels)
    put(renamed["observations"], rename.channels)
    put(renamed["measurements"], rename.measurements)
    for channel in renamed["channels"]:
        put(channel["samples"], rename.samples)
        for sample in channel["samples"]:
            put(sample["modifiers"], rename.modifiers)
    for item in renamed["measurements"]:
        config = item["config"]
        put(config.get("parameters", []), rename.modifiers)
        config["poi"] = rename.modifiers.get(config["poi"], config["poi"])
    return renamed


def _choose_measurement(parsed: _WorkspaceFile, name: str | None, source: str) -> Measurement:
    if name is None:
        return parsed.measurements[0]
    for candidate in parsed.measurements:
        if candidate.name == name:
            return candidate
    msg = f"{source} has no measurement {name!r}. {nearest(name, [item.name for item in parsed.measurements])}"
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
