"""From a Python file to a checked model: what a user's functions do wrong is told with the line that does it."""

from __future__ import annotations

import importlib.util
import inspect
import linecache
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from toymill.errors import ToymillError, nearest
from toymill.models.user import UserModel

_SAME = 1e-9  # relative difference that rounding may make between two ways of computing a likelihood
_AGREEING = 512  # toys that tell whether throw and likelihood agree
_NUMBERS = 2**21  # main data of such toys that are held at once
_DATASETS = 4  # thrown at the initial values for the checks


def load_model(path: str | Path, entry: str = "build", options: Mapping[str, Any] | None = None) -> UserModel:
    """The model that a function in a Python file builds. ``check_model`` tells whether its functions are right.

    Args:
        path: the file; modules beside it may be imported.
        entry: name of the function.
        options: its keyword arguments.

    Raises:
        ToymillError: a file that is not there or fails, no such function, options that it does not take, something
            else than a model returned.
    """
    file = Path(path).resolve()
    if not file.is_file():
        msg = f"There is no file {str(path)!r} in {Path.cwd()}."
        raise ToymillError(msg)
    specification = importlib.util.spec_from_file_location(f"toymill_user_{file.stem}", file)
    if specification is None or specification.loader is None:
        msg = f"{path} is no Python file: its name has to end in .py."
        raise ToymillError(msg)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    sys.path.insert(0, str(file.parent))
    try:
        with _told(f"{path} cannot be imported", file):
            specification.loader.exec_module(module)
        build = getattr(module, entry, None)
        if not callable(build):
            public = [name for name, item in vars(module).items() if callable(item) and not name.startswith("_")]
            msg = f"{path} has no function {entry!r}. {nearest(entry, public)}"
            raise ToymillError(msg)
        try:
            inspect.signature(build).bind(**dict(options or {}))
        except TypeError as error:
            known = ", ".join(inspect.signature(build).parameters) or "none"
            msg = f"{path}: the options do not fit {entry}: {error}. Its options: {known}."
            raise ToymillError(msg) from None
        with _told(f"{path}: {entry} failed", file):
            model = build(**dict(options or {}))
    finally:
        sys.path.remove(str(file.parent))
    if not isinstance(model, UserModel):
        msg = f"{path}: {entry} returned {type(model).__name__}; expected what toymill.define_model returns."
        raise ToymillError(msg)
    return model


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
        value = float(_guarded(model, jax.jit(model.logpdf_of))(init, row))
        if not np.isfinite(value):
            which = "the observed data" if row is data[-1] and model.observed is not None else "a toy thrown there"
            msg = (
                f"The log-likelihood is {value:g} at the initial values ({_values(model)}) for {which}. Choose initial "
                "values where it is finite, or mend the function: a logarithm or root of what may be 0 or negative?"
            )
            raise ToymillError(msg)
    _require_batches(model, init, data)
    _require_derivatives(model, data)
    if model.draw is not None and not model.mismatch:
        _require_agreement(model)
    for name, function in model.derived.items():
        made = _guarded(model, lambda params, f=function: jnp.asarray(f(params)), f"derived[{name!r}]")(init)
        if made.shape != () or not np.isfinite(float(made)):
            msg = f"derived[{name!r}] gave {made} at the initial values; expected one finite number."
            raise ToymillError(msg)
    if model.information is not None:
        _require_information(model, model.information)


def _values(model: UserModel) -> str:
    shown = [f"{name} = {value:g}" for name, value in zip(model.parameters.names, model.parameters.init, strict=True)]
    return ", ".join(shown[:6]) + (", …" if len(shown) > 6 else "")


def _what(model: UserModel) -> str:
    return "expected" if model.expected is not None else "terms" if model.terms is not None else "logpdf"


def _guarded(model: UserModel, function: Callable[..., Any], what: str | None = None) -> Callable[..., Any]:
    """The function, with what JAX or the user's code raises told as a mistake in the model."""
    told = what or _what(model)

    def call(*arguments: Any) -> Any:
        with _told(f"{told} cannot be used", None):
            return function(*arguments)

    return call


_ADVICE: list[tuple[type[BaseException], str]] = [
    (
        jax.errors.TracerArrayConversionError,
        "it hands a traced value to NumPy (or to another library that is not JAX). Use jax.numpy for everything that "
        "depends on params or data",
    ),
    (
        jax.errors.NonConcreteBooleanIndexError,
        "the shape of an array depends on values. Shapes are fixed: use jnp.where, or pad and mask",
    ),
    (
        jax.errors.TracerBoolConversionError,
        "it decides by a traced value (if, while, and, or, max). Use jnp.where, jnp.maximum or jax.lax.cond",
    ),
    (
        jax.errors.ConcretizationTypeError,
        "it needs a value where only a shape is known (math.log, float(), a Python loop or a shape that depends on "
        "values?). Use jax.numpy's functions, jnp.where, jax.lax.fori_loop, or pad and mask",
    ),
    (
        jax.errors.UnexpectedTracerError,
        "a traced value was kept from an earlier call, in a global, a list or an attribute. Return values instead",
    ),
    (
        jax.errors.TracerIntegerConversionError,
        "a traced value is used as an index or a size in Python. Use jnp.take, or make it an option of the model",
    ),
]


@contextmanager
def _told(what: str, file: Path | None) -> Iterator[None]:
    """Any exception becomes one message: what, where in the user's file, why, what to change."""
    try:
        yield
    except ToymillError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a user's code raises is the user's to mend
        advice = next((text for kind, text in _ADVICE if isinstance(error, kind)), None)
        if advice is None and "Shapes must be 1D sequences of concrete values" in str(error):
            advice = "the shape of an array depends on values. Pad and mask, or make the length an option of the model"
        if advice is None and "Reverse-mode differentiation does not work" in str(error):
            advice = "a while loop has no derivative. Use jax.lax.scan, or fori_loop with fixed limits"
        first = (str(error).strip().splitlines() or [""])[0]
        reason = advice or f"{type(error).__name__}: {first}"
        msg = f"{what}{_line_of(error, file)}: {reason}."
        raise ToymillError(msg) from None


def _line_of(error: BaseException, file: Path | None) -> str:
    """Where the user's code was, as `` (model.py, line 3: x = …)``: its last line outside toymill and libraries."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({Path(error.filename).name}, line {error.lineno})"
    here = Path(__file__).resolve().parents[1]
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename, here)]
    if file is not None:
        frames = [frame for frame in frames if Path(frame.filename).resolve() == file] or frames
    if not frames:
        return ""
    last = frames[-1]
    line = linecache.getline(last.filename, last.lineno or 0).strip()
    return f" ({Path(last.filename).name}, line {last.lineno}: {line})"


def _is_users(filename: str, here: Path) -> bool:
    path = Path(filename)
    if filename.startswith("<") or "site-packages" in path.parts:
        return False
    return here not in path.resolve().parents and "importlib" not in filename


def _thrown(model: UserModel, init: np.ndarray) -> np.ndarray:
    """A few main datasets at the initial values, thrown in every way that must not matter."""
    if model.expected is not None:
        rates = np.asarray(_guarded(model, jax.jit(model.expected))(init), dtype=np.float64).ravel()
        if not np.isfinite(rates).all() or (rates < 0).any():
            worst = rates[~(rates >= 0) | ~np.isfinite(rates)][0]
            msg = f"expected gives {worst:g} at the initial values ({_values(model)}); expected counts are 0 or more."
            raise ToymillError(msg)
        return np.random.default_rng(0).poisson(rates, (_DATASETS, len(rates))).astype(np.float64)
    draw = model.draw
    assert draw is not None
    keys = jax.random.split(jax.random.key(1), _DATASETS)

    def batch() -> np.ndarray:
        return np.asarray(_guarded(model, jax.jit(jax.vmap(lambda key: draw(key, init))), "throw")(keys))

    with jax.checking_leaks():
        data = batch()
        jax.clear_caches()  # type: ignore[no-untyped-call]
        again = batch()
    alone = np.stack([np.asarray(_guarded(model, lambda key: draw(key, init), "throw")(key)) for key in keys])
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
        msg = f"throw gave {value:g} at the initial values ({_values(model)}); expected finite numbers."
        raise ToymillError(msg)
    return data


def _require_scalar(model: UserModel, init: np.ndarray, row: np.ndarray) -> None:
    if model.terms is not None:
        data = row.reshape(model.shape)
        made = _guarded(model, partial(jax.eval_shape, model.terms, tuple(init), data[0], jnp.asarray(0)))()
    elif model.expected is not None:
        return
    else:
        made = _guarded(model, lambda: jax.eval_shape(model.logpdf_of, init, row))()
        if getattr(made, "shape", None) != ():
            shape = f"an array of shape {made.shape}" if hasattr(made, "shape") else type(made).__name__
            msg = f"logpdf returned {shape}; expected one number. Sum over the data: jnp.sum(…)."
            raise ToymillError(msg)
    if getattr(made, "dtype", None) != jnp.float64:
        msg = (
            f"{_what(model)} returned {getattr(made, 'dtype', type(made).__name__)}; expected float64. Something in it "
            "is cast to a smaller type, or is no number at all."
        )
        raise ToymillError(msg)


def _require_precise(model: UserModel, init: np.ndarray, row: np.ndarray) -> None:
    """Nothing on the way from params and data to the log-likelihood is in float32."""
    stated = str(jax.make_jaxpr(model.logpdf_of)(init, row))
    if "f32[" in stated:
        msg = (
            f"{_what(model)} computes in float32 on its way (jax.make_jaxpr shows where). A likelihood ratio is a small "
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
        return np.asarray(_guarded(model, fresh)(init, data))

    with jax.checking_leaks():
        try:
            first = traced()
        except ToymillError as error:
            if "Leaked" not in str(error):
                raise
            msg = (
                f"{_what(model)} keeps a traced value after it has returned, in a global, a list or an attribute. "
                "Return values instead of keeping them."
            )
            raise ToymillError(msg) from None
    second = traced()
    plain = np.array([float(_guarded(model, stated)(init, row)) for row in data])
    for other in (second, plain):
        if not np.allclose(first, other, rtol=_SAME, atol=_SAME, equal_nan=True):
            k = int(np.argmax(np.abs(np.nan_to_num(first - other))))
            msg = (
                f"{_what(model)} gave {first[k]:.12g} and then {other[k]:.12g} for the same params and data: it is not "
                "pure. It may not draw random numbers, count calls, read the time, or change what it captures; what it "
                "needs are params, data, and constants."
            )
            raise ToymillError(msg)


def _require_batches(model: UserModel, init: np.ndarray, data: np.ndarray) -> None:
    """Mapped over a batch, each toy's value is that of the toy alone."""
    points = np.tile(init, (len(data), 1))
    batch = np.asarray(_guarded(model, jax.jit(jax.vmap(model.logpdf_of)))(points, data))
    alone = np.array([float(jax.jit(model.logpdf_of)(init, row)) for row in data])
    if batch.shape != alone.shape or not np.allclose(batch, alone, rtol=_SAME, atol=_SAME):
        msg = (
            f"{_what(model)} gives other values for a batch of toys than for each alone ({batch.ravel()[0]:.12g} and "
            f"{alone[0]:.12g}): something in it does not follow jax.vmap."
        )
        raise ToymillError(msg)


def _inside(model: UserModel) -> np.ndarray:
    """A point near the initial values and inside the bounds, off the places where symmetric models have kinks."""
    low, high = model.parameters.bounds.T
    init = model.parameters.init
    step = 0.01 * np.maximum(1.0, np.abs(init)) * (1 + 0.37 * np.arange(len(init)) / max(len(init), 1))
    room = np.where(np.isfinite(high - low), (high - low) / 8, np.inf)
    step = np.minimum(step, room)
    upward = init + 2 * step <= high
    point: np.ndarray = np.where(upward, init + step, init - step)
    return point


def _require_derivatives(model: UserModel, data: np.ndarray) -> None:
    """Gradient and Hessian are finite at the initial values, and beside them are what differences give."""
    free = np.flatnonzero(~model.parameters.fixed)
    names = model.parameters.names
    constraints = np.array(model.parameters.constraint)
    gradient = jax.jit(jax.grad(model.logpdf_of))
    logpdf = jax.jit(jax.vmap(model.logpdf_of, (None, 0)))
    size = data.shape[1]
    auxiliary = np.tile(model.sampling.observed[size:], (len(data), 1))
    full = np.concatenate([data, auxiliary], axis=1)

    def derivatives(point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = np.tile(point[:, None], (1, len(data)))
        _, slopes, hessian = _guarded(model, jax.jit(model.kernel.exact))(model.arrays, x, full.T)
        return np.asarray(slopes).T, np.asarray(hessian)

    slopes, hessian = derivatives(model.parameters.init)
    for i in free:
        for kind, found in (("first", slopes[:, i]), ("second", hessian[:, i])):
            if not np.isfinite(found).all():
                msg = (
                    f"The {kind} derivative of {_what(model)} with respect to {names[i]!r} is not finite at the initial "
                    f"values ({_values(model)}). A root, a norm or |x| at 0, or a jnp.where with a bad value in the "
                    "branch that is not taken? Make the function smooth there, or move the initial values."
                )
                raise ToymillError(msg)
    point = _inside(model)
    stated, bends = derivatives(point)
    _require_told_apart(model, bends)
    if model.summed is not model.terms:
        _require_closed_form(model, point, full, stated, bends)
    for i in free:
        found = np.array([float(_guarded(model, gradient)(point, row)[i]) for row in data])
        expected, error = _differences(model, logpdf, point, data, int(i), float(np.max(np.abs(bends[:, i, i]))))
        scale = np.abs(found) + np.abs(expected)
        wrong = np.abs(found - expected) > 1e-4 * scale + np.minimum(error, 0.1 * scale) + 1e-7
        if wrong.any():
            k = int(np.argmax(wrong))
            msg = (
                f"The derivative of {_what(model)} with respect to {names[i]!r} is {found[k]:.6g} where differences "
                f"give {expected[k]:.6g}: it is not differentiable. Rounding (floor, round, astype(int), searchsorted), "
                "comparisons, sorting by a parameter and stop_gradient have no derivative; use a smooth function."
            )
            raise ToymillError(msg)
        if not found.any() and not expected.any():
            if _changes(model, logpdf, point, data, int(i)):
                msg = (
                    f"{_what(model)} changes with {names[i]!r}, but its derivative is 0: it is not differentiable. "
                    "Rounding (floor, round, astype(int), searchsorted) makes steps; use a smooth function."
                )
                raise ToymillError(msg)
            msg = (
                f"{_what(model)} does not depend on {names[i]!r}, which is free"
                f"{': no fit could find it' if constraints[i] == 'none' else ' and enters nothing but its constraint'}. "
                "Use it, fix it, or leave it out."
            )
            raise ToymillError(msg)


def _require_closed_form(
    model: UserModel, point: np.ndarray, data: np.ndarray, slopes: np.ndarray, hessian: np.ndarray
) -> None:
    """The derivatives that a model states at a point, (n, P) and (n, P, P), are those of its terms."""
    x = np.tile(point[:, None], (1, len(data)))
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(model.kernel.nll(model.arrays, x, data.T))))
    scale = np.sqrt(np.abs(np.diagonal(hessian, axis1=1, axis2=2))).max(axis=0) + 1e-12
    step = np.minimum(1e-4 / scale, 1e-4)
    wrong = np.abs(np.asarray(gradient(x)).T - slopes) > 1e-6 * (np.abs(slopes) + scale)
    for i in np.flatnonzero(~model.parameters.fixed):
        move = np.eye(len(point))[i][:, None] * step[i]
        difference = (np.asarray(gradient(x + move)) - np.asarray(gradient(x - move))).T / (2 * step[i])
        wrong |= np.abs(difference - hessian[:, i]) > 1e-3 * scale[i] * scale
    if wrong.any():
        msg = "row_derivatives are not the derivatives of terms near the initial values: compare them with jax.hessian."
        raise ToymillError(msg)


def _require_agreement(model: UserModel) -> None:
    """Toys follow the likelihood: beside the initial values E[∂ log L] = 0 and E[-∂² log L] > 0 (Bartlett 1953).

    Six standard deviations of the mean over toys; the score is that of the main data alone.
    """
    point = _inside(model)
    count = int(np.clip(_NUMBERS // len(model.data_names), 16, _AGREEING))
    draw = model.draw
    assert draw is not None
    data = jax.jit(jax.vmap(lambda key: draw(key, point)))(jax.random.split(jax.random.key(2), count))
    gradient = jax.jit(jax.vmap(jax.grad(model.logpdf_of), (None, 0)))
    scores = np.asarray(gradient(point, data))
    for i in np.flatnonzero(~model.parameters.fixed):
        mean, error = scores[:, i].mean(), scores[:, i].std(ddof=1) / np.sqrt(count)
        if np.isfinite(mean) and abs(mean) > 6 * error + 1e-9:
            msg = (
                f"Toys do not follow {_what(model)}: beside the initial values its derivative with respect to "
                f"{model.parameters.names[i]!r} is {mean:.3g} ± {error:.2g} on average, where 0 is expected. Does throw use "
                "every parameter, in the same order and meaning? Is the density normalised, and without the constraints, "
                "which toymill adds? If other toys are meant, say mismatch=True."
            )
            raise ToymillError(msg)
        up, down = point.copy(), point.copy()
        step = 1e-4 * max(1.0, abs(point[i]))
        up[i], down[i] = up[i] + step, down[i] - step
        bend = -(np.asarray(gradient(up, data)) - np.asarray(gradient(down, data)))[:, i] / (2 * step)
        if np.isfinite(bend).all() and bend.mean() < -6 * bend.std(ddof=1) / np.sqrt(count) - 1e-9:
            msg = (
                f"{_what(model)} has a minimum along {model.parameters.names[i]!r}, not a maximum, for toys thrown there: "
                "is its sign right? It is the log-density, not its negative."
            )
            raise ToymillError(msg)


def _require_told_apart(model: UserModel, hessian: np.ndarray) -> None:
    """No combination of free parameters leaves the likelihood of every toy as it is, to second order; (n, P, P)."""
    free = np.flatnonzero(~model.parameters.fixed)
    matrix = np.abs(hessian).max(axis=0)
    units = 1 / np.sqrt(np.maximum(np.diag(matrix), 1e-300))[free]
    scaled = np.concatenate([part[np.ix_(free, free)] * np.outer(units, units) for part in hessian])
    _, sizes, directions = np.linalg.svd(scaled)
    if len(free) > 1 and np.diag(matrix)[free].all() and sizes[-1] < 1e-7 * sizes[0]:
        involved = [model.parameters.names[i] for i, part in zip(free, directions[-1], strict=True) if abs(part) > 0.1]
        msg = (
            f"{_what(model)} cannot tell {' and '.join(map(repr, involved))} apart: a change of one makes up for that of the "
            "others in every toy, and no fit could find them. Fix or constrain one, or state their combination."
        )
        raise ToymillError(msg)


def _changes(model: UserModel, logpdf: Callable[..., Any], point: np.ndarray, data: np.ndarray, i: int) -> bool:
    """Whether the log-likelihood changes anywhere along a parameter, looked at in steps from 0.01 to 1."""
    low, high = model.parameters.bounds[i]
    here = np.asarray(logpdf(point, data))
    for away in (-1.0, -0.3, -0.1, -0.01, 0.01, 0.1, 0.3, 1.0):
        moved = point.copy()
        moved[i] = np.clip(point[i] + away * max(1.0, abs(point[i])), low, high)
        if (np.asarray(logpdf(moved, data)) != here).any():
            return True
    return False


def _differences(
    model: UserModel, logpdf: Callable[..., Any], point: np.ndarray, data: np.ndarray, i: int, curvature: float
) -> tuple[np.ndarray, np.ndarray]:
    """Central differences of the log-likelihood along a parameter, with Richardson's step, and their error, (n,)."""
    low, high = model.parameters.bounds[i]
    natural = 0.01 / np.sqrt(curvature) if np.isfinite(curvature) and curvature > 0 else np.inf
    step = min(natural, 1e-3 * max(1.0, abs(point[i])), (high - point[i]) / 4, (point[i] - low) / 4)

    def slope(h: float) -> np.ndarray:
        up, down = point.copy(), point.copy()
        up[i] += h
        down[i] -= h
        found: np.ndarray = (np.asarray(logpdf(up, data)) - np.asarray(logpdf(down, data))) / (2 * h)
        return found

    wide, narrow = slope(2 * step), slope(step)
    value = (4 * narrow - wide) / 3
    rounding = 1e-15 * np.abs(np.asarray(logpdf(point, data))) / step
    return value, 10 * (np.abs(narrow - wide) + rounding)


def _require_information(model: UserModel, information: Callable[..., Any]) -> None:
    size = len(model.parameters)
    matrix = np.asarray(_guarded(model, jax.jit(information), "information")(model.parameters.init))
    if matrix.shape != (size, size) or not np.isfinite(matrix).all() or not np.allclose(matrix, matrix.T):
        msg = f"information gave an array of shape {matrix.shape}; expected a finite symmetric ({size}, {size}) matrix."
        raise ToymillError(msg)
