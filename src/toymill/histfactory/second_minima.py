"""Which parameters of a model may have a second minimum, and what a fit needs to look for it. Needs no JAX.

Two things make an nll with two minima:

- An asymmetric variation. Its even part e·g(α) takes from the curvature near α = 0 what the data put there: ``two_sided``
  says for which parameters it may be too much, ``one_sided`` for which of them it never is. ``Scan`` holds what
  ``profiles`` needs to find the second minimum of a fit.
- A loosely constrained parameter, whose Poisson constraint expects less than one count. A product with another parameter
  has minima where the one is at its bound and where the other is large: ``trials`` says where they may be.

docs/statistics.md tells how the two are used, and what was measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.linalg

from toymill.histfactory.arrays import Scan, Templates
from toymill.histfactory.expectation import along, expectation, over_interpolating, yields
from toymill.parameters import Parameters, Trial

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

_OUT = [0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.2, 1.5, 2.0]
SCANNED = np.array([*(-x for x in reversed(_OUT)), 0.0, *_OUT])
"""Values of a parameter at which its profile is computed: closer where interpolation bends."""

_FINELY = np.linspace(-3.0, 3.0, 31)  # of a parameter that interpolates, when the model is read
_FLUCTUATION = 5.0  # standard deviations by which the data may be off
_LEAST_RATE = 5.0  # below it counts are not near enough to normal
_NEGLIGIBLE = 0.03  # of what is left out of all responses, root mean square over the values, in standard deviations
_LARGEST_CHANGE = 1e100  # of an expectation, in standard deviations: its square is still a number
_STEEP = 0.7  # logarithm of a factor at one standard deviation
_WORTHWHILE = 0.2  # a loosely constrained parameter is tried where the nll could fall by more than this


class Candidates(NamedTuple):
    """Where a model may have second minima.

    Attributes:
        parameters: True for a parameter along which there may be one.
        trials: where those that are loosely constrained are tried.
        scan: what the search along the others needs.
    """

    parameters: Bool[np.ndarray, " parameter"]
    trials: tuple[Trial, ...]
    scan: Scan[np.ndarray]


def no_scan(bins: int, samples: int) -> Scan[np.ndarray]:
    """A scan of no parameter."""
    none = np.zeros(0, dtype=np.int64)
    return Scan(
        places=none, response=np.zeros((bins, 0, samples)), basis=np.zeros((0, len(SCANNED))), loose=none.copy()
    )


def candidates(
    templates: Templates[np.ndarray],
    parameters: Parameters,
    kinks: Bool[np.ndarray, " parameter"],
    loose: Bool[np.ndarray, " parameter"],
) -> Candidates:
    """Where a model may have second minima, from its kinks and its loosely constrained parameters."""
    doubtful = two_sided(templates, kinks)
    if doubtful.any():
        doubtful &= kinks | ~one_sided(templates, parameters.init, np.flatnonzero(doubtful))
    doubtful &= ~parameters.fixed
    places = np.flatnonzero(doubtful[templates.order.interpolating])
    response, basis = _responses(templates, parameters.init, places)
    loose = loose & ~parameters.fixed
    scan = Scan(places, response, basis, _single_bin_places(templates, loose))
    found = tuple(trial for k in np.flatnonzero(loose) for trial in trials(templates, parameters, int(k)))
    tried = np.isin(np.arange(len(parameters)), [trial.parameter for trial in found])
    return Candidates(doubtful | tried, found, scan)


def _single_bin_places(
    templates: Templates[np.ndarray], which: Bool[np.ndarray, " parameter"]
) -> Int[np.ndarray, " loose"]:
    """Places of single-bin factors that do not interpolate, of some parameters."""
    order, multipliers = templates.order, templates.multipliers
    alone = which & ~np.isin(np.arange(len(which)), order.interpolating)
    start = len(order.interpolating) + len(multipliers.multi_present)
    return np.flatnonzero(alone[order.parameters[start:]][: len(multipliers.single_bin)]) + start


def two_sided(
    templates: Templates[np.ndarray], kinks: Bool[np.ndarray, " parameter"]
) -> Bool[np.ndarray, " parameter"]:
    """Parameters whose interpolation may make two minima, one on each side of 0.

    An asymmetric variation has an even part e·g(α) with g ≈ 15/8 α² near 0. It takes
    Σ_b (15/4) e_b (n_b - ν_b)/ν_b from the curvature there, which the constraint and the data have as 1 or
    more: within five standard deviations of the counts too much only where √(Σ_b e_b²/ν_b) > 0.05. With a
    kink, g = |α|, any such sum does; below 0.005 the lower of two minima is less than 4e-4 deeper.
    """
    normsys, interpolating = templates.normsys, templates.order.interpolating
    up, down = np.exp(normsys.log_hi) - 1, np.exp(normsys.log_lo) - 1
    norm_even = ((up + down) / 2)[:, :, templates.bin_channel] * templates.nominal[None]
    even = np.sum(over_interpolating(templates, templates.histosys.even, norm_even), axis=1)
    total = np.maximum(templates.nominal.sum(axis=0), 1e-3)
    mask = np.zeros(len(kinks), dtype=bool)
    mask[interpolating] = np.sqrt(np.sum(even**2 / total, axis=1)) > np.where(kinks[interpolating], 0.005, 0.05)
    return mask


def one_sided(
    templates: Templates[np.ndarray], init: Float[np.ndarray, " parameter"], doubtful: Int[np.ndarray, " candidate"]
) -> Bool[np.ndarray, " parameter"]:
    """Which of the doubtful parameters have one minimum, however the data fluctuate within five standard deviations.

    With the other parameters adapted to first order, and counts taken as normal, the nll along α is
    ½ rᵀ K⁻¹ r + ½ (α - a)²/σ² with r = n - ν(α) and K = ν + Σ J Jᵀ/D over the other constrained parameters, as in
    ``profiles``. It is computed for data from any α, off in the direction that most favours two minima,
    ∂²ν/∂α², and auxiliary data off as well. Unconstrained parameters are held, as a conditional fit may, also five
    standard deviations away from the truth. Nothing is said of a parameter without a constraint, which has no σ.
    """
    found = np.zeros(len(init), dtype=bool)
    nominal = expectation(templates, init)
    if not np.all(np.isfinite(nominal) & (nominal >= _LEAST_RATE)):
        return found
    variance = _variances(templates, 0.0)
    jacobian = _jacobian(templates, init, nominal, variance)
    for parameter in doubtful:
        place = int(np.flatnonzero(templates.order.interpolating == parameter)[0])
        rates = np.sum(along(templates, init, place, _FINELY), axis=1)
        others = np.sqrt(np.where(np.arange(len(variance)) == place, 0.0, variance))[:, None] * jacobian
        covariance = np.diag(nominal) + others.T @ others
        if variance[place] > 0 and np.all(np.isfinite(covariance)) and np.all(np.isfinite(rates)):
            loose = jacobian[templates.order.unconstrained]
            found[parameter] = _always_one_minimum(rates, covariance, loose, float(variance[place]))
    return found


def _always_one_minimum(
    rates: Float[np.ndarray, "value bin"],
    covariance: Float[np.ndarray, "bin bin"],
    unconstrained: Float[np.ndarray, "unconstrained bin"],
    variance: float,
) -> bool:
    """Whether the nll along one parameter has one minimum for all data, from the rates at ``_FINELY``; see ``one_sided``."""
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:  # of yields so different that rounding leaves nothing of the smaller ones
        return False
    root = scipy.linalg.solve_triangular(factor, np.eye(len(covariance)), lower=True)

    def length(vectors: np.ndarray) -> np.ndarray:
        """√(vᵀ K⁻¹ v), (…, bin) to (…)."""
        lengths: np.ndarray = np.linalg.norm(vectors @ root.T, axis=-1)
        return lengths

    bent = np.diff(rates, 2, axis=0)
    directions = bent[np.array([int(np.argmax(length(bent))), len(bent) // 2])]
    directions = directions / np.maximum(length(directions), 1e-300)[:, None]
    off = np.linspace(-_FLUCTUATION, _FLUCTUATION, 5)
    shifts = np.concatenate([off[:, None] * direction for direction in directions])
    unconstrained = unconstrained / np.maximum(length(unconstrained), 1e-300)[:, None]
    bins = rates.shape[1]
    away = np.concatenate([_FLUCTUATION * unconstrained, -_FLUCTUATION * unconstrained, np.zeros((1, bins))])
    shifts = (shifts[:, None] + away).reshape(-1, bins)
    data = (rates[5:26:4, None] + shifts).reshape(-1, bins)
    main = 0.5 * length(data[:, None] - rates) ** 2  # (data, α)
    sigma = np.sqrt(variance)
    auxiliary = 0.5 * ((_FINELY - np.linspace(-3.0, 3.0, 7)[:, None]) / sigma) ** 2
    nll = main[:, None] + auxiliary
    slope = np.sign(np.diff(nll, axis=-1))
    return bool(np.all(np.sum(np.diff(slope, axis=-1) > 0, axis=-1) <= 1))


def _jacobian(
    templates: Templates[np.ndarray], init: np.ndarray, nominal: np.ndarray, variance: np.ndarray
) -> Float[np.ndarray, "place bin"]:
    """∂ν/∂θ at the initial values by differences, 0 for a parameter whose constraint lets it not vary."""
    step = np.sqrt(variance) * 1e-3
    step[templates.order.unconstrained] = 1e-3
    chosen = step > 0
    moved = [
        expectation(templates, init + np.eye(len(init))[templates.order.parameters[place]] * step[place])
        for place in np.flatnonzero(chosen)
    ]
    rows = np.zeros((len(step), len(nominal)))
    rows[chosen] = (np.array(moved) - nominal) / step[chosen, None]
    return rows


def _variances(templates: Templates[np.ndarray], unconstrained: float) -> Float[np.ndarray, " place"]:
    """Variances that the constraints allow, and another value for a parameter without one."""
    constraints = templates.constraints
    variance = np.full(len(templates.order.parameters), unconstrained)
    variance[constraints.normal_parameter] = constraints.normal_sigma**2
    variance[constraints.poisson_parameter] = 1 / constraints.poisson_tau
    return variance


def _response(templates: Templates[np.ndarray], x: np.ndarray, k: int) -> Float[np.ndarray, "bin scanned sample"]:
    """Every cell's expectation with one parameter at the values ``SCANNED``, relative to that at 0, less 1.

    The others are at x. A cell that is empty at 0 has 0.
    """
    cells = along(templates, x, k, SCANNED)
    zero = cells[np.flatnonzero(SCANNED == 0)]
    ratio = np.divide(cells, zero, out=np.ones_like(cells), where=zero > 0)
    return np.moveaxis(np.where(np.isfinite(ratio), ratio, 1.0) - 1, 0, 1).T


def _responses(
    templates: Templates[np.ndarray], x: np.ndarray, places: np.ndarray
) -> tuple[Float[np.ndarray, "bin coefficient sample"], Float[np.ndarray, "basis scanned"]]:
    """``Scan.response`` and ``Scan.basis``: the principal components of the changes of the counts, near x.

    What multiplies at 0 counts as 1: the cells of a signal are empty at its initial value of 0.
    """
    multiplies = ~np.isin(np.arange(len(x)), templates.order.interpolating)
    x = np.where(multiplies & (x == 0), 1.0, x)
    added, multiplier = yields(templates, x)
    value = added * multiplier
    weight = (value / np.sqrt(np.maximum(value.sum(axis=0), 1e-3))).T  # (bin, sample)
    moments = np.zeros((len(SCANNED), len(SCANNED)))
    for k in places:
        moved = (weight[:, None] * _response(templates, x, int(k))).swapaxes(1, 2).reshape(-1, len(SCANNED))
        moved = np.clip(np.nan_to_num(moved), -_LARGEST_CHANGE, _LARGEST_CHANGE)
        moments += moved.T @ moved
    variances, vectors = np.linalg.eigh(moments)
    left_out = np.sqrt(np.cumsum(np.maximum(variances, 0)) / len(SCANNED))
    basis = vectors[:, left_out >= _NEGLIGIBLE].T
    found = [np.einsum("bgs,jg->bjs", _response(templates, x, int(k)), basis) for k in places]
    bins, samples = weight.shape
    response = np.stack(found, axis=2) if found else np.zeros((bins, len(basis), 0, samples))
    return response.reshape(bins, -1, samples), basis


def trials(templates: Templates[np.ndarray], parameters: Parameters, loose: int) -> Iterator[Trial]:
    """Where a loosely constrained parameter is tried: at 0, far out, and with what multiplies its yields.

    A product of two such has minima where the one is at its bound and where the other is large. Let a standard deviation
    of the others move a yield s γ by the factor 1 + κ. With γ at its bound, w = n/ν - 1 is not enough to lift it. Where γ
    goes up by g, the others follow and gain ½ (w s κ g)², more than the ½ s²/ν g² that the bin loses where its misfit
    G = ½ (n - ν)²/ν is above 1/(2 κ²). A quarter of that is asked for; nowhere is it tried where that takes a misfit of
    more than five standard deviations.
    """
    init, (low, high) = parameters.init, parameters.bounds.T
    normsys, interpolating = templates.normsys, templates.order.interpolating
    place = int(np.flatnonzero(templates.order.parameters == loose)[-1])
    cells = np.any(templates.multipliers.places == place, axis=0) & (templates.nominal > 0)
    factors = np.stack([normsys.log_hi, normsys.log_lo])[..., templates.bin_channel]
    largest = np.max(factors, axis=(2, 3), where=cells, initial=-np.inf)  # (direction, normsys)
    least = max(_WORTHWHILE, 1 / (8 * max(_spread(templates, parameters, place, cells), 1e-9)))
    if least > 0.5 * _FLUCTUATION**2:
        return
    missing = np.full(len(init), np.nan)
    if largest.size and np.max(largest) > _STEEP:
        direction, n = np.unravel_index(np.argmax(largest), largest.shape)
        other = int(interpolating[len(interpolating) - largest.shape[1] + n])
        moved = {other: init[other] + (2.5 if direction == 0 else -2.5)}
        values = [(0.0, {}, missing), (4.0, moved, missing), (8.0, moved, missing), (8.0, moved, init)]
    else:
        values = [(0.0, {}, missing), (4.0, {}, missing)]
    for factor, others, rest in values:
        point = rest.copy()
        for k, value in (others | {loose: factor * init[loose]}).items():
            point[k] = np.clip(value, low[k], high[k])
        yield Trial(loose, point, least)


def _spread(templates: Templates[np.ndarray], parameters: Parameters, place: int, cells: np.ndarray) -> float:
    """κ²: the largest relative variance of some cells, (sample, bin), by all parameters but that at a place.

    Infinite if one of these is free.
    """
    order, normsys, histosys = templates.order, templates.normsys, templates.histosys
    interpolating, variance = len(order.interpolating), _variances(templates, np.inf)
    norm = np.maximum(np.abs(normsys.log_hi), np.abs(normsys.log_lo))[:, :, templates.bin_channel]
    hist = np.abs(histosys.linear) + np.abs(histosys.even)
    slopes = np.zeros((len(order.parameters), int(cells.sum())))
    slopes[:interpolating] = over_interpolating(templates, hist[:, cells] / templates.nominal[cells], norm[:, cells])
    for factors in templates.multipliers.places[:, cells]:
        here = np.flatnonzero(factors < len(slopes))
        slopes[factors[here], here] = 1 / np.maximum(np.abs(parameters.init[order.parameters[factors[here]]]), 1e-3)
    others = ~parameters.fixed[order.parameters] & (np.arange(len(slopes)) != place)
    moves = (slopes > 0) & others[:, None]
    squares = np.where(moves, slopes, 0.0) ** 2 * np.where(moves, variance[:, None], 0.0)
    return float(np.max(np.sum(squares, axis=0), initial=0.0))
