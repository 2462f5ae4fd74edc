"""Whether a limit or a significance of the asymptotic formulae is usable, in one sentence."""

from __future__ import annotations

import math

from toymill.inference.limit_records import Limit
from toymill.inference.mixture import MixtureTail
from toymill.inference.p_values import PValue
from toymill.record import NumberOrNone, Record

USABLE = 0.05
"""The relative difference up to which an asymptotic number counts as usable."""

_SIGMAS = 2.0  # standard errors of the toys that a decision has to be sure by
_MOST = 100  # times the toys, beyond which no number of toys is proposed


class AsymptoticVerdict(Record):
    """An asymptotic number beside that of the toys."""

    usable: bool | None
    """Whether the two differ by less than what counts as usable, with two standard errors to spare; null: not decided."""
    asymptotic: NumberOrNone
    """The asymptotic number."""
    toys: NumberOrNone
    """The number from the toys."""
    difference: NumberOrNone
    """The asymptotic number less that of the toys, relative to the latter."""
    error: NumberOrNone
    """The Monte Carlo error of the difference, relative likewise; with that of the interpolation between tested values."""
    more_toys: int | None
    """How many more toys would decide; null where it is decided, or where there are no toys to go by."""
    sentence: str
    """The verdict in words."""


def limit_verdict(
    asymptotic: float | None,
    toys: Limit,
    *,
    count: int,
    what: str = "The observed limit",
    usable: float = USABLE,
) -> AsymptoticVerdict:
    """Whether an asymptotic upper limit is usable: what d = asymptotic/toys - 1 with its error e says.

    | | verdict |
    |---|---|
    | \\|d\\| + 2e up to ``usable`` | usable here to within that much |
    | \\|d\\| - 2e above ``usable`` | differs by d ± e |
    | otherwise | not decided |

    Args:
        asymptotic: the limit by the asymptotic formulae; None where it lies outside of the parameter's bounds.
        toys: the limit from the toys.
        count: all toys that it is made of.
        what: which limit it is, as the sentence begins.
        usable: the relative difference up to which it is usable.

    Example:
        >>> limit = Limit(value=2.0, error=0.01, low=1.99, high=2.01, interpolation=0.0, if_failed_low=2.0,
        ...     if_failed_high=2.0, outside=None, crossings=1, sentence="")
        >>> limit_verdict(2.04, limit, count=20_000).sentence
        'The observed limit is 2.04 by the asymptotic formula and 2.000 ± 0.010 by toys: usable here to within 3 %.'
        >>> limit_verdict(2.3, limit, count=20_000).sentence
        'The observed limit is 2.3 by the asymptotic formula and 2.000 ± 0.010 by toys: it differs by 15.00 ± 0.57 %.'
    """
    if toys.value is None:
        return _undecided(asymptotic, f"{what} is not decided: {_lowered(toys.sentence)}")
    if toys.error is None:
        text = f"{what} is not decided: {_lowered(toys.sentence)}"
        return _undecided(asymptotic, text, toys.value)
    if asymptotic is None:
        text = f"{what} is {_with_error(toys.value, toys.error)} by toys, and outside of the parameter's bounds by the asymptotic formula."
        return _undecided(None, text, toys.value)
    if toys.interpolation is None:
        text = f"{what} is {_with_error(toys.value, toys.error)} by toys, of which too few tested values tell the error"
        return _undecided(asymptotic, f"{text} of the interpolation between them: not decided.", toys.value)
    pair = toys.error, toys.interpolation
    return _compared(asymptotic, toys.value, *pair, count=count, what=what, usable=usable)


def significance_verdict(
    asymptotic: float,
    toys: PValue | MixtureTail,
    *,
    what: str = "The significance",
    usable: float = USABLE,
) -> AsymptoticVerdict:
    """Whether an asymptotic significance Z is usable, as ``limit_verdict`` says it of a limit.

    Args:
        asymptotic: Z by the asymptotic formula, √q_0.
        toys: the p-value of background-only toys, or of weighted ones.
        what: which significance it is, as the sentence begins.
        usable: the relative difference of Z up to which it is usable.

    Example:
        >>> from toymill.inference.p_values import counted
        >>> significance_verdict(3.0, counted(121, 100_000, 0)).sentence
        'The significance is 3 by the asymptotic formula and 3.033 ± 0.029 by toys: usable here to within 3 %.'
        >>> significance_verdict(5.0, counted(0, 100_000, 0)).sentence
        'The significance is 5 by the asymptotic formula and above 4.13 by toys, of which none of 100000 lies beyond: not decided.'
    """
    z, low, high = toys.significance, toys.significance_low, toys.significance_high
    formula = f"{what} is {asymptotic:.4g} by the asymptotic formula"
    if toys.bound and low is not None and toys.toys:
        text = f"{formula} and above {low:.2f} by toys, of which none of {toys.toys} lies beyond"
        if low > asymptotic * (1 + usable):
            return AsymptoticVerdict(
                usable=False, asymptotic=asymptotic, toys=None, difference=None, error=None, more_toys=None,
                sentence=f"{text}: it is too low.",
            )  # fmt: skip
        return _undecided(asymptotic, f"{text}: not decided.")
    if asymptotic <= 0:
        return _undecided(asymptotic, f"{what} is 0: the data show no excess.")
    if z is None or low is None or high is None or z <= 0:
        return _undecided(asymptotic, f"{formula}: not decided, since toys tell of none.")
    return _compared(asymptotic, z, (high - low) / 2, 0.0, count=toys.toys, what=what, usable=usable)


def _compared(
    asymptotic: float, value: float, spread: float, interpolation: float, *, count: int, what: str, usable: float
) -> AsymptoticVerdict:
    """The verdict on two numbers; more toys make the spread smaller, and not what interpolation does."""
    error = math.hypot(spread, interpolation)
    difference, relative = asymptotic / value - 1, error * abs(asymptotic) / value**2
    most, least = abs(difference) + _SIGMAS * relative, abs(difference) - _SIGMAS * relative
    text = f"{what} is {asymptotic:.4g} by the asymptotic formula and {_with_error(value, error)} by toys"
    decided, more = None, None
    if most <= usable:
        decided, end = True, f"usable here to within {100 * most:.2g} %."
    else:
        differs = f"it differs by {_with_error(100 * difference, 100 * relative)} %"
        if least > usable:
            decided, end = False, f"{differs}."
        else:
            distance = abs(usable - abs(difference))
            room = (distance / _SIGMAS) ** 2 - (relative * interpolation / error) ** 2
            factor = (relative * spread / error) ** 2 / room if room > 0 else math.inf
            limit = f"whether by more than {100 * usable:.2g} % is not decided"
            if factor <= _MOST:
                more = math.ceil((factor - 1) * count) or 1
                end = f"{differs}; {limit}, and {_rounded(more)} more toys would decide."
            elif room <= 0 and interpolation > spread:
                end = f"{differs}; {limit}, and more tested values would tell more than more toys."
            else:
                end = f"{differs}; {limit}, nor would {_MOST} times the toys decide."
    return AsymptoticVerdict(
        usable=decided,
        asymptotic=asymptotic,
        toys=value,
        difference=difference,
        error=relative,
        more_toys=more,
        sentence=f"{text}: {end}",
    )


def _undecided(asymptotic: float | None, sentence: str, toys: float | None = None) -> AsymptoticVerdict:
    return AsymptoticVerdict(
        usable=None, asymptotic=asymptotic, toys=toys, difference=None, error=None, more_toys=None, sentence=sentence
    )


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def _rounded(count: int) -> str:
    """A number of toys to two digits, upwards."""
    unit = 10 ** max(len(str(count)) - 2, 0)
    return f"{math.ceil(count / unit) * unit:,}"


def _with_error(value: float, error: float) -> str:
    """A number and its error to two digits of the error."""
    digits = max(1 - math.floor(math.log10(error)), 0) if error > 0 else 3
    return f"{value:.{digits}f} ± {error:.{digits}f}"
