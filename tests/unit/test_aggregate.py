"""From shards to numbers: failures counted and never dropped, damaged or missing shards refused by name."""

import dataclasses
import json

import h5py
import numpy as np
import pytest

import toymill
from toymill.config.study import read_study, shards
from toymill.fitting.status import Status
from toymill.report import of_ensemble, of_study
from toymill.report.draw import draw
from toymill.report.first_screen import groups
from toymill.report.tables import tables
from toymill.results.audit import read_audits
from toymill.results.files import write_record
from toymill.results.store import read_shard, write_shard
from toymill.results.summary import read_summary, write_summary
from toymill.study.audit import audit_ensemble
from toymill.study.describe import describe
from toymill.study.failures import refusals, refuse_failures
from toymill.study.shards import fit_shard
from toymill.study.summarize import summarize


@pytest.fixture(scope="module")
def done(root, tmp_path_factory):
    """A small study, run without Snakemake: (study, description, files)."""
    study = read_study(
        {
            "study": "small",
            "model": str(root / "tests/data/onoff.json"),
            "ensembles": {
                "one": {"truth": {"mu": 1.0}, "toys": 400, "tests": [0.0]},
                "conditional": {"truth": {"mu": 0.5}, "toys": 150, "nuisances": "conditional"},
            },
            "shard": 250,
        }
    )
    folder = tmp_path_factory.mktemp("fits")
    description = describe(study)
    files = {}
    for name in study.ensembles:
        for shard in shards(study, name):
            path = folder / name / f"{shard.name}.h5"
            fit_shard(study, name, shard, path)
            files.setdefault(name, []).append(path)
    return study, description, files


@pytest.fixture(scope="module")
def summary(done):
    return summarize(*done)


def edited(path, target, **changes):
    """A copy of a shard's file with some of its free fits' arrays changed."""
    shard = read_shard(path)
    arrays = {name: getattr(shard.free, name).copy() for name in changes}
    for name, (rows, value) in changes.items():
        arrays[name][rows] = value
    write_shard(target, shard._replace(free=dataclasses.replace(shard.free, **arrays)))
    return target


def test_a_summary_is_read_as_it_was_written(summary, tmp_path):
    write_summary(tmp_path / "summary.json", tmp_path / "summary.h5", summary)
    found = read_summary(tmp_path / "summary.json")
    assert found.model_dump(exclude={"sha256"}) == summary.model_dump(exclude={"sha256"})
    assert json.loads((tmp_path / "summary.json").read_text())["headline"]["certified"] == 550
    assert "NaN" not in (tmp_path / "summary.json").read_text()


def test_a_file_of_another_version_is_refused(summary, tmp_path):
    write_summary(tmp_path / "summary.json", tmp_path / "summary.h5", summary)
    text = (tmp_path / "summary.json").read_text()
    (tmp_path / "summary.json").write_text(text.replace('"at_kink":', '"good":', 1))
    with pytest.raises(toymill.ToymillError, match=r"summary\.json: toys\.ensembles\.one\.at_kink: Field required"):
        read_summary(tmp_path / "summary.json")


def test_every_toy_is_accounted_for(summary):
    for item in summary.ensembles.values():
        assert item.certified + sum(item.failed.values()) == item.toys
        for test in item.tests:
            histogram = test.histogram
            assert sum(histogram.counts) + histogram.underflow + histogram.overflow == item.certified


def test_numbers_are_those_of_the_fits(done, summary):
    _, _, files = done
    parts = [read_shard(path) for path in files["one"]]
    mu = np.concatenate([part.free.parameter("mu") for part in parts])
    error = np.concatenate([part.free.errors[:, part.free.names.index("mu")] for part in parts])
    about = summary.ensembles["one"].parameters["mu"]
    assert about.bias == pytest.approx(mu.mean() - 1)
    assert about.bias_error == pytest.approx(mu.std(ddof=1) / 20)
    assert about.pull_width == pytest.approx(((mu - 1) / error).std(ddof=1))
    inside = np.abs(mu - 1) <= error
    coverage = summary.ensembles["one"].intervals.hessian["0.683"]
    assert coverage.coverage == pytest.approx(inside.mean(), abs=0.003)  # one sigma is 68.27, not 68.3 %
    assert coverage.coverage_low < coverage.coverage < coverage.coverage_high
    t = np.concatenate([2 * (part.tests[1].nll - part.free.nll) for part in parts])
    profile = summary.ensembles["one"].intervals.profile["0.95"]
    assert profile.coverage == pytest.approx(np.mean(t <= 3.841458820694124))


def test_quantiles_are_those_of_the_fits(done, summary):
    """To the width of a cell; those of the pulls too. The interval of the least is from order statistics."""
    _, _, files = done
    parts = [read_shard(path) for path in files["one"]]
    mu = np.concatenate([part.free.parameter("mu") for part in parts])
    error = np.concatenate([part.free.errors[:, part.free.names.index("mu")] for part in parts])
    item = summary.ensembles["one"]
    assert item.why_no_quantiles is None
    about, levels = item.parameters["mu"], item.quantile_levels
    assert levels == (0.025, 0.16, 0.5, 0.84, 0.975)
    for found, values in ((about.estimate_quantiles, mu), (about.pull_quantiles, (mu - 1) / error)):
        assert np.all(np.abs(found.value - np.quantile(values, levels)) <= np.maximum(found.binning, 1e-9))
        spread = np.sqrt(0.025 * 0.975 / 400)
        low, high = np.quantile(values, [0.025 - spread, 0.025 + spread])
        assert found.low[0] == pytest.approx(low, abs=found.binning[0])
        assert found.high[0] == pytest.approx(high, abs=found.binning[0])
    few = summary.ensembles["conditional"].parameters["mu"].estimate_quantiles
    assert (few.low[0], few.high[-1]) == (None, None)  # of 150 toys fewer than ten are expected beyond
    assert few.low[2] < few.value[2] < few.high[2]


@pytest.mark.parametrize(("keep", "audit", "toys"), [("all", 255, 255), ("summary", 3, 3), ("all", "auto", 5)])
def test_audit_agrees_with_iminuit(done, tmp_path, keep, audit, toys):
    """Over the end of a shard; of a study without columns; and as many as suit a small study."""
    study, _, files = done
    fit = study.fit.model_copy(update={"audit": audit})
    found = audit_ensemble(study.model_copy(update={"keep": keep, "fit": fit}), "one", files["one"])
    assert [item.toy for item in found.toys] == list(range(toys))
    assert (found.summary.toys, found.summary.missed, found.summary.minuit_invalid) == (toys, 0, 0)
    assert found.summary.ours_higher_by < 1e-6
    assert found.summary.poi_difference < 1e-3
    write_record(tmp_path / "one.json", found)
    assert read_audits([tmp_path / "one.json"])["one"].toys == found.toys


def test_a_missed_minimum_refuses_the_study(done, summary, tmp_path):
    """Fits whose nll is higher than it could be, as those of a search that ends in a higher minimum are."""
    study, _, files = done
    path = files["one"][0]
    nll = read_shard(path).free.nll
    bad = edited(path, tmp_path / path.name, nll=([2, 4], nll[[2, 4]] + [0.5, 0.2]))
    fit = study.fit.model_copy(update={"audit": 6})
    found = audit_ensemble(study.model_copy(update={"fit": fit}), "one", [bad, files["one"][1]])
    assert found.summary.missed == 2
    assert found.summary.ours_higher_by == pytest.approx(0.5, abs=1e-6)
    with pytest.raises(toymill.ToymillError, match=r"in 2 of 6 audited toys .* below ours .* in toy 2, by 0\.5;"):
        refuse_failures(study, summary, {"one": found})
    (line,) = refusals(study, summary, {"one": found})
    assert line.startswith("ensemble 'one': MISSED MINIMA: in 2 of 6 audited toys")


def test_conditional_truth_is_the_fit_to_the_observed_data(done):
    _, description, _ = done
    truth = description.ensembles["conditional"].truth
    # n_off = 100, n_on = 150, s = 50, b = 100: the conditional MLE of the background at μ = 0.5
    total, signal = 250, 25
    b = ((total - 2 * signal) + np.sqrt((total - 2 * signal) ** 2 + 8 * 100 * signal)) / 4
    assert truth["mu"] == 0.5
    assert truth["b"] == pytest.approx(b / 100, abs=1e-6)


def test_failed_toys_are_counted_and_shown(done, tmp_path):
    study, description, files = done
    bad = edited(
        files["one"][0], tmp_path / files["one"][0].name, status=([3, 5], Status.NOT_CONVERGED), nll=([3], np.nan)
    )
    summary = summarize(study, description, files | {"one": [bad, files["one"][1]]})
    item = summary.ensembles["one"]
    assert (item.toys, item.certified) == (400, 398)
    assert item.failed["not_converged"] == 2
    interval = item.intervals.profile["0.95"]
    assert interval.if_failed_cover - interval.if_failed_miss == pytest.approx(2 / 400)
    assert interval.if_failed_miss <= interval.coverage <= interval.if_failed_cover
    with pytest.raises(toymill.ToymillError) as refused:
        refuse_failures(study, summary, {})
    assert str(refused.value).splitlines()[1:] == [
        "  ensemble 'one': 2 of 400 toys are not certified (2 not_converged); fit.max_failed allows 0.001 of them"
    ]


def test_a_rescued_toy_whose_conditional_fit_failed_is_counted(done, summary, tmp_path):
    """Statuses are compared by severity: RESCUED has the largest number, and is a minimum."""
    study, description, files = done
    first, second = files["one"]
    rescued = edited(first, tmp_path / "rescued" / first.name, status=([3, 5, 7], Status.RESCUED))
    shard = read_shard(rescued)
    status = shard.tests[0].status.copy()
    status[[3, 5, 7]] = Status.NOT_CONVERGED, Status.AT_BOUND, Status.AT_KINK
    tests = [dataclasses.replace(shard.tests[0], status=status), *shard.tests[1:]]
    write_shard(tmp_path / first.name, shard._replace(tests=tests))
    item = summarize(study, description, files | {"one": [tmp_path / first.name, second]}).ensembles["one"]
    before = summary.ensembles["one"]
    assert item.failed == before.failed | {"not_converged": before.failed["not_converged"] + 1}
    assert item.certified + sum(item.failed.values()) == item.toys
    assert (item.at_bound, item.at_kink) == (before.at_bound + 1, before.at_kink + 1)


def test_nothing_certified_is_still_a_summary(done, tmp_path):
    study, description, files = done
    bad = [edited(path, tmp_path / path.name, status=(slice(None), Status.NOT_CONVERGED)) for path in files["one"]]
    summary = summarize(study, description, files | {"one": bad})
    assert summary.ensembles["one"].certified == 0
    assert summary.ensembles["one"].intervals.profile["0.95"].coverage is None
    draw(summary, {name: tmp_path / f"{name}.svg" for name in of_study.FIGURES})
    draw(summary, {name: tmp_path / f"one-{name}.svg" for name in of_ensemble.FIGURES}, ensemble="one")
    assert [table.key for table in tables(summary, {})][:2] == ["failures", "truth-points"]
    assert {line.toys for line in groups(summary)[0].lines[:3]} == {"undefined"}


def test_a_missing_shard_is_named(done):
    study, description, files = done
    with pytest.raises(toymill.ToymillError, match="ensemble 'one' lacks the shard of its toys from 250 on"):
        summarize(study, description, files | {"one": files["one"][:1]})


def test_toys_that_are_there_twice_are_named(done):
    """A partial last shard beside the whole one that took its place: the toys are 650 in all, of 400."""
    study, description, files = done
    more = [*files["one"], files["one"][0].with_name("000000000-000000149.h5")]
    with pytest.raises(toymill.ToymillError, match=r"ensemble .one. has toys twice"):
        summarize(study, description, files | {"one": more})


def test_a_shard_of_another_seed_is_named(done):
    study, description, files = done
    other = read_study(study.model_dump() | {"seed": 1})
    with pytest.raises(toymill.ToymillError, match=r"000000000-000000249.h5 is of another study: its digest"):
        summarize(other, description, files)


def test_figures_are_the_same_bytes_each_time(summary, tmp_path):
    for name in ("a", "b"):
        draw(summary, {"t_mu": tmp_path / f"t_{name}.svg", "pull": tmp_path / f"p_{name}.svg"}, ensemble="one")
    for figure in "tp":
        one, two = (tmp_path / f"{figure}_{name}.svg" for name in ("a", "b"))
        assert one.read_bytes() == two.read_bytes()
        assert b"<svg" in one.read_bytes()


def test_information_and_bound_beside_the_toys(done, summary):
    """The toys' covariance is NumPy's; the bound is the inverse of the information; the efficiency is their ratio."""
    _, _, files = done
    found = summary.ensembles["one"].information
    assert found.method == "counts"
    parts = [read_shard(path).free for path in files["one"]]
    values = np.concatenate([part.parameters for part in parts])
    columns = [parts[0].names.index(name) for name in found.parameters]
    covariance = np.cov(values[:, columns].T)
    np.testing.assert_allclose(found.covariance, covariance, rtol=1e-12)
    correlations = np.corrcoef(values[:, columns].T)[found.parameters.index("mu")]
    for name, rho in zip(found.parameters, correlations, strict=True):
        about = summary.ensembles["one"].parameters[name]
        assert about.poi_correlation == pytest.approx(rho, abs=1e-12)
        assert about.poi_correlation_error == pytest.approx((1 - rho**2) / np.sqrt(len(values) - 1), abs=1e-9)
    np.testing.assert_allclose(np.linalg.inv(found.expected), found.bound, rtol=1e-9)
    for i, name in enumerate(found.parameters):
        item = found.efficiency[name]
        assert item.efficiency == pytest.approx(found.bound[i][i] / covariance[i, i])
        assert abs(item.efficiency - 1) < 5 * item.efficiency_error + 0.1
    assert summary.observed.information[0][0] > 0


def test_matrices_are_in_hdf5_only(summary, tmp_path):
    write_summary(tmp_path / "summary.json", tmp_path / "summary.h5", summary)
    content = json.loads((tmp_path / "summary.json").read_text())
    assert set(content["ensembles"]["one"]["information"]) == {"method", "parameters", "efficiency"}
    assert "information" not in content["observed"]
    stated = summary.ensembles["one"].information
    with h5py.File(tmp_path / "summary.h5") as file:
        for name in ("expected", "expected_error", "bound", "covariance", "covariance_error"):
            held = file[f"ensembles/one/information/{name}"]
            np.testing.assert_array_equal(held, np.array(getattr(stated, name), dtype=float))
        np.testing.assert_array_equal(file["observed/information"], np.array(summary.observed.information))
        assert file["headline"].attrs["toys"] == 550


def test_the_parameter_of_interest_is_first_and_bounds_are_told(done, summary):
    assert done[1].names == ("b", "mu")
    item = summary.ensembles["one"]
    assert list(item.parameters) == ["mu", "b"]
    held = item.parameters["b"].model_copy(update={"at_bound": 40, "at_bound_share": 0.1})
    changed = item.model_copy(update={"parameters": item.parameters | {"b": held}})
    shown = summary.model_copy(update={"ensembles": {"one": changed}})
    assert [of_ensemble._label(shown, "one", name) for name in item.parameters] == [
        "mu (of interest)",
        "b, 10 % at a bound",
    ]
    for each in item.parameters.values():
        assert each.at_bound_share == pytest.approx(each.at_bound / item.certified, abs=1e-12)


def test_the_headline_tells_the_result(done, summary):
    head = summary.headline
    assert head.model == list(done[0].model.sources.values())
    assert (head.toys, head.certified, head.failed, head.answers) == (550, 550, 0, [])
    assert head.data == f"{len(done[1].data)} observed data, main and auxiliary"
    assert [(item.ensemble, item.poi) for item in head.verdicts] == [("one", 0.0), ("one", 1.0), ("conditional", 0.5)]
    assert [item.sentence for item in head.verdicts[:2]] == [t.verdict.sentence for t in summary.ensembles["one"].tests]


def test_held_auxiliary_data_have_no_efficiency(done):
    study, description, files = done
    ensemble = description.ensembles["one"].model_copy(update={"throw": "main-only"})
    held = description.model_copy(update={"ensembles": description.ensembles | {"one": ensemble}})
    found = summarize(study, held, files).ensembles["one"].information
    assert all(item.efficiency is None and item.bound > 0 for item in found.efficiency.values())
    assert study.ensembles["one"].throw == "frequentist"


def test_no_asymptotic_curve_beside_an_upper_bound(done):
    """The formula knows a lower bound only: with an upper one near the truth there is a reason in place of a verdict."""
    study, description, files = done
    upper = 1.0 + 2 * description.ensembles["one"].asimov.sigma
    parameters = [
        item.model_copy(update={"bounds": (item.bounds[0], upper)}) if item.name == "mu" else item
        for item in description.parameters
    ]
    near = description.model_copy(update={"parameters": parameters})
    test = summarize(study, near, files).ensembles["one"].tests[1]
    assert test.histogram.asymptotic is None
    assert "the upper bound of mu" in test.verdict.sentence
    assert test.verdict.agrees is None
