"""p-values, CLs, limits, belts and ends of intervals of toys that are thrown and fitted, beside those of all outcomes.

Outcomes are enumerated without the engine.

Of each kind of number there are 48 pulls, (found - exact)/error. Were they not standard normal, their mean, their width or
their distribution would tell; of numbers that are right one of these tests in 300 would fail, were its seeds drawn anew.
"""

import itertools
import json

import counting_experiments as closed
import enumerated_experiments as exact
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from asked import finish
from builders import bare, workspace

import toymill
from toymill.config.study import read_study
from toymill.inference.crossing import z_of
from toymill.inference.limit_records import SIGMAS
from toymill.inference.limits import upper_limit
from toymill.inference.neyman import neyman_intervals, root_of
from toymill.inference.p_values import tie_tolerance

TOYS = 10_000
KNOWN = exact.Counts((1.0,), (4.0,))
ON_OFF = exact.Counts((1.0,), (3.0,), 6.0)
TWO_BINS = exact.Counts((2.0, 1.0), (1.0, 2.0), 5.0)
CASES = {  # of each experiment 16 observations
    KNOWN: [(n,) for n in range(1, 17)],
    ON_OFF: list(itertools.product((2, 4, 6, 9), (3, 5, 7, 10))),
    TWO_BINS: list(itertools.product((1, 3), (1, 2, 3, 5), (3, 6))),
}


def workspace_of(experiment):
    """The experiment as a workspace; mu is not negative."""
    free = [] if experiment.tau is None else [bare("normfactor", "gamma")]
    channels = {"1": {"s": (experiment.signal, []), "b": (experiment.background, free)}}
    if experiment.tau is not None:
        channels["2"] = {"b": ([experiment.tau], free)}
    bounds = [{"name": name, "bounds": [[0.0, 100.0]], "inits": [1.0]} for name in ["mu", *(["gamma"] if free else [])]]
    return workspace(channels, bounds)


def model_of(experiment):
    return toymill.read_workspace(workspace_of(experiment))


def outcomes_of(experiment):
    """All outcomes that matter to the cases, and their free fits."""
    ends = [42] if experiment.tau is None else [38, 30] if len(experiment.signal) == 1 else [30, 20, 18]
    outcomes = np.stack(np.meshgrid(*map(np.arange, ends), indexing="ij"), axis=-1).reshape(-1, len(ends)).astype(float)
    return outcomes, experiment.free(outcomes)


def exact_tails(experiment, outcomes, free, observed, mu):
    """CL_{s+b} and CL_b of an observation."""
    q = experiment.qtilde(mu, outcomes, free)
    beyond = q >= q[(outcomes == observed).all(axis=1)] - 1e-6
    return tuple(experiment.probability(truth, observed, outcomes)[beyond].sum() for truth in (mu, 0.0))


def statistics(model, data, values):
    """q̃ and t̃ at tested values of every toy, (2, K, n): equal toys are fitted once.

    Where μ̂ cannot be negative, they are q_μ and t_μ.
    """
    different, which = np.unique(data, axis=0, return_inverse=True)
    free, tests = toymill.fit_tests(model, different, [{"mu": value} for value in values])
    assert free.ok.all()
    return np.array([[kind(free, test) for test in tests] for kind in (toymill.q_mu, toymill.t_mu)])[..., which.ravel()]


def belt_and_end(experiment, outcomes, free, observed, points, toys, t_obs):
    """Of t̃: p's pull, the upper end's, and whether the interval of the critical value holds the exact one.

    p is that of the tested value below the end. The level is half way down the steepest fall of p between two tested
    values, so that there is an end; the exact one is interpolated between the exact p as that of the toys is.
    """
    t = np.array([experiment.t(mu, outcomes, free) for mu in points])
    f = np.array([experiment.probability(mu, observed, outcomes) for mu in points])
    own = (outcomes == observed).all(axis=1)
    p = np.array([row[at >= at[own] - 1e-6].sum() for row, at in zip(f, t, strict=True)])
    r = root_of(p)
    k = int(np.argmax(np.diff(r)))
    target = (r[k] + r[k + 1]) / 2
    level = float(1 - 2 * scipy.stats.norm.sf(target))
    found = neyman_intervals(points, toys, t_obs, levels=[level], tolerance=tie_tolerance())
    end, tested = found.intervals[repr(level)].high, found.points[k].test
    order = np.argsort(t[k])
    critical = t[k][order][np.searchsorted(np.cumsum(f[k][order]) + 1e-9, level * f[k].sum())]
    belt = tested.critical[repr(level)]
    held = belt.low - 1e-6 <= critical and (belt.high is None or critical <= belt.high + 1e-6)
    pull = (tested.p_value.value - p[k]) / np.sqrt(p[k] * (1 - p[k]) / TOYS)
    return pull, (end.value - (points[k] + points[k + 1]) / 2) / end.error, held


def found_and_exact(experiment):
    """Of each observation of an experiment the pulls of CL_{s+b}, CLs, the limit, p of t̃ and the end, and the belt."""
    model, (outcomes, free) = model_of(experiment), outcomes_of(experiment)
    for observed in CASES[experiment]:

        def cls_at(mu, observed=observed):
            above, below = exact_tails(experiment, outcomes, free, observed, mu)
            return above / below

        limit = scipy.optimize.brentq(lambda mu: cls_at(mu) - 0.05, 0.1, 25.0, xtol=1e-2)
        points = limit * np.array([0.5, 0.7, 0.85, 1.05, 1.25])
        data = np.array([observed], dtype=float)
        truths = toymill.fit(
            model, np.tile(data, (6, 1)), {"mu": np.array([0.0, *points])}, covariance=False
        ).parameters
        toys = [  # named by the observation, since a name has the same uniform numbers in every model
            toymill.throw(model, truth, TOYS, seed=31, stream=f"{observed} {k}") for k, truth in enumerate(truths)
        ]
        q, t = statistics(model, np.concatenate([data, *toys]), points)
        background, *signal = np.split(q[:, 1:], len(truths), axis=1)
        own = [row[k] for k, row in enumerate(signal)]
        t_own = [row[k] for k, row in enumerate(np.split(t[:, 1:], len(truths), axis=1)[1:])]
        found = upper_limit(points, own, background, q[:, 0], tolerance=tie_tolerance())
        at = found.points[2].observed
        p, cls = exact_tails(experiment, outcomes, free, observed, points[2])[0], cls_at(points[2])
        crossing = float(np.interp(scipy.stats.norm.ppf(0.95), z_of(np.array([cls_at(mu) for mu in points])), points))
        yield (
            (at.clsb.value - p) / np.sqrt(p * (1 - p) / TOYS),
            (at.value - cls) / at.error,
            (found.observed.value - crossing) / found.observed.error,
            *belt_and_end(experiment, outcomes, free, observed, points, t_own, t[:, 0]),
        )


@pytest.fixture(scope="module")
def pulls():
    return np.array([item for experiment in CASES for item in found_and_exact(experiment)])


@pytest.mark.parametrize(
    ("column", "name"), [(0, "CL_{s+b}"), (1, "CLs"), (2, "limit"), (3, "p of the belt"), (4, "upper end")]
)
def test_pulls_are_standard_normal(pulls, column, name):
    of = pulls[:, column]
    assert len(of) == 48, name
    assert abs(np.mean(of)) < 3.3 / np.sqrt(48)
    assert scipy.stats.chi2(48).cdf(np.sum(of**2)) == pytest.approx(0.5, abs=0.4995)
    assert scipy.stats.kstest(of, "norm").pvalue > 1e-3


def test_critical_values_are_the_enumerated_ones(pulls):
    """Of few counts t̃ takes few values, so that most intervals hold the exact one: at least as many as one sigma has."""
    assert np.mean(pulls[:, 5]) > 0.6827 - 3 * np.sqrt(0.6827 * 0.3173 / 48)


def ratio(statistic, experiment, mu, outcomes):
    """-2 ln of the likelihoods with and without signal, at gamma = 1 (LEP) or each at its conditional fit (Tevatron)."""
    found = []
    for value in (mu, 0.0):
        held = np.full(len(outcomes), float(value))
        gamma = np.ones(len(outcomes)) if statistic == "lep" else experiment.gamma(held, outcomes)
        found.append(experiment.nll(held, gamma, outcomes))
    return 2 * (found[0] - found[1])


@pytest.mark.parametrize("statistic", ["lep", "tevatron"])
def test_a_study_with_the_ratio_of_likelihoods(statistic, tmp_path):
    """Two bins and a measured background: CLs, the observed limit and the median one beside those of all outcomes."""
    observed, values = (3, 4, 5), np.array([1.2, 2.0, 2.7, 3.5, 4.5])
    outcomes, _ = outcomes_of(TWO_BINS)
    own = int(np.flatnonzero((outcomes == observed).all(axis=1))[0])
    exact_cls = []
    for mu in values:
        q = np.round(ratio(statistic, TWO_BINS, mu, outcomes), 6)
        order = np.argsort(q)
        tails = [np.cumsum(TWO_BINS.probability(truth, observed, outcomes)[order][::-1])[::-1] for truth in (mu, 0.0)]
        first = np.searchsorted(q[order], q)
        exact_cls.append(tails[0][first] / tails[1][first])
    z = z_of(np.array(exact_cls))
    exact_limit = np.array([np.interp(scipy.stats.norm.ppf(0.95), column, values) for column in z.T])

    spec = workspace_of(TWO_BINS)
    for item, data in zip(spec["observations"], (observed[:2], observed[2:]), strict=True):
        item["data"] = [float(count) for count in data]
    (tmp_path / "bins.json").write_text(json.dumps(spec))
    section = {"statistic": statistic, "values": values.tolist(), "toys": 4000, "background_toys": 8000}
    study = read_study({"study": "ratio", "model": str(tmp_path / "bins.json"), "limit": section})
    answer = finish(study, tmp_path)[2].answers.limit
    found = answer.toys
    assert (answer.statistic, found.why_unweighted) == (statistic, None)
    for k, point in enumerate(found.points):
        counted, weighted = point.observed, point.weighted
        assert abs(counted.value - exact_cls[k][own]) < 4 * (counted.error or 0.01)
        assert abs(weighted.cls - exact_cls[k][own]) < 4 * weighted.cls_error
    assert abs(found.observed.value - exact_limit[own]) < 4 * found.observed.error
    ranked = np.argsort(exact_limit)
    upto = np.cumsum(TWO_BINS.probability(0.0, observed, outcomes)[ranked])
    median, beside = found.expected["0"], [exact_limit[ranked][np.searchsorted(upto, at)] for at in (0.49, 0.51)]
    assert beside[0] - 4 * median.error < median.value < beside[1] + 4 * median.error
    if statistic == "lep":
        assert (answer.asymptotic, answer.verdict) == (None, None)
        assert "LEP has no asymptotic formula" in answer.why_no_asymptotic
    else:
        assert answer.asymptotic.observed.value == pytest.approx(found.observed.value, rel=0.2)


def test_the_enumeration_is_right():
    """The closed forms of a known background and of the on/off problem, and scipy's minimum of the two bins."""
    n = np.arange(20.0)[:, None]
    np.testing.assert_allclose(
        KNOWN.qtilde(3.0, n, KNOWN.free(n)), closed.known_background(3.0, n[:, 0], 4.0), atol=1e-9
    )
    pairs = np.array(list(itertools.product(range(12), range(1, 12))), dtype=float)
    unit = exact.Counts((1.0,), (1.0,), 2.0)  # n_off ~ Poisson(2 b)
    np.testing.assert_allclose(unit.qtilde(3.0, pairs, unit.free(pairs)), closed.onoff(3.0, *pairs.T, 2.0), atol=1e-8)
    row = np.array([[5.0, 2.0, 4.0]])
    best = scipy.optimize.minimize(lambda x: TWO_BINS.nll(x[:1], x[1:], row)[0], [1.0, 1.0], bounds=[(0, 9), (0.1, 9)])
    assert TWO_BINS.free(row)[0][0] == pytest.approx(best.fun, abs=1e-8)


def test_the_band_of_few_events():
    """With 5.5 events of background the limits of toys are those of whole counts: at -2 to 2 σ of 1, 3, 5, 8 and 11."""
    experiment = exact.Counts((1.0,), (5.5,))
    model, rng_of = model_of(experiment), [f"{mu}" for mu in range(20)]
    points = np.array([2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.5, 11.0, 12.5, 14.0])
    signal = [
        statistics(model, toymill.throw(model, [mu], 40_000, seed=9, stream=name), [mu])[0, 0]
        for mu, name in zip(points, rng_of, strict=False)
    ]
    background = statistics(model, toymill.throw(model, [0.0], 40_000, seed=9, stream="b"), points)[0]
    found = upper_limit(points, signal, background, None, tolerance=tie_tolerance()).expected
    for z in SIGMAS:
        limit, n = found[str(z)], int(scipy.stats.poisson.ppf(scipy.stats.norm.cdf(z), 5.5))
        right = float(np.interp(scipy.stats.norm.ppf(0.95), z_of(closed.exact_cls(points, n, 5.5)), points))
        assert limit.value == pytest.approx(right, abs=4 * limit.error)
        assert 0 < limit.error < 0.25
