"""Histograms of numbers of any size: what their cells hold, that they add, and their quantiles."""

import numpy as np
import pytest

from toymill.inference.counting import quantile
from toymill.results.cells import counted, distribution, no_cells, together

LEVELS = np.array([0.025, 0.16, 0.5, 0.84, 0.975])


def test_a_cell_holds_its_values():
    """Of either sign and any size; each in an own cell, whose width is a 128th of them or less."""
    values = np.array([-1e300, -3.0, -1e-5, -0.0, 0.0, 1e-300, 0.1, 1.0, 127.9, 1e300])
    for value in values:
        found = distribution(counted(np.array([[value]])), 0)
        assert found.low[0] <= value <= found.high[0]
        assert found.high[0] - found.low[0] <= abs(value) / 128 + 1e-307
    every = distribution(counted(values[:, None]), 0)
    assert every.count.tolist() == [1, 1, 1, 2, 1, 1, 1, 1, 1]
    assert np.all(np.diff(every.low) > 0)


def test_cells_add_and_columns_are_apart():
    rng = np.random.default_rng(1)
    values = rng.normal(0, [1.0, 1e-6, 1e6], (500, 3))
    values[7, 1], values[8, 2] = np.nan, np.inf
    whole = counted(values)
    parts = together(together(no_cells(), counted(values[:123])), counted(values[123:]))
    np.testing.assert_array_equal(parts, whole)
    assert [distribution(whole, column).size for column in range(4)] == [500, 499, 499, 0]


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_quantiles_are_those_of_the_values(scale):
    values = np.random.default_rng(2).normal(0.3, 1.0, 4000) * scale
    found = distribution(counted(values[:, None]), 0, origin=5 * scale)
    got = np.array([quantile(found, level).value for level in LEVELS])
    width = np.array([found.width(level) for level in LEVELS])
    want = np.quantile(values, LEVELS)
    assert np.all(np.abs(got - 5 * scale - want) <= width)
    assert np.all(width <= np.abs(want) / 128 * 1.05)


def test_errors_are_the_spread_of_repetitions():
    """Half the interval of a quantile of 2,000 values is the spread of that quantile over 400 samples, within 4 sigma."""
    samples = np.random.default_rng(3).normal(size=(400, 2000))
    found = [[quantile(distribution(counted(row[:, None]), 0), level) for level in LEVELS] for row in samples]
    value = np.array([[item.value for item in row] for row in found])
    half = np.array([[(item.high - item.low) / 2 for item in row] for row in found])
    spread, sigma = value.std(axis=0, ddof=1), 1 / np.sqrt(2 * 399)
    assert np.all(np.abs(half.mean(axis=0) / spread - 1) < 4 * sigma)
    assert np.all(np.abs(value.mean(axis=0) - [-1.959964, -0.994458, 0, 0.994458, 1.959964]) < 4 * spread / 20 + 1e-3)
