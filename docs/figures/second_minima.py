"""The figure of docs/second-minima.md: a profile with two minima, and what a fit from the initial values makes of it.

    python docs/figures/second_minima.py        # writes docs/images/second-minima.svg, prints the page's table

A counting search with a control region. One systematic raises the background of the control region whichever way it
goes, as an asymmetric variation may, and changes that of the search region by different amounts.
"""

from pathlib import Path

import iminuit
import jax
import matplotlib.pyplot as plt
import numpy as np

jax.config.update("jax_enable_x64", True)
import toymill  # noqa: E402

OUT = Path(__file__).resolve().parents[1] / "images" / "second-minima.svg"
BLUE, ORANGE = "#3f90da", "#bd1f01"  # Petroff's palette, arXiv:2107.02270
TOYS = 1000


def region(name: str, background: float, up: float, down: float, signal: float) -> dict:
    """A channel of one bin, whose background is multiplied by ``up`` at alpha = 1 and by ``down`` at alpha = -1."""
    systematic = {"name": "alpha", "type": "normsys", "data": {"hi": up, "lo": down}}
    samples = [{"name": "background", "data": [background], "modifiers": [systematic]}]
    if signal:
        strength = {"name": "mu", "type": "normfactor", "data": None}
        samples.append({"name": "signal", "data": [signal], "modifiers": [strength]})
    return {"name": name, "samples": samples}


WORKSPACE = {
    "version": "1.0.0",
    "channels": [region("control", 400.0, 1.12, 1.10, 0.0), region("search", 60.0, 1.30, 0.95, 20.0)],
    "observations": [{"name": "control", "data": [445.0]}, {"name": "search", "data": [85.0]}],
    "measurements": [
        {
            "name": "search",
            "config": {"poi": "mu", "parameters": [{"name": "mu", "inits": [1.0], "bounds": [[-5.0, 10.0]]}]},
        }
    ],
}


def migrad(model: toymill.Model, toys: np.ndarray) -> list[iminuit.Minuit]:
    """Fits by MIGRAD from the initial values, one toy after the other, with JAX's gradient."""
    value_and_gradient = jax.jit(jax.value_and_grad(lambda x, data: -model.logpdf(x, data)))
    found = []
    for data in toys:
        fit = iminuit.Minuit(
            lambda x, data=data: float(value_and_gradient(x, data)[0]),
            model.parameters.init,
            grad=lambda x, data=data: np.asarray(value_and_gradient(x, data)[1]),
        )
        fit.errordef = iminuit.Minuit.LIKELIHOOD
        fit.limits = model.parameters.bounds.tolist()
        found.append(fit.migrad())
    return found


def main() -> None:
    """Count over toys, and draw the profile of the first toy for which MIGRAD ends well above."""
    model = toymill.read_workspace(WORKSPACE)
    mu, alpha = (model.parameters.index(name) for name in ("mu", "alpha"))
    toys = toymill.throw(model, model.parameters.values({"mu": 1.0}), TOYS, seed=1)
    fits = toymill.fit(model, toys)
    others = migrad(model, toys)
    above = 2 * (np.array([fit.fval for fit in others]) - fits.nll)
    toy = int(np.argmax(above > 0.5))
    data, best, other = toys[toy], fits.parameters[toy], np.array(others[toy].values)
    print(f"{TOYS} toys: {fits.ok.sum()} certified; MIGRAD above by 0.01: {np.sum(above > 0.01)}, ")
    print(
        f"at most {above.max():.2f}; all valid: {all(fit.valid for fit in others)}; below by 1e-6: {np.sum(above < -1e-6)}"
    )
    print(
        f"toy {toy}: data {data}; toymill (mu, alpha) {best}, errors {fits.errors[toy]}; MIGRAD {other}, {above[toy]:.3f} above"
    )

    grid = np.linspace(-2.2, 2.2, 221)
    along = toymill.fit(model, np.tile(data, (len(grid), 1)), fixed={"alpha": grid})
    plt.rcParams.update({"svg.hashsalt": "toymill", "svg.fonttype": "path", "font.size": 10})
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    left.plot(grid, 2 * (along.nll - fits.nll[toy]), color="black")
    left.plot(best[alpha], 0.0, "o", color=BLUE, label="lowest minimum, found by toymill")
    left.plot(other[alpha], above[toy], "s", color=ORANGE, label="second minimum, where MIGRAD stops")
    left.set(xlabel="nuisance parameter α", ylabel="2 (profile nll − lowest nll)", ylim=(-0.5, 9), xlim=(-2.2, 2.2))
    left.legend(frameon=False, loc="upper center")
    right.plot(grid, along.parameters[:, mu], color="black")
    right.plot(best[alpha], best[mu], "o", color=BLUE)
    right.plot(other[alpha], other[mu], "s", color=ORANGE)
    right.set(xlabel="nuisance parameter α", ylabel="signal strength μ that fits best at this α", xlim=(-2.2, 2.2))
    figure.savefig(OUT, metadata={"Date": None})


if __name__ == "__main__":
    main()
