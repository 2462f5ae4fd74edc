"""A scan through Snakemake, in a folder of its own."""

import functools
import hashlib
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
import yaml
from patch_sets import write_scan

SECONDS = 900  # a guard against a hang, not a measure of speed


def command(root, folder, *arguments):
    words = ["--snakefile", root / "Snakefile", "--directory", folder, "--configfile", folder / "study.yaml"]
    return [sys.executable, "-m", "snakemake", *map(str, words), "--cores", "1", *arguments]


def run(root, folder, *arguments):
    return subprocess.run(
        command(root, folder, *arguments), capture_output=True, text=True, timeout=SECONDS, check=False
    )


def points_of(folder):
    return {path.parent.name: path.read_bytes() for path in folder.glob("results/bumps/scan/*/*.h5")}


def bumps(folder):
    """A scan of two points of three, with toys of their signals and tilted ones; it is written into the folder."""
    content = write_scan(folder, masses=(2, 4, 6), points=["m2", "m6"], toys=200, signal_toys=100, tilted_toys=200)
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    return content


def test_a_killed_scan_is_completed(root, tmp_path):
    """Files that are there stay; the answer is of all points."""
    bumps(tmp_path)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command(root, tmp_path), **quiet, start_new_session=True)
    deadline = time.monotonic() + SECONDS
    while not points_of(tmp_path):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    before = points_of(tmp_path)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run(command(root, tmp_path, "--unlock"), check=True, capture_output=True, timeout=SECONDS)
    done = run(root, tmp_path, "--rerun-incomplete")
    assert done.returncode == 0, done.stderr
    results = tmp_path / "results/bumps"
    assert {path.stem for path in (results / "plots").iterdir()} == {"scan"}
    assert (results / "report.html").exists()
    audits = [json.loads(path.read_text()) for path in sorted((results / "audit/scan").iterdir())]
    assert [(audit["ensemble"], audit["summary"]["missed"]) for audit in audits] == [("scan/m2", 0), ("scan/m6", 0)]
    assert before.items() <= points_of(tmp_path).items()
    assert "Nothing to be done" in run(root, tmp_path).stderr
    largest = json.loads((results / "summary.json").read_text())["answers"]["scan"]["largest"]
    assert largest["weighted"]["tilted"] == 200
    assert largest["weighted"]["p_value"]["toys"] == 400


@pytest.mark.long  # goes on from a study like the one above
def test_points_are_added_to_a_scan(root, tmp_path):
    """Files that are there stay; one that is made anew has the same bytes; the answer is of all points."""
    content, results = bumps(tmp_path), tmp_path / "results/bumps"
    done = run(root, tmp_path, "results/bumps/summary.json")
    assert done.returncode == 0, done.stderr
    two = points_of(tmp_path)
    next((results / "scan/m2").glob("*.h5")).unlink()
    (results / "scan/m6/000000000-000000149.h5").write_bytes(b"of other shards")
    content["scan"] |= {"points": ["m2", "m4", "m6"], "tilted_toys": 0}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    done = run(root, tmp_path, "results/bumps/summary.json")
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "results").rglob("*.part"))
    three = points_of(tmp_path)
    assert sorted(three) == ["m2", "m4", "m6"]
    assert two.items() <= three.items()
    answer = json.loads((results / "summary.json").read_text())["answers"]["scan"]
    assert [point["name"] for point in answer["points"]] == ["m2", "m4", "m6"]
    assert answer["largest"]["p_value"]["toys"] == 200
    assert answer["largest"]["gross_vitells"]["crossings"]["toys"] == 200
    for counts in ({"signal_toys": 50}, {"signal_toys": 150}, {"toys": 150}):
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(content | {"scan": content["scan"] | counts}))
        planned = run(root, tmp_path, "--dry-run", "--quiet", "rules")
        assert re.search(r"^scan +3$", planned.stdout + planned.stderr, re.MULTILINE), planned.stdout + planned.stderr


def test_a_patch_set_is_downloaded_before_the_plan_is_made(root, tmp_path, monkeypatch):
    """From a server on the loopback interface; a wrong digest stops the run."""
    content = write_scan(tmp_path, masses=(2, 4, 6))
    served = tmp_path / "served"
    served.mkdir()
    (tmp_path / "patchset.json").rename(served / "patchset.json")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=served)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        digest = hashlib.sha256((served / "patchset.json").read_bytes()).hexdigest()
        url = f"http://127.0.0.1:{server.server_port}/patchset.json"
        for sha256 in ("1" * 64, digest):
            content["scan"]["patches"] = {"url": url, "sha256": sha256}
            (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
            planned = run(root, tmp_path, "--dry-run", "--quiet", "rules")
            told = planned.stdout + planned.stderr
            assert "Traceback" not in told
            assert ("whether the record has a new version" in told) is (sha256 != digest)
            assert (planned.returncode != 0) is (sha256 != digest)
        server.shutdown()
    assert re.search(r"^scan +3$", told, re.MULTILINE), told


@pytest.mark.parametrize("change", [{"points": ["m7"]}, {"mu": 20.0}])
def test_a_scan_that_cannot_be_stops_before_any_job(root, tmp_path, change):
    content = write_scan(tmp_path, masses=(2, 6), **change)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    done = run(root, tmp_path)
    assert done.returncode != 0
    assert f"scan.{next(iter(change))}: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()
