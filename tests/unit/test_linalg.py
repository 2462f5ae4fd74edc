"""Sums and small systems of linear equations of many toys, against NumPy's."""

import jax
import numpy as np
import pytest

from toymill.linalg import apart, lower_inverse, weighted_sum, weighted_total

TOYS = 16


@pytest.mark.parametrize("count", [1, 64, 65, 72, 183, 4200])
def test_long_sums(count):
    random = np.random.default_rng(count)
    values, weights = random.normal(size=(count, 5, TOYS)), random.normal(size=(count, TOYS))
    found = jax.jit(weighted_total)(values, weights)
    np.testing.assert_allclose(found, np.einsum("pbt,pt->bt", values, weights), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bins", [1, 64, 65, 80, 95, 4011])
def test_long_sums_over_bins(bins):
    random = np.random.default_rng(bins)
    values, weights = random.normal(size=(5, bins, TOYS)), random.normal(size=(bins, TOYS))
    found = jax.jit(weighted_sum)(values, weights)
    np.testing.assert_allclose(found, np.einsum("pbt,bt->pt", values, weights), rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("size", [5, 30, 70])
def test_inverses_are_numpys(size):
    random = np.random.default_rng(size)
    half = random.normal(size=(TOYS, size, size))
    matrices = half @ half.transpose(0, 2, 1) + size * np.eye(size)
    np.testing.assert_allclose(
        jax.jit(lower_inverse)(matrices), np.linalg.inv(np.linalg.cholesky(matrices)), rtol=1e-9, atol=1e-12
    )


def test_what_is_set_apart_is_not_merged():
    def twice(x):
        return apart(jax.numpy.sin, x)[:, None] * apart(jax.numpy.sin, 2 * x)[None]

    values = np.arange(3.0)
    compiled = jax.jit(twice).lower(values).compile()
    assert compiled.as_text().count(" call(") == 2
    np.testing.assert_allclose(compiled(values), np.outer(np.sin(values), np.sin(2 * values)), rtol=1e-14)
