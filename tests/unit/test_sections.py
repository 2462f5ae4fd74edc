"""What a study asks for: from the sections of its configuration to truth points, toys and answers."""

import json

import counting_experiments as exact_counts
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from asked import finish, stated

import toymill
from toymill.config.designed import designed, planned
from toymill.config.sections import at_tested, audited, needs
from toymill.config.study import read_study
from toymill.errors import ToymillError
from toymill.inference.asymptotics import critical_value
from toymill.inference.crossing import z_of
from toymill.inference.likelihood_ratios import q_0, qtilde_mu, t_mu
from toymill.inference.neyman import root_of
from toymill.report import captions
from toymill.report.draw import draw
from toymill.report.first_screen import groups
from toymill.report.tables import tables
from toymill.study.design import design_study
from toymill.study.model import checked_model

SECTIONS = {
    "limit": {"points": 6, "toys": 4000, "background_toys": 4000},
    "interval": {"points": 10, "toys": 3000},
    "discovery": {"toys": 4000, "reach": 5},
    "goodness_of_fit": {"toys": 2000},
    "impacts": {"toys": 2000},
}


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    """All sections of an on/off measurement, from design to summary: the designed study, its design and its summary."""
    return finish(stated(root, **SECTIONS), tmp_path_factory.mktemp("asked"))


@pytest.fixture(scope="module")
def exact(root):
    """The on/off measurement enumerated: its model, its outcomes, and their free fits and fits at given values."""
    model = toymill.read_workspace(root / "tests/data/onoff.json")
    off, on = np.meshgrid(np.arange(45, 165), np.arange(45, 290), indexing="ij")
    data = np.stack([off.ravel(), on.ravel()], axis=1).astype(float)
    data = np.concatenate([data, model.observed[None]])

    def fits(*values):
        return toymill.fit_tests(model, data, [{"mu": value} for value in values])

    def probability(value):
        held = toymill.fit(model, model.observed, {"mu": value}, covariance=False)
        mean = np.asarray(model.expected_data(held.parameters[0]))
        return np.prod(scipy.stats.poisson.pmf(data[:-1], mean), axis=1)

    return model, fits, probability


def test_the_null_has_the_exact_significance(finished, exact):
    _, _, summary = finished
    _, fits, probability = exact
    free, (background,) = fits(0.0)
    q = q_0(free, background)
    f = probability(0.0)
    found = summary.answers.discovery
    assert found.observed.q_0 == pytest.approx(q[-1], abs=1e-6)
    for item in [found.observed, *found.tail]:
        p = f[q[:-1] >= item.q_0 - 1e-6].sum()
        assert abs(item.weighted.value - p) < 4 * item.weighted.error
        assert item.weighted.error < 0.12 * p
        assert item.plain.low - 3 * (item.plain.value - item.plain.low) - 1e-3 <= p
    assert found.tail[-1].weighted.normalisation == pytest.approx(
        1, abs=5 * found.tail[-1].weighted.normalisation_error
    )


@pytest.mark.long
def test_five_sigma_of_the_teaching_model_as_a_hundred_million_plain_toys_have_it(root, tmp_path):
    """10⁸ toys without a signal at nominal parameters: 2.749e-5 ± 0.053e-5 beyond 16, 1.80e-7 (+0.53, -0.42) beyond 25."""
    content = {"study": "five", "model": str(root / "config/workspaces/teaching.json"), "nuisances": "nominal"}
    _, _, summary = finish(read_study({**content, "discovery": {"toys": 30_000}}), tmp_path)
    at = {item.q_0: item.weighted for item in summary.answers.discovery.tail}
    assert at[9.0].value == pytest.approx(1.2070e-3, abs=3 * np.hypot(at[9.0].error, 0.0035e-3))
    assert at[16.0].value == pytest.approx(2.749e-5, abs=3 * np.hypot(at[16.0].error, 0.053e-5))
    assert at[25.0].value == pytest.approx(1.80e-7, abs=3 * np.hypot(at[25.0].error, 0.5e-7))
    assert at[25.0].error < 0.05 * at[25.0].value


def test_the_observed_limit_is_the_exact_one(finished, exact):
    _, design, summary = finished
    _, fits, probability = exact

    def cls(value):
        free, (conditional, background) = fits(value, 0.0)
        q = qtilde_mu(free, conditional, background)
        beyond = q[:-1] >= q[-1] - 1e-6
        return probability(value)[beyond].sum() / probability(0.0)[beyond].sum()

    limit = summary.answers.limit.toys.observed
    right = scipy.optimize.brentq(lambda value: cls(value) - 0.05, *design.limit.values[::5], xtol=1e-3)
    assert abs(limit.value - right) < 4 * np.hypot(limit.error, limit.interpolation or 0.0)
    assert limit.error < 0.02 * right
    found = summary.answers.limit.toys
    assert found.why_unweighted is None
    for point in found.points[1::2]:
        assert abs(point.weighted.cls - cls(point.poi)) < 4 * (point.weighted.cls_error or 1e-4)
    assert summary.answers.limit.verdict.usable in {True, None}


def test_expected_limits_are_in_order_and_near_the_asymptotic_ones(finished):
    answers = finished[2].answers.limit
    values = [item.value for item in answers.toys.expected.values()]
    assert values == sorted(values)
    for key in ("-1", "0", "1"):
        found, asymptotic = answers.toys.expected[key], answers.asymptotic.expected[key]
        assert (
            abs(found.value - asymptotic.value)
            < 4 * np.hypot(found.error, found.interpolation or 0.0) + 0.05 * found.value
        )


def test_cls_at_the_tested_values_crosses_where_the_limits_are(finished):
    """The bands of toys and the asymptotic curves: at each limit interpolated CLs is 1 - level."""
    answers = finished[2].answers.limit
    points = [point.poi for point in answers.toys.points]
    for key, limit in answers.toys.expected.items():
        band = z_of(np.array([point.expected[key].value or 1e-6 for point in answers.toys.points]))
        assert np.interp(z_of(0.05), band, points) == pytest.approx(limit.value, rel=0.02)
        formula = z_of(np.array([item.expected[key] for item in answers.asymptotic_points]))
        assert np.interp(z_of(0.05), formula, points) == pytest.approx(answers.asymptotic.expected[key].value, rel=0.02)
    formula = z_of(np.array([item.observed for item in answers.asymptotic_points]))
    assert np.interp(z_of(0.05), formula, points) == pytest.approx(answers.asymptotic.observed.value, rel=0.02)


def test_the_intervals_are_the_enumerated_ones(finished, exact):
    """Each p-value is the exact one, and each end where the exact p at the tested values crosses."""
    _, design, summary = finished
    model, fits, probability = exact
    found, asymptotic = summary.answers.interval, design.interval.asymptotic
    right = []
    for item in found.toys.points:
        free, (conditional,) = fits(item.poi)
        t = t_mu(free, conditional)
        right.append(probability(item.poi)[t[:-1] >= t[-1] - 1e-6].sum())
        assert item.test.t == pytest.approx(t[-1], abs=1e-6)
        assert abs(item.test.p_value.value - right[-1]) < 4 * np.sqrt(right[-1] * (1 - right[-1]) / 3000) + 1e-9
        for level, critical in item.test.critical.items():
            assert abs(critical.value - scipy.stats.chi2.ppf(float(level), 1)) < 0.2 + 4 * (
                critical.high - critical.low
            )
    points, r = np.array(design.interval.values), root_of(right)
    assert [item.poi for item in found.toys.points] == points.tolist()
    for level, interval in found.toys.intervals.items():
        low, high = np.flatnonzero(r < root_of(1 - float(level)))[[0, -1]]
        for end, inside, outside in ((interval.low, low, low - 1), (interval.high, high, high + 1)):
            share = (r[outside] - root_of(1 - float(level))) / (r[outside] - r[inside])
            exactly = points[outside] + share * (points[inside] - points[outside])
            assert abs(end.value - exactly) < 4 * end.error
            assert end.error < 0.05
            assert asymptotic[level].low < asymptotic[level].best < asymptotic[level].high
        profile = toymill.profile_interval(model, model.observed, levels=[scipy.stats.chi2.ppf(float(level), 1)])
        assert (asymptotic[level].low, asymptotic[level].high) == (profile.low[0, 0], profile.high[0, 0])
        for side in ("low", "high"):
            verdict, end = getattr(found.verdicts[level], side), getattr(interval, side)
            assert verdict.asymptotic == getattr(asymptotic[level], side)
            assert verdict.difference == pytest.approx((verdict.asymptotic - 1) / (end.value - 1) - 1, rel=1e-6)


def test_a_perfect_fit_is_good_and_the_two_counts_are_all_of_the_error(finished):
    answers = finished[2].answers
    assert answers.goodness_of_fit.statistics["saturated"].p_value.value == 1.0  # as many parameters as data
    whole = answers.impacts.decomposition
    parts = whole.statistical.variance + whole.systematic.variance + whole.rest.variance
    assert parts == pytest.approx(whole.variance, abs=4 * whole.variance_error)
    assert parts == pytest.approx(0.1, rel=1e-6)  # 150/50² + 100/50²: the two counts
    (b,) = answers.impacts.impacts
    assert (b.parameter, b.global_toys) == ("b", None)  # it has no auxiliary data
    assert b.postfit_up == pytest.approx(-0.2, abs=1e-6)  # μ̂ = (150 - 100 b)/50, and σ(b) = 0.1


def test_truths_stand_at_the_fits_to_the_observed_data(finished, exact):
    study, design, summary = finished
    model, _, _ = exact
    for name, item in design.ensembles.items():
        held = {} if name == "best-fit" else {"mu": item.truth["mu"]}
        if not name.startswith("tilted"):
            fits = toymill.fit(model, model.observed, held, covariance=False)
            assert list(item.truth.values()) == pytest.approx(fits.parameters[0].tolist(), rel=1e-7)
        assert summary.ensembles[name].sections == tuple(item.sections)
        assert study.ensembles[name].truth == item.truth
    assert design.nuisances == "conditional"
    assert design.ensembles["background"].tests == [0.0, *design.limit.values]


def test_every_section_has_a_figure_and_a_sentence(finished, tmp_path):
    summary = finished[2]
    draw(summary, {name: tmp_path / f"{name}.svg" for name in SECTIONS})
    assert all((tmp_path / f"{name}.svg").read_bytes().startswith(b"<?xml") for name in SECTIONS)
    assert SECTIONS.keys() <= captions.LOOK.keys()
    (answers,) = groups(summary)
    assert {"upper limit, observed", "significance", "95 % interval", "goodness of fit, p-value"} <= {
        line.what for line in answers.lines
    }
    shown = tables(summary, {})
    keys = {table.key for table in shown}
    assert all(len({column.title for column in table.columns}) == len(table.columns) for table in shown)
    assert {"limits", "limit-points", "interval-points", "tail", "goodness-of-fit", "impacts", "truth-points"} <= keys
    told = summary.headline.answers
    assert [line.partition(":")[0] for line in told] == [
        "limit",
        "limit",
        *["interval"] * 8,
        "discovery",
        "goodness of fit",
        "impacts",
    ]


def test_sections_share_toys(root):
    study = stated(root, limit={"points": 4, "background_toys": 500}, discovery={"toys": 700}, goodness_of_fit=None)
    found = needs(study)
    assert found["background"].toys == 700
    assert found["background"].sections == ("limit", "discovery")
    assert at_tested(study) == []
    assert list(found) == ["background", *(f"signal-0{k}" for k in range(1, 5)), "tilted-1", "tilted-2", "best-fit"]
    assert list(planned(study).ensembles) == list(found)
    assert audited(study) == ["background", "signal-04", "tilted-2", "best-fit"]


def test_an_interval_takes_the_toys_of_other_sections_where_their_values_are_its_own(root):
    values = {"limit": {"values": [0.5, 1.5], "toys": 300}, "interval": {"values": [0.0, 0.5, 1.0], "toys": 400}}
    study = stated(root, **values)
    assert at_tested(study) == ["background", "signal-01", "interval-03"]
    assert needs(study)["signal-01"] == (400, ("limit", "interval"))
    design = design_study(study)
    assert design.interval.values == [0.0, 0.5, 1.0]
    assert design.ensembles["background"].tests == [0.0, 0.5, 1.5]
    assert [design.ensembles[name].truth["mu"] for name in at_tested(study)] == design.interval.values
    assert list(needs(stated(root, interval={"values": [0.0, 0.5]}))) == ["interval-01", "interval-02"]


def test_a_resolved_study_asks_the_same(root):
    study = stated(root, limit=None, impacts=True)
    assert study.limit.level == 0.95
    assert read_study(json.loads(json.dumps(study.model_dump(mode="json")))) == study
    assert not study.discovery


def test_stated_values_are_tested(root):
    study = stated(root, limit={"values": [0.5, 1.0, 2.5], "toys": 100})
    design = design_study(study)
    assert design.limit.values == [0.5, 1.0, 2.5]
    assert design.ensembles["signal-03"].truth["mu"] == 2.5


def test_values_may_be_stated_where_asymptotic_limits_are_not_known(root, monkeypatch):
    def none(*_):
        raise ToymillError("The statistic is not known.")

    monkeypatch.setattr("toymill.study.design.asymptotic_limits", none)
    design = design_study(stated(root, limit={"values": [0.5, 1.0], "toys": 100}))
    assert (design.limit.values, design.limit.asymptotic) == ([0.5, 1.0], None)
    assert design.limit.why_no_asymptotic == "The statistic is not known."
    with pytest.raises(ToymillError, match=r"placed, are not known\. The statistic is not known\. Or name the values"):
        design_study(stated(root, limit={}))


def test_what_the_model_cannot_answer_is_refused_before_toys(root, tmp_path):
    source = (root / "config/models/lifetime.py").read_text()
    (tmp_path / "mine.py").write_text(source.replace("throw=throw,", "throw=throw, observed=[1.0] * decays,"))
    density = {"kind": "python", "path": str(tmp_path / "mine.py")}
    with pytest.raises(ToymillError, match="goodness_of_fit: the model states a density"):
        design_study(read_study({"study": "asked", "model": density, "goodness_of_fit": {}}))
    hww = str(root / "config/workspaces/hww.json")
    with pytest.raises(ToymillError, match=r"impacts\.toys: there are 100, and the impacts of 2\d auxiliary data need"):
        design_study(read_study({"study": "asked", "model": hww, "impacts": {"toys": 100}}))


def test_q_needs_a_parameter_that_may_be_negative(root, tmp_path):
    content = json.loads((root / "tests/data/onoff.json").read_text())
    content["measurements"][0]["config"]["parameters"][0]["bounds"] = [[0.0, 20.0]]
    path = tmp_path / "bounded.json"
    path.write_text(json.dumps(content))
    checked_model(stated(root, limit={"statistic": "q"}))
    with pytest.raises(
        ToymillError, match=r"limit\.statistic: q_μ lets the estimate of 'mu' be negative.*bounds it at 0"
    ):
        checked_model(stated(root, model=str(path), limit={"statistic": "q"}))


def discovery_with(root, folder, on):
    """The discovery of the on/off measurement with another count on."""
    content = json.loads((root / "tests/data/onoff.json").read_text())
    content["observations"][1]["data"] = [on]
    path = folder / "counts.json"
    path.write_text(json.dumps(content))
    _, _, summary = finish(stated(root, model=str(path), discovery={"toys": 300}), folder)
    return summary


def test_a_large_excess_is_reached_by_tilted_toys(root, tmp_path):
    """300 events on, 100 off: √q_0 is 10.3. Tilted toys go to 8; the p-value beyond all toys is told as a bound."""
    summary = discovery_with(root, tmp_path, on=300.0)
    found = summary.answers.discovery
    assert found.observed.q_0 > 100
    truth = summary.ensembles["tilted-2"].truth["mu"]
    assert truth > 2
    (line,) = summary.headline.answers
    assert "the p-value is 0" not in line
    if found.observed.weighted.bound:
        assert "the p-value is below" in line


def test_a_model_of_one_parameter_has_tilted_toys(tmp_path):
    """Five counts of one rate, of which none is expected: one event is impossible without a signal."""
    study = read_study({"study": "asked", "model": {"kind": "poisson", "n": 5}, "discovery": {"toys": 200, "reach": 1}})
    _, design, summary = finish(study, tmp_path)
    assert design.ensembles["background"].truth == {"rate": 0.0}
    (item,) = summary.answers.discovery.tail
    assert (item.weighted.value, item.weighted.bound, item.plain.value) == (0.0, True, 0.0)


def test_limits_with_a_signal_injected(root, tmp_path):
    """A signal that the toys have raises their limits, about by itself; with none they are those of background alone."""
    asked = {"values": [0.2, 0.4, 0.7, 1.0, 1.4, 1.9, 2.5], "toys": 1000, "background_toys": 2000}
    _, _, summary = finish(stated(root, limit=asked | {"injected": 1.0}), tmp_path)
    found = summary.answers.limit
    assert list(found.injected) == ["-2", "-1", "0", "1", "2"]
    with_signal, without = found.injected["0"], found.toys.expected["0"]
    assert with_signal.value - without.value == pytest.approx(1.0, abs=0.15)
    assert without.error < with_signal.error < 0.1
    with pytest.raises(ToymillError, match=r"limit.injected: Parameter 'mu' cannot be 1e\+06"):
        checked_model(stated(root, limit=asked | {"injected": 1.0e6}))


def test_a_limit_beyond_the_upper_bound_is_said_so(root, tmp_path):
    content = json.loads((root / "tests/data/onoff.json").read_text())
    content["measurements"][0]["config"]["parameters"][0]["bounds"] = [[-2.0, 1.2]]
    path = tmp_path / "bounded.json"
    path.write_text(json.dumps(content))
    _, design, summary = finish(
        stated(root, model=str(path), limit={"points": 4, "toys": 200, "background_toys": 200}), tmp_path
    )
    assert design.limit.values[-1] == 1.2
    found = summary.answers.limit.toys.observed
    assert found.outside == "above"
    assert found.sentence.endswith("the largest value tested. It is the upper bound of the parameter.")


def test_no_excess_is_said_so(root, tmp_path):
    summary = discovery_with(root, tmp_path, on=80.0)
    found = summary.answers.discovery.observed
    assert (found.q_0, found.weighted.value, found.verdict.usable) == (0.0, 1.0, None)
    assert "the data show no excess" in summary.headline.answers[0]


def test_nominal_hypotheses(root):
    design = design_study(stated(root, discovery={}, nuisances="nominal"))
    assert design.nuisances == "nominal"
    assert design.ensembles["background"].truth == {"mu": 0.0, "b": 1.0}


def test_a_design_of_other_sections_is_refused(root):
    design = design_study(stated(root, impacts={}))
    with pytest.raises(ToymillError, match=r"sections of 'asked' need background, .* Remove design\.json"):
        designed(stated(root, discovery={}), design)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "needs at least one, or one of the sections limit, interval, region, discovery"),
        ({"limit": {"lvel": 0.9}}, "limit.lvel: unknown key. Did you mean 'level'"),
        ({"limit": {"values": [1.0, 0.5]}}, "limit.values: they do not ascend"),
        ({"limit": {"level": 0.3}}, "limit.level: input should be greater than 0.5; got 0.3"),
        ({"limit": 3}, "limit: expected a mapping"),
        ({"interval": {"values": [1.0, 1.0]}}, "interval.values: they do not ascend"),
        ({"interval": {"levels": [0.9, 0.95, 0.9]}}, "interval.levels: 0.9 is there twice; name each once"),
        ({"interval": {"levels": [68]}}, "interval.levels.0: input should be less than 1; got 68"),
        (
            {"interval": {"berger_boos": {"beta": 0.05}}},
            "interval: berger_boos.beta is 0.05, and is to be less than 1 - 0.95",
        ),
        ({"interval": {"berger_boos": {"bet": 0.01}}}, "interval.berger_boos.bet: unknown key. Did you mean 'beta'"),
        ({"interval": {"berger_boos": {"parameters": ["b", "b"]}}}, "parameters: b is there twice; name each once"),
        (
            {"interval": {"berger_boos": {}}, "nuisances": "hybrid"},
            "interval.berger_boos: needs toys at fixed nuisance",
        ),
        ({"interval": {"statistic": "q"}}, "interval.statistic: input should be 't' or 'ttilde'"),
        ({"limit": {}, "keep": "poi"}, "keep: poi stores too little for limit"),
        ({"discovery": {}, "kind": "optimisers"}, "discovery: is for a study of kind toys"),
        (
            {"discovery": {}, "ensembles": {"Background": {"truth": {"mu": 0.0}}}},
            "background is the name of an ensemble",
        ),
        ({"impacts": {"toys": 10}}, "impacts.toys: input should be greater than or equal to 100"),
    ],
)
def test_a_section_that_cannot_be_is_refused(root, changes, message):
    with pytest.raises(ToymillError, match=message):
        stated(root, **changes)


def test_a_section_that_does_not_fit_the_model_is_refused(root):
    with pytest.raises(ToymillError, match=r"limit.values: Parameter 'mu' cannot be 1e\+06"):
        checked_model(stated(root, limit={"values": [1.0, 1.0e6]}))
    counts = {"kind": "onoff"}
    with pytest.raises(ToymillError, match="impacts needs a fit to the observed data, and this model has none"):
        checked_model(read_study({"study": "asked", "model": counts, "impacts": {}}))
    with pytest.raises(ToymillError, match="interval needs a fit to the observed data, and this model has none"):
        checked_model(read_study({"study": "asked", "model": counts, "interval": {}}))
    with pytest.raises(ToymillError, match=r"interval.values: Parameter 'mu' cannot be -3"):
        checked_model(stated(root, interval={"values": [-3.0, 1.0]}))
    with pytest.raises(ToymillError, match=r"berger_boos.parameters: 'mu' is no free nuisance parameter. Allowed: b"):
        checked_model(stated(root, interval={"berger_boos": {"parameters": ["mu"]}}))
    observed = {**counts, "observed": [12, 10]}
    with pytest.raises(ToymillError, match=r"interval.values: -1 is negative, which ttilde does not allow"):
        checked_model(
            read_study({"study": "asked", "model": observed, "interval": {"values": [-1, 1], "statistic": "ttilde"}})
        )
    with pytest.raises(ToymillError, match="nuisances: 'conditional' needs a fit to the observed data"):
        checked_model(read_study({"study": "asked", "model": counts, "limit": {}, "nuisances": "conditional"}))
    assert design_study(read_study({"study": "asked", "model": counts, "limit": {}})).nuisances == "nominal"


def _onoff_nll(s, b):
    """Of n_on = 4 and n_off = 10 with τ = 2."""
    return s + b - 4 * np.log(s + b) + 2 * b - 10 * np.log(2 * b)


def test_an_interval_that_is_not_negative(tmp_path):
    """n_on = 4, n_off = 10, τ = 2: μ̂ = -1, and t̃_μ takes 0 for it. The p-values are the enumerated ones,
    also at the ends of the set of backgrounds."""
    model = {"kind": "onoff", "tau": 2.0, "observed": [4, 10]}
    of_set = {"beta": 0.01, "points": 2}
    asked = {"statistic": "ttilde", "levels": [0.9], "values": [0.0, 3.0, 5.0], "toys": 2000, "berger_boos": of_set}
    _, design, summary = finish(read_study({"study": "asked", "model": model, "interval": asked}), tmp_path)
    assert [item.tests for item in design.ensembles.values()] == [[0.0]] * 9
    assert design.interval.nuisances == ["b"]
    found = summary.answers.interval
    assert found.over_set == "Each p-value is the largest over a 99 % confidence set of b, plus 0.01 (Berger and Boos)."
    for k, item in enumerate(found.toys.points, 1):
        p = exact_counts.unified_onoff_p(item.poi, 4, 10, 2.0)
        assert item.test.t == pytest.approx(exact_counts.unified_onoff(item.poi, 4, 10, 2.0), abs=1e-6)
        assert abs(item.test.p_value.value - p) < 4 * np.sqrt(p * (1 - p) / 2000) + 1e-9
        assert item.largest.value == min(max(p.value for p in [item.test.p_value, *item.over_set]) + 0.01, 1.0)
        best = exact_counts.onoff_background(item.poi, 4, 10, 2.0)
        for place, found_there in enumerate(item.over_set, 1):
            b = design.ensembles[f"interval-{k:02d}-{place}"].truth["b"]
            rise = 2 * (_onoff_nll(item.poi, b) - _onoff_nll(item.poi, best))
            assert rise == pytest.approx(scipy.stats.chi2.isf(0.01, 1), rel=1e-4)
            p = min(exact_counts.unified_onoff_p_at(item.poi, b, 4, 10, 2.0), 1.0)
            assert abs(found_there.value - p) < 4 * np.sqrt(p * (1 - p) / 2000) + 1e-3
    asymptotic, interval = found.asymptotic["0.9"], found.toys.intervals["0.9"]
    assert (asymptotic.best, asymptotic.low, asymptotic.low_at_bound, interval.low.value) == (0.0, 0.0, True, 0.0)
    t = exact_counts.unified_onoff(asymptotic.high, 4, 10, 2.0)
    distance = np.sqrt(exact_counts.unified_onoff(asymptotic.high, 14 / 3, 28 / 3, 2.0))  # of the Asimov data at 0
    assert t == pytest.approx(critical_value(0.9, distance), abs=1e-4)
    assert t < 0.99 * scipy.stats.chi2.ppf(0.9, 1)
    assert found.toys.points[0].test.critical["0.9"].asymptotic == pytest.approx(scipy.stats.norm.ppf(0.9) ** 2)
    assert found.coverage["0.9"].toys is None  # over a set, halves of the toys at the fit do not tell
    assert found.coverage["0.9"].asymptotic.below == []
    assert found.coverage["0.9"].asymptotic.least.coverage > 0.87
    assert 3.0 < interval.high.value < 5.0
    assert found.verdicts["0.9"].low.usable
