"""Workspaces of any size: a signal and two backgrounds in every channel, with normsys, histosys and staterror.

A bin has as many events, and all systematic uncertainties together are as large, whatever the size.
Run to write one: python benchmarks/size_model.py workspace.json 400
"""

import json
import sys
from pathlib import Path

import numpy as np

RATE, SHAPE, STATISTICAL = 0.1, 0.07, 0.05
"""Relative uncertainties of a sample: of all normsys together, of all histosys, and of a bin by its simulation."""


def sized(bins: int, channels: int = 1, normsys: int = 10, histosys: int = 5) -> dict:
    """The workspace as pyhf's JSON: mu, and parameters of every kind that analyses have; nothing is random.

    Args:
        bins: bins of a channel; each has a staterror parameter.
        channels: all alike, with their own staterror and the same normsys and histosys.
        normsys: uncertainties of both backgrounds' rates; every third is one of the signal's too.
        histosys: uncertainties of both backgrounds' shapes.
    """
    x = (np.arange(bins) + 0.5) / bins
    rates = {
        "signal": 40 * np.exp(-0.5 * ((x - 0.5) / 0.15) ** 2),
        "falling": 200 * np.exp(-1.5 * x) + 20,
        "rising": 100 + 30 * x,
    }
    observed = np.round(sum(rates.values())).tolist()
    contents = []
    for c in range(channels):
        samples = []
        for name, rate in rates.items():
            modifiers: list[dict] = [{"name": f"stat_{c}", "type": "staterror", "data": (STATISTICAL * rate).tolist()}]
            signal = name == "signal"
            if signal:
                modifiers.append({"name": "mu", "type": "normfactor", "data": None})
            for k in range(0, normsys, 3 if signal else 1):
                size = RATE / np.sqrt(normsys) * (0.7 + 0.2 * (k % 4))
                data: dict = {"hi": 1 + size, "lo": 1 - 0.9 * size}
                modifiers.append({"name": f"norm_{k}", "type": "normsys", "data": data})
            for k in range(0 if signal else histosys):
                wave = SHAPE * np.sqrt(2 / histosys) * np.sin(3 * (k + 1) * x)
                data = {"hi_data": (rate * (1 + wave)).tolist(), "lo_data": (rate * (1 - 0.95 * wave)).tolist()}
                modifiers.append({"name": f"shape_{k}", "type": "histosys", "data": data})
            samples.append({"name": name, "data": rate.tolist(), "modifiers": modifiers})
        contents.append({"name": f"channel_{c}", "samples": samples})
    return {
        "channels": contents,
        "observations": [{"name": content["name"], "data": observed} for content in contents],
        "measurements": [{"name": "measurement", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(sized(int(sys.argv[2])), indent=1))
