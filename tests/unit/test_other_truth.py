"""Toys thrown from another model than the fitted one: closed forms, other programs on the same toys, and refusals."""

import copy
import json
import re

import numpy as np
import pyhf
import pytest
import scipy.stats
from builders import normsys, workspace

import toymill
from toymill.config.dependencies import fits_digest, toys_digest, toys_job
from toymill.config.study import Shard, check_inputs, read_study, shards
from toymill.inference.counting import bias_in_rms
from toymill.models.other_truth import thrown_from
from toymill.report import captions, of_ensemble, of_study
from toymill.report.draw import draw
from toymill.results.store import read_shard, read_toys
from toymill.study.audit import audit_ensemble
from toymill.study.compare import compare_optimisers
from toymill.study.describe import describe
from toymill.study.model import checked_model, truth_of
from toymill.study.shards import fit_shard, throw_chunks, throw_shard
from toymill.study.summarize import summarize

OPEN = [{"name": "mu", "bounds": [[-20.0, 20.0]]}]
FITTED = workspace({"SR": {"signal": ([50.0], []), "background": ([100.0], [])}}, OPEN)
TRUE = workspace({"SR": {"signal": ([50.0], []), "background": ([130.0], [])}}, OPEN)
"""A counting experiment with a known background: 100 where it is fitted, 130 where it is thrown."""

SHAPES = {"signal": ([4.0, 20.0, 6.0], []), "background": ([150.0, 90.0, 60.0], [normsys("slope", 1.1, 0.9)])}
OTHER = {"signal": SHAPES["signal"], "background": ([140.0, 100.0, 60.0], SHAPES["background"][1])}


def written(folder, **specs):
    """Workspaces as files, by name."""
    for name, spec in specs.items():
        (folder / f"{name}.json").write_text(json.dumps(spec))
    return {name: str(folder / f"{name}.json") for name in specs}


def study(model, *, seed=0, **ensembles):
    content = {"study": "other", "model": model, "ensembles": ensembles, "shard": 4096, "seed": seed}
    return read_study(content)


def done(one, folder):
    """The summary of a study, and the files of its shards."""
    files = {}
    for name in one.ensembles:
        for shard in shards(one, name):
            path = folder / name / f"{shard.name}.h5"
            fit_shard(one, name, shard, path)
            files.setdefault(name, []).append(path)
    return summarize(one, describe(one), files), files


def toys_of(one, name, count=200):
    """An ensemble's first toys."""
    model = checked_model(one)
    return np.concatenate([data for _, data in throw_chunks(one, model, name, Shard("", 0, count))])


def refused(content, *words):
    with pytest.raises(toymill.ToymillError) as error:
        check_inputs(read_study(content))
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """A count fitted with b = 100, thrown with b = 130: the study, its summary and files."""
    folder = tmp_path_factory.mktemp("counting")
    paths = written(folder, fitted=FITTED, true=TRUE)
    one = study(
        paths["fitted"],
        none={"truth": {"mu": 0.0}, "toys": 20000, "thrown_from": paths["true"]},
        one={"truth": {"mu": 1.0}, "toys": 20000, "thrown_from": paths["true"], "tests": [0.0]},
    )
    return one, *done(one, folder)


@pytest.mark.parametrize(("name", "mu"), [("none", 0.0), ("one", 1.0)])
def test_bias_and_coverage_of_a_count_are_the_closed_form(counting, name, mu):
    """n ~ Poisson(50 μ + 130), and μ̂ = (n - 100)/50: biased by 0.6, of variance (50 μ + 130)/50². Within four sigma."""
    item = counting[1].ensembles[name]
    about = item.parameters["mu"]
    assert about.truth == mu
    assert abs(about.bias - 0.6) < 4 * about.bias_error
    rms = np.sqrt(50 * mu + 130) / 50
    assert abs(about.rms - rms) < 4 * about.rms_error
    assert abs(about.bias_in_rms - 0.6 / rms) < 4 * about.bias_in_rms_error
    n = np.arange(1, 500)
    probability = scipy.stats.poisson.pmf(n, 50 * mu + 130)
    expected = 50 * mu + 100
    t = 2 * (expected - n + n * np.log(n / expected))
    away = (n - 100) / 50 - mu
    for level in ("0.683", "0.95"):
        limit = scipy.stats.chi2.ppf(float(level), 1)
        for inside, found in (
            (t <= limit, item.intervals.profile[level]),
            (away**2 / (n / 50**2) <= limit, item.intervals.hessian[level]),
        ):
            exact = probability[inside].sum()
            assert abs(found.coverage - exact) < 4 * np.sqrt(exact * (1 - exact) / item.toys)
    assert item.thrown_from.without_truth == []
    assert item.thrown_from.truth == {"mu": mu}
    assert item.information.efficiency["mu"].efficiency is None
    assert item.discovery is None or item.discovery[0].p_value > item.discovery[0].asymptotic


def test_the_figures_say_so(counting, tmp_path):
    _, summary, _ = counting
    draw(summary, {name: tmp_path / f"{name}.svg" for name in of_study.FIGURES})
    draw(summary, {name: tmp_path / f"{name}.svg" for name in of_ensemble.FIGURES}, ensemble="one")
    assert re.match(
        r"thrown from another model .*; mu is biased by 2\.\d+ ± 0\.0\d+ of its spread\.$",
        captions.mismodelled("mu", summary.ensembles["none"]),
    )


def test_an_audit_throws_the_same_toys(counting):
    one, _, files = counting
    fit = one.fit.model_copy(update={"audit": 20})
    found = audit_ensemble(one.model_copy(update={"fit": fit}), "one", files["one"])
    assert (found.summary.toys, found.summary.missed) == (20, 0)
    assert found.summary.poi_difference < 1e-3


def test_a_spurious_signal_is_that_of_pyhf(tmp_path):
    """Three bins with an other background shape: the same toys fitted with pyhf, and the bias of the Asimov dataset."""
    paths = written(tmp_path, fitted=workspace({"SR": SHAPES}, OPEN), true=workspace({"SR": OTHER}, OPEN))
    one = study(paths["fitted"], none={"truth": {"mu": 0.0}, "toys": 8000, "thrown_from": paths["true"]})
    summary, files = done(one, tmp_path)
    throw_shard(one, "none", Shard("000000000-000000007", 0, 8), tmp_path / "toys.h5")
    toys = read_toys(tmp_path / "toys.h5")
    ours = read_shard(files["none"][0]).free
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-4))
    theirs = pyhf.Workspace(json.loads((tmp_path / "fitted.json").read_text())).model()
    order = [theirs.config.par_order.index(name) for name in ours.names]
    for row, data in enumerate(toys):
        found = pyhf.infer.mle.fit(data.tolist(), theirs)
        assert ours.parameters[row] == pytest.approx(np.asarray(found)[order], abs=2e-3)
    model, source = (toymill.read_workspace(paths[name]) for name in ("fitted", "true"))
    truth = source.parameters.values({"mu": 0.0})
    asimov = toymill.throw(source, truth, 1, mode="asimov")
    shift = toymill.fit(model, asimov, covariance=False).parameter("mu")[0]
    about = summary.ensembles["none"].parameters["mu"]
    assert about.bias > 10 * about.bias_error
    assert about.bias == pytest.approx(shift, abs=0.05 * about.rms)  # the bias of a fit's own is far below that


@pytest.mark.parametrize("throw", ["frequentist", "main-only"])
def test_thrown_from_the_fitted_model_toys_are_the_same_bits(tmp_path, throw):
    lifetime = {"kind": "python", "path": "config/models/lifetime.py", "options": {"decays": 7}}
    for model, poi in ((written(tmp_path, fitted=workspace({"SR": SHAPES}))["fitted"], "mu"), (lifetime, "tau")):
        ensemble = {"truth": {poi: 1.5}, "throw": throw, "toys": 300}
        plain, other = study(model, a=ensemble), study(model, a=ensemble | {"thrown_from": model})
        assert (toys_of(plain, "a") == toys_of(other, "a")).all()
        assert toys_digest(plain, "a", "model") != toys_digest(other, "a", "model")


def test_auxiliary_data_are_those_of_the_fitted_model(tmp_path):
    """About the truth of a shared parameter, about nominal for one of the fitted model only; others are no data."""
    fitted = workspace({"SR": SHAPES | {"other": ([5.0, 5.0, 5.0], [normsys("mine")])}})
    true = workspace({"SR": OTHER | {"other": ([5.0, 5.0, 5.0], [normsys("theirs", 1.3, 0.7)])}})
    paths = written(tmp_path, fitted=fitted, true=true)
    truth = {"mu": 1.0, "slope": 0.8, "theirs": -1.0}
    one = study(paths["fitted"], a={"truth": truth, "toys": 4000, "thrown_from": paths["true"]})
    check_inputs(one)
    model, source = checked_model(one), toymill.read_workspace(paths["true"])
    found = truth_of(one, model, "a")
    data = toys_of(one, "a", 4000)
    assert model.data_names[3:] == ("slope (auxiliary)", "mine (auxiliary)")
    mean, error = data.mean(axis=0), data.std(axis=0) / np.sqrt(4000)
    expected = [*source.expected_data(source.parameters.values(truth))[:3], 0.8, 0.0]
    assert (np.abs(mean - expected) < 4 * error).all()
    assert data[:, 3:].std(axis=0) == pytest.approx([1.0, 1.0], rel=0.05)
    assert dict(zip(model.parameters.names, found.point, strict=True)) == {"mine": 0.0, "mu": 1.0, "slope": 0.8}
    summary, _ = done(one, tmp_path)
    item = summary.ensembles["a"]
    assert item.truth == {"mu": 1.0, "slope": 0.8}
    assert item.thrown_from.without_truth == ["mine"]
    mine = item.parameters["mine"]
    assert (mine.truth, mine.pulls) == (None, 0)
    for key in ("bias", "bias_error", "bias_in_rms", "pull_mean", "pull_width"):
        assert getattr(mine, key) is None
    assert abs(mine.mean) < 1
    assert np.isfinite(item.parameters["slope"].pull_mean)
    draw(summary, {name: tmp_path / f"{name}.svg" for name in of_ensemble.FIGURES}, ensemble="a")
    assert "Without a truth: mine." in captions.mismodelled("mu", item)


def test_conditional_is_the_fit_of_the_throwing_model(tmp_path):
    paths = written(tmp_path, fitted=workspace({"SR": SHAPES}), true=workspace({"SR": OTHER}))
    ensemble = {"truth": {"mu": 0.5}, "toys": 10, "nuisances": "conditional", "thrown_from": paths["true"]}
    one = study(paths["fitted"], a=ensemble)
    source = toymill.read_workspace(paths["true"])
    found = truth_of(one, checked_model(one), "a")
    held = toymill.fit(source, source.observed, {"mu": 0.5}, covariance=False)
    assert found.at.tolist() == held.parameters[0].tolist()


PYTHON = """
import jax, jax.numpy as jnp, toymill

def build(shift=0.0, bins=3, size=4.0, poi="mu"):
    def rates(p):
        return jnp.array([4.0, 20.0, 6.0])[:bins] * p[0] + jnp.array([150.0, 90.0, 60.0])[:bins]
    def logpdf(p, n):
        nu = rates(p)
        r = size
        return jnp.sum(jax.scipy.special.gammaln(n + r * nu) - jax.scipy.special.gammaln(r * nu)
                       - jax.scipy.special.gammaln(n + 1) + r * nu * jnp.log(r / (1 + r)) - n * jnp.log(1 + r))
    def throw(key, p):
        one, two = jax.random.split(key)
        rate = jax.random.gamma(one, size * rates(p)) / size
        return jax.random.poisson(two, rate) * 1.0 - shift
    return toymill.define_model({poi: toymill.Parameter(1.0, (-9.0, 9.0))}, poi=poi, logpdf=logpdf, throw=throw,
                                name="SR", mismatch=True)
"""
"""Counts of more than Poisson's variance: 1 + 1/size times the mean."""


def test_counts_of_another_distribution_from_python(tmp_path):
    """Negative binomial counts, fitted as Poisson counts: no bias, a spread larger by √(1 + 1/4), intervals too short."""
    (tmp_path / "over.py").write_text(PYTHON)
    model = written(
        tmp_path, fitted=workspace({"SR": {"signal": ([4.0, 20.0, 6.0], []), "b": ([150.0, 90.0, 60.0], [])}}, OPEN)
    )
    over = {"kind": "python", "path": str(tmp_path / "over.py")}
    ensemble = {"truth": {"mu": 1.0}, "toys": 8000, "thrown_from": over}
    one = study(model["fitted"], a=ensemble)
    check_inputs(one)
    summary, _ = done(one, tmp_path)
    about = summary.ensembles["a"].parameters["mu"]
    assert abs(about.pull_width - np.sqrt(1.25)) < 0.05
    covered = summary.ensembles["a"].intervals.profile["0.683"]
    assert covered.coverage_high + 0.02 < 0.683
    shifted = study(model["fitted"], a=ensemble | {"thrown_from": over | {"options": {"shift": 300.0}}})
    with pytest.raises(
        toymill.ToymillError, match=r"Toy 0 has -\d+ as SR\[0\]: the model that is fitted counts events"
    ):
        toys_of(shifted, "a")


def test_wrong_use_is_refused_before_any_work(tmp_path):
    (tmp_path / "over.py").write_text(PYTHON)
    two_bins = {name: (data[:2], modifiers) for name, (data, modifiers) in OTHER.items()}
    unnamed = json.loads(json.dumps(workspace({"SR": OTHER})).replace('"mu"', '"strength"'))
    paths = written(
        tmp_path,
        fitted=workspace({"SR": SHAPES}),
        true=workspace({"SR": OTHER}),
        bins=workspace({"SR": two_bins}),
        channels=workspace({"SR": OTHER, "CR": {"b": ([5.0], [])}}),
        unnamed=unnamed,
    )
    over = {"kind": "python", "path": str(tmp_path / "over.py")}

    def content(**changes):
        ensemble = {"truth": {"mu": 1.0}, "thrown_from": paths["true"]} | changes
        return {"study": "s", "model": paths["fitted"], "ensembles": {"a": ensemble}}

    check_inputs(read_study(content()))
    key = "ensembles.a.thrown_from"
    refused(content(thrown_from=paths["bins"]), f"{key}: its main data are not", "it lacks SR[3] and it has SR[2]")
    refused(content(thrown_from=paths["channels"]), f"{key}: its main data", "it has CR[1]; expected SR[3]")
    refused(content(thrown_from=over | {"options": {"bins": 2}}), f"{key}: its main data", "it lacks SR[3]")
    refused(content(thrown_from=paths["unnamed"]), f"{key}: it has no parameter 'mu'", "a signal whose truth is 0")
    refused(
        content(truth={"mu": 1.0, "slop": 1.0}), "ensembles.a.truth: ", "no parameter 'slop'", "Did you mean 'slope'"
    )
    refused(content(truth={"slope": 1.0}), "ensembles.a.truth", "{mu: 1.0}")
    refused(content(throw="hybrid"), "ensembles.a.throw: hybrid", "leave out thrown_from")
    refused(content(thrown_from=over, nuisances="conditional"), "ensembles.a.nuisances: 'conditional' is a fit")
    refused(content(thrown_from="no.json"), f"{key}.path: there is no file 'no.json'")
    refused(content(thrown_from={"pth": "no.json"}), f"{key}.pth: unknown key", "path")
    refused(content(thrown_from={"kind": "onof"}), f"{key}.kind: got 'onof'", "onoff")
    refused(content(thrown_from={"kind": "onoff", "tua": 1.0}), f"{key}.tua: unknown key", "tau")
    refused(content(thrown_from=over | {"options": {"bins": "two"}}), f"{key}: ", "over.py")
    one = read_study(content(thrown_from=paths["bins"]))
    with pytest.raises(toymill.ToymillError, match="its main data are not"):  # where files had to be fetched first
        truth_of(one, checked_model(one), "a")


def test_files_of_one_name_in_two_folders_are_refused(tmp_path):
    """One process would import one of them for both models."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "helper.py").write_text("SCALE = 2.0\n")
        (tmp_path / folder / f"{folder}.py").write_text("import helper\n" + PYTHON)
    models = [
        {"kind": "python", "path": str(tmp_path / name / f"{name}.py"), "files": [str(tmp_path / name / "helper.py")]}
        for name in ("one", "two")
    ]
    ensembles = {"a": {"truth": {"mu": 1.0}, "thrown_from": models[1]}}
    refused({"study": "s", "model": models[0], "ensembles": ensembles}, "two/helper.py has the name of", "Rename one")


def test_a_change_of_the_throwing_model_makes_toys_anew(tmp_path):
    paths = written(tmp_path, fitted=FITTED, true=TRUE)

    def digests(**changes):
        ensemble = {"truth": {"mu": 1.0}, "toys": 10, "thrown_from": paths["true"]} | changes
        one = study(paths["fitted"], a=ensemble)
        return toys_digest(one, "a", "m"), fits_digest(one, "a", "m"), json.dumps(toys_job(one, "a")), one.contents

    before, without = digests(), digests(thrown_from=None)
    assert digests() == before
    changed = copy.deepcopy(TRUE)
    changed["channels"][0]["samples"][1]["data"] = [131.0]
    written(tmp_path, true=changed)
    assert all(was != now for was, now in zip(before, digests(), strict=True))
    assert digests(thrown_from=None) == without
    plain = study(paths["fitted"], a={"truth": {"mu": 1.0}, "toys": 10})
    assert (
        "thrown_from" not in toys_job(plain, "a")["ensemble"]
    )  # toys that were thrown before there was such a key stay


def test_inputs_of_the_throwing_model_are_fetched_and_told(tmp_path):
    remote = {"url": "https://example.org/ws.json", "sha256": "0" * 64}
    paths = written(tmp_path, fitted=FITTED, true=TRUE)
    ensemble = {"truth": {"mu": 1.0}, "thrown_from": {"path": remote, "patches": [remote]}}
    one = study(paths["fitted"], a=ensemble, b=ensemble)
    assert [item.url for item in one.remotes] == [remote["url"]]
    check_inputs(one)  # it is not there yet
    local = study(paths["fitted"], a={"truth": {"mu": 1.0}, "toys": 10, "thrown_from": paths["true"]})
    assert describe(local).inputs.keys() == {paths["fitted"], paths["true"]}


def test_optimisers_are_compared_on_such_toys(tmp_path):
    paths = written(tmp_path, fitted=FITTED, true=TRUE)
    ensemble = {"truth": {"mu": 1.0}, "toys": 4, "thrown_from": paths["true"]}
    content = {"study": "s", "kind": "optimisers", "model": paths["fitted"], "ensembles": {"a": ensemble}}
    one = read_study(content | {"optimisers": {"methods": ["toymill"]}})
    n = toys_of(one, "a", 4)[:, 0]
    found = compare_optimisers(one, "a", tmp_path / "a.h5").outcomes["toymill"]
    assert found.parameters[:, 0] == pytest.approx((n - 100) / 50, abs=1e-6)


def test_hybrid_has_no_other_truth():
    model = toymill.read_workspace(FITTED)
    source = thrown_from(toymill.read_workspace(TRUE), model)
    assert source.poi == "mu"
    assert source.expected_data([1.0]).tolist() == [180.0]


def test_the_error_of_the_bias_in_rms():
    """Over 400 samples of a skewed distribution, the error is the spread of the ratio to a tenth."""
    x = np.random.default_rng(1).exponential(size=(400, 500)) + 0.3
    found = np.array([bias_in_rms(500, np.array([(row**k).sum() for k in (1, 2, 3, 4)])) for row in x])
    assert found[:, 0].mean() == pytest.approx(1.3, rel=0.01)
    assert np.median(found[:, 1]) == pytest.approx(found[:, 0].std(), rel=0.1)
    assert all(np.isnan(bias_in_rms(3, np.zeros(4))))
