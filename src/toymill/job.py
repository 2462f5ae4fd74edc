"""What every job does first and last: its environment, float64, compiled programs at hand, errors as one message."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from toymill.cache import open_cache
from toymill.errors import ToymillError
from toymill.stopping import listen

COMPILATION_CACHE = Path(".snakemake/toymill/jax-cache")
"""Compiled programs, shared by all jobs of a working directory; where ``JAX_COMPILATION_CACHE_DIR`` names no other."""

SECONDS = ".seconds"
"""The suffix of the file beside a job's log that has its wall-clock seconds."""

_BEGIN = time.monotonic()

_OURS = ("JAX_", "XLA_", "OPENBLAS_", "OMP_", "MKL_", "BLIS_", "GOTO_", "NPY_")
"""Beginnings of the variables that decide how numbers are computed: a job sets those that it needs."""

_YOURS = ("JAX_COMPILATION_CACHE_", "JAX_PERSISTENT_CACHE_")
"""Beginnings of those that only decide where compiled programs are kept: they stay as they are."""

_GPU_MEMORY = "0.9"
"""The part of a GPU's memory that JAX may take: the job has the GPU for itself."""


def prepare(threads: int = 1, gpus: int = 0) -> None:
    """Set up JAX for a job: call it before anything imports JAX or NumPy.

    A job computes the same numbers whatever the user's environment says: variables that would change them are ignored,
    and named on stderr. XLA's thread pool takes every core that it sees; a job takes those that Snakemake gave it.
    Compiled programs are kept in ``COMPILATION_CACHE``, or where ``JAX_COMPILATION_CACHE_DIR`` says.

    Args:
        threads: cores of the job.
        gpus: GPUs of the job; without one JAX computes on the processor, whatever the machine has.

    Raises:
        ToymillError: a job with a GPU on which JAX sees none.
    """
    if "jax" in sys.modules:
        msg = "toymill.job.prepare must be called before jax is imported"
        raise RuntimeError(msg)
    listen()
    _set_environment(threads, gpus)
    import jax

    jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
    own = None if "JAX_COMPILATION_CACHE_DIR" in os.environ else open_cache(COMPILATION_CACHE)
    caching = {
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
        "jax_persistent_cache_enable_xla_caches": "none",  # or a program's key has the name of the cache's folder
    } | ({} if own is None else {"jax_compilation_cache_dir": str(own)})
    for name, value in caching.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)  # type: ignore[no-untyped-call]
    if gpus and jax.default_backend() == "cpu":
        msg = (
            "The job was given a GPU, and JAX sees none. Install JAX for it (see: toymill manual clusters), or use a profile "
            "without GPUs."
        )
        raise ToymillError(msg)


def _set_environment(threads: int, gpus: int) -> None:
    ours = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NPROC"), str(threads))
    if threads == 1:
        ours["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    if gpus:
        ours |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "true", "XLA_PYTHON_CLIENT_MEM_FRACTION": _GPU_MEMORY}
    else:
        ours["JAX_PLATFORMS"] = "cpu"
    theirs = sorted(name for name in os.environ if name.startswith(_OURS) and not name.startswith(_YOURS))
    ignored = [f"{name}={os.environ.pop(name)}" for name in theirs if os.environ[name] != ours.get(name)]
    told = [item for item in ignored if "_NUM_THREADS=" not in item]
    if told:
        sys.stderr.write(f"toymill: ignored, since a job sets what its numbers depend on: {', '.join(told)}\n")
    os.environ.update(ours)


@contextlib.contextmanager
def reported(logs: Sequence[str]) -> Iterator[None]:
    """A user's mistake ends the job with its message, on the screen and in the log; only a defect has a traceback.

    A job that ends well writes its seconds beside its log. Snakemake's ``benchmark`` would look at its memory 30 times and
    more, at 15 ms each.
    """
    try:
        yield
        _log([str(Path(log).with_suffix(SECONDS)) for log in logs], f"{time.monotonic() - _BEGIN:.2f}\n")
    except ToymillError as error:
        text = f"toymill: {error}\n"
        _log(logs, text)
        sys.stderr.write(text)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception:
        _log(logs, traceback.format_exc())
        raise


def _log(logs: Sequence[str], text: str) -> None:
    """Write a text to logs, if the disk has room for it."""
    for log in logs:
        with contextlib.suppress(OSError):
            Path(log).write_text(text, encoding="utf-8")
