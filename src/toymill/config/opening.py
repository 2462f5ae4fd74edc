"""From a section of the configuration to a model."""

from __future__ import annotations

import importlib
from dataclasses import replace

import numpy as np

from toymill.config.inspection import Facts, channels, compile_workspace
from toymill.config.model import ModelConfig, PythonConfig, WorkspaceConfig
from toymill.errors import ToymillError
from toymill.histfactory.model import from_compiled
from toymill.models.base import Model
from toymill.models.load import load_model
from toymill.models.user import Names


def open_model(section: ModelConfig) -> Model:
    """The model that a section of the configuration states.

    Raises:
        ToymillError: what building it refuses, a POI that is not its parameter.
    """
    if isinstance(section, WorkspaceConfig):
        return from_compiled(compile_workspace(section))
    if isinstance(section, PythonConfig):
        model = load_model(section.path, section.entry, section.arguments)
    else:
        module, function = section.builder
        model = getattr(importlib.import_module(f"toymill.models.{module}"), function)(**section.arguments)
    poi = section.poi or model.poi
    if poi is not None:
        try:
            model.parameters.index(poi)
        except ToymillError as error:
            msg = f"poi: {error}"
            raise ToymillError(msg) from None
    return replace(model, poi=poi, digest=section.digest())


def facts_of_model(model: Model) -> Facts:
    """What a study is checked against, of a model that is open."""
    names = model.data_names
    main = (
        (names.main,)
        if isinstance(names, Names)
        else channels([names[int(i)] for i in np.flatnonzero(~model.sampling.auxiliary)])
    )
    held = model.template_noise.held if model.template_noise else np.zeros(0, dtype=bool)
    staterrors = tuple(model.parameters.names[int(i)] for i in model.sampling.parameter[np.flatnonzero(held)])
    return Facts(model.parameters, model.poi, observed=model.observed is not None, main=main, staterrors=staterrors)
