"""Design the ensembles that the study's sections are answered from."""

from toymill.job import prepare, reported

prepare(snakemake.threads)
from toymill.config.study import read_study  # noqa: E402
from toymill.results.files import write_record  # noqa: E402
from toymill.study.design import design_study  # noqa: E402

with reported(snakemake.log):
    write_record(snakemake.output[0], design_study(read_study(snakemake.config)))
