"""Toys a second on several cores: processes, devices of one process, XLA's threads. See benchmarks/README.md."""

import argparse
import contextlib
import faulthandler
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

POOL = 4
"""Threads of XLA's pool for each device that a Python thread uses: with fewer (2 for 2), two programs at once wait for
each other for ever (jaxlib 0.10.2; not 0.12.0)."""
STUCK = 600  # seconds of one measurement after which a worker ends with its traceback

WORKLOADS = {"hww": Path("config/workspaces/hww.json"), "onoff": Path("tests/data/onoff.json")}


def worker(options: argparse.Namespace) -> None:
    """Read a workload's name from each line of stdin, fit its toys, and tell the seconds that it took."""
    os.sched_setaffinity(0, options.on)
    from toymill.job import prepare

    prepare(options.threads)
    if options.devices > 1:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={options.devices}".strip()
    import jax
    import numpy as np

    import toymill
    from toymill.fitting.conditional import fit_tests

    models = {name: toymill.read_workspace(path) for name, path in WORKLOADS.items()}
    data = {
        name: toymill.throw(model, model.parameters.values({str(model.poi): 1.0}), options.toys[name], seed=1)
        for name, model in models.items()
    }

    def fits(name: str, device: object, rows: np.ndarray) -> None:
        with jax.default_device(device):
            free, _ = fit_tests(models[name], data[name][rows], [{str(models[name].poi): 1.0}])
        assert free.ok.all()

    devices = jax.devices()
    with ThreadPoolExecutor(len(devices)) as pool:
        for line in sys.stdin:
            name = line.strip()
            faulthandler.dump_traceback_later(STUCK, exit=True)
            begin = time.perf_counter()
            parts = np.array_split(np.arange(options.toys[name]), len(devices))
            list(pool.map(fits, [name] * len(devices), devices, parts))
            faulthandler.cancel_dump_traceback_later()
            print(time.perf_counter() - begin, flush=True)


def started(options: argparse.Namespace, on: list[int], *, devices: int = 1, threads: int = 1) -> subprocess.Popen[str]:
    """A worker on some cores."""
    state = {"on": on, "devices": devices, "threads": threads, "toys": options.toys}
    command = [sys.executable, __file__, "--worker", json.dumps(state)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def rate(workers: list[subprocess.Popen[str]], name: str, toys: int) -> float:
    """Toys a second of all workers together, from the start of the first to the end of the last."""
    begin = time.perf_counter()
    for process in workers:
        process.stdin.write(f"{name}\n")
        process.stdin.flush()
    for process in workers:
        if not process.stdout.readline():
            msg = f"a worker ended with {process.wait()}"
            raise RuntimeError(msg)
    return toys * len(workers) / (time.perf_counter() - begin)


def siblings(core: int) -> str:
    """The hardware threads of a core, where the system tells them: two of one core share its arithmetic."""
    try:
        path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return "unknown"


def main() -> None:
    """Measure every way in turn, several times, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--hww-toys", type=int, default=4096, help="toys of a worker at a time")
    parser.add_argument("--onoff-toys", type=int, default=65536)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/scaling.json"))
    options = parser.parse_args()
    if options.worker:
        worker(argparse.Namespace(**json.loads(options.worker)))
        return
    options.toys = {"hww": options.hww_toys, "onoff": options.onoff_toys}
    cores = sorted(os.sched_getaffinity(0))[: options.cores]
    if len(cores) < options.cores:
        parser.error(f"{options.cores} cores are wanted, {len(cores)} may be used")
    from machine import described

    with contextlib.ExitStack() as stack:
        alone = [started(options, [core]) for core in cores]
        devices = started(options, cores, devices=len(cores), threads=POOL * len(cores))
        threads = started(options, cores, threads=len(cores))
        for process in (*alone, devices, threads):
            stack.enter_context(process)
        number = len(cores)
        ways = {
            "1 process, 1 core": alone[:1],
            f"{number} processes, a core each": alone,
            f"1 process, {number} devices": [devices],
            f"1 process, {number} XLA threads": [threads],
        }
        rates: dict[str, dict[str, list[float]]] = {name: {way: [] for way in ways} for name in WORKLOADS}
        for name in WORKLOADS:
            for workers in ways.values():  # compiles
                rate(workers, name, options.toys[name])
            for repeat in range(options.repeats):
                order = list(ways)[repeat % len(ways) :] + list(ways)[: repeat % len(ways)]
                for way in order:
                    rates[name][way].append(rate(ways[way], name, options.toys[name]))
    import jax
    import numpy as np

    import toymill

    results: dict[str, object] = {
        **described(toymill, jax, np),
        "cores": {core: siblings(core) for core in cores},
        "toys": options.toys,
    }
    print(f"{results['processor']}, cores {results['cores']}, load {os.getloadavg()[0]:.1f}")
    print(f"{'workload':10}{'way':30}{'toys/s':>10}{'spread':>24}{'to one core':>13}")
    for name, table in rates.items():
        one = table["1 process, 1 core"]
        summary = {}
        for way, values in table.items():
            # Each repeat's own ratio: what slows the machine slows neighbours in time alike.
            ratio = statistics.median(value / base for value, base in zip(values, one, strict=True))
            median = statistics.median(values)
            summary[way] = {"median": median, "min": min(values), "max": max(values), "ratio": ratio, "rates": values}
            print(f"{name:10}{way:30}{median:>10.4g}{f'{min(values):.4g} to {max(values):.4g}':>24}{ratio:>13.2f}")
        results[name] = summary
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
