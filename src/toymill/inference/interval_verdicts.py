"""Asymptotic intervals beside those of the Neyman construction, and whether each end may be used."""

from __future__ import annotations

import math

from toymill.inference.counting import whole_error
from toymill.inference.neyman import with_error
from toymill.inference.neyman_records import End
from toymill.inference.verdicts import USABLE
from toymill.record import NumberOrNone, Record

_SIGMAS = 2.0  # standard errors of the toys that a decision has to be sure by
_MOST = 100  # times the toys, beyond which no number of toys is proposed


class AsymptoticInterval(Record):
    """A profile likelihood interval: where t of the observed data is at most a quantile of χ², or less near a bound."""

    level: float
    """The confidence level."""
    best: float
    """The best fit, by which the ordering goes."""
    low: NumberOrNone
    """The lower end; null where it was not found."""
    high: NumberOrNone
    """The upper end, likewise."""
    low_at_bound: bool
    """Whether the lower end is the parameter's bound, or 0 of t̃_μ, which is inside."""
    high_at_bound: bool
    """Whether the upper end is the parameter's bound."""


class EndVerdict(Record):
    """An end of an asymptotic interval beside that of the toys."""

    usable: bool | None
    """Whether the two differ by less than what counts as usable, with two standard errors to spare; null: not decided."""
    asymptotic: NumberOrNone
    """The asymptotic end."""
    toys: NumberOrNone
    """The end from the toys."""
    difference: NumberOrNone
    """How much farther from the best fit the asymptotic end lies, relative to the distance of that of the toys."""
    error: NumberOrNone
    """The Monte Carlo error of the difference, with that of the interpolation between tested values."""
    more_toys: int | None
    """How many more toys would decide; null where it is decided, or where no reasonable number would."""
    sentence: str
    """The verdict in words."""


def end_verdict(
    asymptotic: float | None, toys: End, best: float, *, count: int, what: str, usable: float = USABLE
) -> EndVerdict:
    """Whether an end of an asymptotic interval is usable: by d = (asymptotic - μ̂)/(toys - μ̂) - 1 with its error e.

    | | verdict |
    |---|---|
    | both at the parameter's bound, or \\|d\\| + 2e up to ``usable`` | usable here |
    | \\|d\\| - 2e above ``usable`` | differs by d ± e |
    | otherwise | not decided |

    Args:
        asymptotic: the end by the asymptotic formula; None where it was not found.
        toys: the end from the toys.
        best: the best fit to the observed data.
        count: all toys of the interval.
        what: which end it is, as the sentence begins.
        usable: the relative difference up to which it is usable.

    Example:
        >>> end = End(value=3.0, error=0.02, variance=[], low=2.98, high=3.02, undecided_low=2.9, undecided_high=3.1,
        ...     interpolation=0.0, if_failed_low=3.0, if_failed_high=3.0, at_bound=False, outside=None, crossings=1,
        ...     sentence="")
        >>> end_verdict(2.98, end, 1.0, count=100_000, what="The upper end").sentence
        'The upper end is 2.98 by the asymptotic formula and 3.000 ± 0.020 by toys: usable here, to within 3 % of its distance from the best fit.'
        >>> end_verdict(2.6, end, 1.0, count=100_000, what="The upper end").sentence
        'The upper end is 2.6 by the asymptotic formula and 3.000 ± 0.020 by toys: the formula puts it 20.00 ± 0.80 % nearer to the best fit. Use that of the toys.'
    """
    if toys.value is None or asymptotic is None:
        known = toys.sentence if toys.value is None else "the asymptotic end was not found"
        return _verdict(None, asymptotic, toys, sentence=f"{what} is not decided: {known[:1].lower()}{known[1:]}")
    told = f"{toys.value:.4g}"
    if toys.error is not None:
        told = with_error(toys.value, whole_error(toys.error, toys.interpolation))
    text = f"{what} is {asymptotic:.4g} by the asymptotic formula and {told} by toys"
    unsure = max(abs((end if end is not None else toys.value) - toys.value) for end in _three_sigma(toys))
    if toys.at_bound and asymptotic == toys.value:
        if unsure:
            told = f"{text}, the bound, of which the toys are too few to be sure."
            return _verdict(None, asymptotic, toys, sentence=told)
        return _verdict(True, asymptotic, toys, difference=0.0, error=0.0, sentence=f"{text}, the bound: usable here.")
    distance = toys.value - best
    if distance == 0:
        return _verdict(None, asymptotic, toys, sentence=f"{text}, which is the best fit: not decided.")
    if toys.interpolation is None and not toys.at_bound:
        told = f"{text}, of which too few tested values tell the error of the interpolation between them: not decided."
        return _verdict(None, asymptotic, toys, sentence=told)
    scale = abs((asymptotic - best) / distance**2)
    spread, interpolation = (
        scale * item for item in (unsure / 3 if toys.error is None else toys.error, toys.interpolation or 0.0)
    )
    difference, error = (asymptotic - best) / distance - 1, math.hypot(spread, interpolation)
    most, least = abs(difference) + _SIGMAS * error, abs(difference) - _SIGMAS * error
    if most <= usable:
        sentence = f"{text}: usable here, to within {100 * most:.2g} % of its distance from the best fit."
        return _verdict(True, asymptotic, toys, difference=difference, error=error, sentence=sentence)
    where = "nearer to" if difference < 0 else "farther from"
    differs = f"{text}: the formula puts it {with_error(100 * abs(difference), 100 * error)} % {where} the best fit"
    if least > usable:
        sentence = f"{differs}. Use that of the toys."
        return _verdict(False, asymptotic, toys, difference=difference, error=error, sentence=sentence)
    room = ((usable - abs(difference)) / _SIGMAS) ** 2 - interpolation**2
    factor = spread**2 / room if room > 0 else math.inf
    more = math.ceil((factor - 1) * count) or 1 if factor <= _MOST else None
    would = f"{_rounded(more)} more toys would tell" if more else f"{_MOST} times the toys would not tell"
    if room <= 0 and interpolation > spread:
        would = "more tested values would tell more than more toys"
    sentence = f"{differs}; whether by more than {100 * usable:.2g} %, {would}."
    return _verdict(None, asymptotic, toys, difference=difference, error=error, more=more, sentence=sentence)


def _rounded(count: int) -> str:
    """A number of toys to two digits, upwards."""
    unit = 10 ** max(len(str(count)) - 2, 0)
    return f"{math.ceil(count / unit) * unit:,}"


def _three_sigma(toys: End) -> tuple[float | None, float | None]:
    return toys.undecided_low, toys.undecided_high


def _verdict(
    usable: bool | None,
    asymptotic: float | None,
    toys: End,
    *,
    sentence: str,
    difference: float | None = None,
    error: float | None = None,
    more: int | None = None,
) -> EndVerdict:
    return EndVerdict(
        usable=usable,
        asymptotic=asymptotic,
        toys=toys.value,
        difference=difference,
        error=error,
        more_toys=more,
        sentence=sentence,
    )
