"""A shard in chunks: the same bytes, bounded memory, and the same summary whatever is kept."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import toymill
from toymill.config.study import Shard, read_study, shards
from toymill.report import of_ensemble, of_study
from toymill.report.draw import draw
from toymill.results.hdf5 import ShardKey
from toymill.results.store import read_part, read_shard, read_toys, reading_shard, write_part
from toymill.results.tally import Measures
from toymill.study import collect, layout
from toymill.study import shards as module
from toymill.study.describe import describe
from toymill.study.model import checked_model, truth_point
from toymill.study.shards import fit_shard, throw_shard
from toymill.study.summarize import summarize

KEEP = ("all", "poi", "summary")


def study(model, **changes):
    content = {
        "study": "small",
        "model": str(model),
        "ensembles": {
            "one": {"truth": {"mu": 1.0}, "toys": 900, "tests": [0.0]},
            "zero": {"truth": {"mu": 0.0}, "toys": 600, "tests": [1.0]},
        },
        "shard": 350,
    }
    return read_study(content | changes)


@pytest.fixture(scope="module")
def failing(root, tmp_path_factory):
    """A workspace in which n = 0 fails, with constrained minima switched off: the expectation becomes negative."""
    spec = json.loads((root / "tests/data/onoff.json").read_text())
    spec["channels"] = [channel for channel in spec["channels"] if channel["name"] == "on"]
    spec["channels"][0]["samples"] = [
        {"name": "background", "data": [2.5], "modifiers": []},
        {"name": "signal", "data": [2.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]},
    ]
    path = tmp_path_factory.mktemp("failing") / "ws.json"
    path.write_text(json.dumps(spec))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toymill.fitting.fit.minimise_at_zero", lambda *_: None)
        yield path


@pytest.fixture(scope="module", params=["onoff", "failing"])
def summaries(request, root, failing, tmp_path_factory):
    """The summary of the same toys for each ``keep``, and the files of each."""
    model = {"onoff": root / "tests/data/onoff.json", "failing": failing}[request.param]
    found = {}
    for keep in KEEP:
        one = study(model, keep=keep)
        folder = tmp_path_factory.mktemp(keep)
        files = {}
        for name in one.ensembles:
            for shard in shards(one, name):
                path = folder / name / f"{shard.name}.h5"
                fit_shard(one, name, shard, path)
                files.setdefault(name, []).append(path)
        found[keep] = (one, files, summarize(one, describe(one), files))
    return request.param, found


def close(one, two, key=""):
    """The same tree, numbers to rounding."""
    if isinstance(one, dict):
        assert one.keys() == two.keys(), key
        for name in one:
            close(one[name], two[name], f"{key}.{name}")
    elif isinstance(one, list):
        assert len(one) == len(two), key
        for a, b in zip(one, two, strict=True):
            close(a, b, key)
    elif isinstance(one, float) and isinstance(two, float):
        assert one == pytest.approx(two, rel=1e-9, abs=1e-9), key
    else:
        assert one == two, key


def test_summaries_agree_whatever_is_kept(summaries):
    """Counts and moments to rounding; what is read from the distribution of t to its cells."""
    name, found = summaries
    trees = {keep: json.loads(summary.model_dump_json()) for keep, (_, _, summary) in found.items()}
    for ensemble in ("one", "zero"):
        items = {keep: tree["ensembles"][ensemble] for keep, tree in trees.items()}
        assert (items["all"]["certified"] < items["all"]["toys"]) is (name == "failing")
        for item in items.values():
            assert item["certified"] + sum(item["failed"].values()) == item["toys"]
            assert item.pop("keep")
            assert item.pop("digest")
        tests = {keep: item.pop("tests") for keep, item in items.items()}
        for keep in ("poi", "summary"):
            close(items["all"], items[keep])
        close(tests["all"], tests["poi"])
        for exact, cells in zip(tests["all"], tests["summary"], strict=True):
            for key in ("mean", "mean_error", "smallest", "at_zero"):
                assert exact[key] == pytest.approx(cells[key], rel=1e-9, abs=1e-9)
            for level, quantile in exact["quantiles"].items():
                other = cells["quantiles"][level]
                assert quantile["binning"] == 0
                assert abs(quantile["value"] - other["value"]) <= other["binning"] < 1e-2
                if name == "onoff":
                    assert other["binning"] < 0.02 * quantile["error"]
            between = np.subtract(exact["histogram"]["counts"], cells["histogram"]["counts"])
            assert np.abs(between).sum() <= 4


def test_figures_are_drawn_whatever_is_kept(summaries, tmp_path):
    for keep, (_, _, summary) in summaries[1].items():
        draw(summary, {kind: tmp_path / f"{keep}-{kind}.svg" for kind in of_study.FIGURES})
        for name in summary.ensembles:
            outputs = {kind: tmp_path / f"{keep}-{name}-{kind}.svg" for kind in of_ensemble.FIGURES}
            draw(summary, outputs, ensemble=name)
    assert len(list(tmp_path.glob("*.svg"))) == 3 * (len(of_study.FIGURES) + 2 * len(of_ensemble.FIGURES))


def test_discovery_is_counted(summaries):
    _, found = summaries
    _, files, summary = found["all"]
    assert summary.ensembles["one"].discovery is None
    parts = [read_shard(path) for path in files["zero"]]
    ok = np.concatenate([part.free.ok & part.tests[0].ok & part.tests[1].ok for part in parts])
    q = np.concatenate([toymill.q_0(part.free, part.tests[0]) for part in parts])[ok]
    items = summary.ensembles["zero"].discovery
    assert [item.beyond for item in items] == [np.sum(q >= z**2) for z in (1, 2, 3, 4, 5)]
    for item in items:
        assert item.p_value_low <= item.p_value <= item.p_value_high
        assert item.if_failed_beyond - item.if_failed_below == pytest.approx(np.mean(~ok))
    assert items[4].asymptotic == pytest.approx(2.8665e-7, rel=1e-4)
    assert abs(items[0].p_value - items[0].asymptotic) < 0.08


def test_what_each_keeps(summaries):
    """`poi` has the columns of `all`, for one parameter; `summary` has none, and says so when it is asked."""
    _, found = summaries
    paths = {keep: files["one"][1] for keep, (_, files, _) in found.items()}
    every, poi = read_shard(paths["all"]), read_shard(paths["poi"])
    i = every.free.names.index("mu")
    for one, two in zip([every.free, *every.tests], [poi.free, *poi.tests], strict=True):
        assert two.names == ("mu",)
        np.testing.assert_array_equal(one.parameters[:, i], two.parameters[:, 0])
        np.testing.assert_array_equal(one.errors[:, i], two.errors[:, 0])
        for name in ("nll", "status", "edm", "iterations"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    with pytest.raises(toymill.ToymillError, match=r"holds a summary of its fits, not the fits: .* 'keep: summary'"):
        read_shard(paths["summary"])
    with h5py.File(paths["summary"]) as file:
        assert "free" not in file
        assert list(file["tally"].attrs["parameters"]) == list(every.free.names)


def test_a_failed_toy_can_be_thrown_again(failing, tmp_path):
    one = study(failing, keep="summary")
    shard = list(shards(one, "zero"))[1]
    fit_shard(one, "zero", shard, tmp_path / "s.h5")
    with reading_shard(tmp_path / "s.h5") as reader:
        tally = reader.tally()
    assert len(tally.kept) > 1
    model = toymill.read_workspace(failing)
    data = toymill.throw(model, [0.0], 1, seed=one.seed, first=int(tally.kept[0]), stream="zero")
    assert data.tolist() == [[0.0]]


@pytest.mark.parametrize("keep", KEEP)
def test_the_same_bytes_in_any_chunks(root, tmp_path, monkeypatch, keep):
    """And in every run. A shard may begin anywhere; the first chunk ends at a multiple of its size."""
    one = study(root / "tests/data/onoff.json", keep=keep, ensembles={"one": {"truth": {"mu": 1.0}, "toys": 2000}})
    shard = Shard("s", 100, 1100)
    content = []
    for chunk in (16384, 512, 256, 256):
        monkeypatch.setattr(module, "CHUNK", chunk)
        fit_shard(one, "one", shard, tmp_path / "s.h5")
        content.append((tmp_path / "s.h5").read_bytes())
    assert content[0] == content[1] == content[2] == content[3]


def test_toys_are_written_in_chunks(root, tmp_path, monkeypatch):
    one = study(root / "tests/data/onoff.json")
    shard = Shard("s", 100, 800)
    content = []
    for chunk in (16384, 256):
        monkeypatch.setattr(module, "CHUNK", chunk)
        throw_shard(one, "one", shard, tmp_path / "t.h5")
        content.append((tmp_path / "t.h5").read_bytes())
    assert content[0] == content[1]
    model = checked_model(one)
    key = module.toys_key(one, model, "one", shard)
    assert isinstance(key, ShardKey)
    expected = toymill.throw(model, truth_point(one, model, "one"), 800, first=100, stream="one")
    np.testing.assert_array_equal(read_toys(tmp_path / "t.h5", key), expected)


def test_histograms_in_place_of_too_many_values(summaries, monkeypatch):
    """An ensemble too large to hold every t has quantiles from the tally, as `summary` has."""
    _, found = summaries
    monkeypatch.setattr(layout, "MOST_VALUES", 100)
    one, files, _ = found["all"]
    cells = summarize(one, describe(one), files).ensembles["one"].tests
    assert cells[0].quantiles["0.95"].binning > 0
    for one, two in zip(cells, found["summary"][2].ensembles["one"].tests, strict=True):
        close(one.model_dump(), two.model_dump())


@pytest.mark.parametrize("keep", ["all", "summary"])
def test_parts_counted_by_jobs_of_their_own(summaries, tmp_path, monkeypatch, keep):
    """The same bits as those of one job, and of other shards."""
    _, found = summaries
    monkeypatch.setattr(layout, "PART", 256)
    one, files, _ = found[keep]
    description, tallies = describe(one), {}
    expected = summarize(one, description, files)
    for name in one.ensembles:
        for number, part in enumerate(layout.parts(one, name)):
            path = tmp_path / name / f"{number}.h5"
            counted = collect.count_part(
                one, description, name, number, layout.files_of_part(files[name], part), Measures()
            )
            write_part(path, collect.part_key(one, description, name, number), counted)
            tallies.setdefault(name, []).append(path)
    assert [len(item) for item in tallies.values()] == ([4, 3] if keep == "all" else [1, 1])
    assert summarize(one, description, {}, tallies) == expected
    with pytest.raises(toymill.ToymillError, match=r"0\.h5 is of another study: its first is 0; expected 256"):
        read_part(tallies["one"][0], collect.part_key(one, description, "one", 0)._replace(first=256))


MEASURE = """
import sys
from toymill.job import prepare
prepare()
import numpy as np
from toymill.study import shards as module
from toymill.config.study import Shard, read_study
from toymill.fitting.results import Fits

def fit_tests(model, data, tests, **_):
    shape = len(data), len(model.parameters)
    def fits(held):
        number = np.zeros(len(data))
        return Fits(model.parameters.names, model.poi, held, np.ones(shape), np.ones(shape), number,
                    np.ones(len(data), dtype=np.int8), number, number.astype(np.int32))
    return fits({}), [fits(held) for held in tests]

module.fit_tests = fit_tests
keep, toys, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
study = read_study({"study": "s", "model": "config/workspaces/hww.json", "keep": keep,
                    "ensembles": {"e": {"truth": {"mu": 1.0}, "toys": toys}}})
module.fit_shard(study, "e", Shard("s", 0, toys), path)
lines = open("/proc/self/status").read().splitlines()
print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("keep", ["all", "summary"])
def test_memory_does_not_grow_with_the_toys(root, tmp_path, keep):
    """A shard of 150,000 toys of 48 data and 29 parameters, whose columns take 200 MB, with fits that cost nothing."""
    peaks = []
    for toys in (20000, 150000):
        command = [sys.executable, "-c", MEASURE, keep, str(toys), str(tmp_path / "s.h5")]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 80000  # kB; on many cores threads have memory of their own
