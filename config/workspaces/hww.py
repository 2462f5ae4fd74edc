"""Writes hww.json: H → WW → 2ℓ2ν with a 20-bin classifier output, as a pyhf workspace.

Yields, shapes and uncertainties are illustrative: of the size that LHC analyses publish, and no
analysis's own. Expected counts are N = μS + B, with B the sum of WW, top, Z/γ* and W+jets. The
"observed" data are the expectation at μ = 1, rounded to whole counts.

    python config/workspaces/hww.py        # rewrites config/workspaces/hww.json
"""

import json
from pathlib import Path

import numpy as np
from scipy.stats import beta

BINS = 20
EDGES = np.linspace(0, 1, BINS + 1)

# sample: expected events, Beta shape of the classifier output, generated events per expected one
SAMPLES = {
    "signal": (260.0, (4.0, 1.7), 60.0),
    "WW": (3800.0, (1.7, 2.0), 12.0),
    "top": (1500.0, (1.5, 2.6), 8.0),
    "Zgamma": (650.0, (1.2, 3.4), 5.0),
    "Wjets": (700.0, (1.6, 2.2), 3.0),
}
# relative normalisation uncertainties: cross-section or control-region transfer
NORMALISATION = {"WW": 0.05, "top": 0.06, "Zgamma": 0.09, "Wjets": 0.25}
# relative effect of a one-sigma shift on the yield (up, down)
BTAG = {"signal": (0.990, 1.009), "WW": (0.992, 1.007), "top": (1.055, 0.949), "Zgamma": (0.994, 1.006)}
JES_NORM = {"signal": (0.985, 1.012), "WW": (0.978, 1.019), "top": (1.031, 0.972), "Zgamma": (1.045, 0.960)}
JES_TILT = {"signal": 0.02, "WW": -0.03, "top": 0.03, "Zgamma": 0.06}  # slope across the classifier at one sigma
WW_TILT = 0.05
LUMI = 0.017


def tilted(yields: np.ndarray, slope: float) -> list[float]:
    """Yields times a straight line of the given rise from end to end, at the same total."""
    centres = (EDGES[:-1] + EDGES[1:]) / 2 - 0.5
    shifted = yields * (1 + slope * centres)
    return (shifted * yields.sum() / shifted.sum()).round(6).tolist()


def sample(name: str) -> dict:
    """A sample with its yields and modifiers."""
    total, shape, statistics = SAMPLES[name]
    yields = (total * np.diff(beta.cdf(EDGES, *shape))).round(6)
    modifiers = []
    if name == "signal":
        modifiers.append({"name": "mu", "type": "normfactor", "data": None})
    if name != "Wjets":  # estimated from data, so without a luminosity
        modifiers.append({"name": "lumi", "type": "lumi", "data": None})
    if name in NORMALISATION:
        size = NORMALISATION[name]
        data = {"hi": 1 + size, "lo": round(1 / (1 + size), 6)}
        modifiers.append({"name": f"norm_{name}", "type": "normsys", "data": data})
    for nuisance, effects in (("btag", BTAG), ("JES", JES_NORM)):
        if name in effects:
            hi, lo = effects[name]
            modifiers.append({"name": nuisance, "type": "normsys", "data": {"hi": hi, "lo": lo}})
    tilts = [("JES", JES_TILT[name])] if name in JES_TILT else []
    if name == "WW":
        tilts.append(("WW_shape", WW_TILT))
    for nuisance, slope in tilts:
        data = {"hi_data": tilted(yields, slope), "lo_data": tilted(yields, -slope)}
        modifiers.append({"name": nuisance, "type": "histosys", "data": data})
    uncertainties = np.sqrt(yields / statistics).round(6).tolist()
    modifiers.append({"name": "mcstat", "type": "staterror", "data": uncertainties})
    return {"name": name, "data": yields.tolist(), "modifiers": modifiers}


def workspace() -> dict:
    """The whole workspace."""
    samples = [sample(name) for name in SAMPLES]
    observed = np.sum([item["data"] for item in samples], axis=0).round().tolist()
    parameters = [
        {"name": "mu", "inits": [1.0], "bounds": [[-5.0, 10.0]]},
        {"name": "lumi", "auxdata": [1.0], "sigmas": [LUMI], "inits": [1.0], "bounds": [[0.5, 1.5]]},
    ]
    return {
        "channels": [{"name": "classifier", "samples": samples}],
        "observations": [{"name": "classifier", "data": observed}],
        "measurements": [{"name": "hww", "config": {"poi": "mu", "parameters": parameters}}],
        "version": "1.0.0",
    }


if __name__ == "__main__":
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(workspace(), indent=1) + "\n", encoding="utf-8")
