"""Verdicts, coverage, covariances and audits: pure functions of what was counted, without a likelihood."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.stats

from toymill.inference.agreement import histogram, verdict, zeros
from toymill.inference.asymptotics import asymptotic_quantile, expected_counts
from toymill.inference.audit import summarize_audit
from toymill.inference.counting import Distribution
from toymill.inference.covariance import covariance_of_sums, efficiencies
from toymill.inference.coverage import coverage
from toymill.inference.discovery import discovery


def chi2_cdf(t):
    return scipy.stats.chi2.cdf(np.asarray(t, dtype=float), 1)


@pytest.mark.parametrize(
    ("stretch", "size", "agrees", "words"),
    [(1.0, 20000, True, "may be trusted"), (1.15, 20000, False, "is off"), (1.0, 100, None, "About 7600 toys")],
)
def test_verdict(stretch, size, agrees, words):
    t = stretch * np.random.default_rng(5).chisquare(1, size)
    found = verdict(Distribution.of(t), chi2_cdf)
    assert found.agrees is agrees
    assert words in found.sentence
    assert (found.ks_p_value < 1e-3) is (agrees is False)


def test_verdict_is_seldom_wrong():
    rng = np.random.default_rng(6)
    wrong = [verdict(Distribution.of(rng.chisquare(1, 1000)), chi2_cdf).agrees is False for _ in range(400)]
    assert np.mean(wrong) < 0.01


def test_verdict_of_toys_at_zero_and_of_discrete_toys():
    def half_cdf(t):
        return np.where(np.asarray(t) < 0, 0.0, 0.5 + 0.5 * chi2_cdf(t))

    rng = np.random.default_rng(7)
    t = np.where(rng.random(20000) < 0.5, 0.0, rng.chisquare(1, 20000))
    found = verdict(Distribution.of(t), half_cdf)
    assert found.agrees is True
    assert found.ks_p_value > 1e-3
    assert found.at_zero == pytest.approx(0.5, abs=0.02)
    assert found.at_zero_asymptotic == pytest.approx(0.5)
    edges = np.linspace(0, 18, 51)
    assert sum(expected_counts(20000, edges, half_cdf)) == pytest.approx(20000, rel=1e-4)
    assert verdict(Distribution.of(np.round(t, 1)), half_cdf).ks_p_value is None
    assert verdict(Distribution.of(np.zeros(50)), half_cdf).at_zero == 1.0
    assert verdict(Distribution.of(t), None).agrees is None


def test_asymptotic_quantiles():
    for level in (0.683, 0.95):
        assert asymptotic_quantile(level, chi2_cdf) == pytest.approx(scipy.stats.chi2.ppf(level, 1), rel=1e-9)
    assert asymptotic_quantile(0.4, lambda t: 0.5 + 0.5 * chi2_cdf(t)) == 0.0


def test_the_histogram_holds_every_toy():
    t = Distribution.of(np.array([0.0, 0.0, 0.5, 17.0, 40.0]))
    found = histogram(t, 0.0, None)
    assert (sum(found.counts), found.underflow, found.overflow, found.asymptotic) == (4, 0, 1, None)
    assert (found.edges[0], found.edges[-1], len(found.counts)) == (0.0, 18.0, 50)
    assert zeros(t) == 2


def test_coverage_with_failed_toys():
    found = coverage([0.683], [60], certified=90, failed=10, without=3)["0.683"]
    assert found.coverage == pytest.approx(60 / 90)
    assert (found.if_failed_miss, found.if_failed_cover, found.without_interval) == (0.6, 0.7, 3)
    assert coverage([0.683], [0], certified=0, failed=10, without=0)["0.683"].coverage is None


def test_discovery_with_failed_toys():
    items = discovery(Distribution.of(np.array([0.0, 1.1, 4.5, 30.0])), failed=1)
    assert [item.beyond for item in items] == [3, 2, 1, 1, 1]
    assert (items[0].p_value, items[0].if_failed_below, items[0].if_failed_beyond) == (0.75, 0.6, 0.8)
    assert items[1].asymptotic == pytest.approx(scipy.stats.norm.sf(2))
    assert items[1].significance == pytest.approx(0.0, abs=1e-12)


def test_covariance_of_sums_and_its_error():
    """NumPy's covariance; over 1,000 samples of 300, its spread is what its error says."""
    rng = np.random.default_rng(9)
    found, errors = [], []
    for _ in range(1000):
        d = rng.exponential(size=(300, 2)) @ np.array([[1.0, 0.5], [0.0, 2.0]])
        squared = d**2
        covariance = covariance_of_sums(300, d.sum(axis=0), d.T @ d, squared.T @ d, squared.T @ squared)
        np.testing.assert_allclose(covariance.value, np.cov(d.T), rtol=1e-10)
        found.append(covariance.value)
        errors.append(covariance.error)
    np.testing.assert_allclose(np.mean(errors, axis=0), np.std(found, axis=0), rtol=0.1)
    nothing = covariance_of_sums(1, np.ones(1), *[np.ones((1, 1))] * 3)
    assert np.isnan(nothing.value).all()


def test_efficiency_is_the_bound_over_the_variance():
    covariance = covariance_of_sums(2, np.zeros(1), np.full((1, 1), 4.0), np.zeros((1, 1)), np.full((1, 1), 32.0))
    (item,) = efficiencies([[2.0]], covariance, comparable=True)
    assert (item.variance, item.efficiency) == (4.0, 0.5)
    assert item.efficiency_error == pytest.approx(0.5 * item.variance_error / 4.0)
    assert efficiencies([[2.0]], covariance, comparable=False)[0].efficiency is None
    assert efficiencies(None, covariance, comparable=True)[0].bound is None


def test_an_audit_without_a_valid_fit_has_no_difference():
    found = summarize_audit(np.zeros((2, 2)), np.zeros(2), np.zeros(2, dtype=bool), 1e-4)
    assert (found.toys, found.minuit_invalid, found.poi_difference) == (2, 2, None)


WITHOUT_JAX = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
sys.exit(f"jax came with {sys.argv[1:]}" if "jax" in sys.modules else 0)
"""


def test_what_evaluates_no_likelihood_imports_no_jax(root):
    """Nor a minimiser: stored fits are read, counted, summarised and drawn where there is none."""
    folders = ("results", "inference", "report")
    paths = [path for folder in folders for path in (root / "src/toymill" / folder).glob("*.py")]
    evaluate = ("__init__", "information", "misfit", "global_impacts", "shifts", "testing")
    names = [f"toymill.{path.parent.name}.{path.stem}" for path in paths if path.stem not in evaluate]
    names += ["toymill.config.dependencies", "toymill.study.failures"]
    done = subprocess.run([sys.executable, "-c", WITHOUT_JAX, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
