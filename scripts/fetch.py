"""Download an input and check its digest."""

from toymill.fetch import fetch
from toymill.job import reported

with reported(snakemake.log):
    fetch(snakemake.params.remote, snakemake.output[0])
