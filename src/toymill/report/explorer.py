"""The page ``explore.html``: figures of a study's toys to choose from and to click on, in one file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
import scipy
from markupsafe import Markup

from toymill.inference.limit_records import SIGMAS, LimitPoint
from toymill.results.answers import LimitAnswer
from toymill.results.files import write_bytes
from toymill.results.tally import PULL_EDGES
from toymill.study.explored import Explored, ExploredEnsemble

if TYPE_CHECKING:
    from jaxtyping import Num


def write_explorer(path: str | Path, found: Explored) -> None:
    """Write the page.

    Args:
        path: its file.
        found: what it shows.
    """
    from plotly.offline import get_plotlyjs

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("toymill.report"), autoescape=True, undefined=jinja2.StrictUndefined
    )

    def source(name: str) -> str:
        assert environment.loader is not None
        return environment.loader.get_source(environment, name)[0]

    scripts = [get_plotlyjs(), source("explorer.js")]
    page = environment.get_template("explorer.html.jinja").render(
        study=found.summary.study,
        style=Markup(source("explorer.css")),
        scripts=[Markup(script) for script in scripts],
        hashes=" ".join(f"'sha256-{_mark(script)}'" for script in scripts),
        content=Markup(_as_json(_content(found))),
    )
    write_bytes(path, page.encode())


def _mark(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _as_json(content: object) -> str:
    """JSON inside of HTML: nothing in a name can end its element, or begin another."""
    text = json.dumps(content, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _content(found: Explored) -> dict[str, Any]:
    """What the script draws. Names are values of lists, never keys."""
    summary = found.summary
    return {
        "study": summary.study,
        "replay": f"toymill replay {shlex.quote(f'results/{summary.study}')}",
        "poi": summary.poi,
        "parameters": list(found.parameters),
        "free": found.free,
        "pullEdges": PULL_EDGES.tolist(),
        "normal": np.diff(scipy.special.ndtr(PULL_EDGES)).tolist(),
        "limit": _limit(summary.answers.limit) if summary.answers and summary.answers.limit else None,
        "ensembles": [_ensemble(found, item) for item in found.ensembles],
    }


def _limit(answer: LimitAnswer) -> dict[str, Any]:
    """CLs at each tested value with its Monte Carlo interval, observed and expected; the asymptotic ones; the limits."""
    found = answer.toys
    formulae = answer.asymptotic_points or [None] * len(found.points)
    return {
        "level": found.level,
        "method": found.method,
        "sentence": found.observed.sentence if found.observed else "There is no observed limit.",
        "points": [[point.poi, *_observed(point, found.method)] for point in found.points],
        "bands": {sigma: [_expected(point, sigma) for point in found.points] for sigma in map(str, SIGMAS)},
        "asymptotic": [None if item is None else item.observed for item in formulae],
        "asymptoticBands": {
            sigma: [None if item is None else item.expected[sigma] for item in formulae] for sigma in map(str, SIGMAS)
        },
        "observed": found.observed.value if found.observed else None,
        "expected": {sigma: limit.value for sigma, limit in found.expected.items()},
    }


def _observed(point: LimitPoint, method: str) -> tuple[float | None, float | None, float | None]:
    """CLs or CL_{s+b} of the observed data with the ends of its interval, from weighted toys where they are."""
    if point.weighted is not None:
        by_weight = {
            "CLs": (point.weighted.cls, point.weighted.cls_error),
            "CLsb": (point.weighted.clsb, point.weighted.clsb_error),
        }
        value, error = by_weight[method]
        if value is not None and error is not None:
            return value, max(value - error, 0.0), value + error
    if point.observed is None:
        return None, None, None
    counted = point.observed if method == "CLs" else point.observed.clsb
    return counted.value, counted.low, counted.high


def _expected(point: LimitPoint, sigma: str) -> tuple[float | None, float | None, float | None]:
    """CLs or CL_{s+b} of background-only toys at one quantile, with the ends of its interval."""
    if sigma not in point.expected:  # in the summary of an earlier toymill
        return None, None, None
    quantile = point.expected[sigma]
    return quantile.value, quantile.low, quantile.high


def _ensemble(found: Explored, item: ExploredEnsemble) -> dict[str, Any]:
    summary, toys = item.summary, item.toys
    abouts = [summary.parameters[name] for name in found.parameters]
    return {
        "name": item.name,
        "truth": summary.truth[found.summary.poi],
        "keep": summary.keep,
        "toys": summary.toys,
        "certified": summary.certified,
        "failed": sum(summary.failed.values()),
        "atTruth": next(k for k, test in enumerate(summary.tests) if test.poi == summary.truth[found.summary.poi]),
        "tests": [
            {
                "poi": test.poi,
                "sentence": test.verdict.sentence,
                "edges": test.histogram.edges,
                "counts": test.histogram.counts,
                "underflow": test.histogram.underflow,
                "overflow": test.histogram.overflow,
                "asymptotic": test.histogram.asymptotic,
            }
            for test in summary.tests
        ],
        "truths": [about.truth for about in abouts],
        "pullStatistics": [
            [about.pull_mean, about.pull_mean_error, about.pull_width, about.pull_width_error, about.at_bound_share]
            for about in abouts
        ],
        "index": _packed(toys.toy, np.int32),
        "sample": toys.sample,
        "certifiedToys": _packed(toys.certified, np.int32),
        "t": [_packed(row, np.float32) for row in toys.t],
        "estimates": [_packed(row, np.float32) for row in toys.estimates],
        "pulls": [_packed(row, np.float32) for row in toys.pulls],
        "pullCounts": None if item.pulls is None else item.pulls.tolist(),
        "correlation": [
            [round(value, 4) if math.isfinite(value) else None for value in row] for row in item.correlation.tolist()
        ],
    }


def _packed(values: Num[np.ndarray, " toy"], kind: type[np.number[Any]]) -> str:
    """Numbers of four bytes, the least significant first, as text."""
    return base64.b64encode(values.astype(np.dtype(kind).newbyteorder("<")).tobytes()).decode()
