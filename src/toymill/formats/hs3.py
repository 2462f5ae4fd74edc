"""HistFactory models in HS3 files (HEP Statistics Serialization Standard), as ROOT and pyhs3 write them.

Parameters keep their names in the file, and come by modifier type (histosys, normfactor, normsys,
shapefactor, shapesys, staterror), within a type as the sorted channels, samples and modifiers first name
them. Everything beyond HistFactory is refused by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import numpy as np

from toymill.errors import ToymillError, nearest
from toymill.formats import hs3_schema
from toymill.formats.hs3_constraints import distributions_of
from toymill.formats.hs3_file import HS3File, open_file, parse, where_of
from toymill.formats.hs3_parameters import collect, name_of, names_of, parameter_of, statistical_errors
from toymill.formats.specification import Channel, HistoSys, NormSys, ParameterSpec, Sample, Specification, StatError
from toymill.formats.validation import Json, refuse_duplicates

_Words = tuple[str, str, str | None]  # ROOT's interpolation in words: type, inside ±1, beyond
_NORMSYS_CODES: dict[int | _Words, str] = {1: "code1", 4: "code4", 5: "code4"}
_NORMSYS_CODES |= {("mult", "exp", None): "code1", ("mult", "poly6", "exp"): "code4"}
_HISTOSYS_CODES: dict[int | _Words, str] = {0: "code0", 2: "code2", 3: "code2", 4: "code4p"}
_HISTOSYS_CODES |= {("add", "poly1", None): "code0", ("add", "poly2", "poly1"): "code2"}
_HISTOSYS_CODES |= {("add", "poly6", "poly1"): "code4p"}


def is_hs3(content: object) -> bool:
    """Whether a JSON file's content is HS3, not a pyhf workspace."""
    return isinstance(content, dict) and "channels" not in content and ("distributions" in content)


def specify_hs3(content: Json, source: str, *, analysis: str | None, poi: str | None) -> Specification:
    """The HistFactory model of one analysis in an HS3 file.

    Args:
        content: what the JSON file holds.
        source: where it was read from, for messages.
        analysis: name of an analysis; may be None if there is one only.
        poi: name of the parameter of interest; the analysis' first if None, none at all if "".

    Raises:
        ToymillError: a file that is not as HS3 or HistFactory has it, or holds what is beyond HistFactory, or a key
            that is not read.
    """
    file = open_file(content, source, analysis)
    where = f"likelihood {file.analysis.likelihood!r}"
    stated = file.named("likelihoods", file.analysis.likelihood, file.place)
    likelihood = parse(file, hs3_schema.Likelihood, stated, where)
    names, data = likelihood.distributions, likelihood.data
    if len(names) != len(data):
        msg = f"{where} pairs {len(names)} distributions with {len(data)} data; expected as many of each."
        raise file.refuse(msg)
    refuse_duplicates(names, f"distribution in {source}: {where}")
    pairs = sorted(zip(names, data, strict=True))
    distributions = [_distribution(file, name, f"{source}: {where}") for name, _ in pairs]
    needed = collect(file, distributions)
    channels = [
        _channel(file, distribution, datum) for distribution, (_, datum) in zip(distributions, pairs, strict=True)
    ]
    _refuse_other_terms(file, likelihood, distributions, where)
    parameters = [parameter_of(file, item) for item in needed]
    _refuse_free_data(file, parameters)
    return Specification(source, channels, parameters, _poi(file, poi, parameters), _digest(file, poi))


def _distribution(file: HS3File, name: str, asked: str) -> hs3_schema.Distribution:
    content = file.named("distributions", name, asked)
    if content.get("type") != "histfactory_dist":
        msg = (
            f"distribution {name!r} is a {content.get('type')!r}: only histfactory_dist can be read, for it is all "
            "that toymill knows of HS3."
        )
        raise file.refuse(msg)
    found = parse(file, hs3_schema.Distribution, content, f"distribution {name!r}")
    refuse_duplicates([sample.name for sample in found.samples], f"sample in {file.source}: channel {found.channel!r}")
    return found


def _channel(file: HS3File, distribution: hs3_schema.Distribution, datum: str) -> Channel:
    bins = int(np.prod([axis.bins for axis in distribution.axes]))
    where = f"channel {distribution.channel!r}"
    samples = []
    for sample in sorted(distribution.samples, key=lambda item: item.name):
        if len(sample.data.contents) != bins:
            msg = f"{where}, sample {sample.name!r} has {len(sample.data.contents)} bins; its axes have {bins}."
            raise file.refuse(msg)
        entry = Sample(sample.name, sample.data.contents, [], [], [])
        for modifier in sorted(sample.modifiers, key=lambda item: (item.name, item.type)):
            here = where_of(file, distribution, sample, modifier)
            if isinstance(modifier, hs3_schema.NormSys):
                code = _code(modifier, distribution, _NORMSYS_CODES, here)
                entry.normsys.append(NormSys(name_of(modifier), modifier.data.hi, modifier.data.lo, code))
            elif isinstance(modifier, hs3_schema.HistoSys):
                hi, lo = modifier.data.hi.contents, modifier.data.lo.contents
                if not len(hi) == len(lo) == bins:
                    msg = f"{here}: hi has {len(hi)} and lo {len(lo)} contents; the sample has {bins} bins."
                    raise ToymillError(msg)
                code = _code(modifier, distribution, _HISTOSYS_CODES, here)
                entry.histosys.append(HistoSys(name_of(modifier), hi, lo, code))
            elif isinstance(modifier, hs3_schema.NormFactor):
                entry.factors.append([name_of(modifier)] * bins)
            else:
                names = names_of(distribution, modifier, bins)
                if len(names) != bins:
                    msg = f"{here} has {len(names)} parameters; the sample has {bins} bins."
                    raise ToymillError(msg)
                entry.factors.append(names)
                if isinstance(modifier, hs3_schema.StatError):
                    entry.staterrors.append(StatError(names, statistical_errors(file, sample, modifier)))
        samples.append(entry)
    return Channel(distribution.channel, _observed(file, distribution, datum, bins), samples)


def _code(
    modifier: hs3_schema.NormSys | hs3_schema.HistoSys,
    distribution: hs3_schema.Distribution,
    codes: dict[int | _Words, str],
    where: str,
) -> str:
    """The name of a modifier's interpolation; ROOT states a number or words, pyhs3 a name beside the data."""
    stated = modifier.interpolation if modifier.interpolation is not None else modifier.data.interpolation
    if stated is None:
        stated = distribution.default_interpolation
    if isinstance(stated, str):
        if stated in codes.values():
            return stated
        msg = f"{where} has the interpolation {stated!r}. {nearest(stated, codes.values())}"
        raise ToymillError(msg)
    if isinstance(stated, hs3_schema.Interpolation):
        found: int | _Words = (stated.type, stated.inside, stated.out)
    else:
        found = 4 if stated is None else stated
    if found not in codes:
        allowed = ", ".join(dict.fromkeys(codes.values()))
        msg = f"{where} has the interpolation {found!r}, which is none of HistFactory's for it ({allowed})."
        raise ToymillError(msg)
    return codes[found]


def _observed(file: HS3File, distribution: hs3_schema.Distribution, name: str, bins: int) -> list[float]:
    stated = file.named("data", name, file.place)
    where = f"data {name!r} of channel {distribution.channel!r}"
    datum = parse(file, hs3_schema.Datum, stated, where)
    if datum.type == "unbinned" and datum.entries is not None and len(distribution.axes) == 1:
        counts = _binned(file, distribution.axes[0], datum, where)
    elif datum.type == "binned" and datum.contents is not None:
        _require_same_bins(file, distribution, datum, where)
        counts = datum.contents
    else:
        msg = f"{where} are of type {datum.type!r}; expected binned, with contents."
        raise file.refuse(msg)
    if len(counts) != bins:
        msg = f"{where} have {len(counts)} bins; the channel has {bins}."
        raise file.refuse(msg)
    return counts


def _require_same_bins(
    file: HS3File, distribution: hs3_schema.Distribution, datum: hs3_schema.Datum, where: str
) -> None:
    """Counts are of the channel's bins, axis by axis."""
    ours, theirs = distribution.axes, datum.axes or distribution.axes
    if len(ours) != len(theirs) or any(_differ(*pair) for pair in zip(ours, theirs, strict=True)):
        msg = f"{where} have other bins than the channel: {_words(theirs)} and {_words(ours)}. Expected the same edges."
        raise file.refuse(msg)


def _differ(one: hs3_schema.Axis, other: hs3_schema.Axis) -> bool:
    if one.bins != other.bins:
        return True
    ends, others = one.ends, other.ends
    return bool(ends and others and not np.allclose(ends, others, rtol=0, atol=1e-9 * (ends[-1] - ends[0])))


def _words(axes: Iterable[hs3_schema.Axis]) -> str:
    return " × ".join(f"{axis.bins} of {axis.name!r}" for axis in axes)


def _binned(file: HS3File, axis: hs3_schema.Axis, datum: hs3_schema.Datum, where: str) -> list[float]:
    """Counts of weighted events, which is how ROOT may write a histogram: an event at the centre of each bin."""
    edges = axis.ends
    if edges is None:
        msg = f"{where}: its channel's axis {axis.name!r} has neither edges nor min and max."
        raise file.refuse(msg)
    events = datum.entries or []
    if any(len(event) != 1 for event in events) or (datum.weights is not None and len(datum.weights) != len(events)):
        msg = f"{where}: expected one number for each of {len(events)} entries, and as many weights."
        raise file.refuse(msg)
    entries = np.array([event[0] for event in events])
    if ((entries < edges[0]) | (entries > edges[-1])).any():
        msg = f"{where} have events outside the axis {axis.name!r}, [{edges[0]:g}, {edges[-1]:g}]."
        raise file.refuse(msg)
    counts, _ = np.histogram(entries, bins=edges, weights=datum.weights)
    return [float(value) for value in counts]


def _refuse_other_terms(
    file: HS3File, likelihood: hs3_schema.Likelihood, distributions: list[hs3_schema.Distribution], where: str
) -> None:
    """Auxiliary distributions may only be the constraints that the modifiers name."""
    modifiers = [item for one in distributions for sample in one.samples for item in sample.modifiers]
    used = {name for item in modifiers for name in distributions_of(item)}
    for name in likelihood.aux_distributions or []:
        if name not in used:
            msg = f"{where} has the auxiliary distribution {name!r}, which no modifier has as its constraint."
            raise file.refuse(msg)


def _refuse_free_data(file: HS3File, parameters: list[ParameterSpec]) -> None:
    """What a constraint is about or has for its width is a number, not a parameter that is fitted."""
    for parameter in parameters:
        if parameter.name in file.numbers and not parameter.fixed:
            msg = (
                f"a constraint uses the parameter {parameter.name!r}, which is fitted; expected a number or a constant."
            )
            raise file.refuse(msg)


def _poi(file: HS3File, poi: str | None, parameters: list[ParameterSpec]) -> str | None:
    name = next(iter(file.analysis.parameters_of_interest or []), "") if poi is None else poi
    if not name:
        return None
    names = [item.name for item in parameters]
    if name not in names:
        msg = f"the parameter of interest {name!r} is carried by no sample. {nearest(name, names)}"
        raise file.refuse(msg)
    return name


def _digest(file: HS3File, poi: str | None) -> str:
    identity = json.dumps([file.content, file.analysis.name, poi], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(identity.encode()).hexdigest()
