"""Toys a second of toymill and its peers, on the same toys and the same core. See benchmarks/README.md."""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from machine import described

from toymill.job import prepare

prepare()

import iminuit  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402
import pyhf  # noqa: E402

import toymill  # noqa: E402
from toymill.audit import minuit_fit  # noqa: E402

ATLAS = Path("config/workspaces/atlas-3l-erjr")
WORKLOADS = {
    "hww": (Path("config/workspaces/hww.json"), None),
    "atlas-3l-erjr": (ATLAS / "BkgOnly.json", ATLAS / "patch.ERJR_100p0_20p0.json"),
}


def timed(fits: Callable[[np.ndarray], object], data: np.ndarray, repeats: int) -> dict[str, float]:
    """Seconds of the first call on one toy, and toys a second over repeats on all of them."""
    begin = time.perf_counter()
    fits(data[:1])
    first = time.perf_counter() - begin
    rates = []
    for _ in range(repeats):
        begin = time.perf_counter()
        fits(data)
        rates.append(len(data) / (time.perf_counter() - begin))
    return {
        "first_call_s": first,
        "toys": len(data),
        "median": statistics.median(rates),
        "min": min(rates),
        "max": max(rates),
    }


def pyhf_fits(path: Path, patch: Path | None) -> Callable[[np.ndarray], object]:
    """Free and conditional fits by pyhf, one toy after the other; failures are pyhf's own."""
    pyhf.set_backend("jax", "scipy")
    workspace = pyhf.Workspace(json.loads(path.read_text()))
    model = workspace.model(patches=[json.loads(patch.read_text())] if patch else [])

    def fits(data: np.ndarray) -> object:
        failed = 0
        for row in data:
            try:
                pyhf.infer.mle.fit(row, model)
                pyhf.infer.mle.fixed_poi_fit(1.0, row, model)
            except pyhf.exceptions.FailedMinimization:
                failed += 1
        return failed

    return fits


def main() -> None:
    """Run every workload and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--toys", type=int, default=4096, help="toys for toymill")
    parser.add_argument("--peer-toys", type=int, default=8, help="toys for each peer")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/throughput.json"))
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    results: dict[str, object] = {
        **described(toymill, jax, np, iminuit, pyhf),
    }
    print(
        f"{results['processor']}\n{'workload':16}{'fitter':10}{'first call':>12}{'toys/s':>10}{'spread':>18}{'ratio':>8}"
    )
    for name, (path, patch) in WORKLOADS.items():
        model = toymill.read_workspace(path, patches=[patch] if patch else [])
        poi = str(model.poi)
        begin = time.perf_counter()
        data = toymill.throw(model, model.parameters.values({poi: 1.0}), options.toys, seed=1)
        thrown = time.perf_counter() - begin
        fitters = {
            "toymill": (lambda rows, m=model, p=poi: toymill.fit_tests(m, rows, [{p: 1.0}]), data),
            "iminuit": (
                lambda rows, m=model, p=poi: [(minuit_fit(m, row), minuit_fit(m, row, {p: 1.0})) for row in rows],
                data[: options.peer_toys],
            ),
            "pyhf": (pyhf_fits(path, patch), data[: options.peer_toys]),
        }
        table = {fitter: timed(fits, rows, options.repeats) for fitter, (fits, rows) in fitters.items()}
        results[name] = {"throw_s": thrown, "fits": table}
        for fitter, row in table.items():
            ratio = table["toymill"]["median"] / row["median"]
            spread = f"{row['min']:.4g} to {row['max']:.4g}"
            print(f"{name:16}{fitter:10}{row['first_call_s']:>10.2f} s{row['median']:>10.4g}{spread:>18}{ratio:>8.1f}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
