"""From a specification to arrays: the parameters, templates and observed data of a HistFactory model. Needs no JAX.

What the model means is in CERN-OPEN-2012-016; ``codes`` has the interpolations, ``arrays`` says what each array holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from toymill.errors import ToymillError
from toymill.formats.specification import Channel, ParameterSpec, Sample, Specification, location
from toymill.histfactory.arrays import Histosys, Multipliers, Normsys, Order, Templates
from toymill.histfactory.codes import EVEN_SHAPES, NORM_EDGES, code4_polynomial
from toymill.histfactory.expectation import expectation, over_interpolating
from toymill.histfactory.second_minima import candidates, no_scan
from toymill.histfactory.terms import scale_terms, shift_terms
from toymill.parameters import Constraints, Parameters, Trial, constraints_of, why_no_name

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

_SMALLEST = 1e-10  # of a parameter with a Poisson constraint, whose logarithm is taken


@dataclass(frozen=True)
class Compiled:
    """A model as arrays.

    Attributes:
        parameters: its parameters.
        poi: name of the parameter of interest, or None.
        templates: the constants of its likelihood.
        observed: observed main data and nominal auxiliary data.
        data_names: ``channel[bin]`` and ``parameter (auxiliary)``, a name for each datum.
        two_minima: True for a parameter along which there may be a second minimum; see ``second_minima``.
        trials: where the loosely constrained of these are tried.
        kinks: True for a parameter along which the expectation has a kink at 0.
        digest: SHA-256 of everything that defines the model.
    """

    parameters: Parameters
    poi: str | None
    templates: Templates[np.ndarray]
    observed: Float[np.ndarray, " datum"]
    data_names: tuple[str, ...]
    two_minima: Bool[np.ndarray, " parameter"]
    trials: tuple[Trial, ...]
    kinks: Bool[np.ndarray, " parameter"]
    digest: str


def compile_specification(specification: Specification) -> Compiled:
    """The parameters and templates of a model.

    Raises:
        ToymillError: names that are not unique, factors or initial values that cannot be, a negative count, an
            expectation that is negative at the initial values, or 0 where there are events whatever the parameters.
    """
    _check_parameters(specification)
    _check_observed(specification)
    items = specification.parameters
    parameters = Parameters(
        names=tuple(item.name for item in items),
        init=np.array([item.init for item in items]),
        bounds=np.array([_bounds(item) for item in items], dtype=np.float64),
        fixed=np.array([item.fixed for item in items]),
        constraint=tuple(item.constraint for item in items),
    )
    constrained = [item for item in items if item.constraint != "none"]
    main = [count for channel in specification.channels for count in channel.observed]
    names = [f"{channel.name}[{i}]" for channel in specification.channels for i in range(len(channel.observed))]
    loose = np.array([item.constraint == "poisson" and item.width < 1 for item in items])
    with np.errstate(all="ignore"):  # what overflows is refused below
        templates = _templates(specification, len(main))
        kinks = _kinks(templates, len(items))
        found = candidates(templates, parameters, kinks, loose)
    compiled = Compiled(
        parameters=parameters,
        poi=specification.poi,
        templates=templates._replace(scan=found.scan),
        observed=np.array(main + [item.auxiliary for item in constrained], dtype=np.float64),
        data_names=tuple(names + [f"{item.name} (auxiliary)" for item in constrained]),
        two_minima=found.parameters,
        trials=found.trials,
        kinks=kinks,
        digest=specification.digest,
    )
    _check_expectation(compiled, specification.source)
    return compiled


def _bounds(item: ParameterSpec) -> tuple[float, float]:
    low, high = item.bounds
    return (max(low, min(_SMALLEST, item.init)), high) if item.constraint == "poisson" else (low, high)


def _check_parameters(specification: Specification) -> None:
    source, items = specification.source, specification.parameters
    if not items:
        msg = f"{source} has no parameters: no sample carries a modifier."
        raise ToymillError(msg)
    seen: set[str] = set()
    for item in items:
        low, high = item.bounds
        where = f"{source}: parameter {item.name!r}"
        if item.name in seen:
            msg = f"{where} stands for two different things. Rename one of the modifiers."
        elif why_no_name(item.name):
            msg = f"{where}: {why_no_name(item.name)}"
        elif low > high:
            msg = f"{where}: its lower bound {low:g} lies above its upper bound {high:g}."
        elif not low <= item.init <= high:
            msg = (
                f"{where}: its initial value {item.init:g} lies outside its bounds [{low}, {high}]. Change one of them "
                "in the file."
            )
        elif item.width <= 0 or not np.isfinite(item.width):
            word = "sigma" if item.constraint == "normal" else "factor"
            msg = f"{where}: the {word} of its constraint must be positive and finite; got {item.width:g}."
        elif item.constraint == "poisson" and not item.auxiliary >= 0:
            msg = f"{where}: its auxiliary datum is a count, 0 or more; got {item.auxiliary:g}."
        else:
            seen.add(item.name)
            continue
        raise ToymillError(msg)


def _check_observed(specification: Specification) -> None:
    for channel in specification.channels:
        if min(channel.observed) < 0:
            msg = (
                f"{specification.source}: the observation of channel {channel.name!r} has a negative count, "
                f"{min(channel.observed):g} in bin {int(np.argmin(channel.observed))}."
            )
            raise ToymillError(msg)


def _check_expectation(compiled: Compiled, source: str) -> None:
    """Refuse a model whose likelihood is not defined where its fits begin, or nowhere."""
    templates = compiled.templates
    with np.errstate(all="ignore"):
        rates = expectation(templates, compiled.parameters.init)
    histosys = templates.histosys
    moved = np.abs(templates.nominal) + np.sum(np.abs(histosys.linear) + np.abs(histosys.even), axis=0)
    empty = np.sum(moved, axis=0) == 0
    for i, rate in enumerate(rates):
        name = compiled.data_names[i]
        if not np.isfinite(rate) or rate < -1e-12 * np.sum(np.abs(templates.nominal[:, i])):
            msg = (
                f"{source}: the expectation of {name} is {rate:g} at the initial values, and no likelihood is defined "
                "there. Look for negative or huge yields among the samples of this channel."
            )
            raise ToymillError(msg)
        if empty[i] and compiled.observed[i] > 0:
            msg = (
                f"{source}: {name} has {compiled.observed[i]:g} events and no sample with a yield there, so that the "
                "likelihood is 0 whatever the parameters. Is the signal's patch missing, or a sample?"
            )
            raise ToymillError(msg)


@dataclass
class _Modifiers:
    """What the modifiers of all samples do, parameters in the model's order.

    Attributes:
        source: where the specification was read from, for messages.
        index: the index of each parameter, by its name.
        nominal: nominal yields.
        linear: what α times this adds to a yield.
        even: what g(α) times this adds to a yield.
        log_hi: logarithm of a normsys factor at α = +1.
        log_lo: logarithm of a normsys factor at α = -1.
        factors: the parameters that multiply a yield, by sample and bin.
        histosys_codes: the interpolation of each parameter with a histosys, by its name.
        normsys_codes: the interpolation of each parameter with a normsys, by its name.
    """

    source: str
    index: dict[str, int]
    nominal: Float[np.ndarray, "sample bin"]
    linear: Float[np.ndarray, "sample bin parameter"]
    even: Float[np.ndarray, "sample bin parameter"]
    log_hi: Float[np.ndarray, "parameter sample channel"]
    log_lo: Float[np.ndarray, "parameter sample channel"]
    factors: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    histosys_codes: dict[str, str] = field(default_factory=dict)
    normsys_codes: dict[str, str] = field(default_factory=dict)

    def add_histosys(self, channel: Channel, sample: Sample, slot: int, bins: slice) -> None:
        """Note the shifts of a sample, in its slot and the bins of its channel."""
        data = np.array(sample.nominal)
        for shift in sample.histosys:
            self._note(self.histosys_codes, shift.parameter, shift.code, channel, sample)
            up, down = np.array(shift.hi) - data, data - np.array(shift.lo)
            self.linear[slot, bins, self.index[shift.parameter]] += (up + down) / 2
            self.even[slot, bins, self.index[shift.parameter]] += (up - down) / 2

    def add_normsys(self, channel: Channel, sample: Sample, slot: int, number: int) -> None:
        """Note the scales of a sample, in its slot and the channel of that number."""
        for scale in sample.normsys:
            where = location(self.source, channel.name, sample.name, f"normsys {scale.parameter!r}")
            if min(scale.hi, scale.lo) <= 0:
                msg = (
                    f"{where} has hi = {scale.hi:g}, lo = {scale.lo:g}; both must be positive, for the factor is "
                    "exponential. A yield that vanishes is a histosys."
                )
                raise ToymillError(msg)
            self._note(self.normsys_codes, scale.parameter, scale.code, channel, sample)
            cell = self.index[scale.parameter], slot, number
            if self.log_hi[cell] or self.log_lo[cell]:
                msg = f"{where}: a normsys of this parameter stands there twice. Combine them into one."
                raise ToymillError(msg)
            self.log_hi[cell] = np.log(scale.hi)
            self.log_lo[cell] = np.log(scale.lo)

    def add_factors(self, channel: Channel, sample: Sample, slot: int, first: int) -> None:
        """Note what multiplies a sample, in its slot and from the first bin of its channel on."""
        for names in sample.factors:
            for i, name in enumerate(names):
                cell = self.factors.setdefault((slot, first + i), [])
                if self.index[name] in cell:
                    where = location(self.source, channel.name, sample.name, f"parameter {name!r}")
                    msg = f"{where} multiplies bin {i} twice. Remove one of its modifiers."
                    raise ToymillError(msg)
                cell.append(self.index[name])

    def _note(self, known: dict[str, str], parameter: str, code: str, channel: Channel, sample: Sample) -> None:
        """Note the interpolation of a parameter, of which there must be one."""
        if known.setdefault(parameter, code) != code:
            where = location(self.source, channel.name, sample.name, f"parameter {parameter!r}")
            msg = f"{where} has the interpolation {code} here and {known[parameter]} elsewhere; expected one for it."
            raise ToymillError(msg)


def _modifiers(specification: Specification, bins: int) -> _Modifiers:
    index = {item.name: i for i, item in enumerate(specification.parameters)}
    slots = max(len(channel.samples) for channel in specification.channels)
    channels = len(specification.channels)
    found = _Modifiers(
        source=specification.source,
        index=index,
        nominal=np.zeros((slots, bins)),
        linear=np.zeros((slots, bins, len(index))),
        even=np.zeros((slots, bins, len(index))),
        log_hi=np.zeros((len(index), slots, channels)),
        log_lo=np.zeros((len(index), slots, channels)),
    )
    first = 0
    for number, channel in enumerate(specification.channels):
        here = slice(first, first + len(channel.observed))
        for slot, sample in enumerate(channel.samples):
            found.nominal[slot, here] = sample.nominal
            found.add_histosys(channel, sample, slot, here)
            found.add_normsys(channel, sample, slot, number)
            found.add_factors(channel, sample, slot, first)
        first = here.stop
    return found


def _templates(specification: Specification, bins: int) -> Templates[np.ndarray]:
    given = _modifiers(specification, bins)
    names = [item.name for item in specification.parameters]
    hist = np.any(given.linear, axis=(0, 1)) | np.any(given.even, axis=(0, 1))
    norm = np.any(given.log_hi, axis=(1, 2)) | np.any(given.log_lo, axis=(1, 2))
    hist_only, both, norm_only = (np.flatnonzero(which) for which in (hist & ~norm, hist & norm, norm & ~hist))
    interpolating = np.concatenate([hist_only, both, norm_only])
    present = np.zeros((len(names), *given.nominal.shape))
    for (slot, bin_), items in given.factors.items():
        present[items, slot, bin_] = 1.0
    bins_of = np.any(present, axis=1).sum(axis=1)
    multi, single = np.flatnonzero(bins_of > 1), np.flatnonzero(bins_of == 1)
    order = np.concatenate([interpolating, multi, single])
    order = np.concatenate([order, np.setdiff1d(np.arange(len(names)), order)])
    place_of = np.full(len(names), -1)
    place_of[order] = np.arange(len(order))  # a parameter of two kinds: where it multiplies
    single_bin = np.argmax(np.any(present[single], axis=1), axis=1)
    free = [i for i, item in enumerate(specification.parameters) if item.constraint == "none"]
    sizes = [len(channel.observed) for channel in specification.channels]
    bin_channel = np.repeat(np.arange(len(sizes)), sizes)
    return Templates(
        nominal=given.nominal,
        bin_channel=bin_channel,
        order=Order(order, _places(order, len(names)), interpolating, place_of[free]),
        histosys=_histosys(given, np.concatenate([hist_only, both]), names),
        normsys=_normsys(given, np.concatenate([both, norm_only]), names, bin_channel),
        multipliers=Multipliers(
            _multiplying_places(given, place_of, len(order)),
            present[multi],
            single_bin,
            present[single, :, single_bin],
        ),
        constraints=_constraints(specification.parameters, bins, place_of, len(order)),
        scan=no_scan(bins, len(given.nominal)),
    )


def _histosys(given: _Modifiers, which: Int[np.ndarray, " histosys"], names: Sequence[str]) -> Histosys[np.ndarray]:
    linear, even = (np.moveaxis(item[:, :, which], -1, 0).copy() for item in (given.linear, given.even))
    codes = [given.histosys_codes.get(names[p], "code4p") for p in which]
    shape = np.array([EVEN_SHAPES[code] for code in codes]).reshape(-1, 6).T
    return Histosys(linear, even, shape, *shift_terms((linear != 0) | (even != 0), linear, even))


def _normsys(
    given: _Modifiers,
    which: Int[np.ndarray, " normsys"],
    names: Sequence[str],
    bin_channel: Int[np.ndarray, " bin"],
) -> Normsys[np.ndarray]:
    log_hi, log_lo = given.log_hi[which], given.log_lo[which]
    edge = np.array([NORM_EDGES[given.normsys_codes.get(names[p], "code4")] for p in which])
    terms = scale_terms((log_hi != 0) | (log_lo != 0), bin_channel)
    return Normsys(log_hi, log_lo, code4_polynomial(log_hi, log_lo), edge, *terms)


def _places(order: Int[np.ndarray, " place"], size: int) -> Int[np.ndarray, "row parameter"]:
    """``Order.places``; the first place of a parameter of two kinds is where it multiplies."""
    found = [np.flatnonzero(order == parameter)[::-1] for parameter in range(size)]
    places = np.full((max(map(len, found)), size), len(order))
    for parameter, row in enumerate(found):
        places[: len(row), parameter] = row
    return places


def _multiplying_places(
    given: _Modifiers, place_of: Int[np.ndarray, " parameter"], padding: int
) -> Int[np.ndarray, "depth sample bin"]:
    """``Multipliers.places``."""
    depth = max((len(items) for items in given.factors.values()), default=0)
    places = np.full((depth, *given.nominal.shape), padding, dtype=np.int64)
    for (slot, bin_), items in given.factors.items():
        places[: len(items), slot, bin_] = place_of[items]
    return places


def _constraints(
    parameters: Sequence[ParameterSpec], bins: int, place_of: Int[np.ndarray, " parameter"], size: int
) -> Constraints[np.ndarray]:
    constrained = [(i, item) for i, item in enumerate(parameters) if item.constraint != "none"]
    normal, poisson = (
        [(bins + k, int(place_of[i]), item.width) for k, (i, item) in enumerate(constrained) if item.constraint == kind]
        for kind in ("normal", "poisson")
    )
    return constraints_of(normal, poisson, size)


def _kinks(templates: Templates[np.ndarray], size: int) -> Bool[np.ndarray, " parameter"]:
    """Parameters with a kink at 0: interpolation codes 0 and 1, where up and down are not mirror images."""
    histosys, normsys = templates.histosys, templates.normsys
    hist = (histosys.shape[0] == 0) & np.any(histosys.even != 0, axis=(1, 2))
    mirrored = np.isclose(normsys.log_hi, -normsys.log_lo, rtol=1e-12, atol=0)
    norm = (normsys.edge == 0) & ~np.all(mirrored, axis=(1, 2))
    kinks = np.zeros(size, dtype=bool)
    kinks[templates.order.interpolating] = over_interpolating(templates, hist, norm)
    return kinks
