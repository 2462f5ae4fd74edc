"""One fitter on one workload, in a process of its own that ``bench.py`` starts; its times and fits end in its folder.

It says ``READY`` when it is warm, and after each repeat, which it begins when it is given a line.
Every fitter says how long a call takes, where its free and conditional fits of each toy ended, in toymill's order of
parameters, and which of them it complains about. Toys of repeat r are those with index r n to (r + 1) n - 1.
"""

import argparse
import importlib.metadata
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

MU = 1.0
"""Value of the parameter of interest at which toys are thrown, and tested."""

READY = "toymill-benchmark: ready"
"""The line by which a fitter says that it can begin a repeat, or has done its last; others are of libraries."""

SEED = 1
POINTS = 8
"""Random points, one on each of the first toys, at which every fitter says its nll: all must have the same likelihood."""

AUXILIARY_FIXED = {"nextstat"}
"""Fitters that cannot be given auxiliary data: of their toys only main data fluctuate, auxiliary data are nominal."""

BATCH = 256
"""Toys of the first timed call of a fitter that takes all in one call: for fewer it takes about as long."""


class Fitted(NamedTuple):
    """Free and conditional fits of n toys: where they ended (n, 2, P), the nll there and complaints, (n, 2)."""

    parameters: np.ndarray
    nll: np.ndarray
    bad: np.ndarray


class Fitter(NamedTuple):
    """What is timed.

    Attributes:
        fit: toys (n, D) and the index of the first, to their fits.
        nll: points (n, P) and toys (n, D), to the nll of each toy at its point, (n,).
        throw: count and first index to toys; None for a fitter that is given them.
        store: writes the fits last made; None for a fitter that stores nothing.
        packages: the distributions whose versions matter.
    """

    fit: Callable[[np.ndarray, int], Fitted]
    nll: Callable[[np.ndarray, np.ndarray], np.ndarray]
    throw: Callable[[int, int], np.ndarray] | None
    store: Callable[[], None] | None
    packages: tuple[str, ...]


def toymill(folder: Path) -> Fitter:
    """``fit_tests``: all toys in one call; throwing and storing are timed apart."""
    model = _toymill_model(folder)
    from toymill import throw
    from toymill.fitting.conditional import fit_tests
    from toymill.results.hdf5 import ShardKey
    from toymill.results.store import ShardFits, write_shard

    truth = model.parameters.values({model.poi: MU})
    last: list[ShardFits] = []

    def fit(toys: np.ndarray, first: int) -> Fitted:
        free, (conditional,) = fit_tests(model, toys, [{model.poi: MU}], first=first)
        key = ShardKey("bench", "", model.digest, SEED, first, len(toys))
        last[:] = [ShardFits(key, free, [conditional])]
        both = (free, conditional)
        return Fitted(
            np.stack([fits.parameters for fits in both], axis=1),
            np.stack([fits.nll for fits in both], axis=1),
            np.stack([~fits.ok for fits in both], axis=1),
        )

    def store() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            write_shard(Path(place) / "shard.h5", last[0])

    def thrown(count: int, first: int) -> np.ndarray:
        return throw(model, truth, count, seed=SEED, first=first)

    return Fitter(fit, _toymill_nll(model), thrown, store, ("jax", "jaxlib", "numpy"))


def iminuit(folder: Path) -> Fitter:
    """MIGRAD of strategy 0 with iminuit's tolerance and a jitted JAX gradient of toymill's likelihood, toy by toy.

    The conditional fit starts where the free one ended.
    """
    model = _toymill_model(folder)
    import jax
    from iminuit import Minuit

    from toymill.fitting.minuit import nll_and_gradient

    value, gradient = nll_and_gradient(model.kernel)
    arrays = jax.tree.map(jax.numpy.asarray, model.arrays)
    names, poi = model.parameters.names, model.poi

    def fit_one(toy: np.ndarray) -> tuple[list, list, list]:
        data = jax.numpy.asarray(toy)
        minuit = Minuit(
            lambda x: float(value(x, arrays, data)),
            model.parameters.values({}),
            grad=lambda x: np.asarray(gradient(x, arrays, data)),
            name=names,
        )
        minuit.errordef = Minuit.LIKELIHOOD
        minuit.strategy = 0
        minuit.limits = [tuple(bounds) for bounds in model.parameters.bounds]
        for name, held in zip(names, model.parameters.fixed, strict=True):
            minuit.fixed[name] = bool(held)
        ends = []
        for conditional in (False, True):
            if conditional:
                minuit.values[poi], minuit.fixed[poi] = MU, True
            minuit.migrad()
            ends.append((np.array(minuit.values), minuit.fval, not minuit.valid))
        return tuple(list(part) for part in zip(*ends, strict=True))  # type: ignore[return-value]

    def fit(toys: np.ndarray, _: int) -> Fitted:
        return Fitted(*(np.array(part) for part in zip(*(fit_one(toy) for toy in toys), strict=True)))

    return Fitter(fit, _toymill_nll(model), None, None, ("iminuit", "jax", "jaxlib", "numpy"))


def pyhf_jax(folder: Path) -> Fitter:
    """pyhf as it comes with the JAX backend: SciPy's SLSQP with jitted gradients, toy by toy."""
    return _pyhf(folder, "jax", "scipy")


def pyhf_minuit(folder: Path) -> Fitter:
    """pyhf as it comes with the NumPy backend and its Minuit optimiser, toy by toy."""
    return _pyhf(folder, "numpy", "minuit")


def nextstat(folder: Path) -> Fitter:
    """NextStat's ``fit_minimum``, without Hessian as in its toys, one toy after the other, on one thread.

    A toy's auxiliary data are ignored: its models have the nominal ones. The conditional fit starts where the free one
    ended, and has the bounds (1, 1) for the parameter of interest.
    """
    os.environ["RAYON_NUM_THREADS"] = "1"
    from nextstat import MaximumLikelihoodEstimator, from_pyhf

    model = from_pyhf((folder / "workspace.json").read_text(encoding="utf-8"))
    about = _read(folder / "about.json")
    order = [about["names"].index(name) for name in model.parameter_names()]
    place, poi, mains = np.argsort(order), model.poi_index(), len(about["main"])
    init = [about["init"][i] for i in order]
    free = [(about["init"][i],) * 2 if about["fixed"][i] else tuple(about["bounds"][i]) for i in order]
    held = [(MU, MU) if k == poi else bounds for k, bounds in enumerate(free)]
    minimiser = MaximumLikelihoodEstimator()

    def fit_one(toy: np.ndarray) -> tuple[np.ndarray, list, list]:
        data = model.with_observed_main(toy[:mains].tolist())
        best = minimiser.fit_minimum(data, init_pars=init, bounds=free)
        start = [MU if k == poi else value for k, value in enumerate(best.parameters)]
        both = (best, minimiser.fit_minimum(data, init_pars=start, bounds=held))
        parameters = np.array([one.parameters for one in both])[:, place]
        return parameters, [one.nll for one in both], [not one.converged for one in both]

    def fit(toys: np.ndarray, _: int) -> Fitted:
        return Fitted(*(np.array(part) for part in zip(*(fit_one(toy) for toy in toys), strict=True)))

    def nll(points: np.ndarray, toys: np.ndarray) -> np.ndarray:
        pairs = zip(points, toys, strict=True)
        return np.array([model.with_observed_main(toy[:mains].tolist()).nll(x[order].tolist()) for x, toy in pairs])

    return Fitter(fit, nll, None, None, ("nextstat",))


def roofit(folder: Path) -> Fitter:
    """HistFactory's model by RooFit, toy by toy: see ``roofit.Toys``."""
    from roofit import Toys

    toys = Toys(_read(folder / "workspace.json"), _read(folder / "about.json"), MU)
    toys.nll_at(np.load(folder / "points.npy")[:1], np.load(folder / "toys.npy")[:1])  # its first value is a bit off
    return Fitter(lambda rows, _: Fitted(*toys.fit(rows)), toys.nll_at, None, None, ("root", "numpy"))


FITTERS = {
    "toymill": toymill,
    "roofit": roofit,
    "nextstat": nextstat,
    "iminuit": iminuit,
    "pyhf-jax": pyhf_jax,
    "pyhf-minuit": pyhf_minuit,
}


def measure(build: Callable[[Path], Fitter], folder: Path, seconds: float, repeats: int, most: int) -> None:
    """Warm up, time repeats on demand, and write what was found to the folder, after every repeat."""
    begin = time.perf_counter()
    fitter = build(folder)
    built = time.perf_counter() - begin
    given = np.load(folder / "toys.npy")
    most = most if fitter.throw else min(most, len(given) // repeats)
    versions = {name: importlib.metadata.version(name) for name in fitter.packages}
    found: dict = {"build_s": built, "versions": versions, "repeats": []}
    nlls = fitter.nll(np.load(folder / "points.npy"), given[:POINTS])
    np.save(folder / "nll.npy", nlls)

    def toys(count: int, first: int) -> np.ndarray:
        return fitter.throw(count, first) if fitter.throw else given[first : first + count]

    def timed(call: Callable, *arguments: object) -> tuple:
        start = time.perf_counter()
        result = call(*arguments)
        return time.perf_counter() - start, result

    found["first_call_s"] = timed(fitter.fit, toys(1, 0), 0)[0]
    count = min(BATCH, most) if fitter.throw else 1
    while True:
        took = timed(fitter.fit, toys(count, 0), 0)[0]
        if fitter.throw and took >= seconds / 2:  # this many toys at once may have been compiled for
            took = timed(fitter.fit, toys(count, 0), 0)[0]
        if took >= seconds / 2 or count == most:
            break
        count = min(max(count + 1, int(count * min(seconds / took, 8))), most)
    fits = []
    for number in range(repeats):
        print(READY, flush=True)
        if not sys.stdin.readline():
            return
        first = number * count
        throw_s, rows = timed(toys, count, first)
        fit_s, fitted = timed(fitter.fit, rows, first)
        times = {"toys": count, "fit_s": fit_s, "toys_per_s": count / fit_s}
        if fitter.throw and fitter.store:
            times |= {"throw_s": throw_s, "store_s": timed(fitter.store)[0]}
        found["repeats"].append(times)
        fits.append(fitted)
        np.savez(folder / "fits.npz", **{name: np.concatenate(part) for name, part in _columns(fits).items()})
        (folder / "times.json").write_text(json.dumps(found), encoding="utf-8")
    print(READY, flush=True)


def _columns(fits: list[Fitted]) -> dict[str, list[np.ndarray]]:
    return {name: [getattr(part, name) for part in fits] for name in Fitted._fields}


def _toymill_model(folder: Path):
    """toymill's model of the workload, in a process that reads no compiled program: what compiles is to be seen."""
    from toymill.job import prepare

    prepare()
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    import toymill as package

    return package.read_workspace(folder / "workspace.json")


def _toymill_nll(model) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda points, toys: -np.asarray(model.logpdf(points, toys))


def _pyhf(folder: Path, backend: str, optimiser: str) -> Fitter:
    import pyhf

    pyhf.set_backend(backend, optimiser)
    model = pyhf.Workspace(_read(folder / "workspace.json")).model()
    if list(model.config.par_names) != _read(folder / "about.json")["names"]:
        msg = "pyhf's parameters are not toymill's: their fits cannot be compared"
        raise RuntimeError(msg)
    searches = (pyhf.infer.mle.fit, lambda *args, **settings: pyhf.infer.mle.fixed_poi_fit(MU, *args, **settings))

    def fit_one(toy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        parameters = np.full((2, model.config.npars), np.nan)
        nll = np.full(2, np.nan)
        for k, search in enumerate(searches):
            try:
                end, twice_nll = search(toy, model, return_fitted_val=True)
            except pyhf.exceptions.FailedMinimization:
                continue
            parameters[k], nll[k] = np.asarray(end), float(twice_nll) / 2
        return parameters, nll, np.isnan(nll)

    def fit(toys: np.ndarray, _: int) -> Fitted:
        return Fitted(*(np.array(part) for part in zip(*(fit_one(toy) for toy in toys), strict=True)))

    def nll(points: np.ndarray, toys: np.ndarray) -> np.ndarray:
        return np.array([-float(model.logpdf(x, toy)[0]) for x, toy in zip(points, toys, strict=True)])

    packages = ("pyhf", "jax", "scipy") if backend == "jax" else ("pyhf", "iminuit", "numpy")
    return Fitter(fit, nll, None, None, packages)


def _read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    """Measure one fitter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fitter", choices=FITTERS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    parser.add_argument("--toys", type=int, required=True)
    options = parser.parse_args()
    measure(FITTERS[options.fitter], options.folder, options.seconds, options.repeats, options.toys)
    os._exit(0)  # ROOT, torn down by Python, may crash after all is written


if __name__ == "__main__":
    main()
