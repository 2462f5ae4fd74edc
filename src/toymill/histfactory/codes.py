"""HistFactory's interpolation codes as numbers, so that one compiled program serves them all. Needs no JAX.

Codes 0 to 2 and 4: HistFactory, CERN-OPEN-2012-016, sec. 2.2; code 4p: pyhf's name for ROOT's code 4 of shapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

EVEN_SHAPES = {
    "code0": (0.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "code2": (1.0, 1.0, 0.0, 0.0, 2.0, -1.0),
    "code4p": (1.0, 15 / 8, -10 / 8, 3 / 8, 1.0, 0.0),
}
"""The even part g of each histosys interpolation, as ``arrays.Histosys.shape`` has it.

With l = (hi - lo)/2 and e = (hi + lo)/2 - nominal a histosys adds l·α + e·g(α). Beyond ±1 code 2 goes on as its tangent,
as in ROOT; the printed formula, which pyhf has taken over, leaves out a constant there and jumps (pyhf issue 2729).
"""

NORM_EDGES = {"code1": 0.0, "code4": 1.0}
"""The |α| from which a normsys factor is exponential, by interpolation."""

VANISHING = 1e-30
"""What a normsys factor of 0 at α = ±1 is taken as. The limit of code 4 exists, a factor of 0 beyond and a polynomial that
joins it with slope and curvature 0 inside, for x ln² x goes to 0 with x; ROOT has it so, too. Here it is 7e-29."""


def code4_polynomial(
    log_hi: Float[np.ndarray, " ..."], log_lo: Float[np.ndarray, " ..."]
) -> Float[np.ndarray, "6 ..."]:
    """Coefficients of α … α⁶ that join the exponentials at α = ±1 with two continuous derivatives.

    Code 4 of a normsys; pyhf's ``code4`` with α0 = 1.
    """
    powers = np.arange(1, 7)
    conditions = []
    for alpha in (1.0, -1.0):
        for order in range(3):
            falling = np.prod([powers - k for k in range(order)], axis=0) if order else np.ones(6)
            conditions.append(falling * alpha ** np.clip(powers - order, 0, None))
    hi, lo = np.exp(log_hi), np.exp(log_lo)
    values = np.stack([hi - 1, hi * log_hi, hi * log_hi**2, lo - 1, -lo * log_lo, lo * log_lo**2])
    return np.tensordot(np.linalg.inv(np.array(conditions)), values, axes=1)
