"""From a specification to arrays: the parameters, templates and observed data of a HistFactory model. Needs no JAX.

What the model means is in CERN-OPEN-2012-016; ``codes`` has the interpolations, ``arrays`` says what each array holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from toymill.errors import ToymillError
from toymill.formats.specification import Channel, ParameterSpec, Sample, Specification, location
from toymill.histfactory.arrays import Histosys, Multipliers, Normsys, Order, Templates
from toymill.histfactory.codes import EVEN_SHAPES, NORM_EDGES, VANISHING, code4_polynomial
from toymill.histfactory.expectation import expectation, over_interpolating
from toymill.histfactory.negative_yields import negative_yields
from toymill.histfactory.second_minima import candidates, no_scan
from toymill.histfactory.terms import scale_terms, shift_terms
from toymill.models.negative_yields import NegativeYields
from toymill.parameters import Constraints, Parameters, constraints_of, why_no_name

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

_MOST_IN_A_BIN = 12  # single-bin factors that are eliminated as a block: its equations are written out
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
        kinks: True for a parameter along which the expectation has a kink at 0.
        digest: SHA-256 of everything that defines the model.
        staterrors: Monte Carlo statistical uncertainty of each sample's yields, in the slots of ``templates``, (S, B).
        of_staterrors: True for the auxiliary data of their parameters, (D,).
        negative_yields: the samples whose yields shape variations may make negative.
    """

    parameters: Parameters
    poi: str | None
    templates: Templates[np.ndarray]
    observed: Float[np.ndarray, " datum"]
    data_names: tuple[str, ...]
    two_minima: Bool[np.ndarray, " parameter"]
    kinks: Bool[np.ndarray, " parameter"]
    digest: str
    staterrors: Float[np.ndarray, "sample bin"]
    of_staterrors: Bool[np.ndarray, " datum"]
    negative_yields: NegativeYields


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
        negative = negative_yields(specification, templates, parameters)
    compiled = Compiled(
        parameters=parameters,
        poi=specification.poi,
        templates=templates._replace(scan=found.scan),
        observed=np.array(main + [item.auxiliary for item in constrained], dtype=np.float64),
        data_names=tuple(names + [f"{item.name} (auxiliary)" for item in constrained]),
        two_minima=found.parameters,
        kinks=kinks,
        digest=specification.digest,
        staterrors=_staterrors(specification, templates.nominal.shape),
        of_staterrors=_of_staterrors(specification, len(main)),
        negative_yields=negative,
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
        channels: how many there are.
        shifts: what α and g(α) times add to a yield, by parameter, (2, sample, bin).
        scales: logarithms of a normsys factor at α = +1 and at α = -1, by parameter, (2, sample, channel).
        factors: the parameters that multiply a yield, by sample and bin.
        histosys_codes: the interpolation of each parameter with a histosys, by its name.
        normsys_codes: the interpolation of each parameter with a normsys, by its name.
    """

    source: str
    index: dict[str, int]
    nominal: Float[np.ndarray, "sample bin"]
    channels: int
    shifts: dict[int, Float[np.ndarray, "2 sample bin"]] = field(default_factory=dict)
    scales: dict[int, Float[np.ndarray, "2 sample channel"]] = field(default_factory=dict)
    factors: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    histosys_codes: dict[str, str] = field(default_factory=dict)
    normsys_codes: dict[str, str] = field(default_factory=dict)

    def add_histosys(self, channel: Channel, sample: Sample, slot: int, bins: slice) -> None:
        """Note the shifts of a sample, in its slot and the bins of its channel."""
        data = np.array(sample.nominal)
        for shift in sample.histosys:
            self._note(self.histosys_codes, shift.parameter, shift.code, channel, sample)
            up, down = np.array(shift.hi) - data, data - np.array(shift.lo)
            shifts = self.shifts.setdefault(self.index[shift.parameter], np.zeros((2, *self.nominal.shape)))
            shifts[0, slot, bins] += (up + down) / 2
            shifts[1, slot, bins] += (up - down) / 2

    def add_normsys(self, channel: Channel, sample: Sample, slot: int, number: int) -> None:
        """Note the scales of a sample, in its slot and the channel of that number."""
        for scale in sample.normsys:
            where = location(self.source, channel.name, sample.name, f"normsys {scale.parameter!r}")
            least, joined = min(scale.hi, scale.lo), NORM_EDGES[scale.code] > 0
            if least < 0 or (least == 0 and not joined):
                msg = (
                    f"{where} has hi = {scale.hi:g}, lo = {scale.lo:g}; both must be positive, for the factor is "
                    f"exponential{'' if joined else ' on either side of 0'}. A yield that vanishes is a histosys."
                )
                raise ToymillError(msg)
            self._note(self.normsys_codes, scale.parameter, scale.code, channel, sample)
            empty = np.zeros((2, len(self.nominal), self.channels))
            scales = self.scales.setdefault(self.index[scale.parameter], empty)
            if scales[:, slot, number].any():
                msg = f"{where}: a normsys of this parameter stands there twice. Combine them into one."
                raise ToymillError(msg)
            scales[:, slot, number] = np.log(np.maximum((scale.hi, scale.lo), VANISHING))

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
    found = _Modifiers(specification.source, index, np.zeros((slots, bins)), len(specification.channels))
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


def _staterrors(specification: Specification, shape: tuple[int, ...]) -> Float[np.ndarray, "sample bin"]:
    variance = np.zeros(shape)
    first = 0
    for channel in specification.channels:
        here = slice(first, first + len(channel.observed))
        for slot, sample in enumerate(channel.samples):
            for item in sample.staterrors:
                variance[slot, here] += np.square(item.sigma)
        first = here.stop
    return np.sqrt(variance)


def _of_staterrors(specification: Specification, main: int) -> Bool[np.ndarray, " datum"]:
    names = {
        name
        for channel in specification.channels
        for sample in channel.samples
        for item in sample.staterrors
        for name in item.parameters
    }
    constrained = [item.name in names for item in specification.parameters if item.constraint != "none"]
    return np.array([False] * main + constrained)


def _templates(specification: Specification, bins: int) -> Templates[np.ndarray]:
    given = _modifiers(specification, bins)
    names = [item.name for item in specification.parameters]
    hist = {p for p, shifts in given.shifts.items() if shifts.any()}
    norm = {p for p, scales in given.scales.items() if scales.any()}
    hist_only, both, norm_only = sorted(hist - norm), sorted(hist & norm), sorted(norm - hist)
    interpolating = hist_only + both + norm_only
    cells = _cells_of_factors(given)
    multi, single = _multi_and_single(cells)
    effective = {*interpolating, *multi, *single}
    order = np.array(interpolating + multi + single + [p for p in range(len(names)) if p not in effective])
    place_of = np.full(len(names), -1)
    place_of[order] = np.arange(len(order))  # a parameter of two kinds: where it multiplies
    several = len(interpolating) + len(multi)
    free = {i for i, item in enumerate(specification.parameters) if item.constraint == "none"}
    sizes = [len(channel.observed) for channel in specification.channels]
    bin_channel = np.repeat(np.arange(len(sizes)), sizes)
    multi_present = np.zeros((len(multi), *given.nominal.shape))
    for row, parameter in enumerate(multi):
        multi_present[row][tuple(np.transpose(cells[parameter]))] = 1.0
    single_bin = np.array([cells[parameter][0][1] for parameter in single], dtype=np.int64)
    single_present = np.zeros((len(single), len(given.nominal)))
    for row, parameter in enumerate(single):
        single_present[row, [slot for slot, _ in cells[parameter]]] = 1.0
    return Templates(
        nominal=given.nominal,
        bin_channel=bin_channel,
        order=Order(
            order,
            _places(order, len(names)),
            np.array(interpolating, dtype=np.int64),
            np.array([k for k, p in enumerate(order[:several]) if p in free], dtype=np.int64),
        ),
        histosys=_histosys(given, hist_only + both, names),
        normsys=_normsys(given, both + norm_only, names, bin_channel),
        multipliers=Multipliers(
            _multiplying_places(given, place_of, len(order)),
            multi_present,
            single_bin,
            own_blocks(single_bin, bins, len(order) - several),
            single_present,
        ),
        constraints=_constraints(specification.parameters, bins, place_of, len(order)),
        scan=no_scan(bins, len(given.nominal)),
    )


def _cells_of_factors(given: _Modifiers) -> dict[int, list[tuple[int, int]]]:
    """The cells, (sample, bin), that each parameter multiplies."""
    cells: dict[int, list[tuple[int, int]]] = {}
    for cell, items in given.factors.items():
        for parameter in items:
            cells.setdefault(parameter, []).append(cell)
    return cells


def _multi_and_single(cells: Mapping[int, Sequence[tuple[int, int]]]) -> tuple[list[int], list[int]]:
    """The multi-bin and the single-bin factors. Of a bin's, those above ``_MOST_IN_A_BIN`` count as multi-bin."""
    multi: list[int] = []
    single: list[int] = []
    in_bin: dict[int, int] = {}
    for parameter in sorted(cells):
        bins = {bin_ for _, bin_ in cells[parameter]}
        count = in_bin[min(bins)] = in_bin.get(min(bins), 0) + (len(bins) == 1)
        (single if len(bins) == 1 and count <= _MOST_IN_A_BIN else multi).append(parameter)
    return multi, single


def own_blocks(single_bin: Int[np.ndarray, " single"], bins: int, own: int) -> Int[np.ndarray, "row block"]:
    """``Multipliers.blocks``, for ``own`` places of which the first are single-bin factors."""
    order = np.argsort(single_bin, kind="stable")
    row = np.empty(len(single_bin), dtype=np.int64)
    row[order] = np.arange(len(single_bin)) - np.searchsorted(single_bin[order], single_bin[order])
    idle = own - len(single_bin)
    blocks = np.full((max(row.max(initial=-1) + 1, int(idle > 0)), bins + idle), own)
    blocks[row, single_bin] = np.arange(len(single_bin))
    if idle:
        blocks[0, bins:] = np.arange(len(single_bin), own)
    return blocks


def _histosys(given: _Modifiers, which: Sequence[int], names: Sequence[str]) -> Histosys[np.ndarray]:
    shifts = np.array([given.shifts[p] for p in which]).reshape(-1, 2, *given.nominal.shape)
    linear, even = shifts[:, 0], shifts[:, 1]
    codes = [given.histosys_codes.get(names[p], "code4p") for p in which]
    shape = np.array([EVEN_SHAPES[code] for code in codes]).reshape(-1, 6).T
    return Histosys(linear, even, shape, *shift_terms((linear != 0) | (even != 0), linear, even))


def _normsys(
    given: _Modifiers, which: Sequence[int], names: Sequence[str], bin_channel: Int[np.ndarray, " bin"]
) -> Normsys[np.ndarray]:
    scales = np.array([given.scales[p] for p in which]).reshape(-1, 2, len(given.nominal), given.channels)
    log_hi, log_lo = scales[:, 0], scales[:, 1]
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
