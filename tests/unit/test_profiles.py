"""The approximate profile of the nll: its matrix, in the smaller of two spaces; test_kinks.py tests the profiles."""

import jax.numpy as jnp
import numpy as np
import pytest

from toymill.histfactory.profiles import covariance_solver


@pytest.mark.parametrize(("parameters", "bins"), [(4, 9), (9, 4), (5, 5)])
def test_thecovariance_solver_in_either_space(parameters, bins):
    """(ν + Aᵀ A)⁻¹ times vectors, with fewer parameters than bins (Woodbury) and with more."""
    rng = np.random.default_rng(0)
    spread, rates = rng.normal(size=(parameters, bins, 3)), rng.uniform(1, 5, (bins, 3))
    rows = rng.normal(size=(3, bins, 6))
    found = np.asarray(covariance_solver(jnp.asarray(spread), jnp.asarray(rates))(jnp.asarray(rows)))
    for toy in range(3):
        covariance = np.diag(rates[:, toy]) + spread[:, :, toy].T @ spread[:, :, toy]
        np.testing.assert_allclose(found[toy], np.linalg.solve(covariance, rows[toy]), rtol=1e-9)
