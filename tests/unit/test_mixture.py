"""Tails of weighted toys, against exact probabilities and by repetition."""

import counting_experiments as exact
import numpy as np
import pytest
import scipy.stats

from toymill.errors import ToymillError
from toymill.inference.mixture import mixture_tail, weights
from toymill.inference.p_values import tail

MEANS = np.array([0.0, 2.5, 5.0])


def gauss_mixture(rng, count, means=MEANS, target=0.0):
    """Toys of unit normals at several means, weighted for one at ``target``."""
    x = np.concatenate([rng.normal(mean, size=count) for mean in means])
    density = scipy.stats.norm.logpdf
    return x, weights(density(x, means[:, None]), [count] * len(means), density(x, target))


def test_a_gaussian_tail_at_five_sigma():
    x, w = gauss_mixture(np.random.default_rng(21), 20_000)
    found = mixture_tail(x, w, [20_000] * 3, 5.0)
    assert found.value == pytest.approx(scipy.stats.norm.sf(5), abs=3 * found.error)
    assert found.error < 0.02 * found.value
    assert found.significance == pytest.approx(5, abs=0.01)
    assert found.significance_low < found.significance < found.significance_high
    assert found.normalisation == pytest.approx(1, abs=3 * found.normalisation_error)
    assert found.largest_weight <= 3 + 1e-9  # n/n_j of the hypothesis itself
    assert 1000 < found.effective < found.beyond


def test_pulls_are_standard_normal_and_errors_match_the_spread():
    """150 mixtures: pulls of p at 1, 3 and 5 sigma and of the mean weight; bounds of 3 sigma."""
    rng, pulls = np.random.default_rng(22), []
    for _ in range(150):
        x, w = gauss_mixture(rng, 1000)
        found = [mixture_tail(x, w, [1000] * 3, z) for z in (1.0, 3.0, 5.0)]
        pulls.append(
            [(item.value - scipy.stats.norm.sf(z)) / item.error for item, z in zip(found, (1, 3, 5), strict=True)]
        )
        pulls[-1].append((found[0].normalisation - 1) / found[0].normalisation_error)
    assert (np.abs(np.mean(pulls, axis=0)) < 3 / np.sqrt(150)).all()
    assert (np.abs(np.std(pulls, axis=0) - 1) < 3 / np.sqrt(300)).all()


def test_a_discrete_tail():
    """P(n ≥ 20) of a Poisson count of mean 5, from toys at 5 and at 18."""
    rng = np.random.default_rng(23)
    n = np.concatenate([rng.poisson(5, 20_000), rng.poisson(18, 10_000)])
    density = scipy.stats.poisson.logpmf
    w = weights(density(n, np.array([[5.0], [18.0]])), [20_000, 10_000], density(n, 5.0))
    found = mixture_tail(n.astype(float), w, [20_000, 10_000], 20.0, 1e-9)
    assert found.value == pytest.approx(scipy.stats.poisson.sf(19, 5), abs=3 * found.error)
    assert found.error < 0.03 * found.value


def test_one_ensemble_is_a_counted_fraction():
    rng = np.random.default_rng(24)
    x = rng.normal(size=5000)
    log = scipy.stats.norm.logpdf(x)
    found = mixture_tail(x, weights(log[None], [5000], log), [5000], 1.0)
    p = np.mean(x >= 1)
    assert found.value == pytest.approx(p)
    assert found.error == pytest.approx(np.sqrt(p * (1 - p) / 4999))
    assert (found.low, found.high) == pytest.approx((p - found.error, p + found.error), abs=0.05 * found.error)
    assert (found.effective, found.normalisation, found.normalisation_error) == pytest.approx((found.beyond, 1.0, 0.0))


def test_failed_toys_carry_their_weight():
    x, w = gauss_mixture(np.random.default_rng(25), 1000)
    whole = mixture_tail(x, w, [1000] * 3, 3.0)
    lost = np.where(np.arange(3000) % 10 == 0, np.nan, x)
    found = mixture_tail(lost, w, [1000] * 3, 3.0)
    assert (found.failed, found.toys) == (300, 2700)
    assert found.if_failed_below < whole.value < found.if_failed_beyond
    assert found.if_failed_beyond - found.if_failed_below == pytest.approx(w[::10].sum() / 3000)
    assert found.value == pytest.approx(whole.value, abs=3 * found.error)


def test_an_empty_tail_is_a_bound():
    x, w = gauss_mixture(np.random.default_rng(26), 100)
    found = mixture_tail(x, w, [100] * 3, 50.0)
    assert (found.value, found.error, found.low, found.bound, found.effective) == (0.0, None, 0.0, True, 0.0)
    assert found.high == pytest.approx(1.841 * found.largest_weight / 300, rel=1e-3)


def test_the_p_value_of_no_excess_is_one_and_of_a_small_one_its_complement():
    rng = np.random.default_rng(28)
    x, w = gauss_mixture(rng, 1000)
    q = np.maximum(x, 0.0) ** 2
    none = mixture_tail(q, w, [1000] * 3, 0.0)
    assert (none.value, none.high, none.significance, none.error) == (1.0, 1.0, None, 0.0)
    assert none.low > 0.99
    some = mixture_tail(x, w, [1000] * 3, -1.0)
    assert some.value == pytest.approx(scipy.stats.norm.cdf(1), abs=4 * some.error)
    assert some.low < some.value < some.high <= 1
    assert some.error < 0.02
    lost = mixture_tail(np.where(np.arange(3000) % 10 == 0, np.nan, x), w, [1000] * 3, -1.0)
    assert lost.if_failed_below < lost.value < lost.if_failed_beyond <= 1


def test_wrong_densities_show_in_the_mean_weight():
    x, w = gauss_mixture(np.random.default_rng(27), 1000)
    found = mixture_tail(x, w * np.exp(-0.1 * x), [1000] * 3, 3.0)
    assert abs(found.normalisation - 1) > 0.004
    wrong = mixture_tail(
        x,
        weights(scipy.stats.norm.logpdf(x, MEANS[:, None] + 0.2), [1000] * 3, scipy.stats.norm.logpdf(x)),
        [1000] * 3,
        3.0,
    )
    assert abs(wrong.normalisation - 1) > 3 * wrong.normalisation_error


@pytest.mark.parametrize(("counts", "message"), [([2, 2], r"counts is \[2, 2\].*3 in all"), ([4, -1], "counts")])
def test_counts_that_do_not_add_up_are_refused(counts, message):
    with pytest.raises(ToymillError, match=message):
        weights(np.zeros((2, 3)), counts, np.zeros(3))
    with pytest.raises(ToymillError, match="weights are of 2 toys"):
        mixture_tail(np.zeros(3), np.ones(2), [3], 1.0)


def on_off_tails(seed, toys):
    """The discovery of an on/off experiment, τ = 1 and b = 9: plain toys, and a mixture with an excess that grows.

    The means of the mixture are 9 e^a and 9 e^-a: of a far tail the auxiliary count is low, too. Were it 9 in all, the rare
    toys of large weight would make the error at q_0 = 16 too small by a third.

    Returns a function to repeat it, of (low, value, high) of Z of plain toys at q_0 = 4, and of the mixture's at 4, 9, 16.
    """
    rng, tilts = np.random.default_rng(seed), np.array([0.0, 0.475, 0.95, 1.2])
    truths = 9 * np.exp(np.stack([tilts, -tilts], axis=1))

    def once():
        n = rng.poisson(truths[:, None], (4, toys, 2)).astype(float)
        q = q_0(*n.reshape(-1, 2).T)
        density = scipy.stats.poisson.logpmf(n.reshape(-1, 2), truths[:, None]).sum(axis=2)
        w = weights(density, [toys] * 4, density[0])
        found = [
            tail(q[:toys], 4.0, 1e-9),
            *(mixture_tail(q, w, [toys] * 4, value, 1e-9) for value in (4.0, 9.0, 16.0)),
        ]
        return [(item.significance_low, item.significance, item.significance_high) for item in found]

    return once


def q_0(on, off):
    """q_0 of n_on ~ Poisson(s + b) and n_off ~ Poisson(b): 0 without an excess (CCGV, arXiv:1007.1727, eq. 12)."""
    return np.where(on > off, exact.unified_onoff(0.0, on, off, 1.0), 0.0)


def test_errors_of_z_match_the_spread():
    """200 repetitions with other seeds, of plain and of weighted toys, main and auxiliary counts fluctuating.

    A spread is known to 5 %, a fraction of 0.68 to 3.3 %. What is right is enumerated.
    """
    once = on_off_tails(31, 3000)
    low, value, high = np.moveaxis(np.array([once() for _ in range(200)]), 2, 0)
    assert (high - low).mean(axis=0) / 2 == pytest.approx(value.std(axis=0, ddof=1), rel=0.15)
    on, off = np.meshgrid(np.arange(90.0), np.arange(60.0), indexing="ij")
    probability, q = scipy.stats.poisson.pmf(on, 9) * scipy.stats.poisson.pmf(off, 9), q_0(on, off)
    right = scipy.stats.norm.isf([probability[q >= least - 1e-9].sum() for least in (4.0, 4.0, 9.0, 16.0)])
    assert (np.abs(value.mean(axis=0) - right) < 4 * value.std(axis=0) / np.sqrt(200) + 0.002).all()
    held = np.mean((low <= right) & (right <= high), axis=0)
    assert (np.abs(held - 0.683) < 0.11).all(), held
