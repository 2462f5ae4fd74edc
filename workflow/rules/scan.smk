# A scan over many signals: the model of each point fits the same toys, and one job puts together what they found.
from toymill.config.dependencies import (
    scan_answer_job,
    scan_audit_job,
    scan_job,
    tilts_job,
)
from toymill.config.scan import grid_of
from toymill.study.scan_layout import (
    audited_points,
    counts_in,
    scan_files,
    tilted_files,
)

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
    wildcard_constraints:
        point="[^/]+",
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=lambda wildcards: scan_job(STUDY, POINTS[wildcards.point]),
        toys=lambda wildcards: counts_in(STUDY, wildcards.shard),
    script:
        "../../scripts/scan.py"


# Some toys by the models of some points, fitted again with iminuit. The answer does not wait for it.
rule audit_scan:
    input:
        INPUTS,
        fits=lambda wildcards: scan_files(STUDY, GRID, f"{RESULTS}/scan")[
            wildcards.point
        ],
    output:
        ensure("<results>/audit/scan/{point}.json", non_empty=True),
    log:
        "<logs>/audit_scan/{point}.log",
    wildcard_constraints:
        point="[^/]+",
    priority: -1
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=lambda wildcards: scan_audit_job(STUDY, POINTS[wildcards.point]),
    script:
        "../../scripts/audit_scan.py"


SCAN_AUDITS = [
    f"{RESULTS}/audit/scan/{point.folder}.json" for point in audited_points(GRID)
]


TILTED = tilted_files(STUDY, f"{SCRATCH}/scan")
TILTS = TILTED.truths


def fits_of_tilted(wildcards):
    """The tilted toys by the model of each point, where the largest excess is beyond what toys without tilt reach."""
    from toymill.results.scan_store import why_no_tilts

    if not STUDY.scan.tilted_toys:
        return []
    tilts = checkpoints.tilt_scan.get().output[0]
    if read_once(why_no_tilts, tilts):
        return []
    return list(TILTED.points.values())


# Truths about the excess of each point, and what their toys weigh: none where toys without tilt are enough.
checkpoint tilt_scan:
    input:
        INPUTS,
        fits=SCAN_FILES,
    output:
        ensure(TILTS, non_empty=True),
    log:
        "<logs>/tilt_scan.log",
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=tilts_job(STUDY, GRID),
    script:
        "../../scripts/tilt_scan.py"


rule fit_tilted:
    input:
        INPUTS,
        tilts=TILTS,
    output:
        ensure(f"{SCRATCH}/scan/tilted/{{point}}.h5", non_empty=True),
    log:
        "<logs>/fit_tilted/{point}.log",
    wildcard_constraints:
        point="[^/]+",
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=lambda wildcards: scan_job(STUDY, POINTS[wildcards.point]),
    script:
        "../../scripts/fit_tilted.py"


rule answer_scan:
    input:
        fits=SCAN_FILES,
        tilts=TILTS if STUDY.scan.tilted_toys else [],
        tilted=fits_of_tilted,
    output:
        ensure(f"{SCRATCH}/scan.json", non_empty=True),
    log:
        "<logs>/answer_scan.log",
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=scan_answer_job(STUDY, GRID),
    script:
        "../../scripts/answer_scan.py"


SCAN = f"{SCRATCH}/scan.json"
