"""A workspace of published size, made from a seed: 11 channels, 41 bins, 121 channel-samples, 2,000 normsys, 1,600 histosys.

Run to write it: python benchmarks/published_size.py workspace.json
"""

import json
import sys
from pathlib import Path

import numpy as np

BINS = (1, 2, 3, 3, 4, 4, 4, 4, 5, 5, 6)
SAMPLES = 11
NORMSYS, HISTOSYS = 2000, 1600
SYSTEMATICS = 138


def published_size(seed: int = 1) -> dict:
    """The workspace as pyhf's JSON: 184 parameters, of the sizes that published ones have."""
    rng = np.random.default_rng(seed)
    pairs = [(c, s) for c in range(len(BINS)) for s in range(SAMPLES)]
    normsys = _spread(rng, NORMSYS, len(pairs))
    histosys = _spread(rng, HISTOSYS, len(pairs))
    channels = []
    for c, bins in enumerate(BINS):
        samples = []
        for s in range(SAMPLES):
            pair = pairs.index((c, s))
            nominal = rng.gamma(2.0, 40.0 / (1 + s), bins) + 0.5
            modifiers = [{"name": "lumi", "type": "lumi", "data": None}]
            names = rng.permutation(SYSTEMATICS)
            for name in names[: normsys[pair]]:
                hi, lo = np.exp(rng.normal(0.0, 0.05, 2))
                modifiers.append(
                    {
                        "name": f"syst_{name}",
                        "type": "normsys",
                        "data": {"hi": hi, "lo": 2 - hi if rng.random() < 0.7 else lo},
                    }
                )
            for name in rng.permutation(SYSTEMATICS)[: histosys[pair]]:
                up = rng.normal(0.0, 0.04, bins)
                down = np.where(rng.random() < 0.7, -up, rng.normal(0.0, 0.04, bins))
                data = {"hi_data": (nominal * (1 + up)).tolist(), "lo_data": (nominal * (1 + down)).tolist()}
                modifiers.append({"name": f"syst_{name}", "type": "histosys", "data": data})
            if s == 0:
                modifiers.append({"name": "mu", "type": "normfactor", "data": None})
            if s in {1, 2, 3, 4, 5, 6, 7, 8, 9}:
                errors = (nominal * rng.uniform(0.02, 0.15, bins)).tolist()
                modifiers.append({"name": f"stat_{c}", "type": "staterror", "data": errors})
            if s in {1, 2, 3}:
                modifiers.append({"name": f"k_{s}", "type": "normfactor", "data": None})
            samples.append({"name": f"sample_{s}", "data": nominal.tolist(), "modifiers": modifiers})
        channels.append({"name": f"channel_{c:02d}", "samples": samples})
    observations = [
        {
            "name": channel["name"],
            "data": rng.poisson(np.sum([s["data"] for s in channel["samples"]], axis=0)).astype(float).tolist(),
        }
        for channel in channels
    ]
    lumi = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.017], "bounds": [[0.9, 1.1]], "inits": [1.0]}
    free = [{"name": f"k_{s}", "bounds": [[0.0, 5.0]]} for s in range(1, 4)]
    measurements = [{"name": "measurement", "config": {"poi": "mu", "parameters": [lumi, *free]}}]
    return {"channels": channels, "observations": observations, "measurements": measurements, "version": "1.0.0"}


def _spread(rng: np.random.Generator, total: int, places: int) -> np.ndarray:
    """A number for each place, about even, that add up to the total."""
    counts = np.full(places, total // places)
    counts[rng.permutation(places)[: total % places]] += 1
    return counts


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(published_size(), indent=1))
