"""How many toys of each ensemble make errors as small as is asked for, at the least cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from toymill.errors import ToymillError

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import ArrayLike

_STEPS = 2000  # of the search for the multipliers


def toys_for(variances: ArrayLike, counts: ArrayLike, targets: ArrayLike, costs: ArrayLike) -> Float[np.ndarray, " j"]:
    """The numbers of toys n_j ≥ counts_j of least cost Σ c_j n_j for which every answer has its error.

    The variance of answer l is Σ_j V_lj counts_j / n_j: with a single answer the best n_j are proportional to
    √(V_lj counts_j / c_j) (Neyman, J. R. Stat. Soc. 97 (1934) 558). With several, V_lj is the sum Σ_l λ_l V_lj over the
    answers, with multipliers λ_l ≥ 0 that are 0 where the error is smaller than asked for (Karush, Kuhn, Tucker).

    Args:
        variances: V_lj, the part of the variance of answer l that toys of ensemble j make today, (L, J).
        counts: toys of each ensemble today, (J,).
        targets: variance of each answer that is asked for, (L,).
        costs: cost of a toy of each ensemble, (J,).

    Returns:
        The numbers of toys, (J,), not rounded.

    Raises:
        ToymillError: a target, a count or a cost that is not positive.

    Example:
        Two ensembles, of which the second makes nine times the variance of the first: three times its toys.

        >>> toys_for([[1.0, 9.0]], [100, 100], [0.5], [1.0, 1.0]).round(1).tolist()
        [800.0, 2400.0]
    """
    parts, n, goals, price = (np.asarray(item, dtype=float) for item in (variances, counts, targets, costs))
    if not ((n > 0).all() and (goals > 0).all() and (price > 0).all()):
        msg = (
            f"counts are {n.tolist()}, targets {goals.tolist()} and costs {price.tolist()}; expected positive numbers."
        )
        raise ToymillError(msg)
    each = parts * n / goals[:, None]  # in units of what is asked for, of one toy
    if (each.sum(axis=1) <= 0).all() or ((each / n).sum(axis=1) <= 1).all():
        return n
    multipliers = np.full(len(goals), float(price @ n) / len(goals))
    most = n
    for _ in range(_STEPS):
        most = np.maximum(n, np.sqrt(multipliers @ each / price))
        multipliers = np.maximum(multipliers * (each / most).sum(axis=1), 1e-300)
    scaled: np.ndarray = np.maximum(n, most * max(float((each / most).sum(axis=1).max()), 1.0))
    return scaled
