"""The terms of the derivatives of expectations: which there are, and where they stand."""

import numpy as np

from toymill.models.templates import hist_cells, norm_cells


def summed(parts, sums):
    return np.concatenate([*parts, [0.0]])[sums]


def test_sparse_sums_are_the_dense_ones():
    """Of random models: few or many terms a sum, none at all, one channel or a channel a bin, no parameter."""
    rng = np.random.default_rng(0)
    lengths = set()
    for _ in range(500):
        size, samples, bins = rng.integers(0, 4), rng.integers(1, 8), rng.integers(1, 6)
        channels = int(rng.integers(1, bins + 1))
        bin_channel = np.sort(np.concatenate([np.arange(channels), rng.integers(0, channels, bins - channels)]))
        linear, even = rng.normal(size=(2, size, samples, bins)) * (rng.random((2, size, samples, bins)) < rng.random())
        cells, slope = rng.normal(size=(samples, bins)), rng.normal(size=size)
        found = hist_cells((linear != 0) | (even != 0), linear, even)
        lengths |= {cell.shape[1] for _, cell, _, _ in found["hist_terms"]}
        parts = [
            (cells.ravel()[cell] * (up + bowed * slope[row][:, None])).sum(axis=1)
            for row, cell, up, bowed in found["hist_terms"]
        ]
        expected = np.einsum("sb,hsb->hb", cells, linear + even * slope[:, None, None])
        np.testing.assert_allclose(summed(parts, found["hist_sum"]), expected, atol=1e-12)
        rates = rng.normal(size=(size, samples, channels)) * (rng.random((size, samples, channels)) < rng.random())
        found = norm_cells(rates != 0, bin_channel)
        known = np.append(rates.ravel()[found["norm_cell"]], 0.0)
        parts = [(known[factor] * cells.ravel()[cell]).sum(axis=1) for factor, cell in found["norm_terms"]]
        expected = np.einsum("nsb,sb->nb", rates[:, :, bin_channel], cells)
        np.testing.assert_allclose(summed(parts, found["norm_sum"]), expected, atol=1e-12)
    assert lengths >= {1, 2, 4}
