"""``toymill new``: a study's configuration with comments, from a workspace and the questions that are asked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from toymill.cli.console import console, warn
from toymill.cli.workspace import in_words_of_options
from toymill.config.inspection import Facts, facts_of
from toymill.config.model import ModelConfig, WorkspaceConfig, is_file
from toymill.config.scan import grid_of
from toymill.config.sections import SECTIONS
from toymill.config.signals import remarks_on_signals
from toymill.config.study import Study, check_study, read_study
from toymill.errors import ToymillError, no_file
from toymill.report.numbers import one_line
from toymill.results.files import write_text

SIGNALS = "patchset.json"
"""What a new study that asks for no scan names as the signals of one."""

Asked = Mapping[str, Mapping[str, Any]]
"""The questions that a new study asks, sections of its configuration, each with the keys that are no default."""

TOYS = 10000
"""Toys of each truth point of a study without a question."""

LATER = ("seed", "shard", "levels", "nuisances", "keep")
"""Further keys that a new study shows, with their defaults."""


def write_new(model: WorkspaceConfig, asked: Asked, name: str | None, output: Path | None, *, force: bool) -> None:
    """Write a new study's configuration.

    Args:
        model: the model's section.
        asked: the questions.
        name: the study's name; None takes the workspace's.
        output: the file; None takes the name's.
        force: whether a file that is there is replaced.

    Raises:
        ToymillError: a model or signals that cannot be used, a name that is none, a file that is there.
    """
    for path in model.inputs:
        if not is_file(path):
            msg = f"There is {no_file(path)}"
            raise ToymillError(msg)
    stated = name or re.sub(r"[^A-Za-z0-9._+-]", "-", model.local_path.stem).lstrip("._+-") or "study"
    path = output or Path(f"{stated}.yaml")
    if path.exists() and not force:
        msg = f"{path} is there already. Name another file with --output, or replace it with --force."
        raise ToymillError(msg)
    with in_words_of_options():
        facts = facts_of(_with_a_signal(model, asked))
    content = new_study(model, facts, asked, stated)
    study = read_study(yaml.safe_load(content))
    check_study(study, facts)
    write_text(path, content)
    warn(console(), remarks_on_signals(study))
    console().print(f"Written: {path}. Next: toymill check {path}, then toymill run {path}", markup=False)


def _with_a_signal(model: WorkspaceConfig, asked: Asked) -> ModelConfig:
    """The model that a study is checked against: of a scan that with its first signal."""
    if "scan" not in asked:
        return model
    section = model.model_dump(mode="json", exclude_defaults=True)
    study = read_study({"study": "new", "model": section, "scan": dict(asked["scan"])})
    assert study.scan
    grid_of(study.scan)
    return study.model


def new_study(model: WorkspaceConfig, facts: Facts, asked: Asked, name: str) -> str:
    """The text of a new study's configuration; whatever it leaves to a default is in a comment.

    Args:
        model: the model's section.
        facts: what is known of the model.
        asked: the questions.
        name: the study's name.
    """
    lines = [
        "# A study for toymill. A key behind a # has the default that is shown: remove the # to change it.",
        "# All keys are described by: toymill manual keys",
        "",
        f"study: {_flow(name)} # the name of its folder in results/",
        "",
        *_of_model(model, facts),
        "",
    ]
    if not asked:
        lines += ["# Truth points: where toys are thrown, and which other values are tested on them."]
        lines += [*_truth_points(facts), ""]
    for key in sorted(SECTIONS, key=lambda item: item not in asked):
        lines += [*_section(key, asked.get(key))]
    lines += ["", "# What holds for the whole study."]
    lines += [_default(Study, key) for key in LATER]
    return "\n".join(lines) + "\n"


def _of_model(model: WorkspaceConfig, facts: Facts) -> Iterator[str]:
    """The model's section, and what is known of the model."""
    yield "model:"
    for key, value in model.model_dump(mode="json", exclude_defaults=True).items():
        yield f"  {key}: {_flow(value)}"
    yield f"  # data: {one_line(', '.join(facts.main), 2000)}; {len(facts.parameters)} parameters"
    if facts.poi is not None:
        i = facts.parameters.index(facts.poi)
        low, high = facts.parameters.bounds[i]
        yield f"  # parameter of interest: {one_line(facts.poi)}, {facts.parameters.init[i]:g} at first, within [{low:g}, {high:g}]"


def _truth_points(facts: Facts) -> Iterator[str]:
    """Two truth points: with a signal, and without one if the bounds allow that."""
    yield "ensembles:"
    poi = str(facts.poi)
    i = facts.parameters.index(poi) if facts.poi is not None else 0
    low, high = facts.parameters.bounds[i]
    init = float(facts.parameters.init[i])
    signal = init or min(1.0, float(high))
    points = {"signal": (signal, [0.0])} | ({"background": (0.0, [signal])} if low <= 0 <= high else {})
    for name, (truth, tests) in points.items():
        settings = {"truth": {poi: truth}, "toys": TOYS, "tests": tests if len(points) > 1 else []}
        yield f"  {name}: {_flow(settings)}"


def _section(key: str, stated: Mapping[str, Any] | None) -> Iterator[str]:
    """A question with its keys, those that are stated first; in comments, where it is not asked."""
    yield f"# {_first_sentence(Study.model_fields[key].description)}"
    if stated is None:
        yield f"# {key}: {_flow({'patches': SIGNALS} if key == 'scan' else {})}"
        return
    yield f"{key}:"
    for name, value in stated.items():
        yield f"  {name}: {_flow(value)} # {_first_sentence(SECTIONS[key].model_fields[name].description)}"
    for name in SECTIONS[key].model_fields:
        if name not in stated:
            yield f"  {_default(SECTIONS[key], name)}"
    yield ""


def _default(kind: type[BaseModel], key: str) -> str:
    """A key with its default, in a comment with its meaning."""
    field = kind.model_fields[key]
    value = None if field.default is PydanticUndefined else field.default
    return f"# {key}: {_flow(value)} # {_first_sentence(field.description)}"


def _first_sentence(text: str | None) -> str:
    return re.split(r"(?<=\.)\s", " ".join((text or "").split()), maxsplit=1)[0].rstrip(".")


def _flow(value: Any) -> str:
    """A value in one line of YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9)
    return text.removesuffix("...\n").strip()
