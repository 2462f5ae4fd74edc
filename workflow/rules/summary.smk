# From shards to numbers and figures. An ensemble of many toys is counted in parts, each a job.
rule tally:
    input:
        fits=lambda wildcards: files_of_part(
            shard_files(f"{RESULTS}/fits")[wildcards.ensemble],
            parts(STUDY, wildcards.ensemble)[int(wildcards.part)],
        ),
        truths=truths,
        model="<results>/model.json",
        design=DESIGN,
    output:
        ensure(f"{SCRATCH}/tallies/{{ensemble}}/{{part}}.h5", non_empty=True),
    log:
        "<logs>/tally/{ensemble}/{part}.log",
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=depends_on("tally"),
    script:
        "../../scripts/tally.py"


rule aggregate:
    input:
        fits=lambda wildcards: counted_at_once(),
        tallies=tallies(),
        intervals=interval_files,
        model="<results>/model.json",
        design=DESIGN,
        answers=ANSWERS,
        scan=SCAN,
    output:
        json=ensure("<results>/summary.json", non_empty=True),
        hdf5=ensure("<results>/summary.h5", non_empty=True),
    log:
        "<logs>/aggregate.log",
    conda:
        "../../envs/toymill.yaml"
    script:
        "../../scripts/aggregate.py"


if STUDY.ensembles:

    rule plot_study:
        input:
            "<results>/summary.json",
        output:
            coverage=drawn("coverage"),
        log:
            "<logs>/plot.log",
        conda:
            "../../envs/toymill.yaml"
        params:
            look=STUDY.figures.model_dump(),
        script:
            "../../scripts/plot.py"


rule plot_ensemble:
    input:
        "<results>/summary.json",
        matrices="<results>/summary.h5",
    output:
        **{
            kind: drawn(f"{kind}_{{ensemble}}")
            for kind in ("t_mu", "pull", "parameters", "correlation")
        },
    log:
        "<logs>/plot_{ensemble}.log",
    conda:
        "../../envs/toymill.yaml"
    params:
        look=STUDY.figures.model_dump(),
    script:
        "../../scripts/plot.py"


rule explore:
    input:
        files_of(f"{RESULTS}/fits"),
        "<results>/config.yaml",
        "<results>/model.json",
        "<results>/summary.h5",
        summary="<results>/summary.json",
    output:
        ensure("<results>/explore.html", non_empty=True),
    log:
        "<logs>/explore.log",
    conda:
        "../../envs/toymill.yaml"
    script:
        "../../scripts/explore.py"


PRODUCTS = [
    *(rules.plot_study.output if STUDY.ensembles else []),
    *expand(rules.plot_ensemble.output, ensemble=STATED.ensembles),
    *SECTION_FIGURES,
    *(rules.explore.output if STUDY.ensembles else []),
]
