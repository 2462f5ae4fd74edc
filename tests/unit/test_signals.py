"""Which samples the parameter of interest scales, and the patches they are from: two signals at once are told."""

import json

import pytest
import yaml
from commands import failed
from patch_sets import background, signal

from toymill.config.inspection import specification_of
from toymill.config.model import WorkspaceConfig
from toymill.config.signals import remarks_on_signals, samples_in_words, scaled_samples, several_signals
from toymill.config.study import read_study
from toymill.formats.patches import samples_given


def named(name, mass=2):
    """A patch that adds a signal of this name."""
    (add,) = signal(mass)
    return [{**add, "value": {**add["value"], "name": name}}]


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """A workspace without a signal and patches beside it."""
    monkeypatch.chdir(tmp_path)
    yields = [1.0] * 10
    own = background()
    own["channels"][0]["samples"] += [named("own")[0]["value"]]
    content = {
        "ws": background(),
        "own": own,
        "a": named("a"),
        "b": named("b", 4),
        "yields": [{"op": "replace", "path": "/channels/0/samples/1/data", "value": yields}],
        "poi": [{"op": "replace", "path": "/measurements/0/config/poi", "value": "mu"}],
    }
    for name, value in content.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    return tmp_path


def found_in(workspace, *patches, **settings):
    """The scaled samples and what is told of them."""
    model = WorkspaceConfig(path=f"{workspace}.json", patches=[f"{name}.json" for name in patches], **settings)
    specification = specification_of(model)
    scaled = scaled_samples(model, specification)
    return scaled, list(several_signals(model, str(specification.poi), scaled)), model


@pytest.mark.parametrize(
    ("workspace", "patches", "told"),
    [
        ("ws", ["a"], []),
        ("ws", ["a", "poi"], []),  # a patch of something else
        ("own", [], []),
        ("own", ["yields"], []),  # a signal that is there, with other yields
        ("ws", ["a", "b"], ["mu scales samples of 2 patches at once: a (a.json), b (b.json)"]),
        ("own", ["a"], ["mu scales samples of a patch and of the workspace itself at once"]),
        ("ws", ["a", "yields"], ["mu scales a, whose yields a.json and then yields.json give"]),
    ],
)
def test_signals_of_several_patches_are_told(workspace, patches, told):
    """Not those of one patch, whatever other patches change."""
    _, lines, _ = found_in(workspace, *patches)
    assert len(lines) == len(told)
    assert all(word in line for word, line in zip(told, lines, strict=True))


def test_samples_are_named_as_they_are_renamed():
    """With what they are from, also where the configuration gives them other names."""
    rename = {"channels": {"SR": "signal region"}, "samples": {"a": "C1N2"}}
    scaled, _, model = found_in("ws", "a", rename=rename)
    assert [(item.name, item.channels, item.patches) for item in scaled] == [("C1N2", ("signal region",), (0,))]
    assert list(samples_in_words(model, "mu", scaled)) == [
        "mu scales 1 sample:",
        "  C1N2, from a.json, in 1 channel: signal region",
    ]
    assert list(samples_in_words(model, "mu", [])) == ["mu is a factor of no sample"]


def test_samples_of_an_hs3_file():
    """Whose channels have the prefix that ROOT puts before them, and which come and go by patches."""
    file = {"distributions": [{"name": "model_SR", "type": "histfactory_dist", "samples": [{"name": "b", "data": 1}]}]}
    add = [{"op": "add", "path": "/distributions/0/samples/-", "value": {"name": "s", "data": 2}}]
    assert samples_given(file, [add]) == {("SR", "b"): (), ("SR", "s"): (0,)}
    assert samples_given(file, [add, [{"op": "remove", "path": "/distributions/0/samples/1"}]]) == {("SR", "b"): ()}
    assert samples_given({"channels": [3, {"samples": 1, "name": "SR"}]}, []) == {}


@pytest.mark.parametrize("place", ["model", "ensembles.one.thrown_from"])
def test_every_model_of_a_study_is_looked_at(place):
    both = {"path": "ws.json", "patches": ["a.json", "b.json"]}
    one = {"path": "ws.json", "patches": ["a.json"]}
    ensemble = {"truth": {"mu": 1.0}, "toys": 10}
    if place == "model":
        study = {"study": "s", "model": both, "ensembles": {"one": ensemble}}
    else:
        study = {"study": "s", "model": one, "ensembles": {"one": {**ensemble, "thrown_from": both}}}
    (line,) = remarks_on_signals(read_study(study))
    assert line.startswith(f"{place}.patches: mu scales samples of 2 patches")


def test_commands_warn_of_two_signals(toy_mill, files):
    """Each in its first lines: a study of both is no mistake where they are parts of one signal."""
    words = ("ws.json", "--signal", "a.json", "--signal", "b.json")
    for command in (("inspect", *words), ("new", *words, "-o", "study.yaml"), ("check", "study.yaml", "--no-pilot")):
        code, out, _ = toy_mill(*command)
        assert code == 0
        assert "mu scales samples of 2 patches at once: a (a.json), b (b.json)" in out
    assert "No mistake found, but see the warning above" in out
    assert "  a, from a.json, in 1 channel: SR\n" in out
    (files / "one.yaml").write_text(
        yaml.safe_dump({**yaml.safe_load((files / "study.yaml").read_text()), "model": "own.json"})
    )
    code, out, _ = toy_mill("check", "one.yaml", "--no-pilot")
    assert (code, "Warning" in out, "  own, in 1 channel: SR\n" in out) == (0, False, True)


def test_inspect_says_what_nominal_yields_have_of_the_signal(toy_mill):
    _, out, _ = toy_mill("inspect", "ws.json", "--signal", "a.json")
    assert "the signal is among them, as at mu = 1" in out
    row = next(line.split() for line in out.splitlines() if line.startswith("  SR "))
    total = sum(background()["channels"][0]["samples"][0]["data"])
    added = sum(named("a")[0]["value"]["data"])
    assert [float(item) for item in row[3:5]] == pytest.approx([total + added, added], rel=1e-5)
    _, out, _ = toy_mill("inspect", "ws.json")
    assert "nominal yields are those that the file states, before any modifier\n" in out


def test_two_signals_of_one_name_are_refused(toy_mill):
    told = failed(toy_mill("inspect", "ws.json", "--signal", "a.json", "--signal", "a.json"))
    assert "channel 'SR': 'a'" in told
    assert "two signals that exclude each other: give one" in told
