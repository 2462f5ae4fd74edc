"""Small workspaces, put together from modifiers, for every test that needs one."""

import copy
import json

import numpy as np


def normsys(name, hi=1.12, lo=0.87):
    return {"name": name, "type": "normsys", "data": {"hi": hi, "lo": lo}}


def bare(kind, name):
    """A modifier without data: a normfactor, a shapefactor or the luminosity."""
    return {"name": name, "type": kind, "data": None}


def binned(kind, name, data):
    """A modifier with a number for each bin: a staterror or a shapesys."""
    return {"name": name, "type": kind, "data": data}


def workspace(channels, parameters=()):
    """{channel: {sample: (yields, modifiers)}} as a pyhf workspace; the POI is mu, on the first sample of all."""
    spec = {"channels": [], "observations": [], "measurements": [], "version": "1.0.0"}
    for channel, samples in channels.items():
        spec["channels"].append(
            {
                "name": channel,
                "samples": [
                    {"name": name, "data": list(data), "modifiers": list(modifiers)}
                    for name, (data, modifiers) in samples.items()
                ],
            }
        )
        total = np.sum([data for data, _ in samples.values()], axis=0)
        spec["observations"].append({"name": channel, "data": [float(round(value * 1.07 + 1)) for value in total]})
    spec["channels"][0]["samples"][0]["modifiers"].append(bare("normfactor", "mu"))
    config = {"poi": "mu", "parameters": list(parameters)}
    spec["measurements"].append({"name": "m", "config": config})
    return spec


def on_off(tau, observed, low=0.0):
    """n_on ~ Poisson(mu + b), n_off ~ Poisson(tau b), in this order; mu has the lower bound ``low``."""
    on = {"s": ([1.0], []), "b": ([1.0], [bare("normfactor", "b")])}
    bounds = {"mu": [low, 200.0], "b": [0.0, 200.0]}
    config = [{"name": name, "bounds": [pair], "inits": [5.0]} for name, pair in bounds.items()]
    spec = workspace({"1_on": on, "2_off": {"b": ([tau], [bare("normfactor", "b")])}}, config)
    for item, count in zip(spec["observations"], observed, strict=True):
        item["data"] = [float(count)]
    return spec


def together(workspaces):
    """Workspaces by name as one: their likelihoods multiply, since no parameter is shared, save the luminosity.

    A program is compiled for the shapes of its arrays; so one serves what else would need one each. Channels and
    parameters have the workspace's number and a dot before their names. The POI is that of the first.
    """
    union = {"channels": [], "observations": [], "measurements": [], "version": "1.0.0"}
    parameters = {}
    poi = None
    for number, spec in enumerate(copy.deepcopy(list(workspaces.values()))):
        config = spec["measurements"][0]["config"]
        poi = poi or f"{number}.{config['poi']}"
        for channel in spec["channels"]:
            for modifier in (modifier for sample in channel["samples"] for modifier in sample["modifiers"]):
                modifier["name"] = prefixed(number, modifier["name"])
        for item in [*spec["channels"], *spec["observations"]]:
            item["name"] = f"{number}.{item['name']}"
        parameters |= {
            prefixed(number, item["name"]): item | {"name": prefixed(number, item["name"])}
            for item in config["parameters"]
        }
        union["channels"] += spec["channels"]
        union["observations"] += spec["observations"]
    union["measurements"].append({"name": "m", "config": {"poi": poi, "parameters": list(parameters.values())}})
    return json.loads(json.dumps(union))


def prefixed(number, name):
    """A parameter's name in such a union; the luminosity has only one."""
    return name if name == "lumi" else f"{number}.{name}"
