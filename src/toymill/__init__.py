"""toymill: statistical toy studies, every fit certified.

The names below are the public interface; each is imported when it is first used, so that reading a
configuration does not load JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from toymill.errors import ToymillError as ToymillError
    from toymill.fits import Fits as Fits
    from toymill.information import derivatives as derivatives
    from toymill.intervals import EndStatus as EndStatus
    from toymill.intervals import Intervals as Intervals
    from toymill.intervals import profile_interval as profile_interval
    from toymill.likelihood import fit as fit
    from toymill.likelihood import fit_tests as fit_tests
    from toymill.minimize import Status as Status
    from toymill.models.base import Model as Model
    from toymill.models.histfactory import read_workspace as read_workspace
    from toymill.models.load import check_model as check_model
    from toymill.models.load import load_model as load_model
    from toymill.models.user import NormalConstraint as NormalConstraint
    from toymill.models.user import Parameter as Parameter
    from toymill.models.user import PoissonConstraint as PoissonConstraint
    from toymill.models.user import define_model as define_model
    from toymill.parameters import Parameters as Parameters
    from toymill.statistics import q_0 as q_0
    from toymill.statistics import q_mu as q_mu
    from toymill.statistics import qtilde_mu as qtilde_mu
    from toymill.statistics import t_mu as t_mu
    from toymill.statistics import ttilde_mu as ttilde_mu
    from toymill.toys import throw as throw

__version__ = "0.1.0"

_HOMES = {
    "EndStatus": "toymill.intervals",
    "Fits": "toymill.fits",
    "Intervals": "toymill.intervals",
    "Model": "toymill.models.base",
    "NormalConstraint": "toymill.models.user",
    "Parameter": "toymill.models.user",
    "Parameters": "toymill.parameters",
    "PoissonConstraint": "toymill.models.user",
    "Status": "toymill.minimize",
    "ToymillError": "toymill.errors",
    "check_model": "toymill.models.load",
    "define_model": "toymill.models.user",
    "derivatives": "toymill.information",
    "fit": "toymill.likelihood",
    "fit_tests": "toymill.likelihood",
    "load_model": "toymill.models.load",
    "profile_interval": "toymill.intervals",
    "q_0": "toymill.statistics",
    "q_mu": "toymill.statistics",
    "qtilde_mu": "toymill.statistics",
    "read_workspace": "toymill.models.histfactory",
    "t_mu": "toymill.statistics",
    "throw": "toymill.toys",
    "ttilde_mu": "toymill.statistics",
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
    "Status",
    "ToymillError",
    "check_model",
    "define_model",
    "derivatives",
    "fit",
    "fit_tests",
    "load_model",
    "profile_interval",
    "q_0",
    "q_mu",
    "qtilde_mu",
    "read_workspace",
    "t_mu",
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
