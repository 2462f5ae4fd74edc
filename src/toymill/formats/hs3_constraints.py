"""What an HS3 file says of a parameter's constraint: by the name of a distribution, or by a type.

ROOT states both ways, and its versions differ in the keys. Auxiliary data are the values of ``nom_`` parameters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from toymill.errors import ToymillError, nearest
from toymill.formats import hs3_schema
from toymill.formats.hs3_file import HS3File, parse
from toymill.formats.specification import Constraint

_ROUNDING = 1e-5  # relative difference of two numbers in a file that were one before they were written

_GAMMA_TYPES: dict[str, Constraint] = {"Poisson": "poisson", "Gauss": "normal", "Const": "none"}
_ALPHA_TYPES: dict[str, Constraint] = {"Gauss": "normal", "Const": "none", "none": "none"}


class Known(NamedTuple):
    """What a constraint says of one parameter."""

    constraint: Constraint
    auxiliary: float
    width: float


FREE = Known("none", 0.0, 1.0)


def constraint_of_sample(file: HS3File, modifier: hs3_schema.SampleModifier, name: str, where: str) -> Known:
    """The constraint of a parameter that acts on a whole sample.

    Raises:
        ToymillError: two constraints, or one that is unknown or is not on this parameter.
    """
    known = {item["name"] for item in file.items("distributions")}
    listed = modifier.constraints[0] if modifier.constraints else None
    named = {item for item in (modifier.constraint_name, listed) if item is not None}
    types = {item for item in (modifier.constraint_type,) if item is not None}
    if modifier.constraint is not None:
        (named if modifier.constraint in known else types).add(modifier.constraint)
    if len(named) > 1 or len(types) > 1 or (named and types - {"Gauss"}):
        msg = f"{where} has the constraints {', '.join(sorted(named | types))}; expected one of them."
        raise ToymillError(msg)
    alpha = not isinstance(modifier, hs3_schema.NormFactor)
    if named:
        return _of_distribution(file, name, named.pop(), where, default=f"nom_{name}" if alpha else "")
    unstated = "Gauss" if alpha and modifier.constraints is None else "none"
    kind = types.pop() if types else unstated
    if kind not in _ALPHA_TYPES:
        msg = f"{where} has the constraint {kind!r}; expected Gauss, or a distribution. {nearest(kind, known)}"
        raise ToymillError(msg)
    if _ALPHA_TYPES[kind] == "none":
        return FREE
    nominal = file.values.get(f"nom_{name}")
    return Known("normal", nominal.value if nominal else 0.0, 1.0)


def constraints_of_bins(
    file: HS3File,
    modifier: hs3_schema.ShapeSys | hs3_schema.StatError,
    names: list[str],
    relative: list[float],
    default: str,
    where: str,
) -> list[Known]:
    """The constraint of each bin's parameter.

    Args:
        file: the file.
        modifier: the modifier.
        names: its parameters.
        relative: the relative uncertainty of each.
        default: type of the constraints where the modifier states none.
        where: where the modifier stands, for messages.

    Raises:
        ToymillError: two kinds of constraints, constraints that are unknown, not on these parameters or too few.
    """
    types = {item for item in (modifier.constraint_type, modifier.constraint) if item is not None}
    if len(types) + (modifier.constraints is not None) > 1:
        listed = [] if modifier.constraints is None else ["those named in constraints"]
        msg = f"{where} has the constraints {', '.join([*sorted(types), *listed])}; expected one of them."
        raise ToymillError(msg)
    if modifier.constraints is not None:
        if len(modifier.constraints) != len(names):
            msg = f"{where} has {len(names)} parameters and {len(modifier.constraints)} constraints."
            raise ToymillError(msg)
        pairs = zip(names, modifier.constraints, strict=True)
        return [FREE if item is None else _of_distribution(file, name, item, where) for name, item in pairs]
    kind = types.pop() if types else default
    if kind not in _GAMMA_TYPES:
        msg = f"{where} has the constraint {kind!r}. {nearest(kind, _GAMMA_TYPES)}"
        raise ToymillError(msg)
    widths = zip(names, relative, strict=True)
    return [_of_gamma(file, name, width, _GAMMA_TYPES[kind], where) for name, width in widths]


def distributions_of(modifier: hs3_schema.AnyModifier) -> set[str]:
    """Names that a modifier gives for its constraints; types may be among them."""
    names = {modifier.constraint, *(modifier.constraints or [])}
    if isinstance(modifier, hs3_schema.SampleModifier):
        names.add(modifier.constraint_name)
    return {name for name in names if name is not None}


def _of_gamma(file: HS3File, name: str, relative: float, kind: Constraint, where: str) -> Known:
    if kind == "none" or relative == 0:
        return FREE
    nominal = file.values.get(f"nom_{name}")
    if kind == "normal":
        return Known("normal", nominal.value if nominal else 1.0, relative)
    tau = 1 / relative / relative
    if nominal is None or not np.isfinite(tau):
        return Known("poisson", tau, tau)
    count = nominal.value
    if abs(count - tau) <= _ROUNDING * tau:  # ROOT writes uncertainties with seven digits, auxiliary data with all
        return Known("poisson", count, count)
    if abs(count - relative) <= _ROUNDING * relative:
        msg = (
            f"{where}: the auxiliary count of {name!r} is {count:g}, as its uncertainty: this file has τ where HS3 has "
            "relative uncertainties. It was written before ROOT 6.32; write it again."
        )
        raise ToymillError(msg)
    return Known("poisson", count, tau)


def _of_distribution(file: HS3File, name: str, constraint: str, where: str, *, default: str = "") -> Known:
    """The constraint that a distribution is of a parameter: normal, or Poisson about τ times the parameter.

    ``default`` is the name of an auxiliary datum that is 0 unless the file gives it a value.
    """
    content = file.named("distributions", constraint, where)
    place = f"distribution {constraint!r}"
    if content.get("type") in {"gaussian_dist", "normal_dist"}:
        gauss = parse(file, hs3_schema.Gaussian, content, place)
        datum = _other([gauss.x, gauss.mean], name, constraint, where)
        nominal = 0.0 if datum == [default] and default not in file.values else _number(file, datum[0], where)
        return Known("normal", nominal, _number(file, gauss.sigma, where))
    if content.get("type") == "poisson_dist":
        poisson = parse(file, hs3_schema.Poisson, content, place)
        factors: list[str | float] = [poisson.mean]
        if poisson.mean != name:
            function = file.named("functions", poisson.mean, f"{where}: its constraint {constraint!r}")
            factors = [*parse(file, hs3_schema.Product, function, f"function {poisson.mean!r}").factors]
        tau = float(np.prod([_number(file, item, where) for item in _other(factors, name, constraint, where)]))
        count = _number(file, poisson.x, where)
        if poisson.integer and count != round(count):
            msg = f"{where}: its constraint {constraint!r} rounds its count, {count:g}. Expected integer: false."
            raise ToymillError(msg)
        return Known("poisson", count, tau)
    msg = f"{where}: its constraint {constraint!r} is a {content.get('type')!r}; expected a gaussian_dist or a poisson_dist."
    raise ToymillError(msg)


def _other(sides: list[str | float], name: str, constraint: str, where: str) -> list[str | float]:
    """What stands beside the parameter."""
    if name not in sides:
        msg = f"{where}: its constraint {constraint!r} is on {' and '.join(map(repr, sides))}, not on {name!r}."
        raise ToymillError(msg)
    others = list(sides)
    others.remove(name)
    return others


def _number(file: HS3File, value: str | float, where: str) -> float:
    if not isinstance(value, str):
        return float(value)
    if value not in file.values:
        msg = f"{where}: its constraint uses {value!r}, of which the file's parameter_points give no value."
        raise ToymillError(msg)
    file.numbers.add(value)
    return file.values[value].value
