"""A model of your own, as an example: the lifetime of decays seen in a window, on a clock with a calibration error.

config/studies/lifetime.yaml runs it; docs/python-models.md explains it line by line.
"""

import jax
import jax.numpy as jnp

import toymill


def build(decays=100, window=5.0, clock_error=0.02):
    """Times t_1 … t_n in [0, window], of density ∝ exp(-t / (clock · tau))."""

    def logpdf(params, times):
        tau, clock = params
        scale = clock * tau
        return jnp.sum(-times / scale - jnp.log(scale) - jnp.log1p(-jnp.exp(-window / scale)))

    def throw(key, params):
        tau, clock = params
        scale = clock * tau
        u = jax.random.uniform(key, (decays,))
        return -scale * jnp.log1p(u * jnp.expm1(-window / scale))

    parameters = {
        "tau": toymill.Parameter(1.5, bounds=(0.1, 50.0)),
        "clock": toymill.Parameter(1.0, bounds=(0.5, 1.5), constraint=toymill.NormalConstraint(clock_error)),
    }
    return toymill.define_model(parameters, poi="tau", logpdf=logpdf, throw=throw, name="time")
