"""Densities of toys at other truth points, with which they are weighted."""

import numpy as np
import pytest

import toymill
from toymill.study.densities import _evaluated, _of_counts, log_ratios_of


@pytest.mark.parametrize("name", ["hww", "every-modifier", "onoff"])
def test_ratios_of_counts_are_those_of_the_likelihood(root, hww, name):
    """The product with the data, beside both densities as the model evaluates them: Poisson and normal auxiliary data."""
    model = hww if name == "hww" else toymill.read_workspace(root / f"tests/data/{name}.json")
    null = model.parameters.values({model.poi: 0.5})
    moved = np.where(model.parameters.fixed, null, np.clip(null + 0.2, *model.parameters.bounds.T))
    truths = [model.parameters.values({model.poi: 1.5}), moved]
    data = toymill.throw(model, null, 100, seed=8)
    found = _of_counts(model, truths, null)(data)
    assert np.abs(found).max() > 0.1
    np.testing.assert_allclose(found, _evaluated(model, truths, null)(data), rtol=0, atol=1e-8)


def test_a_count_that_is_expected_to_be_zero_is_evaluated(root):
    """f of a truth without any expected event in a bin is zero where there is one."""
    model = toymill.read_workspace(root / "tests/data/onoff.json")
    null = model.parameters.values({"mu": 1.0})
    truth = model.parameters.values({"mu": 0.0}) * np.where(np.array(model.parameters.names) == "b", 0.0, 1.0)
    data = np.stack([np.asarray(model.expected_data(null)), 0 * np.asarray(model.expected_data(null))])
    found = log_ratios_of(model, lambda first, count: data[first : first + count], 2, [truth], null)
    expected = np.asarray(model.logpdf(truth, data)) - np.asarray(model.logpdf(null, data))
    np.testing.assert_array_equal(found[0], expected)
