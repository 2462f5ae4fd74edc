"""toymill on a GPU beside itself on one core of the processor: the same toys, statuses and minima; and a discovery study.

Each device fits in a process of its own. All compile first; then each is timed while the others wait. See
benchmarks/README.md.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from workloads import WORKLOADS, WORKSPACES

from toymill.fitting.status import CERTIFIED_STATUSES

HERE = Path(__file__).resolve().parent
COUNTS = {
    "teaching": (16384, 262144),
    "hww": (16384, 262144),
    "atlas-3l-erjr": (4096, 65536),
    "published": (256, 8192),
    "bins-201": (4096, 65536),
}
"""Toys that the processor and the GPU fit of each workload: those of the processor are the first ones of the GPU."""

SEED = 1
REPEATS = 3
CHUNK = 131072
"""Toys that a job of the discovery study fits at once."""

THRESHOLDS = (9.0, 16.0, 25.0)
"""Values of q_0 that are counted: three, four and five sigma."""


class Job(NamedTuple):
    """A process on a device, "cpu" or "gpu", and the line to it."""

    name: str
    kind: str
    process: Any
    line: Connection


def prepare(platform: str, core: int, programs: str, memory: float) -> None:
    """The environment of a process, before it imports JAX: one core, or a part of the GPU's memory."""
    os.environ |= {"JAX_PLATFORMS": platform, "XLA_PYTHON_CLIENT_MEM_FRACTION": f"{memory:.3f}"}
    if platform == "cpu":
        os.environ |= {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false", "OPENBLAS_NUM_THREADS": "1", "NPROC": "1"}
        os.sched_setaffinity(0, {core})
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_compilation_cache_dir", programs)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def fit_workload(line: Connection, path: str, count: int, mu: float, *environment: Any) -> None:
    """Fits some toys: says when all is compiled, and then, each time it is told, how long it takes; at last the fits."""
    prepare(*environment)
    import jax

    import toymill
    from toymill.fitting.conditional import fit_tests

    model = toymill.read_workspace(path)
    toys = toymill.throw(model, model.parameters.values({model.poi: mu}), count, seed=SEED)

    def fitted() -> tuple[float, list[Any]]:
        begin = time.perf_counter()
        free, (conditional,) = fit_tests(model, toys, [{model.poi: mu}])
        return time.perf_counter() - begin, [free, conditional]

    first = time.perf_counter()
    fit_tests(model, toys[:1], [{model.poi: mu}])
    first = time.perf_counter() - first
    fitted()
    device = jax.devices()[0]
    line.send({"first_call_s": first, "device": device.device_kind, "jax": jax.__version__})
    for _ in range(REPEATS):
        line.recv()
        seconds, fits = fitted()
        line.send(seconds)
    peak = (device.memory_stats() or {}).get("peak_bytes_in_use", 0)
    line.send((np.stack([item.status for item in fits]), np.stack([item.nll for item in fits]), peak))


def fit_discovery(line: Connection, path: str, first: int, end: int, *environment: Any) -> None:
    """Throws and fits toys first … end - 1 without a signal, and tells how many failed, and of how many q_0 is beyond each threshold."""
    prepare(*environment)
    import toymill
    from toymill.fitting.conditional import fit_tests

    model = toymill.read_workspace(path)
    truth = model.parameters.values({model.poi: 0.0})

    def counted(first: int, count: int) -> np.ndarray:
        toys = toymill.throw(model, truth, count, seed=SEED, first=first)
        free, (conditional,) = fit_tests(model, toys, [{model.poi: 0.0}], first=first)
        failed = ~(free.ok & conditional.ok)
        q_0 = np.where(failed, np.nan, toymill.q_0(free, conditional))
        return np.array([failed.sum(), *((q_0 >= least).sum() for least in THRESHOLDS)])

    counted(first, min(CHUNK, end - first))
    line.send("ready")
    line.recv()
    total = sum(counted(begin, min(CHUNK, end - begin)) for begin in range(first, end, CHUNK))
    line.send(total)


def started(target: Any, name: str, kind: str, *arguments: Any) -> Job:
    """A process that has begun."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    return Job(name, kind, process, ours)


def compare(names: list[str], folder: Path, platform: str, patience: float) -> dict[str, Any]:
    """Both devices on each workload, the GPU by JAX's name of its platform."""
    cores, share, programs = sorted(os.sched_getaffinity(0)), 0.9 / len(names), str(folder / "programs")
    jobs = []
    for k, name in enumerate(names):
        for kind, named in (("cpu", "cpu"), ("gpu", platform)):
            count = COUNTS[name][kind == "gpu"]
            environment = (named, cores[k % len(cores)], programs, share)
            jobs.append(started(fit_workload, name, kind, str(folder / f"{name}.json"), count, 1.0, *environment))
    found: dict[str, Any] = {name: {} for name in names}
    end = time.monotonic() + patience
    for job in jobs:
        if job.line.poll(max(end - time.monotonic(), 0)):
            found[job.name][job.kind] = job.line.recv()
            print(f"{job.name} {job.kind}: {found[job.name][job.kind]}", flush=True)
        else:
            print(f"{job.name} {job.kind}: not compiled after {patience:.0f} s", flush=True)
            job.process.kill()
    for name in names:
        fits = {job.kind: timed(job, found[name]) for job in jobs if job.name == name and job.kind in found[name]}
        if len(fits) == 2:
            found[name] |= differences(fits["cpu"], fits["gpu"])
            print(line_of(name, found[name]), flush=True)
    return found


def timed(job: Job, found: dict[str, Any]) -> list[np.ndarray]:
    """The repeats of a job, while the others wait: its rates and memory are added to what is found. Its fits."""
    seconds = []
    for _ in range(REPEATS):
        job.line.send("go")
        seconds.append(job.line.recv())
    *fits, peak = job.line.recv()
    found[job.kind] |= {"toys_per_s": [fits[0].shape[1] / taken for taken in seconds], "peak_bytes": peak}
    job.process.join()
    return fits


def differences(cpu: list[np.ndarray], gpu: list[np.ndarray]) -> dict[str, Any]:
    """What statuses and nlls of the same toys have different on two devices, free and conditional fits together."""
    count = cpu[0].shape[1]
    (status, nll), (other_status, other_nll) = cpu, (part[:, :count] for part in gpu)
    both = np.isfinite(nll) & np.isfinite(other_nll)
    return {
        "compared": status.size,
        "other_status": int((status != other_status).sum()),
        "largest_difference": float(np.abs(other_nll - nll)[both].max()),
        "failed": int((~np.isin(gpu[0], CERTIFIED_STATUSES)).sum()),
    }


def line_of(name: str, found: dict[str, Any]) -> str:
    """A line of the table."""
    cpu, gpu = (np.median(found[kind]["toys_per_s"]) for kind in ("cpu", "gpu"))
    return (
        f"{name:15}{found['gpu']['first_call_s']:9.1f} s{cpu:11.0f}{gpu:11.0f}{gpu / cpu:9.1f}{found['compared']:9}"
        f"{found['other_status']:7}{found['largest_difference']:11.1e}{found['gpu']['peak_bytes'] / 1e9:8.2f} GB"
    )


def discover(toys: int, jobs: int, folder: Path, platform: str) -> dict[str, Any]:
    """Toys of config/workspaces/teaching.json without a signal, in jobs that share the GPU: p-values of q_0."""
    edges = np.linspace(0, toys, jobs + 1).astype(int)
    environment = (platform, 0, str(folder / "programs"), 0.9 / jobs)
    running = []
    for k in range(jobs):
        arguments = (str(WORKSPACES / "teaching.json"), *edges[k : k + 2], *environment)
        running.append(started(fit_discovery, f"job {k}", "gpu", *arguments))
        if not k:  # it compiles for the others
            running[0].line.recv()
    for job in running[1:]:
        job.line.recv()
    begin = time.monotonic()
    for job in running:
        job.line.send("go")
    failed, *beyond = np.sum([job.line.recv() for job in running], axis=0).tolist()
    seconds = time.monotonic() - begin
    p_values = {
        f"{least:g}": [count / toys, np.sqrt(count) / toys] for least, count in zip(THRESHOLDS, beyond, strict=True)
    }
    found = {"toys": toys, "jobs": jobs, "seconds": seconds, "failed": failed, "beyond": p_values}
    print(json.dumps(found), flush=True)
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", nargs="*", choices=COUNTS, default=list(COUNTS))
    parser.add_argument(
        "--discovery", type=int, default=0, help="toys of a discovery study on the GPU; none if left out"
    )
    parser.add_argument("--jobs", type=int, default=8, help="jobs of the discovery study, which share the GPU")
    parser.add_argument("--platform", default="cuda", help="JAX's name of the GPU; cpu tries this program itself")
    parser.add_argument("--patience", type=float, default=600, help="seconds in which a workload must be compiled")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "gpu.json")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_workspaces(folder)
        print(
            f"{'workload':15}{'first call':>11}{'cpu core':>11}{'gpu':>11}{'ratio':>9}{'fits':>9}{'other':>7}{'|Δnll|':>11}"
        )
        if options.workloads:
            found["workloads"] = compare(options.workloads, folder, options.platform, options.patience)
        if options.discovery:
            found["discovery"] = discover(options.discovery, options.jobs, folder, options.platform)
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(f"written: {options.output}")


def write_workspaces(folder: Path) -> None:
    """The workloads, a file each."""
    for name, workspace in WORKLOADS.items():
        (folder / f"{name}.json").write_text(json.dumps(workspace()), encoding="utf-8")


if __name__ == "__main__":
    main()
