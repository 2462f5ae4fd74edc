"""Write the resolved configuration and the compiled model."""

from toymill.job import prepare, reported

prepare(snakemake.threads)
from toymill.config.designed import study_of  # noqa: E402
from toymill.config.study import read_study  # noqa: E402
from toymill.results.files import write_record, write_yaml  # noqa: E402
from toymill.study.describe import describe  # noqa: E402

with reported(snakemake.log):
    study = read_study(snakemake.params.settings)
    write_record(snakemake.output.model, describe(study_of(snakemake.params.settings, snakemake.input.design)))
    write_yaml(snakemake.output.config, study.model_dump(mode="json"))
