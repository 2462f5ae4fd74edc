"""What a region wants of its toys for the precision that is asked for; they are added by ``rounds``."""

from __future__ import annotations

import numpy as np

from toymill.config.sections import region_ensembles
from toymill.inference.acceptance import Acceptance
from toymill.inference.regions import ConfidenceRegion, NeymanRegions
from toymill.results.answers import Precision
from toymill.results.design import Design
from toymill.study.finished import Stored
from toymill.study.region_points import grid_of
from toymill.study.rounds import SURER, Wanted, precision, toys_of

_SIGMAS = 3.0  # by which a point is decided


def tested_ensembles(stored: Stored) -> dict[str, float]:
    """The ensembles at the points of the grid, each with the value of the first parameter."""
    assert stored.design.region is not None
    grid = grid_of(stored.design.region)
    return {name: next(iter(at.values())) for name, at in zip(region_ensembles(stored.study), grid, strict=True)}


def region_wants(found: NeymanRegions, ensembles: dict[str, float], asked: float) -> Wanted:
    """What a region wants of its toys, so that at most a part of its points is undecided at each level.

    Points far from the edge of acceptance are decided by the fewest toys. So of the undecided ones as many as are too many
    have toys added, the farthest first: twice what they have, and so many that p differs from 1 - level by three standard
    deviations if it is what it seems. Those on the edge would take any number, and stay undecided.

    Args:
        found: the regions from the toys until now.
        ensembles: the ensembles at the tested points, in their order.
        asked: the part of the points of a region, undecided ones among them, that may be undecided.
    """
    names, tests = list(ensembles), [item.test for item in found.points]
    targets: dict[int, float] = {}
    for key, region in found.regions.items():
        ordered = sorted(region.undecided, key=lambda k: -_needs(tests[k], float(key))[0])
        allowed = int(asked * (len(region.accepted) + len(region.undecided)))
        for k in ordered[: max(len(ordered) - allowed, 0)]:
            targets[k] = min(targets.get(k, np.inf), _needs(tests[k], float(key))[1])
    known = [k for k, target in targets.items() if 0 < target < np.inf]
    return Wanted(
        ensembles=ensembles,
        errors={key: undecided_part(item) for key, item in found.regions.items()},
        variances=[[_variance(tests[k]) if at == k else 0.0 for at in range(len(names))] for k in known],
        targets=[targets[k] for k in known],
        doubled=[names[k] for k in targets],
    )


def region_precision(found: NeymanRegions, ensembles: dict[str, float], design: Design, asked: float) -> Precision:
    """What part of each region is undecided in the end, beside what was asked for."""
    assert design.region is not None
    errors = {f"undecided at {100 * float(key):.4g} %": undecided_part(item) for key, item in found.regions.items()}
    return precision(asked, errors, toys_of(design, ensembles), design.region.rounds)


def undecided_part(region: ConfidenceRegion) -> float:
    """The undecided points of a region among all of its points that are not rejected: a part of its area on the grid."""
    return len(region.undecided) / max(len(region.accepted) + len(region.undecided), 1)


def _needs(test: Acceptance, level: float) -> tuple[float, float]:
    """How far a p-value lies from the edge of acceptance in standard deviations, and the variance by which it is decided."""
    if test.p_value is None or test.p_value.value is None:
        return 0.0, np.inf
    away = abs(test.p_value.value - (1 - level))
    return away / max(np.sqrt(_variance(test)), 1e-300), (SURER * away / _SIGMAS) ** 2


def _variance(test: Acceptance) -> float:
    """The variance of a p-value, not less than that of one toy beyond."""
    assert test.p_value is not None
    toys = max(test.p_value.toys, 1)
    p = float(np.clip(test.p_value.value or 0.0, 1 / toys, 1 - 1 / toys))
    return p * (1 - p) / toys
