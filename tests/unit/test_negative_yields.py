"""Sample yields below zero: told where shape variations make them so, in the numbers that pyhf computes."""

import json

import numpy as np
import pyhf
import pytest
import studies
from builders import bare, binned, normsys, workspace

import toymill
from toymill.config.study import read_study
from toymill.inference.negative_yields import count_negative_yields, negative_yields, negative_yields_in_words
from toymill.models.negative_yields import IN_SIGMA, Cell
from toymill.results.store import read_shard
from toymill.results.summary import read_summary
from toymill.study.model import checked_model
from toymill.study.negative_yields import foreseen_negative_yields


def histosys(name, hi, lo):
    return {"name": name, "type": "histosys", "data": {"hi_data": hi, "lo_data": lo}}


@pytest.fixture(scope="module")
def spec():
    """Two channels; the top of the first may be negative in its first bin, where a wide factor multiplies it."""
    top = [histosys("shape", [2.2, 4.3], [0.2, 3.7]), bare("normfactor", "scale"), normsys("norm")]
    first = {
        "signal": ([3.0, 6.0], [binned("staterror", "stat", [0.5, 0.5])]),
        "top": ([1.2, 4.0], top),
        "other": ([30.0, 20.0], [normsys("norm"), histosys("shape", [33.0, 19.0], [27.0, 21.0])]),
    }
    second = {"top": ([50.0], [bare("normfactor", "scale"), histosys("shape", [55.0], [46.0])])}
    bounds = [{"name": "scale", "bounds": [[0.0, 10.0]]}, {"name": "mu", "bounds": [[-5.0, 10.0]]}]
    return workspace({"SR": first, "CR": second}, bounds)


@pytest.fixture(scope="module")
def model(spec):
    return toymill.read_workspace(spec)


def at_random(model, count=400, seed=1):
    """Points within the bounds, (count, P)."""
    low, high = np.clip(model.parameters.bounds, -5, 10).T
    return np.random.default_rng(seed).uniform(low, high, (count, len(low)))


def test_which_may_be(model):
    """Not the signal, which only its strength makes negative; not yields that no variation within the bounds reaches."""
    assert model.negative_yields.cells == (Cell("top", "SR", 0, ("scale",)),)


def test_yields_are_those_of_pyhf(spec, model):
    """Of pyhf's rates by sample, those that count; the additive part is negative where the factors are not."""
    reference = pyhf.Workspace(spec).model()
    assert list(model.parameters.names) == reference.config.par_names
    points = at_random(model)
    found = model.negative_yields.at(points)[:, 0]
    names, seen = list(reference.config.samples), []
    column = reference.config.channel_slices["SR"].start
    for point in points:
        rates = np.asarray(reference.main_model.expected_data(pyhf.tensorlib.astensor(point), return_by_sample=True))
        top, expected = rates[names.index("top"), column], rates[:, column].sum()
        seen.append(top if top < -IN_SIGMA * np.sqrt(max(expected, 0.0)) else 0.0)
    np.testing.assert_allclose(found, seen, rtol=1e-10, atol=1e-12)
    assert 20 < np.sum(found < 0) < 380


def test_many_points_at_once(root):
    """The same numbers as one point at a time."""
    folder = root / "config/workspaces/atlas-3l-erjr"
    model = toymill.read_workspace(folder / "BkgOnly.json", patches=[folder / "patch.ERJR_150p0_50p0.json"])
    assert [(cell.sample, cell.channel) for cell in model.negative_yields.cells][-1] == ("top", "SRlow_cuts")
    points = at_random(model, 60)
    at = model.negative_yields.at
    np.testing.assert_allclose(
        at(points), np.concatenate([at(point[None]) for point in points]), rtol=1e-12, atol=1e-12
    )


def test_none_of_counting(onoff):
    """A model without shape variations has no such yields."""
    assert onoff.negative_yields.cells == ()


@pytest.fixture(scope="module")
def study(spec, tmp_path_factory):
    path = tmp_path_factory.mktemp("negative") / "negative.json"
    spec = json.loads(json.dumps(spec))
    spec["observations"][0]["data"] = [12.0, 30.0]  # a deficit in the first bin
    path.write_text(json.dumps(spec))
    return {
        "study": "negative",
        "model": str(path),
        "ensembles": {"low": {"truth": {"mu": 0.0}, "nuisances": "conditional", "toys": 600, "tests": [2.0]}},
        "shard": 256,
    }


@pytest.mark.parametrize("keep", ["all", "summary"])
def test_a_study_counts_them(study, model, tmp_path, keep):
    """As many as in the stored fits, whatever is kept; and says so beside its answers."""
    whole = studies.finished(tmp_path / "all", study)
    folder = whole if keep == "all" else studies.finished(tmp_path / keep, study | {"keep": keep})
    summary = read_summary(folder / "summary.json")
    found = summary.ensembles["low"].negative_yields
    shards = [read_shard(path) for path in sorted((whole / "fits/low").glob("*.h5"))]
    ok = [np.logical_and.reduce([fits.ok for fits in (shard.free, *shard.tests)]) for shard in shards]
    assert found.toys == sum(map(np.sum, ok)) == summary.ensembles["low"].certified
    assert [item.poi for item in found.fits] == [None, 0.0, 2.0]
    lowest = 0.0
    for k, item in enumerate(found.fits):
        fits = [(shard.free, *shard.tests)[k].parameters[good] for shard, good in zip(shards, ok, strict=True)]
        values = model.negative_yields.at(np.concatenate(fits))
        assert item.share == np.mean(values < 0)
        assert item.low <= item.share <= item.high
        lowest = min(lowest, values.min())
    assert found.most.share > 0.05
    (sample,) = found.samples
    assert (sample.where, sample.factors, sample.value) == ("sample top in SR[0]", ("scale",), lowest)
    told = summary.headline.answers[-1]
    assert told.startswith("negative yields: ")
    assert f"Shape variations take sample top in SR[0] down to {lowest:.3g} events" in told
    assert "It is multiplied by scale" in told
    (observed,) = summary.observed.negative_yields
    assert observed.where == sample.where
    (at_truth,) = found.at_truth
    assert at_truth.value < 0


def test_a_check_foresees_them(study):
    one = read_study(study)
    (told,) = foreseen_negative_yields(one, checked_model(one))
    assert told.startswith("negative yields: at the fit to the observed data, at the truth of low, in up to ")


def test_a_check_of_others_says_nothing(root):
    one = read_study(studies.on_off(root))
    assert foreseen_negative_yields(one, checked_model(one)) == []


CELLS = (Cell("top", "SR", 0, ("scale", "lumi")), Cell("fake", "SR", 1, ()))


def counted(counts, lowest, at_truth=(0.0, 0.0)):
    return count_negative_yields(CELLS, np.array(at_truth), [0.0], 1000, np.array(counts), np.array(lowest))


def test_the_sample_of_most_fits_is_first():
    found = counted([[30, 10, 20], [40, 10, 30]], [-5.0, -1.0])
    assert [item.sample for item in found.samples] == ["fake", "top"]
    assert [item.share for item in found.fits] == [0.03, 0.04]
    assert found.most.poi == 0.0


def test_words():
    rare, often = counted([[9, 9, 0], [0, 0, 0]], [-5.0, 0.0]), counted([[9, 9, 0], [250, 240, 20]], [-5.0, -1.0])
    assert negative_yields_in_words("mu", [], {"one": rare}, {}) == []
    (told,) = negative_yields_in_words("mu", [], {"one": rare, "two": often}, {"scale": 0.9, "lumi": 0.0})
    assert told == (
        "negative yields: in up to 25 % of an ensemble's fits (two, fits at mu = 0). Shape variations take sample top in "
        "SR[0] down to -5 events, and 1 more below 0. ROOT puts such yields to 0; pyhf and toymill do not, so that ROOT's "
        "answers may differ. It is multiplied by scale (at a bound in 90 %) and lumi: narrower bounds under "
        "model.parameters limit it."
    )
    observed = negative_yields(CELLS, np.array([0.0, -2.0]))
    (told,) = negative_yields_in_words("mu", observed, {"one": rare}, {"scale": 0.0})
    assert told == (
        "negative yields: at the fit to the observed data. Shape variations take sample fake in SR[1] down to -2 events. "
        "ROOT puts such yields to 0; pyhf and toymill do not, so that ROOT's answers may differ."
    )
