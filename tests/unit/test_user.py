"""Models stated in Python: what each mistake is told, and that a right one needs nothing else."""

import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import toymill

RIGHT = """
    import jax, jax.numpy as jnp, numpy as np, toymill
    from toymill import Parameter, define_model

    N = 8

    def throw(key, params):
        return params[0] + params[1] * jax.random.normal(key, (N,))

    def logpdf(params, x):
        mu, sigma = params
        return jnp.sum(-0.5 * ((x - mu) / sigma) ** 2 - jnp.log(sigma))

    PARAMETERS = {"mu": Parameter(0.5), "sigma": Parameter(1.0, (0.01, 100.0))}

    def build(n=8, **changes):
        stated = {"poi": "mu", "logpdf": logpdf, "throw": throw}
        return define_model(PARAMETERS, **(stated | changes))
"""


@pytest.fixture
def refusal(tmp_path):
    """The message that a model file gets: the right one with lines put after it."""

    def refusal(text, options=None, entry="build"):
        path = tmp_path / "mymodel.py"
        path.write_text(textwrap.dedent(RIGHT) + textwrap.dedent(text))
        with pytest.raises(toymill.ToymillError) as error:
            toymill.check_model(toymill.load_model(path, entry, options))
        return str(error.value)

    return refusal


def test_a_right_model_passes(tmp_path):
    path = tmp_path / "mymodel.py"
    path.write_text(textwrap.dedent(RIGHT))
    model = toymill.load_model(path)
    toymill.check_model(model)
    assert model.parameters.names == ("mu", "sigma")
    assert model.data_names[7] == "data[7]"
    assert len(model.data_names) == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # impure
        (
            "def logpdf(params, x): return jnp.sum(-((x - params[0]) / params[1]) ** 2) * np.random.uniform(0.5, 1)",
            ["logpdf gave", "for the same params and data: it is not pure"],
        ),
        (
            "CALLS = []\ndef logpdf(params, x):\n"
            "    CALLS.append(1)\n    return -len(CALLS) * jnp.sum(((x - params[0]) / params[1]) ** 2)",
            ["it is not pure", "count calls"],
        ),
        (
            "KEPT = []\ndef logpdf(params, x):\n    KEPT.append(params)\n    return -jnp.sum((x - params[0]) ** 2) * params[1]",
            ["logpdf keeps a traced value", "Return values"],
        ),
        (
            "def throw(key, params): return params[0] + np.random.normal(size=N)",
            ["throw gave other data for the same key", "Use jax.random"],
        ),
        (
            "def throw(key, params): return params[0] + jnp.arange(8.0)",
            ["same data for 4 different keys", "by jax.random"],
        ),
        # not differentiable
        (
            "def logpdf(params, x): return -jnp.sum((x - jnp.round(params[0], 2)) ** 2) * params[1]",
            ["logpdf changes with 'mu', but its derivative is 0", "not differentiable", "Rounding"],
        ),
        (
            "def logpdf(params, x): return -jnp.sum(((x - jax.lax.stop_gradient(params[0])) / params[1]) ** 2)",
            ["derivative of logpdf with respect to 'mu'", "stop_gradient"],
        ),
        (
            "def logpdf(params, x):\n    return -jnp.sum((x - params[0]) ** 2) * params[1] - jnp.sqrt((params[0] - 0.5) ** 2)",
            ["derivative of logpdf with respect to 'mu' is not finite", "A root, a norm"],
        ),
        (
            "def logpdf(params, x):\n"
            "    y = jax.lax.while_loop(lambda s: s[1] < 3, lambda s: (s[0] * params[1], s[1] + 1), (params[0], 0))[0]\n"
            "    return -jnp.sum((x - y) ** 2)",
            ["a while loop has no derivative", "jax.lax.scan"],
        ),
        # not traceable
        (
            "def logpdf(params, x):\n    return -float(np.sum((np.asarray(x) - params[0]) ** 2)) * params[1]",
            ["logpdf cannot be used", "mymodel.py, line", "np.asarray", "Use jax.numpy"],
        ),
        (
            "def logpdf(params, x):\n    if params[0] > 0:\n        return -jnp.sum(x * params[1])\n    return jnp.sum(x)",
            ["if params[0] > 0", "it decides by a traced value", "jnp.where"],
        ),
        (
            "def logpdf(params, x):\n    return -jnp.sum((x[x > 0] - params[0]) ** 2) * params[1]",
            ["x[x > 0]", "the shape of an array depends on values", "pad and mask"],
        ),
        (
            "def logpdf(params, x):\n    return -jnp.sum((x - mean) ** 2)",
            ["NameError", "'mean' is not defined", "line"],
        ),
        # wrong shape or type
        ("def logpdf(params, x): return -((x - params[0]) / params[1]) ** 2", ["array of shape (8,)", "jnp.sum"]),
        (
            "def logpdf(params, x): return -jnp.sum((x - params[0]) ** 2 * params[1]).astype('float32')",
            ["returned float32; expected float64"],
        ),
        (
            "def logpdf(params, x): return -jnp.sum((x - params[0].astype('float32')) ** 2 * params[1]).astype('float64')",
            ["logpdf computes in float32 on its way"],
        ),
        (
            "def throw(key, params): return jnp.ones(params[0].astype(int))",
            ["the shape of an array depends on values", "make the length an option"],
        ),
        ("def throw(key, params): return jnp.zeros(0) + params[0]", ["shape (0,), without data"]),
        ("def throw(key, params): return [1.0, 2.0]", ["throw returned list; expected one array"]),
        ("def throw(key): return jnp.zeros(3)", ["throw does not take (key, params)"]),
        # not finite at init
        (
            "def logpdf(params, x): return jnp.sum(jnp.log(x - 10 * params[0])) + params[1]",
            ["log-likelihood is nan at the initial values (mu = 0.5, sigma = 1)", "a toy thrown there"],
        ),
        ("def throw(key, params): return jnp.log(-1 + 0 * jax.random.normal(key, (4,)))", ["throw gave", "nan"]),
        # throw and likelihood that do not agree
        (
            "def logpdf(params, x): return jnp.sum(0.5 * ((x - params[0]) / params[1]) ** 2 + jnp.log(params[1]))",
            ["logpdf has a minimum along 'mu'", "is its sign right?"],
        ),
        (
            "def throw(key, params): return jax.random.normal(key, (N,))",
            ["Toys do not follow logpdf", "with respect to 'mu'", "mismatch=True"],
        ),
        (
            "def throw(key, params): return params[1] + params[0] * jax.random.normal(key, (N,))",
            ["Toys do not follow logpdf", "in the same order and meaning?"],
        ),
        (
            "PARAMETERS['eff'] = Parameter(1.0, (0.1, 2.0), constraint=toymill.NormalConstraint(0.1))\n"
            "_plain = logpdf\ndef logpdf(params, x): return _plain(params[:2], x)\n"
            "_thrown = throw\ndef throw(key, params): return _thrown(key, params[:2])",
            ["does not depend on 'eff'", "enters nothing but its constraint"],
        ),
        ("import sys\nsys.exit(3)", ["cannot be imported", "line", "SystemExit: 3"]),
        # parameters without effect of their own
        (
            "def logpdf(params, x): return -jnp.sum((x - params[0] - params[1]) ** 2)",
            ["logpdf cannot tell 'mu' and 'sigma' apart"],
        ),
        ("def logpdf(params, x): return -jnp.sum((x - params[0]) ** 2)", ["does not depend on 'sigma'", "fix it"]),
        # statements
        ("PARAMETERS = {'mu': 1.0}", ["parameters['mu'] is 1.0; expected toymill.Parameter"]),
        ("PARAMETERS = {'mu': Parameter(3.0, (0.0, 1.0))}", ["starts at 3; expected a number inside its bounds"]),
        ("PARAMETERS = {'mu': Parameter(3.0, constraint=0.1)}", ["expected toymill.NormalConstraint(sigma)"]),
        ("def build(): return {}", ["build returned dict; expected what toymill.define_model returns"]),
        ("import nothing_of_this_name", ["cannot be imported", "line", "No module named 'nothing_of_this_name'"]),
        ("def build(:", ["cannot be imported (mymodel.py, line", "SyntaxError"]),
    ],
)
def test_what_a_wrong_model_is_told(refusal, text, words):
    message = refusal(text)
    for word in words:
        assert word in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"logpdf": None}, ["one of logpdf, terms and expected; got none"]),
        ({"expected": lambda params: params[0] * jnp.ones(2)}, ["got logpdf and expected"]),
        ({"throw": None}, ["needs throw too"]),
        ({"poi": "nu"}, ["no parameter 'nu'", "Did you mean 'mu'"]),
        ({"observed": [1.0]}, ["observed has shape (1,); expected (8,)"]),
        ({"observed": [1.0, float("nan"), *[0.0] * 6]}, ["observed has nan as entry 1; expected finite numbers"]),
        ({"derived": {"two": lambda params: params}}, ["derived['two'] gave"]),
        ({"information": lambda _: jnp.eye(3)}, ["information gave an array of shape (3, 3)"]),
        ({"starts": [{"sigma": -1.0}]}, ["'sigma' cannot be -1"]),
        ({"logpdf": 3.0}, ["logpdf is 3.0; expected a function"]),
        ({"starts": [[1.0, 2.0]]}, ["starts is [[1.0, 2.0]]; expected a list of mappings"]),
        ({"derived": [abs]}, ["derived is [", "expected a mapping of names to functions"]),
    ],
)
def test_what_a_wrong_statement_is_told(refusal, changes, words):
    message = refusal("", changes)
    for word in words:
        assert word in message


def test_a_file_that_is_not_there_and_a_function_that_is_not(refusal):
    with pytest.raises(toymill.ToymillError, match=r"no file 'none.py'"):
        toymill.load_model("none.py")
    assert "has no function 'biuld'. Did you mean 'build'" in refusal("", entry="biuld")
    assert "'m'" in refusal("def build(n=8): return 1", {"m": 3})
    assert "Its options: n." in refusal("def build(n=8): return 1", {"m": 3})


def normal(x, mean, sigma):
    return -0.5 * ((x - mean) / sigma) ** 2 - jnp.log(sigma) - 0.5 * jnp.log(2 * jnp.pi)


def constrained(**changes):
    """Counts s + b with b constrained twice over: by a normal and, through a second parameter, a Poisson datum."""
    stated = {
        "parameters": {
            "s": toymill.Parameter(5.0, (-20.0, 100.0)),
            "b": toymill.Parameter(50.0, (1.0, 200.0), constraint=toymill.NormalConstraint(5.0)),
            "scale": toymill.Parameter(1.0, (0.0, 5.0), constraint=toymill.PoissonConstraint(40.0)),
        },
        "poi": "s",
        "expected": lambda p: jnp.array([p[0] + p[1], p[1] * p[2]]),
        "observed": [60.0, 48.0],
    }
    stated |= changes
    return toymill.define_model(stated.pop("parameters"), **stated)


def test_constraints_are_pyhfs_densities():
    """Main and auxiliary terms against SciPy's."""
    import scipy.stats

    model = constrained()
    params = np.array([4.0, 47.0, 1.1])
    np.testing.assert_array_equal(model.observed, [60.0, 48.0, 50.0, 40.0])
    np.testing.assert_allclose(model.expected_data(params), [51.0, 51.7, 47.0, 44.0])
    expected = scipy.stats.poisson.logpmf([60, 48, 40], [51.0, 51.7, 44.0]).sum()
    expected += scipy.stats.norm.logpdf(50.0, 47.0, 5.0)
    np.testing.assert_allclose(model.logpdf(params, model.observed), expected, rtol=1e-13)


def test_expected_counts_and_their_density_agree():
    """The Fisher path and the general path end in the same minimum, and throw the same way on average."""

    def logpdf(params, n):
        rates = jnp.array([params[0] + params[1], params[1] * params[2]])
        return jnp.sum(n * jnp.log(rates) - rates - jax.scipy.special.gammaln(n + 1))

    def throw(key, params):
        rates = jnp.array([params[0] + params[1], params[1] * params[2]])
        return jax.random.poisson(key, rates).astype(jnp.float64)

    fast, general = constrained(), constrained(expected=None, logpdf=logpdf, throw=throw)
    toys = toymill.throw(fast, fast.parameters.init, 200, seed=1)
    one, other = toymill.fit(fast, toys), toymill.fit(general, toys)
    assert one.ok.all()
    assert other.ok.all()
    np.testing.assert_allclose(one.nll, other.nll, rtol=1e-10)
    np.testing.assert_allclose(one.parameters, other.parameters, rtol=1e-6)
    np.testing.assert_allclose(one.errors, other.errors, rtol=1e-5)
    made = toymill.throw(general, general.parameters.init, 4000, seed=3)
    error = np.sqrt([55.0, 50.0, 25.0, 40.0]) / np.sqrt(4000)
    assert (np.abs(made.mean(axis=0) - [55.0, 50.0, 50.0, 40.0]) < 4.5 * error).all()


@pytest.mark.parametrize("mode", ["frequentist", "main-only", "hybrid"])
def test_toys_do_not_depend_on_the_batch(mode):
    model = constrained(
        expected=None,
        logpdf=lambda p, x: jnp.sum(normal(x, p[0] + p[1], p[2])),
        throw=lambda key, p: p[0] + p[1] + p[2] * jax.random.normal(key, (3, 2)),
        observed=None,
    )
    truth = model.parameters.init
    whole = toymill.throw(model, truth, 600, seed=4, stream="a", mode=mode)
    assert whole.shape == (600, 8)
    for first, count in ((0, 1), (255, 2), (590, 10)):
        part = toymill.throw(model, truth, count, seed=4, first=first, stream="a", mode=mode)
        np.testing.assert_array_equal(part, whole[first : first + count])
    other = toymill.throw(model, truth, 600, seed=4, stream="b", mode=mode)
    assert not np.intersect1d(whole[:, :6], other[:, :6]).size
    if mode != "frequentist":
        np.testing.assert_array_equal(whole[:, 6:], np.tile([50.0, 40.0], (600, 1)))
    wide = whole[:, :6].mean(axis=1).std()
    assert wide > 4 if mode == "hybrid" else wide < 1


def test_one_point_and_many_datasets():
    model = constrained()
    data = np.tile(model.observed, (3, 1)) + np.arange(3)[:, None]
    params = model.parameters.init
    each = [float(model.logpdf(params, row)) for row in data]
    np.testing.assert_allclose(model.logpdf(params, data), each, rtol=1e-14)
    np.testing.assert_allclose(model.logpdf(np.tile(params, (3, 1)), data[0]), each[0], rtol=1e-14)
    with pytest.raises(toymill.ToymillError, match="There are 2 points and 3 datasets"):
        model.logpdf(np.tile(params, (2, 1)), data)


def test_a_density_has_no_asimov_data():
    model = constrained(
        expected=None,
        logpdf=lambda p, x: jnp.sum(x) * p[0],
        throw=lambda key, _: jax.random.normal(key, (2,)),
        observed=None,
    )
    with pytest.raises(toymill.ToymillError, match="no Asimov dataset"):
        toymill.throw(model, model.parameters.init, 1, mode="asimov")
    with pytest.raises(toymill.ToymillError, match="no expected data"):
        model.expected_data(model.parameters.init)


def test_toys_that_are_not_finite_are_refused():
    model = toymill.define_model(
        {"a": toymill.Parameter(1.0, (0.0, 9.0))},
        logpdf=lambda p, x: -jnp.sum((x - p[0]) ** 2),
        throw=lambda key, p: jnp.where(p[0] > 5, jnp.nan, 1.0) * jax.random.normal(key, (2,)),
    )
    with pytest.raises(toymill.ToymillError, match=r"Toy 3 of 'x' has nan as data\[0\]"):
        toymill.throw(model, [6.0], 2, first=3, stream="x")


def test_further_starts_find_the_lower_minimum():
    """-log L = (x² - 1)² + 0.3 x + …: from the right, the minimum on the left is missed without a start there."""

    def logpdf(params, data):
        x = params[0]
        return -((x**2 - 1) ** 2 + 0.3 * x + 1e-3 * x * data[0])

    def model(**more):
        return toymill.define_model(
            {"x": toymill.Parameter(1.2, (-3.0, 3.0))},
            poi="x",
            logpdf=logpdf,
            throw=lambda key, params: params[0] + jax.random.normal(key, (1,)),
            **more,
        )

    data = np.linspace(-1, 1, 5)[:, None]
    one, two = toymill.fit(model(), data), toymill.fit(model(starts=[{"x": -1.2}]), data)
    assert one.ok.all()
    assert two.ok.all()
    assert (one.parameters > 0).all()
    assert (two.parameters < 0).all()
    assert (two.nll < one.nll - 0.5).all()
