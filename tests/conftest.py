"""Settings of every test: float64, no silent broadcasting of ranks, warnings are errors (see pyproject.toml)."""

import json
from pathlib import Path

import jax
import pytest

import toymill

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).resolve().parents[1]
ATLAS = ROOT / "config/workspaces/atlas-3l-erjr"


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


@pytest.fixture(scope="session", params=["100p0_20p0", "150p0_50p0"])
def atlas(request):
    """The published ATLAS likelihood with one signal: (name of the signal, model)."""
    patch = ATLAS / f"patch.ERJR_{request.param}.json"
    return request.param, toymill.read_workspace(ATLAS / "BkgOnly.json", patches=[patch])


@pytest.fixture
def spec():
    """A small workspace with every modifier type, as a fresh dictionary."""
    return json.loads((ROOT / "tests/data/every-modifier.json").read_text())
