"""Whether this tree computes what another revision does: shards, models, summaries and figures of five studies, bit for bit.

    python benchmarks/same_results.py 4f566c7

Both run on this machine, one after the other; the other revision in a clone of its own. Exit code 1 where a file differs.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[1]

STUDIES = {
    "hww": """
study: hww
model: config/workspaces/hww.json
ensembles:
  mu0: {truth: {mu: 0.0}, toys: 1500, tests: [0.0, 1.0]}
  mu1: {truth: {mu: 1.0}, toys: 700, tests: [0.0, 1.0], nuisances: conditional}
shard: 1000
fit: {audit: 2}
""",
    "atlas": """
study: atlas
model:
  path: config/workspaces/atlas-3l-erjr/BkgOnly.json
  patches: [config/workspaces/atlas-3l-erjr/patch.ERJR_100p0_20p0.json]
ensembles:
  signal: {truth: {mu_SIG: 1.0}, toys: 500, tests: [0.0]}
  background: {truth: {mu_SIG: 0.0}, toys: 300, tests: [1.0]}
shard: 500
fit: {audit: 1}
""",
    "every-modifier": """
study: every-modifier
model: {path: tests/data/every-modifier.json}
ensembles:
  one: {truth: {mu: 1.0}, toys: 600, tests: [0.0]}
shard: 10000
fit: {audit: 1, max_failed: 1.0}
""",
    "lifetime": """
study: lifetime
model: {kind: python, path: config/models/lifetime.py, options: {decays: 100}}
ensembles:
  short: {truth: {tau: 1.0}, toys: 800, tests: [1.2]}
shard: 10000
fit: {audit: 2}
""",
    "onoff": """
study: onoff
model: {kind: onoff, signal: 6.0, background: 9.0, tau: 1.0}
ensembles:
  background: {truth: {s: 0.0}, toys: 3000}
  signal: {truth: {s: 6.0}, toys: 3000, tests: [0.0], throw: hybrid}
keep: summary
shard: 10000
fit: {audit: 2}
""",
}


def run(tree: Path, studies: list[str], cores: int) -> None:
    """Run the studies in a tree, with its own sources, one after the other."""
    environment = os.environ | {"PYTHONPATH": str(tree / "src")}
    for name in studies:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(STUDIES[name].replace(f"study: {name}", f"study: same-{name}", 1))
            file.flush()
            command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--configfile", file.name]
            command += ["--quiet", "all", "--rerun-incomplete"]
            subprocess.run(command, cwd=tree, env=environment, check=True)


def files_of(tree: Path, name: str) -> dict[str, object]:
    """What a study left that holds no times, by its path: without what names the code that made it."""
    folder = tree / "results" / f"same-{name}"
    kinds = [
        *folder.glob("fits/**/*.h5"),
        *folder.glob("model.json"),
        *folder.glob("summary.*"),
        *folder.glob("plots/*"),
    ]
    return {str(path.relative_to(folder)): content_of(path) for path in kinds}


def content_of(path: Path) -> object:
    """The content of a file: bytes, or what an HDF5 or JSON file holds but for digests of itself and of the code."""
    if path.suffix == ".json":
        return without_code(json.loads(path.read_text()))
    if path.suffix != ".h5":
        return path.read_bytes()
    found: dict[str, object] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        found[name] = {key: np.asarray(value).tobytes() for key, value in item.attrs.items() if key != "code"}
        if isinstance(item, h5py.Dataset):
            found[f"{name}:"] = (str(item.dtype), item.shape, np.asarray(item[...]).tobytes())

    with h5py.File(path) as file:
        visit("", file)
        file.visititems(visit)
    return found


def without_code(tree: object) -> object:
    """A tree of JSON without digests of itself and of the code."""
    if isinstance(tree, dict):
        return {key: without_code(value) for key, value in tree.items() if key not in {"code", "sha256"}}
    return [without_code(item) for item in tree] if isinstance(tree, list) else tree


def main() -> int:
    """Run both, compare, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", help="the revision of this repository to compare with")
    parser.add_argument("--studies", nargs="+", default=list(STUDIES), choices=list(STUDIES))
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--clone", type=Path, help="where the other revision is, or is to be, cloned; kept if given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        clone = given.clone or Path(temporary) / "clone"
        if not clone.exists():
            subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        subprocess.run(["git", "-C", clone, "checkout", "--quiet", given.revision], check=True)
        different = 0
        run(clone, given.studies, given.cores)
        for name in given.studies:
            shutil.rmtree(ROOT / "results" / f"same-{name}", ignore_errors=True)
        run(ROOT, given.studies, given.cores)
        for name in given.studies:
            there, here = files_of(clone, name), files_of(ROOT, name)
            for path in sorted({*there, *here}):
                if there.get(path) != here.get(path):
                    different += 1
                    print(f"{name}: {path} differs")
            print(f"{name}: {len(there)} files there, {len(here)} here")
    print(f"{different} files differ")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
