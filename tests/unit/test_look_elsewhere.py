"""Global significance and exclusion against closed forms: independent bins, a moving bump on noise, Poisson counts."""

from itertools import product

import numpy as np
import pytest
import scipy.stats

from toymill.errors import ToymillError
from toymill.inference.exclusion import exclusion
from toymill.inference.look_elsewhere import global_p_value, gross_vitells, up_crossings


def squared(z):
    """q_0 of an estimate that lies z standard deviations above 0."""
    return np.maximum(z, 0.0) ** 2


def test_independent_points_have_one_chance_each():
    """p_global = 1 - (1 - p)^N (Šidák, J. Am. Stat. Assoc. 62 (1967) 626)."""
    q = squared(np.random.default_rng(1).normal(size=(20, 40_000)))
    for observed in (4.0, 6.0, 9.0):
        local = scipy.stats.norm.sf(np.sqrt(observed))
        right = 1 - (1 - local) ** 20
        found = global_p_value(q, observed)
        assert abs(found.value - right) < 4 * np.sqrt(right * (1 - right) / found.toys)


def test_points_that_are_the_same_have_one_chance_together():
    q = np.tile(squared(np.random.default_rng(2).normal(size=5_000)), (7, 1))
    found = global_p_value(q, 2.0)
    assert found.value == np.mean(q[0] >= 2.0)
    assert up_crossings(q).mean == 0.0


@pytest.fixture(scope="module")
def bump():
    """q_0 of a Gaussian bump of known width on white noise, at positions much closer than its width, and their range."""
    rng, width, places = np.random.default_rng(3), 1.0, np.linspace(0, 20, 161)
    bins = np.arange(-5, 25, 0.25)
    shapes = np.exp(-0.5 * ((bins - places[:, None]) / width) ** 2)
    shapes /= np.sqrt(np.sum(shapes**2, axis=1, keepdims=True))
    return squared(shapes @ rng.normal(size=(len(bins), 40_000))), width, 20.0


def test_up_crossings_are_those_of_rice(bump):
    """⟨N(c)⟩ = L √(-r''(0)) e^{-c/2}/2π (Rice, Bell Syst. Tech. J. 24 (1945) 51), r(d) = e^{-d²/4w²} of such a bump."""
    q, width, length = bump
    for level in (0.5, 1.0, 4.0):
        right = length / (2 * np.pi * np.sqrt(2) * width) * np.exp(-level / 2)
        found = up_crossings(q, level)
        assert found.error < 0.02 * right
        assert abs(found.mean - right) < 4 * found.error + 0.01 * right  # of positions that are not dense


def test_the_formula_of_gross_and_vitells_agrees_with_counting(bump):
    q, _, _ = bump
    crossings = up_crossings(q)
    for observed in (6.0, 9.0, 12.0):
        counted, formula = global_p_value(q, observed), gross_vitells(crossings, observed)
        error = np.hypot((counted.high - counted.low) / 2, formula.error)
        assert abs(formula.value - counted.value) < 3 * error + 0.06 * counted.value
        assert formula.significance == pytest.approx(scipy.stats.norm.isf(formula.value))


def test_there_is_no_formula_below_its_reference():
    crossings = up_crossings(np.array([[0.0, 0.0], [4.0, 0.0]]), 1.0)
    assert gross_vitells(crossings, 0.9) is None
    assert gross_vitells(crossings, 1.0).value == pytest.approx(0.5 + scipy.stats.norm.sf(1.0))


def test_failed_fits_give_the_bounds_of_all_that_they_could_be():
    """Every failed fit is put below and above the level, by enumeration."""
    rng = np.random.default_rng(4)
    for _ in range(30):
        q = rng.choice([0.0, 2.0, np.nan], p=[0.35, 0.35, 0.3], size=(5, 3))
        holes = np.argwhere(np.isnan(q))
        means, maxima = [], []
        for filled in product([0.0, 2.0], repeat=len(holes)):
            full = q.copy()
            full[tuple(holes.T)] = filled
            means.append(np.mean(np.sum((full[:-1] <= 1) & (full[1:] > 1), axis=0)))
            maxima.append(np.mean(full.max(axis=0) >= 2.0))
        found, counted = up_crossings(q), global_p_value(q, 2.0)
        assert (found.if_failed_low, found.if_failed_high) == (min(means), max(means))
        assert (counted.if_failed_below, counted.if_failed_beyond) == (min(maxima), max(maxima))
        assert found.failed == np.isnan(q).any(axis=0).sum()


def test_an_array_without_points_is_refused():
    with pytest.raises(ToymillError, match="a row for each point"):
        global_p_value(np.empty((0, 5)), 1.0)


B, S = 3.0, 6.0
COUNTS = np.arange(60)


def cls_of(count):
    return scipy.stats.poisson.cdf(count, S + B) / scipy.stats.poisson.cdf(count, B)


@pytest.mark.parametrize(("seen", "excluded"), [(0, True), (7, False)])
def test_exclusion_of_a_count_is_that_of_its_enumeration(seen, excluded):
    """Few events are unlike a signal: q is -n. CLs is a ratio of cumulative Poisson probabilities."""
    rng = np.random.default_rng(5)
    signal, background = -rng.poisson(S + B, 40_000).astype(float), -rng.poisson(B, 40_000).astype(float)
    found = exclusion(signal, background, -float(seen))
    assert found.excluded is excluded
    assert abs(found.observed.value - cls_of(seen)) < 4 * (found.observed.high - found.observed.low) / 2
    for sigma, item in found.expected.items():
        count = scipy.stats.poisson.ppf(scipy.stats.norm.cdf(int(sigma)), B)
        assert abs(item.value - cls_of(count)) < 4 * (item.high - item.low) / 2


def test_exclusion_is_undecided_where_toys_are_few_or_failed():
    rng = np.random.default_rng(6)
    signal, background = -rng.poisson(S + B, 30_000).astype(float), -rng.poisson(B, 30_000).astype(float)
    threshold = 1 - cls_of(2)
    assert exclusion(signal[:300], background[:300], -2.0, level=threshold).excluded is None
    assert exclusion(signal, background, -1.0, level=threshold).excluded is True
    failed = np.concatenate([signal, np.full(3000, np.nan)])
    assert exclusion(failed, background, -1.0, level=threshold).excluded is None
    assert exclusion(signal, background, np.nan).observed is None
    nothing = exclusion(np.full(5, np.nan), background, -1.0)
    assert nothing.excluded is None
    assert nothing.expected["0"].value is None


def test_failed_toys_move_the_expected_quantiles():
    rng = np.random.default_rng(7)
    signal, background = rng.normal(-2, 1, 5000), rng.normal(0, 1, 5000)
    clean = exclusion(signal, background, 0.0).expected["0"]
    assert clean.if_failed_low == clean.if_failed_high == clean.value
    found = exclusion(signal, np.concatenate([background, np.full(500, np.nan)]), 0.0).expected["0"]
    assert found.value == clean.value
    assert found.if_failed_low < found.value < found.if_failed_high
