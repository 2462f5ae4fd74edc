"""Refuse a study with too many failed toys or missed minima; write where everything came from."""

from toymill.config.study import read_study
from toymill.job import reported
from toymill.results.audit import read_audits
from toymill.results.files import write_record
from toymill.results.provenance import provenance
from toymill.results.summary import read_summary
from toymill.study.failures import refuse_failures

with reported(snakemake.log):
    summary, audits = read_summary(snakemake.input.summary), read_audits(snakemake.input.audits)
    refuse_failures(read_study(snakemake.config), summary, audits)
    write_record(
        snakemake.output[0],
        provenance(snakemake.input.config, snakemake.input.model, snakemake.input.summary, snakemake.params.logs),
    )
