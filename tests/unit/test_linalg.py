"""Sums and small systems of linear equations of many toys, against NumPy's."""

import jax
import numpy as np
import pytest

from toymill.linalg import lower_inverse, weighted_total

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
