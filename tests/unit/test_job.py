"""What every job does first: its environment, JAX's settings, and compiled programs that are whole."""

import os
import subprocess
import sys

import pytest

import toymill
from toymill import job
from toymill.cache import open_cache

SETTINGS = """
from toymill.job import prepare
prepare()
import os, jax
print(jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs,
      jax.config.jax_persistent_cache_min_entry_size_bytes, jax.config.jax_enable_x64, os.environ["XLA_FLAGS"])
"""

COMPILES = """
from toymill.job import prepare
prepare()
import jax, numpy as np
from jax._src import monitoring
hits = []
monitoring.register_event_listener(lambda name, **_: hits.append(name))
print(float(jax.jit(lambda x: (x * 3 + 1).sum())(np.arange(5.0))), sum("cache_hits" in name for name in hits))
"""


def run(program, folder, **changes):
    """What a job in a folder prints, and what it tells."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(job._OURS)} | changes
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.split(), done.stderr


def test_the_compilation_cache_is_the_jobs_own(tmp_path):
    printed, told = run(SETTINGS, tmp_path)
    assert printed[0].startswith(".snakemake/toymill/jax-cache/jobs/")
    assert printed[1:] == ["0.0", "-1", "True", "--xla_cpu_multi_thread_eigen=false"]
    assert told == ""


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"JAX_COMPILATION_CACHE_DIR": "/cache"}, ["/cache", "0.0", "-1", "True"]),
        (
            {"JAX_COMPILATION_CACHE_DIR": "/cache", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "2.5"},
            ["/cache", "2.5", "-1", "True"],
        ),
    ],
)
def test_or_the_users_where_the_environment_names_one(tmp_path, changes, expected):
    assert run(SETTINGS, tmp_path, **changes)[0][:4] == expected


def test_what_would_change_numbers_is_ignored_and_named(tmp_path):
    changes = {"JAX_PLATFORMS": "nonsense", "XLA_FLAGS": "--xla_nonsense", "OPENBLAS_CORETYPE": "Prescott"}
    changes |= {"JAX_ENABLE_X64": "0", "OMP_NUM_THREADS": "7"}
    printed, told = run(SETTINGS, tmp_path, **changes)
    assert printed[3:] == ["True", "--xla_cpu_multi_thread_eigen=false"]
    assert told.startswith("toymill: ignored, since a job sets what its numbers depend on: ")
    for name in ("JAX_PLATFORMS=nonsense", "XLA_FLAGS=--xla_nonsense", "OPENBLAS_CORETYPE=Prescott"):
        assert name in told


def entries(folder):
    return sorted(path for path in (folder / ".snakemake/toymill/jax-cache").glob("*/*") if path.parent.name != "jobs")


def test_compiled_programs_are_used_again_unless_they_are_damaged(tmp_path):
    """An entry cut short or with one bit flipped, as a killed job or a disk leaves it, is compiled anew and replaced."""
    assert run(COMPILES, tmp_path)[0] == ["35.0", "0"]
    whole = {path: path.read_bytes() for path in entries(tmp_path)}
    assert whole
    printed, _ = run(COMPILES, tmp_path)
    assert printed[0] == "35.0"
    assert int(printed[1]) >= 1
    for damage in (
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    ):
        for path, content in whole.items():
            path.write_bytes(damage(content))
        assert run(COMPILES, tmp_path)[0] == ["35.0", "0"]
        assert entries(tmp_path) == sorted(whole)
        assert int(run(COMPILES, tmp_path)[0][1]) >= 1
    assert list((tmp_path / ".snakemake/toymill/jax-cache/jobs").iterdir()) == []


def test_a_cache_that_cannot_be_made_is_none(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert open_cache(tmp_path / "file") is None


def test_a_job_prepares_before_jax_is_imported():
    from toymill.job import prepare

    with pytest.raises(RuntimeError, match="before jax is imported"):
        prepare()


def test_a_job_that_ends_well_tells_its_seconds(tmp_path):
    from toymill.job import SECONDS, reported

    log, failed = tmp_path / "fit/000-999.log", tmp_path / "audit.log"
    log.parent.mkdir()
    with reported([str(log)]):
        pass
    assert float(log.with_suffix(SECONDS).read_text()) >= 0
    with pytest.raises(SystemExit), reported([str(failed)]):
        raise toymill.ToymillError("no")
    assert failed.read_text() == "toymill: no\n"
    assert not failed.with_suffix(SECONDS).exists()
