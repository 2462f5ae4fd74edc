"""Test statistics by their definitions; asymptotic distributions and counted quantities against closed forms."""

import numpy as np
import pytest
import scipy.stats

import toymill
from toymill.fitting.conditional import fit_more_tests, fit_tests
from toymill.fitting.results import Fits
from toymill.fitting.status import Status
from toymill.inference.asymptotics import asymptotic_cdf
from toymill.inference.counting import Distribution, fraction, moments, quantile


def fits(nll, mu, fixed=None, status=None):
    count = len(nll)
    return Fits(
        names=("theta", "mu"),
        poi="mu",
        fixed={} if fixed is None else {"mu": fixed},
        parameters=np.stack([np.zeros(count), np.broadcast_to(mu, count)], axis=1),
        errors=np.ones((count, 2)),
        nll=np.asarray(nll, dtype=float),
        status=np.full(count, Status.CERTIFIED) if status is None else np.asarray(status),
        edm=np.zeros(count),
        iterations=np.ones(count, dtype=int),
    )


FREE = fits([10.0, 10.0, 10.0], [-0.5, 0.7, 1.8])
AT_0 = fits([10.2, 10.9, 14.0], 0.0, fixed=0.0)
AT_1 = fits([13.0, 10.4, 11.0], 1.0, fixed=1.0)


def test_definitions():
    np.testing.assert_allclose(toymill.t_mu(FREE, AT_1), [6.0, 0.8, 2.0])
    np.testing.assert_allclose(toymill.q_mu(FREE, AT_1), [6.0, 0.8, 0.0])
    np.testing.assert_allclose(toymill.q_0(FREE, AT_0), [0.0, 1.8, 8.0])
    np.testing.assert_allclose(toymill.ttilde_mu(FREE, AT_1, AT_0), [5.6, 0.8, 2.0])
    np.testing.assert_allclose(toymill.qtilde_mu(FREE, AT_1, AT_0), [5.6, 0.8, 0.0])


def test_the_statistic_of_the_tevatron_is_a_difference():
    np.testing.assert_allclose(toymill.tevatron_ratio(AT_1, AT_0), [5.6, -1.0, -6.0])
    np.testing.assert_allclose(
        toymill.tevatron_ratio(AT_1, AT_0), toymill.t_mu(FREE, AT_1) - toymill.t_mu(FREE, AT_0), atol=1e-12
    )
    failed = fits([10.2, 10.9, 14.0], 0.0, fixed=0.0, status=[Status.CERTIFIED, Status.AT_FLOOR, Status.AT_BOUND])
    assert np.isnan(toymill.tevatron_ratio(AT_1, failed)).tolist() == [False, True, False]
    with pytest.raises(toymill.ToymillError, match=r"hold mu at 1\.0; expected 0"):
        toymill.tevatron_ratio(AT_0, AT_1)
    with pytest.raises(toymill.ToymillError, match="expected the parameter of interest 'mu'"):
        toymill.tevatron_ratio(FREE, AT_0)
    with pytest.raises(toymill.ToymillError, match="The conditional fits are of 3 toys, the background ones of 2"):
        toymill.tevatron_ratio(AT_1, fits([1.0, 2.0], 0.0, fixed=0.0))


def test_the_statistic_of_lep_is_of_nominal_parameters(onoff):
    """n_off ~ Poisson(100 b) does not tell, n_on ~ Poisson(50 μ + 100 b) does: Q = 2 (50 μ - n ln(1 + μ/2)) at b = 1."""
    data = np.array([[100.0, 150.0], [70.0, 90.0], [120.0, 0.0]])
    for mu in (1.0, 0.3, 0.0):
        expected = 2 * (50 * mu - data[:, 1] * np.log1p(mu / 2))
        np.testing.assert_allclose(toymill.lep_ratio(onoff, data, mu), expected, atol=1e-9)
    np.testing.assert_array_equal(toymill.lep_ratio(onoff, data[0], 1.0), toymill.lep_ratio(onoff, data, 1.0)[:1])
    with pytest.raises(toymill.ToymillError, match="Parameter 'mu' cannot be 30: its bounds are"):
        toymill.lep_ratio(onoff, data, 30.0)
    with pytest.raises(toymill.ToymillError, match=r"data has shape \(1, 1\)"):
        toymill.lep_ratio(onoff, [3.0], 1.0)


def test_a_toy_that_is_not_certified_has_no_statistic():
    failed = fits([13.0, 10.4, 11.0], 1.0, fixed=1.0, status=[Status.CERTIFIED, Status.NOT_CONVERGED, Status.AT_BOUND])
    for t in (toymill.t_mu(FREE, failed), toymill.q_mu(FREE, failed), toymill.qtilde_mu(FREE, failed, AT_0)):
        assert np.isnan(t).tolist() == [False, True, False]


def test_refusals():
    with pytest.raises(toymill.ToymillError, match="3 toys, the conditional ones of 2"):
        toymill.t_mu(FREE, fits([1.0, 2.0], 1.0, fixed=1.0))
    with pytest.raises(toymill.ToymillError, match=r"hold mu at 1\.0; expected 0"):
        toymill.q_0(FREE, AT_1)
    with pytest.raises(toymill.ToymillError, match="expected the parameter of interest 'mu'"):
        toymill.q_mu(FREE, FREE)


def test_negative_t_is_told():
    """Free fits that missed the minimum of two toys; a third is not certified, a fourth negative by rounding alone."""
    missed = fits([10.0, 12.0, 11.5, 12.0, 10.0 + 1e-9], -0.5, status=[1, 1, 1, Status.NOT_CONVERGED, 1])
    at_1 = fits([13.0, 10.0, 11.0, 10.0, 10.0], 1.0, fixed=1.0)
    at_0 = fits([13.0, 10.0, 11.0, 10.0, 10.0], 0.0, fixed=0.0)
    told = r"t is negative for 2 of 5 toys, down to -4: their free fits missed the minimum\. Use toymill\.test"
    for statistic in (toymill.t_mu, toymill.q_mu):
        with pytest.warns(toymill.ToymillWarning, match=told) as found:
            statistic(missed, at_1)
        assert found[0].filename == __file__
    for tilde in (toymill.ttilde_mu, toymill.qtilde_mu):
        with pytest.warns(toymill.ToymillWarning, match=told) as found:
            tilde(missed, at_1, at_0)
        assert found[0].filename == __file__
    with pytest.warns(toymill.ToymillWarning, match=told):
        toymill.q_0(missed, at_0)


def test_a_fit_that_holds_what_is_tested_is_not_free():
    held = fits([10.0, 10.0, 10.0], 1.0)
    held.errors[:, 1] = 0.0  # as of a parameter that the model fixes
    with pytest.raises(toymill.ToymillError, match="The free fits hold mu, as the conditional ones do"):
        toymill.t_mu(held, AT_0)
    with pytest.raises(toymill.ToymillError, match="The free fits hold mu, as the conditional ones do"):
        toymill.t_mu(AT_1, AT_0)


@pytest.fixture
def counting():
    """One bin with s = 10 and b = 50."""

    def read(**config):
        signal = {"name": "sig", "data": [10.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]}
        background = {"name": "bkg", "data": [50.0], "modifiers": []}
        parameters = [{"name": "mu", "bounds": [[0, 10]], "inits": [1.0]} | config]
        return toymill.read_workspace(
            {
                "channels": [{"name": "SR", "samples": [signal, background]}],
                "observations": [{"name": "SR", "data": [65.0]}],
                "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": parameters}}],
                "version": "1.0.0",
            }
        )

    return read


def test_t_of_a_count(counting):
    """t(0) = 2 (n ln(n/b) - n + b) for n > b, and 0 below, where μ̂ is at its bound."""
    free, (held,) = fit_tests(counting(), [[65.0], [48.0]], [{"mu": 0.0}])
    expected = [2 * (65 * np.log(65 / 50) - 65 + 50), 0.0]
    np.testing.assert_allclose(toymill.t_mu(free, held), expected, atol=1e-7)


def test_a_parameter_that_the_model_fixes_is_not_tested(counting):
    model = counting(fixed=True)
    with pytest.raises(toymill.ToymillError, match="tests hold 'mu', which the model fixes: no fit frees it"):
        fit_tests(model, [[65.0]], [{"mu": 0.0}])
    fixed = toymill.fit(model, [[65.0]])
    with pytest.raises(toymill.ToymillError, match="tests hold 'mu', which the model fixes"):
        fit_more_tests(model, [[65.0]], [{"mu": 0.0}], fixed, [fixed])
    with pytest.raises(toymill.ToymillError, match="The free fits hold mu"):
        toymill.t_mu(fixed, toymill.fit(model, [[65.0]], {"mu": 0.0}))
    with pytest.raises(toymill.ToymillError, match="fixed by the model: it has no interval"):
        toymill.profile_interval(model, [[65.0]])


def test_asymptotic_cdf_without_a_bound_is_the_noncentral_chi2():
    t = np.linspace(0.01, 40, 50)
    central = asymptotic_cdf(t, noncentrality=0.0, mu=1, truth=1, sigma=0.3)
    np.testing.assert_allclose(central, scipy.stats.chi2.cdf(t, 1), rtol=1e-12)
    for truth in (0.0, 2.0):
        found = asymptotic_cdf(t, noncentrality=1 / 0.3**2, mu=1, truth=truth, sigma=0.3)
        np.testing.assert_allclose(found, scipy.stats.ncx2.cdf(t, 1, 1 / 0.3**2), rtol=1e-9)


@pytest.mark.parametrize(("mu", "truth"), [(1.0, 1.0), (0.5, 0.0), (1.0, 0.2), (0.0, 0.0), (0.0, 0.6)])
def test_asymptotic_cdf_with_a_bound_is_that_of_a_bounded_normal(mu, truth):
    """t̃_μ of an estimator μ̂ ~ N(μ', σ) that may not be negative, thrown 200,000 times."""
    sigma, lower = 0.6, 0.0
    free = truth + sigma * scipy.stats.norm.ppf((np.arange(200000) + 0.5) / 200000)
    bounded = np.maximum(free, lower)
    t = ((free - mu) ** 2 - (free - bounded) ** 2) / sigma**2
    cdf = asymptotic_cdf(
        np.array([0.001, 0.1, 0.5, 1, 2, 2.7, 4, 7]),
        noncentrality=((mu - truth) / sigma) ** 2,
        mu=mu,
        truth=truth,
        sigma=sigma,
        lower=lower,
    )
    counted = [np.mean(t <= value) for value in (0.001, 0.1, 0.5, 1, 2, 2.7, 4, 7)]
    np.testing.assert_allclose(cdf, counted, atol=2e-5)


@pytest.mark.parametrize(("passed", "total"), [(0, 10), (10, 10), (3, 17), (950, 1000)])
def test_fraction_is_clopper_pearson(passed, total):
    found = fraction(passed, total, 0.9)
    low, high = scipy.stats.binomtest(passed, total).proportion_ci(0.9, method="exact")
    assert found == pytest.approx((passed / total, low, high), rel=1e-9)


def test_fraction_of_nothing():
    assert np.isnan(fraction(0, 0).value)
    assert fraction(0, 0)[1:] == (0.0, 1.0)


def test_moments_and_their_errors():
    """Over 2,000 samples of 400, the spread of the mean and of the rms is what their errors say."""
    samples = np.random.default_rng(3).exponential(size=(2000, 400))
    found = [moments(sample) for sample in samples]
    for name in ("mean", "rms"):
        spread = np.std([getattr(item, name) for item in found])
        said = np.mean([getattr(item, f"{name}_error") for item in found])
        assert said == pytest.approx(spread, rel=0.08)
    assert moments(np.array([1.0, np.nan, 3.0])).size == 2
    assert np.isnan(moments(np.array([1.0])).rms)


def test_quantile_interval_covers():
    """The interval of a sample's 90 % quantile holds the true one in 68 % of 3,000 samples."""
    truth = scipy.stats.expon.ppf(0.9)
    samples = np.random.default_rng(4).exponential(size=(3000, 500))
    inside = [low <= truth <= high for _, low, high in (quantile(Distribution.of(sample), 0.9) for sample in samples)]
    assert np.mean(inside) == pytest.approx(0.683, abs=4 * np.sqrt(0.683 * 0.317 / 3000))
