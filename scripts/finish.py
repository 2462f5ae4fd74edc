"""Refuse a study with too many failed toys; write where everything came from."""

from toymill.config.study import read_study
from toymill.job import reported
from toymill.results.description import read_description
from toymill.results.files import write_record
from toymill.results.provenance import provenance
from toymill.results.summary import read_summary
from toymill.study.failures import refuse_failures

with reported(snakemake.log):
    refuse_failures(read_study(snakemake.config), read_summary(snakemake.input.summary))
    model, files = read_description(snakemake.input.model), dict(snakemake.input.items())
    write_record(snakemake.output[0], provenance(model, files, snakemake.params.benchmarks))
