"""toymill: statistical toy studies, every fit certified.

The names below are the public interface; each is imported when it is first used, so that reading a
configuration does not load JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

from toymill._version import __version__ as __version__

if TYPE_CHECKING:
    from toymill.errors import ToymillError as ToymillError
    from toymill.errors import ToymillWarning as ToymillWarning
    from toymill.fitting.conditional import fit_tests as fit_tests
    from toymill.fitting.fit import fit as fit
    from toymill.fitting.intervals import EndStatus as EndStatus
    from toymill.fitting.intervals import Intervals as Intervals
    from toymill.fitting.intervals import profile_interval as profile_interval
    from toymill.fitting.results import Fits as Fits
    from toymill.fitting.status import Status as Status
    from toymill.histfactory.model import read_workspace as read_workspace
    from toymill.inference.information import derivatives as derivatives
    from toymill.inference.likelihood_ratios import lep_ratio as lep_ratio
    from toymill.inference.likelihood_ratios import q_0 as q_0
    from toymill.inference.likelihood_ratios import q_mu as q_mu
    from toymill.inference.likelihood_ratios import qtilde_mu as qtilde_mu
    from toymill.inference.likelihood_ratios import t_mu as t_mu
    from toymill.inference.likelihood_ratios import tevatron_ratio as tevatron_ratio
    from toymill.inference.likelihood_ratios import ttilde_mu as ttilde_mu
    from toymill.inference.testing import Ratios as Ratios
    from toymill.inference.testing import test as test
    from toymill.models.base import Model as Model
    from toymill.models.check import check_model as check_model
    from toymill.models.load import load_model as load_model
    from toymill.models.user import NormalConstraint as NormalConstraint
    from toymill.models.user import Parameter as Parameter
    from toymill.models.user import PoissonConstraint as PoissonConstraint
    from toymill.models.user import define_model as define_model
    from toymill.parameters import Parameters as Parameters
    from toymill.results.opened import Results as Results
    from toymill.results.opened import open_results as open_results
    from toymill.toys import throw as throw

_HOMES = {
    "EndStatus": "toymill.fitting.intervals",
    "Fits": "toymill.fitting.results",
    "Intervals": "toymill.fitting.intervals",
    "Model": "toymill.models.base",
    "NormalConstraint": "toymill.models.user",
    "Parameter": "toymill.models.user",
    "Parameters": "toymill.parameters",
    "PoissonConstraint": "toymill.models.user",
    "Ratios": "toymill.inference.testing",
    "Results": "toymill.results.opened",
    "Status": "toymill.fitting.status",
    "ToymillError": "toymill.errors",
    "ToymillWarning": "toymill.errors",
    "check_model": "toymill.models.check",
    "define_model": "toymill.models.user",
    "derivatives": "toymill.inference.information",
    "fit": "toymill.fitting.fit",
    "fit_tests": "toymill.fitting.conditional",
    "lep_ratio": "toymill.inference.likelihood_ratios",
    "load_model": "toymill.models.load",
    "open_results": "toymill.results.opened",
    "profile_interval": "toymill.fitting.intervals",
    "q_0": "toymill.inference.likelihood_ratios",
    "q_mu": "toymill.inference.likelihood_ratios",
    "qtilde_mu": "toymill.inference.likelihood_ratios",
    "read_workspace": "toymill.histfactory.model",
    "t_mu": "toymill.inference.likelihood_ratios",
    "test": "toymill.inference.testing",
    "tevatron_ratio": "toymill.inference.likelihood_ratios",
    "throw": "toymill.toys",
    "ttilde_mu": "toymill.inference.likelihood_ratios",
}

__all__ = [
    "EndStatus",
    "Fits",
    "Intervals",
    "Model",
    "NormalConstraint",
    "Parameter",
    "Parameters",
    "PoissonConstraint",
    "Ratios",
    "Results",
    "Status",
    "ToymillError",
    "ToymillWarning",
    "check_model",
    "define_model",
    "derivatives",
    "fit",
    "fit_tests",
    "lep_ratio",
    "load_model",
    "open_results",
    "profile_interval",
    "q_0",
    "q_mu",
    "qtilde_mu",
    "read_workspace",
    "t_mu",
    "test",
    "tevatron_ratio",
    "throw",
    "ttilde_mu",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    msg = f"module 'toymill' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
