# Pseudo-datasets: toy i is a function of the seed, the ensemble's name and i.
rule throw:
    input:
        INPUTS,
    output:
        (
            f"{TOYS}/{{ensemble}}/{{shard}}.h5"
            if STUDY.keep_toys
            else temp(f"{TOYS}/{{ensemble}}/{{shard}}.h5")
        ),
    log:
        "<logs>/throw/{ensemble}/{shard}.log",
    benchmark:
        "<benchmarks>/throw/{ensemble}/{shard}.tsv"
    conda:
        "../../envs/toymill.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        depends_on=ensemble_settings,
    script:
        "../../scripts/throw.py"
