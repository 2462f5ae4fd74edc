"""Upper limits from toys: the observed one and the expected band, each with its Monte Carlo error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import scipy

from toymill.errors import ToymillError
from toymill.inference.counting import ONE_SIGMA, whole_error
from toymill.inference.coverage import Coverage, coverage
from toymill.inference.crossing import EMPTY, Case, Counts, Crossings, Curves, Method
from toymill.inference.expected_cls import expected_cls
from toymill.inference.limit_records import SIGMAS, Limit, LimitPoint, LimitVariance, UpperLimit
from toymill.inference.order_statistics import FEWEST, around, rank
from toymill.inference.p_values import cls
from toymill.inference.samples import LogRatios
from toymill.record import SigmaText

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


def upper_limit(
    points: Float[np.ndarray, " test"],
    signal: Sequence[Float[np.ndarray, " toy"]],
    background: Float[np.ndarray, "test toy"],
    observed: Float[np.ndarray, " test"] | None,
    *,
    level: float = 0.95,
    method: Method = "CLs",
    tolerance: float = 0.0,
    log_ratios: LogRatios | None = None,
) -> UpperLimit:
    """The value at which CLs falls to 1 - level, for the observed data and for each background-only toy.

    Between points CLs is interpolated linearly in Φ⁻¹(1 - CLs), never beyond them. Where it crosses more than once, the
    limit is the mean of the first and the last crossing. The error is that of CLs at the limit over |dCLs/dμ|. It is
    summed toy by toy: a background-only toy counts at every point, and its shifts of the limit are added before they
    are squared. Toys with signal are independent between points.

    The expected limits are order statistics of the limits of all background-only toys, each counted in its own CL_b.
    Their error is summed toy by toy too: what a toy does to the limits of the toys around the quantile, on average,
    and to the order of the limits, (α - 1[L_i ≤ L_α])/(N f(L_α)) (Bahadur, Ann. Math. Stat. 37 (1966) 577).

    Args:
        points: the tested values, ascending, (K,).
        signal: q at each of them of toys thrown there; K arrays; NaN for toys that are not certified.
        background: q at each of them of the same background-only toys, (K, N_b); NaN likewise.
        observed: q at each of them of the observed data, (K,), or None. A point with NaN is left out.
        level: the confidence level.
        method: ``"CLs"``, or ``"CLsb"`` for CL_{s+b} alone.
        tolerance: values of q that differ by less are ties; see ``p_values.tie_tolerance``.
        log_ratios: densities of the toys, with which those of a tested value and the background-only ones stand for
            each other, weighted (``samples.shares``): few toys with signal lie as far out as the data of background
            alone. Without them each toy counts for its own truth point. So it does where a check finds that toys are
            not of these densities, which ``why_unweighted`` then says.

    Raises:
        ToymillError: points that do not ascend, arrays that do not fit them, a level outside of 0 to 1.

    Example:
        A count n with 3 background events expected and none observed: the limit is -ln 0.05.

        >>> rng = np.random.default_rng(1)
        >>> points = np.array([2.0, 2.5, 3.0, 3.5, 4.0])
        >>> signal = [-rng.poisson(mu + 3, 100_000) for mu in points]  # fewer events are less like a signal
        >>> background = np.tile(-rng.poisson(3, 100_000), (5, 1))
        >>> found = upper_limit(points, signal, background, np.zeros(5))
        >>> found.observed.sentence
        'The observed limit is 3.060 ± 0.054 at 95 % CL.'
    """
    curves = Curves.of(
        points, signal, background, level=level, method=method, tolerance=tolerance, log_ratios=log_ratios
    )
    background = np.asarray(background)
    if observed is not None and np.shape(observed) != curves.points.shape:
        msg = f"observed has the shape {np.shape(observed)}; expected {curves.points.shape}, a number for each tested value."
        raise ToymillError(msg)
    told = []
    for k, poi in enumerate(curves.points):
        q = np.nan if observed is None else observed[k]
        at = None if np.isnan(q) else cls(np.asarray(signal[k]), background[k], float(q), tolerance)
        sample = curves.samples[k]
        told.append(
            LimitPoint(
                poi=float(poi),
                signal_toys=sample.certified[0],
                signal_failed=sample.failed[0],
                background_toys=sample.certified[1],
                background_failed=sample.failed[1],
                observed=at,
                coverage=_coverage(curves, k, np.asarray(signal[k]), level),
                weighted=curves.weights_at(k, float(q)),
                expected=expected_cls(curves, k, background[k]),
            )
        )
    return UpperLimit(
        level=level,
        method=method,
        points=told,
        why_unweighted=curves.why_unweighted,
        observed=None if observed is None else _of_data(curves, np.asarray(observed)),
        expected=_band(curves, background, own=True),
    )


def _coverage(curves: Curves, k: int, toys: Float[np.ndarray, " toy"], level: float) -> Coverage | None:
    """How often CLs of toys with the tested signal is at least 1 - level, so that their limit is not below it.

    Of CL_{s+b} it is the level by construction; CLs covers more (Read, J. Phys. G 28 (2002) 2693).
    """
    if not curves.usable[k]:
        return None
    found = curves.only(np.arange(len(curves.points)) == k).cls(toys[None])[0]
    certified = int(np.count_nonzero(~np.isnan(found)))
    covered = int(np.count_nonzero(found >= curves.alpha))
    (counted,) = coverage([level], [covered], certified=certified, failed=len(toys) - certified, without=0).values()
    return counted


def expected_for(
    points: Float[np.ndarray, " test"],
    signal: Sequence[Float[np.ndarray, " toy"]],
    background: Float[np.ndarray, "test toy"],
    datasets: Float[np.ndarray, "test dataset"],
    *,
    level: float = 0.95,
    method: Method = "CLs",
    tolerance: float = 0.0,
    log_ratios: LogRatios | None = None,
) -> dict[SigmaText, Limit]:
    """The expected limits for other data than background alone, such as toys with a signal injected.

    Args:
        points: as of ``upper_limit``, like the other arguments.
        signal: toys thrown at each point.
        background: background-only toys.
        datasets: q at each point of independent toys taken as data, (K, N); NaN for toys that are not certified.
        level: the confidence level.
        method: ``"CLs"`` or ``"CLsb"``.
        tolerance: values of q that differ by less are ties.
        log_ratios: densities of the toys; see ``upper_limit``.

    Raises:
        ToymillError: as of ``upper_limit``.
    """
    curves = Curves.of(
        points, signal, background, level=level, method=method, tolerance=tolerance, log_ratios=log_ratios
    )
    return _band(curves, _fitting(curves, datasets), own=False)


def limits_of(
    points: Float[np.ndarray, " test"],
    signal: Sequence[Float[np.ndarray, " toy"]],
    background: Float[np.ndarray, "test toy"],
    datasets: Float[np.ndarray, "test dataset"],
    *,
    level: float = 0.95,
    method: Method = "CLs",
    tolerance: float = 0.0,
    log_ratios: LogRatios | None = None,
) -> Float[np.ndarray, " dataset"]:
    """The limit of each dataset, (N,); -inf and +inf below and above the tested values, NaN where a fit has failed.

    Arguments and errors are those of ``expected_for``.
    """
    curves = Curves.of(
        points, signal, background, level=level, method=method, tolerance=tolerance, log_ratios=log_ratios
    )
    kept = curves.usable
    if kept.sum() < 2:
        return np.full(np.shape(datasets)[1], np.nan)
    return _curve(curves.only(kept), _fitting(curves, datasets)[kept]).crossings.limit


def _fitting(curves: Curves, datasets: Float[np.ndarray, "test dataset"]) -> Float[np.ndarray, "test dataset"]:
    """Datasets of the right shape."""
    datasets = np.asarray(datasets)
    if datasets.ndim != 2 or len(datasets) != len(curves.points):
        msg = f"datasets has the shape {datasets.shape}; expected a row for each of {len(curves.points)} tested values."
        raise ToymillError(msg)
    return datasets


class _Curve(NamedTuple):
    """CLs of datasets, (K, N), NaN where it is not known, and where it crosses."""

    cls: Float[np.ndarray, "test dataset"]
    crossings: Crossings


def _curve(curves: Curves, datasets: Float[np.ndarray, "test dataset"], case: Case = "certified") -> _Curve:
    known = curves.cls(datasets, case)
    return _Curve(known, curves.crossings(known))


def _of_data(curves: Curves, observed: Float[np.ndarray, " test"]) -> Limit:
    """The limit of one dataset."""
    what = "The observed limit"
    kept = curves.usable & ~np.isnan(observed)
    if kept.sum() < 2:
        return _nowhere("failed", what, curves)
    curves, data = curves.only(kept), observed[kept, None]
    counts, curve = curves.count(data), _curve(curves, data)
    limit = float(curve.crossings.limit[0])
    if limit == -np.inf and curves.method == "CLs" and counts.background[0, 0] < EMPTY:
        sentence = f"{what} is not known: no background-only toy is as unlike a signal as the data. Throw more of them."
        return _nowhere("failed", what, curves).model_copy(update={"sentence": sentence})
    if not np.isfinite(limit):
        return _nowhere("below" if limit < 0 else "above", what, curves)
    one = np.zeros(1, dtype=np.int64)
    influence = curves.influence(counts, curve.crossings, one)
    variance = _by_ensemble(influence.signal, influence.background)
    error = _error(variance)
    low, high = _ends_of_weighted(curves, curve, error) if curves.weighted else _ends(curves, counts, curve.crossings)
    interpolation = abs(curves.curvature_shift(curve.cls, curve.crossings, one))
    total = whole_error(error, interpolation)
    return Limit(
        value=limit,
        error=error,
        low=low,
        high=high,
        interpolation=interpolation,
        total_error=total,
        if_failed_low=float(_curve(curves, data, "low").crossings.limit[0]),
        if_failed_high=float(_curve(curves, data, "high").crossings.limit[0]),
        outside=None,
        crossings=int(curve.crossings.number[0]),
        sentence=_sentence(what, limit, total, curves),
        variance=_at_all(kept, variance),
    )


def _by_ensemble(
    signal: Float[np.ndarray, " test"],
    background: Float[np.ndarray, " toy"],
    datasets: Float[np.ndarray, " dataset"] | None = None,
) -> LimitVariance:
    """The variance by toys with signal, and by the shifts of each background-only toy and of each other dataset."""
    others = 0.0 if datasets is None else np.sum(datasets**2)
    return LimitVariance(signal=signal.tolist(), background=float(np.sum(background**2)), datasets=float(others))


def _at_all(kept: Bool[np.ndarray, " test"], variance: LimitVariance) -> LimitVariance:
    """The variance with an entry for every tested value, of which some are ``kept``."""
    signal = np.zeros(len(kept))
    signal[kept] = variance.signal
    return variance.model_copy(update={"signal": signal.tolist()})


def _error(variance: LimitVariance) -> float:
    return float(np.sqrt(sum(variance.signal) + variance.background + variance.datasets))


def _ends_of_weighted(curves: Curves, curve: _Curve, error: float) -> tuple[float, float]:
    """The interval of one dataset's limit: where CLs crosses if it is at the ends of the interval of a Poisson count.

    The count is that which knows CLs as well as the weighted toys do, as in ``mixture.mixture_tail``.
    """
    limit, step = float(curve.crossings.limit[0]), 1e-4

    def scaled(*factors: float) -> Float[np.ndarray, " factor"]:
        return curves.crossings(curve.cls * np.array(factors)).limit

    up, down = scaled(1 + step, 1 - step)
    slope = (up - down) / (2 * step)
    if not (np.isfinite(slope) and slope > 0 and error > 0):
        return limit - error, limit + error
    count, tail = (slope / error) ** 2, (1 - ONE_SIGMA) / 2
    low, high = scaled(*scipy.stats.gamma.ppf([tail, 1 - tail], [count, count + 1]) / count)
    return float(low), float(high)


def _ends(curves: Curves, counts: Counts, found: Crossings) -> tuple[float, float]:
    """The interval of one dataset's limit: its shifts by each count at the ends of its own interval, in quadrature.

    The counts of toys with signal next to the crossing move by themselves, those of the background-only toys together,
    whose correlation between points is nearly full. A count of zero moves between 0.17 and 1.84, from one half.
    """
    above, below, limit = counts.signal[:, 0], counts.background[:, 0], found.limit[0]
    beside = np.unique([k + step for k in (found.first[0], found.last[0]) for step in (0, 1)])
    tail = (1 - ONE_SIGMA) / 2

    def moved(beyond: Float[np.ndarray, " test"], toys: Int[np.ndarray, " test"]) -> list[Float[np.ndarray, " test"]]:
        some = np.maximum(beyond, 1)
        lowest = np.where(beyond > 0, scipy.stats.beta.ppf(tail, some, toys - some + 1), -np.log(1 - tail) / toys)
        room = np.maximum(toys - beyond, 1)
        highest = np.where(beyond < toys, scipy.stats.beta.ppf(1 - tail, beyond + 1, room), 1.0)
        return [lowest, highest]

    clsb = np.maximum(above, EMPTY) / curves.signal_toys
    clb = np.maximum(below, EMPTY) / curves.background_certified
    each = np.arange(len(clsb))[:, None] == beside
    variants = [np.where(each, end[:, None], clsb[:, None]) for end in moved(above, curves.signal_toys)]
    tops = np.concatenate([*variants, np.tile(clsb[:, None], 2)], axis=1)
    bottoms = np.tile(clb[:, None], tops.shape[1])
    bottoms[:, -2:] = np.stack(moved(below, curves.background_certified), axis=1)
    shift = curves.crossings(tops / (bottoms if curves.method == "CLs" else 1.0)).limit - limit
    return (
        float(limit - np.sqrt(np.sum(np.minimum(shift, 0) ** 2))),
        float(limit + np.sqrt(np.sum(np.maximum(shift, 0) ** 2))),
    )


def _band(curves: Curves, datasets: Float[np.ndarray, "test dataset"], *, own: bool) -> dict[SigmaText, Limit]:
    """The expected limits; ``own`` where the datasets are the background-only toys."""
    names = {str(sigma): f"The expected limit at {sigma:+d} σ" if sigma else "The median limit" for sigma in SIGMAS}
    kept = curves.usable
    if kept.sum() < 2:
        return {key: _nowhere("failed", what, curves) for key, what in names.items()}
    curves, datasets = curves.only(kept), datasets[kept]
    curve = _curve(curves, datasets)
    failed = np.isnan(curve.crossings.limit)
    bounds = [curve.crossings.limit] * 2
    if failed.any() or curves.some_failed:
        bounds = [_curve(curves, datasets, case).crossings.limit for case in ("low", "high")]
    lowest, highest = (
        np.sort(np.where(failed, end, item)) for item, end in zip(bounds, (-np.inf, np.inf), strict=True)
    )
    order = np.argsort(curve.crossings.limit)[: np.count_nonzero(~failed)]
    found = {}
    for sigma, (key, what) in zip(SIGMAS, names.items(), strict=True):
        probability = float(scipy.stats.norm.cdf(sigma))
        if not len(order):
            found[key] = _nowhere("failed", what, curves)
            continue
        item = _quantile(curves, datasets, curve, order, probability, what, own=own)
        at, variance = rank(probability, len(failed)), item.variance
        found[key] = item.model_copy(
            update={
                "variance": variance and _at_all(kept, variance),
                "if_failed_low": float(lowest[at]) if np.isfinite(lowest[at]) else None,
                "if_failed_high": float(highest[at]) if np.isfinite(highest[at]) else None,
            }
        )
    return found


def _quantile(
    curves: Curves,
    datasets: Float[np.ndarray, "test dataset"],
    curve: _Curve,
    order: Int[np.ndarray, " certified"],
    probability: float,
    what: str,
    *,
    own: bool,
) -> Limit:
    """A quantile of the limits, and its error; ``order`` are the certified datasets in the order of their limits."""
    ranked, size = curve.crossings.limit[order], len(order)
    at = rank(probability, size)
    limit = float(ranked[at])
    if not np.isfinite(limit):
        return _nowhere("below" if limit < 0 else "above", what, curves)
    error = variance = total = None
    window = order[at : at + 1]
    if size * min(probability, 1 - probability) >= FEWEST:
        near, sparsity = around(ranked, at, probability)
        window = order[near]
        counts = curves.count(datasets[:, window])
        inside = Crossings(*(item[window] for item in curve.crossings))
        influence = curves.influence(counts, inside, np.arange(len(window)))
        ordering = np.zeros(datasets.shape[1])
        ordering[order] = ((at + 1) / size - (np.arange(size) <= at)) * sparsity
        if own:
            variance = _by_ensemble(influence.signal, influence.background + ordering)
        else:
            variance = _by_ensemble(influence.signal, influence.background, ordering)
        error = _error(variance)
    interpolation = abs(curves.curvature_shift(curve.cls, curve.crossings, window))
    if error is not None:
        total = whole_error(error, interpolation)
    return Limit(
        value=limit,
        error=error,
        low=None if error is None else limit - error,
        high=None if error is None else limit + error,
        interpolation=interpolation,
        total_error=total,
        if_failed_low=None,
        if_failed_high=None,
        outside=None,
        crossings=int(curve.crossings.number[order[at]]),
        sentence=_sentence(what, limit, total, curves),
        variance=variance,
    )


def _nowhere(outside: Literal["below", "above", "failed"], what: str, curves: Curves) -> Limit:
    """A limit that is not among the tested values."""
    sentence = f"{what} is not known: fewer than two tested values have certified fits."
    if outside == "below":
        sentence = f"{what} lies below {curves.points[0]:.4g}, the smallest value tested. Test smaller values."
    if outside == "above":
        sentence = f"{what} lies above {curves.points[-1]:.4g}, the largest value tested. Test larger values."
    return Limit(
        value=None,
        error=None,
        low=None,
        high=None,
        interpolation=None,
        if_failed_low=None,
        if_failed_high=None,
        outside=outside,
        crossings=0,
        sentence=sentence,
    )


def _sentence(what: str, limit: float, error: float | None, curves: Curves) -> str:
    level = f"at {100 * (1 - curves.alpha):.4g} % CL"
    if error is None:
        return f"{what} is {limit:.4g} {level}, from too few toys for an error: fewer than {FEWEST} lie beyond."
    digits = max(1 - int(np.floor(np.log10(error))), 0) if error > 0 else 3
    return f"{what} is {limit:.{digits}f} ± {error:.{digits}f} {level}."
