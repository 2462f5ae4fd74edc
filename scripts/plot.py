"""Draw the figures of a study, or of one of its ensembles."""

import os

os.environ["MPLCONFIGDIR"] = ".snakemake/toymill/matplotlib"  # a home may be missing, or not writable
from toymill.job import reported
from toymill.report.draw import draw
from toymill.results.audit import read_audits
from toymill.results.summary import read_summary

with reported(snakemake.log):
    summary, audits = read_summary(snakemake.input[0]), read_audits(snakemake.input.get("audits"))
    draw(summary, dict(snakemake.output.items()), audits, ensemble=snakemake.wildcards.get("ensemble"))
