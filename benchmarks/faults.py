"""Faults, seeded and repeatable: after each the study is completed, and has the bytes of an undisturbed run.

    python benchmarks/faults.py                      # 200 killed jobs, and every other fault some times
    python benchmarks/faults.py --only job --times 50 --seed 7

Prints a table with a line for each fault: how often it was tried, and how often the end was right. Exit code 1 if not always.
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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
SHARD = "results/small/fits/one/000000000-000002999.h5"

STUDY = {
    "study": "small",
    "model": "ws.json",
    "ensembles": {"one": {"truth": {"mu": 1.0}, "toys": 6000, "tests": [0.0]}},
    "shard": 3000,
    "fit": {"audit": 2},
}

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


class Ground:
    """A folder with a finished study, the times that its runs take, and folders like it to disturb."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.reference = self.folder("reference")
        begin = time.monotonic()
        done = run(self.reference)
        assert done.returncode == 0, done.stderr
        self.run_seconds = time.monotonic() - begin
        self.expected = contents(self.reference)
        begin = time.monotonic()
        folder = self.folder("job")
        assert job(folder).wait() == 0
        self.job_seconds = time.monotonic() - begin

    def folder(self, name: str, *, finished: bool = False) -> Path:
        """A new folder of this name with the study; ``finished`` has its results, and each has compiled programs."""
        folder = self.place / name
        shutil.rmtree(folder, ignore_errors=True)
        if finished:
            shutil.copytree(self.reference, folder)
        else:
            folder.mkdir()
            (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
            shutil.copy(ROOT / "tests/data/onoff.json", folder / "ws.json")
            cache = Path(".snakemake/toymill/jax-cache")
            if name != "reference":
                shutil.copytree(self.reference / cache, folder / cache)
        return folder

    def is_right(self, folder: Path) -> bool:
        """Whether a folder has the results of the undisturbed run, and nothing else."""
        return contents(folder) == self.expected


def environment(**changes: str) -> dict[str, str]:
    """That of a user, without this run's own settings of JAX."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    return kept | {"PYTHONPATH": str(ROOT / "src")} | changes


def words(*arguments: str, target: str = "aggregate") -> list[str]:
    """Snakemake's command on the study in the working directory, as far as its summary."""
    command = [sys.executable, "-m", "snakemake", target, *arguments, "--snakefile", str(ROOT / "Snakefile")]
    return [*command, "--configfile", "study.yaml", "--cores", "2", "--rerun-incomplete"]


def run(folder: Path, *arguments: str, target: str = "aggregate", **changes: str) -> subprocess.CompletedProcess[str]:
    """A run of Snakemake in a folder, to its end; what a killed one has locked is unlocked first."""
    begun = {"cwd": folder, "env": environment(**changes), "capture_output": True, "text": True, "check": False}
    if (folder / ".snakemake/locks").exists():
        subprocess.run(words("--unlock"), **begun)  # type: ignore[call-overload]
    done: subprocess.CompletedProcess[str] = subprocess.run(words(*arguments, target=target), **begun)  # type: ignore[call-overload]
    return done


def begun(folder: Path) -> subprocess.Popen[bytes]:
    """A run that goes on meanwhile, in a process group of its own."""
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    return subprocess.Popen(words(), cwd=folder, env=environment(), **quiet)


def job(folder: Path, limit: tuple[int, int] | None = None) -> subprocess.Popen[str]:
    """A fit job of the first shard, with a limit of its resources."""
    return subprocess.Popen(
        [sys.executable, "-c", JOB, SHARD],
        cwd=folder,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=(lambda: resource.setrlimit(limit[0], (limit[1], limit[1]))) if limit else None,
    )


def contents(folder: Path) -> Mapping[str, bytes]:
    """The bytes of all results."""
    results = folder / "results/small"
    paths = [path for path in results.rglob("*") if path.is_file()]
    return {str(path.relative_to(results)): path.read_bytes() for path in paths}


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[Any]) -> None:
    """Wait until there is a file, or a process has ended."""
    while process.poll() is None and not list(folder.glob(pattern)):
        time.sleep(0.01)


def killed_job(ground: Ground, draw: random.Random) -> bool:
    """A fit job killed at a random moment: of its life, or every other time from when it has begun to write."""
    folder = ground.folder("killed-job")
    process = job(folder)
    if draw.random() < 0.5:
        wait_for(folder, "results/small/fits/one/.*.part", process)
        time.sleep(draw.random() * 0.3 * ground.job_seconds)
    else:
        time.sleep(draw.random() * 1.1 * ground.job_seconds)
    process.kill()
    process.communicate()
    assert job(folder).wait() == 0
    name = SHARD.removeprefix("results/small/")
    return {path: value for path, value in contents(folder).items() if not path.endswith(".part")} == {
        name: ground.expected[name]
    }


def killed_run(ground: Ground, draw: random.Random) -> bool:
    """Snakemake and all its jobs killed at a random moment, and the study run again."""
    folder = ground.folder("killed-run")
    process = begun(folder)
    time.sleep(draw.random() * ground.run_seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return run(folder).returncode == 0 and ground.is_right(folder)


def killed_main(ground: Ground, draw: random.Random) -> bool:
    """Snakemake killed, and run again while its jobs run on."""
    folder = ground.folder("killed-main")
    process = begun(folder)
    wait_for(folder, ".snakemake/scripts/*fit.py", process)
    time.sleep(draw.random() * ground.job_seconds)
    process.kill()
    process.wait()
    done = run(folder)
    time.sleep(ground.job_seconds)  # a job of the first run may end last
    return done.returncode == 0 and ground.is_right(folder)


def stopped_run(ground: Ground, draw: random.Random) -> bool:
    """Ctrl-C at a random moment, and the study run again."""
    folder = ground.folder("stopped-run")
    process = begun(folder)
    time.sleep(draw.random() * ground.run_seconds)
    os.killpg(process.pid, signal.SIGINT)
    process.wait()
    return run(folder).returncode == 0 and ground.is_right(folder)


def second_run(ground: Ground, draw: random.Random) -> bool:
    """A second run of a study at a random moment of the first: it is refused by name, and the first is whole."""
    folder = ground.folder("second-run")
    first = begun(folder)
    wait_for(folder, "results/small/.lock", first)
    time.sleep(draw.random() * 0.5 * ground.run_seconds)
    command = words()
    second = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    refused = second.returncode != 0 and "is being written by another run of this study" in second.stderr
    if first.poll() is not None and not refused:  # the first had ended before
        refused = second.returncode == 0
    return first.wait() == 0 and refused and ground.is_right(folder)


def full_disk(ground: Ground, draw: random.Random) -> bool:
    """A shard that does not fit on the disk: one message, nothing left of it, and whole once there is room."""
    folder = ground.folder("full-disk")
    size = len((ground.reference / SHARD).read_bytes())
    process = job(folder, (resource.RLIMIT_FSIZE, draw.randrange(1000, size)))
    _, told = process.communicate()
    clean = process.returncode == 1 and "could not be written" in told and "Traceback" not in told
    left = [path.name for path in (folder / "results").rglob("*") if path.is_file()]
    return clean and not left and run(folder).returncode == 0 and ground.is_right(folder)


def no_memory(ground: Ground, draw: random.Random) -> bool:
    """A job that may not have the memory that it needs, and then may."""
    folder = ground.folder("no-memory")
    process = job(folder, (resource.RLIMIT_AS, draw.randrange(200, 900) * 2**20))
    process.communicate()
    failed = process.returncode != 0
    return failed and run(folder).returncode == 0 and ground.is_right(folder)


def damaged_shard(ground: Ground, draw: random.Random) -> bool:
    """A shard cut short or with one bit flipped at a random place: refused by name, and made anew by the command told."""
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
    refused = run(folder, "--forcerun", "aggregate")
    named = (
        refused.returncode != 0 and f"{SHARD} is damaged" in refused.stderr and f"--forcerun {SHARD}" in refused.stderr
    )
    return named and run(folder, "--forcerun", SHARD).returncode == 0 and ground.is_right(folder)


def edited_file(ground: Ground, draw: random.Random) -> bool:
    """A number of model.json or summary.json changed by hand: refused by name, and made anew by the command told."""
    folder = ground.folder("edited", finished=True)
    name, after = draw.choice([("model.json", "aggregate"), ("summary.json", "plot_study")])
    path = folder / "results/small" / name
    content = json.loads(path.read_text())
    content["toymill"] = "9.9.9"
    times = path.stat()
    path.write_text(json.dumps(content, indent=1))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    refused = run(folder, "--forcerun", after, target=after)
    named = refused.returncode != 0 and f"results/small/{name} is not what was written" in refused.stderr
    done = run(folder, "--forcerun", f"results/small/{name}")
    shutil.rmtree(folder / "results/small/audit", ignore_errors=True)  # the figures need it
    return named and done.returncode == 0 and ground.is_right(folder)


def no_directory(ground: Ground, draw: random.Random) -> bool:  # noqa: ARG001
    """A results directory that cannot be made: one message; and once it can, the study."""
    folder = ground.folder("no-directory")
    (folder / "results").write_text("in the way")
    refused = run(folder)
    clean = refused.returncode != 0 and "results/small cannot be written" in refused.stderr
    (folder / "results").unlink()
    return clean and "Traceback" not in refused.stderr and run(folder).returncode == 0 and ground.is_right(folder)


def clock_steps(ground: Ground, draw: random.Random) -> bool:
    """Times of all files put into the past, by up to a year each: inputs after outputs, and in any order."""
    folder = ground.folder("clock", finished=True)
    for path in [folder / "ws.json", *(folder / "results").rglob("*")]:
        step = -draw.randrange(10**9) * 3 * 10**7
        os.utime(path, ns=(time.time_ns() + step, time.time_ns() + step))
    return run(folder).returncode == 0 and ground.is_right(folder)


def damaged_cache(ground: Ground, draw: random.Random) -> bool:
    """Compiled programs cut short, as by a killed job: not used, and replaced."""
    folder = ground.folder("cache")
    entries = [
        path
        for path in (folder / ".snakemake/toymill/jax-cache").rglob("*")
        if path.is_file() and path.parent.name != "jobs"
    ]
    for path in entries:
        content = path.read_bytes()
        path.write_bytes(content[: draw.randrange(len(content))])
    return bool(entries) and run(folder).returncode == 0 and ground.is_right(folder)


def odd_environment(ground: Ground, draw: random.Random) -> bool:  # noqa: ARG001
    """No home, no temporary folder, and settings that would change how numbers are computed."""
    folder = ground.folder("environment")
    odd = {"HOME": "/nonexistent/home", "TMPDIR": "/nonexistent/tmp", "OMP_NUM_THREADS": "7"}
    odd |= {"JAX_PLATFORMS": "nonsense", "XLA_FLAGS": "--nonsense", "OPENBLAS_CORETYPE": "Prescott"}
    return run(folder, **odd).returncode == 0 and ground.is_right(folder)


FAULTS: dict[str, tuple[Callable[[Ground, random.Random], bool], int]] = {
    "job": (killed_job, 200),
    "run": (killed_run, 10),
    "main": (killed_main, 5),
    "stop": (stopped_run, 5),
    "second": (second_run, 50),
    "disk": (full_disk, 5),
    "memory": (no_memory, 3),
    "shard": (damaged_shard, 5),
    "edit": (edited_file, 4),
    "directory": (no_directory, 1),
    "clock": (clock_steps, 5),
    "cache": (damaged_cache, 3),
    "environment": (odd_environment, 1),
}
"""Every fault by name, and how often it is tried."""


def main(arguments: list[str] | None = None) -> int:
    """Try the faults, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--times", type=int, help="how often each is tried")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    wrong = 0
    with tempfile.TemporaryDirectory() as place:
        ground = Ground(Path(place))
        print("| fault | tried | right in the end |\n|---|---|---|", flush=True)
        for name in given.only:
            fault, often = FAULTS[name]
            draw = random.Random(f"{given.seed} {name}")
            right = [fault(ground, draw) for _ in range(given.times or often)]
            wrong += right.count(False)
            print(f"| {str(fault.__doc__).rstrip('.')} | {len(right)} | {right.count(True)} |", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
