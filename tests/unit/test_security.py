"""What docs/security.md says: data never execute anything, and names of files, figures and groups are only names."""

import ast
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import h5py
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hostile import NAMES

import toymill
from toymill.models.user import Parameter, define_model
from toymill.parameters import why_no_name
from toymill.report.drawing import plain
from toymill.results.hdf5 import opened, read_dataset, write_tree

ROOT = Path(__file__).parents[2]
SOURCES = [*ROOT.glob("src/**/*.py"), *ROOT.glob("scripts/*.py")]
RULES = [ROOT / "Snakefile", *ROOT.glob("workflow/**/*.smk"), ROOT / "workflow/Snakefile"]

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code", "pty", "ctypes"}
CALLS = {"eval", "exec", "compile", "__import__", "input", "exec_module", "getstatusoutput"}
ATTRIBUTES = {
    ("os", "system"),
    ("os", "popen"),
    ("np", "load"),
    ("np", "fromfile"),
    ("np", "loadtxt"),
    ("numpy", "load"),
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("yaml", "full_load"),
    ("tarred", "extractall"),
    ("tarred", "extract"),
    ("zipped", "extractall"),
    ("zipped", "extract"),
    ("shutil", "unpack_archive"),
}
ALLOWED = {("src/toymill/models/load.py", "exec_module")}  # a model in Python is code


def doubtful(tree):
    """What in a source could execute data: modules, calls, methods, a shell, a pickle in disguise."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (item.name for item in node.names if item.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            called = node.func
            name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
            owner = called.value.id if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) else ""
            if (owner, name) in ATTRIBUTES or (name in CALLS and owner not in {"re", "jax"}):
                yield name
            yield from (item.arg for item in node.keywords if item.arg in {"shell", "allow_pickle"})


def test_the_sources_execute_no_data():
    assert len(SOURCES) > 100
    found = {
        (str(path.relative_to(ROOT)), what)
        for path in SOURCES
        for what in doubtful(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == ALLOWED


def test_the_scan_sees_what_it_looks_for():
    text = (
        "import pickle\nfrom dill import x\neval('1')\nos.system('x')\nnp.load('x')\nyaml.load(x)\nrun(x, shell=True)\n"
    )
    assert set(doubtful(ast.parse(text))) == {"pickle", "dill", "eval", "system", "load", "shell"}


def test_no_rule_runs_a_shell_command():
    """Every rule has a script, to which names come as data."""
    for path in RULES:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(shell|run|notebook|wrapper)\s*:|\bshell\(|shell\s*=|os\.system", text, re.MULTILINE)


def test_nothing_in_a_shard_is_executed(tmp_path):
    """A pickle in a dataset or an attribute stays bytes; what is linked outside is told as damage or read as numbers."""
    bomb = b"cposix\nsystem\n(S'touch MARKER'\ntR."
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["numbers"] = np.void(bomb)
        file["text"] = bomb
        file.attrs["python_object"] = np.void(bomb)
        file["gone"] = h5py.ExternalLink("/etc/passwd", "/x")
    with opened(tmp_path / "a.h5") as file:
        for name in ("numbers", "text"):
            found = read_dataset(file, "a.h5", name)
            assert bytes(found[()]) == bomb
        with pytest.raises(toymill.ToymillError, match="damaged or missing"):
            read_dataset(file, "a.h5", "gone")
    assert not list(tmp_path.glob("MARKER"))


USABLE = [name for name in NAMES if not why_no_name(name)]
DRAWN = ["$\\foo$", "$\\frac{1}$", "$$", "\\$", "a$b$c", "]]>", "--><script>x</script><!--", *USABLE]


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
def test_names_are_drawn_as_they_stand(tmp_path):
    figure, axes = plt.subplots()
    axes.set_title(" ".join(plain(name) for name in DRAWN))
    axes.set_yticks(range(len(DRAWN)), [plain(name) for name in DRAWN])
    axes.set_xlabel(rf"$t_\mu$ at {plain('$foo$')} = 1")
    figure.savefig(tmp_path / "a.svg")
    figure.savefig(tmp_path / "a.png")
    plt.close(figure)
    tags = {element.tag.rpartition("}")[2] for element in ET.parse(tmp_path / "a.svg").iter()}
    assert tags <= {"svg", "metadata", "RDF", "Work", "type", "date", "format", "creator", "Agent", "title", "defs"} | {
        "style", "g", "path", "use", "clipPath", "rect"
    }  # fmt: skip
    assert "<script" not in (tmp_path / "a.svg").read_text(encoding="utf-8")


def test_names_are_groups_of_a_file(tmp_path):
    tree = {"parameters": {name: {"bias": 1.0} for name in USABLE}}
    write_tree(tmp_path / "a.h5", "test", tree)
    with h5py.File(tmp_path / "a.h5") as file:
        assert len(file["parameters"]) == len(USABLE)
        assert {len(group) + len(group.attrs) for group in file["parameters"].values()} == {1}


@pytest.mark.parametrize("name", ["", "x" * 501, "a\x00", "\ud800", "\x1b[31m", "a∕b", "․․", "\uffff"])
def test_names_that_no_file_can_hold(name):
    for parameters, derived in (({name: Parameter(1.0)}, None), ({"a": Parameter(1.0)}, {name: lambda x: x[0]})):
        with pytest.raises(toymill.ToymillError, match="a name"):
            define_model(parameters, poi=None, expected=lambda x: x[:1], derived=derived)
