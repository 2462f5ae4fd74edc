"""The parameters of an HS3 file's modifiers and their constraints: normal, Poisson, or none.

ROOT states a constraint by its type, or by a distribution; auxiliary data are the values of ``nom_`` parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from toymill.errors import ToymillError, nearest
from toymill.formats import hs3_schema
from toymill.formats.hs3_file import HS3File, parse, where_of
from toymill.formats.specification import Constraint, ParameterSpec

ORDER = ("histosys", "normfactor", "normsys", "shapefactor", "shapesys", "staterror")
"""The order of parameters by modifier type."""

_ROUNDING = 1e-5  # relative difference of two numbers in a file that were one before they were written

SampleModifier = hs3_schema.NormFactor | hs3_schema.NormSys | hs3_schema.HistoSys
"""A modifier of a whole sample, with one parameter."""

BinModifier = hs3_schema.ShapeFactor | hs3_schema.ShapeSys | hs3_schema.StatError
"""A modifier with a parameter for each bin."""


class Known(NamedTuple):
    """What a constraint says of one parameter."""

    constraint: Constraint
    auxiliary: float
    width: float


FREE = Known("none", 0.0, 1.0)


class Needed(NamedTuple):
    """A parameter that modifiers need: its name, its constraint, and the modifier type that needs it first."""

    name: str
    known: Known
    kind: str


def collect(file: HS3File, distributions: list[hs3_schema.Distribution]) -> list[Needed]:
    """Every parameter that the modifiers need, by modifier type, within a type as they first name them.

    Raises:
        ToymillError: a parameter with two different constraints, a constraint that is not HistFactory's, uncertainties
            that are negative or too few.
    """
    found: dict[str, dict[str, Known]] = {kind: {} for kind in ORDER}
    kind_of: dict[str, str] = {}
    for kind in ORDER:
        for distribution, sample, modifier in _modifiers(distributions, kind):
            where = where_of(file, distribution, sample, modifier)
            for name, known in _required(file, distribution, sample, modifier, where):
                _require(found[kind_of.setdefault(name, kind)], name, known, where)
    return [Needed(name, known, kind) for kind in ORDER for name, known in found[kind].items()]


def _modifiers(
    distributions: list[hs3_schema.Distribution], kind: str
) -> Iterator[tuple[hs3_schema.Distribution, hs3_schema.Sample, hs3_schema.AnyModifier]]:
    """Every modifier of a type with its place, samples and modifiers sorted."""
    for distribution in distributions:
        for sample in sorted(distribution.samples, key=lambda item: item.name):
            for modifier in sorted(sample.modifiers, key=lambda item: (item.name, item.type)):
                if modifier.type == kind:
                    yield distribution, sample, modifier


def _require(found: dict[str, Known], name: str, known: Known, where: str) -> None:
    """Note a parameter's constraint; it may be constrained in one place and only named in others."""
    earlier = found.setdefault(name, known)
    if earlier == FREE:
        found[name] = known
    elif known not in (earlier, FREE):
        msg = f"{where}: the parameter {name!r} has the constraint {known} here and {earlier} elsewhere."
        raise ToymillError(msg)


def names_of(distribution: hs3_schema.Distribution, modifier: BinModifier, bins: int) -> list[str]:
    """The parameters of a modifier with one for each bin."""
    if modifier.parameters:
        return list(modifier.parameters)
    stem = f"stat_{distribution.channel}" if modifier.type == "staterror" else modifier.name
    return [f"gamma_{stem}_bin_{i}" for i in range(bins)]


def name_of(modifier: SampleModifier) -> str:
    """The parameter of a modifier with one."""
    if isinstance(modifier, hs3_schema.NormFactor):
        return str(modifier.parameter or modifier.name)
    return str(modifier.parameter or f"alpha_{modifier.name}")


def _required(
    file: HS3File,
    distribution: hs3_schema.Distribution,
    sample: hs3_schema.Sample,
    modifier: hs3_schema.AnyModifier,
    where: str,
) -> Iterator[tuple[str, Known]]:
    """The parameters that a modifier needs, each with its constraint."""
    bins = len(sample.data.contents)
    if isinstance(modifier, SampleModifier):
        name = name_of(modifier)
        yield name, _single_constraint(file, modifier, name, where)
        return
    names = names_of(distribution, modifier, bins)
    if isinstance(modifier, hs3_schema.ShapeFactor):
        yield from ((name, FREE) for name in names)
        return
    if isinstance(modifier, hs3_schema.ShapeSys):
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
    file: HS3File, sample: hs3_schema.Sample, modifier: hs3_schema.ShapeSys, where: str
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
    if any(names_of(distribution, item, 0) != names_of(distribution, modifier, 0) for item in others):
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
    file: HS3File,
    distribution: hs3_schema.Distribution,
    modifier: hs3_schema.ShapeSys | hs3_schema.StatError,
    bins: int,
    where: str,
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
    if isinstance(modifier, hs3_schema.StatError):
        stated = distribution.staterror.constraint_type if distribution.staterror else None
        default = stated or ("Poisson" if file.root else "Gauss")
    stated = modifier.constraint_type or modifier.constraint or default
    known: dict[str, Constraint] = {"Poisson": "poisson", "Gauss": "normal", "Const": "none"}
    if stated not in known:
        msg = f"{where} has the constraint {stated!r}. {nearest(stated, known)}"
        raise ToymillError(msg)
    return [known[stated]] * bins


def _gamma(file: HS3File, name: str, relative: float, kind: Constraint, where: str) -> Known:
    if kind == "none" or relative == 0:
        return FREE
    nominal = file.values.get(f"nom_{name}", {}).get("value")
    if kind == "normal":
        return Known("normal", 1.0 if nominal is None else float(nominal), relative)
    tau = 1 / relative / relative
    if nominal is None or not np.isfinite(tau):
        return Known("poisson", tau, tau)
    if abs(nominal - tau) <= _ROUNDING * tau:  # ROOT writes uncertainties with seven digits, auxiliary data with all
        return Known("poisson", float(nominal), float(nominal))
    if abs(nominal - relative) <= _ROUNDING * relative:
        msg = (
            f"{where}: the auxiliary count of {name!r} is {nominal:g}, as its uncertainty: this file has τ where HS3 has "
            "relative uncertainties. It was written before ROOT 6.32; write it again."
        )
        raise ToymillError(msg)
    return Known("poisson", float(nominal), tau)


def _single_constraint(file: HS3File, modifier: SampleModifier, name: str, where: str) -> Known:
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
        gauss = parse(file, hs3_schema.Gaussian, content, f"distribution {stated!r}")
        sides = [gauss.x, gauss.mean]
        if name not in sides:
            msg = f"{where}: its constraint {stated!r} is on {gauss.x!r} about {gauss.mean!r}, not on {name!r}."
            raise ToymillError(msg)
        sides.remove(name)
        return Known("normal", _value(file, sides[0], where), _value(file, gauss.sigma, where))
    kind = modifier.constraint_type or modifier.constraint or ("none" if modifier.type == "normfactor" else "Gauss")
    if kind not in {"none", "Const", "Gauss"}:
        msg = f"{where} has the constraint {kind!r}; expected Gauss."
        raise ToymillError(msg)
    if kind != "Gauss":
        return FREE
    return Known("normal", float(file.values.get(f"nom_{name}", {}).get("value", 0.0)), 1.0)


def _value(file: HS3File, value: str | float, where: str) -> float:
    if not isinstance(value, str):
        return float(value)
    number = file.values.get(value, {}).get("value")
    if not isinstance(number, int | float):
        msg = f"{where}: its constraint uses {value!r}, of which the file's parameter_points give no value."
        raise ToymillError(msg)
    return float(number)


def parameter_of(file: HS3File, needed: Needed) -> ParameterSpec:
    """A parameter with what the file says of its value, bounds, and whether it is fixed."""
    name, known, kind = needed
    value = file.values.get(name, {})
    gamma = kind in {"shapesys", "staterror"}
    init = value.get("value", 0.0 if kind in {"normsys", "histosys"} else 1.0)
    low, high = file.bounds.get(name, (value.get("min", -np.inf), value.get("max", np.inf)))
    fixed = bool(value.get("const", gamma and known == FREE and not value))
    return ParameterSpec(
        name, float(init), (float(low), float(high)), fixed, known.constraint, known.auxiliary, known.width
    )
