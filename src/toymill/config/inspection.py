"""What a study has to know of its model before any job starts, without JAX.

A workspace is read here. A model that Python states is built and checked in a process of its own, where a user's
code can do no harm; what was found is kept by the model's digest, so that it is looked for once.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from toymill.config.model import ModelConfig, StatedConfig, WorkspaceConfig
from toymill.errors import ToymillError
from toymill.formats.reader import read_specification
from toymill.formats.specification import Specification
from toymill.histfactory.compiler import Compiled, compile_specification
from toymill.parameters import Parameters

INSPECTED = Path(".snakemake/toymill/inspected")
"""Where the facts of checked models are kept, by digest."""

REFUSED = "refused"
"""Where a check that fails leaves its message, in place of the facts."""

_CHILD = "toymill.config.checking"  # a program of its own, which imports the model and JAX


class Facts(NamedTuple):
    """What a study is checked against.

    Attributes:
        parameters: the model's parameters.
        poi: its parameter of interest, or None.
        observed: whether it has observed data.
        main: its main data: name and shape of each array, as ``SR[4]`` of a channel with four bins.
        staterrors: parameters that stand for the Monte Carlo statistics of its templates.
    """

    parameters: Parameters
    poi: str | None
    observed: bool
    main: tuple[str, ...] = ()
    staterrors: tuple[str, ...] = ()


def compile_workspace(model: WorkspaceConfig) -> Compiled:
    """A workspace as arrays, from local files.

    Raises:
        ToymillError: what ``read_specification`` and ``compile_specification`` refuse.
    """
    return compile_specification(specification_of(model))


def specification_of(model: WorkspaceConfig) -> Specification:
    """What a workspace states, from local files.

    Raises:
        ToymillError: what ``read_specification`` refuses.
    """
    return read_specification(
        model.local_path,
        measurement=model.measurement,
        patches=model.local_patches,
        poi=model.poi,
        modifier_settings=model.modifier_settings,
        prune=model.prune,
        rename=model.rename,
        parameters=model.parameters,
    )


def channels(names: Sequence[str]) -> tuple[str, ...]:
    """The channels of a workspace with their numbers of bins, from the names of its main data.

    Example:
        >>> channels(["CR[0]", "SR[0]", "SR[1]"])
        ('CR[1]', 'SR[2]')
    """
    return tuple(f"{name}[{bins}]" for name, bins in Counter(item.rpartition("[")[0] for item in names).items())


def facts_of_compiled(compiled: Compiled) -> Facts:
    """What a study is checked against, of a workspace."""
    main = compiled.data_names[: compiled.templates.nominal.shape[1]]
    held = compiled.of_staterrors if compiled.staterrors.any() else np.zeros_like(compiled.of_staterrors)
    names = tuple(compiled.data_names[int(i)].removesuffix(" (auxiliary)") for i in np.flatnonzero(held))
    return Facts(compiled.parameters, compiled.poi, observed=True, main=channels(main), staterrors=names)


def facts_of(model: ModelConfig, key: str = "model") -> Facts:
    """What a study is checked against; a model that Python states is built and checked in a process of its own.

    Args:
        model: a model's section of the configuration.
        key: where it stands there, for messages.

    Raises:
        ToymillError: a workspace or a model that cannot be used.
    """
    if isinstance(model, WorkspaceConfig):
        return facts_of_compiled(compile_workspace(model))
    return _inspected(model, key)


def _inspected(model: StatedConfig, key: str) -> Facts:
    """Build and check a model that Python states, in a process of its own.

    Raises:
        ToymillError: what building it and ``check_model`` refuse.
    """
    kept = INSPECTED / f"{model.digest()}-{platform.python_version()}-{metadata.version('jax')}.facts.json"
    if not kept.exists():
        done = subprocess.run(
            [sys.executable, "-m", _CHILD],
            input=json.dumps({"section": model.model_dump(mode="json"), "output": str(kept)}),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not kept.exists():
            msg = f"{key}: the check of the model broke off:\n{done.stderr.strip()}"
            raise ToymillError(msg)
    found = json.loads(kept.read_text(encoding="utf-8"))
    if REFUSED in found:
        kept.unlink()  # to be checked again: what it needs may be installed by then
        msg = f"{key}: {found[REFUSED]}"
        raise ToymillError(msg)
    bounds = [[_number(bound, sign) for bound, sign in zip(pair, (-1, 1), strict=True)] for pair in found["bounds"]]
    parameters = Parameters(
        names=tuple(found["names"]),
        init=np.array(found["init"]),
        bounds=np.array(bounds),
        fixed=np.array(found["fixed"]),
        constraint=tuple(found["constraint"]),
    )
    return Facts(parameters, found["poi"], observed=found["observed"], main=tuple(found["main"]))


def _number(bound: float | None, sign: int) -> float:
    return sign * np.inf if bound is None else bound
