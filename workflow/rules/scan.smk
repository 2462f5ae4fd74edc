# A scan over many signals: the model of each point fits the same toys, and one job puts together what they found.
from toymill.config.dependencies import scan_answer_job, scan_job
from toymill.config.scan import grid_of
from toymill.study.scan_layout import counts_in, scan_files

GRID = grid_of(STUDY.scan)
POINTS = {point.folder: point for point in GRID.points}


SCAN_FILES = list(chain(*scan_files(STUDY, GRID, f"{RESULTS}/scan").values()))


rule scan:
    input:
        INPUTS,
    output:
        ensure("<results>/scan/{point}/{shard}.h5", non_empty=True),
    log:
        "<logs>/scan/{point}/{shard}.log",
    benchmark:
        "<benchmarks>/scan/{point}/{shard}.tsv"
    wildcard_constraints:
        point="[^/]+",
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=lambda wildcards: scan_job(STUDY, POINTS[wildcards.point]),
        toys=lambda wildcards: counts_in(STUDY, wildcards.shard),
    script:
        "../../scripts/scan.py"


rule answer_scan:
    input:
        SCAN_FILES,
    output:
        ensure(f"{SCRATCH}/scan.json", non_empty=True),
    log:
        "<logs>/answer_scan.log",
    benchmark:
        "<benchmarks>/answer_scan.tsv"
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=scan_answer_job(STUDY, GRID),
    script:
        "../../scripts/answer_scan.py"


SCAN = f"{SCRATCH}/scan.json"
