"""HS3 files of HistFactory models: what ROOT and pyhs3 wrote gives their likelihoods; the rest is refused by name.

tests/data/hs3/make_root.py and make_pyhs3.py made the files, and the values of ROOT's and pyhs3's own nll.
"""

import copy
import json

import numpy as np
import pytest
from scipy.stats import norm

import toymill
from toymill.formats.reader import read_specification
from toymill.histfactory.compiler import compile_specification

ROOT = [
    f"root-6.40-{staterror}-{shapesys}.json" for staterror in ("gauss", "poisson") for shapesys in ("gauss", "poisson")
]
PYHS3 = ["pyhs3-0.4-code0.json", "pyhs3-0.4-code4p.json"]


@pytest.fixture
def folder(root):
    return root / "tests/data/hs3"


def expected(folder, name):
    held = json.loads((folder / f"{name.split('-')[0]}-expected.json").read_text())[name]
    return held["points"], np.array(held["nll"])


def vector(model, point):
    x = model.parameters.init.copy()
    for name, value in point.items():
        if name in model.parameters.names:
            x[model.parameters.index(name)] = value
    return x


def truncation(model, point):
    """What ROOT adds to the nll by normalising a normal auxiliary datum over its range, here 0 to 10."""
    total = 0.0
    normal = np.flatnonzero(~model.sampling.poisson)
    for datum in normal:
        name = model.parameters.names[model.sampling.parameter[datum]]
        if name.startswith("gamma"):
            sigma = model.sampling.sigma[datum]
            total += np.log(norm.cdf((10 - point[name]) / sigma) - norm.cdf(-point[name] / sigma))
    return total


@pytest.mark.parametrize("name", ROOT)
def test_root(folder, name):
    """Differences of the nll: ROOT adds a constant for the choice of the channel.

    ROOT writes statistical uncertainties with seven digits, which moves a normal constraint's term by 3e-7 of it.
    """
    model = toymill.read_workspace(folder / name, measurement="simPdf_obsData")
    points, nll = expected(folder, name)
    ours = np.array([-float(model.logpdf(vector(model, point), model.observed)) for point in points])
    ours += [truncation(model, point) for point in points]
    difference = ours - nll
    normal = [datum for datum in np.flatnonzero(~model.sampling.poisson) if "stat_signal" in model.data_names[datum]]
    pulls = (
        max(
            abs((point[model.parameters.names[model.sampling.parameter[datum]]] - 1) / model.sampling.sigma[datum])
            for point in points
            for datum in normal or [0]
            if datum
        )
        if normal
        else 0.0
    )
    np.testing.assert_allclose(difference, difference[0], atol=1e-6 + 4e-7 * pulls**2)
    assert np.ptp(nll) > 10


@pytest.mark.parametrize("name", PYHS3)
def test_pyhs3(folder, name):
    """pyhs3 adds 1e-16 to what it takes logarithms of, or so: a constant 2.8e-7."""
    model = toymill.read_workspace(folder / name)
    points, nll = expected(folder, name)
    ours = np.array([-float(model.logpdf(vector(model, point), model.observed)) for point in points])
    np.testing.assert_allclose(ours, nll, atol=4e-7)
    assert model.poi == "mu"


def test_parameters_of_a_root_file(folder):
    """Names, order, initial values, bounds and constants are the file's; a gamma without uncertainty is constant."""
    model = toymill.read_workspace(folder / "root-6.40-poisson-poisson.json", measurement="simPdf_obsData")
    parameters = model.parameters
    assert parameters.names[:5] == ("alpha_shape", "alpha_jes", "Lumi", "k", "mu")
    assert parameters.names[-1] == "gamma_stat_signal_region_bin_2"
    assert model.poi == "mu"
    fixed = [name for name, held in zip(parameters.names, parameters.fixed, strict=True) if held]
    assert fixed == ["k", "gamma_fake_stat_bin_1"]
    assert parameters.bounds[parameters.index("gamma_stat_signal_region_bin_0")][1] == pytest.approx(1.185419, abs=1e-6)
    constraint = dict(zip(parameters.names, parameters.constraint, strict=True))
    assert constraint["Lumi"] == "normal"
    assert constraint["gamma_mj_bin_0"] == "none"
    assert constraint["gamma_stat_signal_region_bin_0"] == "poisson"
    lumi = model.data_names.index("Lumi (auxiliary)")
    assert model.sampling.sigma[lumi] == 0.02
    assert model.observed[lumi] == 1.0
    np.testing.assert_array_equal(model.observed[:5], [230, 170, 60, 55, 31])


@pytest.mark.parametrize("name", ["root-6.40-gauss-poisson.json", "root-6.40-poisson-poisson.json"])
def test_best_fit_is_roots(folder, name):
    """Minuit2, strategy 2, on ROOT's own nll: values and Hessian errors."""
    model = toymill.read_workspace(folder / name, measurement="simPdf_obsData")
    fits = toymill.fit(model, model.observed, covariance=False)
    assert fits.ok[0]
    best = json.loads((folder / "root-expected.json").read_text())[name]["best"]
    for parameter, (value, error) in best.items():
        i = model.parameters.index(parameter)
        assert fits.parameters[0, i] == pytest.approx(value, abs=2e-3 * error)
        assert fits.errors[0, i] == pytest.approx(error, rel=2e-2)  # HESSE takes finite differences


@pytest.fixture
def content(folder):
    return json.loads((folder / "root-6.40-gauss-poisson.json").read_text())


def refusal(content, analysis="simPdf_obsData", **options):
    with pytest.raises(toymill.ToymillError) as error:
        compile_specification(read_specification(content, measurement=analysis, **options))
    return str(error.value)


def modifier(content, sample, name, kind=None):
    for distribution in content["distributions"]:
        for item in distribution.get("samples", []):
            for found in item["modifiers"]:
                if item["name"] == sample and found["name"] == name and kind in (None, found["type"]):
                    return found
    raise AssertionError(name)


def test_an_analysis_must_be_named_if_there_are_several(content):
    message = refusal(content, analysis=None)
    assert "several analyses: simPdf_asimovData, simPdf_obsData" in message
    assert "Name one as measurement" in message


def test_unknown_analysis(content):
    assert "no analysis 'obsData'. Did you mean 'simPdf_obsData'" in refusal(content, analysis="obsData")


def test_another_distribution_is_refused_by_name(content):
    content["distributions"][0] |= {"type": "mixture_dist"}
    assert "distribution 'model_control_region' is a 'mixture_dist': only histfactory_dist" in refusal(content)


def test_a_custom_modifier_is_refused_by_name(content):
    modifier(content, "signal", "mu")["type"] = "custom"
    message = refusal(content)
    assert "'model_signal_region': samples → 'signal' → modifiers → 'mu'" in message
    assert "custom" in message


def test_an_unknown_key_of_a_modifier_is_refused(content):
    modifier(content, "signal", "mu")["expression"] = "mu*mu"
    assert "expression" in refusal(content)


@pytest.mark.parametrize(("stated", "told"), [(6, "6"), ({"type": "mult", "in": "poly6", "out": "poly1"}, "poly6")])
def test_an_interpolation_beyond_histfactory_is_refused(content, stated, told):
    modifier(content, "signal", "jes", "histosys")["interpolation"] = stated
    message = refusal(content)
    assert "channel 'signal_region', sample 'signal', histosys 'jes' has the interpolation" in message
    assert told in message


def test_interpolations_in_words_are_those_in_numbers(content):
    other = copy.deepcopy(content)
    for item, words in (("jes", {"type": "mult", "in": "poly6", "out": "exp"}), ("fake_norm", 5)):
        for sample in ("signal", "fakes", "background"):
            try:
                modifier(other, sample, item, "normsys")["interpolation"] = words
            except AssertionError:
                continue
    other["distributions"][3]["default_interpolation"] = {"type": "add", "in": "poly6", "out": "poly1"}
    models = [toymill.read_workspace(item, measurement="simPdf_obsData") for item in (content, other)]
    x = models[0].parameters.init + 0.3
    assert models[0].logpdf(x, models[0].observed) == models[1].logpdf(x, models[1].observed)


def test_constraints_by_name(content):
    """What newer versions of ROOT write: the names of the distributions that constrain a shapesys."""
    other = copy.deepcopy(content)
    found = modifier(other, "fakes", "fake_stat")
    del found["constraint_type"]
    found["constraints"] = ["c0", None, "c2"]
    values = {item["name"]: item["value"] for item in content["parameter_points"][1]["parameters"]}
    other["functions"] = []
    for i in (0, 2):
        gamma = f"gamma_fake_stat_bin_{i}"
        other["distributions"].append({"name": f"c{i}", "type": "poisson_dist", "x": f"nom_{gamma}", "mean": f"m{i}"})
        factors = [gamma, values[f"nom_{gamma}"]]
        other["functions"].append({"name": f"m{i}", "type": "product", "factors": factors})
    models = [toymill.read_workspace(item, measurement="simPdf_obsData") for item in (content, other)]
    np.testing.assert_array_equal(models[0].sampling.poisson, models[1].sampling.poisson)
    np.testing.assert_allclose(models[0].observed, models[1].observed)
    other["distributions"][-1]["type"] = "lognormal_dist"
    assert "its constraint 'c2' is a 'lognormal_dist'" in refusal(other)


def test_a_constraint_that_is_not_normal_is_refused(content):
    for item in content["distributions"]:
        if item["name"] == "alpha_jesConstraint":
            item["type"] = "lognormal_dist"
    assert "its constraint 'alpha_jesConstraint' is a 'lognormal_dist'; expected a gaussian_dist" in refusal(content)


def test_files_of_older_versions_are_recognised(content):
    """Before 6.32, ROOT wrote τ in place of a Poisson shapesys' relative uncertainties."""
    modifier(content, "fakes", "fake_stat")["data"]["vals"] = [16.0, 0.0, 6.25]
    assert "written before ROOT 6.32" in refusal(content)


def test_lengths_must_agree(content):
    modifier(content, "signal", "jes", "histosys")["data"]["hi"]["contents"].pop()
    assert "histosys 'jes': hi has 2 and lo 3 contents; the sample has 3 bins" in refusal(content)


def test_missing_parts_are_named(content):
    content["likelihoods"][1]["data"][0] = "obsData_control"
    assert "names 'obsData_control', which is not among its data. Did you mean 'obsData_control_region'" in refusal(
        content
    )


def test_other_terms_of_the_likelihood_are_refused(content):
    content["distributions"].append({"name": "extra", "type": "exponential_dist", "x": "mu"})
    content["likelihoods"][1]["aux_distributions"] = ["alpha_jesConstraint", "extra"]
    assert "auxiliary distribution 'extra', which no modifier has as its constraint" in refusal(content)


def put(content, path, value):
    *steps, last = path
    for step in steps:
        content = content[step]
    content[last] = value


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("data", 2, "contents", 0), float("nan"), "obsData_control_region' of channel 'control_region': contents → 0"),
        (("data", 2, "contents", 0), "7", "contents → 0: Input should be a valid number; got '7'"),
        (("parameter_points", 0, "parameters", 0, "const"), "false", "const: Input should be a valid boolean"),
        (("parameter_points", 0, "parameters", 0, "value"), None, "value: Input should be a valid number; got None"),
        (("analyses", 1, "parameters_of_interest"), "mu", "parameters_of_interest: Input should be a valid list"),
        (("analyses", 1, "name"), [], "name: Input should be a valid string"),
        (("likelihoods", 1, "distributions"), 1.5, "distributions: Input should be a valid list"),
        (("likelihoods", 1, "aux_distributions"), 1, "aux_distributions: Input should be a valid list"),
        (("domains", 6, "axes", 0, "min"), "x", "min: Input should be a valid number"),
        (("domains",), [{"name": {}}], "domains"),
        (("metadata", "packages"), ["x"], "packages"),
        (("distributions", 0, "axes", 0, "nbins"), -3, "nbins: Input should be greater than or equal to 1"),
    ],
)
def test_malformed_parts_are_named(content, path, value, told):
    put(content, path, value)
    assert told in refusal(content)


@pytest.mark.parametrize("key", ["distributions", "data", "analyses", "parameter_points"])
def test_duplicates(content, key):
    content[key].append(copy.deepcopy(content[key][0]))
    assert f"Two of one name, {key} in workspace" in refusal(content)


def test_a_channel_or_a_sample_twice(content):
    other = copy.deepcopy(content)
    for key in ("distributions", "data"):
        other["likelihoods"][1][key].append(other["likelihoods"][1][key][0])
    assert "distribution in workspace: likelihood 'simPdf_obsData': 'model_control_region'" in refusal(other)
    content["distributions"][0]["samples"] *= 2
    assert "sample in workspace: channel 'control_region': 'background'" in refusal(content)


def test_uncertainties_that_overflow(content):
    modifier(content, "fakes", "fake_stat")["data"]["vals"][0] = 1e-200
    assert "constraint must be positive and finite" in refusal(content)


def test_unbinned_data_at_the_centres_of_bins_are_counts(content):
    for item in content["data"]:
        if item["name"] == "obsData_control_region":
            counts = item.pop("contents")
            item |= {"type": "unbinned", "entries": [[1.0], [3.0]], "weights": counts}
    model = toymill.read_workspace(content, measurement="simPdf_obsData")
    np.testing.assert_array_equal(model.observed[:2], [230, 170])


def test_unknown_poi(content):
    assert "parameter of interest 'nu' is carried by no sample" in refusal(content, poi="nu")


def test_what_is_for_workspaces_is_refused(content):
    assert "prune: " in refusal(content, prune={"samples": ["fakes"]})
    settings = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code0"}}
    assert "modifier_settings: " in refusal(content, modifier_settings=settings)


def test_a_json_patch_applies(content):
    patch = [{"op": "replace", "path": "/data/2/contents/0", "value": 231}]
    assert toymill.read_workspace(content, measurement="simPdf_obsData", patches=[patch]).observed[0] == 231
