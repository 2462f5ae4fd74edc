"""Counting an ensemble's fits: what a summary needs of them, as sums that add over toys, chunks and shards.

Needs no JAX: quantities that a model derives from its parameters come as functions of many toys' parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy

from toymill.fitting.results import Fits, concatenate, rows_of
from toymill.fitting.status import CERTIFIED_STATUSES, CODES, Status
from toymill.inference.counting import Distribution
from toymill.inference.likelihood_ratios import t_mu, ttilde_mu
from toymill.models.negative_yields import NegativeYields
from toymill.results.cells import counted, no_cells, together

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Int8
    from numpy.typing import ArrayLike


class Measures(NamedTuple):
    """What is counted of a toy's fits besides their parameters, errors and nll.

    Attributes:
        derived: quantities derived from the fitted parameters, each a function (n, P) to (n,), by name.
        negative: the samples of the model whose yields may be negative, if it is one of samples.
    """

    derived: Mapping[str, Callable[[Float[np.ndarray, "toy parameter"]], ArrayLike]] = MappingProxyType({})
    negative: NegativeYields | None = None

    @property
    def cells(self) -> int:
        """How many samples' bins may have a negative yield."""
        return len(self.negative.cells) if self.negative else 0


FIRST = 1000
"""Toys of an ensemble, from the first on, whose fits are looked at for negative yields: the share is known to 2 %."""

BLOCK = 256
"""Toys whose sums are taken together, beginning at multiples of it: sums do not depend on how toys come in chunks."""

CELL = 2.0**-13
"""Width of a cell of the histograms of √t; whole numbers and 2⁻¹⁰ are ends of cells."""

TAIL = 16.0
"""Toys with t at the truth from here on are kept with all their fits, as are failed toys."""

MOST_KEPT = 1000
"""Toys of either kind that are kept of one shard: those of the largest t, and the first to fail."""

PULL_EDGES = np.linspace(-5, 5, 51)

T_MU, T_TILDE = 0, 1
"""The two statistics that are histogrammed, by their place: t_μ and t̃_μ."""

_CELLS = 2**19  # of a histogram of √t, which reaches to 64
_POWERS = 4


@dataclass(repr=False)
class Tally:
    """What is known of the toys that were added. P parameters, K test points, L levels, Q derived quantities.

    A toy is certified if its free and all its conditional fits are; sums are over certified toys. Sums of powers,
    1 to 4, are about the truth, so that they lose no digits. All that follows ``levels`` adds over tallies of
    different toys, save ``smallest``, ``most_iterations`` and the kept toys.

    Attributes:
        truth: the truth point, (P,).
        tests: the tested values of the parameter of interest, (K,).
        levels: confidence levels of the intervals, (L,).
        derived_truth: truth of the derived quantities, (Q,).
        toys: number of toys, ().
        certified: number of certified toys, ().
        status: toys by status of the free fit, of each conditional fit, and of the most severe of them, (1 + K + 1, 10);
            at [.., 0], which is no status, 0.
        sums: Σ d of each parameter, d = estimate - truth, (P,).
        products: Σ dᵢ dⱼ, (P, P).
        products_21: Σ dᵢ² dⱼ, (P, P).
        products_22: Σ dᵢ² dⱼ², (P, P).
        pulls: toys with a pull (estimate - truth) / error, (P,); a parameter at a bound has none.
        pull_sums: Σ pullᵏ, (P, 4).
        pull_histogram: toys by pull of the parameter of interest: below -5, in 50 bins to 5, above, (52,).
        estimates: toys by estimate - truth of each parameter, (C, 2): in cells that are not empty, each with its toys.
        pull_cells: the same of each parameter's pull, (C, 2).
        derived: toys with a finite derived quantity, (Q,).
        derived_sums: Σ (quantity - truth)ᵏ, (Q, 4).
        hessian: toys whose Hessian interval holds the truth, (L,).
        profile: toys whose profile interval holds the truth, (L,).
        t_sums: Σ tᵏ, (K, 4).
        smallest: smallest t, before values below 0 by rounding are put to 0, (K,).
        roots: toys by √t, for t_μ and t̃_μ, with μ̂ ≤ μ and above, (K, 2, 2, cells); t̃_μ at
            μ > 0, where 0 is tested too.
        iterations: Σ steps of the free fit, ().
        most_iterations: most steps of any fit, ().
        examined: certified toys whose fits were looked at for negative yields, of the first of the ensemble, ().
        negative_yields: those of which the free fit, and each conditional fit, has a negative yield: in any sample's bin,
            then in each that may have one, (1 + K, 1 + C).
        lowest_yields: the lowest yield of each over all these fits, 0 if none is negative, (C,).
        kept: index of each kept toy, ascending, (k,).
        kept_t: its t at the truth, NaN if it failed, (k,).
        kept_fits: its free and conditional fits; empty if no toy is kept.
    """

    truth: Float[np.ndarray, " parameter"]
    tests: Float[np.ndarray, " test"]
    levels: Float[np.ndarray, " level"]
    derived_truth: Float[np.ndarray, " quantity"]
    toys: Int[np.ndarray, ""]
    certified: Int[np.ndarray, ""]
    status: Int[np.ndarray, "fit status"]
    sums: Float[np.ndarray, " parameter"]
    products: Float[np.ndarray, "parameter parameter"]
    products_21: Float[np.ndarray, "parameter parameter"]
    products_22: Float[np.ndarray, "parameter parameter"]
    pulls: Int[np.ndarray, " parameter"]
    pull_sums: Float[np.ndarray, "parameter power"]
    pull_histogram: Int[np.ndarray, " bin"]
    estimates: Int[np.ndarray, "cell 2"]
    pull_cells: Int[np.ndarray, "cell 2"]
    derived: Int[np.ndarray, " quantity"]
    derived_sums: Float[np.ndarray, "quantity power"]
    hessian: Int[np.ndarray, " level"]
    profile: Int[np.ndarray, " level"]
    t_sums: Float[np.ndarray, "test power"]
    smallest: Float[np.ndarray, " test"]
    roots: Int[np.ndarray, "test statistic side cell"]
    iterations: Int[np.ndarray, ""]
    most_iterations: Int[np.ndarray, ""]
    examined: Int[np.ndarray, ""]
    negative_yields: Int[np.ndarray, "fit cell"]
    lowest_yields: Float[np.ndarray, " cell"]
    kept: Int[np.ndarray, " kept"]
    kept_t: Float[np.ndarray, " kept"]
    kept_fits: list[Fits]

    def __repr__(self) -> str:
        return f"<Tally of {self.toys} toys, {self.certified} certified, of {len(self.truth)} parameters>"

    @classmethod
    def empty(
        cls,
        truth: ArrayLike,
        tests: ArrayLike,
        levels: ArrayLike,
        derived_truth: ArrayLike = (),
        cells: int = 0,
    ) -> Tally:
        """A tally of no toys; ``cells`` is C."""
        truth, tests, levels, derived_truth = (
            np.asarray(values, dtype=np.float64) for values in (truth, tests, levels, derived_truth)
        )
        p, k, q = len(truth), len(tests), len(derived_truth)
        zero = np.zeros((), dtype=np.int64)
        return cls(
            truth=truth,
            tests=tests,
            levels=levels,
            derived_truth=derived_truth,
            toys=zero,
            certified=zero,
            status=np.zeros((k + 2, CODES), dtype=np.int64),
            sums=np.zeros(p),
            products=np.zeros((p, p)),
            products_21=np.zeros((p, p)),
            products_22=np.zeros((p, p)),
            pulls=np.zeros(p, dtype=np.int64),
            pull_sums=np.zeros((p, _POWERS)),
            pull_histogram=np.zeros(len(PULL_EDGES) + 1, dtype=np.int64),
            estimates=no_cells(),
            pull_cells=no_cells(),
            derived=np.zeros(q, dtype=np.int64),
            derived_sums=np.zeros((q, _POWERS)),
            hessian=np.zeros(len(levels), dtype=np.int64),
            profile=np.zeros(len(levels), dtype=np.int64),
            t_sums=np.zeros((k, _POWERS)),
            smallest=np.full(k, np.inf),
            roots=np.zeros((k, 2, 2, _CELLS), dtype=np.int64),
            iterations=zero,
            most_iterations=zero,
            examined=zero,
            negative_yields=np.zeros((k + 1, cells + 1), dtype=np.int64),
            lowest_yields=np.zeros(cells),
            kept=np.zeros(0, dtype=np.int64),
            kept_t=np.zeros(0),
            kept_fits=[],
        )

    def add(self, first: int, free: Fits, tests: Sequence[Fits], measures: Measures | None = None) -> None:
        """Add the toys ``first``, ``first`` + 1, … by their free and conditional fits.

        Args:
            first: index of the first toy in its ensemble; a chunk ends at a multiple of ``BLOCK`` or with its shard.
            free: their free fits.
            tests: their fits at each test point.
            measures: what else is counted.
        """
        measures = measures or Measures()
        every = [free, *tests]
        worst = most_severe([fits.status for fits in every])
        ok = np.logical_and.reduce([fits.ok for fits in every])
        self.toys = self.toys + len(ok)
        self.certified = self.certified + ok.sum()
        for row, status in zip(self.status, [*(fits.status for fits in every), worst], strict=True):
            row += np.bincount(status, minlength=CODES)
        self.iterations = self.iterations + free.iterations.sum(dtype=np.int64)
        self.most_iterations = np.maximum(self.most_iterations, max(int(fits.iterations.max()) for fits in every))

        away = free.parameters - self.truth
        with np.errstate(divide="ignore", invalid="ignore"):
            pull = away / free.errors
        t = np.stack([t_mu(free, fits) for fits in tests], axis=1)
        self._count(free, list(tests), ok, pull, t)
        self.estimates = together(self.estimates, counted(away[ok]))
        self.pull_cells = together(self.pull_cells, counted(pull[ok]))
        quantities = [np.asarray(quantity(free.parameters)) for quantity in measures.derived.values()]
        beyond = np.stack(quantities, axis=1) - self.derived_truth if quantities else np.empty((len(ok), 0))
        for begin in _blocks(first, len(ok)):
            rows = np.arange(begin, min(len(ok), begin + BLOCK - (first + begin) % BLOCK))
            rows = rows[ok[rows]]
            self._sum(away[rows], pull[rows], np.maximum(t[rows], 0.0), beyond[rows])
        self._keep(first, every, ok, t)
        if measures.negative is not None and first < FIRST:
            self._examine(measures.negative, [fits.parameters[: FIRST - first][ok[: FIRST - first]] for fits in every])

    def _examine(self, negative: NegativeYields, every: Sequence[Float[np.ndarray, "toy parameter"]]) -> None:
        """Count the negative yields in the fits of certified toys."""
        self.examined = self.examined + len(every[0])
        for row, parameters in zip(self.negative_yields, every, strict=True):
            values = negative.at(parameters)
            row[0] += np.any(values < 0, axis=1).sum()
            row[1:] += (values < 0).sum(axis=0)
            self.lowest_yields = np.minimum(self.lowest_yields, values.min(axis=0, initial=0.0))

    def _sum(
        self,
        away: Float[np.ndarray, "toy parameter"],
        pull: Float[np.ndarray, "toy parameter"],
        t: Float[np.ndarray, "toy test"],
        derived: Float[np.ndarray, "toy quantity"],
    ) -> None:
        """Add the floating-point sums of one block."""
        squared = away**2
        self.sums += away.sum(axis=0)
        self.products += away.T @ away
        self.products_21 += squared.T @ away
        self.products_22 += squared.T @ squared
        self.pulls += np.isfinite(pull).sum(axis=0)
        self.pull_sums += _power_sums(pull)
        self.derived += np.isfinite(derived).sum(axis=0)
        self.derived_sums += _power_sums(derived)
        self.t_sums += _power_sums(t)

    def _count(
        self,
        free: Fits,
        tests: list[Fits],
        ok: Bool[np.ndarray, " toy"],
        pull: Float[np.ndarray, "toy parameter"],
        t: Float[np.ndarray, "toy test"],
    ) -> None:
        """Add the histograms and the intervals that hold the truth."""
        assert free.poi is not None
        i = free.names.index(free.poi)
        poi_pull = pull[ok, i]
        with np.errstate(invalid="ignore"):
            thresholds = scipy.special.chdtri(1, 1 - np.asarray(self.levels))
            self.hessian += (poi_pull[:, None] ** 2 <= thresholds).sum(axis=0)
            self.profile += (t[ok, self.at_truth(free), None] <= thresholds).sum(axis=0)
        bins = np.searchsorted(PULL_EDGES, poi_pull[np.isfinite(poi_pull)], side="right")
        self.pull_histogram += np.bincount(bins, minlength=len(PULL_EDGES) + 1)
        self.smallest = np.minimum(self.smallest, t[ok].min(axis=0, initial=np.inf))
        background = next((fits for mu, fits in zip(self.tests, tests, strict=True) if mu == 0), None)
        for k, (mu, fits) in enumerate(zip(self.tests, tests, strict=True)):
            statistics = {T_MU: t[:, k]}
            if background is not None and mu > 0:
                statistics[T_TILDE] = ttilde_mu(free, fits, background)
            above = (free.parameters[ok, i] > mu).astype(np.intp)
            for which, values in statistics.items():
                root = np.sqrt(np.maximum(values[ok], 0.0))
                cell = np.minimum(root / CELL, _CELLS - 1).astype(np.intp)
                np.add.at(self.roots[k, which], (above, cell), 1)

    def at_truth(self, free: Fits) -> int:
        """Place of the test point that is the truth."""
        assert free.poi is not None
        return int(np.flatnonzero(self.tests == self.truth[free.names.index(free.poi)])[0])

    def _keep(
        self, first: int, every: list[Fits], ok: Bool[np.ndarray, " toy"], t: Float[np.ndarray, "toy test"]
    ) -> None:
        """Keep the toys of the tail and those that failed."""
        at_truth = np.where(ok, t[:, self.at_truth(every[0])], np.nan)
        rows = np.flatnonzero(~(at_truth < TAIL))
        if rows.size:
            self._keep_more(rows + first, at_truth[rows], [rows_of(fits, rows) for fits in every])

    def _keep_more(self, index: Int[np.ndarray, " toy"], t: Float[np.ndarray, " toy"], every: list[Fits]) -> None:
        joined = zip(self.kept_fits, every, strict=True) if self.kept_fits else ((fits,) for fits in every)
        index, t = np.concatenate([self.kept, index]), np.concatenate([self.kept_t, t])
        failed = np.flatnonzero(np.isnan(t))
        tail = np.flatnonzero(~np.isnan(t))
        failed = failed[np.argsort(index[failed])[:MOST_KEPT]]
        tail = tail[np.lexsort((index[tail], -t[tail]))[:MOST_KEPT]]
        rows = np.concatenate([failed, tail])
        rows = rows[np.argsort(index[rows])]
        self.kept, self.kept_t = index[rows], t[rows]
        self.kept_fits = [rows_of(concatenate(parts), rows) for parts in joined]

    def merge(self, other: Tally) -> None:
        """Add the toys of another tally of the same ensemble."""
        for field in ADDITIVE:
            setattr(self, field, getattr(self, field) + getattr(other, field))
        for field in CELLS:
            setattr(self, field, together(getattr(self, field), getattr(other, field)))
        if other.examined:
            self.examined = self.examined + other.examined
            self.negative_yields = self.negative_yields + other.negative_yields
            self.lowest_yields = np.minimum(self.lowest_yields, other.lowest_yields)
        self.smallest = np.minimum(self.smallest, other.smallest)
        self.most_iterations = np.maximum(self.most_iterations, other.most_iterations)
        if len(other.kept):
            self._keep_more(other.kept, other.kept_t, other.kept_fits)

    def fault(self) -> str | None:
        """What cannot be so: toys without a status, or counts that contradict each other; None if nothing."""
        toys, certified = int(self.toys), int(self.certified)
        if self.status.min() < 0 or self.status[:, 0].any() or (self.status.sum(axis=1) != toys).any():
            return f"its statuses are not those of {toys} toys"
        if self.status[-1, list(CERTIFIED_STATUSES)].sum() != certified:
            return f"its statuses contradict its {certified} certified toys"
        return None

    def distribution(self, k: int, statistic: int = T_MU) -> Distribution:
        """The distribution of t_μ (or t̃_μ) at test point k, in cells of √t."""
        return _cells(self.roots[k, statistic].sum(axis=0))

    def one_sided(self, k: int, *, above: bool, statistic: int = T_MU) -> Distribution:
        """The statistic where μ̂ is above the tested value (not above it), else 0.

        At μ = 0 and above this is q_0 (CCGV eq. 12); not above it is q_μ (eq. 14), or q̃_μ of t̃_μ (eq. 16).
        """
        counts = self.roots[k, statistic, int(above)].copy()
        counts[0] += self.roots[k, statistic, int(not above)].sum()
        return _cells(counts)


CONTEXT = ("truth", "tests", "levels", "derived_truth")
"""What a tally is of; the same for all shards of an ensemble."""

_SEVERITY = np.zeros(CODES, dtype=np.int64)
_SEVERITY[list(Status)] = [status.severity for status in Status]

CELLS = ("estimates", "pull_cells")
"""What adds by its cells; empty of a tally that an earlier toymill has written."""

NEGATIVE = ("examined", "negative_yields", "lowest_yields")
"""What is counted of negative yields; not there in a tally that an earlier toymill has written."""

_OTHER = (*CONTEXT, *CELLS, *NEGATIVE, "smallest", "most_iterations", "kept", "kept_t", "kept_fits")

ADDITIVE = tuple(field.name for field in fields(Tally) if field.name not in _OTHER)
"""What adds over tallies."""


def most_severe(statuses: Sequence[Int8[np.ndarray, " toy"]]) -> Int8[np.ndarray, " toy"]:
    """The most severe of the statuses of each toy's fits; codes are names, and their numbers are in no order."""
    every = np.stack(statuses)
    place = np.argmax(_SEVERITY[every], axis=0)
    worst: np.ndarray = np.take_along_axis(every, place[None], axis=0)[0]
    return worst


def _blocks(first: int, count: int) -> range | list[int]:
    """Where blocks begin in rows that begin with toy ``first``."""
    if first % BLOCK == 0:
        return range(0, count, BLOCK)
    return [0, *range(BLOCK - first % BLOCK, count, BLOCK)]


def _power_sums(values: Float[np.ndarray, "toy column"]) -> Float[np.ndarray, "column power"]:
    """Σ xᵏ of the finite values of each column, k = 1 to 4."""
    x = np.where(np.isfinite(values), values, 0.0)
    squared = x * x
    return np.stack([item.sum(axis=0) for item in (x, squared, squared * x, squared * squared)], axis=1)


def _cells(counts: Int[np.ndarray, " cell"]) -> Distribution:
    """Counts by √t as a distribution of t; the last cell has no end."""
    filled = np.flatnonzero(counts)
    high = np.where(filled == _CELLS - 1, np.inf, (filled + 1) * CELL)
    return Distribution((filled * CELL) ** 2, high**2, counts[filled])
