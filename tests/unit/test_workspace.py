"""Reading workspaces: what is taken, and what each refusal says."""

import hashlib
import json

import numpy as np
import pyhf
import pytest

import toymill
from toymill.formats.reader import read_specification
from toymill.histfactory.compiler import compile_specification


def sample(spec, channel, name):
    channel = next(item for item in spec["channels"] if item["name"] == channel)
    return next(item for item in channel["samples"] if item["name"] == name)


def modifier(spec, channel, name, modifier, kind):
    return next(m for m in sample(spec, channel, name)["modifiers"] if (m["name"], m["type"]) == (modifier, kind))


def refusal(spec, **options):
    with pytest.raises(toymill.ToymillError) as error:
        compile_specification(read_specification(spec, **options))
    return str(error.value)


def test_missing_file():
    with pytest.raises(toymill.ToymillError, match=r"There is no file 'nowhere.json' in "):
        toymill.read_workspace("nowhere.json")


def test_not_json(tmp_path):
    path = tmp_path / "ws.json"
    path.write_text('{"channels": [,]}')
    with pytest.raises(toymill.ToymillError, match=r"ws.json is not JSON: .* line 1, column 15"):
        toymill.read_workspace(path)


def test_not_text(tmp_path):
    path = tmp_path / "ws.json"
    path.write_bytes(b"\x1f\x8b\xff\xfe")
    with pytest.raises(toymill.ToymillError, match="not text"):
        toymill.read_workspace(path)


def test_schema_violation_names_the_place(spec):
    modifier(spec, "signal_region", "signal", "jes", "normsys")["data"]["hi"] = "big"
    assert "'signal_region' → samples → 'signal' → modifiers → 'jes' → data → hi" in refusal(spec)


def test_unknown_modifier_type(spec):
    modifier(spec, "signal_region", "signal", "jes", "normsys")["type"] = "normsyst"
    message = refusal(spec)
    assert "'jes'" in message
    assert "normsyst" in message


def test_unknown_key(spec):
    spec["chanels"] = []
    assert "chanels" in refusal(spec)


def test_duplicate_channel(spec):
    spec["channels"].append(spec["channels"][0])
    assert "channel" in refusal(spec)
    assert "'signal_region'" in refusal(spec)


def test_duplicate_sample(spec):
    samples = spec["channels"][0]["samples"]
    samples.append(samples[0])
    assert "channel 'signal_region': 'signal'" in refusal(spec)


def test_missing_observation(spec):
    spec["observations"].pop()
    assert "channel 'control_region' has no observation" in refusal(spec)


def test_short_observation(spec):
    spec["observations"][0]["data"].pop()
    assert "channel 'signal_region' has 2 bins; its samples have 3" in refusal(spec)


def test_negative_observation(spec):
    spec["observations"][0]["data"][0] = -1.0
    assert "negative count" in refusal(spec)


def test_sample_of_other_length(spec):
    sample(spec, "signal_region", "fakes")["data"].pop()
    assert "channel 'signal_region', sample 'fakes' has 2 bins; the channel has 3" in refusal(spec)


def test_histosys_of_other_length(spec):
    modifier(spec, "signal_region", "background", "shape", "histosys")["data"]["lo_data"].pop()
    assert "sample 'background', histosys 'shape': lo_data has 2 values; the sample has 3 bins" in refusal(spec)


def test_negative_uncertainty(spec):
    modifier(spec, "signal_region", "fakes", "fake_stat", "shapesys")["data"][0] = -1.0
    assert "shapesys 'fake_stat' has a negative uncertainty" in refusal(spec)


def test_normsys_must_be_positive(spec):
    modifier(spec, "signal_region", "fakes", "fake_norm", "normsys")["data"]["lo"] = -0.1
    assert "normsys 'fake_norm' has hi = 1.3, lo = -0.1; both must be positive" in refusal(spec)


def test_shapesys_belongs_to_one_sample(spec):
    extra = {"name": "fake_stat", "type": "shapesys", "data": [1.0, 1.0, 1.0]}
    sample(spec, "signal_region", "background")["modifiers"].append(extra)
    assert "belongs to one sample" in refusal(spec)


def test_name_used_for_two_things(spec):
    extra = {"name": "jes", "type": "normfactor", "data": None}
    sample(spec, "signal_region", "fakes")["modifiers"].append(extra)
    message = refusal(spec)
    assert "the name 'jes' is used by a histosys (channel 'signal_region', sample 'signal')" in message
    assert "and a normfactor (channel 'signal_region', sample 'fakes')" in message


def test_staterror_of_different_channels(spec):
    extra = {"name": "mc_sr", "type": "staterror", "data": [1.0, 1.0]}
    sample(spec, "control_region", "multijet")["modifiers"].append(extra)
    assert "staterror 'mc_sr' covers different channels" in refusal(spec)


def test_lumi_must_be_configured(spec):
    spec["measurements"][0]["config"]["parameters"].pop(0)
    assert "must configure 'lumi'" in refusal(spec)


def test_parameter_configuration_of_other_length(spec):
    spec["measurements"][0]["config"]["parameters"].append({"name": "mj", "inits": [1.0]})
    assert "parameter 'mj': inits has 1 values; expected 2" in refusal(spec)


def test_parameter_configuration_that_its_modifier_does_not_take(spec):
    spec["measurements"][0]["config"]["parameters"].append({"name": "mu", "sigmas": [1.0]})
    assert "a normfactor has no 'sigmas'" in refusal(spec)


def test_initial_value_out_of_bounds(spec):
    spec["measurements"][0]["config"]["parameters"].append({"name": "mu", "inits": [11.0]})
    assert "parameter 'mu': its initial value 11 lies outside its bounds [0.0, 10.0]" in refusal(spec)


def test_unknown_measurement(spec):
    assert "no measurement 'mian'. Did you mean 'main'?" in refusal(spec, measurement="mian")


def test_unknown_poi(spec):
    assert "'nu' is carried by no sample" in refusal(spec, poi="nu")


def test_vector_poi(spec):
    message = refusal(spec, poi="mj")
    assert "'mj' has 2 components; expected a parameter of one" in message


def test_no_poi(spec):
    assert compile_specification(read_specification(spec, poi="")).poi is None


def test_other_measurement(spec):
    model = toymill.read_workspace(spec, measurement="second")
    assert model.poi == "k"
    assert model.parameters.init[model.parameters.index("lumi")] == 1.1


def test_patches_are_applied_in_order(spec, tmp_path):
    first = [{"op": "replace", "path": "/observations/0/data/0", "value": 70.0}]
    second = tmp_path / "second.json"
    second.write_text(json.dumps([{"op": "test", "path": "/observations/0/data/0", "value": 70.0}]))
    assert 70.0 in toymill.read_workspace(spec, patches=[first, second]).observed


def test_patch_that_does_not_apply(spec):
    message = refusal(spec, patches=[[{"op": "remove", "path": "/channels/7"}]])
    assert "patch 0 does not apply to workspace" in message


def patch_set(spec, **metadata):
    text = json.dumps(spec, sort_keys=True, ensure_ascii=False).encode()
    digests = {"md5": hashlib.md5(text, usedforsecurity=False).hexdigest(), "sha256": hashlib.sha256(text).hexdigest()}
    operations = [{"op": "replace", "path": "/observations/0/data/0", "value": 71.0}]
    return {
        "metadata": {"digests": digests, "labels": ["m"], "description": "d", "references": {"hepdata": "ins1234567"}}
        | metadata,
        "patches": [
            {"metadata": {"name": "point_1", "values": [1]}, "patch": operations},
            {"metadata": {"name": "point_2", "values": [2]}, "patch": []},
        ],
        "version": "1.0.0",
    }


def test_patch_of_a_patch_set(spec, tmp_path):
    path = tmp_path / "patchset.json"
    path.write_text(json.dumps(patch_set(spec)))
    plain = [{"op": "test", "path": "/observations/0/data/0", "value": 71.0}]
    assert 71.0 in toymill.read_workspace(spec, patches=[(path, "point_1"), plain]).observed
    assert 71.0 not in toymill.read_workspace(spec, patches=[(patch_set(spec), "point_2")]).observed
    reference = pyhf.PatchSet(patch_set(spec))
    reference.verify(spec)


def test_patch_set_digests_are_verified(spec):
    published = patch_set(spec)
    spec["observations"][0]["data"][0] += 1
    message = refusal(spec, patches=[(published, "point_1")])
    assert "patch 0 belongs to another workspace than workspace: it expects the md5 digest" in message


def test_patch_set_without_digests(spec):
    assert "no metadata.digests" in refusal(spec, patches=[(patch_set(spec, digests={}), "point_1")])


def test_patch_set_without_a_name(spec, tmp_path):
    path = tmp_path / "patchset.json"
    path.write_text(json.dumps(patch_set(spec)))
    message = refusal(spec, patches=[path])
    assert "patchset.json is a patch set of 2 (point_1, point_2), not a JSON patch" in message
    assert "patch: point_1" in message


def test_unknown_patch_of_a_patch_set(spec):
    assert "patch 0 has no patch 'point_3'. Did you mean 'point_" in refusal(
        spec, patches=[(patch_set(spec), "point_3")]
    )


def test_a_named_patch_of_what_is_no_patch_set(spec):
    assert "patch 0 is no patch set, so it has no patch 'a'" in refusal(spec, patches=[({"op": "add"}, "a")])


def test_what_is_no_patch(spec, tmp_path):
    path = tmp_path / "patch.json"
    path.write_text('{"op": "remove"}')
    assert "patch.json is no JSON patch: expected a list of operations" in refusal(spec, patches=[path])


def test_a_patch_in_place_of_the_workspace(tmp_path):
    path = tmp_path / "patch.json"
    path.write_text("[]")
    assert "is a JSON patch, not a workspace: give the background-only workspace" in refusal(path)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("s.yaml", "study: s\nmodel: ws.json\n", "is a study, not a workspace"),
        ("s.json", '{"study": "s", "model": "ws.json"}', "is a study, not a workspace"),
        ("set.json", '{"patches": []}', "is a patch set, not a workspace"),
        ("summary.json", '{"toymill": "0.1.0"}', "is a file of toymill's results"),
    ],
)
def test_what_is_in_the_place_of_a_workspace(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    assert words in refusal(tmp_path / name)


def test_a_workspace_without_its_signal_is_told_of_patches_first(spec):
    """Unless the user has named what may be a slip of a parameter."""
    spec["measurements"][0]["config"]["poi"] = "mu_SIG"
    told = refusal(spec)
    assert "'mu_SIG' is carried by no sample. If the workspace has no signal: name the JSON patch" in told
    assert "'nu' is carried by no sample. Did you mean 'mu'? Or, if" in refusal(spec, poi="nu")


PRUNED = [
    {"channels": ["control_region"]},
    {"samples": ["fakes"], "modifier_types": ["lumi"]},
    {"modifiers": ["jes", "mc_sr"], "measurements": ["second"]},
    {"modifier_types": ["histosys", "shapefactor"]},
]
RENAMED = [
    {"channels": {"control_region": "CR"}, "samples": {"signal": "a_signal"}},
    {"modifiers": {"mu": "mu_SIG", "shape": "jes"}, "measurements": {"main": "first"}},
]


@pytest.mark.parametrize("prune", [None, *PRUNED])
@pytest.mark.parametrize("rename", [None, *RENAMED])
def test_pruned_and_renamed_as_pyhf_does(spec, prune, rename):
    if prune and rename and (prune.get("channels") or "modifiers" in prune or "modifier_types" in prune):
        return  # what is renamed is pruned already: see test_what_is_not_there
    workspace = pyhf.Workspace(spec)
    workspace = workspace.prune(**(prune or {})).rename(**(rename or {}))
    reference = workspace.model()
    model = toymill.read_workspace(spec, prune=prune, rename=rename)
    assert list(model.parameters.names) == reference.config.par_names
    assert model.poi == reference.config.poi_name
    np.testing.assert_array_equal(model.observed, workspace.data(reference))
    x = model.parameters.init + 0.01
    np.testing.assert_allclose(model.expected_data(x), reference.expected_data(x), rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"prune": {"samples": ["fake"]}}, "prune.samples: workspace has no sample 'fake'. Did you mean 'fakes'"),
        (
            {"prune": {"modifier_types": ["normfac"]}},
            "prune.modifier_types: workspace has no modifier type 'normfac'",
        ),
        ({"rename": {"channels": {"SR": "CR"}}}, "rename.channels: workspace has no channel 'SR'"),
        (
            {"prune": {"samples": ["fakes"]}, "rename": {"samples": {"fakes": "f"}}},
            "rename.samples: workspace (pruned) has no sample 'fakes'",
        ),
        ({"prune": {"sample": ["fakes"]}}, "prune.sample: unknown key. Did you mean 'samples'"),
        ({"prune": {"channels": ["signal_region", "control_region"]}}, "workspace (pruned): channels"),
        ({"rename": {"samples": {"fakes": "signal"}}}, "sample in workspace: channel 'signal_region': 'signal'"),
        (
            {"modifier_settings": {"normsys": {"interpcode": "code1"}}},
            "histosys is missing: give normsys and histosys both",
        ),
        (
            {"modifier_settings": {"normsys": {"interpcode": "code2"}, "histosys": {"interpcode": "code0"}}},
            "modifier_settings.normsys.interpcode: Input should be 'code1' or 'code4'",
        ),
    ],
)
def test_what_is_not_there(spec, options, told):
    assert told in refusal(spec, **options)


def test_modifier_settings_change_the_model(spec):
    settings = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code0"}}
    plain, other = toymill.read_workspace(spec), toymill.read_workspace(spec, modifier_settings=settings)
    assert plain.digest != other.digest
    x = plain.parameters.init + 0.4
    assert plain.logpdf(x, plain.observed) != other.logpdf(x, plain.observed)


@pytest.mark.parametrize(
    ("holder", "told"),
    [
        ({"patches": None}, "patches: Input should be a valid list; got None"),
        ({"patches": []}, "patches: List should have at least 1 item"),
        ({"patches": [{}]}, "patches → 0 → metadata: Field required"),
        ({"patches": [{"metadata": {"name": "p"}, "patch": "x"}]}, "patch: Input should be a valid list"),
        (
            {"patches": [{"metadata": {"name": "p"}, "patch": []}], "metadata": {"digests": {"md5": None}}},
            "digests → md5",
        ),
    ],
)
def test_malformed_patch_sets(spec, holder, told):
    assert told in refusal(spec, patches=[(holder, "p")])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"patches": "patch.json"}, "patches is 'patch.json'; expected a list of patches"),
        ({"patches": [("a", "b", "c")]}, "expected a patch set and the name of one of its patches"),
        ({"patches": [[{"op": "foo", "path": "/a"}]]}, "is no valid JSON patch (RFC 6902)"),
        ({"prune": "fakes"}, "prune is 'fakes'; expected a mapping of channels, samples"),
        ({"poi": ["mu"]}, "poi is ['mu']; expected a name"),
    ],
)
def test_arguments_of_the_wrong_kind(spec, options, told):
    assert told in refusal(spec, **options)


def test_numbers_that_overflow(spec):
    modifier(spec, "signal_region", "fakes", "fake_stat", "shapesys")["data"][0] = 1e-200
    assert "parameter 'fake_stat[0]': the factor of its constraint must be positive and finite; got inf" in refusal(
        spec
    )
    modifier(spec, "signal_region", "fakes", "fake_stat", "shapesys")["data"][0] = 1.0
    sample(spec, "signal_region", "background")["data"][0] = 1e308
    sample(spec, "signal_region", "signal")["data"][0] = 1e308
    assert "the expectation of signal_region[0] is" in refusal(spec)


def test_fixed_must_be_a_boolean(spec):
    spec["measurements"][0]["config"]["parameters"].append({"name": "mu", "fixed": "false"})
    assert "'mu' → fixed: Input should be a valid boolean; got 'false'" in refusal(spec)


def test_a_byte_order_mark_is_no_obstacle(spec, tmp_path):
    path = tmp_path / "ws.json"
    path.write_text(json.dumps(spec), encoding="utf-8-sig")
    assert toymill.read_workspace(path).poi == "mu"


def test_duplicate_observation(spec):
    spec["observations"].append(spec["observations"][0])
    assert "observation in workspace: 'signal_region'" in refusal(spec)


def test_duplicate_measurement(spec):
    spec["measurements"][1]["name"] = "main"
    assert "measurement in workspace: 'main'" in refusal(spec)


def test_duplicate_modifier(spec):
    found = modifier(spec, "signal_region", "signal", "jes", "normsys")
    sample(spec, "signal_region", "signal")["modifiers"].append(dict(found))
    assert "channel 'signal_region', sample 'signal', normsys 'jes' stands there twice" in refusal(spec)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nominal_that_is_not_finite(spec, tmp_path, value):
    sample(spec, "signal_region", "background")["data"][1] = value
    path = tmp_path / "ws.json"
    path.write_text(json.dumps(spec))
    assert "'signal_region' → samples → 'background' → data → 1: Input should be a finite number" in refusal(path)


def test_negative_nominal_where_the_likelihood_is_undefined(spec):
    sample(spec, "signal_region", "background")["data"][1] = -50.0
    message = refusal(spec)
    assert "the expectation of signal_region[1] is -" in message
    assert "at the initial values" in message


def test_negative_nominal_of_a_sample_is_taken_where_the_sum_is_positive(spec):
    sample(spec, "signal_region", "fakes")["data"][2] = -1.0
    assert toymill.read_workspace(spec).parameters.names


def test_events_where_nothing_is_expected(spec):
    spec["channels"][1]["samples"] = [{"name": "nothing", "data": [0.0, 150.0], "modifiers": []}]
    assert "control_region[0] has 230 events and no sample with a yield there" in refusal(spec)


def test_shapefactor_of_a_longer_channel(spec):
    extra = {"name": "mj", "type": "shapefactor", "data": None}
    sample(spec, "signal_region", "fakes")["modifiers"].append(extra)
    message = refusal(spec)
    assert "shapefactor 'mj' has 2 bins in channel 'control_region', sample 'multijet'" in message
    assert "and 3 in channel 'signal_region', sample 'fakes'" in message


def test_modifier_without_type(spec):
    del modifier(spec, "signal_region", "signal", "jes", "normsys")["type"]
    assert "'signal_region' → samples → 'signal' → modifiers → 'jes'" in refusal(spec)


def test_poi_of_one_bin(spec):
    sample(spec, "control_region", "multijet")["modifiers"] = []
    spec["channels"].append(
        {
            "name": "z",
            "samples": [
                {"name": "s", "data": [5.0], "modifiers": [{"name": "f", "type": "shapefactor", "data": None}]}
            ],
        }
    )
    spec["observations"].append({"name": "z", "data": [4.0]})
    model = toymill.read_workspace(spec, poi="f")
    assert model.poi == "f[0]"
    assert model.poi_index == pyhf.Workspace(spec).model(poi_name="f").config.poi_index


def test_digest_depends_on_content_measurement_and_poi(spec):
    digests = {
        read_specification(spec).digest,
        read_specification(spec, measurement="second").digest,
        read_specification(spec, poi="k").digest,
    }
    spec["observations"][0]["data"][0] += 1
    digests.add(read_specification(spec).digest)
    assert len(digests) == 4
