"""Refuse a study with too many failed toys; write where everything came from."""

from toymill.config.study import read_study
from toymill.errors import ToymillError
from toymill.job import reported
from toymill.results.records import provenance, read_json, write_json
from toymill.study.aggregate import failures

with reported(snakemake.log):
    study = read_study(snakemake.config)
    refused = failures(study, read_json(snakemake.input.summary))
    if refused:
        raise ToymillError("\n  ".join(["The study is refused; its summary and figures stay.", *refused]))
    model = read_json(snakemake.input.model)
    write_json(snakemake.output[0], provenance(model, dict(snakemake.input.items()), snakemake.params.benchmarks))
