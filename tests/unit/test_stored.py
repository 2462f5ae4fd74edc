"""Stored fits are used again: for other shards, more toys, further test points, and after an interruption."""

import numpy as np
import pytest

from toymill.config.study import read_study, shard_of, shards
from toymill.results.store import read_shard, reading_shard
from toymill.study import shards as module
from toymill.study.describe import describe
from toymill.study.shards import fit_shard
from toymill.study.summarize import summarize

FIELDS = ("parameters", "errors", "nll", "status", "edm", "iterations")


def study(root, toys=700, tests=(0.0,), **changes):
    content = {
        "study": "small",
        "model": str(root / "tests/data/onoff.json"),
        "ensembles": {"one": {"truth": {"mu": 1.0}, "toys": toys, "tests": list(tests)}},
        "shard": 300,
    }
    return read_study(content | changes)


def fitted(one, folder, **options):
    """The files of the study's shards in a folder, made with what the folder ``aside`` beside it holds."""
    files = [folder / "fits/one" / f"{shard.name}.h5" for shard in shards(one, "one")]
    for shard, path in zip(shards(one, "one"), files, strict=True):
        if not path.exists():
            fit_shard(one, "one", shard, path, folder / "superseded/one", **options)
    return files


@pytest.fixture
def counted(monkeypatch):
    """How many toys are fitted: freely with all test points, and at test points alone."""
    count = {"all": 0, "more": 0}
    whole, more = module.fit_tests, module.fit_more_tests

    def fit_tests(model, data, *rest, **options):
        count["all"] += len(data)
        return whole(model, data, *rest, **options)

    def fit_more_tests(model, data, tests, *rest, **options):
        count["more"] += len(data) * len(tests)
        return more(model, data, tests, *rest, **options)

    monkeypatch.setattr(module, "fit_tests", fit_tests)
    monkeypatch.setattr(module, "fit_more_tests", fit_more_tests)
    return count


def aside(files):
    """Set files aside, as a run does with those that it is to make anew."""
    for path in files:
        target = path.parents[2] / "superseded/one" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)


def test_other_shards_fit_nothing(root, tmp_path, counted):
    """The same bytes as shards that were made so from the first; the earlier ones lie in the same folder meanwhile."""
    fitted(study(root), tmp_path)
    assert counted == {"all": 700, "more": 0}
    files = fitted(study(root, shard=256), tmp_path)
    assert counted == {"all": 700, "more": 0}
    for path, other in zip(files, fitted(study(root, shard=256), tmp_path / "other"), strict=True):
        assert path.read_bytes() == other.read_bytes()


def test_more_toys_fit_only_those(root, tmp_path, counted):
    aside(fitted(study(root, shard=1000), tmp_path))
    (path,) = fitted(study(root, toys=900, shard=1000), tmp_path)
    assert counted == {"all": 900, "more": 0}
    (other,) = fitted(study(root, toys=900, shard=1000), tmp_path / "other")
    assert path.read_bytes() == other.read_bytes()


def test_a_test_point_more_or_less_keeps_the_other_fits(root, tmp_path, counted):
    aside(fitted(study(root), tmp_path))
    files = fitted(study(root, tests=[0.0, 2.0]), tmp_path)
    assert counted == {"all": 700, "more": 700}
    anew = fitted(study(root, tests=[0.0, 2.0]), tmp_path / "other")
    assert counted == {"all": 1400, "more": 700}
    for path, other in zip(files, anew, strict=True):
        one, two = read_shard(path), read_shard(other)
        assert [fits.fixed["mu"] for fits in one.tests] == [0.0, 1.0, 2.0]
        for a, b in zip([one.free, *one.tests[:2]], [two.free, *two.tests[:2]], strict=True):
            for field in FIELDS:
                np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
        assert one.tests[2].ok.all()
        np.testing.assert_allclose(one.tests[2].nll, two.tests[2].nll, atol=2e-8)
    aside(files)
    for path in fitted(study(root, tests=[2.0]), tmp_path):
        assert [fits.fixed["mu"] for fits in read_shard(path).tests] == [1.0, 2.0]
    assert counted == {"all": 1400, "more": 700}


def test_a_free_fit_above_a_further_conditional_one_is_repaired(root, tmp_path):
    """As a fit that missed the minimum: the free fit that is stored is that of another toy."""
    from toymill.results.store import write_shard

    (path,) = fitted(study(root, toys=4, shard=4), tmp_path)
    shard = read_shard(path)
    right = shard.free.nll.copy()
    shard.free.parameters[1] = shard.tests[0].parameters[1]
    shard.free.nll[1] += 50.0
    write_shard(path, shard)
    aside([path])
    (path,) = fitted(study(root, toys=4, shard=4, tests=[0.0, 2.0]), tmp_path)
    repaired = read_shard(path)
    np.testing.assert_allclose(repaired.free.nll, right, atol=2e-8)


@pytest.mark.parametrize("keep", ["all", "poi", "summary"])
def test_a_stopped_job_keeps_its_chunks(root, tmp_path, monkeypatch, counted, keep):
    """And goes on from there: the same bytes in the end, and no toy fitted twice."""
    one = study(root, toys=1500, shard=1500, keep=keep)
    (whole,) = fitted(one, tmp_path / "whole")
    monkeypatch.setattr(module, "CHUNK", 512)
    fit = module.fit_tests

    def stopped(model, data, tests, *, first, **options):
        if first == 1024:
            raise KeyboardInterrupt
        return fit(model, data, tests, first=first, **options)

    monkeypatch.setattr(module, "fit_tests", stopped)
    with pytest.raises(KeyboardInterrupt):
        fitted(one, tmp_path)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.h5"))
    assert left == [f"superseded/one/{shard_of(0, 1024).name}.h5", f"whole/fits/one/{whole.name}"]
    monkeypatch.setattr(module, "fit_tests", fit)
    counted["all"] = 0
    (path,) = fitted(one, tmp_path)
    assert counted["all"] == 476
    assert path.read_bytes() == whole.read_bytes()


def test_what_cannot_be_used_is_not(root, tmp_path, monkeypatch, counted, capsys):
    """A damaged file is passed over and named; fits of other code, seed, tolerance or keep are of no use."""
    files = fitted(study(root), tmp_path)
    content = bytearray(files[0].read_bytes())
    content[2000] ^= 1
    aside(files)
    (tmp_path / "superseded/one" / files[0].name).write_bytes(content)
    fitted(study(root), tmp_path)
    assert counted["all"] == 1000
    assert f"passed over: {tmp_path / 'superseded/one' / files[0].name} is damaged" in capsys.readouterr().err
    counted["all"] = 0
    monkeypatch.setattr("toymill.study.stored.code_digest", lambda: "other code")
    aside(fitted(study(root), tmp_path / "code"))
    fitted(study(root), tmp_path / "code")
    assert counted["all"] == 1400
    for changes in ({"seed": 1}, {"fit": {"edm_tolerance": 1e-7}}, {"keep": "poi"}):
        counted["all"] = 0
        fitted(
            study(root, **changes),
            tmp_path / str(sorted(changes)),
        )
        assert counted["all"] == 700


def test_the_summary_does_not_tell_how_fits_came_about(root, tmp_path):
    fitted(study(root, toys=500), tmp_path)
    files = fitted(study(root, shard=256), tmp_path)
    one = study(root, shard=256)
    anew = fitted(one, tmp_path / "other")
    assert summarize(one, describe(one), {"one": files}) == summarize(one, describe(one), {"one": anew})
    with reading_shard(files[0]) as reader:
        assert reader.key.toys == 256
