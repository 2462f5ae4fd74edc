"""A configuration's YAML file, looked at before what Snakemake has read from it is used."""

from __future__ import annotations

from pathlib import Path

import yaml

from toymill.errors import ToymillError
from toymill.formats.validation import DEEPEST

_TAG = "tag:yaml.org,2002:"
_PLAIN = {f"{_TAG}{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null", "merge", "timestamp")}

MOST_VALUES = 100_000
"""Values of a configuration; few lines of aliases of aliases may stand for billions."""


def check_yaml(path: str | Path) -> None:
    """Refuse a YAML file that gives a key twice, of which readers silently take the last, or that is more than data.

    Raises:
        ToymillError: a key that is given twice, with its line; a tag, nesting deeper than ``DEEPEST``, aliases that make
            more than ``MOST_VALUES`` values. A file that is no YAML is left to Snakemake's own message.
    """
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
        root = yaml.compose(Path(path).read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except RecursionError:
        raise _too_deep(path) from None
    except (OSError, ValueError, yaml.YAMLError):
        return
    if root is not None:
        size_of(root, 1)


def _too_deep(path: str | Path) -> ToymillError:
    return ToymillError(f"{path}: values more than {DEEPEST} levels deep. No configuration is stated like that.")
