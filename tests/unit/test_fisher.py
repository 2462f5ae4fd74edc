"""The steps of Fisher scoring in either space, against NumPy's dense systems of equations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from toymill.histfactory.compiler import own_blocks
from toymill.histfactory.fisher import Information, scoring_matrix

TOYS = 16


@pytest.mark.parametrize(
    ("size", "bins", "several", "unconstrained"),
    [
        pytest.param(7, 10, 4, 1, id="parameters, written out"),
        pytest.param(20, 30, 12, 2, id="parameters, by LAPACK"),
        pytest.param(12, 4, 12, 0, id="bins, written out, none unconstrained"),
        pytest.param(40, 20, 25, 2, id="bins, by LAPACK"),
        pytest.param(90, 10, 70, 1, id="bins, written out, of many parameters"),
        pytest.param(150, 40, 107, 3, id="bins, by matrix products"),
        pytest.param(20, 9, 0, 0, id="bins, each parameter in one"),
        pytest.param(40, 33, 0, 0, id="many bins, each parameter in one"),
        pytest.param(5, 1, 5, 1, id="one bin"),
        pytest.param(66, 70, 40, 1, id="more parameters than terms are written out"),
        pytest.param(75, 66, 3, 2, id="more bins than terms are written out"),
    ],
)
def test_steps_of_fisher_scoring_solve_their_equations(size, bins, several, unconstrained):
    random = np.random.default_rng(size)
    jacobian = random.normal(size=(size, bins, TOYS))
    for p in range(several, size):
        jacobian[p, np.arange(bins) != p % bins] = 0.0
    rates = random.uniform(1, 50, (bins, TOYS))
    diagonal = random.uniform(0.5, 2, (size, TOYS))
    chosen = random.choice(size, unconstrained, replace=False)
    diagonal[chosen] = 0.0
    own_bin = np.arange(several, size) % bins
    own = jacobian[np.arange(several, size), own_bin]
    blocks, loose = own_blocks(own_bin, bins, size - several), chosen[chosen < several]
    free = random.uniform(size=(size, TOYS)) > 0.15
    gradient = random.normal(size=(size, TOYS))

    @jax.jit
    def steps(jacobian, gradient):
        information = Information(jacobian, own, jnp.asarray(rates), jnp.asarray(diagonal), blocks, own_bin, loose)
        return scoring_matrix(information, jnp.asarray(free))(gradient)

    near = 1e-8 if len(loose) == unconstrained else 1e-5  # an own parameter without a constraint has a tiny one
    found = np.asarray(steps(jacobian[:several], gradient))
    for t in range(TOYS):
        where = np.flatnonzero(free[:, t])
        rows = jacobian[where, :, t]
        matrix = rows / rates[:, t] @ rows.T + np.diag(diagonal[where, t])
        np.testing.assert_allclose(found[where, t], np.linalg.solve(matrix, gradient[where, t]), rtol=near, atol=1e-10)
    assert np.all(found[~free] == 0)
