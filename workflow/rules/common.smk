# What the rules share: the validated study, its paths, and helpers. Nothing here imports JAX.
import os
import shlex
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

try:
    import toymill
    from toymill.config.dependencies import comparison_job, fits_job, toys_job
    from toymill.config.model import FETCHED
    from toymill.config.study import (
        check_inputs,
        read_study,
        shards,
    )
    from toymill.config.yaml_file import check_yaml
    from toymill.errors import ToymillError
except ImportError as error:
    raise WorkflowError(
        f"The Python that runs Snakemake ({sys.executable}) cannot import toymill ({error}). "
        "Run 'make setup' and use .venv/bin/snakemake."
    ) from None

try:
    for path in workflow.overwrite_configfiles or ["config/config.yaml"]:
        check_yaml(path)
    STUDY = read_study(config)
    if workflow.is_main_process:
        check_inputs(STUDY)
except ToymillError as error:
    raise WorkflowError(str(error)) from None

RESULTS = f"results/{STUDY.study}"
SCRATCH = f".snakemake/toymill/{STUDY.study}"
INPUTS = [str(path) for path in STUDY.model.inputs]

# A job in a conda environment finds the engine here.
SOURCE = str(Path(toymill.__file__).resolve().parents[1])
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [SOURCE, os.getenv("PYTHONPATH")]))
)

if workflow.is_main_process:
    os.environ.update(TOYMILL_COMMAND=shlex.join(["snakemake", *sys.argv[1:]]))


def files_of(folder):
    """The files of every shard of every ensemble in a folder."""
    return [
        f"{folder}/{ensemble}/{shard.name}.h5"
        for ensemble in STUDY.ensembles
        for shard in shards(STUDY, ensemble)
    ]


def kept_toys():
    """The raw toys, if the study keeps them."""
    return files_of(f"{RESULTS}/toys") if STUDY.keep_toys else []


def remote_of(wildcards):
    """The remote input that a fetched file comes from."""
    local = FETCHED / wildcards.sha256 / wildcards.name
    return next(
        item.model_dump() for item in STUDY.model.remotes if item.local == local
    )


def toys_settings(wildcards):
    """Everything in the study that one ensemble's toys depend on; a change of it throws them again."""
    return toys_job(STUDY, wildcards.ensemble)


def fit_settings(wildcards):
    """Everything in the study that one ensemble's fits depend on; a change of it fits them again."""
    return fits_job(STUDY, wildcards.ensemble)


def comparison_settings(wildcards):
    """Everything in the study that one ensemble's comparison of optimisers depends on."""
    return comparison_job(STUDY, wildcards.ensemble)


def write_report():
    """Snakemake's own HTML report of the finished study; the resolved configuration stands for all arguments."""
    if not Path(f"{RESULTS}/provenance.json").exists():
        return
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        workflow.main_snakefile,
    ]
    command += ["--configfile", f"{RESULTS}/config.yaml", "--nolock", "--cores", "1"]
    command += ["--report", f"{RESULTS}/report.html"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write(
            f"The report could not be written:\n{done.stderr}\nTry again with: {shlex.join(command)}\n"
        )
    else:
        sys.stderr.write(f"Report: {RESULTS}/report.html\n")
