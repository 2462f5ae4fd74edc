"""Matrices with a part of small blocks and their inverses, against NumPy's of the dense matrices."""

import jax
import numpy as np
import pytest

from toymill.arrow import Arrow, dense, inverse
from toymill.histfactory.compiler import own_blocks

TOYS = 16


def matrices(several, single, bins, idle, seed=0):
    """Positive-definite matrices in which own rows meet only in their bin; dense, toys last, and as ``Arrow``."""
    random = np.random.default_rng(seed)
    single_bin = random.integers(bins, size=single)
    rows = own_blocks(single_bin, bins, single + idle)
    size = several + single + idle
    bin_of = np.concatenate([single_bin, -1 - np.arange(idle)]).astype(int)
    half = random.normal(size=(size, bins + 3, TOYS))
    half[several:] = np.where(bin_of[:, None, None] == np.arange(bins + 3)[None, :, None], half[several:], 0.0)
    every = np.einsum("pbt,qbt->pqt", half, half) + np.eye(size)[..., None] * random.uniform(0.5, 2, (size, 1, TOYS))
    own, border = every[several:, several:], every[:several, several:]
    padded = np.pad(own, ((0, 1), (0, 1), (0, 0)))
    blocks = (
        padded[rows[:, None], rows[None]] + np.eye(len(rows))[:, :, None, None] * (rows == single + idle)[..., None]
    )
    return every, Arrow(every[:several, :several], border, blocks, rows)


@pytest.mark.parametrize(
    ("several", "single", "bins", "idle"),
    [
        pytest.param(5, 0, 3, 0, id="several only, written out"),
        pytest.param(30, 0, 3, 0, id="several only, by LAPACK"),
        pytest.param(70, 0, 3, 0, id="several only, by LAPACK in blocks"),
        pytest.param(5, 20, 20, 0, id="about one a bin"),
        pytest.param(9, 24, 4, 2, id="several a bin"),
        pytest.param(20, 90, 70, 3, id="many bins, by LAPACK"),
        pytest.param(0, 10, 6, 1, id="own only"),
        pytest.param(1, 0, 2, 3, id="some that do nothing"),
    ],
)
def test_inverses_are_numpys(several, single, bins, idle):
    every, arrow = matrices(several, single, bins, idle)
    size = len(every)
    np.testing.assert_allclose(dense(arrow), every, rtol=1e-14)
    random = np.random.default_rng(1)
    gradient, free = random.normal(size=(size, TOYS)), random.uniform(size=(size, TOYS)) > 0.1
    for along in {0, size - 1}:
        found = jax.jit(inverse, static_argnames="full")(arrow, gradient, free, along, full=True)
        for t in range(TOYS):
            where = np.flatnonzero(free[:, t])
            expected = np.zeros((size, size))
            expected[np.ix_(where, where)] = np.linalg.inv(every[..., t][np.ix_(where, where)])
            np.testing.assert_allclose(found.covariance[t], expected, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(found.variances[:, t], np.diag(expected), rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(found.column[:, t], expected[:, along], rtol=1e-9, atol=1e-12)
            right = np.where(free[:, t], gradient[:, t], 0.0)
            np.testing.assert_allclose(found.newton[:, t], expected @ right, rtol=1e-9, atol=1e-12)
        assert found.positive.all()
        alone = inverse(arrow, gradient, free, along, False, full=False)
        np.testing.assert_allclose(alone.newton, found.newton, rtol=1e-9, atol=1e-12)
        assert alone.positive.all()


@pytest.mark.parametrize("errors", [True, False])
@pytest.mark.parametrize("shape", [(5, 0, 0), (20, 0, 0), (69, 0, 0), (4, 20, 10), (0, 12, 5), (40, 30, 30)])
def test_a_matrix_that_is_not_positive_is_told(shape, errors):
    """Also in a large array, where XLA's largest number is not NaN though one of them is; and of two rows alike."""
    several, single, bins = shape
    every, arrow = matrices(several, single, max(bins, 1), 0)
    changed = [np.array(part) for part in arrow]
    if several:
        changed[0][1, 0, 2] = changed[0][0, 1, 2] = 100.0
        changed[0][1, 1, 3] = np.nan
        changed[0][1, :, 4] = changed[0][0, :, 4]
        changed[0][:, 1, 4] = changed[0][:, 0, 4]
        changed[1][1, :, 4] = changed[1][0, :, 4]
    if single:
        changed[2][0, 0, 0, 5] *= -1 if arrow.rows[0, 0] < single else 1
    free = np.ones((len(every), TOYS), dtype=bool)
    found = inverse(Arrow(*changed), np.ones((len(every), TOYS)), free, 0, errors, full=False)
    wrong = [t for t in range(TOYS) if not positive(np.asarray(dense(Arrow(*changed)))[..., t])]
    assert list(np.flatnonzero(~np.asarray(found.positive))) == wrong
    assert wrong


def positive(matrix):
    return np.all(np.isfinite(matrix)) and np.all(np.linalg.eigvalsh(matrix) > 1e-11)
