"""Put together what the points of a scan have found."""

from toymill.config.study import read_study
from toymill.job import reported
from toymill.results.files import write_record
from toymill.results.scan import ScanFile
from toymill.study.scan_answer import answer_scan
from toymill.study.scan_layout import by_point, tilted_by_point

with reported(snakemake.log):
    study, given = read_study(snakemake.config), snakemake.input
    answer = answer_scan(study, by_point(given.fits), tilted_by_point(given.tilts, given.tilted))
    write_record(snakemake.output[0], ScanFile(scan=answer))
