"""Summarise all shards."""

from pathlib import Path

from toymill.aggregate import summarize
from toymill.config import read_study
from toymill.job import reported
from toymill.records import read_json, write_json
from toymill.store import write_summary

with reported(snakemake.log):
    study = read_study(snakemake.config)
    files = {
        name: [path for path in snakemake.input.fits if Path(path).parent.name == name] for name in study.ensembles
    }
    summary = summarize(study, read_json(snakemake.input.model), files)
    write_json(snakemake.output.json, summary)
    write_summary(snakemake.output.hdf5, summary)
