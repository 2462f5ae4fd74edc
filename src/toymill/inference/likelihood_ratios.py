"""Test statistics from stored fits: t_μ, t̃_μ, q_μ, q̃_μ and q_0.

Equation numbers are those of Cowan, Cranmer, Gross and Vitells, arXiv:1007.1727 (CCGV).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from toymill.errors import ToymillError, ToymillWarning
from toymill.fitting.results import EDM_TOLERANCE

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from toymill.fitting.results import Fits


_ROUNDING = 1e-12  # of an nll that is a sum of many terms, relative


def t_mu(free: Fits, conditional: Fits) -> Float[np.ndarray, " toy"]:
    """t_μ = -2 ln λ(μ), CCGV eq. 8: twice the difference of the conditional and the free nll, shape (n,).

    Args:
        free: free fits of n toys.
        conditional: fits of the same toys with the parameter of interest held at μ.

    Returns:
        t_μ of each toy; NaN where either fit is not certified.

    Raises:
        ToymillError: the two are not of the same number of toys, or the free fits hold what is tested.

    Warns:
        ToymillWarning: negative t_μ, beyond the tolerance of the fits. Free fits that are not made together with the
            conditional ones may have missed the minimum: use ``toymill.test``, which makes both.

    Example:
        >>> import jax, toymill
        >>> jax.config.update("jax_enable_x64", True)
        >>> model = toymill.read_workspace("tests/data/onoff.json")
        >>> data = [100.0, 150.0]  # off, on
        >>> t = toymill.t_mu(toymill.fit(model, data), toymill.fit(model, data, fixed={"mu": 0.0}))
        >>> round(float(t[0]), 4)
        10.0678
    """
    return _t(free, conditional)


def q_mu(free: Fits, conditional: Fits) -> Float[np.ndarray, " toy"]:
    """q_μ, CCGV eq. 14: t_μ where μ̂ ≤ μ, else 0, shape (n,). Arguments, NaN, errors and warnings as in ``t_mu``."""
    t = _t(free, conditional)
    above = _estimate(free) > _held(conditional)
    return np.where(above & ~np.isnan(t), 0.0, t)


def q_0(free: Fits, background: Fits) -> Float[np.ndarray, " toy"]:
    """q_0, CCGV eq. 12: t_0 where μ̂ ≥ 0, else 0, shape (n,); ``background`` holds μ at 0."""
    _require_zero(background)
    t = _t(free, background)
    return np.where((_estimate(free) < 0) & ~np.isnan(t), 0.0, t)


def ttilde_mu(free: Fits, conditional: Fits, background: Fits) -> Float[np.ndarray, " toy"]:
    """t̃_μ, CCGV eq. 11: t_μ with μ ≥ 0 required, so that toys with μ̂ < 0 compare with μ = 0, shape (n,)."""
    _require_zero(background)
    return _tilde(_t(free, conditional), free, conditional, background)


def qtilde_mu(free: Fits, conditional: Fits, background: Fits) -> Float[np.ndarray, " toy"]:
    """q̃_μ, CCGV eq. 16: t̃_μ where μ̂ ≤ μ, else 0, shape (n,)."""
    _require_zero(background)
    t = _tilde(_t(free, conditional), free, conditional, background)
    above = _estimate(free) > _held(conditional)
    return np.where(above & ~np.isnan(t), 0.0, t)


def above(free: Fits, conditional: Fits) -> Bool[np.ndarray, " toy"]:
    """Where the free fit lies above the conditional one by more than the tolerance of certified fits, (n,)."""
    tolerance = np.fmax(free.edm, EDM_TOLERANCE) + _ROUNDING * np.abs(free.nll)
    both = free.ok & conditional.ok
    higher: np.ndarray = both & (conditional.nll - free.nll < -2 * tolerance)
    return higher


def _t(free: Fits, conditional: Fits) -> Float[np.ndarray, " toy"]:
    """t_μ for one of the functions above, whose caller is told where it is negative."""
    if len(free.nll) != len(conditional.nll):
        msg = f"The free fits are of {len(free.nll)} toys, the conditional ones of {len(conditional.nll)}."
        raise ToymillError(msg)
    _require_free(free, conditional)
    both = free.ok & conditional.ok
    t = np.where(both, 2 * (conditional.nll - free.nll), np.nan)
    negative = above(free, conditional)
    if negative.any():
        text = (
            f"t is negative for {np.count_nonzero(negative)} of {len(t)} toys, down to {t[negative].min():.3g}: their "
            "free fits missed the minimum. Use toymill.test, which makes both fits together and repeats such free ones."
        )
        warnings.warn(text, ToymillWarning, stacklevel=3)
    return t


def _require_free(free: Fits, conditional: Fits) -> None:
    """Refuse free fits in which what the conditional ones test was held, by the model (without an error) or by hand."""
    tested = [name for name in conditional.fixed if name not in free.fixed]
    moved = free.errors[free.ok].any(axis=0)
    held = [name for name in tested if name in free.names and free.ok.any() and not moved[free.names.index(name)]]
    if held or (conditional.fixed and not tested):
        names = held or list(conditional.fixed)
        msg = f"The free fits hold {', '.join(names)}, as the conditional ones do. Free what is tested in the model and the fit."
        raise ToymillError(msg)


def _tilde(t: Float[np.ndarray, " toy"], free: Fits, conditional: Fits, background: Fits) -> Float[np.ndarray, " toy"]:
    """t̃_μ from t_μ."""
    both = free.ok & conditional.ok & background.ok
    return np.where(_estimate(free) < 0, np.where(both, 2 * (conditional.nll - background.nll), np.nan), t)


def _estimate(free: Fits) -> Float[np.ndarray, " toy"]:
    if free.poi is None:
        msg = "The fits have no parameter of interest. Read the model with poi=…"
        raise ToymillError(msg)
    return free.parameter(free.poi)


def _held(conditional: Fits) -> float | Float[np.ndarray, " toy"]:
    if conditional.poi is None or conditional.poi not in conditional.fixed:
        msg = f"The conditional fits hold {sorted(conditional.fixed)}; expected the parameter of interest {conditional.poi!r}."
        raise ToymillError(msg)
    held: float | np.ndarray = conditional.fixed[conditional.poi]
    return held


def _require_zero(background: Fits) -> None:
    if np.any(_held(background) != 0):
        msg = f"The background fits hold {background.poi} at {_held(background)}; expected 0."
        raise ToymillError(msg)
