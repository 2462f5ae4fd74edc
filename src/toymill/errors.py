"""The one exception that a user's mistake raises, and the one warning."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_COMPARED = 200  # letters of a word for which near ones are looked for: the time goes with the square of them
_YAML = (".yaml", ".yml")
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


def near(word: str, allowed: Iterable[str]) -> list[str]:
    """The allowed words that a word may be a slip of, the nearest first, and none that is much farther than that.

    Where there are none, those of which it is a part, or which are a part of it, between underscores.

    Example:
        >>> near("lvel", ["level", "levels", "toys"]), near("cl", ["level", "scan"])
        (['level', 'levels'], [])
    """
    asked = str(word)[:_COMPARED]
    least = 0.5 if len(asked) < 4 else 0.6  # of two letters one may be wrong
    words = list(dict.fromkeys(allowed))
    close = difflib.get_close_matches(asked, words, n=3, cutoff=least)
    if not close:
        return [item for item in words if asked in item.split("_") or item in asked.split("_")][:3]
    ratios = [difflib.SequenceMatcher(None, item, asked).ratio() for item in close]
    return [item for item, ratio in zip(close, ratios, strict=True) if ratio > ratios[0] - 0.15]


def no_file(path: str | Path) -> str:
    """Words on a file that is not there: where it was looked for, and near ones of its kind in its folder."""
    path = Path(path)
    words = f"no file {str(path)!r}" + ("" if path.is_absolute() else f" in {Path.cwd()}, where relative paths begin")
    with suppress(OSError, ValueError):
        if not path.parent.is_dir():
            missing = next(item for item in reversed(path.parents) if not item.is_dir())
            return f"{words}: there is no folder {str(missing)!r}."
        endings = _YAML if path.suffix in _YAML else (path.suffix,)
        files = sorted(item for item in path.parent.iterdir() if item.suffix in endings)
        close = near(path.stem, [item.stem for item in files])
        if close:
            return f"{words}. Did you mean {' or '.join(repr(str(item)) for item in files if item.stem in close)}?"
    return f"{words}."


def nearest(word: str, allowed: Iterable[str]) -> str:
    """End of an error message that offers the nearest allowed words, or lists them."""
    words = [str(item) for item in allowed]
    close = near(word, words)
    if close:
        return f"Did you mean {' or '.join(repr(item) for item in close)}?"
    if len(words) > 12:
        return f"Allowed: {', '.join(words[:12])}, … ({len(words)} in all)."
    return f"Allowed: {', '.join(words) if words else 'nothing'}."
