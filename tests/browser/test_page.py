"""The report page in a browser: nothing is fetched, nothing overflows, and its tables sort and filter."""

import json
from pathlib import Path

import pytest
from summaries import LONG, made_up

from toymill.report.draw import draw
from toymill.report.page import write_page

WIDTHS = (1400, 800)
SIZES = {"small": (5, 2), "large": (184, 3), "largest": (250, 40)}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page of each size with figures of its first truth point; by name, its path and its summary."""
    found = {}
    for name, (parameters, points) in SIZES.items():
        folder = tmp_path_factory.mktemp(name)
        poi = "mu" if name == "small" else LONG
        made = made_up(parameters, points, poi=poi, limit=True, failed=2)
        figures = [folder / "plots/t_mu_point0.svg", folder / "plots/pull_point0.svg"] if name == "small" else []
        if figures:
            figures[0].parent.mkdir()
            outputs = {"t_mu": figures[0], "pull": figures[1]}
            draw(made.summary, outputs, ensemble="point0")
        write_page(folder / "report.html", made._replace(figures=figures))
        (folder / "summary.json").write_text(made.summary.model_dump_json())
        found[name] = folder / "report.html"
    return found


@pytest.fixture
def opened(window_at, pages):
    """Opens a page in a window."""

    def open_page(name, width=1400, path=None):
        return window_at(f"file://{path or pages[name]}", width)

    return open_page


def rows(window, table):
    """The shown rows of a table, as lists of texts."""
    script = (
        "rows => rows.filter(row => !row.hidden).map(row => Array.from(row.cells, cell => cell.textContent.trim()))"
    )
    return window.eval_on_selector_all(f"#table-{table} tbody tr", script)


def heads(window, table):
    return window.eval_on_selector_all(
        f"#table-{table} thead th", "heads => heads.map(head => head.textContent.trim())"
    )


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_overflows_the_page(opened, name, width):
    """No part of it is wider than the window; wide tables scroll by themselves; figures are seen."""
    window = opened(name, width)
    assert window.evaluate("document.documentElement.scrollWidth") <= width
    beyond = """() => Array.from(document.querySelectorAll("h1, h2, h3, p, li, dd, figure, .scroll, nav"))
        .filter(part => part.getBoundingClientRect().right > innerWidth + 1).map(part => part.outerHTML.slice(0, 80))"""
    assert window.evaluate(beyond) == []
    broken = "Array.from(document.images).filter(image => image.checkVisibility() && !image.naturalWidth).length"
    assert window.evaluate(broken) == 0


def test_the_first_screen_has_the_numbers_of_the_summary(opened, pages):
    window = opened("small")
    summary = json.loads(pages["small"].with_name("summary.json").read_text())
    text = window.inner_text("#first").replace("\N{NO-BREAK SPACE}", " ")
    head = summary["headline"]
    for words in (
        f"{head['toys']:,} at 2 truth points",
        f"{head['certified']:,}; failed: {head['failed']:,}",
        *head["answers"],
        *(item["sentence"] for item in head["verdicts"]),
    ):
        assert words in text
    limit = summary["answers"]["limit"]
    shown = window.eval_on_selector_all(
        ".verdicts tr", "rows => rows.map(row => Array.from(row.cells, c => c.textContent))"
    )
    lines = [[cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row] for row in shown]
    observed = next(row for row in lines if row[0] == "upper limit, observed")
    assert float(observed[1].split(" ± ")[0]) == pytest.approx(limit["toys"]["observed"]["value"], rel=1e-3)
    assert float(observed[2]) == pytest.approx(limit["asymptotic"]["observed"]["value"], rel=1e-3)
    biases = [row[1] for row in lines if row[0] == "bias"]
    for item, shown in zip(summary["ensembles"].values(), biases, strict=True):
        about = item["parameters"]["mu"]
        value, error = map(float, shown.split(" ± "))
        assert value == pytest.approx(about["bias"], abs=0.51 * 10.0**-3)
        assert error == pytest.approx(about["bias_error"], rel=0.05)
    bottom = window.eval_on_selector(".verdicts", "table => table.getBoundingClientRect().bottom")
    assert bottom < 900


def test_a_table_is_sorted_by_the_column_that_is_clicked(opened):
    """By its numbers, ascending and then descending; by names with their numbers in order."""
    window = opened("large")
    column = heads(window, "parameters").index("bias / spread")
    button = window.locator("#table-parameters thead th").nth(column).locator("button")
    for state, sign in (("ascending", 1), ("descending", -1)):
        button.click()
        values = [float(row[column].split(" ± ")[0]) for row in rows(window, "parameters")]
        assert len(values) == 184
        assert values == sorted(values, key=lambda value: sign * value)
        assert button.locator("..").get_attribute("aria-sort") == state
    window.locator("#table-parameters thead th").nth(1).locator("button").click()
    names = [row[1] for row in rows(window, "parameters")]
    assert names[:2] == ["alpha_systematic_uncertainty_1", "alpha_systematic_uncertainty_2"]
    assert window.locator("#table-parameters th[aria-sort]").count() == 1


def test_a_table_is_filtered_by_parameter_and_by_truth_point(opened):
    window = opened("largest")
    tools = window.locator("#table-parameters .tools")
    assert {row[0] for row in rows(window, "parameters")} == {"point0"}
    assert tools.inner_text().endswith("250 of 10000 rows")
    tools.locator("input").fill("UNCERTAINTY_12")
    assert [row[1] for row in rows(window, "parameters")] == [
        f"alpha_systematic_uncertainty_{k}" for k in (12, *range(120, 130))
    ]
    tools.locator("select").select_option("point39")
    assert {row[0] for row in rows(window, "parameters")} == {"point39"}
    tools.locator("select").select_option("")
    assert len(rows(window, "parameters")) == 40 * 11
    tools.locator("input").fill("")
    assert len(rows(window, "parameters")) == 40 * 250


def test_hostile_names_run_nothing(opened, tmp_path):
    names = ["<img src=x onerror=document.title='run'>", "</script><script>document.title='run'</script>"]
    write_page(tmp_path / "report.html", made_up(poi=names[1], names=names[:1]))
    window = opened("hostile", path=tmp_path / "report.html")
    assert window.title() == "made-up – toymill"


def test_it_is_printed_with_every_column(opened, tmp_path):
    """A PDF of the page exists; on a sheet of A4 across, of 273 mm between its margins, no table scrolls or is cut."""
    window = opened("large", 1032)
    window.emulate_media(media="print")
    assert (
        window.eval_on_selector_all(
            ".scroll", "parts => parts.filter(p => getComputedStyle(p).overflowY === 'auto').length"
        )
        == 0
    )
    assert window.evaluate("document.documentElement.scrollWidth") <= 1032
    assert window.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    assert Path(tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
