"""Sample yields that are negative in the fits of toys: how often, and which. Needs no JAX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from toymill.inference.counting import CLOPPER_PEARSON, fraction
from toymill.models.negative_yields import IN_SIGMA, Cell
from toymill.record import NumberOrNone, Record

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class NegativeYield(Record):
    """A sample in a bin whose yield is negative."""

    sample: str
    """The sample."""
    channel: str
    """Its channel."""
    bin: int
    """The bin in the channel, from 0."""
    value: float
    """The yield; over several fits the lowest."""
    factors: tuple[str, ...]
    """The parameters that multiply it themselves."""

    @property
    def where(self) -> str:
        """The sample and its bin in words."""
        return f"sample {self.sample} in {self.channel}[{self.bin}]"


class NegativeShare(Record):
    """How many fits have a negative yield."""

    poi: float | None
    """The tested value of the parameter of interest; null for the free fits."""
    share: NumberOrNone
    """Share of the toys of which this fit has a negative yield."""
    low: float
    """Lower end of its Monte Carlo interval."""
    high: float
    """Upper end of its Monte Carlo interval."""


class NegativeYields(Record):
    """Yields that shape variations make negative at the truth and in fits. ROOT puts them to 0, pyhf and toymill do not."""

    toys: int
    """Certified toys that were looked at, of the ensemble's first thousand."""
    in_sigma: float = IN_SIGMA
    """A yield is counted that lies below 0 by more than so many standard deviations √ν of its bin's count."""
    at_truth: list[NegativeYield]
    """Those of the truth point."""
    fits: list[NegativeShare]
    """How many fits have one: the free fits, and those at each tested value, ascending."""
    interval: str = CLOPPER_PEARSON
    """What kind of Monte Carlo interval these have."""
    samples: list[NegativeYield]
    """The samples, that of the most fits first."""

    @property
    def most(self) -> NegativeShare:
        """The fits that have them most often."""
        return max(self.fits, key=lambda item: item.share or 0.0)


def negative_yields(cells: Sequence[Cell], values: Float[np.ndarray, " cell"]) -> list[NegativeYield]:
    """The cells whose yield is negative, the lowest first.

    Args:
        cells: cells.
        values: their yields, of which 0 and above are left out, (C,).
    """
    order = np.argsort(values, kind="stable").tolist()
    return [NegativeYield(**cells[i]._asdict(), value=float(values[i])) for i in order if values[i] < 0]


def count_negative_yields(
    cells: Sequence[Cell],
    at_truth: Float[np.ndarray, " cell"],
    tests: Sequence[float],
    toys: int,
    counts: Int[np.ndarray, "fit cell"],
    lowest: Float[np.ndarray, " cell"],
) -> NegativeYields:
    """What is told of an ensemble's negative yields.

    Args:
        cells: the cells whose yields may be negative, C of them.
        at_truth: their yields at the truth point where these are negative, else 0, (C,).
        tests: the tested values of the parameter of interest, ascending, K of them.
        toys: the toys that were looked at.
        counts: toys of which the free fit, and that at each tested value, has a negative yield: in any cell, then in
            each, (1 + K, 1 + C).
        lowest: the lowest yield of each cell over all these fits, 0 if none is negative, (C,).
    """
    shares = [fraction(int(count), toys) for count in counts[:, 0]]
    order = np.lexsort((lowest, -counts[:, 1:].sum(axis=0))).tolist()
    return NegativeYields(
        toys=toys,
        at_truth=negative_yields(cells, at_truth),
        fits=[
            NegativeShare(poi=poi, share=item.value, low=item.low, high=item.high)
            for poi, item in zip([None, *tests], shares, strict=True)
        ],
        samples=[NegativeYield(**cells[i]._asdict(), value=float(lowest[i])) for i in order if lowest[i] < 0],
    )


OFTEN = 0.01
"""Share of an ensemble's toys from which on the negative yields of their fits are told."""


def negative_yields_in_words(
    poi: str,
    observed: Sequence[NegativeYield],
    ensembles: Mapping[str, NegativeYields],
    at_bound: Mapping[str, float],
) -> list[str]:
    """One sentence on which yields are negative, where, and what to do; none where hardly any fit has one.

    Args:
        poi: the parameter of interest.
        observed: the negative yields of the fit to the observed data.
        ensembles: those of each ensemble.
        at_bound: the largest share of an ensemble's toys of which each free parameter lies at a bound, by its name.
    """
    found, told = list(observed), ["at the fit to the observed data"] if observed else []
    thrown = {name: item.at_truth for name, item in ensembles.items() if item.at_truth}
    if thrown:
        names, more = list(thrown)[:3], len(thrown) - 3
        told.append(f"at the truth of {', '.join(names)}{f' and {more} more' if more > 0 else ''}")
        found += [one for every in thrown.values() for one in every]
    often = {name: item for name, item in ensembles.items() if (item.most.share or 0.0) >= OFTEN}
    if often:
        name = max(often, key=lambda key: often[key].most.share or 0.0)
        most = often[name].most
        fits = "free fits" if most.poi is None else f"fits at {poi} = {most.poi:.4g}"
        up_to = "up to " if len(ensembles) > 1 or len(often[name].fits) > 1 else ""
        told.append(f"in {up_to}{_per_cent(most.share or 0.0)} of an ensemble's fits ({name}, {fits})")
        found += [one for item in often.values() for one in item.samples]
    if not told:
        return []
    lowest = min(found, key=lambda one: one.value)
    others = len({one.where for one in found}) - 1
    return [
        f"negative yields: {', '.join(told)}. Shape variations take {lowest.where} down to {lowest.value:.3g} events"
        f"{f', and {others} more below 0' if others else ''}. ROOT puts such yields to 0; pyhf and toymill do not, so that "
        f"ROOT's answers may differ.{_factors(lowest, at_bound)}"
    ]


def _per_cent(share: float) -> str:
    """A share in per cent.

    Example:
        >>> _per_cent(1.0), _per_cent(0.247), _per_cent(0.0123)
        ('100 %', '25 %', '1.2 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.2g} %"


def _factors(lowest: NegativeYield, at_bound: Mapping[str, float]) -> str:
    """The free parameters that multiply the lowest yield, that which lies at a bound most often first, and what to do."""
    names = sorted((name for name in lowest.factors if name in at_bound), key=lambda name: -at_bound[name])
    if not names:
        return ""
    words = [
        f"{name} (at a bound in {_per_cent(at_bound[name])})" if at_bound[name] >= OFTEN else name for name in names
    ]
    return f" It is multiplied by {' and '.join(words)}: narrower bounds under model.parameters limit it."
