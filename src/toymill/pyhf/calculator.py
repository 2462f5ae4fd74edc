"""pyhf's ``ToyCalculator`` and ``EmpiricalDistribution``, whose toys are thrown, fitted and certified by toymill."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import scipy

from toymill.errors import ToymillError, ToymillWarning, nearest
from toymill.fitting.fit import fit
from toymill.fitting.results import Fits
from toymill.fitting.status import Status
from toymill.inference.p_values import tie_tolerance
from toymill.inference.testing import test
from toymill.pyhf.installed import pyhf, tensorlib
from toymill.pyhf.model import as_numbers, model_of
from toymill.toys import throw

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy.typing import ArrayLike

_STATISTICS = ("qtilde", "q", "q0")


class EmpiricalDistribution:
    """The distribution of a test statistic, sampled by toys: ``pyhf.infer.calculators.EmpiricalDistribution``.

    Args:
        samples: the test statistic of each toy, shape (n,); NaN for toys whose fits are not certified.
        tolerance: toys with q ≥ value - tolerance count as beyond a value; see ``inference.p_values.tie_tolerance``.

    Attributes:
        samples: the test statistic of the certified toys, a tensor of pyhf's backend.
        statistic: that of all toys as a NumPy array, NaN where it is not certified.
        failed: the number of toys that are not certified.
        tolerance: as given.

    Raises:
        ToymillError: no certified toys.
    """

    def __init__(self, samples: ArrayLike, tolerance: float = 0.0) -> None:
        self.statistic = np.asarray(samples, dtype=float).ravel()
        known = self.statistic[~np.isnan(self.statistic)]
        if not len(known):
            msg = f"None of {len(self.statistic)} toys has a certified fit, so that they have no distribution."
            raise ToymillError(msg)
        self.samples = tensorlib().astensor(known)
        self.failed = len(self.statistic) - len(known)
        self.tolerance = tolerance

    def __repr__(self) -> str:
        return f"<EmpiricalDistribution of {len(self.statistic)} toys, {self.failed} failed>"

    def pvalue(self, value: Any) -> Any:
        """The fraction of the certified toys with q ≥ value, a tensor of shape ()."""
        beyond = np.asarray(self.samples) >= float(np.asarray(value)) - self.tolerance
        return tensorlib().astensor(np.count_nonzero(beyond) / len(beyond))

    def expected_value(self, nsigma: Any) -> Any:
        """The percentile of the samples at Φ(nsigma), interpolated linearly; of a number, or of each of a tensor."""
        q = np.quantile(np.asarray(self.samples), scipy.stats.norm.cdf(np.asarray(nsigma)))
        return tensorlib().astensor(q)[()]


class ToyCalculator:
    """The calculator of toys: ``pyhf.infer.calculators.ToyCalculator``.

    Each hypothesis' toys are thrown at its conditional fit to the data, auxiliary data included. Unlike pyhf's they
    depend on ``seed`` alone, and those of all tested values are thrown from the same random numbers, so that p-values
    change smoothly with the tested value.

    Args:
        data: main and auxiliary data, shape (D,).
        pdf: the ``pyhf.Model``.
        init_pars: initial values, shape (P,); where a fixed parameter stays.
        par_bounds: lower and upper bounds, shape (P, 2).
        fixed_params: True for what no fit frees, shape (P,).
        test_stat: ``qtilde``, ``q`` or ``q0``. As in pyhf the bounds of the POI tell q̃ from q.
        ntoys: toys of each hypothesis.
        track_progress: taken, as pyhf's argument is, and without effect: no progress is shown.
        seed: of the toys, a non-negative integer.

    Raises:
        pyhf.exceptions.UnspecifiedPOI, pyhf.exceptions.InvalidModel: a POI that is absent or fixed.
        pyhf.exceptions.InvalidTestStatistic: another ``test_stat``.
        ToymillError: a model, data or a setting that cannot be used.

    Warns:
        ToymillWarning: ``qtilde`` of a POI that may be negative, ``q`` of one that may not.

    Example:
        >>> import pyhf
        >>> from toymill.pyhf import ToyCalculator
        >>> model = pyhf.simplemodels.uncorrelated_background([12.0, 11.0], [50.0, 52.0], [3.0, 7.0])
        >>> calculator = ToyCalculator([51, 48, *model.config.auxdata], model, ntoys=1000)
        >>> signal, background = calculator.distributions(1.0)
        >>> q = calculator.teststatistic(1.0)
        >>> bool(signal.pvalue(q) < 0.1 < background.pvalue(q))
        True
    """

    def __init__(
        self,
        data: ArrayLike,
        pdf: Any,
        init_pars: ArrayLike | None = None,
        par_bounds: ArrayLike | None = None,
        fixed_params: ArrayLike | None = None,
        test_stat: str = "qtilde",
        ntoys: int = 2000,
        track_progress: bool = True,
        *,
        seed: int = 0,
    ) -> None:
        if test_stat not in _STATISTICS:
            msg = f"test_stat is {test_stat!r}. {nearest(test_stat, _STATISTICS)}"
            raise pyhf.exceptions.InvalidTestStatistic(msg)
        self.data, self.pdf, self.test_stat = data, pdf, test_stat
        self.ntoys, self.seed, self.track_progress = ntoys, seed, track_progress
        self._observed = as_numbers("data", data)
        with jax.enable_x64(True):
            self.model = model_of(pdf, self._observed, init_pars, par_bounds, fixed_params)
        self._poi = str(self.model.poi)
        parameters = self.model.parameters
        self.init_pars, self.fixed_params = parameters.init.tolist(), parameters.fixed.tolist()
        self.par_bounds = [tuple(item) for item in parameters.bounds.tolist()]
        _tell_of_bound(test_stat, self._poi, float(parameters.bounds[self.model.poi_index, 0]))

    def __repr__(self) -> str:
        return f"<ToyCalculator of {self.test_stat}: {self.ntoys} toys of each hypothesis, seed {self.seed}>"

    def teststatistic(self, poi_test: Any) -> Any:
        """The test statistic of the data, a tensor of shape ().

        Raises:
            ToymillError: a tested value outside of the POI's bounds, a fit of the data that is not certified.
        """
        with jax.enable_x64(True):
            found, _ = self._statistic(self._observed, self._number(poi_test))
        return tensorlib().astensor(float(found[0]))

    def distributions(
        self,
        poi_test: Any,
        track_progress: bool | None = None,  # noqa: ARG002  (pyhf's)
    ) -> tuple[EmpiricalDistribution, EmpiricalDistribution]:
        """The test statistic of toys at ``poi_test``, and of toys at 0, or at 1 for ``q0``.

        Raises:
            ToymillError: a tested value outside of the POI's bounds, a fit of the data that is not certified, a number of
                toys or a seed that cannot be, no certified toys.

        Warns:
            ToymillWarning: toys that are not certified, with their number. They are left out.
        """
        value = self._number(poi_test)
        other = 1.0 if self.test_stat == "q0" else 0.0
        return self._sampled("signal-like", value, value), self._sampled("background-like", other, value)

    def pvalues(
        self,
        teststat: Any,
        sig_plus_bkg_distribution: EmpiricalDistribution,
        bkg_only_distribution: EmpiricalDistribution,
    ) -> tuple[Any, Any, Any]:
        """CL_{s+b}, CL_b and CLs of a value of the test statistic, tensors of shape (); CLs is NaN or infinite where CL_b is 0."""
        clsb, clb = (item.pvalue(teststat) for item in (sig_plus_bkg_distribution, bkg_only_distribution))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.float64(clsb) / np.float64(clb)
        return clsb, clb, tensorlib().astensor(ratio)

    def expected_pvalues(
        self, sig_plus_bkg_distribution: EmpiricalDistribution, bkg_only_distribution: EmpiricalDistribution
    ) -> list[list[Any]]:
        """CL_{s+b}, CL_b and CLs at the percentiles Φ(2), Φ(1), ½, Φ(-1), Φ(-2) of the background-like toys, 3 × 5."""
        found = [
            self.pvalues(bkg_only_distribution.expected_value(nsigma), sig_plus_bkg_distribution, bkg_only_distribution)
            for nsigma in (2, 1, 0, -1, -2)
        ]
        return [list(item) for item in zip(*found, strict=True)]

    def _number(self, poi_test: Any) -> float:
        found = as_numbers("poi_test", poi_test)
        if found.size != 1:
            msg = f"poi_test is {poi_test!r}; expected one number."
            raise ToymillError(msg)
        return float(found.item())

    def _sampled(self, name: str, thrown_at: float, tested: float) -> EmpiricalDistribution:
        """The distribution of the test statistic of one hypothesis."""
        with jax.enable_x64(True):
            truth = fit(self.model, self._observed, {self._poi: thrown_at}, covariance=False)
            _require_certified(truth, f"{self._poi} = {thrown_at:g}")
            toys = throw(self.model, truth.parameters[0], self.ntoys, self.seed, stream=name)
            found, tolerance = self._statistic(toys, tested)
        distribution = EmpiricalDistribution(found, tolerance)
        if distribution.failed:
            text = (
                f"{distribution.failed} of {len(found)} {name} toys, thrown at {self._poi} = {thrown_at:g}, have no "
                "certified fit. They are left out; hypotest(…, return_errors=True) has the p-values if they all lay on "
                "either side."
            )
            warnings.warn(text, ToymillWarning, stacklevel=3)
        return distribution

    def _statistic(
        self, data: Float[np.ndarray, "*toy datum"], tested: float
    ) -> tuple[Float[np.ndarray, " toy"], float]:
        """The statistic of each dataset, NaN where it is not certified, and within how much values are ties."""
        if self.test_stat == "q0" and tested != 0:
            text = f"q0 tests the value 0 of {self._poi}, and poi_test is {tested:g}: as in pyhf that is where toys are thrown."
            warnings.warn(text, ToymillWarning, stacklevel=4)
            tested = 0.0
        ratios = test(self.model, data, {self._poi: tested})
        if data.ndim == 1:
            _require_certified(ratios.free, "the free fit")
            _require_certified(ratios.conditional, f"{self._poi} = {tested:g}")
        found = ratios.q_0 if self.test_stat == "q0" else ratios.q_mu  # bounds make q̃ of it
        return found, tie_tolerance(np.nan_to_num(ratios.free.nll))


def _require_certified(fits: Fits, at: str) -> None:
    if not fits.ok[0]:
        status = Status(int(fits.status[0]))
        msg = f"The fit of the data, {at}, is not certified ({status.name.lower()}). {status.advice}"
        raise ToymillError(msg)


def _tell_of_bound(test_stat: str, poi: str, low: float) -> None:
    """Warn where the name of the statistic and the bound of the POI say different things, as pyhf does in its log."""
    told = {
        "qtilde": (low != 0, "which makes it q. Say test_stat='q', or bound the POI at 0 in par_bounds"),
        "q": (low == 0, "which makes it qtilde. Say test_stat='qtilde', or free the POI below 0 in par_bounds"),
    }
    differs, text = told.get(test_stat, (False, ""))
    if differs:
        warnings.warn(
            f"test_stat is {test_stat!r} and {poi} is bounded at {low:g}, {text}.", ToymillWarning, stacklevel=3
        )
