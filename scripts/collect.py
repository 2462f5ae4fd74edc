"""Put the comparisons of all ensembles into one summary."""

from toymill.config.study import read_study
from toymill.job import reported
from toymill.results.description import read_description
from toymill.results.summary import read_comparisons, write_summary
from toymill.study.summarize import summarize_comparisons

with reported(snakemake.log):
    study, description = read_study(snakemake.config), read_description(snakemake.input.model)
    summary = summarize_comparisons(study, description, read_comparisons(snakemake.input.tables))
    write_summary(snakemake.output.json, snakemake.output.hdf5, summary)
