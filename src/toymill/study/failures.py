"""Refusing a study in which too many toys failed, or whose audit found missed minima. Needs no JAX."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from toymill.config.study import Study
from toymill.errors import ToymillError
from toymill.inference.p_values import PValue
from toymill.results.answers import Answers
from toymill.results.audit import Audit
from toymill.results.summary import ComparisonSummary, Summary


def refusals(study: Study, summary: Summary | ComparisonSummary, audits: Mapping[str, Audit]) -> list[str]:
    """Why a study is refused: a line for each ensemble in which more toys failed, or missed the minimum, than it allows.

    Optimisers that are compared may fail as they like.
    """
    if isinstance(summary, ComparisonSummary):
        return []
    refused = [
        f"ensemble {name!r}: {item.toys - item.certified} of {item.toys} toys are not certified "
        f"({', '.join(f'{count} {status}' for status, count in item.failed.items() if count)}); "
        f"fit.max_failed allows {study.fit.max_failed:g} of them"
        for name, item in summary.ensembles.items()
        if item.toys - item.certified > study.fit.max_failed * item.toys
    ]
    scan = summary.answers.scan if summary.answers else None
    refused += [
        f"scan, point {point.name!r}: {point.failed} of {scan.toys + scan.signal_toys} toys are not certified; "
        f"fit.max_failed allows {study.fit.max_failed:g} of them"
        for point in (scan.points if scan else [])
        if scan and point.failed > study.fit.max_failed * (scan.toys + scan.signal_toys)
    ]
    refused += [
        f"{what}: {item.failed} of {item.toys + item.failed} toys are not certified; fit.max_failed allows "
        f"{study.fit.max_failed:g} of them"
        for what, item in _made_for_answers(summary.answers)
        if item.failed > study.fit.max_failed * (item.toys + item.failed)
    ]
    refused += [
        f"ensemble {name!r}: {audit.sentence}; fit.max_failed allows {study.fit.max_failed:g} of the audited toys"
        for name, audit in audits.items()
        if audit.summary.missed > study.fit.max_failed * audit.summary.toys
    ]
    return refused


def _made_for_answers(answers: Answers | None) -> Iterator[tuple[str, PValue]]:
    """The p-values of toys that were fitted again for an answer, each with what it is of."""
    if answers and answers.goodness_of_fit and answers.goodness_of_fit.channel_compatibility:
        yield "goodness_of_fit, fits by channel", answers.goodness_of_fit.channel_compatibility.p_value
    for point in answers.region.toys.points if answers and answers.region else []:
        if point.test.p_value is not None:
            yield f"region, fits at {', '.join(f'{value:.4g}' for value in point.at)}", point.test.p_value


def refuse_failures(study: Study, summary: Summary | ComparisonSummary, audits: Mapping[str, Audit]) -> None:
    """Refuse a study in which more toys failed, or more audited toys missed the minimum, than it allows.

    Raises:
        ToymillError: one line for each ensemble with too many.
    """
    refused = refusals(study, summary, audits)
    if refused:
        raise ToymillError("\n  ".join(["The study is refused; its summary, figures and report stay.", *refused]))
