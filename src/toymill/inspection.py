"""What a study has to know of its model before any job starts, without JAX.

A workspace is read here. A model that Python states is built and checked in a process of its own, where a user's
code can do no harm; what was found is kept by the model's digest, so that it is looked for once.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from toymill.errors import ToymillError
from toymill.model_config import ModelConfig, StatedConfig, WorkspaceConfig
from toymill.models.reader import read_specification
from toymill.models.templates import Compiled, compile_specification
from toymill.parameters import Parameters

INSPECTED = Path(".snakemake/toymill/inspected")
"""Where the facts of checked models are kept, by digest."""


class Facts(NamedTuple):
    """What a study is checked against: a model's parameters, its POI, and whether it has observed data."""

    parameters: Parameters
    poi: str | None
    observed: bool


def compile_workspace(model: WorkspaceConfig) -> Compiled:
    """A workspace as arrays, from local files.

    Raises:
        ToymillError: what ``read_specification`` and ``compile_specification`` refuse.
    """
    specification = read_specification(
        model.local_path,
        measurement=model.measurement,
        patches=model.local_patches,
        poi=model.poi,
        modifier_settings=model.modifier_settings,
        prune=model.prune,
        rename=model.rename,
    )
    return compile_specification(specification)


def facts_of(model: ModelConfig) -> Facts:
    """What a study is checked against; a model that Python states is built and checked in a process of its own.

    Raises:
        ToymillError: a workspace or a model that cannot be used.
    """
    if isinstance(model, WorkspaceConfig):
        compiled = compile_workspace(model)
        return Facts(compiled.parameters, compiled.poi, observed=True)
    return _inspected(model)


def _inspected(model: StatedConfig) -> Facts:
    """Build and check a model that Python states, in a process of its own.

    Raises:
        ToymillError: what building it and ``check_model`` refuse.
    """
    kept = INSPECTED / f"{model.digest()}-{platform.python_version()}-{metadata.version('jax')}.json"
    if not kept.exists():
        done = subprocess.run(
            [sys.executable, "-m", "toymill.inspection"],
            input=json.dumps({"section": model.model_dump(mode="json"), "output": str(kept)}),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not kept.exists():
            told = done.stderr.partition("toymill: ")[2].strip()
            msg = f"model: {told}" if told else f"model: the check of the model broke off:\n{done.stderr.strip()}"
            raise ToymillError(msg)
    found = json.loads(kept.read_text(encoding="utf-8"))
    bounds = [[_number(bound, sign) for bound, sign in zip(pair, (-1, 1), strict=True)] for pair in found["bounds"]]
    parameters = Parameters(
        names=tuple(found["names"]),
        init=np.array(found["init"]),
        bounds=np.array(bounds),
        fixed=np.array(found["fixed"]),
        constraint=tuple(found["constraint"]),
    )
    return Facts(parameters, found["poi"], observed=found["observed"])


def _number(bound: float | None, sign: int) -> float:
    return sign * np.inf if bound is None else bound


def _reading() -> set[str]:
    """The files that this process opens to read from now on, imported modules too."""
    opened: set[str] = set()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str) and "w" not in str(arguments[1]):
            opened.add(arguments[0])

    sys.addaudithook(watch)
    return opened


def _require_named(section: StatedConfig, opened: set[str]) -> None:
    """Refuse a model that uses files of the user's which the study does not name: their changes would go unseen."""
    named = {path.resolve() for path in section.inputs}
    folders = {Path.cwd(), *(path.parent for path in named)}
    others = [Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), Path(__file__).resolve().parent]
    for text in sorted(opened):
        path = Path(text).resolve()
        if path.suffix == ".pyc" and path.parent.name == "__pycache__":
            path = path.parent.parent / f"{path.name.split('.')[0]}.py"
        inside = any(folder in path.parents for folder in folders) and not any(root in path.parents for root in others)
        if path.is_file() and inside and ".snakemake" not in path.parts and path not in named:
            shown = path.relative_to(Path.cwd()) if Path.cwd() in path.parents else path
            msg = (
                f"{next(iter(section.sources.values()))} uses {shown}, which the study does not name. Put it into "
                "model.files, so that a change of it makes everything anew."
            )
            raise ToymillError(msg)


def main() -> None:
    """Read a model's section from standard input; write the facts, or tell what is wrong with the model."""
    from toymill.job import prepare, reported

    prepare()
    from pydantic import TypeAdapter

    from toymill.models.load import check_model
    from toymill.models.user import UserModel
    from toymill.opening import open_model
    from toymill.records import write_json

    request: dict[str, Any] = json.load(sys.stdin)
    with reported([]):
        section = TypeAdapter(ModelConfig).validate_python(request["section"])
        read = _reading()
        model = open_model(section)
        assert isinstance(section, StatedConfig)
        assert isinstance(model, UserModel)
        _require_named(section, read)
        check_model(model)
        parameters = model.parameters
        facts = {
            "names": list(parameters.names),
            "init": parameters.init.tolist(),
            "bounds": [[float(x) if np.isfinite(x) else None for x in pair] for pair in parameters.bounds],
            "fixed": parameters.fixed.tolist(),
            "constraint": list(parameters.constraint),
            "poi": model.poi,
            "observed": model.observed is not None,
        }
        write_json(request["output"], facts)


if __name__ == "__main__":
    main()
