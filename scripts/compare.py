"""Fit the toys of one ensemble by every optimiser of the study."""

from toymill.job import prepare, reported

prepare(snakemake.threads)
from toymill.config.study import read_study  # noqa: E402
from toymill.results.records import write_json  # noqa: E402
from toymill.results.store import write_comparison  # noqa: E402
from toymill.study.stages import checked_model, compare_optimisers  # noqa: E402

with reported(snakemake.log):
    study = read_study(snakemake.config)
    model = checked_model(study)
    key, outcomes, table = compare_optimisers(study, snakemake.wildcards.ensemble, model=model)
    write_comparison(snakemake.output.hdf5, key, outcomes, model.parameters.names)
    write_json(snakemake.output.json, table)
