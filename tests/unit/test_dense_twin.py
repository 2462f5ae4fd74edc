"""Fits by kinds of parameters against fits by dense matrices of all of them, of random workspaces.

A structure is compiled once, and has other numbers in each workspace.
"""

from dataclasses import replace

import numpy as np
import pytest
from builders import bare, binned, normsys, workspace

import toymill
from toymill.fitting.batching import block_size
from toymill.fitting.status import Status

TOYS = 6


def drawn(structure, number):
    """A workspace: which modifiers there are is of the structure, every number of them of the workspace."""
    shape, rng = np.random.default_rng(structure), np.random.default_rng((structure, number))
    channels = {}
    systematics = int(shape.integers(1, 6))
    for channel in range(int(shape.integers(1, 4))):
        bins = int(shape.integers(1, 7))
        bins = bins if channel else max(bins, 3)  # where mu and k are told from another
        background = rng.uniform(20, 200, bins)
        modifiers = [normsys(f"n{k}", *np.exp([1, -1] * rng.uniform(0.02, 0.15, 2))) for k in range(systematics)]
        if shape.random() < 0.6:
            spread = background * rng.uniform(-0.1, 0.1, bins)
            modifiers.append(
                {
                    "name": "h",
                    "type": "histosys",
                    "data": {"hi_data": list(background + spread), "lo_data": list(background - 0.9 * spread)},
                }
            )
        if shape.random() < 0.6:
            modifiers.append(binned("staterror", f"s{channel}", list(background * rng.uniform(0.02, 0.2, bins))))
        other = rng.uniform(5, 60, bins)
        more = [bare("lumi", "lumi")]
        if shape.random() < 0.6:
            more.append(binned("shapesys", f"p{channel}", list(other * rng.uniform(0.05, 0.3, bins))))
        if shape.random() < 0.4:
            more.append(bare("normfactor", "k"))
        channels[f"c{channel}"] = {
            "signal": (rng.uniform(3, 30, bins), [normsys("n0", 1.05, 0.95)]),
            "background": (background, modifiers),
            "other": (other, more),
        }
    lumi = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "bounds": [[0.5, 1.5]], "inits": [1.0]}
    return workspace(channels, [lumi])


def compared(model, seed):
    """Free fits and fits at μ = 0 of some toys by either path: ours and the other's."""
    plain = replace(model, kernel=model.kernel._replace(fast=None))
    toys = toymill.throw(model, model.parameters.init, TOYS, seed=seed)
    for held in ({}, {"mu": 0.0}):
        ours, theirs = (toymill.fit(one, toys, held, covariance=False) for one in (model, plain))
        yield ours, theirs


def same(model, seed):
    """Either path gives the same minima, errors and statuses."""
    for ours, theirs in compared(model, seed):
        assert ours.ok.all()
        assert theirs.ok.all()
        assert np.abs(ours.nll - theirs.nll).max() < 1e-7
        known = ~np.isnan(ours.errors)
        np.testing.assert_array_equal(known, ~np.isnan(theirs.errors))
        np.testing.assert_allclose(ours.errors[known], theirs.errors[known], rtol=2e-3)
        bound = [status == Status.AT_BOUND for status in (ours.status, theirs.status)]
        np.testing.assert_array_equal(*bound)


def check(structure, numbers):
    for number in range(numbers):
        same(toymill.read_workspace(drawn(structure, number)), number)


@pytest.mark.parametrize("structure", range(1))
def test_fits_by_kinds_are_those_by_dense_matrices(structure):
    check(structure, 5)


def test_fits_of_many_bins_are_those_by_dense_matrices(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "benchmarks")
    from size_model import sized

    model = toymill.read_workspace(sized(600))
    assert block_size(model) < 16
    same(model, 1)


@pytest.mark.long
@pytest.mark.parametrize("structure", range(1, 7))
def test_fits_of_more_workspaces(structure):
    check(structure, 50)
