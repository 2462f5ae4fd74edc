"""Settings of every test: float64, no silent broadcasting of ranks, warnings are errors (see pyproject.toml).

Compiled programs are stored in a folder of the run, so that each is compiled once whichever tests, whichever jobs of
a test's study, and whichever pytest-xdist worker want it. (The check of a stated model and the comparison of optimisers
clear what JAX holds in memory.) The folder is new in every run, unless JAX_COMPILATION_CACHE_DIR names one.

Most of the time of tests is compilation. XLA compiles with few optimisations here: in less than half the time, programs
that are slower by a factor of four or so. Tests in statistics/ and long ones, of many toys, and the jobs of studies have
all of them.
"""

import collections
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import jax
import pytest

import toymill

_TEMPORARY = None
_FOLDER = os.environ.get("JAX_COMPILATION_CACHE_DIR")
if _FOLDER is None:
    _FOLDER = _TEMPORARY = tempfile.mkdtemp(prefix="toymill-tests-")
elif "PYTEST_XDIST_WORKER" not in os.environ:  # a worker is given the folder of the process that starts it
    _FOLDER += "/of-tests"  # JAX cannot go on with entries that it wrote without a size
CACHE = {
    "jax_compilation_cache_dir": _FOLDER,
    "jax_compilation_cache_max_size": 2**31,  # with a size JAX locks the folder while it reads and writes
    "jax_persistent_cache_min_compile_time_secs": 0.1,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
for _name, _value in CACHE.items():
    os.environ[_name.upper()] = str(_value)  # for the processes that tests start
    jax.config.update(_name, _value)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"  # a job compiles anew whatever is not there


_XLA = "--xla_cpu_multi_thread_eigen=false --xla_cpu_use_fusion_emitters=false"


def _start_xla():
    """XLA reads its flags once, when it starts. They are not for the processes that tests start."""
    if "XLA_FLAGS" in os.environ:
        return
    if (
        "TOYMILL_TESTS_XLA" not in os.environ
    ):  # the first process asks whether this XLA has them: one that has not aborts
        asked = [sys.executable, "-c", "import jax; jax.jit(lambda: 0)()"]
        known = subprocess.run(asked, env=os.environ | {"XLA_FLAGS": _XLA}, capture_output=True, check=False)
        os.environ["TOYMILL_TESTS_XLA"] = "" if known.returncode else _XLA
    os.environ["XLA_FLAGS"] = os.environ["TOYMILL_TESTS_XLA"]
    jax.jit(lambda: 0)()
    del os.environ["XLA_FLAGS"]


_start_xla()
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

MAPS = Path("/proc/self/maps")
MOST_MAPS = 30_000

ROOT = Path(__file__).resolve().parents[1]
ATLAS = ROOT / "config/workspaces/atlas-3l-erjr"


def pytest_collection_modifyitems(config, items):
    """Studies come first: they take long, share what a worker has finished, and are then stolen by no other worker.

    ``LONG_PART=1/6`` in the environment takes every sixth of each file's long tests, the same whatever files are collected.
    """
    items.sort(key=lambda item: "workflow" not in item.path.parts)
    if part := os.environ.get("LONG_PART"):
        number, parts = map(int, part.split("/"))
        place = collections.Counter()
        others = set()
        for item in items:
            if item.get_closest_marker("long"):
                place[item.path] += 1
                if (zlib.crc32(item.path.name.encode()) + place[item.path]) % parts != number % parts:
                    others.add(item)
        config.hook.pytest_deselected(items=list(others))
        items[:] = [item for item in items if item not in others]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Before any fixture of the test."""
    many = "statistics" in item.path.parts or item.get_closest_marker("long") is not None
    jax.config.update("jax_disable_most_optimizations", not many)


def pytest_unconfigure():
    """The last thing of a run, in the process that began it."""
    if _TEMPORARY:
        shutil.rmtree(_TEMPORARY, ignore_errors=True)


@pytest.fixture(autouse=True)
def _room_for_programs():
    """Programs are dropped before they have all the memory maps that Linux lets a process have (65,530), where XLA aborts.

    The fits of a model's shape have a thousand or two.
    """
    yield
    if MAPS.exists() and MAPS.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()


@pytest.fixture(autouse=True)
def _from_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def hww():
    return toymill.read_workspace(ROOT / "config/workspaces/hww.json")


@pytest.fixture(scope="session")
def onoff():
    return toymill.read_workspace(ROOT / "tests/data/onoff.json")


@pytest.fixture(scope="session")
def small_studies(root, tmp_path_factory):
    """The results of a small study, by what it keeps of its fits: ``small_studies("all")`` is its folder."""
    import studies

    @functools.cache
    def folder(keep):
        return studies.finished(tmp_path_factory.mktemp(keep) / "small", studies.on_off(root, keep=keep))

    return folder


# The arrays of the two have other shapes, 69 and 70 parameters among them, so that each has programs of its own.
SIGNALS = ["100p0_20p0", pytest.param("150p0_50p0", marks=pytest.mark.long)]


@pytest.fixture(scope="session", params=SIGNALS)
def atlas(request):
    """The published ATLAS likelihood with one signal: (name of the signal, model)."""
    patch = ATLAS / f"patch.ERJR_{request.param}.json"
    return request.param, toymill.read_workspace(ATLAS / "BkgOnly.json", patches=[patch])


@pytest.fixture
def spec():
    """A small workspace with every modifier type, as a fresh dictionary."""
    return json.loads((ROOT / "tests/data/every-modifier.json").read_text())
