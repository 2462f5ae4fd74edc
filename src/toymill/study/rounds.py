"""Adding toys for the precision of an answer that is asked for, round by round.

The toys of a round are decided by those of the rounds before alone, so that the same study has the same toys whenever it
is interrupted. What a section wants of its toys is told by ``limit_rounds``, ``interval_rounds`` and
``region_rounds``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from toymill.inference.allocation import toys_for
from toymill.results.answers import Precision
from toymill.results.design import Design, Round
from toymill.study.layout import PART

SURER = 0.95
"""Of the error that is asked for, which more toys are to have: it is itself known to some percent."""

_MOST = 10.0  # times the toys of an ensemble, in a round


class Wanted(NamedTuple):
    """What a section wants of its toys.

    Attributes:
        ensembles: the ensembles that it is answered from, and the value of the parameter of interest of each, J of them.
        errors: the relative Monte Carlo error of each of its numbers; None where it is not known.
        variances: of the numbers whose errors are to be small, what the toys of each ensemble add to the variance, (L, J).
        targets: the variances that these are to have, (L,).
        doubled: ensembles that are to have twice their toys at least.
    """

    ensembles: Mapping[str, float]
    errors: Mapping[str, float | None]
    variances: Sequence[Sequence[float]]
    targets: Sequence[float]
    doubled: Sequence[str]


def next_round(design: Design, wanted: Mapping[str, Callable[[], Wanted]], most: int = PART) -> Design:
    """The design with the toys that the next round adds; the same one where there is nothing to add.

    Args:
        design: the design of the round before.
        wanted: what each section with a precision wants of its toys, by its key; made from the toys of that design.
        most: toys of an ensemble beyond which none are added.
    """
    sections = {key: getattr(design, key) for key in wanted}
    if all(item.rounds and item.rounds[-1].added == 0 for item in sections.values()):
        return design
    found = {key: of() for key, of in wanted.items()}
    counts = {name: item.toys for name, item in design.ensembles.items()}
    for item in found.values():
        for name, toys in more_toys(item, design, most).items():
            counts[name] = max(counts[name], toys)
    done = {
        key: Round(
            toys=toys_of(design, item.ensembles),
            errors=dict(item.errors),
            added=sum(counts[name] for name in item.ensembles) - toys_of(design, item.ensembles),
        )
        for key, item in found.items()
    }
    added = {key: item.model_copy(update={"rounds": [*item.rounds, done[key]]}) for key, item in sections.items()}
    ensembles = {name: item.model_copy(update={"toys": counts[name]}) for name, item in design.ensembles.items()}
    return design.model_copy(update={**added, "ensembles": ensembles})


def more_toys(wanted: Wanted, design: Design, most: int = PART) -> dict[str, int]:
    """The toys of each ensemble of a section at the end of the next round.

    They are of the least cost for which every error is small enough, if each part of its variance falls as one over the
    toys that it is of (``allocation.toys_for``); a toy costs as many fits as it has. In one round an ensemble grows ten
    times at most, and to ``most`` toys at most: ``PART`` are counted by one job.
    """
    names = list(wanted.ensembles)
    before = np.array([design.ensembles[name].toys for name in names])
    costs = [1 + len({*design.ensembles[name].tests, value}) for name, value in wanted.ensembles.items()]
    after = toys_for(wanted.variances, before, wanted.targets, costs) if wanted.variances else before.astype(float)
    after = np.where([name in wanted.doubled for name in names], np.maximum(after, 2 * before), after)
    tops = np.maximum(before, np.minimum(_MOST * before, most)).astype(int).tolist()
    return {
        name: max(min(_rounded(item), top), least)
        for name, item, top, least in zip(names, after.tolist(), tops, before.tolist(), strict=True)
    }


def toys_of(design: Design, ensembles: Mapping[str, float]) -> int:
    """All toys of some ensembles."""
    return sum(design.ensembles[name].toys for name in ensembles)


def precision(asked: float, errors: Mapping[str, float | None], toys: int, rounds: Sequence[Round]) -> Precision:
    """What was reached of a precision.

    Args:
        asked: the relative error that was asked for.
        errors: what is reached of each number, by its words in the sentence; None where it is not known.
        toys: of all ensembles.
        rounds: those that were done.
    """
    known = {words: error for words, error in errors.items() if error is not None}
    unknown = [words for words, error in errors.items() if error is None]
    reached = not unknown and max(known.values(), default=0.0) <= asked
    told = ", ".join(f"{100 * error:.2g} % ({words})" for words, error in known.items()) or "not known"
    number = sum(item.added > 0 for item in rounds)
    sentence = (
        f"A precision of {100 * asked:.3g} % was asked for and {'reached' if reached else 'not reached'}: the errors are "
        f"{told}, by {toys:,} toys, to which {number} {'round has' if number == 1 else 'rounds have'} added."
        + (f" Not known among the tested values: {', '.join(unknown)}." if unknown else "")
    )
    return Precision(asked=asked, reached=reached, rounds=list(rounds), sentence=sentence)


def _rounded(count: float) -> int:
    """A number of toys to two digits, upwards."""
    unit: int = 10 ** max(math.floor(math.log10(count)) - 1, 0)
    return math.ceil(count / unit - 1e-9) * unit
