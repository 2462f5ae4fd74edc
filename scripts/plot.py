"""Draw the figures of a study, or of one of its ensembles."""

from toymill.job import reported
from toymill.report.draw import draw
from toymill.results.summary import read_summary

with reported(snakemake.log):
    summary = read_summary(snakemake.input[0])
    draw(summary, dict(snakemake.output.items()), ensemble=snakemake.wildcards.get("ensemble"))
