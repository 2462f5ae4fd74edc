"""Faults, seeded and repeatable: after each the study is completed, and has the bytes of an undisturbed run.

    python benchmarks/faults.py                      # 200 killed jobs, and every other fault some times
    python benchmarks/faults.py --only job --kills 50 --seed 7
    python benchmarks/faults.py --only full mount    # these mount a small file system: by root, on Linux

Prints a table with a line for each fault: how often it was tried, what happened, and how often all bytes were right in the
end. Whatever went otherwise is told on stderr, and makes the exit code 1.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path("results/small")
SHARD = "results/small/fits/one/000000000-000002999.h5"

STUDY = {
    "study": "small",
    "model": "ws.json",
    "ensembles": {"one": {"truth": {"mu": 1.0}, "toys": 6000, "tests": [0.0]}},
    "shard": 3000,
    "fit": {"audit": 2},
}
LARGE = STUDY | {"ensembles": {"one": {"truth": {"mu": 1.0}, "toys": 200000}}, "shard": 200000}
"""A study whose only shard is fitted in four chunks of toys."""

JOB = """
from toymill.job import prepare, reported
prepare()
import sys, yaml
from pathlib import Path
from toymill.config.study import read_study, shard_named
from toymill.study.layout import superseded
from toymill.study.shards import fit_shard
with reported([]):
    path = Path(sys.argv[1])
    fit_shard(read_study(yaml.safe_load(Path("study.yaml").read_text())), "one", shard_named(path.stem), path, superseded(path))
"""
"""What a fit job does, without Snakemake."""

TIMED = ("provenance.json", "report.html")
"""Files that tell when they were made."""

WHOLE = ("audit", "plots", "explore.html")
"""Folders and files that only a whole study has, not one as far as its summary."""


class Ground:
    """A folder with a finished study, the times that its runs take, and folders like it to disturb."""

    def __init__(self, place: Path, study: Mapping[str, object] = STUDY) -> None:
        self.place = place
        self.study = study
        self.reference = self.folder("reference")
        begin = time.monotonic()
        succeed(run(self.reference))
        self.run_seconds = time.monotonic() - begin
        succeed(run(self.reference, target="study"))
        self.expected = contents(self.reference)
        folder = self.folder("job")
        begin = time.monotonic()
        assert ended(job(folder)) == 0 or study is not STUDY
        self.job_seconds = time.monotonic() - begin
        self._large: Ground | None = None

    @property
    def large(self) -> "Ground":
        """That of a study whose jobs take several chunks of toys."""
        if self._large is None:
            place = self.place / "large"
            place.mkdir()
            self._large = Ground(place, LARGE)
        return self._large

    def folder(self, name: str, *, finished: bool = False) -> Path:
        """A new folder of this name with the study; ``finished`` has its results, and each has compiled programs."""
        folder = self.place / name
        shutil.rmtree(folder, ignore_errors=True)
        if finished:
            shutil.copytree(self.reference, folder)
        else:
            folder.mkdir()
            self.fill(folder, programs=name != "reference")
        return folder

    def fill(self, folder: Path, *, programs: bool = True) -> None:
        """Put the study into a folder, with compiled programs or without."""
        (folder / "study.yaml").write_text(yaml.safe_dump(self.study))
        shutil.copy(ROOT / "tests/data/onoff.json", folder / "ws.json")
        cache = Path(".snakemake/toymill/jax-cache")
        if programs:
            shutil.copytree(self.reference / cache, folder / cache)

    def complete(self, folder: Path, *arguments: str, whole: bool = False, **changes: str) -> None:
        """Run a study again, as far as its summary or wholly, and compare all bytes with those of the undisturbed run.

        Raises:
            AssertionError: it fails; or a file differs, is missing, or is there besides.
        """
        succeed(run(folder, *arguments, target="study" if whole else "aggregate", **changes))
        self.compare(folder, whole=whole)

    def compare(self, folder: Path, *, whole: bool = False) -> None:
        """Compare all bytes of the results; raises AssertionError as ``complete`` does."""
        got, expected = (
            {path: value for path, value in files.items() if whole or not path.startswith(WHOLE)}
            for files in (contents(folder), self.expected)
        )
        differ = sorted(path for path in got.keys() & expected.keys() if got[path] != expected[path])
        missing, besides = sorted(expected.keys() - got.keys()), sorted(got.keys() - expected.keys())
        assert got == expected, f"{folder}: other bytes: {differ}; missing: {missing}; besides: {besides}"


def environment(**changes: str) -> dict[str, str]:
    """That of a user, without this run's own settings of JAX."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    return kept | {"PYTHONPATH": str(ROOT / "src")} | changes


def words(*arguments: str, target: str = "aggregate", study: str = "study.yaml") -> list[str]:
    """Snakemake's command on the study in the working directory, as far as its summary."""
    command = [sys.executable, "-m", "snakemake", target, *arguments, "--snakefile", str(ROOT / "Snakefile")]
    return [*command, "--configfile", study, "--cores", "2", "--rerun-incomplete"]


def run(folder: Path, *arguments: str, target: str = "aggregate", **changes: str) -> subprocess.CompletedProcess[str]:
    """A run of Snakemake in a folder, to its end; what a killed one has locked is unlocked first."""
    told = {"cwd": folder, "env": environment(**changes), "capture_output": True, "text": True, "check": False}
    if (folder / ".snakemake/locks").exists():
        subprocess.run(words("--unlock"), **told)  # type: ignore[call-overload]
    done: subprocess.CompletedProcess[str] = subprocess.run(words(*arguments, target=target), **told)  # type: ignore[call-overload]
    return done


def succeed(done: subprocess.CompletedProcess[str]) -> None:
    """Raise AssertionError unless a run succeeded."""
    assert done.returncode == 0, done.stderr[-3000:]


def refused(done: subprocess.CompletedProcess[str], *told: str) -> None:
    """Raise AssertionError unless a run failed with these words, and without a traceback."""
    assert done.returncode != 0, f"expected a refusal: {told}"
    for sentence in told:
        assert sentence in done.stderr, f"{sentence!r} is not in:\n{done.stderr[-3000:]}"
    assert "Traceback" not in done.stderr, done.stderr[-3000:]


def begun(folder: Path, *arguments: str, study: str = "study.yaml") -> subprocess.Popen[bytes]:
    """A run that goes on meanwhile, in a process group of its own."""
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    return subprocess.Popen(words(*arguments, study=study), cwd=folder, env=environment(), **quiet)


def job(folder: Path, limit: tuple[int, int] | None = None) -> subprocess.Popen[str]:
    """A fit job of the first shard, which limits one of its resources first: a process that has JAX may not fork itself."""
    limited = f"import resource; resource.setrlimit({limit[0]}, ({limit[1]}, {limit[1]}))\n" if limit else ""
    return subprocess.Popen(
        [sys.executable, "-c", limited + JOB, SHARD],
        cwd=folder,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> int:
    """The exit code of a job, when it has ended; what it told is read."""
    process.communicate()
    return process.returncode


def contents(folder: Path) -> Mapping[str, bytes]:
    """The bytes of all results, but for files that tell when they were made."""
    results = folder / RESULTS
    paths = [path for path in results.rglob("*") if path.is_file() and path.name not in TIMED]
    return {str(path.relative_to(results)): path.read_bytes() for path in paths}


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[Any]) -> None:
    """Wait until there is a file, or a process has ended."""
    while process.poll() is None and not list(folder.glob(pattern)):
        time.sleep(0.01)


def fit_jobs(folder: Path) -> list[int]:
    """The processes of a folder's jobs that fit."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        if len(command) > 1 and command[1].startswith(bytes(folder / ".snakemake")) and command[1].endswith(b"fit.py"):
            found.append(int(path.parent.name))
    return sorted(found)


def one_fit_job(folder: Path, process: subprocess.Popen[Any], draw: random.Random) -> int | None:
    """One of a run's fit jobs, once there is any; None if the run ends before."""
    while process.poll() is None:
        found = fit_jobs(folder)
        if found:
            return draw.choice(found)
        time.sleep(0.01)
    return None


def may_mount() -> bool:
    """Whether this process may mount file systems: root may, outside of most containers."""
    tried = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", tempfile.gettempdir()]
    return bool(shutil.which("unshare")) and subprocess.run(tried, capture_output=True, check=False).returncode == 0


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[None]:
    """A file system of some bytes, in memory, at a folder."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def killed_job(ground: Ground, draw: random.Random) -> None:
    """A fit job killed at a random moment of its life, or while it writes."""
    folder = ground.folder("killed-job")
    process = job(folder)
    if draw.random() < 0.5:
        wait_for(folder, f"{RESULTS}/fits/one/.*.part", process)
        time.sleep(draw.random() * 0.1 * ground.job_seconds)
    else:
        time.sleep(draw.random() * 1.1 * ground.job_seconds)
    process.kill()
    process.communicate()
    assert ended(job(folder)) == 0
    found = {path: value for path, value in contents(folder).items() if not path.endswith(".part")}
    name = SHARD.removeprefix(f"{RESULTS}/")
    assert found == {name: ground.expected[name]}, f"{folder}: {sorted(found)}"


def killed_job_of_run(ground: Ground, draw: random.Random) -> None:
    """A fit job of a living run killed."""
    folder = ground.folder("killed-job-of-run")
    process = begun(folder)
    victim = one_fit_job(folder, process, draw)
    time.sleep(draw.random() * 0.8 * ground.job_seconds)
    assert victim is not None
    with suppress(ProcessLookupError):  # it had ended before
        os.kill(victim, signal.SIGKILL)
    process.wait()
    ground.complete(folder)


def killed_run(ground: Ground, draw: random.Random) -> None:
    """Snakemake and all its jobs killed at a random moment."""
    folder = ground.folder("killed-run")
    process = begun(folder)
    time.sleep(draw.random() * ground.run_seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    ground.complete(folder, whole=True)


def killed_main(ground: Ground, draw: random.Random) -> None:
    """Snakemake killed, and run again while its jobs run on."""
    folder = ground.folder("killed-main")
    process = begun(folder)
    one_fit_job(folder, process, draw)
    time.sleep(draw.random() * ground.job_seconds)
    process.kill()
    process.wait()
    succeed(run(folder))
    while fit_jobs(folder):  # a job of the first run may end last
        time.sleep(0.1)
    ground.compare(folder)


def stopped_run(ground: Ground, draw: random.Random) -> float:
    """Ctrl-C, or SIGTERM to all processes, at a random moment."""
    folder = ground.folder("stopped-run")
    process = begun(folder)
    time.sleep(draw.random() * ground.run_seconds)
    begin = time.monotonic()
    os.killpg(process.pid, draw.choice([signal.SIGINT, signal.SIGTERM]))
    process.wait()
    seconds = time.monotonic() - begin
    ground.complete(folder, whole=True)
    return seconds


def stopped_job(ground: Ground, draw: random.Random) -> float:
    """Ctrl-C while a job fits chunks of toys."""
    ground = ground.large
    folder = ground.folder("stopped-job")
    process = begun(folder)
    wait_for(folder, f"{RESULTS}/fits/one/.*.part", process)
    job_starts = time.monotonic()
    while time.monotonic() < job_starts + draw.random() * 0.5 * ground.run_seconds and process.poll() is None:
        time.sleep(0.01)
    begin = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    process.wait()
    seconds = time.monotonic() - begin
    left = [path for path in (folder / RESULTS).glob("*/one/*") if path.suffix != ".h5"]
    assert not left, f"left: {left}"
    ground.complete(folder)
    return seconds


def hanging_job(ground: Ground, draw: random.Random) -> None:
    """A fit job that hangs (SIGSTOP), and is killed by hand."""
    folder = ground.folder("hanging-job")
    process = begun(folder)
    victim = one_fit_job(folder, process, draw)
    assert victim is not None
    time.sleep(draw.random() * 0.5 * ground.job_seconds)
    os.kill(victim, signal.SIGSTOP)
    time.sleep(1.0)
    assert process.poll() is None, "Snakemake does not wait for a job that hangs"
    os.kill(victim, signal.SIGKILL)
    assert process.wait() != 0
    ground.complete(folder)


def second_run(ground: Ground, draw: random.Random) -> None:
    """A second run of a study at a random moment of the first."""
    folder = ground.folder("second-run")
    first = begun(folder)
    time.sleep(draw.random() * 0.6 * ground.run_seconds)
    second = subprocess.run(words(), cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    if first.wait() == 0:  # whichever took the directory is whole; a second one after its end has nothing to do
        if second.returncode != 0:
            refused(second)
            told = (
                "is being written by another run of this study",
                "Directory cannot be locked",
            )  # ours, and Snakemake's
            assert any(sentence in second.stderr for sentence in told), second.stderr[-3000:]
    else:
        succeed(second)
    ground.compare(folder)


def two_studies(ground: Ground, draw: random.Random) -> None:
    """Two different studies at once in one folder."""
    folder = ground.folder("two-studies")
    other = {**ground.study, "study": "other", "seed": 1}
    (folder / "other.yaml").write_text(yaml.safe_dump(other))
    one = begun(folder)
    time.sleep(draw.random() * 0.5 * ground.run_seconds)
    two = begun(folder, study="other.yaml")
    assert (one.wait(), two.wait()) == (0, 0)
    ground.compare(folder)
    assert (folder / "results/other/summary.json").exists()


def file_too_large(ground: Ground, draw: random.Random) -> None:
    """A shard that may not be as large as it is (RLIMIT_FSIZE)."""
    folder = ground.folder("file-too-large")
    size = len((ground.reference / SHARD).read_bytes())
    process = job(folder, (resource.RLIMIT_FSIZE, draw.randrange(1000, size)))
    _, told = process.communicate()
    refused(subprocess.CompletedProcess([], process.returncode, "", told), f"{SHARD} could not be written")
    left = [path.name for path in (folder / "results").rglob("*") if path.is_file()]
    assert not left, f"left: {left}"
    ground.complete(folder)


def full_results(ground: Ground, draw: random.Random) -> None:
    """A results directory on a disk that gets full."""
    folder = ground.folder("full-results")
    size = sum(len(value) for value in ground.expected.values())
    with small_disk(folder / "results", draw.randrange(8, size // 4096) * 4096):
        done = run(folder, target="study")
        if done.returncode:  # else a part of the report alone had no room
            refused(done, "No space left on device", "Make room for it")
        left = list((folder / "results").rglob(".*.part"))
        assert not left, f"left: {left}"
        subprocess.run(["mount", "-o", f"remount,size={64 * size}", folder / "results"], check=True)
        ground.complete(folder, whole=True)


def full_disk(ground: Ground, draw: random.Random) -> None:
    """A working directory on a disk that gets full, with all that Snakemake writes there."""
    place = ground.place / "full-disk"
    with small_disk(place, 2**26):
        ground.fill(place)
        used = sum(path.stat().st_blocks * 512 for path in place.rglob("*"))
        size = sum(len(value) for value in ground.expected.values())
        subprocess.run(["mount", "-o", f"remount,size={used + draw.randrange(2 * size)}", place], check=True)
        done = run(place, target="study")
        left = list((place / "results").rglob(".*.part"))
        assert done.returncode == 0 or not left, f"left: {left}"
        subprocess.run(["mount", "-o", f"remount,size={2**26}", place], check=True)
        ground.complete(place, whole=True)


def no_memory(ground: Ground, draw: random.Random) -> None:
    """A job that may not have the memory that it needs (RLIMIT_AS)."""
    folder = ground.folder("no-memory")
    process = job(folder, (resource.RLIMIT_AS, draw.randrange(200, 900) * 2**20))
    process.communicate()
    assert process.returncode != 0
    ground.complete(folder)


def damaged_shard(ground: Ground, draw: random.Random) -> None:
    """A shard cut short, or with one bit flipped, at a random place."""
    folder = ground.folder("damaged", finished=True)
    path = folder / SHARD
    content, times = bytearray(path.read_bytes()), path.stat()
    place = draw.randrange(len(content))
    if draw.random() < 0.3:
        content = content[:place]
    else:
        content[place] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    refused(run(folder, "--forcerun", "aggregate"), f"{SHARD} is damaged", f"--forcerun {SHARD}")
    ground.complete(folder, "--forcerun", SHARD, whole=True)


EDITED = {"model.json": "aggregate", "summary.json": "plot_study", "audit/one.json": "plot_study"}
"""Files that may be edited by hand, and a rule that reads each."""


def edited_file(ground: Ground, draw: random.Random) -> None:
    """A number of model.json, summary.json or an audit changed by hand."""
    folder = ground.folder("edited", finished=True)
    name = draw.choice(list(EDITED))
    path = folder / RESULTS / name
    content, times = json.loads(path.read_text()), path.stat()
    content["toymill"] = "9.9.9"
    path.write_text(json.dumps(content, indent=1))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    done = run(folder, "--forcerun", EDITED[name], target=EDITED[name])
    refused(done, f"{RESULTS}/{name} is not what was written", f"--forcerun {RESULTS}/{name}")
    ground.complete(folder, "--forcerun", f"{RESULTS}/{name}", whole=True)


def no_directory(ground: Ground, draw: random.Random) -> None:  # noqa: ARG001
    """A results directory that cannot be made: a file has its name."""
    folder = ground.folder("no-directory")
    (folder / "results").write_text("in the way")
    refused(run(folder), f"{RESULTS} cannot be written: results is a file. Move it")
    (folder / "results").unlink()
    ground.complete(folder)


def removed_results(ground: Ground, draw: random.Random) -> None:
    """Some files of the results removed, or all of them."""
    folder = ground.folder("removed", finished=True)
    paths = [path for path in (folder / RESULTS).rglob("*") if path.is_file()]
    for path in draw.sample(paths, draw.randint(1, len(paths))):
        path.unlink()
    if draw.random() < 0.3:
        shutil.rmtree(folder / "results")
    ground.complete(folder, whole=True)


def read_only(ground: Ground, draw: random.Random) -> None:  # noqa: ARG001
    """A results directory that cannot be written: a read-only mount."""
    folder = ground.folder("read-only")
    with small_disk(folder / "results", 2**26):
        subprocess.run(["mount", "-o", "remount,ro", folder / "results"], check=True)
        refused(run(folder), f"{RESULTS} cannot be written", "Read-only file system", "Make it writable")
        subprocess.run(["mount", "-o", "remount,rw", folder / "results"], check=True)
        ground.complete(folder)


def clock_steps(ground: Ground, draw: random.Random) -> None:
    """Times of all files changed by up to a year, to both sides; and a shard made anew."""
    folder = ground.folder("clock", finished=True)
    for path in [folder / "ws.json", *(folder / "results").rglob("*")]:
        step = draw.randrange(-(10**9), 10**9) * 3 * 10**7
        os.utime(path, ns=(time.time_ns() + step, time.time_ns() + step))
    ground.complete(folder, "--forcerun", SHARD, whole=True)


def damaged_cache(ground: Ground, draw: random.Random) -> None:
    """Compiled programs cut short, as by a killed job."""
    folder = ground.folder("cache")
    cache = folder / ".snakemake/toymill/jax-cache"
    entries = [path for path in cache.rglob("*") if path.is_file() and path.parent.name != "jobs"]
    assert entries
    for path in entries:
        content = path.read_bytes()
        path.write_bytes(content[: draw.randrange(len(content))])
    ground.complete(folder)


def odd_environment(ground: Ground, draw: random.Random) -> None:  # noqa: ARG001
    """No home, no temporary folder, and settings that would change how numbers are computed."""
    folder = ground.folder("environment")
    odd = {
        "HOME": "/proc/none",
        "TMPDIR": "/proc/none",
        "OMP_NUM_THREADS": "7",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    odd |= {"JAX_PLATFORMS": "nonsense", "XLA_FLAGS": "--nonsense", "OPENBLAS_CORETYPE": "Prescott"}
    ground.complete(folder, whole=True, **odd)


def full_temporary(ground: Ground, draw: random.Random) -> None:  # noqa: ARG001
    """A home and a temporary folder on a disk that is full."""
    folder, full = ground.folder("full-temporary"), ground.place / "full"
    with small_disk(full, 4096):
        (full / "file").write_bytes(bytes(4096))
        odd = {name: str(full) for name in ("HOME", "TMPDIR", "TMP", "TEMP")}
        ground.complete(folder, whole=True, **odd, XDG_CACHE_HOME=str(folder / "cache"))


class Fault(NamedTuple):
    """A fault: what does it, how often it is tried, what happens then, and whether it mounts a file system."""

    does: Callable[[Ground, random.Random], float | None]
    times: int
    outcome: str
    mounts: bool = False


AGAIN = "the same command completes the study"
FAULTS: dict[str, Fault] = {
    "job": Fault(killed_job, 200, "made anew"),
    "job-of-run": Fault(killed_job_of_run, 10, f"the run fails; {AGAIN}"),
    "run": Fault(killed_run, 10, f"after `--unlock` {AGAIN}"),
    "main": Fault(killed_main, 5, f"after `--unlock` {AGAIN}"),
    "stop": Fault(stopped_run, 10, f"ended within {{:.0f}} s; {AGAIN}"),
    "chunks": Fault(stopped_job, 5, "ended within {:.0f} s; chunks that are done are kept, and used again"),
    "hang": Fault(hanging_job, 3, f"Snakemake waits for it; killed, the run fails; {AGAIN}"),
    "second": Fault(second_run, 50, "the second is refused, the first whole"),
    "two": Fault(two_studies, 3, "both whole"),
    "disk": Fault(file_too_large, 5, f"one message, nothing left of the file; {AGAIN}"),
    "full": Fault(full_results, 5, f"one message, nothing left of the file; with more room {AGAIN}", mounts=True),
    "full-all": Fault(full_disk, 5, f"the run fails; with more room {AGAIN}", mounts=True),
    "memory": Fault(no_memory, 3, f"the job fails; with more memory {AGAIN}"),
    "shard": Fault(damaged_shard, 10, "refused by name; made anew by the command that is told"),
    "edit": Fault(edited_file, 6, "refused by name; made anew by the command that is told"),
    "directory": Fault(no_directory, 1, f"refused by name; then {AGAIN}"),
    "removed": Fault(removed_results, 5, AGAIN),
    "mount": Fault(read_only, 1, f"refused by name; then {AGAIN}", mounts=True),
    "clock": Fault(clock_steps, 5, "completed"),
    "cache": Fault(damaged_cache, 3, "programs compiled anew"),
    "environment": Fault(odd_environment, 1, "completed"),
    "temporary": Fault(full_temporary, 1, "completed", mounts=True),
}
"""Every fault by name."""


def main(arguments: list[str] | None = None) -> int:
    """Try the faults, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--times", type=int, help="how often each is tried")
    parser.add_argument("--kills", type=int, help="how often a fit job is killed")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    wrong = 0
    with tempfile.TemporaryDirectory() as place:
        ground = Ground(Path(place))
        print("| name | fault | tried | outcome | bits equal |\n|---|---|---|---|---|", flush=True)
        for name in given.only:
            fault = FAULTS[name]
            if fault.mounts and not may_mount():
                print(f"| `{name}` | {fault.does.__doc__} | 0 | not tried: no right to mount | |", flush=True)
                continue
            draw = random.Random(f"{given.seed} {name}")
            often = (given.kills if name == "job" else None) or given.times or fault.times
            numbers = []
            for number in range(often):
                try:
                    numbers.append(fault.does(ground, draw) or 0.0)
                except AssertionError:
                    sys.stderr.write(f"{name}, number {number} of seed {given.seed}:\n{traceback.format_exc()}\n")
            wrong += often - len(numbers)
            outcome = fault.outcome.format(max(numbers, default=0.0))
            told = str(fault.does.__doc__).rstrip(".")
            print(f"| `{name}` | {told} | {often} | {outcome} | {len(numbers)} |", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
