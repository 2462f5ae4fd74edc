"""Refusing a study in which too many toys failed. Needs no JAX."""

from __future__ import annotations

from toymill.config.study import Study
from toymill.errors import ToymillError
from toymill.results.summary import ComparisonSummary, Summary


def refuse_failures(study: Study, summary: Summary | ComparisonSummary) -> None:
    """Refuse a study in which more toys failed than it allows; optimisers that are compared may fail as they like.

    Raises:
        ToymillError: one line for each ensemble with too many failed toys.
    """
    if isinstance(summary, ComparisonSummary):
        return
    refused = [
        f"ensemble {name!r}: {item.toys - item.certified} of {item.toys} toys are not certified "
        f"({', '.join(f'{count} {status}' for status, count in item.failed.items() if count)}); "
        f"fit.max_failed allows {study.fit.max_failed:g} of them"
        for name, item in summary.ensembles.items()
        if item.toys - item.certified > study.fit.max_failed * item.toys
    ]
    if refused:
        raise ToymillError("\n  ".join(["The study is refused; its summary and figures stay.", *refused]))
