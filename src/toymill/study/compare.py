"""What a job does in a study of kind ``optimisers``: one ensemble's toys by every optimiser."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from toymill.config.study import Shard, Study
from toymill.results.comparison import Outcome
from toymill.results.hdf5 import ShardKey
from toymill.results.summary import Comparison
from toymill.study.model import checked_model
from toymill.study.optimisers import Limits, compare, table
from toymill.study.shards import throw_chunks, toys_key
from toymill.study.telling import telling


class Compared(NamedTuple):
    """An ensemble's toys by every optimiser.

    Attributes:
        key: what the toys are.
        names: names of the parameters.
        outcomes: what each optimiser made of every toy.
        table: the same, summarised.
    """

    key: ShardKey
    names: tuple[str, ...]
    outcomes: dict[str, Outcome]
    table: Comparison


def compare_optimisers(study: Study, ensemble: str, path: str | Path) -> Compared:
    """Throw an ensemble's toys and fit them by every optimiser of the study.

    Args:
        study: the study.
        ensemble: name of the ensemble.
        path: the file that its outcomes will be in, beside which is told how far this is.
    """
    model = checked_model(study)
    whole = Shard("", 0, study.ensembles[ensemble].toys)
    data = np.concatenate([part for _, part in throw_chunks(study, model, ensemble, whole)])
    limits = Limits(study.optimisers.descent_steps, study.optimisers.newton_steps)
    with telling(path) as tell:
        outcomes = compare(model, data, study.optimisers.methods, limits, lambda: tell(len(data), 0))
    key = toys_key(study, model, ensemble, whole)
    return Compared(key, model.parameters.names, outcomes, table(model, data, outcomes))
