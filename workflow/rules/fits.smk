# A few toys fitted before all others: how fast that is, which shards follow, and compiled programs for the jobs after it.
checkpoint pilot:
    input:
        INPUTS,
    output:
        ensure("<results>/plan.json", non_empty=True),
    log:
        "<logs>/pilot.log",
    benchmark:
        "<benchmarks>/pilot.tsv"
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=pilot_job(STUDY),
    script:
        "../../scripts/pilot.py"


# A shard's toys, thrown and fitted chunk by chunk: free, and conditional at each test point.
rule fit:
    input:
        INPUTS,
        plan=ancient("<results>/plan.json"),
    output:
        ensure("<results>/fits/{ensemble}/{shard}.h5", non_empty=True),
    log:
        "<logs>/fit/{ensemble}/{shard}.log",
    benchmark:
        "<benchmarks>/fit/{ensemble}/{shard}.tsv"
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=depends_on("fits"),
    script:
        "../../scripts/fit.py"


# Some toys of an ensemble, fitted again with iminuit. The summary does not wait for it.
rule audit:
    input:
        INPUTS,
        fits=lambda wildcards: shard_files(f"{RESULTS}/fits")[wildcards.ensemble],
        plan=ancient("<results>/plan.json"),
    output:
        ensure("<results>/audit/{ensemble}.json", non_empty=True),
    log:
        "<logs>/audit/{ensemble}.log",
    benchmark:
        "<benchmarks>/audit/{ensemble}.tsv"
    priority: -1
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=depends_on("audit"),
    script:
        "../../scripts/audit.py"


AUDITS = expand(f"{RESULTS}/audit/{{ensemble}}.json", ensemble=STUDY.ensembles)
