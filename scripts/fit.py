"""Throw and fit the toys of one shard."""

from toymill.job import prepare, reported

prepare(snakemake.threads, snakemake.resources.get("gpu", 0))
from toymill.config.designed import study_of  # noqa: E402
from toymill.config.study import shard_named  # noqa: E402
from toymill.study.layout import superseded  # noqa: E402
from toymill.study.shards import fit_shard  # noqa: E402

with reported(snakemake.log):
    path, shard = snakemake.output[0], shard_named(snakemake.wildcards.shard)
    fit_shard(
        study_of(snakemake.config, snakemake.input.design), snakemake.wildcards.ensemble, shard, path, superseded(path)
    )
