"""What each datum does to an estimate: over toys, and to first order from one fit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from toymill.errors import ToymillError
from toymill.models.base import Model

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, PyTree
    from numpy.typing import ArrayLike

    from toymill.fitting.results import Fits

_TOYS_PER_DATUM = 4  # at least, for a regression on the data
_CONSTANT = 1e-9  # relative spread below which a datum is taken not to fluctuate


class GlobalImpacts(NamedTuple):
    """The change of an estimate for a change of each datum by its standard deviation, and the variance of the estimate.

    Attributes:
        of: name of the parameter that is estimated.
        data: index of each datum whose impact is known, (k,): the auxiliary data, and the main ones or none of them.
        impacts: ∂μ̂/∂d σ(d) of each, (k,); 0 where the datum does not fluctuate.
        covariance: their Monte Carlo covariance, (k, k); None for impacts that are not from toys.
        variance: the variance of the estimate.
        variance_error: its Monte Carlo error; 0 for impacts that are not from toys.
        rest: the part of the variance that is not linear in the data whose impacts are known.
        rest_error: its Monte Carlo error; 0 for impacts that are not from toys.
        toys: number of toys, 0 for impacts that are not from toys.
        failed: number of toys without a certified fit, which are left out.
    """

    of: str
    data: Int[np.ndarray, " known"]
    impacts: Float[np.ndarray, " known"]
    covariance: Float[np.ndarray, "known known"] | None
    variance: float
    variance_error: float
    rest: float
    rest_error: float
    toys: int
    failed: int


def toys_needed(model: Model) -> int:
    """Certified toys that the impacts of a model's auxiliary data need at least."""
    return _TOYS_PER_DATUM * (int(np.count_nonzero(model.sampling.auxiliary)) + 1)


def from_toys(
    model: Model,
    truth: ArrayLike,
    fits: Fits,
    data: Float[np.ndarray, "toy datum"],
    *,
    of: str | None = None,
) -> GlobalImpacts:
    """Global impacts Cov(μ̂, d)/σ(d) over toys (Pinto et al., arXiv:2307.04007), by linear regression of μ̂ on the data.

    The data of a toy are independent, so that Cov(μ̂, d)/Var(d) is the coefficient of d in the regression of μ̂ on all data.
    The regression is the better estimate: its errors come from the residuals alone, not from the chance correlations of
    the data. They are White's (Econometrica 48 (1980) 817), times n/(n - k - 1) for k data. σ(d) is that at the truth.

    With fewer toys than four times the data, and for a model that states a density, the regression is on the auxiliary
    data alone. What the main data do is then in the rest.

    Args:
        model: the model.
        truth: the truth point of the toys, shape (P,).
        fits: free fits of frequentist toys.
        data: their main and auxiliary data, shape (n, D).
        of: name of the parameter that is estimated; the parameter of interest if None.

    Raises:
        ToymillError: data of another shape or number, an unknown parameter or one that the fits hold, too few toys.
    """
    index, point = _index(model, fits, of), np.asarray(truth, dtype=np.float64)
    if point.shape != (len(model.parameters),):
        msg = f"truth has shape {point.shape}; expected ({len(model.parameters)},), the truth point of the toys."
        raise ToymillError(msg)
    if data.shape != (len(fits.nll), len(model.data_names)):
        msg = f"data has shape {data.shape}; expected ({len(fits.nll)}, {len(model.data_names)}), the data of each fit."
        raise ToymillError(msg)
    estimates, toys = fits.parameters[fits.ok, index], data[fits.ok]
    n, auxiliary = len(estimates), np.flatnonzero(model.sampling.auxiliary)
    least = toys_needed(model)
    if n < least:
        msg = f"There are {n} certified toys; impacts of {len(auxiliary)} auxiliary data need {least}."
        raise ToymillError(msg)
    counts = model.kernel.rates is not None and n >= _TOYS_PER_DATUM * (data.shape[1] + 1)
    known = np.arange(data.shape[1]) if counts else auxiliary
    toys, sigma = toys[:, known], _sigma(model, point, known)
    moving = np.flatnonzero((sigma > 0) & (np.std(toys, axis=0) > _CONSTANT * np.abs(np.mean(toys, axis=0))))
    residuals, slopes, scores = _regression(estimates, toys[:, moving] / sigma[moving])
    freedom = n - len(moving) - 1
    impacts, covariance = np.zeros(len(known)), np.zeros((len(known), len(known)))
    impacts[moving] = slopes
    covariance[np.ix_(moving, moving)] = scores.T @ scores * (n / freedom)
    squares = residuals**2
    centred = (estimates - estimates.mean()) ** 2
    return GlobalImpacts(
        of=model.parameters.names[index],
        data=known,
        impacts=impacts,
        covariance=covariance,
        variance=float(np.sum(centred) / (n - 1)),
        variance_error=float(np.std(centred) / np.sqrt(n)),
        rest=float(np.sum(squares) / freedom),
        rest_error=float(np.std(squares) * np.sqrt(n) / freedom),
        toys=n,
        failed=len(fits.nll) - n,
    )


def _regression(
    y: Float[np.ndarray, " toy"], x: Float[np.ndarray, "toy regressor"]
) -> tuple[Float[np.ndarray, " toy"], Float[np.ndarray, " regressor"], Float[np.ndarray, "toy regressor"]]:
    """Residuals, coefficients, and what each toy moves the coefficients by."""
    x, y = x - x.mean(axis=0), y - y.mean()
    inverse = np.linalg.pinv(x.T @ x, hermitian=True)  # rare counts may have been seen in the same toys only
    slopes = inverse @ (x.T @ y)
    residuals = y - x @ slopes
    return residuals, slopes, (x * residuals[:, None]) @ inverse


def from_fit(model: Model, fits: Fits, *, of: str | None = None) -> GlobalImpacts:
    """Global impacts to first order at one fit: ∂μ̂/∂d σ(d), with ∂θ̂/∂d = -H⁻¹ ∂²nll/∂θ∂d (implicit function theorem).

    For a count, ∂²nll/∂θ∂n = -(∂ν/∂θ)/ν and σ(n) = √ν; for a normal auxiliary datum, -1/σ² and σ; for a Poisson one of
    expectation τθ, -1/θ and √(τθ). Parameters at a bound or a kink stay there. The variance is that of H⁻¹; the rest is
    what the observed information differs from the expected one, and for a model that states a density the main data's part.

    Args:
        model: the model.
        fits: the fit of one dataset, with its covariance, or with its column ``along`` the parameter.
        of: name of the parameter that is estimated; the parameter of interest if None.

    Raises:
        ToymillError: more than one fit, one without a covariance or not certified, an unknown parameter, one that is held.

    Example:
        >>> import jax, toymill
        >>> jax.config.update("jax_enable_x64", True)
        >>> model = toymill.read_workspace("tests/data/onoff.json")
        >>> found = from_fit(model, toymill.fit(model, model.observed))  # μ̂ = (n_on - n_off) / 50, of 150 and 100
        >>> found.impacts.round(4).tolist()
        [-0.2, 0.2449]
    """
    index = _index(model, fits, of)
    column = one_column(fits, index)
    sampling, point = model.sampling, fits.parameters[0]
    known = np.flatnonzero(sampling.auxiliary)
    slopes = sampling.scale[known] * column[sampling.parameter[known]]
    if model.kernel.rates is not None:
        main = np.asarray(_along(model.kernel.rates, model.arrays, point[:, None], column[:, None]))
        known, slopes = np.concatenate([np.arange(len(main)), known]), np.concatenate([main, slopes])
    sigma = _sigma(model, point, known)
    impacts = np.divide(slopes, sigma, out=np.zeros(len(known)), where=sigma > 0)
    variance = float(column[index])
    return GlobalImpacts(
        of=model.parameters.names[index],
        data=known,
        impacts=impacts,
        covariance=None,
        variance=variance,
        variance_error=0.0,
        rest=variance - float(np.sum(impacts**2)),
        rest_error=0.0,
        toys=0,
        failed=0,
    )


@partial(jax.jit, static_argnames=("rates",))
def _along(
    rates: Callable[..., Array], arrays: PyTree, x: Float[Array, "parameter 1"], direction: Float[Array, "parameter 1"]
) -> Float[Array, " bin"]:
    """The derivative of the expected counts along a direction."""
    slope: Array = jax.jvp(lambda point: rates(arrays, point)[:, 0], (x,), (direction,))[1]
    return slope


def one_column(fits: Fits, index: int) -> Float[np.ndarray, " parameter"]:
    """The covariance of all parameters with one, of the only fit, (P,); 0 for those that are held.

    Raises:
        ToymillError: more than one fit, one without a covariance or not certified, or one that holds the parameter.
    """
    name = fits.names[index]
    if len(fits.nll) != 1:
        msg = f"There are {len(fits.nll)} fits; expected one, that of the observed data."
        raise ToymillError(msg)
    if not fits.ok[0]:
        msg = "The fit is not certified, so it has no impacts."
        raise ToymillError(msg)
    if fits.covariance is None and fits.column is None:
        msg = f"The fit has no covariance; fit with covariance=True, or along={name!r}."
        raise ToymillError(msg)
    column = fits.column if fits.covariance is None else fits.covariance[:, :, index]
    assert column is not None
    if not column[0, index] > 0:
        msg = f"The fit has no error of {name}: it is held, or at a bound."
        raise ToymillError(msg)
    found: np.ndarray = column[0]
    return found


def _sigma(
    model: Model, point: Float[np.ndarray, " parameter"], which: Int[np.ndarray, " known"]
) -> Float[np.ndarray, " known"]:
    """The standard deviations of some data at a point: √expectation of counts."""
    sampling = model.sampling
    expected = sampling.scale[which] * point[sampling.parameter[which]]
    main = ~sampling.auxiliary[which]
    if main.any():
        expected[main] = np.asarray(model.expected_data(point))[which[main]]
    sigma: np.ndarray = np.where(sampling.poisson[which], np.sqrt(np.maximum(expected, 0.0)), sampling.sigma[which])
    return sigma


def _index(model: Model, fits: Fits, of: str | None) -> int:
    """Position of the estimated parameter; ToymillError for one that the fits hold."""
    index = model.poi_index if of is None else model.parameters.index(of)
    name = model.parameters.names[index]
    if name in fits.fixed or model.parameters.fixed[index]:
        msg = f"The fits hold {name}, so that no datum moves it. Make free fits, of a model that leaves it free."
        raise ToymillError(msg)
    return index
