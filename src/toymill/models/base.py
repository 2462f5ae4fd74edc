"""What every model gives the engine."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from toymill.errors import ToymillError
from toymill.models.negative_yields import NegativeYields
from toymill.models.sums import RowSum
from toymill.parameters import Parameters

if TYPE_CHECKING:
    from jax import Array
    from jaxtyping import Bool, Float, Int, PyTree
    from numpy.typing import ArrayLike

    from toymill.arrow import Arrow

    # All take the model's constants first, then parameters and data with toys last.
    Values = Callable[..., Array]
    Derivatives = Callable[..., tuple[Array, Array, Array]]
    Solve = Callable[[Array], Array]
    Scoring = Callable[[PyTree, Array, Array], tuple[Array, Array, Callable[[Array], Solve]]]
    Hessian = Callable[[PyTree, Array, Array], tuple[Array, Array, Arrow, tuple[Array, Array]]]
    SecondMinima = Callable[[PyTree, Array, Array, Array, Array], tuple[Array, Array, Array, Array]]
    Product = Callable[[PyTree, Array, Array, Array, Array, Array], tuple[Array, Array]]


class Fast(NamedTuple):
    """What a model with structure gives the minimiser beside its ``Kernel``, with parameters ordered by kind.

    Attributes:
        order: the model's parameter at each place of that order, (P,), from ``arrays``.
        places: the place of each of the model's parameters, (P,), from ``arrays``.
        gradient: nll (T,) and its gradient (P, T), from ``(arrays, x, data)``.
        scoring: the same, and the Fisher information H as a function of which parameters are free, (P, T), that returns
            one from g to H⁻¹ g over these, 0 for the others, both (P, T).
        hessian: nll (T,), its gradient (P, T), its exact Hessian, an ``Arrow``, and what ``Kernel.at_floor`` says, from
            ``(arrays, x, data)``.
    """

    order: Callable[[PyTree], Int[Array, " parameter"]]
    places: Callable[[PyTree], Int[Array, " parameter"]]
    gradient: Callable[[PyTree, Array, Array], tuple[Array, Array]]
    scoring: Scoring
    hessian: Hessian


class Kernel(NamedTuple):
    """The pure functions that the minimiser calls; hashable, so that jit sees one static argument.

    All take ``arrays`` (the model's constants, any pytree), ``x`` of shape (P, T) and ``data`` of
    shape (D, T): toys are the last axis, so that the innermost loops are contiguous.

    Attributes:
        nll: negative log-likelihood less a term of the data alone, shape (T,).
        offset: that term, from ``(arrays, data)``, shape (T,): ``-logpdf = nll + offset``.
        quadratic: nll (T,), its gradient (P, T), and a positive semi-definite curvature (T, P, P).
        exact: nll (T,), its gradient (P, T), and its exact Hessian (T, P, P).
        at_floor: two arrays of shape (T,), from ``(arrays, x, data)``: True where the documented floor
            holds an expectation, so that the likelihood is not the model's; True where one is next to it.
        second_minima: the likeliest second minimum along each parameter, for fits that ended at x, from
            ``(arrays, x, data, fixed, bounds)``, the last of shapes (P,) and (P, 2): how far its nll lies above the fit's,
            about, (P, T), infinite where there is none, and the parameter there, (P, T); then of L in which several
            parameters move together, how far above the fit's their nll lies at least, roughly, (L, T), and True for a
            parameter that may have one at its lower bound, (P, T). Called only for a model with any ``two_minima``.
        product: one of these L, from the same and its number: its nll above the fit's, about, (T,), and all parameters
            there, (P, T).
        fast: further functions of a model whose structure makes its fits faster, or None.
        rates: expected counts of the first data, Poisson ones, (B, T), from ``(arrays, x)``; None for data of other kinds.
    """

    nll: Values
    offset: Callable[..., Array]
    quadratic: Derivatives
    exact: Derivatives
    at_floor: Callable[[PyTree, Array, Array], tuple[Array, Array]]
    second_minima: SecondMinima
    product: Product
    fast: Fast | None = None
    rates: Values | None = None


class Tuning(NamedTuple):
    """What batches of a model's fits are shaped by; hashable, so that jit sees a static argument.

    Attributes:
        block: numbers in the largest temporary of a toy.
        matrix: numbers in the exact Hessian of a toy, as it is computed.
        scanned: values of a parameter at which the kernel's ``second_minima`` computes the nll.
        hessian_is_cheap: True where the exact Hessian costs about as much as a step of Fisher scoring.
        matrix_reuse: for how many more steps a matrix of Fisher scoring serves; 0 where it costs less than a gradient.
        remembered: changes of the gradient that correct the steps of Fisher scoring. They spare a third of the
            steps and more where these are many.
    """

    block: int
    matrix: int
    scanned: int = 0
    hessian_is_cheap: bool = True
    matrix_reuse: int = 0
    remembered: int = 1


class Sampling(NamedTuple):
    """How each datum fluctuates about its expectation.

    Attributes:
        poisson: True for a Poisson count, False for a normal variable, shape (D,).
        sigma: standard deviation of each normal variable (unused for counts), shape (D,).
        auxiliary: True for an auxiliary datum, shape (D,).
        parameter: for an auxiliary datum the index of the parameter it constrains, -1 for none, shape (D,).
        scale: expectation of an auxiliary datum per unit of its parameter, shape (D,).
        observed: an auxiliary datum as observed, else NaN, shape (D,).
    """

    poisson: Bool[np.ndarray, " datum"]
    sigma: Float[np.ndarray, " datum"]
    auxiliary: Bool[np.ndarray, " datum"]
    parameter: Int[np.ndarray, " datum"]
    scale: Float[np.ndarray, " datum"]
    observed: Float[np.ndarray, " datum"]

    def expected(self, params: Float[np.ndarray, " parameter"]) -> Float[np.ndarray, " datum"]:
        """Expectations of the auxiliary data at a point (P,); as observed where they constrain no parameter."""
        expected: np.ndarray = np.where(self.parameter >= 0, self.scale * params[self.parameter], self.observed)
        return expected


class TemplateNoise(NamedTuple):
    """What a model says of the Monte Carlo statistics of its templates.

    Attributes:
        spread: standard deviation of the expectation of each main datum by them, from parameters of shape (P,).
        held: True for the auxiliary data that stand for them in the likelihood, shape (D,).
    """

    spread: Callable[[Float[np.ndarray, " parameter"]], Float[np.ndarray, " main"]]
    held: Bool[np.ndarray, " datum"]


_LARGEST_STEP = 2**16  # numbers of the matrix of a first step that all fits take: a larger one costs more than it saves

A = TypeVar("A")
"""The kind of array: numpy's, or JAX's where it is computed with."""


class FirstStep(NamedTuple, Generic[A]):
    """A step of a fit from some point, linear in the data.

    Attributes:
        start: the point, (P,).
        fixed: True for parameters that do not move, (P,).
        expected: the data expected there, (D,).
        slope: change of the parameters with the data, (P, D).
        change: relative change of the main data's expectations with the data, (B, D), as far as they are linear.
        information: the Fisher information there, (P, P).
    """

    start: A
    fixed: A
    expected: A
    slope: A
    change: A
    information: A


@dataclass(frozen=True, repr=False)
class Model(abc.ABC):
    """A statistical model: parameters, likelihood, expectation, and the observed dataset.

    Attributes:
        parameters: names, initial values, bounds and constraints, in the model's order.
        poi: name of the parameter of interest, or None.
        observed: the observed data, main then auxiliary, shape (D,), or None.
        data_names: a name for each datum, a sequence of length D.
        sampling: how data fluctuate.
        arrays: the constants that the kernel's functions take first.
        kernel: the functions that the minimiser calls.
        digest: SHA-256 of everything that defines the model.
        two_minima: True for a parameter along which the likelihood may have two minima, shape (P,); fits for
            which the kernel's ``second_minima`` says so are then tried from there too.
        kinks: True for a parameter along which the likelihood may have a kink at 0, shape (P,): there the kernel's
            derivatives at a positive and at a negative value are those of either side.
        tuning: what batches of its fits are shaped by.
        starts: further points that every fit is tried from, shape (K, P).
        draw: ``(key, params) -> main data``, one dataset of shape (M,) from a JAX key and parameters of shape (P,),
            for a model that states a density; None where all data follow ``sampling``.
        information: ``params -> expected Fisher information of the main data``, shape (P,) to (P, P), where the model
            states it; else None.
        derived: quantities that are shown beside the parameters, each ``params -> scalar``, by name.
        template_noise: the Monte Carlo statistics of templates, where the model states any; else None.
        negative_yields: the samples whose yields shape variations may make negative, of a HistFactory model; else None.
        first_step: ``(start, fixed) -> FirstStep | None``, from a point and which parameters are fixed, both (P,), where the
            model states it; else None.
        row_sum: the main data's log-likelihood as a sum over rows, where the model states one; else None.
    """

    parameters: Parameters
    poi: str | None
    observed: Float[np.ndarray, " datum"] | None
    data_names: Sequence[str]
    sampling: Sampling
    arrays: PyTree
    kernel: Kernel
    digest: str
    two_minima: Bool[np.ndarray, " parameter"]
    kinks: Bool[np.ndarray, " parameter"]
    tuning: Tuning
    starts: Float[np.ndarray, "start parameter"]
    draw: Callable[..., Float[Array, " main"]] | None
    information: Callable[..., Float[Array, "parameter parameter"]] | None
    derived: Mapping[str, Callable[..., Float[Array, ""]]]
    row_sum: RowSum | None = field(default=None, kw_only=True)
    template_noise: TemplateNoise | None = field(default=None, kw_only=True)
    negative_yields: NegativeYields | None = field(default=None, kw_only=True)
    first_step: Callable[..., FirstStep[np.ndarray] | None] | None = field(default=None, kw_only=True)

    def __repr__(self) -> str:
        interest = "no parameter of interest" if self.poi is None else f"of interest {self.poi}"
        observed = "observed" if self.observed is not None else "none observed"
        return (
            f"<Model of {len(self.data_names)} data ({observed}) with {len(self.parameters)} parameters, {interest}; "
            f"digest {self.digest[:12]}>"
        )

    @property
    def poi_index(self) -> int:
        """Position of the parameter of interest; raises ToymillError if the model has none."""
        if self.poi is None:
            msg = "This model has no parameter of interest. Name one with poi=…"
            raise ToymillError(msg)
        return self.parameters.index(self.poi)

    @cached_property
    def initial_step(self) -> FirstStep[np.ndarray] | None:
        """The first step of free fits from the initial values; None where there is none, or where it is large."""
        if self.first_step is None or len(self.parameters) * len(self.data_names) > _LARGEST_STEP:
            return None
        return self.first_step(self.parameters.init, self.parameters.fixed)

    @abc.abstractmethod
    def expected_data(self, params: ArrayLike) -> Float[Array, "*toy datum"]:
        """Expected main and auxiliary data: shape (P,) to (D,), or (n, P) to (n, D)."""

    def logpdf(self, params: ArrayLike, data: ArrayLike) -> Float[Array, "*toy"]:
        """Log-likelihood with all constants.

        Args:
            params: parameter values, shape (P,) or (n, P).
            data: main and auxiliary data, shape (D,) or (n, D).

        Returns:
            The logarithm of the probability density, a scalar or shape (n,).

        Raises:
            ToymillError: a length that is not the model's, other numbers of points and of datasets.
        """
        return self._evaluate(partial(_logpdf, self.kernel), params, data)

    def _evaluate(self, function: Values, params: ArrayLike, data: ArrayLike) -> Float[Array, "*toy"]:
        """A function of (arrays, x, data), toys last, at parameters and data with toys first."""
        x = columns(params, len(self.parameters), "params", "parameters")
        values = columns(data, len(self.data_names), "data", "data")
        count = max(x.shape[1], values.shape[1])
        if not {x.shape[1], values.shape[1]} <= {1, count}:
            msg = f"There are {x.shape[1]} points and {values.shape[1]} datasets; expected one of either, or as many."
            raise ToymillError(msg)
        x, values = (jnp.broadcast_to(item, (len(item), count)) for item in (x, values))
        found = function(self.arrays, x, values)
        return found[0] if np.ndim(params) == 1 and np.ndim(data) == 1 else found


@partial(jax.jit, static_argnames=("kernel",))
def _logpdf(
    kernel: Kernel, arrays: PyTree, x: Float[Array, "parameter toy"], data: Float[Array, "datum toy"]
) -> Float[Array, " toy"]:
    return -(kernel.nll(arrays, x, data) + kernel.offset(arrays, data))


def columns(values: ArrayLike, length: int, name: str, noun: str) -> Float[Array, "length toy"]:
    """(length,) or (n, length) to (length, n), in float64."""
    require_x64()
    array = jnp.asarray(values, dtype=jnp.float64)
    if array.ndim not in (1, 2) or array.shape[-1] != length:
        msg = f"{name} has shape {array.shape}; expected ({length},) or (n, {length}): the model has {length} {noun}."
        raise ToymillError(msg)
    return jnp.atleast_2d(array).T


def require_x64() -> None:
    """Raises ToymillError unless JAX computes in float64: t_mu is a difference of large numbers."""
    if jnp.zeros(0).dtype != jnp.float64:
        msg = (
            "JAX computes in float32 here, which is not precise enough for a likelihood ratio. At the top of the script write: "
            "import jax; jax.config.update('jax_enable_x64', True). Or set JAX_ENABLE_X64=1 in the environment."
        )
        raise ToymillError(msg)
