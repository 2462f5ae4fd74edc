"""Blocks of toys: how many fit in the cache, in memory where a model is huge, and on a GPU."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

import toymill
from toymill import budget
from toymill.fitting import batching, device, lanes, second_minima
from toymill.fitting.batching import block_size, straggler_block_size
from toymill.fitting.conditional import fit_tests
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


GPU = SimpleNamespace(memory_stats=lambda: {"bytes_limit": 128 * 2**30})


@pytest.fixture
def on_gpu(monkeypatch):
    """The sizes of batches on a GPU of 128 GiB."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [GPU])
    device.device.cache_clear()
    yield
    device.device.cache_clear()


@pytest.mark.parametrize(
    ("parameters", "block", "toys"),
    [
        pytest.param(29, 1_044, 2**14, id="hww: the most"),
        pytest.param(69, 19_044, 2**13, id="ATLAS: 2 GiB"),
        pytest.param(4_016, 257_024, 2**10, id="4,000 bins"),
    ],
)
@pytest.mark.usefixtures("on_gpu")
def test_blocks_on_a_gpu_take_a_part_of_its_memory(parameters, block, toys):
    assert block_size(model_of(parameters, block)) == toys
    assert toys == 2**14 or 2**30 < 8 * block * toys <= 2**31
    assert straggler_block_size(model_of(parameters, block)) == min(256, 2 ** int(np.log2(2**26 / parameters**2)))


def test_fits_do_not_depend_on_the_sizes_of_a_device(monkeypatch, hww):
    """Those of a GPU, made small, on the processor: one and several places, calls that are filled and calls that are not."""
    toys = toymill.throw(hww, hww.parameters.init, 300, seed=4)
    free, (conditional,) = fit_tests(hww, toys, [{"mu": 0.0}])
    small = device.Device(share=2**26, toys=64, places=2, stragglers=16, few=1)
    for module in (batching, lanes, second_minima):
        monkeypatch.setattr(module, "device", lambda: small)
    assert block_size(hww) == 64
    again, (again_conditional,) = fit_tests(hww, toys, [{"mu": 0.0}])
    for ours, theirs in ((free, again), (conditional, again_conditional)):
        np.testing.assert_array_equal(ours.status, theirs.status)
        np.testing.assert_allclose(ours.nll, theirs.nll, rtol=0, atol=1e-10)
        np.testing.assert_allclose(ours.errors, theirs.errors, rtol=1e-6)
