"""Global impacts, their sums, and shifts of nuisance parameters, against closed forms and over toys."""

import jax
import numpy as np
import pytest

import toymill
from toymill import NormalConstraint, Parameter, PoissonConstraint
from toymill.inference.global_impacts import from_fit, from_toys
from toymill.inference.impacts import Shifts, constraints, decompose, impacts
from toymill.inference.shifts import shifts

SIGMA, NOISE, TAU = 0.5, 1.5, 3.0


@pytest.fixture(scope="module")
def linear():
    """x ~ Normal(μ + θ, 1.5) with θ known to 0.5: μ̂ = x - a, a density."""
    return toymill.define_model(
        {
            "mu": Parameter(0.0, (-100.0, 100.0)),
            "theta": Parameter(0.0, (-4.0, 4.0), constraint=NormalConstraint(SIGMA)),
        },
        poi="mu",
        logpdf=lambda p, x: jax.scipy.stats.norm.logpdf(x, p[0] + p[1], NOISE),
        throw=lambda key, p: p[0] + p[1] + NOISE * jax.random.normal(key),
        observed=3.0,
    )


@pytest.fixture(scope="module")
def onoff():
    """n ~ Poisson(s + b) with a ~ Poisson(τ b): ŝ = n - a/τ."""
    return toymill.define_model(
        {"s": Parameter(50.0, (-1e3, 1e3)), "b": Parameter(100.0, (1.0, 1e4), constraint=PoissonConstraint(TAU))},
        poi="s",
        expected=lambda p: p[:1] + p[1:],
        observed=[160.0],
    )


@pytest.fixture(scope="module")
def ensemble(hww):
    """Toys at the initial values, and their free fits."""
    toys = toymill.throw(hww, hww.parameters.init, 6000, seed=4)
    return toys, toymill.fit(hww, toys, covariance=False)


def part_of(fits, rows):
    return toymill.Fits(
        names=fits.names,
        poi=fits.poi,
        fixed=fits.fixed,
        **{key: getattr(fits, key)[rows] for key in ("parameters", "errors", "nll", "status", "edm", "iterations")},
    )


def test_an_on_off_count_is_linear(onoff):
    exact = np.array([np.sqrt(150), -np.sqrt(TAU * 100) / TAU])
    asimov = toymill.throw(onoff, onoff.parameters.init, 1, mode="asimov")
    at_truth = from_fit(onoff, toymill.fit(onoff, asimov))
    assert at_truth.impacts == pytest.approx(exact, rel=1e-6)
    assert at_truth.variance == pytest.approx(exact @ exact, rel=1e-6)
    assert at_truth.rest == pytest.approx(0, abs=1e-3)
    toys = toymill.throw(onoff, onoff.parameters.init, 200, seed=1)
    over_toys = from_toys(onoff, onoff.parameters.init, toymill.fit(onoff, toys, covariance=False), toys)
    assert over_toys.impacts == pytest.approx(exact, rel=1e-4)
    assert over_toys.rest < 1e-6
    found = decompose(onoff, over_toys)
    assert found.statistical.variance == pytest.approx(150, rel=1e-4)
    assert found.systematic.variance == pytest.approx(100 / TAU, rel=1e-4)
    assert found.groups == {}


def test_a_density_has_the_main_data_in_the_rest(linear):
    fits = toymill.fit(linear, linear.observed)
    found = from_fit(linear, fits)
    assert found.data.tolist() == [1]
    assert found.impacts == pytest.approx([-SIGMA])
    assert (found.variance, found.rest) == pytest.approx((NOISE**2 + SIGMA**2, NOISE**2))
    toys = toymill.throw(linear, [1.0, 0.2], 4000, seed=1)
    found = from_toys(linear, [1.0, 0.2], toymill.fit(linear, toys, covariance=False), toys)
    error = np.sqrt(found.covariance[0, 0])
    assert error == pytest.approx(NOISE / np.sqrt(4000), rel=0.05)
    assert found.impacts[0] == pytest.approx(-SIGMA, abs=4 * error)
    assert found.rest == pytest.approx(NOISE**2, abs=4 * found.rest_error)
    assert found.rest_error == pytest.approx(NOISE**2 * np.sqrt(2 / 4000), rel=0.1)
    parts = decompose(linear, found)
    assert parts.statistical is None
    assert parts.systematic.sigma == pytest.approx(SIGMA, abs=4 * parts.systematic.sigma_error)


def test_the_parts_add_up_to_the_variance(hww, ensemble):
    toys, fits = ensemble
    found = decompose(hww, from_toys(hww, hww.parameters.init, fits, toys))
    total = found.statistical.variance + found.systematic.variance + found.rest.variance
    assert found.variance == pytest.approx(np.var(fits.parameters[fits.ok, hww.poi_index], ddof=1))
    assert found.variance == pytest.approx(total, abs=3 * found.variance_error)
    assert found.toys + found.failed == 6000
    members = [name for name in hww.parameters.names if name.startswith("mcstat")]
    others = [
        name
        for name, constraint in zip(hww.parameters.names, hww.parameters.constraint, strict=True)
        if constraint != "none" and name not in members
    ]
    grouped = decompose(hww, from_toys(hww, hww.parameters.init, fits, toys), {"mc": members, "others": others}).groups
    assert grouped["mc"] == found.groups["mcstat"]
    assert grouped["mc"].variance + grouped["others"].variance == pytest.approx(found.systematic.variance)


def test_toys_and_derivatives_agree(hww, ensemble):
    toys, fits = ensemble
    over_toys = from_toys(hww, hww.parameters.init, fits, toys)
    asimov = toymill.throw(hww, hww.parameters.init, 1, mode="asimov")
    at_truth = from_fit(hww, toymill.fit(hww, asimov))
    assert at_truth.rest == pytest.approx(0, abs=0.01 * at_truth.variance)
    # what is not linear in the data moves the coefficients by about a hundredth of the error of the estimate
    spread = np.sqrt(at_truth.variance)
    errors = np.sqrt(np.diag(over_toys.covariance))
    assert np.abs(over_toys.impacts - at_truth.impacts).max() < 0.01 * spread
    assert np.mean(np.abs(over_toys.impacts - at_truth.impacts) < 3 * errors) > 0.9
    along = toymill.fit(hww, asimov, covariance=False, along="mu")
    assert from_fit(hww, along).impacts == pytest.approx(at_truth.impacts)


def test_impacts_are_covariances(hww, ensemble):
    """The definition, Cov(μ̂, d)/σ(d), which the regression estimates better."""
    toys, fits = ensemble
    mu = fits.parameters[:, hww.poi_index]
    plain = (toys - toys.mean(axis=0)).T @ (mu - mu.mean()) / len(toys) / toys.std(axis=0)
    found = from_toys(hww, hww.parameters.init, fits, toys)
    assert np.abs(found.impacts - plain).max() < 4 * mu.std() / np.sqrt(len(toys))
    assert np.sqrt(np.diag(found.covariance)).max() < 0.1 * mu.std() / np.sqrt(len(toys))


def test_errors_are_the_spread_over_ensembles(hww, ensemble):
    toys, fits = ensemble
    sets = [slice(first, first + 300) for first in range(0, 6000, 300)]
    found = [from_toys(hww, hww.parameters.init, part_of(fits, rows), toys[rows]) for rows in sets]
    spread = np.std([item.impacts for item in found], axis=0, ddof=1)
    errors = np.mean([np.sqrt(np.diag(item.covariance)) for item in found], axis=0)
    assert np.mean(spread / errors) == pytest.approx(1, abs=0.1)
    for part in ("statistical", "systematic", "rest"):
        shares = [getattr(decompose(hww, item), part) for item in found]
        pull = np.std([share.variance for share in shares], ddof=1) / np.mean(
            [share.variance_error for share in shares]
        )
        assert 0.6 < pull < 1.5  # 20 ensembles: 16 % on each


def test_few_toys_leave_the_main_data_in_the_rest(hww, ensemble):
    toys, fits = ensemble
    found = from_toys(hww, hww.parameters.init, part_of(fits, slice(150)), toys[:150])
    assert found.data.tolist() == np.flatnonzero(hww.sampling.auxiliary).tolist()
    parts = decompose(hww, found)
    assert parts.statistical is None
    assert parts.rest.variance + parts.systematic.variance == pytest.approx(parts.variance, rel=0.4)
    with pytest.raises(toymill.ToymillError, match="100 certified toys; impacts of 28 auxiliary data need 116"):
        from_toys(hww, hww.parameters.init, part_of(fits, slice(100)), toys[:100])


def test_data_that_do_not_fluctuate_have_no_impact(hww):
    toys = toymill.throw(hww, hww.parameters.init, 400, seed=4, mode="main-only")
    found = from_toys(hww, hww.parameters.init, toymill.fit(hww, toys, covariance=False), toys)
    assert not found.impacts[hww.sampling.auxiliary].any()
    assert decompose(hww, found).systematic.variance == 0


def test_shifts_of_a_linear_model(linear):
    fits = toymill.fit(linear, linear.observed)
    found = shifts(linear, linear.observed, fits)
    assert list(found) == ["theta"]
    assert found["theta"] == pytest.approx((-SIGMA, SIGMA, -SIGMA, SIGMA))
    (one,) = impacts(linear, fits, from_fit=from_fit(linear, fits), shifted=found)
    assert (one.parameter, one.pull, one.constraint) == ("theta", pytest.approx(0, abs=1e-6), pytest.approx(1))
    assert one.global_fit == pytest.approx(-SIGMA)
    assert one.global_toys is None
    assert one.global_toys_error is None


def test_shifts_are_conditional_fits(hww):
    data = toymill.throw(hww, hww.parameters.init, 1, seed=2)[0]
    fits = toymill.fit(hww, data)
    found = shifts(hww, data, fits)
    assert set(found) == set(hww.parameters.names) - {"mu"}
    best, errors = (dict(zip(fits.names, row[0], strict=True)) for row in (fits.parameters, fits.errors))
    _, prefit = constraints(hww)
    for name in ("JES", "norm_Wjets"):
        sigma = prefit[hww.parameters.index(name)]
        values = best[name] + np.array([errors[name], -errors[name], sigma, -sigma])
        by_hand = toymill.fit(hww, np.tile(data, (4, 1)), {name: values}).parameter("mu") - best["mu"]
        assert found[name] == pytest.approx(by_hand, abs=1e-5)
        first_order = fits.covariance[0, hww.poi_index, hww.parameters.index(name)] / errors[name]
        assert found[name].postfit_up == pytest.approx(first_order, rel=0.15)


def test_ranking_and_what_is_not_defined(hww):
    fits = toymill.fit(hww, hww.observed)
    by_fit = impacts(hww, fits, from_fit=from_fit(hww, fits))
    assert [abs(item.global_fit) for item in by_fit] == sorted((abs(item.global_fit) for item in by_fit), reverse=True)
    assert by_fit[0].postfit_up is None
    by_shift = impacts(hww, fits, shifted={"btag": Shifts(-2.0, np.nan), "lumi": Shifts(1.0, 3.0)})
    assert [item.parameter for item in by_shift[:2]] == ["lumi", "btag"]
    assert by_shift[1].postfit_down is None
    of_lumi = impacts(hww, fits, of="lumi", from_fit=from_fit(hww, fits, of="lumi"))
    assert "mu" in [item.parameter for item in of_lumi]
    mu = next(item for item in of_lumi if item.parameter == "mu")
    assert (mu.pull, mu.constraint, mu.global_fit) == (None, None, None)


def test_a_shift_beyond_the_bounds_is_not_defined(onoff):
    data = np.array([160.0, 0.0])  # a = 0: b̂ at its bound, without an error
    fits = toymill.fit(onoff, data)
    found = shifts(onoff, data, fits)["b"]
    assert np.isnan([found.postfit_up, found.postfit_down, found.prefit_down]).all()
    assert found.prefit_up == pytest.approx(-np.sqrt(TAU * 100) / TAU, rel=1e-6)


def test_pulls_of_a_poisson_constraint(onoff):
    centre, sigma = constraints(onoff)
    assert np.isnan(centre[0])
    assert (centre[1], sigma[1]) == pytest.approx((100, np.sqrt(300) / 3))
    (one,) = impacts(onoff, toymill.fit(onoff, [160.0, 330.0]))
    assert one.pull == pytest.approx(10 / sigma[1], rel=1e-5)
    assert one.constraint == pytest.approx(np.sqrt(330) / np.sqrt(300), rel=1e-4)


def test_mistakes(hww, onoff):
    fits = toymill.fit(hww, hww.observed, covariance=False)
    held = toymill.fit(hww, hww.observed, {"mu": 1.0})
    at_bound = toymill.fit(onoff, [1.0, 3e4])
    several = toymill.fit(hww, toymill.throw(hww, hww.parameters.init, 3))
    failed = toymill.fit(hww, hww.observed)
    failed.status[:] = toymill.Status.NOT_CONVERGED
    column = toymill.fit(hww, hww.observed, covariance=False, along="mu")
    for model, wrong, words in [
        (hww, fits, "no covariance; fit with covariance=True, or along='mu'"),
        (hww, held, "The fits hold mu"),
        (hww, several, "3 fits; expected one"),
        (hww, failed, "not certified"),
        (onoff, at_bound, "no error of s"),
    ]:
        with pytest.raises(toymill.ToymillError, match=words):
            from_fit(model, wrong)
    with pytest.raises(toymill.ToymillError, match="only one column"):
        shifts(hww, hww.observed, column)
    with pytest.raises(toymill.ToymillError, match="no parameter 'nu'"):
        from_fit(hww, failed, of="nu")
    with pytest.raises(toymill.ToymillError, match="data has shape"):
        from_toys(hww, hww.parameters.init, several, hww.observed[None])
    with pytest.raises(toymill.ToymillError, match="truth has shape"):
        from_toys(hww, [1.0], several, np.zeros((3, 48)))
    with pytest.raises(toymill.ToymillError, match="no parameter 'jes'"):
        decompose(hww, from_fit(hww, toymill.fit(hww, hww.observed)), {"g": ["jes"]})
