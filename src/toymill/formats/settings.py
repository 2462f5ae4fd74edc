"""What a user says of parameters in place of what a file says: initial values, bounds, which are fixed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from toymill.errors import ToymillError, nearest
from toymill.formats.specification import ParameterSpec, Specification

_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class ParameterSettings(BaseModel):
    """What one parameter has in place of what the file says; null leaves that."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    init: _Number | None = None
    """Its initial value."""
    bounds: Annotated[list[_Number], Field(min_length=2, max_length=2)] | None = None
    """Its lower and its upper bound."""
    fixed: Annotated[bool, Field(strict=True)] | None = None
    """Whether it is held at its initial value."""


def settle(specification: Specification, parameters: Mapping[str, ParameterSettings]) -> Specification:
    """A model with some of its parameters' settings replaced, which its digest tells.

    Args:
        specification: the model as its file states it.
        parameters: the settings, by the names of parameters.

    Raises:
        ToymillError: a name that is no parameter's, bounds that are none, an initial value outside the bounds.
    """
    if not parameters:
        return specification
    names = [item.name for item in specification.parameters]
    for name in parameters:
        if name not in names:
            msg = f"parameters: {specification.source} has no parameter {name!r}. {nearest(name, names)}"
            raise ToymillError(msg)
    told = {name: item.model_dump(mode="json") for name, item in parameters.items()}
    identity = json.dumps([specification.digest, told], sort_keys=True)
    return replace(
        specification,
        parameters=[_settled(item, parameters.get(item.name)) for item in specification.parameters],
        digest=hashlib.sha256(identity.encode()).hexdigest(),
    )


def _settled(item: ParameterSpec, given: ParameterSettings | None) -> ParameterSpec:
    if given is None:
        return item
    low, high = item.bounds if given.bounds is None else given.bounds
    init = item.init if given.init is None else given.init
    if not low < high:
        msg = f"parameters.{item.name}.bounds: [{low:g}, {high:g}]; expected the lower bound below the upper one."
        raise ToymillError(msg)
    if not low <= init <= high:
        whose = "the file's" if given.init is None else "its"
        msg = (
            f"parameters.{item.name}: {whose} initial value {init:g} lies outside the bounds [{low:g}, {high:g}]. Give "
            "init and bounds that agree."
        )
        raise ToymillError(msg)
    fixed = item.fixed if given.fixed is None else given.fixed
    return replace(item, init=init, bounds=(low, high), fixed=fixed)
