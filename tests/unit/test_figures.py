"""Figures: what their artists show is what the summary has, and all of it can be read."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from summaries import LONG, compared_study, correlated, made_up

from toymill.errors import ToymillError
from toymill.inference.counting import fraction
from toymill.inference.covariance import correlation_of
from toymill.report import captions, of_answers, of_comparison, of_ensemble
from toymill.report.draw import draw
from toymill.report.numbers import with_error
from toymill.report.of_correlation import NAMED, correlation_figure
from toymill.results.hdf5 import write_tree
from toymill.study.headline import compared_in_words


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def points(axes, number=0):
    """Places and half bars of the points with errors in some axes, (n,) each; the bars are along x."""
    container = axes.containers[number]
    line, _, (bars,) = container.lines
    known = np.isfinite(line.get_xdata())
    half = [np.ptp(part[:, 0]) / 2 for part in bars.get_segments() if len(part)]
    return line.get_xdata()[known], line.get_ydata()[known], np.array(half)


def written(axes):
    return [text.get_text() for text in axes.texts]


def labels(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


@pytest.mark.parametrize("parameters", [2, 20, 250])
def test_correlations_are_those_of_the_covariance(parameters):
    """The strongest are named, with errors; their matrix and that of all are images of the same numbers."""
    summary, covariance = made_up(parameters, poi=LONG).summary, correlated(parameters, -0.9)
    value, error = correlation_of(covariance, summary.ensembles["point0"].certified)
    row, *images, bar = correlation_figure(summary, "point0", covariance).axes
    rho, places, half = points(row)
    named = min(parameters - 1, NAMED)
    assert places.tolist() == list(range(1, named + 1))
    np.testing.assert_allclose(rho, value[0, 1 : named + 1])  # of this covariance they fall with the distance
    np.testing.assert_allclose(half, error[0, 1 : named + 1])
    assert written(row) == [with_error(rho[k], half[k]) for k in range(named)]
    names = summary.ensembles["point0"].information.parameters
    assert labels(row) == [f"{k}: {names[k]}" for k in range(1, named + 1)]
    shown = [axes.images[0].get_array() for axes in images]
    np.testing.assert_allclose(shown[0], value[: named + 1, : named + 1])
    assert len(images) == (2 if parameters > NAMED + 1 else 1)
    np.testing.assert_allclose(shown[-1], value)
    assert images[0].images[0].get_clim() == (-1, 1)
    assert bar.get_ylabel() == "correlation"


def test_correlations_that_are_not_known_are_left_white():
    """Of a parameter whose estimates do not vary, and of no toys."""
    summary, covariance = made_up(3).summary, correlated(3)
    covariance[1], covariance[:, 1] = 0.0, 0.0
    row, image, *_ = correlation_figure(summary, "point0", covariance).axes
    assert np.isnan(image.images[0].get_array().filled(np.nan)[2]).all()
    assert written(row)[1] == "undefined"
    correlation_figure(summary, "point0", np.full((3, 3), np.nan))


def test_correlations_are_drawn_from_the_matrices(tmp_path):
    """The same bytes each time, whatever the format."""
    matrices = {"ensembles": {"point0": {"information": {"covariance": correlated(3).tolist()}}}}
    write_tree(tmp_path / "summary.h5", "toymill-summary", matrices)
    content = []
    for name in ("a", "b"):
        paths = [tmp_path / f"{name}.{ending}" for ending in ("svg", "pdf", "png")]
        draw(made_up(3).summary, {"correlation": paths}, ensemble="point0", matrices=tmp_path / "summary.h5")
        content.append([path.read_bytes() for path in paths])
    assert content[0] == content[1]
    (tmp_path / "summary.h5").write_bytes(b"")
    with pytest.raises(ToymillError, match="is damaged"):
        draw(made_up(3).summary, {"correlation": paths}, ensemble="point0", matrices=tmp_path / "summary.h5")


def test_names_that_differ_at_their_ends_differ_in_a_figure():
    """A name that is cut loses its middle."""
    names = [f"shape_mcstat_of_a_sample_with_a_very_long_name_{region}_cuts[0]" for region in ("SRISR", "SRlow")]
    left, _ = of_answers.FIGURES["impacts"](made_up(names=names, impacts=True).summary).axes
    shown = labels(left)
    assert shown[0].startswith("1: shape_mcstat")
    assert [label[-15:] for label in shown] == [name[-15:] for name in names]
    assert all(len(label) <= 43 for label in shown)


def test_impacts_are_in_pages_the_largest_first():
    """Thirty on the first figure; on the other all of them, on the same scales, with numbers that go on."""
    summary = made_up(76, impacts=True).summary
    every = summary.answers.impacts.impacts
    first = of_answers.FIGURES["impacts"](summary)
    assert len(first.axes) == 2
    whole = of_answers.FIGURES["all_impacts"](summary).axes
    assert len(whole) == 6
    assert first.axes[0].get_xlim() == whole[0].get_xlim() == whole[4].get_xlim()
    assert whole[1].get_xlim() == whole[5].get_xlim()
    for page, (left, right) in enumerate(zip(whole[::2], whole[1::2], strict=True)):
        shown = every[30 * page : 30 * page + 30]
        assert labels(left) == [f"{30 * page + k + 1}: {item.parameter}" for k, item in enumerate(shown)]
        pull, _, constraint = points(left)
        known = [item for item in shown if item.pull is not None]
        np.testing.assert_allclose(pull, [item.pull for item in known])
        np.testing.assert_allclose(constraint, [item.constraint for item in known])
        up, down = [item for item in right.containers if len(item) == len(shown)]
        np.testing.assert_allclose([bar.get_width() for bar in up], [item.postfit_up for item in shown])
        np.testing.assert_allclose([bar.get_width() for bar in down], [item.postfit_down for item in shown])
        impact, _, error = points(right, next(k for k, item in enumerate(right.containers) if hasattr(item, "lines")))
        np.testing.assert_allclose(impact, [item.global_toys for item in known])
        np.testing.assert_allclose(error, [item.global_toys_error for item in known])
    told = " ".join(captions.found_in_study(summary, "all_impacts"))
    assert f"that of {every[0].parameter} (1 in the fit, 0.800 ± 0.010 over toys)" in told
    assert f"that of {every[30].parameter} (0.0323 in the fit" in told
    assert len(of_answers.FIGURES["all_impacts"](made_up(1, impacts=True).summary).axes) == 2


def test_cls_is_drawn_on_the_bands_of_toys_beside_the_formula():
    """Every edge with its error; one that no toy with signal reaches is below the figure, and no gap of the band."""
    answer = made_up(limit=True).summary.answers.limit
    curve, _ = of_answers.FIGURES["limit"](made_up(limit=True).summary).axes
    points = np.array([point.poi for point in answer.toys.points])
    for k, (low, high) in enumerate((("-2", "2"), ("-1", "1"))):
        corners = curve.collections[k].get_paths()[0].vertices
        for poi, point in zip(points, answer.toys.points, strict=True):
            at = corners[np.isclose(corners[:, 0], poi), 1]
            lowest = point.expected[low].value or 0.0
            assert (at.min(), at.max()) == pytest.approx((lowest, point.expected[high].value), abs=1e-8)
    assert points[-1] == 2.4
    assert curve.get_ylim()[0] > 1e-6
    lines = {line.get_label(): line.get_ydata() for line in curve.lines}
    np.testing.assert_allclose(lines["expected, median"], [point.expected["0"].value for point in answer.toys.points])
    np.testing.assert_allclose(lines["observed, asymptotic"], [item.observed for item in answer.asymptotic_points])
    np.testing.assert_allclose(lines["expected, asymptotic"], [item.expected["0"] for item in answer.asymptotic_points])
    edges, (seen,) = curve.containers[:5], curve.containers[5:]
    for key, edge in zip(("-2", "-1", "0", "1", "2"), edges, strict=True):
        (bars,) = edge.lines[2]
        known = [point.expected[key] for point in answer.toys.points if point.expected[key].value is not None]
        ends = [part[:, 1].tolist() for part in bars.get_segments() if len(part)]
        np.testing.assert_allclose(ends, [(item.low, item.high) for item in known])
    np.testing.assert_allclose(seen.lines[0].get_ydata(), [point.observed.value for point in answer.toys.points])


def test_a_summary_without_bands_has_the_observed_curve_alone():
    summary = made_up(limit=True).summary
    toys = summary.answers.limit.toys
    points = [point.model_copy(update={"expected": {}}) for point in toys.points]
    changes = {"toys": toys.model_copy(update={"points": points}), "asymptotic_points": None}
    answers = summary.answers.model_copy(update={"limit": summary.answers.limit.model_copy(update=changes)})
    curve = of_answers.FIGURES["limit"](summary.model_copy(update={"answers": answers})).axes[0]
    assert len(curve.containers) == 1
    assert not curve.collections[1:]


def test_an_arrow_stands_where_a_ratio_leaves_its_panel():
    """Twice as many toys as expected or more, and toys where the formula has none; the others are points in the panel."""
    summary = made_up().summary
    item = summary.ensembles["point0"]
    test = item.tests[0]
    counts = test.histogram.counts
    factors = np.ones(len(counts))
    factors[[5, 9]], factors[12], factors[20] = 0.25, 0.0, 0.6
    expected = [count * factor for count, factor in zip(counts, factors, strict=True)]
    histogram = test.histogram.model_copy(update={"asymptotic": expected})
    tests = [test.model_copy(update={"histogram": histogram})]
    changed = {"point0": item.model_copy(update={"tests": tests})}
    _, bottom = of_ensemble.FIGURES["t_mu"](summary.model_copy(update={"ensembles": changed}), "point0").axes
    centres = np.array(test.histogram.edges[:-1]) + 0.2
    (arrows,) = [line for line in bottom.lines if line.get_marker() == "^"]
    np.testing.assert_allclose(arrows.get_xdata(), centres[[5, 9, 12]])
    assert (np.array(arrows.get_ydata()) < bottom.get_ylim()[1]).all()
    (shown,) = bottom.containers
    finite = np.flatnonzero((np.array(counts) > 0) & (factors > 0))
    np.testing.assert_allclose(shown.lines[0].get_xdata(), centres[finite])
    np.testing.assert_allclose(shown.lines[0].get_ydata(), 1 / factors[finite])
    assert set(np.flatnonzero(1 / factors[finite] > bottom.get_ylim()[1])) == {5, 9}


def test_optimisers_have_their_times_and_shares_with_intervals():
    summary = compared_study({"sure": (50, 50, 0, 0.002), "fast": (50, 30, 10, 0.001)})
    figure = of_comparison.FIGURES["optimisers"](summary, "point0")
    cost, quality, _ = figure.axes
    np.testing.assert_allclose(cost.lines[0].get_xdata(), [2.0, 1.0])
    assert written(cost) == ["2", "1"]
    assert labels(cost) == ["sure", "fast"]
    reached, false = [[bar.get_width() for bar in item] for item in quality.containers if len(item) == 2]
    assert (reached, false) == ([100.0, 60.0], [0.0, 20.0])
    ends = [item for item in quality.containers if hasattr(item, "has_xerr")]
    for item, shares in zip(ends, ([(50, 50), (30, 50)], [None, (40, 50)]), strict=True):
        (bars,) = item.lines[2]
        expected = [[100 * end for end in fraction(*share)[1:]] for share in shares if share]
        np.testing.assert_allclose([part[:, 0] for part in bars.get_segments() if len(part)], expected)
    assert captions_of(summary) == [
        "At the best minimum of every toy: sure. The fastest is sure, in 2 ms a toy.",
        "False successes: fast (10 of 50).",
    ]


def captions_of(summary):
    return compared_in_words(summary.ensembles["point0"].methods)


def test_without_a_sure_optimiser_the_nearest_is_told():
    summary = compared_study({"one": (50, 49, 0, 0.002), "two": (50, 30, 0, 0.001)})
    assert captions_of(summary) == [
        "No optimiser is at the best minimum of every toy; nearest to it is one, at that of 49 of 50.",
        "None calls another point a success.",
    ]
