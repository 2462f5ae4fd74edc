"""Toys of ``throw: templates``: what is drawn, the coverage of staterrors against closed forms, and refusals."""

import json

import numpy as np
import pytest
import scipy.stats
from builders import binned, normsys, workspace

import toymill
from toymill.config.study import Shard, check_inputs, read_study, shards
from toymill.study.describe import describe
from toymill.study.model import checked_model, truth_of
from toymill.study.shards import fit_shard, throw_chunks
from toymill.study.summarize import summarize

SIGNAL, BACKGROUND = (1000.0, 40.0), (10000.0, 120.0)
"""Yield and its Monte Carlo statistical uncertainty: that of the background is as large as √yield and more."""

OPEN = [{"name": "mu", "bounds": [[-20.0, 20.0]]}]


def counted(signal=SIGNAL, background=BACKGROUND):
    """One bin, with a staterror on both samples."""
    samples = {
        name: ([value], [binned("staterror", "stat", [sigma])])
        for name, (value, sigma) in (("signal", signal), ("background", background))
    }
    return workspace({"SR": samples}, OPEN)


TWO = workspace(
    {
        "CR": {"background": ([50.0, 40.0], [normsys("norm"), binned("staterror", "statCR", [3.0, 2.0])])},
        "SR": {
            "a": ([5.0, 8.0], [normsys("norm", 1.3, 0.8), binned("staterror", "statSR", [1.0, 1.5])]),
            "b": ([20.0, 10.0], [binned("staterror", "statSR", [2.0, 0.0]), binned("shapesys", "shape", [2.0, 3.0])]),
        },
    }
)


def study(path, **ensembles):
    return read_study({"study": "s", "model": str(path), "ensembles": ensembles, "shard": 50000})


def written(folder, spec):
    path = folder / "ws.json"
    path.write_text(json.dumps(spec))
    return path


@pytest.mark.parametrize("mu", [1.0, 5.0])
def test_coverage_of_a_staterror_is_the_closed_form(tmp_path, mu):
    """One bin with many events, so that all is normal, and what is known exactly is the ratio of variances.

    The truth is n ~ N(ν, ν + (μ σ_s)² + σ_b²) with ν = μ s + b. The likelihood (Barlow-Beeston lite) has the relative
    uncertainty √(σ_s² + σ_b²)/(s + b) of the sum at μ = 1, so the variance ν + (ν √(σ_s² + σ_b²)/(s + b))²: right at
    μ = 1, and too large or small elsewhere.
    """
    (s, sigma_s), (b, sigma_b) = SIGNAL, BACKGROUND
    one = study(written(tmp_path, counted()), a={"truth": {"mu": mu}, "toys": 20000, "throw": "templates"})
    check_inputs(one)
    files = []
    for shard in shards(one, "a"):
        files.append(tmp_path / f"{shard.name}.h5")
        fit_shard(one, "a", shard, files[-1])
    item = summarize(one, describe(one), {"a": files}).ensembles["a"]
    nu = mu * s + b
    true = nu + (mu * sigma_s) ** 2 + sigma_b**2
    assumed = nu + (nu * np.hypot(sigma_s, sigma_b) / (s + b)) ** 2
    about = item.parameters["mu"]
    assert abs(about.bias) < 4 * about.bias_error
    assert about.rms == pytest.approx(np.sqrt(true) / s, rel=0.02)
    for level in ("0.683", "0.95"):
        exact = 2 * scipy.stats.norm.cdf(scipy.stats.norm.isf((1 - float(level)) / 2) * np.sqrt(assumed / true)) - 1
        if mu == 1:
            assert exact == pytest.approx(float(level))
        found = item.intervals.profile[level]
        error = np.sqrt(exact * (1 - exact) / item.toys)
        assert abs(found.coverage - exact) < 4 * error + 0.002  # 0.002: γ makes the error depend on n
    assert item.throw == "templates"
    assert item.information.efficiency["mu"].efficiency is None


def test_what_is_drawn_and_what_is_held(tmp_path):
    """Spread of the counts as stated; auxiliary data of staterrors at nominal, others about the truth."""
    model = toymill.read_workspace(written(tmp_path, TWO))
    truth = model.parameters.values({"mu": 1.5, "norm": 0.7})
    toys = toymill.throw(model, truth, 20000, seed=3, mode="templates")
    plain = toymill.throw(model, truth, 20000, seed=3)
    names = list(model.data_names)
    held = [i for i, name in enumerate(names) if name.startswith("stat")]
    assert (toys[:, held] == model.observed[held]).all()
    others = [i for i, name in enumerate(names) if name.startswith(("norm", "shape"))]
    # The mean of norm's datum is 0.7; uniforms differ, since each toy of templates has twice as many.
    assert toys[:, others].mean(axis=0) == pytest.approx(plain[:, others].mean(axis=0), rel=0.05)
    spread = model.template_noise.spread(truth)  # by differences of the expectation, sample by sample:
    added = []
    for channel, sample in ((0, 0), (1, 0), (1, 1)):
        for bin_ in (0, 1):
            spec = json.loads(json.dumps(TWO))
            content = spec["channels"][channel]["samples"][sample]
            sigma = next(item["data"][bin_] for item in content["modifiers"] if item["type"] == "staterror")
            content["data"][bin_] += 1.0
            more = toymill.read_workspace(spec)
            added.append(np.asarray(more.expected_data(truth) - model.expected_data(truth))[:4] * sigma)
    assert spread == pytest.approx(np.sqrt(np.square(added).sum(axis=0)), rel=1e-9)
    expected = np.asarray(model.expected_data(truth))[:4]
    assert toys[:, :4].mean(axis=0) == pytest.approx(expected, rel=0.01)
    assert toys[:, :4].var(axis=0) == pytest.approx(expected + spread**2, rel=0.05)


def test_the_same_toys_in_any_batch(tmp_path):
    one = study(written(tmp_path, TWO), a={"truth": {"mu": 1.0}, "toys": 100, "throw": "templates"})
    model = checked_model(one)
    whole, part = (
        np.concatenate([data for _, data in throw_chunks(one, model, "a", Shard("", first, 100 - first))])
        for first in (0, 37)
    )
    assert (whole[37:] == part).all()


def test_an_expectation_below_zero_counts_as_zero(tmp_path):
    spec = counted(signal=(0.0, 0.0), background=(1.0, 5.0))
    model = toymill.read_workspace(written(tmp_path, spec))
    toys = toymill.throw(model, model.parameters.values({"mu": 0.0}), 2000, mode="templates")
    assert toys[:, 0].min() == 0
    assert toys[:, 0].max() > 10


def test_hs3_says_the_same(root):
    """ROOT's constraints have the same in quadrature over the sum of the samples; pyhs3 has one of each sample."""
    folder = root / "tests/data/hs3"
    lite = toymill.read_workspace(folder / "root-6.40-gauss-gauss.json", measurement="simPdf_obsData")
    full = toymill.read_workspace(folder / "pyhs3-0.4-code4p.json")
    of_lite, of_full = (model.template_noise.spread(model.parameters.init) for model in (lite, full))
    widths = lite.sampling.sigma[lite.template_noise.held]
    assert of_lite == pytest.approx([0.0, 0.0, *(widths * [55.0, 54.0, 33.0])], rel=1e-5)
    assert of_full[:4] == pytest.approx(of_lite[:4], rel=1e-5)
    assert full.template_noise.held.sum() == 6


def test_conditional_holds_staterrors_at_nominal(tmp_path):
    ensemble = {"truth": {"mu": 0.5}, "toys": 10, "throw": "templates", "nuisances": "conditional"}
    one = study(written(tmp_path, TWO), a=ensemble)
    model = checked_model(one)
    at = dict(zip(model.parameters.names, truth_of(one, model, "a").at, strict=True))
    assert [at[name] for name in at if name.startswith("stat")] == [1.0] * 4
    assert at["norm"] != 0


def test_wrong_use_is_refused(tmp_path):
    def refused(spec, *words, **changes):
        ensemble = {"truth": {"mu": 1.0}, "throw": "templates"} | changes
        with pytest.raises(toymill.ToymillError) as error:
            check_inputs(study(written(tmp_path, spec), a=ensemble))
        assert all(word in str(error.value) for word in words), str(error.value)

    refused(workspace({"SR": {"s": ([5.0], [])}}), "ensembles.a.throw: 'templates'", "no sample of the model has one")
    refused(TWO, "ensembles.a.truth", "'statSR[0]'", truth={"mu": 1.0, "statSR[0]": 1.1})
    other = str(written(tmp_path, TWO))
    refused(TWO, "ensembles.a.throw: templates toys draw yields", thrown_from=other)
    model = toymill.read_workspace(workspace({"SR": {"s": ([5.0], [])}}))
    with pytest.raises(toymill.ToymillError, match="No sample of this model has a staterror"):
        toymill.throw(model, [1.0], 1, mode="templates")
    poisson = {"kind": "poisson"}
    one = read_study(
        {"study": "s", "model": poisson, "ensembles": {"a": {"truth": {"rate": 1.0}, "throw": "templates"}}}
    )
    with pytest.raises(toymill.ToymillError, match=r"ensembles\.a\.throw: 'templates'"):
        checked_model(one)
