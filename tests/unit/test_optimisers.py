"""Optimisers compared: what the table says is what happened."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import toymill
from toymill.models import normal
from toymill.study import optimisers
from toymill.study.optimisers import METHODS, Limits, compare, table


@pytest.fixture(scope="module")
def compared():
    model = normal.build(n=20)
    data = toymill.throw(model, [0.3, 0.2], 40, seed=1)
    outcomes = compare(model, data, list(METHODS), Limits(descent_steps=400))
    return data, outcomes, table(model, data, outcomes).methods


def test_optimisers_find_the_moments_where_they_say_so(compared):
    """A fixed step is too long for toys whose nll is more curved than expected, and full Newton steps go astray."""
    data, outcomes, rows = compared
    for name, outcome in outcomes.items():
        good = outcome.success
        assert good.mean() > 0.9 if name in ("gradient-descent", "newton") else good.all()
        np.testing.assert_allclose(outcome.parameters[good, 0], data.mean(axis=1)[good], atol=5e-3, err_msg=name)
        np.testing.assert_allclose(outcome.parameters[good, 1], np.log(data.var(axis=1))[good], atol=5e-3, err_msg=name)
        assert rows[name].toys == 40
        assert rows[name].success == good.sum() <= rows[name].reached
        assert rows[name].false_success == 0
        assert rows[name].sigmas_from_best.median < 0.02


def test_calls_are_those_that_were_made(monkeypatch):
    """Against a count of the calls of the very functions that the optimisers are given."""
    model = normal.build(n=20)
    data = toymill.throw(model, [0.3, 0.2], 3, seed=2)
    made = {"values": 0, "gradients": 0}
    real = optimisers.nll_and_gradient

    class Counting:
        @staticmethod
        def __call__(kernel):
            value, gradient = real(kernel)

            def counted(function, name):
                def call(*arguments):
                    made[name] += 1
                    return function(*arguments)

                return call

            return counted(value, "values"), counted(gradient, "gradients")

        cache_clear = staticmethod(real.cache_clear)

    monkeypatch.setattr(optimisers, "nll_and_gradient", Counting())
    for name in ("iminuit-jax", "iminuit-numerical", "scipy-l-bfgs-b"):
        made.update(values=0, gradients=0)
        outcome = METHODS[name](model, data, Limits())
        # The first toy is fitted once more, in the first call.
        assert made["values"] == outcome.values.sum() + outcome.values[0], name
        assert made["gradients"] == outcome.gradients.sum() + outcome.gradients[0], name


def test_newton_needs_one_step_on_a_parabola_and_takes_a_maximum_for_success():
    """It goes to any stationary point; the table tells, beside one that does not."""

    def model(sign):
        return toymill.define_model(
            {"x": toymill.Parameter(0.5, (-10.0, 10.0))},
            poi="x",
            logpdf=lambda params, data: sign * jnp.sum((params[0] - data) ** 2),
            throw=lambda key, params: params[0] + jax.random.normal(key, (2,)),
        )

    data = np.array([[1.0, 2.0], [3.0, 5.0]])
    outcome = optimisers.newton(model(-1.0), data, Limits())
    np.testing.assert_allclose(outcome.parameters[:, 0], [1.5, 4.0], rtol=1e-14)
    assert outcome.success.all()
    np.testing.assert_array_equal(outcome.iterations, 2)  # the second finds that it is there
    away = optimisers.newton(model(1.0), data, Limits())
    np.testing.assert_allclose(away.parameters[:, 0], [1.5, 4.0], rtol=1e-14)
    assert away.success.all()
    rows = table(model(1.0), data, compare(model(1.0), data, ["newton", "scipy-l-bfgs-b"], Limits())).methods
    assert rows["newton"].false_success == 2
    assert rows["scipy-l-bfgs-b"].reached == 2


def test_a_false_success_is_counted():
    """Two minima: who starts in the higher one's valley calls it success, and the table says so."""

    def logpdf(params, data):
        x = params[0]
        return -(4 * (x**2 - 1) ** 2 + x + 1e-3 * x * data[0])

    model = toymill.define_model(
        {"x": toymill.Parameter(1.2, (-3.0, 3.0))},
        poi="x",
        logpdf=logpdf,
        throw=lambda key, params: params[0] + jax.random.normal(key, (1,)),
        starts=[{"x": -1.2}],
    )
    data = np.linspace(-1, 1, 4)[:, None]
    rows = table(model, data, compare(model, data, ["toymill", "scipy-l-bfgs-b", "newton"], Limits())).methods
    assert rows["toymill"].reached == 4
    for name in ("scipy-l-bfgs-b", "newton"):
        assert rows[name].success == rows[name].false_success == 4
        assert rows[name].nll_above_best.median == pytest.approx(2.0, abs=0.1)
