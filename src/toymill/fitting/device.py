"""How many toys are computed at once on the device that JAX has: caches decide on a processor, memory on a GPU."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import jax

_PARTS = 64  # into which a GPU's memory is divided: a budget is one of them


class Device(NamedTuple):
    """What a device wants of batches.

    Attributes:
        share: bytes that every budget of ``toymill.budget`` may take, if that is more than the budget itself.
        toys: the largest number of toys in a block.
        places: the largest number of a lane's toys in one call.
        stragglers: toys in a block of the plain minimiser, of a model that it fits only where Fisher scoring ended
            elsewhere.
        few: places of a call of no more; as many as ``places`` where one compiled program is to serve all calls.
    """

    share: int
    toys: int
    places: int
    stragglers: int
    few: int

    def budget(self, least: int) -> int:
        """A budget on this device, in bytes."""
        return max(least, self.share)


PROCESSOR = Device(share=0, toys=256, places=128, stragglers=8, few=128)
"""Small blocks, whose temporaries stay in a core's caches; many after one another."""


@cache
def device() -> Device:
    """The device on which JAX computes."""
    if jax.default_backend() == "cpu":
        return PROCESSOR
    memory = (jax.devices()[0].memory_stats() or {}).get("bytes_limit", 2**32)
    return Device(share=int(memory) // _PARTS, toys=2**14, places=8, stragglers=256, few=1)
