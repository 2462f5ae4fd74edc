"""Sums and small systems of linear equations of many toys at once; toys are the last axis of every array.

The Cholesky factor of a matrix is inverted as a whole: a product with the inverse is one loop over toys, a substitution is
one for every row. docs/performance.md has the times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from types import FunctionType
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.experimental.xla_metadata import set_xla_metadata

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Shaped

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")

UNROLLED = 12
"""Matrices up to this size are factorised by arithmetic on whole vectors of toys, written out; larger ones by LAPACK.

Written out, a system of 9 equations takes a quarter of LAPACK's time, and one of 20 more than it, and 12 s to compile.
"""

TERMS = 64
"""Sums of more terms are taken as a reduction, or as matrix products."""

PAIRS = 1024
"""As are those over more pairs: their arrays do not fit the cache."""

FEW_TERMS = 16
"""Sums of so few terms are written out all the same: a matrix product has its arrays transposed, and the result back."""

SMALLEST_PIVOT = 1e-10
"""Of a Hessian scaled to a unit diagonal: below it, two parameters do the same thing."""

_GROUP = 8  # terms of a long sum that are next to each other in memory and summed last
_PASSES = 16  # parts of a long sum over bins that are added to one another
_BLOCK = 24  # rows of a triangular matrix that are inverted at once


def apart(function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
    """``function(*arguments)``, computed once, not anew for each of its uses, and by itself.

    XLA merges loops for a CPU, and computes a cheap intermediate result anew for each of its uses: in a sum over
    pairs of parameters, once for each parameter. It does not merge what is called, if it is told not to inline the call.
    What is called twice with the same shapes is compiled once, and a function of a module is traced once: so its constants
    are among its arguments.

    Args:
        function: a pure function of pytrees of arrays.
        arguments: its arguments.
    """
    if jax.default_backend() != "cpu":
        return function(*arguments)
    stays = isinstance(function, FunctionType) and "<locals>" not in function.__qualname__
    called = _traced_once(function) if stays else _called(function)
    with set_xla_metadata(inlineable="false"):  # type: ignore[no-untyped-call]
        return cast("Result", called(*arguments))


def _called(function: Callable[[*Arguments], Result]) -> Callable[[*Arguments], Result]:
    """A function that is not merged with what surrounds it, if its call is marked so."""

    def inside(*values: *Arguments) -> Result:
        with set_xla_metadata(inlineable=None):  # type: ignore[no-untyped-call]  # what it calls may be
            return function(*values)

    return cast("Callable[[*Arguments], Result]", jax.jit(inside))


_traced_once = cache(_called)


def taken(values: Shaped[Array, "row ..."], index: Int[Array, " ..."]) -> Shaped[Array, " ..."]:
    """``values[index]`` along the first axis, of indices that are known to be inside and not negative.

    JAX's own indexing adds five operations that allow for negative ones, and takes many times as long to trace.
    """
    rest = values.ndim - 1
    numbers = lax.GatherDimensionNumbers(
        offset_dims=tuple(range(index.ndim, index.ndim + rest)), collapsed_slice_dims=(0,), start_index_map=(0,)
    )
    start = lax.expand_dims(index, (index.ndim,))
    return lax.gather(values, start, numbers, (1, *values.shape[1:]), mode="promise_in_bounds")


def each(values: Shaped[Array, " ..."], axis: int = 0) -> list[Shaped[Array, " ..."]]:
    """The parts of an array along an axis, one by one: JAX's own indexing takes many times as long to trace."""
    return [lax.index_in_dim(values, k, axis, keepdims=False) for k in range(values.shape[axis])]


def sum_of(terms: Iterable[Array]) -> Array:
    """The sum of arrays, written out; the number 0 if there are none."""
    return cast("Array", sum(terms))


def total(values: Float[Array, "... lane"], axis: int = 0) -> Float[Array, "... lane"]:
    """The sum over an axis, written out if it is short: XLA's own reductions over any but the last are slow on a CPU."""
    return sum_of(each(values, axis)) if 0 < values.shape[axis] <= TERMS else jnp.sum(values, axis=axis)


def weighted_sum(
    values: Float[Array, "parameter bin lane"], weights: Float[Array, "bin lane"]
) -> Float[Array, "parameter lane"]:
    """Σ_b v_b w_b; long sums in two steps, of which the first is written out: a reduction makes the products first."""
    bins = values.shape[1]
    if bins <= TERMS:
        return sum_of(value * weight[None] for value, weight in zip(each(values, 1), each(weights), strict=True))
    size = bins // _PASSES
    whole = size * _PASSES

    def groups(values: Array, weights: Array) -> Array:
        return sum_of(values[:, b : b + size] * weights[None, b : b + size] for b in range(0, whole, size))

    rest = values[:, whole:] * weights[None, whole:]
    return jnp.sum(apart(groups, values, weights), axis=1) + jnp.sum(rest, axis=1)


def weighted_total(
    values: Float[Array, "parameter bin lane"], weights: Float[Array, "parameter lane"]
) -> Float[Array, "bin lane"]:
    """Σ_p v_p w_p; long sums in two steps, written out up to TERMS² terms.

    As one reduction such a sum takes several times as long.
    """
    count = values.shape[0]
    if count <= TERMS:
        return total(values * weights[:, None])
    size = max(_GROUP, -(-count // TERMS))
    whole = count // size * size

    def groups(values: Array, weights: Array) -> Array:
        return sum_of(values[p : p + size] * weights[p : p + size, None] for p in range(0, whole, size))

    rest = values[whole:] * weights[whole:, None]
    return total(apart(groups, values, weights)) + total(rest)


def outer(
    left: Float[Array, "row bin lane"], right: Float[Array, "column bin lane"]
) -> Float[Array, "row column lane"]:
    """Σ_b l_b r_bᵀ."""
    most = TERMS if left.shape[0] * right.shape[0] <= PAIRS else FEW_TERMS
    if left.shape[1] <= most:
        return _sum_of_products(each(left, 1), each(right, 1))
    first, second = (jnp.moveaxis(item, -1, 0) for item in (left, right))
    return jnp.moveaxis(first @ jnp.swapaxes(second, 1, 2), 0, -1)


def _sum_of_products(left: list[Array], right: list[Array]) -> Float[Array, "row column lane"]:
    """Σ_b l_b r_bᵀ of columns l_b and r_b, written out."""
    return sum_of(a[:, None] * b[None] for a, b in zip(left, right, strict=True))


def with_diagonal(
    matrix: Float[Array, "row row lane"], diagonal: Float[Array, "row lane"]
) -> Float[Array, "row row lane"]:
    """A matrix plus a diagonal."""
    return matrix + jnp.eye(diagonal.shape[0])[..., None] * diagonal[:, None]


def factorised(matrix: Float[Array, "row row lane"]) -> Float[Array, " ..."]:
    """L⁻¹ of the Cholesky factor of a positive-definite matrix: NaN where it is not positive definite.

    Of shape (row, row, lane) if sums over rows are written out, else (lane, row, row).
    """
    size = matrix.shape[0]
    if size <= UNROLLED:
        return jnp.stack(inverse_written_out(*cholesky_written_out(matrix)))
    inverse = lower_inverse(matrix.T)
    return jnp.moveaxis(inverse, 0, -1) if size <= TERMS else inverse


def substituted(
    factor: Float[Array, " ..."], right: Float[Array, "row column lane"]
) -> Float[Array, "row column lane"]:
    """A⁻¹ B of a matrix A that is ``factorised`` and B."""
    size = right.shape[0]
    if size > TERMS:
        return jnp.einsum("tij,imt->jmt", factor, jnp.einsum("tij,jmt->imt", factor, right))
    half = apart(lambda right: _sum_of_products(each(factor, 1), each(right)), right)
    return apart(lambda half: _sum_of_products(each(factor), each(half)), half)


def cholesky_written_out(matrix: Float[Array, "row row lane"]) -> tuple[list[list[Array]], list[Array]]:
    """Cholesky factor L, entry by entry below the diagonal, and 1 / L_ii; NaN where it does not exist."""
    size = matrix.shape[0]
    factor: list[list[Array]] = [[] for _ in range(size)]
    pivot = []
    for j in range(size):
        square = matrix[j, j] - sum(entry * entry for entry in factor[j])
        pivot.append(lax.rsqrt(square))
        for i in range(j + 1, size):
            entry = matrix[i, j] - sum(a * b for a, b in zip(factor[i], factor[j], strict=True))
            factor[i].append(entry * pivot[j])
    return factor, pivot


def inverse_written_out(factor: list[list[Array]], pivot: list[Array]) -> list[Float[Array, "row lane"]]:
    """Rows of L⁻¹."""
    size = len(pivot)
    zero = jnp.zeros_like(pivot[0])
    rows: list[list[Array]] = []
    for i in range(size):
        row = [-pivot[i] * sum_of(factor[i][k] * rows[k][j] for k in range(j, i)) for j in range(i)]
        rows.append([*row, pivot[i], *[zero] * (size - i - 1)])
    return [jnp.stack(row) for row in rows]


def lower_inverse(matrix: Float[Array, "lane row row"]) -> Float[Array, "lane row row"]:
    """L⁻¹ of the Cholesky factors of positive-definite matrices, by LAPACK: NaN where there is none.

    One triangle is read. LAPACK wants columns, and XLA copies in their order: of symmetric matrices A with toys last give
    A.T, and it reads their rows.

    The blocks of the diagonal are inverted by LAPACK, pairs of them by matrix products, and so on. All blocks go to LAPACK
    in one call: jaxlib's batched calls wait for threads of XLA's pool, and two of them at once may wait for each other for
    ever (jaxlib 0.10.2, a pool of two threads).
    """
    lanes, size = matrix.shape[:2]
    count = 1
    while size > count * _BLOCK:
        count *= 2
    block = -(-size // count)
    spare = count * block - size
    padded = jnp.pad(matrix, ((0, 0), (0, spare), (0, spare))) + jnp.diag(jnp.arange(count * block) >= size)[None]
    lower = jnp.linalg.cholesky(padded, symmetrize_input=False)
    which = np.arange(count)
    diagonal = lower.reshape(lanes, count, block, count, block)[:, which, :, which]  # (block, lane, row, row)
    identity = jnp.broadcast_to(jnp.eye(block), diagonal.shape)
    parts = lax.linalg.triangular_solve(diagonal, identity, left_side=True, lower=True)
    while len(parts) > 1:
        parts = _joined(lower, parts)
    return parts[0, :, :size, :size]


def _joined(
    lower: Float[Array, "lane all all"], parts: Float[Array, "block lane row row"]
) -> Float[Array, "half_block lane double double"]:
    """The inverses of twice as large blocks of L from those of its blocks."""
    count, lanes, half, _ = parts.shape
    first = np.arange(0, count, 2)
    below = lower.reshape(lanes, count, half, count, half)[:, first + 1, :, first]
    pairs = parts.reshape(count // 2, 2, lanes, half, half)
    above, right = pairs[:, 0], pairs[:, 1]
    corner = -right @ (below @ above)
    top = jnp.pad(above, ((0, 0), (0, 0), (0, 0), (0, half)))
    return jnp.concatenate([top, jnp.concatenate([corner, right], axis=3)], axis=2)
