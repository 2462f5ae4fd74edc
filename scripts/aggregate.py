"""Summarise all shards."""

from toymill.job import prepare, reported

prepare(snakemake.threads)
from toymill.config.designed import study_of  # noqa: E402
from toymill.results.answers import read_answers  # noqa: E402
from toymill.results.description import read_description  # noqa: E402
from toymill.results.summary import write_summary  # noqa: E402
from toymill.study.collect import by_ensemble  # noqa: E402
from toymill.study.summarize import summarize  # noqa: E402

with reported(snakemake.log):
    study, description = study_of(snakemake.config, snakemake.input.design), read_description(snakemake.input.model)
    parts = (
        by_ensemble(snakemake.input.fits),
        by_ensemble(snakemake.input.tallies),
        read_answers(snakemake.input.answers, snakemake.input.scan),
        by_ensemble(snakemake.input.intervals),
    )
    write_summary(snakemake.output.json, snakemake.output.hdf5, summarize(study, description, *parts))
