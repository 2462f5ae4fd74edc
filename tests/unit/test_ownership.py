"""A results directory has one run at a time, whatever the clock does; files from the future are brought back."""

import json
import os
import socket
import subprocess
import sys
import time

import psutil
import pytest

from toymill import ToymillError
from toymill.config.study import read_study
from toymill.results.files import bring_back
from toymill.study.ownership import Directory, check, release, take

HOLDS = """
import json, sys, yaml
from pathlib import Path
from toymill.config.study import read_study
from toymill.study.ownership import Directory, take
take(Directory(read_study(json.loads(sys.argv[1])), Path("results/small")), [])
print("taken", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def content(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = str(root / "tests/data/onoff.json")
    return {"study": "small", "model": model, "ensembles": {"one": {"truth": {"mu": 1.0}, "toys": 10}}}


@pytest.fixture
def directory(content, tmp_path):
    return Directory(read_study(content), tmp_path / "results/small")


@pytest.fixture
def other(content, directory):  # noqa: ARG001 -- the directory's fixture comes first
    """Another run, which has the directory."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, json.dumps(content)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "taken\n"
    yield process
    process.communicate()


def test_a_run_has_a_directory_until_it_ends(directory, other):
    with pytest.raises(ToymillError, match=f"is being written by another run of this study: process {other.pid} on"):
        take(directory, [])
    release(directory)
    assert directory.lock.exists()
    other.communicate()
    assert not directory.lock.exists()
    take(directory, [])
    check(directory)
    release(directory)
    assert not directory.lock.exists()


@pytest.mark.parametrize("step", [-3600, 3600])
def test_also_when_the_clock_steps(directory, other, monkeypatch, step):
    """The time at which the machine was started steps with it; so do the starts of all processes."""
    started = psutil.boot_time()
    for module in (psutil, psutil._psplatform):
        monkeypatch.setattr(module, "boot_time", lambda: started + step)
    with pytest.raises(ToymillError, match=f"process {other.pid} on"):
        take(directory, [])


def test_the_lock_of_a_killed_run_is_none(directory, other):
    other.kill()
    other.wait()
    assert directory.lock.exists()
    take(directory, [])
    assert json.loads(directory.lock.read_text())["pid"] == os.getpid()
    release(directory)


def test_the_lock_of_another_machine_is_believed(directory):
    take(directory, [])
    directory.lock.write_text(directory.lock.read_text().replace(socket.gethostname(), "elsewhere"))
    with pytest.raises(ToymillError, match=r"on elsewhere\. Wait for its end, .* remove .*/\.lock"):
        check(directory)


def test_a_directory_that_cannot_be_made_is_one_message(directory, monkeypatch):
    directory.folder.parent.write_text("in the way")
    with pytest.raises(ToymillError, match=r"cannot be written: .*results is a file"):
        check(directory)
    directory.folder.parent.unlink()

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(directory.folder), "mkdir", refused)
    with pytest.raises(ToymillError, match=r"cannot be written .*Permission denied.* Make it writable"):
        take(directory, [])


def test_files_from_the_future_are_brought_back_in_their_order(tmp_path):
    now = time.time_ns()
    hour = 3600 * 10**9
    steps = {"past": -hour, "late": 3 * hour, "early": hour, "same": hour, "between": 2 * hour}
    for name, step in steps.items():
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, ns=(now + step, now + step))
    bring_back([tmp_path, tmp_path / "missing"])
    times = {name: (tmp_path / name).stat().st_mtime_ns for name in steps}
    assert times["past"] == now - hour
    assert now - 10**9 < times["early"] == times["same"] < times["between"] < times["late"] <= time.time_ns()


def test_a_study_that_runs_can_be_checked(toy_mill, content, other, tmp_path):
    """Nothing in its results is touched; of another study's they are refused as before."""
    (tmp_path / "small.json").write_text(json.dumps(content))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").rglob("*")}
    code, out, _ = toy_mill("check", "small.json", "--no-pilot")
    assert code == 0
    assert f"It is running, as process {other.pid} on" in out
    assert "Next: toymill watch results/small" in out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "results").rglob("*")} == before
    (tmp_path / "small.json").write_text(json.dumps(content | {"seed": 5}))
    assert "results of another study" in toy_mill("check", "small.json", "--no-pilot")[2]
