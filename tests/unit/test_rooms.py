"""The rooms of the engine: imports go down the list only, and run in no circle."""

import ast
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "src" / "toymill"

ROOMS = [
    "__main__",
    "cli",
    "report",
    "study",
    "config",
    "results",
    "pyhf",
    "inference",
    "fitting",
    "histfactory",
    "formats",
    "toys",
    "models",
    "parameters",
    "arrow",
    "linalg",
    "budget",
    "job",
    "cache",
    "stopping",
    "record",
    "errors",
    "_version",
]
"""From the top to the ground: a room may import those below it. docs/architecture.md has a line on each."""

MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)


def path_of(module):
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imports(module):
    """The modules of the package that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path_of(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else str(node.module) for name in names]
        else:
            continue
        found |= {name for name in names if name.partition(".")[0] == "toymill"}
    return found


def room_of(module):
    return module.split(".")[1]


INSIDE = [module for module in MODULES if module != "toymill"]


def test_every_module_has_its_room():
    assert {room_of(module) for module in INSIDE} <= set(ROOMS)


@pytest.mark.parametrize("module", INSIDE)
def test_imports_go_down(module):
    here = ROOMS.index(room_of(module))
    up = [name for name in imports(module) if name == "toymill" or ROOMS.index(room_of(name)) < here]
    assert not up, f"{module} imports {up}, which are above it"


def test_no_circle():
    graph = {module: imports(module) & set(INSIDE) for module in INSIDE}
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", INSIDE)
def test_no_module_is_long(module):
    lines = len(path_of(module).read_text(encoding="utf-8").splitlines())
    assert lines <= 500, f"{module} has {lines} lines: it holds several things"
