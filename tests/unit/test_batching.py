"""Blocks of toys: how many fit in the cache, and in memory where a model is huge."""

from types import SimpleNamespace

import pytest

from toymill import budget
from toymill.fitting.batching import block_size, straggler_block_size
from toymill.fitting.lanes import _together
from toymill.models.base import Tuning


def model_of(parameters, block):
    return SimpleNamespace(tuning=Tuning(block, 1), data_names=range(2 * parameters), parameters=range(parameters))


def test_small_models_have_the_same_blocks_with_and_without_covariances():
    model = model_of(29, 10_000)
    assert block_size(model) == block_size(model, covariance=True) == 32
    assert straggler_block_size(model) == 8


@pytest.mark.parametrize("parameters", [2_000, 4_016, 7_000])
def test_covariances_of_huge_models_fit_in_memory(parameters):
    model = model_of(parameters, 1_000)
    lanes = block_size(model, covariance=True)
    assert 1 <= lanes <= 16 <= block_size(model)
    assert lanes == 1 or 8 * parameters**2 * lanes <= budget.MOST_OF_BLOCK
    assert 1 <= straggler_block_size(model) < 8
    assert lanes % _together(lanes, 1, parameters**2) == 0
    assert _together(16, 10_000, 0) == 16
