"""Counting experiments whose test statistics have closed forms, and their exact p-values and limits."""

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats

from toymill.inference.samples import LogRatios

POINTS_OF_GAUSS = np.array([0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0])
"""Tested values of ``gauss``, in standard deviations."""


def _poisson_nll(n, mean):
    return mean - scipy.special.xlogy(n, mean)


def known_background(mu, n, b):
    """q̃_μ of a count n ~ Poisson(μ + b): 0 for n ≥ μ + b; μ̂ = n - b is kept above 0 (CCGV eq. 16)."""
    best = np.maximum(n, b)
    return np.where(n < mu + b, 2 * (_poisson_nll(n, mu + b) - _poisson_nll(n, best)), 0.0)


def exact_cls(mu, n, b):
    """CLs, where q̃_μ ≥ its observed value means no more events than observed."""
    return scipy.stats.poisson.cdf(n, mu + b) / scipy.stats.poisson.cdf(n, b)


def exact_limit(n, b, level=0.95):
    """The CLs upper limit."""
    return scipy.optimize.brentq(lambda mu: exact_cls(mu, n, b) - (1 - level), 1e-3, 100.0)


def onoff_background(mu, on, off, tau):
    """The conditional estimate of b with n_on ~ Poisson(μ + b), n_off ~ Poisson(τb): the root of a quadratic."""
    half = (on + off - (1 + tau) * mu) / (2 * (1 + tau))
    return half + np.sqrt(half**2 + off * mu / (1 + tau))


def onoff(mu, on, off, tau):
    """q̃_μ of the on/off problem."""

    def nll(signal, background):
        return _poisson_nll(on, signal + background) + _poisson_nll(off, tau * background)

    best = np.maximum(on - off / tau, 0.0)
    free = nll(best, np.where(best > 0, off / tau, (on + off) / (1 + tau)))
    return np.where(best < mu, np.maximum(2 * (nll(mu, onoff_background(mu, on, off, tau)) - free), 0.0), 0.0)


def gauss(mu, x):
    """q_μ of one normal measurement x of unit width (CCGV eq. 14)."""
    return np.where(x < mu, (mu - x) ** 2, 0.0)


def gauss_limit(x, level=0.95):
    """Its CLs upper limit: Φ(x - μ) = (1 - level) Φ(x)."""
    return x + scipy.stats.norm.isf((1 - level) * scipy.stats.norm.cdf(x))


def gauss_toys(rng, signal, background, points=POINTS_OF_GAUSS):
    """q_μ of toys: a sample thrown at each point, and background-only toys."""
    thrown = rng.normal(size=(len(points), signal)) + points[:, None]
    return [gauss(mu, x) for mu, x in zip(points, thrown, strict=True)], gauss(
        points[:, None], rng.normal(size=background)
    )


def unified(mu, n, b):
    """t_μ of a count n ~ Poisson(μ + b), μ̂ kept above 0: the ordering of Feldman and Cousins, physics/9711021."""
    return 2 * (_poisson_nll(n, mu + b) - _poisson_nll(n, np.maximum(n, b)))


def unified_p(mu, n, b):
    """P(t_μ ≥ its observed value) at each μ, by enumeration of counts up to 199."""
    counts = np.arange(200)
    mu = np.atleast_1d(mu)[:, None]
    beyond = unified(mu, counts, b) >= unified(mu, n, b) - 1e-9
    return np.sum(scipy.stats.poisson.pmf(counts, mu + b) * beyond, axis=1)


def unified_gauss(mu, x):
    """t_μ of one normal measurement x of unit width, μ̂ kept above 0."""
    return (x - mu) ** 2 - np.minimum(x, 0) ** 2


def unified_gauss_p(mu, x):
    """Its exact p-value: where the likelihood ratio is as small as that of x, on either side."""
    t = unified_gauss(mu, x)
    below = np.where(t <= mu**2, mu - np.sqrt(t), (mu**2 - t) / (2 * np.maximum(mu, 1e-300)))
    return scipy.stats.norm.sf(np.sqrt(t)) + scipy.stats.norm.cdf(below - mu)


def unified_onoff(mu, on, off, tau):
    """t_μ of the on/off problem, μ̂ kept above 0."""

    def nll(signal, background):
        return _poisson_nll(on, signal + background) + _poisson_nll(off, tau * background)

    best = np.maximum(on - off / tau, 0.0)
    free = nll(best, np.where(best > 0, off / tau, (on + off) / (1 + tau)))
    return np.maximum(2 * (nll(mu, onoff_background(mu, on, off, tau)) - free), 0.0)


def unified_onoff_p(mu, on, off, tau, most=120):
    """Its exact p-value with b at its conditional estimate, by enumeration."""
    return unified_onoff_p_at(mu, onoff_background(mu, on, off, tau), on, off, tau, most)


def unified_onoff_p_at(mu, b, on, off, tau, most=120):
    """The same with b given."""
    n_on, n_off = np.meshgrid(np.arange(most), np.arange(most), indexing="ij")
    probability = scipy.stats.poisson.pmf(n_on, mu + b) * scipy.stats.poisson.pmf(n_off, tau * b)
    return float(np.sum(probability[unified_onoff(mu, n_on, n_off, tau) >= unified_onoff(mu, on, off, tau) - 1e-9]))


def gauss_weighted(rng, signal, background, points=POINTS_OF_GAUSS, width=1.0):
    """``gauss_toys``, and ln f_k/f_0 of each of them, for a unit width whatever their own."""
    mu = points[:, None]
    thrown = [width * rng.normal(size=(len(points), signal)) + mu, width * rng.normal(size=background)]
    log_ratios = LogRatios(*(mu * x - mu**2 / 2 for x in thrown))
    return list(gauss(mu, thrown[0])), gauss(mu, thrown[1]), log_ratios
