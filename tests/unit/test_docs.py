"""The manual is true: its Python runs as written, its messages are quoted, its links lead somewhere, its lines are short.

``make lint`` builds the site, with warnings as errors.
"""

import ast
import importlib.util
import re
import shlex
from pathlib import Path

import nbformat
import pytest
import typer.main
import yaml

from toymill.cli.app import app
from toymill.config.study import read_study
from toymill.fitting.status import CERTIFIED_STATUSES, Status

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts),
        *(ROOT / folder / "README.md" for folder in ("config", "benchmarks", "envs")),
    ]
)
SHORT = 100
"""Most characters of a line of prose or code."""

# ```python, or ```python raises=Error for a mistake, with a ```text block right after it that quotes the message;
# ```python results for what reads the results of a study, which is compiled only.
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```$|"
    r"^```python results\n(?P<results>.*?)^```$|"
    r"^```python raises=(?P<error>\w+)\n(?P<mistake>.*?)^```\n\n```text\n(?P<message>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]*))?\)")


def relative(path):
    return str(path.relative_to(ROOT))


WITH_PYTHON = ["README.md", "docs/how-to.md", "docs/python-models.md", "docs/jax.md", "docs/tutorial.md"]
# Those that compile most are in the long part.
MARKED = [*WITH_PYTHON[:3], *(pytest.param(name, marks=pytest.mark.long) for name in WITH_PYTHON[3:])]


@pytest.mark.parametrize("name", MARKED)
def test_the_blocks_of_a_page_run(root, tmp_path, name):
    text = (root / name).read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python") > 0
    names = {"__name__": "page"}
    for number, block in enumerate(blocks):
        path = tmp_path / str(number) / "model.py"  # a file, so that messages can show lines of it
        path.parent.mkdir()
        path.write_text(block["code"] or block["results"] or block["mistake"], encoding="utf-8")
        code = compile(path.read_text(encoding="utf-8"), str(path), "exec", dont_inherit=True)
        if block["results"]:
            continue
        if block["code"]:
            exec(code, names)
            continue
        with pytest.raises(Exception, match=re.escape(" ".join(block["message"].split()))) as told:
            exec(code, names)
        assert told.type.__name__ == block["error"]


def test_every_page_with_python_is_run():
    found = {relative(page) for page in PAGES if re.search(r"^```python\n", page.read_text("utf-8"), re.MULTILINE)}
    assert found == set(WITH_PYTHON)


NOTEBOOK = ROOT / "docs/limit.ipynb"


@pytest.fixture(scope="module")
def notebooks():
    """docs/figures/notebook.py, which runs notebooks."""
    spec = importlib.util.spec_from_file_location("notebook", ROOT / "docs/figures/notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_notebook_can_be_read():
    """It is valid, its links lead somewhere, it has the output of every cell, and nothing of the machine that made it."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert "/home/" not in text
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            targets = [match[1] for match in LINK.finditer(cell.source)]
            assert all((NOTEBOOK.parent / target).exists() for target in targets)
            assert "$" not in cell.source  # the site has no mathematics
        else:
            compile(cell.source, "cell", "exec")
            assert cell.execution_count
            assert not [output for output in cell.outputs if output.output_type == "error"]


@pytest.mark.long
def test_the_notebook_prints_what_it_shows(notebooks, tmp_path, monkeypatch):
    """Its study, too: the paths in it are relative to a folder with ``config``."""
    (tmp_path / "config").symlink_to(ROOT / "config")
    monkeypatch.chdir(tmp_path)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    found = notebooks.run(notebook)
    assert [text for text, _ in found] == notebooks.printed(notebook)
    stored = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    drawn = [sum(output.output_type == "display_data" for output in outputs) for outputs in stored]
    assert [len(figures) for _, figures in found] == drawn


COMMAND = re.compile(r"^ {4}(?:\.venv/bin/)?toymill (?P<words>.+)$", re.MULTILINE)


@pytest.mark.parametrize("page", [page for page in PAGES if COMMAND.search(page.read_text("utf-8"))], ids=relative)
def test_commands_are_as_the_command_line_takes_them(page):
    """Every command that a page tells to run: its name, its options, and how many arguments it has."""
    command = typer.main.get_command(app)
    for match in COMMAND.finditer(page.read_text(encoding="utf-8")):
        name, *words = shlex.split(match["words"])
        command.commands[name].make_context(name, words)  # raises what cannot be parsed


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_lines_are_short(page):
    """Save tables, and lines that a link makes long."""
    lines = enumerate(page.read_text(encoding="utf-8").splitlines(), start=1)
    long = [number for number, line in lines if len(line) > SHORT and not line.startswith("|") and "](" not in line]
    assert not long, f"lines {long} have more than {SHORT} characters"


def anchors(page):
    """The anchors of a page's headings, as GitHub and the site make them."""
    found = set()
    code = False
    for line in page.read_text(encoding="utf-8").splitlines():
        code ^= line.startswith("```")
        if not code and line.startswith("#"):
            words = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
            found.add(words.replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for match in LINK.finditer(text):
        target = page if not match[1] else (page.parent / match[1]).resolve()
        assert target.exists(), f"{match[0]}: there is no such file"
        assert ROOT in target.parents, f"{match[0]} leads out of the repository"
        if match[2] and target.suffix == ".md":
            assert match[2] in anchors(target), f"{match[0]}: the page has no such heading"


# A path of the repository in `code`: what a reader is told to open, to run or to write.
FILE = re.compile(r"`((?:src|docs|tests|config|scripts|workflow|benchmarks|envs)/[\w./-]+\.\w+)`")
EXAMPLES = {"config/studies/my-study.yaml", "config/studies/my-search.yaml"}
ELSEWHERE = {"docs/comparison.md"}  # names files of other projects


@pytest.mark.parametrize("page", [page for page in PAGES if relative(page) not in ELSEWHERE], ids=relative)
def test_files_exist(page):
    named = {match[1] for match in FILE.finditer(page.read_text(encoding="utf-8"))} - EXAMPLES
    missing = [name for name in sorted(named) if not (ROOT / name).exists() and "results/" not in name]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_tests_exist(page):
    """A page that says where something is tested is right."""
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8")):
        assert f"def {name}(" in tests


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_studies_are_valid(page):
    """Every block of YAML that is a whole study is one, up to the files that it names."""
    for block in re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        content = yaml.safe_load(block)
        if "study" in content:
            assert read_study(content).study == content["study"]


def test_the_rooms_are_those_of_the_architecture_page(root):
    source = ast.parse((root / "tests/unit/test_rooms.py").read_text(encoding="utf-8"))
    (rooms,) = [node.value for node in source.body if isinstance(node, ast.Assign) and node.targets[0].id == "ROOMS"]
    page = (root / "docs/architecture.md").read_text(encoding="utf-8")
    table = page[page.index("\n## Rooms\n") : page.index("\n## Axes\n")]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [
        room for room in ast.literal_eval(rooms) if not room.startswith("_")
    ]


def test_the_statuses_are_those_of_the_statistics_page(root):
    page = (root / "docs/statistics.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| `(\w+)` \| (\d) \| (yes|no) \|", page, re.MULTILINE)
    assert table == [
        (item.name.lower(), str(item.value), "yes" if item in CERTIFIED_STATUSES else "no") for item in Status
    ]


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_rows_of_tables_are_whole(page):
    """A line end within a cell ends the table."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert [line for line in text.splitlines() if line.startswith("| ") and not line.rstrip().endswith("|")] == []
