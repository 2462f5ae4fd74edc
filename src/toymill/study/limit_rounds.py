"""What a limit wants of its toys for the precision that is asked for; they are added by ``rounds``."""

from __future__ import annotations

from toymill.config.sections import BACKGROUND, signal
from toymill.inference.limit_records import Limit, UpperLimit
from toymill.results.answers import Precision
from toymill.results.design import Design
from toymill.study.rounds import SURER, Wanted, precision, toys_of

PRECISE = ("observed", "-1", "0", "1")
"""The limits whose errors are made as small as is asked for, where they lie among the tested values."""

_WORDS = {"observed": "observed", "-1": "expected, -1 σ", "0": "expected, median", "1": "expected, +1 σ"}


def limit_ensembles(design: Design) -> dict[str, float]:
    """The ensembles of a limit and their values of the parameter of interest: with each signal, and without."""
    assert design.limit is not None
    return {**{signal(k): value for k, value in enumerate(design.limit.values, 1)}, BACKGROUND: 0.0}


def limit_wants(found: UpperLimit, design: Design, asked: float) -> Wanted:
    """What a limit wants of its toys for a relative error.

    An expected limit that is known, but from too few toys for an error, doubles the background-only toys.
    """
    every = _by_name(found)
    known = [item for name, item in every.items() if name in PRECISE and item.value]
    told = [(item.variance, item.value) for item in known if item.variance is not None and item.value]
    return Wanted(
        ensembles=limit_ensembles(design),
        errors={name: _relative(item) for name, item in every.items()},
        variances=[[*variance.signal, variance.background] for variance, _ in told],
        targets=[(SURER * asked * value) ** 2 for _, value in told],
        doubled=[BACKGROUND] if any(item.variance is None for item in known) else [],
    )


def limit_precision(found: UpperLimit, design: Design, asked: float) -> Precision:
    """What the errors of a limit are in the end, beside what was asked for."""
    assert design.limit is not None
    errors = {_WORDS[name]: _relative(item) for name, item in _by_name(found).items() if name in PRECISE}
    return precision(asked, errors, toys_of(design, limit_ensembles(design)), design.limit.rounds)


def _by_name(found: UpperLimit) -> dict[str, Limit]:
    """The observed limit, if there is one, and the expected ones."""
    observed = {} if found.observed is None else {"observed": found.observed}
    return {**observed, **found.expected}


def _relative(limit: Limit) -> float | None:
    return limit.error / limit.value if limit.error is not None and limit.value else None
