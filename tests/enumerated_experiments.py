"""Counting experiments with a nuisance parameter whose outcomes are all enumerated, fitted and counted without the engine."""

from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats


def _poisson_nll(n, mean):
    return mean - scipy.special.xlogy(n, mean)


class Lognormal(NamedTuple):
    """A count n ~ Poisson(μ κ_s^θ + b κ_b^θ) whose θ is measured once as a, a normal number of unit width."""

    b: float
    of_signal: float = 1.0
    of_background: float = 1.0

    def mean(self, mu, theta):
        return mu * self.of_signal**theta + self.b * self.of_background**theta

    def profiled(self, mu, n, a):
        """The nll with μ held and its θ, by Newton's method in steps of one at most."""
        slopes = np.log(self.of_signal), np.log(self.of_background)
        theta = a + np.zeros(np.shape(n))
        for _ in range(60):
            parts = mu * self.of_signal**theta, self.b * self.of_background**theta
            mean = parts[0] + parts[1]
            first = slopes[0] * parts[0] + slopes[1] * parts[1]
            second = slopes[0] ** 2 * parts[0] + slopes[1] ** 2 * parts[1]
            curvature = np.maximum(second * (1 - n / mean), 0) + n * (first / mean) ** 2 + 1
            step = np.clip((first * (1 - n / mean) + theta - a) / curvature, -1, 1)
            theta = theta - step
            if np.max(np.abs(step)) < 1e-10:
                break
        return _poisson_nll(n, self.mean(mu, theta)) + (theta - a) ** 2 / 2, theta

    def qtilde(self, mu, n, a):
        """q̃_μ: where μ̂ is positive the free fit has θ = a, and expects n."""
        estimate = (n - self.b * self.of_background**a) / self.of_signal**a
        free = np.where(estimate > 0, _poisson_nll(n, np.maximum(n, 1e-300)), self.profiled(0.0, n, a)[0])
        return np.where(estimate < mu, np.maximum(2 * (self.profiled(mu, n, a)[0] - free), 0.0), 0.0)

    def tails(self, mu, n, cells=2001):
        """CL_{s+b} and CL_b of n and a = 0 observed, each hypothesis at its conditional fit, right to 1/(4 cells)."""
        normal = scipy.stats.norm.ppf((np.arange(cells) + 0.5) / cells)
        found = []
        for truth in (mu, 0.0):
            theta = float(self.profiled(truth, np.float64(n), 0.0)[1])
            mean = self.mean(truth, theta)
            counts = np.arange(scipy.stats.poisson.ppf(1e-7, mean), scipy.stats.poisson.ppf(1 - 1e-7, mean) + 1)
            q = self.qtilde(mu, *np.meshgrid(counts, normal + theta, indexing="ij"))
            beyond = np.mean(q >= self.qtilde(mu, np.float64(n), 0.0) - 1e-9, axis=1)
            found.append(float(np.sum(beyond * scipy.stats.poisson.pmf(counts, mean))))
        return tuple(found)

    def hybrid_tails(self, mu, n, cells=20001):
        """The same where θ is drawn, and any statistic that falls with the count: P(count ≤ n)."""
        theta = scipy.stats.norm.ppf((np.arange(cells) + 0.5) / cells)
        return tuple(float(np.mean(scipy.stats.poisson.cdf(n, self.mean(truth, theta)))) for truth in (mu, 0.0))


def limit_of_tails(tails, low, high, level=0.95):
    """Where CLs of (CL_{s+b}, CL_b), a function of μ, is 1 - level."""
    return scipy.optimize.brentq(lambda mu: tails(mu)[0] / tails(mu)[1] - (1 - level), low, high, xtol=1e-3)


class Counts(NamedTuple):
    """Counts n_i ~ Poisson(μ s_i + γ b_i), and m ~ Poisson(γ τ) that measures γ; without τ, γ is 1.

    Outcomes have the last axis of n_1, …, n_k, and m if there is a τ. The nll is convex in (μ, γ), so that derivatives
    are halved to their zeros.
    """

    signal: tuple[float, ...]
    background: tuple[float, ...]
    tau: float | None = None

    def mean(self, mu, gamma):
        """Expectations of the outcomes, for μ and γ of one shape."""
        parts = [mu * s + gamma * b for s, b in zip(self.signal, self.background, strict=True)]
        return np.stack(parts if self.tau is None else [*parts, gamma * self.tau], axis=-1)

    def nll(self, mu, gamma, outcomes):
        return np.sum(_poisson_nll(outcomes, self.mean(mu, gamma)), axis=-1)

    def gamma(self, mu, outcomes):
        """The conditional estimate of γ at values of μ, one for each outcome."""
        if self.tau is None:
            return np.ones(np.shape(mu))
        rates = np.array([*self.background, self.tau])

        def slope(gamma):
            return np.sum(rates * (1 - outcomes / self.mean(mu, gamma)), axis=-1)

        return _zero(slope, np.full(np.shape(mu), 1e-9), np.sum(outcomes, axis=-1) / self.tau + 1)

    def free(self, outcomes):
        """The nll of the free fit, with μ̂ ≥ 0, and μ̂."""
        rates = np.array([*self.signal, *([] if self.tau is None else [0.0])])

        def slope(mu):
            return np.sum(rates * (1 - outcomes / self.mean(mu, self.gamma(mu, outcomes))), axis=-1)

        best = _zero(slope, np.zeros(outcomes.shape[:-1]), np.sum(outcomes, axis=-1) / min(self.signal) + 1)
        return self.nll(best, self.gamma(best, outcomes), outcomes), best

    def t(self, mu, outcomes, free):
        """t̃_μ of outcomes, of which ``free`` is given: the ordering of Feldman and Cousins."""
        held = np.full(outcomes.shape[:-1], float(mu))
        return np.maximum(2 * (self.nll(held, self.gamma(held, outcomes), outcomes) - free[0]), 0.0)

    def qtilde(self, mu, outcomes, free):
        """q̃_μ of outcomes."""
        return np.where(free[1] < mu, self.t(mu, outcomes, free), 0.0)

    def probability(self, mu, observed, outcomes):
        """Probabilities of outcomes of a hypothesis at its conditional fit to the observed data."""
        held = np.array([float(mu)])
        mean = self.mean(held, self.gamma(held, np.array([observed], dtype=float)))
        return np.prod(scipy.stats.poisson.pmf(outcomes, mean), axis=-1)


def _zero(slope, low, high, steps=28):
    """Where a rising function is zero, or its lower end; of arrays."""
    for _ in range(steps):
        half = (low + high) / 2
        below = slope(half) < 0
        low, high = np.where(below, half, low), np.where(below, high, half)
    return low
