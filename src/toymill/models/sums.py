"""Log-likelihoods that are sums over rows of data: value, gradient and exact Hessian in the memory of one block of rows.

A model is a function ``terms(params, row, number)``: the parameters as a tuple of P scalars (to be unpacked: what a
part of the expression does not use then costs its derivatives nothing), ``row = data[number]`` of shape (...), and
the row's number, from which coordinates can be computed. It returns the log-density of that row's data, an array of
any shape: the log-likelihood is the sum over its entries and over all rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

if TYPE_CHECKING:
    from jax.typing import ArrayLike
    from jaxtyping import Float, Shaped

Tree = TypeVar("Tree")
"""A pytree of arrays."""

Scalars = tuple[Array, ...]
"""The parameters as a tuple of numbers."""

Terms = Callable[[Scalars, Array, Array], Array]
"""``(params, row, number) -> log-densities`` of a row's data."""

NllDerivatives = tuple[Array, Array, Array]
"""The nll, its gradient, (parameter,), and its Hessian, (parameter, parameter)."""

_BLOCK = 4096  # data in a block of short rows: the arrays of 28 derivatives then fit in an L2 cache of 1 MiB
_CHUNKS = 64  # rows are handed to threads in so many parts, whatever the number of threads


class RowDerivatives(NamedTuple, Generic[Tree]):
    """NllDerivatives that are known in closed form, to be used in place of terms.

    Attributes:
        row: what to sum over rows, arrays from ``(params, row, number)``, each linear in what the row adds.
        finish: nll, gradient (P,) and Hessian (P, P), linear in the sums, from ``(params, sums)``.
    """

    row: Callable[[Scalars, Array, Array], Tree]
    finish: Callable[[Scalars, Tree], NllDerivatives]


ClosedForm = RowDerivatives[Any]
"""NllDerivatives in closed form, with sums of any kind."""

RowTerms = Terms | ClosedForm
"""The log-density of a row's data, or its derivatives in closed form."""


class RowSum(NamedTuple):
    """A log-likelihood that is a sum over rows of one dataset.

    Attributes:
        terms: log-density of a row's data, or its derivatives in closed form.
        shape: shape of one main dataset, rows first.
    """

    terms: RowTerms
    shape: tuple[int, ...]


def negative_log_likelihood(
    terms: Terms, params: Float[Array, " parameter"], data: Float[Array, "row ..."]
) -> Float[Array, ""]:
    """The negative log-likelihood, -Σ_rows Σ terms(params, data[number], number), traceable by JAX.

    Args:
        terms: log-density of a row's data, see above.
        params: parameters, shape (P,).
        data: shape (R, ...).

    Returns:
        A scalar.

    Example:
        >>> import jax, numpy as np
        >>> jax.config.update("jax_enable_x64", True)
        >>> def terms(params, row, number):
        ...     return -0.5 * (row - params[0] - params[1] * number) ** 2
        >>> float(negative_log_likelihood(terms, np.zeros(2), np.ones((3, 4))))
        6.0
    """
    return -jnp.sum(_row_sum(terms, _scalars(params), jnp.asarray(data)))


def derivatives(terms: RowTerms, params: Float[Array, " parameter"], data: Float[Array, "row ..."]) -> NllDerivatives:
    """The negative log-likelihood, its gradient and its exact Hessian, traceable by JAX.

    The derivatives are taken row by row, forward over forward along each of the P (P + 1) / 2 pairs of parameters,
    and summed over rows entry by entry: memory is that of (P + 1) (P + 2) / 2 rows (keep rows below 10⁴ entries).

    Args:
        terms: log-density of a row's data, see above, or its derivatives in closed form.
        params: parameters, shape (P,).
        data: shape (R, ...).

    Returns:
        The nll, its gradient (P,), and its Hessian (P, P).

    Example:
        >>> import jax, numpy as np
        >>> jax.config.update("jax_enable_x64", True)
        >>> def terms(params, row, number):
        ...     return -0.5 * (row - params[0] - params[1] * number) ** 2
        >>> for part in derivatives(terms, np.zeros(2), np.ones((3, 4))):
        ...     print(np.asarray(part).tolist())
        6.0
        [-12.0, -12.0]
        [[12.0, 12.0], [12.0, 20.0]]
    """
    return _derivatives(terms, params, jnp.asarray(data))


def parallel_derivatives(
    terms: RowTerms,
    params: Float[Array, " parameter"],
    data: Float[Array, "row ..."] | Float[np.ndarray, "row ..."],
    threads: int | None = None,
) -> tuple[Float[np.ndarray, ""], Float[np.ndarray, " parameter"], Float[np.ndarray, "parameter parameter"]]:
    """What ``derivatives`` gives, of one large dataset on several cores; not traceable.

    Rows are evaluated in parts whose number does not depend on that of the threads, and added in order: the result
    has the same bits for any number of threads. It is compiled once for each ``terms``: pass the same function object
    again. It gains from 10⁶ data on, and where XLA has as many threads: call ``toymill.job.prepare(threads)`` first.

    Args:
        terms: log-density of a row's data, see above, or its derivatives in closed form.
        params: parameters, shape (P,).
        data: shape (R, ...), C-contiguous. Of a NumPy array the parts at work are copied; of a JAX array, whose rows
            start at multiples of 64 bytes, none is.
        threads: number of threads; if None, of the cores that this process may use.

    Returns:
        The nll, its gradient (P,), and its Hessian (P, P), as NumPy arrays.
    """
    values = np.asarray(data)
    rows = len(values)
    length = -(-rows // _CHUNKS)
    point = jnp.asarray(params)

    def part(begin: int) -> list[np.ndarray]:
        start = min(begin, rows - length)  # the last part overlaps others: all have one shape, compiled once
        found = _jitted(terms, point, values[start : start + length], start, begin - start)
        return [np.asarray(one) for one in found]

    with ThreadPoolExecutor(threads or _cores()) as pool:
        parts = list(pool.map(part, range(0, rows, length)))
    nll, gradient, hessian = (np.sum(kind, axis=0) for kind in zip(*parts, strict=True))
    return nll, gradient, hessian


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _derivatives(
    terms: RowTerms, params: ArrayLike, rows: Array, start: ArrayLike = 0, skip: ArrayLike = 0
) -> NllDerivatives:
    point = _scalars(params)
    known = terms if isinstance(terms, RowDerivatives) else _by_jax(terms)
    return known.finish(point, _row_sum(known.row, point, rows, start, skip))


_jitted = partial(jax.jit, static_argnums=0)(_derivatives)


def _scalars(params: ArrayLike) -> Scalars:
    array = jnp.asarray(params)
    return tuple(array[k] for k in range(array.shape[0]))


_Entries = tuple[Array, list[Array], list[Array]]  # of a row: log-densities, first and second derivatives


@cache
def _by_jax(terms: Terms) -> RowDerivatives[_Entries]:
    """The derivatives of terms, each with the shape of what terms returns, and how their sums are put together."""

    def along(function: Callable[[Scalars], Tree], k: int) -> Callable[[Scalars], tuple[Tree, Tree]]:
        """Value and derivative along parameter k alone: JAX then leaves out what does not depend on it."""

        def both(params: Scalars) -> tuple[Tree, Tree]:
            def moved(value: Array) -> Tree:
                return function((*params[:k], value, *params[k + 1 :]))

            value: tuple[Tree, Tree] = jax.jvp(moved, (params[k],), (jnp.ones_like(params[k]),))
            return value

        return both

    def row(params: Scalars, values: Array, number: Array) -> _Entries:
        def log_density(point: Scalars) -> Array:
            return terms(point, values, number)

        first, second = [], []
        for i in range(len(params)):
            slope = along(log_density, i)
            for j in range(i, len(params)):
                (value, one), (_, two) = along(slope, j)(params)
                second.append(two)
            first.append(one)
        return value, first, second

    def finish(params: Scalars, sums: _Entries) -> NllDerivatives:
        value, first, second = jax.tree.map(lambda entries: -jnp.sum(entries), sums)
        i, j = np.triu_indices(len(params))
        upper = jnp.zeros((len(params), len(params)), value.dtype).at[i, j].set(jnp.stack(second))
        return value, jnp.stack(first), upper + jnp.triu(upper, 1).T

    return RowDerivatives(row, finish)


def _row_sum(
    function: Callable[[Scalars, Array, Array], Tree],
    params: Scalars,
    data: Shaped[Array, "row ..."],
    start: ArrayLike = 0,
    skip: ArrayLike = 0,
) -> Tree:
    """Σ function(params, row, number) over rows, entry by entry, a block of rows at a time.

    ``data`` are the rows from number ``start`` on, of which the first ``skip`` are left out. Adding entry by entry
    keeps every loop that XLA makes free of sums across its lanes, which it does not vectorise on a CPU.
    """
    rows = data.shape[0]
    block = min(rows, max(1, _BLOCK // max(1, data[0].size)))

    def one(point: Scalars, row: Array, number: Array) -> Tree:
        with jax.ensure_compile_time_eval():  # a grid by jnp.arange is else computed again for each derivative
            return function(point, row, number)

    def counted(begin: ArrayLike) -> Tree:
        """Of the block from row ``begin`` on; the last block overlaps the one before, and leaves out what that had."""
        first = jnp.minimum(begin, rows - block)
        # Without the barrier XLA takes what depends on params alone out of the loop, once for each derivative, and
        # then does not see that these are the same: measured 2 to 3 times slower.
        point, place = lax.optimization_barrier((params, first + np.arange(block)))  # type: ignore[no-untyped-call]
        values = jax.vmap(one, (None, 0, 0))(point, lax.dynamic_slice_in_dim(data, first, block), start + place)
        fresh = place >= jnp.maximum(begin, skip)

        def counted_once(entries: Array) -> Array:
            return jnp.where(fresh.reshape(block, *[1] * (entries.ndim - 1)), entries, 0.0)

        return cast("Tree", jax.tree.map(counted_once, values))

    def add(total: Tree, begin: ArrayLike) -> tuple[Tree, None]:
        return jax.tree.map(jnp.add, total, counted(begin)), None

    zeros = jax.tree.map(lambda entries: jnp.zeros(entries.shape, entries.dtype), jax.eval_shape(counted, 0))
    totals, _ = lax.scan(add, zeros, np.arange(0, rows, block))
    return cast("Tree", jax.tree.map(lambda total: jnp.sum(total, axis=0), totals))
