"""Fit some toys of a scan again with iminuit, by the model of one point."""

from toymill.job import prepare, reported

prepare(snakemake.threads)
from toymill.config.study import read_study  # noqa: E402
from toymill.results.audit import write_audit  # noqa: E402
from toymill.study.scan_audit import audit_point  # noqa: E402

with reported(snakemake.log):
    write_audit(
        snakemake.output[0], audit_point(read_study(snakemake.config), snakemake.wildcards.point), snakemake.log
    )
