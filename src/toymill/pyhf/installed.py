"""pyhf itself, without which this part of toymill cannot be imported."""

from __future__ import annotations

from typing import Any

try:
    import pyhf as pyhf
except ImportError as error:
    _MSG = f"toymill.pyhf works on models of pyhf, which cannot be imported ({error}). Install it: pip install 'toymill[pyhf]'"
    raise ImportError(_MSG, name="pyhf") from None


def tensorlib() -> Any:
    """pyhf's current tensor backend, whose arrays are returned."""
    return pyhf.get_backend()[0]
