"""pyhf itself, imported where it is first needed: toymill does without it."""

from __future__ import annotations

from typing import Any

from toymill.errors import ToymillError


def require_pyhf() -> Any:
    """The module pyhf.

    Raises:
        ToymillError: it is not installed.
    """
    try:
        import pyhf
    except ImportError as error:
        msg = f"toymill.pyhf works on models of pyhf, which cannot be imported ({error}). Install it: pip install pyhf"
        raise ToymillError(msg) from None
    return pyhf


def tensorlib() -> Any:
    """pyhf's current tensor backend, whose arrays are returned."""
    return require_pyhf().get_backend()[0]
