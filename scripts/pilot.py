"""Measure how fast toys are fitted, and choose the shards."""

from toymill.job import prepare, reported

prepare(snakemake.threads, snakemake.resources.get("gpu", 0))
from toymill.config.study import read_study  # noqa: E402
from toymill.results.files import write_record  # noqa: E402
from toymill.study.pilot import plan_study  # noqa: E402

with reported(snakemake.log):
    write_record(snakemake.output[0], plan_study(read_study(snakemake.config)))
