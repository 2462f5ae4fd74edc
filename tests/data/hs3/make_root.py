"""Make the HS3 files of ROOT here, and what ROOT's own likelihood says of them.

Needs the ``root`` package (6.40); run once, in this directory: python make_root.py
The nll is of the workspace that HistFactory built, before it was written: ROOT 6.40 itself reads a normal
staterror constraint back as a Poisson one.
"""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import ROOT

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

from roofit import build


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
    for staterror, shapesys in itertools.product(("Gauss", "Poisson"), ("Poisson", "Gaussian")):
        name = f"root-6.40-{staterror.lower()}-{shapesys.lower().removesuffix('ian')}.json"
        workspace = build(spec, staterror=staterror, shapesys=shapesys)
        ROOT.RooJSONFactoryWSTool(workspace).exportJSON(str(here / name))
        points, values, best = evaluate(workspace, 8, seed=len(name))
        expected[name] = {"points": points, "nll": values, "best": best}
    (here / "root-expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
