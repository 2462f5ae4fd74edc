"""An ensemble of a configuration: its truth point, and which model its toys are thrown from. Needs no JAX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from toymill.config.inspection import Facts
from toymill.config.model import ModelConfig, Number, PythonConfig, Strict
from toymill.errors import ToymillError

MOST_TOYS = 10**10
"""Toys of an ensemble: they are added up in parts of a million, each a job (``study.layout.PART``)."""

MOST_INTERVALS = 2**20
"""Toys of an ensemble whose profile intervals are found: the ends of all of them are held at once."""


def path_alone(value: object) -> object:
    """A path in place of a mapping, as the mapping of it alone."""
    return {"path": value} if isinstance(value, str) else value


class Ensemble(Strict):
    """All toys of one truth point."""

    truth: dict[str, Number] = {}
    """Parameter values that the toys are thrown at, by name; the others as `nuisances` says."""
    toys: Annotated[int, Field(ge=1, le=MOST_TOYS, strict=True)] = 10000
    """Number of toys, ten thousand million at most."""
    tests: list[Number] = []
    """Values of the parameter of interest tested on every toy; the truth's own is always added."""
    throw: Literal["frequentist", "main-only", "hybrid", "templates"] = "frequentist"
    """What fluctuates: `frequentist` main and auxiliary data; `main-only` leaves auxiliary data as observed; `hybrid`
    leaves them and draws nuisance parameters from their constraints (Cousins and Highland); `templates` is frequentist
    with the yields of each sample drawn within its staterror."""
    nuisances: Literal["nominal", "conditional"] = "nominal"
    """Where the other parameters stand: `nominal` at their initial values, `conditional` at their best fit to the
    observed data with `truth` held."""
    profile_intervals: list[str] = []
    """Parameters whose profile likelihood intervals are found for every toy, both ends, at the study's `levels`; for
    coverage, lengths and ends. It takes several times as long as the fits."""
    thrown_from: ModelConfig | None = None
    """Another model of the same main data, stated as `model` is, which the toys are thrown from; `truth` names its
    parameters. null takes the model that is fitted."""

    _thrown_from_path = field_validator("thrown_from", mode="before")(path_alone)

    @model_validator(mode="after")
    def _intervals_are_held(self) -> Ensemble:
        if self.profile_intervals and self.toys > MOST_INTERVALS:
            msg = f"profile_intervals: the ensemble has {self.toys} toys; expected at most {MOST_INTERVALS} with them"
            raise ValueError(msg)
        if len(set(self.profile_intervals)) < len(self.profile_intervals):
            msg = f"profile_intervals: {', '.join(self.profile_intervals)} names a parameter twice"
            raise ValueError(msg)
        return self


def check_ensemble(name: str, ensemble: Ensemble, fitted: Facts, thrown: Facts) -> None:
    """Refuse an ensemble that does not fit its models.

    Args:
        name: name of the ensemble.
        ensemble: the ensemble.
        fitted: what is known of the model that is fitted, which has a parameter of interest.
        thrown: of the model that its toys are thrown from, which may be the same.

    Raises:
        ToymillError: a truth or a test of an unknown parameter or outside its bounds, a truth of the parameter of interest
            that is not given, a truth of what is drawn for each toy, templates that have no statistics, a fit to data
            that the model has not, intervals of parameters that it has not or fixes.
    """
    poi = str(fitted.poi)
    tested = [poi] if poi in ensemble.truth else []
    for key, parameters, values in (
        ("truth", thrown.parameters, [ensemble.truth]),
        ("truth", fitted.parameters, [{item: ensemble.truth[item]} for item in tested]),
        ("tests", fitted.parameters, [{poi: test} for test in ensemble.tests]),
    ):
        for settings in values:
            try:
                parameters.values(settings)
            except ToymillError as error:
                msg = f"ensembles.{name}.{key}: {error}"
                raise ToymillError(msg) from None
    constraint = dict(zip(thrown.parameters.names, thrown.parameters.constraint, strict=True))
    drawn = [item for item in ensemble.truth if item != poi and constraint[item] != "none"]
    if ensemble.throw == "hybrid" and drawn:
        msg = (
            f"ensembles.{name}.truth: hybrid toys draw {drawn[0]!r} from its constraint, so it has no truth. "
            "Leave it out, or choose another throw."
        )
        raise ToymillError(msg)
    _check_intervals(name, ensemble, fitted)
    if ensemble.throw == "templates":
        _check_templates(name, ensemble, thrown)
    if ensemble.nuisances == "conditional" and not thrown.observed:
        msg = (
            f"ensembles.{name}.nuisances: 'conditional' is a fit to the observed data, and this model has none. "
            "Give it observed data, or name the parameters in truth."
        )
        raise ToymillError(msg)
    if poi not in ensemble.truth:
        msg = (
            f"ensembles.{name}.truth: got {dict(ensemble.truth)}; expected a value for the parameter of "
            f"interest too, as {{{poi}: 1.0}}."
        )
        raise ToymillError(msg)


def _check_intervals(name: str, ensemble: Ensemble, fitted: Facts) -> None:
    """Refuse profile intervals of what no fit frees."""
    for item in ensemble.profile_intervals:
        try:
            fixed = fitted.parameters.fixed[fitted.parameters.index(item)]
        except ToymillError as error:
            msg = f"ensembles.{name}.profile_intervals: {error}"
            raise ToymillError(msg) from None
        if fixed:
            msg = (
                f"ensembles.{name}.profile_intervals: the model fixes {item!r}, which has no interval. Free it there, or "
                "name another parameter."
            )
            raise ToymillError(msg)


def _check_templates(name: str, ensemble: Ensemble, thrown: Facts) -> None:
    """Refuse to draw templates that have no statistics, and truths of what is drawn."""
    if not thrown.staterrors:
        msg = (
            f"ensembles.{name}.throw: 'templates' draws yields within their staterror, and no sample of the model has one. "
            "Give samples a staterror, or choose another throw."
        )
        raise ToymillError(msg)
    drawn = [item for item in ensemble.truth if item in thrown.staterrors]
    if drawn:
        msg = (
            f"ensembles.{name}.truth: throw 'templates' draws what the staterror {drawn[0]!r} stands for, so it has no "
            "truth. Leave it out, or choose another throw."
        )
        raise ToymillError(msg)


def check_thrown(name: str, model: ModelConfig, ensemble: Ensemble, fitted: Facts, thrown: Facts) -> None:
    """Refuse to throw an ensemble from a model whose data are not those of the model that is fitted.

    Args:
        name: name of the ensemble.
        model: the model that is fitted.
        ensemble: the ensemble, thrown from another model.
        fitted: what is known of the model that is fitted.
        thrown: of the other.

    Raises:
        ToymillError: other main data, no such parameter of interest, hybrid toys, files that one process cannot import.
    """
    key = f"ensembles.{name}.thrown_from"
    if ensemble.throw in {"hybrid", "templates"}:
        drawn = "parameters" if ensemble.throw == "hybrid" else "yields"
        msg = (
            f"ensembles.{name}.throw: {ensemble.throw} toys draw {drawn} as the constraints of the model that is fitted say, "
            f"and {key} names another. Choose another throw, or leave out thrown_from."
        )
        raise ToymillError(msg)
    if thrown.main != fitted.main:
        missing = [item for item in fitted.main if item not in thrown.main]
        further = [item for item in thrown.main if item not in fitted.main]
        differ = [f"it lacks {missing[0]}"] if missing else []
        differ += [f"it has {further[0]}"] if further else []
        msg = (
            f"{key}: its main data are not those of the model that is fitted: {' and '.join(differ or ['their order differs'])}; "
            f"expected {', '.join(fitted.main[:8])}{', …' if fitted.main[8:] else ''}. Toys have to be data of both models: "
            "the same channels, each with as many bins (or for models in Python the same name and shape)."
        )
        raise ToymillError(msg)
    if fitted.poi not in thrown.parameters.names:
        msg = (
            f"{key}: it has no parameter {fitted.poi!r}, the parameter of interest of the model that is fitted, whose bias "
            "and coverage are counted. Put it there: of a model without a signal, a signal whose truth is 0."
        )
        raise ToymillError(msg)
    if isinstance(model, PythonConfig) and isinstance(ensemble.thrown_from, PythonConfig):
        own = {path.name: path.resolve() for path in model.inputs}
        for path in ensemble.thrown_from.inputs:
            if own.get(path.name, path.resolve()) != path.resolve():
                msg = (
                    f"{key}: {Path(path)} has the name of {own[path.name]}, a file of the model that is fitted, and a "
                    "process of Python imports one file of a name. Rename one."
                )
                raise ToymillError(msg)
