"""Count a part of an ensemble's toys."""

from toymill.job import prepare, reported

prepare(snakemake.threads)
from toymill.config.designed import study_of  # noqa: E402
from toymill.results.description import read_description  # noqa: E402
from toymill.study.collect import tally_part  # noqa: E402

with reported(snakemake.log):
    study, description = study_of(snakemake.config, snakemake.input.design), read_description(snakemake.input.model)
    ensemble, number = snakemake.wildcards.ensemble, int(snakemake.wildcards.part)
    tally_part(study, description, ensemble, number, snakemake.input.fits, snakemake.output[0])
