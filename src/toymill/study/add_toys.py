"""The toys that a round adds to a study, for the precisions that its sections ask for."""

from __future__ import annotations

from collections.abc import Callable

from toymill.config.study import MOST_SHARDS, Study
from toymill.results.description import Description
from toymill.results.design import Design
from toymill.study.finished import Files, Stored
from toymill.study.interval_answer import interval_ensembles, intervals
from toymill.study.interval_rounds import interval_wants
from toymill.study.layout import PART
from toymill.study.limit_answer import upper_limits
from toymill.study.limit_rounds import limit_wants
from toymill.study.model import checked_model
from toymill.study.region_answer import regions
from toymill.study.region_rounds import region_wants, tested_ensembles
from toymill.study.rounds import Wanted, next_round


def add_toys(study: Study, description: Description, design: Design, files: Files, held: Files) -> Design:
    """The design with the toys that the next round adds; see ``rounds.next_round``.

    Args:
        study: the study with the ensembles of its sections, as the design has them.
        description: the content of its ``model.json``.
        design: the design of the round before.
        files: the shards' files of each ensemble.
        held: those of the fits of a region with both parameters held.

    Raises:
        ToymillError: a shard that is missing, damaged or of another study, by name.
    """
    stored = Stored(study, description, design, checked_model(study), files, held)
    wanted: dict[str, Callable[[], Wanted]] = {}
    if study.limit and (of_limit := study.limit.precision):
        wanted["limit"] = lambda: limit_wants(upper_limits(stored), design, of_limit)
    if study.interval and (of_ends := study.interval.precision):
        wanted["interval"] = lambda: interval_wants(intervals(stored), interval_ensembles(stored), design, of_ends)
    if study.region and (of_area := study.region.precision):
        wanted["region"] = lambda: region_wants(regions(stored), tested_ensembles(stored), of_area)
    most = PART if study.shard == "auto" else min(PART, study.shard * MOST_SHARDS // len(study.ensembles))
    return next_round(design, wanted, most)
