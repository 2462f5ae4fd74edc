# The door: snakemake --cores N [--configfile config/studies/<study>.yaml]
include: "workflow/Snakefile"


rule study:
    default_target: True
    input:
        rules.all.input,
