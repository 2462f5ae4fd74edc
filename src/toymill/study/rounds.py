"""Adding toys for the precision of a limit that is asked for, round by round.

The toys of a round are decided by those of the rounds before alone, so that the same study has the same toys whenever it
is interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from toymill.config.sections import BACKGROUND, signal
from toymill.inference.allocation import toys_for
from toymill.inference.limit_records import Limit, UpperLimit
from toymill.results.answers import Precision
from toymill.results.design import Design, Round
from toymill.study.layout import PART

PRECISE = ("observed", "-1", "0", "1")
"""The limits whose errors are made as small as is asked for, where they lie among the tested values."""

_WORDS = {"observed": "observed", "-1": "expected, -1 σ", "0": "expected, median", "1": "expected, +1 σ"}
_MOST = 10.0  # times the toys of an ensemble, in a round
_SURER = 0.95  # of the error that is asked for: it is itself known to some percent


def next_round(design: Design, limits: Callable[[], UpperLimit], precision: float, most: int = PART) -> Design:
    """The design with the toys that the next round adds; the same one where there is nothing to add.

    Args:
        design: the design of the round before.
        limits: makes the limits from the toys of that design.
        precision: the relative error that is asked for.
        most: toys of an ensemble beyond which none are added.
    """
    limit = design.limit
    assert limit is not None
    if limit.rounds and limit.rounds[-1].added == 0:
        return design
    found = limits()
    counts = more_toys(found, design, precision, most)
    names = limit_ensembles(design)
    done = Round(
        toys=sum(design.ensembles[name].toys for name in names),
        errors={name: _relative(item) for name, item in limits_by_name(found).items()},
        added=sum(counts[name] - design.ensembles[name].toys for name in names),
    )
    ensembles = {
        name: item.model_copy(update={"toys": counts.get(name, item.toys)}) for name, item in design.ensembles.items()
    }
    added = limit.model_copy(update={"rounds": [*limit.rounds, done]})
    return design.model_copy(update={"limit": added, "ensembles": ensembles})


def precision_reached(found: UpperLimit, design: Design, asked: float) -> Precision:
    """What the errors of a limit are in the end, beside what was asked for."""
    assert design.limit is not None
    errors = {name: _relative(item) for name, item in limits_by_name(found).items() if name in PRECISE}
    known = {name: error for name, error in errors.items() if error is not None}
    unknown = [_WORDS[name] for name, error in errors.items() if error is None]
    reached = not unknown and max(known.values()) <= asked
    toys = sum(design.ensembles[name].toys for name in limit_ensembles(design))
    told = ", ".join(f"{100 * error:.2g} % ({_WORDS[name]})" for name, error in known.items()) or "not known"
    rounds = sum(item.added > 0 for item in design.limit.rounds)
    sentence = (
        f"A precision of {100 * asked:.3g} % was asked for and {'reached' if reached else 'not reached'}: the errors are "
        f"{told}, by {toys:,} toys, to which {rounds} {'round has' if rounds == 1 else 'rounds have'} added."
        + (f" Not known among the tested values: {', '.join(unknown)}." if unknown else "")
    )
    return Precision(asked=asked, reached=reached, rounds=design.limit.rounds, sentence=sentence)


def limits_by_name(found: UpperLimit) -> dict[str, Limit]:
    """The observed limit, if there is one, and the expected ones."""
    observed = {} if found.observed is None else {"observed": found.observed}
    return {**observed, **found.expected}


def limit_ensembles(design: Design) -> list[str]:
    """The ensembles of a limit: with each signal, and without."""
    assert design.limit is not None
    return [*(signal(k + 1) for k in range(len(design.limit.values))), BACKGROUND]


def more_toys(found: UpperLimit, design: Design, precision: float, most: int = PART) -> Mapping[str, int]:
    """The toys of each ensemble of a limit at the end of the next round.

    They are of the least cost for which every error is small enough, if each part of its variance falls as one over the
    toys that it is of (``allocation.toys_for``); a toy costs as many fits as it has. In one round an ensemble grows ten
    times at most, and to ``most`` toys at most: ``PART`` are counted by one job. An expected limit that is known, but from
    too few toys for an error, doubles the background-only toys.
    """
    names = limit_ensembles(design)
    before = np.array([design.ensembles[name].toys for name in names])
    known = [item for name, item in limits_by_name(found).items() if name in PRECISE and item.value is not None]
    rows = [[*item.variance.signal, item.variance.background] for item in known if item.variance is not None]
    targets = [(_SURER * precision * item.value) ** 2 for item in known if item.variance is not None and item.value]
    costs = [1 + len({*design.ensembles[name].tests, *_own(design, name)}) for name in names]
    after = toys_for(rows, before, targets, costs) if rows else before.astype(float)
    if any(item.variance is None for item in known):
        after[-1] = max(after[-1], 2 * before[-1])
    tops = np.maximum(before, np.minimum(_MOST * before, most)).astype(int).tolist()
    return {
        name: max(min(_rounded(item), top), least)
        for name, item, top, least in zip(names, after.tolist(), tops, before.tolist(), strict=True)
    }


def _own(design: Design, name: str) -> set[float]:
    """The value of the parameter of interest that an ensemble of a limit is thrown at."""
    assert design.limit is not None
    numbered = dict(zip(limit_ensembles(design), [*design.limit.values, 0.0], strict=True))
    return {numbered[name]}


def _relative(limit: Limit) -> float | None:
    return limit.error / limit.value if limit.error is not None and limit.value else None


def _rounded(count: float) -> int:
    """A number of toys to two digits, upwards."""
    unit: int = 10 ** max(math.floor(math.log10(count)) - 1, 0)
    return math.ceil(count / unit - 1e-9) * unit
