"""From shards to a summary: every number with its Monte Carlo error, every toy accounted for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats

from toymill._version import __version__
from toymill.config.model import StatedConfig
from toymill.config.opening import open_model
from toymill.config.study import Study, fits_digest, shards
from toymill.errors import ToymillError
from toymill.fitting.results import Fits, concatenate
from toymill.fitting.status import CERTIFIED_STATUSES, Status
from toymill.inference.statistics import (
    Distribution,
    Moments,
    asymptotic_cdf,
    fraction,
    moments_of_sums,
    quantile,
    t_mu,
)
from toymill.results.store import Audit, ShardKey, ShardReader, join_audits, reading_shard
from toymill.results.tally import BLOCK, PULL_EDGES, TAIL, Tally

LEVELS = (0.683, 0.90, 0.95)
"""Levels at which the distribution of t_μ is compared with the asymptotic one."""

SIGNIFICANCES = (1, 2, 3, 4, 5)
"""Z at which the discovery p-value p(q_0 ≥ Z²) is counted."""

CDF = Callable[[Any], Any]

_ZERO = 2.0**-20  # t_μ below this, an end of a tally's cell, is 0 to the fits' tolerance
_THREE_SIGMA = 0.0027
_T_BINS = 50
_MOST_VALUES = 10**7  # toys of an ensemble whose t are held one by one: 80 MB a test point; of more, histograms
_CHUNK_BYTES = 2**26  # fits that are read at once, if a block of toys is no larger
_LARGEST = 10  # toys of the largest t that the summary names


class Collected(NamedTuple):
    """What is read of an ensemble's shards.

    Attributes:
        names: names of the parameters, in the tally's order.
        tally: the tally of all toys.
        t: the distribution of t_μ at each test point over the certified toys.
        audit: the toys that were fitted again with iminuit.
    """

    names: tuple[str, ...]
    tally: Tally
    t: list[Distribution]
    audit: Audit


def summarize(
    study: Study, description: Mapping[str, Any], files: Mapping[str, Sequence[str | Path]]
) -> dict[str, Any]:
    """The summary of a study.

    Args:
        study: the study.
        description: the content of its ``model.json``.
        files: the shards' files of each ensemble.

    Raises:
        ToymillError: a shard that is missing, damaged or of another study, by name.
    """
    # Only a model that Python states has derived quantities; a workspace need not be read again.
    derived = open_model(study.model).derived if isinstance(study.model, StatedConfig) else {}
    return {
        **_head(study, description),
        "errors": "Monte Carlo errors are one standard deviation; intervals on fractions are Clopper-Pearson, 68.27 %",
        "observed": _observed(description),
        "ensembles": {
            name: _ensemble(study, description, name, _collect(study, description, name, files[name], derived))
            for name in study.ensembles
        },
    }


def summarize_optimisers(
    study: Study, description: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The summary of a study that compares optimisers: a table for each ensemble.

    Args:
        study: the study.
        description: the content of its ``model.json``.
        tables: what ``optimisers.table`` found, by ensemble.
    """
    return {
        **_head(study, description),
        "times": "wall-clock seconds of one job on one core: they differ from run to run",
        "ensembles": {
            name: {"truth": description["ensembles"][name]["truth"], **tables[name]} for name in study.ensembles
        },
    }


def _head(study: Study, description: Mapping[str, Any]) -> dict[str, Any]:
    """What every summary begins with."""
    return {
        "toymill": __version__,
        "study": study.study,
        "kind": study.kind,
        "model_digest": description["digest"],
        "poi": description["poi"],
    }


def _observed(description: Mapping[str, Any]) -> dict[str, Any] | None:
    """The fit to the observed data; None for a model without."""
    observed = description["observed"]
    if observed is None:
        return None
    return {
        "status": observed["status"],
        "poi": observed["parameters"][description["poi"]],
        "poi_error": observed["errors"][description["poi"]],
        "derived": observed["derived"],
        "information": observed["information"],
        "twice_nll": observed["twice_nll"],
        "tests": observed["tests"],
    }


def failures(study: Study, summary: Mapping[str, Any]) -> list[str]:
    """One line for each ensemble in which more toys failed than the study allows; a comparison may fail as it likes."""
    if study.kind == "optimisers":
        return []
    return [
        f"ensemble {name!r}: {item['toys'] - item['certified']} of {item['toys']} toys are not certified "
        f"({', '.join(f'{count} {status}' for status, count in item['failed'].items() if count)}); "
        f"fit.max_failed allows {study.fit.max_failed:g} of them"
        for name, item in summary["ensembles"].items()
        if item["toys"] - item["certified"] > study.fit.max_failed * item["toys"]
    ]


def _collect(
    study: Study,
    description: Mapping[str, Any],
    name: str,
    files: Iterable[str | Path],
    derived: Mapping[str, Callable[..., Any]],
) -> Collected:
    """All toys of an ensemble in the order of their index, from shards that are checked and read piece by piece."""
    about = description["ensembles"][name]
    digest = fits_digest(study, name, description["digest"])
    expected = list(shards(study, name))
    found = {Path(path).stem: path for path in files}
    missing = [shard.name for shard in expected if shard.name not in found]
    if missing:
        msg = f"ensemble {name!r} lacks {len(missing)} shards: {', '.join(missing[:3])} … Run the workflow again."
        raise ToymillError(msg)
    names = tuple(item["name"] for item in description["parameters"])
    truth = np.array([about["truth"][parameter] for parameter in names])
    tally = Tally.empty(truth, about["tests"], study.levels, [about["derived"][quantity] for quantity in derived])
    audits: list[Audit] = []
    values: list[list[np.ndarray]] = [[] for _ in about["tests"]]

    def readers() -> Iterator[ShardReader]:
        for shard in expected:
            key = ShardKey(name, digest, description["digest"], study.seed, shard.first, shard.toys)
            with reading_shard(found[shard.name], key) as reader:
                audits.append(reader.audit)
                if study.keep != "all":
                    tally.merge(reader.tally())
                yield reader

    if study.keep == "summary":
        for _ in readers():
            pass
    else:
        for first, (free, *tests) in _chunks(readers(), len(names), len(about["tests"])):
            if study.keep == "all":
                tally.add(first, free, tests, derived)
            if study.ensembles[name].toys <= _MOST_VALUES:
                ok = np.logical_and.reduce([fits.ok for fits in (free, *tests)])
                for k, fits in enumerate(tests):
                    values[k].append(np.maximum(t_mu(free, fits)[ok], 0.0))
    t = [Distribution.of(np.concatenate(parts)) if parts else tally.distribution(k) for k, parts in enumerate(values)]
    return Collected(names, tally, t, join_audits(audits))


def _chunks(readers: Iterable[ShardReader], parameters: int, tests: int) -> Iterator[tuple[int, list[Fits]]]:
    """The fits of an ensemble's toys in chunks that end at fixed indices, whatever the shards.

    Yields the index of the first toy, and the free fits and those at each test point.
    """
    size = 2 ** int(np.log2(max(_CHUNK_BYTES // (16 * parameters * (1 + tests)), BLOCK)))
    waiting: list[list[Fits]] = []
    first = 0
    for reader in readers:
        begin, end = reader.key.first, reader.key.first + reader.key.toys
        while begin < end:
            upto = min(end, begin + size - begin % size)
            waiting.append(reader.rows(begin - reader.key.first, upto - reader.key.first))
            begin = upto
            if begin % size == 0:
                yield first, [concatenate(parts) for parts in zip(*waiting, strict=True)]
                waiting, first = [], begin
    if waiting:
        yield first, [concatenate(parts) for parts in zip(*waiting, strict=True)]


def _ensemble(study: Study, description: Mapping[str, Any], name: str, found: Collected) -> dict[str, Any]:
    """One ensemble's part of the summary. A toy is certified if its free and all its conditional fits are."""
    about = description["ensembles"][name]
    poi = description["poi"]
    tally = found.tally
    toys, certified, worst = int(tally.toys), int(tally.certified), tally.status[-1]
    fixed = [item["fixed"] for item in description["parameters"]]
    free = [i for i in range(len(found.names)) if not fixed[i]]
    without = certified - int(tally.pulls[found.names.index(poi)])
    return {
        "digest": about["digest"],
        "keep": study.keep,
        "toys": toys,
        "certified": certified,
        "failed": {status.name.lower(): int(worst[status]) for status in Status if status not in CERTIFIED_STATUSES},
        "at_bound": int(worst[Status.AT_BOUND]),
        "at_kink": int(worst[Status.AT_KINK]),
        "throw": about["throw"],
        "truth": about["truth"],
        "parameters": {found.names[i]: _parameter(tally, i) for i in free},
        "derived": {
            key: _location(moments_of_sums(int(tally.derived[i]), tally.derived_sums[i], truth), truth)
            for i, (key, truth) in enumerate(zip(about["derived"], tally.derived_truth.tolist(), strict=True))
        },
        "information": _information(about, found.names, tally),
        "pull_histogram": {
            "edges": PULL_EDGES.tolist(),
            "counts": tally.pull_histogram[1:-1].tolist(),
            "underflow": int(tally.pull_histogram[0]),
            "overflow": int(tally.pull_histogram[-1]),
        },
        "intervals": {
            "hessian": _coverage(study.levels, tally.hessian, without, certified, toys - certified),
            "profile": _coverage(study.levels, tally.profile, 0, certified, toys - certified),
        },
        "tests": [_test(description, name, k, found) for k in range(len(about["tests"]))],
        "discovery": _discovery(tally, about["truth"][poi]),
        "tail": _tail(tally, about["tests"].index(about["truth"][poi]), found.names.index(poi)),
        "iterations": {"free": float(tally.iterations / toys), "largest": int(tally.most_iterations)},
        "audit": _audit(found.audit),
    }


def _parameter(tally: Tally, i: int) -> dict[str, Any]:
    """Bias, spread and pull of parameter i."""
    truth = float(tally.truth[i])
    sums = np.array([tally.sums[i], tally.products[i, i], tally.products_21[i, i], tally.products_22[i, i]])
    pull = moments_of_sums(int(tally.pulls[i]), tally.pull_sums[i])
    return {
        **_location(moments_of_sums(int(tally.certified), sums, truth), truth),
        "pulls": pull.size,
        "pull_mean": _number(pull.mean),
        "pull_mean_error": _number(pull.mean_error),
        "pull_width": _number(pull.rms),
        "pull_width_error": _number(pull.rms_error),
        "at_bound": int(tally.certified - tally.pulls[i]),
    }


def _location(value: Moments, truth: float) -> dict[str, Any]:
    """Where estimates lie about the truth."""
    return {
        "truth": truth,
        "mean": _number(value.mean),
        "bias": _number(value.mean - truth),
        "bias_error": _number(value.mean_error),
        "rms": _number(value.rms),
        "rms_error": _number(value.rms_error),
    }


def _information(about: Mapping[str, Any], names: Sequence[str], tally: Tally) -> dict[str, Any]:
    """Expected information and Cramér-Rao bound at the truth, beside the toys' covariance.

    The error of a covariance is √((m₂₂ - c²)/n), with m₂₂ the mean of the squared products. Efficiency is the bound
    over the variance; its error is that of the variance. The bound is for unbiased estimators and data that all
    fluctuate: a biased estimator or one at its bounds may fall below it, and there is no efficiency where auxiliary
    data are held.
    """
    stated = about["information"]
    columns = [list(names).index(name) for name in stated["parameters"]]
    count = int(tally.certified)
    size = len(columns)
    covariance, error = np.full((size, size), np.nan), np.full((size, size), np.nan)
    if count > 1:
        inside = np.ix_(columns, columns)
        bias = tally.sums[columns] / count
        second, m21, m22 = (part[inside] / count for part in (tally.products, tally.products_21, tally.products_22))
        covariance = (second - np.outer(bias, bias)) * (count / (count - 1))
        # E[(x - bx)² (y - by)²] of deviations x, y from the truth, whose means are bx and by.
        square = np.diag(second)
        squares = (
            m22
            - 2 * (m21 * bias + (m21 * bias).T)
            + np.outer(square, bias**2)
            + np.outer(bias**2, square)
            + 4 * second * np.outer(bias, bias)
            - 3 * np.outer(bias**2, bias**2)
        )
        error = np.sqrt(np.maximum(squares - covariance**2, 0) / count)
    efficiency: dict[str, Any] = {}
    for i, name in enumerate(stated["parameters"]):
        variance, its_error = covariance[i, i], error[i, i]
        usable = stated["bound"] is not None and variance > 0 and about["throw"] == "frequentist"
        value = stated["bound"][i][i] / variance if usable else math.nan
        efficiency[name] = {
            "bound": None if stated["bound"] is None else stated["bound"][i][i],
            "variance": _number(float(variance)),
            "variance_error": _number(float(its_error)),
            "efficiency": _number(float(value)),
            "efficiency_error": _number(float(value * its_error / variance)) if usable else None,
        }
    return {
        **stated,
        "covariance": [[_number(float(item)) for item in row] for row in covariance],
        "covariance_error": [[_number(float(item)) for item in row] for row in error],
        "efficiency": efficiency,
    }


def _coverage(levels: Sequence[float], inside: np.ndarray, without: int, certified: int, failed: int) -> dict[str, Any]:
    """Fraction of toys whose interval holds the truth: those with pull² or t at the truth ≤ the χ² quantile.

    The profile interval Δ(2 nll) ≤ c holds the truth exactly where t ≤ c. A certified toy without an interval
    (its POI at a bound) does not cover.
    """
    coverage = {}
    for level, passed in zip(levels, inside.tolist(), strict=True):
        counted = fraction(passed, certified)
        coverage[repr(float(level))] = {
            "level": level,
            "coverage": _number(counted.value),
            "coverage_low": counted.low,
            "coverage_high": counted.high,
            "interval": "Clopper-Pearson, 68.27 %",
            "without_interval": without,
            "if_failed_miss": passed / (certified + failed),
            "if_failed_cover": (passed + failed) / (certified + failed),
        }
    return coverage


def _discovery(tally: Tally, truth: float) -> list[dict[str, Any]] | None:
    """p(q_0 ≥ Z²) of background-only toys, counted, beside 1 - Φ(Z) (CCGV eqs. 51-53); None at another truth.

    Failed toys are not in the fraction; it is also given as it were if they all lay below the threshold or beyond.
    """
    if truth != 0:
        return None
    q = tally.one_sided(tally.tests.tolist().index(0.0), above=True)
    failed = int(tally.toys - tally.certified)
    found = []
    for z in SIGNIFICANCES:
        passed = q.above(float(z**2))
        counted = fraction(passed, q.size)
        found.append(
            {
                "z": z,
                "q_0": float(z**2),
                "beyond": passed,
                "p_value": _number(counted.value),
                "p_value_low": counted.low,
                "p_value_high": counted.high,
                "interval": "Clopper-Pearson, 68.27 %",
                "asymptotic": float(scipy.stats.norm.sf(z)),
                "significance": _number(float(scipy.stats.norm.isf(counted.value))),
                "if_failed_below": passed / int(tally.toys),
                "if_failed_beyond": (passed + failed) / int(tally.toys),
            }
        )
    return found


def _tail(tally: Tally, k: int, poi: int) -> dict[str, Any]:
    """The toys of the largest t at the truth: how many, and the index of the first, to throw them again."""
    order = np.argsort(-tally.kept_t, kind="stable")[: min(_LARGEST, int(np.sum(~np.isnan(tally.kept_t))))]
    return {
        "threshold": TAIL,
        "toys": tally.distribution(k).above(TAIL),
        "largest": [
            {
                "toy": int(tally.kept[row]),
                "t": float(tally.kept_t[row]),
                "estimate": float(tally.kept_fits[0].parameters[row, poi]),
            }
            for row in order
        ],
        "failed": tally.kept[np.isnan(tally.kept_t)][:_LARGEST].tolist(),
    }


def _test(description: Mapping[str, Any], name: str, k: int, found: Collected) -> dict[str, Any]:
    """The distribution of t_μ at one test point, beside the asymptotic one."""
    about = description["ensembles"][name]
    poi = description["poi"]
    mu, truth = about["tests"][k], about["truth"][poi]
    bounds = next(item["bounds"] for item in description["parameters"] if item["name"] == poi)
    lower = -math.inf if bounds[0] is None else bounds[0]
    upper = math.inf if bounds[1] is None else bounds[1]
    t = found.t[k]
    mean = moments_of_sums(t.size, found.tally.t_sums[k])
    noncentrality = 0.0 if mu == truth else about["asimov"]["t"][k]
    sigma = about["asimov"]["sigma"]
    cdf: CDF | None = None
    near = sigma is not None and upper - max(mu, truth) < 3 * sigma
    if noncentrality is not None and sigma is not None and not near:
        cdf = partial(asymptotic_cdf, noncentrality=noncentrality, mu=mu, truth=truth, sigma=sigma, lower=lower)
    centre = math.sqrt(noncentrality or 0.0)
    top = float(np.ceil((centre + 4.2) ** 2))
    low = float(np.floor(max(0.0, centre - 4.2) ** 2))
    edges = np.linspace(low, top, _T_BINS + 1)
    counts = t.histogram(edges).tolist()
    return {
        "poi": mu,
        "noncentrality": noncentrality,
        "noncentrality_error": 0.0 if mu == truth else about["asimov"]["t_error"][k],
        "mean": _number(mean.mean),
        "mean_error": _number(mean.mean_error),
        "smallest": _number(float(found.tally.smallest[k])),
        "at_zero": t.size - t.above(_ZERO),
        "histogram": {
            "edges": edges.tolist(),
            "counts": counts[1:-1],
            "underflow": counts[0],
            "overflow": counts[-1],
            "asymptotic": None if cdf is None else _expected_counts(t.size, edges, cdf),
        },
        "quantiles": {repr(level): _quantile(t, level, cdf) for level in LEVELS},
        "verdict": _verdict(t, cdf, f"the upper bound of {poi}, {upper:g}, is within three sigma" if near else None),
    }


def _expected_counts(total: int, edges: np.ndarray, cdf: CDF) -> list[float]:
    """Asymptotic counts in each bin; the first bin from 0 holds the toys at exactly 0."""
    from_below = np.where(edges == 0, -1.0, edges)
    counts: list[float] = (total * np.diff(cdf(from_below))).tolist()
    return counts


def _quantile(t: Distribution, level: float, cdf: CDF | None) -> dict[str, Any]:
    """A quantile of t_μ, and how often toys exceed the asymptotic quantile of the same level.

    ``binning`` is the most that a histogram's cells may move the quantile; 0 where every t is known.
    """
    found = quantile(t, level)
    threshold = None if cdf is None else _asymptotic_quantile(level, cdf)
    beyond = None if threshold is None else fraction(t.above(threshold), t.size)
    return {
        "level": level,
        "value": _number(found.value),
        "low": _number(found.low),
        "high": _number(found.high),
        "error": _number((found.high - found.low) / 2),
        "binning": _number(t.width(level)) if t.size else None,
        "asymptotic": threshold,
        "difference": None if threshold is None else _number(found.value - threshold),
        "beyond": None if beyond is None else _number(beyond.value),
        "beyond_low": None if beyond is None else beyond.low,
        "beyond_high": None if beyond is None else beyond.high,
        "beyond_asymptotic": 1 - level,
    }


def _asymptotic_quantile(level: float, cdf: CDF) -> float:
    high = 1.0
    while cdf(high) < level:
        high *= 2
    if cdf(0.0) >= level:
        return 0.0
    return float(scipy.optimize.brentq(lambda value: float(cdf(value)) - level, 0.0, high, xtol=1e-10))


def _verdict(t: Distribution, cdf: CDF | None, why_none: str | None = None) -> dict[str, Any]:
    """Whether the asymptotic distribution may be trusted: one sentence, and the distance from it.

    The formula is called off if the fraction of toys beyond its 95 % point is neither within half a
    per cent of 5 % nor compatible with it (exact binomial test, p ≥ 0.0027: three sigma). The
    Kolmogorov-Smirnov distance is of the toys with t > 0; those at 0, whose μ̂ is at its bound, are a
    fraction of their own. A discrete distribution has no such p-value.
    """
    silent = {"agrees": None, "ks_distance": None, "ks_p_value": None, "at_zero": None, "at_zero_asymptotic": None}
    if cdf is None:
        return silent | {
            "sentence": f"No asymptotic distribution: {why_none or 'the expected information or fit is not usable'}."
        }
    if not t.size:
        return silent | {"sentence": "No certified toys to compare."}
    threshold = _asymptotic_quantile(0.95, cdf)
    passed = t.above(threshold)
    beyond = fraction(passed, t.size)
    error = (beyond.high - beyond.low) / 2
    p_value = scipy.stats.binomtest(passed, t.size, 0.05).pvalue
    agrees = bool(abs(beyond.value - 0.05) <= 0.005 or p_value >= _THREE_SIGMA)
    resolved = error <= 0.0025
    words = "may be trusted" if agrees and resolved else "cannot be judged yet" if agrees else "is off"
    advice = (
        "" if resolved or not agrees else f" About {math.ceil(0.05 * 0.95 / 0.0025**2)} toys resolve half a per cent."
    )
    at_zero = float(cdf(_ZERO))
    positive = t.beyond(_ZERO)
    distance = positive.distance(lambda x: (cdf(x) - at_zero) / (1 - at_zero)) if positive.size else None
    continuous = distance is not None and positive.continuous
    return {
        "agrees": agrees if resolved or not agrees else None,
        "sentence": (
            f"At 95 % the asymptotic formula {words}: {100 * beyond.value:.2f} ± {100 * error:.2f} % of toys lie "
            f"beyond t = {threshold:.3f}, where it expects 5 %.{advice}"
        ),
        "ks_distance": distance,
        "ks_p_value": float(scipy.stats.kstwo.sf(distance, positive.size)) if continuous else None,
        "at_zero": (t.size - t.above(_ZERO)) / t.size,
        "at_zero_asymptotic": float(cdf(0.0)),
    }


def _audit(audit: Audit) -> dict[str, Any]:
    """The largest differences between iminuit's fits and ours, over the toys where both are numbers."""
    nll = np.concatenate([audit.nll_free[None], audit.nll_tests])
    finite = np.isfinite(nll)
    valid = audit.valid & np.all(finite, axis=0)
    return {
        "toys": len(audit.toy),
        "not_finite": int(np.sum(~np.all(finite, axis=0))),
        "minuit_invalid": int(np.sum(~audit.valid)),
        "ours_higher_by": _number(float(np.max(-nll[finite], initial=-math.inf))),
        "minuit_higher_by": _number(float(np.max(nll[:, valid], initial=-math.inf))),
        "poi_difference": _number(float(np.max(np.abs(audit.poi[valid])))) if valid.any() else None,
    }


def _number(value: float) -> float | None:
    """For JSON: a number, or None where it is not finite."""
    return float(value) if math.isfinite(value) else None
