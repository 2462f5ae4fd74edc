"""Which samples the parameter of interest scales, and which patch each is from. Needs no JAX.

A model may hold two signals that exclude each other: nothing in a file says so, but that they come from two patches does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from toymill.config.inspection import specification_of
from toymill.config.model import NamedPatch, WorkspaceConfig, is_file, local_of
from toymill.config.study import Study
from toymill.errors import one_line
from toymill.formats.patches import samples_given
from toymill.formats.specification import Specification

MOST = 10
"""Samples and channels that are named in a line or a list."""


class Scaled(NamedTuple):
    """A sample that the parameter of interest multiplies.

    Attributes:
        name: its name.
        channels: the channels where it does.
        patches: numbers of the patches that give its yields, in order; none of the workspace itself.
    """

    name: str
    channels: tuple[str, ...]
    patches: tuple[int, ...]


def scaled_samples(model: WorkspaceConfig, found: Specification) -> list[Scaled]:
    """The samples that the parameter of interest scales.

    Args:
        model: the model's section of a configuration.
        found: what its files state.

    Raises:
        ToymillError: patches that cannot be read.
    """
    given = samples_given(model.local_path, model.local_patches) if model.patches else {}
    places, names = model.rename.channels, model.rename.samples
    renamed = {(places.get(place, place), names.get(name, name)): item for (place, name), item in given.items()}
    channels: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for channel in found.channels:
        for sample in channel.samples:
            if any(found.poi in factor for factor in sample.factors):
                key = sample.name, renamed.get((channel.name, sample.name), ())
                channels.setdefault(key, []).append(channel.name)
    return [Scaled(name, tuple(where), patches) for (name, patches), where in channels.items()]


def samples_in_words(model: WorkspaceConfig, poi: str, scaled: Sequence[Scaled]) -> Iterator[str]:
    """A line for each of these samples, with its channels and, where patches are given, what it is from."""
    if not scaled:
        yield f"{poi} is a factor of no sample"
        return
    yield f"{poi} scales {_number(len({item.name for item in scaled}), 'sample')}:"
    for item in scaled[:MOST]:
        source = f", from {_source(model, item)}" if model.patches else ""
        where = f"{_number(len(item.channels), 'channel')}: {_listed(item.channels)}"
        yield f"  {one_line(item.name)}{source}, in {where}"
    if len(scaled) > MOST:
        yield f"  {len(scaled) - MOST} more"


def several_signals(model: WorkspaceConfig, poi: str, scaled: Sequence[Scaled]) -> Iterator[str]:
    """What is to be looked at where the parameter of interest scales samples of more than one patch, a line each."""
    last = {number for item in scaled for number in item.patches[-1:]}
    added = {item.name for item in scaled if item.patches}
    own = {item.name for item in scaled} - added
    if len(last) > 1 or (last and own):
        of = f"{len(last)} patches" if len(last) > 1 else "a patch and of the workspace itself"
        named = dict.fromkeys(f"{one_line(item.name)} ({_source(model, item)})" for item in scaled)
        yield (
            f"{poi} scales samples of {of} at once: {_listed([*named])}. The model has the sum of them as its signal. If they "
            "exclude each other, as two points of a grid do, keep one. A study of each in turn is a scan."
        )
    for item in scaled:
        if len(item.patches) > 1:
            names = [_patch_name(model, number) for number in item.patches]
            yield (
                f"{poi} scales {one_line(item.name)}, whose yields {' and then '.join(names)} give: those of the last count. "
                "If they are two signals, keep one."
            )


def remarks_on_signals(study: Study) -> Iterator[str]:
    """The same of every model of a study, as far as its files are there, by the key of the model.

    Raises:
        ToymillError: what ``specification_of`` refuses.
    """
    for key, model in study.models.items():
        if isinstance(model, WorkspaceConfig) and model.patches and all(map(is_file, model.inputs)):
            found = specification_of(model)
            for line in several_signals(model, str(found.poi), scaled_samples(model, found)):
                yield f"{key}.patches: {line}"


def _source(model: WorkspaceConfig, item: Scaled) -> str:
    return _patch_name(model, item.patches[-1]) if item.patches else "the workspace itself"


def _patch_name(model: WorkspaceConfig, number: int) -> str:
    """A patch in a few words: the name of its file, and its own in a set."""
    patch = model.patches[number]
    file = one_line(local_of(patch.path if isinstance(patch, NamedPatch) else patch).name)
    return f"patch {one_line(patch.patch)!r} of {file}" if isinstance(patch, NamedPatch) else file


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(one_line, names[:MOST]))
    return f"{shown}, … ({len(names)} in all)" if len(names) > MOST else shown
