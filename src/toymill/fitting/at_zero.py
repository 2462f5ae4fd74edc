"""Minima at which the expectation of a bin without events is zero: constrained ones, found toy by toy.

The likelihood of such a bin is exp(-ν), defined for ν ≥ 0. Where the nll falls with ν as far as that, its minimum is one of

    min f(x)  with  ν_b(x) ≥ 0 for the bins without events,

f being the nll with these bins' ν, whatever its sign. A search by SciPy's SLSQP leads near it. Newton's method on the
Karush-Kuhn-Tucker conditions (Nocedal & Wright, Numerical Optimization, 2nd ed., ch. 12.3 and 18.1) ends it, and certifies it:
∇f = Σ λ_b ∇ν_b with λ ≥ 0 over the active bins, ν_b = 0; and the Hessian of f - Σ λ_b ν_b positive definite on their tangent.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.optimize

from toymill.fitting.results import Fits, keep_lower
from toymill.fitting.status import Status
from toymill.linalg import SMALLEST_PIVOT
from toymill.models.base import Kernel

if TYPE_CHECKING:
    from jax import Array
    from jaxtyping import Bool, Float, PyTree

    from toymill.fitting.problem import FitProblem

_STEPS = 300  # of SLSQP
_POLISH = 20  # steps of Newton's method
_ACTIVE = 1e-5  # expected events below which a bin is taken as one of the constraint's
_ZERO = 1e-9  # expected events that count as none
_OUT = (0.0, -1.5, 1.5)  # where else searches start, in the units of constraints


class _Functions(NamedTuple):
    """Jitted functions of (x, arrays, toy): f and its gradient; of (x, λ, arrays, toy): the Hessian of f - Σ λ ν; and of (x,
    arrays): ν and its derivatives."""

    value: Any
    hessian: Any
    rates: Any


@cache
def _functions(kernel: Kernel) -> _Functions:
    of_rates = kernel.rates
    assert of_rates is not None

    def rates(x: Float[Array, " parameter"], arrays: PyTree) -> Float[Array, " bin"]:
        found: Array = of_rates(arrays, x[:, None])[:, 0]
        return found

    def nll(x: Float[Array, " parameter"], arrays: PyTree, toy: Float[Array, " datum"]) -> Float[Array, ""]:
        column, expected = toy[:, None], rates(x, arrays)
        negative = (expected < 0) & (toy[: len(expected)] == 0)
        known = kernel.nll(arrays, x[:, None], column) + kernel.offset(arrays, column)
        found: Array = known[0] + jnp.sum(jnp.where(negative, expected, 0.0))
        return found

    def lagrangian(x: Array, multipliers: Array, arrays: PyTree, toy: Array) -> Float[Array, ""]:
        return nll(x, arrays, toy) - multipliers @ rates(x, arrays)

    def rates_and_slopes(x: Array, arrays: PyTree) -> tuple[Array, Array]:
        return rates(x, arrays), jax.jacfwd(rates)(x, arrays)

    return _Functions(jax.jit(jax.value_and_grad(nll)), jax.jit(jax.hessian(lagrangian)), jax.jit(rates_and_slopes))


def minimise_at_zero(problem: FitProblem, fits: Fits) -> None:
    """Fit toys again that are not certified and have a bin without events: where its expectation is zero.

    A fit that is certified has the status AT_ZERO. Its errors are those along the constraint: NaN for a parameter that the
    constraint determines.
    """
    kernel, sampling = problem.model.kernel, problem.model.sampling
    if kernel.rates is None or problem.fixed.all():
        return
    empty = np.any((problem.toys == 0) & (sampling.poisson & ~sampling.auxiliary), axis=1)
    for row in np.flatnonzero(empty & np.isin(fits.status, (Status.AT_FLOOR, Status.NOT_CONVERGED))):
        rows = np.array([row])
        again = _fitted(problem.of(rows), fits.parameters[row])
        if again is not None:
            keep_lower(fits, again, rows)


def _fitted(problem: FitProblem, end: Float[np.ndarray, " parameter"]) -> Fits | None:
    """The lowest certified fit of one toy, from where its search ended and from further starts; None if there is none."""
    parameters = problem.model.parameters
    base = np.where(problem.fixed, parameters.init, np.where(np.isfinite(end), end, parameters.init))
    for name, value in problem.held.items():
        base[parameters.index(name)] = float(np.squeeze(value))
    searched = np.where(problem.fixed, base, parameters.init)
    normal = np.array([kind == "normal" for kind in parameters.constraint]) & ~problem.fixed
    starts = [base, *(np.where(normal, searched + out, searched) for out in _OUT)]
    best: Fits | None = None
    for start in starts:
        found = _attempt(problem, np.clip(start, *parameters.bounds.T))
        if found is not None and (best is None or found.nll[0] < best.nll[0]):
            best = found
    return best


def _attempt(problem: FitProblem, start: Float[np.ndarray, " parameter"]) -> Fits | None:
    """A certified fit from one start; None if there is none, or if numbers overflow on the way."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # of SLSQP, which steps out of bounds and back
        try:
            toy = _Toy(problem, start)
            return toy.certified(toy.searched())
        except (np.linalg.LinAlgError, ValueError):  # of matrices with numbers that are not finite
            return None


class _Toy:
    """One toy, and its f and ν as functions of the parameters."""

    def __init__(self, problem: FitProblem, start: Float[np.ndarray, " parameter"]) -> None:
        model = problem.model
        self.problem, self.start, self.data = problem, start, problem.toys[0]
        self.arrays = jax.tree.map(jnp.asarray, model.arrays)
        self.at, self.known = np.full(len(start), np.nan), (np.zeros(0), np.zeros((0, 0)))
        self.low, self.high = model.parameters.bounds.T
        self.functions = _functions(model.kernel)
        self.empty = self.data[: len(self.rates(start)[0])] == 0
        diagonal = np.abs(np.diagonal(self.hessian(start, np.zeros(len(self.empty)))))
        self.unit = 1 / np.sqrt(np.where(np.isfinite(diagonal) & (diagonal > 1e-6), diagonal, 1.0))

    def value(self, x: Float[np.ndarray, " parameter"]) -> tuple[float, Float[np.ndarray, " parameter"]]:
        """f and its gradient."""
        value, gradient = self.functions.value(x, self.arrays, self.data)
        return float(value), np.asarray(gradient)

    def hessian(self, x: np.ndarray, multipliers: np.ndarray) -> Float[np.ndarray, "parameter parameter"]:
        """The Hessian of f - Σ λ ν."""
        return np.asarray(self.functions.hessian(x, multipliers, self.arrays, self.data))

    def rates(self, x: Float[np.ndarray, " parameter"]) -> tuple[np.ndarray, np.ndarray]:
        """ν, (bin,), and ∂ν, (bin, parameter); those of the last point are kept, for SLSQP asks for one after the other."""
        if not np.array_equal(x, self.at):
            rates, slopes = self.functions.rates(x, self.arrays)
            self.at, self.known = x.copy(), (np.asarray(rates), np.asarray(slopes))
        return self.known

    def searched(self) -> Float[np.ndarray, " parameter"]:
        """Where SLSQP ends, in units of each parameter's own curvature."""
        free, empty = ~self.problem.fixed, self.empty
        unit = self.unit[free]

        def at(z: np.ndarray) -> np.ndarray:
            x = self.start.copy()
            x[free] = z * unit
            return x

        def nll(z: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = self.value(at(z))
            return value, gradient[free] * unit

        constraint = {
            "type": "ineq",
            "fun": lambda z: self.rates(at(z))[0][empty],
            "jac": lambda z: self.rates(at(z))[1][empty][:, free] * unit,
        }
        bounds = np.stack([self.low[free] / unit, self.high[free] / unit], axis=1)
        found = scipy.optimize.minimize(
            nll,
            self.start[free] / unit,
            jac=True,
            method="SLSQP",
            bounds=bounds,
            constraints=[constraint],
            options={"maxiter": _STEPS, "ftol": 1e-13},
        )
        end: np.ndarray = np.clip(at(found.x), self.low, self.high)
        return end

    def certified(self, x: Float[np.ndarray, " parameter"]) -> Fits | None:
        """Newton's method on the conditions of a minimum from x, and the fit if they hold where it ends, else None."""
        active = self.empty & (self.rates(x)[0] < _ACTIVE)
        for _ in range(_POLISH):
            step = self._step(x, active)
            if step is None:
                return None
            negative = active.copy()
            negative[active] = step.multipliers < 0
            if step.small and negative.any():
                active &= ~negative
                continue
            if step.small:
                break
            x = np.clip(x + step.move, self.low, self.high)
            active |= self.empty & (self.rates(x)[0] < 0)
        else:
            return None
        if np.min(self.rates(x)[0][self.empty]) < -_ZERO or step.edm > self.problem.tolerance:
            return None
        return self._fits(x, step)

    def _step(self, x: Float[np.ndarray, " parameter"], active: Bool[np.ndarray, " bin"]) -> _Step | None:
        """The next step along which some bins stay at zero; None where there is no minimum."""
        value, gradient = self.value(x)
        rates, slopes = (item[active] for item in self.rates(x))
        if not all(np.all(np.isfinite(item)) for item in (value, gradient, rates, slopes)):
            return None
        multipliers = np.zeros(len(active))
        free = ~self.problem.fixed
        for _ in range(2):  # what is at a bound follows from the multipliers, and they from what is free
            scaled = (slopes[:, free] * self.unit[free]).T
            found = np.linalg.lstsq(scaled, gradient[free] * self.unit[free], rcond=1e-12)[0] if active.any() else rates
            multipliers[active] = found
            slope = gradient - found @ slopes
            out = ((x <= self.low) & (slope > 0)) | ((x >= self.high) & (slope < 0))
            free = ~self.problem.fixed & ~out
        unit = self.unit[free]
        hessian = self.hessian(x, multipliers)[np.ix_(free, free)] * unit[:, None] * unit
        if not np.all(np.isfinite(hessian)):
            return None
        across = slopes[:, free] * unit
        tangent = scipy.linalg.null_space(across, rcond=1e-10) if active.any() else np.eye(int(free.sum()))
        back = -np.linalg.pinv(across, rcond=1e-10) @ rates if active.any() else np.zeros(int(free.sum()))
        inner = tangent.T @ hessian @ tangent
        if inner.size and np.linalg.eigvalsh(inner)[0] <= SMALLEST_PIVOT * np.max(np.diagonal(inner)):
            return None
        inverse = np.linalg.inv(inner) if inner.size else inner
        right = tangent.T @ (slope[free] * unit + hessian @ back)
        covariance = tangent @ inverse @ tangent.T
        move = np.zeros(len(x))
        move[free] = unit * (back - tangent @ (inverse @ right))
        edm = 0.5 * float(right @ inverse @ right) if inner.size else 0.0
        off = float(np.max(np.abs(rates), initial=0.0))
        whole = np.zeros((len(x), len(x)))
        whole[np.ix_(free, free)] = covariance * unit[:, None] * unit
        small = off <= _ZERO and edm <= 1e-3 * self.problem.tolerance
        return _Step(move, found if active.any() else np.zeros(0), edm, whole, free, small)

    def _fits(self, x: Float[np.ndarray, " parameter"], step: _Step) -> Fits:
        """A certified fit of one toy."""
        fits = self.problem.unfitted()
        variance = np.diagonal(step.covariance)
        settled = step.free & (variance <= 1e-16 * self.unit**2)
        errors = np.sqrt(np.maximum(variance, 0.0))
        held = ~step.free & ~self.problem.fixed
        errors[settled | held] = np.nan
        inside = Status.AT_BOUND if held.any() else Status.CERTIFIED
        fits.parameters[0], fits.errors[0], fits.edm[0] = x, errors, step.edm
        fits.nll[0], fits.status[0] = self.value(x)[0], Status.AT_ZERO if step.multipliers.size else inside
        if fits.covariance is not None:
            fits.covariance[0] = step.covariance
        if fits.column is not None:
            fits.column[0] = step.covariance[:, self.problem.column or 0]
        return fits


class _Step(NamedTuple):
    """A step of Newton's method on the conditions of a constrained minimum, and what it says of its point.

    Attributes:
        move: the step, 0 for parameters that are not free.
        multipliers: λ of the active bins.
        edm: estimated distance of f to its minimum on the constraint's tangent.
        covariance: inverse of the Hessian on the tangent.
        free: False for parameters that are fixed, or held at a bound.
        small: whether the point meets the conditions, but for the signs of multipliers.
    """

    move: Float[np.ndarray, " parameter"]
    multipliers: Float[np.ndarray, " active"]
    edm: float
    covariance: Float[np.ndarray, "parameter parameter"]
    free: Bool[np.ndarray, " parameter"]
    small: bool
