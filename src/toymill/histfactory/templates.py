"""A HistFactory model as arrays: its parameters, and the templates of its expectation. Needs no JAX."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg

from toymill.errors import ToymillError
from toymill.formats.specification import Channel, Parameter, Sample, Specification, place
from toymill.parameters import Constraints, Parameters, Trial, constraints_of


class Templates(NamedTuple):
    """The constants of a HistFactory likelihood, all arrays.

    Axes: S sample slots (the largest number of samples in a channel), B bins of all channels, C
    channels, P parameters. The expectation of a bin is the sum over its slots; an empty slot has
    zero yield. Parameters stand in an order of their own, by what they do: first A that interpolate between templates,
    of these first those with a histosys, H, and last those with a normsys, N (in the middle those with both); then W
    that multiply yields in several bins (normfactor, lumi), O that multiply yields in one bin, their own (staterror,
    shapesys, shapefactor), and those that do nothing.

    Attributes:
        nominal: nominal yields, (S, B).
        bin_channel: the channel of each bin, (B,).
        order: the model's parameter at each place of that order, (P,); longer if a parameter is of two kinds.
        places: the place of each of the model's parameters, (R, P): in the first row one, in the next another one of
            a parameter of two kinds, padded with the number of places.
        alpha: the first of them, those that interpolate, (A,).
        hist_linear: what α times this adds to a yield, (H, S, B).
        hist_even: what g(α) times this adds to a yield, (H, S, B); g is even.
        hist_terms: the terms that are not zero of the derivative of a bin's expectation with respect to such a parameter,
            for derivatives of one term, of up to two, up to four, …: which of S · B cells each term has, (k, L), and
            ``hist_linear`` and ``hist_even`` there, (k, L), 0 for terms that are too many; and the parameter of each
            sum, (k,).
        hist_sum: where each derivative stands among these, their number for those that are 0, (H, B).
        hist_yields: the same for what parameters add to each cell: the parameter of each term, ``hist_linear``,
            ``hist_even``; the cell of each sum.
        hist_yield_sum: where each cell stands among these, (S, B).
        hist_slopes: the same for sums over all cells that a parameter adds to, each times a weight: which of S · B cells,
            ``hist_linear``, ``hist_even``; the parameter of each sum.
        hist_slope_sum: where each parameter stands among these, (H,).
        hist_shape: g of each of them, (6, H): it is c₂α² + c₄α⁴ + c₆α⁶ for |α| < e and s|α| + t
            beyond; the rows are e, c₂, c₄, c₆, s, t.
        norm_log_hi: logarithm of a normsys factor at α = +1, (N, S, C); zero where there is none.
        norm_log_lo: logarithm of a normsys factor at α = -1, (N, S, C).
        norm_polynomial: coefficients of α to α⁶ of a normsys factor within ±1, (6, N, S, C).
        norm_edge: |α| from which a parameter's normsys factors are exponential, (N,): 1 or 0.
        norm_cell: of N · S · C factors those that there are, (F,); the others are 1.
        norm_place: the place of each among these, F for the others, (N, S, C).
        norm_products: as ``hist_terms``, for products of the factors of a slot and channel: the factors of each, (k, L); the
            factor F for those that are too many.
        norm_product: where each product stands among these, (S, C).
        norm_terms: as ``hist_terms``, for parameters with a normsys: the factor and the cell of each term, (k, L) each.
        norm_sum: as ``hist_sum``, (N, B).
        norm_slopes: the same for sums over the factors of a parameter, each times a weight of its slot and channel: the
            factor, and which of these S · C.
        norm_slope_sum: where each parameter stands among these, (N,).
        factor: places of the parameters that multiply a yield, (F, S, B), padded with the number of places, which
            stands for the constant 1.
        wide_present: 1 where a parameter that multiplies several bins multiplies a yield, (W, S, B).
        own_bin: the bin of each parameter that multiplies one, (O,).
        own_present: 1 where it multiplies a sample's yield there, (O, S).
        unconstrained: places of the parameters without a constraint, (U,).
        constraints: the auxiliary data, with places for parameters.
        two_sided: places of the parameters along which interpolation may make two minima, see ``_two_sided``, (K,).
        response: how each cell's nominal expectation, relative to that at 0, goes with such a parameter: coefficients
            of the functions ``basis``, which are added to 1, (B, J · K, S).
        basis: these functions at the values ``SCANNED``, (J, G).
        weak: places of parameters whose constraint hardly holds them and that only multiply one bin, (V,).
    """

    nominal: Any
    bin_channel: Any
    order: Any
    places: Any
    alpha: Any
    hist_linear: Any
    hist_even: Any
    hist_terms: Any
    hist_sum: Any
    hist_yields: Any
    hist_yield_sum: Any
    hist_slopes: Any
    hist_slope_sum: Any
    hist_shape: Any
    norm_log_hi: Any
    norm_log_lo: Any
    norm_polynomial: Any
    norm_edge: Any
    norm_cell: Any
    norm_place: Any
    norm_products: Any
    norm_product: Any
    norm_terms: Any
    norm_sum: Any
    norm_slopes: Any
    norm_slope_sum: Any
    factor: Any
    wide_present: Any
    own_bin: Any
    own_present: Any
    unconstrained: Any
    constraints: Constraints
    two_sided: Any
    response: Any
    basis: Any
    weak: Any


_OUT = [0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.2, 1.5, 2.0]
SCANNED = np.array([*(-x for x in reversed(_OUT)), 0.0, *_OUT])
"""Values of a parameter that interpolates where another minimum is looked for: closer where interpolation bends."""

EVEN_SHAPES = {
    "code0": (0.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "code2": (1.0, 1.0, 0.0, 0.0, 2.0, -1.0),
    "code4p": (1.0, 15 / 8, -10 / 8, 3 / 8, 1.0, 0.0),
}
"""The even part g of each histosys interpolation, as ``Templates.hist_shape`` has it.

With l = (hi - lo)/2 and e = (hi + lo)/2 - nominal a histosys adds l·α + e·g(α). Codes 0 and 2: HistFactory,
CERN-OPEN-2012-016, sec. 2.2; 4p: pyhf's name for ROOT's code 4. Beyond ±1 code 2 goes on as its tangent, as in
ROOT; the printed formula, which pyhf has taken over, leaves out a constant there and jumps (pyhf issue 2729).
"""

NORM_EDGES = {"code1": 0.0, "code4": 1.0}
"""The |α| from which a normsys factor is exponential, by interpolation."""


@dataclass(frozen=True)
class Compiled:
    """A model as arrays.

    Attributes:
        parameters: its parameters.
        poi: name of the parameter of interest, or None.
        templates: the constants of its likelihood.
        observed: observed main data and nominal auxiliary data, (D,).
        data_names: ``channel[bin]`` and ``parameter (auxiliary)``, length D.
        two_minima: parameters along which there may be two minima: those of ``_two_sided``, and of those whose Poisson
            constraint expects less than one count those that may leave their bound at 0, (P,).
        trials: where the latter are tried.
        kinks: parameters along which the expectation has a kink at 0, (P,).
        digest: SHA-256 of everything that defines the model.
    """

    parameters: Parameters
    poi: str | None
    templates: Templates
    observed: np.ndarray
    data_names: tuple[str, ...]
    two_minima: np.ndarray
    trials: tuple[Trial, ...]
    kinks: np.ndarray
    digest: str


def compile_specification(specification: Specification) -> Compiled:
    """The parameters and templates of a model.

    Raises:
        ToymillError: names that are not unique, factors or initial values that cannot be, a negative count, an
            expectation that is negative at the initial values, or 0 where there are events whatever the parameters.
    """
    source, items = specification.source, specification.parameters
    _check_parameters(specification)
    parameters = Parameters(
        names=tuple(item.name for item in items),
        init=np.array([item.init for item in items]),
        bounds=np.array([_bounds(item) for item in items], dtype=np.float64),
        fixed=np.array([item.fixed for item in items]),
        constraint=tuple(item.constraint for item in items),
    )
    for channel in specification.channels:
        if min(channel.observed) < 0:
            msg = (
                f"{source}: the observation of channel {channel.name!r} has a negative count, "
                f"{min(channel.observed):g} in bin {int(np.argmin(channel.observed))}."
            )
            raise ToymillError(msg)
    constrained = [item for item in items if item.constraint != "none"]
    main = [count for channel in specification.channels for count in channel.observed]
    names = [f"{channel.name}[{i}]" for channel in specification.channels for i in range(len(channel.observed))]
    with np.errstate(all="ignore"):  # what overflows is refused below
        templates = _templates(specification, len(main))
        kinks = _kinks(templates, len(items))
        two_sided = _two_sided(templates, kinks)
        if two_sided.any():
            two_sided &= kinks | ~_one_sided(templates, parameters.init, np.flatnonzero(two_sided))
        places = np.flatnonzero((two_sided & ~parameters.fixed)[templates.alpha])
        response, basis = _responses(templates, parameters.init, places)
    weak = np.array([item.constraint == "poisson" and item.width < 1 for item in items]) & ~parameters.fixed
    own = slice(len(templates.alpha) + len(templates.wide_present), None)
    lone = weak & ~np.isin(np.arange(len(items)), templates.alpha)
    place_of_weak = np.flatnonzero(lone[templates.order[own]][: len(templates.own_bin)]) + own.start
    templates = templates._replace(two_sided=places, response=response, basis=basis, weak=place_of_weak)
    trials = tuple(trial for k in np.flatnonzero(weak) for trial in _trials(templates, parameters, int(k)))
    tried = np.isin(np.arange(len(items)), [trial.parameter for trial in trials])
    compiled = Compiled(
        parameters=parameters,
        poi=specification.poi,
        templates=templates,
        observed=np.array(main + [item.auxiliary for item in constrained], dtype=np.float64),
        data_names=tuple(names + [f"{item.name} (auxiliary)" for item in constrained]),
        two_minima=(two_sided & ~parameters.fixed) | tried,
        trials=trials,
        kinks=kinks,
        digest=specification.digest,
    )
    _check_expectation(compiled, source)
    return compiled


_SMALLEST = 1e-10  # of a parameter with a Poisson constraint, whose logarithm is taken


def _bounds(item: Parameter) -> tuple[float, float]:
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


def _templates(specification: Specification, bins: int) -> Templates:
    index = {item.name: i for i, item in enumerate(specification.parameters)}
    parameters, channels = len(index), len(specification.channels)
    slots = max(len(channel.samples) for channel in specification.channels)
    nominal = np.zeros((slots, bins))
    linear = np.zeros((slots, bins, parameters))
    even = np.zeros_like(linear)
    log_hi = np.zeros((parameters, slots, channels))
    log_lo = np.zeros_like(log_hi)
    factors: dict[tuple[int, int], list[int]] = {}
    constrained = [(i, item) for i, item in enumerate(specification.parameters) if item.constraint != "none"]
    codes = _Codes(specification.source, {}, {})
    first = 0
    for number, channel in enumerate(specification.channels):
        size = len(channel.observed)
        here = slice(first, first + size)
        for slot, sample in enumerate(channel.samples):
            data = np.array(sample.nominal)
            nominal[slot, here] = data
            for shift in sample.histosys:
                codes.note(codes.histosys, shift.parameter, shift.code, channel, sample)
                up, down = np.array(shift.hi) - data, data - np.array(shift.lo)
                linear[slot, here, index[shift.parameter]] += (up + down) / 2
                even[slot, here, index[shift.parameter]] += (up - down) / 2
            for scale in sample.normsys:
                where = place(specification.source, channel.name, sample.name, f"normsys {scale.parameter!r}")
                if min(scale.hi, scale.lo) <= 0:
                    msg = (
                        f"{where} has hi = {scale.hi:g}, lo = {scale.lo:g}; both must be positive, for the factor is "
                        "exponential. A yield that vanishes is a histosys."
                    )
                    raise ToymillError(msg)
                codes.note(codes.normsys, scale.parameter, scale.code, channel, sample)
                if log_hi[index[scale.parameter], slot, number] or log_lo[index[scale.parameter], slot, number]:
                    msg = f"{where}: a normsys of this parameter stands there twice. Combine them into one."
                    raise ToymillError(msg)
                log_hi[index[scale.parameter], slot, number] = np.log(scale.hi)
                log_lo[index[scale.parameter], slot, number] = np.log(scale.lo)
            for names in sample.factors:
                for i, name in enumerate(names):
                    cell = factors.setdefault((slot, first + i), [])
                    if index[name] in cell:
                        where = place(specification.source, channel.name, sample.name, f"parameter {name!r}")
                        msg = f"{where} multiplies bin {i} twice. Remove one of its modifiers."
                        raise ToymillError(msg)
                    cell.append(index[name])
        first += size
    hist = np.any(linear, axis=(0, 1)) | np.any(even, axis=(0, 1))
    norm = np.any(log_hi, axis=(1, 2)) | np.any(log_lo, axis=(1, 2))
    hist_alpha = np.concatenate([np.flatnonzero(hist & ~norm), np.flatnonzero(hist & norm)])
    norm_alpha = np.concatenate([np.flatnonzero(hist & norm), np.flatnonzero(norm & ~hist)])
    alpha = np.concatenate([hist_alpha, np.flatnonzero(norm & ~hist)])
    present = np.zeros((parameters, slots, bins))
    for (slot, bin_), items in factors.items():
        present[items, slot, bin_] = 1.0
    bins_of = np.any(present, axis=1).sum(axis=1)
    wide, own = np.flatnonzero(bins_of > 1), np.flatnonzero(bins_of == 1)
    order = np.concatenate([alpha, wide, own])
    order = np.concatenate([order, np.setdiff1d(np.arange(parameters), order)])
    place_of = np.full(parameters, -1)
    place_of[order] = np.arange(len(order))  # a parameter of two kinds: where it multiplies
    own_bin = np.argmax(np.any(present[own], axis=1), axis=1)
    codes_of = [codes.histosys.get(specification.parameters[p].name, "code4p") for p in hist_alpha]
    edges_of = [codes.normsys.get(specification.parameters[p].name, "code4") for p in norm_alpha]
    hist_linear, hist_even = (np.moveaxis(item[:, :, hist_alpha], -1, 0).copy() for item in (linear, even))
    log_hi, log_lo = log_hi[norm_alpha], log_lo[norm_alpha]
    bin_channel = np.repeat(np.arange(channels), [len(channel.observed) for channel in specification.channels])
    return Templates(
        nominal=nominal,
        bin_channel=bin_channel,
        order=order,
        places=_places(order, parameters),
        alpha=alpha,
        hist_linear=hist_linear,
        hist_even=hist_even,
        **hist_cells((hist_linear != 0) | (hist_even != 0), hist_linear, hist_even),
        hist_shape=np.array([EVEN_SHAPES[code] for code in codes_of]).reshape(-1, 6).T,
        norm_log_hi=log_hi,
        norm_log_lo=log_lo,
        norm_polynomial=_code4_polynomial(log_hi, log_lo),
        norm_edge=np.array([NORM_EDGES[code] for code in edges_of]),
        **norm_cells((log_hi != 0) | (log_lo != 0), bin_channel),
        factor=_padded_factors(factors, slots, bins, place_of, len(order)),
        wide_present=present[wide],
        own_bin=own_bin,
        own_present=present[own, :, own_bin],
        unconstrained=place_of[[i for i, item in enumerate(specification.parameters) if item.constraint == "none"]],
        constraints=constraints_of(
            [
                (bins + k, place_of[i], item.width)
                for k, (i, item) in enumerate(constrained)
                if item.constraint == "normal"
            ],
            [
                (bins + k, place_of[i], item.width)
                for k, (i, item) in enumerate(constrained)
                if item.constraint == "poisson"
            ],
            len(order),
        ),
        two_sided=np.zeros(0, dtype=np.int64),
        response=np.zeros((nominal.shape[1], 0, nominal.shape[0])),
        basis=np.zeros((0, len(SCANNED))),
        weak=np.zeros(0, dtype=np.int64),
    )


def _terms(present: np.ndarray) -> tuple[list[tuple[np.ndarray, np.ndarray, np.ndarray]], np.ndarray]:
    """The terms of sums over samples that are not zero, (X, S, B): sums of one term, of up to two, up to four, and so on.

    Returns:
        For each of these the row, (k, 1), bin, (k, 1), and samples, (k, L), of its sums, -1 where one has fewer terms; and
        the place of each sum among all of them, their number for those without a term, (X, B).
    """
    counts = present.sum(axis=1)
    sums = np.full(counts.shape, np.count_nonzero(counts))
    terms, found, fewer = [], 0, 0
    while fewer < counts.max(initial=0):
        size = max(2 * fewer, 1)
        row, bin_ = np.nonzero((counts > fewer) & (counts <= size))
        there = present[row, :, bin_]
        samples = np.argsort(~there, axis=1, kind="stable")[:, :size]
        samples = np.where(np.arange(samples.shape[1]) < counts[row, bin_][:, None], samples, -1)
        if len(row):
            terms.append((row[:, None], bin_[:, None], samples))
        sums[row, bin_] = found + np.arange(len(row))
        found, fewer = found + len(row), size
    return terms, sums


def hist_cells(present: np.ndarray, linear: np.ndarray, even: np.ndarray) -> dict[str, Any]:
    """What ``Templates`` says of the terms of sums over histosys, from where one does something, (H, S, B), and what."""
    size, samples, bins = present.shape

    def sums(present: np.ndarray, linear: np.ndarray, even: np.ndarray) -> tuple[tuple[Any, ...], np.ndarray]:
        terms, places = _terms(present)
        found = []
        for row, column, which in terms:
            shifts = [np.where(which < 0, 0.0, item[row, which, column]) for item in (linear, even)]
            where = np.where(which < 0, 0, which * present.shape[2] + column)
            found.append((where.astype(np.int32), *shifts, row[:, 0].astype(np.int32)))
        return tuple(found), places

    derivatives, derivative = sums(present, linear, even)
    by_cell = [item.reshape(size, samples * bins).T[:, :, None] for item in (present, linear, even)]
    yields, of_yield = sums(*by_cell)
    slopes, of_slope = sums(*(np.swapaxes(item, 0, 1) for item in by_cell))
    return {
        "hist_terms": derivatives,
        "hist_sum": derivative,
        "hist_yields": yields,
        "hist_yield_sum": of_yield.reshape(samples, bins),
        "hist_slopes": slopes,
        "hist_slope_sum": of_slope[:, 0],
    }


def norm_cells(present: np.ndarray, bin_channel: np.ndarray) -> dict[str, Any]:
    """What ``Templates`` says of the normsys factors that there are, (N, S, C): its ``norm_…`` that are indices."""
    size, samples, channels = present.shape
    cell = np.flatnonzero(present)
    place = np.full(present.shape, len(cell))
    place.flat[cell] = np.arange(len(cell))

    def sums(place: np.ndarray) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
        terms, places = _terms(place < len(cell))
        found = []
        for row, column, which in terms:
            factor = np.where(which < 0, len(cell), place[row, which, column])
            where = np.where(which < 0, 0, which * place.shape[2] + column)
            found.append((factor.astype(np.int32), where.astype(np.int32)))
        return found, places

    derivatives, derivative = sums(place[:, :, bin_channel])
    by_cell = place.reshape(size, samples * channels).T[:, :, None]
    products, product = sums(by_cell)
    slopes, slope = sums(np.swapaxes(by_cell, 0, 1))
    return {
        "norm_cell": cell,
        "norm_place": place,
        "norm_products": tuple(factor for factor, _ in products),
        "norm_product": product.reshape(samples, channels),
        "norm_terms": tuple(derivatives),
        "norm_sum": derivative,
        "norm_slopes": tuple(slopes),
        "norm_slope_sum": slope[:, 0],
    }


def _places(order: np.ndarray, size: int) -> np.ndarray:
    """``Templates.places``; the first place of a parameter of two kinds is where it multiplies."""
    found = [np.flatnonzero(order == parameter)[::-1] for parameter in range(size)]
    places = np.full((max(map(len, found)), size), len(order))
    for parameter, row in enumerate(found):
        places[: len(row), parameter] = row
    return places


@dataclass
class _Codes:
    """The interpolation of each parameter, of which there must be one."""

    source: str
    histosys: dict[str, str]
    normsys: dict[str, str]

    def note(self, known: dict[str, str], parameter: str, code: str, channel: Channel, sample: Sample) -> None:
        if known.setdefault(parameter, code) != code:
            where = place(self.source, channel.name, sample.name, f"parameter {parameter!r}")
            msg = f"{where} has the interpolation {code} here and {known[parameter]} elsewhere; expected one for it."
            raise ToymillError(msg)


def expectation(templates: Templates, x: np.ndarray) -> np.ndarray:
    """Expected main data at one point, (P,) to (B,): the plain twin of ``binned``'s rates."""
    yields, multiplier = _yields(templates, x)
    found: np.ndarray = np.sum(yields * multiplier, axis=0)
    return found


def _yields(templates: Templates, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The additive part and the factors of every cell's expectation at one point, (S, B) each."""
    inner = x[templates.order]
    hist = x[templates.alpha][: templates.hist_linear.shape[0]]
    even = _even(templates.hist_shape, hist)
    yields = (
        templates.nominal + np.tensordot(hist, templates.hist_linear, 1) + np.tensordot(even, templates.hist_even, 1)
    )
    alpha = x[templates.alpha][len(templates.alpha) - len(templates.norm_edge) :]
    norm = np.prod(_norm(templates, alpha[:, None, None]), axis=0)
    factor = np.prod(np.append(inner, 1.0)[templates.factor], axis=0)
    return yields, norm[:, templates.bin_channel] * factor


def _even(shape: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """g(α), see ``Templates.hist_shape``."""
    edge, two, four, six, slope, offset = shape
    square = alpha * alpha
    inside = square * (two + square * (four + square * six))
    found: np.ndarray = np.where(np.abs(alpha) < edge, inside, slope * np.abs(alpha) + offset)
    return found


def _norm(templates: Templates, alpha: np.ndarray, which: Any = slice(None)) -> np.ndarray:
    """Factors of some normsys parameters at α, whose shape goes with (N, S, C)."""
    polynomial = sum(c * alpha ** (k + 1) for k, c in enumerate(templates.norm_polynomial[:, which]))
    hi, lo = templates.norm_log_hi[which], templates.norm_log_lo[which]
    exponential = np.exp(np.where(alpha > 0, hi, -lo) * alpha)
    edge = templates.norm_edge[which].reshape(-1, 1, 1)
    found: np.ndarray = np.where(np.abs(alpha) < edge, 1 + polynomial, exponential)
    return found


def _along(templates: Templates, x: np.ndarray, k: int, alphas: np.ndarray) -> np.ndarray:
    """Every cell's expectation with the k-th of the parameters that interpolate at some values, (m,) to (m, S, B)."""
    yields, multiplier = (part[None] for part in _yields(templates, x))
    here = x[templates.alpha[k]]
    if k < templates.hist_linear.shape[0]:
        shape = templates.hist_shape[:, k]
        even = _even(shape, alphas) - _even(shape, here)
        yields = (
            yields
            + (alphas - here)[:, None, None] * templates.hist_linear[k]
            + even[:, None, None] * templates.hist_even[k]
        )
    n = k - (len(templates.alpha) - len(templates.norm_edge))
    if n >= 0:
        factor = _norm(templates, alphas[:, None, None], [n]) / _norm(templates, here, [n])
        multiplier = multiplier * factor[:, :, templates.bin_channel]
    found: np.ndarray = yields * multiplier
    return found


def _response(templates: Templates, x: np.ndarray, k: int) -> np.ndarray:
    """Every cell's expectation with one parameter at the values ``SCANNED``, relative to that at 0, less 1, (B, G, S).

    The others are at x. A cell that is empty at 0 has 0.
    """
    cells = _along(templates, x, k, SCANNED)
    zero = cells[np.flatnonzero(SCANNED == 0)]
    ratio = np.divide(cells, zero, out=np.ones_like(cells), where=zero > 0)
    return np.moveaxis(np.where(np.isfinite(ratio), ratio, 1.0) - 1, 0, 1).T


_NEGLIGIBLE = 0.03  # of what is left out of all responses, root mean square over the values, in standard deviations


def _responses(templates: Templates, x: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``Templates.response`` and ``Templates.basis``: the principal components of the changes of the counts, near x.

    What multiplies at 0 counts as 1: a signal's cells are empty where it is looked for.
    """
    multiplies = ~np.isin(np.arange(len(x)), templates.alpha)
    x = np.where(multiplies & (x == 0), 1.0, x)
    yields, multiplier = _yields(templates, x)
    value = yields * multiplier
    weight = (value / np.sqrt(np.maximum(value.sum(axis=0), 1e-3))).T  # (B, S)
    moments = np.zeros((len(SCANNED), len(SCANNED)))
    for k in places:
        moved = (weight[:, None] * _response(templates, x, int(k))).swapaxes(1, 2).reshape(-1, len(SCANNED))
        moments += moved.T @ moved
    variances, vectors = np.linalg.eigh(moments)
    left_out = np.sqrt(np.cumsum(np.maximum(variances, 0)) / len(SCANNED))
    basis = vectors[:, left_out >= _NEGLIGIBLE].T
    found = [np.einsum("bgs,jg->bjs", _response(templates, x, int(k)), basis) for k in places]
    bins, samples = weight.shape
    response = np.stack(found, axis=2) if found else np.zeros((bins, len(basis), 0, samples))
    return response.reshape(bins, -1, samples), basis


_STEEP = 0.7  # logarithm of a factor at one standard deviation
_WORTHWHILE = 0.2  # a weak parameter is tried where the nll could fall by more than this


def _trials(templates: Templates, parameters: Parameters, weak: int) -> Iterator[Trial]:
    """Where a parameter is tried whose constraint hardly holds it: at 0, far out, and with what multiplies its yields.

    A product of two such has minima where the one is at its bound and where the other is large. Let a standard deviation
    of the others move a yield s γ by the factor 1 + κ. With γ at its bound, w = n/ν - 1 is not enough to lift it. Where γ
    goes up by g, the others follow and gain ½ (w s κ g)², more than the ½ s²/ν g² that the bin loses where its misfit
    G = ½ (n - ν)²/ν is above 1/(2 κ²). A quarter of that is asked for; nowhere is it tried where that takes a misfit of
    more than five standard deviations.
    """
    init, (low, high) = parameters.init, parameters.bounds.T
    place = int(np.flatnonzero(templates.order == weak)[-1])
    cells = np.any(templates.factor == place, axis=0) & (templates.nominal > 0)
    factors = np.stack([templates.norm_log_hi, templates.norm_log_lo])[..., templates.bin_channel]
    largest = np.max(factors, axis=(2, 3), where=cells, initial=-np.inf)  # (2, N)
    least = max(_WORTHWHILE, 1 / (8 * max(_spread(templates, parameters, place, cells), 1e-9)))
    if least > 0.5 * _FLUCTUATION**2:
        return
    missing = np.full(len(init), np.nan)
    if largest.size and np.max(largest) > _STEEP:
        direction, n = np.unravel_index(np.argmax(largest), largest.shape)
        other = int(templates.alpha[len(templates.alpha) - largest.shape[1] + n])
        moved = {other: init[other] + (2.5 if direction == 0 else -2.5)}
        values = [(0.0, {}, missing), (4.0, moved, missing), (8.0, moved, missing), (8.0, moved, init)]
    else:
        values = [(0.0, {}, missing), (4.0, {}, missing)]
    for factor, others, rest in values:
        point = rest.copy()
        for k, value in (others | {weak: factor * init[weak]}).items():
            point[k] = np.clip(value, low[k], high[k])
        yield Trial(weak, point, least)


def _spread(templates: Templates, parameters: Parameters, place: int, cells: np.ndarray) -> float:
    """κ²: the largest relative variance of some cells, (S, B), by all parameters but that at a place; infinite if one is free."""
    interpolating, variance = len(templates.alpha), _variances(templates, np.inf)
    norm = np.maximum(np.abs(templates.norm_log_hi), np.abs(templates.norm_log_lo))[:, :, templates.bin_channel]
    hist = np.abs(templates.hist_linear) + np.abs(templates.hist_even)
    slopes = np.zeros((len(templates.order), int(cells.sum())))
    slopes[:interpolating] = whole(templates, hist[:, cells] / templates.nominal[cells], norm[:, cells])
    for factors in templates.factor[:, cells]:
        here = np.flatnonzero(factors < len(slopes))
        slopes[factors[here], here] = 1 / np.maximum(np.abs(parameters.init[templates.order[factors[here]]]), 1e-3)
    moves = (slopes > 0) & ~parameters.fixed[templates.order][:, None] & (np.arange(len(slopes)) != place)[:, None]
    squares = np.where(moves, slopes, 0.0) ** 2 * np.where(moves, variance[:, None], 0.0)
    return float(np.max(np.sum(squares, axis=0), initial=0.0))


def _check_expectation(compiled: Compiled, source: str) -> None:
    """Refuse a model whose likelihood is not defined where its fits begin, or nowhere."""
    templates = compiled.templates
    with np.errstate(all="ignore"):
        rates = expectation(templates, compiled.parameters.init)
    moved = np.abs(templates.nominal) + np.sum(np.abs(templates.hist_linear) + np.abs(templates.hist_even), axis=0)
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


def _kinks(templates: Templates, size: int) -> np.ndarray:
    """Parameters with a kink at 0: interpolation codes 0 and 1, where up and down are not mirror images, (P,)."""
    hist = (templates.hist_shape[0] == 0) & np.any(templates.hist_even != 0, axis=(1, 2))
    mirrored = np.isclose(templates.norm_log_hi, -templates.norm_log_lo, rtol=1e-12, atol=0)
    norm = (templates.norm_edge == 0) & ~np.all(mirrored, axis=(1, 2))
    kinks = np.zeros(size, dtype=bool)
    kinks[templates.alpha] = whole(templates, hist, np.False_) | whole(templates, np.False_, norm)
    return kinks


def whole(templates: Templates, hist: Any, norm: Any) -> np.ndarray:
    """Values of the parameters with a histosys, (H, …), plus values of those with a normsys, (N, …), as (A, …).

    The one or the other may be a zero, of the type of the result.
    """
    size = len(templates.alpha)
    given = hist if np.ndim(hist) else norm
    found = np.zeros((size, *np.shape(given)[1:]), dtype=np.asarray(given).dtype)
    if np.ndim(hist):
        found[: len(hist)] += hist
    if np.ndim(norm):
        found[size - len(norm) :] += norm
    return found


def _two_sided(templates: Templates, kinks: np.ndarray) -> np.ndarray:
    """Parameters whose interpolation may make two minima, one on each side of 0, (P,).

    An asymmetric variation has an even part e·g(α) with g ≈ 15/8 α² near 0. It takes
    Σ_b (15/4) e_b (n_b - ν_b)/ν_b from the curvature there, which the constraint and the data have as 1 or
    more: within five standard deviations of the counts too much only where √(Σ_b e_b²/ν_b) > 0.05. With a
    kink, g = |α|, any such sum does; below 0.005 the lower of two minima is less than 4e-4 deeper.
    """
    up, down = np.exp(templates.norm_log_hi) - 1, np.exp(templates.norm_log_lo) - 1
    norm_even = ((up + down) / 2)[:, :, templates.bin_channel] * templates.nominal[None]
    even = np.sum(whole(templates, templates.hist_even, norm_even), axis=1)
    total = np.maximum(templates.nominal.sum(axis=0), 1e-3)
    mask = np.zeros(len(kinks), dtype=bool)
    mask[templates.alpha] = np.sqrt(np.sum(even**2 / total, axis=1)) > np.where(kinks[templates.alpha], 0.005, 0.05)
    return mask


_FINELY = np.linspace(-3.0, 3.0, 31)  # of a parameter that interpolates
_FLUCTUATION = 5.0  # standard deviations by which the data may be off
_LEAST_RATE = 5.0  # below it counts are not near enough to normal


def _variances(templates: Templates, unconstrained: float) -> np.ndarray:
    """Variances that the constraints allow, in the templates' order, and another value where there is none, (P,)."""
    constraints = templates.constraints
    variance = np.full(len(templates.order), unconstrained)
    variance[constraints.normal_parameter] = constraints.normal_sigma**2
    variance[constraints.poisson_parameter] = 1 / constraints.poisson_tau
    return variance


def _one_sided(templates: Templates, init: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Which of the candidates have one minimum, however the data fluctuate within five standard deviations, (P,).

    With the other parameters adapted to first order, and counts taken as normal, the nll along α is
    ½ rᵀ K⁻¹ r + ½ (α - a)²/σ² with r = n - ν(α) and K = ν + Σ J Jᵀ/D over the other constrained parameters (see
    ``systems.solve``). It is looked at for data from any α, off in the direction that most favours two minima,
    ∂²ν/∂α², and auxiliary data off as well. Unconstrained parameters are kept, as a conditional fit may, also five
    standard deviations away from the truth. Nothing is said of a candidate without a constraint, which has no σ.
    """
    found = np.zeros(len(init), dtype=bool)
    nominal = expectation(templates, init)
    if not np.all(np.isfinite(nominal) & (nominal >= _LEAST_RATE)):
        return found
    variance = _variances(templates, 0.0)
    step = np.sqrt(variance) * 1e-3
    step[templates.unconstrained] = 1e-3
    moved = [expectation(templates, init + unit * step[k]) for k, unit in _units(templates, len(init), step > 0)]
    rows = np.zeros((len(step), len(nominal)))
    rows[step > 0] = (np.array(moved) - nominal) / step[step > 0, None]
    for parameter in candidates:
        place = int(np.flatnonzero(templates.alpha == parameter)[0])
        rates = np.sum(_along(templates, init, place, _FINELY), axis=1)
        others = np.sqrt(np.where(np.arange(len(variance)) == place, 0.0, variance))[:, None] * rows
        kernel = np.diag(nominal) + others.T @ others
        if not (variance[place] > 0 and np.all(np.isfinite(kernel)) and np.all(np.isfinite(rates))):
            continue
        root = scipy.linalg.solve_triangular(np.linalg.cholesky(kernel), np.eye(len(kernel)), lower=True)

        def length(vectors: np.ndarray, root: np.ndarray = root) -> np.ndarray:
            """√(vᵀ K⁻¹ v), (…, B) to (…)."""
            lengths: np.ndarray = np.linalg.norm(vectors @ root.T, axis=-1)
            return lengths

        bent = np.diff(rates, 2, axis=0)
        directions = bent[np.array([int(np.argmax(length(bent))), len(bent) // 2])]
        directions = directions / np.maximum(length(directions), 1e-300)[:, None]
        off = np.linspace(-_FLUCTUATION, _FLUCTUATION, 5)
        shifts = np.concatenate([off[:, None] * direction for direction in directions])
        loose = rows[templates.unconstrained]
        loose = loose / np.maximum(length(loose), 1e-300)[:, None]
        away = np.concatenate([_FLUCTUATION * loose, -_FLUCTUATION * loose, np.zeros((1, len(nominal)))])
        shifts = (shifts[:, None] + away).reshape(-1, len(nominal))
        data = (rates[5:26:4, None] + shifts).reshape(-1, len(nominal))
        main = 0.5 * length(data[:, None] - rates) ** 2  # (data, α)
        sigma = np.sqrt(variance[place])
        auxiliary = 0.5 * ((_FINELY - np.linspace(-3.0, 3.0, 7)[:, None]) / sigma) ** 2
        nll = main[:, None] + auxiliary
        slope = np.sign(np.diff(nll, axis=-1))
        found[parameter] = bool(np.all(np.sum(np.diff(slope, axis=-1) > 0, axis=-1) <= 1))
    return found


def _units(templates: Templates, size: int, chosen: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """The places that are chosen, and the unit vector of each place's parameter."""
    for where in np.flatnonzero(chosen):
        yield int(where), np.eye(size)[templates.order[where]]


def _padded_factors(
    factors: dict[tuple[int, int], list[int]], slots: int, bins: int, place_of: np.ndarray, padding: int
) -> np.ndarray:
    depth = max((len(items) for items in factors.values()), default=0)
    places = np.full((depth, slots, bins), padding, dtype=np.int64)
    for (slot, bin_), items in factors.items():
        places[: len(items), slot, bin_] = place_of[items]
    return places


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
