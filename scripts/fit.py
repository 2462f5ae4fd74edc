"""Fit the toys of one shard."""

from toymill.job import prepare, reported

prepare(snakemake.threads)
from toymill.config import read_study, shard_named  # noqa: E402
from toymill.minimize import Status  # noqa: E402
from toymill.store import read_toys, write_shard  # noqa: E402
from toymill.study import checked_model, fit_shard, toys_key  # noqa: E402

with reported(snakemake.log):
    study = read_study(snakemake.config)
    model = checked_model(study)
    ensemble = snakemake.wildcards.ensemble
    shard = shard_named(study, ensemble, snakemake.wildcards.shard)
    toys = read_toys(snakemake.input.toys, toys_key(study, model, ensemble, shard))
    fits = fit_shard(study, ensemble, shard, toys, model=model)
    write_shard(snakemake.output[0], fits, {status.value: status.name.lower() for status in Status})
