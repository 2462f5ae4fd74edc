"""Tilted toys of a scan: the global p-value of five standard deviations, where it is known exactly."""

import json

import numpy as np
import pytest
import scipy.stats
from builders import bare

from toymill.config.scan import grid_of
from toymill.config.study import read_study
from toymill.errors import ToymillError
from toymill.inference.look_elsewhere import weighted_global
from toymill.inference.mixture import weights
from toymill.models.base import Sampling
from toymill.study.scan import fit_point
from toymill.study.scan_answer import answer_scan
from toymill.study.scan_layout import scan_files, scan_shards, tilted_by_point
from toymill.study.scan_tilts import fit_tilted, tilt_scan
from toymill.study.tilting import log_ratios, tilted

BINS = 3


def counts_alone(size):
    nothing = np.full(size, np.nan)
    yes, no = np.ones(size, dtype=bool), np.zeros(size, dtype=bool)
    return Sampling(yes, nothing, no, np.full(size, -1), nothing, nothing)


@pytest.mark.parametrize("observed", [[25, 4], [9, 30]])
def test_the_global_p_of_few_counts_is_the_enumerated_one(observed):
    """Two counts of 5 and 4 events expected, each a signal: of q_0 = 2 (n ln(n/b) - n + b) the largest."""
    expected, sampling, rng = np.array([5.0, 4.0]), counts_alone(2), np.random.default_rng(3)

    def q_of(n):
        return np.where(n > expected, 2 * scipy.special.kl_div(n, expected), 0.0)

    largest = q_of(np.array(observed, dtype=float)).max()
    truths = np.array([tilted(expected, along, sampling, np.sqrt(largest)) for along in np.eye(2)])
    assert 2 * scipy.special.kl_div(truths, expected).sum(axis=1) == pytest.approx([largest] * 2)
    counts = [2000, 1500, 1500]
    toys = rng.poisson(np.repeat([expected, *truths], counts, axis=0)).astype(float)
    ratios = np.vstack([np.zeros(len(toys)), log_ratios(toys, expected, truths, sampling)])
    exact = scipy.stats.poisson.logpmf(toys, truths[1]).sum(axis=1) - scipy.stats.poisson.logpmf(toys, expected).sum(
        axis=1
    )
    assert ratios[2] == pytest.approx(exact)
    weight = weights(ratios, counts, ratios[0])
    found = weighted_global(q_of(toys).T, weight, counts, largest, largest=0, tolerance=1e-9)
    n = np.arange(200.0)[:, None]
    each = [
        scipy.stats.poisson.pmf(n[:, 0], b)[q_of(n + 0 * expected)[:, k] >= largest - 1e-9].sum()
        for k, b in enumerate(expected)
    ]
    p = 1 - np.prod(1 - np.array(each))
    assert p < 1e-5
    assert found.p_value.value == pytest.approx(p, abs=3 * found.p_value.error)
    assert found.local.value == pytest.approx(each[0], abs=3 * found.local.error)
    assert found.p_value.error < 0.1 * p
    assert found.p_value.largest_weight <= 5000 / 2000 + 1e-9
    assert [item.z for item in found.overlap][:2] == [1, 2]
    assert all(item.pull is None or abs(item.pull) < 4 for item in found.overlap)


def write_bins(folder, significance):
    """A study of three independent bins, each with a systematic effect three times its statistical error."""

    def effect(k):
        return {"name": f"effect_{k}", "type": "histosys", "data": {"hi_data": [1.003e6], "lo_data": [0.997e6]}}

    spec = {
        "channels": [
            {"name": f"bin{k}", "samples": [{"name": "b", "data": [1e6], "modifiers": [effect(k)]}]}
            for k in range(BINS)
        ],
        "observations": [
            {"name": f"bin{k}", "data": [1e6 + (k == 1) * round(significance * np.sqrt(1e7))]} for k in range(BINS)
        ],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": [{"name": "mu", "bounds": [[0, 100]]}]}}],
        "version": "1.0.0",
    }
    (folder / "background.json").write_text(json.dumps(spec))
    patches = []
    for k in range(BINS):
        sample = {"name": "s", "data": [3000.0], "modifiers": [bare("normfactor", "mu")]}
        path = folder / f"s{k}.json"
        path.write_text(json.dumps([{"op": "add", "path": f"/channels/{k}/samples/1", "value": sample}]))
        patches.append({"path": str(path), "values": [float(k)]})
    scan = {"patches": patches, "toys": 400, "signal_toys": 0, "tilted_toys": 1800}
    return read_study({"study": "bins", "model": str(folder / "background.json"), "scan": scan})


def run(study, folder):
    files = scan_files(study, grid_of(study.scan), folder / "scan")
    for point, paths in files.items():
        fit_point(study, point, scan_shards(study)[0], paths[0])
    tilt_scan(study, files, folder / "tilts.h5")
    return files


def test_five_sigma_in_one_of_independent_bins_is_known_globally(tmp_path):
    """p = 1 - (1 - p_local)³ of normal data, auxiliary data included, which carry nine tenths of the variance."""
    study = write_bins(tmp_path, 5.0)
    files = run(study, tmp_path)
    points = {name: tmp_path / f"tilted/{name}.h5" for name in files}
    for name, path in points.items():
        fit_tilted(study, name, tmp_path / "tilts.h5", path)
    answer = answer_scan(study, files, tilted_by_point(tmp_path / "tilts.h5", points.values()))
    largest = answer.largest
    found, p = largest.weighted, scipy.stats.norm.sf(5.0)
    assert largest.point == "s1"
    assert largest.q_0 == pytest.approx(25, rel=5e-3)
    assert largest.p_value.bound
    assert found.tilted == 1800
    assert found.local.value == pytest.approx(p, abs=3 * found.local.error + 0.03 * p)
    assert found.p_value.value == pytest.approx(1 - (1 - p) ** 3, abs=3 * found.p_value.error + 0.1 * p)
    assert found.p_value.error < 0.1 * found.p_value.value
    assert found.p_value.normalisation == pytest.approx(1, abs=4 * found.p_value.normalisation_error)
    assert found.overlap
    assert all(item.pull is None or abs(item.pull) < 4 for item in found.overlap)
    assert "weighted toys, 1,800 of them thrown about excesses" in answer.sentences[1]
    with pytest.raises(ToymillError, match="is of another study: its digest"):
        fit_tilted(study.model_copy(update={"seed": 1}), "s1", tmp_path / "tilts.h5", tmp_path / "other.h5")


def test_where_toys_without_tilt_reach_there_are_no_others(tmp_path):
    study = write_bins(tmp_path, 1.0)
    answer = answer_scan(study, run(study, tmp_path), tilted_by_point(tmp_path / "tilts.h5", []))
    assert answer.largest.weighted is None
    assert answer.largest.why_not_weighted.startswith("Toys without tilt reach it: of 400, ")
