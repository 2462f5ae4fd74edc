"""The answer to the section ``limit``: upper limits from toys, beside the asymptotic ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypedDict

import numpy as np

from toymill.config.sections import BACKGROUND, INJECTED, LimitConfig, signal
from toymill.fitting.conditional import fit_tests
from toymill.fitting.results import Fits
from toymill.inference.asymptotic_limits import AsymptoticPoint, asymptotic_point
from toymill.inference.crossing import Method
from toymill.inference.likelihood_ratios import lep_ratio, q_mu, qtilde_mu, tevatron_ratio
from toymill.inference.limit_records import Limit, UpperLimit
from toymill.inference.limits import expected_for, upper_limit
from toymill.inference.p_values import tie_tolerance
from toymill.inference.samples import LogRatios
from toymill.inference.verdicts import limit_verdict
from toymill.models.base import Model
from toymill.record import SigmaText
from toymill.results.answers import LimitAnswer
from toymill.study.densities import log_ratios_of
from toymill.study.finished import Stored, held_at, statistic_of
from toymill.study.limit_rounds import limit_ensembles, limit_precision
from toymill.study.model import truth_point
from toymill.toys import throw

if TYPE_CHECKING:
    from jaxtyping import Float

_AT_BOUND = 1e-5  # relative, of a tested value that was rounded


class Counting(TypedDict):
    """Keyword arguments of the functions of limits."""

    level: float
    method: Method
    tolerance: float
    log_ratios: LogRatios | None


class LimitToys(NamedTuple):
    """What limits are made from.

    Attributes:
        signal: the statistic of the toys thrown at each tested value, there.
        background: that of the background-only toys, at each tested value, (K, N).
        observed: that of the observed data, (K,), if there are any.
        injected: that of toys with the injected signal, (K, M), if there is one.
        tolerance: values that differ by less are ties.
        log_ratios: densities of the toys; None of hybrid ones, which have none that is known.
    """

    signal: list[Float[np.ndarray, " toy"]]
    background: Float[np.ndarray, "test toy"]
    observed: Float[np.ndarray, " test"] | None
    injected: Float[np.ndarray, "test toy"] | None
    tolerance: float
    log_ratios: LogRatios | None

    @classmethod
    def of(cls, stored: Stored) -> LimitToys:
        """Read the fits of a study."""
        settings, designed = stored.study.limit, stored.design.limit
        assert settings
        assert designed is not None
        values = designed.values
        names = [signal(k + 1) for k in range(len(values))]
        observed, tolerance = _of_data(stored, values)
        return cls(
            signal=[_of_toys(stored, name, [mu])[0] for name, mu in zip(names, values, strict=True)],
            background=_of_toys(stored, BACKGROUND, values),
            observed=observed,
            injected=None if settings.injected is None else _of_toys(stored, INJECTED, values),
            tolerance=tolerance,
            log_ratios=None if stored.study.nuisances == "hybrid" else _log_ratios(stored, names),
        )

    def counting(self, settings: LimitConfig) -> Counting:
        """How the toys are counted, as keyword arguments of ``upper_limit`` and ``expected_for``."""
        return {
            "level": settings.level,
            "method": settings.method,
            "tolerance": self.tolerance,
            "log_ratios": self.log_ratios,
        }


def _of_toys(stored: Stored, ensemble: str, values: Sequence[float]) -> Float[np.ndarray, "test toy"]:
    """The statistic of all toys of an ensemble at some tested values; LEP's needs the toys alone, thrown again."""
    settings = stored.study.limit
    assert settings
    if settings.statistic != "lep":
        return statistic_of(stored, ensemble, partial(_of_fits, settings.statistic, values))
    lots = stored.lots(ensemble, 0, stored.study.ensembles[ensemble].toys)
    return np.concatenate([_of_lep(stored.model, data, values) for data in lots], axis=1)


def _of_data(stored: Stored, values: Sequence[float]) -> tuple[Float[np.ndarray, " test"] | None, float]:
    """The statistic of the observed data, if there are any; and by how much two values of it may differ that are ties."""
    settings, model, edm = stored.study.limit, stored.model, stored.study.fit.edm_tolerance
    assert settings
    if settings.statistic == "lep":
        if model.observed is None:
            return None, tie_tolerance()
        nll = np.asarray(model.logpdf(model.parameters.init, model.observed))
        return _of_lep(model, model.observed[None], values)[:, 0], tie_tolerance(nll)
    if model.observed is None:
        return None, tie_tolerance(0.0, edm)
    free, tests = stored.observed_fits([0.0, *values])
    return _of_fits(settings.statistic, values, free, tests)[:, 0], tie_tolerance(free.nll, edm)


def _of_lep(
    model: Model, data: Float[np.ndarray, "toy datum"], values: Sequence[float]
) -> Float[np.ndarray, "test toy"]:
    """LEP's statistic of some data at tested values."""
    return np.array([lep_ratio(model, data, mu) for mu in values])


def _of_fits(
    statistic: str, values: Sequence[float], free: Fits, tests: Sequence[Fits]
) -> Float[np.ndarray, "test toy"]:
    """A statistic of fits at tested values; without fits at 0, the parameter cannot be negative, and q̃_μ is q_μ."""
    at = {held_at(fits): fits for fits in tests}
    if statistic == "tevatron":
        return np.array([tevatron_ratio(at[mu], at[0.0]) for mu in values])
    tilde = statistic == "qtilde" and 0.0 in at
    return np.array([qtilde_mu(free, at[mu], at[0.0]) if tilde else q_mu(free, at[mu]) for mu in values])


def upper_limits(stored: Stored, toys: LimitToys | None = None) -> UpperLimit:
    """The observed and the expected upper limits from the toys of a study, which are read if they are not given."""
    settings, designed = stored.study.limit, stored.design.limit
    assert settings
    assert designed is not None
    toys = toys or LimitToys.of(stored)
    found = upper_limit(
        np.array(designed.values), toys.signal, toys.background, toys.observed, **toys.counting(settings)
    )
    return _at_the_bound(found) if _reaches_bound(stored) else found


def _reaches_bound(stored: Stored) -> bool:
    """Whether the largest tested value is the upper bound of the parameter of interest."""
    assert stored.design.limit is not None
    high = float(stored.model.parameters.bounds[stored.model.poi_index, 1])
    return stored.design.limit.values[-1] >= high * (1 - _AT_BOUND)


def _injected(stored: Stored, settings: LimitConfig, toys: LimitToys) -> dict[SigmaText, Limit] | None:
    """The limits that are expected with the injected signal in the data."""
    if toys.injected is None or stored.design.limit is None:
        return None
    found = expected_for(
        np.array(stored.design.limit.values), toys.signal, toys.background, toys.injected, **toys.counting(settings)
    )
    return {key: _told_at_bound(item) for key, item in found.items()} if _reaches_bound(stored) else found


def limit_answer(stored: Stored) -> LimitAnswer:
    """Upper limits from toys beside the asymptotic ones."""
    settings, designed = stored.study.limit, stored.design.limit
    assert settings
    assert designed is not None
    every = LimitToys.of(stored)
    toys = upper_limits(stored, every)
    asymptotic = designed.asymptotic
    count = sum(stored.study.ensembles[name].toys for name in limit_ensembles(stored.design))
    verdict, expected = None, {}
    if asymptotic is not None:
        if toys.observed is not None and asymptotic.observed is not None:
            verdict = limit_verdict(asymptotic.observed.value, toys.observed, count=count)
        for key, item in toys.expected.items():
            what = "The median expected limit" if key == "0" else f"The expected limit at {int(key):+d} σ"
            expected[key] = limit_verdict(asymptotic.expected[key].value, item, count=count, what=what)
    return LimitAnswer(
        statistic=settings.statistic,
        toys=toys,
        asymptotic=asymptotic,
        why_no_asymptotic=designed.why_no_asymptotic,
        asymptotic_points=None if asymptotic is None else _asymptotic_points(stored, settings, designed.values, every),
        verdict=verdict,
        expected_verdicts=expected,
        injected=_injected(stored, settings, every),
        precision=limit_precision(toys, stored.design, settings.precision) if settings.precision else None,
    )


def _asymptotic_points(
    stored: Stored, settings: LimitConfig, values: Sequence[float], toys: LimitToys
) -> list[AsymptoticPoint | None] | None:
    """CLs at the tested values by the asymptotic formulae; None for a model that states a density: it has no Asimov data."""
    if stored.model.draw is not None:
        return None
    asimov = throw(stored.model, truth_point(stored.study, stored.model, BACKGROUND), 1, mode="asimov")
    held = [{stored.poi: value} for value in (0.0, *values)]
    free, tests = fit_tests(stored.model, asimov, held, tolerance=stored.study.fit.edm_tolerance)
    expected = _of_fits(settings.statistic, values, free, tests)[:, 0].tolist()
    observed = [math.nan] * len(values) if toys.observed is None else toys.observed.tolist()
    how = {"tilde": settings.statistic == "qtilde", "ratio": settings.statistic == "tevatron"}
    return [
        None if math.isnan(q_asimov) else asymptotic_point(q, q_asimov, method=settings.method, **how)
        for q, q_asimov in zip(observed, expected, strict=True)
    ]


def _at_the_bound(found: UpperLimit) -> UpperLimit:
    """Limits whose largest tested value is the parameter's upper bound: nothing larger can be tested."""

    return found.model_copy(
        update={
            "observed": found.observed and _told_at_bound(found.observed),
            "expected": {key: _told_at_bound(item) for key, item in found.expected.items()},
        }
    )


def _told_at_bound(limit: Limit) -> Limit:
    words = limit.sentence.replace("Test larger values.", "It is the upper bound of the parameter.")
    return limit.model_copy(update={"sentence": words})


def _log_ratios(stored: Stored, names: Sequence[str]) -> LogRatios:
    """The densities of the toys of a limit, with which they are weighted."""
    null, *truths = (truth_point(stored.study, stored.model, name) for name in (BACKGROUND, *names))

    def of(ensemble: str, at: Sequence[Float[np.ndarray, " parameter"]]) -> Float[np.ndarray, "truth toy"]:
        toys, count = partial(stored.toys, ensemble), stored.study.ensembles[ensemble].toys
        return log_ratios_of(stored.model, toys, count, at, null)

    own = [of(name, [truth])[0] for name, truth in zip(names, truths, strict=True)]
    return LogRatios(own, of(BACKGROUND, truths))
