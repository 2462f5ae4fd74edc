"""A fit problem, and what is proposed to it."""

import numpy as np

import toymill
from toymill.fitting import second_minima
from toymill.fitting.conditional import fit_tests
from toymill.fitting.problem import state_problem
from toymill.fitting.results import rows_of
from toymill.fitting.search import search
from toymill.fitting.status import Status


def test_a_problem_of_some_toys(onoff):
    """Rows of a problem take their toys, indices and held values along."""
    data = toymill.throw(onoff, onoff.parameters.init, 5, seed=1)
    values = np.linspace(0.5, 1.5, 5)
    problem, starts = state_problem(onoff, data, {"mu": values}, index=10 + np.arange(5))
    assert len(problem) == 5
    assert problem.fixed.tolist() == [name == "mu" for name in onoff.parameters.names]
    np.testing.assert_array_equal(starts[:, onoff.poi_index], values)
    some = problem.of(np.array([3, 1]))
    np.testing.assert_array_equal(some.toys, data[[3, 1]])
    np.testing.assert_array_equal(some.indices, [13, 11])
    np.testing.assert_array_equal(some.held["mu"], values[[3, 1]])
    assert some.of(np.array([1])).held["mu"].tolist() == [values[1]]


def test_a_number_is_held_for_every_toy(onoff):
    data = toymill.throw(onoff, onoff.parameters.init, 3, seed=1)
    problem, starts = state_problem(onoff, data, {"mu": 0.5})
    assert problem.of(np.array([2])).held == {"mu": 0.5}
    assert (starts[:, onoff.poi_index] == 0.5).all()


def test_unfitted_says_so(onoff):
    """What is wanted of the fits has its place; nothing looks like a result."""
    data = toymill.throw(onoff, onoff.parameters.init, 3, seed=1)
    problem, _ = state_problem(onoff, data, covariance=True, along="mu")
    fits = problem.unfitted()
    assert fits.covariance.shape == (3, 2, 2)
    assert fits.column.shape == (3, 2)
    assert (fits.status == Status.NOT_CONVERGED).all()
    assert not fits.ok.any()
    assert np.isnan(fits.nll).all()
    bare = problem.without_covariance().unfitted()
    assert bare.covariance is None
    assert bare.column is None


def test_a_fit_in_a_higher_minimum_is_proposed_a_lower_start():
    """Two sides of an asymmetric variation: a fit held to the higher one is proposed the other, and is not changed itself."""
    variation = {"hi_data": [130.0, 64.0], "lo_data": [125.0, 50.0]}
    samples = [
        {"name": "s", "data": [10.0, 2.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "b", "data": [100.0, 60.0], "modifiers": [{"name": "a", "type": "histosys", "data": variation}]},
    ]
    model = toymill.read_workspace(
        {
            "channels": [{"name": "c", "samples": samples}],
            "observations": [{"name": "c", "data": [153.0, 61.0]}],
            "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
            "version": "1.0.0",
        }
    )
    data = np.array([[153.0, 61.0, 0.17460858]])
    problem, starts = state_problem(model, data, {"mu": 1.0})
    assert second_minima.may_have_second_minima(problem)
    best = toymill.fit(model, data, {"mu": 1.0})
    a = model.parameters.index("a")
    for begin in (-1.5, 1.5):
        starts[:, a] = begin
        fits = search(problem, starts)
        before = fits.nll.copy()
        proposals, spare = second_minima.propose(problem, fits, np.arange(1))
        np.testing.assert_array_equal(fits.nll, before)
        higher = fits.nll[0] > best.nll[0] + 1e-6
        assert proposals.rows.tolist() == ([0] if higher else [])
        if higher:
            assert spare[0] == -np.inf
            np.testing.assert_allclose(proposals.starts[0], best.parameters[0], atol=0.05)
            break
    else:
        raise AssertionError("neither start leads to the higher minimum: the test shows nothing")


def test_errors_can_be_left_out(hww):
    """The fits are the same but for rounding; conditional fits beside free ones have none."""
    data = toymill.throw(hww, hww.parameters.values({"mu": 1.0}), 20, seed=3)
    whole, short = (toymill.fit(hww, data, covariance=False, errors=way) for way in (True, False))
    np.testing.assert_array_equal(whole.status, short.status)
    np.testing.assert_allclose(short.nll, whole.nll, atol=1e-10)
    np.testing.assert_allclose(short.parameters, whole.parameters, atol=1e-7)
    assert np.isnan(short.errors).all()
    free, (held,) = fit_tests(hww, data, [{"mu": 0.0}])
    assert np.isnan(held.errors).all()
    np.testing.assert_allclose(free.errors, whole.errors, rtol=1e-6)


def test_initial_values_that_lead_back_need_no_descent(root):
    """Where they are said to lead back to a fit, no descent from them ends lower; and a toy is told the same alone."""
    model = toymill.read_workspace(root / "tests/data/every-modifier.json")
    data = toymill.throw(model, model.parameters.values({model.poi: 0.0}), 400, seed=5)
    _, (fits,) = fit_tests(model, data, [{model.poi: 2.0}])
    problem, starts = state_problem(model, data, {model.poi: 2.0})
    back = second_minima._leads_back(problem, fits, starts)
    assert 0.2 < back.mean() < 1
    few = np.arange(130, 150)
    alone = second_minima._leads_back(problem.of(few), rows_of(fits, few), starts[few])
    np.testing.assert_array_equal(alone, back[few])
    rows = np.flatnonzero(back)
    assert not second_minima.propose_from(problem, fits, starts, rows).rows.size
