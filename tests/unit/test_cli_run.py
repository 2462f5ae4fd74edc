"""What ``toymill run`` shows of Snakemake's log, and how it ends."""

import io
import logging
import signal
import sys
import warnings

import pytest

from toymill.cli import log, snakemake
from toymill.cli.log import Lines, show_lines


class Quiet(logging.Filter):
    """Snakemake's own filter, as a profile that is quiet about rules makes it."""

    dryrun = verbose = debug_dag = False

    def filter(self, record):
        return getattr(record, "event", None) != "job_info"


@pytest.fixture
def screen(monkeypatch):
    """Snakemake's log as a run has it: ``tell(message, level, **about)`` returns what comes on the screen."""
    monkeypatch.setattr(log, "_asked", None)
    monkeypatch.setattr(log.signal, "signal", lambda *_: None)
    monkeypatch.setattr(log, "LOGGER", "made-up")
    logger = logging.getLogger("made-up")
    logger.setLevel(logging.INFO)
    monkeypatch.setattr(logger, "propagate", False)
    shown = io.StringIO()
    handler = logging.StreamHandler(shown)
    handler.set_name("DefaultStreamHandler")
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(Quiet())
    handler.terminator = ""
    monkeypatch.setattr(logger, "handlers", [handler])

    def tell(message, level=logging.INFO, **about):
        logger.log(level, message, extra=about)
        text = shown.getvalue()
        shown.seek(0)
        shown.truncate()
        return text

    return tell


CHATTER = (
    "Assuming unrestricted shared filesystem usage.",
    "Building DAG of jobs...",
    "Updating checkpoint dependencies.",
    "Using shell: /usr/bin/bash",
    "Provided cores: 2",
    "Rules claiming more threads will be scaled down.",
    "Conda environments: ignored",
    "Select jobs to execute...",
    "Execute 12 jobs...",
    "DAG of jobs will be updated after completion.",
    "Complete log(s): a.log",
    "Elapsed time: 0:00:01",
)


def test_a_job_is_a_line(screen):
    """With what it is of, though Snakemake is quiet about rules; steps of Snakemake are left out."""
    show_lines("results/small")
    assert screen("stats", event="run_info", stats={"design": 1, "fit": 2, "total": 3}) == (
        "3 jobs, and those that are known after design. How far it is: toymill watch results/small"
    )
    of = {"ensemble": "one", "shard": "000000300-000000599"}
    assert screen("rule fit:", event="job_info", jobid=7, rule_name="fit", wildcards=of) == ""
    assert [screen(line) for line in CHATTER] == [""] * len(CHATTER)
    assert screen("Finished jobid: 7 (Rule: fit)", event="job_finished", job_id=7) == ""
    assert screen(None, event="progress", done=1, total=3).endswith("  1 of 3 done: fit one 300-599")


def test_warnings_errors_and_what_is_not_known_stay(screen):
    show_lines("results/small")
    for level in (logging.WARNING, logging.ERROR):
        assert screen("Building DAG of jobs... is slow", level) == "Building DAG of jobs... is slow"
    assert screen("Job 3 has been submitted with SLURM jobid 12.") == "Job 3 has been submitted with SLURM jobid 12."
    assert screen("Complete log(s): a.log") == "Complete log(s): a.log"


def test_a_dry_run_is_left_as_it_is(screen, monkeypatch):
    monkeypatch.setattr(Quiet, "dryrun", True)
    show_lines("results/small")
    assert screen("Building DAG of jobs...") == "Building DAG of jobs..."


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("Terminating processes on user request, this might take some time.", signal.SIGINT),
        ("Will exit after finishing currently running jobs (scheduler).", signal.SIGTERM),
    ],
)
def test_a_run_that_is_asked_to_stop_says_so_once(screen, said, number):
    """Without exceptions of the jobs that stop; a job's own process says nothing of it."""
    show_lines("results/small")
    error = "WorkflowError:\nAt least one job did not complete successfully."
    assert screen(error, logging.ERROR) == error
    assert [screen(said) for _ in range(3)] == ["Stopping: jobs that run are waited for.", "", ""]
    assert log.asked_to_stop() == number
    assert screen("RuleException:\nCalledProcessError in file x", logging.ERROR) == ""
    assert screen(error, logging.ERROR) == ""
    assert screen("No space left on device", logging.ERROR) == "No space left on device"


def test_an_interrupt_is_known_where_its_exception_is_lost(screen, monkeypatch):
    """Python loses a KeyboardInterrupt that is raised in a callback; the jobs that it has stopped have failed then."""
    handlers = {}
    monkeypatch.setattr(log.signal, "getsignal", lambda _: signal.default_int_handler)
    monkeypatch.setattr(log.signal, "signal", handlers.__setitem__)
    show_lines("results/small")
    with pytest.raises(KeyboardInterrupt):
        handlers[signal.SIGINT](signal.SIGINT, None)
    assert log.asked_to_stop() == signal.SIGINT
    assert screen("RuleException:\nCalledProcessError in file x", logging.ERROR) == ""


def test_the_process_of_a_job_does_not_say_that_it_stops(screen):
    show_lines()
    assert screen("Will exit after finishing currently running jobs (scheduler).") == ""


def test_nothing_to_be_done_tells_the_answers():
    lines = Lines(logging.Formatter("%(message)s"), "results/small", lambda: ["up to date", "Report: x"])
    record = logging.makeLogRecord({"msg": "Nothing to be done (all requested files are present)."})
    assert lines.format(record) == "up to date\nReport: x"
    lines.done = tuple
    assert lines.format(record) == record.msg


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        (SystemExit(0), 0),
        (SystemExit(2), 2),
        (SystemExit("a message"), 1),
        (KeyboardInterrupt(), 130),
        (snakemake.Terminated(), 143),
    ],
)
def test_the_exit_code_tells_how_a_run_ended(monkeypatch, capsys, ends, code):
    def end():
        raise ends

    with warnings.catch_warnings(action="ignore"):  # of an executor's plugin
        from snakemake import cli

    monkeypatch.setattr(cli, "main", end)
    monkeypatch.setattr(cli, "parse_args", lambda _: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert snakemake.main() == code
    assert ("run the same command again" in capsys.readouterr().err) == (code > 128)


def test_a_stopped_run_has_the_code_of_its_signal(monkeypatch):
    """Where Snakemake ended in an orderly way; not where all was done all the same."""
    monkeypatch.setattr(snakemake, "asked_to_stop", lambda: signal.SIGTERM)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for code, told in ((1, 143), (0, 0)):
        monkeypatch.setattr(snakemake, "_snakemake", lambda code=code: code)
        assert snakemake.main() == told


def test_the_profile_is_not_named(capsys):
    with snakemake._without_profile():
        sys.stderr.write("Using profile x for setting default command line arguments.\nerror: no such option\n")
    assert capsys.readouterr().err == "error: no such option\n"
