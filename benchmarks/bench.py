"""toymill and its peers on the same toys, in turns on one core. See benchmarks/README.md."""

import argparse
import contextlib
import importlib.util
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fitters import AUXILIARY_FIXED, FITTERS, MU, POINTS, READY, SEED
from machine import described
from workloads import WORKLOADS

from toymill.job import prepare

prepare()

import jax  # noqa: E402
import numpy as np  # noqa: E402

import toymill  # noqa: E402
from toymill.fitting.conditional import fit_tests  # noqa: E402

HERE = Path(__file__).resolve().parent
PEER_TOYS = 16384
"""Toys that are thrown for peers: more than any of them fits."""

PACKAGES = {
    "roofit": "ROOT",
    "nextstat": "nextstat",
    "iminuit": "iminuit",
    "pyhf-jax": "pyhf",
    "pyhf-minuit": "pyhf",
}
HEAD = (
    f"{'workload':15}{'fitter':12}{'first call':>11}{'toys':>8}{'throw':>8}{'fit':>9}{'store':>8}"
    f"{'toys/s':>11}{'min to max':>20}{'ratio':>10}{'bad':>8}{'Δ2NLL median':>14}{'largest':>10}{'least t_μ':>11}"
)


def hand_over(workspace: dict, folder: Path, count: int = PEER_TOYS) -> toymill.Model:
    """Write what every fitter reads to a folder: the workspace, toys, points, and the order of data and parameters."""
    (folder / "workspace.json").write_text(json.dumps(workspace), encoding="utf-8")
    model = toymill.read_workspace(folder / "workspace.json")
    parameters, sampling = model.parameters, model.sampling
    mains = [name.removesuffix("]").rpartition("[") for name in np.array(model.data_names)[~sampling.auxiliary]]
    about = {
        "names": list(parameters.names),
        "init": parameters.init.tolist(),
        "bounds": parameters.bounds.tolist(),
        "fixed": parameters.fixed.tolist(),
        "poi": model.poi,
        "main": [[channel, int(number)] for channel, _, number in mains],
        "constrained": sampling.parameter[sampling.auxiliary].tolist(),
    }
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
    truth = parameters.values({model.poi: MU})
    toys = toymill.throw(model, truth, count, seed=SEED)
    np.save(folder / "toys.npy", toys)
    np.save(folder / "main-toys.npy", np.where(sampling.auxiliary, sampling.observed, toys))
    np.save(folder / "points.npy", points(model, truth))
    return model


def points(model: toymill.Model, truth: np.ndarray) -> np.ndarray:
    """Random points about the truth, as far as constraints let parameters go, (POINTS, P).

    None at a bound: NextStat takes a rate of 1e-10 for any that is less.
    """
    sampling = model.sampling
    auxiliary = np.flatnonzero(sampling.auxiliary)
    width = np.full(len(truth), 0.1)
    relative = 1 / np.sqrt(np.maximum(sampling.scale[auxiliary], 1.0))
    width[sampling.parameter[auxiliary]] = np.where(sampling.poisson[auxiliary], relative, sampling.sigma[auxiliary])
    drawn = truth + width * np.random.default_rng(SEED).normal(size=(POINTS, len(truth)))
    inside = truth[:, None] + 0.99 * (model.parameters.bounds - truth[:, None])
    return np.where(model.parameters.fixed, truth, np.clip(drawn, *inside.T))


def same_likelihood(model: toymill.Model, folder: Path, nlls: np.ndarray) -> float:
    """Spread of a fitter's nll less toymill's over random points of as many toys; SystemExit where it is not rounding.

    A term n log ν of a Poisson constraint with 10¹¹ counts is rounded at 1e-3: that much may be.
    """
    toys = np.load(folder / "toys.npy", mmap_mode="r")[:POINTS]
    difference = nlls + np.asarray(model.logpdf(np.load(folder / "points.npy"), toys))
    spread = float(np.ptp(difference))
    counts = np.maximum(toys[:, model.sampling.poisson], 2.0)
    allowed = 1e-6 + 16 * np.finfo(float).eps * float(np.max(counts * np.log(counts)))
    if not spread <= allowed:
        msg = (
            f"{folder.name}: its nll less toymill's varies by {spread:.3g} over {POINTS} random points and toys; expected "
            f"less than {allowed:.1g}. It is not the same likelihood, so a comparison means nothing."
        )
        raise SystemExit(msg)
    return spread


class Running(NamedTuple):
    """A fitter in a process of its own: the lines that it writes, None after the last, and where its errors are."""

    process: subprocess.Popen[str]
    lines: queue.SimpleQueue[str | None]
    errors: Path
    patience: float


def started(fitter: str, folder: Path, cores: set[int], options: argparse.Namespace) -> Running:
    """Start a fitter, which warms up."""
    gpu = fitter == "toymill" and options.device == "gpu"
    environment = {**os.environ, "JAX_PLATFORMS": "cuda" if gpu else "cpu"}
    arguments = ["--seconds", options.seconds, "--repeats", options.repeats, "--toys", options.toys]
    command = [str(part) for part in (sys.executable, HERE / "fitters.py", fitter, folder, *arguments)]
    errors = folder / "errors.txt"
    if not gpu:
        pin({max(cores)})
    try:
        with errors.open("w", encoding="utf-8") as file:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True
            )
    finally:
        pin(cores)
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        assert process.stdout is not None
        for item in process.stdout:
            lines.put(item.strip())
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    patience = options.patience * (5 if fitter == "toymill" else 1)  # it compiles, and every ratio is to it
    return Running(process, lines, errors, patience)


def ready(running: Running) -> str | None:
    """Wait until a fitter is ready for a repeat, or has done its last: None, or why it is not."""
    end = time.monotonic() + running.patience
    while True:
        try:
            item = running.lines.get(timeout=max(end - time.monotonic(), 0))
        except queue.Empty:
            running.process.kill()
            return f"stopped after {running.patience:g} s"
        if item is None:
            running.process.wait()
            said = running.errors.read_text(encoding="utf-8").strip()
            return f"failed: {(said or 'no message').splitlines()[-1]}"
        if item == READY:
            return None


def in_turns(fitters: Sequence[str], folder: Path, options: argparse.Namespace) -> dict[str, str | None]:
    """Warm every fitter up, then let each do one repeat after the other, in turns: why a fitter did not end, or None.

    What slows the machine then slows neighbours in time alike.
    """
    every: dict[str, Running] = {}
    why: dict[str, str | None] = {}
    try:
        for fitter in fitters:
            every[fitter] = started(fitter, folder / fitter, cores(), options)
            why[fitter] = ready(every[fitter])
        for _ in range(options.repeats):
            for fitter, running in every.items():
                if why[fitter] is None:
                    assert running.process.stdin is not None
                    with contextlib.suppress(OSError):  # it has ended: ``ready`` says why
                        running.process.stdin.write("\n")
                        running.process.stdin.flush()
                    why[fitter] = ready(running)
    finally:
        for running in every.values():
            running.process.kill()
            running.process.wait()
    return why


def cores() -> set[int]:
    """The cores that this process may use; none where the system does not tell."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}


def pin(places: set[int]) -> None:
    """Keep this process, and those that it starts, to some cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, places)


def judged(model: toymill.Model, folder: Path, ours: Path | None) -> dict:
    """Times of a fitter, and what its fits are worth beside toymill's of the same toys, all in toymill's likelihood."""
    found = json.loads((folder / "times.json").read_text(encoding="utf-8"))
    for name in ("toys_per_s", "fit_s", "throw_s", "store_s"):
        values = [repeat[name] for repeat in found["repeats"] if name in repeat]
        if values:
            found[name] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    found["toys"] = found["repeats"][0]["toys"]
    with np.load(folder / "fits.npz") as fits:
        parameters, nll, bad = fits["parameters"], fits["nll"], fits["bad"]
    found["fitted"] = len(nll)
    found["bad"] = float(bad.any(axis=1).mean())
    found["least_t_mu"] = _least_t_mu(nll)
    if ours and ours != folder:
        toys = np.load(folder / "toys.npy", mmap_mode="r")[: len(nll)]
        best = _ours(model, folder.name, toys, ours)
        count = len(best)
        toys = toys[:count]
        found["least_t_mu_ours"] = _least_t_mu(best)
        theirs = np.stack([-np.asarray(model.logpdf(parameters[:count, k], toys)) for k in (0, 1)], axis=1)
        found["toys_in_common"] = count
        for k, name in enumerate(("free", "conditional")):
            found[f"above_ours_{name}"] = _spread(2 * (theirs[:, k] - best[:, k]))
        found["above_ours"] = _spread(2 * (theirs - best))
    return found


def _ours(model: toymill.Model, fitter: str, toys: np.ndarray, ours: Path) -> np.ndarray:
    """toymill's nll of a fitter's toys, or of the first of them, free and conditional, (n, 2)."""
    if fitter in AUXILIARY_FIXED:
        free, (conditional,) = fit_tests(model, toys, [{str(model.poi): MU}])
        return np.stack([free.nll, conditional.nll], axis=1)
    with np.load(ours / "fits.npz") as fits:
        return fits["nll"][: len(toys)]


def _spread(values: np.ndarray) -> dict[str, float | None]:
    """Least, median and largest of the finite ones."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return {"min": None, "median": None, "max": None}
    return {"min": float(finite.min()), "median": float(np.median(finite)), "max": float(finite.max())}


def _least_t_mu(nll: np.ndarray) -> float | None:
    return _spread(2 * (nll[:, 1] - nll[:, 0]))["min"]


def line(workload: str, fitter: str, found: dict) -> str:
    """One line of the table."""
    if "why" in found and "toys_per_s" not in found:
        return f"{workload:15}{fitter:12}{found['why']}"
    rate, above = found["toys_per_s"], found.get("above_ours")
    throw, store = (f"{found[name]['median']:.2f} s" if name in found else "" for name in ("throw_s", "store_s"))
    spread = f"{rate['min']:.4g} to {rate['max']:.4g}"
    ratio = f"{found['ratio']:.3g}" if "ratio" in found else ""
    worst = (f"{above[name]:.2g}" if above and above[name] is not None else "" for name in ("median", "max"))
    median, largest = worst
    least = "" if found["least_t_mu"] is None else f"{found['least_t_mu']:.1e}"
    notes = [found[name] for name in ("note", "why") if name in found]
    return (
        f"{workload:15}{fitter:12}{found['first_call_s']:>9.2f} s{found['toys']:>8}{throw:>8}"
        f"{found['fit_s']['median']:>7.2f} s{store:>8}{rate['median']:>11.4g}{spread:>20}{ratio:>10}"
        f"{found['bad']:>8.2%}{median:>14}{largest:>10}{least:>11}{''.join(f'  {note}' for note in notes)}"
    )


def compare(name: str, fitters: Sequence[str], place: Path, options: argparse.Namespace) -> dict[str, dict]:
    """Every fitter on one workload."""
    folder = place / name
    folder.mkdir()
    model = hand_over(WORKLOADS[name](), folder)
    for fitter in fitters:
        where = folder / fitter
        where.mkdir()
        for item in ("workspace.json", "about.json", "points.npy"):
            (where / item).symlink_to(folder / item)
        (where / "toys.npy").symlink_to(folder / ("main-toys.npy" if fitter in AUXILIARY_FIXED else "toys.npy"))
    found: dict[str, dict] = {}
    for fitter, why in in_turns(fitters, folder, options).items():
        where, entry = folder / fitter, {}
        if (where / "nll.npy").exists():
            entry["likelihood_spread"] = same_likelihood(model, where, np.load(where / "nll.npy"))
        if (where / "times.json").exists():
            ours = folder / "toymill"
            entry |= judged(model, where, ours if "toymill" in found and (ours / "fits.npz").exists() else None)
            if fitter != "toymill" and "repeats" in found.get("toymill", {}):
                both = zip(found["toymill"]["repeats"], entry["repeats"], strict=False)
                entry["ratios"] = [one["toys_per_s"] / other["toys_per_s"] for one, other in both]
                entry["ratio"] = statistics.median(entry["ratios"])
        if fitter in AUXILIARY_FIXED:
            entry["note"] = "auxiliary data fixed"
        if why:
            entry["why"] = why
        found[fitter] = entry
        print(line(name, fitter, entry), flush=True)
    return found


def main() -> None:
    """Run every workload and write the table and its JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--fitters", nargs="+", choices=FITTERS, default=list(FITTERS))
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="what a repeat takes, about: sets its number of toys"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--toys", type=int, default=2**18, help="the most toys of a repeat")
    parser.add_argument(
        "--patience",
        type=float,
        default=120.0,
        help="seconds to warm up, and of a repeat, after which a peer is stopped; toymill five times as many",
    )
    parser.add_argument(
        "--device", choices=("cpu", "gpu"), default="cpu", help="where toymill computes; peers on the CPU"
    )
    parser.add_argument("--output", type=Path, default=HERE / "results" / "bench.json")
    options = parser.parse_args()
    fitters = [name for name in FITTERS if name in options.fitters]  # toymill first: the others are held against it
    for name in fitters.copy():
        if name in PACKAGES and not importlib.util.find_spec(PACKAGES[name]):
            print(f"{name} is left out: {PACKAGES[name]} is not installed; see benchmarks/README.md")
            fitters.remove(name)
    asked = {key: value for key, value in vars(options).items() if key not in {"output", "workloads", "fitters"}}
    results: dict = {**described(toymill, jax, np), "options": asked, "workloads": {}}
    print(f"{results['processor']}, one core; a toy is a free and a conditional fit at μ = {MU:g}\n{HEAD}")
    with tempfile.TemporaryDirectory() as place:
        for name in options.workloads:
            load = (
                os.getloadavg()[0] if hasattr(os, "getloadavg") else None
            )  # of others, before the first: not 0 is busy
            results["workloads"][name] = {"load": load, "fitters": compare(name, fitters, Path(place), options)}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(f"written: {options.output}")


if __name__ == "__main__":
    main()
