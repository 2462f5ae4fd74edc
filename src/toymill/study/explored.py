"""What the page ``explore.html`` shows of a study: histograms over all toys, and the fits of some of them. Needs no JAX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from toymill.errors import ToymillError
from toymill.fitting.results import Fits, rows_of
from toymill.inference.covariance import correlation_of
from toymill.results import cells
from toymill.results.opened import Results
from toymill.results.opened_ensemble import OpenedEnsemble
from toymill.results.summary import EnsembleSummary, Summary
from toymill.results.tally import PULL_EDGES, Tally

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

MOST_PARAMETERS = 50
"""Parameters of a page: that of interest, and those whose estimates are most correlated with its."""

MOST_TOYS = 4000
"""Toys of a page, of each ensemble."""

NUMBERS = 750_000
"""Numbers of a page that are of single toys: 4 MB. Of many ensembles or parameters there are fewer toys."""

_LEAST = 100  # toys of an ensemble, whatever there are


class ExploredToys(NamedTuple):
    """The fits of n toys that a page has.

    Attributes:
        toy: their indices, (n,).
        sample: how many of them, the first, are a sample; the others are of the tail, or failed.
        certified: whether all their fits are, (n,).
        t: t_μ at each tested value, (K, n); NaN of a toy that is not certified.
        estimates: (P, n) of the page's parameters; NaN likewise, and where a column is not kept.
        pulls: (estimate - truth) / error, (P, n); NaN likewise, at a bound, and without a truth.
    """

    toy: Int[np.ndarray, " toy"]
    sample: int
    certified: Bool[np.ndarray, " toy"]
    t: Float[np.ndarray, "test toy"]
    estimates: Float[np.ndarray, "parameter toy"]
    pulls: Float[np.ndarray, "parameter toy"]


class ExploredEnsemble(NamedTuple):
    """One ensemble of a page.

    Attributes:
        name: its name.
        summary: its part of the summary.
        correlation: of the estimates, over all toys, (P, P).
        toys: the toys that the page has.
        pulls: all toys by pull, below -5, in 50 bins to 5, above, (P, 52); None where the page's toys alone tell.
    """

    name: str
    summary: EnsembleSummary
    correlation: Float[np.ndarray, "parameter parameter"]
    toys: ExploredToys
    pulls: Int[np.ndarray, "parameter bin"] | None


class Explored(NamedTuple):
    """What a page is made of.

    Attributes:
        summary: the summary of the study.
        parameters: the page's parameters, that of interest first.
        free: number of free parameters of the model.
        ensembles: the ensembles.
    """

    summary: Summary
    parameters: tuple[str, ...]
    free: int
    ensembles: list[ExploredEnsemble]


def explored(results: Results) -> Explored:
    """What the page shows of a study.

    Args:
        results: the results of a study of kind toys, from its folder.

    Raises:
        ToymillError: a shard or a summary that is missing, damaged or of another study, by name; a study of optimisers.
    """
    if not isinstance(results.summary, Summary):
        msg = f"{results.folder} compares optimisers: there are no toys to explore. See its report."
        raise ToymillError(msg)
    every = list(results.ensembles.values())
    correlations = {item.name: _correlation(item) for item in every}
    free = list(every[0].summary.parameters) if every else []
    parameters = _chosen(results.summary.poi, free, list(correlations.values()))
    columns = [free.index(name) for name in parameters]
    numbers = sum(2 * len(parameters) + len(item.tested) for item in every)
    count = min(MOST_TOYS, max(_LEAST, NUMBERS // max(numbers, 1)))
    return Explored(
        summary=results.summary,
        parameters=parameters,
        free=len(free),
        ensembles=[
            _ensemble(item, parameters, correlations[item.name][np.ix_(columns, columns)], count) for item in every
        ],
    )


def _correlation(item: OpenedEnsemble) -> Float[np.ndarray, "parameter parameter"]:
    """The correlation of the estimates, in the order of the summary's parameters; NaN where there is none."""
    names = list(item.summary.parameters)
    covariance = item.matrices["covariance"].loc[names, names].to_numpy()
    return correlation_of(covariance, item.summary.certified)[0]


def _chosen(
    poi: str, free: Sequence[str], correlations: list[Float[np.ndarray, "parameter parameter"]]
) -> tuple[str, ...]:
    """The parameter of interest, and those that are most correlated with it in any ensemble."""
    if not free or poi not in free:
        return tuple(free[:MOST_PARAMETERS])
    place = free.index(poi)
    largest = np.max([np.nan_to_num(np.abs(item[place])) for item in correlations], axis=0)
    largest[place] = np.inf
    order = np.argsort(-largest, kind="stable")[:MOST_PARAMETERS]
    return tuple(free[i] for i in order)


def _ensemble(
    item: OpenedEnsemble, parameters: tuple[str, ...], correlation: Float[np.ndarray, "parameter parameter"], count: int
) -> ExploredEnsemble:
    tally = None if item.keep == "all" else item.tally()
    return ExploredEnsemble(
        name=item.name,
        summary=item.summary,
        correlation=correlation,
        toys=_toys(item, parameters, count, tally),
        pulls=None if tally is None else _pulls(item, parameters, tally),
    )


def _toys(item: OpenedEnsemble, parameters: tuple[str, ...], count: int, tally: Tally | None) -> ExploredToys:
    """The first toys, and those of the tail and that failed; of a summary, what it keeps of the latter."""
    if item.keep == "summary":
        assert tally is not None
        rows = np.argsort(-np.where(np.isnan(tally.kept_t), np.inf, tally.kept_t), kind="stable")[:count]
        if not len(rows):
            nothing = np.empty((len(parameters), 0))
            none = np.zeros(0, dtype=bool)
            return ExploredToys(tally.kept, 0, none, np.empty((len(item.tested), 0)), nothing, nothing)
        free, *tests = (rows_of(fits, rows) for fits in tally.kept_fits)
        return _of_fits(item, parameters, tally.kept[rows], 0, free, tests)
    first = range(min(count, item.summary.toys))
    tail = item.summary.tail
    others = dict.fromkeys([*(toy.toy for toy in tail.largest), *tail.failed])
    index = np.array([*first, *(toy for toy in others if toy not in first)])
    free, tests = item.fits(index.tolist())
    return _of_fits(item, parameters, index, len(first), free, tests)


def _of_fits(
    item: OpenedEnsemble,
    parameters: tuple[str, ...],
    index: Int[np.ndarray, " toy"],
    sample: int,
    free: Fits,
    tests: Sequence[Fits],
) -> ExploredToys:
    certified = np.logical_and.reduce([fits.ok for fits in (free, *tests)])
    t = np.stack([2 * (fits.nll - free.nll) for fits in tests])
    nothing = np.full(len(index), np.nan)
    estimates, pulls = [], []
    for name in parameters:
        place = free.names.index(name) if name in free.names else None
        estimate = nothing if place is None else free.parameters[:, place]
        error = nothing if place is None else free.errors[:, place]
        with np.errstate(divide="ignore", invalid="ignore"):
            pull = (estimate - item.summary.truth.get(name, np.nan)) / error
        estimates.append(np.where(certified, estimate, np.nan))
        pulls.append(np.where(certified, pull, np.nan))
    shown = np.where(certified, np.maximum(t, 0.0), np.nan)
    return ExploredToys(index, sample, certified, shown, np.stack(estimates), np.stack(pulls))


def _pulls(item: OpenedEnsemble, parameters: tuple[str, ...], tally: Tally) -> Int[np.ndarray, "parameter bin"] | None:
    """All toys by pull, from the cells of a tally; None where an earlier toymill has not counted them."""
    if item.summary.why_no_quantiles is not None:
        return None
    found = [cells.distribution(tally.pull_cells, item.names.index(name)).histogram(PULL_EDGES) for name in parameters]
    without = [name not in item.summary.truth for name in parameters]
    return np.where(np.array(without)[:, None], 0, found)
