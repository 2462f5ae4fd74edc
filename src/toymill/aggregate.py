"""From shards to a summary: every number with its Monte Carlo error, every toy accounted for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.optimize
import scipy.stats

import toymill
from toymill.config import Shard, Study, fits_digest, shards
from toymill.errors import ToymillError
from toymill.likelihood import Fits, concatenate
from toymill.minimize import CERTIFIED_STATUSES, Status
from toymill.model_config import StatedConfig
from toymill.opening import open_model
from toymill.statistics import asymptotic_cdf, fraction, moments, quantile, t_mu
from toymill.store import Audit, ShardFits, ShardKey, read_shard

LEVELS = (0.683, 0.90, 0.95)
"""Levels at which the distribution of t_μ is compared with the asymptotic one."""

CDF = Callable[[Any], Any]

_ZERO = 1e-6  # t_μ below this is 0 to the fits' tolerance
_THREE_SIGMA = 0.0027
_PULL_EDGES = np.linspace(-5, 5, 51)
_T_BINS = 50


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
            name: _ensemble(study, description, name, _collect(study, description, name, files[name]), derived)
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
        "toymill": toymill.__version__,
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


def _collect(study: Study, description: Mapping[str, Any], name: str, files: Iterable[str | Path]) -> ShardFits:
    """All toys of an ensemble in the order of their index, from shards that are checked one by one."""
    digest = fits_digest(study, name, description["digest"])
    expected = list(shards(study, name))
    found = {Path(path).stem: path for path in files}
    missing = [shard.name for shard in expected if shard.name not in found]
    if missing:
        msg = f"ensemble {name!r} lacks {len(missing)} shards: {', '.join(missing[:3])} … Run the workflow again."
        raise ToymillError(msg)
    parts = [_read(found[shard.name], study, description, name, digest, shard) for shard in expected]
    audit = Audit(
        *(
            np.concatenate([getattr(part.audit, field) for part in parts], axis=1 if field == "nll_tests" else 0)
            for field in Audit._fields
        )
    )
    free = concatenate([part.free for part in parts])
    tests = [concatenate([part.tests[k] for part in parts]) for k in range(len(parts[0].tests))]
    return ShardFits(parts[0].key, free, tests, audit)


def _read(
    path: str | Path, study: Study, description: Mapping[str, Any], name: str, digest: str, shard: Shard
) -> ShardFits:
    return read_shard(path, ShardKey(name, digest, description["digest"], study.seed, shard.first, shard.toys))


def _ensemble(
    study: Study, description: Mapping[str, Any], name: str, fits: ShardFits, derived: Mapping[str, Callable[..., Any]]
) -> dict[str, Any]:
    """One ensemble's part of the summary. A toy is certified if its free and all its conditional fits are."""
    about = description["ensembles"][name]
    poi = description["poi"]
    certified = np.logical_and.reduce([fits.free.ok, *(test.ok for test in fits.tests)])
    worst = np.maximum.reduce([fits.free.status, *(test.status for test in fits.tests)])
    truth = np.array([about["truth"][parameter] for parameter in fits.free.names])
    fixed = [item["fixed"] for item in description["parameters"]]
    at_truth = about["tests"].index(about["truth"][poi])
    t_truth = t_mu(fits.free, fits.tests[at_truth])
    return {
        "digest": about["digest"],
        "toys": len(certified),
        "certified": int(certified.sum()),
        "failed": {
            status.name.lower(): int(np.sum(worst == status)) for status in Status if status not in CERTIFIED_STATUSES
        },
        "at_bound": int(np.sum(worst == Status.AT_BOUND)),
        "at_kink": int(np.sum(worst == Status.AT_KINK)),
        "throw": about["throw"],
        "truth": about["truth"],
        "parameters": {
            parameter: _parameter(fits.free, certified, i, float(truth[i]))
            for i, parameter in enumerate(fits.free.names)
            if not fixed[i]
        },
        "derived": _derived(derived, fits.free.parameters[certified], about["derived"]),
        "information": _information(about, fits.free, certified),
        "pull_histogram": _pull_histogram(fits.free, certified, fits.free.names.index(poi), about["truth"][poi]),
        "intervals": {
            "hessian": _coverage(study.levels, _hessian_pull(fits.free, poi, about["truth"][poi]) ** 2, certified),
            "profile": _coverage(study.levels, t_truth, certified),
        },
        "tests": [_test(description, name, k, fits, certified) for k in range(len(fits.tests))],
        "iterations": {
            "free": float(np.mean(fits.free.iterations)),
            "largest": int(max(np.max(part.iterations) for part in [fits.free, *fits.tests])),
        },
        "audit": _audit(fits.audit),
    }


def _parameter(free: Fits, certified: np.ndarray, i: int, truth: float) -> dict[str, Any]:
    error = free.errors[certified, i]
    with np.errstate(divide="ignore", invalid="ignore"):
        pull = moments((free.parameters[certified, i] - truth) / error)
    return {
        **_location(free.parameters[certified, i], truth),
        "pulls": pull.size,
        "pull_mean": _number(pull.mean),
        "pull_mean_error": _number(pull.mean_error),
        "pull_width": _number(pull.rms),
        "pull_width_error": _number(pull.rms_error),
        "at_bound": int(np.sum(np.isnan(error))),
    }


def _location(estimates: np.ndarray, truth: float) -> dict[str, Any]:
    """Where estimates lie about the truth, (n,)."""
    value = moments(estimates)
    return {
        "truth": truth,
        "mean": _number(value.mean),
        "bias": _number(value.mean - truth),
        "bias_error": _number(value.mean_error),
        "rms": _number(value.rms),
        "rms_error": _number(value.rms_error),
    }


def _derived(
    functions: Mapping[str, Callable[..., Any]], parameters: np.ndarray, truth: Mapping[str, float]
) -> dict[str, Any]:
    """Bias and spread of quantities that are functions of the fitted parameters, (n, P)."""
    found = {}
    for name, function in functions.items():
        found[name] = _location(np.asarray(jax.jit(jax.vmap(function))(parameters)), truth[name])
    return found


def _information(about: Mapping[str, Any], free: Fits, certified: np.ndarray) -> dict[str, Any]:
    """Expected information and Cramér-Rao bound at the truth, beside the toys' covariance.

    The error of a covariance is √((m₂₂ - c²)/n), with m₂₂ the mean of the squared products. Efficiency is the bound
    over the variance; its error is that of the variance. The bound is for unbiased estimators and data that all
    fluctuate: a biased estimator or one at its bounds may fall below it, and there is no efficiency where auxiliary
    data are held.
    """
    stated = about["information"]
    columns = [free.names.index(name) for name in stated["parameters"]]
    values = free.parameters[certified][:, columns]
    count = len(values)
    size = len(columns)
    covariance, error = np.full((size, size), np.nan), np.full((size, size), np.nan)
    if count > 1:
        away = values - values.mean(axis=0)
        covariance = away.T @ away / (count - 1)
        squares = (away**2).T @ away**2 / count
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


def _hessian_pull(free: Fits, poi: str, truth: float) -> np.ndarray:
    i = free.names.index(poi)
    with np.errstate(divide="ignore", invalid="ignore"):
        pull: np.ndarray = (free.parameters[:, i] - truth) / free.errors[:, i]
    return pull


def _pull_histogram(free: Fits, certified: np.ndarray, i: int, truth: float) -> dict[str, Any]:
    pull = _hessian_pull(free, free.names[i], truth)[certified]
    pull = pull[np.isfinite(pull)]
    counts, _ = np.histogram(pull, _PULL_EDGES)
    return {
        "edges": _PULL_EDGES.tolist(),
        "counts": counts.tolist(),
        "underflow": int(np.sum(pull < _PULL_EDGES[0])),
        "overflow": int(np.sum(pull > _PULL_EDGES[-1])),
    }


def _coverage(levels: Sequence[float], squared: np.ndarray, certified: np.ndarray) -> dict[str, Any]:
    """Fraction of toys whose interval holds the truth: those with ``squared`` ≤ the χ² quantile.

    For the profile interval ``squared`` is t at the truth: the interval Δ(2 nll) ≤ c holds the truth
    exactly where t ≤ c. A certified toy without an interval (its POI at a bound) does not cover.
    """
    coverage = {}
    total, failed = int(certified.sum()), int((~certified).sum())
    for level in levels:
        with np.errstate(invalid="ignore"):
            inside = certified & (squared <= scipy.stats.chi2.ppf(level, 1))
        passed = int(inside.sum())
        counted = fraction(passed, total)
        coverage[repr(float(level))] = {
            "level": level,
            "coverage": _number(counted.value),
            "coverage_low": counted.low,
            "coverage_high": counted.high,
            "interval": "Clopper-Pearson, 68.27 %",
            "without_interval": int(np.sum(certified & np.isnan(squared))),
            "if_failed_miss": passed / (total + failed),
            "if_failed_cover": (passed + failed) / (total + failed),
        }
    return coverage


def _test(description: Mapping[str, Any], name: str, k: int, fits: ShardFits, certified: np.ndarray) -> dict[str, Any]:
    """The distribution of t_μ at one test point, beside the asymptotic one."""
    about = description["ensembles"][name]
    poi = description["poi"]
    mu, truth = about["tests"][k], about["truth"][poi]
    bounds = next(item["bounds"] for item in description["parameters"] if item["name"] == poi)
    lower = -math.inf if bounds[0] is None else bounds[0]
    upper = math.inf if bounds[1] is None else bounds[1]
    t = t_mu(fits.free, fits.tests[k])[certified]
    smallest = _number(float(np.min(t, initial=math.inf)))
    t = np.maximum(t, 0.0)
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
    counts, _ = np.histogram(t, edges)
    return {
        "poi": mu,
        "noncentrality": noncentrality,
        "noncentrality_error": 0.0 if mu == truth else about["asimov"]["t_error"][k],
        "mean": _number(moments(t).mean),
        "mean_error": _number(moments(t).mean_error),
        "smallest": smallest,
        "at_zero": int(np.sum(t <= _ZERO)),
        "histogram": {
            "edges": edges.tolist(),
            "counts": counts.tolist(),
            "underflow": int(np.sum(t < low)),
            "overflow": int(np.sum(t > top)),
            "asymptotic": None if cdf is None else _expected_counts(len(t), edges, cdf),
        },
        "quantiles": {repr(level): _quantile(t, level, cdf) for level in LEVELS},
        "verdict": _verdict(t, cdf, f"the upper bound of {poi}, {upper:g}, is within three sigma" if near else None),
    }


def _expected_counts(total: int, edges: np.ndarray, cdf: CDF) -> list[float]:
    """Asymptotic counts in each bin; the first bin from 0 holds the toys at exactly 0."""
    from_below = np.where(edges == 0, -1.0, edges)
    counts: list[float] = (total * np.diff(cdf(from_below))).tolist()
    return counts


def _quantile(t: np.ndarray, level: float, cdf: CDF | None) -> dict[str, Any]:
    """A quantile of t_μ, and how often toys exceed the asymptotic quantile of the same level."""
    found = quantile(t, level)
    threshold = None if cdf is None else _asymptotic_quantile(level, cdf)
    beyond = None if threshold is None else fraction(int(np.sum(t > threshold)), len(t))
    return {
        "level": level,
        "value": _number(found.value),
        "low": _number(found.low),
        "high": _number(found.high),
        "error": _number((found.high - found.low) / 2),
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


def _verdict(t: np.ndarray, cdf: CDF | None, why_none: str | None = None) -> dict[str, Any]:
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
    passed = int(np.sum(t > threshold))
    beyond = fraction(passed, len(t))
    error = (beyond.high - beyond.low) / 2
    p_value = scipy.stats.binomtest(passed, len(t), 0.05).pvalue
    agrees = bool(abs(beyond.value - 0.05) <= 0.005 or p_value >= _THREE_SIGMA)
    resolved = error <= 0.0025
    words = "may be trusted" if agrees and resolved else "cannot be judged yet" if agrees else "is off"
    advice = (
        "" if resolved or not agrees else f" About {math.ceil(0.05 * 0.95 / 0.0025**2)} toys resolve half a per cent."
    )
    at_zero = float(cdf(_ZERO))
    positive = t[t > _ZERO]
    continuous = positive.size and len(np.unique(np.round(positive, 7))) > 0.9 * len(positive)
    test = scipy.stats.kstest(positive, lambda x: (cdf(x) - at_zero) / (1 - at_zero)) if positive.size else None
    return {
        "agrees": agrees if resolved or not agrees else None,
        "sentence": (
            f"At 95 % the asymptotic formula {words}: {100 * beyond.value:.2f} ± {100 * error:.2f} % of toys lie "
            f"beyond t = {threshold:.3f}, where it expects 5 %.{advice}"
        ),
        "ks_distance": None if test is None else float(test.statistic),
        "ks_p_value": float(test.pvalue) if test is not None and continuous else None,
        "at_zero": float(np.mean(t <= _ZERO)),
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
