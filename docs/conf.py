"""The documentation site: ``make docs`` builds it, with warnings as errors and without a network.

Pages read on GitHub as they do on the site. Their links name files of the repository; here those that point at
a file outside ``docs/`` become links to the page that shows it.
"""

import json
import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SOURCE = ROOT / "src"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(SOURCE))

import toymill  # noqa: E402

project = "toymill"
author = "The toymill developers"
copyright = author  # noqa: A001
version = release = toymill.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "figures"]
myst_heading_anchors = 3
suppress_warnings = ["ref.python"]  # names that stand in two modules, in docstrings

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_display_short_literal_types = True
add_module_names = False

html_theme = "furo"
html_title = "toymill"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_show_sphinx = False
copybutton_exclude = ".linenos, .gp, .go"

SHOWN = {
    "first-steps": "README.md",
    "atlas": "config/workspaces/atlas-3l-erjr/README.md",
    "configuration": "config/README.md",
    "contributing": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
    "benchmarks": "benchmarks/README.md",
    "environments": "envs/README.md",
    "limit": "docs/limit.ipynb",
}
"""Pages of the site that show a file from elsewhere in the repository."""

PAGES = {ROOT / path: HERE / f"{page}.md" for page, path in SHOWN.items()}

LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
MODULES = re.compile(r"^<!-- modules: (\S+) -->$", re.MULTILINE)


def with_links(text, folder, page):
    """The text of a file in ``folder`` as shown on ``page``: links lead to pages, or stay if they lead elsewhere."""

    def shown(match):
        begin, target, anchor, end = match.groups()
        if "://" in target or target.startswith(("mailto:", "data:")):
            return match[0]
        path = (folder / target).resolve()
        path = PAGES.get(path, path)
        relative = Path(os.path.relpath(path, page.parent)).as_posix()
        return f"{begin}{relative}{anchor or ''}{end}"

    return LINK.sub(shown, text)


def as_markdown(notebook):
    """A notebook as Markdown: its cells, and what those of code are stored to have printed and drawn."""
    parts = []
    for cell in json.loads(notebook)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", ()):
            if output["output_type"] == "stream":
                parts.append(f"```text\n{''.join(output['text'])}```")
            else:
                parts.append(f"![What this cell draws](data:image/png;base64,{output['data']['image/png'].strip()})")
    return "\n\n".join(parts)


def modules(match):
    """The reference of a package: every module in it, in alphabetical order."""
    package = match[1]
    path = SOURCE.joinpath(*package.split("."))
    files = [path.with_suffix(".py")] if path.with_suffix(".py").is_file() else sorted(path.rglob("*.py"))
    found = []
    for file in files:
        name = ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        if name == package and path.is_dir():
            continue
        found.append(f"## `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n")
    return "\n".join(found)


def public_names():
    """The reference of ``toymill.__all__``, classes and functions, in alphabetical order."""
    found = []
    for name in toymill.__all__:
        item = getattr(toymill, name)
        kind = "autofunction" if not isinstance(item, type) else "autoclass"
        kind = "autoexception" if isinstance(item, type) and issubclass(item, Exception) else kind
        found.append(f"```{{eval-rst}}\n.. {kind}:: toymill.{name}\n```\n")
    return "\n".join(found)


def read(app, docname, source):
    """Put the file that a page stands for in its place, its links in order, and the modules that it asks for."""
    page = HERE / f"{docname}.md"
    if docname in SHOWN:
        file = ROOT / SHOWN[docname]
        app.env.note_dependency(str(file))
        text = file.read_text(encoding="utf-8")
        source[0] = with_links(as_markdown(text) if file.suffix == ".ipynb" else text, file.parent, page)
    else:
        source[0] = with_links(source[0], page.parent, page)
    source[0] = MODULES.sub(modules, source[0])
    if "<!-- public names -->" in source[0]:
        source[0] = source[0].replace("<!-- public names -->", public_names())


def plain(app, what, name, item, options, lines):
    """Escape what reStructuredText would take for markup: docstrings are plain text with ``code``."""
    for k, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            parts = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line).split("``")
            parts[::2] = [re.sub(r"([|*]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
            lines[k] = "``".join(parts)
    if what == "property" and lines:
        lines[0] = lines[0].replace(": ", " – ", 1)  # napoleon would take what is before a colon for the type


def types(app, what, name, item, options, lines):
    """The same for types that napoleon has added, such as ``Float[Array, "*block parameter"]``."""
    for k, line in enumerate(lines):
        if line.lstrip().startswith(":vartype "):
            lines[k] = line.replace("*", "\\*")


def skip(app, what, name, item, skipped, options):
    """Fields of named tuples stand in the signature already."""
    return True if type(item).__name__ == "_tuplegetter" else None


def setup(app):
    """Sphinx calls this."""
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", plain, priority=100)  # before napoleon adds markup
    app.connect("autodoc-process-docstring", types, priority=900)
    app.connect("autodoc-skip-member", skip)
