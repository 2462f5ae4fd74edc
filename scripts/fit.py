"""Throw and fit the toys of one shard."""

from toymill.job import prepare, reported

prepare(snakemake.threads)
from toymill.config.study import read_study, shard_named  # noqa: E402
from toymill.study.shards import fit_shard  # noqa: E402

with reported(snakemake.log):
    study, ensemble = read_study(snakemake.config), snakemake.wildcards.ensemble
    fit_shard(study, ensemble, shard_named(study, ensemble, snakemake.wildcards.shard), snakemake.output[0])
