# A shard's toys, thrown and fitted chunk by chunk: free, conditional at each test point, and the audited ones.
rule fit:
    input:
        INPUTS,
    output:
        ensure("<results>/fits/{ensemble}/{shard}.h5", non_empty=True),
    log:
        "<logs>/fit/{ensemble}/{shard}.log",
    benchmark:
        "<benchmarks>/fit/{ensemble}/{shard}.tsv"
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=fit_settings,
    script:
        "../../scripts/fit.py"
