"""What the jobs of studies write on a GPU, beside what they write on the processor: integers equal, numbers to rounding.

    python benchmarks/gpu_jobs.py

Each device works in a process of its own, as a job of the workflow does. Exit code 1 where statuses or counts differ.
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml
from same_results import STUDIES

PROFILED = {"hww": "mu", "onoff": "s"}
"""Studies whose jobs find profile intervals too, and of which parameter."""

MAY_DIFFER = {"iterations", "estimates", "pull_cells", "pull_histogram", "count"}
"""What rounding decides: steps of a search, and cells of histograms for a toy at the edge of one."""


def write_shards(gpus: int, names: list[str], folder: Path) -> None:
    """Do the jobs of each ensemble of the studies, with a GPU or without."""
    from toymill.job import prepare

    prepare(1, gpus)
    from toymill.config.study import Shard, read_study
    from toymill.study.profile_intervals import find_intervals
    from toymill.study.shards import fit_shard

    for name in names:
        content = yaml.safe_load(STUDIES[name])
        if name in PROFILED:
            for ensemble in content["ensembles"].values():
                ensemble["profile_intervals"] = [PROFILED[name]]
        study = read_study(content)
        begin = time.perf_counter()
        for ensemble, settings in study.ensembles.items():
            shard = Shard("all", 0, settings.toys)
            fit_shard(study, ensemble, shard, folder / f"{name}-{ensemble}.h5")
            if name in PROFILED:
                find_intervals(study, ensemble, shard, folder / f"{name}-{ensemble}-intervals.h5")
        print(f"{name} with {gpus} GPUs: {time.perf_counter() - begin:.0f} s", flush=True)


def content_of(path: Path) -> dict[str, np.ndarray]:
    """The datasets of a shard's file, by name."""
    found: dict[str, np.ndarray] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiub" and name.split("/")[-1] not in MAY_DIFFER:
            found[name] = np.asarray(item[...])

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def differences(here: Path, there: Path) -> tuple[list[str], float, str]:
    """Integers and gaps that differ, by name; the largest difference of numbers, relative beyond 1, and whose it is."""
    wrong, largest, whose = [], 0.0, ""
    one, other = content_of(here), content_of(there)
    for name in sorted(one.keys() | other.keys()):
        a, b = one.get(name), other.get(name)
        if a is None or b is None or a.shape != b.shape:
            wrong.append(f"{name}: shape")
        elif a.dtype.kind != "f":
            wrong += [f"{name}: {int((a != b).sum())} of {a.size}"] * bool((a != b).any())
        else:
            finite = np.isfinite(a)
            if (finite != np.isfinite(b)).any():
                wrong.append(f"{name}: {int((finite != np.isfinite(b)).sum())} gaps")
            both = finite & np.isfinite(b)
            apart = np.abs(a - b)[both] / np.maximum(1, np.abs(a[both]))
            if apart.size and apart.max() > largest:
                largest, whose = float(apart.max()), name
    return wrong, largest, whose


def main() -> int:
    """Run both, compare, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", nargs="+", default=list(STUDIES), choices=list(STUDIES))
    parser.add_argument("--gpus", type=int, default=1, help="0 tries this program itself")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folders = {kind: Path(temporary) / kind for kind in ("gpu", "cpu")}
        processes: list[Any] = []
        for kind, folder in folders.items():
            folder.mkdir()
            gpus = given.gpus if kind == "gpu" else 0
            process = multiprocessing.get_context("spawn").Process(
                target=write_shards, args=(gpus, given.studies, folder)
            )
            process.start()
            processes.append(process)
        for process in processes:
            process.join()
        wrong = 0
        for path in sorted(folders["cpu"].glob("*.h5")):
            if not (folders["gpu"] / path.name).exists():
                wrong += 1
                print(f"{path.stem}: not written on the GPU")
                continue
            named, largest, whose = differences(path, folders["gpu"] / path.name)
            wrong += len(named)
            print(f"{path.stem}: {', '.join(named) or 'integers equal'}; numbers within {largest:.1e} ({whose})")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
