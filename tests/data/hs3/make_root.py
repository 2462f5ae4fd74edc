"""Make the HS3 files of ROOT here, and what ROOT's own likelihood says of them.

Needs the ``root`` package (6.40); run once, in this directory: python make_root.py
The nll is of the workspace that HistFactory built, before it was written: ROOT 6.40 itself reads a normal
staterror constraint back as a Poisson one.
"""

import itertools
import json
import os
from pathlib import Path

import numpy as np
import ROOT

HISTFACTORY = ROOT.RooStats.HistFactory
KEPT = []  # histograms live as long as the measurement that refers to them


def histogram(name, values, errors=None):
    made = ROOT.TH1D(name, name, len(values), 0.0, 2.0 * len(values))
    made.SetDirectory(ROOT.nullptr)
    ROOT.SetOwnership(made, False)
    KEPT.append(made)
    for i, value in enumerate(values):
        made.SetBinContent(i + 1, value)
        made.SetBinError(i + 1, errors[i] if errors else 0.0)
    return made


def add(sample, modifier, nominal, prefix, poisson, bounds):
    kind, name, data = modifier["type"], modifier["name"], modifier["data"]
    if kind == "normfactor":
        sample.AddNormFactor(name, 1.0, *bounds.get(name, (0.0, 10.0)))
    elif kind == "normsys":
        sample.AddOverallSys(name, data["lo"], data["hi"])
    elif kind == "histosys":
        shape = HISTFACTORY.HistoSys()
        shape.SetName(name)
        shape.SetHistoLow(histogram(f"{prefix}_{name}_lo", data["lo_data"]))
        shape.SetHistoHigh(histogram(f"{prefix}_{name}_hi", data["hi_data"]))
        sample.AddHistoSys(shape)
    elif kind == "shapesys":
        shape = HISTFACTORY.ShapeSys()
        shape.SetName(name)
        relative = [error / value if value else 0.0 for error, value in zip(data, nominal, strict=True)]
        shape.SetErrorHist(histogram(f"{prefix}_{name}_errors", relative))
        shape.SetConstraintType(HISTFACTORY.Constraint.Poisson if poisson else HISTFACTORY.Constraint.Gaussian)
        sample.AddShapeSys(shape)
    elif kind == "shapefactor":
        shape = HISTFACTORY.ShapeFactor()
        shape.SetName(name)
        sample.AddShapeFactor(shape)


def build(spec, staterror, poisson):
    config = spec["measurements"][0]["config"]
    bounds = {item["name"]: item["bounds"][0] for item in config["parameters"] if "bounds" in item}
    measurement = HISTFACTORY.Measurement("measurement", "measurement")
    measurement.SetPOI(config["poi"])
    measurement.SetLumi(1.0)
    measurement.SetLumiRelErr(0.02)
    for item in config["parameters"]:
        if item.get("fixed"):
            measurement.AddConstantParam(item["name"])
    observed = {item["name"]: item["data"] for item in spec["observations"]}
    for content in spec["channels"]:
        channel = HISTFACTORY.Channel(content["name"])
        channel.SetData(histogram(f"data_{content['name']}", observed[content["name"]]))
        channel.SetStatErrorConfig(0.0, staterror)
        for item in content["samples"]:
            prefix = f"{content['name']}_{item['name']}"
            sample = HISTFACTORY.Sample(item["name"])
            statistical = next((one["data"] for one in item["modifiers"] if one["type"] == "staterror"), None)
            sample.SetHisto(histogram(prefix, item["data"], statistical))
            sample.SetNormalizeByTheory(any(one["type"] == "lumi" for one in item["modifiers"]))
            if statistical:
                sample.ActivateStatError()
            for modifier in item["modifiers"]:
                add(sample, modifier, item["data"], prefix, poisson, bounds)
            channel.AddSample(sample)
        measurement.AddChannel(channel)
    return HISTFACTORY.MakeModelAndMeasurementFast(measurement)


def evaluate(workspace, count, seed):
    """The nll at random points, and Minuit's best fit: [{parameter: value}], [nll], {parameter: value}."""
    model = next(item for item in workspace.allGenericObjects() if item.InheritsFrom("RooStats::ModelConfig"))
    data = workspace.data("obsData")
    nll = model.GetPdf().createNLL(data, ROOT.RooFit.GlobalObservables(model.GetGlobalObservables()))
    free = [item for item in model.GetPdf().getParameters(data) if not item.isConstant()]
    rng = np.random.default_rng(seed)
    points, values = [], []
    for _ in range(count + 1):
        point = {}
        for item in free:
            wide = item.getMin() < 0
            value = rng.normal(0.0, 1.3) if wide else rng.normal(1.0, 0.02 if item.GetName() == "Lumi" else 0.08)
            item.setVal(min(max(value, item.getMin()), item.getMax()))
            point[item.GetName()] = item.getVal()
        points.append(point)
        values.append(nll.getVal())
    minimizer = ROOT.RooMinimizer(nll)
    minimizer.setPrintLevel(-1)
    minimizer.setStrategy(2)
    minimizer.setEps(1e-4)
    minimizer.minimize("Minuit2", "migrad")
    minimizer.hesse()
    best = {item.GetName(): [item.getVal(), item.getError()] for item in free}
    return points[1:], values[1:], best  # RooFit's first value is off by 1e-4 against all later ones


def main():
    ROOT.gROOT.SetBatch(True)
    ROOT.RooMsgService.instance().setGlobalKillBelow(ROOT.RooFit.ERROR)
    here = Path(__file__).resolve().parent
    spec = json.loads((here.parent / "every-modifier.json").read_text())
    expected = {}
    os.chdir("/tmp")  # HistFactory leaves files where it runs
    for staterror, poisson in itertools.product(("Gauss", "Poisson"), (True, False)):
        name = f"root-6.40-{staterror.lower()}-{'poisson' if poisson else 'gauss'}.json"
        workspace = build(spec, staterror, poisson)
        ROOT.RooJSONFactoryWSTool(workspace).exportJSON(str(here / name))
        points, values, best = evaluate(workspace, 8, seed=len(name))
        expected[name] = {"points": points, "nll": values, "best": best}
    (here / "root-expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
