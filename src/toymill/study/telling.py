"""What a running job has done so far: a small file beside the one that it makes, for whoever watches. Needs no JAX."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from toymill.results.files import temporary_name

_WORD = ".running"


class Told(NamedTuple):
    """What a job has told.

    Attributes:
        name: name of the file that it makes, without its ending.
        toys: toys that are done.
        failed: those of them that are not certified.
        time: when it told that, in seconds of the clock of the file system.
    """

    name: str
    toys: int
    failed: int
    time: float


@contextmanager
def telling(path: str | Path) -> Iterator[Callable[[int, int], None]]:
    """A function to call with how many toys more are done, and how many of them failed, until a file is made.

    The note is a line for each call. It has a temporary name, as all that killed jobs leave: the next run removes it. Where
    it cannot be written nothing is told, and the job goes on.

    Args:
        path: the file that the job makes.
    """
    note = temporary_name(Path(path).with_suffix(_WORD))
    sums = [0, 0]

    def tell(toys: int, failed: int) -> None:
        sums[:] = sums[0] + toys, sums[1] + failed
        with suppress(OSError), note.open("a", encoding="ascii") as file:  # closed, so that other machines see it
            file.write(f"{sums[0]} {sums[1]}\n")

    try:
        yield tell
    finally:
        with suppress(OSError):
            note.unlink(missing_ok=True)


def told_in(folder: Path) -> list[Told]:
    """What running jobs have told of the files that they make in a folder; of two that make the same the later one."""
    found: dict[str, Told] = {}
    for note in folder.glob(f".*{_WORD}.*.part"):
        name = note.name[1:].partition(f"{_WORD}.")[0]
        with suppress(OSError, ValueError, IndexError):  # gone in the meantime, or without a whole line yet
            last = note.read_text(encoding="ascii").rpartition("\n")[0].splitlines()[-1]
            toys, failed = map(int, last.split())
            about = Told(name, toys, failed, note.stat().st_mtime)
            if name not in found or found[name].time < about.time:
                found[name] = about
    return [item for item in found.values() if not (folder / f"{item.name}.h5").exists()]
