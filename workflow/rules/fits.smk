# A shard's toys, thrown and fitted chunk by chunk: free, and conditional at each test point.
rule fit:
    input:
        INPUTS,
        design=truths,
    output:
        update(ensure("<results>/fits/{ensemble}/{shard}.h5", non_empty=True)),
    log:
        "<logs>/fit/{ensemble}/{shard}.log",
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=depends_on("fits"),
    script:
        "../../scripts/fit.py"


if STATED.region:

    # The same of a point of a region, with one more fit of each toy, which holds both parameters.
    rule fit_region:
        input:
            INPUTS,
            design=truths,
        output:
            fits=update(ensure("<results>/fits/{ensemble}/{shard}.h5", non_empty=True)),
            region=ensure("<results>/region/{ensemble}/{shard}.h5", non_empty=True),
        log:
            "<logs>/fit/{ensemble}/{shard}.log",
        wildcard_constraints:
            ensemble="|".join(region_ensembles(STATED)),
        conda:
            "../../envs/toymill.yaml"
        params:
            depends_on=depends_on("fits"),
        script:
            "../../scripts/fit_region.py"

    ruleorder: fit_region > fit


# The ends of the profile intervals of a shard's toys, which are thrown again: only of ensembles that ask for them.
rule profile_intervals:
    input:
        INPUTS,
        design=truths,
    output:
        ensure("<results>/profile_intervals/{ensemble}/{shard}.h5", non_empty=True),
    log:
        "<logs>/profile_intervals/{ensemble}/{shard}.log",
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=depends_on("intervals"),
    script:
        "../../scripts/profile_intervals.py"


# Some toys of an ensemble, fitted again with iminuit. The summary does not wait for it.
rule audit:
    input:
        INPUTS,
        design=truths,
        fits=lambda wildcards: shard_files(f"{RESULTS}/fits")[wildcards.ensemble],
    output:
        ensure("<results>/audit/{ensemble}.json", non_empty=True),
    log:
        "<logs>/audit/{ensemble}.log",
    priority: -1
    conda:
        "../../envs/toymill.yaml"
    params:
        depends_on=depends_on("audit"),
    script:
        "../../scripts/audit.py"


AUDITS = [
    *expand(
        f"{RESULTS}/audit/{{ensemble}}.json",
        ensemble=[*STATED.ensembles, *audited(STATED)],
    ),
    *SCAN_AUDITS,
]
