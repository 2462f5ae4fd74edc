"""Studies through a real Slurm of two virtual nodes, which cluster.sh starts on this machine.

Results are compared byte for byte with those of the same study on one machine, also after each of the faults that a
cluster has. Needs root, for munge and for the nodes.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from folders import assert_same_results, content

SECONDS = 600  # a guard against a hang, not a measure of speed
CLUSTER = Path(__file__).with_name("cluster.sh")
QUICK = ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10"]


class Cluster:
    """The Slurm under test; its commands are in the PATH."""

    def __init__(self, folder):
        self.env = os.environ | {"FOLDER": str(folder)}

    def do(self, verb):
        # The daemons that it starts keep what it was given to write to: a pipe would never end.
        with (Path(self.env["FOLDER"]) / f"{verb}.txt").open("w+") as said:
            done = subprocess.run([CLUSTER, verb], env=self.env, stdout=said, stderr=said, check=False)
            said.seek(0)
            text = said.read()
        assert done.returncode == 0, text
        return text

    def running(self, rule):
        """[(job, node)] of the running jobs of a rule."""
        rows = ask("squeue", "--noheader", "--states", "running", "--format", "%i|%N|%k").splitlines()
        return [row.split("|")[:2] for row in rows if row.split("|")[2].strip().startswith(f"rule_{rule}")]


def ask(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS).stdout


def wait_for(what, process):
    """What the function gives as soon as it is something, while a run goes on."""
    deadline = time.monotonic() + SECONDS
    while not (found := what()):
        assert process.poll() is None, process.folder.joinpath("run.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def processes(folder):
    """The processes that work in a folder, and the last word of the command of each."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it is over
            words = (path / "cmdline").read_bytes().decode().split("\0")
            if words[-2:-1] and (path / "cwd").resolve() == folder.resolve():
                yield int(path.name), words[-2]


def scripts(folder, name):
    """The processes of jobs in a folder that run a script, whose name ends so."""
    return [number for number, last in processes(folder) if last.endswith(name)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("Slurm is started by root only")
    folder = tmp_path_factory.mktemp("slurm")
    cluster = Cluster(folder)
    if not all(shutil.which(command) for command in ("slurmctld", "slurmd", "munged", "sbatch")):
        try:
            cluster.do("install")
        except (AssertionError, OSError) as error:
            pytest.skip(f"Debian's packages of Slurm cannot be installed here: {error}")
    cluster.do("start")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
        yield cluster
    cluster.do("stop")


@pytest.fixture(scope="module")
def start(cluster):  # noqa: ARG001 -- whatever is started may need it
    """``start(command, folder)``: snakemake in a folder, in the background, its messages in run.txt."""
    started = []

    def start(arguments, folder):
        command = [sys.executable, "-m", "snakemake", "--directory", folder, *arguments]
        with (folder / "run.txt").open("a") as said:
            process = subprocess.Popen(list(map(str, command)), stdout=said, stderr=said, start_new_session=True)
        process.folder = folder
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for number, _ in list(processes(process.folder)):  # what a node that was down goes on with
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


def finish(process):
    """Waits for the end of a run, which has to be a success; gives its messages."""
    process.wait(timeout=SECONDS)
    text = (process.folder / "run.txt").read_text()
    assert process.returncode == 0, text
    return text


@pytest.fixture(scope="module")
def begin(root, start, tmp_path_factory):
    """``begin(study, profile, *arguments)``: a study in a folder of its own, or in that of an earlier run."""

    def begin(study, profile, *arguments, folder=None):
        folder = folder or tmp_path_factory.mktemp(profile)
        (folder / "study.yaml").write_text(yaml.safe_dump(study))
        words = ["--snakefile", root / "Snakefile", "--configfile", folder / "study.yaml"]
        words += ["--workflow-profile", root / "workflow/profiles" / profile]
        return start([*words, *arguments], folder)

    return begin


@pytest.fixture(scope="module")
def alone(begin):
    """``alone(study)``: the folder of its results on one machine, undisturbed."""
    known = {}

    def alone(study, *targets):
        name = study["study"]
        if name not in known:
            process = begin(study, "default", *targets)
            finish(process)
            known[name] = process.folder / "results" / name
        return known[name]

    return alone


def hww(root):
    """The default study, with fewer toys."""
    study = yaml.safe_load((root / "config/config.yaml").read_text())
    study |= {"model": str(root / study["model"]), "shard": 100, "fit": {"audit": 2}}
    for ensemble in study["ensembles"].values():
        ensemble["toys"] = 100
    return study


def scan(root, shards):
    """Eight truth points, as the scan of a limit has."""
    truth = {f"mu{point:02}": {"mu": point / 10} for point in range(8)}
    ensembles = {name: {"truth": mu, "toys": 100 * shards, "tests": [0.0]} for name, mu in truth.items()}
    model = str(root / "tests/data/onoff.json")
    return {"study": f"scan{shards}", "model": model, "ensembles": ensembles, "shard": 100, "fit": {"audit": 0}}


SMALL = [f"results/small/fits/one/{name}.h5" for name in ("000000000-000000199", "000000200-000000399")]
"""What a study of two jobs leaves, for the faults."""


def small(root):
    ensembles = {"one": {"truth": {"mu": 1.0}, "toys": 400, "tests": [0.0]}}
    model = str(root / "tests/data/onoff.json")
    return {"study": "small", "model": model, "ensembles": ensembles, "shard": 200, "fit": {"audit": 2}}


@pytest.fixture
def disturbed(root, begin, alone):
    """``disturbed(*arguments)`` begins the small study on Slurm; in the end it has to be the undisturbed one."""
    begun = []

    def disturbed(*arguments, folder=None):
        begun.append(begin(small(root), "slurm", *QUICK, *arguments, "--", *SMALL, folder=folder))
        return begun[-1]

    yield disturbed
    assert_same_results(begun[-1].folder / "results/small", alone(small(root), *SMALL))


def test_the_default_study(root, begin, alone):
    """From the first job to the report, by the profile as users have it."""
    process = begin(hww(root), "slurm", "--latency-wait", "10")
    finish(process)
    results = process.folder / "results/hww"
    assert (results / "report.html").exists()
    assert_same_results(results, alone(hww(root)))


@pytest.mark.long
@pytest.mark.parametrize("shards", [1, 3])
def test_a_scan_of_a_limit(root, begin, alone, shards):
    """Every job of it through Slurm; one truth point is compared."""
    study = scan(root, shards)
    process = begin(study, "slurm", *QUICK, "aggregate")
    finish(process)
    results = process.folder / f"results/scan{shards}"
    assert len(list(results.glob("fits/*/*.h5"))) == 8 * shards
    assert (results / "summary.json").exists()
    files = [f"fits/mu05/{first:09}-{first + 99:09}.h5" for first in range(0, 100 * shards, 100)]
    here = alone(study, *(f"results/scan{shards}/{file}" for file in files))
    assert content(results, *files) == content(here, *files)


@pytest.mark.long
def test_a_study_that_moves_and_grows(root, begin, alone):
    """Begun on one machine with other shards, finished on Slurm, and then with more toys: as made at once in one place."""

    def grown(toys, shard):
        ensembles = {"one": {"truth": {"mu": 1.0}, "toys": toys, "tests": [0.0]}}
        return small(root) | {"study": "moved", "ensembles": ensembles, "shard": shard}

    here = begin(grown(300, 120), "default", "--", "results/moved/fits/one/000000000-000000119.h5")
    finish(here)
    for study in (grown(300, 200), grown(500, 200)):
        finish(begin(study, "slurm", *QUICK, "aggregate", folder=here.folder))
    assert_same_results(here.folder / "results/moved", alone(grown(500, 200), "aggregate"))


def test_a_job_that_asks_for_a_gpu_is_given_one(root, start, tmp_path):
    """By the profile gpu, which asks for the rule fit; another rule has none."""
    (tmp_path / "Snakefile").write_text(
        "rule all:\n    input: 'fit', 'other'\n"
        "rule fit:\n    output: 'fit'\n    shell: 'echo ${{CUDA_VISIBLE_DEVICES:-none}} > {output}'\n"
        "rule other:\n    output: 'other'\n    shell: 'echo ${{CUDA_VISIBLE_DEVICES:-none}} > {output}'\n"
    )
    words = ["--snakefile", tmp_path / "Snakefile", "--workflow-profile", root / "workflow/profiles/gpu", *QUICK]
    finish(start(words, tmp_path))
    assert (tmp_path / "fit").read_text() == "0\n"
    assert (tmp_path / "other").read_text() == "none\n"


def test_a_cancelled_job_is_tried_again(cluster, disturbed):
    process = disturbed()
    wait_for(lambda: scripts(process.folder, "fit.py"), process)
    ask("scancel", cluster.running("fit")[0][0])
    assert "CANCELLED" in finish(process)


@pytest.mark.long
def test_a_job_goes_to_another_node_when_its_own_is_down(cluster, disturbed):
    process = disturbed()
    wait_for(lambda: scripts(process.folder, "fit.py"), process)
    _, node = cluster.running("fit")[0]
    ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    wait_for(lambda: "NODE_FAIL" in (process.folder / "run.txt").read_text(), process)
    ask("scontrol", "update", f"NodeName={node}", "State=RESUME")
    finish(process)


@pytest.mark.long
def test_a_controller_that_starts_again(cluster, disturbed):
    process = disturbed()
    wait_for(lambda: len(scripts(process.folder, "fit.py")) == 2, process)
    cluster.do("restart")
    finish(process)


@pytest.mark.long
def test_a_killed_run_begins_again_beside_its_own_jobs(root, cluster, begin, disturbed):
    """The jobs that Snakemake no longer knows write the same files as those that it submits anew, and end later."""
    killed = disturbed()
    old = [job for job, _ in wait_for(lambda: cluster.running("fit"), killed)]
    ask("scontrol", "suspend", ",".join(old))
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    finish(begin(small(root), "slurm", "--unlock", folder=killed.folder))
    again = disturbed(folder=killed.folder)
    wait_for(lambda: cluster.running("fit"), again)
    ask("scontrol", "resume", ",".join(old))
    finish(again)
    while ask("squeue", "--noheader", "--jobs", ",".join(old)):
        time.sleep(0.1)
    ended = ask("squeue", "--noheader", "--states", "all", "--jobs", ",".join(old), "--format", "%T").split()
    assert set(ended) == {"COMPLETED"}


@pytest.mark.long
def test_a_job_out_of_memory_gets_more(disturbed):
    """Slurm looks each second; with cgroups, which nodes of a real cluster have, the state is OUT_OF_MEMORY."""
    process = disturbed("--set-resources", "fit:mem_mb=300 if attempt == 1 else 4000")
    assert "SLURM status is: 'FAILED'" in finish(process)
    logs = process.folder.glob(".snakemake/slurm_logs/rule_fit/*/*.log")
    assert any("exceeded memory limit" in log.read_text() for log in logs)


@pytest.mark.long  # Slurm's times are in minutes, and it looks every half a minute
def test_a_job_that_hangs_is_ended_and_tried_again(disturbed):
    process = disturbed("--set-resources", "fit:runtime=1")
    os.kill(wait_for(lambda: scripts(process.folder, "fit.py"), process)[0], signal.SIGSTOP)
    assert "TIMEOUT" in finish(process)
