"""The approximate profile of the nll: its matrix, in the smaller of two spaces. Its use is tested in test_kinks.py."""

import jax.numpy as jnp
import numpy as np
import pytest

from toymill.histfactory.profiles import _inverse


@pytest.mark.parametrize(("parameters", "bins"), [(4, 9), (9, 4), (5, 5)])
def test_the_inverse_in_either_space(parameters, bins):
    """(ν + Aᵀ A)⁻¹ times vectors, with fewer parameters than bins (Woodbury) and with more."""
    rng = np.random.default_rng(0)
    spread, rates = rng.normal(size=(parameters, bins, 3)), rng.uniform(1, 5, (bins, 3))
    rows = rng.normal(size=(3, bins, 6))
    found = np.asarray(_inverse(jnp.asarray(spread), jnp.asarray(rates))(jnp.asarray(rows)))
    for toy in range(3):
        kernel = np.diag(rates[:, toy]) + spread[:, :, toy].T @ spread[:, :, toy]
        np.testing.assert_allclose(found[toy], np.linalg.solve(kernel, rows[toy]), rtol=1e-9)
