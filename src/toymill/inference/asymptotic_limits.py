"""CLs and upper limits by the asymptotic formulae.

Equation numbers are those of Cowan, Cranmer, Gross and Vitells, arXiv:1007.1727 (CCGV).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Literal

import scipy

from toymill.errors import ToymillError
from toymill.inference.crossing import Method
from toymill.inference.limit_records import SIGMAS
from toymill.record import NumberOrNone, Record, SigmaText

_ROOTS = 1e-10  # of a limit, relative
_NEAREST = 1e-6  # times the start of a search, below which a limit is at the bound
_FARTHEST = 1e9  # times the start of a search, for a parameter without an upper bound


class AsymptoticCLs(Record):
    """CLs by the asymptotic formulae."""

    clsb: float
    """CL_{s+b} of the observed data."""
    clb: float
    """CL_b of the observed data."""
    cls: float
    """CLs of the observed data."""
    expected: dict[SigmaText, float]
    """CLs of background-only data of which μ̂ lies -2 to 2 standard deviations above 0."""


class AsymptoticLimit(Record):
    """An upper limit by the asymptotic formulae."""

    value: NumberOrNone
    """The limit; null where it lies outside of the parameter's bounds."""
    outside: Literal["below", "above"] | None
    """Where it lies if not within the bounds."""
    sentence: str
    """The limit in words."""


class AsymptoticUpperLimit(Record):
    """The observed and the expected upper limits by the asymptotic formulae."""

    level: float
    """The confidence level."""
    method: Literal["CLs", "CLsb"]
    """What falls to 1 - level at the limit: CLs, or CL_{s+b} alone."""
    observed: AsymptoticLimit | None
    """The limit from the observed data; null without them."""
    expected: dict[SigmaText, AsymptoticLimit]
    """The limits of background-only data of which μ̂ lies -2 to 2 standard deviations above 0."""


class AsymptoticPoint(Record):
    """What falls to 1 - level at the limit, CLs or CL_{s+b}, at one tested value by the asymptotic formulae."""

    observed: NumberOrNone
    """That of the observed data; null without them, and where their fit is not certified."""
    expected: dict[SigmaText, float]
    """That of background-only data of which μ̂ lies -2 to 2 standard deviations above 0."""


def asymptotic_point(
    q_obs: float, q_asimov: float, *, method: Method = "CLs", tilde: bool = True, ratio: bool = False
) -> AsymptoticPoint:
    """CLs or CL_{s+b} of the observed data and as expected, from what ``asymptotic_cls`` is given.

    Args:
        q_obs: the statistic of the observed data; NaN where it is not known.
        q_asimov: that of the Asimov data of background alone.
        method: ``"CLs"``, or ``"CLsb"`` for CL_{s+b}.
        tilde: whether it is q̃_μ.
        ratio: whether it is the Tevatron's ratio.

    Example:
        >>> asymptotic_point(math.nan, 4.0).expected["0"] / asymptotic_point(4.0, 4.0, method="CLsb").expected["0"]
        2.0
    """
    known = not math.isnan(q_obs)
    found = asymptotic_cls(q_obs if known else q_asimov, q_asimov, tilde=tilde, ratio=ratio)
    if method == "CLs":
        return AsymptoticPoint(observed=found.cls if known else None, expected=found.expected)
    expected = {key: value * _sf(-int(key)) for key, value in found.expected.items()}
    return AsymptoticPoint(observed=found.clsb if known else None, expected=expected)


def asymptotic_cls(q_obs: float, q_asimov: float, *, tilde: bool = True, ratio: bool = False) -> AsymptoticCLs:
    """CLs from q_μ or q̃_μ of the observed data and of the Asimov data of background alone, q_A = μ²/σ².

        CL_{s+b} = 1 - Φ(√q)                 CL_b = 1 - Φ(√q - √q_A)               q_μ, and q̃_μ ≤ q_A
        CL_{s+b} = 1 - Φ((q + q_A)/(2√q_A))  CL_b = 1 - Φ((q - q_A)/(2√q_A))       q̃_μ > q_A

    (eqs. 57 to 59 for q_μ, 65 to 67 for q̃_μ, with μ' = μ and 0). Expected values have √q = √q_A - N at μ̂ = Nσ
    (section 4.2).

    Args:
        q_obs: the statistic of the observed data.
        q_asimov: that of the Asimov data of background alone.
        tilde: whether it is q̃_μ.
        ratio: whether it is the Tevatron's ratio t_μ - t_0, for which the second line always holds.

    Example:
        q̃ of the median background-only data is that of the Asimov data.

        >>> found = asymptotic_cls(4.0, 4.0)
        >>> round(found.cls, 5), round(found.clsb, 5), found.clb
        (0.0455, 0.02275, 0.5)
        >>> [round(value, 4) for value in found.expected.values()]
        [0.0014, 0.0085, 0.0455, 0.1886, 0.5116]
    """
    root, reach = math.sqrt(max(q_obs, 0.0)), math.sqrt(max(q_asimov, 0.0))
    distance = root - reach
    if reach > 0 and (ratio or (tilde and root > reach)):
        distance = (q_obs - q_asimov) / (2 * reach)
    clsb, clb = _sf(distance + reach), _sf(distance)
    return AsymptoticCLs(
        clsb=clsb,
        clb=clb,
        cls=clsb / clb if clb > 0 else 0.0,
        expected={str(sigma): _sf(reach - sigma) / _sf(-sigma) for sigma in SIGMAS},
    )


def asymptotic_upper_limit(
    q_of_mu: Callable[[float], float] | None,
    asimov_of_mu: Callable[[float], float],
    *,
    bounds: tuple[float, float],
    level: float = 0.95,
    method: Method = "CLs",
    tilde: bool = True,
    ratio: bool = False,
    start: float | None = None,
) -> AsymptoticUpperLimit:
    """The values of μ at which CLs falls to 1 - level, observed and expected, found by Brent's method.

    The statistic may be the Tevatron's, t_μ - t_0, too. It is (μ² - 2 μ μ̂)/σ² by Wald's approximation (eq. 17), normal with
    the mean ±q_A without and with signal, and the width 2√q_A, so that

        CL_{s+b} = 1 - Φ((q + q_A)/(2√q_A))   CL_b = 1 - Φ((q - q_A)/(2√q_A))

    of all its values: like q̃_μ's above q_A, which is the same. The expected limits are thus those of q_μ and q̃_μ.

    Args:
        q_of_mu: q_μ, q̃_μ or the ratio of the observed data at a tested value; None without them.
        asimov_of_mu: that of the Asimov data of background alone.
        bounds: the parameter's bounds; no value outside of them is tested, and none below 0.
        level: the confidence level.
        method: ``"CLs"``, or ``"CLsb"`` for CL_{s+b} alone.
        tilde: whether it is q̃_μ.
        ratio: whether it is the Tevatron's ratio.
        start: about where the limit is, from where the search begins; twice σ(μ̂), say. From 1 otherwise.

    Raises:
        ToymillError: bounds without a positive value between, or a statistic that is NaN, of a fit that failed.

    Example:
        A Gaussian measurement with σ = 1 that finds μ̂ = 0: CLs is 0.05 where 1 - Φ(μ) is 0.025.

        >>> found = asymptotic_upper_limit(lambda mu: mu**2, lambda mu: mu**2, bounds=(0, 10))
        >>> [round(item.value, 3) for item in found.expected.values()]
        [1.052, 1.412, 1.96, 2.727, 3.656]
        >>> found.observed.sentence
        'The asymptotic limit is 1.96 at 95 % CL.'
    """
    low, high = max(bounds[0], 0.0), bounds[1]
    if not low < high:
        msg = f"The bounds of the parameter of interest are {bounds}; expected some positive value between them."
        raise ToymillError(msg)
    asimov = functools.cache(_certified(asimov_of_mu))
    observed = None if q_of_mu is None else functools.cache(_certified(q_of_mu))
    words = f"at {100 * level:.4g} % CL"

    def excess(mu: float, sigma: int | None) -> float:
        """ln of CLs over 1 - level: it falls with μ, and its root is the limit."""
        q_asimov = asimov(mu)
        reach = math.sqrt(max(q_asimov, 0.0))
        if sigma is not None or observed is None:
            clsb, clb = reach - (sigma or 0), -float(sigma or 0)
        else:
            q = observed(mu)
            distance = math.sqrt(max(q, 0.0)) - reach
            linear = reach > 0 and (ratio or (tilde and distance > 0))
            distance = (q - q_asimov) / (2 * reach) if linear else distance
            clsb, clb = distance + reach, distance
        ln = float(scipy.special.log_ndtr(-clsb)) - (float(scipy.special.log_ndtr(-clb)) if method == "CLs" else 0.0)
        return ln - math.log(1 - level)

    def limit(sigma: int | None, begin: float) -> AsymptoticLimit:
        what = "The asymptotic limit" if sigma is None else f"The asymptotic limit expected at {sigma:+d} σ"
        what = "The asymptotic median limit" if sigma == 0 else what
        found = _root(functools.partial(excess, sigma=sigma), low, high, begin)
        if isinstance(found, str):
            bound = low if found == "below" else high
            sentence = f"{what} lies {found} {bound:.4g}, where the parameter of interest is tested no further."
            return AsymptoticLimit(value=None, outside=found, sentence=sentence)
        return AsymptoticLimit(value=found, outside=None, sentence=f"{what} is {found:.4g} {words}.")

    expected = {}
    begin = min(max(start or 1.0, low), high)
    high = min(high, _FARTHEST * begin)
    for sigma in sorted(SIGMAS, key=abs):
        expected[sigma] = limit(sigma, begin)
        begin = expected[sigma].value or begin
    return AsymptoticUpperLimit(
        level=level,
        method=method,
        observed=None if observed is None else limit(None, expected[0].value or begin),
        expected={str(sigma): expected[sigma] for sigma in SIGMAS},
    )


def _sf(x: float) -> float:
    return float(scipy.special.ndtr(-x))


def _certified(statistic: Callable[[float], float]) -> Callable[[float], float]:
    """The statistic, where its fit is certified."""

    def of(mu: float) -> float:
        value = float(statistic(mu))
        if math.isnan(value):
            msg = (
                f"The statistic at {mu:.6g} is not known, since its fit is not certified: there is no asymptotic limit."
            )
            raise ToymillError(msg)
        return value

    return of


def _root(
    falling: Callable[[float], float], low: float, high: float, begin: float
) -> float | Literal["below", "above"]:
    """Where a falling function is zero, by steps of a factor of 1.5 from where it may be; or where the root lies."""
    at = begin if begin > low else low + min(1.0, (high - low) / 2)
    value = falling(at)
    while True:
        further = at + (at - low) / 2 if value > 0 else low + (at - low) / 1.5
        if value > 0 and at >= high:
            return "above"
        if value <= 0 and at - low < _NEAREST * (begin - low or 1.0):
            return "below"  # at the bound itself rounding decides
        further = min(further, high)
        following = falling(further)
        if (value > 0) != (following > 0):
            found: float = scipy.optimize.brentq(falling, *sorted((at, further)), xtol=_ROOTS * abs(at), rtol=_ROOTS)
            return found
        at, value = further, following
