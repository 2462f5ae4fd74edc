"""Test statistics from stored fits: t_μ, t̃_μ, q_μ, q̃_μ and q_0; and those of LEP and of the Tevatron.

Equation numbers are those of Cowan, Cranmer, Gross and Vitells, arXiv:1007.1727 (CCGV). The statistics of LEP and of the
Tevatron are those of table 1 of ATLAS and CMS, ATL-PHYS-PUB-2011-11, CMS NOTE-2011/005.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from toymill.errors import ToymillError, ToymillWarning
from toymill.fitting.results import EDM_TOLERANCE

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from numpy.typing import ArrayLike

    from toymill.fitting.results import Fits
    from toymill.models.base import Model


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


def lep_ratio(model: Model, data: ArrayLike, mu: float) -> Float[np.ndarray, " toy"]:
    """The statistic of LEP, -2 ln L(μ, θ₀)/L(0, θ₀), with every other parameter at its initial value θ₀, shape (n,).

    Nothing is fitted, and constraints cancel. It is large where the data are unlike a signal, and may be negative. It goes
    with toys whose nuisance parameters are drawn: ``throw(..., mode="hybrid")``.

    Args:
        model: the model.
        data: main and auxiliary data, shape (n, D) or (D,).
        mu: the tested value μ of the parameter of interest.

    Returns:
        The statistic of each dataset.

    Raises:
        ToymillError: a model without a parameter of interest, μ or 0 outside of its bounds, data of the wrong length.

    Example:
        n ~ Poisson(50 μ + 100): 2 (50 - n ln 1.5) of 150 events.

        >>> import jax, toymill
        >>> jax.config.update("jax_enable_x64", True)
        >>> model = toymill.read_workspace("tests/data/onoff.json")
        >>> toymill.lep_ratio(model, [100.0, 150.0], 1.0).round(4)  # off, on
        array([-21.6395])
    """
    poi = model.parameters.names[model.poi_index]
    signal, background = (model.parameters.values({poi: value}) for value in (mu, 0.0))
    toys = np.atleast_2d(np.asarray(data, dtype=np.float64))
    ratio: np.ndarray = 2 * (np.asarray(model.logpdf(background, toys)) - np.asarray(model.logpdf(signal, toys)))
    return ratio


def tevatron_ratio(conditional: Fits, background: Fits) -> Float[np.ndarray, " toy"]:
    """The statistic of the Tevatron, -2 ln L(μ, θ̂̂_μ)/L(0, θ̂̂_0), of fits that hold μ and fits that hold 0, shape (n,).

    It is t_μ - t_0, and may be negative. It is large where the data are unlike a signal.

    Args:
        conditional: fits of n toys with the parameter of interest held at μ.
        background: fits of the same toys with it held at 0.

    Returns:
        The statistic of each toy; NaN where either fit is not certified.

    Raises:
        ToymillError: the two are not of the same number of toys, or do not hold the parameter of interest, or the second
            not at 0.

    Example:
        >>> import jax, toymill
        >>> jax.config.update("jax_enable_x64", True)
        >>> model = toymill.read_workspace("tests/data/onoff.json")
        >>> held = [toymill.fit(model, [100.0, 150.0], {"mu": mu}) for mu in (1.0, 0.0)]
        >>> toymill.tevatron_ratio(*held).round(4)
        array([-10.0678])
    """
    _held(conditional)
    _require_zero(background)
    _require_as_many(conditional, background, "conditional", "background")
    both = conditional.ok & background.ok
    return np.where(both, 2 * (conditional.nll - background.nll), np.nan)


def above(free: Fits, conditional: Fits) -> Bool[np.ndarray, " toy"]:
    """Where the free fit lies above the conditional one by more than the tolerance of certified fits, (n,)."""
    tolerance = np.fmax(free.edm, EDM_TOLERANCE) + _ROUNDING * np.abs(free.nll)
    both = free.ok & conditional.ok
    higher: np.ndarray = both & (conditional.nll - free.nll < -2 * tolerance)
    return higher


def _t(free: Fits, conditional: Fits) -> Float[np.ndarray, " toy"]:
    """t_μ for one of the functions above, whose caller is told where it is negative."""
    _require_as_many(free, conditional, "free", "conditional")
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


def _require_as_many(one: Fits, other: Fits, name: str, other_name: str) -> None:
    """Refuse fits of other numbers of toys."""
    if len(one.nll) != len(other.nll):
        msg = f"The {name} fits are of {len(one.nll)} toys, the {other_name} ones of {len(other.nll)}."
        raise ToymillError(msg)


def _require_free(free: Fits, conditional: Fits) -> None:
    """Refuse free fits in which what the conditional ones test was held, by the model (without an error) or by hand."""
    tested = [name for name in conditional.fixed if name not in free.fixed]
    ok = free.ok
    here = [name for name in tested if name in free.names] if ok.any() else []
    held = [name for name in here if not free.errors[ok, free.names.index(name)].any()]
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
