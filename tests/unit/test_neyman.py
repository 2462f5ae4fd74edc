"""Intervals of the Neyman construction, against published and enumerated ones, repetition, and closed forms."""

import counting_experiments as exact
import numpy as np
import pytest
import scipy.special
import scipy.stats

from toymill.config.sections import IntervalConfig
from toymill.errors import ToymillError
from toymill.inference.acceptance import acceptance, decide
from toymill.inference.berger_boos import berger_boos
from toymill.inference.interval_coverage import coverage_of_halves, coverage_verdict, coverage_within
from toymill.inference.interval_verdicts import AsymptoticInterval, end_verdict
from toymill.inference.neyman import _Curve, neyman_intervals, root_of
from toymill.inference.neyman_records import End
from toymill.inference.p_values import counted
from toymill.inference.regions import neyman_regions
from toymill.study.interval_points import interval_points

PUBLISHED = [
    *((0, n, 0.9, *ends) for n, ends in enumerate([(0, 2.44), (0.11, 4.36), (0.53, 5.91), (1.10, 7.42), (1.47, 8.60)])),
    (0, 5, 0.9, 1.84, 9.99),
    (3, 6, 0.9, 0.15, 8.47),
    (0, 0, 0.95, 0, 3.09),
    (0, 6, 0.95, 2.21, 12.75),
]
"""b, n, level, ends: tables of Feldman and Cousins, physics/9711021, at 90 %, and of the PDG at 95 %."""


def exact_ends(p, grid, level):
    """The outermost ends of an exact region on a fine grid."""
    (inside,) = np.nonzero(p > 1 - level)
    return grid[inside[0]], grid[inside[-1]]


@pytest.mark.parametrize(("b", "n", "level", "low", "high"), PUBLISHED)
def test_enumeration_gives_the_published_intervals(b, n, level, low, high):
    grid = np.arange(0, 15, 0.001)
    found = exact_ends(exact.unified_p(grid, n, b), grid, level)
    assert found == pytest.approx((low, high), abs=0.0061)


def test_the_published_limit_of_no_event_is_adjusted():
    """b = 3, n = 0 at 90 %: table IV of physics/9711021 has 1.08. The construction itself gives 0.95.

    Their upper limits do not rise with less background: each is the largest of the construction's at that background or more.
    """
    grid, backgrounds = np.arange(0, 1.5, 0.001), np.arange(3.0, 4.01, 0.02)
    high = [exact_ends(exact.unified_p(grid, 0, b), grid, 0.9)[1] for b in backgrounds]
    assert (high[0], max(high)) == pytest.approx((0.953, 1.08), abs=0.006)
    rng, points = np.random.default_rng(17), np.array([0.0, 0.4, *np.arange(0.86, 1.06, 0.02)])
    toys = [exact.unified(mu, rng.poisson(mu + 3, 200_000), 3) for mu in points]
    t = exact.unified(points, 0, 3)
    end = neyman_intervals(points, toys, t, levels=[0.9], bounds=(0, np.inf), tolerance=1e-9).intervals["0.9"].high
    assert abs(end.value - 0.953) < 3 * np.hypot(end.error, end.interpolation) < 0.1


@pytest.mark.parametrize(("n", "low", "high"), [(17, 1.81, 15.02), (10, 0, 6.51), (7, 0, 3.06), (13, 0, 10.05)])
def test_intervals_of_nafi(n, low, high):
    """b = 10 at 90 %, from the synopsis of nafi (github.com/JelleAalbers/nafi, README): n = 17, and its expected band.

    The upper limits without a signal have the median of n = 10 and the 68 % band of n = 7 to 13. It interpolates p between
    values 0.01 apart. For n = 17 the p-value at 0 is 0.0270.
    """
    grid = np.arange(0, 17, 0.001)
    assert exact_ends(exact.unified_p(grid, n, 10), grid, 0.9) == pytest.approx((low, high), abs=0.0151)
    assert n != 17 or exact.unified_p(0.0, n, 10)[0] == pytest.approx(0.0270, abs=5e-5)
    assert list(scipy.stats.poisson.ppf(scipy.stats.norm.cdf([-1, 0, 1]), 10)) == [7, 10, 13]
    rng, near = np.random.default_rng(60 + n), np.arange(-0.18, 0.181, 0.04)
    points = np.unique(np.round(np.concatenate([[0.0], (low + near) if low else [], [high / 2], high + near]), 3))
    toys = [exact.unified(mu, rng.poisson(mu + 10, 100_000), 10) for mu in points]
    t = exact.unified(points, n, 10)
    found = neyman_intervals(points, toys, t, levels=[0.9], bounds=(0, np.inf), tolerance=1e-9).intervals["0.9"]
    for end, right in ((found.low, low), (found.high, high)):
        assert abs(end.value - right) < 3 * np.hypot(end.error or 0, end.interpolation or 0) + 0.0151


@pytest.mark.parametrize(("b", "n", "level", "low", "high"), PUBLISHED)
def test_toys_give_the_published_intervals(b, n, level, low, high):
    """Where p jumps, the end is between two tested values: the distance to the farther one is its interpolation error."""
    rng = np.random.default_rng(50 + n)
    near = np.arange(-0.18, 0.181, 0.04)
    points = np.unique(np.round(np.concatenate([[0.0], low + near, [(low + high) / 2], high + near]), 3))
    points = points[points >= 0]
    toys = [exact.unified(mu, rng.poisson(mu + b, 200_000), b) for mu in points]
    observed = exact.unified(points, n, b)
    found = neyman_intervals(points, toys, observed, levels=[level], bounds=(0, np.inf), tolerance=1e-9)
    interval = found.intervals[repr(level)]
    for end, right in ((interval.low, low), (interval.high, high)):
        if right == 0:
            assert (end.value, end.at_bound, end.error) == (0.0, True, None)
        else:
            assert (
                abs(end.value - right) < 3 * np.hypot(end.error, end.interpolation) + 0.0061
            )  # their rounding and steps
            assert end.error < 0.06
            assert end.undecided_low <= end.low <= end.value <= end.high <= end.undecided_high


@pytest.mark.parametrize(
    ("x", "level", "low", "high"), [(1.0, 0.6827, 0.24, 2.00), (1.0, 0.95, 0, 2.96), (-1.0, 0.9, 0, 0.81), (3.0, 0.95, 1.14, 4.96)]
)  # fmt: skip
def test_a_bounded_normal_measurement(x, level, low, high):
    """The first three are of table X of physics/9711021; and the exact p-value at each tested value."""
    rng = np.random.default_rng(7)
    points = np.array([0.0, *np.arange(0.05, 5.4, 0.15)])
    assert exact_ends(exact.unified_gauss_p(np.arange(0, 9, 1e-3), x), np.arange(0, 9, 1e-3), level) == pytest.approx(
        (low, high), abs=0.0061
    )
    toys = [exact.unified_gauss(mu, rng.normal(mu, 1, 50_000)) for mu in points]
    found = neyman_intervals(points, toys, exact.unified_gauss(points, x), levels=[level], bounds=(0, np.inf))
    for item, p in zip(found.points, exact.unified_gauss_p(points, x), strict=True):
        assert abs(item.test.p_value.value - p) < 4 * np.sqrt(p * (1 - p) / 50_000) + 1e-9
    interval = found.intervals[repr(level)]
    for end, right in ((interval.low, low), (interval.high, high)):
        assert abs(end.value - right) < 3 * np.hypot(end.error or 0, end.interpolation or 0) + 0.0061


def onoff_found(rng, points, toys, on=12, off=10, tau=2.0):
    """The intervals of an on/off measurement, toys thrown at the conditional estimate of b."""
    thrown = []
    for mu in points:
        b = exact.onoff_background(mu, on, off, tau)
        thrown.append(exact.unified_onoff(mu, rng.poisson(mu + b, toys), rng.poisson(tau * b, toys), tau))
    observed = np.array([exact.unified_onoff(mu, on, off, tau) for mu in points])
    return neyman_intervals(points, thrown, observed, bounds=(0, np.inf), tolerance=1e-9)


def interpolated(points, p, level, side):
    """Where exact p at tested values crosses 1 - level, the outermost on a side, interpolated as the toys' is."""
    r, target = root_of(p), float(root_of(1 - level))
    inside = np.flatnonzero(r < target)
    k, out = (inside[0], inside[0] - 1) if side == "low" else (inside[-1], inside[-1] + 1)
    return points[out] + (r[out] - target) / (r[out] - r[k]) * (points[k] - points[out])


def test_an_on_off_problem_is_the_enumerated_one():
    """n_on = 12, n_off = 10, τ = 2. The exact ends lie between the tested values next to those of the toys."""
    points = np.array([0.0, 0.5, 1.0, 1.5, 3.0, 3.5, 4.0, 8.0, 10.0, 10.5, 11.0, 11.5, 12.0, 15.0, 15.5, 16.0, 16.5])
    p = np.array([exact.unified_onoff_p(mu, 12, 10, 2.0) for mu in points])
    found = onoff_found(np.random.default_rng(3), points, 100_000)
    for item, right in zip(found.points, p, strict=True):
        assert abs(item.test.p_value.value - right) < 4 * np.sqrt(right * (1 - right) / 100_000) + 1e-9
    grid = np.arange(0.0, 17.0, 0.05)
    fine = np.array([exact.unified_onoff_p(mu, 12, 10, 2.0) for mu in grid])
    for level, interval in ((0.6827, found.intervals["0.6827"]), (0.95, found.intervals["0.95"])):
        low, high = exact_ends(fine, grid, level)
        for side, end, right in (("low", interval.low, low), ("high", interval.high, high)):
            assert abs(end.value - interpolated(points, p, level, side)) < 3 * end.error
            above = np.searchsorted(points, end.value)
            assert points[above - 1] - 0.05 <= right <= points[above] + 0.05


def gauss_found(rng, toys, x=1.4, levels=(0.6827, 0.95)):
    """The intervals of a bounded normal measurement, from few tested values."""
    points = np.array([0.0, 0.25, 0.5, 0.75, 1.0, 2.0, 2.4, 2.8, 3.2, 3.6, 4.0])
    thrown = [exact.unified_gauss(mu, rng.normal(mu, 1, toys)) for mu in points]
    return neyman_intervals(points, thrown, exact.unified_gauss(points, x), levels=levels, bounds=(0, np.inf))


def ends_of(found):
    """The ends that are crossings."""
    each = [end for item in found.intervals.values() for end in (item.low, item.high)]
    return [end for end in each if not end.at_bound]


def test_errors_match_the_spread():
    """200 repetitions of a normal measurement, whose spread is known to 5 %; so are intervals that hold the mean 68 % of the time, to 3.3 %."""
    rng = np.random.default_rng(11)
    repeated = [ends_of(gauss_found(rng, 3000)) for _ in range(200)]
    values = np.array([[end.value for end in ends] for ends in repeated])
    errors = np.array([[end.error for end in ends] for ends in repeated])
    assert values.shape == (200, 3)
    spread = np.std(values, axis=0, ddof=1)
    assert np.sqrt(np.mean(errors**2, axis=0)) == pytest.approx(spread, rel=0.15)
    grid = np.arange(0, 5, 1e-4)
    p = exact.unified_gauss_p(grid, 1.4)
    right = [*exact_ends(p, grid, 0.6827), exact_ends(p, grid, 0.95)[1]]
    bias = np.abs(np.mean(values, axis=0) - right)
    assert (bias < 4 * spread / np.sqrt(200) + 0.005).all(), bias
    low, high = (np.array([[getattr(end, name) for end in ends] for ends in repeated]) for name in ("low", "high"))
    held = np.mean((low <= right) & (right <= high), axis=0)
    assert (np.abs(held - 0.683) < 0.11).all(), held
    surely = [[end.undecided_low <= x <= end.undecided_high for end, x in zip(e, right, strict=True)] for e in repeated]
    assert np.mean(surely) > 0.99


@pytest.mark.long
def test_errors_match_the_spread_of_an_on_off_problem():
    """200 repetitions of n_on = 12, n_off = 10, τ = 2, about the crossings of the enumerated p, interpolated alike.

    Tested values are half an error apart, or so: the error is that of toys, and most of p's curvature is between them.
    """
    points = [*np.arange(0.0, 4.1, 0.4), 8.0, *np.arange(10.2, 12.3, 0.5), *np.arange(14.5, 17.1, 0.5)]
    rng, points = np.random.default_rng(16), np.array(points)
    found = np.array(
        [[(end.value, end.error) for end in ends_of(onoff_found(rng, points, 4000))] for _ in range(200)], dtype=float
    )
    values, errors = np.moveaxis(found, 2, 0)
    spread = np.std(values, axis=0, ddof=1)
    assert np.sqrt(np.mean(errors**2, axis=0)) == pytest.approx(spread, rel=0.15)
    p = np.array([exact.unified_onoff_p(mu, 12, 10, 2.0) for mu in points])
    right = [interpolated(points, p, level, side) for level in (0.6827, 0.95) for side in ("low", "high")]
    assert (np.abs(np.mean(values, axis=0) - right) < 4 * spread / np.sqrt(200) + 0.005).all()


def test_critical_values():
    """The quantiles of χ² away from the bound, smaller next to it: at it t is 0 with probability ½."""
    found = gauss_found(np.random.default_rng(5), 40_000)
    assert [item.poi for item in found.points] == [0.0, 0.25, 0.5, 0.75, 1.0, 2.0, 2.4, 2.8, 3.2, 3.6, 4.0]
    for level in (0.6827, 0.95):
        far = found.points[-1].test.critical[repr(level)]
        assert far.asymptotic == pytest.approx(scipy.stats.chi2.ppf(level, 1))
        assert far.low <= far.value <= far.high
        assert abs(far.value - far.asymptotic) < 4 * (far.high - far.low)
        at_bound = found.points[0].test.critical[repr(level)]
        right = scipy.stats.norm.ppf(level) ** 2
        assert abs(at_bound.value - right) < 4 * (at_bound.high - at_bound.low)
        for item in found.points:
            assert item.test.decision[repr(level)] == decide(item.test.p_value, level)
            if item.test.decision[repr(level)] != "undecided":
                accepted = item.test.t <= item.test.critical[repr(level)].value
                assert accepted == (item.test.decision[repr(level)] == "accepted")


def test_ties_within_the_tolerance_are_one_value():
    """A half of the toys have t = 1 up to rounding, of fits; t_obs is 1 too: p is 1 of them, and the critical value 1."""
    rng = np.random.default_rng(6)
    toys = np.repeat([0.0, 1.0], 500) + rng.uniform(-1e-8, 1e-8, 1000)
    found = acceptance(toys, 1.0, [0.6827], tolerance=4e-8)
    assert (found.p_value.value, found.decision["0.6827"]) == (0.5, "accepted")
    assert acceptance(toys, 1.0, [0.6827]).p_value.value < 0.4
    assert found.critical["0.6827"].value == pytest.approx(1.0, abs=1e-7)


def test_few_toys_leave_values_undecided():
    assert decide(counted(0, 10, 0), 0.95) == "undecided"
    assert decide(counted(0, 1000, 0), 0.95) == "rejected"
    assert decide(counted(0, 1000, 100), 0.95) == "undecided"  # failed toys might lie beyond
    assert decide(counted(100, 1000, 0), 0.95) == "accepted"
    assert decide(counted(100, 1000, 2000), 0.95) == "undecided"
    assert decide(None, 0.95) == "undecided"


def test_failed_toys_bound_the_ends():
    rng = np.random.default_rng(8)
    points = np.arange(-3.0, 3.1, 0.5)
    toys = [(rng.normal(size=5000)) ** 2 for _ in points]
    whole = neyman_intervals(points, toys, points**2, levels=[0.9]).intervals["0.9"]
    lost = [np.where(rng.random(5000) < 0.02, np.nan, row) for row in toys]
    found = neyman_intervals(points, lost, points**2, levels=[0.9])
    assert found.points[0].test.p_value.failed > 50
    for end, sure in zip(
        (found.intervals["0.9"].low, found.intervals["0.9"].high), (whole.low, whole.high), strict=True
    ):
        assert sure.if_failed_low == pytest.approx(sure.value) == sure.if_failed_high
        assert end.undecided_low < end.if_failed_low < sure.value < end.if_failed_high < end.undecided_high


def test_ends_outside_of_the_tested_values_are_said():
    rng = np.random.default_rng(9)

    def found(points, bounds=(-np.inf, np.inf)):
        points = np.array(points)
        toys = [rng.normal(size=4000) ** 2 for _ in points]
        return neyman_intervals(points, toys, points**2, levels=[0.95], bounds=bounds).intervals["0.95"]

    short = found([-1.0, 0.0, 1.0, 2.5, 3.0])
    assert (short.low.value, short.low.outside, short.low.low) == (None, "below", None)
    assert short.low.sentence == (
        "The lower end at 95 % lies below -1, the smallest value tested. Test smaller values."
    )
    assert short.sentence.startswith("The 95 % interval is from below the tested values to 1.9")
    assert short.sentence.endswith("Test smaller values.")
    bounded = found([-1.0, 0.0, 1.0, 1.5], bounds=(-1.0, 1.5))
    assert (
        bounded.sentence
        == "The 95 % interval is from -1, the bound of the parameter, to 1.5, the bound of the parameter."
    )
    assert bounded.low.at_bound
    assert (bounded.high.low, bounded.high.high, bounded.high.error) == (1.5, 1.5, None)
    far = found([3.0, 4.0])
    assert (far.low.outside, far.regions) == ("failed", [])
    assert far.sentence == (
        "The 95 % interval is not known: no tested value is accepted; test others, nearer to the best fit."
    )


def test_separate_regions_are_said():
    """t of the data has two valleys; a value where fits to the data failed is left out."""
    rng = np.random.default_rng(10)
    points = np.arange(-3.0, 3.1, 0.25)
    observed = 8 * np.minimum(np.abs(points + 1.5), np.abs(points - 1.5)) ** 2
    observed[3] = np.nan
    toys = [rng.normal(size=4000) ** 2 for _ in points]
    found = neyman_intervals(points, toys, observed, levels=[0.95]).intervals["0.95"]
    assert len(found.regions) == 2
    assert (found.low.value, found.high.value) == (found.regions[0].low, found.regions[1].high)
    assert found.regions[0].high == pytest.approx(-1.5 + 1.96 / np.sqrt(8), abs=0.03)
    assert "; values between -0.8" in found.sentence
    assert found.sentence.endswith("are rejected.")


def test_a_narrow_valley_of_few_toys_is_undecided():
    rng = np.random.default_rng(12)
    points = np.arange(-3.0, 3.1, 0.5)
    observed = np.where(np.abs(points) < 1.2, points**2, np.where(points == 2.5, 3.8, 40.0))
    toys = [rng.normal(size=400) ** 2 for _ in points]
    found = neyman_intervals(points, toys, observed, levels=[0.95]).intervals["0.95"]
    assert found.undecided == [2.5]
    assert "; apart from it, 2.5 would need more toys to decide. " in found.sentence
    assert len(found.regions) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": np.array([1.0, 0.0])}, "expected finite numbers that ascend"),
        ({"observed": np.zeros(3)}, r"toys are of 2 points, observed of the shape \(3,\); expected those of 2"),
        ({"toys": [np.zeros(3)]}, "toys are of 1 points"),
        ({"levels": [0.9, 1.0]}, "A level is 1.0; expected numbers between 0 and 1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, message):
    arguments = {"points": np.array([0.0, 1.0]), "toys": [np.zeros(3)] * 2, "observed": np.zeros(2)}
    with pytest.raises(ToymillError, match=message):
        neyman_intervals(**(arguments | change))


def test_nothing_certified_has_no_interval():
    found = neyman_intervals(np.array([0.0, 1.0]), [np.full(5, np.nan)] * 2, np.zeros(2), levels=[0.9])
    assert found.points[0].test.critical["0.9"].value is None
    assert found.intervals["0.9"].sentence == (
        "The 90 % interval is not known: fewer than two tested values are known."
    )


def onoff_two(s, b, on, off):
    """t of both parameters of an on/off problem with τ = 2: of each count by itself."""
    return sum(2 * (m - n + scipy.special.xlogy(n, n / m)) for n, m in ((on, s + b), (off, 2 * b)))


def test_a_region_of_two_parameters_is_the_enumerated_one():
    """n_on = 9, n_off = 8: p at each point is exact, and decided points are decided rightly."""
    rng = np.random.default_rng(13)
    points = np.array([[s, b] for s in (1.0, 5.0, 9.0, 14.0) for b in (2.0, 4.0, 6.5, 8.0)])
    n_on, n_off = np.meshgrid(np.arange(80), np.arange(80), indexing="ij")
    toys, right = [], []
    for s, b in points:
        toys.append(onoff_two(s, b, rng.poisson(s + b, 20_000), rng.poisson(2 * b, 20_000)))
        f = scipy.stats.poisson.pmf(n_on, s + b) * scipy.stats.poisson.pmf(n_off, 2 * b)
        right.append(f[onoff_two(s, b, n_on, n_off) >= onoff_two(s, b, 9, 8) - 1e-9].sum())
    observed = np.array([onoff_two(s, b, 9, 8) for s, b in points])
    found = neyman_regions(points, toys, observed, tolerance=1e-9)
    for item, p in zip(found.points, right, strict=True):
        assert abs(item.test.p_value.value - p) < 4 * np.sqrt(p * (1 - p) / 20_000) + 1e-9
        assert item.test.critical["0.95"].asymptotic == pytest.approx(5.9915, abs=1e-4)
        assert abs(item.test.critical["0.95"].value - 5.9915) < 1.0
    for level, region in ((0.6827, found.regions["0.6827"]), (0.95, found.regions["0.95"])):
        inside = {k for k, p in enumerate(right) if p > 1 - level}
        assert set(region.accepted) <= inside <= {*region.accepted, *region.undecided}
        assert region.accepted
        assert f"has {len(region.accepted)} of 16 tested points" in region.sentence


def test_points_that_do_not_fit_are_refused():
    with pytest.raises(ToymillError, match=r"points have the shape \(2,\); expected finite numbers, a row for each"):
        neyman_regions(np.zeros(2), [np.zeros(3)] * 2, np.zeros(2))
    with pytest.raises(ToymillError, match="toys are of 1 points"):
        neyman_regions(np.zeros((2, 2)), [np.zeros(3)], np.zeros(2))


def test_berger_and_boos_cover_for_every_background():
    """n_on = s + b, n_off = τb with τ = 1, few counts, by enumeration: P(p ≤ α) ≤ α where the profiled p exceeds α."""
    s, tau, beta, alpha, most = 3.0, 1.0, 0.01, 0.1, 40
    n_on, n_off = (item.ravel() for item in np.meshgrid(np.arange(most), np.arange(most), indexing="ij"))
    t = exact.unified_onoff(s, n_on, n_off, tau)

    def tails(b):
        """P(t ≥ t of each outcome) at b, and the outcomes' probabilities."""
        f = scipy.stats.poisson.pmf(n_on, s + b) * scipy.stats.poisson.pmf(n_off, tau * b)
        order = np.argsort(-t, kind="stable")
        last = np.searchsorted(-t[order], -t + 1e-9, side="right") - 1
        return np.cumsum(f[order])[last], f

    size = 10**7
    grid = np.geomspace(0.02, 25.0, 60)
    every = np.array([tails(b)[0] for b in grid])
    low = np.where(n_off > 0, scipy.stats.gamma.ppf(beta / 2, np.maximum(n_off, 1)), 0.0) / tau
    high = scipy.stats.gamma.isf(beta / 2, n_off + 1) / tau
    p = np.array(
        [
            berger_boos(
                [counted(round(size * value), size, 0) for value in every[(grid >= low[k]) & (grid <= high[k]), k]],
                beta,
            ).value
            if n_off[k] < 12 and n_on[k] < 25
            else 1.0
            for k in range(len(n_on))
        ]
    )
    worst = max(tails(b)[1][p <= alpha].sum() for b in (0.1, 0.3, 1.0, 2.0, 3.0, 5.0))
    assert worst <= alpha


def test_asymptotic_critical_values_and_coverage_near_a_bound():
    """A normal measurement of a μ ≥ 0: eq. 44 is exact, and its interval covers; that of χ² covers too often."""
    rng, points = np.random.default_rng(11), np.array([0.0, 0.5, 1.0, 1.5, 2.5])
    toys = [exact.unified_gauss(mu, rng.normal(mu, 1, 40_000)) for mu in points]
    t = exact.unified_gauss(points, 0.4)
    found = neyman_intervals(points, toys, t, levels=[0.68, 0.95], bounds=(0.0, np.inf), distances=points.tolist())
    for item in found.points:
        for level, critical in item.test.critical.items():
            assert critical.asymptotic < critical.high + 2 * (critical.high - critical.low)
            assert critical.asymptotic > critical.low - 2 * (critical.high - critical.low)
            error = np.sqrt(float(level) * (1 - float(level)) / 40_000)
            assert abs(item.asymptotic_coverage[level].coverage - float(level)) < 4 * error
            assert abs(item.coverage[level].coverage - float(level)) < 4 * 2 * error
    plain = neyman_intervals(points, toys, t, levels=[0.68, 0.95], bounds=(0.0, np.inf))
    assert plain.points[0].asymptotic_coverage["0.95"].coverage > 0.97


def test_too_small_a_coverage_is_told_beyond_its_error():
    """A third of the toys lie inside, where 95 % should; and toys of χ² do."""
    rng = np.random.default_rng(12)
    n = rng.poisson(0.4, 4000)
    t = 2 * (0.4 - n + scipy.special.xlogy(n, n / 0.4))
    t = np.where(n == 0, 10.0, t)
    right, wrong = coverage_within(rng.chisquare(1, 4000), {0.95: 3.8415}), coverage_within(t, {0.95: 3.8415})
    found = coverage_verdict(
        [(1.0, right["0.95"]), (0.4, wrong["0.95"])], [4000, 4000], what="The asymptotic interval at 95 %"
    )
    assert (found.below, found.least_at) == ([0.4], 0.4)
    assert found.sentence.startswith(
        "The asymptotic interval at 95 % covers too rarely at 1 of 2 tested values; least at"
    )
    assert coverage_verdict([(1.0, right["0.95"])], [4000], what="It").below == []
    halves = coverage_of_halves(np.where(np.arange(4000) % 2, t, np.nan), [0.95])
    assert halves == {}  # the first half has no certified toy


def test_a_few_points_of_the_likelihoods_set_cover_for_every_background():
    """As a study has them: four even places of the set where 2 Δ nll ≤ χ², and the fit. The profiled p alone does not."""
    s, tau, beta, alpha, most = 1.0, 0.5, 0.002, 0.05, 40
    n_on, n_off = (item.ravel() for item in np.meshgrid(np.arange(most), np.arange(most), indexing="ij"))
    t = exact.unified_onoff(s, n_on, n_off, tau)

    def nll(b, on, off):
        return s + b - scipy.special.xlogy(on, s + b) + tau * b - scipy.special.xlogy(off, tau * b)

    def probability(b):
        return scipy.stats.poisson.pmf(n_on, s + b) * scipy.stats.poisson.pmf(n_off, tau * b)

    def largest(k):
        on, off = n_on[k], n_off[k]
        best = exact.onoff_background(s, on, off, tau)
        rises = lambda b: 2 * (nll(b, on, off) - nll(best, on, off)) - scipy.stats.chi2.isf(beta, 1)  # noqa: E731
        low = scipy.optimize.brentq(rises, 1e-9, best) if best > 1e-9 and rises(1e-9) > 0 else 0.0
        high = scipy.optimize.brentq(rises, best, best + 100.0)
        beyond = t >= t[k] - 1e-9
        return [probability(b)[beyond].sum() for b in (best, *np.linspace(low, high, 4))]

    counted_on = np.flatnonzero((n_on < 25) & (n_off < 12))
    every = np.array([largest(k) for k in counted_on])

    def worst(p):
        return max(probability(b)[counted_on[p <= alpha]].sum() for b in (0.1, 0.3, 1.0, 2.0, 3.0, 5.0))

    assert worst(every.max(axis=1) + beta) <= alpha < worst(every[:, 0])


def test_an_interval_over_a_set_takes_the_largest_p_of_each_tested_value():
    """n_on = 4, n_off = 10, τ = 2 at three backgrounds: the end is where the largest enumerated p, plus β, crosses."""
    rng, beta = np.random.default_rng(8), 0.005
    points, backgrounds = np.linspace(2.0, 8.0, 13), (5.0, 3.0, 8.0)
    thrown = [
        [exact.unified_onoff(mu, rng.poisson(mu + b, 4000), rng.poisson(2 * b, 4000), 2.0) for b in backgrounds]
        for mu in points
    ]
    on, off = np.meshgrid(np.arange(60), np.arange(60), indexing="ij")

    def largest(mu):
        beyond = exact.unified_onoff(mu, on, off, 2.0) >= exact.unified_onoff(mu, 4, 10, 2.0) - 1e-9
        every = [scipy.stats.poisson.pmf(on, mu + b) * scipy.stats.poisson.pmf(off, 2 * b) for b in backgrounds]
        return max(item[beyond].sum() for item in every) + beta

    t = exact.unified_onoff(points, 4, 10, 2.0)
    profiled, further = [item[0] for item in thrown], [item[1:] for item in thrown]
    found = neyman_intervals(points, profiled, t, levels=[0.9], tolerance=1e-9, over_set=further, beta=beta)
    right = np.array([largest(mu) for mu in points])
    for item, p in zip(found.points, right, strict=True):
        assert item.largest.surely_low <= p <= item.largest.surely_high
        assert item.deciding.value + beta == item.largest.value
        assert len(item.over_set) == 2
    r = root_of(right)
    k = int(np.flatnonzero(r < root_of(0.1))[-1])
    crossing = points[k] + (r[k] - root_of(0.1)) / (r[k] - r[k + 1]) * (points[k + 1] - points[k])
    end = found.intervals["0.9"].high
    assert abs(end.value - crossing) < 4 * end.error
    alone = neyman_intervals(points, profiled, t, levels=[0.9], tolerance=1e-9).intervals["0.9"].high
    assert alone.value < end.value


def test_the_interval_of_the_largest_p_value_holds_it():
    """Of eight equal p-values the largest estimate lies high: its interval holds p in 68.27 % of all cases at least."""
    rng, p, runs = np.random.default_rng(9), 0.05, 400
    found = [berger_boos([counted(int(n), 2000, 0) for n in rng.binomial(2000, p, 8)], 0.0) for _ in range(runs)]
    assert np.mean([item.low <= p <= item.high for item in found]) >= 0.6827
    assert np.mean([item.value > p for item in found]) > 0.95
    assert np.mean([item.surely_low <= p <= item.surely_high for item in found]) > 0.99


def test_failed_toys_at_any_point_of_a_set_count():
    """At the fit 60 of 1,000 toys lie beyond; at another point 54 of 980, and 20 failed: if beyond, p is 74 of 1,000."""
    fit = np.repeat([0.0, 2.0], [940, 60])
    other = np.concatenate([np.repeat([0.0, 2.0], [926, 54]), np.full(20, np.nan)])
    observed = np.ones(2)
    found = neyman_intervals([0.0, 1.0], [fit, fit], observed, levels=[0.9], over_set=[[other]] * 2, beta=0.001)
    curve = _Curve.of(found.points, 0.9, (-np.inf, np.inf))
    np.testing.assert_allclose(curve.failed[:, 0], [0.061, 0.075], rtol=1e-12)
    assert all(not item.coverage for item in found.points)


def test_the_largest_p_value_keeps_its_interval():
    values = [counted(40, 1000, 0), counted(60, 1000, 10), counted(0, 0, 5)]
    found = berger_boos(values[:2], 0.001)
    assert (found.value, found.high) == (0.061, values[1].high + 0.001)
    assert found.low < values[1].low + 0.001
    assert found.surely_low < found.low < found.high < found.surely_high
    assert found.decision(0.95) == "undecided"
    assert berger_boos(values, 0.001).value == 1.0
    with pytest.raises(ToymillError, match=r"There are 0 p-values and beta is 0.1"):
        berger_boos([], 0.1)
    with pytest.raises(ToymillError, match=r"beta is 1\.0"):
        berger_boos(values, 1.0)


BOUND = {"error": None, "at_bound": True, "undecided_low": 3.0, "undecided_high": 3.0}


@pytest.mark.parametrize(
    ("asymptotic", "end", "usable", "words"),
    [
        (2.98, {}, True, "usable here, to within 3 % of its distance from the best fit."),
        (2.6, {}, False, "the formula puts it 20.00 ± 0.80 % nearer to the best fit. Use that of the toys."),
        (3.5, {}, False, "25.0 ± 1.2 % farther from the best fit"),
        (2.91, {}, None, "whether by more than 5 %, 14,000 more toys would tell."),
        (2.9, {}, None, "whether by more than 5 %, 100 times the toys would not tell."),
        (2.9, {"interpolation": 0.03}, None, "by more than 5 %, more tested values would tell more than more toys."),
        (2.9, {"interpolation": None}, None, "of the interpolation between them: not decided."),
        (None, {}, None, "The upper end is not decided: the asymptotic end was not found"),
        (3.0, {"value": None, "error": None, "sentence": "It lies above 2."}, None, "is not decided: it lies above 2."),
        (3.0, BOUND, True, "by toys, the bound: usable here."),
        (3.0, BOUND | {"undecided_low": 2.7}, None, "by toys, the bound, of which the toys are too few to be sure."),
        (2.0, BOUND | {"undecided_low": 2.7}, False, "50.0 ± 2.5 % nearer to the best fit"),
        (2.0, BOUND, False, "50 % nearer to the best fit"),
        (1.2, {"value": 1.0}, None, "which is the best fit: not decided."),
    ],
)
def test_verdicts(asymptotic, end, usable, words):
    sure = End(
        value=3.0, error=0.02, variance=[], low=2.98, high=3.02, undecided_low=2.9, undecided_high=3.1, interpolation=0.0,
        if_failed_low=3.0, if_failed_high=3.0, at_bound=False, outside=None, crossings=1, sentence="",
    )  # fmt: skip
    found = end_verdict(asymptotic, sure.model_copy(update=end), 1.0, count=1000, what="The upper end")
    assert (found.usable, found.asymptotic) == (usable, asymptotic)
    assert words in found.sentence
    assert (found.more_toys is not None) == ("more toys would tell" in found.sentence)


def test_tested_values_are_dense_about_asymptotic_ends():
    one = AsymptoticInterval(level=0.68, best=1.0, low=0.0, high=2.0, low_at_bound=True, high_at_bound=False)
    two = AsymptoticInterval(level=0.95, best=1.0, low=0.0, high=3.0, low_at_bound=True, high_at_bound=False)
    points = np.array(interval_points(IntervalConfig(), {"0.68": one, "0.95": two}, (0.0, 10.0), lambda _: True))
    assert (len(points), points[0], points[-1]) == (20, 0.0, 5.0)
    assert (np.diff(points) > 0).all()
    for end in (2.0, 3.0):
        assert np.sum(np.abs(points - end) <= 0.25 * (end - 1)) >= 3
    near = interval_points(IntervalConfig(), {"0.68": one, "0.95": two}, (0.0, 10.0), lambda value: value < 4.0)
    assert near[-1] == pytest.approx(1 + 1.3 * 2)
    at_bound = one.model_copy(update={"best": 0.0, "high": 1.0})
    assert interval_points(IntervalConfig(points=6), {"0.68": at_bound}, (0.0, 10.0), lambda _: True)[0] == 0.0
    with pytest.raises(ToymillError, match=r"interval: the asymptotic interval at 68 % has an end that was not found"):
        interval_points(IntervalConfig(), {"0.68": one.model_copy(update={"high": None})}, (0.0, 10.0), lambda _: True)


def test_a_jump_between_tested_values_is_in_the_error():
    """n = 3 without background: p falls from 0.4 at 1.2 to 0.08 at 1.0. The end is 1.10, somewhere between."""
    rng = np.random.default_rng(14)
    points = np.array([1.0, 1.2, 1.4, 3.0, 7.0, 7.2, 7.4, 7.6])
    toys = [exact.unified(mu, rng.poisson(mu, 20_000), 0) for mu in points]
    found = neyman_intervals(points, toys, exact.unified(points, 3, 0), levels=[0.9], tolerance=1e-9).intervals["0.9"]
    assert 0.1 <= found.low.interpolation <= 0.2  # the distance to the farther of the two
    assert found.low.error < 0.02
    assert abs(found.low.value - 1.10) < found.low.interpolation
    assert " Test more values about the ends: most of the error is that of interpolation." in found.sentence


@pytest.mark.parametrize("points", [6, 20])
def test_small_jumps_of_few_counts_are_in_the_error(points):
    """b = 0.5 and n = 3: exactly 0.803 to 4.801 at 68.27 %. p jumps more than once between tested values, and by little."""
    rng = np.random.default_rng(15)
    x = np.linspace(0.0, 7.0, points)
    toys = [exact.unified(mu, rng.poisson(mu + 0.5, 20_000), 0.5) for mu in x]
    found = neyman_intervals(x, toys, exact.unified(x, 3, 0.5), levels=[0.6827], bounds=(0, np.inf), tolerance=1e-9)
    interval = found.intervals["0.6827"]
    assert min(item.test.ties for item in found.points) > 0.01
    for end, right in ((interval.low, 0.803), (interval.high, 4.801)):
        assert abs(end.value - right) < 3 * end.error + end.interpolation
        assert end.interpolation >= (x[1] - x[0]) / 2


@pytest.mark.parametrize(
    ("best", "sigma", "bounds"),
    [
        (125000.2, 0.3, (0, 1e6)),
        (91187.6, 2.1, (0, 1e6)),
        (9.99999, 1.0, (0, 10)),
        (1e-9, 1.0, (0, 10)),
        (0.0, 1e-7, (0, 1)),
    ],
)
@pytest.mark.parametrize("points", [6, 20, 99])
def test_tested_values_keep_apart(best, sigma, bounds, points):
    """Of a parameter that is large beside its error, or whose best fit is near a bound or at one."""
    every = {}
    for level, reach in ((0.6827, 1.0), (0.95, 1.96)):
        low, high = max(best - reach * sigma, bounds[0]), min(best + reach * sigma, bounds[1])
        every[repr(level)] = AsymptoticInterval(
            level=level, best=best, low=low, high=high, low_at_bound=low == bounds[0], high_at_bound=high == bounds[1]
        )
    values = np.array(interval_points(IntervalConfig(points=points), every, bounds, lambda _: True))
    assert len(values) == points
    assert (np.diff(values) > 0).all()
    assert bounds[0] <= values[0]
    assert values[-1] <= bounds[1]
    assert np.diff(values).max() < 3.5 * sigma


def test_a_best_fit_at_the_bound_leaves_no_hole():
    """Of a count of 0 the exact end may lie at half of the asymptotic one: the values between reach from the bound on."""
    one = AsymptoticInterval(level=0.6827, best=0.0, low=0.0, high=0.5, low_at_bound=True, high_at_bound=False)
    values = np.array(interval_points(IntervalConfig(points=12), {"0.6827": one}, (0.0, 10.0), lambda _: True))
    assert np.diff(values[values <= 0.5]).max() < 0.12
