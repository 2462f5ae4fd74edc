# The report, and provenance. The latter is last, so that a study with too many failed toys has its summary, figures and
# report, and fails.
rule page:
    input:
        figures=PRODUCTS,
        audits=AUDITS,
        config="<results>/config.yaml",
        model="<results>/model.json",
        summary="<results>/summary.json",
    output:
        report(ensure("<results>/report.html", non_empty=True), category="Report"),
    log:
        "<logs>/page.log",
    conda:
        "../../envs/toymill.yaml"
    params:
        logs=f"{SCRATCH}/logs",
    script:
        "../../scripts/page.py"


rule finish:
    input:
        "<results>/report.html",
        audits=AUDITS,
        config="<results>/config.yaml",
        model="<results>/model.json",
        summary="<results>/summary.json",
    output:
        ensure("<results>/provenance.json", non_empty=True),
    log:
        "<logs>/finish.log",
    conda:
        "../../envs/toymill.yaml"
    params:
        logs=f"{SCRATCH}/logs",
    script:
        "../../scripts/finish.py"
