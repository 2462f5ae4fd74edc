"""Make forms.json here: forms that an HS3 file may have, and what ROOT reads of each.

Needs the ``root`` package (6.40); run once, in this directory: python make_forms.py
The base file is of the form of ROOT's own small HistFactory example: two bins, a signal, two backgrounds. Each form is
it after a JSON patch. The values are those of RooMinimizer, strategy 2, eps 1e-6: mu with its error, the parameters
that are constant, and the ranges of the others.
"""

import copy
import json
from pathlib import Path

import ROOT

SAMPLE = "/distributions/0/samples"
STATERROR = "/distributions/0/staterror"
POINTS = "/parameter_points/0/parameters/-"
AXES = "/domains/0/axes/-"
WITHOUT = [
    {"op": "remove", "path": f"{SAMPLE}/1/modifiers/1"},
    {"op": "remove", "path": f"{SAMPLE}/2/modifiers/1"},
    {"op": "replace", "path": f"{SAMPLE}/1/data", "value": {"contents": [100.0, 20.0]}},
]


def normsys(name, **more):
    return {"name": name, "parameter": f"alpha_{name}", "type": "normsys", "data": {"lo": 0.95, "hi": 1.05}} | more


def sample(name, contents, modifiers, **data):
    return {"name": name, "data": {"contents": contents, **data}, "modifiers": modifiers}


MCSTAT = {"name": "mcstat", "type": "staterror"}
AXIS = {"name": "obs_x_SR", "min": 0.0, "max": 2.0, "nbins": 2}
BASE = {
    "metadata": {"hs3_version": "0.2", "packages": [{"name": "ROOT", "version": "6.40.00"}]},
    "distributions": [
        {
            "name": "model_SR",
            "type": "histfactory_dist",
            "axes": [AXIS],
            "samples": [
                sample("signal", [20.0, 10.0], [normsys("syst1"), {"name": "mu", "type": "normfactor"}]),
                sample("background1", [100.0, 0.0], [normsys("syst2"), MCSTAT], errors=[5.0, 0.0]),
                sample("background2", [0.0, 100.0], [normsys("syst3"), MCSTAT], errors=[0.0, 10.0]),
            ],
            "staterror": {"constraint_type": "Poisson"},
        }
    ],
    "data": [{"name": "obsData_SR", "type": "binned", "axes": [AXIS], "contents": [122.0, 112.0]}],
    "likelihoods": [{"name": "simPdf_obsData", "distributions": ["model_SR"], "data": ["obsData_SR"]}],
    "analyses": [{"name": "simPdf_obsData", "likelihood": "simPdf_obsData", "parameters_of_interest": ["mu"]}],
    "domains": [
        {"name": "default_domain", "type": "product_domain", "axes": [{"name": "mu", "min": -3.0, "max": 5.0}]}
    ],
    "parameter_points": [{"name": "default_values", "parameters": [{"name": "mu", "value": 1.0}]}],
}


def add(path, value):
    return {"op": "add", "path": path, "value": value}


def threshold(value):
    return add(f"{STATERROR}/relThreshold", value)


def gaussian(name, x, mean, sigma):
    return add("/distributions/-", {"name": name, "type": "gaussian_dist", "x": x, "mean": mean, "sigma": sigma})


def modifier(value):
    """A further modifier of background1, in a model without staterrors."""
    return [*WITHOUT, add(f"{SAMPLE}/1/modifiers/-", value)]


def shapesys(**more):
    return modifier({"name": "u", "type": "shapesys", "data": {"vals": [0.1, 0.2]}} | more)


def wide(**more):
    return {"name": "u", "type": "normsys", "data": {"lo": 0.9, "hi": 1.3}} | more


FORMS = {
    "staterror": [],
    "threshold above one bin's uncertainty": [threshold(0.07)],
    "threshold that is a bin's uncertainty": [threshold(0.05)],
    "threshold of normal constraints": [threshold(0.07), add(f"{STATERROR}/constraint_type", "Gauss")],
    "threshold, and a value": [threshold(0.07), add(POINTS, {"name": "gamma_stat_SR_bin_0", "value": 1.0})],
    "constant by its value": [add(POINTS, {"name": "gamma_stat_SR_bin_1", "value": 1.0, "const": True})],
    "constant by its tag": [
        add("/misc", {"ROOT_internal": {"attributes": {"alpha_syst2": {"tags": ["Constant"]}}}}),
    ],
    "staterror Const": [add(f"{STATERROR}/constraint_type", "Const")],
    "no errors of a sample": [{"op": "remove", "path": f"{SAMPLE}/1/data/errors"}],
    "a range with one side": [add(AXES, {"name": "alpha_syst1", "min": -1.0})],
    "a value without a range": [add(POINTS, {"name": "alpha_syst1", "value": 0.0})],
    "edges": [add("/distributions/0/axes", [{"name": "obs_x_SR", "edges": [0.0, 1.0, 2.0]}])],
    "shapesys without a type": shapesys(),
    "shapesys constraint_type": shapesys(constraint_type="Poisson"),
    "shapesys constraint": shapesys(constraint="Poisson"),
    "shapesys Const": shapesys(constraint_type="Const"),
    "shapesys with a bin without": shapesys(constraint_type="Poisson", data={"vals": [0.1, 0.0]}),
    "a modifier without a name": modifier({"type": "normsys", "parameter": "alpha_q", "data": {"lo": 0.9, "hi": 1.3}}),
    "interpolation 5": modifier(wide(interpolation=5)),
    "constraint by name": [*modifier(wide(constraint_name="c")), gaussian("c", "alpha_u", "nom_alpha_u", 0.5)],
    "constraint by name, swapped": [*modifier(wide(constraint_name="c")), gaussian("c", "nom_alpha_u", "alpha_u", 0.5)],
    "constraint of a factor": [
        *modifier({"name": "q", "type": "normfactor", "constraint_name": "c"}),
        gaussian("c", "q", 1.0, 0.1),
    ],
}


def patched(content, patch):
    """The content after the operations of a patch."""
    content = copy.deepcopy(content)
    for operation in patch:
        *steps, last = operation["path"].split("/")[1:]
        here = content
        for step in steps:
            here = here[int(step) if isinstance(here, list) else step]
        if operation["op"] == "remove":
            del here[int(last) if isinstance(here, list) else last]
        elif last == "-":
            here.append(operation["value"])
        else:
            here[int(last) if isinstance(here, list) else last] = operation["value"]
    return content


def evaluate(content):
    """What ROOT reads and fits."""
    workspace = ROOT.RooWorkspace("workspace")
    ROOT.RooJSONFactoryWSTool(workspace).importJSONfromString(json.dumps(content))
    workspace.loadSnapshot("default_values")
    model = next(item for item in workspace.allGenericObjects() if item.InheritsFrom("RooStats::ModelConfig"))
    data = list(workspace.allData())[-1]
    nll = model.GetPdf().createNLL(data, ROOT.RooFit.GlobalObservables(model.GetGlobalObservables()))
    minimizer = ROOT.RooMinimizer(nll)
    minimizer.setPrintLevel(-1)
    minimizer.setStrategy(2)
    minimizer.setEps(1e-6)
    minimizer.minimize("Minuit2", "migrad")
    minimizer.hesse()
    found = [
        item
        for item in model.GetPdf().getParameters(data)
        if item.InheritsFrom("RooRealVar") and not item.GetName().startswith("nom_")
    ]
    mu = workspace.var("mu")
    return {
        "mu": [mu.getVal(), mu.getError()],
        "constant": [item.GetName() for item in found if item.isConstant()],
        "ranges": {
            item.GetName(): [
                None if item.getMin() < -1e29 else item.getMin(),
                None if item.getMax() > 1e29 else item.getMax(),
            ]
            for item in found
            if not item.isConstant()
        },
    }


def main():
    ROOT.gROOT.SetBatch(True)
    ROOT.RooMsgService.instance().setGlobalKillBelow(ROOT.RooFit.ERROR)
    forms = {name: {"patch": patch} | evaluate(patched(BASE, patch)) for name, patch in FORMS.items()}
    text = json.dumps({"base": BASE, "forms": forms}, indent=1)
    (Path(__file__).resolve().parent / "forms.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
