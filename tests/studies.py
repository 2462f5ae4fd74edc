"""Finished studies, made without Snakemake: what ``results/<study>`` holds, save figures, reports and provenance."""

from toymill.config.study import read_study, shards
from toymill.results.files import write_record, write_yaml
from toymill.results.summary import write_summary
from toymill.study.describe import describe
from toymill.study.shards import fit_shard
from toymill.study.summarize import summarize


def finished(folder, content):
    """Run a study of kind toys into a folder, which is returned."""
    study = read_study(content)
    description = describe(study)
    files = {}
    for name in study.ensembles:
        (folder / "fits" / name).mkdir(parents=True)
        for shard in shards(study, name):
            files.setdefault(name, []).append(folder / "fits" / name / f"{shard.name}.h5")
            fit_shard(study, name, shard, files[name][-1])
    write_yaml(folder / "config.yaml", study.model_dump(mode="json"))
    write_record(folder / "model.json", description)
    summary = summarize(study, description, files)
    write_summary(folder / "summary.json", folder / "summary.h5", summary)
    return folder


def on_off(root, **changes):
    """A small study of two ensembles, the first in two shards."""
    content = {
        "study": "small",
        "model": str(root / "tests/data/onoff.json"),
        "ensembles": {
            "one": {"truth": {"mu": 1.0}, "toys": 400, "tests": [0.0]},
            "zero": {"truth": {"mu": 0.0}, "toys": 150},
        },
        "shard": 256,
    }
    return content | changes
