"""A study with the ensembles that its sections are answered from: before and after these are designed. Needs no JAX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from toymill.config.ensemble import Ensemble
from toymill.config.sections import needs
from toymill.config.study import Study, read_study
from toymill.errors import ToymillError
from toymill.results.design import Design, read_design


def planned(study: Study) -> Study:
    """The study with the ensembles of its sections, of which only names and toys are known yet: their truth is empty."""
    return _with(study, {name: Ensemble(toys=need.toys) for name, need in needs(study).items()})


def designed(study: Study, design: Design) -> Study:
    """The study with the ensembles of its sections, as they were designed.

    Raises:
        ToymillError: a design of other sections.
    """
    if list(design.ensembles) != list(needs(study)):
        msg = (
            f"The design of study {design.study!r} has the ensembles {', '.join(design.ensembles)}; the sections of "
            f"{study.study!r} need {', '.join(needs(study))}. Remove design.json, and run again."
        )
        raise ToymillError(msg)
    return _with(
        study,
        {
            name: Ensemble.model_validate(
                {"truth": item.truth, "tests": item.tests, "toys": item.toys, "throw": item.throw}
            )
            for name, item in design.ensembles.items()
        },
    )


def study_of(content: Mapping[str, object], design: str | Path | None) -> Study:
    """The study that a configuration states, with the ensembles of its sections.

    Args:
        content: the configuration.
        design: its ``design.json``; None, or empty as Snakemake has it, for a study without sections.

    Raises:
        ToymillError: what ``read_study``, ``read_design`` and ``designed`` refuse.
    """
    study = read_study(content)
    return designed(study, read_design(design)) if design else study


def _with(study: Study, ensembles: Mapping[str, Ensemble]) -> Study:
    return study.model_copy(update={"ensembles": {**study.ensembles, **ensembles}})
