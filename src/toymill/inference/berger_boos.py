"""p-values that hold for every value of the nuisance parameters, by the method of Berger and Boos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from toymill.errors import ToymillError
from toymill.inference.acceptance import Decision, three_sigma
from toymill.inference.counting import ONE_SIGMA, fraction
from toymill.inference.p_values import PValue
from toymill.record import Record


class LargestPValue(Record):
    """The largest p-value over points of a confidence set of the nuisance parameters, plus 1 - its level."""

    value: float
    """The p-value, at most 1."""
    low: float
    """Lower end of its Monte Carlo interval, of which all of the p-values are taken into account."""
    high: float
    """Upper end of its Monte Carlo interval."""
    surely_low: float
    """Lower end at three standard deviations, whatever failed toys count as."""
    surely_high: float
    """Upper end at three standard deviations, likewise."""
    at: int
    """Which point has the largest p-value, counted from 0."""
    beta: float
    """1 - the level of the confidence set."""

    def decision(self, level: float) -> Decision:
        """Whether the tested value is accepted at a level."""
        if self.surely_low > 1 - level:
            return "accepted"
        return "rejected" if self.surely_high <= 1 - level else "undecided"


def berger_boos(p_values: Sequence[PValue], beta: float) -> LargestPValue:
    """p = sup over C_β of p(θ), plus β (Berger and Boos, J. Am. Stat. Assoc. 89 (1994) 1012).

    The largest of several noisy p-values is too large rather than too small: of m points, the lower end is the largest of
    Clopper-Pearson limits of which each fails with a probability m times smaller, so that none of them lies above its p
    with that of one (Bonferroni). The upper end is the largest of limits at the usual probability: it is enough that the
    one of the largest p holds. So the interval holds the largest p with 68.27 % at least.

    With C_β a confidence set of the nuisance parameters θ of level 1 - β, P(p ≤ α) ≤ α for every θ. The supremum is taken
    over the points that are given: they should reach the corners of C_β, where p is largest as a rule.

    Args:
        p_values: p at points of C_β, each of toys thrown there; one of no certified toys may be anything up to 1.
        beta: 1 - the level of C_β, small beside the α of interest.

    Raises:
        ToymillError: no p-value, a β outside of 0 to 1.

    Example:
        >>> from toymill.inference.p_values import counted
        >>> found = berger_boos([counted(40, 1000, 0), counted(60, 1000, 0)], 0.001)
        >>> round(found.value, 3), found.at, found.decision(0.9)
        (0.061, 1, 'rejected')
    """
    if not p_values or not 0 <= beta < 1:
        msg = f"There are {len(p_values)} p-values and beta is {beta}; expected one at least, and beta from 0 to 1."
        raise ToymillError(msg)
    values = [1.0 if item.value is None else item.value for item in p_values]
    several = len(p_values)

    def largest(each: Iterable[float]) -> float:
        return min(max(each) + beta, 1.0)

    def lowest(item: PValue, outside: float) -> float:
        return fraction(item.beyond, item.toys, 1 - outside / several).low if item.toys else 0.0

    return LargestPValue(
        value=largest(values),
        low=largest(lowest(item, 1 - ONE_SIGMA) for item in p_values),
        high=largest(item.high for item in p_values),
        surely_low=largest(three_sigma(item, several)[0] for item in p_values),
        surely_high=largest(three_sigma(item)[1] for item in p_values),
        at=values.index(max(values)),
        beta=beta,
    )
