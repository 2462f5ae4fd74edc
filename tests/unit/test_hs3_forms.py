"""Forms of HS3 files: each key is used as ROOT uses it, or refused by name.

tests/data/hs3/make_forms.py made forms.json with ROOT 6.40.00, whose fits (RooMinimizer, strategy 2, eps 1e-6) are the
right values here. What ROOT 6.42 writes and 6.40 cannot read is compared with the same model in the older form.
"""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

import toymill
from toymill.formats.reader import read_specification

HELD = json.loads((Path(__file__).resolve().parents[1] / "data/hs3/forms.json").read_text())


@pytest.fixture
def content():
    return copy.deepcopy(HELD["base"])


@pytest.mark.parametrize("name", HELD["forms"])
def test_what_root_reads(name, content):
    """Best fit, what is constant, and ranges. HESSE's errors are from finite differences."""
    form = HELD["forms"][name]
    model = toymill.read_workspace(content, patches=[form["patch"]])
    parameters = model.parameters
    assert {name for name, held in zip(parameters.names, parameters.fixed, strict=True) if held} == set(
        form["constant"]
    )
    for parameter, ends in form["ranges"].items():
        bounds = [-np.inf if ends[0] is None else ends[0], np.inf if ends[1] is None else ends[1]]
        np.testing.assert_allclose(parameters.bounds[parameters.index(parameter)], bounds, atol=1e-9, err_msg=parameter)
    fits = toymill.fit(model, model.observed, covariance=False)
    value, error = form["mu"]
    assert fits.ok[0]
    assert fits.parameter("mu")[0] == pytest.approx(value, abs=1e-3 * error)
    assert fits.errors[0, model.poi_index] == pytest.approx(error, rel=3e-2)


def at(content, path):
    for step in path:
        content = content[step]
    return content


def refusal(content, **options):
    with pytest.raises(toymill.ToymillError) as error:
        read_specification(content, **options)
    return str(error.value)


CHANNEL = ("distributions", 0)
SIGNAL = (*CHANNEL, "samples", 0)
BACKGROUND = (*CHANNEL, "samples", 1)


@pytest.mark.parametrize(
    ("path", "key", "told"),
    [
        ((), "parameter_point", "Did you mean 'parameter_points'"),
        (CHANNEL, "stat_error", "Did you mean 'staterror'"),
        ((*CHANNEL, "staterror"), "relTreshold", "'model_SR': staterror: unknown key 'relTreshold'"),
        ((*CHANNEL, "staterror"), "constraint", "Did you mean 'constraint_type'"),  # as ROOT 6.32 has it, and 6.40 not
        ((*CHANNEL, "axes", 0), "bins", "Did you mean 'nbins'"),
        (SIGNAL, "normalize", "samples → 'signal': unknown key 'normalize'"),
        ((*SIGNAL, "data"), "error", "Did you mean 'errors'"),
        ((*SIGNAL, "modifiers", 0), "constraint_names", "Did you mean 'constraint_name'"),
        ((*SIGNAL, "modifiers", 0, "data"), "high", "Did you mean 'hi'?"),
        ((*SIGNAL, "modifiers", 1), "data", "unknown key 'data'"),
        ((*BACKGROUND, "modifiers", 1), "constraint_name", "Did you mean"),
        (("data", 0), "weight", "Did you mean 'weights'"),
        (("likelihoods", 0), "aux_dists", "Did you mean 'aux_distributions'"),
        (("domains", 0), "ranges", "domain 'default_domain': top level: unknown key 'ranges'"),
        (("domains", 0, "axes", 0), "minimum", "Did you mean 'min'"),
        (("parameter_points", 0, "parameters", 0), "constant", "Did you mean 'const'"),
    ],
)
def test_a_key_that_is_not_read_is_refused_by_name(content, path, key, told):
    at(content, path)[key] = 1.0
    message = refusal(content)
    assert told in message
    assert f"unknown key {key!r}, which could change the likelihood" in message
    assert "Or remove it." in message


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ((), "misc"),
        (("metadata",), "authors"),
        (("analyses", 0), "prior"),
        (CHANNEL, "title"),
        ((*SIGNAL, "modifiers", 0), "latex"),
        (("parameter_points", 0, "parameters", 0), "nbins"),
        (("parameter_points", 0, "parameters", 0), "relErr"),
        (("domains", 0, "axes", 0), "nbins"),
        (("data", 0), "errors"),
    ],
)
def test_keys_without_a_meaning_for_the_likelihood_are_accepted(content, path, key):
    expected = read_specification(content)
    at(content, path)[key] = 3
    found = read_specification(content)
    assert (found.channels, found.parameters) == (expected.channels, expected.parameters)


def test_null_is_a_list_of_nothing(content):
    expected = read_specification(content)
    content["functions"] = content["misc"] = content["analyses"][0]["domains"] = None
    content["distributions"][0]["samples"].append(
        {"name": "plain", "data": {"contents": [1.0, 2.0]}, "modifiers": None}
    )
    assert read_specification(content).parameters == expected.parameters


def test_events_as_root_writes_them(content):
    """Its axes say where the observable stands."""
    expected = read_specification(content).channels[0].observed
    axis = {"name": "obs_x_SR", "min": 0.0, "max": 2.0, "nbins": 2, "value": 1.5}
    content["data"][0] = {
        "name": "obsData_SR",
        "type": "unbinned",
        "axes": [axis],
        "entries": [[0.2], [1.7]],
        "weights": content["data"][0]["contents"],
    }
    assert read_specification(content).channels[0].observed == expected


def test_other_analyses_may_hold_what_is_not_read(content):
    content["analyses"].append({"name": "other", "likelihood": "other", "method": "b"})
    content["likelihoods"].append({"name": "other", "distributions": ["else"], "data": ["else"], "weights": [1]})
    content["distributions"].append({"name": "else", "type": "mixture_dist", "summands": []})
    assert read_specification(content, measurement="simPdf_obsData").poi == "mu"
    content["analyses"][0]["likelihood"] = "other"
    assert "likelihood 'other': top level: unknown key 'weights'" in refusal(content, measurement="simPdf_obsData")


def test_a_range_that_is_null_is_open(content):
    """ROOT 6.42 writes null where older versions left the key out. Right value: the fit without the keys, of ROOT 6.40:
    mu = 1.18375 (two bins of 5, 8 signal and 50, 60 background events, which a normsys of 10 % scales; 55, 70 observed).
    """
    samples = [
        {"name": "signal", "data": {"contents": [5.0, 8.0]}, "modifiers": [{"name": "mu", "type": "normfactor"}]},
        {
            "name": "bkg",
            "data": {"contents": [50.0, 60.0]},
            "modifiers": [
                {"name": "b", "parameter": "alpha_b", "type": "normsys", "data": {"lo": 0.9, "hi": 1.1}},
            ],
        },
    ]
    content["distributions"][0] |= {"samples": samples}
    content["data"][0]["contents"] = [55.0, 70.0]
    content["domains"][0]["axes"] = [{"name": "mu", "min": 0.0, "max": 10.0}]
    content["parameter_points"][0]["parameters"] += [{"name": "alpha_b", "value": 0.0}]
    expected = read_specification(content)
    content["domains"][0]["axes"].append({"name": "alpha_b", "min": None, "max": None})
    assert read_specification(content).parameters == expected.parameters
    fits = toymill.fit(toymill.read_workspace(content), content["data"][0]["contents"] + [0.0], covariance=False)
    assert fits.parameter("mu")[0] == pytest.approx(1.18375, abs=1e-4)


def bounds_of(content, name):
    return next(item.bounds for item in read_specification(content).parameters if item.name == name)


@pytest.mark.parametrize(
    ("axis", "bounds"),
    [
        ({"min": None, "max": 3.0}, (-np.inf, 3.0)),
        ({"min": -2.0}, (-2.0, np.inf)),
        ({}, (-np.inf, np.inf)),
        ({"edges": [-1.0, 0.0, 4.0]}, (-1.0, 4.0)),
        ({"edges": [-1.0, 0.0, 4.0], "max": None}, (-1.0, np.inf)),
    ],
)
def test_ranges(content, axis, bounds):
    content["domains"][0]["axes"].append({"name": "alpha_syst1"} | axis)
    assert bounds_of(content, "alpha_syst1") == bounds


def test_what_a_domain_holds_is_constant_unless_its_value_says_otherwise(content):
    content["domains"][0]["axes"].append({"name": "alpha_syst1", "const": True})

    def fixed():
        return [item.name for item in read_specification(content).parameters if item.fixed]

    assert fixed() == ["alpha_syst1"]
    content["parameter_points"][0]["parameters"].append({"name": "alpha_syst1", "value": 0.0, "const": False})
    assert fixed() == []


@pytest.fixture
def poisson(content):
    """A shapesys of background2: ROOT 6.42 names its constraints, which are Poisson about τ γ, as distributions."""
    modifier = {"name": "u", "type": "shapesys", "data": {"vals": [0.0, 0.2]}, "constraint_type": "Poisson"}
    content["distributions"][0]["samples"][2]["modifiers"].append(modifier)
    newer = copy.deepcopy(content)
    found = newer["distributions"][0]["samples"][2]["modifiers"][-1]
    del found["constraint_type"]
    found |= {"parameters": ["gamma_u_bin_0", "gamma_u_bin_1"], "constraints": [None, "c1"]}
    newer["distributions"].append(
        {"name": "c1", "type": "poisson_dist", "x": "nom_gamma_u_bin_1", "mean": "m1", "integer": False}
    )
    newer["functions"] = [{"name": "m1", "type": "product", "factors": ["gamma_u_bin_1", "gamma_u_bin_1_tau"]}]
    newer["parameter_points"][0]["parameters"] += [
        {"name": "nom_gamma_u_bin_1", "value": 25.0, "const": True},
        {"name": "gamma_u_bin_1_tau", "value": 25.0, "const": True},
    ]
    return content, newer


def test_constraints_that_are_named_bin_by_bin(poisson):
    older, newer = poisson
    expected = {item.name: item for item in read_specification(older).parameters}
    for item in read_specification(newer).parameters:
        assert item.constraint == expected[item.name].constraint
        assert (item.auxiliary, item.width) == pytest.approx((expected[item.name].auxiliary, expected[item.name].width))
        assert item.fixed == expected[item.name].fixed
    del newer["distributions"][0]["samples"][2]["modifiers"][-1]["data"]  # as drafts of the standard have it
    width = {item.name: item.width for item in read_specification(newer).parameters}
    assert width["gamma_u_bin_1"] == 25.0


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("functions", 0, "factors"), ["x", 2.0], "'c1' is on 'x' and 2.0, not on 'gamma_u_bin_1'"),
        (("functions", 0, "type"), "generic_function", "function 'm1': type: Input should be 'product'"),
        (("distributions", 1, "mean"), "m", "its constraint 'c1' names 'm', which is not among its functions"),
        (("distributions", 1, "x"), "n", "its constraint uses 'n', of which the file's parameter_points give no value"),
        (("distributions", 1, "type"), "lognormal_dist", "expected a gaussian_dist or a poisson_dist"),
        (("distributions", 1, "x"), "mu", "a constraint uses the parameter 'mu', which is fitted"),
    ],
)
def test_constraints_that_cannot_be_read(poisson, path, value, told):
    at(poisson[1], path[:-1])[path[-1]] = value
    assert told in refusal(poisson[1])


def test_a_count_that_would_be_rounded_is_refused(poisson):
    poisson[1]["distributions"][1] |= {"x": 25.5, "integer": True}
    assert "'c1' rounds its count, 25.5. Expected integer: false" in refusal(poisson[1])


def test_lists_of_one_are_one(content):
    """Drafts of the standard have parameters and constraints for every modifier."""
    expected = read_specification(content)
    modifier = content["distributions"][0]["samples"][0]["modifiers"][0]
    modifier["parameters"] = [modifier.pop("parameter")]
    modifier["constraints"] = ["c"]
    content["distributions"].append(
        {"name": "c", "type": "gaussian_dist", "x": "alpha_syst1", "mean": 0.0, "sigma": 1.0}
    )
    assert read_specification(content).parameters == expected.parameters
    modifier["constraints"] = [None]
    free = next(item for item in read_specification(content).parameters if item.name == "alpha_syst1")
    assert free.constraint == "none"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"parameters": ["a", "b"]}, "it has one parameter, and one constraint"),
        ({"parameters": ["a"]}, "it has one parameter, and one constraint; got ['a', 'alpha_syst1']"),
        ({"constraint": "Normal"}, "has the constraint 'Normal'; expected Gauss, or a distribution"),
        ({"constraint": "Gauss", "constraint_type": "Const"}, "has the constraints Const, Gauss; expected one of them"),
        ({"constraint_name": "c", "constraint_type": "Const"}, "has the constraints Const, c; expected one of them"),
        (
            {"interpolation": {"type": "add", "in": "poly6", "out": "poly1"}},
            "none of HistFactory's for it (code1, code4)",
        ),
    ],
)
def test_a_modifier_that_says_two_things(content, change, told):
    content["distributions"][0]["samples"][0]["modifiers"][0] |= change
    assert told in refusal(content)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"constraint": "Gauss"}, "constraint 'Gauss', and staterror of its channel 'Poisson'; expected one of them"),
        ({"constraint": "Poisson", "constraint_type": "Gauss"}, "expected one of them"),
        ({"constraint": "Poisson", "constraints": ["a", "b"]}, "those named in constraints; expected one of them"),
        ({"constraints": ["a"]}, "2 parameters and 1 constraints"),
        ({"data": {"uncertainties": [1.0, 1.0]}}, "has uncertainties of its own in data"),
        ({"name": ""}, "it has neither a name nor parameters"),
        ({"type": "shapefactor", "constraint": "Gauss"}, "a shapefactor is free"),
        ({"type": "shapefactor", "data": {"vals": [0.1, 0.2]}}, "a shapefactor is free"),
        (
            {"type": "shapesys", "constraint": "Poisson"},
            "has the constraint 'Poisson', and no uncertainties: data.vals",
        ),
    ],
)
def test_a_modifier_of_bins_that_cannot_be_read(content, change, told):
    content["distributions"][0]["samples"][1]["modifiers"][1] |= change
    assert told in refusal(content)


def test_a_factor_whose_name_is_not_its_parameter_is_refused(content):
    """ROOT 6.40 takes the name: it fits mu, and no nu."""
    content["distributions"][0]["samples"][0]["modifiers"][1]["parameter"] = "nu"
    assert "normfactor 'mu' has the parameter 'nu': ROOT takes a normfactor's name" in refusal(content)
    content["metadata"]["packages"][0]["name"] = "pyhs3"
    content["analyses"][0]["parameters_of_interest"] = ["nu"]
    assert read_specification(content).poi == "nu"


def test_a_staterror_without_errors_in_a_file_that_is_not_roots(content):
    content["metadata"]["packages"][0]["name"] = "pyhs3"
    del content["distributions"][0]["samples"][1]["data"]["errors"]
    width = {item.name: item.width for item in read_specification(content).parameters}
    assert width["gamma_stat_SR_bin_1"] == pytest.approx(100.0)  # τ of 10 %
    del content["distributions"][0]["samples"][2]["data"]["errors"]
    assert "no sample of its channel has errors, so that nothing constrains it" in refusal(content)


def test_shapes_that_are_free(content):
    """ROOT reads a shapesys that has neither uncertainties nor a constraint as free factors, between 0 and 10."""
    content["distributions"][0]["samples"][1]["modifiers"][1] = {
        "name": "u",
        "type": "shapesys",
        "parameters": ["a", "b"],
    }
    found = {item.name: item for item in read_specification(content).parameters}
    assert (found["a"].constraint, found["a"].fixed, found["a"].bounds) == ("none", False, (0.0, 10.0))


@pytest.mark.parametrize(
    ("axes", "told"),
    [
        (
            [{"name": "obs_x_SR", "min": 0.0, "max": 4.0, "nbins": 2}],
            "2 of 'obs_x_SR' and 2 of 'obs_x_SR'. Expected the same edges",
        ),
        ([{"name": "obs_x_SR", "min": 0.0, "max": 2.0, "nbins": 2, "edges": [0.0, 1.0, 1.5, 2.0]}], "2 and 3 bins"),
        ([{"name": "a", "nbins": 2}, {"name": "b", "nbins": 1}], "2 of 'a' × 1 of 'b' and 2 of 'obs_x_SR'"),
    ],
)
def test_data_with_other_bins_than_their_channel_are_refused(content, axes, told):
    content["data"][0]["axes"] = axes
    assert told in refusal(content)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("analyses", 0, "domains"), ["default"], "names 'default', which is not among its domains"),
        (("analyses", 0, "init"), "defaults", "names 'defaults', which is not among its parameter_points"),
        (("domains", 0, "type"), "simplex", "type: Input should be 'product_domain'"),
        (("data", 0, "uncertainty"), {"type": "gaussian_uncertainty", "sigma": [1.0, 1.0]}, "uncertainty"),
        (("distributions", 0, "barlow_beeston_method"), "full", "has no uncertainties of its own in data"),
        (("distributions", 0, "staterror", "relThreshold"), -0.1, "relThreshold"),
    ],
)
def test_what_would_be_dropped_is_refused(content, path, value, told):
    at(content, path[:-1])[path[-1]] = value
    assert told in refusal(content)
