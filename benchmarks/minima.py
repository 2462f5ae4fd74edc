"""How often fits end above the lowest of many minima: toymill's fits beside searches from random starts.

For each workload, each value of the parameter of interest that toys are thrown at and each that is tested: statuses, the
share of fits that lie more than 1e-4 above the lowest minimum found from random starts, and the largest distance. See
benchmarks/README.md.
"""

import argparse
import json
import time
from pathlib import Path

from toymill.job import prepare

prepare()

import jax  # noqa: E402
import numpy as np  # noqa: E402
from machine import described  # noqa: E402

import toymill  # noqa: E402
from toymill.fitting.conditional import fit_tests  # noqa: E402
from toymill.fitting.problem import state_problem  # noqa: E402
from toymill.fitting.results import Fits  # noqa: E402
from toymill.fitting.search import search  # noqa: E402

HERE = Path(__file__).resolve().parent
ATLAS = HERE.parent / "config" / "workspaces" / "atlas-3l-erjr"
HIGHER = 1e-4
"""A fit that lies higher than another by more than this has missed the minimum, in units of the nll."""


def workloads() -> dict[str, toymill.Model]:
    """The models, by name."""
    tests = HERE.parent / "tests" / "data"
    found = {
        "hww": toymill.read_workspace(HERE.parent / "config" / "workspaces" / "hww.json"),
        "every-modifier": toymill.read_workspace(tests / "every-modifier.json"),
        "onoff": toymill.read_workspace(tests / "onoff.json"),
    }
    for name in ("100p0_20p0", "150p0_50p0", "250p0_150p0"):
        patch = ATLAS / f"patch.ERJR_{name}.json"
        if patch.exists():
            found[f"atlas-{name}"] = toymill.read_workspace(ATLAS / "BkgOnly.json", patches=[patch])
    return found


def random_starts(model: toymill.Model, count: int, seed: int) -> np.ndarray:
    """Points about the initial values, as far as constraints let parameters go, (count, P); others up to twice as large."""
    parameters, sampling = model.parameters, model.sampling
    auxiliary = np.flatnonzero(sampling.auxiliary)
    which = sampling.parameter[auxiliary]
    random = np.random.default_rng(seed)
    points = parameters.init * random.uniform(0.0, 2.0, (count, len(parameters)))
    width = np.where(sampling.poisson[auxiliary], 1 / np.sqrt(sampling.scale[auxiliary]), sampling.sigma[auxiliary])
    points[:, which] = parameters.init[which] + 1.5 * width * random.normal(size=(count, len(which)))
    points = np.clip(points, *parameters.bounds.T)
    return np.where(parameters.fixed, parameters.init, points)


def lowest(model: toymill.Model, toys: np.ndarray, held: dict[str, float], starts: int) -> np.ndarray:
    """The lowest certified nll of each toy from random starts, infinite where none is certified, (n,)."""
    best = np.full(len(toys), np.inf)
    for number in range(starts):
        start = random_starts(model, len(toys), number)
        for name, value in held.items():
            start[:, model.parameters.index(name)] = value
        problem, first = state_problem(
            model, toys, held, start=start, index=None, tolerance=1e-8, covariance=False, along=None
        )
        fits = search(problem, first)
        best = np.minimum(best, np.where(fits.ok, fits.nll, np.inf))
    return best


def judged(fits: Fits, best: np.ndarray) -> dict[str, object]:
    """What fits are worth beside the lowest minima known."""
    above = np.where(fits.ok, fits.nll - best, -np.inf)
    return {
        "statuses": {
            str(status): int(number) for status, number in zip(*np.unique(fits.status, return_counts=True), strict=True)
        },
        "above": float(np.mean(above > HIGHER)),
        "largest": float(max(np.max(above), 0.0)),
        "lower": float(np.mean(above < -HIGHER)),
    }


def main() -> None:
    """Every workload, and the table."""
    models = workloads()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--workloads", nargs="+", choices=models, default=list(models))
    parser.add_argument("--truths", nargs="+", type=float, default=[0.0, 1.0, 4.0])
    parser.add_argument("--tests", nargs="+", type=float, default=[1.0])
    parser.add_argument("--toys", type=int, default=1000)
    parser.add_argument("--starts", type=int, default=16)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "minima.json")
    options = parser.parse_args()
    results: dict = {
        **described(toymill, jax, np),
        "options": {k: v for k, v in vars(options).items() if k != "output"},
    }
    print(f"{'workload':18}{'μ':>5}{'fit':>10}{'µs a toy':>10}{'above':>9}{'largest':>9}{'lower':>8}  statuses")
    for name in options.workloads:
        model = models[name]
        for truth in options.truths:
            toys = toymill.throw(model, model.parameters.values({model.poi: truth}), options.toys, seed=1)
            tests = [{model.poi: test} for test in options.tests]
            fit_tests(model, toys, tests)
            begin = time.process_time()
            free, conditional = fit_tests(model, toys, tests)
            spent = (time.process_time() - begin) / len(toys) * 1e6
            for held, fits in zip([{}, *tests], [free, *conditional], strict=True):
                best = lowest(model, toys, held, options.starts)
                found = judged(fits, best)
                label = "free" if not held else f"{held[model.poi]:g}"
                results.setdefault(name, {}).setdefault(f"{truth:g}", {})[label] = found
                print(
                    f"{name:18}{truth:>5g}{label:>10}{spent:>10.0f}{found['above']:>9.2%}{found['largest']:>9.2g}"
                    f"{found['lower']:>8.2%}  {found['statuses']}",
                    flush=True,
                )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
