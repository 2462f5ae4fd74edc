"""Count a part of an ensemble's toys."""

from toymill.job import prepare, reported

prepare(snakemake.threads)
from toymill.config.study import read_study  # noqa: E402
from toymill.results.description import read_description  # noqa: E402
from toymill.study.collect import tally_part  # noqa: E402

with reported(snakemake.log):
    study, description = read_study(snakemake.config), read_description(snakemake.input.model)
    ensemble, number = snakemake.wildcards.ensemble, int(snakemake.wildcards.part)
    tally_part(study, description, ensemble, number, snakemake.input.fits, snakemake.output[0])
