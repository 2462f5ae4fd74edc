# Raw pseudo-datasets, only of a study that keeps them: a fit throws its own, which are the same, since toy i is a
# function of the seed, the ensemble's name and i.
rule throw:
    input:
        INPUTS,
        design=truths,
    output:
        ensure("<results>/toys/{ensemble}/{shard}.h5", non_empty=True),
    log:
        "<logs>/throw/{ensemble}/{shard}.log",
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=depends_on("toys"),
    script:
        "../../scripts/throw.py"
