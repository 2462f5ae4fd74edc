"""The design of the last round, which says how many toys there are."""

from toymill.job import reported
from toymill.results.design import read_design
from toymill.results.files import write_record

with reported(snakemake.log):
    write_record(snakemake.output[0], read_design(snakemake.input[0]))
