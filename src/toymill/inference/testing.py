"""One test point of many toys: both fits, made together, and every likelihood ratio of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from toymill.errors import ToymillError
from toymill.fitting.conditional import fit_tests
from toymill.fitting.results import Fits
from toymill.fitting.status import Status
from toymill.inference import likelihood_ratios
from toymill.models.base import Model

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import ArrayLike

_STATISTICS = ("t_mu", "ttilde_mu", "q_mu", "qtilde_mu", "q_0")


@dataclass(frozen=True, eq=False, repr=False)
class Ratios:
    """The profile likelihood ratios of n toys at one test point, and the fits that they compare.

    Every statistic has the shape (n,). It is not negative, and NaN where a fit of the toy is not certified. A statistic
    that this test does not have raises a ToymillError: of a joint test there is t_mu alone, q_0 is that of a parameter
    tested at 0, and below 0 there is neither ttilde_mu nor qtilde_mu.

    Attributes:
        at: the values that are tested, by name.
        free: the fits in which everything is free.
        conditional: the fits that hold what is tested; without errors, which ``fit`` has.
        background: the fits that hold it at 0, for ttilde_mu and qtilde_mu; None where it cannot be negative, in a joint
            test, and in a test of a negative value.
    """

    at: Mapping[str, float]
    free: Fits
    conditional: Fits
    background: Fits | None

    @property
    def t_mu(self) -> Float[np.ndarray, " toy"]:
        """t_μ, CCGV eq. 8: twice the difference of the conditional and the free nll."""
        return _not_negative(likelihood_ratios.t_mu(self.free, self.conditional))

    @property
    def q_mu(self) -> Float[np.ndarray, " toy"]:
        """q_μ, CCGV eq. 14: t_μ where μ̂ ≤ μ, else 0."""
        free, conditional, _ = self._of_one("q_mu")
        return _not_negative(likelihood_ratios.q_mu(free, conditional))

    @property
    def q_0(self) -> Float[np.ndarray, " toy"]:
        """q_0, CCGV eq. 12: t_0 where μ̂ ≥ 0, else 0."""
        free, conditional, _ = self._of_one("q_0")
        return _not_negative(likelihood_ratios.q_0(free, conditional))

    @property
    def ttilde_mu(self) -> Float[np.ndarray, " toy"]:
        """t̃_μ, CCGV eq. 11: t_μ with μ ≥ 0 required, so that toys with μ̂ < 0 compare with μ = 0."""
        free, conditional, background = self._of_one("ttilde_mu")
        if background is None:
            return self.t_mu
        return _not_negative(likelihood_ratios.ttilde_mu(free, conditional, background))

    @property
    def qtilde_mu(self) -> Float[np.ndarray, " toy"]:
        """q̃_μ, CCGV eq. 16: t̃_μ where μ̂ ≤ μ, else 0."""
        free, conditional, background = self._of_one("qtilde_mu")
        if background is None:
            return self.q_mu
        return _not_negative(likelihood_ratios.qtilde_mu(free, conditional, background))

    def __repr__(self) -> str:
        toys, certified = len(self.free.nll), int(np.sum(~np.isnan(self.t_mu)))
        values = []
        for name in _STATISTICS:
            if not self._lacks(name):
                found = getattr(self, name)
                values.append(f"{name} {np.median(found[~np.isnan(found)]) if certified else np.nan:.4g}")
        number = f"{toys} toys, {certified} certified; medians:" if toys > 1 else "1 toy,"
        number += "" if toys > 1 or certified else " not certified:"
        return f"<Ratios at {_shown(self.at)}: {number} {', '.join(values)}>"

    def _of_one(self, statistic: str) -> tuple[Fits, Fits, Fits | None]:
        """The three fits, the tested parameter being that of interest; ToymillError for what this test does not have."""
        why = self._lacks(statistic)
        if why:
            msg = f"The test of {_shown(self.at)} has no {statistic}: {why}"
            raise ToymillError(msg)
        (name,) = self.at
        background = None if self.background is None else replace(self.background, poi=name)
        return replace(self.free, poi=name), replace(self.conditional, poi=name), background

    def _lacks(self, statistic: str) -> str:
        """Why this test does not have a statistic; empty where it does."""
        if statistic != "t_mu" and len(self.at) > 1:
            return "it is of one parameter. Use t_mu, or test one parameter."
        value = min(self.at.values())
        if statistic == "q_0" and value != 0:
            return "it is that of the value 0. Test that, or use q_mu."
        if "tilde" in statistic and value < 0:
            return "it requires a value that is not negative. Use t_mu."
        return ""


def test(model: Model, data: ArrayLike, at: Mapping[str, float]) -> Ratios:
    """Test a value of one parameter, or of several together, on every dataset: λ(μ) of CCGV eq. 7.

    The free and the conditional fit of a toy are made together: the conditional fit starts from the free one, which is
    repeated where the other ends lower. So t_μ is not negative, as it may be of fits that are made one by one.

    Args:
        model: the model.
        data: main and auxiliary data, shape (n, D) or (D,).
        at: the values that are tested, by name. Whatever else is free in the model is profiled.

    Returns:
        The fits, and t_μ, t̃_μ, q_μ, q̃_μ and q_0 of them. A free fit that lies above the conditional one all the
        same is no minimum: its status is NOT_CONVERGED.

    Raises:
        ToymillError: what ``fit`` refuses; nothing to test, a value that is not a number inside its bounds, a parameter
            that the model does not have or fixes.

    Example:
        >>> import jax, toymill
        >>> jax.config.update("jax_enable_x64", True)
        >>> model = toymill.read_workspace("tests/data/onoff.json")
        >>> result = toymill.test(model, [[100.0, 150.0], [100.0, 90.0]], {"mu": 0.0})  # off, on
        >>> result.t_mu.round(4), result.q_0.round(4)
        (array([10.0678,  0.5266]), array([10.0678,  0.    ]))
        >>> result.free.ok & result.conditional.ok
        array([ True,  True])
    """
    at = _point(model, at)
    tests = [at]
    if len(at) == 1:
        ((name, value),) = at.items()
        if value > 0 and model.parameters.bounds[model.parameters.index(name), 0] < 0:
            tests.append({name: 0.0})
    free, fits = fit_tests(model, data, tests)
    missed = np.any([likelihood_ratios.above(free, other) for other in fits], axis=0)
    free = replace(free, status=np.where(missed, np.int8(Status.NOT_CONVERGED), free.status))
    background = fits[0] if len(at) == 1 and value == 0 else fits[1] if len(fits) > 1 else None
    return Ratios(at, free, fits[0], background)


test.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it where it is imported


def _point(model: Model, at: Mapping[str, float]) -> dict[str, float]:
    """What is tested, checked."""
    if not isinstance(model, Model):
        msg = (
            f"model is a {type(model).__name__}; expected a model, as toymill.read_workspace or define_model makes it."
        )
        raise ToymillError(msg)
    example = f'{{"{model.poi or model.parameters.names[0]}": 1.0}}'
    if not isinstance(at, Mapping) or not at:
        msg = f"The test is at {at!r}; expected values by name of the parameter, such as {example}."
        raise ToymillError(msg)
    for name, value in at.items():
        model.parameters.index(name)
        if not isinstance(value, Real) or isinstance(value, bool):
            msg = f"The test is at {name} = {value!r}; expected a number, such as {example}."
            raise ToymillError(msg)
    point = {name: float(value) for name, value in at.items()}
    model.parameters.values(point)
    return point


def _shown(at: Mapping[str, float]) -> str:
    return ", ".join(f"{name} = {value:g}" for name, value in at.items())


def _not_negative(t: Float[np.ndarray, " toy"]) -> Float[np.ndarray, " toy"]:
    """Zero for what is below it by less than fits are certified to; where μ̂ < 0, by a second minimum above 0."""
    found: np.ndarray = np.maximum(t, 0.0)
    return found
