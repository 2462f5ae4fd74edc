"""The terms of the derivatives of expectations: which there are, and where they stand."""

import numpy as np

from toymill.histfactory.templates import hist_cells, norm_cells


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
        lengths |= {cell.shape[1] for cell, _, _, _ in found["hist_terms"]}
        moved = linear + even * slope[:, None, None]
        for terms, sums, expected in (
            ("hist_terms", "hist_sum", np.einsum("sb,hsb->hb", cells, moved)),
            ("hist_slopes", "hist_slope_sum", np.einsum("sb,hsb->h", cells, moved)),
        ):
            parts = [
                (cells.ravel()[cell] * (up + bowed * slope[row][:, None])).sum(axis=1)
                for cell, up, bowed, row in found[terms]
            ]
            np.testing.assert_allclose(summed(parts, found[sums]), expected, atol=1e-12)
        alpha = rng.normal(size=size)
        parts = [(up * alpha[row] + bowed * slope[row]).sum(axis=1) for row, up, bowed, _ in found["hist_yields"]]
        expected = np.einsum("h,hsb->sb", alpha, linear) + np.einsum("h,hsb->sb", slope, even)
        np.testing.assert_allclose(summed(parts, found["hist_yield_sum"]), expected, atol=1e-12)
        rates = rng.normal(size=(size, samples, channels)) * (rng.random((size, samples, channels)) < rng.random())
        found = norm_cells(rates != 0, bin_channel)
        known = np.append(rates.ravel()[found["norm_cell"]], 0.0)
        parts = [(known[factor] * cells.ravel()[cell]).sum(axis=1) for factor, cell in found["norm_terms"]]
        expected = np.einsum("nsb,sb->nb", rates[:, :, bin_channel], cells)
        np.testing.assert_allclose(summed(parts, found["norm_sum"]), expected, atol=1e-12)
        by_channel = rng.normal(size=(samples, channels))
        parts = [(known[factor] * by_channel.ravel()[cell]).sum(axis=1) for factor, cell in found["norm_slopes"]]
        expected = np.einsum("nsc,sc->n", rates, by_channel)
        np.testing.assert_allclose(summed(parts, found["norm_slope_sum"]), expected, atol=1e-12)
        factors = np.append(known[:-1], 1.0)
        parts = [np.prod(factors[factor], axis=1) for factor in found["norm_products"]]
        products = np.concatenate([*parts, [1.0]])[found["norm_product"]]
        np.testing.assert_allclose(products, np.prod(np.where(rates != 0, rates, 1.0), axis=0), atol=1e-12)
    assert lengths >= {1, 2, 4}
