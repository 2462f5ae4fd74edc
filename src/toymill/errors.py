"""The one exception that a user's mistake raises."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ToymillError(ValueError):
    """Input that cannot be used; the message says what was got, what was expected, and what to do."""


def nearest(word: str, allowed: Iterable[str]) -> str:
    """End of an error message that offers the nearest allowed words, or lists them."""
    words = [str(item) for item in allowed]
    close = difflib.get_close_matches(str(word), words, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(repr(item) for item in close)}?"
    if len(words) > 12:
        return f"Allowed: {', '.join(words[:12])}, … ({len(words)} in all)."
    return f"Allowed: {', '.join(words) if words else 'nothing'}."
