"""Confidence regions of several parameters by the Neyman construction: which of the tested points toys accept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from toymill.errors import ToymillError
from toymill.inference.acceptance import Acceptance, acceptance
from toymill.record import LevelText, Record

if TYPE_CHECKING:
    from jaxtyping import Float


class TestedPoint(Record):
    """A tested point of several parameters."""

    __test__ = False  # pytest would collect it where it is imported

    at: list[float]
    """The parameters' values."""
    test: Acceptance
    """Its test."""


class ConfidenceRegion(Record):
    """The region of one level, among the tested points."""

    level: float
    """The confidence level."""
    accepted: list[int]
    """The accepted points, counted from 0, by three Monte Carlo standard deviations."""
    undecided: list[int]
    """The points that are neither accepted nor rejected."""
    sentence: str
    """The region in words."""


class NeymanRegions(Record):
    """The confidence regions from toys."""

    points: list[TestedPoint]
    """The tested points, in the order in which they were given."""
    regions: dict[LevelText, ConfidenceRegion]
    """The region of each level."""


class RegionVerdict(Record):
    """The asymptotic region of one level beside that of toys."""

    asymptotic: list[int]
    """The points that the asymptotic formula accepts, counted from 0."""
    accepted_by_toys: list[int]
    """The points that toys accept, by three standard deviations, and the formula does not."""
    rejected_by_toys: list[int]
    """The points that toys reject, likewise, and the formula accepts."""
    sentence: str
    """The verdict in words."""


def neyman_regions(
    points: Float[np.ndarray, "test parameter"],
    toys: Sequence[Float[np.ndarray, " toy"]],
    observed: Float[np.ndarray, " test"],
    *,
    levels: Sequence[float] = (0.6827, 0.95),
    tolerance: float = 0.0,
) -> NeymanRegions:
    """The points of several parameters that the data do not reject: P(t ≥ t_obs) > 1 - level, as of ``neyman_intervals``.

    t is twice the difference of the nll with all these parameters held and the free one: asymptotically χ² of as many
    degrees of freedom. Nothing is interpolated between points.

    Args:
        points: the tested points, (K, D).
        toys: t at each of them of toys thrown there; K arrays; NaN for toys that are not certified.
        observed: t at each of them of the observed data, (K,); NaN where it is not known: undecided.
        levels: confidence levels.
        tolerance: values of t that differ by less are ties; see ``p_values.tie_tolerance``.

    Raises:
        ToymillError: points that are not finite numbers, arrays that do not fit them, a level outside of 0 to 1.

    Example:
        Two normal measurements of unit width, both 0, of two parameters: 95 % is within 2.45 of them.

        >>> rng = np.random.default_rng(1)
        >>> points = np.array([[0.0, 0.0], [1.5, 1.5], [2.0, 2.0]])
        >>> toys = [rng.chisquare(2, 10_000) for _ in points]
        >>> neyman_regions(points, toys, np.sum(points**2, axis=1)).regions["0.95"].sentence
        'The 95 % region has 2 of 3 tested points; 0 are undecided.'
    """
    points, observed = np.asarray(points, dtype=np.float64), np.asarray(observed, dtype=np.float64)
    if points.ndim != 2 or not points.size or not np.isfinite(points).all():
        msg = f"points have the shape {points.shape}; expected finite numbers, a row for each point."
        raise ToymillError(msg)
    if len(toys) != len(points) or observed.shape != (len(points),):
        msg = (
            f"toys are of {len(toys)} points, observed of the shape {observed.shape}; expected those of {len(points)}."
        )
        raise ToymillError(msg)
    tested = [
        TestedPoint(
            at=point.tolist(),
            test=acceptance(thrown, float(t), levels, parameters=points.shape[1], tolerance=tolerance),
        )
        for point, thrown, t in zip(points, toys, observed, strict=True)
    ]
    return NeymanRegions(points=tested, regions={repr(float(level)): _region(tested, float(level)) for level in levels})


def region_verdict(found: NeymanRegions, key: str) -> RegionVerdict:
    """Where the asymptotic region differs: t of the data is at most the quantile of χ² of as many degrees of freedom.

    Args:
        found: the regions.
        key: the level, as a key of ``regions``.

    Example:
        >>> points = np.array([[0.0, 0.0], [2.0, 2.0]])
        >>> toys = [np.random.default_rng(1).chisquare(2, 1000) for _ in points]
        >>> region_verdict(neyman_regions(points, toys, np.array([0.0, 8.0])), "0.95").sentence
        'The asymptotic 95 % region has 1 of 2 tested points: toys decide no other way at any of them.'
    """
    tests = [item.test for item in found.points]
    inside = [k for k, test in enumerate(tests) if test.t is not None and test.t <= test.critical[key].asymptotic]
    decided = [test.decision[key] for test in tests]
    more = [k for k, item in enumerate(decided) if item == "accepted" and k not in inside]
    less = [k for k in inside if decided[k] == "rejected"]
    differs = f"toys accept {len(more)} more, and reject {len(less)} of them"
    sentence = (
        f"The asymptotic {100 * float(key):.4g} % region has {len(inside)} of {len(tests)} tested points: "
        f"{differs if more or less else 'toys decide no other way at any of them'}."
    )
    return RegionVerdict(asymptotic=inside, accepted_by_toys=more, rejected_by_toys=less, sentence=sentence)


def _region(tested: Sequence[TestedPoint], level: float) -> ConfidenceRegion:
    decisions = [item.test.decision[repr(level)] for item in tested]
    accepted, undecided = (
        [k for k, decision in enumerate(decisions) if decision == wanted] for wanted in ("accepted", "undecided")
    )
    return ConfidenceRegion(
        level=level,
        accepted=accepted,
        undecided=undecided,
        sentence=(
            f"The {100 * level:.4g} % region has {len(accepted)} of {len(tested)} tested points; {len(undecided)} "
            f"{'is' if len(undecided) == 1 else 'are'} undecided."
        ),
    )
