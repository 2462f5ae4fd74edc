"""Faults: after each a study has the bytes of an undisturbed run. benchmarks/faults.py tries each of them more often."""

import importlib.util
import random

import pytest

SHORT = ("job", "disk")
"""Faults that are tried in the short part of the tests; test_workflow.py kills Snakemake itself there, as "main" does."""

LONG = ("main", "second", "run", "chunks", "memory", "shard", "edit", "clock", "cache", "environment")
"""Those that are tried once in the long part."""


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
    faults.FAULTS[name].does(ground, random.Random(f"short {name}"))


@pytest.mark.long  # as the faults above, of which each takes two runs of Snakemake
@pytest.mark.parametrize("name", LONG)
def test_a_further_fault_leaves_no_trace(faults, ground, name):
    faults.FAULTS[name].does(ground, random.Random(f"long {name}"))
