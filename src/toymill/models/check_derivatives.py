"""Whether the derivatives of a model stated in Python are what differences give, and toys follow its likelihood."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from toymill.errors import ToymillError
from toymill.models.user import UserModel
from toymill.models.user_code import guarded, initial_values, statement_of

if TYPE_CHECKING:
    from jaxtyping import Float

LogDensities = Callable[[np.ndarray, np.ndarray], Array]
"""``(params, datasets) -> log-densities``, (parameter,) and (toy, datum) to (toy,)."""

_AGREEING = 512  # toys that tell whether throw and likelihood agree
_NUMBERS = 2**21  # main data of such toys that are held at once


def _inside(model: UserModel) -> np.ndarray:
    """A point near the initial values and inside the bounds, off the places where symmetric models have kinks."""
    low, high = model.parameters.bounds.T
    init = model.parameters.init
    step = 0.01 * np.maximum(1.0, np.abs(init)) * (1 + 0.37 * np.arange(len(init)) / max(len(init), 1))
    room = np.where(np.isfinite(high - low), (high - low) / 8, np.inf)
    step = np.minimum(step, room)
    upward = init + 2 * step <= high
    point: np.ndarray = np.where(upward, init + step, init - step)
    return point


def require_derivatives(model: UserModel, data: Float[np.ndarray, "toy main"]) -> None:
    """Gradient and Hessian are finite at the initial values, and beside them are what differences give."""
    auxiliary = np.tile(model.sampling.observed[data.shape[1] :], (len(data), 1))
    full = np.concatenate([data, auxiliary], axis=1)
    _require_finite(model, *_derivatives(model, model.parameters.init, full))
    point = _inside(model)
    slopes, hessian = _derivatives(model, point, full)
    _require_told_apart(model, hessian)
    if model.row_sum is not None and model.row_sum.terms is not model.terms:
        _require_closed_form(model, point, full, slopes, hessian)
    gradient = jax.jit(jax.grad(model.logpdf_of))
    logpdf = jax.jit(jax.vmap(model.logpdf_of, (None, 0)))
    for i in np.flatnonzero(~model.parameters.fixed):
        found = np.array([float(guarded(model, gradient)(point, row)[i]) for row in data])
        _require_slope(model, logpdf, point, data, int(i), found, float(np.max(np.abs(hessian[:, i, i]))))


def _derivatives(
    model: UserModel, point: Float[np.ndarray, " parameter"], data: Float[np.ndarray, "toy datum"]
) -> tuple[Float[np.ndarray, "toy parameter"], Float[np.ndarray, "toy parameter parameter"]]:
    """Gradient and Hessian of the nll of each toy."""
    x = np.tile(point[:, None], (1, len(data)))
    _, slopes, hessian = guarded(model, jax.jit(model.kernel.exact))(model.arrays, x, data.T)
    return np.asarray(slopes).T, np.asarray(hessian)


def _require_finite(
    model: UserModel,
    slopes: Float[np.ndarray, "toy parameter"],
    hessian: Float[np.ndarray, "toy parameter parameter"],
) -> None:
    for i in np.flatnonzero(~model.parameters.fixed):
        for kind, found in (("first", slopes[:, i]), ("second", hessian[:, i])):
            if not np.isfinite(found).all():
                msg = (
                    f"The {kind} derivative of {statement_of(model)} with respect to {model.parameters.names[i]!r} is "
                    f"not finite at the initial values ({initial_values(model)}). A root, a norm or |x| at 0, or a "
                    "jnp.where with a bad value in the branch that is not taken? Make the function smooth there, or "
                    "move the initial values."
                )
                raise ToymillError(msg)


def _require_slope(
    model: UserModel,
    logpdf: LogDensities,
    point: Float[np.ndarray, " parameter"],
    data: Float[np.ndarray, "toy main"],
    i: int,
    found: Float[np.ndarray, " toy"],
    curvature: float,
) -> None:
    """The derivatives along a parameter, ``found`` for each toy, are those that differences give, and not all 0."""
    name, stated = model.parameters.names[i], statement_of(model)
    expected, error = _differences(model, logpdf, point, data, i, curvature)
    scale = np.abs(found) + np.abs(expected)
    wrong = np.abs(found - expected) > 1e-4 * scale + np.minimum(error, 0.1 * scale) + 1e-7
    if wrong.any():
        k = int(np.argmax(wrong))
        msg = (
            f"The derivative of {stated} with respect to {name!r} is {found[k]:.6g} where differences "
            f"give {expected[k]:.6g}: it is not differentiable. Rounding (floor, round, astype(int), searchsorted), "
            "comparisons, sorting by a parameter and stop_gradient have no derivative; use a smooth function."
        )
        raise ToymillError(msg)
    if found.any() or expected.any():
        return
    if _changes(model, logpdf, point, data, i):
        msg = (
            f"{stated} changes with {name!r}, but its derivative is 0: it is not differentiable. "
            "Rounding (floor, round, astype(int), searchsorted) makes steps; use a smooth function."
        )
        raise ToymillError(msg)
    constrained = model.parameters.constraint[i] != "none"
    msg = (
        f"{stated} does not depend on {name!r}, which is free"
        f"{' and enters nothing but its constraint' if constrained else ': no fit could find it'}. "
        "Use it, fix it, or leave it out."
    )
    raise ToymillError(msg)


def _require_closed_form(
    model: UserModel, point: np.ndarray, data: np.ndarray, slopes: np.ndarray, hessian: np.ndarray
) -> None:
    """The derivatives that a model states at a point, (n, P) and (n, P, P), are those of its terms."""
    x = np.tile(point[:, None], (1, len(data)))
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(model.kernel.nll(model.arrays, x, data.T))))
    scale = np.sqrt(np.abs(np.diagonal(hessian, axis1=1, axis2=2))).max(axis=0) + 1e-12
    step = np.minimum(1e-4 / scale, 1e-4)
    wrong = np.abs(np.asarray(gradient(x)).T - slopes) > 1e-6 * (np.abs(slopes) + scale)
    for i in np.flatnonzero(~model.parameters.fixed):
        move = np.eye(len(point))[i][:, None] * step[i]
        difference = (np.asarray(gradient(x + move)) - np.asarray(gradient(x - move))).T / (2 * step[i])
        wrong |= np.abs(difference - hessian[:, i]) > 1e-3 * scale[i] * scale
    if wrong.any():
        msg = "row_derivatives are not the derivatives of terms near the initial values: compare them with jax.hessian."
        raise ToymillError(msg)


def require_agreement(model: UserModel) -> None:
    """Toys follow the likelihood: beside the initial values E[∂ log L] = 0 and E[-∂² log L] > 0 (Bartlett 1953).

    Six standard deviations of the mean over toys; the score is that of the main data alone.
    """
    point = _inside(model)
    count = int(np.clip(_NUMBERS // len(model.data_names), 16, _AGREEING))
    draw = model.draw
    assert draw is not None
    data = jax.jit(jax.vmap(lambda key: draw(key, point)))(jax.random.split(jax.random.key(2), count))
    gradient = jax.jit(jax.vmap(jax.grad(model.logpdf_of), (None, 0)))
    scores = np.asarray(gradient(point, data))
    for i in np.flatnonzero(~model.parameters.fixed):
        mean, error = scores[:, i].mean(), scores[:, i].std(ddof=1) / np.sqrt(count)
        if np.isfinite(mean) and abs(mean) > 6 * error + 1e-9:
            msg = (
                f"Toys do not follow {statement_of(model)}: beside the initial values its derivative with respect to "
                f"{model.parameters.names[i]!r} is {mean:.3g} ± {error:.2g} on average, where 0 is expected. Does throw use "
                "every parameter, in the same order and meaning? Is the density normalised, and without the constraints, "
                "which toymill adds? If other toys are meant, say mismatch=True."
            )
            raise ToymillError(msg)
        up, down = point.copy(), point.copy()
        step = 1e-4 * max(1.0, abs(point[i]))
        up[i], down[i] = up[i] + step, down[i] - step
        bend = -(np.asarray(gradient(up, data)) - np.asarray(gradient(down, data)))[:, i] / (2 * step)
        if np.isfinite(bend).all() and bend.mean() < -6 * bend.std(ddof=1) / np.sqrt(count) - 1e-9:
            msg = (
                f"{statement_of(model)} has a minimum along {model.parameters.names[i]!r}, not a maximum, for toys thrown there: "
                "is its sign right? It is the log-density, not its negative."
            )
            raise ToymillError(msg)


def _require_told_apart(model: UserModel, hessian: np.ndarray) -> None:
    """No combination of free parameters leaves the likelihood of every toy as it is, to second order; (n, P, P)."""
    free = np.flatnonzero(~model.parameters.fixed)
    matrix = np.abs(hessian).max(axis=0)
    units = 1 / np.sqrt(np.maximum(np.diag(matrix), 1e-300))[free]
    scaled = np.concatenate([part[np.ix_(free, free)] * np.outer(units, units) for part in hessian])
    if not np.isfinite(scaled).all():
        return
    _, sizes, directions = np.linalg.svd(scaled)
    if len(free) > 1 and np.diag(matrix)[free].all() and sizes[-1] < 1e-7 * sizes[0]:
        involved = [model.parameters.names[i] for i, part in zip(free, directions[-1], strict=True) if abs(part) > 0.1]
        msg = (
            f"{statement_of(model)} cannot tell {' and '.join(map(repr, involved))} apart: a change of one makes up for that of the "
            "others in every toy, and no fit could find them. Fix or constrain one, or state their combination."
        )
        raise ToymillError(msg)


def _changes(model: UserModel, logpdf: LogDensities, point: np.ndarray, data: np.ndarray, i: int) -> bool:
    """Whether the log-likelihood changes anywhere along a parameter, in steps from 0.01 to 1."""
    low, high = model.parameters.bounds[i]
    here = np.asarray(logpdf(point, data))
    for away in (-1.0, -0.3, -0.1, -0.01, 0.01, 0.1, 0.3, 1.0):
        moved = point.copy()
        moved[i] = np.clip(point[i] + away * max(1.0, abs(point[i])), low, high)
        if (np.asarray(logpdf(moved, data)) != here).any():
            return True
    return False


def _differences(
    model: UserModel, logpdf: LogDensities, point: np.ndarray, data: np.ndarray, i: int, curvature: float
) -> tuple[np.ndarray, np.ndarray]:
    """Central differences of the log-likelihood along a parameter, with Richardson's step, and their error, (n,)."""
    low, high = model.parameters.bounds[i]
    natural = 0.01 / np.sqrt(curvature) if np.isfinite(curvature) and curvature > 0 else np.inf
    step = min(natural, 1e-3 * max(1.0, abs(point[i])), (high - point[i]) / 4, (point[i] - low) / 4)

    def slope(h: float) -> np.ndarray:
        up, down = point.copy(), point.copy()
        up[i] += h
        down[i] -= h
        found: np.ndarray = (np.asarray(logpdf(up, data)) - np.asarray(logpdf(down, data))) / (2 * h)
        return found

    double, single = slope(2 * step), slope(step)
    value = (4 * single - double) / 3
    rounding = 1e-15 * np.abs(np.asarray(logpdf(point, data))) / step
    return value, 10 * (np.abs(single - double) + rounding)
