"""Interpolation codes 0 and 1 have a kink at α = 0, where fits may end: each is certified for what it is."""

import itertools
from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.optimize import minimize as scipy_minimize

import toymill
from toymill.fitting.conditional import fit_tests
from toymill.fitting.descent import off_saddles
from toymill.fitting.newton import Domain, curvature
from toymill.fitting.problem import FitProblem
from toymill.formats.reader import read_specification
from toymill.histfactory.compiler import compile_specification
from toymill.histfactory.second_minima import SCANNED

CODES = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code0"}}


def workspace(modifiers, yields=(50.0, 80.0), signal=(10.0, 2.0)):
    return {
        "channels": [
            {
                "name": "c",
                "samples": [
                    {"name": "b", "data": list(yields), "modifiers": modifiers},
                    {
                        "name": "s",
                        "data": list(signal),
                        "modifiers": [{"name": "mu", "type": "normfactor", "data": None}],
                    },
                ],
            }
        ],
        "observations": [{"name": "c", "data": list(yields)}],
        "measurements": [
            {"name": "m", "config": {"poi": "mu", "parameters": [{"name": "mu", "bounds": [[-5.0, 20.0]]}]}}
        ],
        "version": "1.0.0",
    }


def model(*arguments):
    return toymill.read_workspace(workspace(*arguments), modifier_settings=CODES)


def normsys(name, hi, lo):
    return {"name": name, "type": "normsys", "data": {"hi": hi, "lo": lo}}


def histosys(name, hi, lo):
    return {"name": name, "type": "histosys", "data": {"hi_data": hi, "lo_data": lo}}


def lowest(model, nll, data, fixed=()):
    """The lowest nll over both sides of every kink, each a smooth problem with bounds, by L-BFGS-B and its restarts."""
    bounds = model.parameters.bounds.copy()
    for name, value in dict(fixed).items():
        bounds[model.parameters.index(name)] = value
    kinks = np.flatnonzero(model.kinks)
    found = np.inf
    for sides in itertools.product((-1, 1), repeat=len(kinks)):
        here = bounds.copy()
        for kink, side in zip(kinks, sides, strict=True):
            here[kink] = (0.0, bounds[kink, 1]) if side > 0 else (bounds[kink, 0], 0.0)
        for push in (0.01, 1.0):
            start = model.parameters.init.copy()
            start[kinks] = np.array(sides) * push
            for _ in range(3):
                end = scipy_minimize(lambda x: float(nll(x, data)), np.clip(start, *here.T), bounds=here, tol=1e-12)
                start = end.x
            found = min(found, end.fun)
    return found


@pytest.mark.parametrize(
    "modifiers",
    [
        pytest.param([normsys("a", 1.2, 1.1)], marks=pytest.mark.long),  # its fits at a kink: below
        [normsys("a", 1.25, 0.95)],
        pytest.param([histosys("a", [60.0, 78.0], [48.0, 88.0])], marks=pytest.mark.long),  # beside a normsys below
        [normsys("a", 1.1, 1.05), histosys("b", [55.0, 90.0], [49.0, 79.0])],
        [normsys("a", 1.2, 0.9), histosys("a", [56.0, 84.0], [49.0, 76.0])],
    ],
)
def test_toys_end_at_the_lowest_point_of_both_sides(modifiers):
    kinked = model(modifiers)
    assert kinked.kinks.any()
    data = toymill.throw(kinked, kinked.parameters.init, 24, seed=3)
    free, (test,) = fit_tests(kinked, data, [{"mu": 0.0}])
    assert free.ok.all()
    assert test.ok.all()
    nll = jax.jit(lambda x, row: -kinked.logpdf(x, row))
    for fits, fixed in ((free, {}), (test, {"mu": 0.0})):
        best = [lowest(kinked, nll, row, fixed) for row in data]
        assert np.max(fits.nll - best) < 1e-6
    assert (toymill.t_mu(free, test) > -1e-6).all()
    at_kink = test.status == toymill.Status.AT_KINK
    resting = (test.parameters[:, kinked.kinks] == 0).any(axis=1)
    np.testing.assert_array_equal(at_kink, resting & (test.status != toymill.Status.AT_BOUND))
    assert np.isnan(test.errors[:, kinked.kinks][test.parameters[:, kinked.kinks] == 0]).all()


def test_a_fit_at_a_kink_says_so():
    """Both directions raise the yield, and the data are low: the nll rises from α = 0 to both sides."""
    kinked = model([normsys("a", 1.2, 1.1)])
    fits = toymill.fit(kinked, [40.0, 60.0, 0.0], {"mu": 0.0}, covariance=False)
    assert fits.status[0] == toymill.Status.AT_KINK
    assert fits.ok[0]
    assert fits.parameter("a")[0] == 0
    assert np.isnan(fits.errors[0, kinked.parameters.index("a")])
    for beside in (-1e-4, 1e-4):
        moved = fits.parameters[0].copy()
        moved[kinked.parameters.index("a")] = beside
        assert -float(kinked.logpdf(moved, np.array([40.0, 60.0, 0.0]))) > fits.nll[0]


@pytest.mark.parametrize(("hi", "lo", "yields"), [(1.25, 0.999, (50.0, 80.0)), (1.1, 0.98, (500.0, 800.0))])
def test_two_minima_of_an_asymmetric_variation(monkeypatch, hi, lo, yields):
    """Code 4, no kink, both directions apart: 8 to 40 % of toys have two minima along α; the lower one is found.

    The lowest point of a scan of α with μ held is the truth here.
    """
    monkeypatch.setitem(CODES, "normsys", {"interpcode": "code4"})
    smooth = model([normsys("a", hi, lo)], yields)
    assert smooth.two_minima.any()
    assert not smooth.kinks.any()
    data = toymill.throw(smooth, smooth.parameters.init, 300, seed=3)
    fits = toymill.fit(smooth, data, {"mu": 0.0}, covariance=False)
    alone = toymill.fit(
        replace(smooth, two_minima=np.zeros_like(smooth.two_minima)), data, {"mu": 0.0}, covariance=False
    )
    alpha = np.linspace(-4, 4, 801)
    points = np.stack([np.zeros_like(alpha), alpha], axis=1)
    scans = np.array([-np.asarray(smooth.logpdf(points, row)) for row in data])
    rises = np.diff(scans, axis=1) > 0
    assert np.mean(np.sum(rises[:, 1:] & ~rises[:, :-1], axis=1) > 1) > 0.05
    assert fits.ok.all()
    assert np.max(fits.nll - scans.min(axis=1)) < 1e-6
    assert np.max(alone.nll - scans.min(axis=1)) > 1e-2


def test_the_second_minimum_is_foreseen(monkeypatch):
    """From the higher of two minima, the lower one's place within a step of the scan, and its depth to a tenth."""
    monkeypatch.setitem(CODES, "normsys", {"interpcode": "code4"})
    smooth = model([normsys("a", 1.1, 0.98)], (500.0, 800.0))
    data = toymill.throw(smooth, smooth.parameters.init, 300, seed=3)
    fits = toymill.fit(smooth, data, {"mu": 0.0}, covariance=False)
    alone = toymill.fit(
        replace(smooth, two_minima=np.zeros_like(smooth.two_minima)), data, {"mu": 0.0}, covariance=False
    )
    higher = np.flatnonzero(alone.nll > fits.nll + 1e-2)
    assert len(higher) >= 5
    fixed = np.array(smooth.parameters.names) == "mu"
    arguments = smooth.arrays, alone.parameters[higher].T, data[higher].T, fixed, smooth.parameters.bounds
    gap, value, *_ = smooth.kernel.second_minima(*arguments)
    a = smooth.parameters.index("a")
    np.testing.assert_allclose(np.asarray(gap)[a], (fits.nll - alone.nll)[higher], atol=0.1)
    np.testing.assert_allclose(np.asarray(value)[a], fits.parameters[higher, a], atol=0.3)
    assert np.isinf(np.asarray(gap)[smooth.parameters.index("mu")]).all()


def test_an_empty_bin_does_not_end_the_search(monkeypatch):
    """A bin without yields and events says nothing, of second minima too; nor does a parameter that is held."""
    monkeypatch.setitem(CODES, "normsys", {"interpcode": "code4"})
    spec = workspace([normsys("a", 1.1, 0.98)], (500.0, 800.0))
    full = toymill.read_workspace(spec, modifier_settings=CODES)
    data = toymill.throw(full, full.parameters.init, 200, seed=3)
    expected = toymill.fit(full, data, {"mu": 0.0}, covariance=False)
    for sample in spec["channels"][0]["samples"]:
        sample["data"].append(0.0)
    spec["observations"][0]["data"].append(0.0)
    empty = toymill.read_workspace(spec, modifier_settings=CODES)
    fits = toymill.fit(empty, np.insert(data, 2, 0.0, axis=1), {"mu": 0.0}, covariance=False)
    np.testing.assert_allclose(fits.nll, expected.nll, atol=1e-7)


@pytest.mark.parametrize("factor", [1.5, 1.05])
def test_a_loosely_constrained_parameter_alone(monkeypatch, factor):
    """A gamma with an auxiliary expectation below one is tried where what it multiplies is uncertain enough, and no other."""
    monkeypatch.setitem(CODES, "normsys", {"interpcode": "code4"})
    gamma = {"name": "g", "type": "shapesys", "data": [60.0, 4.0]}
    loose = toymill.read_workspace(workspace([gamma, normsys("a", factor, 1 / factor)]), modifier_settings=CODES)
    order, scan = loose.arrays.order, loose.arrays.scan
    names = [loose.parameters.names[k] for k in order.parameters[scan.loose.places]]
    assert loose.two_minima.tolist() == [name in names for name in loose.parameters.names]
    assert names == ([] if factor == 1.05 else ["g[0]"])  # it takes five standard deviations
    data = toymill.throw(loose, loose.parameters.init, 40, seed=1)
    free, (test,) = fit_tests(loose, data, [{"mu": 0.0}])
    assert free.ok.all()
    assert test.ok.all()
    assert (toymill.t_mu(free, test) > -1e-6).all()


def tiny_sample():
    """A sample of 0.03 events that may grow a hundredfold, and data with none to many more events than expected."""
    spec = workspace([normsys("b", 1.1, 1 / 1.1)], (60.0, 80.0))
    gamma = {"name": "g", "type": "shapesys", "data": [0.12, 0.0]}
    small = {"name": "small", "data": [0.03, 0.0], "modifiers": [gamma, normsys("a", 100.0, 0.01)]}
    spec["channels"][0]["samples"].append(small)
    tiny = toymill.read_workspace(spec, modifier_settings=CODES)
    data = np.tile(tiny.observed, (30, 1))
    data[:, 0] = np.arange(40, 100, 2)
    data[:, tiny.data_names.index("g[0] (auxiliary)")] = 0.0
    return tiny, data


def lowest_of_corners(tiny, data, near):
    """The lowest fits from γ at 0 and large, with a normsys that multiplies its yields either way."""
    known = []
    for loose, raised in itertools.product((0.0, 10.0), (-2.0, 2.0)):
        start = np.clip(near, *tiny.parameters.bounds.T)
        start[:, tiny.parameters.index("g[0]")], start[:, tiny.parameters.index("a")] = loose + 1e-10, raised
        known.append(toymill.fit(tiny, data, {"mu": 0.0}, start=start, covariance=False).nll)
    return np.min(known, axis=0)


def test_minima_of_products(monkeypatch):
    """From a fit with γ at 0 the other minimum is foreseen about where it is, and from there the one with γ at 0."""
    monkeypatch.setitem(CODES, "normsys", {"interpcode": "code4"})
    tiny, data = tiny_sample()
    g, low = tiny.parameters.index("g[0]"), tiny.parameters.bounds[tiny.parameters.index("g[0]"), 0]
    fits = toymill.fit(tiny, data, {"mu": 0.0}, covariance=False)
    best = lowest_of_corners(tiny, data, fits.parameters)
    np.testing.assert_allclose(fits.nll, best, atol=1e-6)
    large = fits.parameters[:, g] > 1.0
    assert 5 < large.sum() < 25
    at_0 = toymill.fit(tiny, data, {"mu": 0.0, "g[0]": float(low), "a": 0.0}, covariance=False)
    mask = tiny.parameters.fixed | (np.array(tiny.parameters.names) == "mu")
    for fit, expected in ((at_0, fits.nll), (fits, at_0.nll)):
        arguments = tiny.arrays, fit.parameters.T, data.T, mask, tiny.parameters.bounds
        _, _, foreseen, undone = map(np.asarray, jax.jit(tiny.kernel.second_minima)(*arguments))
        assert (undone[g, large] == (fit is fits)).all()
        assert not np.delete(undone, g, axis=0).any()
        if fit is fits:
            assert np.isinf(foreseen[0, large]).all()
            continue
        gap, there = map(np.asarray, jax.jit(tiny.kernel.product)(*arguments, 0))
        assert (foreseen[0] <= gap).all()
        assert (gap[large] < 0.1).all()
        assert (there.T[large, g] > low).all()
        above = -np.asarray(tiny.logpdf(there.T[large], data[large])) - expected[large]
        assert (above < 0.2 * (at_0.nll - fits.nll)[large] + 0.2).all()


def test_a_search_leaves_a_saddle_by_the_better_side(monkeypatch):
    """A tiny sample that may grow a hundredfold: between γ = 0 and the second minimum the Hessian is not positive."""
    monkeypatch.setitem(CODES, "normsys", {"interpcode": "code4"})
    tiny, data = tiny_sample()
    between = toymill.fit(tiny, data, {"mu": 0.0, "g[0]": 0.2}, covariance=False).parameters
    mask = tiny.parameters.fixed | (np.array(tiny.parameters.names) == "mu")
    hessians, _ = curvature(tiny.kernel, tiny.arrays, between.T, data.T, Domain(tiny.parameters.bounds, mask))
    free = np.ix_(np.arange(30), ~mask, ~mask)
    saddles = np.flatnonzero(np.linalg.eigvalsh(np.asarray(hessians)[free])[:, 0] < 0)
    assert len(saddles) > 5
    ends = off_saddles(FitProblem(tiny, data[saddles], np.arange(len(saddles)), {}, mask), between[saddles])
    known = lowest_of_corners(tiny, data[saddles], between[saddles])
    found = -np.asarray(tiny.logpdf(ends, data[saddles]))
    assert (found < known + 1e-3).all()
    lower = -np.asarray(tiny.logpdf(between[saddles], data[saddles])) - found
    assert (lower > 1e-3).all()


def test_the_responses_are_those_of_the_expectation(monkeypatch):
    """Their principal components give every bin's rate at the scanned values, to a twentieth of its fluctuation."""
    monkeypatch.setitem(CODES, "normsys", {"interpcode": "code4"})
    smooth = model([normsys("a", 1.25, 0.999), normsys("b", 1.1, 1.1)], (500.0, 800.0))
    scan, order = smooth.arrays.scan, smooth.arrays.order
    chosen = order.parameters[scan.places]
    assert len(chosen) == 2
    ratios = 1 + np.einsum("bjks,jg->kgbs", scan.response.reshape(2, len(scan.basis), 2, -1), scan.basis)
    for k, parameter in enumerate(chosen):
        points = np.tile(smooth.parameters.init, (len(SCANNED), 1))
        points[:, 0] = 0.0
        points[:, parameter] = SCANNED
        rates = np.asarray(smooth.expected_data(points))[:, :2]
        np.testing.assert_allclose(ratios[k, :, :, 0] * [500, 800], rates, atol=0.05 * np.sqrt(500))


def test_the_response_of_a_signal_that_starts_at_0(monkeypatch):
    """It is looked for where the signal is not, and where it is: the minima do not depend on the initial value."""
    monkeypatch.setitem(CODES, "normsys", {"interpcode": "code4"})
    found = []
    for init in (0.0, 1.0):
        spec = workspace([], (3.0, 4.0), (30.0, 40.0))
        spec["channels"][0]["samples"][1]["modifiers"].append(normsys("a", 1.6, 0.999))
        spec["measurements"][0]["config"]["parameters"][0]["inits"] = [init]
        signal = toymill.read_workspace(spec, modifier_settings=CODES)
        data = toymill.throw(signal, signal.parameters.values({"mu": 1.0}), 100, seed=3)
        found.append(toymill.fit(signal, data, {"mu": 1.0}, covariance=False).nll)
    np.testing.assert_allclose(*found, atol=1e-7)


def test_a_gamma_whose_lower_bound_is_0():
    """The logarithm of its auxiliary expectation is taken: it stops a hair above."""
    spec = workspace([{"name": "g", "type": "shapesys", "data": [60.0, 4.0]}])
    spec["measurements"][0]["config"]["parameters"].append({"name": "g", "bounds": [[0.0, 10.0], [0.0, 10.0]]})
    bounded = toymill.read_workspace(spec)
    data = toymill.throw(bounded, bounded.parameters.init, 60, seed=3)
    assert (data[:, bounded.data_names.index("g[0] (auxiliary)")] == 0).any()
    assert toymill.fit(bounded, data, {"mu": 1.0}, covariance=False).ok.all()


def test_what_the_scan_cannot_judge_stays_a_candidate(monkeypatch):
    """A large sample's asymmetric rate has one minimum; without a constraint the scan has no σ and says nothing."""
    monkeypatch.setitem(CODES, "normsys", {"interpcode": "code4"})
    spec = workspace([normsys("a", 1.2, 0.9)], (500.0, 800.0))
    specification = read_specification(spec, modifier_settings=CODES)
    assert not compile_specification(specification).two_minima.any()
    loose = [replace(item, constraint="none") if item.name == "a" else item for item in specification.parameters]
    compiled = compile_specification(replace(specification, parameters=loose))
    assert compiled.two_minima.tolist() == [name == "a" for name in compiled.parameters.names]


def test_symmetric_variations_have_no_kink():
    assert not model([normsys("a", 1.25, 1 / 1.25)]).kinks.any()
    assert not model([histosys("a", [60.0, 78.0], [40.0, 82.0])]).kinks.any()


def test_a_one_sided_bound_leaves_one_side():
    """With α ≥ 0 allowed only, α = 0 is a bound."""
    kinked = model([normsys("a", 1.2, 0.7)])
    spec_bounds = kinked.parameters.bounds.copy()
    spec_bounds[kinked.parameters.index("a")] = (0.0, 5.0)
    bounded = replace(kinked, parameters=replace(kinked.parameters, bounds=spec_bounds))
    fits = toymill.fit(bounded, [40.0, 60.0, 0.0], {"mu": 0.0}, covariance=False)
    assert fits.ok[0]
    assert fits.parameter("a")[0] == 0
