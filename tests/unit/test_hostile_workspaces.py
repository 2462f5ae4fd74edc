"""Mutated workspaces, HS3 files and patches: each is a model or one message, and a fit ends in statuses.

Each case is made by a generator of its own number, so that ``generator("tree", 250)`` makes it again.
"""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hostile import (
    NAMES,
    NUMBERS,
    OTHERS,
    TOO_DEEP,
    as_json,
    changed,
    damaged,
    deep,
    generator,
    numbers_changed,
    patch,
)

import toymill
from toymill.fitting.conditional import fit_tests
from toymill.formats.patches import MOST_COPIED
from toymill.formats.reader import read_specification
from toymill.formats.validation import DEEPEST
from toymill.histfactory.compiler import compile_specification
from toymill.inference.information import cramer_rao
from toymill.models.load import load_model

ROOT = Path(__file__).parents[2]
FILES = [
    ROOT / "config/workspaces/hww.json",
    ROOT / "config/workspaces/atlas-3l-erjr/BkgOnly.json",
    ROOT / "tests/data/every-modifier.json",
    ROOT / "tests/data/onoff.json",
    *sorted((ROOT / "tests/data/hs3").glob("root-6.40-*.json")),
    *sorted((ROOT / "tests/data/hs3").glob("pyhs3-0.4-*.json")),
]
GOOD = {path.stem: json.loads(path.read_text()) for path in FILES}
LONGEST = 1500  # letters of a message of one line

long = pytest.mark.long


def opened(content, patches=()):
    """A model's arrays, or None if it is refused in one message."""
    try:
        return compile_specification(read_specification(content, patches=patches))
    except toymill.ToymillError as error:
        refused(error)
        return None


def refused(error):
    """One line, neither empty nor endless, without what a terminal would obey."""
    assert 0 < len(str(error)) < LONGEST
    assert str(error).isprintable()


def count(cases):
    """How many are opened; both have to happen, for a generator that breaks everything tests little."""
    found = [case is not None for case in cases]
    assert any(found)
    assert not all(found)


@pytest.mark.parametrize(("first", "last"), [(0, 60), pytest.param(60, 1200, marks=long)])
def test_changed_content(first, last):
    rngs = [generator("tree", number) for number in range(first, last)]
    count(opened(changed(rng, GOOD[rng.choice(list(GOOD))])) for rng in rngs)


@pytest.mark.parametrize(("first", "last"), [(0, 60), pytest.param(60, 700, marks=long)])
def test_damaged_files(first, last, tmp_path):
    def case(rng):
        (tmp_path / "ws.json").write_bytes(damaged(rng, as_json(GOOD[rng.choice(list(GOOD))])))
        return opened(tmp_path / "ws.json")

    count(case(generator("text", number)) for number in range(first, last))


@pytest.mark.parametrize(("first", "last"), [(0, 100), pytest.param(100, 900, marks=long)])
def test_patches(first, last, tmp_path):
    def case(rng):
        made = patch(rng)
        if rng.random() < 0.5:
            (tmp_path / "patch.json").write_text(as_json(made))
            made = tmp_path / "patch.json"
        return opened(GOOD[rng.choice(["hww", "root-6.40-gauss-gauss"])], [(made, "a") if rng.random() < 0.3 else made])

    count(case(generator("patch", number)) for number in range(first, last))


def fitted(content, number):
    """How the fits of three toys ended; None if the model or its toys are refused."""
    try:
        model = toymill.read_workspace(content)
        toys = toymill.throw(model, model.parameters.init, 3, seed=number)
        tests = [] if model.poi is None else [{model.poi: float(model.parameters.init[model.poi_index])}]
        free, conditional = fit_tests(model, toys, tests)
    except toymill.ToymillError:
        return None
    for fits in (free, *conditional):
        assert [toymill.Status(int(status)) for status in fits.status]
        assert np.isfinite(fits.parameters[fits.ok]).all()
        assert np.isfinite(fits.nll[fits.ok]).all()
    return free


@pytest.mark.parametrize(("first", "last"), [(4, 7), pytest.param(7, 18, marks=long)])
def test_fits_of_other_numbers_end_in_statuses(first, last):
    """Yields and uncertainties from the smallest number to the largest."""
    small, large = ["onoff"], ["onoff", "every-modifier", "hww", "root-6.40-gauss-poisson"]

    def case(rng, number):
        return fitted(numbers_changed(rng, GOOD[rng.choice(small if last == 7 else large)]), number)

    count(case(generator("fit", number), number) for number in range(first, last))


@pytest.mark.parametrize("number", [19, 50, 123, 201])
def test_numbers_of_which_linear_algebra_made_an_error(number):
    rng = generator("fit", number)
    content = GOOD[rng.choice(["every-modifier", "onoff", "root-6.40-gauss-poisson", "hww"])]
    assert opened(numbers_changed(rng, content)) is not None


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_the_bound_of_an_information_of_absurd_scale(scale):
    """The inverse, or None where it is no matrix of numbers."""
    matrix = scale * np.array([[2.0, 0.1], [0.1, 1.0]])
    found = cramer_rao(matrix, np.zeros(2, dtype=bool))
    assert found is None or np.allclose(found @ matrix, np.eye(2))
    assert cramer_rao(np.diag([5e-324, 1e308]) + 1e150 * (1 - np.eye(2)), np.zeros(2, dtype=bool)) is None


@pytest.mark.parametrize("levels", [DEEPEST, 990, 5000, TOO_DEEP])
@pytest.mark.parametrize("name", ["onoff", "root-6.40-gauss-gauss"])
def test_deep_nesting(levels, name, tmp_path):
    """In a file, in a dictionary, in a patch, and where a schema does not look."""
    content = GOOD[name] | {"metadata": {"more": deep(levels)}}
    assert opened(content) is None
    text = json.dumps(GOOD[name] | {"metadata": "HERE"}).replace('"HERE"', "[" * levels + "]" * levels)
    (tmp_path / "ws.json").write_text(text)
    assert opened(tmp_path / "ws.json") is None
    assert opened(GOOD[name], [[{"op": "add", "path": "/metadata", "value": deep(levels)}]]) is None
    assert opened(GOOD[name], [deep(levels)]) is None


def test_a_content_within_itself():
    content = dict(GOOD["onoff"])
    content["channels"] = [content]
    assert opened(content) is None


def test_copies_of_copies_do_not_fill_the_memory():
    """Forty operations would make 2⁴⁰ copies."""
    doubling = [{"op": "copy", "from": "", "path": f"/x{number}"} for number in range(40)]
    with pytest.raises(toymill.ToymillError, match=f"more than {MOST_COPIED} values|levels deep"):
        read_specification(GOOD["hww"], patches=[doubling])
    rows = [{"op": "add", "path": "/x", "value": [0] * 1000}]
    rows += [{"op": "copy", "from": "/x", "path": f"/x/{number}"} for number in range(40)]
    with pytest.raises(toymill.ToymillError, match=f"more than {MOST_COPIED} values|levels deep"):
        read_specification(GOOD["hww"], patches=[rows])


NOT_JSON = [{1, 2}, b"x", 10**400, 16**5000, object(), {1: 2}, {("a",): 1}, 1j, "\ud800", "\x00"]


@pytest.mark.parametrize("value", NOT_JSON, ids=itertools.count())
def test_what_json_has_not(value):
    assert opened(GOOD["root-6.40-gauss-gauss"] | {"metadata": {"more": value}}) is None


@pytest.mark.parametrize("name", NAMES, ids=itertools.count())
def test_names(name):
    """A channel, a sample, a modifier and the POI of any name: taken as it stands, or refused."""
    text = json.dumps(GOOD["onoff"]).replace('"mu"', json.dumps(name))
    found = opened(json.loads(text))
    wrong = not name or len(name) > 500 or "\x00" in name or "\ud800" in name
    assert (found is None) == wrong
    if found is not None:
        assert name in found.parameters.names


@pytest.mark.parametrize("value", [*NUMBERS, *OTHERS, *NAMES], ids=itertools.count())
def test_arguments(value):
    for option in ("measurement", "poi", "modifier_settings", "prune", "rename", "patches"):
        try:
            read_specification(GOOD["onoff"], **{option: value})
        except toymill.ToymillError as error:
            refused(error)
    if isinstance(value, str):
        with pytest.raises(toymill.ToymillError):
            read_specification(value)
        with pytest.raises(toymill.ToymillError):
            load_model(value)


def test_digits_beyond_what_python_reads(tmp_path):
    (tmp_path / "ws.json").write_text(
        json.dumps(GOOD["onoff"]).replace("1.0", "9" * (sys.get_int_max_str_digits() + 1), 1)
    )
    assert opened(tmp_path / "ws.json") is None
