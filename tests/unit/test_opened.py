"""toymill.open_results: frames, arrays and records of what a study stored; what is not there is told."""

import json
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

import toymill
from toymill.results import opened_ensemble
from toymill.results.store import read_shard


@pytest.fixture(params=["poi", "summary"])
def kept(request, small_studies):
    """A study of each way to keep less than all: (what it keeps, its folder)."""
    return request.param, small_studies(request.param)


@pytest.fixture
def folder(small_studies):
    return small_studies("all")


@pytest.fixture
def results(folder):
    return toymill.open_results(folder)


def test_every_fit_is_in_the_frames(folder, results):
    """Of all toys, in the order of their index, or of those that are asked for, in the order that is asked."""
    parts = [read_shard(path) for path in sorted((folder / "fits/one").glob("*.h5"))]
    one = results["one"]
    names = list(parts[0].free.names)
    for frame, field in ((one.estimates(), "parameters"), (one.errors(), "errors")):
        assert list(frame.columns) == names
        assert frame.index.tolist() == list(range(400))
        np.testing.assert_array_equal(frame, np.concatenate([getattr(part.free, field) for part in parts]))
    np.testing.assert_array_equal(one.nll()[1.0], np.concatenate([part.tests[1].nll for part in parts]))
    some = one.estimates("mu", toys=[399, 3, 257, 3])
    assert some.index.tolist() == [399, 3, 257, 3]
    np.testing.assert_array_equal(some["mu"], one.estimates()["mu"][[399, 3, 257, 3]])
    status = one.status(range(250, 260))
    assert status["certified"].all()
    assert set(status["free"]) == {"certified"}
    assert len(one.estimates(toys=[])) == 0


def test_frames_agree_with_the_summary(results):
    one, item = results["one"], results.summary.ensembles["one"]
    t = one.t()
    assert t.mean().tolist() == pytest.approx([test.mean for test in item.tests])
    assert one.estimates("mu")["mu"].mean() == pytest.approx(item.parameters["mu"].mean)
    free, tests = one.fits(range(100, 300))
    np.testing.assert_allclose(np.maximum(toymill.t_mu(free, tests[0]), 0), t[0.0].iloc[100:300])
    assert results.parameters.loc[("one", "mu"), "bias"] == item.parameters["mu"].bias
    assert results.tests.loc[("one", 1.0), "quantiles.0.95.value"] == item.tests[1].quantiles["0.95"].value
    assert one.intervals.loc[("profile", "0.95"), "coverage"] == item.intervals.profile["0.95"].coverage
    assert one.parameters.index[0] == "mu"
    assert results.config["shard"] == 256
    assert results.description.poi == "mu"
    assert (results.answers, results.design, results.audits) == (None, None, {})


def test_chunks_are_shards_or_less(results, monkeypatch):
    one = results["one"]
    assert list(one.chunks()) == [range(256), range(256, 400)]
    whole = one.estimates()
    monkeypatch.setattr(opened_ensemble, "SHARD_ROWS", 16 * 2 * 3 * 100)
    assert list(one.chunks())[:2] == [range(100), range(100, 200)]
    np.testing.assert_array_equal(one.estimates(), whole)


def test_matrices_have_names(results):
    covariance = results["one"].matrices["covariance"]
    rms = results["one"].summary.parameters["mu"].rms
    assert covariance.loc["mu", "mu"] == pytest.approx(rms**2)


def test_what_is_kept_is_told(kept):
    """The summary is the same; what there is of fits is given, and what there is not is named."""
    keep, folder = kept
    one = toymill.open_results(folder)["one"]
    assert one.summary.certified == 400
    if keep == "summary":
        with pytest.raises(toymill.ToymillError, match=r"no fits of every toy.*'keep: summary'.*kept\(\)"):
            one.estimates()
        with pytest.raises(toymill.ToymillError, match="no fits of every toy"):
            one.fits()
    else:
        assert one.estimates("mu").shape == (400, 1)
        assert one.t().shape == (400, 2)
        assert list(one.estimates()) == ["mu"]
        with pytest.raises(toymill.ToymillError, match="'keep: poi': of every toy, 'mu' alone is kept"):
            one.estimates(next(name for name in one.names if name != "mu"))
    assert one.tally().toys == 400
    assert set(one.kept()) == {"t", *one.names}


MISTAKES = [
    (lambda results: results["onne"], r"has no ensemble 'onne'\. Did you mean 'one'\?"),
    (lambda results: results["one"].estimates("mo"), r"no parameter 'mo'\. Did you mean 'mu'\?"),
    (lambda results: results["one"].t(toys=[0, 400]), r"no toy 400: its 400 toys are 0 to 399"),
    (lambda results: results["one"].t(toys="x"), "toys is 'x'; expected a range or a list"),
    (lambda results: results["one"].t(toys=0.5), r"toys is 0\.5; expected"),
    (lambda results: results["one"].tally(), "keeps every fit, and no tally"),
    (lambda results: results["one"].data(), "does not say 'keep_toys: true'"),
    (lambda results: results.optimisers, "compares no optimisers"),
    (lambda results: results.optimiser("one", "bfgs"), "has no ensemble 'one'"),
    (lambda results: results.scan("m1"), "has no signal 'm1'"),
    (lambda results: results.provenance, "last job has not succeeded"),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES)
def test_mistakes_are_one_message(results, mistake, message):
    with pytest.raises(toymill.ToymillError, match=message) as told:
        mistake(results)
    assert "\n" not in str(told.value)


def test_a_frame_that_is_too_large_is_refused(results, monkeypatch):
    monkeypatch.setattr(opened_ensemble, "OPENED_FRAME", 1000)
    with pytest.raises(toymill.ToymillError, match=r"400 toys of 2 numbers are 0\.0 GB.*chunks\(\)"):
        results["one"].t()
    assert len(results["one"].t(range(10))) == 10


def test_a_wrong_path(folder, tmp_path):
    def told(path):
        with pytest.raises(toymill.ToymillError) as error:
            toymill.open_results(path)
        return str(error.value)

    assert told(folder.parent / "smalls").endswith("as results/<study>. Did you mean 'small'?")
    assert told(folder.parent).endswith("Studies in it: small.")
    assert told(folder / "summary.json").endswith(
        f"is a file; expected the folder of a study, as results/<study>. Open {folder}."
    )
    assert told(tmp_path).endswith("expected a folder as results/<study>.")
    (tmp_path / "fits").mkdir()
    assert "is not finished: it has no summary.json" in told(tmp_path)


@pytest.fixture
def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "small")


def test_files_that_others_have_replaced_are_passed_over(copied):
    """While a run goes on, those of fewer toys lie beside those of more."""
    right = toymill.open_results(copied)["one"].t()
    (copied / "fits/one/000000000-000000099.h5").write_bytes(b"replaced")
    (copied / "fits/one/000000256-000000299.h5").write_bytes(b"replaced")
    assert toymill.open_results(copied)["one"].t().equals(right)


def test_damage_is_named(copied):
    shard = copied / "fits/one/000000256-000000399.h5"
    results = toymill.open_results(copied)
    with shard.open("r+b") as file:
        file.seek(5000)
        file.write(b"xx")
    assert len(results["one"].t(range(256))) == 256
    with pytest.raises(toymill.ToymillError, match=r"000000256-000000399\.h5 is damaged.*--forcerun"):
        results["one"].t()
    shard.unlink()
    with pytest.raises(toymill.ToymillError, match="what follows toy 255 is missing"):
        results["one"].t()
    (copied / "config.yaml").write_text("{", encoding="utf-8")
    with pytest.raises(toymill.ToymillError, match=r"config\.yaml cannot be read as YAML"):
        toymill.open_results(copied)["one"]
    summary = json.loads((copied / "summary.json").read_text())
    summary["study"] = "other"
    (copied / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(toymill.ToymillError, match=r"summary\.json is not what was written"):
        toymill.open_results(copied)


def test_fits_of_another_study_are_refused(copied):
    other = copied / "fits/one/000000000-000000255.h5"
    shutil.copy(copied / "fits/zero/000000000-000000149.h5", other)
    with pytest.raises(toymill.ToymillError, match="is of another study: its ensemble is zero; expected one"):
        toymill.open_results(copied)["one"].t(0)


def test_raw_toys(root, copied):
    """As toymill.throw makes them."""
    from toymill.results.hdf5 import ShardKey
    from toymill.results.store import writing_toys

    model = toymill.read_workspace(root / "tests/data/onoff.json")
    toys = toymill.throw(model, model.parameters.values({"mu": 1.0}), 400, seed=0, stream="one")
    results = toymill.open_results(copied)
    one = results["one"]
    with writing_toys(copied / "toys/one/000000000-000000399.h5", ShardKey(*one.key), model.data_names) as file:
        file.add(toys)
    frame = one.data([7, 2])
    assert list(frame) == list(model.data_names)
    np.testing.assert_array_equal(frame, toys[[7, 2]])


def test_a_scan(copied):
    """The toys of a signal in the order of their index, from all its files; the observed data once."""
    from toymill.results.hdf5 import ShardKey
    from toymill.results.scan_store import GROUPS, PointShard, Tested, write_point

    def tested(first, count):
        t = np.arange(first, first + count, dtype=float)
        return Tested(t, t + 0.5, t + 0.25, np.full((count, 3), 1, dtype=np.int8))

    for first, count in ((0, 3), (3, 2)):
        groups = dict(zip(GROUPS, (tested(first, count), tested(first, 1), tested(7, 1), tested(8, 1)), strict=True))
        path = copied / f"scan/m1/{first:09}-{first + count - 1:09}.h5"
        write_point(path, ShardKey("m1", "", "", 0, first, count), PointShard("mu", 1.0, groups, np.zeros(1)))
    found = toymill.open_results(copied).scan("m1")
    assert found["background"]["mu"].tolist() == [0, 1, 2, 3, 4]
    assert found["background"].index.tolist() == [0, 1, 2, 3, 4]
    assert found["signal"].index.tolist() == [0, 3]
    assert found["observed"]["q_0"].tolist() == [7.5]
    assert not found["background"]["failed"].any()


def test_a_study_of_optimisers(tmp_path):
    from toymill.results.comparison import Outcome, write_comparison
    from toymill.results.hdf5 import ShardKey
    from toymill.results.headline import ComparisonHeadline
    from toymill.results.summary import ComparisonSummary, EnsembleComparison, MethodSummary, write_summary

    none = {"median": None, "q90": None, "largest": None}
    numbers = dict.fromkeys(
        ("iterations", "values", "gradients", "hessians", "nll_above_best", "sigmas_from_best"), none
    )
    counts = {
        "toys": 2,
        "success": 2,
        "reached": 1,
        "false_success": 1,
        "first_call_seconds": 1.0,
        "seconds_a_toy": 0.1,
    }
    methods = {"newton": MethodSummary(**counts, **numbers)}
    compared = EnsembleComparison(truth={"mu": 1.0}, near=1e-3, methods=methods)
    head = {"toymill": "0", "study": "x", "model_digest": "", "poi": "mu"}
    headline = ComparisonHeadline(model=["normal"], toys=2, optimisers=["newton"], answers=[])
    summary = ComparisonSummary(**head, headline=headline, ensembles={"one": compared})
    write_summary(tmp_path / "summary.json", tmp_path / "summary.h5", summary)
    zeros = np.zeros(2)
    outcome = Outcome(np.ones((2, 1)), zeros > 0, zeros, zeros, zeros, zeros, 0.1, 1.0)
    key = ShardKey("one", "", "", 0, 0, 2)
    write_comparison(tmp_path / "optimisers/one.h5", key, {"newton": outcome}, ["mu"])
    results = toymill.open_results(tmp_path)
    assert "optimisers compared on one" in repr(results)
    assert results.optimisers.loc[("one", "newton"), "reached"] == 1
    np.testing.assert_array_equal(results.optimiser("one", "newton")["parameters"], np.ones((2, 1)))
    with pytest.raises(toymill.ToymillError, match="has no optimiser 'bfgs'"):
        results.optimiser("one", "bfgs")
    with pytest.raises(toymill.ToymillError, match="it is a study of kind optimisers"):
        results["one"]


def test_reprs_inform(results):
    assert repr(results).startswith("<Results of 'small' in ")
    assert "550 toys, 550 certified; ensembles one, zero>" in repr(results)
    assert repr(results["one"]) == ("<Ensemble 'one': 400 toys, 400 certified, at mu = 1, tested at 0, 1; keep: all>")
    free, tests = results["one"].fits(range(3))
    assert repr(free).startswith("<Fits of 3 toys, 3 certified: 2 parameters; of interest mu, median ")
    assert repr(tests[0]).endswith("held: mu = 0>")


def test_frames_are_imported_when_they_are_made():
    code = "import sys, toymill; toymill.open_results; sys.exit('pandas' in sys.modules or 'jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_file_of_the_study_is_plain_hdf5(folder):
    """What frames give can be read without toymill too, as docs/file-format.md says."""
    with h5py.File(folder / "fits/one/000000000-000000255.h5") as file:
        assert file["free/parameters"].shape == (256, 2)
