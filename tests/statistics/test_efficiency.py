"""Estimators of models in Python reach the Cramér-Rao bound where events are many."""

import numpy as np

import toymill
from toymill.inference.information import cramer_rao, expected_information
from toymill.models import extended


def test_extended_fit_of_a_large_sample_is_efficient():
    """With many events the covariance of the toys is the bound, within its error."""
    big = extended.build(signal=400.0, background=2000.0)
    data = toymill.throw(big, big.parameters.init, 1500, seed=4)
    fits = toymill.fit(big, data, covariance=False)
    assert fits.ok.all()
    bound = np.diag(cramer_rao(expected_information(big, big.parameters.init).matrix, big.parameters.fixed))
    variance = fits.parameters[:, :3].var(axis=0, ddof=1)
    np.testing.assert_allclose(variance / bound, 1, atol=4 * np.sqrt(2 / 1500))
