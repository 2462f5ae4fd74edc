"""Draw the figures of a study, or of one of its ensembles."""

from toymill.job import reported
from toymill.report.plots import draw
from toymill.results.records import read_json

with reported(snakemake.log):
    draw(read_json(snakemake.input[0]), dict(snakemake.output.items()), ensemble=snakemake.wildcards.get("ensemble"))
