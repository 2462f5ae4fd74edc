"""A HistFactory workspace as arrays: its parameters, and the templates of its expectation.

The parameters and the data come in pyhf's order: parameters by modifier type (histosys, lumi,
normfactor, normsys, shapefactor, shapesys, staterror), within a type in the order in which the
sorted channels, their sorted samples and their sorted modifiers first name them; main data by
sorted channel; auxiliary data by parameter. Nothing here needs JAX.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from toymill.errors import ToymillError, nearest
from toymill.models.workspace import (
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
from toymill.parameters import Parameters

ORDER = ("histosys", "lumi", "normfactor", "normsys", "shapefactor", "shapesys", "staterror")
"""The order in which pyhf collects parameters."""

ALPHA_BOUNDS = (-5.0, 5.0)
GAMMA_BOUNDS = (1e-10, 10.0)
FACTOR_BOUNDS = (0.0, 10.0)


class Templates(NamedTuple):
    """The constants of a HistFactory likelihood, all arrays.

    Axes: S sample slots (the largest number of samples in a channel), B bins of all channels, C
    channels, P parameters. The expectation of a bin is the sum over its slots; an empty slot has
    zero yield. The parameter index P stands for the constant 1.

    Attributes:
        nominal: nominal yields, (S, B).
        hist_linear: what α times this adds to a yield, (S·B, P); zero where there is no histosys.
        hist_even: what g(α) times this adds to a yield, (S·B, P); g is even, |α| beyond 1.
        norm_log_hi: logarithm of a normsys factor at α = +1, (P, S, C); zero where there is none.
        norm_log_lo: logarithm of a normsys factor at α = -1, (P, S, C).
        norm_polynomial: coefficients of α to α⁶ of a normsys factor within ±1, (6, P, S, C).
        factor_parameter: the parameters that multiply a yield, (F, S, B), padded with P.
        factor_present: 1 where a parameter multiplies a yield, else 0, (P, S, B).
        bin_channel: the channel of each bin, (B,).
        normal_parameter: parameter of each normal auxiliary datum, (N,).
        normal_sigma: its standard deviation, (N,).
        normal_datum: its position in the data, (N,).
        poisson_parameter: parameter of each Poisson auxiliary datum, (M,).
        poisson_tau: its expectation per unit of the parameter, (M,).
        poisson_datum: its position in the data, (M,).
    """

    nominal: Any
    hist_linear: Any
    hist_even: Any
    norm_log_hi: Any
    norm_log_lo: Any
    norm_polynomial: Any
    factor_parameter: Any
    factor_present: Any
    bin_channel: Any
    normal_parameter: Any
    normal_sigma: Any
    normal_datum: Any
    poisson_parameter: Any
    poisson_tau: Any
    poisson_datum: Any


@dataclass(frozen=True)
class Compiled:
    """A workspace as arrays.

    Attributes:
        parameters: its parameters, in pyhf's order.
        poi: name of the parameter of interest, or None.
        templates: the constants of its likelihood.
        observed: observed main data and nominal auxiliary data, (D,).
        data_names: ``channel[bin]`` and ``parameter (auxiliary)``, length D.
        two_minima: parameters along which there may be two minima, see ``_two_minima``, (P,).
    """

    parameters: Parameters
    poi: str | None
    templates: Templates
    observed: np.ndarray
    data_names: tuple[str, ...]
    two_minima: np.ndarray


@dataclass
class _Set:
    """A named set of parameters, as one or more modifiers require it."""

    name: str
    kind: str
    constraint: str
    vector: bool
    init: list[float]
    bounds: list[tuple[float, float]]
    fixed: list[bool]
    aux: list[float] = field(default_factory=list)
    width: list[float] = field(default_factory=list)  # normal: sigma; Poisson: tau
    start: int = 0

    def __len__(self) -> int:
        return len(self.init)

    @property
    def names(self) -> list[str]:
        return [f"{self.name}[{i}]" for i in range(len(self))] if self.vector else [self.name]

    def requires(self) -> tuple[Any, ...]:
        return (self.constraint, self.vector, self.init, self.bounds, self.fixed, self.aux, self.width)


def compile_workspace(workspace: Workspace) -> Compiled:
    """The parameters and templates of a workspace, with pyhf's defaults (normsys code 4, histosys code 4p).

    Raises:
        ToymillError: a modifier whose data do not fit its sample, a name used for two different
            things, a parameter configuration that its modifiers do not take, a POI that is no parameter.
    """
    _check_samples(workspace)
    sets = _collect(workspace)
    for config in workspace.measurement.config.parameters:
        if config.name in sets:
            _configure(sets[config.name], config, workspace.source)
    start = 0
    for item in sets.values():
        if not item.init:
            msg = (
                f"{workspace.source}: measurement {workspace.measurement.name!r} must configure {item.name!r}: "
                "auxdata, sigmas, inits and bounds."
            )
            raise ToymillError(msg)
        item.start = start
        start += len(item)
    if start == 0:
        msg = f"{workspace.source} has no parameters: no sample carries a modifier."
        raise ToymillError(msg)
    poi = _poi(workspace, sets)
    parameters = Parameters(
        names=tuple(name for item in sets.values() for name in item.names),
        init=np.array([value for item in sets.values() for value in item.init]),
        bounds=np.array([pair for item in sets.values() for pair in item.bounds], dtype=np.float64),
        fixed=np.array([value for item in sets.values() for value in item.fixed]),
        constraint=tuple(item.constraint for item in sets.values() for _ in item.init),
    )
    outside = (parameters.init < parameters.bounds[:, 0]) | (parameters.init > parameters.bounds[:, 1])
    if outside.any():
        position = int(np.flatnonzero(outside)[0])
        msg = (
            f"{workspace.source}: the initial value {parameters.init[position]:g} of {parameters.names[position]!r} "
            f"lies outside its bounds {parameters.bounds[position].tolist()}. Change one of them in the measurement."
        )
        raise ToymillError(msg)
    main = [count for channel in workspace.channels for count in workspace.observations[channel.name]]
    constrained = [item for item in sets.values() if item.constraint != "none"]
    names = [f"{channel.name}[{i}]" for channel in workspace.channels for i in range(len(channel.samples[0].data))] + [
        f"{name} (auxiliary)" for item in constrained for name in item.names
    ]
    templates = _templates(workspace, sets, len(parameters), len(main))
    return Compiled(
        parameters=parameters,
        poi=poi,
        templates=templates,
        observed=np.array(main + [value for item in constrained for value in item.aux], dtype=np.float64),
        data_names=tuple(names),
        two_minima=_two_minima(templates, parameters.fixed),
    )


def _modifiers(workspace: Workspace) -> Iterator[tuple[Channel, Sample, Modifier]]:
    """Every modifier with its place, in pyhf's order."""
    for channel in workspace.channels:
        for sample in sorted(channel.samples, key=lambda item: item.name):
            for modifier in sorted(sample.modifiers, key=lambda item: (item.name, item.type)):
                yield channel, sample, modifier


def _place(workspace: Workspace, channel: Channel, sample: Sample, modifier: Modifier | None = None) -> str:
    words = f"{workspace.source}: channel {channel.name!r}, sample {sample.name!r}"
    return words if modifier is None else f"{words}, {modifier.type} {modifier.name!r}"


def _check_samples(workspace: Workspace) -> None:
    shapesys: set[str] = set()
    for channel in workspace.channels:
        bins = len(channel.samples[0].data)
        for sample in channel.samples:
            if len(sample.data) != bins:
                msg = f"{_place(workspace, channel, sample)} has {len(sample.data)} bins; the channel has {bins}."
                raise ToymillError(msg)
            seen: set[tuple[str, str]] = set()
            for modifier in sample.modifiers:
                place = _place(workspace, channel, sample, modifier)
                if (modifier.type, modifier.name) in seen:
                    msg = f"{place} stands there twice."
                    raise ToymillError(msg)
                seen.add((modifier.type, modifier.name))
                _check_modifier(modifier, bins, place)
                if isinstance(modifier, ShapeSys):
                    if modifier.name in shapesys:
                        msg = f"{place}: a shapesys belongs to one sample; another sample has one of this name."
                        raise ToymillError(msg)
                    shapesys.add(modifier.name)


def _check_modifier(modifier: Modifier, bins: int, place: str) -> None:
    if isinstance(modifier, NormSys) and min(modifier.data.hi, modifier.data.lo) <= 0:
        msg = f"{place} has hi = {modifier.data.hi:g}, lo = {modifier.data.lo:g}; both must be positive."
        raise ToymillError(msg)
    lengths = {}
    if isinstance(modifier, HistoSys):
        lengths = {"hi_data": modifier.data.hi_data, "lo_data": modifier.data.lo_data}
    elif isinstance(modifier, ShapeSys | StatError):
        lengths = {"data": modifier.data}
        if min(modifier.data, default=0.0) < 0:
            msg = f"{place} has a negative uncertainty, {min(modifier.data):g}."
            raise ToymillError(msg)
    for key, values in lengths.items():
        if len(values) != bins:
            msg = f"{place}: {key} has {len(values)} values; the sample has {bins} bins."
            raise ToymillError(msg)


def _collect(workspace: Workspace) -> dict[str, _Set]:
    """The parameter sets in pyhf's order; a name that several modifiers share is one set."""
    sets: dict[str, _Set] = {}

    def require(item: _Set) -> None:
        known = sets.setdefault(item.name, item)
        if known.requires() != item.requires():
            msg = (
                f"{workspace.source}: the name {item.name!r} is used by a {known.kind} and a {item.kind} that "
                "need different parameters. Give one of the modifiers another name."
            )
            raise ToymillError(msg)

    for kind in ORDER:
        if kind == "staterror":
            for item in _staterrors(workspace):
                require(item)
            continue
        for _, sample, modifier in _modifiers(workspace):
            if modifier.type == kind:
                require(_required(sample, modifier))
    return sets


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
        tau = [pair[0] ** 2 / pair[1] ** 2 if ok else 1.0 for pair, ok in zip(pairs, valid, strict=True)]
        fixed = [not ok for ok in valid]
        return _Set(
            modifier.name, modifier.type, "poisson", True, [1.0] * bins, [GAMMA_BOUNDS] * bins, fixed, tau, list(tau)
        )
    return _Set(modifier.name, modifier.type, "none", True, [1.0] * bins, [FACTOR_BOUNDS] * bins, [False] * bins)


def _staterrors(workspace: Workspace) -> Iterator[_Set]:
    """One set for each staterror name: relative uncertainties of the samples that carry it, in quadrature."""
    names = sorted({modifier.name for *_, modifier in _modifiers(workspace) if modifier.type == "staterror"})
    offsets = _offsets(workspace)
    total = sum(len(channel.samples[0].data) for channel in workspace.channels)
    for name in names:
        variance = np.zeros(total)
        carried: dict[str, np.ndarray] = {}
        for channel, sample, modifier in _modifiers(workspace):
            if isinstance(modifier, StatError) and modifier.name == name:
                bins = slice(offsets[channel.name], offsets[channel.name] + len(sample.data))
                carried.setdefault(sample.name, np.zeros(total, dtype=bool))[bins] = True
                variance[bins] += np.square(modifier.data)
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
        yield _Set(
            name,
            "staterror",
            "normal",
            True,
            [1.0] * size,
            [GAMMA_BOUNDS] * size,
            [bool(value == 0) for value in sigma],
            [1.0] * size,
            [float(value) if value > 0 else 1.0 for value in sigma],
        )


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
    if any(low > high for low, high in item.bounds):
        msg = f"{where}: a lower bound lies above its upper bound: {item.bounds}."
        raise ToymillError(msg)
    if any(value <= 0 for value in item.width):
        msg = f"{where}: {width} must be positive; got {item.width}."
        raise ToymillError(msg)


def _poi(workspace: Workspace, sets: dict[str, _Set]) -> str | None:
    if not workspace.poi:
        return None
    scalars = [item.name for item in sets.values() if not item.vector]
    if workspace.poi not in scalars:
        msg = (
            f"{workspace.source}: the parameter of interest {workspace.poi!r} is carried by no sample. "
            f"{nearest(workspace.poi, scalars)} Or is the signal's patch missing?"
        )
        raise ToymillError(msg)
    return workspace.poi


def _offsets(workspace: Workspace) -> dict[str, int]:
    sizes = [len(channel.samples[0].data) for channel in workspace.channels]
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1]
    return {channel.name: int(start) for channel, start in zip(workspace.channels, starts, strict=True)}


def _templates(workspace: Workspace, sets: dict[str, _Set], parameters: int, bins: int) -> Templates:
    offsets = _offsets(workspace)
    channels = len(workspace.channels)
    slots = max(len(channel.samples) for channel in workspace.channels)
    nominal = np.zeros((slots, bins))
    linear = np.zeros((slots, bins, parameters))
    even = np.zeros_like(linear)
    log_hi = np.zeros((parameters, slots, channels))
    log_lo = np.zeros_like(log_hi)
    factors: dict[tuple[int, int], list[int]] = {}
    staterror_next: dict[str, int] = {}
    for number, channel in enumerate(workspace.channels):
        first = offsets[channel.name]
        size = len(channel.samples[0].data)
        here = slice(first, first + size)
        staterrors: dict[str, int] = {}
        for slot, sample in enumerate(sorted(channel.samples, key=lambda item: item.name)):
            data = np.array(sample.data)
            nominal[slot, here] = data
            for modifier in sample.modifiers:
                start = sets[modifier.name].start
                if isinstance(modifier, HistoSys):
                    up = np.array(modifier.data.hi_data) - data
                    down = data - np.array(modifier.data.lo_data)
                    linear[slot, here, start] = (up + down) / 2
                    even[slot, here, start] = (up - down) / 2
                elif isinstance(modifier, NormSys):
                    log_hi[start, slot, number] = np.log(modifier.data.hi)
                    log_lo[start, slot, number] = np.log(modifier.data.lo)
                else:
                    if isinstance(modifier, StatError) and modifier.name not in staterrors:
                        staterrors[modifier.name] = staterror_next.get(modifier.name, 0)
                        staterror_next[modifier.name] = staterrors[modifier.name] + size
                    begin = start + staterrors.get(modifier.name, 0) if modifier.type == "staterror" else start
                    step = 1 if sets[modifier.name].vector else 0
                    for i in range(size):
                        factors.setdefault((slot, first + i), []).append(begin + i * step)
    normal = [s for s in sets.values() if s.constraint == "normal"]
    poisson = [s for s in sets.values() if s.constraint == "poisson"]
    datum = {}
    position = bins
    for item in sets.values():
        if item.constraint != "none":
            datum[item.name] = position
            position += len(item)
    factor_parameter = _padded_factors(factors, slots, bins, parameters)
    present = np.zeros((parameters + 1, slots, bins))
    np.put_along_axis(present, factor_parameter, 1.0, axis=0)
    return Templates(
        nominal=nominal,
        hist_linear=linear.reshape(slots * bins, parameters),
        hist_even=even.reshape(slots * bins, parameters),
        norm_log_hi=log_hi,
        norm_log_lo=log_lo,
        norm_polynomial=_code4_polynomial(log_hi, log_lo),
        factor_parameter=factor_parameter,
        factor_present=present[:-1],
        bin_channel=np.repeat(np.arange(channels), [len(c.samples[0].data) for c in workspace.channels]),
        normal_parameter=np.array([s.start + i for s in normal for i in range(len(s))], dtype=np.int64),
        normal_sigma=np.array([value for s in normal for value in s.width], dtype=np.float64),
        normal_datum=np.array([datum[s.name] + i for s in normal for i in range(len(s))], dtype=np.int64),
        poisson_parameter=np.array([s.start + i for s in poisson for i in range(len(s))], dtype=np.int64),
        poisson_tau=np.array([value for s in poisson for value in s.width], dtype=np.float64),
        poisson_datum=np.array([datum[s.name] + i for s in poisson for i in range(len(s))], dtype=np.int64),
    )


def _two_minima(templates: Templates, fixed: np.ndarray) -> np.ndarray:
    """Parameters along which the likelihood may have two minima, (P,).

    Either the parameter moves bins the same way in both directions: a response e·g(α) with
    g ≈ 15/8 α² near 0 turns the constraint's minimum into a maximum where Σ_b (15/4) e_b (n_b - ν_b)/ν_b > 1: within five standard deviations of the counts, only where
    √(Σ_b e_b²/ν_b) > 0.05. Bins whose response is monotonic, |e_b| ≤ |l_b|, do not count.
    Or its Poisson constraint expects less than one count: it is then free to leave the bound at 0.
    """
    slots, bins = templates.nominal.shape
    size = templates.hist_linear.shape[1]
    up, down = np.exp(templates.norm_log_hi) - 1, np.exp(templates.norm_log_lo) - 1
    yields = templates.nominal[None]
    norm_even = ((up + down) / 2)[:, :, templates.bin_channel] * yields
    norm_linear = ((up - down) / 2)[:, :, templates.bin_channel] * yields
    even = templates.hist_even.T.reshape(size, slots, bins) + norm_even
    linear = templates.hist_linear.T.reshape(size, slots, bins) + norm_linear
    even, linear = even.sum(axis=1), linear.sum(axis=1)
    total = np.maximum(templates.nominal.sum(axis=0), 1e-3)
    strength = np.sqrt(np.sum(np.where(np.abs(even) > np.abs(linear), even, 0.0) ** 2 / total, axis=1))
    mask: np.ndarray = strength > 0.05
    mask[templates.poisson_parameter[templates.poisson_tau < 1]] = True
    mask &= ~fixed
    return mask


def _padded_factors(factors: dict[tuple[int, int], list[int]], slots: int, bins: int, padding: int) -> np.ndarray:
    depth = max((len(items) for items in factors.values()), default=0)
    parameter = np.full((depth, slots, bins), padding, dtype=np.int64)
    for (slot, bin_), items in factors.items():
        parameter[: len(items), slot, bin_] = items
    return parameter


def _code4_polynomial(log_hi: np.ndarray, log_lo: np.ndarray) -> np.ndarray:
    """Coefficients of α … α⁶ that join the exponentials at α = ±1 with two continuous derivatives.

    HistFactory's interpolation code 4 (CERN-OPEN-2012-016; pyhf's ``code4`` with α0 = 1). Shape (6, …).
    """
    powers = np.arange(1, 7)
    conditions = []
    for alpha in (1.0, -1.0):
        for order in range(3):
            falling = np.prod([powers - k for k in range(order)], axis=0) if order else np.ones(6)
            conditions.append(falling * alpha ** np.clip(powers - order, 0, None))
    hi, lo = np.exp(log_hi), np.exp(log_lo)
    values = np.stack([hi - 1, hi * log_hi, hi * log_hi**2, lo - 1, -lo * log_lo, lo * log_lo**2])
    return np.tensordot(np.linalg.inv(np.array(conditions)), values, axes=1)
