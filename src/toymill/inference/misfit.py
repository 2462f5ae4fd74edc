"""How far data lie from a fit: the saturated model's likelihood ratio, Kolmogorov-Smirnov and Anderson-Darling."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from toymill.errors import ToymillError, nearest
from toymill.models.base import Model, columns
from toymill.models.densities import poisson_nll, poisson_offset
from toymill.stopping import stop_if_asked

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PyTree
    from numpy.typing import ArrayLike

    from toymill.fitting.results import Fits

_NUMBERS = 2**20  # data that are judged at once: their temporaries take some tens of MB


def channels_of(model: Model) -> dict[str, slice]:
    """Where the main data of each channel are; those of a model in Python are one channel, by the name of its data.

    Raises:
        ToymillError: a model that states a density: its data are no counts of bins.
    """
    _require_counts(model)
    main = len(model.data_names) - int(np.count_nonzero(model.sampling.auxiliary))
    names = (model.data_names[i] for i in range(main))
    found, first = {}, 0
    for name, group in itertools.groupby(names, lambda item: item.rpartition("[")[0] or item):
        size = sum(1 for _ in group)
        found[name] = slice(first, first + size)
        first += size
    return found


def saturated_nll(model: Model, data: ArrayLike) -> Float[np.ndarray, "*toy"]:
    """The nll of the saturated model, which expects of every datum what it is, with all constants.

    Each count is at its largest probability, Poisson(n | n), and each normal datum at its largest density, 1/(σ √2π).
    Auxiliary data are data like others: the toy's own.

    Args:
        model: the model.
        data: main and auxiliary data, shape (D,) or (n, D).

    Returns:
        The nll, a scalar or shape (n,).

    Raises:
        ToymillError: a model that states a density, a length that is not the model's.
    """
    _require_counts(model)
    values = columns(data, len(model.data_names), "data", "data")
    poisson = model.sampling.poisson
    normal = float(np.sum(np.log(np.sqrt(2 * np.pi) * model.sampling.sigma[~poisson])))
    found = np.asarray(jnp.sum(poisson_offset(values[np.flatnonzero(poisson)]), axis=0)) + normal
    return found[0] if np.ndim(data) == 1 else found


def degrees_of_freedom(model: Model, fixed: Collection[str] = (), channels: Sequence[str] | None = None) -> int | None:
    """Data less fitted parameters: the degrees of freedom of the saturated statistic's χ² where counts are large.

    None where none is left, and where only some channels are judged: what the others have fixed is not known.

    Args:
        model: the model.
        fixed: names of parameters that the fit holds beside those that the model fixes.
        channels: the channels that are judged; all if None.
    """
    held = model.parameters.fixed.copy()
    held[[model.parameters.index(name) for name in fixed]] = True
    left = len(model.data_names) - int(np.count_nonzero(~held))
    judged = set(channels_of(model)) if channels is None else set(channels)
    return left if left > 0 and judged == set(channels_of(model)) else None


def statistics(
    model: Model, fits: Fits, data: ArrayLike, *, channels: Sequence[str] | None = None
) -> dict[str, Float[np.ndarray, " toy"]]:
    """Goodness-of-fit statistics of every dataset with its fit.

    Saturated (Baker and Cousins, NIM 221 (1984) 437): 2 (nll of the fit - ``saturated_nll``). It is the sum of the
    deviances 2 (ν - n + n ln(n/ν)) of counts and ((a - m)/σ)² of normal data, main and auxiliary, and computed as such.

    Kolmogorov-Smirnov and Anderson-Darling compare the shape of a channel with two bins or more. With the fractions F of
    the expectation and F_n of the N counts up to the upper edge of each bin,

        KS = max |F_n - F|,    AD = N Σ (F_n - F)² / (F (1 - F)) ΔF    over the bins with 0 < F < 1,

    as Combine defines them (GoodnessOfFit.cc; the latter from L. Demortier, CDF/ANAL/JET/CDFR/3419). Combine's own
    statistic is the sum over channels. Both are 0 for a channel without events, which has no shape (-1 in Combine).

    Args:
        model: a model of counts.
        fits: the fits of the same n datasets.
        data: main and auxiliary data, shape (n, D) or (D,).
        channels: names of the channels that are judged; all if None. The others' main data are left out. Auxiliary
            data are not: they belong to no channel.

    Returns:
        Arrays of shape (n,), NaN where a fit is not certified: ``saturated``; ``saturated[CHANNEL]``, the part of its
        main data; ``ks_max``, ``ks_sum`` and ``ks[CHANNEL]``, and the same for ``ad``, if a channel has two bins.

    Raises:
        ToymillError: a model that states a density, an unknown channel, data of another shape or number.

    Example:
        >>> import jax, toymill
        >>> jax.config.update("jax_enable_x64", True)
        >>> model = toymill.read_workspace("tests/data/onoff.json")
        >>> fits = toymill.fit(model, [[100.0, 150.0]], fixed={"mu": 0.0})
        >>> round(float(statistics(model, fits, [[100.0, 150.0]])["saturated"][0]), 4)  # t_0, since μ̂ fits perfectly
        10.0678
    """
    judged = _judged(model, channels)
    toys = np.atleast_2d(np.asarray(data, dtype=np.float64))
    if toys.shape != (len(fits.nll), len(model.data_names)):
        msg = f"data has shape {toys.shape}; expected ({len(fits.nll)}, {len(model.data_names)}), the data of each fit."
        raise ToymillError(msg)
    found: dict[str, np.ndarray] = {}
    for rows, expected, deviances in _expectations(model, np.flatnonzero(fits.ok), fits.parameters, toys):
        for name, values in _of_chunk(model, judged, toys[rows], expected, deviances).items():
            found.setdefault(name, np.full(len(toys), np.nan))[rows] = values
    if not found:
        nothing = np.empty((0, len(model.data_names)))
        found = {name: np.full(len(toys), np.nan) for name in _of_chunk(model, judged, nothing, nothing, nothing)}
    return found


def _of_chunk(
    model: Model,
    judged: dict[str, slice],
    data: Float[np.ndarray, "toy datum"],
    expected: Float[np.ndarray, "toy datum"],
    deviances: Float[np.ndarray, "toy datum"],
) -> dict[str, Float[np.ndarray, " toy"]]:
    """All statistics of some toys, by name."""
    parts = {f"saturated[{name}]": deviances[:, where].sum(axis=1) for name, where in judged.items()}
    total = deviances[:, model.sampling.auxiliary].sum(axis=1) + sum(parts.values())
    found = {"saturated": total, **parts}
    shapes = {name: where for name, where in judged.items() if where.stop - where.start > 1}
    for statistic, function in (("ks", kolmogorov_smirnov), ("ad", anderson_darling)):
        each = {f"{statistic}[{name}]": function(data[:, here], expected[:, here]) for name, here in shapes.items()}
        if each:
            stacked = np.stack(list(each.values()))
            found |= {f"{statistic}_max": stacked.max(axis=0), f"{statistic}_sum": stacked.sum(axis=0), **each}
    return found


def kolmogorov_smirnov(
    counts: Float[np.ndarray, "toy bin"], expected: Float[np.ndarray, "toy bin"]
) -> Float[np.ndarray, " toy"]:
    """The largest distance of the cumulated fractions of counts and of expectations, (n,); 0 without either."""
    seen, meant, _ = _fractions(counts, expected)
    found: np.ndarray = np.max(np.abs(seen - meant), axis=1)
    return found


def anderson_darling(
    counts: Float[np.ndarray, "toy bin"], expected: Float[np.ndarray, "toy bin"]
) -> Float[np.ndarray, " toy"]:
    """N Σ (F_n - F)² / (F (1 - F)) ΔF of the cumulated fractions, (n,); 0 without counts or expectation."""
    seen, meant, left = _fractions(counts, expected)
    inside = (meant > 0) & (left > 0)
    weight = np.diff(meant, axis=1, prepend=0.0) / np.where(inside, meant * left, 1.0)
    found: np.ndarray = counts.sum(axis=1) * np.sum(np.where(inside, (seen - meant) ** 2 * weight, 0.0), axis=1)
    return found


def _fractions(
    counts: Float[np.ndarray, "toy bin"], expected: Float[np.ndarray, "toy bin"]
) -> tuple[Float[np.ndarray, "toy bin"], Float[np.ndarray, "toy bin"], Float[np.ndarray, "toy bin"]]:
    """F_n and F up to the upper edge of each bin, and 1 - F without cancellation; zeros where there is nothing."""
    rates = np.maximum(expected, 0.0)
    events, total = counts.sum(axis=1, keepdims=True), rates.sum(axis=1, keepdims=True)
    here = (events > 0) & (total > 0)
    after = np.flip(np.cumsum(np.flip(rates, axis=1), axis=1), axis=1) - rates
    after[:, -1:] = 0.0
    events, total = np.where(here, events, 1.0), np.where(here, total, 1.0)
    seen, meant, left = np.cumsum(counts, axis=1) / events, np.cumsum(rates, axis=1) / total, after / total
    return np.where(here, seen, 0.0), np.where(here, meant, 0.0), np.where(here, left, 0.0)


def _expectations(
    model: Model,
    rows: np.ndarray,
    parameters: Float[np.ndarray, "toy parameter"],
    data: Float[np.ndarray, "toy datum"],
) -> Iterator[tuple[np.ndarray, Float[np.ndarray, "some datum"], Float[np.ndarray, "some datum"]]]:
    """Some of the rows at a time, the expectations of their data at their parameters, and the data's deviances."""
    assert model.kernel.rates is not None
    sampling = model.sampling
    auxiliary = np.flatnonzero(sampling.auxiliary)
    size = min(max(_NUMBERS // len(model.data_names), 1), max(len(rows), 1))
    for first in range(0, len(rows), size):
        stop_if_asked()
        some = rows[first : first + size]
        padded = np.resize(some, size)  # one shape for the compiled program
        x, values = np.ascontiguousarray(parameters[padded].T), np.ascontiguousarray(data[padded].T)
        expected, deviances = _judge(
            model.kernel.rates,
            model.arrays,
            x,
            values,
            sampling.scale[auxiliary, None] * x[sampling.parameter[auxiliary]],
            np.ascontiguousarray(sampling.poisson)[:, None],
            np.ascontiguousarray(sampling.sigma)[:, None],
        )
        yield some, np.asarray(expected).T[: len(some)], np.asarray(deviances).T[: len(some)]


@partial(jax.jit, static_argnames=("rates",))
def _judge(
    rates: Callable[..., Array],
    arrays: PyTree,
    x: Float[Array, "parameter lane"],
    data: Float[Array, "datum lane"],
    auxiliary: Float[Array, "auxiliary lane"],
    poisson: Array,
    sigma: Array,
) -> tuple[Float[Array, "datum lane"], Float[Array, "datum lane"]]:
    """Expectations, and deviances: twice the log-likelihood ratio of each datum with its best expectation."""
    expected = jnp.concatenate([rates(arrays, x), auxiliary])
    mean = jnp.where(poisson, jnp.maximum(expected, 0.0), 1.0)
    counts = 2 * poisson_nll(jnp.where(poisson, data, 1.0), mean)
    return expected, jnp.where(poisson, counts, ((data - expected) / sigma) ** 2)


def _judged(model: Model, channels: Sequence[str] | None) -> dict[str, slice]:
    """The channels that are judged, in the model's order; ToymillError for an unknown one, or none."""
    there = channels_of(model)
    for name in channels or ():
        if name not in there:
            msg = f"The model has no channel {name!r}. {nearest(name, there)}"
            raise ToymillError(msg)
    judged = {name: where for name, where in there.items() if channels is None or name in channels}
    if not judged:
        msg = "channels is empty; expected the name of a channel at least, or None for all."
        raise ToymillError(msg)
    return judged


def _require_counts(model: Model) -> None:
    if model.kernel.rates is None:
        msg = (
            "This model states a density, not expected counts: it has no saturated model and no bins to compare. Judge "
            "its fit by a model of counts, stated with expected=…"
        )
        raise ToymillError(msg)
