"""A configuration's YAML file, looked at before what Snakemake has read from it is used."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from toymill.errors import ToymillError, no_file
from toymill.formats.kinds import NO_STUDY, kind_of
from toymill.formats.validation import DEEPEST

_TAG = "tag:yaml.org,2002:"
_PLAIN = {f"{_TAG}{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null", "merge", "timestamp")}

MOST_VALUES = 100_000
"""Values of a configuration; few lines of aliases of aliases may stand for billions."""


def check_yaml(path: str | Path) -> None:
    """Refuse a YAML file that gives a key twice, of which readers silently take the last, or that is more than data.

    Raises:
        ToymillError: a key that is given twice, with its line; a tag, nesting deeper than ``DEEPEST``, aliases that make
            more than ``MOST_VALUES`` values; a file that is not there, or is neither YAML nor JSON, with the line.
    """
    _refuse_likelihood(path)
    sizes: dict[int, int] = {}

    def size_of(node: yaml.Node, level: int) -> int:
        """The number of values that a node stands for, its aliases written out; they are one node."""
        line = node.start_mark.line + 1
        if level > DEEPEST:
            raise _too_deep(path)
        if id(node) in sizes:
            return sizes[id(node)]
        if node.tag not in _PLAIN:
            msg = f"{path}, line {line}: the tag {node.tag.replace(_TAG, '!!')!r}; a configuration is plain data. Remove it."
            raise ToymillError(msg)
        size, seen = 1, set()
        for item in node.value if isinstance(node, yaml.CollectionNode) else ():
            key, value = item if isinstance(node, yaml.MappingNode) else (None, item)
            if key is not None:
                if str(key.value) in seen:
                    msg = f"{path}, line {key.start_mark.line + 1}: the key {key.value!r} is given twice. Keep one."
                    raise ToymillError(msg)
                seen.add(str(key.value))
            size += size_of(value, level + 1)
        if size > MOST_VALUES:
            msg = (
                f"{path}, line {line}: more than {MOST_VALUES} values, aliases written out. Put long data into a file."
            )
            raise ToymillError(msg)
        sizes[id(node)] = size
        return size

    try:
        text = Path(path).read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError:
        raise _too_deep(path) from None
    except FileNotFoundError:
        raise _not_there(path) from None
    except IsADirectoryError:
        msg = f"{path} is a folder; expected a study's configuration, a YAML file."
        raise ToymillError(msg) from None
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read ({error}). A configuration is a text file in UTF-8."
        raise ToymillError(msg) from None
    except yaml.YAMLError as error:
        if not _is_json(text):
            raise _no_yaml(path, error) from None
        return
    if root is not None:
        size_of(root, 1)


def _refuse_likelihood(path: str | Path) -> None:
    """Refuse a JSON file that is a likelihood, a patch of one, or results: it may be too long to be read as YAML."""
    try:
        kind = kind_of(json.loads(Path(path).read_text(encoding="utf-8-sig")))
    except (OSError, ValueError, RecursionError):
        return  # for others to tell
    if kind in NO_STUDY:
        msg = f"{path} is {NO_STUDY[kind].format(path=path)}"
        raise ToymillError(msg)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _not_there(path: str | Path) -> ToymillError:
    """There is no such file: near ones in its folder are offered, or how to make one."""
    told = f"There is {no_file(path)}"
    return ToymillError(told if told.endswith("?") else f"{told} 'toymill new WORKSPACE.json' writes a study.")


def _no_yaml(path: str | Path, error: yaml.YAMLError) -> ToymillError:
    """A file is no YAML: what the parser says, with the line."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return ToymillError(f"{path} is no YAML: {' '.join(str(error).split())}.")
    mark = error.problem_mark or error.context_mark
    where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    context = f" {error.context}," if error.context else ""
    tabs = " Indent with spaces, not with tabs." if "\\t" in str(error.problem) else ""
    return ToymillError(f"{path}{where}: no YAML:{context} {error.problem}.{tabs}")


def _too_deep(path: str | Path) -> ToymillError:
    return ToymillError(f"{path}: values more than {DEEPEST} levels deep. No configuration is stated like that.")
