"""Toys that are added for the precision of a limit: how many, where, and that they are enough."""

import numpy as np
import pytest
from asked import finish, stated

from toymill.inference.limit_records import Limit, LimitVariance, UpperLimit
from toymill.results.design import Design, DesignedEnsemble, DesignedLimit
from toymill.study.layout import PART
from toymill.study.rounds import more_toys, next_round, precision_reached


def limit(value, signal, background):
    variance = None if signal is None else LimitVariance(signal=signal, background=background, datasets=0.0)
    error = None if signal is None else float(np.sqrt(sum(signal) + background))
    fields = dict.fromkeys(Limit.model_fields) | {"value": value, "error": error, "variance": variance}
    return Limit(**fields | {"crossings": 1, "sentence": "It is so."})


def limits(observed, **expected):
    every = {key: limit(1.0, [0.0, 0.0], 0.0) for key in ("-2", "-1", "0", "1", "2")}
    given = {key.replace("minus", "-").replace("plus", ""): item for key, item in expected.items()}
    fields = {"level": 0.95, "method": "CLs", "points": [], "observed": observed, "expected": every | given}
    return UpperLimit(**dict.fromkeys(UpperLimit.model_fields) | fields)


@pytest.fixture
def design():
    def ensemble(truth, tests, toys):
        return DesignedEnsemble(truth={"mu": truth}, tests=tests, toys=toys, sections=["limit"])

    return Design(
        toymill="",
        study="s",
        nuisances="nominal",
        interval=None,
        limit=DesignedLimit(values=[1.0, 2.0], asymptotic=None, why_no_asymptotic="none", rounds=[]),
        ensembles={
            "background": ensemble(0.0, [0.0, 1.0, 2.0], 1000),
            "signal-01": ensemble(1.0, [0.0], 500),
            "signal-02": ensemble(2.0, [], 500),
        },
    )


def test_toys_go_where_the_variance_is(design):
    """Only toys of the second value tell: of a variance of 0.04 for 0.01² wanted, 400 times; ten times in a round."""
    found = limits(limit(1.0, [0.0, 0.04], 0.0))
    assert more_toys(found, design, 0.01) == {"signal-01": 500, "signal-02": 5000, "background": 1000}
    assert more_toys(found, design, 0.1) == {"signal-01": 500, "signal-02": 2300, "background": 1000}  # 500 · 4 / 0.95²


def test_every_limit_counts_that_is_asked_for(design):
    one = limits(limit(1.0, [0.0, 0.0], 0.0), minus1=limit(2.0, [0.04, 0.0], 0.0))
    assert more_toys(one, design, 0.05)["signal-01"] == 2300  # 500 · 0.04 / (0.95 · 0.05 · 2)²
    far = limits(limit(1.0, [0.0, 0.0], 0.0), minus2=limit(2.0, [9.0, 0.0], 0.0), plus2=limit(None, None, None))
    assert more_toys(far, design, 0.05) == {"signal-01": 500, "signal-02": 500, "background": 1000}


def test_a_limit_without_an_error_has_more_background_toys(design):
    found = limits(None, plus1=limit(2.0, None, None))
    assert more_toys(found, design, 0.05)["background"] == 2000


def test_no_ensemble_outgrows_what_one_job_counts(design):
    large = design.model_copy(
        update={
            "ensembles": {name: item.model_copy(update={"toys": PART // 2}) for name, item in design.ensembles.items()}
        }
    )
    found = limits(limit(1.0, [0.0, 1.0], 0.0))
    assert more_toys(found, large, 0.01)["signal-02"] == PART


def test_rounds_end_where_nothing_is_added(design):
    asked = []

    def once():
        asked.append(1)
        return limits(limit(1.0, [0.0001, 0.0], 0.0001))

    first = next_round(design, once, 0.05)
    assert [(item.toys, item.added) for item in first.limit.rounds] == [(2000, 0)]
    assert first.limit.rounds[0].errors["observed"] == pytest.approx(0.0002**0.5)
    assert next_round(first, once, 0.05) == first
    assert len(asked) == 1
    told = precision_reached(once(), first, 0.05)
    assert told.reached
    assert "A precision of 5 % was asked for and reached: the errors are 1.4 % (observed)" in told.sentence
    assert not precision_reached(once(), first, 0.01).reached
    outside = limits(limit(1.0, [0.0001, 0.0], 0.0001), minus1=limit(None, None, None))
    told = precision_reached(outside, first, 0.05)
    assert not told.reached
    assert told.sentence.endswith("Not known among the tested values: expected, -1 σ.")


@pytest.mark.long
def test_a_precision_that_is_asked_for_is_reached(root, tmp_path):
    """Round after round of an on/off measurement: the predicted toys are enough, and each round adds where it says."""
    study = stated(root, limit={"points": 5, "toys": 300, "background_toys": 600, "precision": 0.01})
    _, design, summary = finish(study, tmp_path)
    told = summary.answers.limit.precision
    assert told.reached
    assert 1 <= len(design.limit.rounds) <= 4
    assert design.limit.rounds[0].errors["observed"] > 0.01
    for key in ("-1", "0", "1"):
        item = summary.answers.limit.toys.expected[key]
        assert item.error <= 0.01 * item.value
    assert summary.ensembles["background"].toys == design.ensembles["background"].toys > 600
