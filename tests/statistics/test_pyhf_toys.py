"""Toys of pyhf and of hepstats beside ours: all throw each hypothesis at its conditional fit to the observed data.

For q_0 pyhf's toy calculator names the toys at μ = 0 the signal's, and throws the others at μ = 1.
"""

import warnings

import numpy as np
import pyhf
import pytest

import toymill
from toymill.inference.p_values import cls, tail, tie_tolerance

WORKSPACES = {
    "one bin": (pyhf.simplemodels.uncorrelated_background, ([8.0], [20.0], [4.0]), [22.0]),
    "two bins": (pyhf.simplemodels.uncorrelated_background, ([6.0, 4.0], [10.0, 14.0], [2.0, 3.0]), [11.0, 12.0]),
    "a shape": (
        pyhf.simplemodels.correlated_background,
        ([5.0, 6.0], [12.0, 10.0], [14.0, 11.0], [10.0, 9.0]),
        [13.0, 12.0],
    ),
}

HEPSTATS = {"one bin": (168, 607), "two bins": (59, 520), "a shape": (112, 734)}
"""How many of 1,000 toys with a signal and of 1,000 without lie beyond, by hepstats 0.10.1 and iminuit 2.

They are what ``python benchmarks/hepstats_toys.py --toys 1000`` printed.
"""


def both(name):
    """pyhf's model and data, and ours."""
    build, numbers, observed = WORKSPACES[name]
    theirs = build(*numbers)
    spec = {
        "channels": theirs.spec["channels"],
        "observations": [{"name": theirs.config.channels[0], "data": observed}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }
    return theirs, observed + theirs.config.auxdata, toymill.read_workspace(spec)


def ours(model, test, truths, toys):
    """q̃_μ, or q_0 for a test at 0, of toys of hypotheses at their conditional fits, and of the observed data."""
    found = []
    for k, mu in enumerate(truths):
        at = toymill.fit(model, model.observed, {"mu": mu}, covariance=False).parameters[0]
        found.append(toymill.test(model, toymill.throw(model, at, toys, seed=4, stream=f"{k}"), {"mu": test}))
    found.append(toymill.test(model, model.observed, {"mu": test}))
    return [item.qtilde_mu if test else item.q_0 for item in found]


def test_the_same_toys_have_the_same_p_values():
    """pyhf counts ties as beyond, and CLs is the ratio of both tails."""
    *samples, observed = ours(both("one bin")[2], 1.0, (1.0, 0.0), 4000)
    samples = [np.round(sample, 6) for sample in samples]
    q = float(samples[0][np.argmin(np.abs(samples[0] - observed[0]))])  # one that is in the sample
    pyhf.set_backend("numpy")
    signal, background = (pyhf.infer.calculators.EmpiricalDistribution(sample) for sample in samples)
    found = cls(*samples, q)
    assert found.clsb.value == pytest.approx(float(signal.pvalue(q)))
    assert found.value == pytest.approx(float(signal.pvalue(q) / background.pvalue(q)))
    assert np.count_nonzero(samples[0] == q) > 0


@pytest.mark.long
@pytest.mark.parametrize(("name", "test"), [*((name, 1.0) for name in WORKSPACES), ("a shape", 0.0)])
def test_pyhfs_toy_calculator(name, test):
    """CLs, and p_0, of pyhf's own toys and fits: within 3.5 errors, which chance exceeds once in 700 of seven numbers."""
    theirs, data, model = both(name)
    pyhf.set_backend("numpy")
    np.random.seed(5)  # noqa: NPY002  (pyhf draws from it)
    calculator = pyhf.infer.calculators.ToyCalculator(
        data, theirs, ntoys=400, test_stat="qtilde" if test else "q0", track_progress=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of logarithms of zero on the way of its fits
        signal, background = (item.samples for item in calculator.distributions(test))
        observed = float(calculator.teststatistic(test))
    *samples, q = ours(model, test, (test, 0.0 if test else 1.0), 20_000)
    assert observed == pytest.approx(q[0], abs=2e-4)
    pairs = zip((signal, background), samples, strict=True)
    for theirs_at, ours_at in pairs:
        p, n = tail(ours_at, q[0], tie_tolerance()), len(theirs_at)
        counted = np.count_nonzero(theirs_at >= observed - 1e-3) / n
        assert abs(counted - p.value) < 3.5 * np.sqrt(p.value * (1 - p.value) * (1 / n + 1 / p.toys))
    if test:
        peer, found = cls(signal, background, observed, 1e-3), cls(*samples, q[0], tie_tolerance())
        assert abs(peer.value - found.value) < 3.5 * np.hypot(peer.error, found.error)


@pytest.mark.parametrize(
    "name", [name if name == "one bin" else pytest.param(name, marks=pytest.mark.long) for name in HEPSTATS]
)
def test_hepstats(name):
    """CL_{s+b}, CL_b and CLs at μ = 1 of hepstats' toys: within 3.5 errors, which chance exceeds once in 240 of nine numbers."""
    *samples, q = ours(both(name)[2], 1.0, (1.0, 0.0), 20_000)
    found = cls(*samples, q[0], tie_tolerance())
    above, below = HEPSTATS[name]
    peer = cls(*(np.arange(1000) < count for count in (above, below)), 1.0)
    for p, theirs in ((found.clsb, peer.clsb), (found.clb, peer.clb)):
        assert abs(theirs.value - p.value) < 3.5 * np.sqrt(p.value * (1 - p.value) * (1 / theirs.toys + 1 / p.toys))
    assert abs(peer.value - found.value) < 3.5 * np.hypot(peer.error, found.error)
