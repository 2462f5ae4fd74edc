"""Minima at which the expectation of a bin without events is zero: constrained ones, found toy by toy.

The likelihood of such a bin is exp(-ν), defined for ν ≥ 0. Where the nll falls with ν as far as that, its minimum is one of

    min f(x)  with  ν_b(x) ≥ 0 for the bins without events,

f being the nll with these bins' ν, whatever its sign. A search by SciPy's SLSQP leads near it. Newton's method on the
Karush-Kuhn-Tucker conditions (Nocedal & Wright, Numerical Optimization, 2nd ed., ch. 12.3 and 18.1) ends it, and certifies it:
∇f = Σ λ_b ∇ν_b with λ ≥ 0 over the active bins, ν_b = 0; and the Hessian of f - Σ λ_b ν_b positive definite on their tangent.
What is left of λ_b ν_b is part of the estimated distance to the minimum.

Where ν_b leaves zero without a slope there is no such λ. Interpolations do so at their joins: a code 4p of a yield that is zero
in one variation is zero beyond ±1, and negative inside as the distance's third power. There the join is a bound.
"""

from __future__ import annotations

import warnings
from functools import cache
from itertools import islice, product
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from toymill.fitting.results import REPAIR, Fits, keep_lower
from toymill.fitting.status import Status
from toymill.linalg import SMALLEST_PIVOT
from toymill.models.base import Kernel
from toymill.models.densities import FLOOR

if TYPE_CHECKING:
    from jax import Array
    from jaxtyping import Bool, Float, Int, PyTree

    from toymill.fitting.problem import FitProblem

_STEPS = 300  # of SLSQP
_POLISH = 20  # steps of Newton's method
_ACTIVE = 1e-5  # expected events below which a bin is taken as one of the constraint's
_ZERO = 1e-9  # expected events that count as none
_ROUNDING = 2.2e-16  # of an expectation, relative to its change over the errors of parameters
_JOINS = (-1.0, 0.0, 1.0)  # where the pieces of interpolations meet
_NEAR, _BEYOND = 1e-2, 1e-2  # how near to a join a parameter is taken as at it; how far beyond it ν is looked at
_SIDES = 8  # choices of sides of joins that are searched
_OUT = (0.0, -1.5, 1.5)  # where else searches start, in the units of constraints


class _Functions(NamedTuple):
    """Jitted functions of (x, arrays, toy): f and its gradient; of (x, λ, arrays, toy): the Hessian of f - Σ λ ν; of (x,
    arrays): ν and its derivatives; and of (points, arrays): ν at each."""

    value: Any
    hessian: Any
    rates: Any
    each: Any


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

    def each(points: Float[Array, "parameter point"], arrays: PyTree) -> Float[Array, "bin point"]:
        found: Array = of_rates(arrays, points)
        return found

    derivatives = (jax.value_and_grad(nll), jax.hessian(lagrangian), rates_and_slopes)
    return _Functions(*(jax.jit(function) for function in (*derivatives, each)))


def minimise_at_zero(problem: FitProblem, fits: Fits) -> None:
    """Fit toys again that are not certified and have a bin without events: where its expectation is zero.

    A fit that is certified has the status AT_ZERO. Its errors are those along the constraint: NaN for a parameter that the
    constraint determines.
    """
    kernel, sampling = problem.model.kernel, problem.model.sampling
    if kernel.rates is None or problem.fixed.all():
        return
    empty = np.any((problem.toys == 0) & (sampling.poisson & ~sampling.auxiliary), axis=1)
    found = np.flatnonzero(empty & np.isin(fits.status, (Status.AT_FLOOR, Status.NOT_CONVERGED)))
    if not len(found):
        return
    arrays = jax.device_put(problem.model.arrays)
    for row in found:
        rows = np.array([row])
        again = _fitted(problem.of(rows), fits.parameters[row], arrays)
        if again is not None:
            keep_lower(fits, again, rows)


def _fitted(problem: FitProblem, end: Float[np.ndarray, " parameter"], arrays: PyTree) -> Fits | None:
    """The lowest certified fit of one toy, from where its search ended and from further starts; None if there is none."""
    parameters = problem.model.parameters
    base = np.where(problem.fixed, parameters.init, np.where(np.isfinite(end), end, parameters.init))
    for name, value in problem.held.items():
        base[parameters.index(name)] = float(np.squeeze(value))
    searched = np.where(problem.fixed, base, parameters.init)
    normal = np.array([kind == "normal" for kind in parameters.constraint]) & ~problem.fixed
    bounds: tuple[np.ndarray, np.ndarray] = (parameters.bounds[:, 0], parameters.bounds[:, 1])
    starts = [(base, bounds), *((np.where(normal, searched + out, searched), bounds) for out in _OUT)]
    starts += [(searched, sides) for sides in _sides(_Toy(problem, np.clip(searched, *bounds), arrays))]
    best: Fits | None = None
    for start, (low, high) in starts:
        found = _attempt(_Toy(problem, np.clip(start, low, high), arrays), low, high)
        if found is not None and (best is None or found.nll[0] < best.nll[0]):
            best = found
    return best


def _sides(toy: _Toy) -> list[tuple[np.ndarray, np.ndarray]]:
    """Bounds that keep parameters to one side of joins where a bin's ν falls below zero: searches step across these."""
    joins: dict[int, list[tuple[float, int]]] = {}
    for join in toy.joins(toy.start, np.flatnonzero(~toy.problem.fixed)):
        joins.setdefault(join.parameter, []).append((join.value, join.side))
    found = []
    for choice in islice(product(*([None, *joins[i]] for i in joins)), 1, 1 + _SIDES):
        low, high = toy.low.copy(), toy.high.copy()
        for i, chosen in zip(joins, choice, strict=True):
            if chosen is not None:
                value, side = chosen
                (high if side > 0 else low)[i] = value
        found.append((low, high))
    return found


def _attempt(toy: _Toy, low: np.ndarray, high: np.ndarray) -> Fits | None:
    """A certified fit of a search within bounds; None if there is none, or if numbers overflow on the way."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # of SLSQP, which steps out of bounds and back
        try:
            return toy.certified(toy.searched(low, high))
        except (np.linalg.LinAlgError, ValueError):  # of matrices with numbers that are not finite
            return None


class _Toy:
    """One toy, and its f and ν as functions of the parameters; the model's arrays are JAX's, made once for all toys."""

    def __init__(self, problem: FitProblem, start: Float[np.ndarray, " parameter"], arrays: PyTree) -> None:
        model = problem.model
        self.problem, self.start, self.data = problem, start, problem.toys[0]
        self.arrays = arrays
        self.at, self.known = np.full(len(start), np.nan), (np.zeros(0), np.zeros((0, 0)))
        self.low, self.high = model.parameters.bounds.T
        self.functions = _functions(model.kernel)
        self.empty = self.data[: len(self.rates(start)[0])] == 0
        diagonal = np.abs(np.diagonal(self.hessian(start, np.zeros(len(self.empty)))))
        self.unit = 1 / np.sqrt(np.where(np.isfinite(diagonal) & (diagonal > 1e-6), diagonal, 1.0))
        rates, slopes = self.rates(np.where(problem.fixed, start, model.parameters.init))
        self.rounding = _ROUNDING * (np.abs(rates) + np.abs(slopes) @ np.where(problem.fixed, np.abs(start), self.unit))

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

    def searched(self, low: np.ndarray, high: np.ndarray) -> Float[np.ndarray, " parameter"]:
        """Where SLSQP within bounds ends, in units of each parameter's own curvature."""
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
        bounds = np.stack([low[free] / unit, high[free] / unit], axis=1)
        found = scipy.optimize.minimize(
            nll,
            self.start[free] / unit,
            jac=True,
            method="SLSQP",
            bounds=bounds,
            constraints=[constraint],
            options={"maxiter": _STEPS, "ftol": 1e-13},
        )
        end: np.ndarray = np.clip(at(found.x), low, high)
        return end

    def certified(self, x: Float[np.ndarray, " parameter"]) -> Fits | None:
        """Newton's method on the conditions of a minimum from x, and the fit if they hold where it ends, else None."""
        low, high = self.low.copy(), self.high.copy()
        near = ~self.problem.fixed & (np.abs(x - np.clip(np.round(x), -1, 1)) < _NEAR)
        held = [
            join
            for join in self.joins(x, np.flatnonzero(near))
            if abs(x[join.parameter] - join.value) < _NEAR and self._stands(x, join)
        ]
        for join in held:
            (high if join.side > 0 else low)[join.parameter] = join.value
        found = self._polished(np.clip(x, low, high), low, high)
        if not held:
            return found
        if found is not None:
            end = found.parameters[0]
            if all(self._stands(end, join) for join in held if end[join.parameter] == join.value):
                return found
        return self._polished(x, self.low, self.high)

    def joins(self, x: Float[np.ndarray, " parameter"], which: Int[np.ndarray, " some"]) -> list[_Join]:
        """The joins of some parameters, the others at x, beyond which ν of a bin without events falls from zero without a slope.

        Where ν is zero as far as a join and falls beyond it as a power of the distance, Newton's method creeps, and the
        rounding of ν leaves a range of 1e-6 and more: the join itself has to be the bound.
        """
        found = []
        for i in which:
            for value in _JOINS:
                if not self.low[i] <= value <= self.high[i]:
                    continue
                points = np.repeat(x[:, None], 5, axis=1)
                points[i] = value + _BEYOND * np.arange(-2, 3)
                rates = np.asarray(self.functions.each(points, self.arrays))[self.empty]
                for side in (-1, 1):
                    at, near, far = (rates[:, 2 + side * k] for k in range(3))
                    falls = (near < 0) & (at - near > 1e4 * self.rounding[self.empty])
                    if np.any(falls & (at < _ZERO) & (at - far > 3 * (at - near))):
                        found.append(_Join(int(i), value, side))
        return found

    def _stands(self, x: Float[np.ndarray, " parameter"], join: _Join) -> bool:
        """Whether beyond a join some ν is below zero, whatever the other parameters do by steps as long."""
        this = np.arange(len(x)) == join.parameter
        at = np.where(this, join.value, x)
        before, (rates, slopes) = self.rates(at)[0][self.empty], self.rates(at + join.side * _BEYOND * this)
        rates, length = rates[self.empty], _BEYOND * np.where(this | self.problem.fixed, 0.0, self.unit)
        ways = slopes[self.empty] * length
        falls = np.where(before < _ZERO, before - rates, 0.0)
        if np.any((rates < 0) & (falls > 2 * np.abs(ways).sum(axis=1))):
            return True
        unit = np.max(falls, initial=0.0)
        if unit <= 0:
            return False
        # ν + Σ ∂ν step ≥ s for every bin, with the largest s: below zero where no steps, in units of their length, keep all ν.
        rows = np.column_stack([-ways / unit, np.ones(len(rates))])
        reach = [np.maximum(self.low - at, -length), np.minimum(self.high - at, length)] / np.where(
            length > 0, length, 1.0
        )
        objective = np.append(np.zeros(len(x)), -1.0)
        best = scipy.optimize.linprog(
            objective, A_ub=rows, b_ub=rates / unit, bounds=[*np.clip(reach.T, -1, 1), (None, 1.0)]
        )
        return bool(best.success and best.x[-1] < -0.1)

    def _polished(self, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> Fits | None:
        """Newton's method within some bounds."""
        active = self.empty & (self.rates(x)[0] < _ACTIVE)
        for number in range(_POLISH + 1):
            step = self._step(x, active, low, high)
            if step is None:
                return None
            if step.negative.any() and step.small:
                active[np.flatnonzero(active)[np.argmin(step.multipliers)]] = False
            elif step.small or number == _POLISH:
                break
            else:
                x = np.clip(x + step.move, low, high)
                active |= self.empty & (self.rates(x)[0] < 0)
        if step is None or step.negative.any() or not step.edm <= self.problem.tolerance or not self._possible(x):
            return None
        if self._falls_beside_zero(x, low, high, step.edm):
            return None
        return self._fits(x, step)

    def _possible(self, x: Float[np.ndarray, " parameter"]) -> bool:
        """Whether bins without events expect no less than none, and those with events more than the floor."""
        rates = self.rates(x)[0]
        return bool(np.all(rates[self.empty] >= -_ZERO) and np.all(rates[~self.empty] > FLOOR))

    def _falls_beside_zero(self, x: np.ndarray, low: np.ndarray, high: np.ndarray, edm: float) -> bool:
        """Whether f falls to the other side of a kink, of parameters that are at zero."""
        value, _ = self.value(x)
        for i in np.flatnonzero(~self.problem.fixed & (np.abs(x) < 1e-6)):
            for side in (-1, 1):
                beside = np.clip(x + side * 1e-5 * self.unit * (np.arange(len(x)) == i), low, high)
                lower = self.value(beside)[0] < value - max(REPAIR, edm)
                if lower and np.all((self.rates(beside)[0] >= -10 * self.rounding)[self.empty]):
                    return True
        return False

    def _step(self, x: np.ndarray, active: Bool[np.ndarray, " bin"], low: np.ndarray, high: np.ndarray) -> _Step | None:
        """The next step along which some bins stay at zero; None where there is no minimum."""
        value, gradient = self.value(x)
        rates, slopes = (item[active] for item in self.rates(x))
        if not all(np.all(np.isfinite(item)) for item in (value, gradient, rates, slopes)):
            return None
        flat = np.abs(slopes) @ np.where(self.problem.fixed, 0.0, self.unit) <= 10 * self.rounding[active]
        slopes = np.where(flat[:, None], 0.0, slopes)
        multipliers = np.zeros(len(active))
        free = ~self.problem.fixed
        for _ in range(2):  # what is at a bound follows from the multipliers, and they from what is free
            across = slopes[:, free] * self.unit[free]
            found = _multipliers(across, gradient[free] * self.unit[free])
            slope = gradient - found @ slopes
            out = ((x <= low) & (slope > 0)) | ((x >= high) & (slope < 0))
            free = ~self.problem.fixed & ~out
        multipliers[active] = found
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
        small = 1e-3 * self.problem.tolerance
        edm = 0.5 * float(right @ inverse @ right) if inner.size else 0.0
        edm += float(np.abs(found) @ (np.abs(rates) + self.rounding[active]))
        whole = np.zeros((len(x), len(x)))
        whole[np.ix_(free, free)] = covariance * unit[:, None] * unit
        negative = (found < 0) & (0.5 * found**2 * np.sum(across**2, axis=1) > small)
        zero = float(np.max(np.abs(rates), initial=0.0)) <= _ZERO
        return _Step(move, found, negative, edm, whole, free, zero and edm <= small)

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


def _multipliers(across: Float[np.ndarray, "active free"], gradient: Float[np.ndarray, " free"]) -> np.ndarray:
    """λ with which the gradient is nearest to Σ λ ∂ν: not negative, if there are such among those that are as near."""
    if not across.size:
        return np.zeros(len(across))
    found: np.ndarray = np.linalg.lstsq(across.T, gradient, rcond=1e-12)[0]
    if np.any(found < 0):
        other, off = scipy.optimize.nnls(across.T, gradient)
        if off <= np.linalg.norm(gradient - found @ across) + 1e-9:
            found = other
    return found


class _Join(NamedTuple):
    """A value at which a parameter's interpolation has a join, and the side on which a bin's ν falls from zero there."""

    parameter: int
    value: float
    side: int


class _Step(NamedTuple):
    """A step of Newton's method on the conditions of a constrained minimum, and what it says of its point.

    Attributes:
        move: the step, 0 for parameters that are not free.
        multipliers: λ of the active bins.
        negative: which of them are below zero by more than f can tell: f falls where these bins are left.
        edm: estimated distance of f to its minimum: on the constraint's tangent, and λ |ν| across it.
        covariance: inverse of the Hessian on the tangent.
        free: False for parameters that are fixed, or held at a bound.
        small: whether the point meets the conditions, but for the signs of multipliers.
    """

    move: Float[np.ndarray, " parameter"]
    multipliers: Float[np.ndarray, " active"]
    negative: Bool[np.ndarray, " active"]
    edm: float
    covariance: Float[np.ndarray, "parameter parameter"]
    free: Bool[np.ndarray, " parameter"]
    small: bool
