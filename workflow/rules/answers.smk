# Figures of the answers to what a study wants to know, from its summary.
rule plot_answers:
    input:
        "<results>/summary.json",
    output:
        **{section: drawn(section) for section in SECTIONS if getattr(STATED, section)},
        **({"all_impacts": drawn("all_impacts")} if STATED.impacts else {}),
    log:
        "<logs>/plot_answers.log",
    conda:
        "../../envs/toymill.yaml"
    params:
        look=STUDY.figures.model_dump(),
    script:
        "../../scripts/plot.py"


SECTION_FIGURES = rules.plot_answers.output
