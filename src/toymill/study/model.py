"""A study's model, its truth points, and the quantities that it derives from its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING

import jax
import numpy as np

from toymill.config.inspection import Facts
from toymill.config.model import StatedConfig
from toymill.config.opening import open_model
from toymill.config.study import Study, check_study
from toymill.errors import ToymillError
from toymill.fitting.fit import fit
from toymill.fitting.status import Status
from toymill.models.base import Model

if TYPE_CHECKING:
    from jaxtyping import Array, Float

    from toymill.results.tally import Derived


def checked_model(study: Study) -> Model:
    """The study's model, checked against the study.

    Raises:
        ToymillError: a model that cannot be used, a study that does not fit it.
    """
    model = open_model(study.model)
    check_study(study, Facts(model.parameters, model.poi, observed=model.observed is not None))
    return model


def poi_of(model: Model) -> str:
    """The parameter of interest of a checked model."""
    assert model.poi is not None
    return model.poi


def truth_point(study: Study, model: Model, ensemble: str) -> Float[np.ndarray, " parameter"]:
    """The parameter values that an ensemble's toys are thrown at, shape (P,).

    Raises:
        ToymillError: a conditional fit to the observed data that is not certified.
    """
    settings = study.ensembles[ensemble]
    if settings.nuisances == "nominal":
        return model.parameters.values(settings.truth)
    what = f"ensembles.{ensemble}.nuisances: the fit to the observed data at {dict(settings.truth)}"
    return observed_point(model, settings.truth, what)


def observed_point(model: Model, held: Mapping[str, float], what: str) -> Float[np.ndarray, " parameter"]:
    """The fit to the observed data, shape (P,).

    Args:
        model: a model with observed data.
        held: parameters that the fit holds, by name.
        what: which fit it is, as the message begins if it is not certified.

    Raises:
        ToymillError: a fit that is not certified.
    """
    assert model.observed is not None
    fits = fit(model, model.observed, held)
    if not fits.ok[0]:
        status = Status(int(fits.status[0]))
        msg = f"{what} ended as {status.name.lower()}. {status.advice}"
        raise ToymillError(msg)
    point: np.ndarray = fits.parameters[0]
    return point


def derived_quantities(model: Model) -> Derived:
    """The quantities that a model derives from its parameters, each as a function of many toys', (n, P) to (n,)."""
    return {name: _of_each(quantity) for name, quantity in model.derived.items()}


def derived_of_study(study: Study) -> Derived:
    """The same for a study's model. Only a model that Python states has any; a workspace is not read again."""
    return derived_quantities(open_model(study.model)) if isinstance(study.model, StatedConfig) else {}


@cache
def _of_each(
    quantity: Callable[[Float[Array, " parameter"]], Float[Array, ""]],
) -> Callable[[Float[np.ndarray, "toy parameter"]], Float[Array, " toy"]]:
    """A function of one toy's parameters, of those of many."""
    return jax.jit(jax.vmap(quantity))
