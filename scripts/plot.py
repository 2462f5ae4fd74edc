"""Draw the figures of a study, or of one of its ensembles."""

import os

os.environ["MPLCONFIGDIR"] = ".snakemake/toymill/matplotlib"  # a home may be missing, or not writable
from toymill.config.figures import FiguresConfig
from toymill.job import reported
from toymill.report.draw import draw
from toymill.results.summary import read_summary

with reported(snakemake.log):
    look = FiguresConfig(**snakemake.params.look)
    ensemble, matrices = snakemake.wildcards.get("ensemble"), snakemake.input.get("matrices")
    draw(
        read_summary(snakemake.input[0]),
        dict(snakemake.output.items()),
        ensemble=ensemble,
        matrices=matrices,
        look=look,
    )
