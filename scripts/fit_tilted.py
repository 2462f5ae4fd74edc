"""Fit the tilted toys of a scan with the model of one point."""

from toymill.job import prepare, reported

prepare(snakemake.threads, snakemake.resources.get("gpu", 0))
from toymill.config.study import read_study  # noqa: E402
from toymill.study.scan_tilts import fit_tilted  # noqa: E402

with reported(snakemake.log):
    study = read_study(snakemake.config)
    fit_tilted(study, snakemake.wildcards.point, snakemake.input.tilts, snakemake.output[0])
