"""What Snakemake tells of a run, as lines on the screen: one for each job that is done. Its log file has all of it."""

from __future__ import annotations

import logging
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import FrameType

LOGGER = "snakemake.logging"
"""The name of Snakemake's logger."""

_SCREEN = "DefaultStreamHandler"
"""The name of its handler that writes to the terminal."""

_LEFT_OUT = re.compile(
    r"Assuming unrestricted shared filesystem|Building DAG of jobs|Updating checkpoint dependencies|Using shell: |"
    r"Provided (cores|remote nodes|resources): |Rules claiming more threads|(Conda environments|Singularity containers): "
    r"ignored|Group jobs: inactive|Select jobs to execute|Execute \d+ jobs|DAG of jobs will be updated|Shutting down|"
    "Elapsed time: "
)
"""How what is told of each step of Snakemake begins; warnings, errors and all else stay."""

_STOPS = {
    "Terminating processes on user request": signal.SIGINT,
    "Will exit after finishing currently running jobs": signal.SIGTERM,
}
"""How what Snakemake says begins when it is asked to stop, and by which signal it is."""

_STOPPED = re.compile(
    r"RuleException|Cannot restore |Shutting down|Removing output files of failed job|Exiting because a job|WorkflowError:\s+"
    "At least one job did not|Complete log"
)
"""How what it says of the jobs that it has stopped begins."""

_ROUNDS = ("design", "pilot", "add_toys")
"""Rules after which further jobs are known."""

_asked: signal.Signals | None = None


def asked_to_stop() -> signal.Signals | None:
    """The signal by which Snakemake was asked to stop in this process, as far as that is known; else None."""
    return _asked


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Remember SIGINT, and raise KeyboardInterrupt, which may be lost where it is raised: in a callback, say."""
    global _asked
    _asked = signal.Signals(number)
    signal.default_int_handler(number, frame)


def show_lines(results: str = "", done: Callable[[], Iterable[str]] = tuple) -> None:
    """From now on show what Snakemake tells as lines on the screen.

    A dry run is left as Snakemake shows it, and so is what ``--verbose`` or another ``--logger`` tells.

    Args:
        results: the results directory of the study; nothing in the process of a job, which does not tell that it stops.
        done: what is told of a study of which nothing is to be done; nothing where that cannot be said.
    """
    for handler in logging.getLogger(LOGGER).handlers:
        inner = handler.formatter
        asked = [getattr(item, name, False) for item in handler.filters for name in ("dryrun", "verbose", "debug_dag")]
        if handler.get_name() == _SCREEN and inner is not None and not any(asked):
            lines = Lines(inner, results, done)
            handler.setFormatter(lines)
            handler.filters.insert(0, lines.note)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if results and in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


class Lines(logging.Formatter):
    """Snakemake's records as lines; an empty text is not shown.

    Args:
        inner: how Snakemake shows a record.
        results: as of ``show_lines``.
        done: as of ``show_lines``.
    """

    def __init__(self, inner: logging.Formatter, results: str, done: Callable[[], Iterable[str]]) -> None:
        super().__init__()
        self.inner, self.results, self.done = inner, results, done
        self.jobs: dict[int, str] = {}
        self.finished: list[str] = []
        self.failed = self.stopping = False

    def note(self, record: logging.LogRecord) -> bool:
        """Remember which job a number is; a filter that lets everything pass, before Snakemake's own."""
        if _event(record) == "job_info":
            told = record.__dict__
            self.jobs[told["jobid"]] = job_in_words(told["rule_name"], told["wildcards"])
        return True

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        event, text = _event(record), str(record.msg or "")
        number = next((number for begins, number in _STOPS.items() if text.startswith(begins)), None)
        if number is not None:
            return self._stop(number)
        if _asked is not None and _STOPPED.match(text):
            return ""
        if event == "job_finished":
            self.finished.append(self.jobs.pop(record.__dict__["job_id"], text))
            return ""
        if event == "progress":
            return self._progress(record.__dict__["done"], record.__dict__["total"])
        if event == "run_info":
            return self._begin(record.__dict__.get("stats", {}))
        if text.startswith("Nothing to be done"):
            return "\n".join(self.done()) or text
        self.failed = self.failed or record.levelno >= logging.ERROR
        left_out = _LEFT_OUT.match(text) or (text.startswith("Complete log") and not self.failed)
        return "" if left_out and record.levelno < logging.WARNING else self.inner.format(record)

    def _stop(self, number: signal.Signals) -> str:
        """What is told when Snakemake is asked to stop, once; of its end whoever asked is told.

        A second Ctrl-C is for the jobs alone, which it ends at once: Snakemake's own end does not survive it.
        """
        global _asked
        first, self.stopping, _asked = not self.stopping, True, number
        if number == signal.SIGINT and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return "Stopping: jobs that run are waited for." if first and self.results else ""

    def _begin(self, stats: Mapping[str, int]) -> str:
        more = [name for name in _ROUNDS if name in stats]
        later = f", and those that are known after {' and '.join(more)}" if more else ""
        watch = f". How far it is: toymill watch {self.results}" if self.results else ""
        return f"{stats.get('total', 0)} jobs{later}{watch}"

    def _progress(self, done: int, total: int) -> str:
        jobs, self.finished = ", ".join(self.finished), []
        return f"{time.strftime('%a %H:%M:%S')}  {done} of {total} done: {jobs}"


def job_in_words(rule: str, wildcards: Mapping[str, object] | None) -> str:
    """A job by its rule and what it is of; a shard's numbers without their zeros.

    Example:
        >>> job_in_words("fit", {"ensemble": "signal-05", "shard": "000000300-000000599"})
        'fit signal-05 300-599'
    """
    of = dict(wildcards or {})
    if "shard" in of:
        of["shard"] = "-".join(str(int(number)) for number in str(of["shard"]).split("-"))
    return " ".join([rule, *map(str, of.values())])


def _event(record: logging.LogRecord) -> str:
    return str(getattr(record, "event", ""))
