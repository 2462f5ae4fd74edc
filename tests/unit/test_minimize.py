"""Minima that are known, bounds, and every status."""

import jax.numpy as jnp
import numpy as np
import pytest

from toymill.fitting.newton import Domain, Stop, minimize
from toymill.fitting.status import Status
from toymill.models.base import Kernel


def kernel_of(nll, gradient, hessian, curvature=None):
    """A kernel from functions of (x, data), both with toys last."""

    def exact(_, x, data):
        return nll(x, data), gradient(x, data), hessian(x, data)

    def quadratic(_, x, data):
        return nll(x, data), gradient(x, data), (curvature or hessian)(x, data)

    return Kernel(
        nll=lambda _, x, data: nll(x, data),
        offset=lambda _, data: jnp.zeros(data.shape[1]),
        quadratic=quadratic,
        exact=exact,
        at_floor=lambda _, x, __: (jnp.zeros(x.shape[1], dtype=bool),) * 2,
        second_minima=lambda _, x, *__: (
            jnp.full(x.shape, jnp.inf),
            x,
            jnp.zeros((0, x.shape[1])),
            jnp.zeros(x.shape, dtype=bool),
        ),
        product=lambda _, x, *__: (jnp.full(x.shape[1], jnp.inf), x),
    )


def run(kernel, start, data, low=-1e6, high=1e6, fixed=False, limit=200):
    start = np.asarray(start, dtype=float)
    bounds = np.stack([np.broadcast_to(low, len(start)), np.broadcast_to(high, len(start))], axis=1).astype(float)
    domain = Domain(bounds, np.broadcast_to(fixed, len(start)))
    return minimize(kernel, (), start, np.asarray(data, float), domain, Stop(1e-10, limit))


MATRIX = np.array([[4.0, 1.0], [1.0, 3.0]])


def quadratic_bowl():
    """½ (x - d)ᵀ A (x - d), a minimum at x = d with covariance A⁻¹."""
    return kernel_of(
        lambda x, d: 0.5 * jnp.einsum("pt,pq,qt->t", x - d, MATRIX, x - d),
        lambda x, d: MATRIX @ (x - d),
        lambda x, _: jnp.broadcast_to(jnp.array(MATRIX), (x.shape[1], 2, 2)),
    )


def test_bowl():
    data = np.array([[1.0, -2.0, 5.0], [0.5, 3.0, -7.0]])
    end = run(quadratic_bowl(), np.zeros((2, 3)), data)
    np.testing.assert_allclose(end.x, data, atol=1e-12)
    np.testing.assert_allclose(end.covariance, np.broadcast_to(np.linalg.inv(MATRIX), (3, 2, 2)), rtol=1e-12)
    assert (np.asarray(end.status) == Status.CERTIFIED).all()


def test_bowl_with_active_bound():
    """With x₀ ≤ 0 and its minimum at x₀ = 1, x₁ minimises along the face: x₁ = d₁ + A₀₁/A₁₁ · 1."""
    end = run(quadratic_bowl(), np.full((2, 1), -1.0), np.array([[1.0], [0.5]]), high=[0.0, 10.0])
    np.testing.assert_allclose(end.x[:, 0], [0.0, 0.5 + 1 / 3], atol=1e-12)
    assert int(end.status[0]) == Status.AT_BOUND
    assert np.asarray(end.held[:, 0]).tolist() == [True, False]
    np.testing.assert_allclose(end.covariance[0], [[0, 0], [0, 1 / 3]], atol=1e-12)


def test_bowl_with_fixed_parameter():
    end = run(quadratic_bowl(), np.array([[2.0], [0.0]]), np.array([[1.0], [0.5]]), fixed=[True, False])
    np.testing.assert_allclose(end.x[:, 0], [2.0, 0.5 - 1 / 3], atol=1e-12)
    assert int(end.status[0]) == Status.CERTIFIED


def rosenbrock():
    def nll(x, _):
        return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2

    def gradient(x, _):
        valley = x[1] - x[0] ** 2
        return jnp.stack([-400 * x[0] * valley - 2 * (1 - x[0]), 200 * valley])

    def hessian(x, _):
        across = -400 * x[0]
        rows = [[1200 * x[0] ** 2 - 400 * x[1] + 2, across], [across, 200 * jnp.ones_like(x[0])]]
        return jnp.moveaxis(jnp.array(rows), -1, 0)

    return kernel_of(nll, gradient, hessian)


def test_rosenbrock_from_many_starts():
    start = np.random.default_rng(0).uniform(-2, 2, (2, 64))
    end = run(rosenbrock(), start, np.zeros((1, 64)))
    assert (np.asarray(end.status) == Status.CERTIFIED).all()
    np.testing.assert_allclose(end.x, np.ones((2, 64)), atol=1e-4)
    assert float(jnp.max(end.nll)) < 1e-9


def test_iteration_limit_is_said():
    end = run(rosenbrock(), np.array([[-1.9], [2.0]]), np.zeros((1, 1)), limit=2)
    assert int(end.status[0]) == Status.NOT_CONVERGED


def test_double_well_leaves_the_saddle():
    """(x² - 1)²: started beside the maximum at 0, where the Hessian is negative."""
    kernel = kernel_of(
        lambda x, _: (x[0] ** 2 - 1) ** 2,
        lambda x, _: 4 * x * (x**2 - 1),
        lambda x, _: jnp.moveaxis((12 * x**2 - 4)[None], -1, 0),
    )
    end = run(kernel, np.array([[0.1, -0.1, 2.0]]), np.zeros((1, 3)))
    np.testing.assert_allclose(end.x[0], [1, -1, 1], atol=1e-5)
    assert (np.asarray(end.status) == Status.CERTIFIED).all()


def test_flat_direction_is_not_certified():
    kernel = kernel_of(
        lambda x, _: 0.5 * x[0] ** 2,
        lambda x, _: jnp.stack([x[0], jnp.zeros_like(x[0])]),
        lambda x, _: jnp.broadcast_to(jnp.diag(jnp.array([1.0, 0.0])), (x.shape[1], 2, 2)),
    )
    end = run(kernel, np.array([[3.0], [1.0]]), np.zeros((1, 1)))
    assert int(end.status[0]) == Status.HESSIAN_NOT_POSITIVE
    assert np.isnan(end.covariance[0]).any()


def test_not_finite_at_the_start():
    kernel = kernel_of(
        lambda x, _: jnp.sqrt(x[0]),
        lambda x, _: 0.5 / jnp.sqrt(x),
        lambda x, _: jnp.moveaxis((-0.25 * x**-1.5)[None], -1, 0),
    )
    end = run(kernel, np.array([[-1.0]]), np.zeros((1, 1)))
    assert int(end.status[0]) == Status.NOT_FINITE


def test_a_step_into_nan_is_refused():
    """x - log x from 5: the undamped Newton step lands at a negative x."""
    kernel = kernel_of(
        lambda x, _: x[0] - jnp.log(x[0]),
        lambda x, _: 1 - 1 / x,
        lambda x, _: jnp.moveaxis((1 / x**2)[None], -1, 0),
    )
    end = run(kernel, np.array([[5.0]]), np.zeros((1, 1)))
    assert float(end.x[0, 0]) == pytest.approx(1.0, abs=1e-5)
    assert int(end.status[0]) == Status.CERTIFIED


def test_a_toy_does_not_feel_its_neighbours():
    """The same bits in a lane whatever is in the others."""
    start = np.random.default_rng(1).uniform(-2, 2, (2, 32))
    others = start.copy()
    others[:, 1::2] = np.random.default_rng(2).uniform(-2, 2, (2, 16))
    one, two = (run(rosenbrock(), x, np.zeros((1, 32))) for x in (start, others))
    for name in ("x", "nll", "edm", "iterations", "status", "errors"):
        np.testing.assert_array_equal(getattr(one, name)[..., ::2], getattr(two, name)[..., ::2])
