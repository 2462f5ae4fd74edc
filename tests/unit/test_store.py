"""Files: whole or absent, the same bytes, and every damage found and named."""

import h5py
import numpy as np
import pytest

import toymill
from toymill.fitting.conditional import fit_tests
from toymill.results.hdf5 import ShardKey, write_tree
from toymill.results.store import (
    Audit,
    ShardFits,
    read_shard,
    read_toys,
    reading_shard,
    write_shard,
    writing_shard,
    writing_toys,
)
from toymill.results.tally import ADDITIVE, CONTEXT, Tally

KEY = ShardKey("one", "d" * 64, "m" * 64, 7, 20, 6)


@pytest.fixture(scope="module")
def shard(onoff):
    data = toymill.throw(onoff, onoff.parameters.init, KEY.toys, seed=7, first=20)
    free, tests = fit_tests(onoff, data, [{"mu": 0.0}, {"mu": 1.0}])
    audit = Audit(np.array([21]), np.zeros(1), np.zeros((2, 1)), np.zeros(1), np.ones(1, dtype=bool))
    return ShardFits(KEY, free, tests, audit)


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
    np.testing.assert_array_equal(read.audit.toy, [21])


def test_h5py_reads_it_in_three_lines(path):
    with h5py.File(path) as file:
        names = list(file.attrs["parameters"])
        mu = file["free/parameters"][:, names.index("mu")]
    assert mu.shape == (6,)


def test_same_content_same_bytes(shard, path, tmp_path):
    write_shard(tmp_path / "again.h5", shard)
    assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()


def test_nothing_is_left_of_a_write_that_fails(shard, tmp_path):
    broken = shard._replace(audit=shard.audit._replace(toy=object()))
    with pytest.raises(TypeError):
        write_shard(tmp_path / "shard.h5", broken)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_earlier_file(shard, path):
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_shard(path, shard._replace(audit=shard.audit._replace(toy=object())))
    assert path.read_bytes() == before


@pytest.mark.parametrize("field", ["ensemble", "digest", "model", "seed", "first", "toys"])
def test_a_shard_of_another_study_is_refused(path, field):
    other = KEY._replace(**{field: 99 if isinstance(getattr(KEY, field), int) else "other"})
    with pytest.raises(toymill.ToymillError, match=rf"shard.h5 is of another study: its {field} is"):
        read_shard(path, other)


def test_a_cut_file_is_refused(path):
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(toymill.ToymillError, match="cannot be read as HDF5"):
        read_shard(path)


def test_a_flipped_bit_is_found(shard, path):
    content = bytearray(path.read_bytes())
    needle = shard.free.nll.astype("<f8").tobytes()
    place = bytes(content).index(needle)
    content[place + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(toymill.ToymillError, match="free/nll is damaged"):
        read_shard(path)


def test_missing_rows_are_found(path):
    with h5py.File(path, "a") as file:
        short = file["free/edm"][:-1]
        del file["free/edm"]
        file["free/edm"] = short
    with pytest.raises(toymill.ToymillError, match="free/edm has 5 rows; expected 6"):
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
        file.finish(shard.audit, tally)
    return tmp_path / "summary.h5", tally


def test_a_tally_is_read_as_it_was_written(summary):
    path, tally = summary
    with reading_shard(path, KEY) as reader:
        found = reader.tally()
    assert reader.keep == "summary"
    for name in (*CONTEXT, *ADDITIVE, "smallest", "most_iterations", "kept"):
        np.testing.assert_array_equal(getattr(found, name), getattr(tally, name), err_msg=name)


def test_a_damaged_tally_is_found(summary):
    path, _tally = summary
    with h5py.File(path, "a") as file:
        place = file["tally/sums"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[place.byte_offset] ^= 1
    path.write_bytes(content)
    with reading_shard(path, KEY) as reader, pytest.raises(toymill.ToymillError, match="tally/sums is damaged"):
        reader.tally()


def test_a_tally_of_other_toys_is_refused(summary):
    path, _ = summary
    with h5py.File(path, "a") as file:
        file["tally/toys"][...] = 5
    with reading_shard(path, KEY) as reader, pytest.raises(toymill.ToymillError, match="of 5 toys; expected 6"):
        reader.tally()


def test_another_kind_of_file_is_refused(onoff, tmp_path):
    data = toymill.throw(onoff, onoff.parameters.init, KEY.toys)
    with writing_toys(tmp_path / "toys.h5", KEY, onoff.data_names) as file:
        file.add(data[:4])
        file.add(data[4:])
    np.testing.assert_array_equal(read_toys(tmp_path / "toys.h5", KEY), data)
    with pytest.raises(toymill.ToymillError, match="is 'toymill-toys', schema 1; expected 'toymill-fits'"):
        read_shard(tmp_path / "toys.h5")


def test_summary_holds_every_number(tmp_path):
    tree = {"a": {"b": 1.5, "words": "x", "none": None, "list": [1.0, None]}, "tests": [{"t": 1}, {"t": 2}], "n": ["u"]}
    write_tree(tmp_path / "s.h5", "toymill-summary", tree)
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["a"].attrs["b"] == 1.5
        assert np.isnan(file["a"].attrs["none"])
        assert np.isnan(file["a/list"][1])
        assert file["tests/001"].attrs["t"] == 2
