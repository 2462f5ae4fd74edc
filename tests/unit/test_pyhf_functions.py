"""``toymill.pyhf`` beside pyhf: signatures, returns, statistics of the data, and what is refused."""

import inspect
import subprocess
import sys
import tomllib
import warnings

import numpy as np
import pyhf
import pytest

import toymill
import toymill.pyhf as functions
from toymill.pyhf.model import model_of
from toymill.pyhf.upper_limit import _interpolated


@pytest.fixture(autouse=True)
def _numpy_backend(monkeypatch):
    """pyhf 0.7.6 gives NumPy a word that NumPy 2.4 no longer takes."""
    pyhf.set_backend("numpy")
    monkeypatch.setattr(
        type(pyhf.get_backend()[0]),
        "percentile",
        lambda _, sample, q, axis=None, interpolation="linear": np.percentile(
            sample, q, axis=axis, method=interpolation
        ),
    )


@pytest.fixture(scope="module")
def counts():
    model = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
    return model, [51, 48, *model.config.auxdata]


def quietly(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of logarithms of zero on the way of pyhf's fits
        return function(*args, **kwargs)


def kinds(value):
    """The types and shapes of what is returned, without the calculator's."""
    if isinstance(value, list | tuple):
        return type(value), [kinds(item) for item in value]
    return type(value).__name__, getattr(value, "shape", None)


THEIRS = {
    "hypotest": pyhf.infer.hypotest,
    "upper_limit": pyhf.infer.intervals.upper_limits.upper_limit,
    "ToyCalculator": pyhf.infer.calculators.ToyCalculator,
    "EmpiricalDistribution": pyhf.infer.calculators.EmpiricalDistribution,
}


@pytest.mark.parametrize("name", THEIRS)
def test_signatures_begin_as_pyhfs(name):
    theirs, ours = (inspect.signature(item).parameters for item in (THEIRS[name], getattr(functions, name)))
    told = [(item.name, item.default) for item in theirs.values() if item.kind is item.POSITIONAL_OR_KEYWORD]
    assert [(item.name, item.default) for item in ours.values()][: len(told)] == told


@pytest.mark.parametrize("name", ["ToyCalculator", "EmpiricalDistribution"])
def test_methods_are_pyhfs(name):
    for method, function in inspect.getmembers(THEIRS[name], inspect.isfunction):
        ours = inspect.signature(getattr(getattr(functions, name), method))
        told = inspect.signature(function).parameters
        assert list(ours.parameters)[: len(told)] == list(told)


def test_a_sample_has_pyhfs_numbers():
    samples = np.random.default_rng(3).exponential(size=50).round(1)
    theirs, ours = (item(samples) for item in (THEIRS["EmpiricalDistribution"], functions.EmpiricalDistribution))
    for value in (*samples[:5], 0.33, 100.0):
        assert ours.pvalue(value) == theirs.pvalue(value)
        assert kinds(ours.pvalue(value)) == kinds(theirs.pvalue(value))
    for sigma in (-2, 0, np.array([-1.0, 1.0])):
        assert ours.expected_value(sigma) == pytest.approx(theirs.expected_value(sigma))
        assert kinds(ours.expected_value(sigma)) == kinds(theirs.expected_value(sigma))


def test_failed_toys_are_counted_not_sampled():
    found = functions.EmpiricalDistribution([0.0, np.nan, 4.0, 1.0])
    assert (len(found.samples), found.failed, found.pvalue(1.0)) == (3, 1, pytest.approx(2 / 3))
    with pytest.raises(toymill.ToymillError, match="None of 2 toys"):
        functions.EmpiricalDistribution([np.nan, np.nan])


def test_failed_toys_are_told(counts, monkeypatch):
    model, data = counts
    calculator = functions.ToyCalculator(data, model, ntoys=20)
    statistic = calculator._statistic

    def some_fail(values, tested):
        q, tolerance = statistic(values, tested)
        return np.where(np.arange(len(q)) < 3, np.nan, q) if values.ndim > 1 else q, tolerance

    monkeypatch.setattr(calculator, "_statistic", some_fail)
    with pytest.warns(toymill.ToymillWarning, match="3 of 20 (signal|background)-like toys"):
        signal, _ = calculator.distributions(1.0)
    assert signal.failed == 3


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"return_tail_probs": True},
        {"return_expected": True},
        {"return_expected_set": True},
        {"return_tail_probs": True, "return_expected": True, "return_expected_set": True, "return_calculator": True},
    ],
)
@pytest.mark.parametrize(("test_stat", "mu"), [("qtilde", 1.0), ("q0", 0.0)])
def test_returns_are_pyhfs(counts, asked, test_stat, mu):
    model, data = counts
    settings = {"calctype": "toybased", "ntoys": 10, "test_stat": test_stat, "track_progress": False, **asked}
    theirs = quietly(pyhf.infer.hypotest, mu, data, model, **settings)
    assert kinds(functions.hypotest(mu, data, model, **settings)) == kinds(theirs)
    *same, errors = functions.hypotest(mu, data, model, return_errors=True, **settings)
    assert len(same) == (len(theirs) if asked else 1)
    assert isinstance(errors, functions.ToyErrors)


BOUNDED = {"qtilde": (0.0, 10.0), "q": (-2.0, 10.0), "q0": (-2.0, 10.0)}


@pytest.mark.parametrize("test_stat", BOUNDED)
def test_the_statistic_of_the_data_is_pyhfs(counts, test_stat):
    """Also with the caller's bounds, initial values and fixed parameters."""
    model, data = counts
    for on in (51, 70):
        seen, mu = [on, *data[1:]], 0.0 if test_stat == "q0" else 1.0
        bounds = model.config.suggested_bounds()
        bounds[model.config.poi_index] = BOUNDED[test_stat]
        settings = {"par_bounds": bounds, "init_pars": [1.0, 1.02, 0.97], "fixed_params": [False, False, True]}
        for given in ({"par_bounds": bounds}, settings):
            pair = [item["ToyCalculator"] for item in (THEIRS, vars(functions))]
            theirs, ours = (item(seen, model, test_stat=test_stat, **given).teststatistic(mu) for item in pair)
            assert float(ours) == pytest.approx(float(theirs), abs=2e-5)
            assert kinds(ours) == kinds(theirs)


def test_the_model_is_the_callers(counts):
    model, data = counts
    found = model_of(
        model, np.array(data), [1.0, 1.02, 0.97], [(-1.0, 9.0), (0.5, 2.0), (0.5, 2.0)], [False, False, True]
    )
    assert found.parameters.names == tuple(model.config.par_names)
    assert found.parameters.init.tolist() == [1.0, 1.02, 0.97]
    assert found.parameters.bounds.tolist() == [[-1.0, 9.0], [0.5, 2.0], [0.5, 2.0]]
    assert found.parameters.fixed.tolist() == [False, False, True]
    assert found.digest != model_of(model, np.array(data)).digest
    np.testing.assert_allclose(found.observed[:2], data[:2])


@pytest.mark.parametrize("codes", [("code1", "code0"), ("code4", "code4p"), ("code1", "code2")])
def test_interpolations_are_the_models(codes):
    """A model with normsys and histosys, at parameters where codes differ."""
    modifiers = [
        {"name": "shape", "type": "histosys", "data": {"hi_data": [12.0, 9.0], "lo_data": [9.0, 10.0]}},
        {"name": "norm", "type": "normsys", "data": {"hi": 1.2, "lo": 0.9}},
    ]
    samples = [
        {"name": "s", "data": [3.0, 4.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
        {"name": "b", "data": [10.0, 10.0], "modifiers": modifiers},
    ]
    theirs = pyhf.Model(
        {"channels": [{"name": "c", "samples": samples}]},
        modifier_settings={"normsys": {"interpcode": codes[0]}, "histosys": {"interpcode": codes[1]}},
    )
    ours = model_of(theirs, np.array([10.0, 12.0, *theirs.config.auxdata]))
    point = [0.7] * theirs.config.npars
    np.testing.assert_allclose(ours.expected_data(point), theirs.expected_data(point), rtol=1e-12)


def test_toys_are_those_of_the_seed(counts):
    model, data = counts
    found = [
        functions.hypotest(1.0, data, model, calctype="toybased", ntoys=300, seed=seed, return_tail_probs=True)[1]
        for seed in (0, 0, 1)
    ]
    assert found[0] == found[1] != found[2]


def test_errors_are_those_of_the_toys(counts):
    """Of sets of toys by different seeds the values scatter as the intervals say."""
    model, data = counts
    sets = [
        functions.hypotest(
            1.0, data, model, calctype="toybased", ntoys=1000, seed=seed, return_expected_set=True, return_errors=True
        )
        for seed in range(30)
    ]
    values = np.array([[float(item) for item in (seen, *expected)] for seen, expected, _ in sets])
    told = np.array([[e.observed.high - e.observed.low, *(b - a for a, b in e.expected)] for *_, e in sets]) / 2
    ratio = values.std(axis=0, ddof=1)[[0, 2, 3, 4]] / told.mean(axis=0)[[0, 2, 3, 4]]
    assert np.all((ratio > 0.6) & (ratio < 1.4))  # 30 sets: 13 %, three of it


def test_one_call_goes_to_pyhf(counts):
    """The asymptotic formulae are pyhf's."""
    model, data = counts
    asked = {"return_tail_probs": True, "return_expected_set": True}
    assert functions.hypotest(1.0, data, model, **asked) == pyhf.infer.hypotest(1.0, data, model, **asked)
    scan = np.linspace(0.2, 3.0, 5)
    assert functions.upper_limit(data, model, scan) == THEIRS["upper_limit"](data, model, scan)


def test_limits_of_a_scan_and_by_roots(counts):
    """Both find where the same CLs crosses the level; near the asymptotic limits, which are 1.01 and 1.06."""
    model, data = counts
    settings = {"calctype": "toybased", "ntoys": 2000}
    scan = np.linspace(0.2, 3.4, 17)
    observed, expected, (tested, results) = functions.upper_limit(data, model, scan, return_results=True, **settings)
    assert kinds((observed, expected)) == kinds(quietly(THEIRS["upper_limit"], data, model, scan))
    assert tested is scan
    assert len(results) == 17
    assert kinds(results[0]) == (tuple, [("ndarray", ()), (list, [("ndarray", ())] * 5)])
    assert np.all(np.diff([float(item) for item in expected]) > 0)
    assert float(observed) == pytest.approx(1.01, abs=0.12)
    curve = [float(item[0]) for item in results]
    assert float(observed) == pytest.approx(np.interp(0.05, curve[::-1], scan[::-1]))
    found, others = functions.upper_limit(data, model, level=0.05, **settings)
    assert float(found) == pytest.approx(float(observed), abs=0.05)
    assert float(others[2]) == pytest.approx(float(expected[2]), abs=0.05)


def test_a_limit_is_the_last_crossing():
    tested = np.array([1.0, 2.0, 3.0, 4.0])
    assert _interpolated(0.05, tested, np.array([0.5, 0.1, 0.06, 0.01]), "") == pytest.approx(3.2)
    assert _interpolated(0.05, tested, np.array([0.5, 0.04, 0.06, 0.01]), "") == pytest.approx(3.2)
    assert _interpolated(0.05, tested[::-1], np.array([0.01, 0.06, 0.1, 0.5]), "") == pytest.approx(3.2)
    with pytest.warns(toymill.ToymillWarning, match="above the scan"):
        assert _interpolated(0.05, tested, np.full(4, 0.06), "observed") == 4.0
    with pytest.warns(toymill.ToymillWarning, match="below the scan"):
        assert _interpolated(0.05, tested, np.full(4, 0.01), "observed") == 1.0
    with pytest.warns(toymill.ToymillWarning, match="At 1 of 4 tested values"):
        assert _interpolated(0.05, tested, np.array([0.5, 0.1, 0.0, np.nan]), "observed") == pytest.approx(2.5)


def test_pyhfs_exceptions(counts):
    model, data = counts
    errors = pyhf.exceptions
    with pytest.raises(errors.InvalidTestStatistic, match="Did you mean 'qtilde'"):
        functions.ToyCalculator(data, model, test_stat="qtild")
    with pytest.raises(errors.InvalidModel, match="POI mu is fixed"):
        functions.hypotest(1.0, data, model, fixed_params=[True, False, False], calctype="toybased")
    with pytest.raises(errors.UnspecifiedPOI):
        functions.hypotest(1.0, data, pyhf.Model(model.spec, poi_name=None), calctype="toybased")


REFUSED = {
    "calctype is 'toys'": {"calctype": "toys"},
    "return_errors is of toys": {"calctype": "asymptotics", "return_errors": True},
    "init_pars has shape (2,); expected (3,)": {"init_pars": [1.0, 1.0]},
    "par_bounds has shape (3,); expected (3, 2)": {"par_bounds": [1.0, 1.0, 2.0]},
    "par_bounds has values that are no numbers": {"par_bounds": [(0, 10), (None, None), (0, 2)]},
    "outside its bounds [2, 3]": {"par_bounds": [(2, 3), (0, 2), (0, 2)]},
    "its bounds are [0, 10]": {"poi_test": 20.0},
    "poi_test is [1.0, 2.0]; expected one number": {"poi_test": [1.0, 2.0]},
    "data has shape (2,); expected (4,): 2 counts and 2 auxiliary data": {"data": [51, 48]},
    "data is [": {"data": [51, np.nan, 1, 1]},
    "count is 0": {"ntoys": 0},
    "seed is -1": {"seed": -1},
    "pdf is a dict; expected a pyhf.Model": {"pdf": {}},
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused(counts, message):
    model, data = counts
    given = {"poi_test": 1.0, "data": data, "pdf": model, "calctype": "toybased", "ntoys": 10, **REFUSED[message]}
    with pytest.raises(toymill.ToymillError) as told:
        functions.hypotest(**given)
    assert message in str(told.value)


def test_a_batched_model_is_refused(counts):
    model, data = counts
    with pytest.raises(toymill.ToymillError, match="batch_size=2"):
        functions.ToyCalculator(data, pyhf.Model(model.spec, batch_size=2))


@pytest.mark.parametrize(("test_stat", "low"), [("qtilde", -1.0), ("q", 0.0)])
def test_a_statistic_that_is_another_by_its_bound_is_told(counts, test_stat, low):
    model, data = counts
    with pytest.warns(toymill.ToymillWarning, match=f"bounded at {low:g}"):
        functions.ToyCalculator(data, model, par_bounds=[(low, 10), (0, 2), (0, 2)], test_stat=test_stat)


def test_levels_and_scans_that_cannot_be(counts):
    model, data = counts
    for given, message in (({"level": 95}, "level is 95"), ({"scan": [1.0]}, "expected two or more")):
        with pytest.raises(toymill.ToymillError, match=message):
            functions.upper_limit(data, model, calctype="toybased", ntoys=10, **given)


ALONE = """
import sys
sys.modules["pyhf"] = None
import toymill
try:
    import toymill.pyhf
except ImportError as error:
    assert "toymill.pyhf works on models of pyhf" in str(error)
    assert "pip install 'toymill[pyhf]'" in str(error)
else:
    raise SystemExit(1)
"""


def test_pyhf_is_needed_only_where_it_is_used(root):
    """Its absence is told where it is imported, with the extra that has it."""
    assert subprocess.run([sys.executable, "-c", ALONE], check=False).returncode == 0
    about = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert about["optional-dependencies"]["pyhf"] == ["pyhf>=0.7.6"]


def test_what_is_returned_tells_what_it_holds(counts):
    model, data = counts
    asked = {"return_calculator": True, "return_errors": True}
    _, calculator, errors = functions.hypotest(1.0, data, model, calctype="toybased", ntoys=50, **asked)
    assert repr(calculator) == "<ToyCalculator of qtilde: 50 toys of each hypothesis, seed 0>"
    assert repr(calculator.distributions(1.0)[0]) == "<EmpiricalDistribution of 50 toys, 0 failed>"
    found = errors.observed
    assert repr(errors).startswith(
        f"<ToyErrors, 68.27 % intervals: observed CLs {found.value:.3g} [{found.low:.3g}, {found.high:.3g}], CLsb "
    )
    assert repr(errors).endswith("; 50 and 50 toys, 0 failed>")
    assert "unknown" in repr(errors)  # beyond 2 σ there are too few toys


SINGLE = """
import jax, pyhf
import toymill.pyhf
model = pyhf.simplemodels.uncorrelated_background([12.0], [50.0], [3.0])
found = toymill.pyhf.hypotest(1.0, [51, *model.config.auxdata], model, calctype="toybased", ntoys=50)
assert 0 < found < 1 and not jax.config.jax_enable_x64
"""


def test_the_callers_jax_stays_as_it_is():
    """Fits are in float64, and what the caller does beside stays in float32."""
    assert subprocess.run([sys.executable, "-c", SINGLE], check=False).returncode == 0


@pytest.mark.long
@pytest.mark.parametrize(("test_stat", "mu"), [("qtilde", 1.0), ("q0", 0.0)])
def test_tail_probabilities_are_pyhfs(counts, test_stat, mu):
    """Within 3.5 errors of pyhf's few toys."""
    model, data = counts
    seen, settings = [60, 58, *data[2:]], {"calctype": "toybased", "test_stat": test_stat}
    asked = {"return_tail_probs": True, "track_progress": False, **settings}
    np.random.seed(7)  # noqa: NPY002  (pyhf draws from it)
    theirs = quietly(pyhf.infer.hypotest, mu, seen, model, ntoys=150, **asked)
    ours = functions.hypotest(mu, seen, model, ntoys=20_000, **asked)
    pairs = zip(*([*item[1], item[0]] if test_stat == "q0" else item[1] for item in (theirs, ours)), strict=True)
    for peer, p in pairs:
        assert abs(float(peer) - float(p)) < 3.5 * np.sqrt(float(p) * (1 - float(p)) / 150)
