"""Snakemake's process, as ``toymill run`` has it: without what Snakemake says before the workflow, and with its end told."""

from __future__ import annotations

import io
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from types import FrameType
from typing import Any

from toymill.cli.log import LOGGER, asked_to_stop

_PROFILE = "for setting default command line arguments."
"""The end of what Snakemake says of its profile, before there is a log."""

_FILES = "Assuming unrestricted shared filesystem usage"
"""What its log begins with, before the workflow is read."""

_AGAIN = "toymill: stopped, as asked. To go on, run the same command again.\n"


class Terminated(BaseException):
    """SIGTERM, as long as Snakemake does not listen to it."""


def main() -> int:
    """Run Snakemake on the arguments of this process.

    Returns:
        Snakemake's exit code; 130 or 143 where SIGINT or SIGTERM has stopped it.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = _snakemake()
    except KeyboardInterrupt:
        return _stopped(signal.SIGINT)
    except Terminated:
        return _stopped(signal.SIGTERM)
    asked = asked_to_stop()
    return 128 + asked if code and asked else code


def _snakemake() -> int:
    from snakemake import cli

    parse = cli.parse_args

    def parse_args(argv: list[str] | None) -> Any:
        with _without_profile():
            return parse(argv)

    cli.parse_args = parse_args
    logging.getLogger(LOGGER).addFilter(lambda record: not str(record.msg).startswith(_FILES))
    try:
        cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


@contextmanager
def _without_profile() -> Iterator[None]:
    """Show what is written to stderr afterwards, but for the name of the profile."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            yield
    finally:
        sys.stderr.writelines(line for line in said.getvalue().splitlines(keepends=True) if _PROFILE not in line)


def _stopped(number: signal.Signals) -> int:
    """Tell of an end in whose midst Snakemake was stopped itself: before its first job, or at a second signal."""
    sys.stderr.write(_AGAIN)
    return 128 + number


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


if __name__ == "__main__":
    sys.exit(main())
