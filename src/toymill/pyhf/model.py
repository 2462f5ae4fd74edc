"""From a ``pyhf.Model`` to toymill's model, with the caller's initial values, bounds and fixed parameters."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from toymill.errors import ToymillError
from toymill.formats.reader import read_specification
from toymill.histfactory.compiler import compile_specification
from toymill.histfactory.model import HistFactory, from_compiled
from toymill.pyhf.installed import pyhf, tensorlib

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import ArrayLike

    from toymill.formats.specification import Specification

_INTERPCODES = {"normsys": "code1", "histosys": "code0"}  # pyhf's where a model's settings have one type alone


def model_of(
    pdf: Any,
    data: Float[np.ndarray, " datum"],
    init_pars: ArrayLike | None = None,
    par_bounds: ArrayLike | None = None,
    fixed_params: ArrayLike | None = None,
) -> HistFactory:
    """The model whose likelihood is that of a ``pyhf.Model``.

    Args:
        pdf: the ``pyhf.Model``.
        data: main and auxiliary data, shape (D,).
        init_pars: initial values, shape (P,); where a fixed parameter stays. ``pdf.config.suggested_init()`` if None.
        par_bounds: lower and upper bounds, shape (P, 2); ``pdf.config.suggested_bounds()`` if None.
        fixed_params: True for what no fit frees, shape (P,); ``pdf.config.suggested_fixed()`` if None.

    Raises:
        pyhf.exceptions.UnspecifiedPOI: the model has no parameter of interest.
        pyhf.exceptions.InvalidModel: it is fixed.
        ToymillError: what is no ``pyhf.Model``, a batched one, one with modifiers that pyhf does not have by itself, a
            length that is not the model's, a value that cannot be, and what ``read_workspace`` refuses of a workspace.
    """
    exceptions = pyhf.exceptions
    if not (hasattr(pdf, "spec") and hasattr(pdf, "config")):
        msg = f"pdf is a {type(pdf).__name__}; expected a pyhf.Model."
        raise ToymillError(msg)
    if pdf.batch_size is not None:
        msg = f"pdf has batch_size={pdf.batch_size}. Make the pyhf.Model without: all toys are one batch here."
        raise ToymillError(msg)
    if pdf.config.poi_index is None:
        msg = "No POI is defined. A POI is required to run a hypothesis test."
        raise exceptions.UnspecifiedPOI(msg)
    size = len(pdf.config.suggested_init())
    init = _array("init_pars", init_pars, pdf.config.suggested_init(), (size,), float)
    bounds = _array("par_bounds", par_bounds, pdf.config.suggested_bounds(), (size, 2), float)
    fixed = _array("fixed_params", fixed_params, pdf.config.suggested_fixed(), (size,), bool)
    if fixed[pdf.config.poi_index]:
        msg = f"The POI {pdf.config.poi_name} is fixed. Free it in fixed_params, or in the model's parameters, to test it."
        raise exceptions.InvalidModel(msg)
    specification = _with_parameters(_specification(pdf, data), init, bounds, fixed)
    model = from_compiled(compile_specification(specification))
    _require_same(pdf, model, init)
    return model


def _specification(pdf: Any, data: Float[np.ndarray, " datum"]) -> Specification:
    """What the model's own specification says, as a workspace with the data as observations."""
    config = pdf.config
    expected = config.nmaindata + config.nauxdata
    if data.shape != (expected,):
        msg = (
            f"data has shape {data.shape}; expected ({expected},): {config.nmaindata} counts and {config.nauxdata} "
            "auxiliary data. Add model.config.auxdata to the observations."
        )
        raise ToymillError(msg)
    settings = config.modifier_settings
    return read_specification(
        {
            "channels": pdf.spec["channels"],
            "observations": [
                {"name": name, "data": data[config.channel_slices[name]].tolist()} for name in config.channels
            ],
            "measurements": [
                {
                    "name": "pyhf",
                    "config": {"poi": config.poi_name, "parameters": pdf.spec.get("parameters", [])},
                }
            ],
            "version": "1.0.0",
        },
        modifier_settings={
            kind: {"interpcode": settings.get(kind, {}).get("interpcode", code)} for kind, code in _INTERPCODES.items()
        },
    )


def _with_parameters(
    specification: Specification,
    init: Float[np.ndarray, " parameter"],
    bounds: Float[np.ndarray, "parameter 2"],
    fixed: np.ndarray,
) -> Specification:
    """The specification with the caller's settings of its parameters, which are in pyhf's order."""
    parameters = []
    for item, value, (low, high), held in zip(
        specification.parameters, init.tolist(), bounds.tolist(), fixed.tolist(), strict=True
    ):
        if not low <= value <= high:
            msg = f"Parameter {item.name!r}: its initial value {value:g} lies outside its bounds [{low:g}, {high:g}]."
            raise ToymillError(msg)
        parameters.append(replace(item, init=value, bounds=(low, high), fixed=held))
    told = repr([specification.digest, init.tolist(), bounds.tolist(), fixed.tolist()])
    return replace(
        specification, source="the model", parameters=parameters, digest=hashlib.sha256(told.encode()).hexdigest()
    )


def _array(name: str, given: ArrayLike | None, suggested: list[Any], shape: tuple[int, ...], kind: type) -> np.ndarray:
    """What the caller gave, or what the model suggests where that is None or empty, as pyhf takes it."""
    if given is None or (isinstance(given, list | tuple) and not given):
        given = suggested
    try:
        found: np.ndarray = np.asarray(given, dtype=kind)
    except (TypeError, ValueError) as error:
        msg = f"{name} cannot be read as an array of shape {shape}: {error}."
        raise ToymillError(msg) from None
    if found.shape != shape:
        msg = f"{name} has shape {found.shape}; expected {shape}: the model has {shape[0]} parameters."
        raise ToymillError(msg)
    if np.isnan(found).any():
        msg = f"{name} has values that are no numbers. Expected numbers, infinite ones for bounds that are absent."
        raise ToymillError(msg)
    return found


def _require_same(pdf: Any, model: HistFactory, init: Float[np.ndarray, " parameter"]) -> None:
    """Refuse a model that pyhf computes otherwise, as it may by modifiers of the user's own under pyhf's names."""
    names = tuple(pdf.config.par_names)
    tb = tensorlib()
    theirs = np.asarray(tb.tolist(pdf.expected_data(tb.astensor(init.tolist()))))
    ours = np.asarray(model.expected_data(init))
    if names != model.parameters.names or not np.allclose(ours, theirs, rtol=1e-5, atol=1e-6):
        msg = (
            "pdf has other parameters or expected data than its specification says. Make it by pyhf.Model(spec), or by "
            "Workspace.model(), without modifiers of your own."
        )
        raise ToymillError(msg)


def as_numbers(name: str, values: Any) -> Float[np.ndarray, " number"]:
    """Numbers, or a tensor of any backend, as an array of shape (n,).

    Raises:
        ToymillError: something else.
    """
    try:
        found = np.atleast_1d(np.asarray(values, dtype=float))
    except (TypeError, ValueError) as error:
        msg = f"{name} cannot be read as numbers: {error}."
        raise ToymillError(msg) from None
    if not np.isfinite(found).all():
        msg = f"{name} is {values!r}; expected finite numbers."
        raise ToymillError(msg)
    return found
