"""The band of CLs that is expected of background-only data at one tested value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy

from toymill.inference.crossing import Curves
from toymill.inference.limit_records import SIGMAS, ExpectedCLs
from toymill.inference.order_statistics import FEWEST, around, rank
from toymill.record import SigmaText

if TYPE_CHECKING:
    from jaxtyping import Float

_NOT_KNOWN = ExpectedCLs(value=None, low=None, high=None, if_failed_low=None, if_failed_high=None)


def expected_cls(curves: Curves, k: int, background: Float[np.ndarray, " toy"]) -> dict[SigmaText, ExpectedCLs]:
    """Quantiles of CLs, or of CL_{s+b}, of background-only toys at a tested value, each counted in its own CL_b.

    The error is summed toy by toy: what each does to CL_{s+b} and CL_b of the toy at the quantile, and to its rank,
    (α - 1[CLs_i ≤ CLs_α])/(N f) (Bahadur, Ann. Math. Stat. 37 (1966) 577). The two of a background-only toy are added
    before they are squared: at a given rank CL_b hardly fluctuates.

    Args:
        curves: the toys.
        k: which tested value.
        background: the statistic there of the background-only toys that ``curves`` has, (N_b,); NaN likewise.

    Example:
        A normal measurement of unit width, tested at 2: the median CLs is Φ(-2)/½ = 0.0455.

        >>> from toymill.inference.limits import upper_limit
        >>> rng = np.random.default_rng(1)
        >>> points = np.array([1.0, 2.0])
        >>> signal, background = ([np.maximum(mu - rng.normal(at, 1, 50_000), 0) ** 2 for mu, at in pairs]
        ...     for pairs in ([(1, 1), (2, 2)], [(1, 0), (2, 0)]))
        >>> found = upper_limit(points, signal, np.array(background), None).points[1].expected["0"]
        >>> round(found.value, 3), round((found.high - found.low) / 2, 4)
        (0.044, 0.0014)
    """
    one, sample = curves.only(np.arange(len(curves.points)) == k), curves.samples[k]
    if not curves.usable[k]:
        return {str(sigma): _NOT_KNOWN for sigma in SIGMAS}
    toys = np.flatnonzero(~np.isnan(background))
    counts = one.count(background[None, toys])
    tails = one.tails(counts)
    order = np.argsort(tails.cls[0], kind="stable")
    ranked, size, failed = tails.cls[0, order], len(toys), len(background) - len(toys)

    def quantile(probability: float) -> ExpectedCLs:
        at = rank(probability, size)
        own = order[at]
        if counts.signal[0, own] <= 0:
            return _NOT_KNOWN
        value, clb = float(ranked[at]), float(tails.clb[0, own])
        low = high = None
        if size * min(probability, 1 - probability) >= FEWEST:
            _, sparsity = around(ranked, at, probability)
            ordering = np.zeros(len(background))
            ordering[toys[order]] = ((at + 1) / size - (np.arange(size) <= at)) * sparsity
            beyond = (np.arange(len(sample.q)) >= counts.below[0, own]) / clb
            by_clb = -value * beyond if curves.method == "CLs" else np.zeros_like(beyond)
            by_signal, by_background = sample.moved(beyond, by_clb)
            error = float(np.sqrt(np.sum(by_signal**2) + np.sum((by_background + ordering) ** 2)))
            low, high = max(value - error, 0.0), value + error
        place = rank(probability, size + failed)  # failed toys before all others, or after them
        return ExpectedCLs(
            value=value,
            low=low,
            high=high,
            if_failed_low=float(ranked[place - failed]) if place >= failed else 0.0,
            if_failed_high=float(ranked[place]) if place < size else 1.0,
        )

    return {str(sigma): quantile(float(scipy.stats.norm.cdf(sigma))) for sigma in SIGMAS}
