"""Put the comparisons of all ensembles into one summary."""

from pathlib import Path

from toymill.config.study import read_study
from toymill.job import reported
from toymill.results.records import read_json, write_json
from toymill.results.store import write_summary
from toymill.study.aggregate import summarize_optimisers

with reported(snakemake.log):
    study = read_study(snakemake.config)
    tables = {Path(path).stem: read_json(path) for path in snakemake.input.tables}
    summary = summarize_optimisers(study, read_json(snakemake.input.model), tables)
    write_json(snakemake.output.json, summary)
    write_summary(snakemake.output.hdf5, summary)
