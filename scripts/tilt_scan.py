"""Choose truths about the excesses of a scan, and weigh their toys."""

from toymill.job import prepare, reported

prepare(snakemake.threads)
from toymill.config.study import read_study  # noqa: E402
from toymill.study.scan_layout import by_point  # noqa: E402
from toymill.study.scan_tilts import tilt_scan  # noqa: E402

with reported(snakemake.log):
    tilt_scan(read_study(snakemake.config), by_point(snakemake.input.fits), snakemake.output[0])
