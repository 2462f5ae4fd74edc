"""Whether one signal is excluded: CLs of the observed data and of background-only toys, each with its Monte Carlo error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy

from toymill.inference.limit_records import SIGMAS, ExpectedCLs
from toymill.inference.p_values import CLs, cls
from toymill.record import Record, SigmaText

if TYPE_CHECKING:
    from jaxtyping import Float

SURE = 3.0
"""Monte Carlo errors between CLs and 1 - level beyond which a signal counts as excluded, or not."""

_FEWEST = 10  # toys on either side of a quantile, below which it has no error


class Exclusion(Record):
    """Whether a signal is excluded."""

    level: float
    """Confidence level."""
    observed: CLs | None
    """CLs of the observed data; null where their fit is not certified."""
    expected: dict[SigmaText, ExpectedCLs]
    """Quantiles of CLs of background-only toys, at Φ(-2) to Φ(2)."""
    excluded: bool | None
    """Whether the observed CLs is below 1 - level; null where that lies within three Monte Carlo errors, or failed toys
    could decide it otherwise."""
    expected_excluded: bool | None
    """The same of the median expected CLs."""


def exclusion(
    signal: Float[np.ndarray, " toy"],
    background: Float[np.ndarray, " toy"],
    observed: float,
    *,
    level: float = 0.95,
    tolerance: float = 0.0,
) -> Exclusion:
    """CLs of the observed data and of every background-only toy, beside 1 - level.

    The expected values are order statistics of the CLs of all background-only toys, each counted in its own CL_b. Their
    interval is that between order statistics (David and Nagaraja, Order Statistics, 7.1) and the Monte Carlo error of
    CLs there, in quadrature.

    Args:
        signal: q of toys with signal, (n,); NaN for toys that are not certified.
        background: q of background-only toys, (m,); NaN likewise.
        observed: q_obs; NaN where its fit is not certified.
        level: confidence level.
        tolerance: values of q that differ by less are ties; see ``p_values.tie_tolerance``.

    Example:
        A count with 3 background events expected, 5 signal events tested and 3 observed: CLs is 0.0655.

        >>> rng = np.random.default_rng(1)
        >>> found = exclusion(-rng.poisson(8, 20_000), -rng.poisson(3, 20_000), -3.0)
        >>> round(found.observed.value, 3), round(found.expected["0"].value, 3), found.excluded
        (0.064, 0.064, False)
    """
    seen = None if np.isnan(observed) else cls(signal, background, observed, tolerance)
    expected = _band(np.asarray(signal, dtype=float), np.asarray(background, dtype=float), tolerance)
    median = expected["0"]
    bounds = (median.if_failed_low, median.if_failed_high)
    return Exclusion(
        level=level,
        observed=seen,
        expected=expected,
        excluded=None if seen is None else _below(1 - level, seen, (seen.if_failed_low, seen.if_failed_high)),
        expected_excluded=_below(1 - level, median, bounds),
    )


def _below(threshold: float, found: CLs | ExpectedCLs, failed: tuple[float | None, float | None]) -> bool | None:
    """Whether a CLs lies below a threshold; None where that is not sure."""
    if found.value is None or found.low is None or found.high is None or None in failed:
        return None
    highest = max(found.value + SURE * (found.high - found.value), *(item for item in failed if item is not None))
    lowest = min(found.value - SURE * (found.value - found.low), *(item for item in failed if item is not None))
    return True if highest < threshold else False if lowest > threshold else None


def _band(
    signal: Float[np.ndarray, " toy"], background: Float[np.ndarray, " toy"], tolerance: float
) -> dict[SigmaText, ExpectedCLs]:
    """Quantiles of CLs over background-only toys."""
    known = background[~np.isnan(background)]
    clsb, clb = (_beyond(sample, known, tolerance) for sample in (signal, background))
    ratio = clsb / clb
    order = np.argsort(ratio, kind="stable")
    failed = len(background) - len(known)
    return {
        str(sigma): _quantile(ratio[order], known[order], signal, background, failed, tolerance, sigma)
        for sigma in SIGMAS
    }


def _beyond(
    sample: Float[np.ndarray, " toy"], at: Float[np.ndarray, " dataset"], tolerance: float
) -> Float[np.ndarray, " dataset"]:
    """The fraction of a sample at or beyond each value."""
    ordered = np.sort(sample[~np.isnan(sample)])
    if not len(ordered):
        return np.full(len(at), np.nan)
    fraction: np.ndarray = 1 - np.searchsorted(ordered, at - tolerance) / len(ordered)
    return fraction


def _quantile(
    ratio: Float[np.ndarray, " toy"],
    q: Float[np.ndarray, " toy"],
    signal: Float[np.ndarray, " toy"],
    background: Float[np.ndarray, " toy"],
    failed: int,
    tolerance: float,
    sigma: int,
) -> ExpectedCLs:
    """One quantile of CLs, of toys in ascending order of it."""
    n, probability = len(ratio), float(scipy.stats.norm.cdf(sigma))
    if not n or np.isnan(ratio[0]):
        return ExpectedCLs(value=None, low=None, high=None, if_failed_low=None, if_failed_high=None)

    def at(p: float, size: int) -> int:
        return int(np.clip(np.ceil(p * size) - 1, 0, size - 1))

    place = at(probability, n)
    value, low, high = float(ratio[place]), None, None
    if n * min(probability, 1 - probability) >= _FEWEST:
        spread = np.sqrt(probability * (1 - probability) / n)
        counted = cls(signal, background, float(q[place]), tolerance)
        below, above = (float(ratio[at(probability + shift, n)]) for shift in (-spread, spread))
        low = value - float(np.hypot(value - below, value - counted.low))
        high = None if counted.high is None else value + float(np.hypot(above - value, counted.high - value))
    everything, ends = n + failed, (np.zeros(failed), np.ones(failed))
    rank = at(probability, everything)
    return ExpectedCLs(
        value=value,
        low=low,
        high=high,
        if_failed_low=float(np.concatenate([ends[0], ratio])[rank]),
        if_failed_high=float(np.concatenate([ratio, ends[1]])[rank]),
    )
