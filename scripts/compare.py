"""Fit the toys of one ensemble by every optimiser of the study."""

from toymill.job import prepare, reported

prepare(snakemake.threads)
from toymill.config.study import read_study  # noqa: E402
from toymill.results.comparison import write_comparison  # noqa: E402
from toymill.results.files import write_record  # noqa: E402
from toymill.study.compare import compare_optimisers  # noqa: E402

with reported(snakemake.log):
    compared = compare_optimisers(read_study(snakemake.config), snakemake.wildcards.ensemble, snakemake.output.hdf5)
    write_comparison(snakemake.output.hdf5, compared.key, compared.outcomes, compared.names)
    write_record(snakemake.output.json, compared.table)
