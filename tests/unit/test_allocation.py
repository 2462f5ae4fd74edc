"""How many toys make errors as small as is asked for: against the closed form, and a general optimiser."""

import numpy as np
import pytest
import scipy.optimize

from toymill.errors import ToymillError
from toymill.inference.allocation import toys_for


def test_one_answer_has_the_closed_form():
    """n_j ∝ √(V_j N_j/c_j), scaled to the variance that is asked for."""
    variance, counts, costs = np.array([4.0, 1.0, 9.0]), np.array([100.0, 50.0, 200.0]), np.array([1.0, 4.0, 2.0])
    shape = np.sqrt(variance * counts / costs)
    right = shape * (variance * counts / shape).sum() / 0.1
    assert toys_for([variance], counts, [0.1], costs) == pytest.approx(right, rel=1e-6)


def test_several_answers_cost_as_little_as_an_optimiser_finds():
    rng = np.random.default_rng(1)
    for _ in range(20):
        answers, ensembles = rng.integers(1, 5), rng.integers(2, 8)
        variances = rng.exponential(size=(answers, ensembles)) * (rng.random((answers, ensembles)) < 0.6)
        counts, costs = rng.integers(100, 1000, ensembles).astype(float), rng.uniform(1, 10, ensembles)
        targets = variances.sum(axis=1) / rng.uniform(0.5, 20, answers) + 1e-6
        found = toys_for(variances, counts, targets, costs)
        assert (found >= counts).all()
        assert ((variances * counts / found).sum(axis=1) <= targets * (1 + 1e-6)).all()
        best = scipy.optimize.minimize(
            lambda x, counts=counts, costs=costs: costs @ (counts * np.exp(x)) / (costs @ counts),
            np.log(found / counts) + 0.5,
            bounds=[(0, None)] * ensembles,
            constraints={
                "type": "ineq",
                "fun": lambda x, v=variances, t=targets: 1 - (v * np.exp(-x)).sum(axis=1) / t,
            },
            method="SLSQP",
            options={"maxiter": 1000, "ftol": 1e-12},
        )
        assert costs @ found <= best.fun * (costs @ counts) * 1.01


def test_what_is_reached_needs_no_more():
    assert toys_for([[1.0, 2.0]], [100, 200], [3.0], [1.0, 1.0]).tolist() == [100, 200]
    assert toys_for([[0.0, 0.0]], [100, 200], [3.0], [1.0, 1.0]).tolist() == [100, 200]


def test_nonsense_is_refused():
    with pytest.raises(ToymillError, match="expected positive numbers"):
        toys_for([[1.0]], [0], [1.0], [1.0])
