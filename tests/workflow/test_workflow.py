"""Whole tiny studies through Snakemake, in a folder of their own."""

import functools
import html
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
import yaml

from toymill.report import of_ensemble, of_study

SECONDS = 900  # a guard against a hang, not a measure of speed


@pytest.fixture
def run(root, tmp_path):
    """Runs snakemake on a study in a fresh folder: ``run(study, *arguments)`` returns the finished process."""

    return functools.partial(run_in, root, tmp_path)


def run_in(root, folder, study, *arguments):
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return subprocess.run(
        command(root, folder, *arguments), capture_output=True, text=True, timeout=SECONDS, check=False
    )


def finish_in(root, folder, study, *arguments):
    """Run a study to its end; the folder."""
    done = run_in(root, folder, study, *arguments)
    assert done.returncode == 0, done.stderr
    return folder


def command(root, folder, *arguments):
    cores = () if "--cores" in arguments else ("--cores", "2")
    words = ["--snakefile", root / "Snakefile", "--directory", folder, "--configfile", folder / "study.yaml"]
    return [sys.executable, "-m", "snakemake", *map(str, words), *cores, *arguments]


def study(root, **changes):
    content = {
        "study": "small",
        "model": str(root / "tests/data/onoff.json"),
        "ensembles": {
            "one": {"truth": {"mu": 1.0}, "toys": 140, "tests": [0.0]},
            "zero": {"truth": {"mu": 0.0}, "toys": 20},
        },
        "shard": 140,
        "fit": {"audit": 2},
    }
    return content | changes


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


ALWAYS = ["config.yaml", "model.json", "provenance.json", "report.html", "study.json", "summary.h5", "summary.json"]
"""What every study leaves."""


def contract(*ensembles):
    """What a study of toys leaves, but for its shards."""
    audits = [f"audit/{name}.json" for name in ensembles]
    return [*ALWAYS, *audits, *figures(*ensembles), "explore.html"]


def figures(*ensembles):
    """The figures that a study of these ensembles leaves."""
    names = [
        *of_study.FIGURES,
        *(f"{kind}_{name}" for name in ensembles for kind in [*of_ensemble.FIGURES, "correlation"]),
    ]
    return [f"plots/{name}.svg" for name in names]


def fits_of(folder):
    """All fits of ensemble "one" as one mapping of arrays, whatever the shards."""
    import h5py
    import numpy as np

    arrays = {}
    for path in sorted((folder / "results/small/fits/one").glob("*.h5")):
        with h5py.File(path) as file:
            for group in ("free", "tests/000", "tests/001"):
                for name, values in file[group].items():
                    arrays.setdefault(f"{group}/{name}", []).append(values[...])
    return {name: np.concatenate(parts) for name, parts in arrays.items()}


@pytest.fixture(scope="module")
def reference(root, tmp_path_factory):
    """The folder of the study in one shard, finished on one core; its toys are kept."""
    return finish_in(root, tmp_path_factory.mktemp("reference"), study(root, keep_toys=True), "--cores", "1")


@pytest.fixture
def finished(reference, tmp_path):
    """A copy of that folder, with the times of its files, to go on from."""
    shutil.copytree(reference, tmp_path, dirs_exist_ok=True)
    return tmp_path


def test_a_study_from_end_to_end(run, root, finished):
    """One command leaves exactly the files of the contract; a second one does nothing; more toys add shards only.

    Kept toys stay when a test point is added.
    """
    results = finished / "results"
    shards = ["one/000000000-000000139.h5", "zero/000000000-000000019.h5"]
    expected = contract("one", "zero") + [f"{kind}/{shard}" for kind in ("fits", "toys") for shard in shards]
    assert files(results) == sorted(f"small/{name}" for name in expected)

    summary = json.loads((results / "small/summary.json").read_text())
    one = summary["ensembles"]["one"]
    assert (one["toys"], one["certified"]) == (140, 140)
    assert abs(one["parameters"]["mu"]["bias"]) < 5 * one["parameters"]["mu"]["bias_error"]
    provenance = json.loads((results / "small/provenance.json").read_text())
    assert provenance["command"].startswith("snakemake ")
    assert provenance["seconds"]
    report = (results / "small/report.html").read_text()
    assert f"{summary['headline']['certified']:,}; failed: 0" in report

    resolved = yaml.safe_load((results / "small/config.yaml").read_text())
    assert resolved["seed"] == 0
    assert resolved["fit"]["edm_tolerance"] == 1e-8

    before = {path: path.stat().st_mtime_ns for path in results.rglob("*") if path.is_file()}
    again = run(study(root, keep_toys=True))
    assert again.returncode == 0
    assert "Nothing to be done: the answers are up to date.\n160 toys, 160 certified, 0 failed" in again.stderr
    assert again.stderr.splitlines()[-1] == "Report: results/small/report.html"
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*") if path.is_file()} == before

    more = study(root, keep_toys=True)
    more["ensembles"]["one"]["toys"] = 200
    more["ensembles"]["zero"] |= {"tests": [1.0], "profile_intervals": ["mu"]}
    more["ensembles"]["two+2"] = {"truth": {"mu": 2.0}, "toys": 10, "nuisances": "conditional"}
    done = run(more, "aggregate")
    assert done.returncode == 0, done.stderr
    zero = json.loads((results / "small/summary.json").read_text())["ensembles"]["zero"]
    assert [test["poi"] for test in zero["tests"]] == [0.0, 1.0]
    assert zero["profile_intervals"]["mu"]["levels"]["0.95"]["length"]["toys"] == 20
    assert files(results / "small/profile_intervals") == ["zero/000000000-000000019.h5"]
    assert (results / "small/fits/one/000000140-000000199.h5").exists()
    for kept in ("fits/one/000000000-000000139.h5", *(f"toys/{shard}" for shard in shards)):
        assert (results / "small" / kept).stat().st_mtime_ns == before[results / "small" / kept]
    assert (results / "small/fits/zero/000000000-000000019.h5").stat().st_mtime_ns > max(before.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_what_is_kept_and_how_to_go_on(root, tmp_path, number):
    """In its last line, without exceptions of the jobs that it stops; what is there is whole."""
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study(root, model="ws.json", shard=20)))
    shutil.copy(root / "tests/data/onoff.json", tmp_path / "ws.json")
    words = [sys.executable, "-m", "toymill", "run", "study.yaml", "--cores", "2"]
    with (tmp_path / "stderr").open("w") as stderr:
        process = subprocess.Popen(words, stderr=stderr, cwd=tmp_path, start_new_session=True)
        deadline = time.monotonic() + SECONDS
        while not list(tmp_path.glob("results/small/fits/one/0*.h5")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, number)
        assert process.wait(SECONDS) == 128 + number
    lines = (tmp_path / "stderr").read_text().splitlines()
    assert re.fullmatch(
        r"Stopped, as asked. Kept in results/small: \d+ of 160 toys. To go on, run the same command again.", lines[-1]
    )
    assert [line for line in lines if line.startswith(("Stopped", "Stopping"))] == [
        "Stopping: jobs that run are waited for.",
        lines[-1],
    ]
    assert not [line for line in lines if "Error" in line or "Exception" in line]
    assert not list(tmp_path.rglob("results/**/.*.part"))


@pytest.fixture(scope="module")
def killed(root, tmp_path_factory):
    """The folder of the study in four shards, killed after the first and completed on two cores, as far as its summary.

    Its jobs keep their programs where a user's do: what a killed job wrote there is not for other tests.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION_CACHE_")}
    folder = tmp_path_factory.mktemp("killed")
    (folder / "study.yaml").write_text(yaml.safe_dump(study(root, shard=40, keep_toys=True)))
    toys = [f"results/small/toys/one/{first:09}-{min(first + 39, 139):09}.h5" for first in range(0, 140, 40)]
    wanted = ["aggregate", *toys]
    begun = command(root, folder, *wanted)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(begun, **quiet, start_new_session=True, env=env)
    deadline = time.monotonic() + SECONDS
    while not list(folder.glob("results/small/fits/one/0*.h5")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (folder / "results/small/summary.json").exists()
    subprocess.run(command(root, folder, "--unlock"), check=True, capture_output=True, timeout=SECONDS)
    again = command(root, folder, "--rerun-incomplete", *wanted)
    done = subprocess.run(again, capture_output=True, text=True, timeout=SECONDS, check=False, env=env)
    assert done.returncode == 0, done.stderr
    assert list(folder.glob(".snakemake/toymill/jax-cache/*"))
    return folder


def test_a_killed_run_is_completed_and_leaves_no_parts(killed):
    left = [name for name in files(killed / "results") if name.endswith(".part")]
    assert left == []


def test_four_shards_give_the_same_bits(reference, killed):
    """Also where the run was killed, and on another number of cores."""
    import h5py
    import numpy as np

    one, four = fits_of(reference), fits_of(killed)
    assert len(list((killed / "results/small/fits/one").glob("*.h5"))) == 4
    assert one.keys() == four.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, four[name], err_msg=name)
    toys = []
    for folder in (reference, killed):
        parts = []
        for path in sorted((folder / "results/small/toys/one").glob("*.h5")):
            with h5py.File(path) as file:
                parts.append(file["data"][...])
        toys.append(np.concatenate(parts))
    np.testing.assert_array_equal(*toys)
    summaries = [json.loads((folder / "results/small/summary.json").read_text()) for folder in (reference, killed)]
    assert summaries[0] == summaries[1]


@pytest.mark.long  # tests/unit/test_study.py compares the three ways to keep fits
def test_a_study_that_keeps_a_summary(run, root, tmp_path, reference):
    """The same files, figures and numbers as one that keeps every fit, from shards without columns."""
    import h5py

    summary = study(root, shard=70, keep="summary")
    done = run(summary, "aggregate", "plot_study")
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" in run(summary, "aggregate", "plot_study").stderr
    results = tmp_path / "results/small"
    with h5py.File(results / "fits/one/000000070-000000139.h5") as file:
        assert sorted(file) == ["kept", "tally"]
    every = json.loads((reference / "results/small/summary.json").read_text())["ensembles"]
    alone = json.loads((results / "summary.json").read_text())["ensembles"]
    assert (results / "plots/coverage.svg").exists()
    assert every["one"]["intervals"] == alone["one"]["intervals"]
    assert every["zero"]["discovery"] == alone["zero"]["discovery"]
    assert every["one"]["parameters"]["mu"]["bias"] == pytest.approx(alone["one"]["parameters"]["mu"]["bias"])


def test_a_damaged_shard_is_refused_by_name_and_made_anew(run, root, finished):
    """By the command that the message tells."""
    path = finished / "results/small/fits/one/000000000-000000139.h5"
    times, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:3000])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    wanted = study(root, keep_toys=True)
    done = run(wanted, "--forcerun", "aggregate")
    assert done.returncode != 0
    name = "results/small/fits/one/000000000-000000139.h5"
    assert f"{name} is damaged: " in done.stderr
    assert f"Add '--forcerun {name}' to the snakemake command" in done.stderr
    assert "Traceback" not in done.stderr
    again = run(wanted, "aggregate", "--forcerun", name)
    assert again.returncode == 0, again.stderr
    assert path.read_bytes() == content
    assert not (finished / "results/small/superseded").exists()


def test_another_study_of_the_same_name_is_refused(run, root, finished):
    """Also through --config; what is there stays, unless it may be overwritten."""
    results = finished / "results/small"
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    other = study(root, keep_toys=True, seed=5)
    for done in (run(other), run(study(root, keep_toys=True), "--config", "seed=5")):
        assert done.returncode != 0
        assert "results/small has results of another study of this name:" in done.stderr
        assert "ensembles.one: seed was 0, and is now 5" in done.stderr
        assert "Give this study a new name; or say 'overwrite: true'" in done.stderr
        assert "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before
    done = run(other | {"overwrite": True}, "aggregate")
    assert done.returncode == 0, done.stderr
    one = json.loads((results / "summary.json").read_text())["ensembles"]["one"]
    assert one["digest"] != json.loads(before[results / "summary.json"])["ensembles"]["one"]["digest"]
    assert not (results / "provenance.json").exists()


def test_a_changed_workspace_is_noticed_whatever_its_time(run, root, tmp_path):
    """Of the same size, and older than what was made of it."""
    text = (root / "tests/data/onoff.json").read_text()
    (tmp_path / "ws.json").write_text(text)
    small = study(root, model="ws.json", ensembles={"one": {"truth": {"mu": 1.0}, "toys": 20}})
    assert run(small, "aggregate").returncode == 0
    times = (tmp_path / "ws.json").stat()
    changed = text.replace("150", "151")
    assert changed != text
    assert len(changed) == len(text)
    (tmp_path / "ws.json").write_text(changed)
    os.utime(tmp_path / "ws.json", ns=(times.st_atime_ns, times.st_mtime_ns - 10**12))
    done = run(small, "aggregate")
    assert done.returncode != 0
    assert "ensembles.one: inputs was" in done.stderr
    assert run(small | {"overwrite": True}, "aggregate").returncode == 0


def test_a_second_run_of_a_study_is_refused(run, root, finished):
    """While the first lives; a lock of a run that has ended is none. Another study in the same folder is no matter."""
    import psutil

    lock = finished / "results/small/.lock"
    me = psutil.Process()
    started = me.create_time() - psutil.boot_time()
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": me.pid, "started": started}))
    wanted = study(root, keep_toys=True)
    done = run(wanted)
    assert done.returncode != 0
    assert f"results/small is being written by another run of this study: process {me.pid} on " in done.stderr
    assert "Traceback" not in done.stderr
    assert lock.exists()
    assert run(study(root, study="other"), "resolve").returncode == 0
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": me.pid, "started": started - 100}))
    done = run(wanted, "--forcerun", "aggregate", "--until", "aggregate")
    assert done.returncode == 0, done.stderr
    assert not lock.exists()


def test_too_many_failures_refuse_the_study_but_keep_its_summary(run, root, tmp_path):
    """Two factors on one signal, which no data tell apart: a toy has a minimum only where one is at its bound."""
    spec = json.loads((root / "tests/data/onoff.json").read_text())
    spec["channels"] = [channel for channel in spec["channels"] if channel["name"] == "on"]
    factors = ("mu", "efficiency")
    spec["channels"][0]["samples"] = [
        {"name": "background", "data": [0.5], "modifiers": []},
        {
            "name": "signal",
            "data": [9.0],
            "modifiers": [{"name": n, "type": "normfactor", "data": None} for n in factors],
        },
    ]
    (tmp_path / "ws.json").write_text(json.dumps(spec))
    done = run(study(root, model="ws.json", ensembles={"one": {"truth": {"mu": 1.0}, "toys": 50}}))
    assert done.returncode != 0
    assert "The study is refused" in done.stderr
    assert "hessian_not_positive" in done.stderr
    assert "Traceback (most recent call last)" not in done.stderr
    summary = json.loads((tmp_path / "results/small/summary.json").read_text())["ensembles"]["one"]
    assert summary["failed"]["hessian_not_positive"] == summary["toys"] - summary["certified"] > 5
    assert not (tmp_path / "results/small/provenance.json").exists()
    assert "<strong>The study is refused.</strong>" in (tmp_path / "results/small/report.html").read_text()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shards": 3}, "shards: unknown key. Did you mean 'shard'?"),
        ({"ensembles": {"a": {"truth": {"mu": 30.0}}}}, "ensembles.a.truth: Parameter 'mu' cannot be 30"),
        ({"ensembles": {"a": {"truth": {"mu": 1.0}, "toys": 0}}}, "ensembles.a.toys: "),
        ({"model": {"path": "tests/none.json"}}, "there is no file 'tests/none.json'"),
    ],
)
def test_bad_configuration_stops_before_any_job(run, root, tmp_path, changes, words):
    """The message is all that is said: of where in the workflow it was raised there is no word."""
    done = run(study(root) | changes)
    assert done.returncode == 1
    assert words in done.stderr
    told = [line for line in done.stderr.splitlines() if not line.startswith("  - ")]
    assert [line.partition(" ")[0] for line in told] == ["toymill:"]
    assert not (tmp_path / "results").exists()


def test_two_signals_at_once_are_told_before_any_job(run, root, tmp_path):
    """The study goes on: they may be parts of one signal."""
    for name in ("a", "b"):
        sample = {"name": name, "data": [1.0], "modifiers": [{"name": "mu", "type": "normfactor", "data": None}]}
        patch = [{"op": "add", "path": "/channels/0/samples/0", "value": sample}]
        (tmp_path / f"{name}.json").write_text(json.dumps(patch))
    model = {"path": str(root / "tests/data/onoff.json"), "patches": ["a.json", "b.json"]}
    done = run(study(root, model=model), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "toymill: warning: model.patches: mu scales samples of 2 patches" in done.stderr


@pytest.fixture
def lifetimes(root, tmp_path):
    """A study of the example of docs/python-models.md, which is copied into its folder."""
    (tmp_path / "mine.py").write_text((root / "config/models/lifetime.py").read_text())
    return {
        "study": "small",
        "model": {"kind": "python", "path": "mine.py", "options": {"decays": 30}},
        "ensembles": {"one": {"truth": {"tau": 1.0}, "toys": 300, "tests": [1.5]}},
        "shard": 150,
        "fit": {"audit": 2},
    }


def test_a_model_in_python_leaves_what_a_workspace_does(run, lifetimes, tmp_path):
    """The same files and figures."""
    done = run(lifetimes)
    assert done.returncode == 0, done.stderr
    expected = [f"fits/one/{name}.h5" for name in ("000000000-000000149", "000000150-000000299")] + contract("one")
    assert files(tmp_path / "results") == sorted(f"small/{name}" for name in expected)
    one = json.loads((tmp_path / "results/small/summary.json").read_text())["ensembles"]["one"]
    assert one["certified"] == one["toys"] == 300
    assert one["information"]["method"] == "toys"
    audit = json.loads((tmp_path / "results/small/audit/one.json").read_text())
    assert audit["summary"]["ours_higher_by"] < 1e-6
    assert all(test["histogram"]["asymptotic"] for test in one["tests"])
    again = run(lifetimes)
    assert "Nothing to be done" in again.stderr + again.stdout


@pytest.mark.long  # as of a workspace, of which a test above has it
def test_a_changed_model_in_python_is_noticed(run, lifetimes, tmp_path):
    """And may overwrite what was made of it."""
    done = run(lifetimes, "aggregate")
    assert done.returncode == 0, done.stderr
    summary = tmp_path / "results/small/summary.json"
    one = json.loads(summary.read_text())["ensembles"]["one"]
    source = (tmp_path / "mine.py").read_text()
    (tmp_path / "mine.py").write_text(source.replace("jnp.sum(", "0.5 * jnp.sum("))
    refused = run(lifetimes, "aggregate")
    assert refused.returncode != 0
    assert "ensembles.one: inputs was" in refused.stderr
    done = run(lifetimes | {"overwrite": True}, "aggregate")
    assert done.returncode == 0, done.stderr
    other = json.loads(summary.read_text())["ensembles"]["one"]
    assert other["digest"] != one["digest"]
    assert other["parameters"]["tau"]["pull_width"] < one["parameters"]["tau"]["pull_width"] / 1.2


def test_a_wrong_model_in_python_stops_before_any_job(run, root, tmp_path):
    source = (root / "config/models/lifetime.py").read_text()
    (tmp_path / "mine.py").write_text(source.replace("return jnp.sum(", "return ("))
    content = study(root, model={"kind": "python", "path": "mine.py"}, ensembles={"one": {"truth": {"tau": 1.0}}})
    done = run(content)
    assert done.returncode != 0
    assert "model: logpdf returned an array of shape (100,); expected one number" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


def test_optimisers_are_compared(run, root, tmp_path):
    """A table with every optimiser for every toy; the certified one is at the best minimum."""
    done = run(study(root, kind="optimisers", ensembles={"one": {"truth": {"mu": 1.0}, "toys": 30}}, shard=20))
    assert done.returncode == 0, done.stderr
    tables = ["optimisers/one.h5", "optimisers/one.json", "plots/optimisers_one.svg"]
    assert files(tmp_path / "results") == sorted(f"small/{name}" for name in [*ALWAYS, *tables])
    summary = json.loads((tmp_path / "results/small/summary.json").read_text())
    head, methods = summary["headline"], summary["ensembles"]["one"]["methods"]
    assert (head["toys"], head["optimisers"]) == (30, list(methods))
    assert any("At the best minimum of every toy" in line and "toymill" in line for line in head["answers"])
    assert html.escape(head["answers"][0]) in (tmp_path / "results/small/report.html").read_text()
    assert len(methods) == 6
    assert {item["toys"] for item in methods.values()} == {30}
    assert methods["toymill"]["reached"] == methods["toymill"]["success"] == 30


def test_default_study_is_found_without_a_configfile(root):
    """A dry run from the root door: the default study, and every job of it."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run", "--forceall", "--quiet", "rules"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" not in done.stdout + done.stderr
    assert "plot_ensemble" in done.stdout + done.stderr


ASKED = {"impacts": {"toys": 300}, "goodness_of_fit": {"toys": 300}}
LIMIT = {"limit": {"values": [0.6, 1.0], "toys": 200, "background_toys": 300}}


def asking(root, **sections):
    ensembles = {"one": {"truth": {"mu": 1.0}, "toys": 200, "tests": [0.0]}}
    return study(root, shard="auto", ensembles=ensembles) | sections


@pytest.fixture(scope="module")
def asked(root, tmp_path_factory):
    """The folder of a study with two sections, finished."""
    return finish_in(root, tmp_path_factory.mktemp("asked"), asking(root, **ASKED))


def test_questions_are_answered_and_more_are_added(run, root, asked, tmp_path):
    """Sections leave answers and figures. One that is added runs what is new only."""
    shutil.copytree(asked, tmp_path, dirs_exist_ok=True)
    results = tmp_path / "results/small"
    answers = json.loads((results / "summary.json").read_text())["answers"]
    assert answers["impacts"]["decomposition"]["toys"] == 300
    assert answers["goodness_of_fit"]["statistics"]["saturated"]["p_value"]["toys"] == 300
    assert answers["limit"] is None
    assert {path.stem for path in (results / "plots").iterdir()} >= {"impacts", "goodness_of_fit", "coverage"}
    written = contents(results, "fits/*/*.h5", "audit/*.json")
    assert {name.split("/")[1] for name in written} == {"one", "best-fit", "one.json", "best-fit.json"}
    plan = json.loads((results / "plan.json").read_text())["ensembles"]
    wanted = asking(root, **ASKED, **LIMIT)
    more = run(wanted)
    assert more.returncode == 0, more.stderr
    new = {"background", "signal-01", "signal-02"}
    assert sorted(jobs(more, "fit")) == sorted(new)
    assert set(jobs(more, "audit")) == {"background", "signal-02"}
    answers = json.loads((results / "summary.json").read_text())["answers"]
    assert [point["poi"] for point in answers["limit"]["toys"]["points"]] == [0.6, 1.0]
    assert contents(results, *written) == written
    assert plan.items() <= json.loads((results / "plan.json").read_text())["ensembles"].items()
    again = run(wanted)
    assert "Nothing to be done" in again.stderr + again.stdout


@pytest.mark.long  # goes on from the study above
def test_a_study_ends_as_one_that_began_with_its_questions(run, root, asked, tmp_path):
    """So does another tested value: the toys there, and the fits at it of toys without a signal.

    Audits and figures of sections that are taken away are removed; their fits are not.
    """
    shutil.copytree(asked, tmp_path, dirs_exist_ok=True)
    results = tmp_path / "results/small"
    wanted = asking(root, **ASKED, **LIMIT)
    finish_in(root, tmp_path, wanted)
    other = tmp_path / "other"
    other.mkdir()
    finish_in(root, other, wanted, "aggregate")
    for pattern in ("fits/*/*.h5", "design.json", "summary.json"):
        begun = {name: content for name, (content, _) in contents(other / "results/small", pattern).items()}
        assert {name: content for name, (content, _) in contents(results, pattern).items()} == begun
    moved = run(wanted | {"limit": LIMIT["limit"] | {"values": [0.6, 1.1]}}, "aggregate")
    assert moved.returncode == 0, moved.stderr
    assert sorted(jobs(moved, "fit")) == ["background", "signal-02"]
    assert "background: stored fits of 300 of 300 toys were used" in moved.stderr
    less = run(asking(root))
    assert less.returncode == 0, less.stderr
    assert not jobs(less, "fit")
    assert files(results / "audit") == ["one.json"]
    assert not {"limit.svg", "impacts.svg", "goodness_of_fit.svg"} & {
        path.name for path in (results / "plots").iterdir()
    }
    assert not (results / "design.json").exists()
    assert {path.name for path in (results / "superseded").iterdir()} >= {"best-fit", "background", "signal-01"}


def contents(folder, *patterns):
    """The content of files, and when they were written, by their names."""
    paths = [path for pattern in patterns for path in folder.glob(pattern)]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def jobs(done, rule):
    """The ensembles of a rule's jobs that a run did."""
    return re.findall(
        rf"^(?:local)?rule {rule}:\n(?:    .*\n)*?    wildcards: ensemble=([^,\n]+)", done.stderr, re.MULTILINE
    )


@pytest.fixture(scope="module")
def precise(root, tmp_path_factory):
    """What states a study whose limit and interval are asked for with a precision, and its folder, finished."""
    values = [0.3, 0.8, 1.5, 2.4]
    asked = {
        "fit": {"audit": 0},
        "limit": {"values": values, "toys": 200, "background_toys": 300, "precision": 0.032},
        "interval": {"values": values, "toys": 200, "levels": [0.6827], "precision": 0.25},
    }
    content = {name: value for name, value in study(root, shard=2000).items() if name != "ensembles"} | asked
    return content, finish_in(root, tmp_path_factory.mktemp("precise"), content)


def test_toys_are_added_for_a_precision(run, precise, tmp_path):
    """Rounds add toys to the shards that are there, until it is reached."""
    content, folder = precise
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    results = tmp_path / "results/small"
    answers = json.loads((results / "summary.json").read_text())["answers"]
    assert answers["interval"]["precision"]["reached"]
    found = answers["limit"]["precision"]
    assert found["reached"]
    design = json.loads((results / "design.json").read_text())
    assert design["limit"]["rounds"] == found["rounds"]
    assert found["rounds"][0]["toys"] == 1100
    assert found["rounds"][0]["added"] > 0
    toys = sum(int(path.stem[10:]) - int(path.stem[:9]) + 1 for path in results.glob("fits/*/*.h5"))
    assert toys == 1100 + sum(item["added"] for item in found["rounds"])
    again = run(content)
    assert "Nothing to be done" in again.stderr + again.stdout


@pytest.mark.long  # goes on from the study above
def test_a_run_that_was_interrupted_between_rounds_ends_with_the_same_files(run, precise, tmp_path):
    content, folder = precise
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    results = tmp_path / "results/small"
    shards = {path.relative_to(results): path.read_bytes() for path in results.glob("fits/*/*.h5")}
    summary = (results / "summary.json").read_bytes()
    for path in ("rounds/2.json", "rounds/3.json", "rounds/4.json", "design.json", "summary.json"):
        (results / path).unlink()
    last = max(path for path in shards if path.parent.name == "background")
    (results / last).unlink()
    resumed = run(content, "results/small/summary.json")
    assert resumed.returncode == 0, resumed.stderr
    assert {path.relative_to(results): path.read_bytes() for path in results.glob("fits/*/*.h5")} == shards
    assert (results / "summary.json").read_bytes() == summary


def test_a_question_that_the_model_cannot_answer_stops_before_any_job(run, root, tmp_path):
    done = run({"study": "small", "model": str(root / "tests/data/onoff.json"), "limit": {"values": [1.0, 1.0e6]}})
    assert done.returncode != 0
    assert "limit.values: Parameter 'mu' cannot be 1e+06" in done.stderr
    assert not (tmp_path / "results").exists()
