"""The profiles of clusters, without the clusters: dry runs, what they ask for, and the commands that come with them.

A dry run checks that Snakemake and the plugin of the executor know every key of a profile. What Slurm does with its
profiles is in test_slurm.py.
"""

import os
import subprocess
import sys

import pytest
import yaml

PROFILES = ["default", "slurm", "gpu", "htcondor", "generic", "kubernetes"]
MEMORY = {"htcondor": "htcondor_request_mem_mb"}
MINUTES = {"htcondor": ("allowed_execute_duration", 60)}


@pytest.fixture
def profiles(root):
    return root / "workflow/profiles"


def asked(profiles, name, rule, attempt):
    """(MB, minutes, GPUs) that a profile asks for, for one attempt at a job of a rule."""
    content = yaml.safe_load((profiles / name / "config.yaml").read_text())
    resources = content["default-resources"] | content["set-resources"].get(rule, {})
    key, unit = MINUTES.get(name, ("runtime", 1))
    memory, time = (
        eval(str(resources.get(key)), {"attempt": attempt})  # as Snakemake does
        for key in (MEMORY.get(name, "mem_mb"), key)
    )
    return memory, time and time / unit, resources.get("gpu", 0)


@pytest.mark.parametrize("name", PROFILES)
def test_a_dry_run_has_every_job(root, tmp_path, name):
    """One core each, and the memory of the profile; the names of profiles' files are found from any folder."""
    study = yaml.safe_load((root / "config/studies/tiny.yaml").read_text())
    study["model"] = str(root / study["model"])
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    command = [sys.executable, "-m", "snakemake", "--snakefile", root / "Snakefile", "--directory", tmp_path]
    command += ["--configfile", tmp_path / "study.yaml", "--workflow-profile", root / "workflow/profiles" / name]
    done = subprocess.run([*command, "--dry-run", "--quiet", "host"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    resources = [job.split("resources: ")[1].split("\n")[0] for job in text.split("rule fit:")[1:]]
    memory, gpus = asked(root / "workflow/profiles", name, "fit", 1)[::2]
    assert len(resources) == 2
    for words in resources:
        assert f"{MEMORY.get(name, 'mem_mb')}={memory}" in words.split(", ")
        assert ("gpu=1" in words.split(", ")) == bool(gpus)
    assert "threads:" not in text


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize(
    "rule", ["fit", "profile_intervals", "pilot", "audit", "compare", "aggregate", "tally", "finish"]
)
def test_profiles_ask_for_the_same(profiles, name, rule):
    memory, minutes, gpus = asked(profiles, name, rule, 1)
    on_gpu = name == "gpu" and rule in ("fit", "profile_intervals", "pilot")
    assert gpus == on_gpu
    if not on_gpu:
        assert memory == asked(profiles, "slurm", rule, 1)[0]
    if name == "default":
        assert minutes is None
        return
    if not on_gpu:
        assert minutes == asked(profiles, "slurm", rule, 1)[1]
    assert asked(profiles, name, rule, 3) == (3 * memory, 3 * minutes, gpus)


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """``stub(command, script)`` puts a shell script in the place of a command; it finds ``tmp_path`` as $HERE."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("HERE", str(tmp_path))

    def write(command, script):
        (tmp_path / command).write_text(f"#!/usr/bin/env bash\n{script}\n")
        (tmp_path / command).chmod(0o755)

    return write


def said(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("echo 'Job Id: 1'; echo '    job_state = R'", "running"),
        ("echo '    job_state = F'; echo '    Exit_status = 0'", "success"),
        ("echo '    job_state = F'; echo '    Exit_status = 271'", "failed"),
        ("echo 'cannot connect' >&2; exit 1", "running"),
    ],
)
def test_states_of_pbs(profiles, stub, answer, state):
    stub("qstat", answer)
    assert said(profiles / "generic/status", "1.server") == state


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("", "running"),
        ("echo -n 'SuccessCriteriaMet Complete'", "success"),
        ("echo -n 'FailureTarget Failed'", "failed"),
        ("echo 'no connection' >&2; exit 1", "running"),
    ],
)
def test_states_of_kubernetes(profiles, stub, answer, state):
    stub("kubectl", answer)
    assert said(profiles / "kubernetes/status", "job.batch/toymill-1") == state


def test_a_pod_is_asked_for_as_the_job_says(profiles, stub, tmp_path, monkeypatch):
    stub("kubectl", 'cat > "$HERE/manifest"; echo job.batch/toymill-1')
    monkeypatch.chdir(tmp_path)
    properties = '{"threads": 1, "resources": {"mem_mb": 4000, "runtime": 240}}'
    (tmp_path / "jobscript.sh").write_text(f"#!/bin/sh\n# properties = {properties}\ntrue\n")
    assert said(profiles / "kubernetes/submit", tmp_path / "jobscript.sh") == "job.batch/toymill-1"
    spec = yaml.safe_load((tmp_path / "manifest").read_text())["spec"]
    assert spec["activeDeadlineSeconds"] == 14400
    (container,) = spec["template"]["spec"]["containers"]
    assert container["command"] == ["bash", str(tmp_path / "jobscript.sh")]
    assert container["workingDir"] == str(tmp_path)
    assert container["resources"]["requests"] == {"cpu": "1", "memory": "4000M"}


def test_a_job_goes_through_the_commands_of_kubernetes(root, tmp_path, stub, monkeypatch):
    """With a kubectl that runs the job at once, here: what is submitted is what has to be run."""
    stub(
        "kubectl",
        """
        if [ "$1" = create ]; then
          script=$(sed --quiet 's/.*command: .bash, "\\(.*\\)".$/\\1/p')
          bash "$script" > /dev/null 2>&1 && end=Complete || end=Failed
          echo -n "$end" > "$HERE/ended-$$"
          echo "ended-$$"
        else
          cat "$HERE/$2"
        fi
        """,
    )
    monkeypatch.chdir(tmp_path)
    study = yaml.safe_load((root / "config/studies/tiny.yaml").read_text())
    study |= {"model": str(root / study["model"])}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    command = [sys.executable, "-m", "snakemake", "--snakefile", root / "Snakefile", "--configfile", "study.yaml"]
    command += ["--workflow-profile", root / "workflow/profiles/kubernetes", "--seconds-between-status-checks", "1"]
    command += ["--latency-wait", "5", "resolve"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results/tiny/model.json").exists()
