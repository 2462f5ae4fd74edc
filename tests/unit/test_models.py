"""The package's own models against their closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import toymill
from toymill.fitting.conditional import fit_tests
from toymill.inference.information import cramer_rao, expected_information, noncentralities, observed_information
from toymill.models import extended, normal, poisson


def test_poisson_estimate_is_the_mean():
    model = poisson.build(n=5)
    counts = np.array([[0, 0, 0, 0, 1], [3, 1, 4, 1, 5], [100, 90, 110, 95, 105], [2e5, 2e5 + 1, 2e5, 2e5, 2e5]])
    fits = toymill.fit(model, counts, covariance=False)
    assert fits.ok.all()
    np.testing.assert_allclose(fits.parameters[:, 0], counts.mean(axis=1), rtol=1e-10)
    np.testing.assert_allclose(fits.nll, -scipy.stats.poisson.logpmf(counts, counts.mean(axis=1)[:, None]).sum(axis=1))
    np.testing.assert_allclose(fits.errors[:, 0], np.sqrt(counts.mean(axis=1) / 5), rtol=1e-8)


def test_poisson_without_events_is_at_its_bound():
    fits = toymill.fit(poisson.build(n=3), np.zeros((1, 3)), covariance=False)
    assert fits.status[0] == toymill.Status.AT_BOUND
    assert fits.parameters[0, 0] == 0
    assert fits.nll[0] == 0


@pytest.mark.parametrize(("rate", "tested"), [(0.4, 0.4), (0.4, 0.9), (2.0, 2.0)])
def test_poisson_t_has_its_exact_distribution(rate, tested):
    """N = Σ n is Poisson(kλ), t = 2(kμ - N + N ln(N/kμ)): each value by enumeration, its frequency within 4 sigma."""
    k, toys = 3, 20000
    model = poisson.build(n=k)
    data = toymill.throw(model, [rate], toys, seed=5)
    free, (held,) = fit_tests(model, data, [{"rate": tested}])
    assert free.ok.all()
    t = toymill.t_mu(free, held)
    total = data.sum(axis=1)
    exact = 2 * (k * tested - total + scipy.special.xlogy(total, total / (k * tested)))
    np.testing.assert_allclose(t, exact, rtol=1e-8, atol=1e-9)
    seen = 0
    for number in range(40):
        probability = scipy.stats.poisson.pmf(number, k * rate)
        count = int((total == number).sum())
        seen += count
        assert abs(count - toys * probability) < 4 * np.sqrt(toys * probability) + 2
    assert seen == toys


def test_on_off_estimates_and_significance():
    """s = n_on - n_off/τ; √q_0 is Z_PL of Cousins, Linnemann and Tucker (physics/0702156, table 1)."""
    for (n_on, n_off, tau), significance in {(4, 5, 5.0): 1.947, (50, 55, 2.0): 3.023}.items():
        model = poisson.build_on_off(tau=tau, observed=[n_on, n_off])
        free = toymill.fit(model, model.observed, covariance=False)
        np.testing.assert_allclose(free.parameters[0], [n_on - n_off / tau, n_off / tau], rtol=1e-10)
        q_0 = toymill.q_0(free, toymill.fit(model, model.observed, {"s": 0.0}, covariance=False))
        assert np.sqrt(q_0[0]) == pytest.approx(significance, abs=6e-4)


def test_normal_estimates_are_the_moments():
    model = normal.build(n=7)
    data = toymill.throw(model, [0.3, 1.1], 500, seed=1)
    loose, fits = (
        toymill.fit(model, data, covariance=False),
        toymill.fit(model, data, tolerance=1e-12, covariance=False),
    )
    assert loose.ok.all()
    np.testing.assert_allclose(np.exp(loose.parameters[:, 1]), data.var(axis=1), rtol=1e-8)
    assert fits.ok.all()
    np.testing.assert_allclose(fits.parameters[:, 0], data.mean(axis=1), atol=1e-10)
    np.testing.assert_allclose(np.exp(fits.parameters[:, 1]), data.var(axis=1), rtol=1e-10)
    log_density = scipy.stats.norm.logpdf(data, data.mean(axis=1)[:, None], data.std(axis=1)[:, None])
    np.testing.assert_allclose(-fits.nll, log_density.sum(axis=1), rtol=1e-12)


def test_normal_bias_and_distribution_of_t():
    """E[σ̂²] = σ²(n-1)/n within 3 Monte Carlo errors; t_μ = n ln(1 + T²/(n-1)) with Student's T."""
    n, sigma2, toys = 5, 2.0, 20000
    model = normal.build(n=n)
    truth = np.array([1.0, np.log(sigma2)])
    data = toymill.throw(model, truth, toys, seed=2)
    free, (held,) = fit_tests(model, data, [{"mu": 1.0}])
    variance = np.exp(free.parameters[:, 1])
    error = variance.std() / np.sqrt(toys)
    assert abs(variance.mean() - sigma2 * (n - 1) / n) < 3 * error
    assert abs(variance.mean() - sigma2) > 20 * error
    spread = free.parameters[:, 0].var(ddof=1)  # Var[μ̂] = σ²/n
    assert abs(spread - sigma2 / n) < 3 * spread * np.sqrt(2 / toys)
    t = toymill.t_mu(free, held)
    expected = scipy.stats.t(n - 1)
    assert scipy.stats.kstest(np.sqrt((n - 1) * np.expm1(t / n)), lambda x: 2 * expected.cdf(x) - 1).pvalue > 1e-3


def test_normal_information_and_bound():
    model = normal.build(n=10)
    truth = np.array([0.5, np.log(3.0)])
    found = expected_information(model, truth)
    assert found.method == "model"
    np.testing.assert_allclose(found.matrix, np.diag([10 / 3.0, 5.0]), rtol=1e-13)
    np.testing.assert_allclose(cramer_rao(found.matrix, model.parameters.fixed), np.diag([0.3, 0.2]), rtol=1e-13)
    toys = toymill.throw(model, truth, 4000, seed=3)
    observed = observed_information(model, truth, toys)
    error = observed.std(axis=0) / np.sqrt(4000)
    assert (np.abs(observed.mean(axis=0) - found.matrix) <= 4 * error + 1e-12).all()


def test_information_of_a_model_that_does_not_state_it_comes_from_toys():
    stated = normal.build(n=10)
    from dataclasses import replace

    found = expected_information(replace(stated, information=None), stated.parameters.init, stream="a")
    assert found.method == "toys"
    assert (np.abs(found.matrix - np.diag([10.0, 5.0])) <= 4 * found.error + 1e-12).all()
    assert found.error[1, 1] > 0


def test_information_of_counts_and_their_constraints():
    """On/off: I = [[1/(s+b), 1/(s+b)], [1/(s+b), 1/(s+b) + τ/b]], whose inverse is [[s+b+b/τ, -b/τ], [-b/τ, b/τ]]."""
    model = poisson.build_on_off(tau=2.0)
    found = expected_information(model, np.array([6.0, 9.0]))
    assert found.method == "counts"
    bound = cramer_rao(found.matrix, model.parameters.fixed)
    np.testing.assert_allclose(bound, [[15 + 4.5, -4.5], [-4.5, 4.5]], rtol=1e-12)


def test_degenerate_information_has_no_bound():
    assert cramer_rao(np.ones((2, 2)), np.zeros(2, dtype=bool)) is None
    np.testing.assert_allclose(cramer_rao(np.ones((2, 2)), np.array([False, True])), [[1.0]])


@pytest.fixture(scope="module")
def peak():
    return extended.build()


def test_extended_density_is_normalised(peak):
    """The log-likelihood of one event, integrated over the range, is that of a Poisson number 1."""
    x = np.linspace(100, 160, 6001)
    params = np.array([20.0, 200.0, 2.0, 125.0, 2.0])
    room = len(peak.data_names) - 1
    rows = np.zeros((len(x), room + 1))
    rows[:, 0], rows[:, 1] = 1, x
    density = np.exp(np.asarray(peak.logpdf(np.tile(params, (len(x), 1)), rows)) + 220.0)
    assert scipy.integrate.simpson(density, x=x) == pytest.approx(220.0, rel=1e-9)


@pytest.mark.parametrize("slope", [0.0, 1e-4, -1e-4, 9.9e-4, 1.01e-3, 3.0, -3.0])
def test_extended_background_density(peak, slope):
    """Against SciPy's truncated exponential, across the series at slope 0; and its derivative is smooth there."""
    room = len(peak.data_names) - 1
    row = np.zeros(room + 1)
    row[:2] = 1, 117.0
    params = np.array([0.0, 100.0, slope, 125.0, 2.0])
    scale = 60 / slope if slope else None
    expected = 1 / 60 if scale is None else np.exp(-17 / scale) / (scale * -np.expm1(-60 / scale))
    np.testing.assert_allclose(peak.logpdf(params, row), -100 + np.log(100 * expected), rtol=1e-12)


def test_extended_events_follow_their_density(peak):
    truth = peak.parameters.values({"signal": 100.0, "background": 150.0})
    data = toymill.throw(peak, truth, 2000, seed=1)
    number = data[:, 0].astype(int)
    assert abs(number.mean() - 250) < 4 * np.sqrt(250 / 2000)
    assert number.var() == pytest.approx(250, rel=0.15)
    mask = np.arange(data.shape[1] - 1) < number[:, None]
    assert (data[:, 1:][~mask] == 0).all()
    events = data[:, 1:][mask]

    def cdf(x):
        norm = scipy.stats.norm(125, 2)
        of_peak = (norm.cdf(x) - norm.cdf(100)) / (norm.cdf(160) - norm.cdf(100))
        return (100 * of_peak + 150 * np.expm1(-2 * (x - 100) / 60) / np.expm1(-2)) / 250

    assert scipy.stats.kstest(events, cdf).pvalue > 1e-3


def test_extended_information_is_the_integral(peak):
    """Against SciPy's quadrature, and the toys' covariance against the bound."""
    truth = peak.parameters.init
    found = expected_information(peak, truth).matrix

    def rate(p, x):
        norm = scipy.stats.norm(p[3], p[4])
        falling = p[2] / -np.expm1(-p[2]) / 60 * np.exp(-p[2] * (x - 100) / 60)
        return p[0] * norm.pdf(x) / (norm.cdf(160) - norm.cdf(100)) + p[1] * falling

    def element(i, j):
        def slope(k, x):
            step = np.eye(5)[k] * 1e-4
            return (rate(truth + step, x) - rate(truth - step, x)) / 2e-4

        integrand = lambda x: slope(i, x) * slope(j, x) / rate(truth, x)  # noqa: E731
        return scipy.integrate.quad(integrand, 100, 160, points=[115, 125, 135], epsabs=1e-12)[0]

    for i in range(5):
        for j in range(i + 1):
            assert found[i, j] == pytest.approx(element(i, j), rel=1e-5, abs=1e-9)


def test_an_extended_toy_that_is_too_long_is_refused():
    model = extended.build(capacity=30)
    with pytest.raises(toymill.ToymillError, match="give it more capacity"):
        toymill.throw(model, model.parameters.init, 5)


def test_extended_without_events(peak):
    """Nothing seen: the likelihood is exp(-S - B), and both yields end at 0."""
    fits = toymill.fit(peak, np.zeros(len(peak.data_names)), fixed={"slope": 2.0})
    np.testing.assert_array_equal(fits.parameters[0, :2], 0)
    np.testing.assert_allclose(fits.nll[0], 0, atol=1e-12)
    assert fits.status[0] == toymill.Status.AT_BOUND


@pytest.mark.parametrize("build", [poisson.build, poisson.build_on_off, normal.build, extended.build])
def test_the_models_pass_their_own_checks(build):
    toymill.check_model(build())


def test_derived_variance():
    assert float(normal.build(variance=3.0).derived["variance"](jnp.array([0.0, jnp.log(3.0)]))) == pytest.approx(3.0)
    assert jax.numpy.zeros(0).dtype == jnp.float64


def test_noncentrality_of_counts_stated_as_a_density_is_the_asimov_t():
    """On/off counts thrown by JAX: the mean likelihood of toys against t of the Asimov dataset, within its error."""

    def logpdf(params, n):
        rates = jnp.array([params[0] + params[1], params[1]])
        return jnp.sum(n * jnp.log(rates) - rates - jax.scipy.special.gammaln(n + 1))

    def throw(key, params):
        return jax.random.poisson(key, jnp.array([params[0] + params[1], params[1]])).astype(jnp.float64)

    parameters = {"s": toymill.Parameter(6.0, (-8.0, 99.0)), "b": toymill.Parameter(50.0, (10.0, 99.0))}
    density = toymill.define_model(parameters, poi="s", logpdf=logpdf, throw=throw)
    counts = poisson.build_on_off(background=50.0)
    truth = np.array([20.0, 50.0])
    asimov = toymill.throw(counts, truth, 1, mode="asimov")
    free, (held,) = fit_tests(counts, asimov, [{"s": 0.0}])
    bound = cramer_rao(expected_information(density, truth, stream="a").matrix, density.parameters.fixed)
    (found,) = noncentralities(density, truth, [0.0], bound, stream="a")
    assert 0 < found.error < 0.2
    assert abs(found.value - toymill.t_mu(free, held)[0]) < 4 * found.error


def test_noncentrality_of_a_normal_sample():
    """Variance free: 2 E[Δ nll] at the best variance, σ² + δ², is n ln(1 + δ²/σ²)."""
    model = normal.build(n=10)
    truth = np.array([0.0, 0.0])
    bound = cramer_rao(expected_information(model, truth).matrix, model.parameters.fixed)
    (found,) = noncentralities(model, truth, [0.5], bound, stream="a")
    assert abs(found.value - 10 * np.log1p(0.25)) < 4 * found.error
