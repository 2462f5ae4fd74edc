"""The one exception that a user's mistake raises, and the one warning."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_COMPARED = 200  # letters of a word for which near ones are looked for: the time goes with the square of them
_LONGEST = 1000  # letters of a line; what a name or a value has beyond it helps nobody


class ToymillError(ValueError):
    """Input that cannot be used; the message says what was got, what was expected, and what to do.

    Lines are shortened in their middle. Characters that a terminal or a log cannot show are written as escapes, since
    names in messages come from files.
    """

    def __init__(self, message: str) -> None:
        super().__init__("\n".join(map(_shown, message.split("\n"))))


class ToymillWarning(UserWarning):
    """Results that are not what their name says, such as negative t_μ; the message says how many, and what to do."""


def _shown(line: str) -> str:
    line = line if len(line) <= _LONGEST else f"{line[: _LONGEST * 2 // 3]} … {line[-_LONGEST // 4 :]}"
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in line)


def one_line(text: object) -> str:
    """A text for a message of one line: names and paths may have line ends."""
    return str(text).replace("\n", r"\n")


def nearest(word: str, allowed: Iterable[str]) -> str:
    """End of an error message that offers the nearest allowed words, or lists them."""
    words = [str(item) for item in allowed]
    close = difflib.get_close_matches(str(word)[:_COMPARED], words, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(repr(item) for item in close)}?"
    if len(words) > 12:
        return f"Allowed: {', '.join(words[:12])}, … ({len(words)} in all)."
    return f"Allowed: {', '.join(words) if words else 'nothing'}."
