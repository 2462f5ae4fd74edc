"""Throw and fit the toys of one shard of a region's point."""

from toymill.job import prepare, reported

prepare(snakemake.threads, snakemake.resources.get("gpu", 0))
from toymill.config.designed import study_of  # noqa: E402
from toymill.config.study import shard_named  # noqa: E402
from toymill.results.design import read_design  # noqa: E402
from toymill.study.layout import superseded  # noqa: E402
from toymill.study.region_fits import fit_region_shard  # noqa: E402

with reported(snakemake.log):
    design, (fits, region) = snakemake.input.design, snakemake.output
    ensemble, shard = snakemake.wildcards.ensemble, shard_named(snakemake.wildcards.shard)
    fit_region_shard(
        study_of(snakemake.config, design), read_design(design), ensemble, shard, fits, region, superseded(fits)
    )
