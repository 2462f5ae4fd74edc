"""Download an input and check its digest."""

from toymill.job import reported
from toymill.study.fetch import fetch

with reported(snakemake.log):
    fetch(snakemake.params.remote, snakemake.output[0])
