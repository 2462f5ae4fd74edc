"""RooFit's side of the benchmark: HistFactory's model of a pyhf workspace, and its fits of toys one after the other.

Needs the ``root`` package (6.40). tests/data/hs3/make_root.py builds its files with ``build`` too.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import ROOT

HISTFACTORY = ROOT.RooStats.HistFactory
KEPT = []  # histograms live as long as the measurement that refers to them

TOYS = r"""
// Fits toys with one likelihood and one minimizer; rows of every array are toys.
class ToyFitter {
  RooAbsReal &nll;
  RooDataSet &observed;
  std::vector<RooRealVar *> parameters, globals;
  RooArgSet all, start, columns;
  RooRealVar &poi, weight;
  double mu;
  RooMinimizer minimizer;
  std::unique_ptr<RooDataSet> toy;
  static std::vector<RooRealVar *> list(const RooArgList &items) {
    std::vector<RooRealVar *> found;
    for (auto *item : items) found.push_back(static_cast<RooRealVar *>(item));
    return found;
  }

public:
  ToyFitter(RooAbsReal &nll_, RooDataSet &observed_, const RooArgList &parameters_, const RooArgList &globals_,
            RooRealVar &poi_, double mu_)
      : nll(nll_), observed(observed_), parameters(list(parameters_)), globals(list(globals_)), all(parameters_),
        columns(*observed_.get()), poi(poi_), weight("weight", "weight", 1.0), mu(mu_), minimizer(nll_) {
    columns.add(weight);
    all.snapshot(start);
    minimizer.setPrintLevel(-1);
    minimizer.setStrategy(0);
  }
  void data(const double *main, const double *auxiliary) {
    auto next = std::make_unique<RooDataSet>("toy", "toy", columns, RooFit::WeightVar(weight));
    for (int i = 0; i < observed.numEntries(); ++i) next->add(*observed.get(i), main[i]);
    for (std::size_t i = 0; i < globals.size(); ++i) globals[i]->setVal(auxiliary[i]);
    nll.setData(*next, false);
    toy = std::move(next);
  }
  // the nll of each toy at its point
  void values(int toys, const double *main, const double *auxiliary, const double *points, double *nlls) {
    for (int t = 0; t < toys; ++t) {
      data(main + t * observed.numEntries(), auxiliary + t * globals.size());
      for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i]->setVal(points[t * parameters.size() + i]);
      nlls[t] = nll.getVal();
    }
    all.assign(start);
  }
  // a free and a conditional fit of each toy: parameters, the nll and Minuit's status, (toys, 2, P + 2)
  void fits(int toys, const double *main, const double *auxiliary, double *ends) {
    for (int t = 0; t < toys; ++t) {
      data(main + t * observed.numEntries(), auxiliary + t * globals.size());
      all.assign(start);
      for (bool conditional : {false, true}) {
        if (conditional) poi.setVal(mu);
        poi.setConstant(conditional);
        int status = minimizer.minimize("Minuit2", "migrad");
        for (auto *parameter : parameters) *ends++ = parameter->getVal();
        *ends++ = nll.getVal();
        *ends++ = status;
      }
      poi.setConstant(false);
    }
    all.assign(start);
  }
};
"""


def build(spec: Mapping, *, staterror: str = "Gauss", shapesys: str = "Poisson") -> ROOT.RooWorkspace:
    """HistFactory's workspace of a pyhf workspace's first measurement.

    Args:
        spec: the pyhf workspace, patched.
        staterror: the constraint of staterror, ``Gauss`` (pyhf's) or ``Poisson``.
        shapesys: the constraint of shapesys, ``Poisson`` (pyhf's) or ``Gaussian``.
    """
    config = spec["measurements"][0]["config"]
    settings = {item["name"]: item for item in config["parameters"]}
    lumi = settings.get("lumi", {})
    measurement = HISTFACTORY.Measurement("measurement", "measurement")
    measurement.SetPOI(config["poi"])
    measurement.SetLumi(lumi.get("auxdata", [1.0])[0])
    measurement.SetLumiRelErr(lumi.get("sigmas", [0.1])[0] / lumi.get("auxdata", [1.0])[0])
    if not lumi or lumi.get("fixed"):
        measurement.AddConstantParam("Lumi")
    used = {one["name"] for content in spec["channels"] for item in content["samples"] for one in item["modifiers"]}
    for name, item in settings.items():
        if item.get("fixed") and name in used - {"lumi"}:
            measurement.AddConstantParam(name)
    observed = {item["name"]: item["data"] for item in spec["observations"]}
    for content in spec["channels"]:
        channel = HISTFACTORY.Channel(content["name"])
        channel.SetData(_histogram(f"data_{content['name']}", observed[content["name"]]))
        channel.SetStatErrorConfig(0.0, staterror)
        for item in content["samples"]:
            prefix = f"{content['name']}_{item['name']}"
            sample = HISTFACTORY.Sample(item["name"])
            statistical = next((one["data"] for one in item["modifiers"] if one["type"] == "staterror"), None)
            sample.SetHisto(_histogram(prefix, item["data"], statistical))
            sample.SetNormalizeByTheory(any(one["type"] == "lumi" for one in item["modifiers"]))
            if statistical:
                sample.ActivateStatError()
            for modifier in item["modifiers"]:
                _add(sample, modifier, item["data"], prefix, shapesys, settings.get(modifier["name"], {}))
            channel.AddSample(sample)
        measurement.AddChannel(channel)
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:  # HistFactory leaves files where it runs
        os.chdir(folder)
        try:
            return HISTFACTORY.MakeModelAndMeasurementFast(measurement)
        finally:
            os.chdir(here)


def _add(sample, modifier: Mapping, nominal: Sequence[float], prefix: str, shapesys: str, settings: Mapping) -> None:
    kind, name, data = modifier["type"], modifier["name"], modifier["data"]
    if kind == "normfactor":
        sample.AddNormFactor(name, 1.0, *settings.get("bounds", [[0.0, 10.0]])[0])
    elif kind == "normsys":
        sample.AddOverallSys(name, data["lo"], data["hi"])
    elif kind == "histosys":
        shape = HISTFACTORY.HistoSys()
        shape.SetName(name)
        shape.SetHistoLow(_histogram(f"{prefix}_{name}_lo", data["lo_data"]))
        shape.SetHistoHigh(_histogram(f"{prefix}_{name}_hi", data["hi_data"]))
        sample.AddHistoSys(shape)
    elif kind == "shapesys":
        shape = HISTFACTORY.ShapeSys()
        shape.SetName(name)
        relative = [error / value if value else 0.0 for error, value in zip(data, nominal, strict=True)]
        shape.SetErrorHist(_histogram(f"{prefix}_{name}_errors", relative))
        shape.SetConstraintType(getattr(HISTFACTORY.Constraint, shapesys))
        sample.AddShapeSys(shape)
    elif kind == "shapefactor":
        shape = HISTFACTORY.ShapeFactor()
        shape.SetName(name)
        sample.AddShapeFactor(shape)


def _histogram(name: str, values: Sequence[float], errors: Sequence[float] | None = None):
    made = ROOT.TH1D(name, name, len(values), 0.0, 2.0 * len(values))
    made.SetDirectory(ROOT.nullptr)
    ROOT.SetOwnership(made, False)
    KEPT.append(made)
    for i, value in enumerate(values):
        made.SetBinContent(i + 1, value)
        made.SetBinError(i + 1, errors[i] if errors else 0.0)
    return made


def _keep_lumi_off(workspace: ROOT.RooWorkspace, spec: Mapping) -> ROOT.RooRealVar:
    """Take Lumi off the samples that have no lumi: ROOT 6.40 scales them all, whatever SetNormalizeByTheory says.

    Returns what stands in its place, to be kept alive.
    """
    unity = ROOT.RooRealVar("unity", "1 in place of Lumi", 1.0)
    unity.setConstant(True)
    unity.setAttribute("ORIGNAME:Lumi")
    for channel in spec["channels"]:
        for sample in channel["samples"]:
            scale = workspace.function(f"{sample['name']}_{channel['name']}_scaleFactors")
            if scale and not any(one["type"] == "lumi" for one in sample["modifiers"]):
                scale.redirectServers(ROOT.RooArgSet(unity), False, True)
    return unity


class Toys:
    """RooFit's likelihood of a workspace, and its fits of toys in toymill's order of data and parameters.

    The fastest configuration that is sane: the NLL made once (CPU backend) and given each toy by ``setData``, global
    observables set to its auxiliary data; Minuit2's MIGRAD of strategy 0 with RooFit's tolerance, no Hesse and no
    errors; the free fit from the initial values and steps, the conditional one from where it ended. The loop is C++.

    Args:
        spec: the pyhf workspace, patched.
        about: what ``bench.py`` says of toymill's model: parameters and data in its order.
        mu: where the conditional fit holds the parameter of interest.
    """

    def __init__(self, spec: Mapping, about: Mapping, mu: float) -> None:
        ROOT.RooMsgService.instance().setGlobalKillBelow(ROOT.RooFit.ERROR)
        ROOT.gInterpreter.Declare(TOYS)
        self.workspace = build(spec)
        self.unity = _keep_lumi_off(self.workspace, spec)
        model = next(item for item in self.workspace.allGenericObjects() if item.InheritsFrom("RooStats::ModelConfig"))
        self.observed = self.workspace.data("obsData")
        names = _roofit_names(spec, about["names"])
        self.init = np.array(about["init"])
        self.free = np.flatnonzero(~np.array(about["fixed"]))
        parameters = ROOT.RooArgList()
        for name, fixed, bounds, init in zip(names, about["fixed"], about["bounds"], self.init, strict=True):
            variable = self.workspace.var(name)
            if fixed and not variable:
                continue  # HistFactory leaves out what cannot move
            # HistFactory's own bounds of gammas cut off some toys' minima: the bounds are toymill's, which are pyhf's
            variable.setRange(*bounds)
            variable.setVal(init)
            variable.setConstant(fixed)
            if not fixed:
                parameters.add(variable)
        # a nominal value keeps within its range, which some toys would leave
        globals_ = ROOT.RooArgList()
        for i in about["constrained"]:
            name = "nominalLumi" if names[i] == "Lumi" else f"nom_{names[i]}"
            variable = self.workspace.var(name)
            variable.removeMin()
            variable.removeMax()
            globals_.add(variable)
        self.columns = self._columns(about["main"])
        self.mains = len(about["main"])
        self.channels = len(spec["channels"])
        self.nll = model.GetPdf().createNLL(
            self.observed,
            ROOT.RooFit.GlobalObservables(model.GetGlobalObservables()),
            ROOT.RooFit.GlobalObservablesSource("model"),
            ROOT.RooFit.EvalBackend("cpu"),
        )
        poi = self.workspace.var(names[about["names"].index(about["poi"])])
        self.fitter = ROOT.ToyFitter(self.nll, self.observed, parameters, globals_, poi, mu)

    def nll_at(self, points: np.ndarray, toys: np.ndarray) -> np.ndarray:
        """The nll of each toy at its point, shapes (n, P) and (n, D) to (n,)."""
        values = np.empty(len(toys))
        self.fitter.values(len(toys), *self._split(toys), np.ascontiguousarray(points[:, self.free]), values)
        return values - self._channel_term(toys)

    def fit(self, toys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Parameters (n, 2, P), nll (n, 2), and whether Minuit complains (n, 2), of free and conditional fits."""
        ends = np.empty((len(toys), 2, len(self.free) + 2))
        self.fitter.fits(len(toys), *self._split(toys), ends)
        parameters = np.tile(self.init, (len(toys), 2, 1))
        parameters[:, :, self.free] = ends[:, :, :-2]
        return parameters, ends[:, :, -2] - self._channel_term(toys)[:, None], ends[:, :, -1] != 0

    def _channel_term(self, toys: np.ndarray) -> np.ndarray:
        """What RooFit adds to the nll of a simultaneous likelihood: the events times the log of the channels, (n,)."""
        return toys[:, : self.mains].sum(axis=1) * np.log(self.channels)

    def _split(self, toys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        main, auxiliary = toys[:, : self.mains], toys[:, self.mains :]
        return np.ascontiguousarray(main[:, self.columns]), np.ascontiguousarray(auxiliary)

    def _columns(self, main: Sequence[Sequence]) -> list[int]:
        """Where each entry of RooFit's dataset is among toymill's main data."""
        places = {(channel, number): k for k, (channel, number) in enumerate(main)}
        seen: dict[str, int] = {}
        columns = []
        for i in range(self.observed.numEntries()):
            channel = str(self.observed.get(i)["channelCat"].getLabel())
            columns.append(places[channel, seen.get(channel, 0)])
            seen[channel] = seen.get(channel, 0) + 1
        return columns


def _roofit_names(spec: Mapping, names: Sequence[str]) -> list[str]:
    """HistFactory's name of each of toymill's parameters."""
    modifiers = [(c["name"], one) for c in spec["channels"] for s in c["samples"] for one in s["modifiers"]]
    kinds: dict[str, set] = {}
    for _, one in modifiers:
        kinds.setdefault(one["name"], set()).add(one["type"])
    channel_of = {one["name"]: channel for channel, one in modifiers if one["type"] == "staterror"}
    found = []
    for name in names:
        base, _, number = name.removesuffix("]").rpartition("[")
        kind = kinds[base or name]
        if "lumi" in kind:
            found.append("Lumi")
        elif "normfactor" in kind:
            found.append(name)
        elif "staterror" in kind:
            found.append(f"gamma_stat_{channel_of[base]}_bin_{number}")
        elif kind & {"shapesys", "shapefactor"}:
            found.append(f"gamma_{base}_bin_{number}")
        else:
            found.append(f"alpha_{name}")
    return found
