"""p-values and CLs of toys, against enumeration and closed forms."""

import counting_experiments as exact
import numpy as np
import pytest
import scipy.stats

from toymill.inference.p_values import cls, counted, tail, tie_tolerance


def test_ties_count_as_beyond():
    q = np.array([1.0, 2.0 - 3e-9, 2.0, 2.0 + 3e-9, 3.0])
    assert tail(q, 2.0).beyond == 3
    assert tail(q, 2.0, tie_tolerance()).beyond == 4
    assert tie_tolerance(np.array([-1e6, 10.0])) == pytest.approx(4e-8 + 4e-6)


def test_failed_toys_are_counted_at_their_best_and_worst():
    found = tail(np.array([0.0, 1.0, 4.0, 5.0, np.nan]), 4.0)
    assert (found.toys, found.beyond, found.failed, found.value) == (4, 2, 1, 0.5)
    assert (found.if_failed_below, found.if_failed_beyond) == (0.4, 0.6)
    assert found.significance == pytest.approx(0.0, abs=1e-12)
    assert found.significance_low < 0 < found.significance_high


def test_an_empty_tail_is_a_bound():
    found = counted(0, 1000, 0)
    assert (found.value, found.low, found.bound, found.significance, found.significance_high) == (
        0,
        0,
        True,
        None,
        None,
    )
    assert found.high == pytest.approx(1.84 / 1000, rel=2e-3)  # -ln 0.1587
    assert found.significance_low == pytest.approx(scipy.stats.norm.isf(found.high))


@pytest.mark.parametrize("toys", [np.zeros(0), np.full(3, np.nan)])
def test_without_certified_toys_there_is_no_value(toys):
    found = tail(toys, 1.0)
    assert (found.value, found.low, found.high) == (None, 0.0, 1.0)
    assert cls(toys, np.ones(3), 1.0).value is None
    assert cls(np.ones(3), toys, 1.0).value is None


def test_cls_of_a_count():
    """Background 5.5 known, s = 5, n = 6: CLs = 0.148145, CL_{s+b} = 0.101633."""
    rng = np.random.default_rng(11)
    signal, background = (exact.known_background(5.0, rng.poisson(mean, 400_000), 5.5) for mean in (10.5, 5.5))
    found = cls(signal, background, float(exact.known_background(5.0, 6, 5.5)), tie_tolerance())
    assert found.clsb.value == pytest.approx(0.101633, abs=3 * np.sqrt(0.101633 * 0.898 / 400_000))
    assert found.value == pytest.approx(0.148145, abs=3 * found.error)
    assert found.error < 0.001
    assert found.low == pytest.approx(found.value - found.error, abs=0.03 * found.error)
    assert found.high == pytest.approx(found.value + found.error, abs=0.03 * found.error)


def test_cls_of_an_on_off_problem():
    """Every (n_on, n_off) is enumerated: τ = 2, background 4, s = 6 tested, with (5, 9) observed."""
    rng = np.random.default_rng(12)
    on, off = np.meshgrid(np.arange(60), np.arange(60), indexing="ij")
    at_least = exact.onoff(6.0, on, off, 2.0) >= exact.onoff(6.0, 5, 9, 2.0) - 1e-9
    probability = scipy.stats.poisson.pmf
    expected, samples = [], []
    for signal in (6.0, 0.0):
        b = float(exact.onoff_background(signal, 5, 9, 2.0))
        expected.append(np.sum(at_least * probability(on, signal + b) * probability(off, 2 * b)))
        samples.append(exact.onoff(6.0, rng.poisson(signal + b, 200_000), rng.poisson(2 * b, 200_000), 2.0))
    found = cls(*samples, float(exact.onoff(6.0, 5, 9, 2.0)), 1e-9)
    assert found.value == pytest.approx(expected[0] / expected[1], abs=3 * found.error)
    assert found.error < 0.02 * found.value


def test_pulls_of_cls_are_standard_normal():
    """More than a hundred experiments of many means and counts; bounds of 3 sigma."""
    rng, pulls = np.random.default_rng(13), []
    for b in (2.0, 3.5, 5.5, 8.0, 12.0):
        for n in (2, 4, 6, 9):
            for mu in np.linspace(2.0, 8.0, 10):
                toys = [exact.known_background(mu, rng.poisson(mean, 20_000), b) for mean in (mu + b, b)]
                q = exact.known_background(mu, n, b)
                if q > 0 and scipy.stats.poisson.cdf(n, mu + b) > 0.005:  # 100 toys beyond; CLs is not 1
                    found = cls(*toys, float(q), 1e-9)
                    pulls.append((found.value - exact.exact_cls(mu, n, b)) / found.error)
    assert len(pulls) > 100
    assert abs(np.mean(pulls)) < 3 / np.sqrt(len(pulls))
    assert abs(np.std(pulls) - 1) < 3 / np.sqrt(2 * len(pulls))


@pytest.mark.parametrize(("p", "p_b"), [(0.1, 0.5), (0.02, 0.9), (0.5, 0.5)])
def test_the_interval_of_cls_covers_small_counts(p, p_b):
    """All outcomes of 8 and 8 toys; at least 68.27 % of them have an interval that holds the truth."""
    covered = 0.0
    toys = np.arange(8)
    for above in range(9):
        for below in range(9):
            found = cls((toys < above).astype(float), (toys < below).astype(float), 1.0)
            weight = scipy.stats.binom.pmf(above, 8, p) * scipy.stats.binom.pmf(below, 8, p_b)
            covered += weight * (found.low <= p / p_b <= (np.inf if found.high is None else found.high))
    assert covered >= 0.6827


def test_cls_is_never_zero_without_an_error():
    found = cls(np.zeros(100), np.ones(100), 1.0)
    assert (found.value, found.error, found.low, found.bound) == (0.0, None, 0.0, True)
    assert found.high == pytest.approx(0.018, abs=0.002)
    undefined = cls(np.ones(100), np.zeros(100), 1.0)
    assert (undefined.value, undefined.high) == (None, None)
    assert undefined.low > 1
    always = cls(np.ones(100), np.ones(100), 1.0)
    assert (always.value, always.error) == (1.0, None)
    assert always.low < 1 < always.high


def test_cls_with_failed_toys():
    found = cls(np.array([1.0, 0, 0, 0, np.nan]), np.array([1.0, 1, 0, 0, np.nan]), 1.0)
    assert found.value == 0.5
    assert found.if_failed_low == pytest.approx((1 / 5) / (3 / 5))
    assert found.if_failed_high == pytest.approx((2 / 5) / (2 / 5))
