"""How a fit ended. Needs no JAX."""

from __future__ import annotations

import enum


class Status(enum.IntEnum):
    """How a fit ended; ``advice`` says what to make of each. ``CERTIFIED_STATUSES`` are minima.

    No status is 0: a fit that was never done, or that damage made zeros of, has none.
    """

    CERTIFIED = 1
    AT_BOUND = 2
    AT_KINK = 3
    NOT_CONVERGED = 4
    HESSIAN_NOT_POSITIVE = 5
    NOT_FINITE = 6
    AT_FLOOR = 7
    RESCUED = 8
    AT_ZERO = 9

    @property
    def advice(self) -> str:
        """One sentence: what this means, and what to do."""
        return _ADVICE[self]

    @property
    def severity(self) -> int:
        """Place among all statuses from the best to the worst: of a toy's fits, the most severe status is the toy's."""
        return _BY_SEVERITY.index(self)


_ADVICE = {
    Status.CERTIFIED: "A minimum: positive-definite exact Hessian, estimated distance below the tolerance.",
    Status.AT_BOUND: (
        "A minimum with at least one parameter held at a bound by its gradient, certified in the others; "
        "widen the bound if it is not physical."
    ),
    Status.NOT_CONVERGED: "No further step lowered the nll, or the limit of steps was reached, before certification.",
    Status.HESSIAN_NOT_POSITIVE: (
        "The search ended where the exact Hessian is not positive definite: a saddle, or a direction that "
        "the data do not constrain; fix or constrain that parameter."
    ),
    Status.NOT_FINITE: "The likelihood is not finite at the start of the fit: check the model at this point.",
    Status.AT_FLOOR: (
        "An expected count ended at or below zero, where the likelihood is not that of the model; tighten the "
        "bounds so that expectations stay positive."
    ),
    Status.AT_ZERO: (
        "A minimum at which the expectation of a bin without events is zero, certified along this constraint; tighten "
        "the bounds if an expectation of zero is not physical."
    ),
    Status.RESCUED: (
        "A minimum that iminuit or L-BFGS-B led to where no further step of our own lowered the nll; certified as the "
        "others are."
    ),
    Status.AT_KINK: (
        "A minimum with at least one parameter at 0, where its interpolation (code 0 or 1) has a kink and the nll rises "
        "to both sides, certified in the others; codes 4 and 4p have no kink."
    ),
}

CERTIFIED_STATUSES = (Status.CERTIFIED, Status.AT_BOUND, Status.AT_KINK, Status.RESCUED, Status.AT_ZERO)

_BY_SEVERITY = (
    *(Status.CERTIFIED, Status.RESCUED, Status.AT_BOUND, Status.AT_KINK, Status.AT_ZERO),
    *(Status.NOT_CONVERGED, Status.HESSIAN_NOT_POSITIVE, Status.NOT_FINITE, Status.AT_FLOOR),
)

CODES = max(Status) + 1
"""Length of an array that is indexed by status; at 0, which is none, it counts nothing."""
