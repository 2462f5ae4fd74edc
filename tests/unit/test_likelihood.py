"""Fits of many toys: closed forms, bounds, shapes, and that nothing depends on how toys are batched."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import toymill
from toymill.fitting import conditional as together
from toymill.fitting import fit as fitting
from toymill.fitting import rescue, search
from toymill.fitting.minuit import MinuitFit
from toymill.fitting.newton import minimize
from toymill.fitting.problem import FitProblem
from toymill.fitting.results import concatenate, keep_lower
from toymill.fitting.status import Status


def onoff_data(on, off):
    return np.stack([off, on], axis=1).astype(float)  # sorted channels: off, on


def test_onoff_against_its_closed_form(onoff):
    """μ̂ = (n_on - n_off)/s and b̂ = n_off/100; V(μ̂) = (n_on + n_off)/s², with s = 50 and τ = 1."""
    rng = np.random.default_rng(0)
    on, off = rng.poisson(150, 200), rng.poisson(100, 200)
    fits = toymill.fit(onoff, onoff_data(on, off), covariance=False)
    assert fits.ok.all()
    np.testing.assert_allclose(fits.parameter("mu"), (on - off) / 50, atol=1e-7)
    np.testing.assert_allclose(fits.parameter("b"), off / 100, atol=1e-7)
    np.testing.assert_allclose(fits.errors[:, onoff.poi_index], np.sqrt(on + off) / 50, rtol=1e-6)


def test_t_0_is_li_and_mas(onoff):
    """t_0 of the on/off problem with τ = 1: Li and Ma, ApJ 272 (1983) 317, eq. 17."""
    on, off = np.array([150, 130, 101, 70]), np.array([100, 90, 100, 95])
    data = onoff_data(on, off)
    t = toymill.t_mu(
        toymill.fit(onoff, data, covariance=False), toymill.fit(onoff, data, {"mu": 0.0}, covariance=False)
    )
    expected = 2 * (on * np.log(2 * on / (on + off)) + off * np.log(2 * off / (on + off)))
    np.testing.assert_allclose(t, expected, atol=1e-7)


def test_nll_is_minus_logpdf(hww):
    fits = toymill.fit(hww, hww.observed, covariance=False)
    assert fits.nll[0] == pytest.approx(-float(hww.logpdf(fits.parameters[0], hww.observed)), rel=1e-13)


def test_asimov_fit_finds_the_truth(hww):
    truth = hww.parameters.values({"mu": 1.7, "JES": 0.4, "mcstat[3]": 1.01})
    fits = toymill.fit(hww, toymill.throw(hww, truth, 1, mode="asimov"), covariance=False)
    np.testing.assert_allclose(fits.parameters[0], truth, atol=1e-5)


def test_covariance_and_errors_agree(hww):
    fits = toymill.fit(hww, hww.observed, {"mu": 1.0})
    assert fits.covariance.shape == (1, 29, 29)
    np.testing.assert_allclose(np.sqrt(np.diagonal(fits.covariance[0])), fits.errors[0])
    alone = toymill.fit(hww, hww.observed, {"mu": 1.0}, covariance=False)
    assert alone.covariance is None
    np.testing.assert_allclose(alone.errors, fits.errors, rtol=1e-12)
    assert fits.errors[0, hww.poi_index] == 0
    assert fits.parameters[0, hww.poi_index] == 1.0
    assert fits.fixed == {"mu": 1.0}


def test_fixed_parameters_of_the_model_stay(spec):
    model = toymill.read_workspace(spec)
    fits = toymill.fit(model, model.observed, covariance=False)
    assert fits.parameter("k")[0] == 1.1
    assert fits.errors[0, model.parameters.index("k")] == 0


def test_poi_at_its_bound_says_so(spec):
    model = toymill.read_workspace(spec)
    data = model.observed.copy()
    data[2] = 20.0  # control_region has 2 bins and comes first: fewer signal-region events than background
    data[3] = 20.0
    fits = toymill.fit(model, data, covariance=False)
    assert fits.status[0] == Status.AT_BOUND
    assert fits.parameter("mu")[0] == 0
    assert np.isnan(fits.errors[0, model.poi_index])
    assert fits.ok[0]


def counting(spec, signal, background, observed=0.0):
    """One bin: μ·signal + a known background, μ in [-5, 10]."""
    normfactor = {"name": "mu", "type": "normfactor", "data": None}
    samples = [
        {"name": "s", "data": [signal], "modifiers": [normfactor]},
        {"name": "b", "data": [background], "modifiers": []},
    ]
    parameters = [{"name": "mu", "bounds": [[-5.0, 10.0]]}]
    return spec | {
        "channels": [{"name": "c", "samples": samples}],
        "observations": [{"name": "c", "data": [observed]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": parameters}}],
    }


def test_conditional_fits_never_lie_below_free_ones(hww):
    data = toymill.throw(hww, hww.parameters.values({"mu": 0.0}), 300, seed=5)
    free, conditional = together.fit_tests(hww, data, [{"mu": -0.5}, {"mu": 0.0}, {"mu": 3.0}])
    for fits in conditional:
        assert toymill.t_mu(free, fits).min() > -1e-7
    assert free.covariance is None


def test_conditional_fits_lead_to_each_other(hww, monkeypatch):
    """Whatever the order of the tests, fits have the same bits; they start nearer to the minimum and end in it."""
    toys = toymill.throw(hww, hww.parameters.values({"mu": 0.0}), 100, seed=2)
    tests = [{"mu": value} for value in (0.0, 1.0, 2.0, 4.0)]
    starts, fit_problem = [], together.fit_problem

    def recorded(problem, start, **settings):
        starts.append(start)
        return fit_problem(problem, start, **settings)

    monkeypatch.setattr(together, "fit_problem", recorded)
    _, conditional = toymill.fit_tests(hww, toys, tests)
    led = starts[-1]
    _, (alone,) = toymill.fit_tests(hww, toys, tests[-1:])
    _, backwards = toymill.fit_tests(hww, toys, tests[::-1])
    for one, other in zip(conditional, backwards[::-1], strict=True):
        np.testing.assert_array_equal(one.parameters, other.parameters)
    last = conditional[-1]
    assert last.ok.all()
    np.testing.assert_allclose(last.nll, alone.nll, atol=1e-6)
    away, away_alone = (np.abs(start - last.parameters).max(axis=1) for start in (led, starts[len(tests) + 2]))
    assert (led[:, hww.poi_index] == 4.0).all()
    assert np.median(away) < 0.5 * np.median(away_alone)


def test_a_line_through_known_fits_leads_to_the_next(onoff):
    """Through the nearest one and another, which is at least half as far from it as the test."""
    fits = toymill.fit(onoff, onoff_data(np.full(2, 150), np.full(2, 100)), covariance=False)
    mu, b = onoff.parameters.index("mu"), onoff.parameters.index("b")

    def at(value, of_b, ok=(True, True)):
        parameters = fits.parameters.copy()
        parameters[:, mu], parameters[:, b] = value, of_b
        return replace(fits, parameters=parameters, status=np.where(ok, Status.CERTIFIED, Status.NOT_CONVERGED))

    known = [at(1.0, 1.0), at(3.0, 0.6, ok=(True, False)), at(2.9, 0.2), at(2.0, 0.9)]
    line, nearest = together._along_known(onoff, known, {"mu": 4.0})
    assert nearest.tolist() == [1, 2]
    np.testing.assert_allclose(line[:, mu], 4.0)
    np.testing.assert_allclose(line[:, b], [0.3, 0.2 - 0.7 / 0.9 * 1.1])


def test_repair_replaces_a_free_fit_that_missed(hww):
    """A free fit that is certified but too high is found by its conditional fit, and repeated."""
    data = toymill.throw(hww, hww.parameters.values({"mu": 1.0}), 4, seed=6)
    right, (conditional,) = together.fit_tests(hww, data, [{"mu": 1.0}])
    wrong = toymill.fit(hww, data, covariance=False)
    wrong.nll[2] += 10
    wrong.parameters[2] += 1
    repaired = together._repair(hww, data, np.arange(4), wrong, [conditional], 1e-8)
    np.testing.assert_allclose(repaired.nll, right.nll, atol=1e-8)
    np.testing.assert_allclose(repaired.parameters, right.parameters, atol=1e-4)


@pytest.mark.parametrize("cuts", [[300], [1, 299], [130, 40, 130], [43] * 6 + [42]])
def test_bits_do_not_depend_on_the_shard(hww, cuts):
    data = toymill.throw(hww, hww.parameters.values({"mu": 1.0}), 300, seed=7)
    whole, (test,) = together.fit_tests(hww, data, [{"mu": 0.0}])
    first, parts = 0, []
    for size in cuts:
        parts.append(together.fit_tests(hww, data[first : first + size], [{"mu": 0.0}], first=first))
        first += size
    again = concatenate([part[0] for part in parts])
    again_test = concatenate([part[1][0] for part in parts])
    for one, two in ((whole, again), (test, again_test)):
        for name in ("parameters", "errors", "nll", "status", "edm", "iterations"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_shapes_never_recompile(hww):
    toymill.fit(hww, np.tile(hww.observed, (3, 1)), covariance=False)
    before = minimize._cache_size()
    for count in (1, 7, 130, 300):
        toymill.fit(hww, np.tile(hww.observed, (count, 1)), {"mu": 0.5}, covariance=False)
    assert minimize._cache_size() == before


def test_a_toy_that_is_fitted_by_itself_stays_in_its_place(spec):
    model = toymill.read_workspace(counting(spec, signal=10.0, background=5.0))
    fits = toymill.fit(model, [[6.0], [9.0], [4.0], [0.0], [5.0]], covariance=False)
    assert fits.status.tolist() == [Status.CERTIFIED] * 3 + [Status.AT_ZERO, Status.CERTIFIED]
    np.testing.assert_allclose(fits.parameters[:, 0], [0.1, 0.4, -0.1, -0.5, 0.0], atol=1e-7)


def test_impossible_data_are_refused(hww):
    data = np.tile(hww.observed, (3, 1))
    data[1, 2] = -1.0
    with pytest.raises(toymill.ToymillError, match=r"Toy 11 has -1 as classifier\[2\]: expected a count"):
        toymill.fit(hww, data, index=[10, 11, 12])
    data[1, 2] = np.nan
    with pytest.raises(toymill.ToymillError, match="Toy 1 has nan"):
        toymill.fit(hww, data)


def test_two_minima_of_a_two_minima_systematic(spec):
    """Both directions of a histosys raise the yields: the fits find the lower of two minima (by brute force)."""
    spec = counting(spec, signal=10.0, background=100.0, observed=153.0)
    spec["channels"][0]["samples"][0]["data"] = [10.0, 2.0]
    spec["channels"][0]["samples"][1]["data"] = [100.0, 60.0]
    one_sided = {"hi_data": [130.0, 64.0], "lo_data": [125.0, 50.0]}
    spec["channels"][0]["samples"][1]["modifiers"] = [{"name": "a", "type": "histosys", "data": one_sided}]
    spec["observations"][0]["data"] = [153.0, 61.0]
    model = toymill.read_workspace(spec)
    assert model.two_minima.tolist() == [name == "a" for name in model.parameters.names]
    data = toymill.throw(model, model.parameters.values({"mu": 3.0}), 150, seed=3)
    data[0] = [153.0, 61.0, 0.17460858]
    free, (test,) = together.fit_tests(model, data, [{"mu": 1.0}])
    assert test.nll[0] == pytest.approx(8.279422, abs=1e-6)  # on a grid; the other minimum lies at 9.8958
    for fits, fixed in ((free, None), (test, {"mu": 1.0})):
        for a in np.linspace(-3, 3, 13):
            start = model.parameters.values({"a": a, "mu": 1.0})
            held = np.array([name == "mu" and fixed is not None for name in model.parameters.names])
            problem = FitProblem(model, data, np.arange(len(data)), fixed or {}, held)
            again = search.search(problem, np.tile(start, (len(data), 1)))
            assert (fits.nll <= again.nll + 1e-7).all()


def test_degenerate_parameters_are_not_certified(spec):
    """Two samples of one shape, each with a free factor: no minimum, whatever rounding says."""
    spec = counting(spec, signal=5.0, background=2.5)
    spec["channels"][0]["samples"] = [
        {"name": name, "data": data, "modifiers": [{"name": factor, "type": "normfactor", "data": None}]}
        for name, data, factor in (("s", [5.0, 7.0, 3.1], "mu"), ("t", [2.5, 3.5, 1.55], "k"))
    ] + [{"name": "b", "data": [50.0, 33.0, 20.0], "modifiers": []}]
    spec["observations"][0]["data"] = [60.0, 45.0, 25.0]
    model = toymill.read_workspace(spec)
    fits = toymill.fit(model, toymill.throw(model, model.parameters.init, 200), covariance=False)
    inside = (
        (fits.parameters > model.parameters.bounds[:, 0]) & (fits.parameters < model.parameters.bounds[:, 1])
    ).all(axis=1)
    assert inside.any()
    assert (fits.status[inside] == Status.HESSIAN_NOT_POSITIVE).all()


def test_unfinished_toys_are_taken_up_again(hww, monkeypatch):
    hww = replace(hww, two_minima=np.zeros_like(hww.two_minima))
    data = toymill.throw(hww, hww.parameters.values({"mu": 1.0}), 200, seed=9)
    expected = toymill.fit(hww, data, covariance=False)
    monkeypatch.setattr(search, "_FAST_STEPS", dict.fromkeys((True, False), (1, 2, 12)))
    by_scoring = toymill.fit(hww, data, covariance=False)
    assert by_scoring.ok.all()
    np.testing.assert_allclose(by_scoring.nll, expected.nll, atol=1e-8)
    monkeypatch.setattr(search, "is_fast", lambda _: False)
    monkeypatch.setattr(fitting, "rescue", lambda *_: None)
    monkeypatch.setattr(search, "STAGES", (1,))
    assert not toymill.fit(hww, data, covariance=False).ok.any()
    monkeypatch.setattr(search, "STAGES", (1, 2, 400))
    fits = toymill.fit(hww, data, covariance=False)
    assert fits.ok.all()
    np.testing.assert_allclose(fits.nll, expected.nll, atol=1e-8)


def narrow_valley():
    """Rosenbrock's function as counts, 40,000 times as curved across its valley as along it, from the valley's far end."""
    return toymill.define_model(
        {"x": toymill.Parameter(-1.2, (-5.0, 5.0)), "y": toymill.Parameter(1.44, (-50.0, 50.0))},
        poi="x",
        expected=lambda params: jnp.array([1e4 + 1e2 * params[0], 1e12 + 2e8 * (params[1] - params[0] ** 2)]),
        observed=[1e4 + 1e2, 1e12],
    )


def test_a_narrow_valley_is_followed_to_its_end(monkeypatch):
    monkeypatch.setattr(fitting, "rescue", lambda *_: None)
    model = narrow_valley()
    fits = toymill.fit(model, model.observed, covariance=False)
    assert fits.ok.all()
    np.testing.assert_allclose(fits.parameters, [[1.0, 1.0]], atol=1e-6)


def test_iminuit_rescues_what_is_left(hww, monkeypatch):
    """Toys that no stage has finished are taken to the minimum by iminuit, certified there, and say so."""
    hww = replace(hww, two_minima=np.zeros_like(hww.two_minima))
    data = toymill.throw(hww, hww.parameters.values({"mu": 1.0}), 3, seed=9)
    for fixed in ({}, {"mu": 0.5}):
        expected = toymill.fit(hww, data, fixed, covariance=False)
        with monkeypatch.context() as patch:
            patch.setattr(search, "is_fast", lambda _: False)
            patch.setattr(search, "STAGES", (1,))
            fits = toymill.fit(hww, data, fixed, covariance=False)
        assert (fits.status == Status.RESCUED).all()
        assert fits.ok.all()
        assert (fits.edm < 1e-8).all()
        np.testing.assert_allclose(fits.nll, expected.nll, atol=1e-8)
        np.testing.assert_allclose(fits.parameters, expected.parameters, atol=1e-5)
        np.testing.assert_allclose(fits.errors, expected.errors, rtol=1e-5)


def test_lbfgsb_follows_the_valley_that_iminuit_leaves(monkeypatch):
    """As if neither the search nor iminuit had gone on from the valley's far end; with a parameter held, too."""
    model = narrow_valley()
    start = model.parameters.init
    monkeypatch.setattr(rescue, "minuit_fit", lambda *_: MinuitFit(start.copy(), 0.0, valid=True))
    monkeypatch.setattr(search, "STAGES", (1,))
    free = toymill.fit(model, model.observed, covariance=False)
    assert free.status.tolist() == [Status.RESCUED]
    np.testing.assert_allclose(free.parameters, [[1.0, 1.0]], atol=1e-6)
    held = toymill.fit(model, model.observed, {"x": -1.2}, covariance=False)
    assert held.ok.all()
    np.testing.assert_allclose(held.parameters, [[-1.2, 1.44]], atol=1e-6)


@pytest.mark.parametrize("name", ["hww", pytest.param("atlas", marks=pytest.mark.long)])
def test_fast_and_plain_fits_are_the_same(hww, root, name):
    """The plain minimiser, step by step with dense matrices, is the reference for Fisher scoring in blocks."""
    atlas = root / "config/workspaces/atlas-3l-erjr"
    patch = atlas / "patch.ERJR_100p0_20p0.json"
    model = hww if name == "hww" else toymill.read_workspace(atlas / "BkgOnly.json", patches=[patch])
    plain = replace(model, kernel=model.kernel._replace(fast=None), two_minima=np.zeros_like(model.two_minima))
    fast = replace(plain, kernel=model.kernel)
    data = toymill.throw(model, model.parameters.values({str(model.poi): 1.0}), 60, seed=4)
    for fixed in ({}, {str(model.poi): 1.0}):
        ours, reference = toymill.fit(fast, data, fixed), toymill.fit(plain, data, fixed)
        assert ours.ok.all()
        both = np.abs(ours.nll - reference.nll) < 1e-3  # two searches may end in two minima
        assert both.mean() > 0.9
        np.testing.assert_allclose(ours.nll[both], reference.nll[both], atol=2e-8)
        unit = np.where(reference.errors > 0, reference.errors, 1.0)[both]
        assert np.max(np.abs(ours.parameters - reference.parameters)[both] / unit) < 1e-3
        np.testing.assert_allclose(ours.errors[both], reference.errors[both], rtol=1e-3, atol=1e-12)
        held = np.isnan(reference.covariance[both]) | np.isnan(ours.covariance[both])
        scale = unit[:, :, None] * unit[:, None]
        gap = np.abs(ours.covariance - reference.covariance)[both] / scale
        assert np.max(np.where(held, 0.0, gap)) < 1e-3


def test_data_of_the_wrong_length_are_refused(hww):
    with pytest.raises(toymill.ToymillError, match=r"data has shape \(2, 5\); expected \(n, 48\)"):
        toymill.fit(hww, np.ones((2, 5)))


def test_start_of_the_wrong_length_is_refused(hww):
    with pytest.raises(toymill.ToymillError, match=r"start has shape \(3,\)"):
        toymill.fit(hww, hww.observed, start=np.ones(3))


def test_number_of_starts_and_of_datasets(hww):
    with pytest.raises(toymill.ToymillError, match="1 datasets and 2 starts"):
        toymill.fit(hww, hww.observed, start=np.tile(hww.parameters.init, (2, 1)))
    with pytest.raises(toymill.ToymillError, match="0 datasets"):
        toymill.fit(hww, np.empty((0, len(hww.observed))))
    with pytest.raises(toymill.ToymillError, match="no parameter 'nu'"):
        toymill.fit(hww, hww.observed).parameter("nu")


def test_a_start_does_not_move_what_the_model_fixes(spec):
    model = toymill.read_workspace(spec)
    start = model.parameters.values({"k": 2.0})
    assert toymill.fit(model, model.observed, start=start, covariance=False).parameter("k")[0] == 1.1


def test_a_higher_certified_fit_does_not_replace_a_lower_uncertified_one(hww):
    data = toymill.throw(hww, hww.parameters.init, 3, seed=1)
    fits, again = toymill.fit(hww, data, covariance=False), toymill.fit(hww, data, covariance=False)
    fits.status[:2] = Status.NOT_CONVERGED
    fits.nll[0] -= 1
    fits.nll[1] += 1
    keep_lower(fits, again)
    assert fits.ok.tolist() == [False, True, True]


def test_unknown_fixed_parameter_is_refused(hww):
    with pytest.raises(toymill.ToymillError, match="no parameter 'nu'"):
        toymill.fit(hww, hww.observed, {"nu": 1.0})


def test_fixed_value_out_of_bounds_is_refused(hww):
    with pytest.raises(toymill.ToymillError, match="'mu' cannot be 12"):
        toymill.fit(hww, hww.observed, {"mu": 12.0})
