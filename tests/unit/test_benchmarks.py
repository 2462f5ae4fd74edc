"""The workspaces that benchmarks make are what their documentation says, and the same every time."""

import json
from collections import Counter

import jax
import pytest

import toymill


def numbers(workspace):
    samples = [sample for channel in workspace["channels"] for sample in channel["samples"]]
    kinds = Counter(modifier["type"] for sample in samples for modifier in sample["modifiers"])
    bins = sum(len(item["data"]) for item in workspace["observations"])
    return len(workspace["channels"]), bins, len(samples), kinds


@pytest.fixture
def opened(tmp_path):
    def read(workspace):
        path = tmp_path / "workspace.json"
        path.write_text(json.dumps(workspace))
        return toymill.read_workspace(path)

    return read


@pytest.fixture(autouse=True)
def benchmarks(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "benchmarks")


def test_teaching(opened, root):
    from teaching import teaching

    stored = json.loads((root / "config/workspaces/teaching.json").read_text())
    assert jax.tree.structure(stored) == jax.tree.structure(teaching())
    for one, other in zip(jax.tree.leaves(stored), jax.tree.leaves(teaching()), strict=True):
        # Machines differ in the last digit of an exponential.
        assert one == (pytest.approx(other, rel=1e-13, abs=0) if isinstance(other, float) else other)

    channels, bins, samples, kinds = numbers(teaching())
    assert (channels, bins, samples) == (1, 20, 4)
    assert set(kinds) == {"normfactor", "normsys", "histosys"}
    parameters = opened(teaching()).parameters
    assert len(parameters) == 9
    assert not parameters.fixed.any()
    assert teaching() == teaching(seed=1) != teaching(seed=2)


def test_published_size(opened):
    from published_size import published_size

    channels, bins, samples, kinds = numbers(published_size())
    assert (channels, bins, samples) == (11, 41, 121)
    assert (kinds["normsys"], kinds["histosys"]) == (2000, 1600)
    assert kinds["staterror"] > 0
    assert len(opened(published_size()).parameters) == 184
    assert published_size() == published_size(seed=1) != published_size(seed=2)


def test_bins_201(opened):
    from bins_201 import bins_201

    channels, bins, samples, kinds = numbers(bins_201())
    assert (channels, bins, samples) == (20, 200, 40)
    assert kinds == {"normfactor": 20, "shapesys": 20}
    assert len(opened(bins_201()).parameters) == 201


def test_size_model(opened):
    from size_model import sized

    channels, bins, samples, kinds = numbers(sized(7, channels=2, normsys=5, histosys=3))
    assert (channels, bins, samples) == (2, 14, 6)
    assert kinds == {"normfactor": 2, "normsys": 2 * (5 + 5 + 2), "histosys": 2 * (3 + 3), "staterror": 6}
    assert len(opened(sized(7, channels=2, normsys=5, histosys=3)).parameters) == 1 + 14 + 5 + 3
