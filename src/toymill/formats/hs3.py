"""HistFactory models in HS3 files (HEP Statistics Serialization Standard), as ROOT and pyhs3 write them.

Parameters keep their names in the file, and come by modifier type (histosys, normfactor, normsys,
shapefactor, shapesys, staterror), within a type as the sorted channels, samples and modifiers first name
them. Everything beyond HistFactory is refused by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from toymill.errors import ToymillError, nearest
from toymill.formats import hs3_schema
from toymill.formats.specification import (
    Channel,
    Constraint,
    HistoSys,
    NormSys,
    ParameterSpec,
    Sample,
    Specification,
    location,
)
from toymill.formats.validation import Schema, refuse_duplicates, validate

_ORDER = ("histosys", "normfactor", "normsys", "shapefactor", "shapesys", "staterror")
_ROUNDING = 1e-5  # relative difference of two numbers in a file that were one before they were written

_NORMSYS_CODES = {1: "code1", 4: "code4", 5: "code4"}
_HISTOSYS_CODES = {0: "code0", 2: "code2", 3: "code2", 4: "code4p"}
_STRUCTURED = {  # ROOT's interpolation in words: type, inside ±1, beyond
    ("add", "poly1", None): 0,
    ("mult", "exp", None): 1,
    ("add", "poly2", "poly1"): 2,
    ("add", "poly6", "poly1"): 4,
    ("mult", "poly6", "exp"): 5,
    ("mult", "poly6", "poly1"): 6,
}


class _Known(NamedTuple):
    """What a constraint says of one parameter."""

    constraint: Constraint
    auxiliary: float
    width: float


_FREE = _Known("none", 0.0, 1.0)


@dataclass
class _File:
    """An HS3 file with one analysis chosen, and what has been found in it so far."""

    content: dict[str, Any]
    source: str
    analysis: dict[str, Any]
    root: bool
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)
    found: dict[str, dict[str, _Known]] = field(default_factory=dict)  # by modifier type, by parameter

    def refuse(self, text: str) -> ToymillError:
        return ToymillError(f"{self.source}: {text}")

    def items(self, key: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.content.get(key) or []
        return found

    def named(self, key: str, name: str, asked: str) -> dict[str, Any]:
        for item in self.items(key):
            if item["name"] == name:
                return item
        names = [item["name"] for item in self.items(key)]
        msg = f"{asked} names {name!r}, which is not among its {key}. {nearest(name, names)}"
        raise self.refuse(msg)


def is_hs3(content: Any) -> bool:
    """Whether a JSON file's content is HS3, not a pyhf workspace."""
    return isinstance(content, dict) and "channels" not in content and ("distributions" in content)


def specify_hs3(content: dict[str, Any], source: str, *, analysis: str | None, poi: str | None) -> Specification:
    """The HistFactory model of one analysis in an HS3 file.

    Args:
        content: what the JSON file holds.
        source: where it was read from, for messages.
        analysis: name of an analysis; may be None if there is one only.
        poi: name of the parameter of interest; the analysis' first if None, none at all if "".

    Raises:
        ToymillError: a file that is not as HS3 or HistFactory has it, or holds what is beyond HistFactory.
    """
    file = _open(content, source, analysis)
    likelihood = file.named("likelihoods", str(file.analysis.get("likelihood")), f"analysis {file.analysis['name']!r}")
    names, data = likelihood.get("distributions", []), likelihood.get("data", [])
    where = f"likelihood {likelihood['name']!r}"
    if len(names) != len(data):
        msg = f"{where} pairs {len(names)} distributions with {len(data)} data; expected as many of each."
        raise file.refuse(msg)
    refuse_duplicates(names, f"distribution in {source}: {where}")
    pairs = sorted(zip(names, data, strict=True))
    distributions = [_distribution(file, name, where) for name, _ in pairs]
    order = _collect(file, distributions)
    channels = [
        _channel(file, distribution, datum) for distribution, (_, datum) in zip(distributions, pairs, strict=True)
    ]
    _refuse_other_terms(file, likelihood, distributions, where)
    parameters = [_parameter(file, name, known, order[name]) for name, known in _in_order(file)]
    return Specification(source, channels, parameters, _poi(file, poi, parameters), _digest(file, poi))


def _open(content: dict[str, Any], source: str, analysis: str | None) -> _File:
    parsed = validate(hs3_schema.File, content, source)
    for key in ("distributions", "data", "likelihoods", "analyses", "domains", "parameter_points"):
        refuse_duplicates([item.name for item in getattr(parsed, key)], f"{key} in {source}")
    for points in parsed.parameter_points:
        refuse_duplicates([item.name for item in points.parameters], f"parameter_points {points.name!r} in {source}")
    packages = parsed.metadata.packages if parsed.metadata else None
    file = _File(content, source, {}, root="ROOT" in {item.name for item in packages or []})
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


def _read_points(file: _File) -> None:
    """Values of parameters: of the analysis' own set, else of ROOT's ``default_values``, else of the others."""
    first = [file.analysis.get("init"), "default_values"]
    sets = sorted(
        file.items("parameter_points"), key=lambda item: first.index(item["name"]) if item["name"] in first else 2
    )
    for item in sets:
        for value in item.get("parameters", []):
            file.values.setdefault(str(value.get("name")), value)


def _read_domains(file: _File) -> None:
    wanted = [*file.analysis.get("domains", []), "default_domain"]
    domains = {item["name"]: item for item in file.items("domains")}
    for name in wanted:
        for axis in domains.get(name, {}).get("axes", []):
            file.bounds.setdefault(str(axis.get("name")), (axis.get("min", -np.inf), axis.get("max", np.inf)))


def _parse(file: _File, schema: type[Schema], content: Any, where: str) -> Schema:
    return validate(schema, content, f"{file.source}: {where}", advice=" Only HistFactory is read.")


def _distribution(file: _File, name: str, asked: str) -> hs3_schema.Distribution:
    content = file.named("distributions", name, asked)
    if content.get("type") != "histfactory_dist":
        msg = (
            f"distribution {name!r} is a {content.get('type')!r}: only histfactory_dist can be read, for it is all "
            "that toymill knows of HS3."
        )
        raise file.refuse(msg)
    found = _parse(file, hs3_schema.Distribution, content, f"distribution {name!r}")
    refuse_duplicates([sample.name for sample in found.samples], f"sample in {file.source}: channel {found.channel!r}")
    return found


def _collect(file: _File, distributions: list[hs3_schema.Distribution]) -> dict[str, str]:
    """Every parameter with its constraint, into ``file.found``; and the modifier type that first needs each."""
    file.found = {kind: {} for kind in _ORDER}
    order: dict[str, str] = {}
    for kind in _ORDER:
        for distribution in distributions:
            for sample in sorted(distribution.samples, key=lambda item: item.name):
                for modifier in sorted(sample.modifiers, key=lambda item: (item.name, item.type)):
                    if modifier.type != kind:
                        continue
                    where = _where(file, distribution, sample, modifier)
                    for name, known in _required(file, distribution, sample, modifier, where):
                        _require(file, kind, order, name, known, where)
    return order


def _require(file: _File, kind: str, order: dict[str, str], name: str, known: _Known, where: str) -> None:
    earlier = file.found[order[name]][name] if name in order else known
    if earlier == _FREE and known != _FREE:  # a factor may be constrained in one place and named in others
        file.found[order[name]][name] = known
    elif known not in (earlier, _FREE):
        msg = f"{where}: the parameter {name!r} has the constraint {known} here and {earlier} elsewhere."
        raise ToymillError(msg)
    elif name not in order:
        order[name] = kind
        file.found[kind][name] = known


def _in_order(file: _File) -> Iterator[tuple[str, _Known]]:
    for kind in _ORDER:
        yield from file.found[kind].items()


def _where(file: _File, distribution: hs3_schema.Distribution, sample: hs3_schema.Sample, modifier: Any) -> str:
    return location(file.source, distribution.channel, sample.name, f"{modifier.type} {modifier.name!r}")


def _names(distribution: hs3_schema.Distribution, modifier: Any, bins: int) -> list[str]:
    """The parameters of a modifier with one for each bin."""
    if modifier.parameters:
        return list(modifier.parameters)
    stem = f"stat_{distribution.channel}" if modifier.type == "staterror" else modifier.name
    return [f"gamma_{stem}_bin_{i}" for i in range(bins)]


def _name(modifier: Any) -> str:
    if modifier.type == "normfactor":
        return str(modifier.parameter or modifier.name)
    return str(modifier.parameter or f"alpha_{modifier.name}")


def _required(
    file: _File, distribution: hs3_schema.Distribution, sample: hs3_schema.Sample, modifier: Any, where: str
) -> Iterator[tuple[str, _Known]]:
    """The parameters that a modifier needs, each with its constraint."""
    bins = len(sample.data.contents)
    if modifier.type in {"normfactor", "normsys", "histosys"}:
        name = _name(modifier)
        yield name, _single_constraint(file, modifier, name, where)
        return
    names = _names(distribution, modifier, bins)
    if modifier.type == "shapefactor":
        yield from ((name, _FREE) for name in names)
        return
    if modifier.type == "shapesys":
        relative = _relative_uncertainties(file, sample, modifier, where)
    else:
        relative = _statistical_uncertainties(distribution, sample, modifier, where)
    if not len(names) == len(relative) == bins:
        msg = f"{where} has {len(names)} parameters and {len(relative)} uncertainties; the sample has {bins} bins."
        raise ToymillError(msg)
    kinds = _gamma_constraints(file, distribution, modifier, bins, where)
    for name, width, kind in zip(names, relative, kinds, strict=True):
        yield name, _gamma(file, name, width, kind, where)


def _relative_uncertainties(
    file: _File, sample: hs3_schema.Sample, modifier: hs3_schema.ShapeSys, where: str
) -> list[float]:
    """ROOT writes the uncertainties of a shapesys relative to the yields, pyhs3 reads and writes them absolute."""
    values = modifier.data.vals or [0.0] * len(sample.data.contents)
    if min(values, default=0.0) < 0:
        msg = f"{where} has a negative uncertainty, {min(values):g}."
        raise ToymillError(msg)
    if file.root or len(values) != len(sample.data.contents):
        return values
    return [
        value / nominal if nominal > 0 else 0.0 for value, nominal in zip(values, sample.data.contents, strict=True)
    ]


def _statistical_uncertainties(
    distribution: hs3_schema.Distribution, sample: hs3_schema.Sample, modifier: hs3_schema.StatError, where: str
) -> list[float]:
    """Relative uncertainties of a channel's samples with a staterror, in quadrature; or of the one sample alone."""
    if modifier.data is not None and modifier.data.uncertainties is not None:
        values = modifier.data.uncertainties
        if len(values) != len(sample.data.contents):
            return values
        return [
            value / nominal if nominal > 0 else 0.0 for value, nominal in zip(values, sample.data.contents, strict=True)
        ]
    carriers = [other for other in distribution.samples if any(item.type == "staterror" for item in other.modifiers)]
    others = [item for other in carriers for item in other.modifiers if item.type == "staterror"]
    if any(_names(distribution, item, 0) != _names(distribution, modifier, 0) for item in others):
        msg = f"{where}: the staterrors of a channel have different parameters; expected one set for all its samples."
        raise ToymillError(msg)
    size = len(sample.data.contents)
    nominal, variance = np.zeros(size), np.zeros(size)
    for other in carriers:
        errors = other.data.errors or [0.0] * size
        if len(errors) != len(other.data.contents) or len(errors) != size:
            msg = f"{where}: sample {other.name!r} has {len(other.data.contents)} contents and {len(errors)} errors; expected {size}."
            raise ToymillError(msg)
        nominal += other.data.contents
        variance += np.square(errors)
    relative = np.divide(np.sqrt(variance), nominal, out=np.zeros(size), where=nominal > 0)
    return [float(value) for value in relative]


def _gamma_constraints(
    file: _File, distribution: hs3_schema.Distribution, modifier: Any, bins: int, where: str
) -> list[Constraint]:
    """The kind of constraint of each bin's parameter."""
    if modifier.constraints is not None:
        kinds: list[Constraint] = []
        for name in modifier.constraints:
            kind = None if name is None else file.named("distributions", name, where).get("type")
            if kind not in {None, "gaussian_dist", "normal_dist", "poisson_dist"}:
                msg = f"{where}: its constraint {name!r} is a {kind!r}; expected a gaussian_dist or a poisson_dist."
                raise ToymillError(msg)
            kinds.append("none" if kind is None else "poisson" if kind == "poisson_dist" else "normal")
        return kinds
    default = "Poisson"
    if modifier.type == "staterror":
        stated = distribution.staterror.constraint_type if distribution.staterror else None
        default = stated or ("Poisson" if file.root else "Gauss")
    stated = modifier.constraint_type or modifier.constraint or default
    known: dict[str, Constraint] = {"Poisson": "poisson", "Gauss": "normal", "Const": "none"}
    if stated not in known:
        msg = f"{where} has the constraint {stated!r}. {nearest(stated, known)}"
        raise ToymillError(msg)
    return [known[stated]] * bins


def _gamma(file: _File, name: str, relative: float, kind: Constraint, where: str) -> _Known:
    if kind == "none" or relative == 0:
        return _FREE
    nominal = file.values.get(f"nom_{name}", {}).get("value")
    if kind == "normal":
        return _Known("normal", 1.0 if nominal is None else float(nominal), relative)
    tau = 1 / relative / relative
    if nominal is None or not np.isfinite(tau):
        return _Known("poisson", tau, tau)
    if abs(nominal - tau) <= _ROUNDING * tau:  # ROOT writes uncertainties with seven digits, auxiliary data with all
        return _Known("poisson", float(nominal), float(nominal))
    if abs(nominal - relative) <= _ROUNDING * relative:
        msg = (
            f"{where}: the auxiliary count of {name!r} is {nominal:g}, as its uncertainty: this file has τ where HS3 has "
            "relative uncertainties. It was written before ROOT 6.32; write it again."
        )
        raise ToymillError(msg)
    return _Known("poisson", float(nominal), tau)


def _single_constraint(file: _File, modifier: Any, name: str, where: str) -> _Known:
    """The constraint of a parameter that acts on a whole sample."""
    stated = modifier.constraint_name
    distributions = {item["name"] for item in file.items("distributions")}
    if stated is None and modifier.constraint in distributions:
        stated = modifier.constraint
    if stated is not None:
        content = file.named("distributions", stated, where)
        if content.get("type") not in {"gaussian_dist", "normal_dist"}:
            msg = f"{where}: its constraint {stated!r} is a {content.get('type')!r}; expected a gaussian_dist."
            raise ToymillError(msg)
        gauss = _parse(file, hs3_schema.Gaussian, content, f"distribution {stated!r}")
        sides = [gauss.x, gauss.mean]
        if name not in sides:
            msg = f"{where}: its constraint {stated!r} is on {gauss.x!r} about {gauss.mean!r}, not on {name!r}."
            raise ToymillError(msg)
        sides.remove(name)
        return _Known("normal", _value(file, sides[0], where), _value(file, gauss.sigma, where))
    kind = modifier.constraint_type or modifier.constraint or ("none" if modifier.type == "normfactor" else "Gauss")
    if kind not in {"none", "Const", "Gauss"}:
        msg = f"{where} has the constraint {kind!r}; expected Gauss."
        raise ToymillError(msg)
    if kind != "Gauss":
        return _FREE
    return _Known("normal", float(file.values.get(f"nom_{name}", {}).get("value", 0.0)), 1.0)


def _value(file: _File, value: str | float, where: str) -> float:
    if not isinstance(value, str):
        return float(value)
    number = file.values.get(value, {}).get("value")
    if not isinstance(number, int | float):
        msg = f"{where}: its constraint uses {value!r}, of which the file's parameter_points give no value."
        raise ToymillError(msg)
    return float(number)


def _channel(file: _File, distribution: hs3_schema.Distribution, datum: str) -> Channel:
    bins = int(np.prod([axis.bins for axis in distribution.axes]))
    where = f"channel {distribution.channel!r}"
    observed = _observed(file, distribution, datum, bins)
    samples = []
    for sample in sorted(distribution.samples, key=lambda item: item.name):
        if len(sample.data.contents) != bins:
            msg = f"{where}, sample {sample.name!r} has {len(sample.data.contents)} bins; its axes have {bins}."
            raise file.refuse(msg)
        entry = Sample(sample.name, sample.data.contents, [], [], [])
        for modifier in sorted(sample.modifiers, key=lambda item: (item.name, item.type)):
            here = _where(file, distribution, sample, modifier)
            if isinstance(modifier, hs3_schema.NormSys):
                code = _code(modifier, distribution, _NORMSYS_CODES, 4, here)
                entry.normsys.append(NormSys(_name(modifier), modifier.data.hi, modifier.data.lo, code))
            elif isinstance(modifier, hs3_schema.HistoSys):
                hi, lo = modifier.data.hi.contents, modifier.data.lo.contents
                if not len(hi) == len(lo) == bins:
                    msg = f"{here}: hi has {len(hi)} and lo {len(lo)} contents; the sample has {bins} bins."
                    raise ToymillError(msg)
                code = _code(modifier, distribution, _HISTOSYS_CODES, 4, here)
                entry.histosys.append(HistoSys(_name(modifier), hi, lo, code))
            elif isinstance(modifier, hs3_schema.NormFactor):
                entry.factors.append([_name(modifier)] * bins)
            else:
                names = _names(distribution, modifier, bins)
                if len(names) != bins:
                    msg = f"{here} has {len(names)} parameters; the sample has {bins} bins."
                    raise ToymillError(msg)
                entry.factors.append(names)
        samples.append(entry)
    return Channel(distribution.channel, observed, samples)


def _code(
    modifier: hs3_schema.NormSys | hs3_schema.HistoSys,
    distribution: hs3_schema.Distribution,
    codes: dict[int, str],
    default: int,
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
        words: Any = (stated.type, stated.inside, stated.out)
        number = _STRUCTURED.get(words)
    else:
        words, number = stated, default if stated is None else stated
    if number not in codes:
        allowed = ", ".join(dict.fromkeys(codes.values()))
        msg = f"{where} has the interpolation {words!r}, which is none of HistFactory's for it ({allowed})."
        raise ToymillError(msg)
    return codes[number]


def _observed(file: _File, distribution: hs3_schema.Distribution, name: str, bins: int) -> list[float]:
    stated = file.named("data", name, f"analysis {file.analysis['name']!r}")
    where = f"data {name!r} of channel {distribution.channel!r}"
    datum = _parse(file, hs3_schema.Datum, stated, where)
    if datum.type == "unbinned" and datum.entries is not None and len(distribution.axes) == 1:
        counts = _binned(file, distribution.axes[0], datum, where)
    elif datum.type == "binned" and datum.contents is not None:
        counts = datum.contents
    else:
        msg = f"{where} are of type {datum.type!r}; expected binned, with contents."
        raise file.refuse(msg)
    if len(counts) != bins:
        msg = f"{where} have {len(counts)} bins; the channel has {bins}."
        raise file.refuse(msg)
    return counts


def _binned(file: _File, axis: hs3_schema.Axis, datum: hs3_schema.Datum, where: str) -> list[float]:
    """Counts of weighted events, which is how ROOT may write a histogram: an event at the centre of each bin."""
    edges = axis.edges or axis.bounds
    if edges is None:
        if axis.min is None or axis.max is None:
            msg = f"{where}: its channel's axis {axis.name!r} has neither edges nor min and max."
            raise file.refuse(msg)
        edges = [float(value) for value in np.linspace(axis.min, axis.max, axis.bins + 1)]
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
    file: _File, likelihood: dict[str, Any], distributions: list[hs3_schema.Distribution], where: str
) -> None:
    """Auxiliary distributions may only be the constraints that the modifiers name."""
    modifiers = [item for one in distributions for sample in one.samples for item in sample.modifiers]
    used = {item.constraint_name for item in modifiers} | {item.constraint for item in modifiers}
    used |= {name for item in modifiers for name in getattr(item, "constraints", None) or []}
    for name in likelihood.get("aux_distributions") or []:
        if name not in used:
            msg = f"{where} has the auxiliary distribution {name!r}, which no modifier has as its constraint."
            raise file.refuse(msg)


def _parameter(file: _File, name: str, known: _Known, kind: str) -> ParameterSpec:
    value = file.values.get(name, {})
    gamma = kind in {"shapesys", "staterror"}
    init = value.get("value", 0.0 if kind in {"normsys", "histosys"} else 1.0)
    low, high = file.bounds.get(name, (value.get("min", -np.inf), value.get("max", np.inf)))
    fixed = bool(value.get("const", gamma and known == _FREE and not value))
    return ParameterSpec(
        name, float(init), (float(low), float(high)), fixed, known.constraint, known.auxiliary, known.width
    )


def _poi(file: _File, poi: str | None, parameters: list[ParameterSpec]) -> str | None:
    stated = file.analysis.get("parameters_of_interest") or [""]
    name = str(stated[0]) if poi is None else poi
    if not name:
        return None
    names = [item.name for item in parameters]
    if name not in names:
        msg = f"the parameter of interest {name!r} is carried by no sample. {nearest(name, names)}"
        raise file.refuse(msg)
    return name


def _digest(file: _File, poi: str | None) -> str:
    identity = json.dumps([file.content, file.analysis["name"], poi], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(identity.encode()).hexdigest()
