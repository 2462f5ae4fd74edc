"""The configuration: what each refusal says, and that the manual and the schema say what the code does."""

import json
import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

import toymill
from toymill.config import dependencies, inspection
from toymill.config.dependencies import comparison_job, fits_digest, fits_job, toys_job
from toymill.config.figures import FiguresConfig
from toymill.config.model import KINDS, NamedPatch, Remote
from toymill.config.scan import ScanPatch
from toymill.config.schema import SCHEMA_FILE, schema_text
from toymill.config.sections import SECTIONS as QUESTIONS
from toymill.config.sections import BergerBoosConfig
from toymill.config.study import (
    Ensemble,
    FitConfig,
    OptimisersConfig,
    Study,
    check_inputs,
    read_study,
    shard_named,
    shards,
    values_tested,
)
from toymill.config.yaml_file import check_yaml
from toymill.formats.settings import ParameterSettings
from toymill.formats.workspace import ModifierSettings, Prune, Rename

SECTIONS: list[type[BaseModel]] = [
    *QUESTIONS.values(),
    Study,
    *KINDS.values(),
    Remote,
    NamedPatch,
    ScanPatch,
    BergerBoosConfig,
    ModifierSettings,
    Prune,
    Rename,
    ParameterSettings,
    Ensemble,
    FitConfig,
    OptimisersConfig,
    FiguresConfig,
]


HWW = {"path": "config/workspaces/hww.json"}


def study(**changes):
    content = {
        "study": "s",
        "model": "config/workspaces/hww.json",
        "ensembles": {"one": {"truth": {"mu": 1.0}, "toys": 10}},
    }
    return content | changes


def refusal(**changes):
    with pytest.raises(toymill.ToymillError) as error:
        check_inputs(read_study(study(**changes)))
    return str(error.value)


def ensemble(**changes):
    return {"ensembles": {"one": {"truth": {"mu": 1.0}, "toys": 10} | changes}}


def test_a_path_that_begins_at_the_study_is_told(tmp_path):
    """Where it was looked for, and how it is written; nothing on downloads, which nobody meant."""
    told = refusal(model="there.json")
    assert f"no file 'there.json' in {Path.cwd()}" in told
    assert "download" not in told
    (tmp_path / "there.json").touch()
    with pytest.raises(toymill.ToymillError, match=r"not at the study's folder\. Write '.*there\.json'"):
        check_inputs(read_study(study(model="there.json")), tmp_path)


def test_smallest_study_has_every_default():
    read = read_study({"study": "s", "model": "ws.json", "ensembles": {"a": {"truth": {"mu": 0}}}})
    assert read.model.path == "ws.json"
    assert read.ensembles["a"].toys == 10000
    assert read_study(read.model_dump(mode="json")) == read


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ensmbles": {}}, ["ensmbles: unknown key", "Did you mean 'ensembles'?"]),
        ({"fit": {"tolerence": 1e-3}}, ["fit.tolerence: unknown key", "edm_tolerance"]),
        (ensemble(tosy=5), ["ensembles.one.tosy: unknown key", "Did you mean 'toys'"]),
        ({"model": {"path": "x", "patch": []}}, ["model.patch: unknown key", "'patches'"]),
        ({"limit": {"cl": 0.9}}, ["limit.cl: unknown key. Did you mean 'level'?"]),
        ({"limit": {"confidence_level": 0.9}}, ["Did you mean 'level'?"]),
        ({"limit": {"alpha": 0.05}}, ["limit.alpha: unknown key. Did you mean 'level', which is 1 - alpha?"]),
        ({"alpha": 0.05}, ["alpha: unknown key. 'level', which is 1 - alpha, is a key of limit, scan."]),
        ({"limit": {"ntoys": 10}}, ["limit.ntoys: unknown key. Did you mean 'toys'?"]),
        (ensemble(n_toys=10), ["ensembles.one.n_toys: unknown key. Did you mean 'toys'?"]),
        ({"poi": "mu"}, ["poi: unknown key. 'poi' is a key of model."]),
        ({"parameter": "mu"}, ["parameter: unknown key. 'poi' is a key of model."]),
        ({"toys": 10}, ["toys: unknown key. 'toys' is a key of ensembles.NAME, limit"]),
        ({"limit": {"seed": 1}}, ["limit.seed: unknown key. 'seed' is a key of a study itself."]),
        ({"gof": {}}, ["gof: unknown key. Did you mean 'goodness_of_fit'?"]),
        ({"hepdata": 1}, ["hepdata: unknown key. Allowed: "]),
        ({"model": HWW | {"patches": ["https://x.org/p.json"]}}, ["A download is a mapping of url and sha256"]),
        (ensemble(toys=0), ["ensembles.one.toys", "greater than or equal to 1", "got 0"]),
        (ensemble(toys=10**10 + 1), ["ensembles.one.toys", "less than or equal to 10000000000", "got 10000000001"]),
        (ensemble(toys="1e4"), ["ensembles.one.toys", 'got "1e4"', "YAML reads 1e4 as text"]),
        (ensemble(toys=10.5), ["ensembles.one.toys", "got 10.5"]),
        ({"seed": -1}, ["seed", "got -1"]),
        ({"levels": [1.0]}, ["levels.0", "less than 1", "got 1.0"]),
        (ensemble(truth={"mu": True}), ["ensembles.one.truth.mu", "valid number", "got true"]),
        ({"fit": {"edm_tolerance": "1e-4"}}, ["fit.edm_tolerance", 'got "1e-4"', "YAML reads"]),
        ({"shard": 0}, ["shard", "greater than or equal to 1", "got 0"]),
        ({"shard": "all"}, ["shard", "'auto'", 'got "all"']),
        ({"fit": {"audit": -1}}, ["fit.audit", "got -1"]),
        ({"keep_toys": "no"}, ["keep_toys", 'got "no"']),
        ({"keep": "none"}, ["keep: input should be 'all', 'poi' or 'summary'", 'got "none"']),
        ({"seed": 2**64}, ["seed", "less than 9223372036854775808"]),
        (
            {"model": {"path": {"url": "https://x.org/a", "sha256": "1" * 64, "member": "../a"}}},
            ["model.path", "leave its archive"],
        ),
        ({"study": "../up"}, ["study", 'got "../up"']),
        (
            ensemble(throw="bayesian"),
            ["ensembles.one.throw", "'frequentist', 'main-only', 'hybrid' or 'templates'", "bayesian"],
        ),
        (ensemble(truth={"mu": float("inf")}), ["ensembles.one.truth.mu", "finite"]),
        ({"ensembles": {}}, ["ensembles: needs at least one"]),
        ({"ensembles": []}, ["ensembles: expected a mapping"]),
        (ensemble(profile_intervals=["nu"]), ["ensembles.one.profile_intervals", "no parameter 'nu'"]),
        (
            ensemble(profile_intervals=["mu", "mu"]),
            ["ensembles.one: profile_intervals: mu, mu names a parameter twice"],
        ),
        (
            ensemble(profile_intervals=["mu"], toys=2 * 10**6),
            ["ensembles.one: profile_intervals: the ensemble has 2000000 toys; expected at most 1048576"],
        ),
        (
            ensemble(profile_intervals=["mu"]) | {"kind": "optimisers"},
            ["ensembles.one.profile_intervals: is for a study of kind toys, not optimisers"],
        ),
        (
            ensemble(profile_intervals=["lumi"]) | {"model": HWW | {"parameters": {"lumi": {"fixed": True}}}},
            ["ensembles.one.profile_intervals: the model fixes 'lumi'"],
        ),
        (ensemble(tests=0.0), ["ensembles.one.tests: expected a list, as [value]; got 0.0"]),
        (
            ensemble(toys=10**10) | {"shard": 1000},
            ["shard: 1000 toys a job makes 10000000 jobs; expected at most 20000"],
        ),
        ({"ensembles": {"A": {"truth": {"mu": 0}}, "a": {"truth": {"mu": 0}}}}, ["differ only in case"]),
        ({"model": {"path": {"url": "https://x.org/a", "sha256": "12"}}}, ["model.path", "sha256"]),
        ({"model": "nowhere.json"}, ["no file 'nowhere.json'"]),
        (ensemble(truth={"nu": 1.0}), ["ensembles.one.truth", "no parameter 'nu'", "Did you mean 'mu'"]),
        (ensemble(truth={"mu": 11.0}), ["ensembles.one.truth", "'mu' cannot be 11: its bounds are [-5, 10]"]),
        (ensemble(tests=[-6.0]), ["ensembles.one.tests", "'mu' cannot be -6"]),
        (ensemble(truth={"lumi": 1.0}), ["ensembles.one.truth", "parameter of interest", "{mu: 1.0}"]),
        ({"model": {"path": "config/workspaces/hww.json", "poi": "xs"}}, ["'xs' is carried by no sample"]),
        (ensemble(throw="hybrid", truth={"mu": 1.0, "JES": 1.0}), ["ensembles.one.truth", "draw 'JES'"]),
        ({"model": {"path": "config/workspaces/hww.json", "poi": ""}}, ["no parameter of interest"]),
        ({"model": HWW | {"prune": {"sample": []}}}, ["model.prune.sample: unknown key", "Did you mean 'samples'"]),
        ({"model": HWW | {"prune": {"samples": ["WZ"]}}}, ["prune.samples", "no sample 'WZ'"]),
        ({"model": HWW | {"poi": ""}}, ["if the workspace has no signal", "patches: [patch.json]", "scan: {patches"]),
        (
            {"model": HWW | {"parameters": {"lumy": {"init": 1.0}}}},
            ["parameters: ", "has no parameter 'lumy'", "Did you mean 'lumi'"],
        ),
        (
            {"model": HWW | {"parameters": {"mu": {"bound": [0.0, 5.0]}}}},
            ["model.parameters.mu.bound: unknown key", "Did you mean 'bounds'"],
        ),
        ({"model": HWW | {"parameters": {"mu": {"bounds": [0.0]}}}}, ["model.parameters.mu.bounds: needs at least 2"]),
        (
            {"model": HWW | {"parameters": {"mu": {"bounds": [2.0, 5.0]}}}},
            ["parameters.mu: the file's initial value 1 lies outside the bounds [2, 5]"],
        ),
        ({"model": HWW | {"parameters": {"mu": {"bounds": [5.0, 2.0]}}}}, ["the lower bound below the upper one"]),
        ({"model": HWW | {"parameters": {"mu": {"fixed": True}}}}, ["the model fixes the parameter of interest"]),
        ({"model": "~nobody-of-this-name/a.json"}, ["model.path", "a user who is not known"]),
        (
            {"model": HWW | {"patches": [{"path": "p.json", "name": "a"}]}},
            ["model.patches.0.name: unknown key", "patch"],
        ),
        (
            {"model": HWW | {"patches": [{"path": "p.json", "patch": "a"}]}},
            ["model.patches.0: there is no file 'p.json'"],
        ),
        ({"model": HWW | {"modifier_settings": {"normsys": {"interpcode": "code4"}}}}, ["histosys is missing"]),
        ({"kind": "optimizers"}, ["kind: input should be 'toys' or 'optimisers'", "optimizers"]),
        ({"optimisers": {"methods": ["nelder-mead"]}}, ["optimisers.methods.0", "'newton'", "nelder-mead"]),
        ({"optimisers": {"steps": 3}}, ["optimisers.steps: unknown key", "descent_steps"]),
        ({"model": {"kind": "posson"}}, ["model.kind: got 'posson'. Did you mean 'poisson'"]),
        ({"model": {"kind": "normal", "meen": 3.0}}, ["model.meen: unknown key. Did you mean 'mean'?"]),
        ({"model": {"kind": "normal", "n": 1}}, ["model.n", "greater than or equal to 2", "got 1"]),
        ({"model": {"kind": "extended", "low": 200.0}}, ["model: low is 200 and high is 160; expected a range"]),
        ({"model": {"kind": "python"}}, ["model.path: missing"]),
        ({"model": {"kind": "python", "path": "no.py"}}, ["model.path: there is no file 'no.py'"]),
        (
            {"model": {"kind": "python", "path": "config/models/lifetime.py", "files": ["no.csv"]}},
            ["model.files.0: there is no file 'no.csv'"],
        ),
        (
            {"model": {"kind": "python", "path": "config/models/lifetime.py", "options": {"decay": 3}}},
            ["model: config/models/lifetime.py: the options do not fit build", "Its options: decays, window"],
        ),
        ({"model": {"kind": "onoff", "poi": "mu"}}, ["model: poi: The model has no parameter 'mu'"]),
        ({"model": {"kind": "onoff"}}, ["ensembles.one.truth: The model has no parameter 'mu'"]),
        (
            {"model": {"kind": "onoff"}} | ensemble(truth={"s": 1.0}, nuisances="conditional"),
            ["ensembles.one.nuisances: 'conditional' is a fit to the observed data, and this model has none"],
        ),
        (
            {
                "model": HWW
                | {"modifier_settings": {"normsys": {"interpcode": "code2"}, "histosys": {"interpcode": "code0"}}}
            },
            ["model.modifier_settings.normsys.interpcode", "'code1' or 'code4'"],
        ),
    ],
)
def test_refusals(changes, words):
    message = refusal(**changes)
    for word in words:
        assert word in message


def test_a_model_in_python_is_refused_in_its_own_words_alone(monkeypatch, tmp_path, root):
    """Whatever else its check says: a variable that jobs ignore, and what the model prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    source = (root / "config/models/lifetime.py").read_text()
    (tmp_path / "mine.py").write_text("import sys\nsys.stderr.write('toymill: read\\n')\n" + source)
    model = {"kind": "python", "path": "mine.py", "options": {"decay": 30}}
    told = "model: mine.py: the options do not fit build: got an unexpected keyword argument 'decay'. Its options: "
    for _ in range(2):  # a refusal is not kept
        assert refusal(model=model).startswith(told)


def test_home_is_written_out(monkeypatch, tmp_path, root):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.json").write_bytes((root / "config/workspaces/hww.json").read_bytes())
    found = read_study(study(model="~/a.json"))
    assert found.model.path == str(tmp_path / "a.json")
    check_inputs(found)
    patched = read_study(
        study(model={"path": "./~a.json", "patches": ["~/p.json", {"path": "~/s.json", "patch": "a"}]})
    )
    assert list(patched.model.sources.values()) == ["./~a.json", *(str(tmp_path / f"{name}.json") for name in "ps")]


def test_settings_of_parameters_make_another_model(root):
    """Bounds and what is fixed are as stated, in a workspace; a change of them makes toys and fits anew."""
    path = str(root / "config/workspaces/hww.json")
    settings = {"mu": {"bounds": [0, 5], "init": 0.5}, "lumi": {"fixed": True}}
    plain, settled = (read_study(study(model={"path": path, "parameters": item})) for item in ({}, settings))
    before, after = inspection.facts_of(plain.model).parameters, inspection.facts_of(settled.model).parameters
    mu, lumi = after.index("mu"), after.index("lumi")
    assert (after.init[mu], *after.bounds[mu], after.fixed[lumi]) == (0.5, 0.0, 5.0, True)
    others = [i for i in range(len(after)) if i not in (mu, lumi)]
    assert (before.bounds[others] == after.bounds[others]).all()
    assert inspection.compile_workspace(plain.model).digest != inspection.compile_workspace(settled.model).digest
    assert toys_job(plain, "one") != toys_job(settled, "one")
    with pytest.raises(toymill.ToymillError, match=r"'mu' cannot be 6: its bounds are \[0, 5\]"):
        check_inputs(settled.model_copy(update={"ensembles": {"one": Ensemble(truth={"mu": 6.0})}}))


def test_a_key_given_twice_is_refused(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("study: s\nensembles:\n  a: {toys: 1}\n  a: {toys: 2}\n")
    with pytest.raises(toymill.ToymillError, match=r"study.yaml, line 4: the key 'a' is given twice"):
        check_yaml(path)
    path.write_text("study: s\nensembles: {a: {toys: 1}, b: {toys: 1}}\n")
    check_yaml(path)


def test_missing_key():
    with pytest.raises(toymill.ToymillError, match="model: missing"):
        read_study({"study": "s", "ensembles": {"a": {}}})


def test_several_mistakes_are_told_at_once():
    message = refusal(seed=-1, levels=[])
    assert "seed" in message
    assert "levels" in message


def test_tests_always_hold_the_truth():
    assert values_tested(Ensemble(truth={"mu": 1.0}, tests=[2.0, 0.0]), "mu") == [0.0, 1.0, 2.0]


def test_shards_cover_every_toy_once():
    read = read_study(study(shard=3))
    found = list(shards(read, "one"))
    assert found == list(shards(read_study(study(shard="auto")), "one", planned=3))
    assert [shard.name for shard in found][-1] == "000000009-000000009"
    assert [shard_named(shard.name) for shard in found] == found
    for name in ("000000009", "9-9", "000000009-000000008", "a-b"):
        with pytest.raises(ValueError, match=r"name|literal|unpack"):
            shard_named(name)
    assert [i for shard in found for i in range(shard.first, shard.first + shard.toys)] == list(range(10))


def test_digest_ignores_the_number_of_toys_and_follows_the_rest():
    def digest(**changes):
        return fits_digest(read_study(study(**changes)), "one", "model")

    assert digest() == digest(**ensemble(toys=99)) == digest(shard=1) == digest(**ensemble(tests=[0.0]))
    assert len({digest(), digest(seed=1), digest(keep="poi"), digest(fit={"edm_tolerance": 1e-5})}) == 4
    assert digest(keep="poi") != digest(keep="poi", **ensemble(tests=[0.0]))
    assert len({digest(keep=keep) for keep in ("all", "poi", "summary")}) == 3


def test_levels_are_counted_in_the_shard_where_columns_are_not_kept():
    def digest(**changes):
        return fits_digest(read_study(study(**changes)), "one", "model")

    assert digest() == digest(levels=[0.9])
    assert digest(keep="summary") != digest(keep="summary", levels=[0.9])


def test_digests_in_files_stay_as_they_are(monkeypatch):
    """A digest that changes, other than with the version, makes every user's files those of another study."""
    monkeypatch.setattr(dependencies, "__version__", "0.1.0")
    one = study(model={"kind": "onoff"}, ensembles={"one": {"truth": {"s": 1.0}, "tests": [0.0]}})
    expected = {
        "all": "bb8d8c0ebfa61031e142f6daf14a70f0ba8543e1efd4796b6332fd6c45ae4ac6",
        "summary": "cb7a9f91fffd361ba65b1fada1bc6f93d6fa44b97b9290a71bcf4991d0c9a899",
    }
    for keep, digest in expected.items():
        assert fits_digest(read_study(one | {"keep": keep}), "one", "model") == digest


def test_a_job_is_repeated_for_whatever_its_files_depend_on():
    """And for what they do not: the audit, and a model's section where its content stays the same."""

    def jobs(**changes):
        read = read_study(study(**changes))
        return [json.dumps(job(read, "one")) for job in (toys_job, fits_job, comparison_job)]

    toys, fits, comparison = jobs()
    for changes, repeated in [
        ({"seed": 1}, [True, True, True]),
        (ensemble(tests=[0.0]), [False, True, False]),
        ({"overwrite": True}, [False, False, False]),
        (ensemble(toys=99), [False, False, True]),
        ({"fit": {"edm_tolerance": 1e-5}}, [False, True, False]),
        ({"fit": {"audit": 3}}, [False, False, False]),
        ({"keep": "poi"}, [False, True, False]),
        ({"levels": [0.9]}, [False, False, False]),
        ({"optimisers": {"newton_steps": 3}}, [False, False, True]),
        ({"figures": {"label": "A"}}, [False, False, False]),
        ({"model": HWW | {"poi": "other"}}, [True, True, True]),
    ]:
        found = [one != two for one, two in zip(jobs(**changes), (toys, fits, comparison), strict=True)]
        assert found == repeated, changes


def test_schema_file_is_current(root):
    assert (root / SCHEMA_FILE).read_text() == schema_text()


def test_manual_lists_every_key_with_its_default_and_meaning(root):
    manual = (root / "config/README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", manual, re.MULTILINE)
    told = [(key, default.strip("`"), meaning.replace("`", "")) for key, default, meaning in rows]
    for section in SECTIONS:
        for key, field in section.model_fields.items():
            assert field.description
            description = " ".join(field.description.replace("`", "").split())
            matching = [
                row for row in told if row[0] == key and row[2].startswith(description.split(". ")[0].rstrip("."))
            ]
            assert matching, f"config/README.md does not say of {key}: {description}"
            if field.is_required():
                assert matching[0][1] == "needed"
            elif isinstance(field.default, BaseModel):
                assert matching[0][1] == "see below"
            else:
                assert yaml.safe_load(matching[0][1]) in [field.get_default(call_default_factory=True)]
    known = {key for section in SECTIONS for key in section.model_fields}
    assert {key for key, *_ in told} <= known


STUDIES = sorted(Path(__file__).parents[2].glob("config/**/*.yaml"))
LIKE_GAUSS2D = ("gauss2d-mismatch", "gauss2d-outliers")  # the same model with other options


@pytest.fixture(scope="session")
def inspected(tmp_path_factory):
    """What is found of models, for this run and worker only."""
    return tmp_path_factory.mktemp("inspected")


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.long] * (path.stem in LIKE_GAUSS2D), id=path.stem) for path in STUDIES],
)
def test_studies_of_the_repository_are_valid(path, inspected, monkeypatch):
    monkeypatch.setattr(inspection, "INSPECTED", inspected)
    check_inputs(read_study(yaml.safe_load(path.read_text())))


def test_files_that_a_model_uses_are_named(tmp_path, monkeypatch):
    """A module or a table that the study does not name is refused: its changes would go unseen."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "helper.py").write_text("SCALE = 2.0\n")
    (tmp_path / "table.csv").write_text("1.0\n2.0\n")
    (tmp_path / "mine.py").write_text(
        "import jax.numpy as jnp, numpy as np, toymill, helper\n"
        "def build():\n"
        "    table = np.loadtxt('table.csv')\n"
        "    expected = lambda params: params[0] * helper.SCALE * jnp.asarray(table)\n"
        "    return toymill.define_model({'mu': toymill.Parameter(1.0, (0.0, 9.0))}, poi='mu', expected=expected)\n"
    )
    model = {"kind": "python", "path": "mine.py"}
    assert "mine.py uses helper.py, which the study does not name" in refusal(model=model)
    assert "mine.py uses table.csv" in refusal(model=model | {"files": ["helper.py"]})
    check_inputs(read_study(study(model=model | {"files": ["helper.py", "table.csv"]})))
