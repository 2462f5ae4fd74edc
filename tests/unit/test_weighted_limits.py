"""Limits from toys that count for both hypotheses: against exact ones, repetition, and plain toys; wrong densities."""

import counting_experiments as exact
import numpy as np
import pytest
import scipy.stats

from toymill.errors import ToymillError
from toymill.inference.crossing import Curves, z_of
from toymill.inference.limit_records import SIGMAS
from toymill.inference.limits import expected_for, limits_of, upper_limit
from toymill.inference.mixture import mixture_tail, weights
from toymill.inference.samples import LogRatios, shares

GAUSS = exact.POINTS_OF_GAUSS
OBSERVED = exact.gauss(GAUSS, 0.3)
EXACT = [exact.gauss_limit(x) for x in (0.3, *SIGMAS)]


def weighted(rng, signal, background, observed=OBSERVED):
    toys = exact.gauss_weighted(rng, signal, background)
    return upper_limit(GAUSS, toys[0], toys[1], observed, log_ratios=toys[2])


def of_all(found):
    return [found.observed, *found.expected.values()]


def test_shares_are_the_weights_of_the_mixture():
    x = np.random.default_rng(50).normal(size=900) + np.repeat([1.5, 0.0], [300, 600])
    share = shares(1.5 * x - 1.125, 300)
    densities = scipy.stats.norm.logpdf(x, [[1.5], [0.0]])
    np.testing.assert_allclose(3 * share, weights(densities, [300, 600], densities[0]))
    np.testing.assert_allclose(1.5 * (1 - share), weights(densities, [300, 600], densities[1]))


def test_a_tested_value_is_told_as_the_mixture_tells_it():
    signal, background, log_ratios = exact.gauss_weighted(np.random.default_rng(51), 3000, 2000)
    point = upper_limit(GAUSS, signal, background, OBSERVED, log_ratios=log_ratios).points[6]
    share = log_ratios.shares(6)
    statistic = np.concatenate([signal[6], background[6]])
    tail = mixture_tail(statistic, share * 5 / 3, [3000, 2000], OBSERVED[6])
    found = point.weighted
    assert found.trusted
    for one, other in (
        (found.normalisation, tail.normalisation),
        (found.largest_weight, tail.largest_weight),
        (found.effective, tail.effective),
        (found.clsb, tail.value / tail.normalisation),
    ):
        assert one == pytest.approx(other, rel=1e-12)
    assert found.normalisation_error == pytest.approx(tail.normalisation_error, rel=1e-3)
    assert found.clsb_error == pytest.approx(tail.error, rel=0.1)
    assert found.effective > 20 * point.observed.clsb.beyond
    right = scipy.stats.norm.cdf(0.3 - GAUSS[6])
    assert found.clsb == pytest.approx(right, abs=3 * found.clsb_error)
    assert found.cls == pytest.approx(right / scipy.stats.norm.cdf(0.3), abs=3 * found.cls_error)
    assert found.cls_error < point.observed.error / 3


@pytest.mark.parametrize(
    ("count", "seed", "within"), [(50, 52, 0.33), pytest.param(200, 53, 0.15, marks=pytest.mark.long)]
)
def test_errors_match_the_spread(count, seed, within):
    """Over repetitions; the spread itself is known to 1/√(2 count). Interpolation moves a limit by 0.3 errors."""
    rng = np.random.default_rng(seed)
    found = [[(item.value, item.error) for item in of_all(weighted(rng, 2000, 4000))] for _ in range(count)]
    values, errors = np.moveaxis(np.array(found, dtype=float), 2, 0)
    ratio = np.sqrt(np.mean(errors**2, axis=0)) / np.std(values, axis=0, ddof=1)
    assert (np.abs(ratio - 1) < within).all(), ratio
    pull = (values - EXACT) / errors
    assert (np.abs(np.std(pull, axis=0) - 1) < within).all(), np.std(pull, axis=0)
    assert (np.abs(np.mean(pull, axis=0)) < 0.35 + 3 / np.sqrt(count)).all(), np.mean(pull, axis=0)


def test_errors_are_smaller_than_those_of_plain_toys_most_of_all_in_the_tails():
    signal, background, log_ratios = exact.gauss_weighted(np.random.default_rng(54), 4000, 4000)
    plain = upper_limit(GAUSS, signal, background, OBSERVED)
    found = upper_limit(GAUSS, signal, background, OBSERVED, log_ratios=log_ratios)
    assert (found.why_unweighted, plain.points[0].weighted) == (None, None)
    assert "Without densities" in plain.why_unweighted
    gain = [one.error / other.error for one, other in zip(of_all(plain), of_all(found), strict=True)]
    assert (np.array(gain) > [3, 3.5, 3, 2, 1.2, 1]).all(), gain
    for limit, right in zip(of_all(found), EXACT, strict=True):
        assert limit.value == pytest.approx(right, abs=3 * limit.error + limit.interpolation)
    observed = found.observed
    assert observed.value - observed.low == pytest.approx(observed.error, rel=0.1)
    assert observed.high - observed.value == pytest.approx(observed.error, rel=0.1)


def test_the_variance_by_ensemble():
    """With the toys of one kind thrown anew the limits spread as it says; a spread is known to 7 %."""
    signal, background, log_ratios = exact.gauss_weighted(np.random.default_rng(55), 400, 2000)
    found = upper_limit(GAUSS, signal, background, OBSERVED, log_ratios=log_ratios)
    for limit in of_all(found):
        assert sum(limit.variance.signal) + limit.variance.background == pytest.approx(limit.error**2)
        assert (len(limit.variance.signal), limit.variance.datasets) == (len(GAUSS), 0)
    rng, others = np.random.default_rng(56), []
    for _ in range(100):
        again, _, anew = exact.gauss_weighted(rng, 400, 1)
        of_these = LogRatios(anew.signal, log_ratios.background)
        others.append(
            [item.value for item in of_all(upper_limit(GAUSS, again, background, OBSERVED, log_ratios=of_these))]
        )
    spread = np.std(np.array(others), axis=0)[[0, 3, 4]]
    told = np.sqrt([sum(of_all(found)[k].variance.signal) for k in (0, 3, 4)])
    assert (np.abs(spread / told - 1) < 0.3).all(), spread / told


def test_pulls_of_limits_of_a_count_are_standard_normal():
    """48 experiments, exact CLs interpolated as the toys' is: mean within 3/√48, width within 3/√96 of 1."""
    rng, pulls = np.random.default_rng(57), []
    for b in (3.0, 5.5, 8.0):
        for n in (2, 4, 6, 9):
            points = exact.exact_limit(n, b) * np.array([0.5, 0.7, 0.85, 1.05, 1.25, 1.5])
            truth = np.interp(scipy.stats.norm.ppf(0.95), z_of(exact.exact_cls(points, n, b)), points)
            for _ in range(4):
                mu = points[:, None]
                counts = rng.poisson(mu + b, (6, 4000)), rng.poisson(b, 4000)
                signal, background = (exact.known_background(mu, item, b) for item in counts)
                log_ratios = LogRatios(*(item * np.log1p(mu / b) - mu for item in counts))
                at = exact.known_background(points, n, b)
                found = upper_limit(points, list(signal), background, at, tolerance=1e-9, log_ratios=log_ratios)
                assert found.observed.low < found.observed.value < found.observed.high
                pulls.append((found.observed.value - truth) / found.observed.error)
    assert abs(np.mean(pulls)) < 3 / np.sqrt(48)
    assert abs(np.std(pulls) - 1) < 3 / np.sqrt(96)


def test_the_band_of_an_on_off_problem():
    """(n_on, n_off, τ) = (10, 16, 2), enumerated: the limit of every outcome, and its quantiles without a signal."""
    rng, pmf = np.random.default_rng(58), scipy.stats.poisson
    on, off = (item.ravel() for item in np.meshgrid(np.arange(70), np.arange(70), indexing="ij"))
    points = np.array([2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 14.0, 17.0])
    at_zero = float(exact.onoff_background(0.0, 10, 16, 2.0))
    null = np.array([at_zero, 2 * at_zero])
    thrown = rng.poisson(null, (20_000, 2))
    signal, ratios, cls = [], [], []
    for mu in points:
        at = float(exact.onoff_background(mu, 10, 16, 2.0))
        truth = np.array([mu + at, 2 * at])
        own = rng.poisson(truth, (5000, 2))
        signal.append(exact.onoff(mu, *own.T, 2.0))
        ratios.append([x @ np.log(truth / null) - np.sum(truth - null) for x in (own, thrown)])
        q = exact.onoff(mu, on, off, 2.0)
        order = np.argsort(-q, kind="stable")
        upto = np.searchsorted(-q[order], -(q - 1e-9), side="right") - 1
        tails = [np.cumsum((pmf.pmf(on, a) * pmf.pmf(off, b))[order])[upto] for a, b in (truth, null)]
        cls.append(tails[0] / tails[1])
    background = np.array([exact.onoff(mu, *thrown.T, 2.0) for mu in points])
    log_ratios = LogRatios([own for own, _ in ratios], np.array([item for _, item in ratios]))
    observed = exact.onoff(points, 10, 16, 2.0)
    found = upper_limit(points, signal, background, observed, tolerance=1e-9, log_ratios=log_ratios)
    curves = Curves.of(points, signal, background, level=0.95, method="CLs", tolerance=1e-9)
    limits = curves.crossings(np.array(cls)).limit
    seen = np.flatnonzero((on == 10) & (off == 16))[0]
    assert found.observed.value == pytest.approx(limits[seen], abs=3 * found.observed.error)
    f_0 = pmf.pmf(on, null[0]) * pmf.pmf(off, null[1])
    order = np.argsort(limits)
    cumulated = np.cumsum(f_0[order])
    for sigma in SIGMAS:
        right = limits[order][np.searchsorted(cumulated, scipy.stats.norm.cdf(sigma))]
        item = found.expected[str(sigma)]
        assert item.value == pytest.approx(right, abs=3.5 * item.error), sigma


def test_data_with_a_signal_have_limits_by_weights_too():
    rng = np.random.default_rng(59)
    signal, background, log_ratios = exact.gauss_weighted(rng, 4000, 4000)
    datasets = exact.gauss(GAUSS[:, None], 1 + rng.normal(size=5000))
    found = expected_for(GAUSS, signal, background, datasets, log_ratios=log_ratios)
    for sigma in (-2, -1, 0, 1):
        item = found[str(sigma)]
        assert item.value == pytest.approx(exact.gauss_limit(1 + sigma), abs=3 * item.error + 0.005)
        assert item.variance.datasets > 0
    limits = limits_of(GAUSS, signal, background, datasets, log_ratios=log_ratios)
    assert np.sort(limits)[2499] == found["0"].value


def test_densities_without_overlap_are_plain_toys():
    signal, background, log_ratios = exact.gauss_weighted(np.random.default_rng(60), 1500, 1500)
    apart = LogRatios(np.full_like(log_ratios.signal, np.inf), np.full_like(log_ratios.background, -np.inf))
    plain = upper_limit(GAUSS, signal, background, OBSERVED)
    found = upper_limit(GAUSS, signal, background, OBSERVED, log_ratios=apart)
    for one, other in zip(of_all(found), of_all(plain), strict=True):
        assert (one.value, one.error, one.variance) == (other.value, other.error, other.variance)


@pytest.mark.parametrize("wrong", ["width", "factor", "undefined"])
def test_toys_of_other_densities_are_not_weighted(wrong):
    """Toys of a width of 1.3 have a mean weight near 1, where as many are thrown with signal as without."""
    width = 1.3 if wrong == "width" else 1.0
    signal, background, log_ratios = exact.gauss_weighted(np.random.default_rng(61), 5000, 5000, width=width)
    if wrong == "factor":
        log_ratios = LogRatios(*(item + 0.1 for item in log_ratios))
    if wrong == "undefined":
        log_ratios.background[3, 7] = np.nan
    plain = upper_limit(GAUSS, signal, background, OBSERVED)
    found = upper_limit(GAUSS, signal, background, OBSERVED, log_ratios=log_ratios)
    assert "The toys are not of the densities that the model states" in found.why_unweighted
    assert of_all(found) == of_all(plain)
    assert not all(point.weighted.trusted for point in found.points)
    if wrong == "width":
        assert found.points[6].weighted.normalisation == pytest.approx(1, abs=0.05)


def test_failed_toys_bound_the_limit():
    rng = np.random.default_rng(62)
    signal, background, log_ratios = exact.gauss_weighted(rng, 5000, 5000)
    whole = upper_limit(GAUSS, signal, background, OBSERVED, log_ratios=log_ratios)
    lost = [np.where(rng.random(len(row)) < 0.01, np.nan, row) for row in signal]
    some = np.where(rng.random(len(background[0])) < 0.005, np.nan, background)
    found = upper_limit(GAUSS, lost, some, OBSERVED, log_ratios=log_ratios)
    for of_whole, item in list(zip(of_all(whole), of_all(found), strict=True))[:4]:
        assert item.if_failed_low < of_whole.value < item.if_failed_high
        assert item.if_failed_low < item.value < item.if_failed_high
        assert item.value == pytest.approx(of_whole.value, abs=item.error)


def test_data_that_no_toy_reaches_have_no_limit():
    found = weighted(np.random.default_rng(63), 300, 300, exact.gauss(GAUSS, -9.0))
    assert (found.observed.value, found.observed.outside) == (None, "failed")
    assert (found.points[0].weighted.cls, found.points[0].weighted.effective) == (None, 0.0)


def test_log_ratios_of_other_toys_are_refused():
    signal, background, log_ratios = exact.gauss_weighted(np.random.default_rng(64), 50, 60)
    for other in (
        LogRatios(log_ratios.signal[1:], log_ratios.background),
        LogRatios(log_ratios.signal, log_ratios.background[:, 1:]),
    ):
        with pytest.raises(ToymillError, match="one of each toy, failed toys included"):
            upper_limit(GAUSS, signal, background, OBSERVED, log_ratios=other)
