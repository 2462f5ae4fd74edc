"""From a Python file to the model that a function in it builds."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path

from toymill.errors import ToymillError, nearest, no_file
from toymill.models.user import UserModel
from toymill.models.user_code import told


def load_model(path: str | Path, entry: str = "build", options: Mapping[str, object] | None = None) -> UserModel:
    """The model that a function in a Python file builds. ``check_model`` tells whether its functions are right.

    Args:
        path: the file; modules beside it may be imported.
        entry: name of the function.
        options: its keyword arguments.

    Raises:
        ToymillError: a file that is not there or fails, no such function, options that it does not take, something
            else than a model returned.
    """
    file = Path(path).absolute()
    try:
        file = file.resolve()
        found = file.is_file()
    except (OSError, ValueError):  # no file system has such a path
        found = False
    if not found:
        msg = f"There is {no_file(path)}"
        raise ToymillError(msg)
    specification = importlib.util.spec_from_file_location(f"toymill_user_{file.stem}", file)
    if specification is None or specification.loader is None:
        msg = f"{path} is no Python file: its name has to end in .py."
        raise ToymillError(msg)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    sys.path.insert(0, str(file.parent))
    try:
        with told(f"{path} cannot be imported", file):
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
        with told(f"{path}: {entry} failed", file):
            model = build(**dict(options or {}))
    finally:
        sys.path.remove(str(file.parent))
    if not isinstance(model, UserModel):
        msg = f"{path}: {entry} returned {type(model).__name__}; expected what toymill.define_model returns."
        raise ToymillError(msg)
    return model
