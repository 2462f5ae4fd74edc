"""Fit some toys of an ensemble again with iminuit."""

import sys
from pathlib import Path

from toymill.job import prepare, reported

prepare(snakemake.threads)
from toymill.config.study import read_study  # noqa: E402
from toymill.results.files import write_record  # noqa: E402
from toymill.results.plan import read_plan  # noqa: E402
from toymill.study.audit import audit_ensemble  # noqa: E402

with reported(snakemake.log):
    study, plan = read_study(snakemake.config), read_plan(snakemake.input.plan)
    audit = audit_ensemble(study, snakemake.wildcards.ensemble, snakemake.input.fits, plan)
    write_record(snakemake.output[0], audit)
    if audit.summary.missed:
        told = f"toymill: ensemble {audit.ensemble!r}: {audit.sentence}\n"
        Path(snakemake.log[0]).write_text(told, encoding="utf-8")
        sys.stderr.write(told)
