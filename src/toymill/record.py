"""What the text files of a study are made of: records, whose fields are documented and checked. Needs no JAX."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict


class Record(BaseModel):
    """A mapping of a JSON file: its keys in their order, each with a type and a meaning.

    A number is finite; one that may be undefined is a ``NumberOrNone``. Names of parameters, of ensembles, of levels and
    of statuses are keys of mappings, not fields.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class FileRecord(Record):
    """All that a JSON file holds."""

    sha256: str = ""
    """SHA-256 of all else in the file, which is checked when it is read."""


def _none_if_undefined(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


EnsembleName = Annotated[str, "ensemble"]
"""Key of a mapping: the name of an ensemble."""

ParameterName = Annotated[str, "parameter"]
"""Key of a mapping: the name of a parameter."""

QuantityName = Annotated[str, "quantity"]
"""Key of a mapping: the name of a derived quantity."""

LevelText = Annotated[str, "level"]
"""Key of a mapping: a level as text, as Python writes the number."""

SigmaText = Annotated[str, "sigma"]
"""Key of a mapping: how many standard deviations the data lie above the median, ``"-2"`` to ``"2"``."""

NumberOrNone = Annotated[float | None, BeforeValidator(_none_if_undefined)]
"""A number, or None where it is not defined: NaN and infinity become None, and ``null`` in a file."""
