"""n_on ~ Poisson(s + b), n_off ~ Poisson(τb): published p-values and distributions, every outcome enumerated and fitted."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
from builders import on_off

import toymill
from toymill.inference.p_values import tie_tolerance

BEYOND = [0.25, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0]


@pytest.mark.parametrize(("on", "off", "tau", "z"), [(4, 5, 5.0, 1.664), (50, 55, 2.0, 2.933)])
def test_the_binomial_significance(on, off, tau, z):
    """Z_Bi of Cousins, Linnemann and Tucker, physics/0702156, table 1 and eq. 14.

    Of toys with the observed sum N of both counts, n_on is binomial with 1/(1 + τ) whatever b is. Among these q_0 is in
    the order of n_on, so that P(q_0 ≥ q_obs | N) is the incomplete beta function of Z_Bi.
    """
    n = np.arange(on + off + 1.0)
    model = toymill.read_workspace(on_off(tau, [on, off]))
    result = toymill.test(model, np.stack([n, on + off - n], axis=1), {"mu": 0.0})
    assert (result.free.ok & result.conditional.ok).all()
    beyond = result.q_0 >= result.q_0[on] - tie_tolerance(result.free.nll)
    p = scipy.stats.binom.pmf(n, on + off, 1 / (1 + tau))[beyond].sum()
    assert p == pytest.approx(scipy.special.betainc(on, off + 1, 1 / (1 + tau)), rel=1e-12)
    assert scipy.stats.norm.isf(p) == pytest.approx(z, abs=5e-4)


@pytest.fixture(scope="module")
def outcomes():
    """All (n_on, n_off) that have a part of the probability for s = 6, b = 9, τ = 1, tested at s = 0 and at s = 6."""
    data = np.stack(np.meshgrid(np.arange(56.0), np.arange(41.0), indexing="ij"), axis=-1).reshape(-1, 2)
    model = toymill.read_workspace(on_off(1.0, [15, 9], low=-60.0))
    return model, data, toymill.test(model, data, {"mu": 0.0}).q_0, toymill.test(model, data, {"mu": 6.0}).q_mu


@pytest.mark.parametrize("truth", [0.0, 6.0])
def test_the_distributions_of_q_0_and_q_1(outcomes, truth):
    """CCGV, arXiv:1007.1727, figures 4 and 5: s = 6, b = 9, τ = 1.

    P(q ≥ c) is Φ(√Λ - √c) with Λ that of the Asimov dataset, and Λ = 0 for the tested hypothesis (eqs. 50 and 57). At
    these counts q takes few values: in between, the exact distribution is within 0.025 of the asymptotic one.
    """
    model, data, q_0, q_1 = outcomes
    probability = np.prod(scipy.stats.poisson.pmf(data, [truth + 9, 9]), axis=1)
    assert probability.sum() == pytest.approx(1, abs=1e-12)
    asimov = [[truth + 9, 9.0]]
    for q, tested in ((q_0, 0.0), (q_1, 6.0)):
        shift = np.sqrt(toymill.test(model, asimov, {"mu": tested}).t_mu[0])
        exact = np.array([probability[q >= value - 1e-6].sum() for value in BEYOND])
        np.testing.assert_allclose(exact, scipy.stats.norm.sf(np.sqrt(BEYOND) - shift), atol=0.025)
        assert (shift < 1e-3) == (truth == tested)
