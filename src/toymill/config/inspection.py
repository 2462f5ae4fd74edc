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
from typing import NamedTuple

import numpy as np

from toymill.config.model import ModelConfig, StatedConfig, WorkspaceConfig
from toymill.errors import ToymillError
from toymill.formats.reader import read_specification
from toymill.histfactory.compiler import Compiled, compile_specification
from toymill.parameters import Parameters

INSPECTED = Path(".snakemake/toymill/inspected")
"""Where the facts of checked models are kept, by digest."""

_CHILD = "toymill.config.checking"  # a program of its own, which imports the model and JAX


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
            [sys.executable, "-m", _CHILD],
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
