"""The workflow as a module of another one, and out of a wheel."""

import re
import subprocess
import sys
import zipfile

import pytest

SECONDS = 900  # a guard against a hang, not a measure of speed

OTHER = """
rule everything:
    input:
        "done.txt",

module toymill:
    snakefile: "{root}/workflow/Snakefile"
    config: config["toys"]
    {more}

use rule * from toymill as toymill_*

rule mine:
    input:
        "results/small/summary.json",
    output:
        "done.txt",
    run:
        shutil.copy(input[0], output[0])

onstart:
    toymill.onstart()

onsuccess:
    toymill.onsuccess()

onerror:
    toymill.onerror()
"""

CONFIG = """
toys:
  study: small
  model: {root}/tests/data/onoff.json
  ensembles:
    one: {{truth: {{mu: 1.0}}, toys: 100}}
  limit: {{toys: 100, background_toys: 100, points: 4}}
  shard: 1000
"""


@pytest.fixture
def other(root, tmp_path):
    """Runs another workflow that uses this one: ``other(*arguments, more="…")`` returns the finished process."""

    def call(*arguments, more=""):
        (tmp_path / "Snakefile").write_text("import shutil\n" + OTHER.format(root=root, more=more))
        (tmp_path / "config.yaml").write_text(CONFIG.format(root=root))
        words = ["--cores", "2", "--configfile", "config.yaml", *arguments]
        return subprocess.run(
            [sys.executable, "-m", "snakemake", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    return call


def test_another_workflow_uses_this_one(other):
    """Its own target stays the default one; rules have the names that it gives; paths are in its folder."""
    done = other("--dry-run")
    assert done.returncode == 0, done.stderr
    planned = done.stdout + done.stderr
    assert all(name in planned for name in ("everything", "mine", "toymill_design", "toymill_aggregate"))
    assert "toymill_all" not in planned
    done = other("--dry-run", more='prefix: "elsewhere"')
    assert done.returncode == 1
    assert "takes no prefix" in done.stdout + done.stderr


@pytest.mark.long
def test_another_workflow_runs_this_one(other, tmp_path):
    """Its jobs, and what is done before the first and after the last."""
    done = other()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "done.txt").read_bytes() == (tmp_path / "results/small/summary.json").read_bytes()
    assert (tmp_path / "results/small/study.json").exists()
    assert not (tmp_path / "results/small/.lock").exists()


def build(kind, folder, root):
    """A wheel or an sdist of the repository; the file."""
    code = f"import hatchling.build; print(hatchling.build.build_{kind}({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return folder / done.stdout.split()[-1]


def test_a_wheel_has_the_workflow_once(root, tmp_path):
    """Every file of the workflow, and no source of the package twice; the command."""
    from toymill.cli.studies import PARTS

    tracked = subprocess.run(["git", "ls-files", *PARTS], cwd=root, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(build("wheel", tmp_path, root)) as wheel:
        names = wheel.namelist()
        entry = next(name for name in names if name.endswith("entry_points.txt"))
        assert "toymill = toymill.cli:main" in wheel.read(entry).decode()
    packed = {name.removeprefix("toymill/_workflow/") for name in names if name.startswith("toymill/_workflow/")}
    assert packed >= {*tracked.stdout.split(), "docs/clusters.md", "docs/how-to.md"}
    assert not [name for name in packed if name.startswith("docs/") and not re.fullmatch(r"docs/[a-z-]+\.md", name)]
    assert len(names) == len(set(names))
    assert not [name for name in names if name.startswith(("src/", "tests/", "scripts/")) or ".pyc" in name]


@pytest.mark.long
def test_a_wheel_of_an_sdist_runs_a_study_where_it_is_installed(root, tmp_path):
    """In an environment of its own, which has the libraries but not this clone; with no workflow in the folder."""
    import sysconfig
    import tarfile

    with tarfile.open(build("sdist", tmp_path, root)) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("toymill-*/")
    wheel = build("wheel", tmp_path, source)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    install = [
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
        "--disable-pip-version-check",
        wheel,
    ]
    subprocess.run([sys.executable, "-m", "pip", *map(str, install)], check=True)
    (tmp_path / "study.yaml").write_text(
        f"study: small\nmodel: {root}/tests/data/onoff.json\nensembles: {{one: {{truth: {{mu: 1.0}}, toys: 100}}}}\nshard: 100\n"
    )
    libraries = {"PYTHONPATH": sysconfig.get_path("purelib"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    for words in (["init", "mine"], ["run", "study.yaml", "--cores", "1"], ["show", "results/small"]):
        done = subprocess.run(
            [tmp_path / "venv/bin/toymill", *words],
            cwd=tmp_path,
            env=libraries,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine/workflow/Snakefile").exists()
    assert (tmp_path / "results/small/provenance.json").exists()
