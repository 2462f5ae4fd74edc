# A few toys fitted before all others: how fast that is, which shards follow, and compiled programs for the jobs after it.
checkpoint pilot:
    input:
        INPUTS,
        design=TRUTHS,
    output:
        update(ensure("<results>/plan.json", non_empty=True)),
    log:
        "<logs>/pilot.log",
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=pilot_job(STUDY),
    script:
        "../../scripts/pilot.py"
