"""Files: whole or absent, the same bytes, and every damage found and named."""

import dataclasses

import h5py
import numpy as np
import pytest

import toymill
from toymill.fitting.conditional import fit_tests
from toymill.fitting.results import rows_of
from toymill.results.hdf5 import ShardKey, _seal, write_tree
from toymill.results.store import (
    ShardFits,
    read_shard,
    read_toys,
    reading_shard,
    write_shard,
    writing_shard,
    writing_toys,
)
from toymill.results.tally import ADDITIVE, CELLS, CONTEXT, Tally

KEY = ShardKey("one", "d" * 64, "m" * 64, 7, 20, 6)


@pytest.fixture(scope="module")
def shard(onoff):
    data = toymill.throw(onoff, onoff.parameters.init, KEY.toys, seed=7, first=20)
    free, tests = fit_tests(onoff, data, [{"mu": 0.0}, {"mu": 1.0}])
    return ShardFits(KEY, free, tests)


@pytest.fixture
def path(shard, tmp_path):
    write_shard(tmp_path / "deep" / "shard.h5", shard)
    return tmp_path / "deep" / "shard.h5"


def test_round_trip(shard, path):
    read = read_shard(path, KEY)
    assert read.key == KEY
    for one, two in zip([shard.free, *shard.tests], [read.free, *read.tests], strict=True):
        assert one.names == two.names
        assert (one.poi, one.fixed) == (two.poi, two.fixed)
        for name in ("parameters", "errors", "nll", "status", "edm", "iterations"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize("keep", ["all", "poi"])
def test_estimates_have_all_that_statistics_need(shard, tmp_path, keep):
    with writing_shard(tmp_path / "shard.h5", KEY, keep) as file:
        file.add(shard.free, shard.tests)
        if keep == "poi":
            file.add_tally(Tally.empty([1.0, 1.0], [0.0, 1.0], [0.95]))
    with reading_shard(tmp_path / "shard.h5", KEY) as reader:
        free, zero, one = reader.estimates(2, 5)
    here = np.arange(2, 5)
    background, signal = (rows_of(fits, here) for fits in shard.tests)
    np.testing.assert_array_equal(free.parameter("mu"), shard.free.parameter("mu")[here])
    np.testing.assert_array_equal(
        toymill.qtilde_mu(free, one, zero), toymill.qtilde_mu(rows_of(shard.free, here), signal, background)
    )
    assert (free.names, zero.names) == (("mu",), ())


def test_h5py_reads_it_in_three_lines(path):
    with h5py.File(path) as file:
        names = list(file.attrs["parameters"])
        mu = file["free/parameters"][:, names.index("mu")]
    assert mu.shape == (6,)


def test_same_content_same_bytes(shard, path, tmp_path):
    write_shard(tmp_path / "again.h5", shard)
    assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()


def test_nothing_is_left_of_a_write_that_fails(shard, tmp_path):
    with pytest.raises(AttributeError):
        write_shard(tmp_path / "shard.h5", shard._replace(free=object()))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_earlier_file(shard, path):
    before = path.read_bytes()
    with pytest.raises(AttributeError):
        write_shard(path, shard._replace(free=object()))
    assert path.read_bytes() == before


@pytest.mark.parametrize("field", ["ensemble", "digest", "model", "seed", "first", "toys"])
def test_a_shard_of_another_study_is_refused(path, field):
    other = KEY._replace(**{field: 99 if isinstance(getattr(KEY, field), int) else "other"})
    with pytest.raises(toymill.ToymillError, match=rf"shard.h5 is of another study: its {field} is"):
        read_shard(path, other)


def damaged(path, content):
    path.write_bytes(content)
    with pytest.raises(toymill.ToymillError, match=r"shard\.h5 is damaged: .*--forcerun .*shard\.h5"):
        read_shard(path)


def test_every_length_and_a_flip_in_every_byte_is_found(path):
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        damaged(path, flipped)
        damaged(path, content[:place])
    damaged(path, content + b"\0")
    damaged(path, content[:512] + bytes(len(content) - 512))
    path.write_bytes(content)
    read_shard(path)


@pytest.mark.long  # the test above has a seventh of them
def test_every_byte_is_looked_at(path):
    content = path.read_bytes()
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        damaged(path, flipped)
        damaged(path, content[:place])


def rewritten(path):
    """Seal a file that was changed, as its writer does."""
    _seal(path)


def test_zeros_are_no_fits(path):
    """A writer whose data became zeros, and whose file is otherwise in order."""
    with h5py.File(path, "a") as file:
        for name in ("free/status", "free/nll", "free/parameters"):
            file[name][...] = 0
    rewritten(path)
    with pytest.raises(toymill.ToymillError, match="free has toys without a status"):
        read_shard(path)


def test_rows_that_were_not_written_are_no_fits(shard, tmp_path):
    def write():
        with writing_shard(tmp_path / "a.h5", KEY) as file:
            file.add(rows(shard.free, 5), [rows(fits, 5) for fits in shard.tests])
            assert file.file["free/status"][5] == 0
            assert np.isnan(file.file["free/nll"][5])

    with pytest.raises(toymill.ToymillError, match="5 toys were written; expected 6"):
        write()
    assert list(tmp_path.iterdir()) == []


def rows(fits, count):
    names = ("parameters", "errors", "nll", "status", "edm", "iterations")
    return dataclasses.replace(fits, **{name: getattr(fits, name)[:count] for name in names})


def test_no_two_writers_have_one_file(shard, tmp_path):
    """The first to be done gives the name; the second gives it the same bytes."""
    path = tmp_path / "shard.h5"
    with writing_shard(path, KEY) as one, writing_shard(path, KEY) as two:
        assert len(list(tmp_path.iterdir())) == 2
        for writer in (one, two):
            writer.add(shard.free, shard.tests)
    assert [item.name for item in tmp_path.iterdir()] == ["shard.h5"]
    read_shard(path, KEY)


def test_missing_rows_are_found(path):
    with h5py.File(path, "a") as file:
        short = file["free/edm"][:-1]
        del file["free/edm"]
        file["free/edm"] = short
    rewritten(path)
    with pytest.raises(toymill.ToymillError, match="free/edm has 5 rows; expected 6"):
        read_shard(path)


def test_a_file_of_schema_1_is_read(root):
    """Files of version 1, whose codes begin at 0 and which have no digest, as they were written."""
    folder = root / "tests/data/schema-1"
    read = read_shard(folder / "all.h5")
    np.testing.assert_allclose(read.free.parameters[:, 0], [1.13, 1.05, 1.0, 0.92, 0.88, 0.99], atol=1e-9)
    assert read.free.ok.all()
    assert (read.free.status == toymill.Status.CERTIFIED).all()
    np.testing.assert_allclose(read.tests[0].nll[:2], [9.18596529, 10.02168311], rtol=1e-8)
    with reading_shard(folder / "summary.h5") as reader:
        tally = reader.tally()
        assert reader.tests == (0.0, 1.0)
        assert tally.status[-1, toymill.Status.CERTIFIED] == tally.certified == 6
    assert read_toys(folder / "toys.h5").shape == (6, 2)
    with pytest.raises(toymill.ToymillError, match="has schema 1, which has no digest"):
        read_shard(folder / "all.h5", KEY)


def test_a_file_of_a_later_schema_is_refused(path):
    with h5py.File(path, "a") as file:
        file.attrs["schema"] = 3
    rewritten(path)
    with pytest.raises(toymill.ToymillError, match="has schema 3; this toymill knows those up to 2"):
        read_shard(path)


def test_a_shard_that_lacks_toys_is_not_written(shard, tmp_path):
    with pytest.raises(toymill.ToymillError, match="6 toys were written; expected 7"):
        write_shard(tmp_path / "shard.h5", shard._replace(key=KEY._replace(toys=7)))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def summary(shard, tmp_path):
    """The shard of a study that keeps a summary."""
    tally = Tally.empty([1.0, 1.0], [0.0, 1.0], [0.95])
    tally.add(KEY.first, shard.free, shard.tests)
    with writing_shard(tmp_path / "summary.h5", KEY, "summary") as file:
        file.add(shard.free, shard.tests)
        file.add_tally(tally)
    return tmp_path / "summary.h5", tally


def test_a_tally_is_read_as_it_was_written(summary):
    path, tally = summary
    with reading_shard(path, KEY) as reader:
        found = reader.tally()
    assert reader.keep == "summary"
    for name in (*CONTEXT, *ADDITIVE, *CELLS, "smallest", "most_iterations", "kept"):
        np.testing.assert_array_equal(getattr(found, name), getattr(tally, name), err_msg=name)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("toys", 5, "it is of 5 toys; expected 6"),
        ("certified", 5, "its statuses contradict its 5 certified toys"),
        ("status", 0, "its statuses are not those of 6 toys"),
    ],
)
def test_a_tally_that_contradicts_itself_is_refused(summary, name, value, words):
    path, _ = summary
    with h5py.File(path, "a") as file:
        file[f"tally/{name}"][...] = value
    rewritten(path)
    with reading_shard(path, KEY) as reader, pytest.raises(toymill.ToymillError, match=words):
        reader.tally()


def test_another_kind_of_file_is_refused(onoff, tmp_path):
    data = toymill.throw(onoff, onoff.parameters.init, KEY.toys)
    with writing_toys(tmp_path / "toys.h5", KEY, onoff.data_names) as file:
        file.add(data[:4])
        file.add(data[4:])
    np.testing.assert_array_equal(read_toys(tmp_path / "toys.h5", KEY), data)
    with pytest.raises(toymill.ToymillError, match="is 'toymill-toys', schema 2; expected 'toymill-fits'"):
        read_shard(tmp_path / "toys.h5")


def test_summary_holds_every_number(tmp_path):
    tree = {"a": {"b": 1.5, "words": "x", "none": None, "list": [1.0, None]}, "tests": [{"t": 1}, {"t": 2}], "n": ["u"]}
    write_tree(tmp_path / "s.h5", "toymill-summary", tree)
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["a"].attrs["b"] == 1.5
        assert np.isnan(file["a"].attrs["none"])
        assert np.isnan(file["a/list"][1])
        assert file["tests/001"].attrs["t"] == 2
