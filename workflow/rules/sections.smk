# What a study wants to know: from its sections to truth points, and from their fits to answers.
checkpoint design:
    input:
        INPUTS,
    output:
        ensure(TRUTHS, non_empty=True),
    log:
        "<logs>/design.log",
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=design_job(STATED),
    script:
        "../../scripts/design.py"


if ROUNDS:

    # Toys that are added for the precision of a limit or an interval, where they reduce its errors most, by those before.
    checkpoint add_toys:
        input:
            INPUTS,
            fits=answered_from,
            region=region_files,
            design=lambda wildcards: f"{RESULTS}/rounds/{int(wildcards.round) - 1}.json",
            model="<results>/model.json",
        output:
            ensure("<results>/rounds/{round}.json", non_empty=True),
        log:
            "<logs>/add_toys/{round}.log",
        wildcard_constraints:
            round="|".join(map(str, ROUNDS)),
        conda:
            "../../envs/toymill.yaml"
        params:
            depends_on=rounds_job(STATED),
        script:
            "../../scripts/add_toys.py"

    rule designed:
        input:
            f"{RESULTS}/rounds/{len(ROUNDS)}.json",
        output:
            DESIGN,
        log:
            "<logs>/designed.log",
        localrule: True
        conda:
            "../../envs/toymill.yaml"
        script:
            "../../scripts/designed.py"


rule answer:
    input:
        INPUTS,
        fits=answered_from,
        region=region_files,
        design=DESIGN,
        model="<results>/model.json",
    output:
        ensure(f"{SCRATCH}/answers.json", non_empty=True),
    log:
        "<logs>/answer.log",
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=answers_job(STATED),
    script:
        "../../scripts/answer.py"


ANSWERS = f"{SCRATCH}/answers.json"
