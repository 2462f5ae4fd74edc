"""Fit toys with the model of one point of a scan."""

from toymill.job import prepare, reported

prepare(snakemake.threads, snakemake.resources.get("gpu", 0))
from toymill.config.study import read_study, shard_named  # noqa: E402
from toymill.study.scan import fit_point  # noqa: E402

with reported(snakemake.log):
    study, shard = read_study(snakemake.config), shard_named(snakemake.wildcards.shard)
    fit_point(study, snakemake.wildcards.point, shard, snakemake.output[0])
