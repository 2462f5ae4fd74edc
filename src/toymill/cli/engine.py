"""JAX as a job has it, for the commands that fit toys."""

from __future__ import annotations

import sys


def ready() -> None:
    """Set up JAX as in a job, with float64 and compiled programs at hand; once in a process."""
    if "jax" not in sys.modules:
        from toymill.job import prepare

        prepare()
