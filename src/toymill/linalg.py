"""Sums and small systems of linear equations of many toys at once; toys are the last axis of every array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

UNROLLED = 12
"""Matrices up to this size are factorised by arithmetic on whole vectors of toys, written out; larger ones by LAPACK.

Written out, a system of 9 equations takes a quarter of LAPACK's time, and one of 20 more than it, and 12 s to compile.
"""

TERMS = 64  # sums of more terms are taken as a reduction, or as matrix products
_PAIRS = 1024  # as are those over more pairs: their arrays do not fit the cache
_GROUP = 8  # terms of a long sum that are next to each other in memory and summed last
_BLOCK = 24  # rows of a triangular matrix that are inverted at once


def apart(always: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)``, computed once and kept.

    XLA merges loops for a CPU, and computes a cheap intermediate result anew for each of its uses: in a sum over
    pairs of parameters, P times. It does not look into what depends on a condition.

    Args:
        always: a scalar that is True, which must not be a constant of the program.
        function: a pure function.
        arguments: its arguments.
    """
    if jax.default_backend() != "cpu":
        return function(*arguments)
    function = jax.jit(function)  # traced once for both uses
    shapes = jax.eval_shape(function, *arguments)
    return lax.cond(
        always, function, lambda *_: jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes), *arguments
    )


def total(values: Any) -> Any:
    """Σ_n v_n of values (N, …), written out if they are few: XLA's own reductions over the first axis are slow on a CPU."""
    return sum(values[i] for i in range(values.shape[0])) if 0 < values.shape[0] <= TERMS else jnp.sum(values, axis=0)


def weighted_sum(values: Any, weights: Any) -> Any:
    """Σ_b v_b w_b of values (P, B, T) and weights (B, T): (P, T)."""
    if values.shape[1] > TERMS:
        return jnp.sum(values * weights[None], axis=1)
    return sum(values[:, b] * weights[None, b] for b in range(values.shape[1]))


def weighted_total(always: Any, values: Any, weights: Any) -> Any:
    """Σ_p v_p w_p of values (P, B, T) and weights (P, T): (B, T); long sums in two steps, written out up to TERMS² terms.

    As one reduction such a sum takes several times as long. ``always``: see ``apart``.
    """
    count = values.shape[0]
    if count <= TERMS:
        return total(values * weights[:, None])
    size = max(_GROUP, -(-count // TERMS))
    whole = count // size * size

    def groups(values: Any, weights: Any) -> Any:
        return sum(values[p : p + size] * weights[p : p + size, None] for p in range(0, whole, size))

    rest = values[whole:] * weights[whole:, None]
    return total(apart(always, groups, values, weights)) + total(rest)


def outer(left: Any, right: Any) -> Any:
    """Σ_b l_b r_bᵀ of l, (P, B, T), and r, (Q, B, T): (P, Q, T)."""
    if left.shape[1] <= TERMS and left.shape[0] * right.shape[0] <= _PAIRS:
        return sum(left[:, None, b] * right[None, :, b] for b in range(left.shape[1]))
    first, second = (jnp.moveaxis(item, -1, 0) for item in (left, right))
    return jnp.moveaxis(first @ jnp.swapaxes(second, 1, 2), 0, -1)


def scoring_matrix(
    always: Any, jacobian: Any, shared: int, rates: Any, diagonal: Any, unconstrained: Any, free: Any
) -> Callable[[Any], Any]:
    """H = Jᵀ W J + D over the free parameters, with W = 1/ν, factorised: g, (P, T), to H⁻¹ g, 0 for the others, (P, T).

    As many equations as there are parameters, or, by Woodbury's identity, as there are bins and unconstrained
    parameters, whichever is less: with K = ν + J D⁻¹ Jᵀ over the constrained parameters and J_u the unconstrained ones',

        s_u = (J_uᵀ K⁻¹ J_u)⁻¹ (g_u - J_uᵀ K⁻¹ J D⁻¹ g),    s = D⁻¹ (g - Jᵀ K⁻¹ (J D⁻¹ g + J_u s_u)).

    Args:
        always: True; see ``apart``.
        jacobian: ∂ν_b/∂θ_p, (P, B, T), finite.
        shared: how many parameters, the first, may change several bins; each of the others changes one.
        rates: ν, (B, T), positive.
        diagonal: D, 0 for a parameter without a constraint, (P, T).
        unconstrained: indices of these, (U,).
        free: False for parameters that are not to move, (P, T).
    """
    size, bins, _ = jacobian.shape
    if size <= bins + unconstrained.shape[0]:

        def scaled(jacobian: Any, rates: Any) -> Any:
            rows = jnp.where(free[:, None], jacobian, 0.0)
            return rows / rates[None], rows

        matrix = apart(always, outer, *apart(always, scaled, jacobian, rates))
        matrix = matrix + jnp.eye(size)[..., None] * jnp.where(free, diagonal, 1.0)[:, None]
        factor = apart(always, factorised, matrix)
        return lambda gradient: substituted(always, factor, jnp.where(free, gradient, 0.0)[:, None])[:, 0]

    inverse = apart(
        always,
        lambda diagonal: jnp.where(free & (diagonal > 0), 1 / jnp.where(diagonal > 0, diagonal, 1.0), 0.0),
        diagonal,
    )
    alone = rates + weighted_total(always, jacobian[shared:] ** 2, inverse[shared:])

    def kernel(*arguments: Any) -> Any:
        return factorised(_across(always, shared, *arguments) + jnp.eye(bins)[..., None] * alone[:, None])

    factor = apart(always, kernel, jacobian, inverse)
    loose_free = free[unconstrained]
    loose = jnp.swapaxes(jnp.where(loose_free[:, None], jacobian[unconstrained], 0.0), 0, 1)  # J_u, (B, U, T)
    solved = substituted(always, factor, loose) if loose.shape[1] else loose  # K⁻¹ J_u, (B, U, T)

    def border(loose: Any, solved: Any) -> Any:
        inner = sum(loose[b][:, None] * solved[b, None] for b in range(bins))
        return factorised(inner + jnp.eye(loose.shape[1])[..., None] * jnp.where(loose_free, 0.0, 1.0)[:, None])

    bordered = apart(always, border, loose, solved) if loose.shape[1] else None

    def solve(gradient: Any) -> Any:
        right = jnp.where(free, gradient, 0.0)
        moved = weighted_total(always, jacobian, inverse * right)
        taken = substituted(always, factor, moved[:, None])[:, 0]  # K⁻¹ J D⁻¹ g, (B, T)
        if bordered is None:
            return inverse * (right - weighted_sum(jacobian, taken))
        rest = right[unconstrained] - sum(loose[b] * taken[b][None] for b in range(bins))
        step = substituted(always, bordered, rest[:, None])[:, 0]
        taken = taken + weighted_sum(solved, step)
        found = inverse * (right - weighted_sum(jacobian, taken))
        return found.at[unconstrained].set(jnp.where(loose_free, step, 0.0))

    return lambda gradient: apart(always, solve, gradient)


def _across(always: Any, shared: int, jacobian: Any, weights: Any) -> Any:
    """Σ_p w_p J_p J_pᵀ over the first parameters, the ``shared`` ones, of J, (P, B, T), and w, (P, T): (B, B, T)."""
    if shared <= TERMS and jacobian.shape[1] ** 2 <= _PAIRS:
        weighted = apart(always, lambda jacobian: jacobian[:shared] * weights[:shared, None], jacobian)
        return apart(
            always,
            lambda weighted, jacobian: sum(weighted[p][:, None] * jacobian[p][None] for p in range(shared)),
            weighted,
            jacobian,
        )
    first = apart(always, lambda jacobian: jacobian[:shared].T, jacobian)  # (T, B, P)
    weighted = first * weights[:shared].T[:, None]
    return jnp.moveaxis(jnp.einsum("tbp,tcp->tbc", weighted, first), 0, -1)


def factorised(matrix: Any) -> Any:
    """L⁻¹ of the Cholesky factor of a positive-definite matrix, (N, N, T): NaN where it is not positive definite.

    Of shape (N, N, T) if sums over N are written out, else (T, N, N). A product with it is one loop over toys; a
    substitution is one for every row, or copies for LAPACK, which wants toys first.
    """
    size = matrix.shape[0]
    if size <= UNROLLED:
        return jnp.stack(_lower_inverse(*written_out(matrix)))
    inverse = lower_inverse(matrix.T)
    return jnp.moveaxis(inverse, 0, -1) if size <= TERMS else inverse


def substituted(always: Any, factor: Any, right: Any) -> Any:
    """A⁻¹ B of a matrix that is ``factorised`` and B, (N, M, T)."""
    size = right.shape[0]
    if size > TERMS:
        return jnp.einsum("tij,imt->jmt", factor, jnp.einsum("tij,jmt->imt", factor, right))
    half = apart(always, lambda right: sum(factor[:, j, None] * right[None, j] for j in range(size)), right)
    return apart(always, lambda half: sum(factor[i, :, None] * half[None, i] for i in range(size)), half)


def written_out(matrix: Any) -> tuple[list[list[Any]], list[Any]]:
    """Cholesky factor L, entry by entry below the diagonal, and 1 / L_ii; NaN where it does not exist."""
    size = matrix.shape[0]
    factor: list[list[Any]] = [[] for _ in range(size)]
    pivot = []
    for j in range(size):
        square = matrix[j, j] - sum(entry * entry for entry in factor[j])
        pivot.append(lax.rsqrt(square))
        for i in range(j + 1, size):
            entry = matrix[i, j] - sum(a * b for a, b in zip(factor[i], factor[j], strict=True))
            factor[i].append(entry * pivot[j])
    return factor, pivot


class Inverse(NamedTuple):
    """What the inverse of a Hessian over the free parameters says; see ``inverse``."""

    newton: Any
    positive: Any
    variances: Any
    column: Any
    covariance: Any


SMALLEST_PIVOT = 1e-10
"""Of a Hessian scaled to a unit diagonal: below it, two parameters do the same thing."""


def inverse(hessian: Any, gradient: Any, free: Any, along: Any, *, full: bool) -> Inverse:
    """The inverse of a Hessian over the free parameters.

    A degenerate matrix may pass a Cholesky factorisation by rounding alone, so its pivots are looked at: each of them, for XLA's
    largest of many numbers is not NaN where one of them is.

    Args:
        hessian: (P, P, T).
        gradient: (P, T).
        free: False for parameters that are left out, (P, T).
        along: index of a parameter.
        full: whether the whole covariance is wanted.

    Returns:
        H⁻¹ g, (P, T); whether H is positive definite, (T,); the diagonal of H⁻¹, (P, T); its column ``along``, (P, T);
        H⁻¹ itself, (T, P, P), or None. Zero for parameters that are not free, NaN where H is not positive definite.
    """
    size = hessian.shape[0]
    diagonal = jnp.abs(jnp.diagonal(hessian, axis1=0, axis2=1).T)
    unit = jnp.where(free, lax.rsqrt(jnp.maximum(diagonal, 1e-100)), 0.0)
    scaled = hessian * unit[:, None] * unit[None] + jnp.eye(size)[..., None] * jnp.where(free, 0.0, 1.0)[:, None]
    right = jnp.where(free, gradient, 0.0)
    if size <= UNROLLED:
        factor, pivot = written_out(scaled)
        pivots = jnp.stack(pivot)
        positive = jnp.all(pivots * pivots < 1 / SMALLEST_PIVOT, axis=0)
        half = jnp.stack(_lower_inverse(factor, pivot)) * unit[None]  # L⁻¹, (P, P, T)
        newton = jnp.sum(half * jnp.sum(half * right[None], axis=1)[:, None], axis=0)
        variances = jnp.sum(half * half, axis=0)
        column = jnp.sum(half * lax.dynamic_index_in_dim(half, along, 1), axis=0)
        first = jnp.moveaxis(half, -1, 0)
    else:
        first = lower_inverse(scaled.T)  # (T, P, P)
        positive = jnp.all(jnp.diagonal(first, axis1=1, axis2=2) ** 2 < 1 / SMALLEST_PIVOT, axis=1)
        first = first * unit.T[:, None]
        newton = jnp.einsum("tij,ti->jt", first, jnp.einsum("tij,jt->ti", first, right))
        variances = jnp.sum(first * first, axis=1).T
        column = jnp.einsum("tij,ti->jt", first, lax.dynamic_index_in_dim(first, along, 2, keepdims=False))
    covariance = None
    if full:
        covariance = jnp.where(positive[:, None, None], jnp.swapaxes(first, 1, 2) @ first, jnp.nan)
    newton, variances, column = (jnp.where(positive[None], item, jnp.nan) for item in (newton, variances, column))
    return Inverse(newton, positive, variances, column, covariance)


def _lower_inverse(factor: list[list[Any]], pivot: list[Any]) -> list[Any]:
    """Rows of L⁻¹, each (N, T)."""
    size = len(pivot)
    zero = jnp.zeros_like(pivot[0])
    rows: list[list[Any]] = []
    for i in range(size):
        row = [-pivot[i] * sum(factor[i][k] * rows[k][j] for k in range(j, i)) for j in range(i)]
        rows.append([*row, pivot[i], *[zero] * (size - i - 1)])
    return [jnp.stack(row) for row in rows]


def lower_inverse(matrix: Any) -> Any:
    """L⁻¹ of the Cholesky factors of positive-definite matrices, (T, N, N), by LAPACK: NaN where there is none.

    One triangle is read. LAPACK wants columns, and XLA copies in their order: of symmetric matrices with toys last, (N, N, T),
    give A.T, and it reads their rows.

    The blocks of the diagonal are inverted by LAPACK, pairs of them by matrix products, and so on. All blocks go to LAPACK in
    one call: jaxlib's batched calls wait for threads of XLA's pool, and two of them at once may wait for each other for
    ever (jaxlib 0.10.2, a pool of two threads).
    """
    size = matrix.shape[1]
    count = 1
    while size > count * _BLOCK:
        count *= 2
    block = -(-size // count)
    spare = count * block - size
    padded = jnp.pad(matrix, ((0, 0), (0, spare), (0, spare))) + jnp.diag(jnp.arange(count * block) >= size)[None]
    lower = jnp.linalg.cholesky(padded, symmetrize_input=False)
    diagonal = jnp.stack([lower[:, i : i + block, i : i + block] for i in range(0, count * block, block)], axis=1)
    identity = jnp.broadcast_to(jnp.eye(block), diagonal.shape)
    solved = lax.linalg.triangular_solve(diagonal, identity, left_side=True, lower=True)
    parts = [solved[:, i] for i in range(count)]
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [_joined(lower, 2 * k * block, *pair) for k, pair in enumerate(pairs)]
        block *= 2
    inverse: Any = parts[0][:, :size, :size]
    return inverse


def _joined(lower: Any, start: int, first: Any, last: Any) -> Any:
    """The inverse of the block of L from ``start`` on whose halves have these inverses, (T, N, N) each: (T, 2N, 2N)."""
    middle, end = start + first.shape[1], start + 2 * first.shape[1]
    corner = -last @ (lower[:, middle:end, start:middle] @ first)
    above = jnp.concatenate([first, jnp.zeros_like(corner)], axis=2)
    return jnp.concatenate([above, jnp.concatenate([corner, last], axis=2)], axis=1)
