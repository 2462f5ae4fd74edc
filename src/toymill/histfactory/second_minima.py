"""Which parameters of a model may have a second minimum, and what a fit needs to look for it. Needs no JAX.

Two things make an nll with two minima:

- An asymmetric variation. Its even part e·g(α) takes from the curvature near α = 0 what the data put there: ``two_sided``
  says for which parameters it may be too much, ``one_sided`` for which of them it never is. ``Scan`` holds what
  ``profiles`` needs to find the second minimum of a fit.
- A loosely constrained factor, whose Poisson constraint expects less than one count. Its product with other parameters
  has minima where it is at its bound and where it and they are large: ``Loose`` holds what ``products`` needs to find them.

docs/second-minima.md tells how the two are used, and what was measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy

from toymill.histfactory.arrays import Loose, Scan, Templates
from toymill.histfactory.expectation import along, expectation, over_interpolating, yields
from toymill.parameters import Parameters

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


class Candidates(NamedTuple):
    """Where a model may have second minima.

    Attributes:
        parameters: True for a parameter along which there may be one.
        scan: what the search for it needs.
    """

    parameters: Bool[np.ndarray, " parameter"]
    scan: Scan[np.ndarray]


def no_scan(bins: int, samples: int) -> Scan[np.ndarray]:
    """A scan of no parameter."""
    none = np.zeros(0, dtype=np.int64)
    loose = Loose(
        places=none,
        tau=np.zeros(0),
        datum=none.copy(),
        yields=np.zeros(0),
        cells=np.zeros((0, samples, bins), dtype=bool),
        shares=np.zeros((0, bins)),
        terms=np.zeros((0, 0), dtype=np.int64),
        scale=np.zeros((0, 2, 0)),
        shift=np.zeros((0, 2, 0)),
    )
    return Scan(
        places=none.copy(), response=np.zeros((bins, 0, samples)), basis=np.zeros((0, len(SCANNED))), loose=loose
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
    found = _products(templates, parameters, loose & ~parameters.fixed)
    tried = np.isin(np.arange(len(parameters)), templates.order.parameters[found])
    return Candidates(doubtful | tried, Scan(places, response, basis, _loose(templates, found)))


def _products(
    templates: Templates[np.ndarray], parameters: Parameters, loose: Bool[np.ndarray, " parameter"]
) -> Int[np.ndarray, " loose"]:
    """Places of loosely constrained factors whose products may have a second minimum.

    Let a standard deviation of the others move a yield s γ by the factor 1 + κ. With γ at its bound, w = n/ν - 1 is not
    enough to lift it. Where γ goes up by g, the others follow and gain ½ (w s κ g)², more than the ½ s²/ν g² that the bin
    loses where its misfit G = ½ (n - ν)²/ν is above 1/(2 κ²). Those stay of which a quarter of that is a misfit of less
    than five standard deviations.
    """
    found = []
    for parameter in np.flatnonzero(loose):
        places = np.flatnonzero(templates.order.parameters == parameter)
        cells = np.nonzero(_cells(templates, int(places[0])))
        if len(places) == 1 and len(cells[0]):
            spread = _spread(templates, parameters, int(places[0]), cells)
            if 4 * spread * _FLUCTUATION**2 >= 1:
                found.append(int(places[0]))
    return np.array(found, dtype=np.int64)


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
    jacobian, own = _jacobians(templates, init, nominal, variance)
    several = len(jacobian)
    covariance = _Covariance.of(np.sqrt(variance[:several])[:, None] * jacobian, nominal + own**2 @ variance[several:])
    alone = own[:, variance[several:] == 0]
    held = np.concatenate([jacobian[templates.order.unconstrained], alone.T[np.any(alone, axis=0)]])
    if covariance is None:
        return found
    for parameter in doubtful:
        place = int(np.flatnonzero(templates.order.interpolating == parameter)[0])
        rates = np.sum(along(templates, init, place, _FINELY), axis=1)
        if variance[place] > 0 and np.all(np.isfinite(rates)):
            vectors = np.concatenate([rates - nominal, held])
            products = covariance.without(jacobian[place], float(variance[place]), vectors)
            found[parameter] = _always_one_minimum(products, len(rates), float(variance[place]))
    return found


class _Covariance(NamedTuple):
    """K = Aᵀ A + diag(d), whose inverse is taken in the smaller of the two spaces.

    Attributes:
        spread: A, (parameter, bin).
        diagonal: d, (bin,).
        root: L⁻¹ of the Cholesky factor of A d⁻¹ Aᵀ + 1 or, if that has more rows, of K.
    """

    spread: Float[np.ndarray, "parameter bin"]
    diagonal: Float[np.ndarray, " bin"]
    root: Float[np.ndarray, "row row"]

    @classmethod
    def of(cls, spread: np.ndarray, diagonal: np.ndarray) -> _Covariance | None:
        """The covariance with A and d; None if it is not finite, or not positive definite by rounding."""
        by_bins = spread.shape[1] <= spread.shape[0]
        matrix = (
            spread.T @ spread + np.diag(diagonal) if by_bins else spread / diagonal @ spread.T + np.eye(len(spread))
        )
        try:
            factor = np.linalg.cholesky(matrix) if np.all(np.isfinite(matrix)) else None
        except np.linalg.LinAlgError:  # of yields so different that rounding leaves nothing of the smaller ones
            return None
        if factor is None:
            return None
        return cls(spread, diagonal, scipy.linalg.solve_triangular(factor, np.eye(len(factor)), lower=True))

    def products(
        self, left: Float[np.ndarray, "row bin"], right: Float[np.ndarray, "column bin"]
    ) -> Float[np.ndarray, "row column"]:
        """The products u K⁻¹ vᵀ of two sets of vectors."""
        if len(self.root) == len(self.diagonal):
            found: np.ndarray = (left @ self.root.T) @ (right @ self.root.T).T
            return found
        scaled = self.spread / self.diagonal
        inside: np.ndarray = left / self.diagonal @ right.T
        inside -= (left @ scaled.T @ self.root.T) @ (right @ scaled.T @ self.root.T).T
        return inside

    def without(
        self, slope: Float[np.ndarray, " bin"], variance: float, vectors: Float[np.ndarray, "vector bin"]
    ) -> Float[np.ndarray, "vector vector"]:
        """The products of vectors with a parameter left out of K, by the Sherman-Morrison formula."""
        along_it = self.products(vectors, slope[None])
        left = max(1 - variance * float(self.products(slope[None], slope[None])[0, 0]), 1e-12)
        found: np.ndarray = self.products(vectors, vectors) + variance / left * along_it @ along_it.T
        return found


def _always_one_minimum(products: Float[np.ndarray, "vector vector"], count: int, variance: float) -> bool:
    """Whether the nll along one parameter has one minimum for all data; see ``one_sided``.

    Args:
        products: u K⁻¹ vᵀ of the rates at ``_FINELY`` less the nominal ones, and of what unconstrained parameters do.
        count: of these rates.
        variance: of the parameter.
    """
    every = np.eye(len(products))  # vectors in terms of those of ``products``
    rates, held = every[:count], every[count:]

    def length(vectors: np.ndarray) -> np.ndarray:
        squares = np.einsum("...u,uv,...v->...", vectors, products, vectors)
        lengths: np.ndarray = np.maximum(np.sqrt(np.maximum(squares, 0.0)), 1e-300)
        return lengths

    bent = np.diff(rates, 2, axis=0)
    directions = bent[np.array([int(np.argmax(length(bent))), len(bent) // 2])]
    directions = directions / length(directions)[:, None]
    off = np.linspace(-_FLUCTUATION, _FLUCTUATION, 5)
    shifts = np.concatenate([off[:, None] * direction for direction in directions])
    held = _FLUCTUATION * held / length(held)[:, None]
    away = np.concatenate([held, -held, np.zeros((1, len(products)))])
    data = (rates[5:26:4, None, None] + shifts[:, None] + away).reshape(-1, len(products))
    square = [np.einsum("iu,uv,iv->i", item, products, item) for item in (data, rates)]
    main = 0.5 * (square[0][:, None] + square[1] - 2 * data @ products @ rates.T)  # (data, α)
    sigma = np.sqrt(variance)
    auxiliary = 0.5 * ((_FINELY - np.linspace(-3.0, 3.0, 7)[:, None]) / sigma) ** 2
    slope = np.sign(np.diff(main[:, None] + auxiliary, axis=-1))
    return bool(np.all(np.sum(np.diff(slope, axis=-1) > 0, axis=-1) <= 1))


def _jacobians(
    templates: Templates[np.ndarray], init: np.ndarray, nominal: np.ndarray, variance: np.ndarray
) -> tuple[Float[np.ndarray, "several bin"], Float[np.ndarray, "bin own"]]:
    """∂ν/∂θ at the initial values by differences: of the several, 0 for one whose constraint lets it not vary; of the own.

    Own parameters of different bins are moved at once.
    """
    order, blocks = templates.order, templates.multipliers.blocks
    several, bins = len(order.interpolating) + len(templates.multipliers.multi_present), len(nominal)
    step = np.sqrt(variance) * 1e-3
    step[variance == 0] = 1e-3
    rows = np.zeros((several, bins))
    free = np.isin(np.arange(several), order.unconstrained)
    for place in np.flatnonzero((variance[:several] > 0) | free):
        x = init.copy()
        x[order.parameters[place]] += step[place]
        rows[place] = (expectation(templates, x) - nominal) / step[place]
    own = np.zeros((bins, len(order.parameters) - several))
    for row in blocks[:, :bins]:
        here = np.flatnonzero(row < own.shape[1])
        places, x = several + row[here], init.copy()
        x[order.parameters[places]] += step[places]
        own[here, row[here]] = (expectation(templates, x) - nominal)[here] / step[places]
    return rows, own


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


def _loose(templates: Templates[np.ndarray], places: Int[np.ndarray, " loose"]) -> Loose[np.ndarray]:
    """What ``products`` needs of the loosely constrained factors at some places."""
    normsys, histosys, constraints = templates.normsys, templates.histosys, templates.constraints
    cells = np.array([_cells(templates, place) for place in places]).reshape(len(places), *templates.nominal.shape)
    nominal = np.where(cells, templates.nominal, 0.0)
    yields = nominal.sum(axis=(1, 2))
    weights = nominal / yields[:, None, None]
    scale, shift = (np.zeros((len(places), 2, len(templates.order.interpolating))) for _ in range(2))
    for side, log, sign in ((0, normsys.log_hi, 1.0), (1, normsys.log_lo, -1.0)):
        factor = np.einsum("nsb,lsb->nl", log[:, :, templates.bin_channel], weights)
        added = np.einsum("hsb,lsb->hl", sign * histosys.linear + histosys.even, cells / yields[:, None, None])
        scale[:, side] = over_interpolating(templates, None, factor).T
        shift[:, side] = over_interpolating(templates, added, None).T
    present = np.any((scale != 0) | (shift != 0), axis=1)
    most = int(present.sum(axis=1).max(initial=0))
    terms = np.argsort(~present, axis=1, kind="stable")[:, :most]
    of = constraints.poisson_of[places]
    return Loose(
        places=places,
        tau=constraints.poisson_tau[of],
        datum=constraints.poisson_datum[of],
        yields=yields,
        cells=cells,
        shares=weights.sum(axis=1),
        terms=terms,
        scale=np.take_along_axis(scale, terms[:, None], axis=2),
        shift=np.take_along_axis(shift, terms[:, None], axis=2),
    )


def _cells(templates: Templates[np.ndarray], place: int) -> Bool[np.ndarray, "sample bin"]:
    """The cells with a yield that the parameter at a place multiplies."""
    found: np.ndarray = np.any(templates.multipliers.places == place, axis=0) & (templates.nominal > 0)
    return found


def _spread(
    templates: Templates[np.ndarray], parameters: Parameters, place: int, cells: tuple[np.ndarray, ...]
) -> float:
    """κ²: the largest relative variance of some cells, their samples and bins, by all parameters but that at a place.

    Infinite if one of these is free.
    """
    order, normsys, histosys = templates.order, templates.normsys, templates.histosys
    interpolating, variance = len(order.interpolating), _variances(templates, np.inf)
    sample, bin_ = cells
    scales = (np.abs(item[:, sample, templates.bin_channel[bin_]]) for item in (normsys.log_hi, normsys.log_lo))
    hist = np.abs(histosys.linear[:, sample, bin_]) + np.abs(histosys.even[:, sample, bin_])
    slopes = np.zeros((len(order.parameters), len(bin_)))
    slopes[:interpolating] = over_interpolating(templates, hist / templates.nominal[cells], np.maximum(*scales))
    for factors in templates.multipliers.places[:, sample, bin_]:
        here = np.flatnonzero(factors < len(slopes))
        slopes[factors[here], here] = 1 / np.maximum(np.abs(parameters.init[order.parameters[factors[here]]]), 1e-3)
    others = ~parameters.fixed[order.parameters] & (np.arange(len(slopes)) != place)
    moves = (slopes > 0) & others[:, None]
    squares = np.where(moves, slopes, 0.0) ** 2 * np.where(moves, variance[:, None], 0.0)
    return float(np.max(np.sum(squares, axis=0), initial=0.0))
