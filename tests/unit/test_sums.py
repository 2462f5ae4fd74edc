"""Sums over rows: against plain automatic differentiation, mpmath, and the information that Cauchy noise leaves."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from toymill.models import sums
from toymill.models.densities import log
from toymill.models.gauss2d import cauchy_derivatives, cauchy_terms, image, normal_terms, row_image

AWAY = np.array([0.1, -0.2, 1.3, 0.6, 0.2, -0.1])
TRUTH = np.array([0.0, 0.0, 1.0, 0.5, 0.0, 0.0])
G = 0.5


def noisy(n, seed=1):
    return np.asarray(jax.jit(image, static_argnums=1)(TRUTH, n)) + G * np.random.default_rng(seed).standard_cauchy(
        (n, n)
    )


def plain(terms, params, data):
    def nll(point):
        return -jnp.sum(jax.vmap(terms, (None, 0, 0))(point, data, np.arange(len(data))))

    return jax.jit(lambda point: (nll(point), jax.grad(nll)(point), jax.jacfwd(jax.jacrev(nll))(point)))(params)


def derivatives(terms, params, data):
    """Of this call alone: a jit of ``sums.derivatives`` itself would remember another block's."""
    return jax.jit(lambda *arguments: sums.derivatives(terms, *arguments))(params, data)


def assert_same(found, expected, rtol=1e-9):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * np.max(np.abs(other)))


def decays(params, row, number):
    """A model of rows of any shape, whose terms are not of the shape of the row, and which makes a grid by JAX."""
    rate, height = params
    expected = height * jnp.exp(-rate * jnp.arange(row.size) / row.size) + rate * number
    return -0.5 * jnp.sum((row.ravel() - expected) ** 2)


@pytest.mark.parametrize("n", [1, pytest.param(3, marks=pytest.mark.long), 8, 41])
@pytest.mark.parametrize("make", [cauchy_terms, normal_terms])
def test_an_image_has_plain_derivatives(n, make):
    terms, data = make(n, G), noisy(n)
    expected = plain(terms, AWAY, data)
    assert_same(derivatives(terms, AWAY, data), expected)
    assert_same(sums.parallel_derivatives(terms, AWAY, data), expected)
    nll, gradient = jax.jit(jax.value_and_grad(sums.negative_log_likelihood, 1), static_argnums=0)(terms, AWAY, data)
    np.testing.assert_allclose(nll, expected[0], rtol=1e-12)
    assert_same([gradient], [expected[1]])


@pytest.mark.parametrize("n", [1, 3, 41])
@pytest.mark.parametrize("amp", [1.3, 0.0])
def test_the_closed_form_is_the_derivative(n, amp):
    params, data = np.array([*AWAY[:2], amp, *AWAY[3:]]), noisy(n)
    expected = plain(cauchy_terms(n, G), params, data)
    assert_same(derivatives(cauchy_derivatives(n, G), params, data), expected)
    assert_same(sums.parallel_derivatives(cauchy_derivatives(n, G), params, data), expected)


@pytest.mark.parametrize("shape", [(1, 5), (10, 3), (70,), (100, 2, 2)])
@pytest.mark.parametrize("block", [1, 16, 4096])
def test_rows_that_fill_no_block(shape, block, monkeypatch):
    monkeypatch.setattr(sums, "_BLOCK", block)
    data, params = np.random.default_rng(2).normal(size=shape), np.array([0.3, 1.2])
    expected = plain(decays, params, data)
    assert_same(derivatives(decays, params, data), expected)
    sums._jitted.clear_cache()  # made with another block
    assert_same(sums.parallel_derivatives(decays, params, data), expected)


def test_toys_at_once_are_toys_one_by_one():
    toys = np.stack([noisy(9, seed) for seed in range(3)])
    points = AWAY + 0.01 * np.arange(3)[:, None]
    for terms in (cauchy_terms(9, G), cauchy_derivatives(9, G)):
        found = jax.jit(jax.vmap(lambda p, d, t=terms: sums.derivatives(t, p, d)))(points, toys)
        for k in range(3):
            assert_same([part[k] for part in found], sums.derivatives(terms, points[k], toys[k]), rtol=1e-12)


@pytest.mark.parametrize("make", [cauchy_terms, cauchy_derivatives])
def test_bits_do_not_depend_on_threads(make):
    data = noisy(101)
    results = [sums.parallel_derivatives(make(101, G), AWAY, data, threads) for threads in (1, 2, 5, None)]
    for found in results[1:]:
        for one, other in zip(found, results[0], strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_repeated_call_is_not_compiled_again():
    data = noisy(67)
    sums.parallel_derivatives(cauchy_terms(67, G), AWAY, data)
    size = sums._jitted._cache_size()
    sums.parallel_derivatives(cauchy_terms(67, G), TRUTH, data + 1)
    assert sums._jitted._cache_size() == size
    assert cauchy_terms(67, G) is cauchy_terms(67, G)
    assert cauchy_derivatives(67, G) is cauchy_derivatives(67, G)


def test_the_image_is_its_rows():
    grid = np.linspace(-2, 2, 6)
    dx, dy = np.meshgrid(grid - AWAY[0], grid - AWAY[1])
    form = dx**2 + dy**2 + AWAY[4] * dx * dy + AWAY[5] * (dx**2 - dy**2)
    expected = AWAY[2] * np.exp(-0.5 * form / AWAY[3] ** 2)
    np.testing.assert_allclose(image(AWAY, 6), expected, rtol=1e-13)
    np.testing.assert_allclose(row_image(AWAY, 4, 6), expected[4], rtol=1e-13)


@pytest.mark.parametrize("make", [cauchy_terms, cauchy_derivatives])
def test_derivatives_at_the_centre_of_a_pixel(make):
    """At r = 0 exactly; against derivatives by mpmath with 60 digits."""
    n, data = 3, noisy(3)
    exact = [[mpmath.mpf(float(value)) for value in row] for row in data]

    def nll(x0, y0, amp, sigma, rho, delta):
        total = 0
        for j, row in enumerate(exact):
            for i, value in enumerate(row):
                dx, dy = 2 * (i - 1) - x0, 2 * (j - 1) - y0
                form = dx**2 + dy**2 + rho * dx * dy + delta * (dx**2 - dy**2)
                z = (value - amp * mpmath.exp(-form / (2 * sigma**2))) / G
                total += mpmath.log(1 + z**2) + mpmath.log(mpmath.pi * G)
        return total

    with mpmath.workdps(60):
        orders = np.eye(6, dtype=int)
        gradient = [float(mpmath.diff(nll, tuple(TRUTH), tuple(orders[i].tolist()))) for i in range(6)]
        hessian = [
            [float(mpmath.diff(nll, tuple(TRUTH), tuple((orders[i] + orders[j]).tolist()))) for j in range(6)]
            for i in range(6)
        ]
        value = float(nll(*TRUTH))
    assert_same(sums.derivatives(make(n, G), TRUTH, data), (value, np.array(gradient), np.array(hessian)), rtol=1e-12)


@pytest.mark.parametrize("make", [cauchy_terms, cauchy_derivatives])
def test_mean_information_of_cauchy_noise(make):
    """E[H] = Σ ∂m ∂mᵀ / (2 g²). The noise is g tan(π u), u uniform: a midpoint rule over its period is exact."""
    n, points = 21, 64
    u = (np.arange(points) + 0.5) / points - 0.5
    data = np.asarray(image(AWAY, n)) + G * np.tan(np.pi * u)[:, None, None]
    _, gradient, hessian = jax.vmap(lambda one: sums.derivatives(make(n, G), AWAY, one))(data)
    slopes = np.asarray(jax.jacfwd(image)(AWAY, n)).reshape(n * n, 6)
    information = slopes.T @ slopes / (2 * G**2)
    np.testing.assert_allclose(np.mean(hessian, axis=0), information, atol=1e-6 * np.max(information))
    np.testing.assert_allclose(np.mean(gradient, axis=0), 0, atol=1e-9)


def test_the_vectorised_logarithm():
    values = np.concatenate(
        [np.geomspace(1e-300, 1e300, 1001), 1 + np.linspace(-0.5, 1, 1001), 1 + np.geomspace(1e-15, 1e-2, 99)]
    )
    np.testing.assert_allclose(log(values), np.log(values), rtol=1e-15, atol=1e-300)
    np.testing.assert_array_equal(log(np.array([np.inf, np.nan])), [np.inf, np.nan])
    moderate = values[(values > 1e-100) & (values < 1e100)]
    np.testing.assert_allclose(jax.vmap(jax.grad(jax.grad(log)))(moderate), -1 / moderate**2, rtol=1e-14)
