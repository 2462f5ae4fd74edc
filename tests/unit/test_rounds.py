"""Toys that are added for the precision of a limit: how many, where, and that they are enough."""

import numpy as np
import pytest
import scipy.stats
from asked import finish, stated

from toymill.inference.interval_verdicts import AsymptoticInterval
from toymill.inference.limit_records import Limit, LimitVariance, UpperLimit
from toymill.inference.neyman import neyman_intervals
from toymill.results.design import Design, DesignedEnsemble, DesignedInterval, DesignedLimit
from toymill.study.interval_rounds import interval_precision, interval_wants
from toymill.study.layout import PART
from toymill.study.limit_rounds import limit_precision, limit_wants
from toymill.study.rounds import more_toys, next_round


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


def more(found, design, asked):
    return more_toys(limit_wants(found, design, asked), design)


@pytest.fixture
def design():
    def ensemble(truth, tests, toys):
        return DesignedEnsemble(truth={"mu": truth}, tests=tests, toys=toys, sections=["limit"])

    return Design(
        toymill="",
        study="s",
        nuisances="nominal",
        interval=None,
        region=None,
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
    assert more(found, design, 0.01) == {"signal-01": 500, "signal-02": 5000, "background": 1000}
    assert more(found, design, 0.1) == {"signal-01": 500, "signal-02": 2300, "background": 1000}  # 500 · 4 / 0.95²


def test_every_limit_counts_that_is_asked_for(design):
    one = limits(limit(1.0, [0.0, 0.0], 0.0), minus1=limit(2.0, [0.04, 0.0], 0.0))
    assert more(one, design, 0.05)["signal-01"] == 2300  # 500 · 0.04 / (0.95 · 0.05 · 2)²
    far = limits(limit(1.0, [0.0, 0.0], 0.0), minus2=limit(2.0, [9.0, 0.0], 0.0), plus2=limit(None, None, None))
    assert more(far, design, 0.05) == {"signal-01": 500, "signal-02": 500, "background": 1000}


def test_a_limit_without_an_error_has_more_background_toys(design):
    found = limits(None, plus1=limit(2.0, None, None))
    assert more(found, design, 0.05)["background"] == 2000


def test_no_ensemble_outgrows_what_one_job_counts(design):
    large = design.model_copy(
        update={
            "ensembles": {name: item.model_copy(update={"toys": PART // 2}) for name, item in design.ensembles.items()}
        }
    )
    found = limits(limit(1.0, [0.0, 1.0], 0.0))
    assert more(found, large, 0.01)["signal-02"] == PART


def test_rounds_end_where_nothing_is_added(design):
    asked = []
    found = limits(limit(1.0, [0.0001, 0.0], 0.0001))

    def once():
        asked.append(1)
        return limit_wants(found, design, 0.05)

    first = next_round(design, {"limit": once})
    assert [(item.toys, item.added) for item in first.limit.rounds] == [(2000, 0)]
    assert first.limit.rounds[0].errors["observed"] == pytest.approx(0.0002**0.5)
    assert next_round(first, {"limit": once}) == first
    assert len(asked) == 1
    told = limit_precision(found, first, 0.05)
    assert told.reached
    assert "A precision of 5 % was asked for and reached: the errors are 1.4 % (observed)" in told.sentence
    assert not limit_precision(found, first, 0.01).reached
    outside = limits(limit(1.0, [0.0001, 0.0], 0.0001), minus1=limit(None, None, None))
    told = limit_precision(outside, first, 0.05)
    assert not told.reached
    assert told.sentence.endswith("Not known among the tested values: expected, -1 σ.")


X = np.round(np.linspace(-3.8, 4.2, 17), 1)


def normal_intervals(sizes, observed=0.0, points=X, levels=(0.6827, 0.95)):
    """Of a normal measurement of unit width, from the exact quantiles of t in place of toys."""
    toys = [scipy.stats.chi2.isf((np.arange(n) + 0.5) / n, 1) for n in sizes]
    return neyman_intervals(points, toys, (points - observed) ** 2, levels=levels)


@pytest.fixture
def of_interval(design):
    """A design of an interval that shares an ensemble with the limit."""

    def of(points=X, toys=400, best=0.0):
        fields = {"level": 0.5, "best": best, "low": -1.0, "high": 1.0, "low_at_bound": False, "high_at_bound": False}
        asymptotic = {key: AsymptoticInterval(**fields) for key in ("0.6827", "0.95")}
        names = ["signal-01" if value == 1.2 else f"interval-{k:02d}" for k, value in enumerate(points, 1)]
        own = {
            name: DesignedEnsemble(truth={"mu": value}, tests=[], toys=toys, sections=["interval"])
            for name, value in zip(names, points.tolist(), strict=True)
        }
        fields = {"values": points.tolist(), "asymptotic": asymptotic, "distances": None, "nuisances": [], "rounds": []}
        interval = DesignedInterval(**fields)
        update = {"interval": interval, "ensembles": {**own, **design.ensembles}}
        return design.model_copy(update=update), {name: item.truth["mu"] for name, item in own.items()}

    return of


def test_toys_of_an_interval_go_next_to_its_ends(of_interval):
    """At 68 % the ends are ± 1, at 95 % ± 1.96: the values beside get toys, until the errors are those predicted."""
    design, ensembles = of_interval()
    found = normal_intervals([400] * 17)
    for interval in found.intervals.values():
        for end in (interval.low, interval.high):
            assert sum(end.variance) == pytest.approx(end.error**2)
            assert set(np.flatnonzero(end.variance)) <= set(np.flatnonzero(np.abs(X - end.value) <= 0.5))
    wanted = interval_wants(found, ensembles, design, 0.02)
    assert list(wanted.errors) == ["0.6827 low", "0.6827 high", "0.95 low", "0.95 high"]
    counts = more_toys(wanted, design)
    grown = [ensembles[name] for name, toys in counts.items() if toys > design.ensembles[name].toys]
    assert [value for value in grown if value > 0] == [0.7, 1.2, 1.7, 2.2]
    again = normal_intervals(counts.values())
    for interval in again.intervals.values():
        assert 0.016 < interval.high.error / interval.high.value < 0.021
    assert interval_precision(again, ensembles, design, 0.021).reached
    assert not interval_precision(found, ensembles, design, 0.02).reached


def test_ensembles_of_one_value_grow_alike(of_interval):
    """Those of a set of nuisance parameters share the variance of their value: each has as many toys as one would."""
    design, ensembles = of_interval()
    found = normal_intervals([400] * 17)
    alone = more_toys(interval_wants(found, ensembles, design, 0.02), design)
    further = {f"{name}-1": value for name, value in ensembles.items()}
    more = {name: design.ensembles[name.removesuffix("-1")] for name in further}
    both = design.model_copy(update={"ensembles": {**design.ensembles, **more}})
    counts = more_toys(interval_wants(found, {**ensembles, **further}, both, 0.02), both)
    for name in further:
        assert counts[name] == counts[name.removesuffix("-1")] == alone[name.removesuffix("-1")]


def test_values_that_are_not_decided_double_their_toys(of_interval):
    """p(± 1.5) is 13.4 %: it tells no end at 68 or 95 %, and is decided. At 87 % it is not, and a bound that is as near."""
    points = np.array([0.0, 0.5, 1.0, 1.5])
    design, ensembles = of_interval(points)
    fields = design.interval.asymptotic["0.95"]
    asked = {"interval": design.interval.model_copy(update={"asymptotic": {"0.87": fields}})}
    design = design.model_copy(update=asked)
    found = normal_intervals([400] * 4, points=points, levels=[0.87])
    assert found.intervals["0.87"].high.outside == "above"
    wanted = interval_wants(found, ensembles, design, 0.1)
    assert wanted.doubled == ["interval-04"]
    assert more_toys(wanted, design)["interval-04"] == 800
    told = interval_precision(found, ensembles, design, 0.1)
    assert not told.reached
    assert told.sentence.endswith(
        "Not known among the tested values: lower end at 87 %, upper end at 87 %, whether 1.5 is accepted at 87 %."
    )


def test_sections_with_a_precision_share_rounds_and_toys(of_interval):
    """The limit wants 700 toys of the first signal, the interval more: there is one number."""
    design, ensembles = of_interval()
    limited = limits(limit(1.0, [0.0036, 0.0], 0.0))
    of_both = {
        "limit": lambda: limit_wants(limited, design, 0.05 / 0.95),
        "interval": lambda: interval_wants(normal_intervals([400] * 17), ensembles, design, 0.02),
    }
    after = next_round(design, of_both)
    alone = next_round(design, {"limit": of_both["limit"]}).ensembles["signal-01"].toys
    assert alone == 720
    assert after.ensembles["signal-01"].toys > alone
    assert after.limit.rounds[0].added == after.ensembles["signal-01"].toys - 500
    assert after.interval.rounds[0].added > after.limit.rounds[0].added


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
