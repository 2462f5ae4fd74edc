"""Measure how fast toys are fitted, and choose the shards."""

from toymill.job import prepare, reported

prepare(snakemake.threads, snakemake.resources.get("gpu", 0))
from toymill.config.designed import study_of  # noqa: E402
from toymill.results.files import write_record  # noqa: E402
from toymill.results.plan import earlier_plan  # noqa: E402
from toymill.study.pilot import plan_study  # noqa: E402

with reported(snakemake.log):
    path, study = snakemake.output[0], study_of(snakemake.config, snakemake.input.design)
    write_record(path, plan_study(study, before=earlier_plan(path)))
