"""The headline of a summary: the answers, the counts and the verdicts, in words."""

from __future__ import annotations

from collections.abc import Mapping

from toymill.config.model import Remote
from toymill.config.sections import INJECTED
from toymill.config.study import Study
from toymill.inference.negative_yields import negative_yields_in_words
from toymill.results.answers import Answers, DiscoveryAnswer, LimitAnswer
from toymill.results.description import Description
from toymill.results.headline import ComparisonHeadline, Headline, TestedVerdict
from toymill.results.summary import EnsembleComparison, EnsembleSummary, MethodSummary, ObservedSummary


def headline(
    study: Study,
    description: Description,
    answers: Answers | None,
    observed: ObservedSummary | None,
    ensembles: Mapping[str, EnsembleSummary],
) -> Headline:
    """What the summary begins with.

    Args:
        study: the study.
        description: the content of its ``model.json``.
        answers: the answers to its sections.
        observed: the fit to the observed data.
        ensembles: the summaries of its ensembles.
    """
    poi = description.poi
    in_words = [] if answers is None else answers_in_words(answers, poi, ensembles)
    toys, certified = (sum(getattr(item, key) for item in ensembles.values()) for key in ("toys", "certified"))
    data = f"{len(description.data)} observed data, main and auxiliary" if description.observed else "no observed data"
    return Headline(
        model=_model(study),
        data=data,
        toys=toys,
        certified=certified,
        failed=toys - certified,
        answers=[*in_words, *_negative_yields(poi, observed, ensembles)],
        verdicts=[
            TestedVerdict(ensemble=name, poi=test.poi, agrees=test.verdict.agrees, sentence=test.verdict.sentence)
            for name, item in ensembles.items()
            if not item.sections
            for test in item.tests
        ],
    )


def _negative_yields(poi: str, observed: ObservedSummary | None, ensembles: Mapping[str, EnsembleSummary]) -> list[str]:
    """Which yields shape variations make negative in the study's fits."""
    at_bound: dict[str, float] = {}
    for item in ensembles.values():
        for name, about in item.parameters.items():
            at_bound[name] = max(at_bound.get(name, 0.0), about.at_bound_share or 0.0)
    every = {name: item.negative_yields for name, item in ensembles.items() if item.negative_yields}
    return negative_yields_in_words(poi, observed.negative_yields if observed else (), every, at_bound)


def headline_of_comparison(study: Study, ensembles: Mapping[str, EnsembleComparison]) -> ComparisonHeadline:
    """What the summary of a study of kind optimisers begins with.

    Args:
        study: the study.
        ensembles: what its optimisers made of each ensemble's toys.
    """
    tables = [item.methods for item in ensembles.values()]
    return ComparisonHeadline(
        model=_model(study),
        toys=sum(next(iter(methods.values())).toys for methods in tables),
        optimisers=list(dict.fromkeys(name for methods in tables for name in methods)),
        answers=[f"{name}: {line}" for name, item in ensembles.items() for line in compared_in_words(item.methods)],
    )


def compared_in_words(methods: Mapping[str, MethodSummary]) -> list[str]:
    """Which optimisers reach the best minimum of every toy, the fastest of them, and which mislead.

    Args:
        methods: what each optimiser made of the same toys, by its name.
    """
    sure = sorted((item.seconds_a_toy, name) for name, item in methods.items() if item.reached == item.toys)
    if sure:
        names = ", ".join(name for _, name in sure)
        seconds, fastest = sure[0]
        lines = [
            f"At the best minimum of every toy: {names}. The fastest is {fastest}, in {1e3 * seconds:.3g} ms a toy."
        ]
    else:
        most = max(methods, key=lambda name: methods[name].reached)
        told = f"{most}, at that of {methods[most].reached:,} of {methods[most].toys:,}"
        lines = [f"No optimiser is at the best minimum of every toy; nearest to it is {told}."]
    false = [f"{name} ({item.false_success} of {item.toys})" for name, item in methods.items() if item.false_success]
    told = f"False successes: {', '.join(false)}." if false else "None calls another point a success."
    return [*lines, told]


def _model(study: Study) -> list[str]:
    """The files that state the model; of a model of the package, its kind."""
    files = [item.url if isinstance(item, Remote) else str(item) for item in study.model.sources.values()]
    return files or [study.model.kind]


def answers_in_words(answers: Answers, poi: str, ensembles: Mapping[str, EnsembleSummary]) -> list[str]:
    """The answers to the study's sections, a sentence or two each.

    Args:
        answers: the answers.
        poi: the parameter of interest.
        ensembles: the summaries of the study's ensembles.
    """
    lines = []
    if answers.limit is not None:
        injected = ensembles[INJECTED].truth[poi] if answers.limit.injected else 0.0
        lines += [f"limit: {sentence}" for sentence in _limited(answers.limit, poi, injected)]
    if answers.interval is not None:
        for key, item in answers.interval.toys.intervals.items():
            ends = answers.interval.verdicts[key]
            covers = answers.interval.coverage[key]
            told = [covers.asymptotic, covers.toys if covers.toys and covers.toys.below else None]
            lines += [f"interval: {one.sentence}" for one in (item, ends.low, ends.high, *told) if one]
        more = [answers.interval.over_set, answers.interval.precision and answers.interval.precision.sentence]
        lines += [f"interval: {sentence}" for sentence in more if sentence]
    if answers.region is not None:
        for key, region in answers.region.toys.regions.items():
            lines += [f"region: {sentence}" for sentence in (region.sentence, answers.region.verdicts[key].sentence)]
        if answers.region.precision:
            lines.append(f"region: {answers.region.precision.sentence}")
    if answers.discovery is not None:
        lines.append(f"discovery: {_discovered(answers.discovery)}")
    if answers.goodness_of_fit is not None:
        lines.append(f"goodness of fit: {answers.goodness_of_fit.sentence}")
        if answers.goodness_of_fit.channel_compatibility is not None:
            lines.append(f"goodness of fit: {answers.goodness_of_fit.channel_compatibility.sentence}")
    if answers.impacts is not None:
        lines.append(f"impacts: {answers.impacts.sentence}")
    if answers.scan is not None:
        lines += [f"scan: {sentence}" for sentence in answers.scan.sentences]
    return lines


def _limited(found: LimitAnswer, poi: str, injected: float) -> list[str]:
    """The observed and the expected limit, that of data with a signal, and what else is to be told of them."""
    pairs = (
        (found.toys.observed, found.verdict),
        (found.toys.expected["0"], found.expected_verdicts.get("0")),
    )
    lines = [(verdict or limit).sentence for limit, verdict in pairs if limit is not None]
    if found.injected:
        lines.append(f"of data with {poi} = {injected:.4g}: {found.injected['0'].sentence}")
    more = [found.precision and found.precision.sentence, found.toys.why_unweighted]
    return [*lines, *(sentence for sentence in more if sentence)]


def _discovered(found: DiscoveryAnswer) -> str:
    """The p-value of the observed data; without them, that of the farthest tail."""
    tail = found.observed or found.tail[-1]
    p = tail.weighted
    value = "undefined" if p.value is None else f"below {p.high:.2g}" if p.bound else f"{p.value:.3g}"
    whose = "" if found.observed else f"{found.why_no_observed or 'There are no observed data.'} "
    return f"{whose}At q_0 = {tail.q_0:.4g} the p-value is {value}. {tail.verdict.sentence}"
