# Provenance. Last, so that a study with too many failed toys has its summary and figures, and fails.
rule finish:
    input:
        PRODUCTS,
        audits=AUDITS,
        config="<results>/config.yaml",
        model="<results>/model.json",
        summary="<results>/summary.json",
    output:
        ensure("<results>/provenance.json", non_empty=True),
    log:
        "<logs>/finish.log",
    conda:
        "../../envs/toymill.yaml"
    params:
        benchmarks=f"{SCRATCH}/benchmarks",
    script:
        "../../scripts/finish.py"
