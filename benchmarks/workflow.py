"""What the workflow costs beside the fits: planning jobs, starting one, and adding up many shards. See benchmarks/README.md.

    python benchmarks/workflow.py --jobs 1 100 1000 10000 --shards 100 1000 10000

Jobs are planned by a dry run. The shards that are added up are those of a small model, made directly, of ten toys each.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
import yaml

ROOT = Path(__file__).resolve().parents[1]
TOYS = 10  # of a shard that is added up


def study(toys: int, shard: int, **changes: object) -> dict[str, object]:
    """A study of a small model."""
    return {
        "study": "many",
        "model": str(ROOT / "tests/data/onoff.json"),
        "ensembles": {"one": {"truth": {"mu": 1.0}, "toys": toys, "tests": [0.0]}},
        "shard": shard,
        "fit": {"audit": 0},
    } | changes


def snakemake(folder: Path, content: dict[str, object], *arguments: str) -> float:
    """Seconds of Snakemake on a study in a folder."""
    (folder / "study.yaml").write_text(yaml.safe_dump(content))
    words = ["--snakefile", ROOT / "Snakefile", "--directory", folder, "--configfile", folder / "study.yaml"]
    command = [sys.executable, "-m", "snakemake", *arguments, *map(str, words), "--cores", "1", "--quiet", "all"]
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def planned(jobs: int) -> float:
    """Seconds to plan a study of so many fit jobs, by a dry run."""
    with tempfile.TemporaryDirectory() as folder:
        return snakemake(Path(folder), study(10 * jobs, 10), "--dry-run")


def started(model: str, truth: dict[str, float]) -> dict[str, float]:
    """Seconds of a fit job of one toy, and of a second one, for which programs are compiled: what does not grow with toys."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        content = study(1, 1, model=model, ensembles={"one": {"truth": truth, "toys": 1}})
        seconds = {}
        for name, toys in (("first", 1), ("second", 2)):
            content["ensembles"]["one"]["toys"] = toys  # type: ignore[index]
            wanted = f"results/many/fits/one/{toys - 1:09d}-{toys - 1:09d}.h5"
            seconds[f"{name}, with Snakemake"] = snakemake(folder, content, wanted)
            table = next(folder.glob(f".snakemake/toymill/many/benchmarks/fit/one/{toys - 1:09d}*.tsv"))
            seconds[name] = float(table.read_text().splitlines()[1].split("\t")[0])
        return seconds


def make_shards(folder: Path, count: int) -> None:
    """Write the shards of a study of so many, all with the same fits."""
    from toymill.config.study import read_study, shards
    from toymill.fitting.conditional import fit_tests
    from toymill.results.files import write_record
    from toymill.results.store import ShardFits, write_shard
    from toymill.study.describe import describe
    from toymill.study.model import checked_model
    from toymill.study.shards import fits_key
    from toymill.toys import throw

    content = read_study(study(TOYS * count, TOYS))
    write_record(folder / "model.json", describe(content))
    model = checked_model(content)
    data = throw(model, model.parameters.init, TOYS, seed=1)
    free, tests = fit_tests(model, data, [{"mu": 0.0}, {"mu": 1.0}])
    for shard in shards(content, "one"):
        key = fits_key(content, model, "one", shard)
        write_shard(folder / f"one/{shard.name}.h5", ShardFits(key, free, tests))


def added_up(folder: Path) -> dict[str, float]:
    """Seconds and peak memory (MB) of this process for the summary of the shards in a folder."""
    from toymill.config.study import read_study
    from toymill.results.description import read_description
    from toymill.study.summarize import summarize

    files = sorted(folder.glob("one/*.h5"))
    begin = time.perf_counter()
    summary = summarize(
        read_study(study(TOYS * len(files), TOYS)), read_description(folder / "model.json"), {"one": files}
    )
    assert summary.ensembles["one"].toys == TOYS * len(files)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.perf_counter() - begin, "megabytes": peak}


def in_a_process(*arguments: str) -> dict[str, float]:
    """What this program prints when it is called so: a process of its own, for its memory."""
    command = [sys.executable, __file__, *arguments]
    environment = os.environ | {"JAX_ENABLE_X64": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure, and print a table for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, nargs="*", default=[1, 100, 1000])
    parser.add_argument("--shards", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--add", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        make_shards(given.make, given.count)
        print("{}")
        return
    if given.add:
        print(json.dumps(added_up(given.add)))
        return
    print(machine.processor(), f"{os.cpu_count()} cores")
    print("\n| fit jobs | seconds to plan |\n|---|---|")
    for jobs in given.jobs:
        print(f"| {jobs:,} | {planned(jobs):.1f} |", flush=True)
    print(
        "\n| model | first job | second job | first, with Snakemake | second, with Snakemake |\n|---|---|---|---|---|"
    )
    for model, truth in (
        ("tests/data/onoff.json", {"mu": 1.0}),
        ("config/workspaces/hww.json", {"mu": 1.0}),
    ):
        found = started(str(ROOT / model), truth)
        cells = [found[key] for key in ("first", "second", "first, with Snakemake", "second, with Snakemake")]
        print(f"| {model} | {' | '.join(f'{value:.1f} s' for value in cells)} |", flush=True)
    print("\n| shards | seconds to add up | peak memory, MB |\n|---|---|---|")
    for count in given.shards:
        with tempfile.TemporaryDirectory() as folder:
            in_a_process("--make", folder, "--count", str(count))
            found = in_a_process("--add", folder)
        print(f"| {count:,} | {found['seconds']:.1f} | {found['megabytes']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
