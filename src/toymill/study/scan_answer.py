"""What the points of a scan find together: local and global significance, and which signals are excluded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy

from toymill.config.scan import Grid, Point, ScanConfig, grid_of
from toymill.config.study import Study, shard_named
from toymill.inference.asymptotic_limits import asymptotic_cls
from toymill.inference.exclusion import exclusion
from toymill.inference.look_elsewhere import (
    REFERENCE,
    GrossVitells,
    global_p_value,
    gross_vitells,
    up_crossings,
    weighted_global,
)
from toymill.inference.mixture import MixtureTail
from toymill.inference.p_values import PValue, tail, tie_tolerance
from toymill.results.scan import GlobalSignificance, ScanAnswer, ScanPoint
from toymill.results.scan_store import PointShard, read_point, read_tilted, read_tilts, together
from toymill.study.scan_layout import Tilted, point_key, settings_of, tilted_key, tilts_key, toys_in

if TYPE_CHECKING:
    from jaxtyping import Float


def answer_scan(
    study: Study, files: Mapping[str, Sequence[str | Path]], tilted_files: Tilted | None = None
) -> ScanAnswer:
    """What a scan has found.

    Args:
        study: the study.
        files: the files of each point, by the name of its folder.
        tilted_files: those of tilted toys, in a scan that may have some.

    Raises:
        ToymillError: a file that is missing, damaged or of another study, by name.
    """
    settings = settings_of(study)
    grid = grid_of(settings)
    toys, points = np.empty((len(grid.points), settings.toys)), []
    ties, pois = [], []
    shards = read_points(study, files)
    for k, point in enumerate(grid.points):
        shard = shards[point.name]
        toys[k] = shard.groups["background"].q_0
        ties.append(tie_tolerance(shard.nll, study.fit.edm_tolerance))
        points.append(_point(settings, point, shard, ties[-1]))
        pois.append(shard.poi)
    largest = _largest(grid, points, toys, max(ties))
    if largest is not None and tilted_files is not None:
        largest = _with_tilted(study, largest, points, toys, max(ties), tilted_files)
    return ScanAnswer(
        sentences=_sentences(settings, points, largest),
        poi=pois[0],
        mu=settings.mu,
        statistic=settings.statistic,
        level=settings.level,
        labels=list(grid.labels),
        toys=settings.toys,
        signal_toys=settings.signal_toys,
        points=points,
        largest=largest,
    )


def read_points(study: Study, files: Mapping[str, Sequence[str | Path]]) -> dict[str, PointShard]:
    """What the files of a scan hold, by the name of each point.

    Raises:
        ToymillError: a file that is missing, damaged or of another study, by name.
    """
    return {point.name: _read(study, point, files[point.folder]) for point in grid_of(settings_of(study)).points}


def _with_tilted(
    study: Study,
    largest: GlobalSignificance,
    points: Sequence[ScanPoint],
    toys: Float[np.ndarray, "point toy"],
    tolerance: float,
    files: Tilted,
) -> GlobalSignificance:
    """The largest excess with its p-values by weighted toys, or why there are none."""
    tilts = read_tilts(files.truths, tilts_key(study))
    if tilts.why_none:
        return largest.model_copy(update={"why_not_weighted": tilts.why_none})
    places = {point.name: k for k, point in enumerate(points)}
    named = {point.name: point for point in grid_of(settings_of(study)).points}
    q = np.array(
        [
            np.concatenate(
                [
                    toys[places[name]],
                    read_tilted(files.points[named[name].folder], tilted_key(study, named[name], tilts)),
                ]
            )
            for name in tilts.names
        ]
    )
    found = weighted_global(
        q, tilts.weights, tilts.counts, largest.q_0, largest=tilts.names.index(largest.point), tolerance=tolerance
    )
    return largest.model_copy(update={"weighted": found})


def _read(study: Study, point: Point, files: Iterable[str | Path]) -> PointShard:
    """All files of a point as one."""
    settings, read = settings_of(study), []
    for path in sorted(files):
        shard = shard_named(Path(path).stem)
        read.append(read_point(path, point_key(study, point, shard), toys_in(shard, settings.signal_toys)))
    groups = dict(read[0].groups)
    for name in ("background", "signal"):
        groups[name] = together([item.groups[name] for item in read])
    return read[0]._replace(groups=groups)


def _point(settings: ScanConfig, point: Point, shard: PointShard, tolerance: float) -> ScanPoint:
    """What is said of one point."""
    background, signal, observed, asimov = shard.groups.values()
    q, q_mu_seen, q_asimov = (float(values[0]) for values in (observed.q_0, observed.q_mu, asimov.q_mu))
    known = math.isfinite(q)
    excluded = None
    if settings.signal_toys:
        excluded = exclusion(signal.q_mu, background.q_mu, q_mu_seen, level=settings.level, tolerance=tolerance)
    formula = None
    if math.isfinite(q_mu_seen) and math.isfinite(q_asimov):
        formula = asymptotic_cls(q_mu_seen, q_asimov, tilde=settings.statistic == "qtilde")
    return ScanPoint(
        name=point.name,
        values=list(point.values),
        patch=point.digest,
        estimate=float(observed.estimate[0]) if known else None,
        q_0=max(q, 0.0) if known else None,
        p_value=tail(background.q_0, q, tolerance) if known else None,
        asymptotic=float(scipy.stats.norm.sf(math.sqrt(max(q, 0.0)))) if known else None,
        failed=int(np.count_nonzero(background.failed) + np.count_nonzero(signal.failed)),
        exclusion=excluded,
        asymptotic_cls=formula,
    )


def _largest(
    grid: Grid, points: Sequence[ScanPoint], toys: Float[np.ndarray, "point toy"], tolerance: float
) -> GlobalSignificance | None:
    """The largest excess; of the points whose fit to the observed data is certified."""
    known = [k for k, point in enumerate(points) if point.q_0 is not None]
    if not known:
        return None
    best = max(known, key=lambda k: points[k].q_0 or 0.0)
    observed = points[best].q_0
    assert observed is not None
    formula, why = _formula(grid, known, toys, observed)
    return GlobalSignificance(
        point=points[best].name,
        q_0=observed,
        p_value=global_p_value(toys[known], observed, tolerance),
        gross_vitells=formula,
        why_no_gross_vitells=why,
    )


def _formula(
    grid: Grid, known: Sequence[int], toys: Float[np.ndarray, "point toy"], observed: float
) -> tuple[GrossVitells | None, str | None]:
    """The formula of Gross and Vitells along an ordered grid, or why there is none."""
    places, why = order_of(grid, known)
    if places is None:
        return None, why
    found = gross_vitells(up_crossings(toys[places]), observed)
    if found is None:
        return None, f"The formula is for a largest q_0 above {REFERENCE:g}; it is {observed:.3g}."
    return found, None


def order_of(grid: Grid, known: Sequence[int]) -> tuple[list[int] | None, str | None]:
    """Some points in the order of the one coordinate in which they differ; or why there is no such order."""
    values = [grid.points[k].values for k in known]
    lengths = {len(item) for item in values}
    if lengths == {0}:
        return None, "The patches state no values, so the points have no order."
    if len(lengths) > 1 or any(isinstance(value, str) for item in values for value in item):
        return None, "The values of the patches are not numbers, or not as many for each, so the points have no order."
    columns = [column for column in zip(*values, strict=True) if len(set(column)) > 1]
    if len(columns) != 1:
        return None, f"The points differ in {len(columns)} coordinates; the formula is for one."
    if len(set(columns[0])) < len(known):
        return None, "Two points have the same value, so the points have no order."
    return [known[k] for k in np.argsort(np.array(columns[0], dtype=float))], None


def _sentences(settings: ScanConfig, points: Sequence[ScanPoint], largest: GlobalSignificance | None) -> list[str]:
    """The scan in words."""
    sentences = ["No fit to the observed data is certified."]
    unknown = sum(point.q_0 is None for point in points)
    if largest is not None:
        local = next(point for point in points if point.name == largest.point).p_value
        assert local is not None
        weighted = largest.weighted
        local_p, together = (local, largest.p_value) if weighted is None else (weighted.local, weighted.p_value)
        sentences = [
            f"The largest local significance is {_z(local_p.significance, local_p.significance_low)} at {largest.point} "
            f"({_p(local_p)}); globally, over {len(points) - unknown} points, it is "
            f"{_z(together.significance, together.significance_low)} ({_p(together)})."
        ]
        if weighted is not None:
            sentences.append(
                f"That is by {together.toys:,} weighted toys, {weighted.tilted:,} of them thrown about excesses "
                f"({weighted.p_value.effective:,.0f} effective ones beyond; mean weight "
                f"{weighted.p_value.normalisation:.3f} ± {weighted.p_value.normalisation_error:.3f})."
            )
            pulls = [f"{item.pull:.1f} at {item.z} σ" for item in weighted.overlap if item.pull is not None]
            if pulls:
                sentences.append(
                    f"Where toys without tilt reach, the global p-values differ by {', '.join(pulls)}, in Monte Carlo errors."
                )
        if largest.gross_vitells is not None:
            formula = largest.gross_vitells
            error = "" if formula.error is None else f" ± {formula.error:.2g}"
            sentences.append(f"By Gross and Vitells the global p is {formula.value:.3g}{error}.")
    if largest is not None and unknown:
        sentences.append(f"The fit to the observed data is not certified at {unknown} points, which are left out.")
    told = [point.exclusion.excluded for point in points if point.exclusion is not None]
    if told:
        undecided = told.count(None)
        sentences.append(
            f"{told.count(True)} of {len(told)} points are excluded at {100 * settings.level:g} % CL"
            + (f", and {undecided} undecided within Monte Carlo errors." if undecided else ".")
        )
    return sentences


def _p(p: PValue | MixtureTail) -> str:
    if p.value is None:
        return "p undefined"
    return f"p below {p.high:.2g}" if p.bound else f"p = {p.value:.3g}, {p.low:.3g} to {p.high:.3g}"


def _z(value: float | None, low: float | None) -> str:
    if value is not None:
        return f"{value:.2f} σ"
    return "undefined" if low is None else f"above {low:.2f} σ"
