"""Make the HS3 file of pyhs3 here, and what pyhs3's own likelihood says of it.

Needs the ``pyhs3`` package (0.4.2); run once, in this directory: python make_pyhs3.py
"""

import json
from pathlib import Path

import numpy as np
import pyhs3
import pytensor

HERE = Path(__file__).resolve().parent
DEFAULTS = {"lumi": (1.0, 0.0, 10.0), "mu": (1.0, 0.0, 10.0), "k": (1.0, 0.0, 10.0)}


def modifier(item, sample, bins, code):
    kind, name, data = item["type"], item["name"], item["data"]
    if kind in {"normfactor", "lumi"}:
        return {"name": name, "type": "normfactor", "parameter": name}
    if kind == "normsys":
        return {"name": name, "type": kind, "parameter": f"alpha_{name}", "constraint": "Gauss", "data": data}
    if kind == "histosys":
        contents = {"hi": {"contents": data["hi_data"]}, "lo": {"contents": data["lo_data"]}, "interpolation": code}
        return {"name": name, "type": kind, "parameter": f"alpha_{name}", "constraint": "Gauss", "data": contents}
    made = {"name": name, "type": kind, "parameters": [f"gamma_{name}_{sample}_{i}" for i in range(bins)]}
    if kind == "staterror":  # 0.4.2 cannot evaluate its "lite" form in a likelihood of several channels
        return made | {"constraint": "Gauss", "data": {"uncertainties": data}}
    return made | ({"constraint": "Poisson", "data": {"vals": data}} if kind == "shapesys" else {})


def convert(spec, code):
    observed = {item["name"]: item["data"] for item in spec["observations"]}
    distributions, data = [], []
    for channel in spec["channels"]:
        bins = len(observed[channel["name"]])
        axes = [{"name": f"x_{channel['name']}", "min": 0.0, "max": float(bins), "nbins": bins}]
        samples = []
        for item in channel["samples"]:
            modifiers = [modifier(one, item["name"], bins, code) for one in item["modifiers"]]
            samples.append({"name": item["name"], "data": {"contents": item["data"]}, "modifiers": modifiers})
        distributions.append(
            {
                "name": channel["name"],
                "type": "histfactory_dist",
                "axes": axes,
                "samples": samples,
                "barlow_beeston_method": "full",
            }
        )
        data.append(
            {
                "name": f"observed_{channel['name']}",
                "type": "binned",
                "axes": axes,
                "contents": observed[channel["name"]],
            }
        )
    names = sorted({name for one in distributions for name in parameters_of(one)})
    points = []
    for name in names:
        value, low, high = DEFAULTS.get(name, (0.0, -5.0, 5.0) if name.startswith("alpha") else (1.0, 0.0, 10.0))
        points.append((name, value, low, high))
    return {
        "metadata": {"hs3_version": "0.2", "packages": [{"name": "pyhs3", "version": pyhs3.__version__}]},
        "distributions": distributions,
        "data": data,
        "likelihoods": [
            {
                "name": "all",
                "distributions": [one["name"] for one in distributions],
                "data": [one["name"] for one in data],
            }
        ],
        "domains": [
            {
                "name": "all",
                "type": "product_domain",
                "axes": [{"name": name, "min": low, "max": high} for name, _, low, high in points],
            }
        ],
        "parameter_points": [
            {"name": "nominal", "parameters": [{"name": name, "value": value} for name, value, *_ in points]}
        ],
        "analyses": [
            {
                "name": "search",
                "likelihood": "all",
                "domains": ["all"],
                "init": "nominal",
                "parameters_of_interest": ["mu"],
            }
        ],
    }


def parameters_of(distribution):
    for sample in distribution["samples"]:
        for item in sample["modifiers"]:
            yield from item.get("parameters", [item.get("parameter")])


def main():
    spec = json.loads((HERE.parent / "every-modifier.json").read_text())
    for channel in spec["channels"]:  # pyhs3 has no bins without content or uncertainty
        for sample in channel["samples"]:
            sample["data"] = [value or 0.5 for value in sample["data"]]
            for item in sample["modifiers"]:
                if item["type"] == "staterror":
                    item["data"] = [value or 0.3 for value in item["data"]]
    expected = {}
    for code in ("code0", "code4p"):  # its code2 jumps at ±1 as pyhf's does
        workspace = pyhs3.Workspace(**convert(spec, code))
        name = f"pyhs3-0.4-{code}.json"
        text = workspace.model_dump_json(indent=1, exclude_none=False)
        (HERE / name).write_text(text + "\n")
        model = workspace.model("search", progress=False)
        inputs = [item for item in pytensor.graph.traversal.explicit_graph_inputs([model.log_prob]) if item.name]
        evaluate = pytensor.function(inputs, model.log_prob, on_unused_input="ignore")
        rng = np.random.default_rng(len(name))
        points, values = [], []
        for _ in range(8):
            wide = [item.name.startswith("alpha") for item in inputs]
            point = {
                item.name: float(rng.normal(0.0, 1.3) if broad else rng.normal(1.0, 0.08))
                for item, broad in zip(inputs, wide, strict=True)
            }
            points.append(point)
            values.append(-float(evaluate(*[point[item.name] for item in inputs])))
        expected[name] = {"points": points, "nll": values}
    (HERE / "pyhs3-expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
