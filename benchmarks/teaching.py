"""The workspace of a teaching example, made from a seed: 20 bins, a bump on a falling background, 9 parameters.

Run to write it: python benchmarks/teaching.py workspace.json
"""

import json
import sys
from pathlib import Path

import numpy as np

BINS = 20
NUISANCES = 8
EVENTS = {"signal": 120.0, "falling": 2400.0, "flat": 700.0, "turn_on": 500.0}


def teaching(seed: int = 1) -> dict:
    """The workspace as pyhf's JSON: mu, and eight nuisance parameters that change rates and shapes of some samples."""
    rng = np.random.default_rng(seed)
    centres = (np.arange(BINS) + 0.5) / BINS
    shapes = {
        "signal": np.exp(-0.5 * ((centres - 0.55) / 0.08) ** 2),
        "falling": np.exp(-3.0 * centres),
        "flat": np.ones(BINS),
        "turn_on": centres * np.exp(-2.0 * centres),
    }
    samples = []
    for s, (name, shape) in enumerate(shapes.items()):
        nominal = EVENTS[name] * shape / shape.sum()
        modifiers: list[dict] = [{"name": "mu", "type": "normfactor", "data": None}] if name == "signal" else []
        for k in range(NUISANCES):
            if k % 4 in {s, (s + 1) % 4}:
                size = rng.uniform(0.02, 0.08)
                data: dict = {"hi": 1 + size, "lo": 1 - size * rng.uniform(0.8, 1.2)}
                modifiers.append({"name": f"syst_{k}", "type": "normsys", "data": data})
            if k >= NUISANCES // 2 and k % 4 != s:
                tilt = rng.uniform(-0.1, 0.1) * (centres - 0.5) + rng.uniform(-0.02, 0.02)
                bend = rng.uniform(0.8, 1.2)
                data = {"hi_data": (nominal * (1 + tilt)).tolist(), "lo_data": (nominal * (1 - bend * tilt)).tolist()}
                modifiers.append({"name": f"syst_{k}", "type": "histosys", "data": data})
        samples.append({"name": name, "data": nominal.tolist(), "modifiers": modifiers})
    expected = np.sum([sample["data"] for sample in samples], axis=0)
    channel = {"name": "mass", "samples": samples}
    config = {"poi": "mu", "parameters": [{"name": "mu", "bounds": [[-5.0, 10.0]]}]}
    return {
        "channels": [channel],
        "observations": [{"name": "mass", "data": rng.poisson(expected).astype(float).tolist()}],
        "measurements": [{"name": "measurement", "config": config}],
        "version": "1.0.0",
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(teaching(), indent=1))
