"""Saturated, Kolmogorov-Smirnov and Anderson-Darling statistics, and their p-values over toys."""

import numpy as np
import pyhf
import pytest
import scipy.special
import scipy.stats
from builders import bare, normsys, workspace

import toymill
from toymill import NormalConstraint, Parameter, PoissonConstraint
from toymill.inference import misfit
from toymill.inference.goodness_of_fit import goodness_of_fit
from toymill.inference.misfit import (
    anderson_darling,
    channels_of,
    degrees_of_freedom,
    kolmogorov_smirnov,
    saturated_nll,
    statistics,
)
from toymill.models import normal


@pytest.fixture(scope="module")
def flat():
    """Two bins that expect the same, of which nothing is known: one degree of freedom."""
    return toymill.define_model(
        {"rate": Parameter(4.0, (1e-3, 100.0))}, poi="rate", expected=lambda p: p[0] * np.ones(2)
    )


@pytest.fixture(scope="module")
def channels():
    """Two channels of four bins, and one of one bin."""
    samples = {
        "one": {"s": ([1, 2, 4, 9], []), "b": ([40, 30, 20, 10], [normsys("alpha")])},
        "two": {"b": ([15, 20, 25, 30], [normsys("alpha"), bare("normfactor", "k")])},
        "zero": {"b": ([50], [bare("normfactor", "k")])},
    }
    return toymill.read_workspace(workspace(samples))


def judged(model, data, **options):
    return statistics(model, toymill.fit(model, data, covariance=False), data, **options)


def test_the_deviance_of_counts(flat):
    data = np.array([[2.0, 7.0], [0.0, 6.0], [5.0, 5.0]])
    mean = data.mean(axis=1, keepdims=True)
    baker_cousins = 2 * np.sum(scipy.special.xlogy(data, data / mean), axis=1)
    assert judged(flat, data)["saturated"] == pytest.approx(baker_cousins, abs=1e-7)


def test_the_deviance_of_a_count_with_a_poisson_constraint():
    tau = 3.0
    model = toymill.define_model(
        {"b": Parameter(5.0, (1e-3, 100.0), constraint=PoissonConstraint(tau))}, poi="b", expected=lambda p: p[:1]
    )
    n, a = np.array([9.0, 0.0, 4.0]), np.array([12.0, 15.0, 0.0])
    best = (n + a) / (1 + tau)
    deviance = 2 * (scipy.special.xlogy(n, n / best) + scipy.special.xlogy(a, a / (tau * best)))
    found = judged(model, np.stack([n, a], axis=1))
    assert found["saturated"] == pytest.approx(deviance, abs=1e-7)
    assert found["saturated[data]"] == pytest.approx(2 * (best - n + scipy.special.xlogy(n, n / best)), abs=1e-3)
    assert degrees_of_freedom(model) == 1
    assert degrees_of_freedom(model, ["b"]) == 2


def test_the_saturated_model_has_every_constant(channels):
    data = toymill.throw(channels, channels.parameters.init, 4, seed=3)
    main = ~channels.sampling.auxiliary
    expected = -np.sum(scipy.stats.poisson.logpmf(data[:, main], data[:, main]), axis=1) - scipy.stats.norm.logpdf(0.0)
    assert saturated_nll(channels, data) == pytest.approx(expected, rel=1e-12)
    assert saturated_nll(channels, data[0]) == pytest.approx(expected[0], rel=1e-12)
    fits = toymill.fit(channels, data, covariance=False)
    found = statistics(channels, fits, data)["saturated"]
    assert found == pytest.approx(2 * (fits.nll - expected), abs=1e-9)


def test_the_saturated_statistic_is_what_pyhf_s_densities_make_it(spec):
    """Every modifier type: pyhf's likelihood at the fit, and its constraints where they are largest."""
    model = toymill.read_workspace(spec)
    reference = pyhf.Workspace(spec).model()
    data = np.stack([model.observed, toymill.throw(model, model.parameters.init, 1, seed=6)[0]])
    fits = toymill.fit(model, data, covariance=False)
    main, sampling = ~model.sampling.auxiliary, model.sampling
    found = statistics(model, fits, data)["saturated"]
    for k in range(2):
        best, auxiliary = model.parameters.init.copy(), data[k, ~main]
        best[sampling.parameter[~main]] = auxiliary / sampling.scale[~main]
        largest = np.sum(scipy.stats.gamma.logpdf(data[k, main], data[k, main] + 1))  # Poisson(n | n)
        largest += reference.constraint_logpdf(auxiliary, best)
        assert found[k] == pytest.approx(2 * (largest - reference.logpdf(fits.parameters[k], data[k])[0]), abs=1e-7)


def test_chunks_make_no_difference(channels, monkeypatch):
    data = toymill.throw(channels, channels.parameters.init, 7, seed=1)
    fits = toymill.fit(channels, data, covariance=False)
    whole = statistics(channels, fits, data)
    monkeypatch.setattr(misfit, "_NUMBERS", 3 * data.shape[1])
    for name, values in statistics(channels, fits, data).items():
        assert values == pytest.approx(whole[name], rel=1e-12)


def test_constraints_are_judged_with_the_toy_s_own_auxiliary_data():
    model = toymill.define_model(
        {"a": Parameter(10.0, (0.0, 100.0), constraint=NormalConstraint(2.0))}, poi="a", expected=lambda p: 1e6 * p[:1]
    )
    found = judged(model, [[10e6, 10.0], [11e6, 11.0], [11e6, 10.0]])["saturated"]
    assert found == pytest.approx([0, 0, 0.25], abs=1e-4)


def test_kolmogorov_smirnov_in_the_limit_of_fine_bins():
    rng = np.random.default_rng(2)
    x = rng.beta(2.0, 2.5, 300)
    edges = np.linspace(0, 1, 200_001)
    counts = np.histogram(x, edges)[0][None].astype(float)
    expected = 5.0 * np.diff(scipy.stats.beta.cdf(edges, 2, 2))[None]  # its normalisation does not matter
    assert kolmogorov_smirnov(counts, expected)[0] == pytest.approx(
        scipy.stats.kstest(x, scipy.stats.beta(2, 2).cdf).statistic, abs=1e-5
    )


def test_anderson_darling_in_the_limit_of_fine_bins():
    rng = np.random.default_rng(2)
    u = np.sort(rng.beta(2.0, 2.5, 300))
    edges = np.linspace(0, 1, 200_001)
    counts = np.histogram(u, edges)[0][None].astype(float)
    expected = np.diff(scipy.stats.beta.cdf(edges, 2, 2))[None]
    f, n, i = scipy.stats.beta.cdf(u, 2, 2), len(u), np.arange(1, len(u) + 1)
    textbook = -n - np.sum((2 * i - 1) / n * (np.log(f) + np.log1p(-f[::-1])))  # Anderson and Darling 1954
    assert anderson_darling(counts, expected)[0] == pytest.approx(textbook, rel=1e-3)


def test_shapes_by_hand():
    counts, expected = np.array([[3.0, 1.0, 0.0, 0.0]]), np.array([[1.0, 2.0, 1.0, 0.0]])
    assert kolmogorov_smirnov(counts, expected) == pytest.approx([0.5])
    # F = 1/4, 3/4, 1, 1 and F_n = 3/4, 1, 1, 1
    by_hand = 4 * (0.5**2 / (0.25 * 0.75) * 0.25 + 0.25**2 / (0.75 * 0.25) * 0.5)
    assert anderson_darling(counts, expected) == pytest.approx([by_hand])
    for function in (kolmogorov_smirnov, anderson_darling):
        assert function(2 * expected, expected) == pytest.approx([0])
        assert function(0 * counts, expected) == [0]
        assert function(0 * counts, 0 * expected) == [0]


def test_channels(channels):
    assert channels_of(channels) == {"one": slice(0, 4), "two": slice(4, 8), "zero": slice(8, 9)}
    data = toymill.throw(channels, channels.parameters.init, 5, seed=1)
    whole, part = judged(channels, data), judged(channels, data, channels=["two", "zero"])
    assert list(part) == ["saturated", "saturated[two]", "saturated[zero]"] + [
        name for kind in ("ks", "ad") for name in (f"{kind}_max", f"{kind}_sum", f"{kind}[two]")
    ]
    assert whole["saturated"] - part["saturated"] == pytest.approx(whole["saturated[one]"])
    assert part["ks_max"] == pytest.approx(whole["ks[two]"])
    assert whole["ks_max"] == pytest.approx(np.maximum(whole["ks[one]"], whole["ks[two]"]))
    assert whole["ad_sum"] == pytest.approx(whole["ad[one]"] + whole["ad[two]"])
    assert degrees_of_freedom(channels) == 9 + 1 - 3
    assert degrees_of_freedom(channels, channels=["two", "zero"]) is None
    assert degrees_of_freedom(channels, ["mu"], channels=["one", "two", "zero"]) == 8


def test_fits_that_are_not_certified_have_no_statistics(channels):
    data = toymill.throw(channels, channels.parameters.init, 3, seed=1)
    fits = toymill.fit(channels, data, covariance=False)
    fits.status[1] = toymill.Status.NOT_CONVERGED
    found = statistics(channels, fits, data)
    assert all(np.isnan(values).tolist() == [False, True, False] for values in found.values())
    fits.status[:] = toymill.Status.NOT_CONVERGED
    none = statistics(channels, fits, data)
    assert list(found) == list(none)
    assert all(np.isnan(values).all() for values in none.values())
    with pytest.raises(toymill.ToymillError, match="not certified"):
        goodness_of_fit({name: values[:1] for name, values in none.items()}, found)


def test_p_values_count_ties_and_failed_toys():
    toys = {"saturated": np.array([1.0, 2.0, 2.0 - 1e-9, 3.0, np.nan])}
    found = goodness_of_fit({"saturated": 2.0}, toys, degrees_of_freedom=2)["saturated"]
    assert (found.p_value.beyond, found.p_value.toys, found.p_value.failed) == (3, 4, 1)
    assert (found.p_value.value, found.p_value.if_failed_below, found.p_value.if_failed_beyond) == (0.75, 0.6, 0.8)
    assert found.asymptotic == pytest.approx(np.exp(-1))
    assert goodness_of_fit({"ks_max": 2.0}, {"ks_max": toys["saturated"]})["ks_max"].asymptotic is None
    with pytest.raises(toymill.ToymillError, match="no statistic 'ad_max'"):
        goodness_of_fit({"ad_max": 2.0}, toys)


def test_the_p_value_of_a_discrete_model(flat):
    """Every pair of counts enumerated, at the rate that is fitted to those observed."""
    n = np.arange(60)
    pairs = np.stack(np.meshgrid(n, n, indexing="ij"), axis=-1).reshape(-1, 2).astype(float)
    mean = np.maximum(pairs.mean(axis=1, keepdims=True), 1e-3)
    deviance = 2 * np.sum(scipy.special.xlogy(pairs, pairs / mean) - pairs + mean, axis=1)
    probability = np.prod(scipy.stats.poisson.pmf(pairs, 6.0), axis=1)
    seen = judged(flat, [[9.0, 3.0]])
    exact = probability[deviance >= seen["saturated"][0] - 1e-6].sum()
    toys = toymill.throw(flat, [6.0], 20_000, seed=8)
    found = goodness_of_fit(seen, judged(flat, toys), degrees_of_freedom=1)
    assert found["saturated"].p_value.value == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000))
    assert found["saturated"].asymptotic == pytest.approx(exact, abs=0.03)


def test_p_values_are_uniform_over_data_that_the_model_made(hww):
    truth = hww.parameters.init
    toys = judged(hww, toymill.throw(hww, truth, 2000, seed=1, stream="toys"))
    data = judged(hww, toymill.throw(hww, truth, 300, seed=1, stream="data"))
    degrees = degrees_of_freedom(hww)
    assert np.mean(toys["saturated"]) == pytest.approx(degrees, abs=4 * np.sqrt(2 * degrees / 2000))
    for name in ("saturated", "ks_max", "ad_sum"):
        p = [goodness_of_fit({name: value}, {name: toys[name]})[name].p_value.value for value in data[name]]
        assert scipy.stats.kstest(p, "uniform").pvalue > 0.003
    asymptotic = scipy.stats.chi2.sf(data["saturated"], degrees)
    assert scipy.stats.kstest(asymptotic, "uniform").pvalue > 0.003


def test_mistakes(channels):
    data = toymill.throw(channels, channels.parameters.init, 2, seed=1)
    fits = toymill.fit(channels, data, covariance=False)
    for options, words in [({"channels": ["on"]}, "no channel 'on'"), ({"channels": []}, "channels is empty")]:
        with pytest.raises(toymill.ToymillError, match=words):
            statistics(channels, fits, data, **options)
    with pytest.raises(toymill.ToymillError, match=r"data has shape \(1, 10\); expected \(2, 10\)"):
        statistics(channels, fits, data[0])
    density = normal.build(n=5)
    for function in (channels_of, lambda model: saturated_nll(model, np.zeros(5))):
        with pytest.raises(toymill.ToymillError, match="states a density"):
            function(density)
