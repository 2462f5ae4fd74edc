"""The coverage of intervals at each tested value, from the toys thrown there, and whether it is too small."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from toymill.inference.counting import fraction
from toymill.inference.coverage import Coverage, coverage
from toymill.record import Record

if TYPE_CHECKING:
    from jaxtyping import Float

_LEAST = 20  # certified toys, of which halves tell anything
_ROUNDING = 1e-9  # of a rank


class CoverageVerdict(Record):
    """Whether an interval of one level holds the truth as often as it should, at each tested value."""

    below: list[float]
    """Tested values at which it does not, by three standard deviations, even if every failed toy covered."""
    least_at: float
    """The tested value at which its coverage is least."""
    least: Coverage
    """The coverage there."""
    sentence: str
    """The verdict in words."""


def coverage_within(
    toys: Float[np.ndarray, " toy"], critical: Mapping[float, float], tolerance: float = 0.0
) -> dict[str, Coverage]:
    """How often t of toys is at most a critical value, which is how often the interval that it makes holds their truth.

    Args:
        toys: t of toys at their own truth, (n,); NaN for toys that are not certified.
        critical: the critical value at each level.
        tolerance: values of t that differ by less are ties.

    Example:
        >>> found = coverage_within(np.array([0.1, 0.5, 2.0, 5.0, np.nan]), {0.95: 3.84})["0.95"]
        >>> found.coverage, found.if_failed_miss, found.if_failed_cover
        (0.75, 0.6, 0.8)
    """
    certified = toys[~np.isnan(toys)]
    if not len(certified):
        return {}
    inside = [int(np.count_nonzero(certified <= value + tolerance)) for value in critical.values()]
    failed = len(toys) - len(certified)
    return coverage(list(critical), inside, certified=len(certified), failed=failed, without=0)


def coverage_of_halves(
    toys: Float[np.ndarray, " toy"], levels: Sequence[float], tolerance: float = 0.0
) -> dict[str, Coverage]:
    """How often t of every other toy is at most the critical value of the rest: that of the Neyman construction.

    A critical value from the toys themselves would cover by construction. That of the rest has an error of its own, as large
    as that of the count. Where t takes few values, the construction covers more often than it need.

    Args:
        toys: t of toys at their own truth, (n,); NaN for toys that are not certified.
        levels: confidence levels.
        tolerance: values of t that differ by less are ties.

    Example:
        >>> t = np.random.default_rng(1).chisquare(1, 20_000)
        >>> abs(coverage_of_halves(t, [0.9])["0.9"].coverage - 0.9) < 3 * (0.9 * 0.1 / 10_000 * 2) ** 0.5
        True
    """
    first, second = toys[::2], toys[1::2]
    ordered = np.sort(first[~np.isnan(first)])
    if len(ordered) < _LEAST / 2 or np.isnan(second).all():
        return {}
    ranks = {level: max(math.ceil(level * len(ordered) - _ROUNDING), 1) for level in levels}
    return coverage_within(second, {level: float(ordered[rank - 1]) for level, rank in ranks.items()}, tolerance)


def coverage_verdict(
    found: Sequence[tuple[float, Coverage]], toys: Sequence[int], *, what: str, halves: bool = False
) -> CoverageVerdict:
    """Whether coverage is smaller than the level at any tested value, by three standard deviations of its error.

    Args:
        found: the tested values, and the coverage at each.
        toys: how many toys each is counted over, failed ones too.
        what: which interval it is, as the sentence begins.
        halves: whether the critical value has an error as large as the count has.

    Example:
        >>> from toymill.inference.coverage import coverage
        >>> one, two = (coverage([0.95], [n], certified=10_000, failed=0, without=0)["0.95"] for n in (9490, 9200))
        >>> coverage_verdict([(0.0, one), (1.0, two)], [10_000] * 2, what="The asymptotic interval at 95 %").sentence
        'The asymptotic interval at 95 % covers too rarely at 1 of 2 tested values; least at 1: 92.00 % (91.72 to 92.27 %).'
    """
    sure = math.erf(3.0 if halves else 3.0 / math.sqrt(2))
    below = [
        value
        for (value, item), count in zip(found, toys, strict=True)
        if fraction(round(item.if_failed_cover * count), count, sure).high < item.level
    ]
    at, least = min(found, key=lambda pair: pair[1].coverage if pair[1].coverage is not None else math.inf)
    where = f"at {len(below)} of {len(found)} tested values" if below else f"at all of {len(found)} tested values"
    told = "covers too rarely" if below else "covers often enough, within three standard errors,"
    known = 100 * (least.coverage if least.coverage is not None else math.nan)
    between = f"{100 * least.coverage_low:.2f} to {100 * least.coverage_high:.2f} %"
    sentence = f"{what} {told} {where}; least at {at:.4g}: {known:.2f} % ({between})."
    return CoverageVerdict(below=below, least_at=at, least=least, sentence=sentence)
