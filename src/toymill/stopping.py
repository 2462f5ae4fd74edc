"""A job that is asked to stop does so where nothing is half done.

Python raises KeyboardInterrupt wherever it is, also inside JAX's callbacks from compiled code, which do not survive it.
"""

from __future__ import annotations

import signal
from types import FrameType

_asked = False


def listen() -> None:
    """From now on SIGINT (Ctrl-C) and SIGTERM (a scheduler that ends a job) ask this process to stop; again, they end it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ask)


def _ask(number: int, _frame: FrameType | None) -> None:
    global _asked
    _asked = True
    signal.signal(number, signal.SIG_DFL)


def stop_if_asked() -> None:
    """Call this where it is safe to stop, every second or so.

    Raises:
        KeyboardInterrupt: the process was asked to stop.
    """
    if _asked:
        raise KeyboardInterrupt
