"""The asymptotic upper limits of a study, and the values that its toys test about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from toymill.config.sections import LimitConfig
from toymill.errors import ToymillError
from toymill.fitting.conditional import fit_more_tests, fit_tests
from toymill.inference.asymptotic_limits import AsymptoticUpperLimit, asymptotic_upper_limit
from toymill.inference.likelihood_ratios import q_mu, qtilde_mu, tevatron_ratio
from toymill.models.base import Model
from toymill.study.model import poi_of
from toymill.toys import throw

if TYPE_CHECKING:
    from jaxtyping import Float

BELOW, ABOVE = 0.6, 1.4
"""Tested values reach from so much of the lowest of the asymptotic limits to so much of the highest."""

NO_FORMULA = (
    "The statistic of LEP has no asymptotic formula: its width depends on how nuisance parameters are drawn. Values are "
    "tested about the asymptotic limits of q̃_μ."
)
"""Why limits by LEP's statistic have no asymptotic ones beside them."""

_LOWEST = 0.05  # of the median limit: data that exclude less exclude every value that can be told from none


def asymptotic_limits(
    settings: LimitConfig, model: Model, null: Float[np.ndarray, " parameter"], sigma: float
) -> AsymptoticUpperLimit:
    """The asymptotic upper limits, observed and expected (CCGV, arXiv:1007.1727, sec. 3.6 to 4.3); of LEP's statistic q̃_μ's.

    Args:
        settings: the section of the configuration.
        model: the model.
        null: the truth point without a signal, whose Asimov dataset stands for the expectation, (P,).
        sigma: standard deviation of the parameter of interest there. It stands in for the Asimov dataset of a model
            that states a density, which has none.
    """
    poi, ratio, tilde = poi_of(model), settings.statistic == "tevatron", settings.statistic in ("qtilde", "lep")
    asimov = None if model.draw is not None else throw(model, null, 1, mode="asimov")

    def statistic_of(data: Float[np.ndarray, "one datum"]) -> Callable[[float], float]:
        """The statistic of a dataset, by tested value; its free fit and the one without a signal are made once."""
        free, (background,) = fit_tests(model, data, [{poi: 0.0}])

        def statistic(mu: float) -> float:
            nonlocal free
            free, (conditional,) = fit_more_tests(model, data, [{poi: mu}], free, [background])
            if ratio:
                return float(tevatron_ratio(conditional, background)[0])
            found = qtilde_mu(free, conditional, background) if tilde else q_mu(free, conditional)
            return float(max(found[0], 0.0))

        return statistic

    low, high = model.parameters.bounds[model.poi_index]
    observed = model.observed
    return asymptotic_upper_limit(
        None if observed is None else statistic_of(observed[None]),
        (lambda mu: (mu / sigma) ** 2) if asimov is None else statistic_of(asimov),
        bounds=(float(low), float(high)),
        level=settings.level,
        method=settings.method,
        tilde=tilde,
        ratio=ratio,
        start=2 * sigma,
    )


def limit_points(settings: LimitConfig, asymptotic: AsymptoticUpperLimit, high: float) -> list[float]:
    """The tested values of a limit, ascending: in equal ratios about the asymptotic limits.

    Args:
        settings: the section of the configuration.
        asymptotic: the asymptotic limits.
        high: the upper bound of the parameter of interest.

    Raises:
        ToymillError: no asymptotic limit within the bounds.
    """
    if settings.values is not None:
        return list(settings.values)
    every = [item for item in (asymptotic.observed, *asymptotic.expected.values()) if item is not None]
    known = [item.value for item in every if item.value is not None]
    if not known:
        sentence = asymptotic.expected["0"].sentence
        msg = f"limit: the asymptotic limits cannot tell which values to test. {sentence} Name values in limit.values."
        raise ToymillError(msg)
    median = asymptotic.expected["0"].value or max(known)
    bottom = min((value for value in known if value >= _LOWEST * median), default=median)
    top = high if any(item.outside == "above" for item in every) else min(ABOVE * max(known), high)
    if not np.isfinite(top):
        top = ABOVE * max(known)
    return [min(float(f"{value:.6g}"), high) for value in np.geomspace(BELOW * bottom, top, settings.points)]
