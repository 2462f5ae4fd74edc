"""The command ``toymill`` on a results directory: how far a study is, its answers, one toy again."""

import os
import shutil
import time
from contextlib import chdir

import h5py
import numpy as np
import pytest
import yaml
from asked import finish, stated
from commands import failed
from patch_sets import write_scan
from rich.text import Text
from summaries import compared_study

from toymill.cli.show import _p_value, before_toys
from toymill.cli.watch import lines
from toymill.config.designed import planned
from toymill.config.study import Shard, read_study
from toymill.fitting.end_status import EndStatus
from toymill.inference.interval_ends import Ends
from toymill.inference.interval_verdicts import AsymptoticInterval
from toymill.inference.p_values import counted
from toymill.results import scan_store
from toymill.results.design import DesignedInterval, read_design
from toymill.results.files import write_record, write_yaml
from toymill.results.hdf5 import ShardKey
from toymill.results.interval_store import write_ends
from toymill.results.summary import read_summary, write_summary
from toymill.study import remarks as module
from toymill.study import shards
from toymill.study.before_toys import known_in_a_line
from toymill.study.compare import compare_optimisers
from toymill.study.ending import ending, interruption, up_to_date
from toymill.study.layout import latest_design
from toymill.study.optimisers import METHODS
from toymill.study.ownership import Directory, Run, release, take
from toymill.study.profile_intervals import find_intervals
from toymill.study.progress import Piece, Watcher, without_overlap
from toymill.study.remarks import remarks, remarks_on
from toymill.study.telling import telling, told_in


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    """The results directory of a small study, as the workflow leaves it but for figures and audits."""
    folder = tmp_path_factory.mktemp("results") / "results/asked"
    before = stated(
        root,
        ensembles={"one": {"truth": {"mu": 1.0}, "toys": 60, "tests": [0.0]}},
        limit={"points": 4, "toys": 100, "background_toys": 100},
        shard=100,
    )
    _, design, summary = finish(before, folder)
    write_yaml(folder / "config.yaml", before.model_dump(mode="json"))
    write_record(folder / "design.json", design)
    write_summary(folder / "summary.json", folder / "summary.h5", summary)
    return folder, before


@pytest.fixture
def results(finished, tmp_path):
    """A copy of it, to change."""
    folder = tmp_path / "results/asked"
    shutil.copytree(finished[0], folder)
    return folder


def test_show_has_the_numbers_of_the_summary(toy_mill, results):
    code, out, _ = toy_mill("show", results)
    assert code == 0
    summary = read_summary(results / "summary.json")
    assert all(sentence in out for sentence in (*summary.headline.answers, summary.headline.verdicts[0].sentence))
    bias = summary.ensembles["one"].parameters["mu"]
    assert f"{bias.bias:.3f} ± {bias.bias_error:.3f}" in out
    assert "expected, median" in out
    assert "signal-01" not in out
    assert "signal-01" in toy_mill("show", results / "summary.json", "--all")[1]


def test_show_has_what_is_found_of_optimisers(toy_mill, tmp_path):
    summary = compared_study({"sure": (50, 50, 0, 0.002), "fast": (50, 30, 10, 0.001)})
    told = summary.headline.model_copy(update={"answers": ["point0: sure is at the best minimum of every toy."]})
    write_summary(tmp_path / "summary.json", tmp_path / "summary.h5", summary.model_copy(update={"headline": told}))
    code, out, _ = toy_mill("show", tmp_path)
    assert code == 0
    lines = out.splitlines()
    assert lines[:3] == ["made-up: normal", "50 toys, fitted by each of 2 optimisers", *told.answers]
    assert any(line.split() == ["fast", "50", "40", "30", "10", "0.001"] for line in lines)


def test_what_cannot_be_shown(toy_mill, results, tmp_path):
    assert "is no folder" in failed(toy_mill("show", "results/none"))
    assert "has no results of a study" in failed(toy_mill("watch", tmp_path, "--once"))
    (results / "summary.json").write_text("{")
    assert "cannot be read as JSON" in failed(toy_mill("show", results))
    for name in ("summary.json", "design.json", "config.yaml"):
        (results / name).unlink()
    (results / "study.json").touch()
    assert "toymill watch" in failed(toy_mill("show", results))


def test_show_before_the_end_has_what_is_known(toy_mill, results, finished):
    """The asymptotic answers, named as such, and how far the toys are; after a summary that a run replaces, that it is old."""
    directory = Directory(finished[1], results)
    take(directory, [])
    assert "A run is at work on this study" in toy_mill("show", results)[1]
    release(directory)
    assert "A run is at work" not in toy_mill("show", results)[1]
    (results / "summary.json").unlink()
    shutil.rmtree(results / "fits/one")
    code, out, _ = toy_mill("show", results)
    assert code == 0
    asymptotic = read_design(results / "design.json").limit.asymptotic
    assert "Upper limit, 95 % CLs: by the asymptotic formulae alone" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["observed", f"{asymptotic.observed.value:.4g}", "not", "yet"] in rows
    assert ["expected,", "median", f"{asymptotic.expected['0'].value:.4g}", "not", "yet"] in rows
    assert "no answer yet; 500 of 560 toys are fitted" in out
    told = toy_mill("watch", results, "--once")[1]
    line = f"By the asymptotic formulae alone: observed limit {asymptotic.observed.value:.4g}, median expected limit "
    assert line + f"{asymptotic.expected['0'].value:.4g}." in told


def test_other_asymptotic_answers_are_shown_before_the_end(results):
    """Intervals, of which an end may not be found; and why there is no limit."""
    design = read_design(results / "design.json")
    found = AsymptoticInterval(level=0.95, best=1.0, low=0.25, high=None, low_at_bound=False, high_at_bound=False)
    interval = DesignedInterval(values=[0.5], asymptotic={"0.95": found}, distances=None, nuisances=[], rounds=[])
    limit = design.limit.model_copy(update={"asymptotic": None, "why_no_asymptotic": "No fit."})
    write_record(results / "design.json", design.model_copy(update={"limit": limit, "interval": interval}))
    (results / "summary.json").unlink()
    line = known_in_a_line(results)
    assert line == "By the asymptotic formulae alone: interval at 0.95 from 0.25 to an end that is not found."
    limits, intervals = before_toys(read_design(results / "design.json"))
    assert limits == "There is no asymptotic limit: No fit."
    assert list(intervals.columns[1].cells) == [Text("0.25")]


def test_the_end_of_a_study_tells_its_answers(results):
    told = list(ending(results))
    assert told[0] == "560 toys, 560 certified, 0 failed"
    assert told[1] == f"- {read_summary(results / 'summary.json').headline.answers[0]}"
    assert list(up_to_date(results)) == []
    for name in ("provenance.json", "report.html"):
        (results / name).touch()
    assert list(up_to_date(results)) == [
        "Nothing to be done: the answers are up to date.",
        *told,
        f"Report: {results / 'report.html'}",
    ]
    assert "Kept in " in interruption(results)
    assert ": 560 of 560 toys." in interruption(results)


def test_a_run_that_stopped_early_tells_its_toys(toy_mill, root, tmp_path, monkeypatch):
    """Before its configuration is written: those that are stated, and those that are designed."""
    monkeypatch.chdir(tmp_path)
    study = planned(stated(root, ensembles={"one": {"truth": {"mu": 1.0}, "toys": 60}}, limit={"toys": 100}))
    folder = tmp_path / "results" / study.study
    directory = Directory(study, folder)
    take(directory, [])
    assert "is at work on it; last change " in toy_mill("watch", folder, "--once")[1]
    release(directory)
    out = toy_mill("watch", folder, "--once")[1]
    assert "0/60" in out
    assert "not known yet" not in out
    os.utime(folder / "study.json", (time.time() - 7200,) * 2)
    assert "no run is at work on it (last change 2.0 h ago)" in toy_mill("watch", folder, "--once")[1]
    assert "0 of " in toy_mill("show", folder)[1]


def test_a_run_on_another_machine_that_tells_nothing_is_doubted(results):
    state = Watcher(results).look()
    run = Run(host="elsewhere", pid=7, started=0.0)
    now = time.time()
    assert "nothing seems to run" in list(lines(state._replace(run=run, changed=now - 7200)))[-1]
    assert (
        list(lines(state._replace(run=run, changed=now - 12)))[-1]
        == "process 7 on elsewhere is at work on it; last change 12 s ago"
    )


def test_the_time_that_is_left_is_that_of_the_toys(results):
    """What follows them is named, and then what is still to be made."""
    (results / "summary.json").unlink()
    state = Watcher(results).look()
    assert state.follows == ["3 audits", "answers", "figures"]
    told = " ".join(lines(state._replace(left=100.0, bars=[bar._replace(done=0) for bar in state.bars])))
    assert "about 1.7 min left for the toys alone (3 audits, answers, figures follow)" in told
    assert "still to be made: 3 audits, answers, figures" in " ".join(lines(state))


def test_watch_tells_how_far_a_study_is(toy_mill, results):
    """From the files alone: first no truth points, then some of the toys, then all, and that it is finished."""
    code, out, _ = toy_mill("watch", results, "--once")
    assert code == 0
    assert "60/60" in out
    assert "560/560" in out
    assert "is not finished, and no run is at work" in out
    assert toy_mill("watch", results)[0] == 1
    (results / "provenance.json").touch()
    code, out, _ = toy_mill("watch", results)
    assert code == 0
    assert "asked is finished." in out
    shutil.rmtree(results / "fits/one")
    state = Watcher(results).look()
    assert (state.toys, state.done, state.failed, state.finished) == (560, 500, 0, False)
    shutil.rmtree(results / "fits")
    text = (results / "config.yaml").read_text()
    (results / "config.yaml").write_text(text.replace("shard: 100", "shard: auto"))
    assert "a pilot measures how fast" in toy_mill("watch", results, "--once")[1]
    (results / "design.json").rename(results / "kept.json")
    assert "truth points are not known yet" in toy_mill("watch", results, "--once")[1]
    (results / "config.yaml").unlink()
    assert "its first jobs are not done yet" in toy_mill("watch", results, "--once")[1]
    (results / "kept.json").rename(results / "design.json")
    assert "0/500" in toy_mill("watch", results, "--once")[1]


def test_a_run_has_a_rate_and_a_time_left(results, finished, monkeypatch):
    monkeypatch.chdir(results.parents[1])
    shutil.rmtree(results / "fits/background")
    directory = Directory(finished[1], results)
    take(directory, [])
    began = time.time() - 10
    os.utime(results / ".lock", (began, began))
    os.utime(results / "design.json", (began, began))
    new = results / "fits/one/000000000-000000059.h5"
    for path in results.glob("fits/*/*.h5"):
        os.utime(path, (began + (5 if path == new else -5),) * 2)
    state = Watcher(results).look()
    release(directory)
    assert state.run.pid == os.getpid()
    assert state.rate == pytest.approx(60 / 5, rel=0.01)
    assert state.left == pytest.approx(100 / 12, rel=0.01)


def test_toys_of_a_running_shard_count(results, finished, monkeypatch):
    """As far as its job tells; of a job that was killed and begun again what the second tells."""
    monkeypatch.chdir(results.parents[1])
    path = results / "fits/one/000000000-000000059.h5"
    path.rename(results / "kept.h5")
    take(Directory(finished[1], results), [])
    with telling(path) as first, telling(path) as tell:
        first(50, 9)
        tell(20, 1)
        tell(10, 0)
        (killed, note) = sorted(path.parent.glob(".*"), key=lambda item: len(item.read_text()))
        os.utime(killed, (note.stat().st_mtime - 100,) * 2)
        with note.open("a") as file:
            file.write("4")  # not all of a line is there yet
        state = Watcher(results).look()
        assert [(bar.done, bar.failed) for bar in state.bars if bar.name == "one"] == [(30, 1)]
        assert state.rate > 0
        release(Directory(finished[1], results))
        assert Watcher(results).look().bars[0].done == 0
        (results / "kept.h5").rename(path)
        assert told_in(path.parent) == []
    assert not list(path.parent.glob(".*"))


def test_a_shard_s_job_tells_of_every_lot(root, tmp_path, monkeypatch):
    """While its file is not there; the sums are those of the file."""
    study = stated(root, ensembles={"one": {"truth": {"mu": 1.0}, "toys": 60, "tests": [0.0]}})
    monkeypatch.setattr(shards, "chunk_size", lambda *_: 25)
    monkeypatch.setattr(shards, "stop_if_asked", lambda: seen.extend(told_in(tmp_path)))
    seen = []
    shards.fit_shard(study, "one", Shard("", 0, 60), tmp_path / "000000000-000000059.h5")
    assert [(item.toys, item.failed) for item in seen] == [(25, 0), (50, 0)]
    assert not list(tmp_path.glob(".*"))


def test_watch_counts_a_scan(tmp_path, monkeypatch):
    """Toys of files and of running jobs, and failures in both."""
    monkeypatch.chdir(tmp_path)
    study = read_study(write_scan(tmp_path, masses=(2, 4), toys=200, signal_toys=100))
    results = tmp_path / "results/bumps"
    results.mkdir(parents=True)
    write_yaml(results / "config.yaml", study.model_dump(mode="json"))

    def datasets(count, bad):
        status = np.ones((count, 3), dtype=np.int8)
        status[:bad, 1] = 4
        return scan_store.Tested(*np.zeros((3, count)), status)

    counts = {"background": (200, 3), "signal": (100, 2), "observed": (1, 1), "asimov": (1, 0)}
    groups = {name: datasets(*item) for name, item in counts.items()}
    path = results / "scan/m2/000000000-000000199.h5"
    scan_store.write_point(
        path, ShardKey("m2", "", "", 0, 0, 200), scan_store.PointShard("mu", 1.0, groups, np.zeros(1))
    )
    other = results / "scan/m4/000000000-000000199.h5"
    other.parent.mkdir()
    take(Directory(study, results), [])
    with telling(other) as tell:
        tell(200, 1)
        (bar,) = Watcher(results).look().bars
    release(Directory(study, results))
    assert bar == ("scan", 600, 500, 6)


def test_watch_counts_tilted_toys(tmp_path, monkeypatch):
    """Those of every point once their truths are known, of files and of running jobs; none where none are needed."""
    monkeypatch.chdir(tmp_path)
    content = write_scan(tmp_path, masses=(2, 4), toys=200, signal_toys=100)
    study = read_study(content | {"scan": content["scan"] | {"tilted_toys": 50}})
    results = tmp_path / "results/bumps"
    results.mkdir(parents=True)
    write_yaml(results / "config.yaml", study.model_dump(mode="json"))
    assert [bar.name for bar in Watcher(results).look().bars] == ["scan"]
    folder = tmp_path / ".snakemake/toymill/bumps/scan"
    key = ShardKey("", "", "", 0, 0, 25)
    tilts = scan_store.Tilts("", ("m2", "m4"), np.ones((2, 3)), 25, np.ones(250))
    scan_store.write_tilts(folder / "tilts.h5", key, tilts)
    q_0 = np.ones(50)
    q_0[:3] = np.nan
    scan_store.write_tilted(folder / "tilted/m2.h5", key._replace(toys=50), q_0)
    take(Directory(study, results), [])
    with telling(folder / "tilted/m4.h5") as tell:
        tell(20, 1)
        bars = Watcher(results).look().bars
    release(Directory(study, results))
    assert bars[1:] == [("scan, tilted", 100, 70, 4)]
    scan_store.write_tilts(folder / "tilts.h5", key, scan_store.Tilts("why", (), np.empty((0, 0)), 0, np.empty(0)))
    assert [bar.name for bar in Watcher(results).look().bars] == ["scan"]


def test_watch_counts_profile_intervals(toy_mill, results, finished):
    """Beside the fits of the same toys, of files and of running jobs; one without an end has failed."""
    config = yaml.safe_load((results / "config.yaml").read_text())
    config["ensembles"]["one"]["profile_intervals"] = ["mu"]
    write_yaml(results / "config.yaml", config)
    ends = Ends(
        *np.zeros((2, 40, 2)), *np.full((2, 40, 2), EndStatus.FOUND, np.int8), np.ones(40, np.int8), np.zeros(40)
    )
    ends.high_status[5:9, 1] = EndStatus.NOT_FOUND
    key = ShardKey("one", "", "", 0, 0, 40)
    write_ends(results / "profile_intervals/one/000000000-000000039.h5", key, [0.683, 0.95], {"mu": ends})
    other = results / "profile_intervals/one/000000040-000000059.h5"
    take(Directory(finished[1], results), [])
    with chdir(results.parents[1]), telling(other) as tell:
        tell(11, 2)
        bars = {bar.name: bar for bar in Watcher(results).look().bars}
    release(Directory(finished[1], results))
    assert bars["one"] == ("one", 60, 60, 0)
    assert bars["one, intervals"] == ("one, intervals", 60, 51, 6)
    assert "one, intervals" in toy_mill("watch", results, "--once")[1]


def test_watch_counts_toys_of_each_optimiser(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    methods = {"methods": ["toymill", "newton", "gradient-descent"]}
    ensembles = {name: {"truth": {"mu": 1.0}, "toys": 20} for name in ("one", "two")}
    study = stated(root, kind="optimisers", ensembles=ensembles, optimisers=methods)
    results = tmp_path / "results" / study.study
    (results / "optimisers").mkdir(parents=True)
    write_yaml(results / "config.yaml", study.model_dump(mode="json"))
    (results / "optimisers/one.h5").touch()
    take(Directory(study, results), [])
    with telling(results / "optimisers/two.h5") as tell:
        tell(20, 0)
        tell(20, 0)
        bars = Watcher(results).look().bars
    release(Directory(study, results))
    assert bars == [("one", 60, 60, None), ("two", 60, 40, None)]


def test_jobs_of_other_kinds_tell_too(root, tmp_path, monkeypatch):
    """Of profile intervals after each lot of toys, of optimisers after each of these."""
    seen = []
    told = {"profile_intervals": tmp_path / "a", "compare": tmp_path / "b"}
    for folder in told.values():
        folder.mkdir()
    study = stated(root, ensembles={"one": {"truth": {"mu": 1.0}, "toys": 60, "profile_intervals": ["mu"]}})
    monkeypatch.setattr(shards, "chunk_size", lambda *_: 25)
    monkeypatch.setattr(shards, "stop_if_asked", lambda: seen.extend(told_in(told["profile_intervals"])))
    find_intervals(study, "one", Shard("", 0, 60), told["profile_intervals"] / "000000000-000000059.h5")
    assert [(item.toys, item.failed) for item in seen] == [(25, 0), (50, 0)]
    seen.clear()
    methods = ["toymill", "newton"]
    study = stated(
        root, kind="optimisers", ensembles={"one": {"truth": {"mu": 1.0}, "toys": 9}}, optimisers={"methods": methods}
    )
    outcome = METHODS["toymill"]

    def newton(*given):
        seen.extend(told_in(told["compare"]))
        return outcome(*given)

    monkeypatch.setitem(METHODS, "newton", newton)
    compare_optimisers(study, "one", told["compare"] / "one.h5")
    assert [(item.name, item.toys) for item in seen] == [("one", 9)]
    assert not list(told["compare"].iterdir())


def test_failed_toys_are_counted(toy_mill, results):
    with h5py.File(results / "fits/one/000000000-000000059.h5", "r+") as file:
        file["free/status"][:3] = 4
        file["tests/000/status"][2:5] = 6
    assert "5 failed" in toy_mill("watch", results, "--once")[1]
    (results / "fits/one/000000000-000000059.h5").write_bytes(b"")
    assert "is damaged" in failed(toy_mill("watch", results, "--once"))


def test_replay_finds_the_fits_that_are_stored(toy_mill, results):
    plot = results / "toy.svg"
    code, out, _ = toy_mill("replay", results, "one/7", "--plot", plot)
    assert code == 0
    assert "As stored." in out
    assert "iminuit finds no lower minimum." in out
    assert all(word in out for word in ("free", "mu = 0", "mu = 1"))
    assert plot.read_text().startswith("<?xml")
    assert "toy 9 of signal-02" in toy_mill("replay", results, "signal-02/9")[1]


def test_replay_tells_what_is_not_as_stored(toy_mill, results):
    """A stored fit that was changed, though its file says that it is whole; a toy that is not stored."""
    from toymill.results.hdf5 import _seal

    path = results / "fits/one/000000000-000000059.h5"
    with h5py.File(path, "r+") as file:
        file["free/nll"][7] += 0.5
    _seal(path)
    code, out, _ = toy_mill("replay", results, "one/7")
    assert code == 1
    assert "NOT as stored." in out
    path.unlink()
    code, out, _ = toy_mill("replay", results, "one/7")
    assert (code, "its fits are not stored" in out) == (0, True)


@pytest.mark.parametrize(
    ("toy", "said"),
    [
        ("one", "expected ENSEMBLE/INDEX"),
        ("one/x", "expected ENSEMBLE/INDEX"),
        ("on/1", "Did you mean 'one'"),
        ("one/60", "has the toys 0 to 59; got 60"),
    ],
)
def test_toys_that_are_none(toy_mill, results, toy, said):
    assert said in failed(toy_mill("replay", results, toy))


def test_replay_refuses_another_picture(toy_mill, results):
    assert ".svg, .pdf, .png" in failed(toy_mill("replay", results, "one/7", "--plot", "toy.gif"))


def test_remarks_are_of_what_is_to_be_looked_at(results, monkeypatch):
    """Nothing of a sound ensemble; of another its failed toys, its pulls, and the bounds that it reaches.

    The pulls of a parameter that a bound takes from many toys are not to be 0 in the mean.
    """
    summary = read_summary(results / "summary.json")
    sound = summary.ensembles["one"]
    assert remarks_on(results) == []
    far = sound.parameters["mu"].model_copy(update={"pull_mean": 0.5, "pull_mean_error": 0.05, "at_bound_share": 0.0})
    held = far.model_copy(update={"at_bound_share": 0.25, "pull_mean": 5.0})
    changes = {"parameters": {"mu": far, "b": held}, "toys": 62, "failed": {"not_converged": 2}}
    bad = summary.model_copy(update={"ensembles": {"one": sound.model_copy(update=changes)}})
    assert list(remarks(bad, {})) == [
        "one: 2 of 62 toys failed (2 not_converged)",
        "one: the mean pull of mu is 0.500, 10.0 σ from 0",
        "b: at a bound in 25.0 % of the toys of one, where it has no pull",
    ]
    both = bad.model_copy(
        update={"ensembles": {**bad.ensembles, "two": sound.model_copy(update={"parameters": {"mu": far}})}}
    )
    assert "one: the mean pull of mu is 0.500, 10.0 σ from 0; likewise in 1 more ensemble" in remarks(both, {})
    monkeypatch.setattr(module, "MOST", 1)
    write_summary(results / "summary.json", results / "summary.h5", bad)
    assert remarks_on(results)[1:] == [f"2 more: toymill show {results}"]


def test_an_empty_tail_is_shown_as_a_bound():
    assert _p_value(counted(0, 1000, 0)) == "below 0.0018"
    assert _p_value(counted(30, 1000, 0)) == "0.03"


def test_show_says_that_a_study_is_refused(toy_mill, results):
    path = results / "summary.json"
    summary = read_summary(path)
    summary.ensembles["one"] = summary.ensembles["one"].model_copy(update={"certified": 30})
    write_summary(path, results / "summary.h5", summary)
    assert "The study is refused: ensemble 'one': 30 of 60 toys are not certified" in toy_mill("show", results)[1]


def test_files_that_overlap_hold_a_toy_once():
    ranges = [Shard("", first, toys) for first, toys in [(0, 100), (0, 200), (200, 50)]]
    assert [piece.shard for piece in without_overlap([Piece(shard, 0, 0.0) for shard in ranges])] == ranges[1:]


def test_the_latest_design_is_that_of_the_last_round(tmp_path):
    assert latest_design(tmp_path) is None
    (tmp_path / "rounds").mkdir()
    for age, name in enumerate(("rounds/1.json", "rounds/0.json", "design.json")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (100 - age, 100 - age))
    assert latest_design(tmp_path) == tmp_path / "rounds/1.json"
