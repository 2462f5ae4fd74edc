"""Fit the toys of one ensemble by every optimiser of the study."""

from toymill.job import prepare, reported

prepare(snakemake.threads)
import numpy as np  # noqa: E402

from toymill.config import read_study, shards  # noqa: E402
from toymill.records import write_json  # noqa: E402
from toymill.store import read_toys, write_comparison  # noqa: E402
from toymill.study import checked_model, compare_optimisers, toys_key  # noqa: E402

with reported(snakemake.log):
    study = read_study(snakemake.config)
    model = checked_model(study)
    ensemble = snakemake.wildcards.ensemble
    parts = zip(snakemake.input.toys, shards(study, ensemble), strict=True)
    toys = np.concatenate([read_toys(path, toys_key(study, model, ensemble, shard)) for path, shard in parts])
    key, outcomes, table = compare_optimisers(study, ensemble, toys, model=model)
    write_comparison(snakemake.output.hdf5, key, outcomes, model.parameters.names)
    write_json(snakemake.output.json, table)
