"""Fisher scoring in lanes: the corrected step, a parameter that is held at first, toys in any company."""

from dataclasses import replace
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

import toymill
from toymill.fitting.batching import Hold, block_size, in_calls
from toymill.fitting.problem import FitProblem
from toymill.fitting.scoring import corrected
from toymill.fitting.status import CERTIFIED_STATUSES


def test_corrected_step_is_that_of_bfgs():
    """The two-loop recursion is the BFGS update of H₀⁻¹ by each pair (Nocedal & Wright, eq. 7.16), for every toy."""
    rng = np.random.default_rng(0)
    size, toys, pairs = 5, 3, 3
    matrices = rng.normal(size=(toys, size, size))
    first = matrices @ np.swapaxes(matrices, 1, 2) + np.eye(size)
    curvature = 0.1 * matrices @ np.swapaxes(matrices, 1, 2) + np.diag(rng.uniform(1, 3, size))
    steps = rng.normal(size=(pairs, size, toys))
    changes = np.einsum("tij,mjt->mit", curvature, steps)
    steps[0, :, 1] = 0.0  # this toy has no pair there
    gradient = rng.normal(size=(size, toys))
    found = corrected(lambda right: jnp.einsum("tij,jt->it", jnp.linalg.inv(first), right), steps, changes, gradient)
    for toy in range(toys):
        inverse = np.linalg.inv(first[toy])
        for s, y in zip(steps[:, :, toy], changes[:, :, toy], strict=True):
            if not s.any():
                continue
            left = np.eye(size) - np.outer(s, y) / (s @ y)
            inverse = left @ inverse @ left.T + np.outer(s, s) / (s @ y)
        np.testing.assert_allclose(found[:, toy], inverse @ gradient[:, toy], rtol=1e-10)


@pytest.fixture(scope="module")
def scored(hww):
    data = toymill.throw(hww, hww.parameters.values({"mu": 1.0}), 300, seed=4)
    starts = np.broadcast_to(hww.parameters.init, (300, len(hww.parameters)))
    problem = FitProblem(hww, data, np.arange(300), {}, hww.parameters.fixed, column=0)
    return partial(in_calls, problem, starts)


@pytest.mark.parametrize("from_init", [False, True])
def test_toys_that_queue_in_a_lane_are_fitted_as_alone(hww, scored, from_init):
    """300 toys go through the lanes one after another; a few of them alone end with the same bits."""
    scored = partial(scored, from_init=from_init)
    assert block_size(hww) < 300
    every = np.empty((300, len(hww.parameters)))
    for rows, ends in scored(np.arange(300), limit=40, certify=True):
        every[rows] = ends.x
    few = np.array([3, 131, 132, 259, 290])
    for rows, ends in scored(few, limit=40, certify=True):
        assert set(rows) == set(few)
        np.testing.assert_array_equal(ends.x, every[rows])


def test_the_first_step_saves_steps(scored):
    """It is that of Fisher scoring from the initial values: as many evaluations less, and the same minima."""
    ((_, plain),) = scored(np.arange(300), limit=40)
    ((_, after),) = scored(np.arange(300), limit=40, from_init=True)
    assert np.mean(after.iterations) < np.mean(plain.iterations) - 0.8
    np.testing.assert_allclose(after.nll, plain.nll, atol=1e-9)


def test_a_first_step_that_changes_much_is_not_taken(hww, scored):
    """Data far from what is expected at the initial values start there."""
    step, problem = hww.initial_step, scored.args[0]
    assert step is not None
    far = replace(problem, toys=np.concatenate([problem.toys[:, :20] * 20 + 50, problem.toys[:, 20:]], axis=1))
    starts = scored.args[1]
    ((_, plain),), ((_, after),) = (
        list(in_calls(far, starts, np.arange(40), 0, certify=False, from_init=way)) for way in (False, True)
    )
    np.testing.assert_array_equal(after.x, plain.x)


@pytest.mark.parametrize(
    "path", ["config/workspaces/hww.json", "tests/data/every-modifier.json", "tests/data/onoff.json"]
)
def test_the_first_step_is_that_of_fisher_scoring(root, path):
    """θ₀ - H⁻¹ g, with g and H of the kernel at the initial values, for any data; also with a parameter held."""
    model = toymill.read_workspace(root / path)
    x, held = model.parameters.init, model.parameters.fixed.copy()
    data = toymill.throw(model, model.parameters.values({}), 5, seed=2)
    for fixed in (held, held | (np.arange(len(held)) == model.poi_index)):
        step = model.first_step(x, fixed)
        at = np.repeat(x[:, None], 5, axis=1)
        _, gradient, matrix = map(np.asarray, model.kernel.quadratic(model.arrays, at, data.T))
        free = np.flatnonzero(~fixed)
        expected = np.zeros((5, len(x)))
        for toy in range(5):
            expected[toy, free] = -np.linalg.solve(matrix[toy][np.ix_(free, free)], gradient[free, toy])
        found = (data - step.expected) @ step.slope.T
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            step.information[np.ix_(free, free)], matrix[0][np.ix_(free, free)], rtol=1e-5, atol=1e-5
        )


def test_a_parameter_is_held_in_the_first_steps(hww, scored):
    """Held for that many steps and free afterwards; where the other parameters have followed the nll is foreseen."""
    hold = np.full(300, hww.poi_index)
    rows = np.arange(40)
    ((_, begun),) = scored(rows, limit=3, certify=False, hold=Hold(hold, 4))
    ((_, loose),) = scored(rows, limit=3, certify=False, hold=Hold(hold, 3))
    ((_, ended),) = scored(rows, limit=60, certify=False, hold=Hold(hold, 4))
    assert (begun.x[:, hww.poi_index] == hww.parameters.init[hww.poi_index]).all()
    np.testing.assert_array_equal(loose.x, begun.x)  # the next step is free, and has not been taken
    assert (loose.edm > begun.edm).all()
    assert (begun.iterations == 3).all()
    data = toymill.throw(hww, hww.parameters.values({"mu": 1.0}), 300, seed=4)
    held = toymill.fit(hww, data[:40], {"mu": float(hww.parameters.init[hww.poi_index])}, covariance=False)
    np.testing.assert_allclose((begun.nll - begun.edm), held.nll, atol=1e-3)
    np.testing.assert_allclose(ended.nll, toymill.fit(hww, data[:40], covariance=False).nll, atol=2e-4)


@pytest.fixture(scope="module")
def steep():
    """Counts in a bin with next to no background: the matrix at a large signal strength is of no use at a small one."""
    signal, background = np.full(14, 4.0), np.full(14, 8.0)
    signal[0], background[0] = 1.0, 1e-7
    shift = {"name": "shift", "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}}
    samples = [
        {"name": "signal", "data": list(signal), "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "background", "data": list(background), "modifiers": [shift]},
    ]
    model = toymill.read_workspace(
        {
            "channels": [{"name": "channel", "samples": samples}],
            "observations": [{"name": "channel", "data": list(np.round(signal + background))}],
            "measurements": [{"name": "measurement", "config": {"poi": "mu", "parameters": []}}],
            "version": "1.0.0",
        }
    )
    rng = np.random.default_rng(0)
    toys = toymill.throw(model, model.parameters.init, 200, seed=3)
    toys[:, :14] = rng.poisson(np.where(np.arange(14), 6.0, 3.0), (200, 14)) + (np.arange(14) == 0)
    return model, toys


@pytest.mark.parametrize("begin", [0.0, 1.0, 5.0])
def test_a_step_from_a_reused_matrix_is_given_up(steep, begin):
    """Where the matrix of another point leads nowhere the search goes on with its own, and ends near the minimum."""
    model, toys = steep
    starts = np.tile(model.parameters.values({"mu": begin}), (200, 1))
    known = toymill.fit(model, toys, covariance=False).nll
    for certify in (True, False):
        problem = FitProblem(model, toys, np.arange(200), {}, model.parameters.fixed)
        ((rows, ends),) = in_calls(problem, starts, np.arange(200), limit=60, certify=certify)
        assert (ends.nll < known[rows] + 1e-3).mean() > 0.98
        assert not certify or np.isin(ends.status, CERTIFIED_STATUSES).mean() > 0.85
