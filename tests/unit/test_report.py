"""The report page: what it says of made-up studies, whatever their size and their names."""

import html
import re
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import pytest
from hostile import NAMES
from summaries import LONG, compared_study, made_up

from toymill.config.figures import FiguresConfig
from toymill.errors import ToymillError
from toymill.report import captions, of_ensemble, of_study
from toymill.report.draw import draw
from toymill.report.first_screen import MOST_SHOWN, groups, sentences
from toymill.report.numbers import with_error
from toymill.report.page import page, write_page
from toymill.report.tables import MOST_ROWS, tables, tables_of_optimisers
from toymill.results.summary import Quantiles


class Elements(HTMLParser):
    """Every element of a page with its attributes, and all of its text."""

    def __init__(self):
        super().__init__()
        self.found, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def parsed(found):
    elements = Elements()
    elements.feed(page(found))
    return elements


def test_the_first_screen_has_the_answers_with_errors_and_verdicts():
    found = made_up(limit=True)
    answers, point = groups(found.summary)
    about = found.summary.ensembles["point0"].parameters["mu"]
    assert answers.title == "Answers, of mu: limits at 95 % CLs"
    assert answers.lines[0][:4] == ("upper limit, observed", "1.400 ± 0.010", "1.3", "-7.14 ± 0.66 %")
    assert (answers.lines[0].verdict, answers.lines[0].words) == ("bad", "differs")
    assert [line.what for line in point.lines[:3]] == ["bias", "pull, mean", "pull, width"]
    assert point.lines[0].toys == with_error(about.bias, about.bias_error)
    assert [line.asymptotic for line in point.lines[3:]] == ["0.683", "0.95", "5 %"]
    text = " ".join(" ".join(parsed(found).text).split())
    for words in (
        "10,000 at 1 truth point",
        "10,000; failed: 0",
        "best fit" if found.summary.observed else "20 observed",
    ):
        assert words in text
    assert "The observed limit is 1.3 by the asymptotic formula and 1.400 ± 0.010 by toys" in text


def test_of_many_truth_points_the_farthest_is_told():
    summary = made_up(truth_points=40).summary
    (whole,) = groups(summary)
    assert whole.title.startswith("40 truth points")
    assert len(whole.lines) == 6
    bias = {name: item.parameters["mu"].bias / 0.01 for name, item in summary.ensembles.items()}
    farthest = max(bias, key=lambda name: abs(bias[name]))
    assert whole.lines[0].what == f"bias, {farthest}"
    assert whole.lines[0].difference.startswith(f"{bias[farthest]:+.1f} σ")
    assert sentences(summary, ["more"]) == [
        "Of 40 tests of t_μ at 95 %, the asymptotic formula may be trusted in 40, is off in 0, and cannot be judged in 0.",
        "more",
    ]
    assert len(groups(made_up(truth_points=MOST_SHOWN).summary)) == MOST_SHOWN


def test_failures_are_told_where_there_are_some():
    bad, good = made_up(failed=3, agrees=False), made_up()
    refused = bad._replace(refused=["ensemble 'point0': 3 of 10000 toys are not certified"])
    assert tables(bad.summary, {})[0].key == "failures"
    assert "failures" not in [table.key for table in tables(good.summary, {})]
    text = page(refused)
    assert "<strong>The study is refused.</strong>" in text
    assert "9,997; failed: 3 (3 not converged)" in text
    assert "✗ is off" in text
    assert "refused" not in page(good).partition("<main>")[2].replace('class="refused', "")


@pytest.mark.parametrize("names", [NAMES, [f"<img src=x onerror=alert({k})>" for k in range(3)]])
def test_hostile_names_are_only_names(tmp_path, names):
    """No element, no attribute and no URL comes of a name; a page of any names can be written."""
    found = made_up(names=names, poi="</script><script>alert(1)</script>")
    elements, plain = parsed(found), parsed(made_up(1 + len(names)))
    assert [tag for tag, _ in elements.found] == [tag for tag, _ in plain.found]
    assert not [attrs for _, attrs in elements.found if any(name.startswith("on") for name in attrs)]
    assert "alert(1)" in "".join(elements.text)
    write_page(tmp_path / "report.html", found)
    assert (tmp_path / "report.html").read_text(encoding="utf-8").endswith("</html>")


def test_nothing_is_fetched_and_no_other_script_runs(tmp_path):
    figure = tmp_path / "coverage.svg"
    figure.write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    elements = parsed(made_up(figures=[figure]))
    sources = [value for _, attrs in elements.found for key, value in attrs.items() if key in ("src", "href")]
    assert sources
    assert all(re.match(r"data:|#|plots/[\w.]+$", source) for source in sources)
    (policy,) = [attrs["content"] for tag, attrs in elements.found if attrs.get("http-equiv")]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "script-src 'sha256-" in policy
    assert [tag for tag, _ in elements.found].count("script") == 1


def test_a_figure_has_a_caption_of_what_to_look_for_and_what_was_found(tmp_path):
    names = ["coverage", "t_mu_point0", "pull_point0", "parameters_point0"]
    for name in names:
        (tmp_path / f"{name}.svg").write_text("<svg/>")
    found = made_up(figures=[tmp_path / f"{name}.svg" for name in names])
    text = html.unescape(page(found))
    for kind in ("coverage", "t_mu", "pull", "parameters"):
        assert captions.LOOK[kind] in text
    assert "is within two errors of the level at" in text
    assert text.count("<img") == 4
    many = html.unescape(page(made_up(184, figures=found.figures)))
    assert many.count("<img") == 3
    assert "too large for the page" in many


def test_tables_have_every_parameter_and_say_which_is_shown_first():
    found = made_up(184, 3, poi=LONG)
    table = {table.key: table for table in tables(found.summary, found.audits)}["parameters"]
    assert len(table.rows) == 3 * 184 > MOST_ROWS
    assert (list(table.chosen), table.first) == (["point0", "point1", "point2"], "point0")
    about = found.summary.ensembles["point1"].parameters[LONG]
    row = table.rows[184]
    assert row[1].text.endswith("…")
    assert LONG in row[1].whole
    assert row[3].text == with_error(about.bias_in_rms, about.bias_in_rms_error)
    assert row[3].order == about.bias_in_rms
    assert 0 < row[3].bar.low < row[3].bar.x < row[3].bar.high < 90
    small = {table.key: table for table in tables(made_up(3, 3).summary, {})}["parameters"]
    assert small.first == ""


def test_the_columns_of_optimisers_have_names_of_their_own():
    """A distance of 0 is told as such."""
    summary = compared_study({"newton": (50, 50, 0, 1e-3)})
    methods = summary.ensembles["point0"].methods
    methods["newton"] = methods["newton"].model_copy(
        update={"nll_above_best": Quantiles(median=0.0, q90=1e-9, largest=None)}
    )
    (table,) = tables_of_optimisers(summary)
    heads = [column.title for column in table.columns]
    assert len(set(heads)) == len(heads)
    told = dict(zip(heads, (cell.text for cell in table.rows[0]), strict=True))
    assert (told["nll above best, median"], told["nll above best, largest"]) == ("0", "infinite")


def test_other_pages_beside_are_linked():
    found = made_up()._replace(beside={"explore": "explore.html"})
    assert '<a href="explore.html">explore</a>' in page(found)


def test_of_two_files_of_a_figure_the_svg_is_shown(tmp_path):
    files = [tmp_path / f"coverage.{ending}" for ending in ("svg", "pdf", "png")]
    for path in files:
        path.write_bytes(b"x")
    (source,) = [attrs["src"] for tag, attrs in parsed(made_up(figures=files)).found if tag == "img"]
    assert source.startswith("data:image/svg+xml;base64,")


def test_figures_have_formats_a_label_and_a_style(tmp_path):
    """Each format has the same figure; the same bytes each time; a setting that is none is told."""
    summary = made_up().summary
    look = FiguresConfig(also=["pdf", "png"], label="Mine", style={"font.size": 9})
    for name in ("a", "b"):
        paths = [tmp_path / f"{name}.{ending}" for ending in look.endings]
        draw(summary, {"pull": paths}, ensemble="point0", look=look)
    for ending, begin in (("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")):
        content = (tmp_path / f"a.{ending}").read_bytes()
        assert content.startswith(begin)
        assert content == (tmp_path / f"b.{ending}").read_bytes()
    draw(summary, {"pull": tmp_path / "c.svg"}, ensemble="point0")
    assert (tmp_path / "c.svg").read_bytes() != (tmp_path / "a.svg").read_bytes()
    with pytest.raises(ToymillError, match=r"figures.style: matplotlib does not take font\.sizes: 9"):
        draw(summary, {"pull": tmp_path / "d.svg"}, ensemble="point0", look=FiguresConfig(style={"font.sizes": 9}))
    assert not (tmp_path / "d.svg").exists()


def test_parameters_are_drawn_in_panels():
    figure = of_ensemble.FIGURES["parameters"](made_up(2 * of_ensemble.PANEL + 1, poi=LONG).summary, "point0")
    assert len(figure.axes) == 3 * 4
    plt.close(figure)


def test_the_axis_of_coverage_shows_its_bars():
    figure = of_study.FIGURES["coverage"](made_up(truth_points=4).summary)
    for axes, level in zip(figure.axes, (0.683, 0.95), strict=True):
        bottom, top = axes.get_ylim()
        assert bottom < level < top < level + 0.05
    plt.close(figure)
