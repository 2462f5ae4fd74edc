"""Write the page of a study's toys, from its summary and its fits."""

from pathlib import Path

from toymill.job import reported
from toymill.report.explorer import write_explorer
from toymill.results.opened import open_results
from toymill.study.explored import explored

with reported(snakemake.log):
    write_explorer(snakemake.output[0], explored(open_results(Path(snakemake.input.summary).parent)))
