"""Models stated in Python: any pure JAX likelihood, with derivatives by automatic differentiation."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from toymill.errors import ToymillError
from toymill.models.base import Kernel, Model, Sampling, Tuning, columns, require_x64
from toymill.models.densities import (
    FLOOR,
    at_floor,
    bins_nll,
    constraint_information,
    constraint_nll,
    constraint_offset,
    expected_data,
    poisson_offset,
)
from toymill.models.sums import RowDerivatives, derivatives, negative_log_likelihood
from toymill.parameters import Constraints, Parameters, constraints_of

_PER_BLOCK = 4096  # data of one toy that the derivatives of a sum over rows look at together


class NormalConstraint(NamedTuple):
    """A subsidiary measurement a ~ Normal(θ, sigma), observed at the parameter's initial value."""

    sigma: float


class PoissonConstraint(NamedTuple):
    """A subsidiary count a ~ Poisson(tau θ), observed at tau times the parameter's initial value."""

    tau: float


class Parameter(NamedTuple):
    """A parameter of a model: initial value, bounds, whether it is fixed, and its constraint.

    Attributes:
        init: the initial (nominal) value.
        bounds: lower and upper bound; infinite for none.
        fixed: True for a parameter that is not fitted.
        constraint: the subsidiary measurement behind it, a ``NormalConstraint`` or ``PoissonConstraint``, or None.
    """

    init: float
    bounds: tuple[float, float] = (-math.inf, math.inf)
    fixed: bool = False
    constraint: NormalConstraint | PoissonConstraint | None = None


@dataclass(frozen=True)
class Names(Sequence[str]):
    """Names of the data, made when they are asked for: ``name[i,j]`` of an array, then the auxiliary ones."""

    name: str
    shape: tuple[int, ...]
    auxiliary: tuple[str, ...]

    def __len__(self) -> int:
        return math.prod(self.shape) + len(self.auxiliary)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        position = range(len(self))[index]
        main = math.prod(self.shape)
        if position >= main:
            return self.auxiliary[position - main]
        if not self.shape:
            return self.name
        return f"{self.name}[{','.join(map(str, np.unravel_index(position, self.shape)))}]"


@dataclass(frozen=True)
class UserModel(Model):
    """A model made by ``define_model``.

    Attributes:
        shape: shape of one main dataset.
        expected: ``params -> expected counts`` of that shape, or None for a density.
        terms: ``(params, row, number) -> log-densities`` for a sum over rows, or None.
        summed: what the derivatives of such a sum are taken from: ``terms``, or their closed form; or None.
        logpdf_of: ``(params, main data) -> log-density`` of one main dataset.
        mismatch: True if toys are meant to follow another density.
    """

    shape: tuple[int, ...]
    expected: Callable[..., Any] | None
    terms: Callable[..., Any] | None
    summed: Callable[..., Any] | RowDerivatives | None
    logpdf_of: Callable[..., Any]
    mismatch: bool

    def expected_data(self, params: Any) -> Any:
        """Expected main and auxiliary data, shape (P,) to (D,) or (n, P) to (n, D).

        Raises:
            ToymillError: a number of parameters that is not the model's; a model that states a density.
        """
        if self.expected is None:
            msg = "This model states a density, not expected counts, so it has no expected data."
            raise ToymillError(msg)
        x = columns(params, len(self.parameters), "params", "parameters")
        expected = expected_data(self.arrays, jax.vmap(_flat(self.expected), 1, 1)(x), x).T
        return expected[0] if np.ndim(params) == 1 else expected


def define_model(
    parameters: Mapping[str, Parameter],
    *,
    poi: str | None = None,
    logpdf: Callable[..., Any] | None = None,
    terms: Callable[..., Any] | None = None,
    row_derivatives: RowDerivatives | None = None,
    expected: Callable[..., Any] | None = None,
    throw: Callable[..., Any] | None = None,
    observed: Any = None,
    information: Callable[..., Any] | None = None,
    derived: Mapping[str, Callable[..., Any]] | None = None,
    starts: Sequence[Mapping[str, float]] = (),
    mismatch: bool = False,
    name: str = "data",
) -> UserModel:
    """A model from pure JAX functions of one dataset. docs/python-models.md is the guide.

    The likelihood is stated in one of three ways. ``params`` is a vector of shape (P,), in the order of
    ``parameters``; data are one array of any fixed shape. Constraints are added by toymill: their auxiliary data
    follow the main data, fluctuate with them, and are no business of these functions.

    Args:
        parameters: a ``Parameter`` for each name.
        poi: name of the parameter of interest.
        logpdf: ``(params, data) -> scalar``, the log-density of the main data with all constants.
        terms: ``(params, row, number) -> array``, the log-densities of ``data[number]``: the log-likelihood is
            their sum over rows, and its derivatives are taken block by block in little memory. ``params`` is here a
            tuple of numbers.
        row_derivatives: the derivatives of ``terms`` in closed form, where that is faster; see ``models.sums``.
        expected: ``params -> array``, the expectations of independent Poisson counts; they need no ``throw``, and
            are fitted by Fisher scoring.
        throw: ``(key, params) -> data``, one dataset from a key of ``jax.random``.
        observed: the observed main data, if there are any.
        information: ``params -> (P, P)``, the expected Fisher information of the main data as thrown, if it is
            known; else it is estimated from toys.
        derived: functions ``params -> scalar`` by name: quantities that the summary shows beside the parameters.
        starts: further points that every fit is tried from, as values by name, where a likelihood may have several
            minima.
        mismatch: toys are meant to follow another density than that of the likelihood; ``check_model`` otherwise refuses
            a throw that does.
        name: name of the data.

    Raises:
        ToymillError: a statement that is incomplete or contradicts itself. What the functions do is checked by
            ``toymill.check_model``.

    Example:
        >>> import jax, jax.numpy as jnp, toymill
        >>> jax.config.update("jax_enable_x64", True)
        >>> model = toymill.define_model(
        ...     {"rate": toymill.Parameter(2.0, (0.0, 100.0))}, poi="rate", expected=lambda p: p[0] * jnp.ones(3)
        ... )
        >>> fits = toymill.fit(model, [1.0, 2.0, 6.0])
        >>> round(float(fits.parameters[0, 0]), 9)
        3.0
    """
    require_x64()
    checked = _parameters(parameters)
    _require_one_statement(logpdf, terms, expected, throw)
    if poi is not None:
        checked.index(poi)
    for key, value, kind in (("derived", derived or {}, Mapping), ("starts", starts, Sequence)):
        if not isinstance(value, kind) or not all(isinstance(item, Mapping) for item in value if key == "starts"):
            form = "a mapping of names to functions" if key == "derived" else "a list of mappings, as [{'mu': 2.0}]"
            msg = f"{key} is {value!r}; expected {form}."
            raise ToymillError(msg)
    points = np.array([checked.values(start) for start in starts]).reshape(-1, len(checked))
    if row_derivatives is not None and terms is None:
        msg = "row_derivatives are those of terms, which this model has not."
        raise ToymillError(msg)
    summed = terms if row_derivatives is None else row_derivatives
    shape = _shape_of_data(expected, throw, checked.init)
    constraints, sampling, auxiliary = _constraints(parameters, math.prod(shape), counts=expected is not None)
    nominal = None
    if observed is not None:
        main = np.asarray(observed, dtype=np.float64)
        if main.shape != shape:
            msg = f"observed has shape {main.shape}; expected {shape}, as thrown."
            raise ToymillError(msg)
        bad = ~np.isfinite(main) | ((expected is not None) & (main < 0))
        if bad.any():
            wanted = "finite numbers" if expected is None else "counts, 0 or more"
            msg = f"observed has {main[bad][0]:g} as entry {int(np.flatnonzero(bad)[0])}; expected {wanted}."
            raise ToymillError(msg)
        nominal = np.concatenate([main.ravel(), sampling.observed[math.prod(shape) :]])
    if expected is not None:
        main_logpdf = _poisson_logpdf(_flat(expected))
    elif terms is not None:
        main_logpdf = _sum_logpdf(terms, shape)
    else:
        assert logpdf is not None
        main_logpdf = _shaped_logpdf(logpdf, shape)
    statement = [list(parameters), [list(map(str, item)) for item in parameters.values()], shape, poi, name]
    return UserModel(
        parameters=checked,
        poi=poi,
        observed=nominal,
        data_names=Names(name, shape, auxiliary),
        sampling=sampling,
        arrays=constraints,
        kernel=_kernel(main_logpdf, summed, shape, None if expected is None else _flat(expected)),
        digest=hashlib.sha256(repr(statement).encode()).hexdigest(),
        two_minima=np.zeros(len(checked), dtype=bool),
        trials=(),
        kinks=np.zeros(len(checked), dtype=bool),
        tuning=Tuning(width=min(math.prod(shape), _PER_BLOCK) if terms is not None else math.prod(shape)),
        starts=points,
        draw=None if expected is not None else _flat(throw),
        information=information,
        derived=dict(derived or {}),
        shape=shape,
        expected=expected,
        terms=terms,
        summed=summed,
        logpdf_of=main_logpdf,
        mismatch=mismatch,
    )


def _parameters(parameters: Mapping[str, Parameter]) -> Parameters:
    if not isinstance(parameters, Mapping) or not parameters:
        msg = f"parameters is {parameters!r}; expected a mapping of names to toymill.Parameter, with at least one."
        raise ToymillError(msg)
    for name, item in parameters.items():
        if not isinstance(name, str) or not isinstance(item, Parameter):
            msg = f"parameters[{name!r}] is {item!r}; expected toymill.Parameter(init, bounds=(low, high), …)."
            raise ToymillError(msg)
        try:
            init, low, high = float(item.init), *(float(bound) for bound in item.bounds)
        except (TypeError, ValueError):
            msg = (
                f"parameters[{name!r}] has init {item.init!r} and bounds {item.bounds!r}; expected numbers and a pair."
            )
            raise ToymillError(msg) from None
        if not math.isfinite(init) or not low <= init <= high or not low < high:
            msg = f"parameters[{name!r}] starts at {init:g}; expected a number inside its bounds, ({low:g}, {high:g})."
            raise ToymillError(msg)
        _check_constraint(name, item)
    return Parameters(
        names=tuple(parameters),
        init=np.array([item.init for item in parameters.values()], dtype=np.float64),
        bounds=np.array([item.bounds for item in parameters.values()], dtype=np.float64),
        fixed=np.array([bool(item.fixed) for item in parameters.values()]),
        constraint=tuple(_KINDS[type(item.constraint)] for item in parameters.values()),
    )


_KINDS: dict[type, str] = {NormalConstraint: "normal", PoissonConstraint: "poisson", type(None): "none"}


def _check_constraint(name: str, item: Parameter) -> None:
    if type(item.constraint) not in _KINDS:
        msg = (
            f"parameters[{name!r}] has the constraint {item.constraint!r}; expected toymill.NormalConstraint(sigma), "
            "toymill.PoissonConstraint(tau) or None."
        )
        raise ToymillError(msg)
    if item.constraint is not None and not (math.isfinite(item.constraint[0]) and item.constraint[0] > 0):
        msg = f"parameters[{name!r}] has the constraint {item.constraint!r}; expected a positive number in it."
        raise ToymillError(msg)
    if isinstance(item.constraint, PoissonConstraint) and not (item.init > 0 and item.bounds[0] >= 0):
        msg = (
            f"parameters[{name!r}] has a Poisson constraint, so it is positive; expected an initial value above 0 and "
            f"a lower bound of 0 or more, got {item.init:g} and {item.bounds[0]:g}."
        )
        raise ToymillError(msg)


def _require_one_statement(logpdf: Any, terms: Any, expected: Any, throw: Any) -> None:
    given = {"logpdf": logpdf, "terms": terms, "expected": expected}
    named = [key for key, value in given.items() if value is not None]
    if len(named) != 1:
        msg = f"A model has one of logpdf, terms and expected; got {' and '.join(named) or 'none'}."
        raise ToymillError(msg)
    if expected is None and throw is None:
        msg = f"A model with {named[0]} needs throw too: (key, params) -> data, for one dataset."
        raise ToymillError(msg)
    if expected is not None and throw is not None:
        msg = "A model with expected throws Poisson counts by itself; leave out throw, or state the density as logpdf."
        raise ToymillError(msg)
    takes = {"logpdf": 2, "terms": 3, "expected": 1, "throw": 2}
    for key, value in (given | {"throw": throw}).items():
        if value is None:
            continue
        if not callable(value):
            msg = f"{key} is {value!r}; expected a function."
            raise ToymillError(msg)
        try:
            inspect.signature(value).bind(*range(takes[key]))
        except TypeError as error:
            words = {"logpdf": "(params, data)", "terms": "(params, row, number)", "expected": "(params)"}
            msg = f"{key} does not take {words.get(key, '(key, params)')}: {error}."
            raise ToymillError(msg) from None
        except ValueError:  # a built-in without a signature
            pass


def _shape_of_data(expected: Any, throw: Any, init: np.ndarray) -> tuple[int, ...]:
    if expected is not None:
        made = jax.eval_shape(expected, init)
    else:
        made = jax.eval_shape(lambda key, params: throw(key, params), jax.random.key(0), init)
    if not hasattr(made, "shape"):
        msg = f"{'throw' if expected is None else 'expected'} returned {type(made).__name__}; expected one array."
        raise ToymillError(msg)
    if math.prod(made.shape) == 0:
        msg = f"{'throw' if expected is None else 'expected'} returned an array of shape {made.shape}, without data."
        raise ToymillError(msg)
    return tuple(made.shape)


def _constraints(
    parameters: Mapping[str, Parameter], size: int, *, counts: bool
) -> tuple[Constraints, Sampling, tuple[str, ...]]:
    """The constraints as arrays, how all data fluctuate, and the names of the auxiliary data."""
    constrained = [
        (i, name, item, item.constraint) for i, (name, item) in enumerate(parameters.items()) if item.constraint
    ]
    normal = [(size + k, i, c[0]) for k, (i, _, _, c) in enumerate(constrained) if isinstance(c, NormalConstraint)]
    poisson = [(size + k, i, c[0]) for k, (i, _, _, c) in enumerate(constrained) if isinstance(c, PoissonConstraint)]
    arrays = constraints_of(normal, poisson, len(parameters))

    def whole(main: Any, auxiliary: Sequence[Any]) -> np.ndarray:
        if not auxiliary:
            return np.broadcast_to(np.asarray(main), (size,))  # an image of millions of pixels costs no memory
        return np.concatenate([np.full(size, main), np.array(auxiliary)])

    scale = [1.0 if isinstance(c, NormalConstraint) else c[0] for *_, c in constrained]
    sampling = Sampling(
        poisson=whole(counts, [isinstance(c, PoissonConstraint) for *_, c in constrained]),
        sigma=whole(1.0, [c[0] for *_, c in constrained]),
        auxiliary=whole(False, [True] * len(constrained)),
        parameter=whole(-1, [i for i, *_ in constrained]),
        scale=whole(1.0, scale),
        observed=whole(np.nan, [s * item.init for s, (_, _, item, _) in zip(scale, constrained, strict=True)]),
    )
    return arrays, sampling, tuple(f"{name} (auxiliary)" for _, name, *_ in constrained)


def _flat(function: Any) -> Callable[..., Any]:
    """The function with its array flattened and in float64."""
    return lambda *arguments: jnp.ravel(jnp.asarray(function(*arguments), dtype=jnp.float64))


def _poisson_logpdf(expected: Callable[..., Any]) -> Callable[..., Any]:
    def logpdf(params: Any, main: Any) -> Any:
        counts = main[:, None]
        return -(bins_nll(expected(params)[:, None], counts) + jnp.sum(poisson_offset(counts), axis=0))[0]

    return logpdf


def _sum_logpdf(terms: Callable[..., Any], shape: tuple[int, ...]) -> Callable[..., Any]:
    return lambda params, main: -negative_log_likelihood(terms, params, main.reshape(shape))


def _shaped_logpdf(logpdf: Callable[..., Any], shape: tuple[int, ...]) -> Callable[..., Any]:
    return lambda params, main: logpdf(params, main.reshape(shape))


def _kernel(
    logpdf: Callable[..., Any],
    summed: Callable[..., Any] | RowDerivatives | None,
    shape: tuple[int, ...],
    expected: Callable[..., Any] | None,
) -> Kernel:
    """The minimiser's functions: those of one toy, mapped over the last axis."""
    size = math.prod(shape)

    def nll(arrays: Any, x: Any, data: Any) -> Any:
        main = jax.vmap(lambda params, row: -logpdf(params, row), (1, 1))(x, data[:size])
        return main + constraint_nll(arrays, x, data) + constraint_offset(arrays, data)

    def single(x: Any, row: Any, arrays: Any) -> Any:
        return nll(arrays, x[:, None], row[:, None])[0]

    def by_autodiff(x: Any, row: Any, arrays: Any) -> Any:
        value, gradient = jax.value_and_grad(single)(x, row, arrays)
        return value, gradient, jax.hessian(single)(x, row, arrays)

    def by_sums(x: Any, row: Any, arrays: Any) -> Any:
        def constraints(x: Any) -> Any:
            columns = row[:, None]
            return (constraint_nll(arrays, x[:, None], columns) + constraint_offset(arrays, columns))[0]

        assert summed is not None
        value, gradient, hessian = derivatives(summed, x, row[:size].reshape(shape))
        added = jax.value_and_grad(constraints)(x)
        return value + added[0], gradient + added[1], hessian + jax.hessian(constraints)(x)

    def exact(arrays: Any, x: Any, data: Any) -> Any:
        of_one = by_autodiff if summed is None else by_sums
        value, gradient, hessian = jax.vmap(of_one, (1, 1, None))(x, data, arrays)
        return value, gradient.T, hessian

    def scoring(arrays: Any, x: Any, data: Any) -> Any:
        assert expected is not None
        value, gradient = jax.vmap(jax.value_and_grad(single), (1, 1, None))(x, data, arrays)
        return value, gradient.T, poisson_information(expected, x) + _diagonal(constraint_information(arrays, x))

    def floors(_: Any, x: Any, data: Any) -> Any:
        if expected is None:
            return jnp.zeros(x.shape[1], dtype=bool), jnp.zeros(x.shape[1], dtype=bool)
        return at_floor(jax.vmap(expected, 1, 1)(x), data[:size])

    return Kernel(
        nll=nll,
        offset=lambda _, data: jnp.zeros(data.shape[1]),
        quadratic=exact if expected is None else scoring,
        exact=exact,
        at_floor=floors,
        second_minima=lambda _, x, *__: (jnp.full_like(x, jnp.inf), x, jnp.full_like(x, jnp.inf)),
    )


def poisson_information(expected: Callable[..., Any], x: Any) -> Any:
    """Expected Fisher information of Poisson counts, Σ_b (∂ν_b)(∂ν_b)ᵀ/ν_b; x is (P, T), the result (T, P, P)."""

    def of_one(params: Any) -> Any:
        jacobian = jax.jacfwd(expected)(params)  # (B, P)
        scaled = jacobian / jnp.sqrt(jnp.maximum(expected(params), FLOOR))[:, None]
        return scaled.T @ scaled

    return jax.vmap(of_one, 1)(x)


def _diagonal(values: Any) -> Any:
    """(P, T) to (T, P, P)."""
    return jax.vmap(jnp.diag, 1)(values)
