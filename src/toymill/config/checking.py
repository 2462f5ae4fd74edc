"""Builds and checks a model that Python states: a process of its own, which ``inspection`` starts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from toymill.config.inspection import REFUSED
from toymill.config.model import ModelConfig, StatedConfig
from toymill.errors import ToymillError
from toymill.job import prepare, reported
from toymill.results.files import write_json


def _reading() -> set[str]:
    """The files that this process opens to read from now on, imported modules too."""
    opened: set[str] = set()

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str) and "w" not in str(arguments[1]):
            opened.add(arguments[0])

    sys.addaudithook(watch)
    return opened


def _require_named(section: StatedConfig, opened: set[str]) -> None:
    """Refuse a model that uses files of the user's which the study does not name: their changes would go unseen."""
    named = {path.resolve() for path in section.inputs}
    folders = {Path.cwd(), *(path.parent for path in named)}
    others = [Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), Path(__file__).resolve().parents[1]]
    for text in sorted(opened):
        path = Path(text).resolve()
        if path.suffix == ".pyc" and path.parent.name == "__pycache__":
            path = path.parent.parent / f"{path.name.split('.')[0]}.py"
        inside = any(folder in path.parents for folder in folders) and not any(root in path.parents for root in others)
        if path.is_file() and inside and ".snakemake" not in path.parts and path not in named:
            shown = path.relative_to(Path.cwd()) if Path.cwd() in path.parents else path
            msg = (
                f"{next(iter(section.sources.values()))} uses {shown}, which the study does not name. Put it into "
                "files, beside the model's path, so that a change of it makes everything anew."
            )
            raise ToymillError(msg)


def main() -> None:
    """Read a model's section from standard input; write the facts, or what is wrong with the model, to its output."""
    prepare()
    request: dict[str, Any] = json.load(sys.stdin)
    with reported([]):
        try:
            found = _facts(request["section"])
        except ToymillError as error:
            found = {REFUSED: str(error)}
        write_json(request["output"], found)


def _facts(stated: dict[str, Any]) -> dict[str, Any]:
    """What a study is checked against, of the model of a section.

    Raises:
        ToymillError: a model that cannot be used.
    """
    from pydantic import TypeAdapter

    from toymill.config.opening import open_model
    from toymill.models.check import check_model
    from toymill.models.user import UserModel

    section = TypeAdapter(ModelConfig).validate_python(stated)
    read = _reading()
    model = open_model(section)
    assert isinstance(section, StatedConfig)
    assert isinstance(model, UserModel)
    _require_named(section, read)
    check_model(model)
    parameters = model.parameters
    return {
        "names": list(parameters.names),
        "init": parameters.init.tolist(),
        "bounds": [[float(x) if np.isfinite(x) else None for x in pair] for pair in parameters.bounds],
        "fixed": parameters.fixed.tolist(),
        "constraint": list(parameters.constraint),
        "poi": model.poi,
        "observed": model.observed is not None,
        "main": [model.data_names.main],
    }


if __name__ == "__main__":
    main()
