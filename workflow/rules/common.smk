# What the rules share: the validated study, its paths, and helpers. Nothing here imports JAX.
import functools
import os
import shlex
import sys
import tempfile
from itertools import chain
from pathlib import Path


def refuse(message):
    """End with a user's mistake in plain words: to an exception Snakemake would add where it was raised."""
    sys.stderr.write(f"toymill: {message}\n")
    sys.exit(1)


try:
    import toymill
    from toymill.cli.log import asked_to_stop, show_lines
    from toymill.config.dependencies import (
        answers_job,
        audit_job,
        comparison_job,
        design_job,
        fits_job,
        intervals_job,
        pilot_job,
        rounds_job,
        tally_job,
        toys_job,
    )
    from toymill.config.designed import designed, planned
    from toymill.config.model import FETCHED
    from toymill.config.sections import (
        SECTIONS,
        audited,
        needs,
        region_ensembles,
        rounds,
    )
    from toymill.config.signals import remarks_on_signals
    from toymill.config.study import (
        check_inputs,
        read_study,
        shards,
    )
    from toymill.config.yaml_file import check_yaml
    from toymill.errors import ToymillError
    from toymill.results.design import read_design
    from toymill.results.files import bring_back
    from toymill.study.layout import design_of_fits, files_of_part, parts, scratch_of
except ImportError as error:
    refuse(
        f"The Python that runs Snakemake ({sys.executable}) cannot import toymill ({error}). "
        "Run 'make setup' and use .venv/bin/snakemake."
    )

try:
    for path in workflow.overwrite_configfiles or workflow.configfiles:
        check_yaml(path)
    STATED = read_study(config)
    if workflow.is_main_process and STATED.scan and STATED.scan.missing:
        # The patches of a scan tell which jobs there are.
        from toymill.study.fetch import fetch

        for remote in STATED.scan.missing:
            fetch(remote, remote.local)
        STATED = read_study(config)
    if workflow.is_main_process:
        check_inputs(STATED)
        for line in remarks_on_signals(STATED):
            sys.stderr.write(f"toymill: warning: {line}\n")
except ToymillError as error:
    refuse(error)

# With the ensembles of the sections, of which names and toys are known; their truth is when they are designed.
STUDY = planned(STATED)
NEEDS = needs(STATED)
RESULTS = f"results/{STUDY.study}"
if workflow.modifier.modify_path(RESULTS) != RESULTS:
    refuse(
        f"As a module the toymill workflow takes no prefix: its results are in {RESULTS}. Leave 'prefix' out."
    )
SCRATCH = str(scratch_of(STUDY.study))

# What is fetched before jobs that read the model. Other inputs are no business of Snakemake's: it refuses those whose time
# is ahead of the clock, whatever is said of them. They are known by their content, whose digests are parameters of jobs.
INPUTS = [ancient(str(item.local)) for item in STUDY.remotes]
CONTENTS = STUDY.contents

# Whether a pilot is to choose the shards of ensembles.
PILOTED = STUDY.shard == "auto" and bool(STUDY.ensembles)

# What else jobs need that deal with ensembles: how those of the sections are designed. Where toys are added in rounds,
# their truth is in the first round's design, and how many there are in the last one's.
DESIGN = f"{RESULTS}/design.json" if NEEDS else []
TRUTHS = f"{RESULTS}/{design_of_fits(STUDY)}" if NEEDS else []
ROUNDS = rounds(STUDY)

# A job in a conda environment finds the engine here.
SOURCE = str(Path(toymill.__file__).resolve().parents[1])
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [SOURCE, os.getenv("PYTHONPATH")]))
)

if workflow.is_main_process:
    os.environ.update(TOYMILL_COMMAND=shlex.join(["snakemake", *sys.argv[1:]]))
    # Snakemake's scheduler writes there, and fails if it cannot. Python finds a folder that can be written.
    os.environ.update(dict.fromkeys(("TMPDIR", "TMP", "TEMP"), tempfile.gettempdir()))


def shard_files(folder, after=len(ROUNDS)):
    """The files of every shard in a folder, by ensemble, after some rounds: all of them by default.

    Those that a pilot chooses, and those of toys that a round adds, are known when it is done.
    """
    sizes = {}
    if PILOTED:
        plan = checkpoints.pilot.get().output[0]
        sizes = {name: item.shard for name, item in planned_in(plan).items()}
    study = STUDY
    if after:
        study = designed_in(checkpoints.add_toys.get(round=after).output[0])
    return {
        name: [
            f"{folder}/{name}/{shard.name}.h5"
            for shard in shards(study, name, sizes.get(name))
        ]
        for name in STUDY.ensembles
    }


def designed_in(design):
    """The study with the ensembles of its sections, as they were designed."""
    return designed(STATED, read_once(read_design, design))


def planned_in(plan):
    """What the pilot chose for each ensemble."""
    from toymill.results.plan import read_plan

    return read_once(read_plan, plan).ensembles


def read_once(read, path):
    """The content of a file, which is read again if a job has written it since."""
    return read_version(read, path, os.stat(path).st_mtime_ns)


@functools.cache
def read_version(read, path, _changed):
    return read(path)


def truths(wildcards):
    """The file with the truth point of a section's ensemble.

    A job depends on its own ensemble's alone, which is among its parameters: so another section makes no file anew.
    """
    if wildcards.ensemble in STATED.ensembles:
        return []
    return ancient(checkpoints.design.get().output[0])


def depends_on(job):
    """Everything in the study that a job of an ensemble depends on, as a parameter function.

    A change of it makes the job's files anew.
    """

    def settings(wildcards):
        design = truths(wildcards)
        every = read_once(designed_settings, design) if design else stated_settings()
        return every[wildcards.ensemble][job]

    return settings


@functools.cache
def stated_settings():
    """What the jobs of each ensemble depend on that the study states."""
    return job_settings(STATED)


def designed_settings(design):
    """What the jobs of each ensemble depend on, with those of the sections as they were designed."""
    return job_settings(designed_in(design))


def job_settings(study):
    """What the jobs of each ensemble of a study depend on."""
    return {
        name: {
            "toys": toys_job(study, name),
            "fits": fits_job(study, name),
            "intervals": intervals_job(study, name),
            "audit": audit_job(study, name),
            "tally": tally_job(study, name),
            "comparison": comparison_job(study, name),
        }
        for name in study.ensembles
    }


def drawn(name):
    """The files of a figure, one a format."""
    paths = [f"{RESULTS}/plots/{name}.{ending}" for ending in STUDY.figures.endings]
    return ensure(paths, non_empty=True)


def files_of(folder):
    """The same files in one list, as an input function."""
    return lambda wildcards: list(chain(*shard_files(folder).values()))


def is_divided(ensemble):
    """Whether an ensemble's toys are counted in several parts."""
    return len(parts(STUDY, ensemble)) > 1


def counted_at_once():
    """The shards of the ensembles that are counted by one job."""
    every = shard_files(f"{RESULTS}/fits")
    return [
        path for name, files in every.items() if not is_divided(name) for path in files
    ]


def tallies():
    """The parts of the others."""
    return [
        f"{SCRATCH}/tallies/{name}/{number}.h5"
        for name in STUDY.ensembles
        if is_divided(name)
        for number in range(len(parts(STUDY, name)))
    ]


def interval_files(wildcards):
    """The files of the profile intervals, of the ensembles that ask for them."""
    every = shard_files(f"{RESULTS}/profile_intervals")
    asked = [name for name in every if STUDY.ensembles[name].profile_intervals]
    return [path for name in asked for path in every[name]]


def kept_toys(wildcards):
    """The raw toys, if the study keeps them."""
    return files_of(f"{RESULTS}/toys")(wildcards) if STUDY.keep_toys else []


def answered_from(wildcards):
    """The shards that the sections are answered from; of a round, those of the rounds before."""
    before = int(wildcards.get("round", len(ROUNDS) + 1)) - 1
    every = shard_files(f"{RESULTS}/fits", before)
    return [path for name in NEEDS for path in every[name]]


def region_files(wildcards):
    """The fits of the same toys with both parameters of a region held; none without that section."""
    before = int(wildcards.get("round", len(ROUNDS) + 1)) - 1
    every = shard_files(f"{RESULTS}/region", before)
    return [path for name in region_ensembles(STATED) for path in every[name]]


def remote_of(wildcards):
    """The remote input that a fetched file comes from."""
    local = FETCHED / wildcards.sha256 / wildcards.name
    return next(item.model_dump() for item in STUDY.remotes if item.local == local)


def own_directory():
    """The results directory, which belongs to one study and one run of it."""
    from toymill.study.ownership import Directory

    return Directory(STUDY, Path(RESULTS))


def own_results():
    """The same when all is done, with the ensembles of the sections as they were designed."""
    directory = own_directory()
    return directory._replace(study=designed_in(DESIGN)) if NEEDS else directory


if workflow.is_main_process:
    from toymill.study import ownership

    try:
        ownership.check(own_directory())
        if PILOTED and Path(f"{RESULTS}/plan.json").exists():
            planned_in(f"{RESULTS}/plan.json")
        for path in Path(RESULTS).glob("rounds/*.json"):
            read_once(read_design, path)
    except ToymillError as error:
        refuse(error)


def begin():
    """Take the results directory for this run, before its first job."""
    running = set(workflow.dag.needrun_jobs())
    kept = [
        path for job in workflow.dag.jobs if job not in running for path in job.output
    ]
    try:
        ownership.take(own_directory(), kept)
        bring_back([Path(RESULTS), Path(SCRATCH), FETCHED])
    except ToymillError as error:
        refuse(error)


def end(done):
    """Let the results directory go; and earlier shards, if the present ones hold all that they did."""
    planned = not PILOTED or Path(f"{RESULTS}/plan.json").exists()
    if done and planned and STUDY.kind == "toys":
        present = files_of(f"{RESULTS}/fits")(None) + SCAN_FILES
        ownership.tidy(own_results(), present)
    ownership.release(own_directory())


def tell(lines):
    """Tell the lines of an ending."""
    for line in lines:
        sys.stderr.write(f"{line}\n")


def tell_ending(done):
    """Of a finished study its answers and where the report is; of another why it is not finished."""
    from toymill.study import ending

    if done and Path(f"{RESULTS}/provenance.json").exists():
        tell(ending.ending(Path(RESULTS)))
    elif asked_to_stop():
        tell([ending.interruption(Path(RESULTS))])
    else:
        tell(ending.report_of(Path(RESULTS)))


def what_is_there():
    """What is told where nothing is to be done."""
    from toymill.study.ending import up_to_date

    return up_to_date(Path(RESULTS))


if workflow.modifier.parent_modifier is None:
    # Another workflow's log is its own.
    show_lines(*((RESULTS, what_is_there) if workflow.is_main_process else ()))
