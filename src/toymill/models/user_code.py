"""What goes wrong in a user's code is told in one message: what, where in the user's file, why, what to change."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import jax

from toymill.errors import ToymillError
from toymill.models.user import UserModel

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

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
def told(what: str, file: Path | None) -> Iterator[None]:
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


def guarded(
    model: UserModel, function: Callable[Arguments, Result], what: str | None = None
) -> Callable[Arguments, Result]:
    """The function, with what JAX or the user's code raises told as a mistake in the model."""

    def call(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        with told(f"{what or statement_of(model)} cannot be used", None):
            return function(*arguments, **options)

    return call


def statement_of(model: UserModel) -> str:
    """The function that states the likelihood, by the name that ``define_model`` has for it."""
    return "expected" if model.expected is not None else "terms" if model.terms is not None else "logpdf"


def initial_values(model: UserModel) -> str:
    """The initial values for a message, the first six."""
    shown = [f"{name} = {value:g}" for name, value in zip(model.parameters.names, model.parameters.init, strict=True)]
    return ", ".join(shown[:6]) + (", …" if len(shown) > 6 else "")
