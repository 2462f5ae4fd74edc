"""What ``summary.json`` begins with: the result of a study on one screen. Needs no JAX."""

from __future__ import annotations

from toymill.record import Record


class TestedVerdict(Record):
    """The verdict on the asymptotic distribution of t_μ, of one ensemble at one tested value."""

    __test__ = False  # it is no test of pytest's

    ensemble: str
    """The ensemble."""
    poi: float
    """The tested value of the parameter of interest."""
    agrees: bool | None
    """Whether the asymptotic distribution agrees with the toys at 95 %; null where they cannot tell."""
    sentence: str
    """The verdict in words."""


class Headline(Record):
    """The result of a study in words and a few numbers."""

    model: list[str]
    """The files that state the model; of a model of the package, its kind."""
    data: str
    """Which data are observed."""
    toys: int
    """Number of toys, of all ensembles."""
    certified: int
    """Number of them that are certified."""
    failed: int
    """Number of the others."""
    answers: list[str]
    """The answers to the sections of the configuration, and whether fits have negative yields, in sentences."""
    verdicts: list[TestedVerdict]
    """Whether the asymptotic distribution may be trusted, by stated ensemble and tested value."""


class ComparisonHeadline(Record):
    """The result of a study of kind optimisers in words and a few numbers."""

    model: list[str]
    """The files that state the model; of a model of the package, its kind."""
    toys: int
    """Number of toys, of all ensembles; every optimiser fits each."""
    optimisers: list[str]
    """The optimisers."""
    answers: list[str]
    """What each ensemble's toys tell of them, in sentences."""
