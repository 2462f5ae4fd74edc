"""What every job does first and last: one core, float64, a shared compilation cache, errors as one message."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from toymill.errors import ToymillError

COMPILATION_CACHE = Path(".snakemake/toymill/jax-cache")
"""Compiled programs, shared by all jobs of a working directory; where ``JAX_COMPILATION_CACHE_DIR`` names no other."""


def prepare(threads: int = 1) -> None:
    """Set up JAX for a job: call it before anything imports JAX.

    XLA's thread pool takes every core that it sees; a job takes those that Snakemake gave it. Compiled programs are
    cached in ``COMPILATION_CACHE``, whatever their size and the time that they took. Where the environment sets one of
    JAX's variables for this, such as ``JAX_COMPILATION_CACHE_DIR``, its value stays.
    """
    if "jax" in sys.modules:
        msg = "toymill.job.prepare must be called before jax is imported"
        raise RuntimeError(msg)
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NPROC"):
        os.environ[name] = str(threads)
    if threads == 1:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # jobs may share a GPU
    import jax

    jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
    caching = {
        "jax_compilation_cache_dir": str(COMPILATION_CACHE),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in caching.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def reported(logs: Sequence[str]) -> Iterator[None]:
    """A user's mistake ends the job with its message, on the screen and in the log; only a defect has a traceback."""
    try:
        yield
    except ToymillError as error:
        text = f"toymill: {error}\n"
        for log in logs:
            Path(log).write_text(text, encoding="utf-8")
        sys.stderr.write(text)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:
        for log in logs:
            Path(log).write_text(traceback.format_exc(), encoding="utf-8")
        raise
