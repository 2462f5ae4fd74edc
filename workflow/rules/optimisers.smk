# A study of kind optimisers: the same toys by every optimiser, as numbers and a figure.
rule compare:
    input:
        INPUTS,
    output:
        hdf5=ensure("<results>/optimisers/{ensemble}.h5", non_empty=True),
        json=ensure("<results>/optimisers/{ensemble}.json", non_empty=True),
    log:
        "<logs>/compare/{ensemble}.log",
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=depends_on("comparison"),
    script:
        "../../scripts/compare.py"


rule collect:
    input:
        tables=expand(
            f"{RESULTS}/optimisers/{{ensemble}}.json", ensemble=STUDY.ensembles
        ),
        model="<results>/model.json",
    output:
        json=ensure("<results>/summary.json", non_empty=True),
        hdf5=ensure("<results>/summary.h5", non_empty=True),
    log:
        "<logs>/collect.log",
    conda:
        "../../envs/toymill.yaml"
    script:
        "../../scripts/collect.py"


rule plot_optimisers:
    input:
        "<results>/summary.json",
    output:
        optimisers=drawn("optimisers_{ensemble}"),
    log:
        "<logs>/plot_{ensemble}.log",
    conda:
        "../../envs/toymill.yaml"
    params:
        look=STUDY.figures.model_dump(),
    script:
        "../../scripts/plot.py"


PRODUCTS = expand(rules.plot_optimisers.output, ensemble=STUDY.ensembles)

AUDITS = []
