"""Profile intervals in a study: their coverage is that of t at the truth, every toy is counted, ends are those of the engine."""

import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from builders import bare, binned, normsys, workspace

import toymill
from toymill.config.dependencies import intervals_digest
from toymill.config.study import read_study, shards
from toymill.fitting.batching import block_size
from toymill.inference.interval_ends import Ends, profile_intervals, thresholds
from toymill.report.captions import _parameters
from toymill.report.of_ensemble import _label
from toymill.results.files import write_record, write_yaml
from toymill.results.interval_store import read_ends
from toymill.results.summary import write_summary
from toymill.study.describe import describe
from toymill.study.explored import explored
from toymill.study.model import checked_model
from toymill.study.pilot import plan_study, seconds_a_toy
from toymill.study.profile_intervals import find_intervals, interval_chunks
from toymill.study.shards import fit_shard, toys_key
from toymill.study.summarize import summarize

LEVELS = [0.683, 0.95]


def stated(root, **changes):
    """Toys near the bound of mu at 0, with the intervals of mu and of the background's factor."""
    model = {"path": str(root / "tests/data/onoff.json"), "parameters": {"mu": {"bounds": [0.0, 20.0]}}}
    one = {"truth": {"mu": 0.3}, "toys": 300, "profile_intervals": ["mu", "b"]}
    return read_study({"study": "s", "model": model, "ensembles": {"one": one}, "shard": 300} | changes)


def summarized(study, folder, ensemble="one"):
    """(the summary of an ensemble, the files of its intervals), run without Snakemake."""
    fits, ends = [], []
    for shard in shards(study, ensemble):
        fits.append(folder / "fits" / ensemble / f"{shard.name}.h5")
        ends.append(folder / "profile_intervals" / ensemble / f"{shard.name}.h5")
        fit_shard(study, ensemble, shard, fits[-1])
        find_intervals(study, ensemble, shard, ends[-1])
    found = summarize(study, describe(study), {ensemble: fits}, intervals={ensemble: ends})
    return found.ensembles[ensemble], ends


@pytest.fixture(scope="module")
def done(root, tmp_path_factory):
    """(study, summary of the ensemble, files of its intervals, in one shard)."""
    study = stated(root)
    return study, *summarized(study, tmp_path_factory.mktemp("intervals"))


def test_the_ends_cover_as_often_as_t_at_the_truth(done):
    """For the parameter of interest the same number is counted from the study's own fits."""
    _, summary, _ = done
    for key, by_t in summary.intervals.profile.items():
        found = summary.profile_intervals["mu"].levels[key]
        assert (found.coverage, found.compared, found.differing) == (by_t, 300, 0)
        other = summary.profile_intervals["b"].levels[key]
        assert (other.compared, other.differing) == (300, 0)
        assert abs(other.coverage.coverage - float(key)) < 0.1  # within 3.7 sigma


def test_every_end_is_counted_and_is_that_of_the_engine(done):
    study, summary, _ = done
    model = toymill.read_workspace(study.model.path, parameters={"mu": {"bounds": [0.0, 20.0]}})
    toys = toymill.throw(model, model.parameters.values({"mu": 0.3}), 300, stream="one")
    expected = toymill.profile_interval(model, toys, "mu", levels=thresholds(LEVELS))
    for k, key in enumerate(("0.683", "0.95")):
        found = summary.profile_intervals["mu"].levels[key]
        for end, values, status in (
            (found.low, expected.low[:, k], expected.low_status[:, k]),
            (found.high, expected.high[:, k], expected.high_status[:, k]),
        ):
            assert (end.found, end.at_bound, end.not_found) == tuple(np.sum(status == code) for code in (1, 2, 3))
            assert end.found + end.at_bound + end.not_found == summary.toys
            assert end.mean == pytest.approx(np.mean(values))
            assert end.mean_error == pytest.approx(np.std(values, ddof=1) / np.sqrt(300))
            assert end.median == pytest.approx(np.median(values))
        assert found.length.mean == pytest.approx(np.mean(expected.high[:, k] - expected.low[:, k]))
        assert found.length.median_low < found.length.median < found.length.median_high
    assert summary.profile_intervals["mu"].levels["0.95"].low.at_bound > 50


def test_the_same_of_other_shards_and_whatever_is_kept(done, root, tmp_path):
    _, summary, _ = done
    other, parts = summarized(stated(root, shard=130, keep="summary"), tmp_path)
    assert len(parts) == 3
    assert other.profile_intervals == summary.profile_intervals


def test_files_of_another_study_or_shard_are_refused(done):
    study, _, files = done
    description = describe(study)
    fits = {"one": [path.parents[2] / "fits" / "one" / path.name for path in files]}
    with pytest.raises(toymill.ToymillError, match=r"'one' lacks the shard of its toys from 0 on"):
        summarize(study, description, fits)
    other = study.model_copy(update={"levels": [0.9]})
    with pytest.raises(toymill.ToymillError, match=r"h5 is of another study: its digest is"):
        summarize(other, describe(other), fits, intervals={"one": files})


def test_toys_without_an_interval_are_counted():
    """Of five toys one free fit failed, one end was not found; one disagrees with its t, one lies at the level itself."""
    ends = Ends(
        low=np.array([[0.0], [0.0], [np.nan], [1.5], [0.0]]),
        high=np.array([[2.0], [2.0], [np.nan], [np.nan], [1.0]]),
        low_status=np.array([[1], [2], [3], [1], [1]]),
        high_status=np.array([[1], [1], [3], [3], [1]]),
        status=np.array([1, 2, 4, 1, 1]),
        t=np.array([5.0, 0.1, np.nan, 9.0, thresholds([0.95])[0] + 1e-7]),
    )
    about = profile_intervals(ends, [0.95], 1.0)
    found = about.levels["0.95"]
    assert (about.certified, found.compared, found.differing) == (4, 3, 1)
    assert (found.coverage.coverage, found.coverage.without_interval) == (0.75, 1)
    assert (found.coverage.if_failed_miss, found.coverage.if_failed_cover) == (0.6, 0.8)
    assert (found.low.found, found.low.at_bound, found.low.not_found, found.high.not_found) == (3, 1, 1, 2)
    assert (found.length.toys, found.length.mean) == (3, pytest.approx(5 / 3))
    alone = profile_intervals(ends._replace(t=np.full(5, np.nan)), [0.95], None).levels["0.95"]
    assert (alone.coverage, alone.compared, alone.length) == (None, 0, found.length)


def test_only_the_fitted_model_has_the_parameter(root, tmp_path):
    """Toys of another model: a parameter without a truth has lengths, and no coverage."""
    one = {"truth": {"mu": 1.0}, "toys": 20, "profile_intervals": ["bias"]}
    fitted = tmp_path / "fitted.json"
    text = (root / "tests/data/onoff.json").read_text()
    fitted.write_text(text.replace('"name": "b"', '"name": "bias"'))
    one["thrown_from"] = str(root / "tests/data/onoff.json")
    study = read_study({"study": "s", "model": str(fitted), "ensembles": {"one": one}, "shard": 20})
    summary, files = summarized(study, tmp_path)
    about = summary.profile_intervals["bias"]
    assert (about.truth, about.levels["0.95"].coverage, about.levels["0.95"].length.toys) == (None, None, 20)
    assert np.isnan(read_ends(files[0], key_of(study))["bias"].t).all()


@pytest.mark.parametrize(("throw", "name"), [("hybrid", "a"), ("templates", "stat[0]")])
def test_a_drawn_parameter_has_no_truth(root, tmp_path, throw, name):
    """Each toy has a value of its own: no bias, no pull, no coverage, in whatever is shown. Mean and spread remain."""
    one = {"truth": {"mu": 1.0}, "toys": 20, "profile_intervals": ["mu", name], "throw": throw}
    path = tmp_path / "ws.json"
    background = ([100.0], [normsys("a"), binned("staterror", "stat", [9.0]), bare("normfactor", "k")])
    spec = workspace({"SR": {"s": ([40.0], []), "b": background}, "CR": {"c": ([900.0], [bare("normfactor", "k")])}})
    path.write_text(json.dumps(spec))
    study = stated(root, model=str(path), ensembles={"one": one}, shard=20, keep="summary")
    found, files = summarized(study, tmp_path)
    assert found.drawn == (("a", "stat[0]") if throw == "hybrid" else ("stat[0]",))
    assert np.isnan(read_ends(files[0], key_of(study))[name].t).all()
    drawn, level = found.profile_intervals[name], "0.95"
    assert (drawn.truth, drawn.levels[level].coverage) == (None, None)
    assert drawn.levels[level].length.toys == 20
    assert found.profile_intervals["mu"].levels[level].coverage is not None
    assert set(found.truth) == {"mu", "a", "k", "stat[0]"} - set(found.drawn)
    for key, about in found.parameters.items():
        told = about.truth, about.bias, about.bias_error, about.bias_in_rms, about.pull_mean, about.pull_width
        assert (None in told) == (key in found.drawn) == all(item is None for item in told)
        assert (about.pulls, about.pull_quantiles) == (0, None) if key in found.drawn else about.pulls == 20
        assert None not in (about.mean, about.rms, about.estimate_quantiles)
    description = describe(study)
    fits = {"one": [tmp_path / "fits" / "one" / path.name for path in files]}
    write_yaml(tmp_path / "config.yaml", study.model_dump(mode="json"))
    write_record(tmp_path / "model.json", description)
    whole = summarize(study, description, fits, intervals={"one": files})
    write_summary(tmp_path / "summary.json", tmp_path / "summary.h5", whole)
    page = explored(toymill.open_results(tmp_path))
    for key, pulls in zip(page.parameters, page.ensembles[0].pulls, strict=True):
        assert pulls.sum() == (0 if key in found.drawn else 20)
    labels = [_label(SimpleNamespace(ensembles={"one": found}, poi="mu"), "one", key) for key in found.parameters]
    assert sum("(drawn for each toy)" in label for label in labels) == len(found.drawn)
    assert f"Drawn anew for each toy, so without a truth: {len(found.drawn)} parameter" in _parameters(found)[-1]


def key_of(study):
    """The key of the only file of intervals."""
    model = checked_model(study)
    (shard,) = shards(study, "one")
    return toys_key(study, model, "one", shard)._replace(digest=intervals_digest(study, "one", model.digest))


def test_a_pilot_plans_for_the_slower_of_both_jobs(root, monkeypatch):
    plain = {"truth": {"mu": 0.3}, "toys": 10**6}
    study = stated(root, shard="auto", ensembles={"one": plain | {"profile_intervals": ["mu"]}, "plain": plain})

    def measured(_study, _model, _ensemble, chunks):
        return (2e-3 if chunks is interval_chunks else 1e-3), 0.5

    monkeypatch.setattr("toymill.study.pilot.seconds_a_toy", measured)
    plan = plan_study(study, start_seconds=1.0)
    assert [item.seconds_a_toy for item in plan.ensembles.values()] == [1e-3, 1e-3]
    assert [item.interval_seconds_a_toy for item in plan.ensembles.values()] == [2e-3, 0.0]
    assert plan.ensembles["one"].shard < plan.ensembles["plain"].shard
    assert plan.compile_seconds == 1.5


def test_a_pilot_fits_toys_again_only_where_programs_were_made(root):
    study = stated(root, ensembles={"one": {"truth": {"mu": 0.3}, "toys": 5000}})
    model, asked = checked_model(study), []

    def chunks(_study, _model, _ensemble, shard):
        if not asked:
            jax.jit(lambda x: x + 1)(1.0)
        asked.append(shard.toys)
        yield

    seconds_a_toy(study, model, "one", chunks)
    size = block_size(model)
    assert asked == [size, size, 8 * size, 5000]
