"""Throw and fit the toys of one shard."""

from toymill.job import prepare, reported

prepare(snakemake.threads)
from toymill.config.study import read_study, shard_named  # noqa: E402
from toymill.study.stages import fit_shard  # noqa: E402

with reported(snakemake.log):
    study = read_study(snakemake.config)
    shard = shard_named(study, snakemake.wildcards.ensemble, snakemake.wildcards.shard)
    fit_shard(study, snakemake.wildcards.ensemble, shard, snakemake.output[0])
