"""Find the profile intervals of the toys of one shard."""

from toymill.job import prepare, reported

prepare(snakemake.threads, snakemake.resources.get("gpu", 0))
from toymill.config.designed import study_of  # noqa: E402
from toymill.config.study import shard_named  # noqa: E402
from toymill.study.profile_intervals import find_intervals  # noqa: E402

with reported(snakemake.log):
    study, ensemble = study_of(snakemake.config, snakemake.input.design), snakemake.wildcards.ensemble
    find_intervals(study, ensemble, shard_named(snakemake.wildcards.shard), snakemake.output[0])
