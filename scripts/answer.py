"""Answer the study's sections from the fits of their ensembles."""

from toymill.job import prepare, reported

prepare(snakemake.threads)
from toymill.config.designed import study_of  # noqa: E402
from toymill.results.answers import AnswersFile  # noqa: E402
from toymill.results.description import read_description  # noqa: E402
from toymill.results.design import read_design  # noqa: E402
from toymill.results.files import write_record  # noqa: E402
from toymill.study.answers import answer  # noqa: E402
from toymill.study.collect import by_ensemble  # noqa: E402

with reported(snakemake.log):
    study, description = study_of(snakemake.config, snakemake.input.design), read_description(snakemake.input.model)
    design, given = read_design(snakemake.input.design), snakemake.input
    write_record(
        snakemake.output[0],
        AnswersFile(answers=answer(study, description, design, by_ensemble(given.fits), by_ensemble(given.region))),
    )
