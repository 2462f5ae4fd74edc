"""Upper limits of toys, against exact ones, a bootstrap, and repetition; the asymptotic ones against pyhf's."""

import counting_experiments as exact
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats

from toymill.config.sections import LimitConfig
from toymill.errors import ToymillError
from toymill.inference.asymptotic_limits import (
    AsymptoticLimit,
    asymptotic_cls,
    asymptotic_point,
    asymptotic_upper_limit,
)
from toymill.inference.crossing import z_of
from toymill.inference.limit_records import SIGMAS, Limit
from toymill.inference.limits import expected_for, limits_of, upper_limit
from toymill.inference.samples import LogRatios
from toymill.inference.verdicts import limit_verdict
from toymill.study.limit_points import limit_points

GAUSS = exact.POINTS_OF_GAUSS


def counting(rng, points, n, b, toys):
    """The limit for n observed events, from toys of a count with a known background b."""
    signal = [exact.known_background(mu, rng.poisson(mu + b, toys), b) for mu in points]
    background = exact.known_background(points[:, None], rng.poisson(b, toys), b)
    return upper_limit(points, signal, background, exact.known_background(points, n, b), tolerance=1e-9)


def interpolated(points, cls, level=0.95):
    """Where exact CLs at tested values cross, interpolated as the toys' are."""
    return float(np.interp(scipy.stats.norm.ppf(level), z_of(cls), points))


def test_the_band_of_cls_has_the_errors_that_it_says():
    """120 quantiles of CLs of a normal measurement, whose toys are weighted: the mean of the pulls, and their width."""
    rng, points, pulls = np.random.default_rng(37), np.array([1.0, 2.0]), []
    for _ in range(40):
        background, signal = rng.normal(size=800), [mu + rng.normal(size=800) for mu in points]
        ratios = LogRatios(
            [mu * x - mu**2 / 2 for mu, x in zip(points, signal, strict=True)],
            points[:, None] * background - points[:, None] ** 2 / 2,
        )
        q = [exact.gauss(mu, x) for mu, x in zip(points, signal, strict=True)]
        found = upper_limit(points, q, exact.gauss(points[:, None], background), None, log_ratios=ratios)
        assert found.why_unweighted is None
        for sigma in (-1, 0, 1):
            band = found.points[1].expected[str(sigma)]
            truth = scipy.stats.norm.cdf(sigma - 2) / scipy.stats.norm.cdf(sigma)
            pulls.append((band.value - truth) / ((band.high - band.low) / 2))
            assert (band.if_failed_low, band.if_failed_high) == (band.value, band.value)
    assert abs(np.mean(pulls)) < 3 / np.sqrt(40)  # three quantiles of the same toys
    assert abs(np.std(pulls) - 1) < 3 / np.sqrt(80)


def test_a_band_that_no_toy_reaches_is_not_known():
    """Without toys with signal as far out, without enough toys for an error, and with failed toys."""
    grid = scipy.stats.norm.ppf((np.arange(100) + 0.5) / 100)
    background = exact.gauss(np.array([[2.0], [6.0]]), grid)
    background[:, 0] = np.nan
    found = upper_limit(np.array([2.0, 6.0]), [exact.gauss(mu, mu + grid) for mu in (2.0, 6.0)], background, None)
    near, far = found.points
    assert near.expected["-2"].low is near.expected["2"].low is None
    assert near.expected["0"].low < near.expected["0"].value < near.expected["0"].high
    assert near.expected["0"].if_failed_low <= near.expected["0"].value <= near.expected["0"].if_failed_high
    assert near.expected["0"].if_failed_low < near.expected["0"].if_failed_high
    assert far.expected["-2"].value is far.expected["0"].value is None


@pytest.mark.parametrize(("n", "limit"), [(0, 2.99573), (6, 7.01350)])
def test_the_limit_of_a_count(n, limit):
    """Background 5.5 known; what interpolation between 0.75 apart does is below its own estimate's neighbourhood."""
    assert exact.exact_limit(n, 5.5) == pytest.approx(limit, abs=1e-5)
    points = limit + np.array([-1.8, -1.0, -0.3, 0.45, 1.2])
    found = counting(np.random.default_rng(31), points, n, 5.5, 400_000).observed
    assert found.value == pytest.approx(limit, abs=3 * found.error + 2 * found.interpolation)
    assert found.error < (0.1 if n == 0 else 0.02)
    assert found.low < found.value < found.high
    assert (found.if_failed_low, found.if_failed_high, found.outside) == (found.value, found.value, None)
    assert found.sentence.startswith(f"The observed limit is {found.value:.2f}"[:25])


def test_the_interpolation_error_is_about_right():
    """Toys without noise: quantiles of the normal distribution. Too coarse points are told by the estimate."""
    grid = scipy.stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    for points in (np.arange(0.6, 5.0, 1.0), np.arange(0.6, 5.0, 0.5)):
        found = upper_limit(
            points,
            [exact.gauss(mu, mu + grid) for mu in points],
            exact.gauss(points[:, None], grid),
            exact.gauss(points, 0.0),
        )
        off = abs(found.observed.value - exact.gauss_limit(0.0))
        assert off / 3 < found.observed.interpolation < 3 * off
        assert found.expected["0"].value == pytest.approx(found.observed.value, abs=1e-3)


def test_pulls_of_limits_are_standard_normal():
    """48 experiments: mean within 3/√48, width within 3/√96 of 1."""
    rng, pulls = np.random.default_rng(32), []
    for b in (3.0, 5.5, 8.0):
        for n in (2, 4, 6, 9):
            limit = exact.exact_limit(n, b)
            points = limit * np.array([0.5, 0.7, 0.85, 1.05, 1.25, 1.5])
            truth = interpolated(points, exact.exact_cls(points, n, b))
            for _ in range(4):
                found = counting(rng, points, n, b, 20_000).observed
                pulls.append((found.value - truth) / found.error)
    assert abs(np.mean(pulls)) < 3 / np.sqrt(48)
    assert abs(np.std(pulls) - 1) < 3 / np.sqrt(96)


def test_the_limit_of_an_on_off_problem():
    """(n_on, n_off, τ) = (10, 16, 2), enumerated: b̂̂ of each hypothesis is the truth of its toys."""
    rng, pmf = np.random.default_rng(33), scipy.stats.poisson.pmf
    on, off = np.meshgrid(np.arange(80), np.arange(80), indexing="ij")
    points = np.array([5.0, 7.0, 8.5, 10.0, 12.0])
    at_zero = float(exact.onoff_background(0.0, 10, 16, 2.0))
    signal, background, cls = [], [], []
    thrown = rng.poisson(at_zero, 100_000), rng.poisson(2 * at_zero, 100_000)
    for mu in points:
        at = float(exact.onoff_background(mu, 10, 16, 2.0))
        signal.append(exact.onoff(mu, rng.poisson(mu + at, 100_000), rng.poisson(2 * at, 100_000), 2.0))
        background.append(exact.onoff(mu, *thrown, 2.0))
        least = exact.onoff(mu, on, off, 2.0) >= exact.onoff(mu, 10, 16, 2.0) - 1e-9
        tails = [np.sum(least * pmf(on, s + b) * pmf(off, 2 * b)) for s, b in ((mu, at), (0.0, at_zero))]
        cls.append(tails[0] / tails[1])
    observed = exact.onoff(points, 10, 16, 2.0)
    found = upper_limit(points, signal, np.array(background), observed, tolerance=1e-9)
    assert found.observed.value == pytest.approx(interpolated(points, np.array(cls)), abs=3 * found.observed.error)
    for point, value in zip(found.points, cls, strict=True):
        assert point.observed.value == pytest.approx(value, abs=4 * point.observed.error)


def test_the_expected_band():
    """Quantiles of the exact limits of a normal measurement; the median of CL_{s+b} alone is 1.645."""
    signal, background = exact.gauss_toys(np.random.default_rng(34), 40_000, 40_000)
    found = upper_limit(GAUSS, signal, background, None)
    assert (found.observed, found.points[0].observed, list(found.expected)) == (None, None, [str(z) for z in SIGMAS])
    for z in SIGMAS:
        limit = found.expected[str(z)]
        assert limit.value == pytest.approx(exact.gauss_limit(z), abs=3 * limit.error + 2 * limit.interpolation)
        assert limit.error < 0.05
    alone = upper_limit(GAUSS, signal, background, None, method="CLsb").expected
    assert alone["0"].value == pytest.approx(scipy.stats.norm.isf(0.05), abs=3 * alone["0"].error)
    assert (alone["-2"].value, alone["-2"].outside) == (None, "below")
    assert alone["-2"].sentence == (
        "The expected limit at -2 σ lies below 0.5, the smallest value tested. Test smaller values."
    )


def test_limits_with_a_signal_injected():
    """Data at μ = 1: the same quantiles, one unit higher."""
    rng = np.random.default_rng(35)
    signal, background = exact.gauss_toys(rng, 40_000, 40_000)
    datasets = exact.gauss(GAUSS[:, None], 1 + rng.normal(size=20_000))
    found = expected_for(GAUSS, signal, background, datasets)
    for z in (-2, -1, 0, 1):
        assert found[str(z)].value == pytest.approx(exact.gauss_limit(1 + z), abs=3 * found[str(z)].error + 0.005)
    limits = limits_of(GAUSS, signal, background, datasets)
    for z in (-2, -1, 0, 1):  # at Φ(z), as pyhf has them; Combine's documentation has 0.025 and 0.16
        assert np.sort(limits)[int(np.ceil(scipy.stats.norm.cdf(z) * 20_000)) - 1] == found[str(z)].value


def repeated(count, seed, signal=1500, background=1500):
    """Limits of repeated sets of toys: value and error of the observed one (μ̂ = 0.3) and of the band, (count, 6)."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        thrown = exact.gauss_toys(rng, signal, background)
        limits = upper_limit(GAUSS, *thrown, exact.gauss(GAUSS, 0.3))
        found.append([(item.value, item.error) for item in (limits.observed, *limits.expected.values())])
    return np.moveaxis(np.array(found, dtype=float), 2, 0)


@pytest.mark.parametrize(
    ("count", "seed", "toys", "within"),
    [(60, 36, 1500, 0.5), pytest.param(200, 37, 8000, 0.15, marks=pytest.mark.long)],
)
def test_errors_match_the_spread(count, seed, toys, within):
    """Over repetitions; the spread itself is known to 1/√(2 count). The lowest of the band has few toys below it.

    With 1,500 toys a point the errors of the two lowest are too large by a quarter and by two thirds. With 8,000 there are
    nine toys with a signal beyond the lowest limit, so that its error itself varies by a third: it is right in the median.
    """
    values, errors = repeated(count, seed, toys, toys)
    ratio = np.sqrt(np.mean(errors**2, axis=0)) / np.std(values, axis=0, ddof=1)
    assert (np.abs(ratio - 1) < within)[[0, 2, 3, 4, 5]].all(), ratio
    assert 0.8 < ratio[1] < 2.0, ratio
    median = np.median(errors, axis=0) / np.std(values, axis=0, ddof=1)
    assert (np.abs(median - 1) < within).all(), median
    exactly = [exact.gauss_limit(x) for x in (0.3, *SIGMAS)]
    width = np.sqrt(np.mean(((values - exactly) / errors) ** 2, axis=0))
    assert (np.abs(width - 1) < within).all(), width
    off = (np.mean(values, axis=0) - exactly) / (np.std(values, axis=0) / np.sqrt(count))
    assert (np.abs(off) < 3.5).all(), off


@pytest.mark.parametrize(
    ("count", "toys", "within"), [(60, 3000, 0.4), pytest.param(300, 10_000, 0.2, marks=pytest.mark.long)]
)
def test_errors_match_a_bootstrap(count, toys, within):
    """All toys drawn anew with replacement within their ensembles; the spread is known to 1/√(2 count)."""
    rng = np.random.default_rng(38)
    signal, background = exact.gauss_toys(rng, toys, toys)
    observed = exact.gauss(GAUSS, 0.3)
    found = upper_limit(GAUSS, signal, background, observed)
    values = []
    for _ in range(count):
        drawn = [rng.choice(row, toys) for row in signal]
        again = upper_limit(GAUSS, drawn, background[:, rng.integers(0, toys, toys)], observed)
        values.append([item.value for item in (again.observed, *again.expected.values())])
    errors = np.array([item.error for item in (found.observed, *found.expected.values())])
    ratio = (errors / np.std(values, axis=0))[[0, 2, 3, 4, 5]]
    assert (np.abs(ratio - 1) < within).all(), ratio


def test_the_band_of_a_discrete_model_has_an_error():
    """Limits of background-only toys take few values: the band is one of them, and its error that of this value."""
    points = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14])
    found = counting(np.random.default_rng(39), points, 5, 5.5, 20_000)
    median = found.expected["0"]
    assert median.value == pytest.approx(found.observed.value)  # n = 5 is the median
    assert median.error == pytest.approx(found.observed.error, rel=0.05)
    assert median.value == pytest.approx(exact.exact_limit(5, 5.5), abs=3 * median.error + median.interpolation)
    assert found.expected["2"].error > 0


def test_limits_outside_of_the_tested_values():
    rng = np.random.default_rng(40)
    points = np.array([1.0, 1.5, 2.0, 2.5])
    low = counting(rng, points + 8, 3, 5.5, 2000).observed
    high = counting(rng, points, 3, 5.5, 2000).observed
    assert (low.value, low.error, low.outside) == (None, None, "below")
    assert "lies below 9, the smallest value tested" in low.sentence
    assert (high.value, high.low, high.outside) == (None, None, "above")
    assert "lies above 2.5, the largest value tested" in high.sentence


def test_points_where_no_toy_lies_beyond():
    """The limit between a point with many toys beyond and one with none has an error, and both ends."""
    q = np.concatenate([np.zeros(900), np.full(100, 9.0)])
    found = upper_limit(
        np.array([1.0, 2.0, 3.0]), [q, np.zeros(1000), np.zeros(1000)], np.full((3, 1000), 9.0), np.full(3, 9.0)
    )
    assert found.points[1].observed.bound
    assert 1 < found.observed.low < found.observed.value < found.observed.high < 2
    assert found.observed.error > 0
    assert found.expected["0"].error > 0


def test_data_that_few_background_toys_reach_have_no_limit_above():
    """CLs of two empty tails is not large: no toy says so."""
    signal, background = exact.gauss_toys(np.random.default_rng(41), 300, 300)
    limits = limits_of(GAUSS, signal, background, exact.gauss(GAUSS[:, None], np.array([-4.0, -3.0])))
    assert (limits < 2).all()
    found = upper_limit(GAUSS, signal, background, exact.gauss(GAUSS, -9.0)).observed
    assert (found.value, found.outside) == (None, "failed")
    assert "no background-only toy is as unlike a signal as the data" in found.sentence


def test_failed_toys_bound_the_limit():
    rng = np.random.default_rng(42)
    signal, background = exact.gauss_toys(rng, 20_000, 20_000)
    observed = exact.gauss(GAUSS, 0.0)
    whole = upper_limit(GAUSS, signal, background, observed)
    lost = [np.where(rng.random(len(row)) < 0.005, np.nan, row) for row in signal]
    some = np.where(rng.random(20_000) < 0.005, np.nan, background)
    found = upper_limit(GAUSS, lost, some, observed)
    assert found.points[0].background_failed > 50
    assert found.points[0].signal_failed > 50
    pairs = [(whole.observed, found.observed)] + [
        (whole.expected[key], found.expected[key]) for key in ("-1", "0", "1")
    ]
    for of_all, item in pairs:
        assert item.if_failed_low < of_all.value < item.if_failed_high
        assert item.if_failed_low < item.value < item.if_failed_high
        assert item.value == pytest.approx(of_all.value, abs=item.error)


def test_a_failed_fit_of_the_data_leaves_its_point_out():
    signal, background = exact.gauss_toys(np.random.default_rng(43), 5000, 5000)
    observed = exact.gauss(GAUSS, 0.0)
    whole = upper_limit(GAUSS, signal, background, observed).observed
    observed[0] = np.nan
    found = upper_limit(GAUSS, signal, background, observed)
    assert found.points[0].observed is None
    assert found.observed.value == whole.value
    observed[1:-1] = np.nan
    assert upper_limit(GAUSS, signal, background, observed).observed.outside == "failed"
    nothing = upper_limit(GAUSS, [np.full(5, np.nan)] * len(GAUSS), background, None)
    assert {item.outside for item in nothing.expected.values()} == {"failed"}
    assert np.isnan(limits_of(GAUSS, [np.full(5, np.nan)] * len(GAUSS), background, background)).all()


def test_close_points_that_the_noise_of_toys_crosses_more_than_once():
    """The mean of the first and the last crossing is not biased."""
    rng, found = np.random.default_rng(44), []
    points = np.linspace(1.0, 3.0, 21)
    for _ in range(25):
        signal, background = exact.gauss_toys(rng, 300, 3000, points)
        found.append(upper_limit(points, signal, background, exact.gauss(points, 0.0)).observed)
    values = np.array([item.value for item in found])
    assert max(item.crossings for item in found) > 1
    assert np.mean(values) == pytest.approx(exact.gauss_limit(0.0), abs=3.5 * np.std(values) / 5)


def test_too_few_toys_for_a_quantile_have_no_error():
    signal, background = exact.gauss_toys(np.random.default_rng(45), 1000, 100)
    found = upper_limit(GAUSS, signal, background, None).expected
    assert (found["2"].error, found["2"].low) == (None, None)
    assert "too few toys" in found["2"].sentence
    assert found["0"].error > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": np.array([2.0, 1.0])}, "expected finite numbers that ascend"),
        ({"points": np.array([1.0, 2.0, 3.0])}, "expected 3 points"),
        ({"level": 1.5}, "level is 1.5"),
        ({"observed": np.zeros(3)}, "observed has the shape"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, message):
    arguments = {
        "points": np.array([1.0, 2.0]),
        "signal": [np.zeros(4)] * 2,
        "background": np.zeros((2, 4)),
        "observed": np.zeros(2),
        "level": 0.95,
    } | change
    with pytest.raises(ToymillError, match=message):
        upper_limit(**arguments)
    with pytest.raises(ToymillError, match="datasets has the shape"):
        expected_for(np.ones(1), [np.zeros(4)], np.zeros((1, 4)), np.zeros((2, 4)))


def shapesys(signal, background, error, observed):
    """q̃_μ as a function of μ, for bins with a Poisson-constrained factor each: the factor is the root of a quadratic."""
    s, b, n = (np.asarray(x, dtype=float) for x in (signal, background, observed))
    tau = (b / np.asarray(error, dtype=float)) ** 2

    def nll(mu, n, m):
        linear = (b + tau) * mu * s - (n + m) * b
        square = (b + tau) * b
        gamma = (-linear + np.sqrt(linear**2 + 4 * square * m * mu * s)) / (2 * square)
        mean = mu * s + gamma * b
        return float(np.sum(mean - scipy.special.xlogy(n, mean) + gamma * tau - scipy.special.xlogy(m, gamma * tau)))

    def statistic(n, m):
        best = scipy.optimize.minimize_scalar(lambda mu: nll(mu, n, m), bounds=(0, 10), options={"xatol": 1e-9})
        return lambda mu: 2 * (nll(mu, n, m) - min(best.fun, nll(0.0, n, m))) if mu > best.x else 0.0

    at_zero = (n + tau) / (b + tau)  # γ of background alone
    observed_q = statistic(n, tau)
    return observed_q, statistic(at_zero * b, at_zero * tau)


def test_asymptotic_cls_is_pyhfs():
    """pyhf's tests/test_validation.py."""
    one, asimov = shapesys([10], [50], [7], [55])
    found = asymptotic_cls(one(1.0), asimov(1.0))
    assert found.cls == pytest.approx(0.454189, abs=6e-6)  # pyhf's own figures, of its numerical fits
    expected = [0.063720, 0.150969, 0.327966, 0.604614, 0.866265]
    assert list(found.expected.values()) == pytest.approx(expected, abs=6e-6)
    two, asimov = shapesys([12, 11], [50, 52], [3, 7], [51, 48])
    assert two(1.0) == pytest.approx(3.938244920, abs=1e-6)
    assert asymptotic_cls(two(1.0), asimov(1.0)).cls == pytest.approx(0.05251497, abs=1e-6)


def test_asymptotic_limits_are_where_cls_is():
    observed, asimov = shapesys([12, 11], [50, 52], [3, 7], [51, 48])
    for start in (None, 0.01, 9.0):
        found = asymptotic_upper_limit(observed, asimov, bounds=(0, 10), start=start)
        at = found.observed.value
        assert asymptotic_cls(observed(at), asimov(at)).cls == pytest.approx(0.05, abs=1e-8)
        for key, item in found.expected.items():
            assert asymptotic_cls(0, asimov(item.value)).expected[key] == pytest.approx(0.05, abs=1e-8)
    close = asymptotic_upper_limit(observed, asimov, bounds=(-5, at / 2))
    assert (close.observed.value, close.observed.outside) == (None, "above")
    assert "lies above" in close.observed.sentence
    far = asymptotic_upper_limit(observed, asimov, bounds=(3 * at, 10))
    assert (far.observed.value, far.observed.outside) == (None, "below")


@pytest.mark.parametrize("method", ["CLs", "CLsb"])
def test_asymptotic_limits_of_a_normal_measurement(method):
    """The closed form: μ̂ + Φ⁻¹(1 - αΦ(μ̂)), or α alone (CCGV section 4.2)."""
    found = asymptotic_upper_limit(
        lambda mu: max(mu - 0.4, 0.0) ** 2, lambda mu: mu**2, bounds=(0, np.inf), method=method, tilde=False
    )
    alone = scipy.stats.norm.isf(0.05)
    assert found.observed.value == pytest.approx(exact.gauss_limit(0.4) if method == "CLs" else 0.4 + alone)
    for z in (-1, 0, 1, 2):
        limit = exact.gauss_limit(z) if method == "CLs" else z + alone
        assert found.expected[str(z)].value == pytest.approx(limit)
    if method == "CLsb":
        assert found.expected["-2"].outside == "below"  # -2 + 1.645
    at = found.observed.value
    point = asymptotic_point(max(at - 0.4, 0.0) ** 2, at**2, method=method, tilde=False)
    assert point.observed == pytest.approx(0.05)
    for key, item in found.expected.items():
        if item.value is not None:
            one = asymptotic_point(np.nan, item.value**2, method=method)
            assert (one.observed, one.expected[key]) == (None, pytest.approx(0.05))


def test_a_deficit_that_excludes_every_value_has_no_limit_by_rounding():
    """μ̂ = -2.5 with σ = 1: CL_{s+b} of q_μ is below 0.05 for all μ > -0.86; q and fits have errors of 1e-9."""
    noise = np.random.default_rng(3)

    def q(mu):
        return max((mu + 2.5) ** 2 - 2.5**2, 0.0) + 1e-9 * noise.uniform()

    found = asymptotic_upper_limit(q, lambda mu: mu**2, bounds=(0, 10), method="CLsb")
    assert (found.observed.value, found.observed.outside) == (None, "below")
    settings = LimitConfig(method="CLsb", points=10)
    values = limit_points(settings, found, 10.0)
    assert values[0] == pytest.approx(0.6 * found.expected["-1"].value, rel=1e-5)
    close = found.model_copy(update={"observed": AsymptoticLimit(value=1e-4, outside=None, sentence="")})
    assert limit_points(settings, close, 10.0) == values


def test_tested_values_stay_within_the_bounds_and_reach_them_where_a_limit_lies_beyond():
    bound = 2.123456789
    found = asymptotic_upper_limit(None, lambda mu: mu**2, bounds=(0, bound))
    assert found.expected["2"].outside == "above"
    values = limit_points(LimitConfig(points=5), found, bound)
    assert values[-1] <= bound
    assert values[-1] == pytest.approx(bound, rel=1e-6)
    assert limit_points(LimitConfig(points=5), found, bound - 5e-7)[-1] <= bound - 5e-7


def test_asymptotic_limits_refuse_what_has_no_answer():
    with pytest.raises(ToymillError, match="expected some positive value"):
        asymptotic_upper_limit(None, lambda mu: mu**2, bounds=(-3, 0))
    with pytest.raises(ToymillError, match="its fit is not certified"):
        asymptotic_upper_limit(None, lambda _: np.nan, bounds=(0, 3))


def limit_of(value, error):
    fields = dict.fromkeys(Limit.model_fields) | {
        "value": value,
        "error": error,
        "interpolation": 0.0,
        "crossings": 1,
        "sentence": "It is so.",
    }
    return Limit(**fields)


@pytest.mark.parametrize("method", ["CLs", "CLsb"])
def test_the_coverage_of_limits(method):
    """μ̂ is normal with σ = 1. CL_{s+b} covers 95 %; CLs covers P(μ̂ ≥ c) with CLs(c) = 0.05 (closed form)."""
    rng = np.random.default_rng(12)
    points = np.array([0.5, 1.0, 2.0, 3.0])

    def q(estimate, mu):
        return np.where(estimate < mu, (mu - estimate) ** 2, 0.0)

    signal = [q(mu + rng.normal(size=20_000), mu) for mu in points]
    background = np.stack([q(rng.normal(size=20_000), mu) for mu in points])
    found = upper_limit(points, signal, background, None, method=method)
    for point in found.points:
        mu = point.poi
        excluded = mu - scipy.stats.norm.isf(0.05)
        if method == "CLs":
            excluded = scipy.optimize.brentq(
                lambda x, mu=mu: scipy.stats.norm.cdf(x - mu) - 0.05 * scipy.stats.norm.cdf(x), -20, mu
            )
        right = scipy.stats.norm.sf(excluded - mu)
        sigma = np.sqrt(right * (1 - right) / 20_000 + 0.05**2 * 0.95 / 0.05 / 20_000)
        assert point.coverage.coverage == pytest.approx(right, abs=4 * sigma)
        assert point.coverage.level == pytest.approx(0.95)


def test_a_verdict_knows_the_error_of_the_interpolation():
    """More toys do not make it smaller; where it is not known, nothing is decided."""
    unknown = limit_verdict(2.02, limit_of(2.0, 0.01).model_copy(update={"interpolation": None}), count=1000)
    assert (unknown.usable, unknown.more_toys) == (None, None)
    assert "too few tested values tell the error of the interpolation" in unknown.sentence
    toys, both = (
        limit_verdict(2.04, limit_of(2.0, 0.06).model_copy(update={"interpolation": item}), count=1000)
        for item in (0.0, 0.02)
    )
    # |d| is 2 %, so that 3 % are left for two errors of 3.06 % and 1.02 %: 0.0306²/f + 0.0102² = 0.015²
    assert toys.more_toys == pytest.approx(1000 * (0.0306**2 / 0.015**2 - 1), abs=2)
    assert both.more_toys == pytest.approx(1000 * (0.0306**2 / (0.015**2 - 0.0102**2) - 1), abs=2)
    wide = limit_verdict(2.04, limit_of(2.0, 0.02).model_copy(update={"interpolation": 0.06}), count=1000)
    assert "more tested values would tell more than more toys" in wide.sentence


@pytest.mark.parametrize(
    ("asymptotic", "error", "usable", "words"),
    [
        (2.02, 0.01, True, "usable here to within 2 %"),
        (2.4, 0.01, False, "it differs by 20.00 ± 0.60 %."),
        (
            2.04,
            0.1,
            None,
            "it differs by 2.0 ± 5.1 %; whether by more than 5 % is not decided, and 11,000 more toys would",
        ),
        (2.1, 0.1, None, "nor would 100 times the toys decide"),
        (None, 0.1, None, "outside of the parameter's bounds"),
        (2.0, None, None, "is not decided: it is so."),
    ],
)
def test_verdicts(asymptotic, error, usable, words):
    found = limit_verdict(asymptotic, limit_of(2.0, error), count=1000)
    assert found.usable is usable
    assert words in found.sentence
    assert found.sentence.endswith(".")


@pytest.mark.parametrize(("estimate", "options"), [(-0.5, {"tilde": True}), (0.5, {"tilde": False})])
def test_the_asymptotic_limit_by_the_ratio_of_the_tevatron(estimate, options):
    """Of a Gaussian measurement every statistic orders data alike: it is that of q̃ below 0, and of q above."""
    q = {True: lambda mu: mu**2 - 2 * mu * estimate, False: lambda mu: (mu - estimate) ** 2}[options["tilde"]]
    right = asymptotic_upper_limit(q, lambda mu: mu**2, bounds=(0, 10), **options)
    found = asymptotic_upper_limit(
        lambda mu: mu**2 - 2 * mu * estimate, lambda mu: mu**2, bounds=(0, 10), tilde=False, ratio=True
    )
    assert found.observed.value == pytest.approx(right.observed.value, rel=1e-9)
    assert found.expected == right.expected
