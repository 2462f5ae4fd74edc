"""Counting in chunks: sums that add over toys and shards, and that keep what every column says."""

import itertools
from dataclasses import fields, replace

import numpy as np
import pytest
import scipy.stats

import toymill
from toymill.fitting.conditional import fit_tests
from toymill.fitting.results import Fits, rows_of
from toymill.fitting.status import CERTIFIED_STATUSES, Status
from toymill.inference.counting import Distribution, moments, moments_of_sums
from toymill.results import cells
from toymill.results import tally as module
from toymill.results.tally import BLOCK, CELL, T_MU, T_TILDE, Tally, most_severe
from toymill.study.summarize import _why_no_quantiles

TRUTH = np.array([1.0, 0.0])  # of b and mu
TESTS = [0.0, 1.0]


@pytest.fixture(scope="module")
def fits(onoff):
    """Fits of 600 toys without signal; toys 3 and 500 are made to fail, and toy 7 is given a t of 36."""
    data = toymill.throw(onoff, onoff.parameters.values({"mu": 0.0}), 600, seed=5)
    free, tests = fit_tests(onoff, data, [{"mu": value} for value in TESTS])
    free.status[[3, 500]] = Status.NOT_CONVERGED, Status.AT_FLOOR
    free.parameters[3] = np.nan
    tests[0].nll[7] = free.nll[7] + 18
    return free, tests


def tallied(fits, bounds, truth=TRUTH):
    free, tests = fits
    tally = Tally.empty(truth, TESTS, [0.683, 0.95])
    for begin, end in itertools.pairwise(bounds):
        rows = np.arange(begin, end)
        tally.add(begin, rows_of(free, rows), [rows_of(each, rows) for each in tests])
    return tally


@pytest.fixture(scope="module")
def tally(fits):
    return tallied(fits, [0, 600])


def same(one, two, **tolerance):
    for field in fields(Tally):
        a, b = getattr(one, field.name), getattr(two, field.name)
        if field.name == "kept_fits":
            for x, y in zip(a, b, strict=True):
                np.testing.assert_array_equal(x.nll, y.nll)
                np.testing.assert_array_equal(x.parameters, y.parameters)
        elif a.dtype.kind == "f" and tolerance:
            np.testing.assert_allclose(a, b, err_msg=field.name, **tolerance)
        else:
            np.testing.assert_array_equal(a, b, err_msg=field.name)


@pytest.mark.parametrize("bounds", [[0, 256, 600], [0, 512, 600]])
def test_chunks_change_no_bit(fits, tally, bounds):
    same(tally, tallied(fits, bounds))


def test_shards_add_to_rounding(fits, tally):
    """Any cut, also inside a block: counts and kept toys are the same, sums to rounding."""
    free, tests = fits
    whole = Tally.empty(TRUTH, TESTS, [0.683, 0.95])
    for begin, end in ((0, 33), (33, 400), (400, 600)):
        rows = np.arange(begin, end)
        part = Tally.empty(TRUTH, TESTS, [0.683, 0.95])
        part.add(begin, rows_of(free, rows), [rows_of(each, rows) for each in tests])
        whole.merge(part)
    same(tally, whole, rtol=1e-12, atol=1e-10)


def test_counts_are_those_of_the_columns(fits, tally):
    free, tests = fits
    ok = free.ok & tests[0].ok & tests[1].ok
    assert (tally.toys, tally.certified) == (600, ok.sum())
    assert tally.status[-1, Status.NOT_CONVERGED] == tally.status[0, Status.AT_FLOOR] == 1
    assert tally.status.sum(axis=1).tolist() == [600] * 4
    q = {
        (0, True, T_MU): toymill.q_0(free, tests[0]),
        (1, False, T_MU): toymill.q_mu(free, tests[1]),
        (1, False, T_TILDE): toymill.qtilde_mu(free, tests[1], tests[0]),
    }
    for (k, above, statistic), values in q.items():
        found = tally.one_sided(k, above=above, statistic=statistic)
        assert found.size == ok.sum()
        for threshold in (2.0**-20, 0.25, 1.0, 4.0, 9.0, 25.0):
            assert found.above(threshold) == np.sum(values[ok] >= threshold)
    np.testing.assert_array_equal(tally.hessian, [
        np.sum(ok & (np.abs(free.parameters[:, 1] / free.errors[:, 1]) <= np.sqrt(scipy.stats.chi2.ppf(level, 1))))
        for level in (0.683, 0.95)
    ])  # fmt: skip
    t = toymill.t_mu(free, tests[0])
    np.testing.assert_array_equal(
        tally.profile, [np.sum(ok & (t <= scipy.stats.chi2.ppf(level, 1))) for level in (0.683, 0.95)]
    )


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_moments_are_those_of_the_columns(fits, shift):
    """Also where the truth is some standard deviations from the mean."""
    free, tests = fits
    truth = TRUTH + np.array([shift, 0.0])
    tally = tallied(fits, [0, 600], truth)
    ok = free.ok & tests[0].ok & tests[1].ok
    for i in range(2):
        sums = np.array([tally.sums[i], tally.products[i, i], tally.products_21[i, i], tally.products_22[i, i]])
        found = moments_of_sums(int(tally.certified), sums, truth[i])
        np.testing.assert_allclose(found, moments(free.parameters[ok, i]), rtol=1e-7)
        pull = (free.parameters[ok, i] - truth[i]) / free.errors[ok, i]
        np.testing.assert_allclose(moments_of_sums(int(tally.pulls[i]), tally.pull_sums[i]), moments(pull), rtol=1e-7)


def test_quantiles_are_within_a_cell(fits, tally):
    free, tests = fits
    ok = free.ok & tests[0].ok & tests[1].ok
    exact = Distribution.of(np.maximum(toymill.t_mu(free, tests[1])[ok], 0))
    cells = tally.distribution(1)
    for level in (0.1, 0.5, 0.683, 0.95):
        assert abs(cells.quantile(level) - exact.quantile(level)) <= cells.width(level)
        above = np.quantile(exact.low, level, method="higher")  # of the two values about the quantile
        assert cells.width(level) <= (2 * np.sqrt(above) * CELL + CELL**2) * (1 + 1e-12)
        assert exact.quantile(level) == pytest.approx(np.quantile(exact.low, level), rel=1e-14)
        assert exact.width(level) == 0


def test_cells_of_a_large_sample_are_as_good_as_its_values():
    """The error by cells is a few per cent of the Monte Carlo error at most; the Kolmogorov-Smirnov distance is the same."""
    t = np.random.default_rng(2).chisquare(1, 200000)
    counts = np.bincount((np.sqrt(t) / CELL).astype(int), minlength=module._CELLS)
    cells, exact = module._cells(counts), Distribution.of(t)
    assert cells.quantile(0.95) == pytest.approx(exact.quantile(0.95), abs=1e-3)
    assert cells.continuous
    assert exact.continuous

    def cdf(x):
        return scipy.stats.chi2.cdf(x, 1)

    assert exact.distance(cdf) == pytest.approx(scipy.stats.kstest(t, cdf).statistic, rel=1e-12)
    assert cells.distance(cdf) == pytest.approx(exact.distance(cdf), abs=5e-5)
    edges = np.linspace(0, 18, 51)
    np.testing.assert_allclose(cells.histogram(edges), exact.histogram(edges), atol=20)
    assert cells.above(3.7) == pytest.approx(exact.above(3.7), abs=3)
    assert cells.beyond(1.0).size == exact.beyond(1.0).size == np.sum(t > 1)


def test_discrete_values_are_told_from_continuous_ones():
    t = np.random.default_rng(2).poisson(30, 5000) / 7
    counts = np.bincount((np.sqrt(t) / CELL).astype(int), minlength=module._CELLS)
    assert not module._cells(counts).continuous
    assert not Distribution.of(t).continuous


def test_the_worst_status_is_the_most_severe():
    """Every certified status is better than every other, whatever its number: RESCUED has the largest."""
    order = sorted(Status, key=lambda status: status.severity)
    assert [status.severity for status in order] == list(range(len(Status)))
    assert set(order[: len(CERTIFIED_STATUSES)]) == set(CERTIFIED_STATUSES)
    free = np.array([Status.RESCUED, Status.RESCUED, Status.RESCUED, Status.CERTIFIED, Status.AT_FLOOR], dtype=np.int8)
    held = np.array([Status.NOT_CONVERGED, Status.AT_BOUND, Status.CERTIFIED, Status.AT_KINK, Status.RESCUED], np.int8)
    expected = [Status.NOT_CONVERGED, Status.AT_BOUND, Status.RESCUED, Status.AT_KINK, Status.AT_FLOOR]
    assert most_severe([free, held]).tolist() == expected
    assert most_severe([held, free]).tolist() == expected


def test_beyond_the_last_cell(fits):
    """t above 4096 is counted, and has no quantile."""
    free, tests = fits
    far = [replace(each, nll=each.nll + 3000) for each in tests]
    tally = tallied((free, far), [0, 600])
    assert tally.distribution(0).above(4000) == tally.certified
    assert np.isinf(tally.distribution(0).quantile(0.5))


def test_the_tail_and_the_failed_are_kept(fits, tally):
    free, _ = fits
    t = toymill.t_mu(free, fits[1][0])
    assert tally.kept.tolist() == sorted({3, 500} | set(np.flatnonzero(t >= 16)))
    assert 7 in tally.kept
    failed = np.isin(tally.kept, [3, 500])
    assert np.isnan(tally.kept_t[failed]).all()
    np.testing.assert_array_equal(tally.kept_t[~failed], t[tally.kept[~failed]])
    np.testing.assert_array_equal(tally.kept_fits[0].nll, free.nll[tally.kept])


def test_no_more_than_so_many_are_kept(monkeypatch):
    """The largest t and the first to fail, whatever the chunks."""
    monkeypatch.setattr(module, "MOST_KEPT", 5)
    rng = np.random.default_rng(8)
    t = rng.uniform(10, 40, 1000)
    status = np.where(rng.random(1000) < 0.1, Status.NOT_CONVERGED, Status.CERTIFIED).astype(np.int8)
    zeros = np.zeros((1000, 1))

    def each(nll, fixed):
        return Fits(("mu",), "mu", fixed, zeros, zeros + 1, nll, status, nll * 0, np.zeros(1000, dtype=np.int32))

    every = each(np.zeros(1000), {}), each(t / 2, {"mu": 0.0})
    ok = status == Status.CERTIFIED
    expected = sorted([*np.flatnonzero(~ok)[:5], *np.flatnonzero(ok)[np.argsort(-t[ok])[:5]]])
    for step in (BLOCK, 1000):
        tally = Tally.empty([0.0], [0.0], [0.95])
        for begin in range(0, 1000, step):
            rows = np.arange(begin, min(begin + step, 1000))
            tally.add(begin, rows_of(every[0], rows), [rows_of(every[1], rows)])
        assert tally.kept.tolist() == expected


def test_a_tally_of_an_earlier_toymill_has_no_quantiles(tally):
    assert _why_no_quantiles(tally) is None
    assert "written by a toymill that did not" in _why_no_quantiles(replace(tally, estimates=cells.no_cells()))
    assert _why_no_quantiles(Tally.empty(TRUTH, TESTS, [0.95])) == "no toy is certified"
