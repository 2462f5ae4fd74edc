"""Coverage: how often an interval holds the truth, counted over toys."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toymill.inference.counting import CLOPPER_PEARSON, fraction
from toymill.record import NumberOrNone, Record


class Coverage(Record):
    """The coverage of an interval of one confidence level."""

    level: float
    """The confidence level."""
    coverage: NumberOrNone
    """Fraction of the certified toys whose interval holds the truth."""
    coverage_low: float
    """Lower end of its Monte Carlo interval."""
    coverage_high: float
    """Upper end of its Monte Carlo interval."""
    interval: str = CLOPPER_PEARSON
    """What kind of Monte Carlo interval that is."""
    without_interval: int
    """Certified toys without an interval, which do not cover."""
    if_failed_miss: float
    """The fraction of all toys, if every failed toy misses."""
    if_failed_cover: float
    """The fraction of all toys, if every failed toy covers."""


def coverage(
    levels: Sequence[float], inside: Sequence[int], *, certified: int, failed: int, without: int | Sequence[int]
) -> dict[str, Coverage]:
    """The coverage of intervals at each level, by the level as text.

    The Hessian interval |μ̂ - μ| ≤ z σ̂ holds the truth where pull² is at most the χ² quantile of the level. The profile
    interval Δ(2 nll) ≤ c holds it exactly where t_μ at the truth is at most c.

    Args:
        levels: the confidence levels.
        inside: certified toys whose interval holds the truth, at each level.
        certified: number of certified toys.
        failed: number of toys that are not certified.
        without: certified toys without an interval, of all levels or of each; they do not cover.
    """
    found = {}
    lacking = np.broadcast_to(without, len(levels)).tolist()
    for level, passed, none in zip(levels, inside, lacking, strict=True):
        counted = fraction(passed, certified)
        found[repr(float(level))] = Coverage(
            level=level,
            coverage=counted.value,
            coverage_low=counted.low,
            coverage_high=counted.high,
            without_interval=none,
            if_failed_miss=passed / (certified + failed),
            if_failed_cover=(passed + failed) / (certified + failed),
        )
    return found
