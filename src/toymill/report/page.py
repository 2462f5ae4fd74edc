"""The report of a study: one HTML file that needs no other file and no network. Needs no matplotlib."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2

from toymill.config.model import Remote
from toymill.config.study import Study
from toymill.report import captions
from toymill.report.first_screen import Group, groups, sentences
from toymill.report.numbers import counted, one_line, with_error
from toymill.report.parts import Picture, Table
from toymill.report.tables import tables, tables_of_optimisers
from toymill.results.audit import Audit, read_audits
from toymill.results.description import Description, read_description
from toymill.results.files import write_bytes
from toymill.results.provenance import Provenance
from toymill.results.summary import ComparisonSummary, EnsembleSummary, Summary, read_summary
from toymill.study.failures import refusals
from toymill.study.headline import compared_in_words
from toymill.study.remarks import remarks

MOST_OPEN = 3
"""Truth points up to which the figures of each are shown at once; of more, those of the first."""

MOST_PARAMETERS = 40
"""Parameters up to which the figure of all of them is in the page: the table of parameters draws the same."""

MOST_CONTENT = 40 * 2**20
"""Bytes of figures that the page holds; others are linked."""

BESIDE = {"explore.html": "explore", "summary.json": "numbers (JSON)"}
"""Other files of a study that its report links, with the words of the link, where they are beside it."""

MOST_REMARKS = 5
"""What is to be looked at: lines on the first screen."""

_OF_STUDY = (
    "limit",
    "discovery",
    "interval",
    "region",
    "goodness_of_fit",
    "impacts",
    "all_impacts",
    "scan",
    "coverage",
)
_OF_ENSEMBLE = ("t_mu", "pull", "parameters", "correlation")
_NARROW = ("discovery", "goodness_of_fit", "pull")
_TYPES = {".png": "image/png", ".svg": "image/svg+xml"}  # of two files of a figure the latter is shown


class Found(NamedTuple):
    """What a page is made of.

    Attributes:
        study: the study.
        summary: the content of ``summary.json``.
        description: the content of ``model.json``.
        audits: the audit of each ensemble.
        provenance: where the results came from.
        config: the resolved configuration, as text.
        figures: the files of figures.
        refused: why the study is refused, a line each; empty if it is not.
        beside: other pages in the folder of this one, by the words that they are linked by.
    """

    study: Study
    summary: Summary | ComparisonSummary
    description: Description
    audits: Mapping[str, Audit]
    provenance: Provenance
    config: str
    figures: Sequence[str | Path] = ()
    refused: Sequence[str] = ()
    beside: Mapping[str, str] = {}


class Chapter(NamedTuple):
    """Figures that belong together.

    Attributes:
        title: what they are of.
        pictures: the figures.
        shown: whether they are shown at once.
    """

    title: str
    pictures: Sequence[Picture]
    shown: bool


def gather(
    study: Study,
    provenance: Provenance,
    *,
    config: str | Path,
    model: str | Path,
    summary: str | Path,
    audits: Sequence[str | Path] = (),
    figures: Sequence[str | Path] = (),
) -> Found:
    """Read what a page is made of.

    Args:
        study: the study.
        provenance: where its results came from.
        config: its resolved configuration.
        model: its ``model.json``.
        summary: its ``summary.json``, in whose folder other pages are looked for.
        audits: its audits, a file an ensemble.
        figures: the files of its figures.

    Raises:
        ToymillError: a file that is not one of this version, or is not what was written.
    """
    found, audited = read_summary(summary), read_audits(audits)
    return Found(
        study=study,
        summary=found,
        description=read_description(model),
        audits=audited,
        provenance=provenance,
        config=Path(config).read_text(encoding="utf-8"),
        figures=figures,
        refused=refusals(study, found, audited),
        beside={words: name for name, words in BESIDE.items() if Path(summary).with_name(name).exists()},
    )


def write_page(path: str | Path, found: Found) -> None:
    """Write the report of a study.

    Args:
        path: the file, ``report.html``.
        found: what it is made of.
    """
    write_bytes(path, page(found).encode("utf-8", "backslashreplace"))


def page(found: Found) -> str:
    """The report of a study as HTML.

    Args:
        found: what it is made of.
    """
    template, script = _template()
    summary = found.summary
    mark = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return template.render(
        title=one_line(summary.study),
        script_hash=mark,
        facts=list(_facts(found)),
        refused=[one_line(line, 600) for line in found.refused],
        beside=found.beside,
        sentences=_words(found),
        remarks=_remarks(found),
        groups=_groups(summary),
        chapters=list(_chapters(found)),
        tables=_tables(found),
        provenance=found.provenance,
        config=found.config,
        seconds=_seconds(found.provenance.seconds),
        errors=getattr(summary, "errors", ""),
    )


@functools.cache
def _template() -> tuple[jinja2.Template, str]:
    """The template, and the script in it, whose digest the page names: no other may run in it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("toymill.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = _unbroken
    script = environment.get_template("report.js").render()
    return environment.get_template("report.html.jinja"), script


def _unbroken(text: str) -> str:
    """A number that stays on the line of its error and its unit."""
    for mark in ("± ", " ±", " %", " σ"):
        text = text.replace(mark, mark.replace(" ", "\N{NO-BREAK SPACE}"))
    return text


def _facts(found: Found) -> Iterator[tuple[str, str]]:
    """What was studied, on what data, and how many toys, as pairs of a word and what it is."""
    summary, description = found.summary, found.description
    free = sum(not item.fixed for item in description.parameters)
    yield "model", _model(found)
    yield "parameters", f"{free} free of {len(description.parameters)}; of interest: {one_line(summary.poi, 80)}"
    if isinstance(summary, Summary):
        head = summary.headline
        yield "data", f"{head.data}{_fitted(summary)}"
        of_scan = summary.answers.scan if summary.answers else None
        points = f" at {counted(len(summary.ensembles), 'truth point')}" if summary.ensembles else ""
        toys = [f"{head.toys:,}{points}"] if head.toys else []
        if of_scan:
            toys.append(
                f"{of_scan.toys:,} without a signal and {of_scan.signal_toys:,} with each of {len(of_scan.points)}"
            )
        yield "toys", "; ".join(toys)
        if head.toys:
            yield "certified", f"{head.certified:,}; failed: {head.failed:,}{_kinds(summary.ensembles)}"
        told = _audited(found.audits)
        if told:
            yield "audit", told
    else:
        points = counted(len(summary.ensembles), "truth point")
        yield "toys", f"{summary.headline.toys:,} at {points}, each fitted by every optimiser"
        yield "optimisers", ", ".join(summary.headline.optimisers)
    spent = sum(found.provenance.seconds.values())
    yield "made", f"{found.provenance.finished} by toymill {summary.toymill}, in {_duration(spent)} of jobs"


def _model(found: Found) -> str:
    model = found.study.model
    files = [item.url if isinstance(item, Remote) else str(item) for item in model.sources.values()]
    shown = [one_line(name, 160) for name in files[:3]]
    return ", ".join(shown) + (f" and {len(files) - 3} more" if len(files) > 3 else "") if files else model.kind


def _fitted(summary: Summary) -> str:
    seen = summary.observed
    if seen is None or seen.poi is None:
        return ""
    return f"; best fit {one_line(summary.poi, 40)} = {with_error(seen.poi, seen.poi_error)}"


def _kinds(ensembles: Mapping[str, EnsembleSummary]) -> str:
    counts: dict[str, int] = {}
    for item in ensembles.values():
        for kind, count in item.failed.items():
            counts[kind] = counts.get(kind, 0) + count
    told = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in counts.items() if count)
    return f" ({told})" if told else ""


def _audited(audits: Mapping[str, Audit]) -> str:
    toys, missed = (sum(getattr(item.summary, key) for item in audits.values()) for key in ("toys", "missed"))
    if not toys:
        return ""
    return f"of {counted(toys, 'toy')} that iminuit fitted again, {missed:,} had missed the minimum"


def _words(found: Found) -> list[str]:
    summary = found.summary
    if isinstance(summary, ComparisonSummary):
        return [one_line(line, 600) for line in summary.headline.answers]
    told = [
        f"{name}: {captions.mismodelled(summary.poi, item)}"
        for name, item in summary.ensembles.items()
        if item.thrown_from
    ]
    return sentences(summary, [one_line(line, 600) for line in told])


def _remarks(found: Found) -> list[str]:
    """What is to be looked at, the worst first."""
    if isinstance(found.summary, ComparisonSummary):
        return []
    every = [one_line(line, 600) for line in remarks(found.summary, found.audits)]
    more = f"{len(every) - MOST_REMARKS} more; the tables have all"
    return every[:MOST_REMARKS] + ([more] if len(every) > MOST_REMARKS else [])


def _groups(summary: Summary | ComparisonSummary) -> list[Group]:
    return groups(summary) if isinstance(summary, Summary) else []


def _tables(found: Found) -> list[Table]:
    if isinstance(found.summary, ComparisonSummary):
        return tables_of_optimisers(found.summary)
    return tables(found.summary, found.audits)


def _chapters(found: Found) -> Iterator[Chapter]:
    """The figures: of the whole study, then of each truth point that the configuration states."""
    summary = found.summary
    files = {Path(path).stem: Path(path) for ending in _TYPES for path in found.figures if Path(path).suffix == ending}
    left = [MOST_CONTENT]
    if isinstance(summary, Summary):
        impacts = summary.answers.impacts.impacts if summary.answers and summary.answers.impacts else []
        pictures = [
            _picture(files[kind], kind, captions.found_in_study(summary, kind), [0] if kind == "all_impacts" else left)
            for kind in _OF_STUDY
            if kind in files and not (kind == "all_impacts" and len(impacts) <= captions.IMPACTS_ON_A_PAGE)
        ]
        if pictures:
            yield Chapter("The whole study", pictures, shown=True)
        kinds: Sequence[str] = _OF_ENSEMBLE
    else:
        kinds = ("optimisers",)
    for count, name in enumerate(summary.ensembles):
        pictures = []
        for kind in kinds:
            path = files.get(f"{kind}_{name}")
            if path is None:
                continue
            if isinstance(summary, ComparisonSummary):
                told = compared_in_words(summary.ensembles[name].methods)
            else:
                told = captions.found_in_ensemble(summary, name, kind)
            many = kind == "parameters" and len(found.description.parameters) > MOST_PARAMETERS
            picture = _picture(path, kind, told, [0] if many else left)
            one = isinstance(summary, Summary) and kind == "t_mu" and len(summary.ensembles[name].tests) == 1
            pictures.append(picture._replace(wide=picture.wide and not one))
        if pictures:
            yield Chapter(f"Truth point {name}", pictures, shown=count == 0 or len(summary.ensembles) <= MOST_OPEN)


def _picture(path: Path, kind: str, told: Sequence[str], left: list[int]) -> Picture:
    """A figure with its caption; its content too, if that is not more than what is left, which becomes less."""
    content = path.read_bytes()
    source = None
    if len(content) <= left[0]:
        left[0] -= len(content)
        source = f"data:{_TYPES[path.suffix]};base64,{base64.b64encode(content).decode()}"
    return Picture(
        path.stem, captions.TITLES[kind], captions.LOOK[kind], told, source, f"plots/{path.name}", kind not in _NARROW
    )


def _seconds(seconds: Mapping[str, float]) -> list[tuple[str, int, str, str]]:
    """The time spent by kind of job: how many jobs, all their seconds, and the longest."""
    kinds: dict[str, list[float]] = {}
    for name, value in seconds.items():
        kinds.setdefault(name.partition("/")[0], []).append(value)
    return [(kind, len(every), _duration(sum(every)), _duration(max(every))) for kind, every in kinds.items()]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.3g} min" if minutes < 120 else f"{hours:.3g} h"
