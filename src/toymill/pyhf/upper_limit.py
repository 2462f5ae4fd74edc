"""pyhf's ``upper_limit``: where CLs by toys crosses a level, on a grid of tested values or by root finding."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from toymill.errors import ToymillError, ToymillWarning
from toymill.pyhf.calculator import ToyCalculator
from toymill.pyhf.hypothesis_test import Answer, answer, by_pyhf, returned
from toymill.pyhf.installed import pyhf, tensorlib
from toymill.pyhf.model import as_numbers

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import ArrayLike

_NAMES = ("observed", *(f"expected {sigma:+d} σ" for sigma in (-2, -1, 0, 1, 2)))
_RETURNS = ("return_tail_probs", "return_expected", "return_calculator", "return_errors")
_XTOL, _RTOL = 2e-12, 1e-4  # pyhf's, of a limit by root finding


def upper_limit(
    data: ArrayLike,
    model: Any,
    scan: Sequence[float] | Float[np.ndarray, " point"] | None = None,
    level: float = 0.05,
    return_results: bool = False,
    **hypotest_kwargs: Any,
) -> Any:
    """Upper limits by CLs: ``pyhf.infer.intervals.upper_limits.upper_limit``, with toys where ``calctype`` is ``toybased``.

    Every tested value has toys from the same random numbers. They have no Monte Carlo errors here: those of CLs are in
    the results with ``return_errors``, and a study with a section ``limit`` gives those of limits.

    Args:
        data: main and auxiliary data, shape (D,).
        model: the ``pyhf.Model``.
        scan: tested values, between which CLs is interpolated linearly; None finds the limits between the bounds of the
            POI, each to a relative 1e-4.
        level: the CLs that a limit has.
        return_results: return the tested values and what ``hypotest`` returns of each, too.
        **hypotest_kwargs: what ``hypotest`` takes beside; ``return_expected_set`` is set.

    Returns:
        The observed limit and the list of the five expected ones, tensors of shape () of pyhf's backend; and, if asked
        for, the tuple of tested values and results.

    Raises:
        ToymillError: what ``hypotest`` refuses; tested values that are not two or more numbers; CLs that does not cross
            the level between the bounds of the POI.

    Warns:
        ToymillWarning: limits outside of the scan, which are then an end of it, as pyhf's are; tested values without CLs.

    Example:
        >>> import pyhf
        >>> from toymill.pyhf import upper_limit
        >>> model = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
        >>> data = [51, 48, *model.config.auxdata]
        >>> observed, expected = upper_limit(data, model, [0.2, 0.6, 1.0, 1.5, 2.0, 3.0], calctype="toybased", ntoys=500)
        >>> bool(0.8 < observed < 1.3)
        True
    """
    kwargs = dict(hypotest_kwargs)
    calctype = kwargs.pop("calctype", "asymptotics")
    asked = {name: kwargs.pop(name, False) for name in _RETURNS}
    kwargs.pop("return_expected_set", None)
    if by_pyhf(calctype, return_errors=asked["return_errors"]):
        by = pyhf.infer.intervals.upper_limits.upper_limit
        return by(data, model, scan, level, return_results, **hypotest_kwargs)
    if not 0 < level < 1:
        msg = f"level is {level!r}; expected the CLs that a limit has, such as 0.05."
        raise ToymillError(msg)
    calculator = ToyCalculator(data, model, **kwargs)
    if scan is None:
        tested, answers, limits = _found(calculator, level)
    else:
        tested = as_numbers("scan", scan)
        if len(tested) < 2 or tested.ndim != 1:
            msg = f"scan is {scan!r}; expected two or more tested values."
            raise ToymillError(msg)
        answers = [answer(calculator, value) for value in tested]
        limits = [
            _interpolated(level, tested, curve, name) for curve, name in zip(_curves(answers), _NAMES, strict=True)
        ]
    observed, *expected = (tensorlib().astensor(float(limit)) for limit in limits)
    if not return_results:
        return observed, expected
    results = [returned(found, calculator, **asked, return_expected_set=True) for found in answers]
    return observed, expected, (tested.tolist() if scan is None else scan, results)


def _curves(answers: list[Answer]) -> Float[np.ndarray, "6 point"]:
    """CLs of the data, and the five expected ones, at each tested value."""
    return np.array([[float(item) for item in (found.observed, *found.expected)] for found in answers]).T


def _interpolated(
    level: float, tested: Float[np.ndarray, " point"], curve: Float[np.ndarray, " point"], name: str
) -> float:
    """The last crossing of a level from above, interpolated linearly: of a falling curve what ``np.interp`` finds."""
    known = np.isfinite(curve)
    order = np.argsort(tested[known], kind="stable")
    x, y = tested[known][order], curve[known][order]
    if not known.all():
        text = (
            f"At {np.count_nonzero(~known)} of {len(tested)} tested values no background-like toy lies beyond, and the "
        )
        text += f"{name} CLs is not known. They are left out. Throw more toys (ntoys)."
        warnings.warn(text, ToymillWarning, stacklevel=3)
    above = np.flatnonzero(y >= level)
    if len(above) and above[-1] + 1 < len(y):
        i = above[-1]
        return float(x[i] + (y[i] - level) / (y[i] - y[i + 1]) * (x[i + 1] - x[i]))
    if not len(y):
        return np.nan
    end, word = (x[-1], "above") if len(above) else (x[0], "below")
    text = f"The {name} limit lies {word} the scan, whose end {end:g} is returned. Scan values from further {word}."
    warnings.warn(text, ToymillWarning, stacklevel=3)
    return float(end)


def _found(calculator: ToyCalculator, level: float) -> tuple[Float[np.ndarray, " point"], list[Answer], list[float]]:
    """The six limits by root finding, between the bounds of the POI."""
    answers: dict[float, Answer] = {}

    def away(value: float, which: int) -> float:
        if value not in answers:
            answers[value] = answer(calculator, value)
        found = answers[value]
        return float((found.observed, *found.expected)[which]) - level

    low, high = calculator.par_bounds[calculator.pdf.config.poi_index]
    limits = []
    for which, name in enumerate(_NAMES):
        ends = [away(end, which) for end in (low, high)]
        if not ends[0] >= 0 > ends[1]:
            msg = (
                f"The {name} CLs is {ends[0] + level:.3g} at {low:g} and {ends[1] + level:.3g} at {high:g}, the bounds of "
                f"the POI: it does not cross {level:g} between them. Change the bound, or give a scan."
            )
            raise ToymillError(msg)
        sides = {value: away(value, which) for value in sorted(answers)}
        lower = max(value for value, side in sides.items() if side >= 0 and value < high)
        upper = min(value for value, side in sides.items() if side < 0 and value > lower)
        limits.append(scipy.optimize.toms748(away, lower, upper, args=(which,), k=2, xtol=_XTOL, rtol=_RTOL))
    return np.array(list(answers)), list(answers.values()), limits
