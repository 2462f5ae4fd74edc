"""Faults: after each a study has the bytes of an undisturbed run. benchmarks/faults.py tries each of them more often."""

import importlib.util
import random

import pytest

SHORT = {
    "job": 3,
    "job-of-run": 1,
    "main": 1,
    "stop": 1,
    "second": 1,
    "disk": 1,
    "shard": 1,
    "clock": 1,
    "environment": 1,
}
"""How often a fault is tried in the short part of the tests; in the long part each once more, with another seed."""


@pytest.fixture(scope="module")
def faults(root):
    spec = importlib.util.spec_from_file_location("faults", root / "benchmarks/faults.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ground(faults, tmp_path_factory):
    return faults.Ground(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("name", SHORT)
def test_a_fault_leaves_no_trace(faults, ground, name):
    draw = random.Random(f"short {name}")
    for _ in range(SHORT[name]):
        faults.FAULTS[name].does(ground, draw)


@pytest.mark.long
def test_every_fault_leaves_no_trace(faults, ground):
    for name, fault in faults.FAULTS.items():
        if not fault.mounts or faults.may_mount():
            fault.does(ground, random.Random(f"long {name}"))
