"""What a workspace on the command line is, for ``toymill new`` and ``toymill inspect``; and what it holds, as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from toymill.cli.console import console, table, warn
from toymill.config.model import NamedPatch, Remote, WorkspaceConfig, is_file
from toymill.config.signals import samples_in_words, scaled_samples, several_signals
from toymill.errors import ToymillError
from toymill.formats.modifiers import ADD_SIGNAL
from toymill.formats.reader import read_specification
from toymill.formats.specification import Channel, ParameterSpec, Specification

NAME_SIGNAL = (
    "name the JSON patch that adds it, as --signal patch.json, or of a patch set as --signal set.json:name. A study of all "
    "signals of a set: --scan set.json."
)
"""What to do on the command line about a workspace that is background only."""

MOST = 30
"""Parameters that are shown, where not all are asked for."""


def section_of(
    workspace: Path, signals: Sequence[str], measurement: str | None = None, poi: str | None = None
) -> WorkspaceConfig:
    """The model's section of a configuration, from words on the command line.

    Args:
        workspace: the workspace.
        signals: patches: each a file, or ``FILE:NAME`` for one of a patch set.
        measurement: name of a measurement.
        poi: the parameter of interest.

    Raises:
        ToymillError: a path that a configuration cannot have.
    """
    patches: list[str | Remote | NamedPatch] = [patch_of(word) for word in signals]
    try:
        return WorkspaceConfig(path=str(workspace), patches=patches, measurement=measurement, poi=poi)
    except ValidationError as error:
        first = error.errors()[0]
        msg = f"{first['input']!r}: {first['msg'].removeprefix('Value error, ')}."
        raise ToymillError(msg) from None


@contextmanager
def in_words_of_options() -> Iterator[None]:
    """Where a message tells how a configuration names a signal, tell how the command line does."""
    try:
        yield
    except ToymillError as error:
        raise ToymillError(str(error).replace(ADD_SIGNAL, NAME_SIGNAL)) from None


def patch_of(word: str) -> str | NamedPatch:
    """A patch from a word: a file, or a file and the name of a patch in it.

    Example:
        >>> patch_of("patch.json")
        'patch.json'
        >>> patch_of("patchset.json:C1N2_100").patch
        'C1N2_100'
    """
    path, colon, name = word.rpartition(":")
    if not colon or not path or is_file(Path(word)):
        return word
    return NamedPatch(path=path, patch=name)


def specification_of(model: WorkspaceConfig) -> Specification:
    """What the workspace states.

    Raises:
        ToymillError: what ``read_specification`` refuses.
    """
    return read_specification(
        model.local_path, measurement=model.measurement, patches=model.local_patches, poi=model.poi
    )


def show_workspace(model: WorkspaceConfig, *, every: bool) -> None:
    """Print what a workspace holds."""
    try:
        found = specification_of(model)
    except ToymillError as error:
        if ADD_SIGNAL not in str(error):
            raise
        found = specification_of(model.model_copy(update={"poi": ""}))
    out = console()
    bins = sum(len(channel.observed) for channel in found.channels)
    constrained = sum(item.constraint != "none" for item in found.parameters)
    fixed = sum(item.fixed for item in found.parameters)
    out.print(f"{found.source}", style="bold", markup=False)
    out.print(
        f"{len(found.channels)} channel{'s' * (len(found.channels) > 1)} of {bins} bins, {len(found.parameters)} parameters: {constrained} with a "
        f"constraint, {fixed} fixed",
        markup=False,
    )
    out.print(interest(found), markup=False)
    show_signal(out, model, found)
    heads = ("channel", "bins", "observed", "nominal", "of it signal", "samples")
    out.print(table("Channels", heads, [_channel(item, found.poi) for item in found.channels]))
    rows = [
        (channel.name, sample.name, f"{sum(sample.nominal):.6g}", len(sample.normsys), len(sample.histosys))
        for channel in found.channels
        for sample in channel.samples
    ]
    out.print(table("Samples", ("channel", "sample", "nominal", "normsys", "histosys"), rows, left=2))
    ordered = sorted(found.parameters, key=lambda item: item.name != found.poi)
    shown = ordered if every else ordered[:MOST]
    columns = ("parameter", "constraint", "initial", "bounds", "fixed")
    out.print(table("Parameters", columns, [_parameter(item, found.poi) for item in shown], left=2))
    if len(shown) < len(ordered):
        out.print(f"{len(ordered) - len(shown)} more parameters: add --all", markup=False)


def show_signal(out: Console, model: WorkspaceConfig, found: Specification) -> None:
    """Print which samples are the signal, whether it may be two, and what the nominal yields have of it."""
    nominal = "nominal yields are those that the file states, before any modifier"
    if found.poi is None:
        out.print(nominal, markup=False)
        return
    scaled = scaled_samples(model, found)
    for line in samples_in_words(model, found.poi, scaled):
        out.print(line, markup=False)
    warn(out, several_signals(model, found.poi, scaled))
    if scaled:
        out.print(f"{nominal}: the signal is among them, as at {found.poi} = 1", markup=False)


def interest(found: Specification) -> str:
    """The parameter of interest in words, and what to do where there is none."""
    if found.poi is None:
        return "no parameter of interest: name one with --poi, or a signal with --signal PATCH"
    about = next(item for item in found.parameters if item.name == found.poi)
    held = ", and it is fixed" if about.fixed else ""
    return f"parameter of interest: {found.poi}, {about.init:g} at first, within {_bounds(about)}{held}"


def _channel(channel: Channel, poi: str | None) -> tuple[object, ...]:
    nominal = sum(sum(sample.nominal) for sample in channel.samples)
    signal = sum(sum(sample.nominal) for sample in channel.samples if any(poi in factor for factor in sample.factors))
    kinds = Counter(sample.name for sample in channel.samples)
    counts = [f"{value:.6g}" for value in (sum(channel.observed), nominal, signal)]
    return channel.name, len(channel.observed), *counts[:2], counts[2] if poi else "", len(kinds)


def _bounds(item: ParameterSpec) -> str:
    return f"[{item.bounds[0]:g}, {item.bounds[1]:g}]"


def _parameter(item: ParameterSpec, poi: str | None) -> tuple[object, ...]:
    name = f"{item.name} (of interest)" if item.name == poi else item.name
    fixed = "fixed" if item.fixed else ""
    return name, item.constraint, f"{item.init:.6g}", _bounds(item), fixed
