"""CLs of hepstats' toys beside ours: the same workspaces, observed data and convention. Run it where hepstats is installed.

    pip install hepstats==0.10.1
    python benchmarks/hepstats_toys.py --toys 1000

hepstats asks for parameters, models, data, losses and a minimiser with zfit's methods. Here they are pyhf's likelihood and
iminuit, so that neither the densities nor the fits are toymill's. It throws main and auxiliary data of each hypothesis at
its conditional fit to the observed data, as toymill does.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import iminuit
import jax
import numpy as np
import pyhf
from hepstats.hypotests.calculators import FrequentistCalculator
from hepstats.hypotests.parameters import POI, POIarray

from toymill.inference.p_values import cls, tie_tolerance

sys.path.insert(0, str(Path(__file__).parent.parent / "tests/statistics"))
from test_pyhf_toys import WORKSPACES, both, ours


class Parameter:
    """A parameter with zfit's methods."""

    def __init__(self, name, init):
        self.name, self.floating, self._value = name, True, init

    def value(self):
        """Its value."""
        return self._value

    def set_value(self, value):
        """Set it; what is returned sets it back at the end of a context."""
        before, self._value = self._value, float(value)
        return contextlib.ExitStack() if before is None else _set_back(self, before)


@contextlib.contextmanager
def _set_back(parameter, before):
    yield
    parameter._value = before


class Data:
    """One dataset, main and auxiliary; it throws itself anew at the values that its model had when it was made."""

    weights = set_weights = space = None

    def __init__(self, model, values):
        self.model, self.values, self.nevents = model, np.asarray(values, dtype=float), 1
        self.params = {item.name: item.value() for item in model.parameters}

    def resample(self, param_values):
        """Throw it anew, with other values of some parameters."""
        at = self.params | {item.name: value for item, value in param_values.items()}
        expected = self.model.likelihood.expected_data([at[item.name] for item in self.model.parameters])
        counts = self.model.rng.poisson(np.where(self.model.counts, expected, 0.0))
        normal = expected + self.model.widths * self.model.rng.normal(size=len(expected))
        self.values = np.where(self.model.counts, counts, normal)


class Likelihood:
    """pyhf's likelihood with the methods of a density."""

    is_extended = False
    pdf = integrate = sample = space = get_yield = None

    def __init__(self, likelihood, seed):
        self.likelihood, self.rng = likelihood, np.random.default_rng(seed)
        names, inits = likelihood.config.par_names, likelihood.config.suggested_init()
        self.parameters = [Parameter(name, init) for name, init in zip(names, inits, strict=True)]
        kinds, widths = [], []
        for name in likelihood.config.auxdata_order:
            about = likelihood.config.param_set(name)
            kinds += [about.pdf_type == "poisson"] * about.n_parameters
            widths += [0.0] * about.n_parameters if about.pdf_type == "poisson" else list(about.width())
        main = likelihood.config.nmaindata
        self.counts = np.array([True] * main + kinds)
        self.widths = np.array([0.0] * main + widths)

    def get_params(self):
        """Its parameters."""
        return self.parameters

    def create_sampler(self, n):
        """A dataset at the present values of its parameters."""
        del n
        return Data(self, self.likelihood.expected_data([item.value() for item in self.parameters]))


class Loss:
    """Its negative logarithm."""

    constraints = None

    def __init__(self, model, data):
        self.model, self.data = list(model), list(data)

    def create_new(self, model, data, constraints=None):
        """The same of other data."""
        del constraints
        return Loss(model, data)

    def get_params(self):
        """The parameters of its model."""
        return self.model[0].parameters

    def at(self, values):
        """The nll at values of all parameters."""
        return -float(self.model[0].likelihood.logpdf(values, self.data[0].values)[0])

    def value(self):
        """The nll at the present values."""
        return self.at([item.value() for item in self.get_params()])


class Minimizer:
    """iminuit, whose minimum is left in the parameters."""

    verbosity = 0

    def minimize(self, loss):
        """The fit of the parameters that float."""
        parameters = loss.get_params()
        minuit = iminuit.Minuit(loss.at, np.array([item.value() for item in parameters]))
        minuit.errordef, minuit.limits = 0.5, loss.model[0].likelihood.config.suggested_bounds()
        minuit.fixed = [not item.floating for item in parameters]
        minuit.migrad()
        for item, value in zip(parameters, minuit.values, strict=True):
            item.set_value(value)
        found = {item: {"value": value} for item, value in zip(parameters, minuit.values, strict=True)}
        return SimpleNamespace(
            loss=loss, params=found, covariance=None, valid=minuit.valid, converged=minuit.valid, fmin=minuit.fval
        )


def beyond(name, toys):
    """(CL_{s+b}, CL_b) of hepstats at μ = 1: with ``toys`` of each hypothesis."""
    theirs, data, _ = both(name)
    model = Likelihood(theirs, seed=1)
    poi = model.parameters[theirs.config.poi_index]
    calculator = FrequentistCalculator(Loss([model], [Data(model, data)]), Minimizer(), ntoysnull=toys, ntoysalt=toys)
    with contextlib.redirect_stderr(io.StringIO()):
        null, alternative = calculator.pvalue(POIarray(poi, [1.0]), POI(poi, 0.0), qtilde=True)
    return float(null[0]), float(alternative[0])


def main():
    """Print a row for each workspace."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toys", type=int, default=1000, help="of each hypothesis by hepstats; toymill throws 20,000")
    toys = parser.parse_args().toys
    jax.config.update("jax_enable_x64", True)
    pyhf.set_backend("numpy")
    print("| workspace | toys | CL_{s+b} | CL_b | CLs of hepstats | CLs of toymill | distance |")
    print("|---|---|---|---|---|---|---|")
    for name in WORKSPACES:
        above, below = beyond(name, toys)
        value = above / below
        error = np.sqrt(above * (1 - above) + value**2 * below * (1 - below)) / below / np.sqrt(toys)
        *samples, q = ours(both(name)[2], 1.0, (1.0, 0.0), 20_000)
        found = cls(*samples, q[0], tie_tolerance())
        away = (value - found.value) / np.hypot(error, found.error)
        told = f"{value:.4f} ± {error:.4f} | {found.value:.4f} ± {found.error:.4f} | {away:+.1f} σ"
        print(f"| {name} | {toys} | {above:.4f} | {below:.4f} | {told} |", flush=True)


if __name__ == "__main__":
    main()
