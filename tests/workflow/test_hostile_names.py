"""Studies whose files, folders and parameters have names that a shell, Snakemake, a page or a figure could obey."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import h5py
import pytest
import yaml

SECONDS = 900  # a guard against a hang, not a measure of speed

FILES = [
    "a b.json",
    " lead and trail ",
    "$(touch MARKER).json",
    "`touch MARKER`.json",
    "; touch MARKER; .json",
    "&& touch MARKER |.json",
    "-x.json",
    "--directory=x",
    "'single'.json",
    '"double".json',
    "*.json",
    "?.json",
    "[a].json",
    "~.json",
    "#.json",
    "%s%20.json",
    "a\\b\\n.json",
    "$HOME.json",
    "!x.json",
    "µ🎉.json",
    "а.json",
    "..json",
    "x" * 250,
]
PARAMETERS = ["$\\foo", "$x$", "<script>alert(1)</script>", "a/b", ".", "..", "🎉", "x" * 400, "a\nb", "]]>&amp;", "-"]


def workspace():
    """A workspace of one bin, whose POI and other parameters have the names."""
    modifiers = [
        {"name": name, "type": "normsys", "data": {"hi": 1.1, "lo": 0.9}} if number else factor(name)
        for number, name in enumerate(PARAMETERS)
    ]
    return {
        "channels": [{"name": "<b>$\\c", "samples": [{"name": "{s}", "data": [50.0], "modifiers": modifiers}]}],
        "observations": [{"name": "<b>$\\c", "data": [50.0]}],
        "measurements": [{"name": "m", "config": {"poi": PARAMETERS[0], "parameters": []}}],
        "version": "1.0.0",
    }


def factor(name):
    return {"name": name, "type": "normfactor", "data": None}


def run(root, folder, study, *arguments):
    (folder / "study.yaml").write_text(yaml.safe_dump(study, allow_unicode=True))
    words = ["--snakefile", root / "Snakefile", "--directory", folder, "--configfile", folder / "study.yaml"]
    words = [sys.executable, "-m", "snakemake", *map(str, words), "--cores", "2", *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)


def study_of(folder):
    (folder / FILES[0]).write_text(json.dumps(workspace()))
    for name in FILES[1:]:
        (folder / name).write_text("[]")  # a patch without operations
    return {
        "study": "a.b+c-d_",
        "model": {"path": FILES[0], "patches": FILES[1:]},
        "ensembles": {"one_": {"truth": {PARAMETERS[0]: 1.0}, "toys": 20, "tests": [0.5]}},
        "fit": {"audit": 1, "max_failed": 1.0},
    }


def no_marker(*folders):
    return not any(list(folder.rglob("*MARKER")) for folder in folders)


def test_names_of_files_are_only_names(root, tmp_path):
    """The model is read and the jobs are planned, and no command runs."""
    folder = tmp_path / "it's a $(touch MARKER) folder"
    folder.mkdir()
    done = run(root, folder, study_of(folder), "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert no_marker(tmp_path)


@pytest.mark.long
def test_a_whole_study_of_hostile_names(root, tmp_path):
    folder = tmp_path / "it's a $(touch MARKER) folder"
    folder.mkdir()
    done = run(root, folder, study_of(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    assert no_marker(tmp_path)
    results = folder / "results" / "a.b+c-d_"
    figures = sorted((results / "plots").glob("*.svg"))
    assert figures
    for figure in figures:
        words = {element.tag.rpartition("}")[2] for element in ET.parse(figure).iter()}
        assert "script" not in words
        assert "<script>" not in figure.read_text(encoding="utf-8")
    summary = json.loads((results / "summary.json").read_text())
    assert set(summary["ensembles"]["one_"]["parameters"]) == set(PARAMETERS)
    with h5py.File(results / "summary.h5") as file:
        assert "a∕b" in file["ensembles/one_/parameters"]
        assert len(file["ensembles/one_/parameters"]) == len(PARAMETERS)
    report = (results / "report.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in report
