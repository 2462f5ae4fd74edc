"""Throwing: from (seed, stream, index) to a dataset, the same bits in any batch and on any machine.

Every count and every auxiliary datum of toy i consumes one uniform number, taken from a counter-based generator
(Philox 4×64) at a counter that is a function of i alone, and is the inverse of its cumulative distribution there.
A model that states a density throws its main data itself, from a key of JAX's counter-based generator.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, SupportsIndex, get_args

import jax
import numpy as np
import scipy

from toymill import budget
from toymill.errors import ToymillError, nearest
from toymill.models.base import Model, TemplateNoise, require_x64
from toymill.models.other_truth import OtherTruth

if TYPE_CHECKING:
    from jax import Array
    from jaxtyping import Float, Int, UInt32
    from numpy.typing import ArrayLike

Mode = Literal["frequentist", "main-only", "hybrid", "templates", "asimov"]

_LANES = 4  # numbers that Philox makes for one value of its counter
_NUMBERS = 2**16  # data thrown at once, at least: their temporaries stay in a core's second-level cache
_LOT = 2048  # toys thrown at once, if memory allows: of few, each datum's calls take longer than its numbers
# Counts of a larger mean are inverted by an expansion, right to one count in a thousand; beyond it the
# cumulative distribution loses digits (SciPy 1.17: a tail of 2.7e-6 for 3.3e-6 at a mean of 3e7).
_LARGEST_TABLE = 1e6


Source = Model | OtherTruth
"""What toys are thrown from."""


def throw(
    model: Source,
    params: ArrayLike,
    count: int,
    seed: int = 0,
    first: int = 0,
    *,
    stream: str = "",
    mode: Mode = "frequentist",
) -> Float[np.ndarray, "toy datum"]:
    """Throw pseudo-datasets at a truth point.

    Args:
        model: the model to throw from; or one whose toys are data of another, as ``models.other_truth`` makes it, for
            which ``hybrid`` is not.
        params: the truth point, shape (P,).
        count: number of toys.
        seed: the study's seed, a non-negative integer.
        first: index of the first toy.
        stream: name of the ensemble; ensembles of one study are independent by it.
        mode: ``frequentist``: auxiliary data fluctuate about the truth; ``main-only``: they stay as
            observed; ``hybrid``: they stay as observed and each toy's nuisance parameters are drawn
            from their constraints with a flat prior (Cousins and Highland, NIM A320 (1992) 331), an
            expectation that becomes negative counting as 0;
            ``templates``: as frequentist, but the auxiliary data of staterrors stay at their nominal values, and each
            toy's expectations are drawn within the Monte Carlo statistical uncertainty of each sample in each bin;
            ``asimov``: every datum is its expectation (arXiv:1007.1727, sec. 3.2); not for a model that
            states a density.

    Returns:
        Main and auxiliary data in pyhf's order, float64, shape (count, D); row k is toy ``first + k``.

    Raises:
        ToymillError: a count, seed, index or mode that cannot be, a truth of the wrong length, a
            negative expectation at the truth, data that are not finite, or ``templates`` of a model without staterrors.
    """
    truth = np.asarray(params, dtype=np.float64)
    if mode not in get_args(Mode):
        msg = f"mode is {mode!r}. {nearest(mode, get_args(Mode))}"
        raise ToymillError(msg)
    count, seed, first = (
        _whole(name, value, least)
        for name, value, least in (("count", count, 1), ("seed", seed, 0), ("first", first, 0))
    )
    if truth.shape != (len(model.parameters),):
        msg = f"params has shape {truth.shape}; expected ({len(model.parameters)},), one truth point."
        raise ToymillError(msg)
    require_x64()
    if mode == "templates" and _noise(model) is None:
        msg = (
            "No sample of this model has a staterror, so the statistics of its templates are not known. Give samples a "
            "staterror, or choose another throw."
        )
        raise ToymillError(msg)
    if model.draw is None:
        return _throw_counts(model, truth, count, seed, first, stream, mode)
    if mode == "asimov":
        msg = "This model states a density, not expected data, so it has no Asimov dataset."
        raise ToymillError(msg)
    auxiliary = np.flatnonzero(model.sampling.auxiliary)
    uniform = uniforms(seed, stream, first, count, (2 if mode == "hybrid" else 1) * len(auxiliary))
    points = truth
    if mode == "hybrid":
        points = _draw_nuisances(model, truth, auxiliary, uniform[:, len(auxiliary) :])
    data = np.empty((count, len(model.data_names)))
    data[:, : data.shape[1] - len(auxiliary)] = _drawn(model, points, count, seed, first, stream)
    _require_counts(model, data, first)
    _fluctuate(model, data, auxiliary, uniform, model.sampling.expected(truth)[auxiliary], mode)
    return data


def _noise(model: Source) -> TemplateNoise | None:
    """The Monte Carlo statistics of templates, where the model that is thrown from states any."""
    return model.template_noise if isinstance(model, Model) else None


def _require_counts(model: Source, data: np.ndarray, first: int) -> None:
    """Raises ToymillError for a negative number in place of a count of the fitted model."""
    counts = np.flatnonzero(model.sampling.poisson & ~model.sampling.auxiliary)
    if not counts.size or not (data[:, counts] < 0).any():
        return
    row, k = np.argwhere(data[:, counts] < 0)[0]
    msg = (
        f"Toy {first + row} has {data[row, counts[k]]:g} as {model.data_names[int(counts[k])]}: the model that is fitted "
        "counts events there. Throw counts, 0 or more."
    )
    raise ToymillError(msg)


def _throw_counts(
    model: Source, truth: np.ndarray, count: int, seed: int, first: int, stream: str, mode: Mode
) -> np.ndarray:
    """Toys of a model whose data all follow ``sampling``."""
    sampling = model.sampling
    expected = np.asarray(model.expected_data(truth))
    _require_not_negative(
        expected[sampling.poisson], [model.data_names[int(i)] for i in np.flatnonzero(sampling.poisson)]
    )
    if mode == "asimov":
        return np.tile(expected, (count, 1))
    every = np.arange(len(expected))
    data = np.empty((count, len(every)))
    if mode == "hybrid":
        uniform = uniforms(seed, stream, first, count, 2 * len(expected))
        drawn = np.asarray(
            model.expected_data(_draw_nuisances(model, truth, every, uniform[:, len(expected) :])), dtype=np.float64
        )
        expected = np.where(sampling.poisson, np.maximum(drawn, 0.0), drawn)
        _fluctuate(model, data, every, uniform, expected, mode)
        return data
    noise = _noise(model)
    if mode == "templates" and noise is not None:
        uniform = uniforms(seed, stream, first, count, 2 * len(expected))
        spread = np.zeros(len(expected))
        spread[~sampling.auxiliary] = noise.spread(truth)
        drawn = expected + spread * scipy.special.ndtri(uniform[:, len(expected) :])
        expected = np.where(sampling.poisson, np.maximum(drawn, 0.0), drawn)
        _fluctuate(model, data, every, uniform, expected, mode)
        return data
    size = max(_NUMBERS // len(expected), min(_LOT, budget.THROWN // (8 * len(expected))), 1)
    for begin in range(0, count, size):
        part = data[begin : begin + size]
        uniform = uniforms(seed, stream, first + begin, len(part), len(expected))
        _fluctuate(model, part, every, uniform, expected, mode)
    return data


def fluctuate(
    model: Model,
    which: Sequence[int] | Int[np.ndarray, " some"],
    uniform: Float[np.ndarray, "toy some"],
    expected: Float[np.ndarray, " some"],
) -> Float[np.ndarray, "toy some"]:
    """Some of a model's data from given uniform numbers, as ``throw`` makes them of its own.

    Args:
        model: the model, whose data follow ``sampling``.
        which: positions of the data, (k,).
        uniform: numbers strictly inside (0, 1), (n, k).
        expected: the expectation of each, (k,).
    """
    data = np.empty((len(uniform), len(model.data_names)))
    _fluctuate(model, data, np.asarray(which), uniform, expected, "frequentist")
    found: np.ndarray = data[:, which]
    return found


def _fluctuate(
    model: Source, data: np.ndarray, which: np.ndarray, uniform: np.ndarray, expected: np.ndarray, mode: Mode
) -> None:
    """Fill the columns ``which`` of data, (n, D), from uniform numbers and expectations, (n, k) or (k,)."""
    sampling, noise = model.sampling, _noise(model)
    held = sampling.auxiliary if mode in {"main-only", "hybrid"} else np.zeros_like(sampling.auxiliary)
    if mode == "templates" and noise is not None:
        held = noise.held
    counts = sampling.poisson[which] & ~held[which]
    if expected.ndim == 1 and _table_bytes(expected[counts]) > budget.TABLES:  # they would be made anew for every lot
        means = np.broadcast_to(expected[counts], (len(uniform), int(np.count_nonzero(counts))))
        data[:, which[counts]] = _poisson(uniform[:, : len(which)][:, counts], means)
        uniform, expected, which = uniform[:, : len(which)][:, ~counts], expected[~counts], which[~counts]
    uniform = np.ascontiguousarray(uniform.T)
    for k, datum in enumerate(which):
        if held[datum]:
            data[:, datum] = sampling.observed[datum]
            continue
        mean = expected[..., k]
        if sampling.poisson[datum]:
            data[:, datum] = _poisson(uniform[k], mean)
        else:
            data[:, datum] = mean + sampling.sigma[datum] * scipy.special.ndtri(uniform[k])


def _drawn(model: Source, points: np.ndarray, count: int, seed: int, first: int, stream: str) -> np.ndarray:
    """Main data that the model's own ``draw`` makes, (count, M), at one point (P,) or one for each toy (count, P).

    Toy i has the key (seed, stream, i) of JAX's counter-based generator and is computed on the CPU, in a lane that
    depends on i only, so that it has the same bits in any batch and beside any accelerator.
    """
    size = len(model.data_names) - int(np.count_nonzero(model.sampling.auxiliary))
    lanes = int(np.clip(2 ** int(np.log2(max(budget.DRAWN // (8 * max(size, 1)), 1))), 1, 256))
    words = hashlib.sha256(f"toymill:{seed}:{stream}:draw".encode()).digest()[:8]
    key = np.frombuffer(words, dtype="<u4").astype(np.uint32)
    data = np.empty((count, size))
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        for begin in range(first - first % lanes, first + count, lanes):
            index = begin + np.arange(lanes)
            rows = np.clip(index - first, 0, count - 1)
            block = points if points.ndim == 1 else points[rows]
            high, low = (index >> 32).astype(np.uint32), (index & 0xFFFFFFFF).astype(np.uint32)
            made = np.asarray(_draw_block(model.draw, key, high, low, block))
            inside = (index >= first) & (index < first + count)
            data[index[inside] - first] = made[inside]
    bad = ~np.isfinite(data)
    if bad.any():
        row, datum = np.argwhere(bad)[0]
        msg = (
            f"Toy {first + row} of {stream or 'the ensemble'!r} has {data[row, datum]:g} as {model.data_names[datum]}: "
            "what the model throws must be finite at every truth point. Move the truth point, or mend the model's "
            "throw (a list of events that is full throws NaN: give it more capacity)."
        )
        raise ToymillError(msg)
    return data


@partial(jax.jit, static_argnames=("draw",))
def _draw_block(
    draw: Callable[..., Array],
    words: UInt32[np.ndarray, 2],
    high: UInt32[np.ndarray, " lane"],
    low: UInt32[np.ndarray, " lane"],
    points: Float[np.ndarray, "*lane parameter"],
) -> Float[Array, "lane main"]:
    """One dataset for each index, given as its high and low 32 bits."""
    base = jax.random.wrap_key_data(words, impl="threefry2x32")  # type: ignore[arg-type]
    keys = jax.vmap(lambda upper, lower: jax.random.fold_in(jax.random.fold_in(base, upper), lower))(high, low)
    return jax.vmap(draw, in_axes=(0, None if points.ndim == 1 else 0))(keys, points)


def uniforms(seed: int, stream: str, first: int, count: int, numbers: int) -> np.ndarray:
    """Uniform numbers strictly inside (0, 1), shape (count, numbers), on a grid of 2⁻⁵².

    The generator's key is a SHA-256 of (seed, stream): neighbouring seeds share nothing. Toy i
    reads the counters from i·⌈numbers/4⌉ on.
    """
    key = int.from_bytes(hashlib.sha256(f"toymill:{seed}:{stream}".encode()).digest()[:16], "little")
    counters = -(-numbers // _LANES)
    generator = np.random.Philox(key=key, counter=first * counters)
    bits = generator.random_raw(count * counters * _LANES).reshape(count, -1)[:, :numbers]
    return ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def _whole(name: str, value: SupportsIndex, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        msg = f"{name} is {value!r}; expected a whole number, at least {least}."
        raise ToymillError(msg)
    return number


def _require_not_negative(expected: np.ndarray, names: Sequence[str]) -> None:
    for value, name in zip(expected, names, strict=True):
        if not value >= 0:
            msg = (
                f"The expectation of {name} is {value:g} at the truth: a count cannot fluctuate about a negative "
                "number. Move the truth point or its nuisance parameters."
            )
            raise ToymillError(msg)


def _poisson(uniform: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Smallest k with P(n ≤ k) ≥ u: tabulated where all toys share the mean."""
    if np.min(mean) >= _LARGEST_TABLE:
        return _cornish_fisher(uniform, mean)
    if np.ndim(mean) == 0:
        return _by_guide(uniform, _TABLES.of(float(mean)))
    large = mean >= _LARGEST_TABLE
    return np.where(
        large, _cornish_fisher(uniform, np.maximum(mean, 1.0)), _by_steps(uniform, np.where(large, 1.0, mean))
    )


class _InversePoisson(NamedTuple):
    """A tabulated inverse Poisson distribution, with a guide to it.

    Attributes:
        first: the smallest count in the table.
        cdf: P(n ≤ first + i), (K,).
        low: the count at the lower end of each of G equal cells of (0, 1), (G,); NaN where a cell has more than two.
        cut: the number above which the next count follows, (G,).
    """

    first: int
    cdf: np.ndarray
    low: np.ndarray
    cut: np.ndarray


def _table_bytes(means: Float[np.ndarray, " count"]) -> float:
    """The bytes of the tables of some means, about."""
    root = np.sqrt(means[means < _LARGEST_TABLE])
    return float(np.sum(8 * (24 * root + 120) + 16 * np.clip(128 * root, 2**8, 2**14)))


class _Tables:
    """Tables by their means, kept up to ``budget.TABLES``: all are forgotten where one more would exceed it."""

    def __init__(self) -> None:
        self.kept: dict[float, _InversePoisson] = {}
        self.bytes = 0.0

    def of(self, mean: float) -> _InversePoisson:
        """The table of one mean."""
        table = self.kept.get(mean)
        if table is None:
            more = _table_bytes(np.array([mean]))
            if self.bytes + more > budget.TABLES:
                self.kept, self.bytes = {}, 0.0
            table = self.kept[mean] = _inverse_poisson(mean)
            self.bytes += more
        return table


def _inverse_poisson(mean: float) -> _InversePoisson:
    """The table of one mean, below ``_LARGEST_TABLE``: twelve standard deviations and sixty counts to either side."""
    reach = 12 * np.sqrt(mean) + 60
    counts = np.arange(max(0, int(mean - reach)), int(mean + reach) + 1)
    cdf = scipy.special.pdtr(counts, mean)
    cells = 2 ** int(np.clip(np.ceil(np.log2(64 * np.sqrt(mean) + 1)), 8, 14))
    low = np.minimum(np.searchsorted(cdf, np.arange(cells) / cells), len(cdf) - 1)
    high = np.minimum(np.searchsorted(cdf, np.arange(1, cells + 1) / cells), len(cdf) - 1)
    return _InversePoisson(
        int(counts[0]), cdf, np.where(high - low > 1, np.nan, counts[low]), np.where(high > low, cdf[low], 1.0)
    )


_TABLES = _Tables()


def _by_guide(uniform: np.ndarray, table: _InversePoisson) -> np.ndarray:
    """The counts of ``_by_search``, by a guide table (Chen and Asau, AIIE Trans. 6 (1974) 163): 9 ns
    in place of 11 to 60.

    Nearly every cell of the guide holds one or two counts, and one comparison decides; the others are searched.
    """
    cell = (uniform * len(table.low)).astype(np.intp)
    found = np.take(table.low, cell)
    found += uniform > np.take(table.cut, cell)
    several = np.flatnonzero(np.isnan(found))
    found[several] = _by_search(uniform[several], table)
    return found


def _by_search(uniform: np.ndarray, table: _InversePoisson) -> np.ndarray:
    """Smallest k of a table with P(n ≤ k) ≥ u, by binary search: the plain way."""
    return table.first + np.minimum(np.searchsorted(table.cdf, uniform), len(table.cdf) - 1)


def _by_steps(uniform: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Smallest k with P(n ≤ k) ≥ u, each of its own mean: by steps from the quantile of an expansion, 0.4 µs each."""
    z = scipy.special.ndtri(uniform)
    found = np.maximum(np.ceil(mean + z * np.sqrt(mean) + (z**2 - 1) / 6 - 0.5), 0.0)
    rows = np.arange(found.size)
    flat, u, mu = found.ravel(), uniform.ravel(), np.broadcast_to(mean, uniform.shape).ravel()
    while rows.size:
        k = flat[rows]
        up = scipy.special.pdtr(k, mu[rows]) < u[rows]
        down = ~up & (k > 0) & (scipy.special.pdtr(k - 1, mu[rows]) >= u[rows])
        flat[rows] += up
        flat[rows] -= down
        rows = rows[up | down]
    shaped: np.ndarray = flat.reshape(found.shape)
    return shaped


def _cornish_fisher(uniform: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Poisson quantile of a large mean, to order 1/√mean (Cornish and Fisher 1937; Abramowitz & Stegun 26.2.49)."""
    z = scipy.special.ndtri(uniform)
    sigma = np.sqrt(mean)
    count: np.ndarray = np.ceil(mean + z * sigma + (z**2 - 1) / 6 + (z - z**3) / (72 * sigma) - 0.5)
    return count


def _draw_nuisances(model: Source, truth: np.ndarray, data: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Nuisance parameters given the observed auxiliary data and a flat prior, (n, P), inside their bounds.

    ``uniform``, (n, k), has a column for each of ``data``, (k,); those of the auxiliary data are used.
    """
    sampling = model.sampling
    values = np.tile(truth, (len(uniform), 1))
    for k, datum in enumerate(data):
        parameter = sampling.parameter[datum]
        if not sampling.auxiliary[datum]:
            continue
        if model.parameters.fixed[parameter] or model.parameters.names[parameter] == model.poi:
            continue
        seen, u = sampling.observed[datum], uniform[:, k]
        if sampling.poisson[datum]:
            values[:, parameter] = scipy.special.gammaincinv(seen + 1, u) / sampling.scale[datum]
        else:
            values[:, parameter] = seen + sampling.sigma[datum] * scipy.special.ndtri(u)
    inside: np.ndarray = np.clip(values, *model.parameters.bounds.T)
    return inside
