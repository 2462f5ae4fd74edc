"""``toymill.pyhf.hypotest`` with toys beside pyhf's own toys, of the same workspaces: processor time on one core.

    python benchmarks/pyhf_hypotest.py --toys 100

pyhf's time is that of its calculator, which throws and fits the toys: its ``hypotest`` by toys stops at NumPy 2.4. Each
calculator has fitted a few toys before, which compiles.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
import pyhf
from machine import processor
from workloads import WORKLOADS

from toymill.pyhf import hypotest

MU = 1.0


def seconds_of(run: Callable[[], object]) -> float:
    """Processor time of a call."""
    begin = time.process_time()
    run()
    return time.process_time() - begin


def bounds_of(model: pyhf.Model) -> list[tuple[float, float]]:
    """The bounds of the parameters, of which that of interest is not negative, as q̃ has it."""
    bounds = list(model.config.suggested_bounds())
    bounds[model.config.poi_index] = (0.0, bounds[model.config.poi_index][1])
    return bounds


def ours(data: list[float], model: pyhf.Model, toys: int, *, seed: int) -> None:
    """The whole test, with so many toys of each hypothesis."""
    settings = {"par_bounds": bounds_of(model), "calctype": "toybased", "ntoys": toys, "seed": seed}
    hypotest(MU, data, model, return_expected_set=True, return_errors=True, **settings)


def theirs(data: list[float], model: pyhf.Model, toys: int) -> None:
    """The statistic of the data, and of so many toys of each hypothesis."""
    calculator = pyhf.infer.calculators.ToyCalculator(
        data, model, par_bounds=bounds_of(model), ntoys=toys, track_progress=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of logarithms of zero on the way of its fits
        calculator.teststatistic(MU)
        calculator.distributions(MU)


def main() -> None:
    """Print a row for each workspace."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=["teaching", "hww", "atlas-3l-erjr"])
    parser.add_argument("--toys", type=int, default=100, help="of each hypothesis, by pyhf")
    parser.add_argument("--ours", type=int, default=10_000, help="the same, by toymill")
    options = parser.parse_args()
    print(f"{processor()}; pyhf {pyhf.__version__} with JAX and SciPy, NumPy {np.__version__}")
    print("| workload | toys by pyhf | s a toy | toys by toymill | first call, s | the next: s a toy | ratio |")
    print("|---|---|---|---|---|---|---|")
    for name in options.workloads:
        pyhf.set_backend("jax", "scipy")
        workspace = pyhf.Workspace(WORKLOADS[name]())
        model = workspace.model()
        data = workspace.data(model)
        theirs(data, model, 1)
        peer = seconds_of(lambda: theirs(data, model, options.toys)) / (2 * options.toys)  # noqa: B023
        first = seconds_of(lambda: ours(data, model, options.ours, seed=1))  # noqa: B023
        own = seconds_of(lambda: ours(data, model, options.ours, seed=2)) / (2 * options.ours)  # noqa: B023
        row = f"{2 * options.toys} | {peer:.3g} | {2 * options.ours:,} | {first:.3g} | {own:.2g} | {peer / own:,.0f}"
        print(f"| `{name}` | {row} |", flush=True)


if __name__ == "__main__":
    main()
