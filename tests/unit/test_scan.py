"""A scan over many signals: shared toys, local and global significance, exclusion."""

import copy
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from patch_sets import background, patch_set, write_scan

import toymill
from toymill.config.dependencies import scan_digest
from toymill.config.scan import grid_of
from toymill.config.study import check_inputs, read_study
from toymill.errors import ToymillError
from toymill.report.draw import draw
from toymill.report.first_screen import groups
from toymill.report.tables import tables
from toymill.results.answers import Answers
from toymill.results.audit import read_audits
from toymill.results.files import write_record
from toymill.results.scan_store import read_point
from toymill.study.describe import describe
from toymill.study.ownership import Directory, tidy
from toymill.study.scan import background_of, fit_point, null_of, point_model, shared_toys
from toymill.study.scan_answer import answer_scan, order_of
from toymill.study.scan_audit import audit_point
from toymill.study.scan_layout import audited_points, point_key, scan_files, scan_shards
from toymill.study.summarize import summarize


def run(study, folder):
    """A scan from its jobs to its answer: its points, their files, and what it found."""
    points = grid_of(study.scan).points
    files = scan_files(study, grid_of(study.scan), folder / "scan")
    for point in points:
        for shard, path in zip(scan_shards(study), files[point.folder], strict=True):
            fit_point(study, point.folder, shard, path)
    return points, files, answer_scan(study, files)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Seven places of a bump on one background."""
    folder = tmp_path_factory.mktemp("scan")
    study = read_study(write_scan(folder, masses=(2, 3, 4, 5, 6, 7, 8)))
    return study, *run(study, folder)


@pytest.fixture(scope="module")
def models(finished):
    """The background, and the model of each point."""
    study, points, _, _ = finished
    base = background_of(study)
    return base, [point_model(study, point, base) for point in points]


def stored(finished, k):
    study, points, files, _ = finished
    (path,) = files[points[k].folder]
    return read_point(path, point_key(study, points[k], scan_shards(study)[0]), 400).groups


def test_fits_are_those_of_a_test_of_the_point_s_model_alone(finished, models):
    study, points, _, answer = finished
    base, every = models
    k = [point.name for point in points].index("m6")
    alone = toymill.read_workspace(study.model.path, patches=[(study.scan.patches, "m6")])
    seen = toymill.test(alone, alone.observed, {"mu": 0.0})
    assert answer.points[k].q_0 == pytest.approx(seen.q_0[0], abs=1e-6)
    assert answer.points[k].estimate == pytest.approx(seen.free.parameter("mu")[0], abs=1e-5)
    assert answer.points[k].asymptotic == pytest.approx(scipy.stats.norm.sf(np.sqrt(seen.q_0[0])), abs=1e-6)
    toys = shared_toys(base, every[k], 60, seed=study.seed)
    groups = stored(finished, k)
    assert groups["background"].q_0[:60] == pytest.approx(toymill.test(alone, toys, {"mu": 0.0}).q_0, abs=1e-6)
    at_one = toymill.test(alone, toys, {"mu": 1.0}).qtilde_mu
    assert groups["background"].q_mu[:60] == pytest.approx(at_one, abs=1e-6)
    truth = toymill.fit(alone, alone.observed, {"mu": 1.0}, covariance=False).parameters[0]
    signal = toymill.throw(alone, truth, 60, seed=study.seed, stream="scan/m6")
    found = toymill.test(alone, signal, {"mu": 1.0}).qtilde_mu
    assert groups["signal"].q_mu[:60] == pytest.approx(found, abs=1e-4)


def test_points_agree_on_all_data_that_they_share(finished, models):
    study = finished[0]
    base, every = models
    toys = [shared_toys(base, model, 300, seed=study.seed) for model in every]
    plain = toymill.throw(base.model, base.truth, 300, seed=study.seed, stream="scan")
    main = [i for i, name in enumerate(base.model.data_names) if "auxiliary" not in name]
    columns = [dict(zip(model.data_names, data.T, strict=True)) for model, data in zip(every, toys, strict=True)]
    for found in columns:
        for i in main:
            assert np.array_equal(found[base.model.data_names[i]], plain[:, i])
    names = ["rate (auxiliary)", "slope (auxiliary)", "cross_section (auxiliary)"]
    for name in names:
        assert all(np.array_equal(found[name], columns[0][name]) for found in columns)
    assert np.std(columns[0]["cross_section (auxiliary)"]) == pytest.approx(1, abs=0.15)
    own = [found[f"acceptance_{2 + k} (auxiliary)"] for k, found in enumerate(columns)]
    assert abs(np.corrcoef(own[0], own[1])[0, 1]) < 0.25
    assert abs(np.corrcoef(own[0], columns[0]["cross_section (auxiliary)"])[0, 1]) < 0.25
    part = shared_toys(base, every[3], 7, seed=study.seed, first=100)
    assert np.array_equal(part, toys[3][100:107])


def test_a_staterror_that_a_signal_widens_has_its_own_width_and_the_same_fluctuation(models):
    base, every = models
    model, name = every[3], "mc[5] (auxiliary)"
    i, j = model.data_names.index(name), base.model.data_names.index(name)
    widths = model.sampling.sigma[i], base.model.sampling.sigma[j]
    assert widths[0] != widths[1]
    data = shared_toys(base, model, 200, seed=0)[:, i]
    plain = toymill.throw(base.model, base.truth, 200, stream="scan")[:, j]
    mean = np.asarray(model.expected_data(null_of(model, base)))[i]
    assert (data - mean) / widths[0] == pytest.approx((plain - mean) / widths[1], abs=1e-9)


@pytest.mark.parametrize(("audit", "toys"), [(4, 4), ("auto", 5)])
def test_an_audit_agrees_with_iminuit(finished, tmp_path, audit, toys):
    """Of the toys that all points share, at 0 and at the tested value; of the first point, the middle one and the last."""
    study, points, _, _ = finished
    fit = study.fit.model_copy(update={"audit": audit})
    assert [point.name for point in audited_points(grid_of(study.scan))] == ["m2", "m5", "m8"]
    found = audit_point(study.model_copy(update={"fit": fit}), points[4].folder)
    assert (found.ensemble, found.tests, found.digest) == ("scan/m6", [0.0, 1.0], scan_digest(study, points[4]))
    assert (found.summary.toys, found.summary.missed, found.summary.minuit_invalid) == (toys, 0, 0)
    assert found.summary.ours_higher_by < 1e-6
    write_record(tmp_path / "m6.json", found)
    assert list(read_audits([tmp_path / "m6.json"])) == ["scan/m6"]


def test_points_that_are_scanned_no_more_are_named_and_stay(tmp_path, capsys):
    study = read_study(write_scan(tmp_path, masses=(2, 4)))
    folder = tmp_path / "results"
    present, other = (folder / f"scan/{name}/000000000-000000399.h5" for name in ("m2", "m4"))
    for path in (present, other):
        path.parent.mkdir(parents=True)
        path.touch()
    tidy(Directory(study, folder), [present, other])
    assert not capsys.readouterr().err
    tidy(Directory(study, folder), [present])
    assert "has points that the study does not scan: m4. Their files are used if" in capsys.readouterr().err
    assert other.exists()


def test_the_largest_excess_is_counted_among_the_largest_of_toys(finished):
    _, points, _, answer = finished
    assert [point.name for point in answer.points] == [point.name for point in points]
    largest = answer.largest
    assert largest.point == max(answer.points, key=lambda point: point.q_0).name == "m6"
    q = np.array([stored(finished, k)["background"].q_0 for k in range(len(points))])
    assert largest.p_value.value == np.mean(q.max(axis=0) >= largest.q_0 - 1e-6)
    each = np.mean(q >= largest.q_0 - 1e-6, axis=1)
    assert answer.points[4].p_value.value == each[4]
    assert each.max() < largest.p_value.value < each.sum()
    formula = largest.gross_vitells
    assert abs(formula.value - largest.p_value.value) < 0.05
    assert formula.crossings.mean == np.mean(np.sum((q[:-1] <= 1) & (q[1:] > 1), axis=0))
    assert answer.sentences[0].startswith("The largest local significance is")
    assert "of 7 points are excluded at 95 % CL" in answer.sentences[-1]


def test_exclusion_agrees_with_the_asymptotic_one(finished):
    for point in finished[3].points:
        assert point.failed == 0
        if point.q_0 > 0:  # elsewhere q̃ of many toys is the same: μ̂ is at its bound
            continue
        seen, formula = point.exclusion.observed, point.asymptotic_cls
        assert abs(seen.value - formula.cls) < 4 * (seen.high - seen.low) / 2 + 0.1 * formula.cls
        assert abs(point.exclusion.expected["0"].value - formula.expected["0"]) < 0.15


def test_a_file_made_again_has_the_same_bytes_and_one_of_another_scan_is_refused(finished, tmp_path):
    study, _, files, _ = finished
    (path,) = files["m4"]
    fit_point(study, "m4", scan_shards(study)[0], tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == Path(path).read_bytes()
    for changes in ({"seed": 1}, {"scan": study.scan.model_copy(update={"mu": 2.0})}):
        with pytest.raises(ToymillError, match="is of another study: its digest"):
            answer_scan(study.model_copy(update=changes), files)
    with pytest.raises(ToymillError, match="signal has 400 rows; expected 300"):
        answer_scan(study.model_copy(update={"scan": study.scan.model_copy(update={"signal_toys": 300})}), files)


def test_shards_are_the_same_toys(tmp_path):
    content = write_scan(tmp_path, masses=(3, 6), toys=300, signal_toys=150)
    whole, parts = read_study(content), read_study(content | {"shard": 128})
    assert [shard.toys for shard in scan_shards(parts)] == [128, 128, 44]
    assert run(whole, tmp_path / "whole")[2] == run(parts, tmp_path / "parts")[2]


def test_without_toys_with_a_signal_there_is_no_exclusion(tmp_path):
    study = read_study(write_scan(tmp_path, masses=(3, 6), toys=200, signal_toys=0))
    answer = run(study, tmp_path)[2]
    assert [point.exclusion for point in answer.points] == [None, None]
    assert "excluded" not in " ".join(answer.sentences)
    assert answer.points[0].asymptotic_cls is not None


def test_a_scan_alone_has_a_summary_and_figures(finished, tmp_path):
    study, _, _, answer = finished
    summary = summarize(study, describe(study), {}, answers=Answers(scan=answer))
    assert summary.ensembles == {}
    draw(summary, {"scan": tmp_path / "scan.svg"})
    assert (tmp_path / "scan.svg").read_bytes().startswith(b"<?xml")
    assert [table.key for table in tables(summary, {})] == ["scan"]
    (answers,) = groups(summary)
    assert answers.lines[-1].what == f"signals excluded at 95 %, of {len(answer.points)}"
    assert summary.headline.answers == [f"scan: {sentence}" for sentence in answer.sentences]


@pytest.mark.parametrize("values", [[], [[1.0, 10.0], [2.0, 10.0], [2.0, 20.0], [3.0, 20.0]], [["a"], ["b"], ["c"]]])
def test_other_grids_have_figures_and_no_formula(finished, values, tmp_path):
    study, points, _, answer = finished
    points = [
        point.model_copy(update={"values": list(value)})
        for point, value in zip(answer.points, values or [[]] * 4, strict=False)
    ]
    summary = summarize(
        study,
        describe(study),
        {},
        answers=Answers(scan=answer.model_copy(update={"points": points, "labels": ["first", "second"]})),
    )
    draw(summary, {"scan": tmp_path / "scan.svg"})
    assert (tmp_path / "scan.svg").read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([[], []], "state no values"),
        ([[1.0], ["x"]], "are not numbers"),
        ([[1.0, 2.0], [2.0, 3.0]], "differ in 2 coordinates"),
        ([[1.0], [1.0], [2.0]], "Two points have the same value"),
    ],
)
def test_points_without_an_order_say_why(tmp_path, values, why):
    study = read_study(write_scan(tmp_path, masses=(1, 2, 3)))
    grid = grid_of(study.scan)
    points = [point._replace(values=tuple(value)) for point, value in zip(grid.points, values, strict=False)]
    order, told = order_of(grid._replace(points=tuple(points)), range(len(points)))
    assert order is None
    assert why in told
    shuffled = [point._replace(values=(value, 7.0)) for point, value in zip(grid.points, (3, 1, 2), strict=True)]
    assert order_of(grid._replace(points=tuple(shuffled)), range(3)) == ([1, 2, 0], None)


def test_patches_may_be_a_set_a_folder_or_files(tmp_path):
    content = write_scan(tmp_path, masses=(1, 2, 3))
    grid = grid_of(read_study(content).scan)
    assert [point.name for point in grid.points] == ["m1", "m2", "m3"]
    assert [point.values for point in grid.points] == [(1.0,), (2.0,), (3.0,)]
    assert grid.labels == ("mass",)
    some = grid_of(read_study(write_scan(tmp_path, masses=(1, 2, 3), points=["m3", "m1"])).scan)
    assert [point.name for point in some.points] == ["m3", "m1"]
    folder = tmp_path / "patches"
    folder.mkdir()
    for entry in json.loads((tmp_path / "patchset.json").read_text())["patches"]:
        (folder / f"patch.{entry['metadata']['name']}.json").write_text(json.dumps(entry["patch"]))
    (folder / "other.json").write_text("{}")
    assert [point.name for point in grid_of(read_study(content | {"scan": {"patches": str(folder)}}).scan).points] == [
        "m1",
        "m2",
        "m3",
    ]
    files = [str(folder / "patch.m2.json"), {"path": str(folder / "patch.m1.json"), "name": "a b/c", "values": [1, 2]}]
    study = read_study(content | {"scan": {"patches": files, "labels": ["x", "y"]}})
    grid = grid_of(study.scan)
    assert [point.name for point in grid.points] == ["m2", "a b/c"]
    assert "/" not in grid.points[1].folder
    assert grid.labels == ("x", "y")
    assert study.model.patches == [str(folder / "patch.m2.json")]  # what a scan alone describes
    assert read_study(study.model_dump(mode="json")) == study
    assert grid.points[0].digest == grid_of(read_study(content).scan).points[1].digest


def test_patches_may_be_downloads(tmp_path, monkeypatch):
    """A patch set, and files of one signal each: the points of local files, once they are there."""
    monkeypatch.chdir(tmp_path)
    content = write_scan(tmp_path, masses=(1, 2))
    local = grid_of(read_study(content).scan)

    def remote(name):
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        return {"url": f"https://example.org/{name}", "sha256": digest}

    study = read_study(content | {"scan": {"patches": remote("patchset.json")}})
    check_inputs(study)  # the rest once they are there
    with pytest.raises(ToymillError, match=r"https://example\.org/patchset\.json is not downloaded yet to"):
        grid_of(study.scan)
    (missing,) = study.scan.missing
    missing.local.parent.mkdir(parents=True)
    missing.local.write_bytes((tmp_path / "patchset.json").read_bytes())
    study = read_study(content | {"scan": {"patches": remote("patchset.json")}})
    check_inputs(study)
    assert study.scan.missing == []
    assert study.remotes == [missing]
    assert [point._replace(patch="") for point in grid_of(study.scan).points] == [
        point._replace(patch="") for point in local.points
    ]
    assert read_study(study.model_dump(mode="json")) == study
    missing.local.write_text("{}")
    with pytest.raises(ToymillError, match=r"is not what https://example\.org/patchset\.json gave\. Remove it"):
        check_inputs(read_study(content | {"scan": {"patches": remote("patchset.json")}}))

    (tmp_path / "patch.m1.json").write_text(json.dumps(patch_set(background(), {"m1": [1]})["patches"][0]["patch"]))
    for item in (remote("patch.m1.json"), {"path": remote("patch.m1.json"), "values": [1.0]}):
        one = read_study(content | {"scan": {"patches": [item]}})
        (missing,) = one.scan.remotes
        missing.local.parent.mkdir(parents=True, exist_ok=True)
        missing.local.write_bytes((tmp_path / "patch.m1.json").read_bytes())
        (point,) = grid_of(one.scan).points
        assert (point.name, point.digest) == ("m1", local.points[0].digest)
        assert point_model(one, point, background_of(one)).poi == "mu"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scan": {"patches": {"url": "https://x.org/a", "sha": "1"}}}, "sha: unknown key. Did you mean 'sha256'"),
        ({"scan": {"points": ["m22"]}}, "scan.points: there is no patch 'm22' in scan.patches. Did you mean 'm2'"),
        ({"scan": {"patches": "nowhere.json"}}, "scan.patches: there is no file 'nowhere.json'"),
        ({"scan": {"patches": ["nowhere.json"]}}, "scan.patches: there is no file 'nowhere.json'"),
        ({"scan": {"patches": ["{folder}/patchset.json"]}}, "is no JSON patch, which is a list of operations"),
        ({"scan": {"patches": "{folder}/background.json"}}, "is no patch set"),
        ({"scan": {"patches": [{"path": "x", "nme": "y"}]}}, "nme: unknown key. Did you mean 'name'"),
        ({"scan": {"mu": 11.0}}, r"scan.mu: Parameter 'mu' cannot be 11: its bounds are \[0, 10\]"),
        ({"limit": {}}, "model.patches: name the signal that limit is about; scan has many"),
        ({"ensembles": {"a": {"truth": {"mu": 1.0}}}}, "model.patches: name the signal that ensembles is about"),
        ({"model": {"kind": "onoff"}}, "scan: needs a model of kind workspace"),
        ({"keep": "summary"}, "keep: summary stores too little for scan"),
    ],
)
def test_a_scan_that_cannot_be_is_refused(tmp_path, changes, message):
    content = write_scan(tmp_path, masses=(1, 2, 3))
    text = json.dumps(content | changes | {"scan": content["scan"] | changes.get("scan", {})})
    with pytest.raises(ToymillError, match=message):
        check_inputs(read_study(json.loads(text.replace("{folder}", str(tmp_path)))))


def changed(operations, path, value):
    found = copy.deepcopy(operations)
    return [*found, {"op": "replace", "path": path, "value": value}]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("/channels/0/samples/0/data/3", 90.0, r"the patch of 'm2' changes the background or the data: SR\[3\]"),
        ("/observations/0/data/3", 3.0, r"changes the background or the data: SR\[3\] .* observed as 3"),
        ("/measurements/0/config/poi", "", "leaves the model without a free parameter of interest"),
    ],
)
def test_a_patch_that_does_more_than_add_a_signal_is_refused(tmp_path, path, value, message):
    content = write_scan(tmp_path, masses=(1, 2))
    spec = background()
    sets = patch_set(spec, {"m1": [1], "m2": [2]})
    sets["patches"][1]["patch"] = changed(sets["patches"][1]["patch"], path, value)
    (tmp_path / "patchset.json").write_text(json.dumps(sets))
    study = read_study(content)
    base = background_of(study)
    with pytest.raises(ToymillError, match=message):
        point_model(study, grid_of(study.scan).points[1], base)


def test_a_patch_set_of_another_workspace_is_refused(tmp_path):
    content = write_scan(tmp_path, masses=(1, 2))
    (tmp_path / "background.json").write_text(json.dumps(background(observed=[100] * 10)))
    with pytest.raises(ToymillError, match="belongs to another workspace"):
        check_inputs(read_study(content))
