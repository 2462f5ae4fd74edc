"""Profile likelihood intervals: closed forms, bounds, iminuit and pyhf, and that an end is never wrong in silence."""

import json

import iminuit
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
import scipy.optimize
import scipy.stats

import toymill
from toymill import budget
from toymill.fitting import intervals
from toymill.fitting.intervals import EndStatus
from toymill.fitting.minuit import minuit_fit, nll_and_gradient
from toymill.fitting.status import Status
from toymill.models import normal, poisson

LEVELS = (1.0, 3.84)


def one_number(logpdf, observed, **parameter):
    """A model of one parameter mu from its log-density of the data; nothing is thrown."""
    return toymill.define_model(
        {"mu": toymill.Parameter(**parameter)},
        poi="mu",
        logpdf=logpdf,
        throw=lambda key, params: jnp.zeros(len(observed)) + params[0],  # noqa: ARG005
        observed=observed,
    )


def counting(spec, bounds, signal=10.0, background=5.0):
    """One bin with expectation μ · signal + background."""
    samples = [
        {"name": "s", "data": [signal], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "b", "data": [background], "modifiers": []},
    ]
    spec |= {"channels": [{"name": "c", "samples": samples}], "observations": [{"name": "c", "data": [0.0]}]}
    config = {"poi": "mu", "parameters": [{"name": "mu", "bounds": [bounds], "inits": [min(1.0, bounds[1])]}]}
    return toymill.read_workspace(spec | {"measurements": [{"name": "m", "config": config}]})


def poisson_ends(n, level):
    """Expectations ν where 2 (ν - n + n ln(n/ν)) = level, below and above n; below is 0 for n = 0."""

    def excess(nu):
        return 2 * (nu - n + (n * np.log(n / nu) if n else 0.0)) - level

    low = scipy.optimize.brentq(excess, 1e-12, n, xtol=1e-13) if n else 0.0
    return low, scipy.optimize.brentq(excess, n, n + 10 + 10 * np.sqrt(n + 1), xtol=1e-13)


def t_at(model, data, found, side, k, *, parameter=None):
    """t at every found end of one side and level, from fits of their own."""
    end, status = getattr(found, side)[:, k], getattr(found, f"{side}_status")[:, k]
    rows = np.flatnonzero(status == EndStatus.FOUND)
    start = found.free.parameters[rows]
    conditional = toymill.fit(model, data[rows], {parameter or model.poi: end[rows]}, start=start, covariance=False)
    assert conditional.ok.all()
    return rows, 2 * (conditional.nll - found.free.nll[rows])


def assert_right(model, data, found):
    """t is the level at every found end, and below it at every bound."""
    for k, level in enumerate(found.levels):
        for side, bound in (("low", 0), ("high", 1)):
            rows, t = t_at(model, data, found, side, k, parameter=found.parameter)
            np.testing.assert_allclose(t, level, atol=1.5e-6)
            position = model.parameters.index(found.parameter)
            at_bound = np.flatnonzero(getattr(found, f"{side}_status")[:, k] == EndStatus.AT_BOUND)
            assert (getattr(found, side)[at_bound, k] == model.parameters.bounds[position, bound]).all()
            assert len(rows) + len(at_bound) == len(data)
            if len(at_bound):
                start = found.free.parameters[at_bound]
                held = toymill.fit(
                    model,
                    data[at_bound],
                    {found.parameter: model.parameters.bounds[position, bound]},
                    start=start,
                    covariance=False,
                )
                assert held.ok.all()
                assert (held.nll - found.free.nll[at_bound] < level / 2).all()


def assert_covers(model, data, found, truth):
    """The truth is inside an interval exactly where t at the truth is at most the level, for every toy."""
    held = toymill.fit(model, data, {found.parameter: truth}, start=found.free.parameters, covariance=False)
    t = 2 * (held.nll - found.free.nll)
    assert found.ok.all()
    assert held.ok.all()
    for k, level in enumerate(found.levels):
        inside = (found.low[:, k] <= truth) & (truth <= found.high[:, k])
        assert (inside == (t <= level)).all()
        assert inside.any()


def test_counts_of_one_rate():
    """λ of k counts with sum N: kλ of the closed form; at N = 0 the best fit is the bound, and t = 2kλ."""
    model = poisson.build(n=4, rate=1.0)
    data = np.zeros((25, 4))
    data[:, 0] = np.arange(25)
    found = toymill.profile_interval(model, data, levels=LEVELS)
    for k, level in enumerate(LEVELS):
        low, high = np.array([poisson_ends(n, level) for n in range(25)]).T / 4
        np.testing.assert_allclose(found.low[:, k], low, rtol=2e-6, atol=1e-12)
        np.testing.assert_allclose(found.high[:, k], high, rtol=2e-6)
    assert found.low_status[0].tolist() == [EndStatus.AT_BOUND] * 2
    assert (found.low_status[1:] == EndStatus.FOUND).all()
    assert (found.high_status == EndStatus.FOUND).all()
    assert found.free.parameter("rate")[0] == 0


def test_a_normal_mean():
    """t = n ln(1 + (μ - x̄)²/s²) with s² the mean square deviation: x̄ ± s √(exp(level/n) - 1)."""
    model = normal.build(n=5)
    data = toymill.throw(model, model.parameters.init, 40, seed=1)
    found = toymill.profile_interval(model, data, levels=[0.1, 1.0, 3.84, 9.0])
    half = data.std(axis=1)[:, None] * np.sqrt(np.expm1(np.array(found.levels) / 5))
    np.testing.assert_allclose(found.high, data.mean(axis=1)[:, None] + half, atol=2e-6)
    np.testing.assert_allclose(found.low, data.mean(axis=1)[:, None] - half, atol=2e-6)
    assert_covers(model, data, found, 0.0)


def test_a_normal_variance():
    """log σ² instead of the POI: t = n (s²/σ² - 1 - ln(s²/σ²))."""
    model = normal.build(n=5)
    data = toymill.throw(model, model.parameters.init, 20, seed=2)
    found = toymill.profile_interval(model, data, "log_variance")
    assert found.parameter == "log_variance"
    for end, side in ((found.low, -1), (found.high, 1)):
        ratio = data.var(axis=1)[:, None] / np.exp(end)
        np.testing.assert_allclose(5 * (ratio - 1 - np.log(ratio)), np.tile(LEVELS, (20, 1)), atol=2e-6)
        assert (side * (end - found.free.parameters[:, 1:]) > 0).all()


def test_long_tails():
    """One Cauchy number: t = 2 ln(1 + (x - μ)²), whose 20 is 148 scales away and 40 is 22,026."""
    model = one_number(lambda p, x: -jnp.log1p((x[0] - p[0]) ** 2), [1.0], init=1.5)
    found = toymill.profile_interval(model, [[1.0], [2.0]], levels=[1.0, 20.0, 40.0])
    half = np.sqrt(np.expm1(np.array(found.levels) / 2))
    np.testing.assert_allclose(found.high, np.array([[1.0], [2.0]]) + half, rtol=1e-5)
    np.testing.assert_allclose(found.low, np.array([[1.0], [2.0]]) - half, rtol=1e-5)


def test_the_piece_around_the_best_fit():
    """Cauchy numbers -8, -7.5, 7, 7.4 and 8: t is below 12 around -8 too, but not in between."""
    x = np.array([-8.0, -7.5, 7.0, 7.4, 8.0])
    model = one_number(lambda p, x: -jnp.sum(jnp.log1p((x - p[0]) ** 2)), x, init=7.0)
    grid = np.linspace(-10, 10, 2001)
    nll = np.log1p((x[:, None] - grid) ** 2).sum(axis=0)
    below = 2 * (nll - nll.min()) < 12
    assert below[(grid > -8.5) & (grid < -7.5)].any()
    assert not below[(grid > -5) & (grid < 0)].any()
    found = toymill.profile_interval(model, x, levels=[12.0])
    piece = grid[below & (grid > 0)]
    np.testing.assert_allclose([found.low[0, 0], found.high[0, 0]], piece[[0, -1]], atol=0.01)


def test_a_level_that_t_never_reaches():
    """t = 2 (1 - exp(-μ²)) < 2: the bound is inside; without one there is no end."""
    bounds = (-50.0, np.inf)
    model = one_number(lambda p, x: jnp.exp(-((p[0] - x[0]) ** 2)), [0.0], init=0.5, bounds=bounds)
    found = toymill.profile_interval(model, [0.0], levels=[1.0, 3.84])
    assert found.low_status.tolist() == [[EndStatus.FOUND, EndStatus.AT_BOUND]]
    assert found.high_status.tolist() == [[EndStatus.FOUND, EndStatus.NOT_FOUND]]
    np.testing.assert_allclose(
        [found.low[0, 0], found.high[0, 0]], [-np.sqrt(np.log(2)), np.sqrt(np.log(2))], atol=2e-6
    )
    assert found.low[0, 1] == -50
    assert np.isnan(found.high[0, 1])
    assert found.ok.tolist() == [[True, False]]


def test_no_events_at_a_bound(spec):
    """n = 0: μ̂ is the bound 0, t = 2 s μ there is a straight line, and the ends are level/2s."""
    model = counting(spec, bounds=[0.0, 10.0])
    found = toymill.profile_interval(model, [[0.0], [3.0], [5.0]])
    assert (found.low == 0).all()
    assert (found.low_status == EndStatus.AT_BOUND).all()
    np.testing.assert_allclose(found.high[0], np.array(LEVELS) / 20, rtol=2e-6)
    for row, n in ((1, 3), (2, 5)):  # t from the bound, where the expectation is 5
        for k, level in enumerate(LEVELS):
            free = 2 * (5 - n * np.log(5))
            nu = scipy.optimize.brentq(lambda nu: 2 * (nu - n * np.log(nu)) - free - level, 5, 100, xtol=1e-13)  # noqa: B023
            assert found.high[row, k] == pytest.approx((nu - 5) / 10, rel=3e-6)


def test_upper_bound_inside(spec):
    model = counting(spec, bounds=[-0.4, 0.5])
    found = toymill.profile_interval(model, [[9.0], [2.0], [30.0]])
    assert found.high_status.tolist() == [[2, 2], [1, 1], [2, 2]]
    assert found.high[0].tolist() == [0.5, 0.5]
    assert found.low_status.tolist() == [[1, 1], [2, 2], [1, 1]]
    assert found.free.parameter("mu")[2] == 0.5
    np.testing.assert_allclose(found.low[0], [(poisson_ends(9, level)[0] - 5) / 10 for level in LEVELS], rtol=3e-6)


def test_an_edge_beyond_which_no_fit_succeeds(spec):
    """Below μ = -0.5 the expectation is negative: the step beyond fails, the end before it is found.

    Without events μ̂ = -0.5, t = 2(5 + 10 μ), and there is no end below.
    """
    model = counting(spec, bounds=[-5.0, 10.0])
    found = toymill.profile_interval(model, [[1.0], [0.0]])
    ends = np.array([poisson_ends(1, level) for level in LEVELS])
    np.testing.assert_allclose(found.low[0], (ends[:, 0] - 5) / 10, atol=1e-6)
    np.testing.assert_allclose(found.high[0], (ends[:, 1] - 5) / 10, atol=1e-6)
    assert found.free.status[1] == Status.AT_ZERO
    assert (found.low_status[1] == EndStatus.NOT_FOUND).all()
    np.testing.assert_allclose(found.high[1], (np.array(LEVELS) / 2 - 5) / 10, atol=1e-6)


def test_a_nuisance_parameter_at_its_bound(onoff):
    """No events off: b stays at 0 as long as μ > n_on/100, and 50 μ is the rate of n_on."""
    found = toymill.profile_interval(onoff, [[0.0, 150.0]])
    ends = np.array([poisson_ends(150, level) for level in LEVELS]) / 50
    np.testing.assert_allclose(found.low[0], ends[:, 0], rtol=1e-6)
    np.testing.assert_allclose(found.high[0], ends[:, 1], rtol=1e-6)


@pytest.mark.parametrize("truth", [0.0, 1.0, 4.0])
def test_toys_of_the_default_study(hww, truth):
    data = toymill.throw(hww, hww.parameters.values({"mu": truth}), 150, seed=3)
    found = toymill.profile_interval(hww, data)
    assert_right(hww, data, found)
    assert_covers(hww, data, found, truth)


def test_low_counts(onoff):
    """t of the on/off problem in closed form: the background that goes with a signal solves a quadratic equation."""
    rng = np.random.default_rng(4)
    off, on = rng.poisson(2, 200) + 1.0, rng.poisson(4, 200) + 1.0
    found = toymill.profile_interval(onoff, np.stack([off, on], axis=1))

    def t(mu):
        signal = 50 * mu
        half = on + off - 2 * signal
        background = (half + np.sqrt(half**2 + 8 * off * signal)) / 4
        nll = signal + 2 * background - on * np.log(signal + background) - off * np.log(background)
        return 2 * (nll - (on - on * np.log(on) + off - off * np.log(off)))

    for k, level in enumerate(LEVELS):
        for end, status in ((found.low[:, k], found.low_status[:, k]), (found.high[:, k], found.high_status[:, k])):
            assert (status == EndStatus.FOUND).all()
            np.testing.assert_allclose(t(end), level, atol=1.2e-6)
        inside = (found.low[:, k] <= 0.05) & (found.high[:, k] >= 0.05)
        assert (inside == (t(0.05) <= level)).all()
        skewness = (found.high + found.low)[:, k] / 2 - (on - off) / 50
        assert (skewness > 0.001).any()


def test_every_modifier(spec):
    model = toymill.read_workspace(spec)
    truth = model.parameters.values({"mu": 0.3})
    data = toymill.throw(model, truth, 60, seed=5)
    found = toymill.profile_interval(model, data)
    assert (found.low_status == EndStatus.AT_BOUND).any()
    assert_right(model, data, found)
    assert_covers(model, data, found, 0.3)


def test_a_constrained_parameter(hww):
    data = toymill.throw(hww, hww.parameters.init, 30, seed=6)
    found = toymill.profile_interval(hww, data, "JES", levels=[1.0])
    assert_right(hww, data, found)


@pytest.mark.parametrize("name", ["hww", "onoff"])
def test_minos(request, name):
    """iminuit's MINOS, whose own tolerance is a few thousandths of an error; t at our ends is tighter."""
    model = request.getfixturevalue(name)
    data = toymill.throw(model, model.parameters.values({"mu": 1.0}), 3, seed=7)
    found = toymill.profile_interval(model, data)
    nll, gradient = nll_and_gradient(model.kernel)
    for row in range(3):
        free = minuit_fit(model, data[row])
        minuit = iminuit.Minuit(
            lambda x, d=data[row]: float(nll(x, model.arrays, d)),
            free.parameters,
            grad=lambda x, d=data[row]: np.asarray(gradient(x, model.arrays, d)),
            name=model.parameters.names,
        )
        minuit.errordef, minuit.strategy, minuit.tol = iminuit.Minuit.LIKELIHOOD, 2, 1e-3
        minuit.limits = [tuple(limits) for limits in model.parameters.bounds]
        minuit.migrad()
        for k, level in enumerate(LEVELS):
            minuit.minos("mu", cl=float(scipy.stats.chi2.cdf(level, 1)))
            error = minuit.merrors["mu"]
            assert error.is_valid
            sigma = found.free.errors[row, model.poi_index]
            assert found.low[row, k] == pytest.approx(minuit.values["mu"] + error.lower, abs=5e-3 * sigma)
            assert found.high[row, k] == pytest.approx(minuit.values["mu"] + error.upper, abs=5e-3 * sigma)
            for end in (found.low[row, k], found.high[row, k]):
                held = minuit_fit(model, data[row], {"mu": end})
                assert 2 * (held.nll - free.nll) == pytest.approx(level, abs=1e-5)


def test_pyhf_at_our_ends(root, hww):
    """pyhf's own likelihood and optimiser say t = level there, to its optimiser's precision."""
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-4, strategy=2))
    try:
        workspace = pyhf.Workspace(json.loads((root / "config/workspaces/hww.json").read_text()))
        model = workspace.model()
        found = toymill.profile_interval(hww, hww.observed)
        data = np.array(workspace.data(model))
        _, free = pyhf.infer.mle.fit(data, model, return_fitted_val=True)
        for k, level in enumerate(LEVELS):
            for end in (found.low[0, k], found.high[0, k]):
                _, held = pyhf.infer.mle.fixed_poi_fit(end, data, model, return_fitted_val=True)
                assert float(held) - float(free) == pytest.approx(level, abs=1e-3)
    finally:
        pyhf.set_backend("numpy", "scipy")


def test_bits_do_not_depend_on_the_other_toys(hww):
    data = toymill.throw(hww, hww.parameters.values({"mu": 1.0}), 90, seed=8)
    whole = toymill.profile_interval(hww, data)
    rows = np.array([3, 17, 64, 89])
    part = toymill.profile_interval(hww, data[rows], index=rows)
    for name in ("low", "high", "low_status", "high_status"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[rows])
    np.testing.assert_array_equal(part.free.parameters, whole.free.parameters[rows])


def test_chunks_are_put_together_in_order(onoff, monkeypatch):
    data = toymill.throw(onoff, onoff.parameters.init, 600, seed=9)
    whole = toymill.profile_interval(onoff, data)
    monkeypatch.setattr(budget, "INTERVAL_ENDS", 1)
    parts = toymill.profile_interval(onoff, data)
    np.testing.assert_array_equal(parts.low, whole.low)
    np.testing.assert_array_equal(parts.high, whole.high)
    np.testing.assert_array_equal(parts.free.nll, whole.free.nll)


def free_fits_spoilt(monkeypatch, rows, *, times):
    """Make the first free fits end too high, at another place, for some toys; their statuses say certified."""
    right, left = intervals.fit, [times]

    def fit(model, data, fixed=None, **options):
        fits = right(model, data, fixed, **options)
        if fixed is None and left[0]:
            left[0] -= 1
            bad = np.isin(options["index"], rows)
            fits.nll[bad] += 3.0
            fits.parameters[bad, model.poi_index] += 0.7
        return fits

    monkeypatch.setattr(intervals, "fit", fit)


def test_a_free_fit_that_missed_is_repeated(hww, monkeypatch):
    data = toymill.throw(hww, hww.parameters.values({"mu": 1.0}), 5, seed=10)
    right = toymill.profile_interval(hww, data)
    free_fits_spoilt(monkeypatch, [1, 4], times=1)
    found = toymill.profile_interval(hww, data)
    np.testing.assert_allclose(found.free.nll, right.free.nll, atol=1e-8)
    np.testing.assert_allclose(found.low, right.low, atol=1e-5)
    np.testing.assert_allclose(found.high, right.high, atol=1e-5)
    untouched = [0, 2, 3]
    np.testing.assert_array_equal(found.low[untouched], right.low[untouched])


def test_a_free_fit_that_stays_above_has_no_interval(hww, monkeypatch):
    data = toymill.throw(hww, hww.parameters.values({"mu": 1.0}), 3, seed=10)
    free_fits_spoilt(monkeypatch, [1], times=1000)
    found = toymill.profile_interval(hww, data)
    assert found.ok.tolist() == [[True, True], [False, False], [True, True]]
    assert (found.low_status[1] == EndStatus.NOT_FOUND).all()
    assert np.isnan(found.low[1]).all()


def conditional_fits_spoilt(monkeypatch, beyond, *, times):
    """Make the first conditional fits beyond a value end far too high, as if they missed the lower of two minima."""
    right, left = intervals.fit, [times]

    def fit(model, data, fixed=None, **options):
        fits = right(model, data, fixed, **options)
        bad = np.zeros(len(fits.nll), dtype=bool) if fixed is None else fixed["mu"] > beyond
        if bad.any() and left[0]:
            left[0] -= 1
            fits.nll[bad] += 10.0
        return fits

    monkeypatch.setattr(intervals, "fit", fit)


def test_a_jump_of_t_is_no_end(hww, monkeypatch):
    data = toymill.throw(hww, hww.parameters.values({"mu": 1.0}), 1, mode="asimov")
    right = toymill.profile_interval(hww, data, levels=[1.0])
    assert right.high[0, 0] > 1.2
    conditional_fits_spoilt(monkeypatch, 1.2, times=1000)
    found = toymill.profile_interval(hww, data, levels=[1.0])
    assert found.low_status.tolist() == [[EndStatus.FOUND]]
    assert found.high_status.tolist() == [[EndStatus.NOT_FOUND]]


def test_a_missed_minimum_on_the_way_is_got_over(hww, monkeypatch):
    """The first fits beyond the jump are wrong: the end, farther out, is found all the same."""
    data = toymill.throw(hww, hww.parameters.values({"mu": 1.0}), 1, mode="asimov")
    right = toymill.profile_interval(hww, data, levels=[1.0])
    conditional_fits_spoilt(monkeypatch, 1.2, times=2)
    found = toymill.profile_interval(hww, data, levels=[1.0])
    assert found.high_status.tolist() == [[EndStatus.FOUND]]
    np.testing.assert_allclose(found.high, right.high, rtol=1e-6)


def test_an_end_is_confirmed_from_farther_out(hww, monkeypatch):
    """Fits that start from inside miss the lower minimum: the one from outside finds it, and the end moves."""
    right = intervals.fit
    data = toymill.throw(hww, hww.parameters.values({"mu": 1.0}), 1, mode="asimov")
    expected = toymill.profile_interval(hww, data, levels=[1.0])
    missed = []

    def fit(model, data, fixed=None, **options):
        fits = right(model, data, fixed, **options)
        if fixed is not None:
            beyond = fixed["mu"] > 1.1
            missed.append(beyond.any() and len(missed) < 3)  # the three fits before the confirmation
            fits.nll[beyond & missed[-1]] += 0.2
        return fits

    monkeypatch.setattr(intervals, "fit", fit)
    found = toymill.profile_interval(hww, data, levels=[1.0])
    assert missed[:4] == [True, True, True, False]
    np.testing.assert_allclose(found.high, expected.high, rtol=1e-6)


def test_fits_hold_a_value_for_each_toy(hww):
    data = toymill.throw(hww, hww.parameters.values({"mu": 1.0}), 3, seed=11)
    values = np.array([0.0, 1.0, 2.5])
    fits = toymill.fit(hww, data, {"mu": values}, covariance=False)
    np.testing.assert_array_equal(fits.parameter("mu"), values)
    for row, value in enumerate(values):
        one = toymill.fit(hww, data[[row]], {"mu": value}, index=[row], covariance=False)
        np.testing.assert_array_equal(one.parameters[0], fits.parameters[row])
    free = toymill.fit(hww, data, covariance=False)
    assert toymill.q_mu(free, fits).shape == (3,)
    with pytest.raises(
        toymill.ToymillError, match=r"fixed\['mu'\] has shape \(2,\); expected a number, or one for each of 3"
    ):
        toymill.fit(hww, data, {"mu": values[:2]}, covariance=False)
    for bad in ([0.0, 1.0, 99.0], [0.0, np.nan, 1.0], [-99.0, 0.0, 0.0]):
        with pytest.raises(toymill.ToymillError, match="Parameter 'mu' cannot be"):
            toymill.fit(hww, data, {"mu": bad})


def test_what_is_refused(spec, hww):
    model = toymill.read_workspace(spec)
    with pytest.raises(toymill.ToymillError, match="'k' is fixed by the model"):
        toymill.profile_interval(model, model.observed, "k")
    with pytest.raises(toymill.ToymillError, match="no parameter 'nu'"):
        toymill.profile_interval(hww, hww.observed, "nu")
    for levels in ([], [0.0], [1.0, np.nan], [np.inf], 1.0):
        with pytest.raises(toymill.ToymillError, match="expected a list of finite numbers above"):
            toymill.profile_interval(hww, hww.observed, levels=levels)
    with pytest.raises(toymill.ToymillError, match="0 datasets"):
        toymill.profile_interval(hww, np.empty((0, len(hww.observed))))
    with pytest.raises(toymill.ToymillError, match="data has shape"):
        toymill.profile_interval(hww, np.ones((2, 5)))
