"""Whether the functions of a model stated in Python can be traced and batched, and do nothing in secret.

``check_derivatives`` has the checks of derivatives, ``user_code`` the words in which a user's mistakes are told.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from toymill.errors import ToymillError
from toymill.models.check_derivatives import require_agreement, require_derivatives
from toymill.models.user import Quantity, UserModel
from toymill.models.user_code import guarded, initial_values, statement_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float

_SAME = 1e-9  # relative difference that rounding may make between two ways of computing a likelihood
_DATASETS = 4  # thrown at the initial values for the checks


def check_model(model: UserModel) -> None:
    """Check that a model's functions can be traced, batched and differentiated, and do nothing in secret.

    On datasets thrown at the initial values (and the observed one): the log-likelihood is one finite number of
    float64, the same in every evaluation and when batched; no tracer is kept; its derivatives are finite and those
    that differences give; every free parameter matters; ``throw`` follows its key and nothing else.

    Raises:
        ToymillError: naming the first of these that fails, where, and what to change.
    """
    init = model.parameters.init
    size = len(model.data_names) - int(np.count_nonzero(model.sampling.auxiliary))
    data = _thrown(model, init)
    if model.observed is not None:
        data = np.concatenate([data, model.observed[None, :size]])
    _require_scalar(model, init, data[0])
    _require_precise(model, init, data[0])
    _require_pure(model, init, data)
    for row in data:
        value = float(guarded(model, jax.jit(model.logpdf_of))(init, row))
        if not np.isfinite(value):
            which = "the observed data" if row is data[-1] and model.observed is not None else "a toy thrown there"
            msg = (
                f"The log-likelihood is {value:g} at the initial values ({initial_values(model)}) for {which}. Choose initial "
                "values where it is finite, or mend the function: a logarithm or root of what may be 0 or negative?"
            )
            raise ToymillError(msg)
    _require_batches(model, init, data)
    require_derivatives(model, data)
    if model.draw is not None and not model.mismatch:
        require_agreement(model)
    for name, function in model.derived.items():
        made = guarded(model, lambda params, f=function: jnp.asarray(f(params)), f"derived[{name!r}]")(init)
        if made.shape != () or not np.isfinite(float(made)):
            msg = f"derived[{name!r}] gave {made} at the initial values; expected one finite number."
            raise ToymillError(msg)
    if model.information is not None:
        _require_information(model, model.information)


def _thrown(model: UserModel, init: Float[np.ndarray, " parameter"]) -> Float[np.ndarray, "toy main"]:
    """A few main datasets at the initial values, thrown in every way that must not matter."""
    if model.expected is not None:
        rates = np.asarray(guarded(model, jax.jit(model.expected))(init), dtype=np.float64).ravel()
        if not np.isfinite(rates).all() or (rates < 0).any():
            worst = rates[~(rates >= 0) | ~np.isfinite(rates)][0]
            msg = f"expected gives {worst:g} at the initial values ({initial_values(model)}); expected counts are 0 or more."
            raise ToymillError(msg)
        return np.random.default_rng(0).poisson(rates, (_DATASETS, len(rates))).astype(np.float64)
    draw = model.draw
    assert draw is not None
    keys = jax.random.split(jax.random.key(1), _DATASETS)

    def batch() -> np.ndarray:
        return np.asarray(guarded(model, jax.jit(jax.vmap(lambda key: draw(key, init))), "throw")(keys))

    with jax.checking_leaks():
        data = batch()
        jax.clear_caches()  # type: ignore[no-untyped-call]
        again = batch()
    alone = np.stack([np.asarray(guarded(model, lambda key: draw(key, init), "throw")(key)) for key in keys])
    advice = "it uses another source of chance (numpy.random, random, time), or a state. Use jax.random with its key"
    for other in (again, alone):
        if not np.allclose(data, other, rtol=_SAME, atol=_SAME, equal_nan=True):
            msg = f"throw gave other data for the same key: {advice}."
            raise ToymillError(msg)
    if _DATASETS > 1 and (data == data[0]).all():
        msg = f"throw gave the same data for {_DATASETS} different keys. Let all its chance come from its key, by jax.random."
        raise ToymillError(msg)
    if not np.isfinite(data).all():
        value = data[~np.isfinite(data)][0]
        msg = f"throw gave {value:g} at the initial values ({initial_values(model)}); expected finite numbers."
        raise ToymillError(msg)
    return data


def _require_scalar(model: UserModel, init: np.ndarray, row: np.ndarray) -> None:
    if model.terms is not None:
        data = row.reshape(model.shape)
        made = guarded(model, partial(jax.eval_shape, model.terms, tuple(init), data[0], jnp.asarray(0)))()
    elif model.expected is not None:
        return
    else:
        made = guarded(model, lambda: jax.eval_shape(model.logpdf_of, init, row))()
        if getattr(made, "shape", None) != ():
            shape = f"an array of shape {made.shape}" if hasattr(made, "shape") else type(made).__name__
            msg = f"logpdf returned {shape}; expected one number. Sum over the data: jnp.sum(…)."
            raise ToymillError(msg)
    if getattr(made, "dtype", None) != jnp.float64:
        msg = (
            f"{statement_of(model)} returned {getattr(made, 'dtype', type(made).__name__)}; expected float64. Something in it "
            "is cast to a smaller type, or is no number at all."
        )
        raise ToymillError(msg)


def _require_precise(model: UserModel, init: np.ndarray, row: np.ndarray) -> None:
    """Nothing on the way from params and data to the log-likelihood is in float32."""
    stated = str(jax.make_jaxpr(model.logpdf_of)(init, row))
    if "f32[" in stated:
        msg = (
            f"{statement_of(model)} computes in float32 on its way (jax.make_jaxpr shows where). A likelihood ratio is a small "
            "difference of large numbers: leave out astype and dtype, or name float64."
        )
        raise ToymillError(msg)


def _require_pure(model: UserModel, init: np.ndarray, data: np.ndarray) -> None:
    """Traced twice and evaluated without tracing, the log-likelihood is the same, and no tracer is kept."""
    stated = model.logpdf_of

    def traced() -> np.ndarray:
        # Everything anew: JAX would give the first program again.
        jax.clear_caches()  # type: ignore[no-untyped-call]
        fresh = jax.jit(jax.vmap(lambda params, row: stated(params, row), (None, 0)))
        return np.asarray(guarded(model, fresh)(init, data))

    with jax.checking_leaks():
        try:
            first = traced()
        except ToymillError as error:
            if "Leaked" not in str(error):
                raise
            msg = (
                f"{statement_of(model)} keeps a traced value after it has returned, in a global, a list or an attribute. "
                "Return values instead of keeping them."
            )
            raise ToymillError(msg) from None
    second = traced()
    untraced = cast("Callable[[np.ndarray, np.ndarray], Array]", stated)
    plain = np.array([float(guarded(model, untraced)(init, row)) for row in data])
    for other in (second, plain):
        if not np.allclose(first, other, rtol=_SAME, atol=_SAME, equal_nan=True):
            k = int(np.argmax(np.abs(np.nan_to_num(first - other))))
            msg = (
                f"{statement_of(model)} gave {first[k]:.12g} and then {other[k]:.12g} for the same params and data: it is not "
                "pure. It may not draw random numbers, count calls, read the time, or change what it captures; what it "
                "needs are params, data, and constants."
            )
            raise ToymillError(msg)


def _require_batches(model: UserModel, init: np.ndarray, data: np.ndarray) -> None:
    """Mapped over a batch, each toy's value is that of the toy alone."""
    points = np.tile(init, (len(data), 1))
    batch = np.asarray(guarded(model, jax.jit(jax.vmap(model.logpdf_of)))(points, data))
    alone = np.array([float(jax.jit(model.logpdf_of)(init, row)) for row in data])
    if batch.shape != alone.shape or not np.allclose(batch, alone, rtol=_SAME, atol=_SAME):
        msg = (
            f"{statement_of(model)} gives other values for a batch of toys than for each alone ({batch.ravel()[0]:.12g} and "
            f"{alone[0]:.12g}): something in it does not follow jax.vmap."
        )
        raise ToymillError(msg)


def _require_information(model: UserModel, information: Quantity) -> None:
    size = len(model.parameters)
    matrix = np.asarray(guarded(model, jax.jit(information), "information")(model.parameters.init))
    if matrix.shape != (size, size) or not np.isfinite(matrix).all() or not np.allclose(matrix, matrix.T):
        msg = f"information gave an array of shape {matrix.shape}; expected a finite symmetric ({size}, {size}) matrix."
        raise ToymillError(msg)
