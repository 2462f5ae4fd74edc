"""pyhf's ``hypotest``: CLs and p-values by toys, and on request their Monte Carlo errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy

from toymill.errors import ToymillError, nearest
from toymill.inference.counting import fraction
from toymill.inference.p_values import CLs, cls
from toymill.pyhf.calculator import EmpiricalDistribution, ToyCalculator
from toymill.pyhf.installed import pyhf

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import ArrayLike

SIGMAS = (2, 1, 0, -1, -2)
"""Of the test statistic of background-like toys, in the order of pyhf's expected values: the smallest CLs comes first."""

_FEWEST = 10  # toys on either side of a quantile, below which it has no error


class ToyErrors(NamedTuple):
    """Monte Carlo errors of what ``hypotest`` returns.

    Attributes:
        observed: CLs of the data with ``clsb`` and ``clb``: values, 68.27 % intervals, numbers of toys and of failed
            ones, and the values if all the failed ones lay on either side.
        expected: ends of the 68.27 % interval of each value of the expected set; None where fewer than ten toys lie on
            one side of the quantile.
    """

    observed: CLs
    expected: list[tuple[float, float] | None]

    def __repr__(self) -> str:
        found = self.observed
        values = (("CLs", found.value, found.low, found.high), *_tails(found))
        told = ", ".join(
            f"{name} {_number(value)} [{_number(low)}, {_number(high)}]" for name, value, low, high in values
        )
        expected = ", ".join("unknown" if ends is None else f"[{ends[0]:.3g}, {ends[1]:.3g}]" for ends in self.expected)
        counts = f"{found.clsb.toys} and {found.clb.toys} toys, {found.clsb.failed + found.clb.failed} failed"
        return f"<ToyErrors, 68.27 % intervals: observed {told}; expected {expected}; {counts}>"


class Answer(NamedTuple):
    """What a test of one value finds: p of q0, otherwise CLs."""

    observed: Any
    tails: list[Any]
    expected: list[Any]
    errors: ToyErrors


def hypotest(
    poi_test: Any,
    data: ArrayLike,
    pdf: Any,
    init_pars: ArrayLike | None = None,
    par_bounds: ArrayLike | None = None,
    fixed_params: ArrayLike | None = None,
    calctype: str = "asymptotics",
    return_tail_probs: bool = False,
    return_expected: bool = False,
    return_expected_set: bool = False,
    return_calculator: bool = False,
    *,
    return_errors: bool = False,
    **kwargs: Any,
) -> Any:
    """CLs of a tested value, or p of ``q0``: ``pyhf.infer.hypotest``, with toys where ``calctype`` is ``toybased``.

    Args:
        poi_test: the tested value.
        data: main and auxiliary data, shape (D,).
        pdf: the ``pyhf.Model``.
        init_pars: initial values, shape (P,).
        par_bounds: lower and upper bounds, shape (P, 2).
        fixed_params: True for what no fit frees, shape (P,).
        calctype: ``toybased``; with ``asymptotics`` pyhf is called, and ``return_errors`` refused.
        return_tail_probs: return [CL_{s+b}, CL_b] too, of ``q0`` [CL_b].
        return_expected: return the median expected value too.
        return_expected_set: return the five expected values too.
        return_calculator: return the calculator too.
        return_errors: return ``ToyErrors`` too, last of all.
        **kwargs: ``test_stat``, ``ntoys``, ``track_progress`` and ``seed`` of ``ToyCalculator``.

    Returns:
        What is asked for, in this order, tensors of shape () of pyhf's backend; no tuple where that is one thing.

    Raises:
        ToymillError: what ``ToyCalculator`` refuses; so of pyhf's exceptions.

    Example:
        >>> import pyhf
        >>> from toymill.pyhf import hypotest
        >>> model = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
        >>> found, errors = hypotest(
        ...     1.0, [51, 48, *model.config.auxdata], model, calctype="toybased", ntoys=1000, return_errors=True
        ... )
        >>> bool(errors.observed.low < found < errors.observed.high)
        True
    """
    settings = (init_pars, par_bounds, fixed_params)
    asked = {
        "return_tail_probs": return_tail_probs,
        "return_expected": return_expected,
        "return_expected_set": return_expected_set,
        "return_calculator": return_calculator,
    }
    if by_pyhf(calctype, return_errors=return_errors):
        return pyhf.infer.hypotest(poi_test, data, pdf, *settings, calctype, **asked, **kwargs)
    calculator = ToyCalculator(data, pdf, *settings, **kwargs)
    return returned(answer(calculator, poi_test), calculator, **asked, return_errors=return_errors)


def by_pyhf(calctype: str, *, return_errors: bool) -> bool:
    """Whether pyhf itself is to be called: there are no toys.

    Raises:
        ToymillError: another ``calctype``, and errors where there are no toys.
    """
    if calctype not in ("asymptotics", "toybased"):
        msg = f"calctype is {calctype!r}. {nearest(calctype, ('asymptotics', 'toybased'))}"
        raise ToymillError(msg)
    if calctype == "asymptotics" and return_errors:
        msg = "return_errors is of toys, and calctype is 'asymptotics'. Say calctype='toybased'."
        raise ToymillError(msg)
    return calctype == "asymptotics"


def answer(calculator: ToyCalculator, poi_test: Any) -> Answer:
    """Everything that ``hypotest`` may return of one tested value."""
    seen = calculator.teststatistic(poi_test)
    signal, background = calculator.distributions(poi_test)
    clsb, clb, ratio = calculator.pvalues(seen, signal, background)
    expected_clsb, _, expected_ratio = calculator.expected_pvalues(signal, background)
    discovery = calculator.test_stat == "q0"
    tolerance = max(signal.tolerance, background.tolerance)
    errors = ToyErrors(
        observed=cls(signal.statistic, background.statistic, float(seen), tolerance),
        expected=[_interval(signal, background, sigma, ratio=not discovery) for sigma in SIGMAS],
    )
    if discovery:
        return Answer(clsb, [clb], expected_clsb, errors)
    return Answer(ratio, [clsb, clb], expected_ratio, errors)


def returned(
    found: Answer,
    calculator: ToyCalculator,
    *,
    return_tail_probs: bool = False,
    return_expected: bool = False,
    return_expected_set: bool = False,
    return_calculator: bool = False,
    return_errors: bool = False,
) -> Any:
    """What is asked for, in pyhf's order."""
    parts = [found.observed]
    if return_tail_probs:
        parts.append(found.tails)
    if return_expected:
        parts.append(found.expected[2])
    if return_expected_set:
        parts.append(found.expected)
    if return_calculator:
        parts.append(calculator)
    if return_errors:
        parts.append(found.errors)
    return tuple(parts) if len(parts) > 1 else parts[0]


def _tails(found: CLs) -> list[tuple[str, float | None, float, float]]:
    return [(name, item.value, item.low, item.high) for name, item in (("CLsb", found.clsb), ("CLb", found.clb))]


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _interval(
    signal: EmpiricalDistribution, background: EmpiricalDistribution, sigma: int, *, ratio: bool
) -> tuple[float, float] | None:
    """The 68.27 % interval of an expected value: of CL_{s+b} at the quantile and of the quantile, in quadrature.

    CL_b at a quantile does not fluctuate.
    """
    q, p = np.asarray(background.samples, dtype=float), float(scipy.stats.norm.cdf(sigma))
    if len(q) * min(p, 1 - p) < _FEWEST:
        return None
    spread = np.sqrt(p * (1 - p) / len(q))
    at, above, below = np.quantile(q, [p, min(p + spread, 1.0), max(p - spread, 0.0)])
    beyond, toys = (_beyond(signal, value) for value in (at, above, below)), len(np.asarray(signal.samples))
    middle, low, high = (fraction(count, toys) for count in beyond)
    clb = _beyond(background, at) / len(q) if ratio else 1.0
    value = middle.value or 0.0
    return (
        max(value - float(np.hypot(value - middle.low, value - (low.value or 0.0))), 0.0) / clb,
        (value + float(np.hypot(middle.high - value, (high.value or 0.0) - value))) / clb,
    )


def _beyond(distribution: EmpiricalDistribution, value: float) -> int:
    """How many certified toys have q ≥ value."""
    samples: Float[np.ndarray, " toy"] = np.asarray(distribution.samples, dtype=float)
    return int(np.count_nonzero(samples >= value - distribution.tolerance))
