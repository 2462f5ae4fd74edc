"""The model of NextStat's README benchmark: a signal and a background with a shapesys in every bin, 201 parameters.

NextStat's own has 50 channels of 4 bins, this one 20 of 10; nothing is random.
Run to write it: python benchmarks/bins_201.py workspace.json
"""

import json
import sys
from pathlib import Path


def bins_201(channels: int = 20, bins: int = 10) -> dict:
    """The workspace as pyhf's JSON: mu, and a factor for the background of every bin; observed is the background."""
    contents, observations = [], []
    for i in range(channels):
        name = f"ch{i:02d}"
        signal = [2.0 + 0.05 * (j % 3) for j in range(bins)]
        background = [50.0 + 0.25 * j + 0.1 * (i % 5) for j in range(bins)]
        mu = {"name": "mu", "type": "normfactor", "data": None}
        factors = {"name": f"shapesys_{name}", "type": "shapesys", "data": [5.0] * bins}
        samples = [
            {"name": "signal", "data": signal, "modifiers": [mu]},
            {"name": "background", "data": background, "modifiers": [factors]},
        ]
        contents.append({"name": name, "samples": samples})
        observations.append({"name": name, "data": background})
    measurements = [{"name": "measurement", "config": {"poi": "mu", "parameters": []}}]
    return {"channels": contents, "observations": observations, "measurements": measurements, "version": "1.0.0"}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(bins_201(), indent=1))
