# From the configuration and the workspace to config.yaml and model.json.
rule fetch:
    output:
        f"{FETCHED}/{{sha256}}/{{name}}",
    log:
        "<logs>/fetch/{sha256}/{name}.log",
    wildcard_constraints:
        sha256="[0-9a-f]{64}",
        name=".+",
    localrule: True
    conda:
        "../../envs/toymill.yaml"
    params:
        remote=remote_of,
    script:
        "../../scripts/fetch.py"


rule resolve:
    input:
        INPUTS,
        design=TRUTHS,
    output:
        config=ensure("<results>/config.yaml", non_empty=True),
        model=ensure("<results>/model.json", non_empty=True),
    log:
        "<logs>/resolve.log",
    conda:
        "../../envs/toymill.yaml"
    params:
        settings=STATED.model_dump(exclude={"overwrite"}),
        contents=CONTENTS,
    script:
        "../../scripts/resolve.py"
