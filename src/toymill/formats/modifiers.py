"""What pyhf makes of a workspace's modifiers: parameters with their constraints, in pyhf's order.

Parameters are ordered by modifier type (histosys, lumi, normfactor, normsys, shapefactor, shapesys,
staterror), within a type as the sorted channels, their sorted samples and their sorted modifiers first
name them; main data by sorted channel; auxiliary data by parameter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from toymill.errors import ToymillError, near, nearest
from toymill.formats import specification as spec
from toymill.formats.specification import Constraint, ParameterSpec, Specification, location
from toymill.formats.workspace import (
    Channel,
    HistoSys,
    Modifier,
    NormSys,
    ParameterConfig,
    Sample,
    ShapeSys,
    StatError,
    Workspace,
)

ORDER = ("histosys", "lumi", "normfactor", "normsys", "shapefactor", "shapesys", "staterror")
"""The order in which pyhf collects parameters."""

ALPHA_BOUNDS = (-5.0, 5.0)
GAMMA_BOUNDS = (1e-10, 10.0)
FACTOR_BOUNDS = (0.0, 10.0)


@dataclass
class _Set:
    """A named set of parameters, as one or more modifiers require it."""

    name: str
    kind: str
    constraint: Constraint
    vector: bool
    init: list[float]
    bounds: list[tuple[float, float]]
    fixed: list[bool]
    aux: list[float] = field(default_factory=list)
    width: list[float] = field(default_factory=list)  # normal: sigma; Poisson: tau

    def __len__(self) -> int:
        return len(self.init)

    @property
    def names(self) -> list[str]:
        return [f"{self.name}[{i}]" for i in range(len(self))] if self.vector else [self.name]

    def requires(self) -> tuple[object, ...]:
        return (self.constraint, self.vector, self.init, self.bounds, self.fixed, self.aux, self.width)


ADD_SIGNAL = (
    "name the JSON patch that adds it, as patches: [patch.json], or of a patch set as patches: [{path: set.json, patch: "
    "name}]. A study of all signals of a set has scan: {patches: set.json}."
)
"""What to do about a workspace that is background only."""


def specify(workspace: Workspace) -> Specification:
    """The model that pyhf builds from a workspace.

    Raises:
        ToymillError: a modifier whose data do not fit its sample, a name used for two different
            things, a parameter configuration that its modifiers do not take, a POI that is no parameter.
    """
    _check_samples(workspace)
    with np.errstate(all="ignore"):  # what overflows is refused when it is compiled
        sets = _collect(workspace)
    for config in workspace.measurement.config.parameters:
        if config.name in sets:
            _configure(sets[config.name], config, workspace.source)
    for item in sets.values():
        if not item.init:
            msg = (
                f"{workspace.source}: measurement {workspace.measurement.name!r} must configure {item.name!r}: "
                "auxdata, sigmas, inits and bounds."
            )
            raise ToymillError(msg)
    codes = workspace.modifier_settings.codes
    return Specification(
        source=workspace.source,
        channels=_channels(workspace, sets, codes["normsys"], codes["histosys"]),
        parameters=[parameter for item in sets.values() for parameter in _parameters(item)],
        poi=_poi(workspace, sets),
        digest=workspace.digest,
    )


def _parameters(item: _Set) -> Iterator[ParameterSpec]:
    for i, name in enumerate(item.names):
        bounds = (float(item.bounds[i][0]), float(item.bounds[i][1]))
        if item.constraint == "none":
            yield ParameterSpec(name, item.init[i], bounds, item.fixed[i])
        else:
            yield ParameterSpec(name, item.init[i], bounds, item.fixed[i], item.constraint, item.aux[i], item.width[i])


def _channels(workspace: Workspace, sets: dict[str, _Set], norm_code: str, hist_code: str) -> list[spec.Channel]:
    found = []
    staterror_next: dict[str, int] = {}
    for channel in workspace.channels:
        size = len(channel.samples[0].data)
        staterrors: dict[str, int] = {}  # where in its set the bins of this channel begin
        samples = []
        for sample in _sorted_samples(channel):
            entry = spec.Sample(sample.name, sample.data, [], [], [])
            for modifier in _sorted_modifiers(sample):
                names = sets[modifier.name].names
                if isinstance(modifier, HistoSys):
                    entry.histosys.append(
                        spec.HistoSys(modifier.name, modifier.data.hi_data, modifier.data.lo_data, hist_code)
                    )
                elif isinstance(modifier, NormSys):
                    entry.normsys.append(spec.NormSys(modifier.name, modifier.data.hi, modifier.data.lo, norm_code))
                elif isinstance(modifier, StatError):
                    if modifier.name not in staterrors:
                        staterrors[modifier.name] = staterror_next.get(modifier.name, 0)
                        staterror_next[modifier.name] = staterrors[modifier.name] + size
                    first = staterrors[modifier.name]
                    entry.factors.append(names[first : first + size])
                    entry.staterrors.append(spec.StatError(names[first : first + size], modifier.data))
                else:
                    entry.factors.append(names[:size] if sets[modifier.name].vector else names * size)
            samples.append(entry)
        found.append(spec.Channel(channel.name, workspace.observations[channel.name], samples))
    return found


def _sorted_samples(channel: Channel) -> list[Sample]:
    return sorted(channel.samples, key=lambda item: item.name)


def _sorted_modifiers(sample: Sample) -> list[Modifier]:
    return sorted(sample.modifiers, key=lambda item: (item.name, item.type))


def _modifiers(workspace: Workspace) -> Iterator[tuple[Channel, Sample, Modifier]]:
    """Every modifier with its place, in pyhf's order."""
    for channel in workspace.channels:
        for sample in _sorted_samples(channel):
            for modifier in _sorted_modifiers(sample):
                yield channel, sample, modifier


def _check_samples(workspace: Workspace) -> None:
    shapesys: dict[str, str] = {}
    for channel in workspace.channels:
        bins = len(channel.samples[0].data)
        for sample in channel.samples:
            where = location(workspace.source, channel.name, sample.name)
            if len(sample.data) != bins:
                msg = f"{where} has {len(sample.data)} bins; the channel has {bins}."
                raise ToymillError(msg)
            seen: set[tuple[str, str]] = set()
            for modifier in sample.modifiers:
                here = f"{where}, {modifier.type} {modifier.name!r}"
                if (modifier.type, modifier.name) in seen:
                    msg = f"{here} stands there twice. Remove one, or give it another name."
                    raise ToymillError(msg)
                seen.add((modifier.type, modifier.name))
                _check_modifier(modifier, bins, here)
                if isinstance(modifier, ShapeSys):
                    if modifier.name in shapesys:
                        msg = (
                            f"{here}: a shapesys belongs to one sample; {shapesys[modifier.name]} has one of this "
                            "name too. Give one of them another name."
                        )
                        raise ToymillError(msg)
                    shapesys[modifier.name] = f"channel {channel.name!r}, sample {sample.name!r}"


def _check_modifier(modifier: Modifier, bins: int, where: str) -> None:
    lengths = {}
    if isinstance(modifier, HistoSys):
        lengths = {"hi_data": modifier.data.hi_data, "lo_data": modifier.data.lo_data}
    elif isinstance(modifier, ShapeSys | StatError):
        lengths = {"data": modifier.data}
        if min(modifier.data, default=0.0) < 0:
            msg = f"{where} has a negative uncertainty, {min(modifier.data):g}."
            raise ToymillError(msg)
    for key, values in lengths.items():
        if len(values) != bins:
            msg = f"{where}: {key} has {len(values)} values; the sample has {bins} bins."
            raise ToymillError(msg)


def _collect(workspace: Workspace) -> dict[str, _Set]:
    """The parameter sets in pyhf's order; a name that several modifiers share is one set."""
    by_kind: dict[str, list[tuple[Channel, Sample, Modifier]]] = {kind: [] for kind in ORDER}
    for entry in _modifiers(workspace):
        by_kind[entry[2].type].append(entry)
    sets: dict[str, _Set] = {}
    homes: dict[str, str] = {}  # where each was first required
    for kind in ORDER:
        required = _staterrors(workspace, by_kind[kind]) if kind == "staterror" else _required_sets(by_kind[kind])
        for where, item in required:
            known = sets.setdefault(item.name, item)
            homes.setdefault(item.name, where)
            shared = known.kind == item.kind == "shapefactor" and len(item) <= len(known)
            if known.requires() != item.requires() and not shared:
                raise ToymillError(_reuse(workspace.source, known, homes[item.name], item, where))
    return sets


def _reuse(source: str, known: _Set, home: str, item: _Set, where: str) -> str:
    if known.kind == item.kind == "shapefactor":
        return (
            f"{source}: shapefactor {item.name!r} has {len(known)} bins in {home}, the first of the sorted "
            f"channels that carry it, and {len(item)} in {where}. pyhf takes the first for the number of its "
            "parameters. Rename the channels so that the longest comes first, or give each its own shapefactor."
        )
    return (
        f"{source}: the name {item.name!r} is used by a {known.kind} ({home}) and a {item.kind} ({where}) that "
        "need different parameters. Give one of the modifiers another name."
    )


def _required_sets(found: list[tuple[Channel, Sample, Modifier]]) -> Iterator[tuple[str, _Set]]:
    for channel, sample, modifier in found:
        yield f"channel {channel.name!r}, sample {sample.name!r}", _required(sample, modifier)


def _required(sample: Sample, modifier: Modifier) -> _Set:
    bins = len(sample.data)
    if modifier.type in {"normsys", "histosys"}:
        return _Set(modifier.name, modifier.type, "normal", False, [0.0], [ALPHA_BOUNDS], [False], [0.0], [1.0])
    if modifier.type == "normfactor":
        return _Set(modifier.name, modifier.type, "none", False, [1.0], [FACTOR_BOUNDS], [False])
    if modifier.type == "lumi":  # the measurement must say everything about it
        return _Set(modifier.name, modifier.type, "normal", False, [], [], [False])
    if isinstance(modifier, ShapeSys):
        pairs = list(zip(sample.data, modifier.data, strict=True))
        valid = [nominal > 0 and uncertainty > 0 for nominal, uncertainty in pairs]
        tau = [_ratio(*pair) if ok else 1.0 for pair, ok in zip(pairs, valid, strict=True)]
        fixed = [not ok for ok in valid]
        return _Set(
            modifier.name, modifier.type, "poisson", True, [1.0] * bins, [GAMMA_BOUNDS] * bins, fixed, tau, list(tau)
        )
    return _Set(modifier.name, modifier.type, "none", True, [1.0] * bins, [FACTOR_BOUNDS] * bins, [False] * bins)


def _ratio(nominal: float, uncertainty: float) -> float:
    """τ of a shapesys; infinite where it overflows, which is refused later."""
    return float(np.float64(nominal) ** 2 / np.float64(uncertainty) ** 2)


def _staterrors(workspace: Workspace, found: list[tuple[Channel, Sample, Modifier]]) -> Iterator[tuple[str, _Set]]:
    """One set for each staterror name: relative uncertainties of the samples that carry it, in quadrature."""
    offsets = _offsets(workspace)
    total = sum(len(channel.samples[0].data) for channel in workspace.channels)
    for name in sorted({modifier.name for *_, modifier in found}):
        variance = np.zeros(total)
        carried: dict[str, np.ndarray] = {}
        first = ""
        for channel, sample, modifier in found:
            if isinstance(modifier, StatError) and modifier.name == name:
                bins = slice(offsets[channel.name], offsets[channel.name] + len(sample.data))
                carried.setdefault(sample.name, np.zeros(total, dtype=bool))[bins] = True
                variance[bins] += np.square(modifier.data)
                first = first or f"channel {channel.name!r}, sample {sample.name!r}"
        masks = list(carried.values())
        if any((mask != masks[0]).any() for mask in masks):
            msg = (
                f"{workspace.source}: staterror {name!r} covers different channels in the samples "
                f"{', '.join(sorted(carried))}. Name it differently in each channel."
            )
            raise ToymillError(msg)
        nominal = np.zeros(total)
        for channel in workspace.channels:
            for sample in channel.samples:
                if sample.name in carried:
                    bins = slice(offsets[channel.name], offsets[channel.name] + len(sample.data))
                    nominal[bins] += sample.data
        sigma = np.divide(np.sqrt(variance), nominal, out=np.zeros(total), where=nominal > 0)[masks[0]]
        size = len(sigma)
        yield (
            first,
            _Set(
                name,
                "staterror",
                "normal",
                True,
                [1.0] * size,
                [GAMMA_BOUNDS] * size,
                [bool(value == 0) for value in sigma],
                [1.0] * size,
                [float(value) if value > 0 else 1.0 for value in sigma],
            ),
        )


def _offsets(workspace: Workspace) -> dict[str, int]:
    sizes = [len(channel.samples[0].data) for channel in workspace.channels]
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    return {channel.name: int(start) for channel, start in zip(workspace.channels, starts, strict=True)}


def _configure(item: _Set, config: ParameterConfig, source: str) -> None:
    """Put what the measurement says of a parameter in place of the defaults."""
    where = f"{source}: configuration of parameter {item.name!r}"
    width = {"normal": "sigmas", "poisson": "factors", "none": ""}[item.constraint]
    takes_sigmas = item.kind in {"lumi", "staterror"}
    given = {
        "inits": config.inits,
        "bounds": config.bounds,
        "auxdata": config.auxdata,
        "sigmas": config.sigmas,
        "factors": config.factors,
    }
    allowed = {"inits", "bounds"} | ({"auxdata"} if item.constraint != "none" else set())
    allowed |= {width} if width == "factors" or takes_sigmas else set()
    size = 1 if item.kind == "lumi" else len(item)
    for key, values in given.items():
        if values is None:
            continue
        if key not in allowed:
            msg = f"{where}: a {item.kind} has no {key!r}. {nearest(key, sorted(allowed))}"
            raise ToymillError(msg)
        if len(values) != size:
            msg = f"{where}: {key} has {len(values)} values; expected {size}."
            raise ToymillError(msg)
    item.init = config.inits or item.init
    item.bounds = config.bounds or item.bounds
    item.aux = config.auxdata or item.aux
    item.width = config.sigmas or config.factors or item.width
    if config.fixed is not None:
        item.fixed = [config.fixed] * size
    if item.kind == "lumi" and not (item.init and item.bounds and item.aux and item.width):
        item.init = []


def _poi(workspace: Workspace, sets: dict[str, _Set]) -> str | None:
    if not workspace.poi:
        return None
    single = {item.name: item.names[0] for item in sets.values() if len(item) == 1}
    if workspace.poi not in single:
        msg = f"{workspace.source}: the parameter of interest {workspace.poi!r} is carried by no sample. "
        close = near(workspace.poi, single)
        meant = f"Did you mean {' or '.join(map(repr, close))}?" if close else ""
        if close and workspace.poi != workspace.measurement.config.poi:
            msg += f"{meant} Or, if the workspace has no signal: {ADD_SIGNAL}"
        else:  # a name of the file's own, which a signal to come may carry
            msg += f"If the workspace has no signal: {ADD_SIGNAL}{' Or: ' * bool(close)}{meant}"
        if workspace.poi in sets:
            msg = (
                f"{workspace.source}: the parameter of interest {workspace.poi!r} has {len(sets[workspace.poi])} "
                f"components; expected a parameter of one. {nearest('', single)}"
            )
        raise ToymillError(msg)
    return single[workspace.poi]
