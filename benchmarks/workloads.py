"""The workspaces that benchmarks fit, by name."""

import json
from collections.abc import Callable
from pathlib import Path

import jsonpatch
from bins_201 import bins_201
from published_size import published_size
from teaching import teaching

WORKSPACES = Path(__file__).resolve().parents[1] / "config" / "workspaces"


def hww() -> dict:
    """The default study's workspace."""
    return json.loads((WORKSPACES / "hww.json").read_text(encoding="utf-8"))


def atlas() -> dict:
    """The published ATLAS workspace with one signal."""
    folder = WORKSPACES / "atlas-3l-erjr"
    names = ("BkgOnly.json", "patch.ERJR_100p0_20p0.json")
    background, patch = (json.loads((folder / name).read_text(encoding="utf-8")) for name in names)
    return jsonpatch.apply_patch(background, patch)


WORKLOADS: dict[str, Callable[[], dict]] = {
    "teaching": teaching,
    "hww": hww,
    "atlas-3l-erjr": atlas,
    "published": published_size,
    "bins-201": bins_201,
}
