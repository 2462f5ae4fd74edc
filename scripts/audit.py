"""Fit some toys of an ensemble again with iminuit."""

from toymill.job import prepare, reported

prepare(snakemake.threads)
from toymill.config.designed import study_of  # noqa: E402
from toymill.results.audit import write_audit  # noqa: E402
from toymill.study.audit import audit_ensemble  # noqa: E402

with reported(snakemake.log):
    audit = audit_ensemble(
        study_of(snakemake.config, snakemake.input.design), snakemake.wildcards.ensemble, snakemake.input.fits
    )
    write_audit(snakemake.output[0], audit, snakemake.log)
