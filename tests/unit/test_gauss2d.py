"""The image: its noise, information, fits, robustness, and its likelihood at 3000 × 3000 pixels' worth of care."""

import jax
import numpy as np
import pytest
import scipy.stats

import toymill
from toymill.inference.information import cramer_rao, derivatives, expected_information
from toymill.models import gauss2d

TRUTH = np.array([0.0, 0.0, 1.0, 0.5, 0.0, 0.0])


@pytest.mark.parametrize(
    ("noise", "distribution"), [("cauchy", scipy.stats.cauchy(0, 0.5)), ("normal", scipy.stats.norm(0, 0.5))]
)
def test_toys_are_the_image_and_its_noise(noise, distribution):
    model = gauss2d.build(n=15, thrown_noise=noise)
    toys = toymill.throw(model, TRUTH, 200, seed=1)
    assert toys.shape == (200, 225)
    y, x = np.meshgrid(np.linspace(-2, 2, 15), np.linspace(-2, 2, 15), indexing="ij")
    noise_alone = toys - np.exp(-(x**2 + y**2) / 0.5).ravel()
    assert scipy.stats.kstest(noise_alone.ravel(), distribution.cdf).pvalue > 1e-3
    assert model.data_names[16] == "pixel[1,1]"


@pytest.mark.parametrize("noise", ["cauchy", "normal"])
def test_likelihood_is_scipys(noise):
    model = gauss2d.build(n=9, noise=noise, g=0.3)
    params = np.array([0.1, -0.2, 1.3, 0.6, 0.2, -0.1])
    data = toymill.throw(model, params, 3, seed=2)
    mean = np.asarray(gauss2d.image(params, 9)).ravel()
    density = (scipy.stats.cauchy if noise == "cauchy" else scipy.stats.norm).logpdf(data, mean, 0.3).sum(axis=1)
    np.testing.assert_allclose(model.logpdf(np.tile(params, (3, 1)), data), density, rtol=1e-12)


@pytest.mark.parametrize(("noise", "weight"), [("cauchy", 2.0), ("normal", 4.0)])
def test_information_is_the_mean_hessian(noise, weight):
    """Σ (∂m)(∂m)ᵀ/(2g²), or /g², at g = 0.5: as stated, and as toys have it."""
    from dataclasses import replace

    model = gauss2d.build(n=15, noise=noise)
    slopes = np.asarray(jax.jacfwd(gauss2d.image)(TRUTH, 15)).reshape(225, 6)
    stated = expected_information(model, TRUTH)
    np.testing.assert_allclose(stated.matrix, weight * slopes.T @ slopes, rtol=1e-12, atol=1e-12)
    found = expected_information(replace(model, information=None), TRUTH)
    assert found.method == "toys"
    assert (np.abs(found.matrix - stated.matrix) <= 4.5 * found.error + 1e-9).all()


def test_least_squares_reaches_the_bound():
    """Normal noise of a tenth of the amplitude: the toys' covariance is the Cramér-Rao bound within its error."""
    model = gauss2d.build(n=21, noise="normal", g=0.1)
    toys = toymill.throw(model, TRUTH, 1500, seed=3)
    fits = toymill.fit(model, toys, covariance=False)
    assert fits.ok.all()
    bound = np.diag(cramer_rao(expected_information(model, TRUTH).matrix, model.parameters.fixed))
    ratio = fits.parameters.var(axis=0, ddof=1) / bound
    np.testing.assert_allclose(ratio, 1, atol=4.5 * np.sqrt(2 / 1500))


def test_outliers_move_least_squares_and_hardly_the_cauchy_fit():
    """The same toys with normal noise and five pixels that are 20 too bright, fitted both ways."""
    options = {"n": 21, "g": 0.2, "thrown_noise": "normal", "outliers": 5}
    cauchy, normal = gauss2d.build(noise="cauchy", **options), gauss2d.build(noise="normal", **options)
    toys = toymill.throw(cauchy, TRUTH, 150, seed=5)
    np.testing.assert_array_equal(toys, toymill.throw(normal, TRUTH, 150, seed=5))
    assert ((toys > 15).sum(axis=1) == 5).all()
    held = {"x0": 0.0, "y0": 0.0, "rho": 0.0, "delta": 0.0, "sigma": 0.5}
    away = {
        name: np.abs(toymill.fit(model, toys, held).parameter("amp") - 1)
        for name, model in {"cauchy": cauchy, "normal": normal}.items()
    }
    assert np.median(away["cauchy"]) < 0.1
    assert np.mean(away["normal"]) > 3 * np.mean(away["cauchy"])


def test_one_large_image_is_evaluated_in_blocks():
    """toymill.derivatives against the general path, on an image of many chunks."""
    model = gauss2d.build(n=101)
    data = toymill.throw(model, TRUTH, 1, seed=1)[0]
    found = derivatives(model, TRUTH, data)
    nll, gradient, hessian = jax.jit(model.kernel.exact)(model.arrays, TRUTH[:, None], data[:, None])
    np.testing.assert_allclose(found[0], nll[0], rtol=1e-12)
    np.testing.assert_allclose(found[1], gradient[:, 0], rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(found[2], hessian[0], rtol=1e-9, atol=1e-7)
    with pytest.raises(toymill.ToymillError, match="expected \\(10201,\\), one dataset"):
        derivatives(model, TRUTH, data[:5])


def test_derivatives_of_a_workspace(onoff):
    x = onoff.parameters.init + 0.1
    nll, gradient, hessian = toymill.derivatives(onoff, x, onoff.observed)
    np.testing.assert_allclose(nll, -onoff.logpdf(x, onoff.observed), rtol=1e-13)
    np.testing.assert_allclose(gradient, jax.grad(lambda p: -onoff.logpdf(p, onoff.observed))(x), rtol=1e-9)
    np.testing.assert_allclose(hessian, jax.hessian(lambda p: -onoff.logpdf(p, onoff.observed))(x), rtol=1e-9)


def test_an_image_of_millions_of_pixels_is_a_small_model():
    """Names and the ways that data fluctuate take no memory of their own."""
    model = gauss2d.build(n=3000)
    assert len(model.data_names) == 9_000_000
    assert model.data_names[-1] == "pixel[2999,2999]"
    assert all(part.strides == (0,) for part in model.sampling)


def test_the_image_passes_its_own_checks():
    toymill.check_model(gauss2d.build(n=9, thrown_noise="normal", outliers=2))


def test_wrong_closed_derivatives_are_refused():
    from dataclasses import replace

    model = gauss2d.build(n=9)
    other = toymill.define_model(
        {name: toymill.Parameter(float(value)) for name, value in zip(gauss2d.PARAMETERS, TRUTH, strict=True)},
        terms=gauss2d.cauchy_terms(9, 0.5),
        row_derivatives=gauss2d.cauchy_derivatives(9, 0.4),
        throw=lambda key, params: gauss2d.image(params, 9) + 0.5 * jax.random.cauchy(key, (9, 9)),
    )
    with pytest.raises(toymill.ToymillError, match="row_derivatives are not the derivatives of terms"):
        toymill.check_model(other)
    assert replace(model, terms=None).row_sum is model.row_sum
