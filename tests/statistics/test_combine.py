"""CMS Combine's own validation: test/validation/reference.json of cms-analysis/HiggsAnalysis-CombinedLimit.

Its numbers are of toys, with the errors that it states; ours are added in quadrature, and three of both allowed. One
number in 370 lies further away by chance. Its frequentist toys are those of a study: the nuisance parameters are at the
conditional fit of each hypothesis, auxiliary data fluctuate, and the statistic is q̃_μ. Of its hybrid toys the nuisance
parameters are drawn, auxiliary data stay as observed, and the statistic is that of LEP.
"""

import json

import enumerated_experiments as exact
import numpy as np
import pytest
from asked import finish
from builders import normsys, workspace

import toymill
from toymill.config.study import read_study
from toymill.inference.limits import upper_limit
from toymill.inference.p_values import cls, tie_tolerance

KAPPA = 1.3
UNCERTAIN = {"B": ([], ["1"]), "S": (["1"], []), "U": (["1"], ["2"])}
"""Which log-normal uncertainties of 30 % a benchmark has: of the signal, and of the background."""

CLOSED = {"B": exact.Lognormal(5.5, of_background=KAPPA), "S": exact.Lognormal(5.5, of_signal=KAPPA)}
LOGNORMAL = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code0"}}

# (kind, n), the limit on r at 95 % CL, and CL_{s+b} at r = 5
LIMITS = [
    ("B", 1, (2.98, 0.11), None),
    ("B", 6, (7.07, 0.17), (0.0932, 0.0009)),
    ("S", 6, (7.445, 0.063), (0.0898, 0.0009)),
    pytest.param("U", 6, (8.04, 0.20), (0.1112, 0.0010), marks=pytest.mark.long),
]

# CLs at r = 5 with six events observed
CLS = [("S", (0.1493, 0.0010)), ("U", (0.1863, 0.0010))]

# The limit of hybrid toys, and where to test
HYBRID = [
    ("B", 1, (3.4955, 0.033), [2.5, 3.0, 3.5, 4.2]),
    ("B", 6, (7.446, 0.029), [5.0, 6.5, 7.2, 8.0, 9.0]),
    ("S", 6, (7.596, 0.032), [5.0, 6.5, 7.2, 8.0, 9.0]),
    pytest.param("U", 6, (8.098, 0.043), [5.0, 6.5, 7.5, 8.5, 9.5], marks=pytest.mark.long),
]


def counting(kind, n):
    """data/benchmarks/counting/counting-B5p5-ObsN-Syst30X.txt: a bin with a signal of 1 and a background of 5.5."""
    modifiers = [[normsys(name, KAPPA, 1 / KAPPA) for name in names] for names in UNCERTAIN[kind]]
    bounds = [{"name": "mu", "bounds": [[0.0, 60.0]], "inits": [1.0]}]
    spec = workspace({"bin": {"s": ([1.0], modifiers[0]), "b": ([5.5], modifiers[1])}}, bounds)
    spec["observations"][0]["data"] = [float(n)]
    return spec


def near(found, stated):
    """Whether two numbers with an error each are within three of both in quadrature."""
    return abs(found[0] - stated[0]) < 3 * np.hypot(found[1], stated[1])


@pytest.mark.parametrize(("kind", "n", "limit", "clsb"), LIMITS)
def test_frequentist_limits(kind, n, limit, clsb, tmp_path):
    """A whole study of each, beside Combine and, with one nuisance parameter, beside the enumeration of its outcomes.

    With one event observed only 2 % of the background-only toys are as unlike a signal: the limit is 3.31.
    """
    path = tmp_path / "counting.json"
    path.write_text(json.dumps(counting(kind, n)))
    values = [2.2, 2.7, 3.2, 3.7, 4.4, 5.0] if n == 1 else [4.0, 5.0, 6.0, 6.8, 7.6, 8.5, 10.0]
    section = {"values": values, "toys": 20_000, "background_toys": 40_000}
    model = {"kind": "workspace", "path": str(path), "modifier_settings": LOGNORMAL}
    study = read_study({"study": "combine", "model": model, "limit": section})
    found = finish(study, tmp_path)[2].answers.limit.toys
    observed = found.observed.value, np.hypot(found.observed.error, found.observed.interpolation)
    at_5 = found.points[values.index(5.0)]
    counted, weighted = at_5.observed, at_5.weighted
    p = counted.clsb.value
    clsb_of = (p, np.sqrt(p * (1 - p) / counted.clsb.toys)), (weighted.clsb, weighted.clsb_error)
    cls_of = (counted.value, counted.error), (weighted.cls, weighted.cls_error)
    assert near(observed, limit)
    assert clsb is None or all(near(item, clsb) for item in clsb_of)
    if kind in CLOSED:
        tails = CLOSED[kind].tails(5.0, n)
        truth = exact.limit_of_tails(lambda mu: CLOSED[kind].tails(mu, n, cells=501), values[0], values[-1])
        assert near(observed, (truth, 5e-3))
        assert all(near(item, (tails[0], 3e-4)) for item in clsb_of)
        assert all(near(item, (tails[0] / tails[1], 5e-4)) for item in cls_of)


@pytest.mark.long
@pytest.mark.parametrize(("kind", "stated"), CLS)
def test_cls_of_many_toys(kind, stated):
    """Our error is as small as Combine's."""
    model = toymill.read_workspace(counting(kind, 6), modifier_settings=LOGNORMAL)
    samples = []
    for mu in (5.0, 0.0):
        truth = toymill.fit(model, model.observed, {"mu": mu}, covariance=False).parameters[0]
        toys = toymill.throw(model, truth, 300_000, seed=77, stream=f"{mu:g}")
        samples.append(toymill.test(model, toys, {"mu": 5.0}).qtilde_mu)
    observed = toymill.test(model, model.observed, {"mu": 5.0}).qtilde_mu[0]
    found = cls(*samples, float(observed), tie_tolerance())
    assert found.clsb.failed == found.clb.failed == 0
    assert near((found.value, found.error), stated)
    if kind in CLOSED:
        tails = CLOSED[kind].tails(5.0, 6)
        assert near((found.value, found.error), (tails[0] / tails[1], 3e-4))


def hybrid_limit(model, points, count):
    """The limit of LEP's statistic over toys whose nuisance parameters are drawn."""

    def thrown(mu, stream):
        truth = model.parameters.values({model.poi: mu})
        return toymill.throw(model, truth, count, seed=3, stream=stream, mode="hybrid")

    signal = [toymill.lep_ratio(model, thrown(mu, f"signal {mu}"), mu) for mu in points]
    without = thrown(0.0, "background")
    background = np.stack([toymill.lep_ratio(model, without, mu) for mu in points])
    observed = np.array([toymill.lep_ratio(model, model.observed, mu)[0] for mu in points])
    return upper_limit(np.array(points), signal, background, observed, tolerance=tie_tolerance(100.0))


@pytest.mark.parametrize(("kind", "n", "stated", "points"), HYBRID)
def test_hybrid_limits(kind, n, stated, points):
    """Beside Combine, and beside the integral of the Poisson probability over what is drawn."""
    model = toymill.read_workspace(counting(kind, n), modifier_settings=LOGNORMAL)
    found = hybrid_limit(model, points, 100_000)
    observed = found.observed.value, np.hypot(found.observed.error, found.observed.interpolation)
    assert near(observed, stated)
    if kind in CLOSED:
        truth = exact.limit_of_tails(lambda mu: CLOSED[kind].hybrid_tails(mu, n), points[0], points[-1])
        assert near(observed, (truth, 1e-3))
    if (kind, n) == ("B", 6):
        p = found.points[0].observed.clsb
        error = np.sqrt(p.value * (1 - p.value) / p.toys)
        assert near((p.value, error), (0.1155, 0.0010))
        assert near((p.value, error), (CLOSED[kind].hybrid_tails(5.0, n)[0], 1e-4))


@pytest.mark.parametrize("count", [20_000, pytest.param(150_000, marks=pytest.mark.long)])
def test_hybrid_limit_of_four_channels(root, count):
    """H → WW at 140 GeV, hww4ch-1fb-B-mH140.txt of the same benchmarks: four counts, 38 log-normal uncertainties."""
    path = root / "tests/data/combine/hww4ch-1fb-B-mH140.json"
    model = toymill.read_workspace(path, modifier_settings=LOGNORMAL)
    found = hybrid_limit(model, [1.2, 1.45, 1.6, 1.75, 2.0], count).observed
    assert near((found.value, np.hypot(found.error, found.interpolation)), (1.6365, 0.0024))
    assert found.error < 1.1 / np.sqrt(count)


@pytest.mark.long
def test_a_study_of_four_channels(root, tmp_path):
    """The same from a study's section, with its expected limits."""
    path = root / "tests/data/combine/hww4ch-1fb-B-mH140.json"
    asked = {"statistic": "lep", "values": [1.2, 1.45, 1.6, 1.75, 2.0], "toys": 20_000, "background_toys": 20_000}
    content = {"study": "hww", "model": {"path": str(path), "modifier_settings": LOGNORMAL}, "nuisances": "hybrid"}
    found = finish(read_study({**content, "limit": asked}), tmp_path)[2].answers.limit.toys.observed
    assert near((found.value, np.hypot(found.error, found.interpolation)), (1.6365, 0.0024))


def test_of_one_count_every_statistic_orders_hybrid_toys_alike():
    """With auxiliary data held, the Tevatron's statistic and LEP's fall with the count."""
    model = toymill.read_workspace(counting("B", 6), modifier_settings=LOGNORMAL)
    data = np.stack([np.arange(25.0), np.zeros(25)], axis=1)
    held = [toymill.fit(model, data, {"mu": mu}, covariance=False) for mu in (5.0, 0.0)]
    assert (np.diff(toymill.tevatron_ratio(*held)) < 0).all()
    assert (np.diff(toymill.lep_ratio(model, data, 5.0)) < 0).all()


@pytest.mark.parametrize("statistic", ["qtilde", "lep"])
def test_a_study_of_hybrid_toys(statistic, tmp_path):
    """With one count q̃_μ orders hybrid toys as LEP's statistic does: the limit is Combine's, and the integral's."""
    path = tmp_path / "count.json"
    path.write_text(json.dumps(counting("B", 6)))
    asked = {"values": [5.0, 6.5, 7.2, 8.0, 9.0], "toys": 20_000, "background_toys": 20_000, "statistic": statistic}
    content = {"study": "hybrid", "model": {"path": str(path), "modifier_settings": LOGNORMAL}, "nuisances": "hybrid"}
    _, design, summary = finish(read_study({**content, "limit": asked}), tmp_path)
    assert design.nuisances == "hybrid"
    assert design.ensembles["signal-01"].truth == {"mu": 5.0}  # the other parameter is drawn
    found = summary.answers.limit.toys.observed
    observed = found.value, np.hypot(found.error, found.interpolation)
    assert near(observed, (7.446, 0.029))
    assert near(observed, (exact.limit_of_tails(lambda mu: CLOSED["B"].hybrid_tails(mu, 6), 5.0, 9.0), 1e-3))
    with pytest.raises(toymill.ToymillError, match="nuisances: hybrid is for limit and interval; discovery needs toys"):
        read_study({**content, "limit": asked, "discovery": {}})
