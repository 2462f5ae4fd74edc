"""Minima at which an expectation is zero, against closed forms and against SLSQP on a likelihood written apart."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

import toymill
from toymill.fitting.conditional import fit_tests
from toymill.fitting.status import Status
from toymill.inference.likelihood_ratios import t_mu
from toymill.models.poisson import build_on_off

BARE = {"name": "mu", "type": "normfactor", "data": None}


def workspace(samples, observed, **poi):
    """One channel of these samples: name, yields and modifiers."""
    return {
        "channels": [
            {"name": "c", "samples": [{"name": n, "data": d, "modifiers": m} for n, d, m in samples]},
        ],
        "observations": [{"name": "c", "data": observed}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": [{"name": "mu"} | poi]}}],
        "version": "1.0.0",
    }


def test_one_bin_without_events():
    """By hand: μ̂ = -b/s, t_0 = 2b, t_1 = 2(s + b)."""
    spec = workspace([("s", [10.0], [BARE]), ("b", [5.0], [])], [0.0], bounds=[[-5.0, 10.0]])
    model = toymill.read_workspace(spec)
    free, (zero, one) = fit_tests(model, model.observed[None], [{"mu": 0.0}, {"mu": 1.0}])
    assert free.status[0] == Status.AT_ZERO
    np.testing.assert_allclose(free.parameters[0], [-0.5], atol=1e-9)
    assert np.isnan(free.errors[0, 0])
    np.testing.assert_allclose([t_mu(free, zero)[0], t_mu(free, one)[0]], [10.0, 30.0], atol=1e-7)


@pytest.mark.parametrize("mu", [-2.0, -1.0, -0.02, 0.0, 0.1, 1.0, 4.0, 20.0])
def test_few_events_with_the_signal_held(onoff, mu):
    """By hand, for off counts with ν = 100 b and on counts with ν = 100 b + 50 μ: the larger root of a square equation in b.

    The first step leads to b = 0, where the expectation of a bin with events is at its floor; at μ = -2 the initial value
    is, too.
    """
    counts = np.array([(off, on) for off in range(6) for on in range(6)], dtype=float)
    fits = toymill.fit(onoff, counts, {"mu": mu})
    assert fits.ok.all(), fits.status
    off, on, signal = *counts.T, 50 * mu
    half = (off + on) / 2 - signal
    b = np.maximum((half + np.sqrt(np.maximum(half**2 + 2 * off * signal, 0.0))) / 200, max(0.0, -signal / 100))
    np.testing.assert_allclose(fits.parameter("b"), b, atol=1e-9)


def test_on_off_without_events():
    """n_on = 0: b̂ = n_off/100, μ̂ = -2 b̂, and t_0 = 2 n_off log 2. The error of b is that of n_off alone."""
    model = toymill.read_workspace("tests/data/onoff.json")
    data = np.array([[80.0, 0.0]])
    free, (zero,) = fit_tests(model, data, [{"mu": 0.0}])
    assert free.status[0] == Status.AT_ZERO
    fits = toymill.fit(model, data, covariance=False)
    b, mu = (model.parameters.index(name) for name in ("b", "mu"))
    np.testing.assert_allclose(fits.parameters[0, [b, mu]], [0.8, -1.6], atol=1e-6)
    np.testing.assert_allclose(fits.errors[0, [b, mu]], np.sqrt(80) / 100 * np.array([1, 2]), rtol=1e-5)
    np.testing.assert_allclose(t_mu(free, zero)[0], 160 * np.log(2), atol=1e-6)


NEGATIVE = workspace(
    [
        ("sig", [10.0, 30.0], [BARE, {"name": "acc", "type": "normsys", "data": {"lo": 0.9, "hi": 1.1}}]),
        ("bkg", [0.5, 0.7], [{"name": "norm", "type": "normsys", "data": {"lo": 0.7, "hi": 1.3}}]),
    ],
    [1.0, 1.0],
    bounds=[[-1, 10]],
    inits=[1.0],
)
FILLED = workspace(
    [
        ("sig", [0.0, 4.0], [BARE]),
        (
            "bkg",
            [0.0, 6.0],
            [{"name": "h", "type": "histosys", "data": {"lo_data": [0.0, 5.5], "hi_data": [0.2, 6.5]}}],
        ),
    ],
    [0.0, 9.0],
)


@pytest.mark.parametrize(
    ("spec", "right", "truth", "near"),
    [
        pytest.param(
            NEGATIVE,
            {
                (0, 1, 0.0, 0.0): (0.007941, 60.248139),
                (1, 0, 0.0, 0.0): (0.649559, 62.352283),
                (0, 0, 0.0, 0.0): (1.729989, 69.046037),
                (0, 0, 0.5, -0.5): (2.025089, 66.346729),
                (2, 0, 0.0, 0.0): (0.007690, 56.265932),
            },
            0.0,
            2e-5,
            id="a signal that may be negative",
        ),
        pytest.param(
            FILLED,
            {
                (0, 9, 0.0): (1.282686, 0.103511),
                (0, 9, -0.4): (1.298372, 0.103511),
                (0, 9, -0.7): (1.698390, 0.026790),
                (0, 9, 0.5): (1.110965, 0.133053),
                (0, 9, -1.5): (2.083830, 0.006641),
            },
            1.0,
            5e-5,
            id="a bin that one variation fills",
        ),
    ],
)
def test_ratios_are_those_of_the_constrained_minima(spec, right, truth, near):
    """From 40 starts of SLSQP with ν ≥ 0 for every bin; and every toy is certified."""
    model = toymill.read_workspace(spec)
    tests = [{"mu": 0.0}, {"mu": 1.0}]
    free, fixed = fit_tests(model, np.array(list(right), dtype=float), tests)
    assert np.any(free.status == Status.AT_ZERO)
    found = np.stack([t_mu(free, fits) for fits in fixed], axis=1)
    np.testing.assert_allclose(found, list(right.values()), atol=near)
    toys = toymill.throw(model, model.parameters.values({"mu": truth}), count=60, seed=1)
    free, fixed = fit_tests(model, toys, tests)
    assert free.ok.all()
    assert all(fits.ok.all() for fits in fixed)
    assert min(t_mu(free, fits).min() for fits in fixed) > -1e-9


@pytest.mark.parametrize("counts", [(0.0, 9.0), (0.0, 0.0)])
def test_a_model_in_python(counts):
    """n_on = 0: ŝ = -n_off, b̂ = n_off, also where that is 0, and t = 2 n_off log 2 at s = 0."""
    model = build_on_off(observed=counts)
    free, (zero,) = fit_tests(model, model.observed[None], [{"s": 0.0}])
    assert free.ok[0]
    assert zero.ok[0]
    np.testing.assert_allclose(free.parameters[0], [-counts[1], counts[1]], atol=1e-6)
    np.testing.assert_allclose(t_mu(free, zero)[0], 2 * counts[1] * np.log(2), atol=1e-6)


def histosys(name, lo, hi):
    return {"name": name, "type": "histosys", "data": {"lo_data": lo, "hi_data": hi}}


def code4p(alpha, nominal, lo, hi):
    """Nominal yields and what a histosys adds to them."""
    square = alpha * alpha
    even = abs(alpha) if abs(alpha) >= 1 else square * (15 - square * (10 - 3 * square)) / 8
    nominal, lo, hi = (np.asarray(item) for item in (nominal, lo, hi))
    return nominal + alpha * (hi - lo) / 2 + even * ((hi + lo) / 2 - nominal)


def lowest(background, signal, toy, pieces, mu=None):
    """The lowest nll over pieces, boxes of (α …) in which no bin without events has ν < 0, with μ in [0, 10] profiled.

    Events in the last bin alone, the only one that has a signal: μ̂ follows from α.
    """
    counts, centres = np.split(toy, [len(toy) - len(pieces[0])])

    def nll(alpha):
        known = background(*alpha)
        strength = np.clip((counts[-1] - known[-1]) / signal, 0, 10) if mu is None else mu
        expected = known + strength * signal * (np.arange(len(known)) == len(known) - 1)
        terms = expected.sum() - counts[-1] * np.log(expected[-1]) + gammaln(counts[-1] + 1)
        return terms + 0.5 * np.sum((centres - alpha) ** 2) + 0.5 * len(alpha) * np.log(2 * np.pi)

    found = []
    for piece in pieces:
        start = np.clip(centres, *np.transpose(piece))
        for _ in range(4):  # of one parameter after the other, then of all
            for i, (low, high) in enumerate(piece):
                along = [*start]

                def one(value, i=i, along=along):
                    return nll(np.array([*along[:i], value, *along[i + 1 :]]))

                inside = minimize_scalar(one, bounds=(low, high), method="bounded", options={"xatol": 1e-6}).x
                start[i] = min((low, inside, high), key=one)
        found.append(nll(start))
    return min(found)


BELOW, ABOVE, NONE, FAR = (-5.0, -1.0), (0.0, 5.0), (0.0, 0.0), (1.0, 5.0)


def filled(h):
    return code4p(h, [0.0, 6.0], [0.0, 5.5], [0.2, 6.5])


def filled_by_two(h, k):
    return filled(h) + code4p(k, [0.0, 0.0], [0.0, -0.3], [0.3, 0.2])


def two_bins(h, k):
    """The second variation fills one bin and empties another: k is 0, or where neither is below zero beyond ±1."""
    one = code4p(h, [0.0, 0.0, 6.0], [0.0, 0.0, 5.5], [0.2, 0.1, 6.5])
    return one + code4p(k, [0.0, 0.0, 0.0], [0.1, 0.0, -0.3], [0.0, 0.3, 0.2])


TWO = workspace(
    [
        ("sig", [0.0, 4.0], [BARE]),
        (
            "bkg",
            [0.0, 6.0],
            [histosys("h", [0.0, 5.5], [0.2, 6.5]), histosys("k", [0.0, 5.7], [0.3, 6.2])],
        ),
    ],
    [0.0, 9.0],
)
CROSSED = workspace(
    [
        ("sig", [0.0, 0.0, 4.0], [BARE]),
        (
            "bkg",
            [0.0, 0.0, 6.0],
            [histosys("h", [0.0, 0.0, 5.5], [0.2, 0.1, 6.5]), histosys("k", [0.1, 0.0, 5.7], [0.0, 0.3, 6.2])],
        ),
    ],
    [0.0, 0.0, 9.0],
)


@pytest.mark.parametrize(
    ("spec", "background", "pieces", "toys"),
    [
        pytest.param(
            FILLED,
            filled,
            [(BELOW,), (ABOVE,)],
            [(0, 5, -0.9329261), (0, 9, -0.7), (0, 9, -1.5), (0, 4, -0.35), (0, 0, -0.95), (0, 3, -0.6), (0, 12, 0.3)],
            id="one parameter",
        ),
        pytest.param(
            TWO,
            filled_by_two,
            [(BELOW, BELOW), (BELOW, ABOVE), (ABOVE, BELOW), (ABOVE, ABOVE)],
            [(0, 4, -0.640408842, -1.614833897), (0, 5, -0.9, -0.9), (0, 9, -0.9, -0.8)],
            id="a corner of two",
        ),
        pytest.param(
            CROSSED,
            two_bins,
            [(side, other) for side in (BELOW, ABOVE) for other in (BELOW, NONE, FAR)],
            [(0, 0, 10, -1.386099254, 0.444254745), (0, 0, 5, -1.780528382, 0.997233607)],
            id="two bins",
        ),
    ],
)
def test_minima_where_an_expectation_leaves_zero_without_a_slope(spec, background, pieces, toys):
    """At α = -1, where code 4p joins: against minima within each piece in which the model is possible."""
    model, toys = toymill.read_workspace(spec), np.array(toys, dtype=float)
    free, (zero, one) = fit_tests(model, toys, [{"mu": 0.0}, {"mu": 1.0}])
    for fits, mu in ((free, None), (zero, 0.0), (one, 1.0)):
        assert fits.ok.all()
        assert np.any(fits.status == Status.AT_ZERO)
        right = [lowest(background, 4.0, toy, pieces, mu) for toy in toys]
        np.testing.assert_allclose(fits.nll, right, rtol=0, atol=1e-9)


def test_a_join_is_met_exactly():
    """Free and conditional fits end at the same h: t is not negative, and h has no error."""
    model = toymill.read_workspace(FILLED)
    free, (zero,) = fit_tests(model, np.array([[0.0, 5.0, -0.9329261]]), [{"mu": 0.0}])
    h = model.parameters.index("h")
    assert free.status[0] == zero.status[0] == Status.AT_ZERO
    assert free.parameters[0, h] == zero.parameters[0, h] == -1.0
    assert np.isnan(free.errors[0, h])
    assert t_mu(free, zero)[0] > -1e-12


def test_no_certificate_without_the_conditions(monkeypatch):
    """Where joins are not known, Newton's method creeps to the same place: what is left of λ ν and its rounding is too much."""
    monkeypatch.setattr("toymill.fitting.at_zero._JOINS", ())
    model = toymill.read_workspace(FILLED)
    fits = toymill.fit(model, np.array([[0.0, 5.0, -0.9329261]]), {"mu": 0.0})
    assert not (fits.ok[0] and abs(fits.parameters[0, model.parameters.index("h")] + 1) < 0.1)
