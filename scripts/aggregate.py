"""Summarise all shards."""

from toymill.job import prepare, reported

prepare(snakemake.threads)
from pathlib import Path  # noqa: E402

from toymill.config.study import read_study  # noqa: E402
from toymill.results.records import read_json, write_json  # noqa: E402
from toymill.results.store import write_summary  # noqa: E402
from toymill.study.aggregate import summarize  # noqa: E402

with reported(snakemake.log):
    study = read_study(snakemake.config)
    files = {
        name: [path for path in snakemake.input.fits if Path(path).parent.name == name] for name in study.ensembles
    }
    summary = summarize(study, read_json(snakemake.input.model), files)
    write_json(snakemake.output.json, summary)
    write_summary(snakemake.output.hdf5, summary)
