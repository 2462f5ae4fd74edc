"""Count a part of an ensemble's toys."""

from toymill.job import prepare, reported

prepare(snakemake.threads)
from toymill.config.study import read_study  # noqa: E402
from toymill.results.description import read_description  # noqa: E402
from toymill.results.store import write_part  # noqa: E402
from toymill.study.collect import count_part, part_key  # noqa: E402
from toymill.study.model import derived_of_study  # noqa: E402

with reported(snakemake.log):
    study, description = read_study(snakemake.config), read_description(snakemake.input.model)
    ensemble, number = snakemake.wildcards.ensemble, int(snakemake.wildcards.part)
    part = count_part(study, description, ensemble, number, snakemake.input.fits, derived_of_study(study))
    write_part(snakemake.output[0], part_key(study, description, ensemble, number), part)
