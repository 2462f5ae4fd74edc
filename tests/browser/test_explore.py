"""The page explore.html in a browser: controls and clicks change figures, lists and the command; nothing is fetched."""

import pytest
from explorations import made_up, made_up_limit

from toymill.report.explorer import write_explorer

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")

LONG = "alpha_ATLAS_" + "a_very_long_name_of_a_nuisance_parameter_" * 8
HOSTILE = ["<b>mu</b>", "<img src=x onerror=alert(1)>", "__proto__", "$x_1$", "%{x}", LONG, "toString"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    names = [f"p{number}" for number in range(50)]
    contents = {
        "small": made_up(["mu", "b", "gamma"]),
        "large": made_up(["mu", *names[1:-1], LONG], ensembles=5, toys=1000, free=184),
        "summary": made_up(["mu", "b"], keep="summary"),
        "poi": made_up(["mu", "b"], keep="poi"),
        "hostile": made_up(HOSTILE),
        "limit": made_up(["mu", "b"], limit=made_up_limit()),
    }
    for name, content in contents.items():
        write_explorer(folder / f"{name}.html", content)
    return folder


@pytest.fixture
def opened(window_at, pages):
    """Opens a page in a window, and waits until it is drawn."""

    def open_page(name, width=1400):
        window = window_at((pages / f"{name}.html").as_uri(), width)
        window.wait_for_selector("#list-title:not(:empty)")
        return window

    return open_page


def click_bin(window, figure, bin_):
    """Click into the middle of a bin, and wait for its list."""
    place = window.evaluate(
        """([figure, bin]) => {
            const div = document.getElementById(figure), trace = div.data[0];
            div.scrollIntoView();
            const box = div.querySelector(".nsewdrag").getBoundingClientRect(), range = div.layout.xaxis.range;
            return [box.left + box.width * (trace.x[bin] - range[0]) / (range[1] - range[0]), box.top + box.height * 0.9];
        }""",
        [figure, bin_],
    )
    window.mouse.move(*place)
    window.locator(f"#{figure} .hovertext").first.wait_for()
    window.mouse.click(*place)
    what = {"t": "Toys with t at", "pull": "Toys with pull of"}[figure]
    playwright.expect(window.locator("#list-title")).to_contain_text(what)


def text(window, selector):
    return window.locator(selector).inner_text()


def toys(window):
    return [int(word) for word in window.locator("#list td:first-child").all_inner_texts()]


@pytest.mark.parametrize("width", [1400, 800])
@pytest.mark.parametrize("name", ["large", "summary", "hostile"])
def test_nothing_overflows(opened, name, width):
    """The page is no wider than its window, its figures are inside of it, and none lies over another."""
    window = opened(name, width)
    assert window.evaluate("document.documentElement.scrollWidth") <= width
    boxes = window.evaluate(
        "[...document.querySelectorAll('main > :not([hidden])')].map((e) => e.getBoundingClientRect()).map((b) => [b.left, b.top, b.right, b.bottom])"
    )
    assert len(boxes) == 4
    for number, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= width
        for other in boxes[:number]:
            assert left >= other[2] or right <= other[0] or top >= other[3] or bottom <= other[1]


@pytest.mark.parametrize("width", [1400, 800])
def test_a_bin_lists_its_toys(opened, width):
    """Those with t in it, the largest first; the command is that of the row that is chosen."""
    window = opened("small", width)
    item = made_up(["mu", "b", "gamma"]).ensembles[0]
    click_bin(window, "t", 2)
    t = item.toys.t[0]
    inside = [int(i) for i in item.toys.toy[(t >= 0.8) & (t < 1.2)]]
    assert text(window, "#list-title") == "Toys with t at mu = 1 from 0.8 to 1.2"
    assert text(window, "#list-note") == f"{len(inside)} toys of this page, of {len(inside)} toys in the bin."
    assert toys(window) == sorted(inside, key=lambda i: -t[i])
    assert text(window, "#command") == f"toymill replay results/small point0/{toys(window)[0]}"
    window.locator("#list tr").nth(1).click()
    assert text(window, "#command") == f"toymill replay results/small point0/{toys(window)[1]}"
    click_bin(window, "t", 40)
    assert text(window, "#list-title") == "Toys with t at mu = 1 from 16 to 16.4"  # an empty bin
    assert text(window, "#list-note").startswith("0 toys of this page")
    assert not window.locator("#command").is_visible()
    click_bin(window, "pull", 25)
    pulls = item.toys.pulls[0]
    assert sorted(toys(window)) == [int(i) for i in item.toys.toy[(pulls >= 0) & (pulls < 0.2)]]


def test_controls_change_figures_and_lists(opened):
    window = opened("small")
    figure = "(id) => JSON.stringify([document.getElementById(id).data[0].y, document.getElementById(id).layout.xaxis.title.text])"

    def drawn():
        return [window.evaluate(figure, name) for name in ("t", "pull", "pair")]

    def changed(selector, value):
        before = drawn()
        window.select_option(selector, index=int(value))
        return [one != other for one, other in zip(before, drawn(), strict=True)]

    first = toys(window)
    assert changed("#ensemble", "1") == [True, True, True]
    assert toys(window) != first
    assert "point1/" in text(window, "#command")
    assert changed("#test", "1") == [True, False, False]
    assert "A verdict at 0" in text(window, "#t-caption")
    assert changed("#parameter", "1") == [False, True, False]
    assert changed("#x", "2") == [False, False, True]
    assert changed("#y", "0") == [False, False, True]
    assert "0.500 ± 0.038" in text(window, "#pair-caption")


def test_failed_toys_and_a_box_of_toys_are_listed(opened):
    window = opened("small")
    window.click("#failed")
    assert toys(window) == [5, 7]
    assert text(window, "#list td:nth-child(2) >> nth=0") == "–"
    window.locator("#pair").scroll_into_view_if_needed()
    box = window.locator("#pair .nsewdrag").bounding_box()
    window.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    window.mouse.down()
    window.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.6 * box["height"], steps=5)
    window.mouse.up()
    playwright.expect(window.locator("#list-title")).to_contain_text("chosen")
    assert 1 < len(toys(window)) <= 100
    window.click("#largest")
    item = made_up(["mu", "b", "gamma"]).ensembles[0]
    assert toys(window)[0] == max(range(400), key=lambda i: item.toys.t[0][i] if item.toys.certified[i] else -1)


def test_the_page_says_what_it_leaves_out(opened):
    assert "50 of 184 parameters: mu, and those" in text(opened("large"), "#about")
    window = opened("summary")
    assert "keep: summary. Single toys are not stored, save" in text(window, "#about")
    assert sum(window.evaluate("document.getElementById('pull').data[0].y")) == 398
    window = opened("poi")
    assert "have the estimate of mu alone" in text(window, "#about")
    assert "the study says keep: poi" in text(window, "#pair-caption")


@pytest.mark.parametrize("width", [1400, 800])
def test_a_tested_value_of_a_limit_chooses_its_toys(opened, width):
    window = opened("limit", width)
    assert "The observed limit is 1." in text(window, "#limit-caption")
    assert "1 tested value without an observed value, or with 0, has no point" in text(window, "#limit-caption")
    window.select_option("#ensemble", index=1)
    window.select_option("#test", index=1)
    window.locator("#limit").scroll_into_view_if_needed()
    window.locator("#limit .points path").nth(1).click(force=True)
    playwright.expect(window.locator("#ensemble")).to_have_value("0")
    assert text(window, "#t-caption").find("A verdict at 1") > 0


@pytest.mark.parametrize("width", [1400, 800])
def test_cls_has_its_expected_bands_and_the_asymptotic_ones(opened, width):
    """Each edge with its Monte Carlo error; one that no toy with signal reaches lies below the figure."""
    window = opened("limit", width)
    traces = window.evaluate("document.getElementById('limit').data")
    named = {trace["name"]: trace for trace in traces if trace.get("name")}
    found = made_up_limit()
    for sigma, high, low in (("2", "expected, ±2 σ", "-2"), ("1", "expected, ±1 σ", "-1")):
        upper = named[high]
        lower = traces[traces.index(upper) - 1]
        assert upper["fill"] == "tonexty"
        for trace, key in ((upper, sigma), (lower, low)):
            edge = [point.expected[key] for point in found.toys.points]
            assert trace["x"] == [point.poi for point in found.toys.points]
            assert trace["y"] == [item.value or 1e-9 for item in edge]
            assert trace["error_y"]["array"] == pytest.approx(
                [item.high - item.value if item.value else 0 for item in edge]
            )
    assert named["expected, median"]["y"] == [0.2, 0.04, 0.01]
    assert named["observed CLs"]["y"] == [0.4, 0.05]
    assert named["observed CLs"]["error_y"]["arrayminus"] == pytest.approx([0.08, 0.01])
    assert named["observed, asymptotic"]["y"] == [None, *(item.observed for item in found.asymptotic_points[1:])]
    assert sum(trace.get("name") == "expected, asymptotic" for trace in traces) == 5
    assert named["expected limits"]["x"] == pytest.approx([0.7, 0.8, 0.9, 1.0, 1.1])
    plot, legend = (window.locator(f"#limit {name}").bounding_box() for name in (".nsewdrag", ".legend"))
    assert legend["y"] + legend["height"] <= plot["y"] + 1
    assert plot["height"] > 150
    assert legend["x"] >= 0
    assert legend["x"] + legend["width"] <= width


def test_hostile_names_are_text(opened):
    window = opened("hostile")
    assert window.locator("#parameter option").all_inner_texts()[:2] == ["<b>mu</b> (of interest)", HOSTILE[1]]
    for number in range(len(HOSTILE)):
        window.select_option("#parameter", str(number))
        window.select_option("#y", str(number))
    assert window.locator("img").count() == 0
    window.select_option("#parameter", "3")
    assert "pull of $x_1$" in text(window, "#pull")
    window.select_option("#parameter", "0")
    assert "pull of <b>mu</b>" in text(window, "#pull")
