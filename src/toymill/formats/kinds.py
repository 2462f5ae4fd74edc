"""What a JSON file is, so that one in the place of another is told by its name and not by its keys."""

from __future__ import annotations

from typing import Literal

Kind = Literal["pyhf workspace", "HS3 file", "patch set", "JSON patch", "study", "results"]

NO_STUDY: dict[Kind, str] = {
    "pyhf workspace": "a likelihood (pyhf workspace), not a study: 'toymill new {path}' writes a study about it.",
    "HS3 file": "a likelihood (HS3), not a study: 'toymill new {path}' writes a study about it.",
    "patch set": (
        "a patch set, not a study: 'toymill new WORKSPACE.json --scan {path}' writes a study of all its signals, "
        "'--signal {path}:NAME' of one."
    ),
    "JSON patch": "a JSON patch, not a study: 'toymill new WORKSPACE.json --signal {path}' writes a study with it.",
    "results": "a file of results, not a study: the study that made them is in config.yaml beside them.",
}
"""What to do with each kind in the place of a study."""

NO_WORKSPACE: dict[Kind, str] = {
    "patch set": (
        "a patch set, not a workspace: give the workspace that it belongs to, and one of these patches to it, by its name."
    ),
    "JSON patch": "a JSON patch, not a workspace: give the background-only workspace, and this among patches.",
    "study": "a study, not a workspace: 'toymill check' takes it; what has the likelihood is named by its key model.",
    "results": "a file of toymill's results, not a workspace.",
}
"""What to do with each kind in the place of a workspace."""


def kind_of(content: object) -> Kind | None:
    """What the content of a JSON or YAML file is, by its keys; None if nothing tells.

    Example:
        >>> kind_of({"channels": [], "measurements": []}), kind_of([{"op": "add"}]), kind_of({})
        ('pyhf workspace', 'JSON patch', None)
    """
    if isinstance(content, list):
        patch = content and all(isinstance(item, dict) and "op" in item for item in content)
        return "JSON patch" if patch else None
    if not isinstance(content, dict):
        return None
    told: dict[Kind, bool] = {
        "results": "toymill" in content,
        "study": "model" in content or "ensembles" in content,
        "pyhf workspace": "channels" in content,
        "HS3 file": "distributions" in content,
        "patch set": isinstance(content.get("patches"), list) and "study" not in content,
    }
    return next((kind for kind, is_so in told.items() if is_so), None)
