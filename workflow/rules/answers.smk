# Figures of the answers to what a study wants to know, from its summary.
rule plot_answers:
    input:
        "<results>/summary.json",
    output:
        **{
            section: ensure(f"<results>/plots/{section}.svg", non_empty=True)
            for section in SECTIONS
            if getattr(STATED, section)
        },
    log:
        "<logs>/plot_answers.log",
    conda:
        "../../envs/toymill.yaml"
    script:
        "../../scripts/plot.py"


SECTION_FIGURES = rules.plot_answers.output
