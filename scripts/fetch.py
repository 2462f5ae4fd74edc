"""Download an input and check its digest."""

from toymill.config.model import Remote
from toymill.job import reported
from toymill.study.fetch import fetch

with reported(snakemake.log):
    fetch(Remote(**snakemake.params.remote), snakemake.output[0])
