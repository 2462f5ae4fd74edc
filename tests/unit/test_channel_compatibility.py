"""Whether channels agree on the parameter of interest: the ratio in closed form, and a study that asks for it."""

import json

import numpy as np
import pytest
import scipy.special
import scipy.stats
from asked import finish
from builders import bare, binned, normsys, workspace

import toymill
from toymill.config.study import read_study
from toymill.formats.by_channel import by_channel
from toymill.formats.reader import read_specification
from toymill.histfactory.compiler import compile_specification
from toymill.histfactory.model import from_compiled
from toymill.inference.channel_compatibility import Estimate, channel_compatibility
from toymill.study.channel_compatibility import Split, fit_by_channel, ratio
from toymill.study.design import design_study

COUNTS = """
import toymill
def build():
    mu = toymill.Parameter(5.0, (0.1, 50.0))
    return toymill.define_model({"mu": mu}, poi="mu", expected=lambda p: p[:1], observed=[4.0])
"""
YIELDS = np.array([400.0, 200.0, 900.0])
WIDE = [{"name": "mu", "bounds": [[0.0, 20.0]], "inits": [1.0]}]
MU = bare("normfactor", "mu")


def counting(yields, observed):
    """A channel for each yield: n_c ~ Poisson(mu s_c), with a channel of its own that has no signal."""
    channels = {f"c{k}": {"s": ([value], [MU] if k else [])} for k, value in enumerate(yields)}
    spec = workspace(channels | {"side": {"b": ([100.0], [bare("normfactor", "b")])}}, WIDE)
    for item, count in zip(spec["observations"], [*observed, 90.0], strict=True):
        item["data"] = [float(count)]
    return spec


def split_of(spec):
    found = by_channel(read_specification(spec))
    return Split(from_compiled(compile_specification(found.specification)), found.names)


def ratios(spec, data):
    model, split = toymill.read_workspace(spec), split_of(spec)
    common = toymill.fit(model, data, covariance=False)
    return ratio(common, fit_by_channel(model, split, common, data, np.arange(len(data)), 1e-8)), model


def test_the_ratio_of_counts_in_closed_form():
    """Without a background μ̂ = Σ n/Σ s and μ̂_c = n_c/s_c, so that -2 ln λ = 2 Σ n_c ln(n_c/(μ̂ s_c))."""
    n = np.random.default_rng(1).poisson(YIELDS, size=(40, 3)).astype(float)
    n[0] = [0.0, 200.0, 900.0]
    q, _ = ratios(counting(YIELDS, YIELDS), np.concatenate([n, np.full((40, 1), 90.0)], axis=1))
    mean = n.sum(axis=1, keepdims=True) / YIELDS.sum() * YIELDS
    assert q == pytest.approx(2 * scipy.special.xlogy(n, n / mean).sum(axis=1), abs=1e-6)


def test_large_counts_have_the_chi2_of_a_weighted_mean():
    yields = 1e6 * YIELDS
    n = np.random.default_rng(2).poisson(yields, size=(20, 3)).astype(float)
    q, _ = ratios(counting(yields, yields), np.concatenate([n, np.full((20, 1), 90.0)], axis=1))
    estimate, variance = n / yields, n / yields**2
    mean = np.sum(estimate / variance, axis=1, keepdims=True) / np.sum(1 / variance, axis=1, keepdims=True)
    assert q == pytest.approx(np.sum((estimate - mean) ** 2 / variance, axis=1), rel=1e-3, abs=1e-4)


def test_with_the_same_value_in_each_channel_it_is_the_common_model():
    """Auxiliary data and their order are untouched."""
    channels = {
        "one": {"s": ([5.0, 9.0], []), "b": ([50.0, 40.0], [normsys("alpha"), binned("staterror", "mc", [4.0, 3.0])])},
        "two": {"s": ([3.0], [MU]), "b": ([20.0], [normsys("alpha"), binned("shapesys", "u", [2.0])])},
        "three": {"b": ([15.0], [bare("normfactor", "k")])},
    }
    spec = workspace(channels)
    model, split = toymill.read_workspace(spec), split_of(spec)
    assert split.names == {"one": "mu[one]", "two": "mu[two]"}
    assert split.model.data_names == model.data_names
    assert np.array_equal(split.model.observed, model.observed)
    names = [name if name in model.parameters.names else "mu" for name in split.model.parameters.names]
    x = np.random.default_rng(3).uniform(0.8, 1.2, size=(5, len(model.parameters)))
    same = x[:, [model.parameters.index(name) for name in names]]
    data = np.tile(model.observed, (5, 1))
    np.testing.assert_allclose(split.model.logpdf(same, data), model.logpdf(x, data), rtol=1e-13)


def asked(path, model=None, **changes):
    section = {"toys": 400, "channel_compatibility": True} | changes
    return read_study({"study": "asked", "model": model or str(path), "goodness_of_fit": section})


def test_a_study_that_asks(tmp_path):
    observed = [430.0, 170.0, 930.0]
    (tmp_path / "ws.json").write_text(json.dumps(counting(YIELDS, observed)))
    _, _, summary = finish(asked(tmp_path / "ws.json"), tmp_path)
    found = summary.answers.goodness_of_fit.channel_compatibility
    n = np.array(observed)
    mean = n.sum() / YIELDS.sum()
    assert found.common.value == pytest.approx(mean, abs=1e-5)
    assert found.common.error == pytest.approx(np.sqrt(n.sum()) / YIELDS.sum(), rel=1e-4)
    assert [item.value for item in found.channels.values()] == pytest.approx(n / YIELDS, abs=1e-5)
    assert [item.error for item in found.channels.values()] == pytest.approx(np.sqrt(n) / YIELDS, rel=1e-3)
    assert found.observed == pytest.approx(2 * np.sum(n * np.log(n / (mean * YIELDS))), abs=1e-6)
    assert (found.degrees_of_freedom, found.p_value.toys) == (2, 400)
    assert found.asymptotic == pytest.approx(scipy.stats.chi2.sf(found.observed, 2))
    error = np.sqrt(found.asymptotic * (1 - found.asymptotic) / 400)
    assert abs(found.p_value.value - found.asymptotic) < 4 * error
    told = [line for line in summary.headline.answers if "3 channels agree on mu" in line]
    assert told == [f"goodness of fit: {found.sentence}"]


def test_what_cannot_be_compared_is_refused(root, tmp_path):
    python = {"kind": "python", "path": str(tmp_path / "counts.py")}
    (tmp_path / "counts.py").write_text(COUNTS)
    constrained = workspace({"a": {"s": ([5.0], [])}, "b": {"s": ([5.0], [normsys("mu")])}})
    constrained["measurements"][0]["config"]["poi"] = "alpha"
    constrained["channels"][1]["samples"][0]["modifiers"] = [normsys("alpha"), bare("normfactor", "mu")]
    (tmp_path / "alpha.json").write_text(json.dumps(constrained))
    for path, model, words in (
        (root / "tests/data/onoff.json", None, "'mu' acts on channel 'on' alone; expected two channels at least"),
        (None, python, "needs a model of kind workspace, which has channels; this is of kind python"),
        (tmp_path / "alpha.json", None, "the parameter of interest 'alpha' interpolates, so that channels cannot"),
    ):
        with pytest.raises(toymill.ToymillError, match=rf"goodness_of_fit\.channel_compatibility: .*{words}"):
            design_study(asked(path, model))


def test_a_channel_without_signal_is_left_out(tmp_path):
    """Its yields of signal are 0, as of a mass point that no event of a channel passes: two channels are compared."""
    observed = [430.0, 90.0, 930.0]
    spec = counting([400.0, 0.0, 900.0], observed)
    spec["channels"][1]["samples"].append({"name": "b", "data": [100.0], "modifiers": [normsys("alpha")]})
    (tmp_path / "ws.json").write_text(json.dumps(spec))
    found = finish(asked(tmp_path / "ws.json"), tmp_path)[2].answers.goodness_of_fit.channel_compatibility
    assert (list(found.channels), found.degrees_of_freedom) == (["c0", "c2"], 1)
    n, mean = np.array([430.0, 930.0]), 1360 / 1300 * np.array([400.0, 900.0])
    assert found.observed == pytest.approx(2 * np.sum(n * np.log(n / mean)), abs=1e-6)
    assert (found.p_value.toys, found.p_value.failed) == (400, 0)


def test_a_channel_that_does_not_tell_its_own_is_refused_before_toys(tmp_path):
    """One bin whose background is free, and another whose signal has a factor that is held at 0."""
    free = {"one": {"s": ([40.0], [])}, "two": {"s": ([40.0], [MU]), "b": ([100.0], [bare("normfactor", "k")])}}
    off = {"one": {"s": ([40.0], [])}, "two": {"s": ([40.0], [MU, bare("normfactor", "k")]), "b": ([100.0], [])}}
    held = {"name": "k", "inits": [0.0], "bounds": [[0.0, 1.0]], "fixed": True}
    for number, (channels, settings) in enumerate(((free, []), (off, [held]))):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps(workspace(channels, settings)))
        with pytest.raises(toymill.ToymillError, match="the data of channel 'two' do not tell a 'mu' of its own"):
            design_study(asked(path))


def test_a_fit_of_the_observed_data_that_is_not_certified_is_refused():
    one = Estimate(value=1.0, error=None)
    with pytest.raises(toymill.ToymillError, match="not certified: whether channels agree cannot be judged"):
        channel_compatibility("mu", float("nan"), np.ones(3), one, {"a": one, "b": one})


def test_failed_fits_are_told():
    """Of 50 certified toys 1 lies beyond; 30 that failed could all do so, or none."""
    one = Estimate(value=1.0, error=0.1)
    toys = np.concatenate([np.zeros(49), [9.0], np.full(30, np.nan)])
    found = channel_compatibility("mu", 4.0, toys, one, {"a": one, "b": one})
    assert (found.p_value.value, found.p_value.failed) == (0.02, 30)
    assert found.sentence.endswith("30 of 80 toys have a fit that is not certified: with them it is 0.0125 to 0.388.")
