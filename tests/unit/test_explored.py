"""The content of explore.html: which toys and parameters it has, what is counted over all toys, and that names are safe."""

import base64
import json
import re
from types import SimpleNamespace

import hostile
import numpy as np
import pytest
from explorations import made_up

import toymill
from toymill.parameters import why_no_name
from toymill.report.explorer import write_explorer
from toymill.study import explored as module
from toymill.study.explored import explored


def content_of(page):
    (found,) = re.findall(r'<script type="application/json" id="content">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)


def numbers(text, kind="<f4"):
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def test_a_page_has_the_fits_of_its_toys(small_studies):
    """All of a small study; t_μ, estimates and pulls are those of the frames, the correlation that of all toys."""
    results = toymill.open_results(small_studies("all"))
    found = explored(results)
    assert found.parameters == ("mu", "b")
    one = found.ensembles[0]
    estimates, errors = results["one"].estimates(), results["one"].errors()
    assert (one.toys.sample, len(one.toys.toy)) == (400, 400)
    np.testing.assert_array_equal(one.toys.t.T, results["one"].t())
    np.testing.assert_array_equal(one.toys.estimates, estimates[["mu", "b"]].T)
    np.testing.assert_allclose(one.toys.pulls[0], (estimates["mu"] - 1) / errors["mu"])
    np.testing.assert_allclose(one.correlation, np.corrcoef(one.toys.estimates))
    assert one.pulls is None


def test_what_is_kept_is_shown(small_studies):
    """Histograms are over all toys, whatever is kept."""
    every = explored(toymill.open_results(small_studies("all"))).ensembles[0]
    pulls, _ = np.histogram(every.toys.pulls[0], [-np.inf, *module.PULL_EDGES, np.inf])
    poi = explored(toymill.open_results(small_studies("poi"))).ensembles[0]
    np.testing.assert_array_equal(poi.toys.estimates[0], every.toys.estimates[0])
    assert np.isnan(poi.toys.estimates[1]).all()
    alone = explored(toymill.open_results(small_studies("summary"))).ensembles[0]
    assert alone.toys.sample == 0
    assert len(alone.toys.toy) == every.summary.tail.toys
    for found in (poi, alone):
        assert np.abs(found.pulls[0] - pulls).max() <= 2  # a pull may lie in a cell that an edge divides
        assert found.pulls[0].sum() == 400
        np.testing.assert_allclose(found.correlation, every.correlation)


def test_a_page_is_bounded(small_studies, monkeypatch):
    """Fewer toys and parameters; the toys of the largest t are always there."""
    monkeypatch.setattr(module, "NUMBERS", 600)
    monkeypatch.setattr(module, "_LEAST", 10)
    monkeypatch.setattr(module, "MOST_PARAMETERS", 1)
    found = explored(toymill.open_results(small_studies("all")))
    one = found.ensembles[0]
    assert (found.parameters, found.free) == (("mu",), 2)
    assert one.toys.sample == 600 // (2 + 2 + 2 + 1)
    tail = [toy.toy for toy in one.summary.tail.largest]
    assert set(tail) <= set(one.toys.toy.tolist())
    assert len(one.toys.toy) == len(set(one.toys.toy.tolist()))


def test_the_most_correlated_parameters_are_chosen(monkeypatch):
    monkeypatch.setattr(module, "MOST_PARAMETERS", 3)
    matrix = np.eye(4)
    matrix[2] = [0.1, -0.9, 1.0, 0.3]
    assert module._chosen("mu", ["a", "b", "mu", "c"], [matrix, np.full((4, 4), np.nan)]) == ("mu", "b", "c")


def test_optimisers_have_no_page():
    with pytest.raises(toymill.ToymillError, match="there are no toys to explore"):
        explored(SimpleNamespace(summary=None, folder="results/x"))


def test_names_are_only_text(tmp_path):
    """Whatever a parameter or a study is called, its name comes back, and the page has no other element for it."""
    names = [name for name in hostile.NAMES if not why_no_name(name)]
    assert "<script>alert(1)</script>" in names
    write_explorer(tmp_path / "plain.html", made_up([f"p{i}" for i in range(len(names))]))
    write_explorer(tmp_path / "explore.html", made_up(names, study="$(touch x) </script><b>'"))
    page, plain = ((tmp_path / name).read_text(encoding="utf-8") for name in ("explore.html", "plain.html"))
    found = content_of(page)
    assert found["parameters"] == names
    assert found["replay"] == """toymill replay 'results/$(touch x) </script><b>'"'"''"""
    for text in ("<script", "</script", "<b>", "alert(1)<"):
        assert page.count(text) == plain.count(text)
    np.testing.assert_allclose(
        numbers(found["ensembles"][0]["t"][0])[:3], made_up(names).ensembles[0].toys.t[0, :3], rtol=1e-6
    )


def test_a_page_names_no_host(tmp_path):
    """What plotly's own script names, it asks for only in maps; the page's policy forbids it all."""
    write_explorer(tmp_path / "explore.html", made_up(["mu", "b"]))
    page = (tmp_path / "explore.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page
    assert re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\S*", page.replace(plotly(), "")) == [
        '<link rel="icon" href="data:,">'
    ]


def plotly():
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def test_a_page_of_a_large_study_is_small(tmp_path):
    """184 parameters of which 50 are shown, at 40 truth points: beside plotly's script, some megabytes."""
    write_explorer(tmp_path / "explore.html", made_up([f"p{i}" for i in range(50)], ensembles=40, toys=183, free=184))
    assert (tmp_path / "explore.html").stat().st_size < len(plotly().encode()) + 8e6
