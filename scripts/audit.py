"""Fit some toys of an ensemble again with iminuit."""

from toymill.job import prepare, reported

prepare(snakemake.threads)
from toymill.config.study import read_study  # noqa: E402
from toymill.results.audit import write_audit  # noqa: E402
from toymill.study.audit import audit_ensemble  # noqa: E402

with reported(snakemake.log):
    audit = audit_ensemble(read_study(snakemake.config), snakemake.wildcards.ensemble, snakemake.input.fits)
    write_audit(snakemake.output[0], audit, snakemake.log)
