"""Sums and small systems of linear equations of many toys, against NumPy's."""

import jax
import numpy as np
import pytest

from toymill.linalg import apart, each, lower_inverse, taken, weighted_sum, weighted_total

TOYS = 16
traces = []


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


def _traced(constants, x):
    traces.append(x.shape)
    return constants["a"] * x


def test_a_function_of_a_module_is_traced_once_for_its_shapes():
    traces.clear()
    constants, x = {"a": np.array(2.0)}, np.arange(3.0)

    def of_several(constants, x, y):
        return apart(_traced, constants, x) + apart(_traced, constants, x + 1), apart(_traced, constants, y)

    for _ in range(2):  # two programs
        found = jax.jit(lambda *values: of_several(*values))(constants, x, np.ones(4))
        np.testing.assert_array_equal(found[0], 4 * x + 2)
        np.testing.assert_array_equal(found[1], np.full(4, 2.0))
    assert traces == [(3,), (4,)]


@pytest.mark.parametrize("rest", [(), (3,), (3, 2)])
@pytest.mark.parametrize("index", [4, [0], [5, 0, 0, 3], [[1, 2], [3, 4], [5, 5]]])
@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint32])
def test_rows_are_those_of_numpy(rest, index, kind):
    values = np.random.default_rng(1).normal(size=(6, *rest))
    for some in (values, values > 0):
        found = jax.jit(taken)(some, np.array(index, dtype=kind))
        np.testing.assert_array_equal(found, some[np.array(index)])
        assert found.dtype == some.dtype


def test_the_rows_of_nothing():
    assert jax.jit(taken)(np.zeros((0, 3)), np.zeros((0, 2), dtype=int)).shape == (0, 2, 3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_parts_of_an_array(axis):
    values = np.random.default_rng(1).normal(size=(2, 3, 4))
    found = jax.jit(each, static_argnums=1)(values, axis)
    np.testing.assert_array_equal(np.stack(found, axis=axis), values)
