"""Symmetric matrices of many toys of which a large part is diagonal but for small blocks, and their inverses.

Let rows come in two parts, H = [A B; Bᵀ D], with D made of small blocks: a factor on one bin meets other such factors only
if they are on the same bin. The Cholesky factor of H with D's rows first has that of D, of its blocks, in one corner, and
that of the Schur complement S = A - B D⁻¹ Bᵀ in the other:

    L = [L_D 0; U L_S],    U = B L_D⁻ᵀ,    L_S L_Sᵀ = A - U Uᵀ.

The cost is that of as many equations as A has rows. Toys are the last axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from toymill.linalg import (
    SMALLEST_PIVOT,
    UNROLLED,
    apart,
    cholesky_written_out,
    inverse_written_out,
    lower_inverse,
    outer,
    substituted,
    sum_of,
    taken,
    total,
    weighted_total,
    with_diagonal,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float, Int, Shaped


class Arrow(NamedTuple):
    """A symmetric matrix H = [A B; Bᵀ D]; its rows are first the ``several``, then the ``own`` ones.

    Attributes:
        several: A.
        border: B.
        own: the blocks of D; ones on the diagonal for rows that are padding.
        rows: the own rows of each block, padded with their number.
    """

    several: Float[Array, "several several lane"]
    border: Float[Array, "several own lane"]
    own: Float[Array, "row row block lane"]
    rows: Int[Array, "row block"]


class Inverse(NamedTuple):
    """What the inverse of a Hessian over the free parameters says; see ``inverse``.

    Zero for parameters that are not free, NaN where the Hessian is not positive definite.

    Attributes:
        newton: H⁻¹ g.
        positive: whether H is positive definite.
        variances: the diagonal of H⁻¹.
        column: one column of H⁻¹.
        covariance: H⁻¹ itself, or None.
    """

    newton: Float[Array, "parameter lane"]
    positive: Bool[Array, " lane"]
    variances: Float[Array, "parameter lane"]
    column: Float[Array, "parameter lane"]
    covariance: Float[Array, "lane parameter parameter"] | None


def in_blocks(
    rows: Int[Array, "row block"], values: Shaped[Array, "own lane"], padding: float
) -> Shaped[Array, "row block lane"]:
    """Values of own rows, by block."""
    return taken(jnp.concatenate([values, jnp.full_like(values, padding, shape=(1, values.shape[1]))]), rows)


def of_rows(
    rows: Int[Array, "row block"], values: Float[Array, "row block lane"], size: int
) -> Float[Array, "own lane"]:
    """The inverse of ``in_blocks``, to ``size`` own rows."""
    return taken(values.reshape(-1, values.shape[-1]), _places(rows, size))


def _places(rows: Int[Array, "row block"], size: int) -> Int[Array, " own"]:
    """Where each own row is among those of all blocks, row by row."""
    return jnp.zeros(size + 1, dtype=rows.dtype).at[rows.reshape(-1)].set(jnp.arange(rows.size))[:size]


def own_blocks(
    rows: Int[Array, "row block"],
    slope: Float[Array, "own lane"],
    weight: Float[Array, "bin lane"],
    diagonal: Float[Array, "own lane"],
) -> Float[Array, "row row block lane"]:
    """Blocks w_b j jᵀ + diag(d), of which the first are of bins, and the others, of rows that do nothing, have no weight."""
    alone, at = in_blocks(rows, slope, 0.0), in_blocks(rows, diagonal, 1.0)
    every = jnp.concatenate([weight, jnp.zeros((rows.shape[1] - len(weight), weight.shape[1]))])
    return alone[:, None] * (every[None] * alone)[None] + jnp.eye(len(rows))[:, :, None, None] * at[:, None]


def dense(arrow: Arrow) -> Float[Array, "parameter parameter lane"]:
    """The matrix itself."""
    several, size = arrow.border.shape[:2]
    if not size:
        return arrow.several
    left, right = (jnp.broadcast_to(rows, arrow.own.shape[:3]) for rows in (arrow.rows[:, None], arrow.rows[None]))
    blocks = jnp.zeros((size + 1, size + 1, arrow.own.shape[-1])).at[left, right].set(arrow.own)[:size, :size]
    above = jnp.concatenate([arrow.several, arrow.border], axis=1)
    below = jnp.concatenate([jnp.swapaxes(arrow.border, 0, 1), blocks], axis=1)
    return jnp.concatenate([above, below]) if several else blocks


class _Roots(NamedTuple):
    """The inverses of the Cholesky factor's parts; see the module.

    Attributes:
        own: L_D⁻¹ by blocks.
        border: U by blocks.
        several: L_S⁻¹, toys first if it is LAPACK's.
        positive: whether the matrix is positive definite.
    """

    own: Float[Array, "row row block lane"]
    border: Float[Array, "several row block lane"]
    several: Float[Array, " ..."]
    positive: Bool[Array, " lane"]

    def solved(
        self, rows: Int[Array, "row block"], size: int, right: Float[Array, "parameter lane"]
    ) -> Float[Array, "parameter lane"]:
        """H⁻¹ b, with ``size`` own rows."""

        def times(first: Float[Array, "several lane"]) -> Float[Array, "several lane"]:
            """L_S⁻ᵀ L_S⁻¹ b."""
            if len(first) > UNROLLED:
                return jnp.einsum("tij,it->jt", self.several, jnp.einsum("tij,jt->it", self.several, first))
            return substituted(self.several, first[:, None])[:, 0] if len(first) else first

        return _solved(self.own, self.border, rows, size, right, times)


def _solved(
    own: Float[Array, "row row block lane"],
    border: Float[Array, "several row block lane"],
    rows: Int[Array, "row block"],
    size: int,
    right: Float[Array, "parameter lane"],
    times: Callable[[Float[Array, "several lane"]], Float[Array, "several lane"]],
) -> Float[Array, "parameter lane"]:
    """H⁻¹ b from L_D⁻¹, U, and what multiplies by S⁻¹."""
    several, depth, blocks, lanes = border.shape
    first, last = right[:several], in_blocks(rows, right[several:], 0.0)
    half = total(own * last[None], 1)  # L_D⁻¹ b, by blocks
    first = times(first - jnp.sum(border * half[None], axis=(1, 2)))
    flat = border.reshape(several, depth * blocks, lanes)
    half = apart(lambda half, first: half - weighted_total(flat, first).reshape(half.shape), half, first)
    return jnp.concatenate([first, of_rows(rows, total(own * half[:, None]), size)])


def inverse(
    hessian: Arrow,
    gradient: Float[Array, "parameter lane"],
    free: Bool[Array, "parameter lane"],
    along: Int[Array, ""],
    errors: Bool[Array, ""] | bool = True,
    *,
    full: bool,
) -> Inverse:
    """The inverse of a Hessian over the free parameters.

    A degenerate matrix may pass a Cholesky factorisation by rounding alone, so its pivots are tested: each of them, for
    XLA's largest of many numbers is not NaN where one of them is.

    Args:
        hessian: H.
        gradient: g.
        free: False for parameters that are left out.
        along: index of the parameter of ``Inverse.column``.
        errors: whether variances and the column are wanted: else they are NaN, and only H⁻¹ g is solved for.
        full: whether the whole covariance is wanted, for which all is computed.
    """
    several, size = hessian.border.shape[:2]
    scaled, unit = _scaled(hessian, free)
    reduced = _reduced(scaled)
    right = jnp.where(free, gradient, 0.0) * unit
    by_lapack = several > UNROLLED
    small = None if by_lapack else _roots(reduced)

    def solved_alone() -> Inverse:
        if small is None:
            newton, positive = _solved_once(reduced, scaled.rows, size, right)
        else:
            newton, positive = small.solved(scaled.rows, size, right), small.positive
        unknown = jnp.full_like(right, jnp.nan)
        return Inverse(jnp.where(positive[None], unit * newton, jnp.nan), positive, unknown, unknown, None)

    def everything() -> Inverse:
        roots = small or _roots(reduced)
        one = (jnp.arange(several + size) == along)[:, None] * unit
        newton, column = (
            apart(lambda right: unit * roots.solved(scaled.rows, size, right), right) for right in (right, one)
        )
        across = _across(roots)
        own = total(roots.own**2) + total(across**2)
        first = jnp.sum(roots.several**2, axis=1).T if by_lapack else total(roots.several**2)
        variances = jnp.concatenate([first, of_rows(scaled.rows, own, size)]) * unit * unit
        newton, variances, column = (
            jnp.where(roots.positive[None], item, jnp.nan) for item in (newton, variances, column)
        )
        covariance = _covariance(roots, across, scaled.rows, size, unit) if full else None
        return Inverse(newton, roots.positive, variances, column, covariance)

    if full or not (by_lapack or size):  # then errors cost little
        return everything()
    result: Inverse = lax.cond(errors, everything, solved_alone)
    return result


def _scaled(hessian: Arrow, free: Bool[Array, "parameter lane"]) -> tuple[Arrow, Float[Array, "parameter lane"]]:
    """H over the free parameters in units where its diagonal is 1, and these units, 0 for the others."""
    count = hessian.several.shape[0]
    rows, size = hessian.rows, hessian.border.shape[1]
    by_block = jnp.moveaxis(jnp.diagonal(hessian.own, axis1=0, axis2=1), -1, 0)  # (row, block, lane)
    diagonal = jnp.concatenate([jnp.diagonal(hessian.several, axis1=0, axis2=1).T, of_rows(rows, by_block, size)])
    unit = jnp.where(free, lax.rsqrt(jnp.maximum(jnp.abs(diagonal), 1e-100)), 0.0)
    first, last = unit[:count], unit[count:]
    last_by_block, held = in_blocks(rows, last, 0.0), 1.0 - in_blocks(rows, free[count:].astype(unit.dtype), 0.0)
    own = hessian.own * last_by_block[:, None] * last_by_block[None]
    own = own + jnp.eye(len(rows))[:, :, None, None] * held[:, None]
    several = with_diagonal(hessian.several * first[:, None] * first[None], jnp.where(free[:count], 0.0, 1.0))
    return Arrow(several, hessian.border * first[:, None] * last[None], own, rows), unit


class _Reduced(NamedTuple):
    """A matrix without its own rows; see the module.

    Attributes:
        own: L_D⁻¹ by blocks.
        border: U by blocks.
        schur: S, toys first if LAPACK is to factorise it.
        positive: whether the blocks of D are positive definite.
    """

    own: Float[Array, "row row block lane"]
    border: Float[Array, "several row block lane"]
    schur: Float[Array, " ..."]
    positive: Bool[Array, " lane"]


def _reduced(matrix: Arrow) -> _Reduced:
    several, size, lanes = matrix.border.shape
    depth, blocks = matrix.rows.shape
    own, border, schur = matrix.own, jnp.zeros((several, 0, blocks, lanes)), matrix.several
    positive = jnp.ones(lanes, dtype=bool)
    if size:
        factor, pivot = cholesky_written_out(matrix.own)
        own = jnp.stack(inverse_written_out(factor, pivot))
        positive = _large_enough(jnp.concatenate(pivot))
        padded = jnp.concatenate([matrix.border, jnp.zeros((several, 1, lanes))], axis=1)
        by_block = padded[:, matrix.rows]  # (several, row, block, lane)
        border = jnp.stack(
            [sum_of(own[i, j][None] * by_block[:, j] for j in range(i + 1)) for i in range(depth)], axis=1
        )
        flat = border.reshape(several, depth * blocks, lanes)
        schur = _toys_first_less(schur, flat) if several > UNROLLED else schur - apart(outer, flat, flat)
    elif several > UNROLLED:
        schur = schur.T
    return _Reduced(own, border, schur, positive)


def _large_enough(inverse_pivots: Float[Array, "pivot lane"]) -> Bool[Array, " lane"]:
    """Where all pivots of a scaled matrix are so, and numbers."""
    return jnp.all(inverse_pivots * inverse_pivots < 1 / SMALLEST_PIVOT, axis=0)


def _roots(reduced: _Reduced) -> _Roots:
    several = reduced.border.shape[0]
    root, positive = reduced.schur, reduced.positive
    if several > UNROLLED:
        root = lower_inverse(reduced.schur)
        positive = positive & _large_enough(jnp.diagonal(root, axis1=1, axis2=2).T)
    elif several:
        factor, pivot = cholesky_written_out(reduced.schur)
        root = jnp.stack(inverse_written_out(factor, pivot))
        positive = positive & _large_enough(jnp.stack(pivot))
    return _Roots(reduced.own, reduced.border, root, positive)


def _toys_first_less(
    matrix: Float[Array, "several several lane"], flat: Float[Array, "several own lane"]
) -> Float[Array, "lane several several"]:
    """A - U Uᵀ, toys first."""
    first = apart(lambda flat: jnp.moveaxis(flat, -1, 0), flat)
    return matrix.T - first @ jnp.swapaxes(first, 1, 2)


def _solved_once(
    reduced: _Reduced, rows: Int[Array, "row block"], size: int, right: Float[Array, "parameter lane"]
) -> tuple[Float[Array, "parameter lane"], Bool[Array, " lane"]]:
    """H⁻¹ b by LAPACK without L_S⁻¹, and whether H is positive definite."""
    lower = jnp.linalg.cholesky(reduced.schur, symmetrize_input=False)
    positive = reduced.positive & _large_enough(1 / jnp.diagonal(lower, axis1=1, axis2=2).T)

    def times(first: Float[Array, "several lane"]) -> Float[Array, "several lane"]:
        half = lax.linalg.triangular_solve(lower, first.T[..., None], left_side=True, lower=True)
        return lax.linalg.triangular_solve(lower, half, left_side=True, lower=True, transpose_a=True)[..., 0].T

    return _solved(reduced.own, reduced.border, rows, size, right, times), positive


def _across(roots: _Roots) -> Float[Array, "several row block lane"]:
    """L_S⁻¹ U L_D⁻¹: less the part of L⁻¹ that is neither L_S⁻¹ nor L_D⁻¹."""
    several, depth, blocks, lanes = roots.border.shape
    if not several or not depth:
        return roots.border
    weighed = jnp.stack(
        [sum_of(roots.border[:, i] * roots.own[i, j][None] for i in range(j, depth)) for j in range(depth)], axis=1
    )
    flat = weighed.reshape(several, depth * blocks, lanes)
    if several > UNROLLED:
        found = apart(lambda root, flat: jnp.moveaxis(root @ jnp.moveaxis(flat, -1, 0), 0, -1), roots.several, flat)
    else:
        found = outer(roots.several, jnp.swapaxes(flat, 0, 1))
    return found.reshape(several, depth, blocks, lanes)


def _covariance(
    roots: _Roots,
    across: Float[Array, "several row block lane"],
    rows: Int[Array, "row block"],
    size: int,
    unit: Float[Array, "parameter lane"],
) -> Float[Array, "lane parameter parameter"]:
    """H⁻¹ = L⁻ᵀ L⁻¹, toys first; NaN where H is not positive definite."""
    several, depth, blocks, lanes = across.shape
    first = roots.several if several > UNROLLED else jnp.moveaxis(roots.several, -1, 0)  # (lane, several, several)
    flat = across.reshape(several, depth * blocks, lanes)
    border = jnp.moveaxis(flat[:, _places(rows, size)], -1, 0)  # (lane, several, own)
    turned = jnp.swapaxes(first, 1, 2)
    to_own = -turned @ border
    inner = jnp.sum(roots.own[:, :, None] * roots.own[:, None], axis=0) if depth else roots.own
    alone = dense(Arrow(jnp.zeros((0, 0, lanes)), jnp.zeros((0, size, lanes)), inner, rows))
    own = jnp.swapaxes(border, 1, 2) @ border + jnp.moveaxis(alone, -1, 0)
    whole = jnp.concatenate(
        [
            jnp.concatenate([turned @ first, to_own], axis=2),
            jnp.concatenate([jnp.swapaxes(to_own, 1, 2), own], axis=2),
        ],
        axis=1,
    )
    whole = whole * unit.T[:, :, None] * unit.T[:, None]
    return jnp.where(roots.positive[:, None, None], whole, jnp.nan)
