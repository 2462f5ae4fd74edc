"""How toymill, and its peers if asked for, scale with the size of a model. See benchmarks/README.md.

Each measurement is in a process of its own, on one core; times are of the processor.
"""

import argparse
import importlib
import itertools
import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fitters import AUXILIARY_FIXED, FITTERS, MU, SEED
from machine import described
from size_model import sized

SERIES: dict[str, list[dict[str, int]]] = {
    "bins": [{"bins": bins} for bins in (20, 100, 400, 1000, 4000)],
    "systematics": [{"bins": 50, "normsys": k, "histosys": k} for k in (10, 50, 100, 200, 400)],
    "channels": [{"bins": 10, "channels": channels} for channels in (1, 10, 50)],
}
"""What is varied: arguments of ``sized``."""

PEERS = {"roofit": ("roofit",), "nextstat": ("nextstat",), "pyhf-jax": ("pyhf", "jax", "scipy.optimize")}
"""Fitters beside toymill, and the modules whose import is no part of reading."""

COSTS = {
    "read_s": "reading",
    "first_s": "first fit, nothing compiled",
    "cached_s": "first fit, from the cache",
    "throw_s": "throwing a toy",
    "fit_s": "fitting a toy",
    "memory_mb": "peak memory",
}
LEAST, MOST = 64, 2**16
"""Toys that toymill fits at once, at least and at most."""

HEAD = (
    f"{'series':12}{'size':>6}{'parameters':>12}  {'fitter':10}{'read':>9}{'first fit':>11}{'cached':>9}"
    f"{'throw, toys/s':>15}{'fit, toys/s':>13}{'bad':>8}{'memory':>10}{'ratio':>10}"
)


class Opened(NamedTuple):
    """A fitter with its model: the seconds that reading took, and what gives and fits toys; fits tell which are bad."""

    read_s: float
    toys: Callable[[int], np.ndarray]
    fit: Callable[[np.ndarray], np.ndarray]


def opened(fitter: str, folder: Path) -> Opened:
    """Read a model, after all imports."""
    if fitter in PEERS:
        for name in PEERS[fitter]:
            importlib.import_module(name)
        begin = time.process_time()
        peer = FITTERS[fitter](folder)
        read_s = time.process_time() - begin
        given = np.load(folder / "toys.npy")
        return Opened(read_s, lambda count: given[:count], lambda toys: peer.fit(toys, 0).bad.any(axis=1))
    from toymill.job import prepare

    prepare()
    from toymill import read_workspace, throw
    from toymill.fitting.conditional import fit_tests

    begin = time.process_time()
    model = read_workspace(folder / "workspace.json")
    read_s = time.process_time() - begin
    point = {str(model.poi): MU}

    def fit(toys: np.ndarray) -> np.ndarray:
        free, (conditional,) = fit_tests(model, toys, [point])
        return ~(free.ok & conditional.ok)

    return Opened(read_s, lambda count: throw(model, model.parameters.values(point), count, seed=SEED), fit)


def measure(kind: str, fitter: str, folder: Path, seconds: float) -> dict[str, float]:
    """One measurement, in this process."""
    model = opened(fitter, folder)
    toy = model.toys(1)
    begin = time.process_time()
    model.fit(toy)
    first_s = time.process_time() - begin
    if kind == "cached":
        return {"cached_s": first_s}
    if kind == "first":
        return {"read_s": model.read_s, "first_s": first_s, "memory_mb": peak_mb()}
    ours = fitter not in PEERS
    least, most = (LEAST, MOST) if ours else (1, len(model.toys(MOST)))
    count = least
    while True:
        begin = time.process_time()
        toys = model.toys(count)
        throw_s = time.process_time() - begin
        for _ in range(2 if ours else 1):  # so many at once may have to be compiled for
            begin = time.process_time()
            bad = model.fit(toys)
            fit_s = time.process_time() - begin
        if fit_s >= seconds / 2 or count == most:
            break
        count = min(max(count + 1, int(count * min(seconds / fit_s, 8))), most)
    found = {"toys": count, "fit_s": fit_s / count, "bad": float(bad.mean())}
    return found | ({"throw_s": throw_s / count} if ours else {})


def peak_mb() -> float:
    """The most memory that this process has had; Linux tells what its parent had not."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measured(fitter: str, folder: Path, options: argparse.Namespace) -> dict:
    """All measurements of a fitter with a model, each in a new process; ``why`` it stopped, if it did."""
    found: dict = {}
    patience = round(options.patience * (1 if fitter in PEERS else 5))
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
    for kind in ("first", "rate") if fitter in PEERS else ("first", "cached", "rate"):
        arguments = ("--measure", kind, fitter, folder, "--seconds", options.seconds, "--patience", patience)
        command = [str(part) for part in (sys.executable, __file__, *arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode in {-signal.SIGXCPU, -signal.SIGKILL}:
            return found | {"why": f"stopped after {patience} s"}
        if done.returncode:
            said = done.stderr.strip() or "no message"
            return found | {"why": f"failed: {said.splitlines()[-1]}"}
        found |= json.loads(done.stdout.splitlines()[-1])
    return found


def line(series: str, size: int, parameters: int, fitter: str, found: dict, ours: dict) -> str:
    """One line of the table."""

    def shown(name: str, text: Callable[[float], str]) -> str:
        return text(found[name]) if name in found else ""

    read, first, cached = (shown(name, "{:.2f} s".format) for name in ("read_s", "first_s", "cached_s"))
    throw, fit = (shown(name, lambda seconds: f"{1 / seconds:.4g}") for name in ("throw_s", "fit_s"))
    both = fitter in PEERS and "fit_s" in found and "fit_s" in ours
    ratio = f"{found['fit_s'] / ours['fit_s']:.3g}" if both else ""
    notes = [note for note in (fitter in AUXILIARY_FIXED and "auxiliary data fixed", found.get("why")) if note]
    return (
        f"{series:12}{size:>6}{parameters:>12}  {fitter:10}{read:>9}{first:>11}{cached:>9}{throw:>15}{fit:>13}"
        f"{shown('bad', '{:.2%}'.format):>8}{shown('memory_mb', '{:.0f} MB'.format):>10}{ratio:>10}"
        f"{''.join(f'  {note}' for note in notes)}"
    )


def slopes(entries: Sequence[dict], fitter: str) -> dict[str, list[float]]:
    """The power of the number of bins with which each cost grows, from one size to the next."""
    found = {}
    for cost in COSTS:
        points = [(entry["size"], entry[fitter][cost]) for entry in entries if cost in entry[fitter]]
        pairs = list(itertools.pairwise(points))
        if pairs:
            found[cost] = [math.log(b[1] / a[1]) / math.log(b[0] / a[0]) for a, b in pairs]
    return found


def compare(series: str, arguments: dict[str, int], options: argparse.Namespace) -> dict:
    """Every fitter with one model."""
    from bench import hand_over

    size = arguments["normsys" if series == "systematics" else series]
    entry: dict = {"series": series, "size": size, "model": arguments}
    with tempfile.TemporaryDirectory() as place:
        bins = arguments["bins"] * arguments.get("channels", 1)
        model = hand_over(sized(**arguments), Path(place), max(LEAST, MOST // bins))
        entry["parameters"] = len(model.parameters)
        for fitter in options.fitters:
            entry[fitter] = measured(fitter, Path(place), options)
            ours = entry.get("toymill", {})
            print(line(series, size, entry["parameters"], fitter, entry[fitter], ours), flush=True)
    return entry


def main() -> None:
    """Measure every size and write the table and its JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--series", nargs="+", choices=SERIES, default=list(SERIES))
    parser.add_argument("--fitters", nargs="+", choices=("toymill", *PEERS), default=["toymill"])
    parser.add_argument("--largest", type=int, default=4000, help="leave out sizes above")
    parser.add_argument("--seconds", type=float, default=4.0, help="what the fits of a rate take, about")
    parser.add_argument(
        "--patience",
        type=float,
        default=120.0,
        help="seconds of the processor after which a peer's measurement is stopped; toymill's five times as many",
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "size.json")
    options = parser.parse_args()
    if options.measure:
        kind, fitter, folder = options.measure
        patience = int(options.patience)
        resource.setrlimit(resource.RLIMIT_CPU, (patience, patience + 1))
        print(json.dumps(measure(kind, fitter, Path(folder), options.seconds)), flush=True)
        os._exit(0)  # ROOT, torn down by Python, may crash after all is written
    from bench import cores, pin

    import toymill

    pin({max(cores())})
    options.fitters.sort(key=("toymill", *PEERS).index)
    results: dict = {**described(toymill, np), "options": vars(options) | {"output": str(options.output)}, "sizes": []}
    print(f"{results['processor']}, one core; a toy is a free and a conditional fit at μ = {MU:g}\n{HEAD}")
    for series in options.series:
        for arguments in SERIES[series]:
            if max(arguments.values()) <= options.largest:
                results["sizes"].append(compare(series, arguments, options))
    entries = [entry for entry in results["sizes"] if entry["series"] == "bins"]
    results["slopes"] = {fitter: slopes(entries, fitter) for fitter in options.fitters}
    if len(entries) > 1:
        print(
            f"\npower of the number of bins, from each of {', '.join(str(entry['size']) for entry in entries)} to the next"
        )
    for fitter, found in results["slopes"].items():
        for cost, values in found.items():
            print(f"{fitter:12}{COSTS[cost]:30}{''.join(f'{value:>8.2f}' for value in values)}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"written: {options.output}")


if __name__ == "__main__":
    main()
