"""Confidence intervals of one parameter by the Neyman construction: the tested values that toys accept, and their ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
import scipy

from toymill.errors import ToymillError
from toymill.inference.acceptance import Acceptance, Decision, acceptance, three_sigma
from toymill.inference.berger_boos import berger_boos
from toymill.inference.counting import whole_error
from toymill.inference.crossing import EMPTY
from toymill.inference.interval_coverage import coverage_of_halves, coverage_within
from toymill.inference.neyman_records import ConfidenceInterval, End, NeymanIntervals, Region, TestedValue
from toymill.inference.p_values import PValue, tail

if TYPE_CHECKING:
    from jaxtyping import Float

_NOISY = 0.15  # of the fall of r between two tested values: above it, its slope is taken over further ones
_TIES = 0.01  # of the toys have the data's t, above which p is taken to jump
_JUMP = 3.0  # times the steepest slope beside, above which p is taken to jump between two tested values


def neyman_intervals(
    points: Float[np.ndarray, " test"],
    toys: Sequence[Float[np.ndarray, " toy"]],
    observed: Float[np.ndarray, " test"],
    *,
    levels: Sequence[float] = (0.6827, 0.95),
    bounds: tuple[float, float] = (-math.inf, math.inf),
    tolerance: float = 0.0,
    over_set: Sequence[Sequence[Float[np.ndarray, " toy"]]] = (),
    beta: float = 0.0,
    distances: Sequence[float] | None = None,
) -> NeymanIntervals:
    """The values μ that the data do not reject: p(μ) = P(t_μ ≥ t_obs(μ) | μ) > 1 - level (physics/9711021).

    An end is where p crosses 1 - level between two tested values, of which r = Φ⁻¹(1 - p/2) is interpolated linearly: for
    a Gaussian measurement r = |μ - μ̂|/σ. Nothing is extrapolated. Between the nearest values that are accepted and
    rejected by three standard deviations p may cross more than once, by its noise: the end is the mean of the first and
    the last crossing. Rejected values between accepted ones make separate regions, and the interval is from the lowest to
    the highest end, as in that paper. The error is that of the p-values next to the end, independent of each other, over
    |dp/dμ|.

    Args:
        points: the tested values, ascending, (K,).
        toys: t_μ at each of them of toys thrown there; K arrays; NaN for toys that are not certified.
        observed: t_μ at each of them of the observed data, (K,). A point with NaN is left out.
        levels: confidence levels.
        bounds: the parameter's bounds; an interval that reaches a tested bound ends there.
        tolerance: values of t that differ by less are ties; see ``p_values.tie_tolerance``.
        over_set: the same of toys thrown there at points of a confidence set of nuisance parameters, several arrays for
            each tested value: p is then the largest, plus ``beta``; see ``berger_boos``.
        beta: 1 - the level of that set.
        distances: of each tested value from a bound of the estimates, in standard deviations, for the asymptotic critical
            values (CCGV eq. 44); None without a bound.

    Raises:
        ToymillError: points that do not ascend, arrays that do not fit them, a level outside of 0 to 1.

    Example:
        A normal measurement x = 1 of unit width, of a parameter that is not negative: from 0 to 2.96 at 95 % (table X of
        that paper).

        >>> rng = np.random.default_rng(1)
        >>> points = np.linspace(0, 3.5, 15)
        >>> def t(x, mu):
        ...     return (x - mu) ** 2 - np.minimum(x, 0) ** 2
        >>> toys = [t(rng.normal(mu, 1, 20_000), mu) for mu in points]
        >>> found = neyman_intervals(points, toys, t(1.0, points), bounds=(0, np.inf))
        >>> found.intervals["0.95"].sentence
        'The 95 % interval is from 0, the bound of the parameter, to 2.963 ± 0.011.'
    """
    points, observed = np.asarray(points, dtype=np.float64), np.asarray(observed, dtype=np.float64)
    if points.ndim != 1 or not np.isfinite(points).all() or not (np.diff(points) > 0).all():
        msg = f"The tested values are {points.tolist()}; expected finite numbers that ascend."
        raise ToymillError(msg)
    if len(toys) != len(points) or observed.shape != points.shape:
        msg = (
            f"toys are of {len(toys)} points, observed of the shape {observed.shape}; expected those of {len(points)}."
        )
        raise ToymillError(msg)
    tests = [
        acceptance(thrown, float(t), levels, tolerance=tolerance, distance=distance)
        for thrown, t, distance in zip(toys, observed, distances or [math.inf] * len(points), strict=True)
    ]
    tested = [
        _tested(float(value), test, thrown, further, tolerance, beta)
        for value, test, thrown, further in zip(points, tests, toys, over_set or [()] * len(points), strict=True)
    ]
    return NeymanIntervals(
        points=tested,
        intervals={repr(float(level)): _interval(tested, float(level), bounds) for level in levels},
    )


def _tested(
    value: float,
    test: Acceptance,
    toys: Float[np.ndarray, " toy"],
    over_set: Sequence[Float[np.ndarray, " toy"]],
    tolerance: float,
    beta: float,
) -> TestedValue:
    """A tested value, with the p-values over a confidence set of nuisance parameters if there is one."""
    further, largest = [], None
    if over_set and test.p_value is not None and test.t is not None:
        further = [tail(thrown, test.t, tolerance) for thrown in over_set]
        largest = berger_boos([test.p_value, *further], beta)
    by_level = {float(key): item.asymptotic for key, item in test.critical.items()}
    return TestedValue(
        poi=value,
        toys=len(toys),
        test=test,
        over_set=further,
        largest=largest,
        coverage={} if over_set else coverage_of_halves(toys, list(by_level), tolerance),
        asymptotic_coverage=coverage_within(toys, by_level, tolerance),
    )


@dataclass(frozen=True)
class _Curve:
    """p of the tested values where it is known: ascending, (K,) each.

    Attributes:
        x: the tested values.
        places: their indices among all tested values, of which there are ``count``.
        count: how many are tested.
        decisions: whether each is accepted.
        p: certified toys beyond over certified toys, half a toy standing for none; likewise the next.
        variance: of p.
        one_sigma: its interval, (2, K).
        three_sigma: its interval at three standard deviations, whatever failed toys count as, (2, K).
        failed: p if failed toys lie below t of the data, and if beyond, (2, K).
        filled: whether some toys lie beyond.
        discrete: whether many have the t of the data.
        alpha: 1 - level.
        bounds: the parameter's.
    """

    x: np.ndarray
    places: np.ndarray
    count: int
    decisions: Sequence[Decision]
    p: np.ndarray
    variance: np.ndarray
    one_sigma: np.ndarray
    three_sigma: np.ndarray
    failed: np.ndarray
    filled: np.ndarray
    discrete: np.ndarray
    alpha: float
    bounds: tuple[float, float]

    @classmethod
    def of(cls, tested: Sequence[TestedValue], level: float, bounds: tuple[float, float]) -> _Curve:
        """The curve of the tested values with certified toys and a known p."""
        every = [item.deciding for item in tested]
        places = [k for k, item in enumerate(every) if item is not None and item.toys]
        known, values = [tested[k] for k in places], [item for item in every if item is not None and item.toys]
        of_set = [item.largest for item in known]
        beta = np.array([item.beta if item else 0.0 for item in of_set])
        size = np.array([item.toys for item in values])
        counted = np.maximum([item.beyond for item in values], EMPTY)
        p = counted / size
        shown = np.maximum(counted, 1) / size  # of an empty tail: as of a single toy
        one = [(of.low, of.high) if of else (item.low, item.high) for of, item in zip(of_set, values, strict=True)]
        three = [
            (of.surely_low, of.surely_high) if of else three_sigma(item)
            for of, item in zip(of_set, values, strict=True)
        ]
        every_p = [
            [item.test.p_value, *item.over_set] if item.over_set else [by]
            for item, by in zip(known, values, strict=True)
        ]
        return cls(
            x=np.array([item.poi for item in known]),
            places=np.array(places, dtype=int),
            count=len(tested),
            decisions=[item.decision(level) for item in known],
            p=np.minimum(p + beta, 1.0),
            variance=shown * (1 - p) / size,
            one_sigma=np.maximum(np.array(one).reshape(-1, 2).T, EMPTY / size),
            three_sigma=np.maximum(np.array(three).reshape(-1, 2).T, EMPTY / size),
            failed=np.minimum(
                np.maximum(np.array([_if_failed(several) for several in every_p]).reshape(-1, 2).T, EMPTY / size)
                + beta,
                1.0,
            ),
            filled=np.array([item.beyond > 0 for item in values]),
            discrete=np.array([(item.test.ties or 0.0) > _TIES for item in known]),
            alpha=1 - level,
            bounds=bounds,
        )


def _if_failed(several: Sequence[PValue | None]) -> list[float]:
    """The largest of some p-values if failed toys lie below t of the data, and if beyond; without certified toys 0 and 1."""
    known = [item for item in several if item is not None]
    return [
        max(0.0 if item.if_failed_below is None else item.if_failed_below for item in known),
        max(1.0 if item.if_failed_beyond is None else item.if_failed_beyond for item in known),
    ]


def _interval(tested: Sequence[TestedValue], level: float, bounds: tuple[float, float]) -> ConfidenceInterval:
    """The interval of one level."""
    words = f"{100 * level:.4g} %"
    curve = _Curve.of(tested, level, bounds)
    stretches = _stretches(curve)
    if len(curve.x) < 2 or not stretches:
        why = (
            "no tested value is accepted; test others, nearer to the best fit"
            if len(curve.x) > 1
            else "fewer than two tested values are known"
        )
        nothing = _unknown(f"The {words} interval is not known: {why}.")
        return ConfidenceInterval(
            level=level, low=nothing, high=nothing, regions=[], undecided=[], sentence=nothing.sentence
        )
    ends = [
        (
            _end(curve, list(range(below, first + 1)), f"The lower end at {words}", lower=True),
            _end(curve, list(range(above, last - 1, -1)), f"The upper end at {words}", lower=False),
        )
        for below, first, last, above in stretches
    ]
    undecided = [float(curve.x[k]) for k, decision in enumerate(curve.decisions) if decision == "undecided"]
    spans = [(curve.x[below], curve.x[above]) for below, _, _, above in stretches]
    apart = [f"{value:.4g}" for value in undecided if not any(low <= value <= high for low, high in spans)]
    low, high = ends[0][0], ends[-1][1]
    sentence = f"The {words} interval is from {_told(low)} to {_told(high).rstrip(',')}"
    if len(ends) > 1:
        gaps = [f"{_told(before)} and {_told(after)}" for (_, before), (after, _) in pairwise(ends)]
        sentence += f"; values between {', and between '.join(gaps)} are rejected"
    if apart:
        sentence += f"; apart from it, {', '.join(apart)} would need more toys to decide"
    more = [side for end, side in ((low, "smaller"), (high, "larger")) if end.outside]
    advice = f" Test {' and '.join(more)} values." if more else ""
    coarse = [name for end, name in ((low, "lower"), (high, "upper")) if (end.interpolation or 0) > (end.error or 0)]
    if coarse:
        about = f"{coarse[0]} end" if len(coarse) == 1 else "ends"
        advice += f" Test more values about the {about}: most of the error is that of interpolation."
    return ConfidenceInterval(
        level=level,
        low=low,
        high=high,
        regions=[Region(low=one.value, high=two.value) for one, two in ends],
        undecided=undecided,
        sentence=f"{sentence}.{advice}",
    )


def _stretches(curve: _Curve) -> list[tuple[int, int, int, int]]:
    """Accepted values between rejected ones, each as four indices.

    The nearest rejected value below, or the first of all; the first and the last that is accepted; the nearest rejected
    value above, or the last of all. If none is accepted by three standard deviations, that of the largest p may be.
    """
    if not len(curve.x):
        return []
    accepted = [k for k, decision in enumerate(curve.decisions) if decision == "accepted"]
    rejected = [k for k, decision in enumerate(curve.decisions) if decision == "rejected"]
    best = int(np.argmax(curve.p))
    if not accepted and curve.p[best] > curve.alpha:
        accepted = [best]
    found: dict[tuple[int, int], list[int]] = {}
    for k in accepted:
        below = max((r for r in rejected if r < k), default=0)
        above = min((r for r in rejected if r > k), default=len(curve.x) - 1)
        found.setdefault((below, above), []).append(k)
    return [(below, inside[0], inside[-1], above) for (below, above), inside in found.items()]


def _end(curve: _Curve, way: list[int], what: str, *, lower: bool) -> End:
    """The end between a rejected value and an accepted one: ``way`` are their indices and those between, inwards."""
    value = _crossing(curve, curve.p, way, lower=lower)
    three, failed = (
        [_crossing(curve, p, way, lower=lower) for p in moved] for moved in (curve.three_sigma, curve.failed)
    )
    lowest, highest = (1, 0) if lower else (0, 1)  # the larger p, the farther out
    at_bound = value is not None and curve.p[way[0]] > curve.alpha
    error = interpolation = total = None
    variance: list[float] = []
    crossings = 0
    outside: Literal["below", "above"] | None = None
    low, high = (_crossing(curve, curve.one_sigma[k], way, lower=lower) for k in (lowest, highest))
    if value is None:
        outside = "below" if lower else "above"
        side, more = ("smallest", "smaller") if lower else ("largest", "larger")
        sentence = f"{what} lies {outside} {curve.x[way[0]]:.4g}, the {side} value tested. Test {more} values."
    elif at_bound:
        by = (
            "accepted"
            if curve.three_sigma[0][way[0]] > curve.alpha
            else "accepted, but not by three standard deviations"
        )
        sentence = f"{what} is {value:.4g}, the bound of the parameter, which is {by}."
    else:
        first, last, crossings = _rises(curve, curve.p, way)
        variance = _variance(curve, way, first, last)
        error = math.sqrt(sum(variance))
        low, high = _ends(curve, way, value, {first, first + 1, last, last + 1}, lower=lower)
        interpolation = _interpolation(curve, way[last], way[last + 1])
        total = whole_error(error, interpolation)
        sentence = f"{what} is {with_error(value, total)}."
    return End(
        value=value,
        error=error,
        variance=variance,
        low=low,
        high=high,
        undecided_low=three[lowest],
        undecided_high=three[highest],
        interpolation=interpolation,
        total_error=total,
        if_failed_low=failed[lowest],
        if_failed_high=failed[highest],
        at_bound=at_bound,
        outside=outside,
        crossings=crossings,
        sentence=sentence,
    )


def _rises(curve: _Curve, p: np.ndarray, way: list[int]) -> tuple[int, int, int]:
    """Where p rises above 1 - level: places on the way before the first and the last rise, and how often it does."""
    inside = p[way] > curve.alpha
    (at,) = np.nonzero(~inside[:-1] & inside[1:])
    return (int(at[0]), int(at[-1]), len(at)) if len(at) else (-1, -1, 0)


def _crossing(curve: _Curve, p: np.ndarray, way: list[int], *, lower: bool) -> float | None:
    """The mean of the first and the last crossing; the bound, if that is inside; None if p does not cross."""
    if p[way[0]] > curve.alpha:
        bound = curve.bounds[0 if lower else 1]
        return bound if curve.x[way[0]] == bound else None
    first, last, number = _rises(curve, p, way)
    if not number:
        return None
    r, target = root_of(p), float(root_of(curve.alpha))
    found = []
    for at in (first, last):
        k, following = way[at], way[at + 1]
        share = (r[k] - target) / (r[k] - r[following])
        found.append(curve.x[k] + share * (curve.x[following] - curve.x[k]))
    return float(np.mean(found))


def _variance(curve: _Curve, way: list[int], first: int, last: int) -> list[float]:
    """What each tested value adds to the square of the error of an end: δμ = δr(μ)/|r'|, with dr/dp = -1/(2 φ(r))."""
    r, target = root_of(curve.p), float(root_of(curve.alpha))
    errors = np.sqrt(curve.variance * np.pi / 2) * np.exp(r**2 / 2)
    by_r = np.zeros(len(r))
    for at in (first, last):
        k, following = way[at], way[at + 1]
        share = (r[k] - target) / (r[k] - r[following])
        fall = _fall(curve, r, errors, k, following)
        by_r[k] += (1 - share) / fall / 2
        by_r[following] += share / fall / 2
    parts = np.zeros(curve.count)
    parts[curve.places] = (by_r * errors) ** 2
    return parts.tolist()


def _fall(curve: _Curve, r: np.ndarray, errors: np.ndarray, k: int, following: int) -> float:
    """|r'| between two values; over the next values to both sides too where it is noisy, within a factor of two."""
    step, distance = following - k, abs(curve.x[following] - curve.x[k])
    near = float((r[k] - r[following]) / distance)
    if np.hypot(errors[k], errors[following]) < _NOISY * near * distance:
        return near
    out = k - step if 0 <= k - step < len(r) and curve.filled[k - step] else k
    into = following + step if 0 <= following + step < len(r) else following
    return float(np.clip((r[out] - r[into]) / abs(curve.x[into] - curve.x[out]), near / 2, near * 2))


def _ends(
    curve: _Curve, way: list[int], value: float, beside: set[int], *, lower: bool
) -> tuple[float | None, float | None]:
    """The interval of an end: its shifts by each p next to it at the ends of its own interval, in quadrature."""
    squares = [0.0, 0.0]
    for at in sorted(beside):
        for moved in curve.one_sigma:
            p = curve.p.copy()
            p[way[at]] = moved[way[at]]
            there = _crossing(curve, p, way, lower=lower)
            side = int((moved[way[at]] > curve.p[way[at]]) != lower)
            squares[side] += math.inf if there is None else (there - value) ** 2
    low, high = value - math.sqrt(squares[0]), value + math.sqrt(squares[1])
    return (low if math.isfinite(low) else None), (high if math.isfinite(high) else None)


def _interpolation(curve: _Curve, k: int, following: int) -> float | None:
    """How far the curvature of r moves a crossing, by the divided differences with the values beside.

    Where many toys have the t of the data, p jumps as the tested value moves, and may do so unseen between two of them: the
    crossing is somewhere between. So it is where r falls between the two by more than three times as steeply as beside.
    """
    x, r, step = curve.x, root_of(curve.p), following - k
    target = float(root_of(curve.alpha))
    width = abs(x[following] - x[k])
    slope = (r[k] - r[following]) / width
    share = (r[k] - target) / (r[k] - r[following])
    anywhere = float(max(share, 1 - share) * width)
    if curve.discrete[k] or curve.discrete[following]:
        return anywhere
    beside = [j for j in (k - step, following + step) if 0 <= j < len(x) and curve.filled[j]]
    if not beside:
        return None
    curvatures, slopes = [], []
    for j in beside:
        near, far = (k, following) if j == k - step else (following, k)
        other = abs((r[j] - r[near]) / (x[j] - x[near]))
        slopes.append(other)
        curvatures.append(abs(slope - other) / abs(x[j] - x[far]))
    if slope > _JUMP * max(slopes):
        return anywhere
    return float(np.mean(curvatures) * share * (1 - share) * width**2 / slope)


def root_of(p: Float[np.ndarray, "*shape"] | float) -> Float[np.ndarray, "*shape"]:
    """r = Φ⁻¹(1 - p/2), the number of standard deviations of a two-sided p."""
    root: np.ndarray = -scipy.special.ndtri(np.asarray(p) / 2)
    return root


def with_error(value: float, error: float) -> str:
    """A number and its error to two digits of the error; to four of its own without one."""
    if error <= 0:
        return f"{value:.4g}"
    digits = max(1 - math.floor(math.log10(error)), 0)
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def _told(end: End) -> str:
    """An end as a sentence names it."""
    if end.value is None:
        return f"{end.outside} the tested values"
    if end.at_bound or end.total_error is None:
        return f"{end.value:.4g}, the bound of the parameter,"
    return with_error(end.value, end.total_error)


def _unknown(sentence: str) -> End:
    return End(
        value=None,
        error=None,
        variance=[],
        low=None,
        high=None,
        undecided_low=None,
        undecided_high=None,
        interpolation=None,
        if_failed_low=None,
        if_failed_high=None,
        at_bound=False,
        outside="failed",
        crossings=0,
        sentence=sentence,
    )
