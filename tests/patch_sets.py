"""A small patch set: a bump that moves over ten bins, one signal for each of its places."""

import copy
import hashlib
import json

import numpy as np
from builders import bare, binned, normsys

BINS = np.arange(10)


def bump(mass, width=1.0, events=20.0):
    """Signal events in each bin."""
    shape = np.exp(-0.5 * ((BINS - mass) / width) ** 2)
    return (events * shape / (width * np.sqrt(2 * np.pi))).round(6).tolist()


def background(observed=None):
    """The workspace without a signal: a falling background with a rate, a slope, and staterrors that signals share."""
    yields = (120 * np.exp(-0.15 * BINS)).round(3).tolist()
    slope = {
        "name": "slope",
        "type": "histosys",
        "data": {
            "hi_data": [y * (1 + 0.01 * k) for k, y in enumerate(yields)],
            "lo_data": [y * (1 - 0.01 * k) for k, y in enumerate(yields)],
        },
    }
    errors = binned("staterror", "mc", [0.02 * y for y in yields])
    modifiers = [normsys("rate", 1.05, 0.95), slope, errors]
    seen = [round(y) for y in yields]
    seen[6] += 22
    return {
        "channels": [{"name": "SR", "samples": [{"name": "bkg", "data": yields, "modifiers": modifiers}]}],
        "observations": [{"name": "SR", "data": [float(item) for item in (observed or seen)]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
        "version": "1.0.0",
    }


def signal(mass):
    """The operations that add a signal; of its systematic effects one is common to all signals, one is its own."""
    events = bump(mass)
    sample = {
        "name": "signal",
        "data": events,
        "modifiers": [
            bare("normfactor", "mu"),
            normsys("cross_section", 1.1, 0.9),
            normsys(f"acceptance_{mass:g}".replace(".", "p"), 1.05, 0.95),
            binned("staterror", "mc", [0.05 * y for y in events]),
        ],
    }
    return [{"op": "add", "path": "/channels/0/samples/1", "value": sample}]


def patch_set(spec, values):
    """A patch set as pyhf has it; ``values`` are the coordinates of each signal by its name, a mass first."""
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    return {
        "metadata": {
            "references": {},
            "description": "a moving bump",
            "digests": {"sha256": digest},
            "labels": ["mass", "width"][: len(next(iter(values.values())))],
        },
        "patches": [
            {"metadata": {"name": name, "values": list(item)}, "patch": signal(item[0])}
            for name, item in values.items()
        ],
        "version": "1.0.0",
    }


def write_scan(folder, masses=(1, 2, 3, 4, 5, 6, 7, 8), **changes):
    """A workspace and a patch set in a folder, and the study that scans it."""
    spec = background()
    (folder / "background.json").write_text(json.dumps(spec))
    values = {f"m{mass:g}".replace(".", "p"): [mass] for mass in masses}
    (folder / "patchset.json").write_text(json.dumps(patch_set(copy.deepcopy(spec), values)))
    scan = {"patches": str(folder / "patchset.json"), "toys": 400, "signal_toys": 400}
    return {"study": "bumps", "model": str(folder / "background.json"), "scan": scan | changes}
