"""Write the report of a study as one HTML file."""

from toymill.config.study import read_study
from toymill.job import reported
from toymill.report.page import gather, write_page
from toymill.results.provenance import provenance

with reported(snakemake.log):
    files = snakemake.input
    origin = provenance(files.config, files.model, files.summary, snakemake.params.logs)
    write_page(snakemake.output[0], gather(read_study(snakemake.config), origin, **dict(files.items())))
