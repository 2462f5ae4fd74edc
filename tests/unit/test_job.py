"""What every job does first: settings of JAX, of which the user's own are left as they are."""

import os
import subprocess
import sys

import pytest

SETTINGS = """
from toymill.job import prepare
prepare()
import jax
print(jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs,
      jax.config.jax_persistent_cache_min_entry_size_bytes, jax.config.jax_enable_x64)
"""


def settings(**changes):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")} | changes
    done = subprocess.run([sys.executable, "-c", SETTINGS], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [".snakemake/toymill/jax-cache", "0.0", "-1", "True"]),
        ({"JAX_COMPILATION_CACHE_DIR": "/cache"}, ["/cache", "0.0", "-1", "True"]),
        (
            {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "2.5"},
            [".snakemake/toymill/jax-cache", "2.5", "-1", "True"],
        ),
    ],
)
def test_the_compilation_cache_is_the_users_where_the_environment_names_one(changes, expected):
    assert settings(**changes) == expected


def test_a_job_prepares_before_jax_is_imported():
    from toymill.job import prepare

    with pytest.raises(RuntimeError, match="before jax is imported"):
        prepare()
