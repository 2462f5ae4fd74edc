# What a study wants to know: from its sections to truth points, and from their fits to answers.
rule design:
    input:
        INPUTS,
    output:
        ensure("<results>/design.json", non_empty=True),
    log:
        "<logs>/design.log",
    benchmark:
        "<benchmarks>/design.tsv"
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=design_job(STATED),
    script:
        "../../scripts/design.py"


rule answer:
    input:
        INPUTS,
        fits=answered_from,
        design=DESIGN,
        model="<results>/model.json",
    output:
        ensure(f"{SCRATCH}/answers.json", non_empty=True),
    log:
        "<logs>/answer.log",
    benchmark:
        "<benchmarks>/answer.tsv"
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=answers_job(STATED),
    script:
        "../../scripts/answer.py"


rule plot_answers:
    input:
        "<results>/summary.json",
    output:
        **{
            section: report(
                ensure(f"<results>/plots/{section}.svg", non_empty=True),
                caption=f"../report/{section}.rst",
                category="Answers",
            )
            for section in SECTIONS
            if getattr(STATED, section)
        },
    log:
        "<logs>/plot_answers.log",
    conda:
        "../../envs/toymill.yaml"
    script:
        "../../scripts/plot.py"


ANSWERS = f"{SCRATCH}/answers.json" if NEEDS else []
SECTION_FIGURES = rules.plot_answers.output
