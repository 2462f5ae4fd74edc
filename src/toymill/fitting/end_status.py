"""How the search for one end of a profile interval ended. Needs no JAX."""

from __future__ import annotations

import enum


class EndStatus(enum.IntEnum):
    """How the search for one end of an interval ended; ``advice`` says what to make of it."""

    FOUND = 1
    AT_BOUND = 2
    NOT_FOUND = 3

    @property
    def advice(self) -> str:
        """One sentence: what this means, and what to do."""
        return _ADVICE[self]


_ADVICE = {
    EndStatus.FOUND: "t equals the level here, within the tolerance, and both of its fits are certified.",
    EndStatus.AT_BOUND: "t is below the level at the parameter's bound, which is inside the interval and its end.",
    EndStatus.NOT_FOUND: (
        "The free fit is not certified, or the conditional fits on the way fail, or t jumps across the level or "
        "never reaches it: look at the free fit's status, then at t along the parameter."
    ),
}
