"""HistFactory: Poisson bins with normal and Poisson constraints (CERN-OPEN-2012-016), as pyhf states it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jax import Array

from toymill.formats.patches import Patch
from toymill.formats.reader import read_specification
from toymill.formats.validation import Json
from toymill.histfactory import kernel
from toymill.histfactory.arrays import Templates
from toymill.histfactory.compiler import Compiled, compile_specification
from toymill.histfactory.first_step import first_step
from toymill.histfactory.second_minima import SCANNED
from toymill.linalg import UNROLLED
from toymill.models.base import Model, Sampling, TemplateNoise, Tuning, columns, require_x64

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import ArrayLike


@dataclass(frozen=True, repr=False)
class HistFactory(Model):
    """A HistFactory model, made by ``read_workspace``."""

    def expected_data(self, params: ArrayLike) -> Float[Array, "*toy datum"]:
        """Expected main and auxiliary data in pyhf's order, shape (P,) to (D,) or (n, P) to (n, D).

        Raises:
            ToymillError: a number of parameters that is not the model's.
        """
        x = columns(params, len(self.parameters), "params", "parameters")
        expected: Array = kernel.expected(self.arrays, x).T
        return expected[0] if np.ndim(params) == 1 else expected

    def main_logpdf(self, params: ArrayLike, data: ArrayLike) -> Float[Array, "*toy"]:
        """The main data's part of ``logpdf``, Σ_b log Poisson(n_b | ν_b); arguments and result as there.

        Raises:
            ToymillError: a length that is not the model's.
        """
        return self._evaluate(kernel.main_logpdf, params, data)

    def constraint_logpdf(self, params: ArrayLike, data: ArrayLike) -> Float[Array, "*toy"]:
        """The auxiliary data's part of ``logpdf``; arguments and result as there.

        Raises:
            ToymillError: a length that is not the model's.
        """
        return self._evaluate(kernel.constraint_logpdf, params, data)


def read_workspace(
    path: str | Path | Json,
    measurement: str | None = None,
    patches: Sequence[Patch] = (),
    poi: str | None = None,
    *,
    modifier_settings: Mapping[str, Mapping[str, str]] | None = None,
    prune: Mapping[str, Sequence[str]] | None = None,
    rename: Mapping[str, Mapping[str, str]] | None = None,
    parameters: Mapping[str, Mapping[str, object]] | None = None,
) -> HistFactory:
    """Read a pyhf workspace, or an HS3 file of a HistFactory model, as a model.

    Args:
        path: a JSON file (or its content).
        measurement: name of a measurement, of an analysis in HS3; a workspace's first one if None.
        patches: JSON patches, applied in order, each a file or its content; of a patch set a tuple of the file and
            the patch's name.
        poi: name of the parameter of interest; the measurement's if None, none at all if "".
        modifier_settings: pyhf's interpolation codes, of normsys and histosys both:
            ``{"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}`` if None.
        prune: names of ``channels``, ``samples``, ``modifiers``, ``modifier_types`` or ``measurements`` to remove
            from a workspace, as pyhf's ``Workspace.prune`` does.
        rename: new names by old ones for ``channels``, ``samples``, ``modifiers`` or ``measurements``, as pyhf's
            ``Workspace.rename`` does.
        parameters: ``init``, ``bounds`` and ``fixed`` of parameters in place of the file's, by name:
            ``{"mu": {"bounds": [0.0, 5.0]}}``.

    Raises:
        ToymillError: what ``read_specification`` and ``compile_specification`` refuse; JAX in float32.

    Example:
        >>> import jax, toymill
        >>> jax.config.update("jax_enable_x64", True)
        >>> model = toymill.read_workspace("tests/data/onoff.json")
        >>> model.parameters.names, model.poi
        (('b', 'mu'), 'mu')
    """
    require_x64()
    specification = read_specification(
        path,
        measurement=measurement,
        patches=patches,
        poi=poi,
        modifier_settings=modifier_settings,
        prune=prune,
        rename=rename,
        parameters=parameters,
    )
    return from_compiled(compile_specification(specification))


def tuning_of(templates: Templates[np.ndarray], *, fast: bool) -> Tuning:
    """What batches of fits are shaped by; small systems of equations are written out, and cost little.

    A matrix of Fisher scoring costs less than a gradient where there are few bins. Else it serves for the next three steps:
    most fits take no more. A second remembered change of the gradient helps where many parameters change several bins.
    """
    bins, parameters = templates.nominal.shape[1], len(templates.order.places[0])
    several = len(templates.order.interpolating) + len(templates.multipliers.multi_present)
    rows = several if fast else parameters
    return Tuning(
        block=max(4 * rows * parameters, rows * templates.nominal.size, parameters),
        matrix=rows * max(rows, parameters),
        scanned=len(SCANNED),
        hessian_is_cheap=parameters <= UNROLLED,
        matrix_reuse=3 if bins > UNROLLED else 0,
        remembered=2 if several > UNROLLED else 1,
    )


def from_compiled(compiled: Compiled) -> HistFactory:
    """The model of a compiled workspace."""
    templates = compiled.templates
    constraints, order = templates.constraints, templates.order.parameters
    size = len(compiled.observed)
    poisson = np.ones(size, dtype=bool)
    poisson[constraints.normal_datum] = False
    sigma = np.ones(size)
    sigma[constraints.normal_datum] = constraints.normal_sigma
    parameter = np.full(size, -1)
    parameter[constraints.normal_datum] = order[constraints.normal_parameter]
    parameter[constraints.poisson_datum] = order[constraints.poisson_parameter]
    scale = np.ones(size)
    scale[constraints.poisson_datum] = constraints.poisson_tau
    observed = np.where(parameter >= 0, compiled.observed, np.nan)
    noise = TemplateNoise(
        lambda params: np.asarray(kernel.template_spread(templates, compiled.staterrors, params)),
        compiled.of_staterrors,
    )
    of_one_kind = len(order) == len(compiled.parameters)
    sampling = Sampling(poisson, sigma, parameter >= 0, parameter, scale, observed)
    return HistFactory(
        parameters=compiled.parameters,
        poi=compiled.poi,
        observed=compiled.observed,
        data_names=compiled.data_names,
        sampling=sampling,
        arrays=templates,
        kernel=kernel.KERNEL if of_one_kind else kernel.PLAIN,
        digest=compiled.digest,
        two_minima=compiled.two_minima,
        kinks=compiled.kinks,
        tuning=tuning_of(templates, fast=of_one_kind and not compiled.kinks.any()),
        starts=np.empty((0, len(compiled.parameters))),
        draw=None,
        information=None,
        derived={},
        template_noise=noise if compiled.staterrors.any() else None,
        negative_yields=compiled.negative_yields,
        first_step=partial(first_step, templates, sampling) if of_one_kind else None,
    )
