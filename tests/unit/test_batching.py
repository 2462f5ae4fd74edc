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


@pytest.mark.parametrize(
    ("parameters", "block", "toys"),
    [
        pytest.param(9, 324, 256, id="few bins"),
        pytest.param(184, 132_480, 16, id="few bins, many parameters: short loops"),
        pytest.param(416, 26_624, 16, id="400 bins"),
        pytest.param(1_016, 65_024, 8, id="1,000 bins"),
        pytest.param(4_016, 257_024, 4, id="4,000 bins: two in cache"),
        pytest.param(40_016, 2_561_024, 4, id="40,000 bins"),
    ],
)
def test_blocks_of_long_loops_stay_in_cache(parameters, block, toys):
    size = block_size(model_of(parameters, block))
    assert size == toys
    in_cache = 8 * block * size <= budget.CACHE_BLOCK
    assert in_cache or size == 4 or 8 * 2 * parameters * size < 2**17


@pytest.mark.parametrize("parameters", [2_000, 4_016, 7_000])
def test_covariances_of_huge_models_fit_in_memory(parameters):
    model = model_of(parameters, 1_000)
    lanes = block_size(model, covariance=True)
    assert 1 <= lanes <= 16 <= block_size(model)
    assert lanes == 1 or 8 * parameters**2 * lanes <= budget.MOST_OF_BLOCK
    assert 1 <= straggler_block_size(model) < 8
    assert lanes % _together(lanes, 1, parameters**2) == 0
    assert _together(16, 10_000, 0) == 16
