"""Throwing: the same toys everywhere, and the right distributions."""

import numpy as np
import pytest
import scipy.stats

import toymill
from toymill import budget, toys


def test_a_toy_depends_on_seed_stream_and_index_only(hww):
    truth = hww.parameters.init
    whole = toymill.throw(hww, truth, 100, seed=4, stream="mu1")
    for first, count in ((0, 1), (37, 20), (99, 1)):
        part = toymill.throw(hww, truth, count, seed=4, first=first, stream="mu1")
        np.testing.assert_array_equal(part, whole[first : first + count])


def test_these_bits_for_ever():
    """A change here changes every study: raise the schema version if it is meant."""
    expected = [[0.6475347488437843, 0.3518618918391695, 0.3651502722525467]]
    np.testing.assert_array_equal(toys.uniforms(42, "mu1", 5, 1, 3), expected)


def test_uniforms_are_uniform_and_inside():
    u = toys.uniforms(1, "s", 0, 20000, 7)
    assert u.min() > 0
    assert u.max() < 1
    assert scipy.stats.kstest(u.ravel(), "uniform").pvalue > 1e-3
    correlation = np.corrcoef(u.T) - np.eye(7)
    assert np.abs(correlation).max() < 5 / np.sqrt(20000)


@pytest.mark.parametrize(("seed", "stream"), [(43, "a"), (42, "b")])
def test_neighbouring_seeds_and_streams_share_nothing(seed, stream):
    one = toys.uniforms(42, "a", 0, 1000, 4)
    other = toys.uniforms(seed, stream, 0, 1000, 4)
    assert not np.intersect1d(one, other).size


@pytest.mark.parametrize("mean", [0.0, 1e-3, 0.7, 12.5, 450.0, 3.2e5])
def test_poisson_is_the_inverse_distribution(mean):
    u = np.concatenate([toys.uniforms(3, "p", 0, 3000, 1)[:, 0], [1e-12, 1e-6, 0.5, 1 - 1e-6, 1 - 1e-12]])
    n = toys._poisson(u, np.float64(mean))
    assert (scipy.special.pdtr(n, mean) >= u).all()
    assert ((n == 0) | (scipy.special.pdtr(n - 1, mean) < u)).all()


@pytest.mark.parametrize("mean", [0.0, 1e-12, 1e-3, 0.7, 3.0, 50.0, 450.0, 3.2e4, 9.9e5])
def test_the_guide_table_finds_what_the_search_does(mean):
    """Also at the ends of the guide's cells, beside every step of the distribution, and in the last bits of the tails."""
    table = toys._inverse_poisson(mean)
    ends = np.arange(1, len(table.low)) / len(table.low)
    tails = 2.0 ** -np.arange(1, 54)
    beside = [ends, table.cdf, tails, 1 - tails]
    beside += [np.nextafter(item, side) for item in beside for side in (0.0, 1.0)]
    u = np.concatenate([toys.uniforms(5, "g", 0, 50000, 1)[:, 0], *beside])
    u = u[(u > 0) & (u < 1)]
    np.testing.assert_array_equal(toys._by_guide(u, table), toys._by_search(u, table))


def test_toys_are_the_plain_ones(spec):
    """Chunks and tables change no bit of what each datum's inverse distribution gives at its uniform number."""
    model = toymill.read_workspace(spec)
    truth = model.parameters.init
    count = 2 * toys._NUMBERS // len(model.data_names) + 7
    expected, u = np.asarray(model.expected_data(truth)), toys.uniforms(3, "s", 11, count, len(model.data_names))
    plain = expected + model.sampling.sigma * scipy.special.ndtri(u)
    for datum in np.flatnonzero(model.sampling.poisson):
        plain[:, datum] = toys._by_search(u[:, datum], toys._inverse_poisson(float(expected[datum])))
    np.testing.assert_array_equal(toymill.throw(model, truth, count, seed=3, first=11, stream="s"), plain)


@pytest.mark.parametrize("mode", ["frequentist", "main-only", "hybrid", "templates"])
def test_a_model_of_very_many_bins_has_the_same_toys(spec, monkeypatch, mode):
    """More tables than are kept would be made anew for every lot of toys: counts are found without any."""
    model = toymill.read_workspace(spec)
    before = toys.throw(model, model.parameters.init, 300, seed=5, mode=mode)
    monkeypatch.setattr(budget, "TABLES", 0)
    np.testing.assert_array_equal(toys.throw(model, model.parameters.init, 300, seed=5, mode=mode), before)


def test_lots_of_any_size_have_the_same_toys(hww, monkeypatch):
    before = toys.throw(hww, hww.parameters.init, 5000, seed=5)
    for numbers, lot in ((1, 1), (1, 700), (2**20, 1)):
        monkeypatch.setattr(toys, "_NUMBERS", numbers)
        monkeypatch.setattr(toys, "_LOT", lot)
        np.testing.assert_array_equal(toys.throw(hww, hww.parameters.init, 5000, seed=5), before)


def test_no_more_tables_are_kept_than_memory_is_given_for_them(monkeypatch):
    """What is reckoned of a table is what it takes, and a table is made once as long as it is kept."""
    tables = toys._Tables()
    for mean in (0.01, 7.0, 450.0, 3e4, 9e5):
        table = tables.of(mean)
        assert tables.of(mean) is table
        taken = table.cdf.nbytes + table.low.nbytes + table.cut.nbytes
        assert 0.4 * taken < toys._table_bytes(np.array([mean])) < 1.5 * taken
    monkeypatch.setattr(budget, "TABLES", 2**16)
    for mean in np.linspace(20, 40, 50):
        tables.of(mean)
        assert tables.bytes <= 2**16
    assert 0 < len(tables.kept) < 10


@pytest.mark.parametrize("mean", [0.0, 1e-7, 0.01, 0.7, 3.0, 40.0, 2e4, 9e5])
def test_steps_find_what_the_search_does(mean):
    u = np.concatenate([np.random.default_rng(6).random(5000), [2.0**-53, 1.5 * 2.0**-52, 1 - 2.0**-53]])
    np.testing.assert_array_equal(
        toys._by_steps(u, np.full(u.shape, mean)), toys._by_search(u, toys._inverse_poisson(mean))
    )


def test_poisson_of_a_large_mean():
    u = toys.uniforms(3, "p", 0, 20000, 1)[:, 0]
    mean = 1.9e11
    n = toys._poisson(u, np.float64(mean))
    assert (n == np.round(n)).all()
    assert scipy.stats.kstest((n - mean) / np.sqrt(mean), "norm").pvalue > 1e-3
    boundary = 2e6
    np.testing.assert_allclose(toys._poisson(u[:50], boundary), scipy.stats.poisson.ppf(u[:50], boundary), atol=1)


def test_poisson_of_many_means_is_the_same():
    u = toys.uniforms(3, "p", 0, 500, 1)[:, 0]
    many = toys._poisson(u, np.full(500, 33.3))
    np.testing.assert_array_equal(many, toys._poisson(u, np.float64(33.3)))


def test_moments_of_main_and_auxiliary_data(spec):
    model = toymill.read_workspace(spec)
    truth = model.parameters.values({"mu": 2.0, "jes": 0.5, "fake_stat[0]": 1.2, "mc_sr[1]": 0.97})
    expected = np.asarray(model.expected_data(truth))
    data = toymill.throw(model, truth, 20000, seed=11)
    sigma = np.where(model.sampling.poisson, np.sqrt(np.abs(expected)), model.sampling.sigma)
    error = sigma / np.sqrt(len(data))
    assert (np.abs(data.mean(axis=0) - expected) < 4.5 * error).all()
    np.testing.assert_allclose(data.std(axis=0), sigma, rtol=0.04)
    counts = data[:, model.sampling.poisson]
    np.testing.assert_array_equal(counts, np.round(counts))


def test_main_only_leaves_auxiliary_data_as_observed(hww):
    data = toymill.throw(hww, hww.parameters.init, 10, mode="main-only")
    auxiliary = hww.sampling.auxiliary
    np.testing.assert_array_equal(data[:, auxiliary], np.tile(hww.observed[auxiliary], (10, 1)))
    np.testing.assert_array_equal(data[:, ~auxiliary], toymill.throw(hww, hww.parameters.init, 10)[:, ~auxiliary])


def test_asimov_is_the_expectation(hww):
    data = toymill.throw(hww, hww.parameters.init, 2, mode="asimov")
    np.testing.assert_array_equal(data[1], hww.expected_data(hww.parameters.init))


def test_hybrid_widens_the_counts_by_the_nuisances(hww):
    """Var(n) = E[ν] + Var(ν): the spread of a sum of bins grows by the nuisance parameters' effect."""
    data = toymill.throw(hww, hww.parameters.init, 4000, mode="hybrid", seed=2)
    auxiliary = hww.sampling.auxiliary
    np.testing.assert_array_equal(data[:, auxiliary], np.tile(hww.observed[auxiliary], (4000, 1)))
    total = data[:, ~auxiliary].sum(axis=1)
    assert np.var(total) > 3 * np.mean(total)
    alone = toymill.throw(hww, hww.parameters.init, 4000, mode="main-only", seed=2)[:, ~auxiliary].sum(axis=1)
    assert np.var(alone) == pytest.approx(np.mean(alone), rel=0.1)


def test_hybrid_draws_gamma_for_poisson_constraints(spec):
    model = toymill.read_workspace(spec)
    u = toys.uniforms(0, "h", 0, 20000, len(model.data_names))
    values = toys._draw_nuisances(model, model.parameters.init, np.arange(u.shape[1]), u)
    position = model.parameters.index("fake_stat[0]")
    assert scipy.stats.kstest(values[:, position], scipy.stats.gamma(16 + 1, scale=1 / 16).cdf).pvalue > 1e-3
    invalid = model.parameters.index("fake_stat[1]")  # no yield there: the parameter is fixed
    assert (values[:, invalid] == 1).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"count": 0}, "count is 0; expected a whole number, at least 1"),
        ({"seed": -1}, "seed is -1"),
        ({"first": 0.5}, "first is 0.5"),
        ({"mode": "frequentst"}, "Did you mean 'frequentist'"),
        ({"params": [1.0]}, r"params has shape \(1,\)"),
    ],
)
def test_refusals(hww, arguments, words):
    with pytest.raises(toymill.ToymillError, match=words):
        toymill.throw(hww, **({"params": hww.parameters.init, "count": 1} | arguments))


def test_negative_expectation_is_refused(onoff):
    truth = onoff.parameters.values({"mu": -2.0, "b": 0.5})
    with pytest.raises(toymill.ToymillError, match=r"expectation of on\[0\] is -50 at the truth"):
        toymill.throw(onoff, truth, 1)
