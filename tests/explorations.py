"""Made-up content of the page ``explore.html``, of any size and with any names, without a fit."""

from types import SimpleNamespace

import numpy as np

from toymill.results.tally import PULL_EDGES
from toymill.study.explored import Explored, ExploredEnsemble, ExploredToys


def made_up(names, ensembles=2, toys=400, keep="all", free=None, study="small", limit=None):
    """A study whose estimates are normal about truth 1, each parameter correlated by 0.5 with the first."""
    return Explored(
        summary=SimpleNamespace(study=study, poi=names[0], answers=limit and SimpleNamespace(limit=limit)),
        parameters=tuple(names),
        free=free or len(names),
        ensembles=[_ensemble(names, f"point{number}", toys, keep, number) for number in range(ensembles)],
    )


def made_up_limit():
    """CLs that falls with the tested value, to 0.05 at 1; at 1.5 it is counted as 0, and there are no weights.

    As expected it is twice as large for each σ; at 1.5 no toy with a signal reaches -2 σ. The formulae have a tenth less,
    and nothing at 0.5.
    """

    def counted(value):
        return SimpleNamespace(value=value, low=0.8 * value, high=1.2 * value)

    nothing = SimpleNamespace(value=None, low=None, high=None)
    points, asymptotic = [], []
    for poi, value, median in ((0.5, 0.4, 0.2), (1.0, 0.05, 0.04), (1.5, 0.0, 0.01)):
        quantiles = {sigma: min(median * 2 ** int(sigma), 1.0) for sigma in ("-2", "-1", "0", "1", "2")}
        expected = {
            key: nothing if (poi, key) == (1.5, "-2") else counted(quantile) for key, quantile in quantiles.items()
        }
        points.append(SimpleNamespace(poi=poi, weighted=None, observed=counted(value), expected=expected))
        lower = {sigma: 0.9 * quantile for sigma, quantile in quantiles.items()}
        asymptotic.append(None if poi == 0.5 else SimpleNamespace(observed=0.9 * value, expected=lower))
    expected = {sigma: SimpleNamespace(value=0.9 + 0.1 * float(sigma)) for sigma in ("-2", "-1", "0", "1", "2")}
    observed = SimpleNamespace(value=1.0, sentence="The observed limit is 1.")
    return SimpleNamespace(
        asymptotic_points=asymptotic,
        toys=SimpleNamespace(level=0.95, method="CLs", points=points, observed=observed, expected=expected),
    )


def _ensemble(names, name, toys, keep, seed):
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(1, toys))
    values = np.concatenate([common, 0.5 * common + np.sqrt(0.75) * rng.normal(size=(len(names) - 1, toys))])
    t = np.stack([values[0] ** 2, (values[0] + 1) ** 2])
    certified = np.ones(toys, dtype=bool)
    certified[[5, 7]] = False
    for array in (values, t):
        array[:, ~certified] = np.nan
    pulls = np.stack([np.histogram(row[certified], [-np.inf, *PULL_EDGES, np.inf])[0] for row in values])
    edges = np.linspace(0, 20, 51)
    tests = [
        SimpleNamespace(
            poi=poi,
            verdict=SimpleNamespace(sentence=f"A verdict at {poi}."),
            histogram=SimpleNamespace(
                edges=edges.tolist(),
                counts=np.histogram(row[certified], edges)[0].tolist(),
                underflow=0,
                overflow=int((row[certified] > 20).sum()),
                asymptotic=np.linspace(100, 1, 50).tolist() if poi else None,
            ),
        )
        for poi, row in zip((1.0, 0.0), t, strict=True)
    ]
    about = SimpleNamespace(
        truth=1.0, pull_mean=0.01, pull_mean_error=0.02, pull_width=1.0, pull_width_error=0.01, at_bound_share=0.0
    )
    summary = SimpleNamespace(
        truth=dict.fromkeys(names, 1.0),
        keep=keep,
        toys=toys,
        certified=toys - 2,
        failed={"not_converged": 2},
        tests=tests,
        parameters=dict.fromkeys(names, about),
    )
    kept = np.arange(toys) if keep != "summary" else np.flatnonzero(~certified | (t[0] > 6))
    estimates = 1 + values
    if keep == "poi":
        estimates = np.where(np.arange(len(names))[:, None] == 0, estimates, np.nan)
    shown = ExploredToys(
        toy=kept,
        sample=0 if keep == "summary" else toys,
        certified=certified[kept],
        t=t[:, kept],
        estimates=estimates[:, kept],
        pulls=values[:, kept],
    )
    return ExploredEnsemble(
        name=name,
        summary=summary,
        correlation=np.where(np.eye(len(names)) > 0, 1.0, 0.5),
        toys=shown,
        pulls=None if keep == "all" else pulls,
    )
