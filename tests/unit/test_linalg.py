"""Sums and small systems of linear equations of many toys, against NumPy's."""

import jax
import numpy as np
import pytest

from toymill.linalg import inverse, lower_inverse, weighted_total

TOYS = 16


@pytest.mark.parametrize("count", [1, 64, 65, 72, 183, 4200])
def test_long_sums(count):
    random = np.random.default_rng(count)
    values, weights = random.normal(size=(count, 5, TOYS)), random.normal(size=(count, TOYS))
    found = jax.jit(weighted_total)(True, values, weights)
    np.testing.assert_allclose(found, np.einsum("pbt,pt->bt", values, weights), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [5, 30, 70])
def test_inverses_are_numpys(size):
    random = np.random.default_rng(size)
    half = random.normal(size=(TOYS, size, size))
    matrices = half @ half.transpose(0, 2, 1) + size * np.eye(size)
    np.testing.assert_allclose(
        jax.jit(lower_inverse)(matrices), np.linalg.inv(np.linalg.cholesky(matrices)), rtol=1e-9, atol=1e-12
    )
    gradient, free = random.normal(size=(size, TOYS)), random.uniform(size=(size, TOYS)) > 0.1
    found = jax.jit(inverse, static_argnames="full")(matrices.transpose(1, 2, 0), gradient, free, 2, full=True)
    for t in range(TOYS):
        where = np.flatnonzero(free[:, t])
        expected = np.zeros((size, size))
        expected[np.ix_(where, where)] = np.linalg.inv(matrices[t][np.ix_(where, where)])
        np.testing.assert_allclose(found.covariance[t], expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.variances[:, t], np.diag(expected), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.column[:, t], expected[:, 2], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.newton[:, t], expected @ gradient[:, t], rtol=1e-9, atol=1e-12)
    assert found.positive.all()


@pytest.mark.parametrize("shape", [(5, 8), (20, 256), (69, 16)])
def test_a_matrix_that_is_not_positive_is_told(shape):
    """Also in a large array, where XLA's largest number is not NaN though one of them is."""
    size, toys = shape
    matrices = np.broadcast_to(np.eye(size)[..., None], (size, size, toys)).copy()
    matrices[1, 0, 2] = matrices[0, 1, 2] = 3.0
    matrices[1, 1, 3] = np.nan
    found = inverse(matrices, np.ones((size, toys)), np.ones((size, toys), dtype=bool), 0, full=False)
    assert list(np.flatnonzero(~np.asarray(found.positive))) == [2, 3]
