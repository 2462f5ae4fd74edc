"""Numbers of toys that depend on what the toys have shown, as those of a ``precision`` do, bias no answer by much.

A fraction that is counted until k toys lie beyond is biased by 1/k of it. Here the variances decide, not the tail itself.
"""

import counting_experiments as exact
import numpy as np
import scipy.optimize

from toymill.inference.allocation import toys_for
from toymill.inference.limits import upper_limit
from toymill.inference.neyman import neyman_intervals

POINTS = exact.POINTS_OF_GAUSS
RUNS = 60


def test_pulls_of_limits_with_added_toys_are_standard_normal():
    """Rounds of a normal measurement of 0.3, from 200 toys each to an error of 4 %; bounds of 3 sigma."""
    rng, pulls, sizes = np.random.default_rng(71), [], []
    observed, right = exact.gauss(POINTS, 0.3), exact.gauss_limit(0.3)
    for _ in range(RUNS):
        thrown = [rng.normal(mu, size=200) for mu in POINTS]
        without = rng.normal(size=200)
        for _ in range(3):
            signal = [exact.gauss(mu, x) for mu, x in zip(POINTS, thrown, strict=True)]
            found = upper_limit(POINTS, signal, exact.gauss(POINTS[:, None], without), observed).observed
            counts = np.array([*map(len, thrown), len(without)])
            parts = [[*found.variance.signal, found.variance.background]]
            wanted = toys_for(parts, counts, [(0.04 * found.value) ** 2], [2.0] * len(POINTS) + [1.0 + len(POINTS)])
            more = np.minimum(np.ceil(wanted), 10 * counts).astype(int) - counts
            if not more.any():
                break
            thrown = [
                np.concatenate([x, rng.normal(mu, size=n)]) for mu, x, n in zip(POINTS, thrown, more[:-1], strict=True)
            ]
            without = np.concatenate([without, rng.normal(size=more[-1])])
        pulls.append((found.value - right) / found.error)
        sizes.append(counts.sum())
    assert np.ptp(sizes) > 0.2 * np.mean(sizes)  # they do depend on the toys
    assert abs(np.mean(pulls)) < 3 / np.sqrt(RUNS)
    assert abs(np.std(pulls) - 1) < 3 / np.sqrt(2 * RUNS)


def test_pulls_of_ends_with_added_toys_are_standard_normal():
    """Rounds of a normal measurement of 1 bounded at 0, from 200 toys each to 3 % of the distance; bounds of 3 sigma."""
    rng, pulls, sizes = np.random.default_rng(72), [], []
    points = np.linspace(0, 3.6, 13)
    right = scipy.optimize.brentq(lambda mu: exact.unified_gauss_p(np.array([mu]), 1.0)[0] - 0.1, 2, 3)
    for _ in range(RUNS):
        thrown = [rng.normal(mu, size=200) for mu in points]
        for _ in range(4):
            t = [exact.unified_gauss(mu, x) for mu, x in zip(points, thrown, strict=True)]
            found = neyman_intervals(points, t, exact.unified_gauss(points, 1.0), levels=[0.9], bounds=(0.0, np.inf))
            end = found.intervals["0.9"].high
            counts = np.array([*map(len, thrown)])
            wanted = toys_for([end.variance], counts, [(0.03 * (end.value - 1)) ** 2], np.ones(len(points)))
            wanted = np.where(np.isin(points, found.intervals["0.9"].undecided), np.maximum(wanted, 2 * counts), wanted)
            more = np.minimum(np.ceil(wanted), 10 * counts).astype(int) - counts
            if not more.any():
                break
            thrown = [
                np.concatenate([x, rng.normal(mu, size=n)]) for mu, x, n in zip(points, thrown, more, strict=True)
            ]
        pulls.append((end.value - right) / np.hypot(end.error, end.interpolation))
        sizes.append(counts.sum())
    assert np.ptp(sizes) > 0.2 * np.mean(sizes)
    assert abs(np.mean(pulls)) < 3 / np.sqrt(RUNS)
    assert abs(np.std(pulls) - 1) < 3 / np.sqrt(2 * RUNS)
