"""Mutated configurations: a study or one message; and what a YAML file may hold."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hostile import NAMES, NUMBERS, OF_YAML, OTHERS, changed, deep, every_place, generator

import toymill
from toymill.config import study as module
from toymill.config.inspection import Facts, facts_of
from toymill.config.model import FETCHED, Remote, WorkspaceConfig, is_file
from toymill.config.study import check_inputs, read_study, shards
from toymill.config.yaml_file import check_yaml
from toymill.errors import no_file
from toymill.parameters import Parameters

GOOD = {path.stem: yaml.safe_load(path.read_text()) for path in Path(__file__).parents[2].glob("config/**/*.yaml")}
SMALL = {"study": "s", "model": {"kind": "onoff"}, "ensembles": {"one": {"truth": {"s": 1.0}, "toys": 10}}}
VALUES = [*NUMBERS, *OTHERS, *NAMES, *OF_YAML, deep(150), deep(3000)]


@pytest.fixture(autouse=True)
def _no_processes(monkeypatch):
    """A stated model is not built: its facts are these."""
    names, bounds = ("mu", "b"), np.array([[0.0, 10.0], [0.0, 10.0]])
    parameters = Parameters(names, np.array([1.0, 2.0]), bounds, np.zeros(2, dtype=bool), ("none", "normal"))

    def facts(model, _key):
        return facts_of(model) if isinstance(model, WorkspaceConfig) else Facts(parameters, model.poi or "mu", True)

    monkeypatch.setattr(module, "facts_of", facts)


def read(content):
    """The study, with all that is asked of it before any job; None if it is refused."""
    try:
        study = read_study(content)
        check_inputs(study)
        for name in study.ensembles:
            assert list(shards(study, name, planned=10**6))
        assert read_study(study.model_dump(mode="json")) == study
    except toymill.ToymillError as error:
        refused(error)
        return None
    return study


def refused(error):
    """Lines, neither empty nor endless, without what a terminal would obey."""
    for line in str(error).splitlines():
        assert 0 < len(line) < 1500
        assert line.isprintable()


@pytest.mark.parametrize(("first", "last"), [(0, 150), pytest.param(150, 3000, marks=pytest.mark.long)])
def test_changed(first, last):
    names = sorted(GOOD)
    rngs = [generator("configuration", number) for number in range(first, last)]
    found = [read(changed(rng, GOOD[rng.choice(names)])) is not None for rng in rngs]
    assert any(found)
    assert not all(found)


@pytest.mark.parametrize("name", ["smallest", *(pytest.param(name, marks=pytest.mark.long) for name in sorted(GOOD))])
def test_every_value_at_every_place(name):
    for content in every_place(GOOD.get(name, SMALL), VALUES):
        read(content)


@pytest.mark.parametrize("content", [None, 1, "a", [], [("study", "s")], {"study"}], ids=itertools.count())
def test_what_is_no_mapping(content):
    assert read(content) is None


TEXT = yaml.safe_dump(SMALL)
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (BOMB, "more than 100000 values, aliases written out"),
        ("a: &a [*a]\n", "levels deep"),
        ("a: &a {b: *a}\n", "levels deep"),
        (f"a: {'[' * 300}{']' * 300}\n", "levels deep"),
        (f"a: {'[' * 100000}\n", "levels deep"),
        (f"a: {'{b: ' * 5000}1{'}' * 5000}\n", "levels deep"),
        ("a: !!python/object/apply:os.system ['touch MARKER']\n", "the tag '!!python/object/apply:os.system'"),
        ("a: !mine b\n", "the tag '!mine'"),
        ("a: !!set {b, c}\n", "the tag '!!set'"),
        ("a: !!binary aGVsbG8=\n", "the tag '!!binary'"),
        ("study: t\n", "line .*: the key 'study' is given twice"),
        ("? [a, b]\n: 1\n? [a, b]\n: 2\n", "given twice"),
        ("a: \x01\n", "is no YAML: unacceptable character"),
        ("a: [\n", r"study\.yaml, line \d+, column 1: no YAML: while parsing a flow node"),
        ("a:\n\tb: 1\n", "Indent with spaces, not with tabs"),
    ],
    ids=itertools.count(),
)
def test_yaml_files(more, words, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(TEXT + more)
    with pytest.raises(toymill.ToymillError, match=words) as error:
        check_yaml(path)
    refused(error.value)
    assert not list(tmp_path.glob("MARKER"))


@pytest.mark.parametrize("more", ["a: &a 1\nb: *a\n", "seed: 2026-01-01\n", f"a: {'9' * 10**5}\n"])
def test_yaml_files_that_others_judge(more, tmp_path):
    """Aliases are fine; what the values are is ``read_study``'s to judge."""
    (tmp_path / "study.yaml").write_text(TEXT + more)
    check_yaml(tmp_path / "study.yaml")


def test_files_that_are_no_configuration(tmp_path):
    (tmp_path / "study.json").write_text('{\n\t"study":\t"t"\n}')
    check_yaml(tmp_path / "study.json")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(toymill.ToymillError, match=r"bytes\.yaml cannot be read"):
        check_yaml(tmp_path / "bytes.yaml")
    (tmp_path / "study.yaml").write_text(TEXT)
    with pytest.raises(toymill.ToymillError, match=r"There is no file '.*stdy\.yaml'.*Did you mean '.*study\.yaml'"):
        check_yaml(tmp_path / "stdy.yaml")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("ws.json", {"channels": [], "measurements": []}, r"likelihood \(pyhf workspace\).*'toymill new .*ws\.json'"),
        ("ws.json", {"channels": [[0] * 200_000]}, "likelihood"),  # longer than a study may be
        ("hs3.json", {"distributions": [], "metadata": {}}, r"likelihood \(HS3\)"),
        ("set.json", {"patches": [], "metadata": {}}, "a patch set, not a study: .*--scan .*set.json"),
        ("patch.json", [{"op": "add"}], "a JSON patch, not a study: .*--signal .*patch.json"),
        ("summary.json", {"toymill": "0.1.0", "study": "s"}, "a file of results"),
    ],
)
def test_what_is_in_the_place_of_a_study(name, content, words, tmp_path):
    """It is told in one line what it is, and what takes it."""
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(toymill.ToymillError, match=words) as error:
        check_yaml(tmp_path / name)
    assert "\n" not in str(error.value)
    if isinstance(content, dict) and name != "ws.json":
        with pytest.raises(toymill.ToymillError, match="The configuration is a"):
            read_study(content)


def test_paths_that_are_not_there(tmp_path, monkeypatch):
    """Where they were looked for is told; what is offered is near, of the same kind, and in the same folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("nopatch.yaml", "limit.yaml", "limit.json", "x.yaml"):
        (tmp_path / name).touch()
    told = no_file("limits.yml")
    assert told.startswith(f"no file 'limits.yml' in {tmp_path}, where relative paths begin. ")
    assert told.endswith("Did you mean 'limit.yaml'?")
    assert no_file("two-points.yaml").endswith("where relative paths begin.")
    assert no_file("away/a.yaml").endswith("there is no folder 'away'.")
    assert no_file(tmp_path / "none.csv") == f"no file '{tmp_path / 'none.csv'}'."
    assert "no file" in no_file("a" * 5000)
    with pytest.raises(toymill.ToymillError, match="is a folder"):
        check_yaml(tmp_path)


BAD = [
    "..",
    ".",
    "a/../../b",
    "/etc",
    "a.",
    "CON",
    "nul.txt",
    "s\n",
    "\ns",
    "a b",
    "-x",
    "s" * 101,
    "$(x)",
    "{x}",
    "<x>",
    "*",
    "sｓ",
    "а",
]


@pytest.mark.parametrize("name", BAD, ids=itertools.count())
def test_names_of_studies_and_ensembles_are_names_of_files(name):
    for content in (SMALL | {"study": name}, SMALL | {"ensembles": {name: SMALL["ensembles"]["one"]}}):
        with pytest.raises(toymill.ToymillError):
            read_study(content)


@pytest.mark.parametrize("path", ["{shard}.json", "<results>/x.json", "a\nb.json"])
def test_paths_that_snakemake_would_fill_in(path):
    for model in (path, {"path": "a", "patches": [path]}, {"path": "a", "patches": [{"path": path, "patch": "x"}]}):
        with pytest.raises(toymill.ToymillError, match="rename the file"):
            read_study(SMALL | {"model": model})
    for model in ({"path": path}, {"path": "a.py", "files": [path]}):
        with pytest.raises(toymill.ToymillError, match="rename the file"):
            read_study(SMALL | {"model": {"kind": "python"} | model})


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "FILE:///x", "ssh://x/y", "/etc/passwd", "https:/x", "data:,x", " http://x"]
)
def test_only_downloads_with_a_digest(url):
    for remote in (
        {"url": url, "sha256": "0" * 64},
        {"url": "https://x.org/a"},
        {"url": "https://x.org/a", "sha256": "0"},
    ):
        with pytest.raises(toymill.ToymillError):
            read_study(SMALL | {"model": {"path": remote}})


WORDS = [
    *(name for name in NAMES if name and "\x00" not in name and "\ud800" not in name),
    "a?b=c",
    "~",
    "a\\b",
    ".download",
]


@pytest.mark.parametrize("word", WORDS, ids=itertools.count())
def test_downloads_stay_in_their_folder(word):
    """Whatever the address or the member: one folder a digest, and names that are only names."""
    for remote in (
        Remote(url=f"https://x.org/{word}", sha256="1" * 64),
        *(Remote(url="https://x.org/a", sha256="1" * 64, member=member) for member in members(word)),
    ):
        inside = remote.local.relative_to(FETCHED / ("1" * 64))
        assert ".." not in inside.parts
        assert all(0 < len(part) <= 100 and part.isascii() and not part.startswith(".") for part in inside.parts)
        assert not set(str(inside)) & set(" '\"$`{}<>*?\\\n;&|()")
        assert not is_file(remote.local)


def members(word):
    return [word, f"deep/{word}"] if not word.startswith("/") and ".." not in Path(word).parts else []


def test_members_that_differ_have_files_that_differ():
    names = ["a b", "a_b", "a?b", "a/b", "a\\b", "A b", "x" * 100 + "y", "x" * 100 + "z"]
    local = {Remote(url="https://x.org/a", sha256="1" * 64, member=name).local for name in names}
    assert len(local) == len(names)


@pytest.mark.parametrize("member", ["/etc/passwd", "../a", "a/../../b", ".."])
def test_members_stay_in_their_archive(member):
    with pytest.raises(ValueError, match=r"leave|pattern"):
        Remote(url="https://x.org/a", sha256="1" * 64, member=member)
