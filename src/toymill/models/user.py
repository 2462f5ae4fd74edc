"""Models stated in Python: any pure JAX likelihood, with derivatives by automatic differentiation.

``define_model`` checks what is stated, and ``autodiff`` makes the functions of the minimiser; docs/python-models.md is the
guide.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, overload

import jax
import numpy as np
from jax import Array

from toymill.errors import ToymillError
from toymill.models.autodiff import LogDensity, flattened, kernel_of, poisson_logpdf, shaped_logpdf, sum_logpdf
from toymill.models.base import Model, Sampling, Tuning, columns, require_x64
from toymill.models.densities import expected_data
from toymill.models.sums import ClosedForm, RowSum, Terms
from toymill.parameters import Constraints, Parameters, constraints_of, why_no_name

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import ArrayLike

_PER_BLOCK = 4096  # data of one toy that the derivatives of a sum over rows take together

Throw = Callable[[Array, Array], Array]
"""``(key, params) -> data``, one main dataset."""

Quantity = Callable[[Array], Array]
"""A function of ``params`` alone."""


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

    @property
    def main(self) -> str:
        """Name and shape of the main data, as ``data[3]``."""
        return f"{self.name}[{','.join(map(str, self.shape))}]" if self.shape else self.name

    def __len__(self) -> int:
        return math.prod(self.shape) + len(self.auxiliary)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...

    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        position = range(len(self))[index]
        main = math.prod(self.shape)
        if position >= main:
            return self.auxiliary[position - main]
        if not self.shape:
            return self.name
        return f"{self.name}[{','.join(map(str, np.unravel_index(position, self.shape)))}]"


@dataclass(frozen=True, repr=False)
class UserModel(Model):
    """A model made by ``define_model``.

    Attributes:
        data_names: a name for each datum.
        shape: shape of one main dataset.
        expected: ``params -> expected counts`` of that shape, or None for a density.
        terms: ``(params, row, number) -> log-densities`` for a sum over rows, or None.
        logpdf_of: ``(params, main data) -> log-density`` of one main dataset.
        mismatch: True if toys are meant to follow another density.
    """

    data_names: Names
    shape: tuple[int, ...]
    expected: Quantity | None
    terms: Terms | None
    logpdf_of: LogDensity
    mismatch: bool

    def expected_data(self, params: ArrayLike) -> Float[Array, "*toy datum"]:
        """Expected main and auxiliary data, shape (P,) to (D,) or (n, P) to (n, D).

        Raises:
            ToymillError: a number of parameters that is not the model's; a model that states a density.
        """
        if self.expected is None:
            msg = "This model states a density, not expected counts, so it has no expected data."
            raise ToymillError(msg)
        x = columns(params, len(self.parameters), "params", "parameters")
        expected = expected_data(self.arrays, jax.vmap(flattened(self.expected), 1, 1)(x), x).T
        return expected[0] if np.ndim(params) == 1 else expected


def define_model(
    parameters: Mapping[str, Parameter],
    *,
    poi: str | None = None,
    logpdf: LogDensity | None = None,
    terms: Terms | None = None,
    row_derivatives: ClosedForm | None = None,
    expected: Quantity | None = None,
    throw: Throw | None = None,
    observed: ArrayLike | None = None,
    information: Quantity | None = None,
    derived: Mapping[str, Quantity] | None = None,
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
    _require_forms(derived or {}, starts)
    points = np.array([checked.values(start) for start in starts]).reshape(-1, len(checked))
    shape = _shape_of_data(expected, throw, checked.init)
    counts = None if expected is None else flattened(expected)
    constraints, sampling, auxiliary = _constraints(parameters, math.prod(shape), counts=expected is not None)
    nominal = None
    if observed is not None:
        main = _observed(observed, shape, counts=expected is not None)
        nominal = np.concatenate([main.ravel(), sampling.observed[math.prod(shape) :]])
    rows = _rows(terms, row_derivatives, shape)
    if counts is not None:
        main_logpdf = poisson_logpdf(counts)
    elif terms is not None:
        main_logpdf = sum_logpdf(terms, shape)
    else:
        assert logpdf is not None
        main_logpdf = shaped_logpdf(logpdf, shape)
    size, width = len(checked), min(math.prod(shape), _PER_BLOCK) if terms is not None else math.prod(shape)
    statement = [list(parameters), [list(map(str, item)) for item in parameters.values()], shape, poi, name]
    return UserModel(
        parameters=checked,
        poi=poi,
        observed=nominal,
        data_names=Names(name, shape, auxiliary),
        sampling=sampling,
        arrays=constraints,
        kernel=kernel_of(main_logpdf, None if rows is None else rows.terms, shape, counts),
        digest=hashlib.sha256(repr(statement).encode()).hexdigest(),
        two_minima=np.zeros(len(checked), dtype=bool),
        kinks=np.zeros(len(checked), dtype=bool),
        tuning=Tuning(block=size * max(size, width), matrix=size * size),
        starts=points,
        draw=None if throw is None else flattened(throw),
        information=information,
        derived=dict(derived or {}),
        row_sum=rows,
        shape=shape,
        expected=expected,
        terms=terms,
        logpdf_of=main_logpdf,
        mismatch=mismatch,
    )


def _require_forms(derived: Mapping[str, Quantity], starts: Sequence[Mapping[str, float]]) -> None:
    for key, value, kind in (("derived", derived, Mapping), ("starts", starts, Sequence)):
        if not isinstance(value, kind) or not all(isinstance(item, Mapping) for item in value if key == "starts"):
            form = "a mapping of names to functions" if key == "derived" else "a list of mappings, as [{'mu': 2.0}]"
            msg = f"{key} is {value!r}; expected {form}."
            raise ToymillError(msg)
    for name in derived:
        if why_no_name(str(name)):
            msg = f"derived[{name!r}]: {why_no_name(str(name))}"
            raise ToymillError(msg)


def _rows(terms: Terms | None, row_derivatives: ClosedForm | None, shape: tuple[int, ...]) -> RowSum | None:
    if terms is None:
        if row_derivatives is not None:
            msg = "row_derivatives are those of terms, which this model has not."
            raise ToymillError(msg)
        return None
    return RowSum(terms if row_derivatives is None else row_derivatives, shape)


def _observed(observed: ArrayLike, shape: tuple[int, ...], *, counts: bool) -> Float[np.ndarray, " ..."]:
    """The observed main data, of the shape of those that are thrown."""
    main = np.asarray(observed, dtype=np.float64)
    if main.shape != shape:
        msg = f"observed has shape {main.shape}; expected {shape}, as thrown."
        raise ToymillError(msg)
    bad = ~np.isfinite(main) | (counts & (main < 0))
    if bad.any():
        wanted = "counts, 0 or more" if counts else "finite numbers"
        msg = f"observed has {main[bad][0]:g} as entry {int(np.flatnonzero(bad)[0])}; expected {wanted}."
        raise ToymillError(msg)
    return main


def _parameters(parameters: Mapping[str, Parameter]) -> Parameters:
    if not isinstance(parameters, Mapping) or not parameters:
        msg = f"parameters is {parameters!r}; expected a mapping of names to toymill.Parameter, with at least one."
        raise ToymillError(msg)
    for name, item in parameters.items():
        if not isinstance(name, str) or not isinstance(item, Parameter):
            msg = f"parameters[{name!r}] is {item!r}; expected toymill.Parameter(init, bounds=(low, high), …)."
            raise ToymillError(msg)
        if why_no_name(name):
            msg = f"parameters[{name!r}]: {why_no_name(name)}"
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


def _require_one_statement(
    logpdf: LogDensity | None, terms: Terms | None, expected: Quantity | None, throw: Throw | None
) -> None:
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


def _shape_of_data(
    expected: Quantity | None, throw: Throw | None, init: Float[np.ndarray, " parameter"]
) -> tuple[int, ...]:
    if expected is not None:
        made = jax.eval_shape(expected, init)
    else:
        assert throw is not None
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
) -> tuple[Constraints[np.ndarray], Sampling, tuple[str, ...]]:
    """The constraints as arrays, how all data fluctuate, and the names of the auxiliary data."""
    constrained = [
        (i, name, item, item.constraint) for i, (name, item) in enumerate(parameters.items()) if item.constraint
    ]
    normal = [(size + k, i, c[0]) for k, (i, _, _, c) in enumerate(constrained) if isinstance(c, NormalConstraint)]
    poisson = [(size + k, i, c[0]) for k, (i, _, _, c) in enumerate(constrained) if isinstance(c, PoissonConstraint)]
    arrays = constraints_of(normal, poisson, len(parameters))

    def whole(main: float, auxiliary: Sequence[float]) -> np.ndarray:
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
