"""The likelihood against pyhf, against 40-digit arithmetic, and its derivatives against autodiff."""

import json

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pyhf
import pytest

import toymill
from toymill.histfactory.codes import EVEN_SHAPES
from toymill.histfactory.kernel import KERNEL
from toymill.histfactory.rates import even_curvature, even_part
from toymill.models.densities import FLOOR


def pyhf_model(path_or_spec, patches=()):
    spec = path_or_spec if isinstance(path_or_spec, dict) else json.loads(path_or_spec.read_text())
    workspace = pyhf.Workspace(spec)
    model = workspace.model(patches=[json.loads(patch.read_text()) for patch in patches])
    return model, np.array(workspace.data(model))


@pytest.fixture(params=["hww", "every-modifier", "100p0_20p0", pytest.param("150p0_50p0", marks=pytest.mark.long)])
def pair(request, root):
    """The same workspace read by toymill and by pyhf: (model, pyhf's model, pyhf's data)."""
    atlas = root / "config/workspaces/atlas-3l-erjr"
    path, patches = {
        "hww": (root / "config/workspaces/hww.json", []),
        "every-modifier": (root / "tests/data/every-modifier.json", []),
    }.get(request.param, (atlas / "BkgOnly.json", [atlas / f"patch.ERJR_{request.param}.json"]))
    return toymill.read_workspace(path, patches=patches), *pyhf_model(path, patches)


def smallest_rate(model, x):
    return np.min(np.asarray(model.expected_data(x))[model.sampling.poisson])


def points(model, count, seed=1):
    """Random points inside the bounds, |α| on both sides of 1, some parameters at exactly 0."""
    rng = np.random.default_rng(seed)
    spread = rng.choice([0.05, 0.3, 1.5], size=(count, 1))
    x = rng.normal(model.parameters.init, spread, size=(count, len(model.parameters)))
    x[::5, model.poi_index] = 0.0
    return np.clip(x, *model.parameters.bounds.T)


def test_parameters_and_data_are_in_pyhfs_order(pair):
    model, reference, data = pair
    assert list(model.parameters.names) == reference.config.par_names
    assert model.poi == reference.config.poi_name
    np.testing.assert_array_equal(model.parameters.init, reference.config.suggested_init())
    np.testing.assert_array_equal(model.parameters.bounds, reference.config.suggested_bounds())
    np.testing.assert_array_equal(model.parameters.fixed, reference.config.suggested_fixed())
    np.testing.assert_array_equal(model.observed, data)


def test_expected_data_is_pyhfs(pair):
    model, reference, _ = pair
    for x in points(model, 100):
        np.testing.assert_allclose(model.expected_data(x), reference.expected_data(x), rtol=1e-10, atol=1e-10)


def test_logpdf_is_pyhfs(pair):
    """To 1e-10, and to the rounding of pyhf's own sum where that is larger.

    pyhf adds n log ν - ν - log Γ(n+1) term by term; the ATLAS workspace has a constraint with
    n = 1.9e11, whose terms of 5e12 are rounded to 1e-3 each.
    """
    model, reference, data = pair
    compared = 0
    for x in points(model, 100):
        expected = np.asarray(reference.expected_data(x))
        if expected[model.sampling.poisson].min() <= 1e-9:
            continue
        theirs = float(reference.logpdf(x, data)[0])
        poisson = model.sampling.poisson
        n, rate = data[poisson], expected[poisson]
        largest = np.max(np.abs([n * np.log(rate), rate, n * np.log(n + 1e-300)]))
        assert abs(float(model.logpdf(x, data)) - theirs) <= 1e-10 * abs(theirs) + 4e-16 * len(n) * largest
        compared += 1
    assert compared >= 30


def exact_logpdf(model, x, data):
    """The log-likelihood with 40 digits, from the model's expectation in float64."""
    mpmath.mp.dps = 40
    total = mpmath.mpf(0)
    for i, expected in enumerate(np.asarray(model.expected_data(x))):
        n, rate = mpmath.mpf(float(data[i])), mpmath.mpf(float(expected))
        if model.sampling.poisson[i]:
            total += n * mpmath.log(rate) - rate - mpmath.loggamma(n + 1)
        else:
            sigma = mpmath.mpf(float(model.sampling.sigma[i]))
            total += -(((n - rate) / sigma) ** 2) / 2 - mpmath.log(sigma) - mpmath.log(2 * mpmath.pi) / 2
    return float(total)


def test_logpdf_is_exact(pair):
    model, _, data = pair
    for x in points(model, 6, seed=2):
        if smallest_rate(model, x) > 1e-9:
            exact = exact_logpdf(model, x, data)
            assert float(model.logpdf(x, data)) == pytest.approx(exact, rel=1e-12)


def test_logpdf_takes_many_points_and_many_datasets(hww):
    x = points(hww, 3)
    data = np.stack([hww.observed, hww.observed + 1])
    one = [float(hww.logpdf(row, hww.observed)) for row in x]
    np.testing.assert_allclose(hww.logpdf(x, hww.observed), one, rtol=1e-13)
    both = [float(hww.logpdf(x[0], row)) for row in data]
    np.testing.assert_allclose(hww.logpdf(x[0], data), both, rtol=1e-13)


def test_wrong_lengths_are_refused(hww):
    with pytest.raises(toymill.ToymillError, match=r"params has shape \(3,\); expected \(29,\)"):
        hww.expected_data(np.ones(3))
    with pytest.raises(toymill.ToymillError, match=r"data has shape \(2,\)"):
        hww.logpdf(hww.parameters.init, np.ones(2))


def test_float32_is_refused(hww, root):
    """As early as a model is read, with what to write."""
    for call in (
        lambda: hww.logpdf(hww.parameters.init, hww.observed),
        lambda: toymill.read_workspace(root / "config/workspaces/hww.json"),
    ):
        with jax.enable_x64(False), pytest.raises(toymill.ToymillError, match="float32") as refused:
            call()
        assert "write: import jax; jax.config.update('jax_enable_x64', True). Or set" in str(refused.value)


@pytest.mark.parametrize(
    "pair",
    [
        "hww",
        "every-modifier",
        *(pytest.param(signal, marks=pytest.mark.long) for signal in ("100p0_20p0", "150p0_50p0")),
    ],
    indirect=True,
)
def test_derivatives_are_those_of_the_plain_likelihood(pair):
    """The assembled gradient and Hessian against automatic differentiation of the plain nll."""
    model, _, data = pair
    arrays = jax.tree.map(jnp.asarray, model.arrays)

    def nll(x):
        return KERNEL.nll(arrays, x[:, None], data[:, None])[0]

    plain = jax.jit(lambda x: (nll(x), jax.grad(nll)(x), jax.hessian(nll)(x)))
    exact, quadratic = jax.jit(KERNEL.exact), jax.jit(KERNEL.quadratic)
    compared = 0
    for x in points(model, 12, seed=3):
        gammas = np.array([kind == "poisson" for kind in model.parameters.constraint])
        x[gammas] = np.maximum(x[gammas], 0.05)  # at 1e-10 the plain form loses its digits
        if smallest_rate(model, x) < 1e-6:
            continue
        compared += 1
        expected, gradient, hessian = plain(x)
        scale = np.sqrt(np.abs(np.diag(hessian)) + 1)
        for function in (exact, quadratic):
            value, found, _ = function(arrays, x[:, None], data[:, None])
            assert float(value[0]) == pytest.approx(float(expected), rel=1e-12)
            np.testing.assert_allclose(found[:, 0] / scale, gradient / scale, rtol=1e-9, atol=1e-9)
        _, _, found = exact(arrays, x[:, None], data[:, None])
        units = np.outer(scale, scale)
        np.testing.assert_allclose(found[0] / units, hessian / units, rtol=1e-9, atol=1e-9)
    assert compared >= 4


def many_terms():
    """A workspace of 70 bins and 70 normsys: sums of more terms than are written out."""
    rng = np.random.default_rng(0)
    nominal = rng.uniform(20, 50, 70)
    shifts = [nominal * (1 + 0.02 * rng.normal(size=70)) for _ in range(4)]
    shapes = [
        {"name": f"shape{k}", "type": "histosys", "data": {"hi_data": list(shifts[k]), "lo_data": list(shifts[k + 1])}}
        for k in range(0, 4, 2)
    ]
    rates = [
        {"name": f"rate{k}", "type": "normsys", "data": {"hi": 1 + 0.01 * rng.random(), "lo": 1 - 0.01 * rng.random()}}
        for k in range(70)
    ]
    signal = {"name": "mu", "type": "normfactor", "data": None}
    samples = [{"name": "all", "data": list(nominal), "modifiers": [*shapes, *rates, signal]}]
    return {
        "channels": [{"name": "channel", "samples": samples}],
        "observations": [{"name": "channel", "data": list(np.round(nominal))}],
        "measurements": [{"name": "measurement", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }


@pytest.mark.parametrize("name", ["hww", "every-modifier", "many-terms"])
def test_gradient_without_the_jacobian(root, name):
    """The gradient of the steps that reuse a matrix is that of the Jacobian, to rounding, sparse or dense."""
    paths = {"hww": root / "config/workspaces/hww.json", "every-modifier": root / "tests/data/every-modifier.json"}
    model = toymill.read_workspace(paths.get(name) or many_terms())
    truth = model.parameters.init
    toys = toymill.throw(model, truth, 7, seed=1).T
    rng = np.random.default_rng(1)
    x = np.clip(truth[:, None] + 0.3 * rng.normal(size=(len(truth), 7)), *model.parameters.bounds.T[..., None])
    x[0] = truth[0]
    nll, gradient = jax.jit(KERNEL.fast.gradient)(model.arrays, x[model.arrays.order.parameters], toys)
    expected, expected_gradient, _ = jax.jit(KERNEL.exact)(model.arrays, x, toys)
    np.testing.assert_allclose(nll, expected, rtol=1e-13)
    scale = np.abs(expected_gradient).max()
    np.testing.assert_allclose(gradient[model.arrays.order.places[0]], expected_gradient, atol=1e-12 * scale)


def test_fisher_curvature_is_the_expected_hessian(hww):
    """On the Asimov dataset the exact Hessian is the Fisher information (CCGV eq. 28)."""
    x = hww.parameters.init[:, None]
    asimov = np.asarray(hww.expected_data(hww.parameters.init))[:, None]
    _, _, fisher = KERNEL.quadratic(hww.arrays, x, asimov)
    _, _, exact = KERNEL.exact(hww.arrays, x, asimov)
    np.testing.assert_allclose(fisher, exact, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize(("code", "continuous"), [("code0", 1), ("code2", 2), ("code4p", 3)])
def test_even_parts_join_with_continuous_derivatives(code, continuous):
    """At ±1: the value of code 0, the first derivative of code 2 too, the second of code 4p."""
    shape = np.array(EVEN_SHAPES[code])[:, None]

    def g(alpha):
        return even_part(shape, jnp.reshape(alpha, (1, 1))).value[0, 0]

    for edge in (-1.0, 1.0):
        below, above = edge - 1e-9, edge + 1e-9
        for function in (g, jax.grad(g), jax.grad(jax.grad(g)))[:continuous]:
            assert float(function(below)) == pytest.approx(float(function(above)), abs=1e-6)
    for alpha in (-1.7, -0.4, 0.3, 2.0):
        first = even_part(shape, jnp.full((1, 1), alpha)).slope
        second = even_curvature(shape, jnp.full((1, 1), alpha))
        assert float(first[0, 0]) == pytest.approx(float(jax.grad(g)(alpha)))
        assert float(second[0, 0]) == pytest.approx(float(jax.grad(jax.grad(g))(alpha)))


def test_code_2_is_roots_beyond_its_edges():
    """flexibleInterpSingle, case 2, of ROOT's MathFuncs.h: (2a + b)(α - 1) + high - nominal, and the like below -1."""
    spec = {
        "channels": [
            {
                "name": "c",
                "samples": [
                    {
                        "name": "s",
                        "data": [10.0],
                        "modifiers": [
                            {"name": "h", "type": "histosys", "data": {"hi_data": [13.0], "lo_data": [8.5]}},
                        ],
                    }
                ],
            }
        ],
        "observations": [{"name": "c", "data": [10.0]}],
        "measurements": [{"name": "m", "config": {"poi": "", "parameters": []}}],
        "version": "1.0.0",
    }
    settings = {"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code2"}}
    model = toymill.read_workspace(spec, modifier_settings=settings)
    a, b = 0.5 * (13 + 8.5) - 10, 0.5 * (13 - 8.5)
    for alpha, expected in (
        (1.6, 10 + (2 * a + b) * 0.6 + 3),
        (-1.6, 10 - (2 * a - b) * (-0.6) - 1.5),
        (0.5, 10 + a * 0.25 + b * 0.5),
    ):
        assert float(model.expected_data([alpha])[0]) == pytest.approx(expected, rel=1e-14)


def test_negative_expectation_is_held_at_the_floor(onoff):
    """Below the floor the likelihood is constant, and a fit that ends there is told so."""
    position = onoff.parameters.index("mu")
    x = onoff.parameters.values({"b": 0.1, "mu": -2.0})
    data = onoff.observed
    held = float(onoff.logpdf(x, data))
    assert bool(KERNEL.at_floor(onoff.arrays, x[:, None], data[:, None])[0][0])
    x[position] = -1.9
    assert float(onoff.logpdf(x, data)) == held
    x[position] = 1.0
    assert not bool(KERNEL.at_floor(onoff.arrays, x[:, None], data[:, None])[0][0])
    off = -150 * np.log(FLOOR) + FLOOR + mpmath.loggamma(151)
    background = float(mpmath.log(10) * 100 - 10 - mpmath.loggamma(101))
    assert held == pytest.approx(background - float(off), rel=1e-12)


def test_a_bin_without_events_may_expect_none(onoff):
    """n = 0 and ν = 0 is the model's own minimum, at the bound of its parameter."""
    fits = toymill.fit(onoff, [0.0, 7.0], covariance=False)
    assert fits.ok[0]
    assert fits.parameter("b")[0] == 0
    assert fits.parameter("mu")[0] == pytest.approx(7 / 50)


ROOTS = {-3.0: 0, -2.0: 0, -1.0: 0, -0.9: 0.00382, -0.5: 0.27575, -0.1: 0.86056, 0.0: 1, 0.5: 1.48933, 1.0: 2, 2.0: 4}
"""The factor of a normsys with hi = 2, lo = 0 in ROOT 6.40 (FlexibleInterpVar, codes 4 and 5)."""


def vanishing(hi, lo):
    """One bin: a signal of 5, and a background of 20 with a normsys."""
    u = {"name": "u", "type": "normsys", "data": {"hi": hi, "lo": lo}}
    samples = [
        {"name": "signal", "data": [5.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "background", "data": [20.0], "modifiers": [u]},
    ]
    return {
        "channels": [{"name": "c", "samples": samples}],
        "observations": [{"name": "c", "data": [22.0]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }


@pytest.mark.parametrize("up", [True, False])
def test_a_normsys_of_100_percent(up):
    """On either side; derivatives are numbers everywhere, and toys are fitted to certified minima."""
    model = toymill.read_workspace(vanishing(2.0, 0.0) if up else vanishing(0.0, 2.0))
    alphas = np.array(list(ROOTS)) * (1 if up else -1)
    x = np.array([model.parameters.values({"mu": 1.0, "u": alpha}) for alpha in alphas])
    factors = (np.asarray(model.expected_data(x))[:, 0] - 5) / 20
    np.testing.assert_allclose(factors, list(ROOTS.values()), atol=6e-6)
    data = np.repeat(model.observed[:, None], len(x), axis=1)
    _, gradient, hessian = KERNEL.exact(model.arrays, x.T, data)
    assert np.isfinite(gradient).all()
    assert np.isfinite(hessian).all()
    toys = toymill.throw(model, model.parameters.values({"mu": 1.0}), 200, seed=1)
    fits = toymill.fit(model, toys, covariance=False)
    assert fits.ok.all()


def test_a_normsys_of_100_percent_has_no_limit_in_code_1():
    codes = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code0"}}
    with pytest.raises(toymill.ToymillError, match="exponential on either side of 0"):
        toymill.read_workspace(vanishing(2.0, 0.0), modifier_settings=codes)
