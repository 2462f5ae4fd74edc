"""The terms of the derivatives of expectations: which there are, and where they stand."""

import numpy as np

from toymill.histfactory.terms import scale_terms, shift_terms


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
        found = shift_terms((linear != 0) | (even != 0), linear, even)
        lengths |= {group.entry.shape[1] for group in found.jacobian.groups}
        moved = linear + even * slope[:, None, None]
        for sums, expected in (
            (found.jacobian, np.einsum("sb,hsb->hb", cells, moved)),
            (found.gradient, np.einsum("sb,hsb->h", cells, moved)),
        ):
            parts = [
                (cells.ravel()[entry] * (up + bowed * slope[row][:, None])).sum(axis=1)
                for entry, up, bowed, row in sums.groups
            ]
            np.testing.assert_allclose(summed(parts, sums.position), expected, atol=1e-12)
        alpha = rng.normal(size=size)
        parts = [(up * alpha[entry] + bowed * slope[entry]).sum(axis=1) for entry, up, bowed, _ in found.yields.groups]
        expected = np.einsum("h,hsb->sb", alpha, linear) + np.einsum("h,hsb->sb", slope, even)
        np.testing.assert_allclose(summed(parts, found.yields.position), expected, atol=1e-12)
        rates = rng.normal(size=(size, samples, channels)) * (rng.random((size, samples, channels)) < rng.random())
        found = scale_terms(rates != 0, bin_channel)
        known = np.append(rates.ravel()[found.cell], 0.0)
        by_channel = rng.normal(size=(samples, channels))
        for sums, weights, expected in (
            (found.jacobian, cells, np.einsum("nsb,sb->nb", rates[:, :, bin_channel], cells)),
            (found.gradient, by_channel, np.einsum("nsc,sc->n", rates, by_channel)),
        ):
            parts = [(known[factor] * weights.ravel()[cell]).sum(axis=1) for factor, cell in sums.groups]
            np.testing.assert_allclose(summed(parts, sums.position), expected, atol=1e-12)
        factors = np.append(known[:-1], 1.0)
        parts = [np.prod(factors[factor], axis=1) for factor in found.products.groups]
        products = np.concatenate([*parts, [1.0]])[found.products.position]
        np.testing.assert_allclose(products, np.prod(np.where(rates != 0, rates, 1.0), axis=0), atol=1e-12)
    assert lengths >= {1, 2, 4}
