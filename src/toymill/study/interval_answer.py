"""The answer to the section ``interval``: intervals of the Neyman construction, beside the asymptotic ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from toymill.config.sections import at_set, at_tested
from toymill.fitting.results import Fits
from toymill.inference.interval_coverage import CoverageVerdict, coverage_verdict
from toymill.inference.interval_verdicts import EndVerdict, end_verdict
from toymill.inference.likelihood_ratios import t_mu, ttilde_mu
from toymill.inference.neyman import neyman_intervals
from toymill.inference.neyman_records import NeymanIntervals
from toymill.inference.p_values import tie_tolerance
from toymill.results.answers import CoverageVerdicts, EndVerdicts, IntervalAnswer
from toymill.study.finished import Stored, held_at, statistic_of
from toymill.study.interval_points import physical
from toymill.study.interval_rounds import interval_precision
from toymill.study.rounds import toys_of

if TYPE_CHECKING:
    from jaxtyping import Float


def interval_ensembles(stored: Stored) -> dict[str, float]:
    """The ensembles at the tested values, each with its value: first those at the fits to the observed data."""
    assert stored.design.interval is not None
    values = stored.design.interval.values
    further = {name: mu for number, mu in enumerate(values, 1) for name in at_set(stored.study, number)}
    return dict(zip(at_tested(stored.study), values, strict=True)) | further


def intervals(stored: Stored) -> NeymanIntervals:
    """The intervals from the toys of a study."""
    settings, designed = stored.study.interval, stored.design.interval
    assert settings
    assert designed is not None
    tilde = settings.statistic == "ttilde"

    def values(free: Fits, tests: Sequence[Fits], tested: Sequence[float]) -> Float[np.ndarray, "test toy"]:
        """The statistic at tested values; without fits at 0, the parameter cannot be negative, and t̃_μ is t_μ."""
        at = {held_at(fits): fits for fits in tests}
        zero = at.get(0.0)
        rows = [ttilde_mu(free, at[mu], zero) if tilde and zero is not None else t_mu(free, at[mu]) for mu in tested]
        return np.array(rows)

    toys = {
        name: statistic_of(stored, name, partial(values, tested=[mu]))[0]
        for name, mu in interval_ensembles(stored).items()
    }
    names = at_tested(stored.study)
    bounds = physical(settings, stored.model)
    free, tests = stored.observed_fits(sorted({*([0.0] if tilde and bounds[0] == 0 else []), *designed.values}))
    return neyman_intervals(
        np.array(designed.values),
        [toys[name] for name in names],
        values(free, tests, designed.values)[:, 0],
        over_set=[[toys[name] for name in at_set(stored.study, k)] for k in range(1, len(names) + 1)],
        beta=settings.berger_boos.beta if settings.berger_boos else 0.0,
        distances=designed.distances,
        levels=settings.levels,
        bounds=bounds,
        tolerance=tie_tolerance(float(free.nll[0]), stored.study.fit.edm_tolerance),
    )


def interval_answer(stored: Stored) -> IntervalAnswer:
    """The intervals from the toys of a study, and whether the asymptotic ones may be used."""
    settings, designed = stored.study.interval, stored.design.interval
    assert settings
    assert designed is not None
    ensembles, found = interval_ensembles(stored), intervals(stored)
    count = toys_of(stored.design, ensembles)

    def verdict(key: str, side: Literal["low", "high"]) -> EndVerdict:
        asymptotic, end = designed.asymptotic[key], getattr(found.intervals[key], side)
        what = f"The {'lower' if side == 'low' else 'upper'} end at {100 * asymptotic.level:.4g} %"
        return end_verdict(getattr(asymptotic, side), end, asymptotic.best, count=count, what=what)

    over_set = None
    if settings.berger_boos:
        over_set = (
            f"Each p-value is the largest over a {100 * (1 - settings.berger_boos.beta):.4g} % confidence set of "
            f"{', '.join(designed.nuisances)}, plus {settings.berger_boos.beta:g} (Berger and Boos)."
        )
    return IntervalAnswer(
        statistic=settings.statistic,
        over_set=over_set,
        toys=found,
        asymptotic=designed.asymptotic,
        verdicts={key: EndVerdicts(low=verdict(key, "low"), high=verdict(key, "high")) for key in designed.asymptotic},
        coverage={key: _coverage(found, key) for key in designed.asymptotic},
        precision=interval_precision(found, ensembles, stored.design, settings.precision)
        if settings.precision
        else None,
    )


def _coverage(found: NeymanIntervals, key: str) -> CoverageVerdicts:
    """Whether the intervals of a level hold the truth often enough, over the tested values."""

    def verdict(kind: Literal["coverage", "asymptotic_coverage"], what: str, share: int) -> CoverageVerdict | None:
        known = [item for item in found.points if key in getattr(item, kind)]
        if not known:
            return None
        counts = [item.toys // share for item in known]
        pairs = [(item.poi, getattr(item, kind)[key]) for item in known]
        words = f"The {what} interval at {100 * float(key):.4g} %"
        return coverage_verdict(pairs, counts, what=words, halves=share == 2)

    return CoverageVerdicts(
        toys=verdict("coverage", "toys'", 2), asymptotic=verdict("asymptotic_coverage", "asymptotic", 1)
    )
