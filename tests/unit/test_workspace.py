"""Reading workspaces: what is taken, and what each refusal says."""

import json

import pytest

import toymill
from toymill.models.reader import read_specification
from toymill.models.templates import compile_specification


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
    with pytest.raises(toymill.ToymillError, match=r"Cannot read nowhere.json: No such file"):
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
    modifier(spec, "signal_region", "fakes", "fake_norm", "normsys")["data"]["lo"] = 0.0
    assert "normsys 'fake_norm' has hi = 1.3, lo = 0; both must be positive" in refusal(spec)


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
    assert "initial value 11 of 'mu' lies outside its bounds [0.0, 10.0]" in refusal(spec)


def test_unknown_measurement(spec):
    assert "no measurement 'mian'. Did you mean 'main'?" in refusal(spec, measurement="mian")


def test_unknown_poi(spec):
    assert "'nu' is carried by no sample" in refusal(spec, poi="nu")


def test_vector_poi(spec):
    assert "'mj' is carried by no sample" in refusal(spec, poi="mj")


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


def test_patchset_is_refused(spec, tmp_path):
    path = tmp_path / "patchset.json"
    path.write_text(json.dumps({"patches": [{"metadata": {"name": "point"}, "patch": []}]}))
    assert "patchset.json is a patchset (point" in refusal(spec, patches=[path])


def test_digest_depends_on_content_measurement_and_poi(spec):
    digests = {
        read_specification(spec).digest,
        read_specification(spec, measurement="second").digest,
        read_specification(spec, poi="k").digest,
    }
    spec["observations"][0]["data"][0] += 1
    digests.add(read_specification(spec).digest)
    assert len(digests) == 4
