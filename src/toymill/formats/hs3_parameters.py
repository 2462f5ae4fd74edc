"""The parameters of an HS3 file's modifiers: what constrains each, its value, its range, and whether it is held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from toymill.errors import ToymillError
from toymill.formats import hs3_schema
from toymill.formats.hs3_constraints import FREE, Known, constraint_of_sample, constraints_of_bins
from toymill.formats.hs3_file import HS3File, where_of
from toymill.formats.specification import ParameterSpec

ORDER = ("histosys", "normfactor", "normsys", "shapefactor", "shapesys", "staterror")
"""The order of parameters by modifier type."""


class Needed(NamedTuple):
    """A parameter that modifiers need.

    Attributes:
        name: its name.
        kind: the modifier type that needs it first.
        known: its constraint.
        held: whether it is constant unless the file says what its value is.
    """

    name: str
    kind: str
    known: Known
    held: bool


def collect(file: HS3File, distributions: list[hs3_schema.Distribution]) -> list[Needed]:
    """Every parameter that the modifiers need, by modifier type, within a type as they first name them.

    Raises:
        ToymillError: a parameter with two different constraints, a constraint that is not HistFactory's, uncertainties
            that are negative or too few.
    """
    found: dict[str, Needed] = {}
    for kind in ORDER:
        for distribution, sample, modifier in _modifiers(distributions, kind):
            where = where_of(file, distribution, sample, modifier)
            for name, known, held in _required(file, distribution, sample, modifier, where):
                _require(found, Needed(name, kind, known, held), where)
    return list(found.values())


def _modifiers(
    distributions: list[hs3_schema.Distribution], kind: str
) -> Iterator[tuple[hs3_schema.Distribution, hs3_schema.Sample, hs3_schema.AnyModifier]]:
    """Every modifier of a type with its place, samples and modifiers sorted."""
    for distribution in distributions:
        for sample in sorted(distribution.samples, key=lambda item: item.name):
            for modifier in sorted(sample.modifiers, key=lambda item: (item.name, item.type)):
                if modifier.type == kind:
                    yield distribution, sample, modifier


def _require(found: dict[str, Needed], needed: Needed, where: str) -> None:
    """Note a parameter; it may be constrained in one place and only named in others."""
    name, _, known, held = needed
    earlier = found.setdefault(name, needed)
    if earlier.known == FREE:
        found[name] = earlier._replace(known=known, held=held)
    elif known not in (earlier.known, FREE):
        msg = f"{where}: the parameter {name!r} has the constraint {known} here and {earlier.known} elsewhere."
        raise ToymillError(msg)


def names_of(distribution: hs3_schema.Distribution, modifier: hs3_schema.BinModifier, bins: int) -> list[str]:
    """The parameters of a modifier with one for each bin."""
    if modifier.parameters:
        return list(modifier.parameters)
    stem = f"stat_{distribution.channel}" if isinstance(modifier, hs3_schema.StatError) else modifier.name
    return [f"gamma_{stem}_bin_{i}" for i in range(bins)]


def name_of(modifier: hs3_schema.SampleModifier) -> str:
    """The parameter of a modifier with one."""
    return modifier.stated or (
        modifier.name if isinstance(modifier, hs3_schema.NormFactor) else f"alpha_{modifier.name}"
    )


def _required(
    file: HS3File,
    distribution: hs3_schema.Distribution,
    sample: hs3_schema.Sample,
    modifier: hs3_schema.AnyModifier,
    where: str,
) -> Iterator[tuple[str, Known, bool]]:
    """The parameters that a modifier needs, each with its constraint, and whether it is held."""
    if isinstance(modifier, hs3_schema.SampleModifier):
        name = name_of(modifier)
        if file.root and isinstance(modifier, hs3_schema.NormFactor) and modifier.name not in ("", name):
            msg = (
                f"{where} has the parameter {name!r}: ROOT takes a normfactor's name for its parameter, the standard "
                "takes what parameter says. Give both the same name."
            )
            raise ToymillError(msg)
        yield name, constraint_of_sample(file, modifier, name, where), False
        return
    bins = len(sample.data.contents)
    names = names_of(distribution, modifier, bins)
    if isinstance(modifier, hs3_schema.ShapeFactor):
        yield from ((name, FREE, False) for name in names)
        return
    threshold = 0.0
    if isinstance(modifier, hs3_schema.ShapeSys):
        relative = _relative_uncertainties(file, sample, modifier, where)
        default = "Gauss" if file.root else "Poisson"
    else:
        relative = _statistical_uncertainties(file, distribution, sample, modifier, where)
        default = _statistical_constraint(file, distribution, modifier, where)
        threshold = distribution.staterror.rel_threshold if distribution.staterror else 0.0
    measured = relative is not None
    relative = [0.0] * bins if relative is None else relative
    if not len(names) == len(relative) == bins:
        msg = f"{where} has {len(names)} parameters and {len(relative)} uncertainties; the sample has {bins} bins."
        raise ToymillError(msg)
    constraints = constraints_of_bins(file, modifier, names, relative, default, where)
    for name, width, known in zip(names, relative, constraints, strict=True):
        yield name, known, measured and (known == FREE or width < threshold)


def _relative_uncertainties(
    file: HS3File, sample: hs3_schema.Sample, modifier: hs3_schema.ShapeSys, where: str
) -> list[float] | None:
    """ROOT writes the uncertainties of a shapesys relative to the yields, pyhs3 reads and writes them absolute.

    None if the modifier has none, as ROOT may write free factors.
    """
    values = modifier.data.vals if modifier.data else []
    stated = {modifier.constraint_type, modifier.constraint} - {None, "Const"}
    if not values and stated:
        msg = f"{where} has the constraint {stated.pop()!r}, and no uncertainties: data.vals, a number a bin."
        raise ToymillError(msg)
    if not values:
        return None
    if min(values) < 0:
        msg = f"{where} has a negative uncertainty, {min(values):g}."
        raise ToymillError(msg)
    if file.root or len(values) != len(sample.data.contents):
        return values
    return _relative(values, sample.data.contents)


def _relative(uncertainties: list[float], nominal: list[float]) -> list[float]:
    return [value / size if size > 0 else 0.0 for value, size in zip(uncertainties, nominal, strict=True)]


def _statistical_uncertainties(
    file: HS3File,
    distribution: hs3_schema.Distribution,
    sample: hs3_schema.Sample,
    modifier: hs3_schema.StatError,
    where: str,
) -> list[float]:
    """Relative uncertainties of a channel's samples with a staterror, in quadrature; or of the one sample alone.

    A sample without errors has those of counts in ROOT, the square roots of its contents, and none in pyhs3.
    """
    own = modifier.data.uncertainties if modifier.data else None
    full = distribution.barlow_beeston_method == "full"
    if full != (own is not None):
        msg = (
            f"{where} has {'no ' if own is None else ''}uncertainties of its own in data, and barlow_beeston_method of "
            f"its channel is {distribution.barlow_beeston_method!r}: they belong to 'full', and to nothing else."
        )
        raise ToymillError(msg)
    if own is not None:
        return own if len(own) != len(sample.data.contents) else _relative(own, sample.data.contents)
    carriers = [other for other in distribution.samples if any(item.type == "staterror" for item in other.modifiers)]
    others = [item for other in carriers for item in other.modifiers if isinstance(item, hs3_schema.StatError)]
    if any(names_of(distribution, item, 0) != names_of(distribution, modifier, 0) for item in others):
        msg = f"{where}: the staterrors of a channel have different parameters; expected one set for all its samples."
        raise ToymillError(msg)
    if not file.root and all(other.data.errors is None for other in carriers):
        msg = f"{where}: no sample of its channel has errors, so that nothing constrains it. Give them beside contents."
        raise ToymillError(msg)
    size = len(sample.data.contents)
    nominal, variance = np.zeros(size), np.zeros(size)
    for other in carriers:
        contents, errors = other.data.contents, other.data.errors
        if len(contents) != size or (errors is not None and len(errors) != size):
            count = "no" if errors is None else len(errors)
            msg = f"{where}: sample {other.name!r} has {len(contents)} contents and {count} errors; expected {size}."
            raise ToymillError(msg)
        nominal += contents
        if errors is not None:
            variance += np.square(errors)
        elif file.root:
            variance += np.maximum(contents, 0.0)
    relative = np.divide(np.sqrt(variance), nominal, out=np.zeros(size), where=nominal > 0)
    return [float(value) for value in relative]


def statistical_errors(file: HS3File, sample: hs3_schema.Sample, modifier: hs3_schema.StatError) -> list[float]:
    """The Monte Carlo statistical uncertainty of a sample's contents, a number a bin; none of errors that are not there.

    A sample without errors has those of counts in ROOT, the square roots of its contents, and none in pyhs3.
    """
    contents = sample.data.contents
    if modifier.data is not None and modifier.data.uncertainties is not None:
        return modifier.data.uncertainties
    if sample.data.errors is not None:
        return sample.data.errors
    return [float(value) for value in np.sqrt(np.maximum(contents, 0.0))] if file.root else [0.0] * len(contents)


def _statistical_constraint(
    file: HS3File, distribution: hs3_schema.Distribution, modifier: hs3_schema.StatError, where: str
) -> str:
    """The type of a staterror's constraints where the modifier states none: the channel's, else the program's."""
    stated = distribution.staterror.constraint_type if distribution.staterror else None
    own = modifier.constraint_type or modifier.constraint
    if stated is not None and own not in (None, stated):
        msg = f"{where} has the constraint {own!r}, and staterror of its channel {stated!r}; expected one of them."
        raise ToymillError(msg)
    return stated or ("Poisson" if file.root else "Gauss")


def parameter_of(file: HS3File, needed: Needed) -> ParameterSpec:
    """A parameter with what the file says of its value, bounds, and whether it is fixed."""
    value = file.values.get(needed.name)
    nominal = 0.0 if needed.kind in {"normsys", "histosys"} else 1.0
    bounds = file.bounds.get(needed.name)
    if bounds is None:
        unranged = (-np.inf, np.inf) if value is None else value.bounds
        bounds = _roots_range(needed, unranged, mentioned=value is not None) if file.root else unranged
    held = needed.name in file.constants or (needed.held and value is None)
    return ParameterSpec(
        needed.name,
        nominal if value is None else value.value,
        (float(bounds[0]), float(bounds[1])),
        held if value is None or value.const is None else value.const,
        needed.known.constraint,
        needed.known.auxiliary,
        needed.known.width,
    )


def _roots_range(needed: Needed, stated: tuple[float, float], *, mentioned: bool) -> tuple[float, float]:
    """The range that ROOT gives a parameter which is in no domain: that of a constrained factor, or a default one."""
    if needed.kind in {"shapesys", "staterror"} and needed.known != FREE and stated == (-np.inf, np.inf):
        width = needed.known.width
        return (0.0, 1 + 5 * (width if needed.known.constraint == "normal" else width**-0.5))
    if mentioned:
        return stated
    return {"normsys": (-5.0, 5.0), "histosys": (-5.0, 5.0), "normfactor": (-3.0, 5.0)}.get(needed.kind, (0.0, 10.0))
