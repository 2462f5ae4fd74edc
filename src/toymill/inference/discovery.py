"""The discovery p-value, counted over background-only toys."""

from __future__ import annotations

import scipy

from toymill.inference.counting import CLOPPER_PEARSON, Distribution, fraction
from toymill.record import NumberOrNone, Record

SIGNIFICANCES = (1, 2, 3, 4, 5)
"""Z at which the discovery p-value p(q_0 ≥ Z²) is counted."""


class Discovery(Record):
    """The p-value of background-only toys beyond one significance, beside the asymptotic one."""

    z: int
    """The significance Z."""
    q_0: float
    """The threshold Z² of q_0."""
    beyond: int
    """Certified toys with q_0 at or above the threshold."""
    p_value: NumberOrNone
    """Their fraction of the certified toys."""
    p_value_low: float
    """Lower end of its Monte Carlo interval."""
    p_value_high: float
    """Upper end of its Monte Carlo interval."""
    interval: str = CLOPPER_PEARSON
    """What kind of Monte Carlo interval that is."""
    asymptotic: float
    """The asymptotic p-value 1 - Φ(Z)."""
    significance: NumberOrNone
    """The significance that the counted p-value stands for."""
    if_failed_below: float
    """The fraction of all toys, if every failed toy lies below the threshold."""
    if_failed_beyond: float
    """The fraction of all toys, if every failed toy lies beyond it."""


def discovery(q_0: Distribution, *, failed: int) -> list[Discovery]:
    """p(q_0 ≥ Z²) counted, beside 1 - Φ(Z) (CCGV, arXiv:1007.1727, eqs. 51-53), at each of ``SIGNIFICANCES``.

    Args:
        q_0: the statistic of the certified background-only toys.
        failed: number of toys that are not certified.
    """
    toys = q_0.size + failed
    found = []
    for z in SIGNIFICANCES:
        passed = q_0.above(float(z**2))
        counted = fraction(passed, q_0.size)
        found.append(
            Discovery(
                z=z,
                q_0=float(z**2),
                beyond=passed,
                p_value=counted.value,
                p_value_low=counted.low,
                p_value_high=counted.high,
                asymptotic=float(scipy.stats.norm.sf(z)),
                significance=float(scipy.stats.norm.isf(counted.value)),
                if_failed_below=passed / toys,
                if_failed_beyond=(passed + failed) / toys,
            )
        )
    return found
