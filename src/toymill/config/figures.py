"""How the figures of a study are drawn: formats, a label, settings of matplotlib. Needs neither JAX nor matplotlib."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from toymill.config.model import Strict

FORMATS = ("svg", "pdf", "png")
"""The formats of figures; the first is always written."""

Setting = bool | int | float | str | list[str]
"""A setting of matplotlib."""


class FiguresConfig(Strict):
    """How figures are drawn."""

    also: list[Literal["pdf", "png"]] = []
    """Formats that every figure is written in beside SVG: `pdf`, `png`."""
    label: Annotated[str, Field(max_length=80)] = ""
    """Text above every figure, such as an experiment's name."""
    style: dict[str, Setting] = {}
    """Settings of matplotlib (rcParams) in place of ours, by their names."""

    @property
    def endings(self) -> list[str]:
        """The endings of a figure's files."""
        return [FORMATS[0], *dict.fromkeys(self.also)]
