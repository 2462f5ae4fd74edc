"""The results of a study in Python: typed records, dictionaries, arrays and pandas frames of what is stored."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from pydantic import TypeAdapter

from toymill.errors import ToymillError, nearest
from toymill.results.answers import Answers
from toymill.results.audit import Audit, read_audits
from toymill.results.description import Description, read_description
from toymill.results.design import Design, read_design
from toymill.results.files import made_anew, read_record
from toymill.results.hdf5 import ShardKey, damage_named, opened, read_dataset
from toymill.results.opened_ensemble import QUANTILE_FIELDS, OpenedEnsemble, frame_of
from toymill.results.provenance import Provenance
from toymill.results.scan_store import GROUPS, Tested
from toymill.results.summary import ComparisonSummary, Summary, read_summary

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 12  # names of studies in a message


def open_results(path: str | Path) -> Results:
    """The results of a finished study.

    Args:
        path: its folder, such as ``results/hww``.

    Raises:
        ToymillError: a path that is no folder of results, a study that has no summary yet, or a damaged file.

    Example:
        >>> results = toymill.open_results("results/hww")  # doctest: +SKIP
        >>> results.parameters.loc[("mu1", "mu"), ["bias", "bias_error"]]  # doctest: +SKIP
        >>> results["mu1"].estimates("mu")  # doctest: +SKIP
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        near = nearest(folder.name, _studies(folder.parent)) if _studies(folder.parent) else ""
        if folder.exists() and (folder.parent / "summary.json").exists():
            near = f"Open {folder.parent}."
        msg = f"{folder} {what}; expected the folder of a study, as results/<study>. {near}".strip()
        raise ToymillError(msg)
    if not (folder / "summary.json").exists():
        begun = any((folder / name).exists() for name in ("config.yaml", "study.json", "fits"))
        studies = ", ".join(_studies(folder)[:_SHOWN])
        if begun:
            msg = (
                f"The study in {folder} is not finished: it has no summary.json. Run its workflow to the end, which uses what "
                "is done, and open it again."
            )
        else:
            inside = f" Studies in it: {studies}." if studies else ""
            msg = f"{folder} has no results of a study; expected a folder as results/<study>.{inside}"
        raise ToymillError(msg)
    return Results(folder)


def _studies(folder: Path) -> list[str]:
    """The folders in a folder that have results of a study."""
    return sorted(path.parent.name for path in folder.glob("*/summary.json")) if folder.is_dir() else []


class Results:
    """What a study has stored, read when it is asked for. ``results["mu1"]`` is its ensemble of that name.

    Attributes:
        folder: its folder.
        summary: all of ``summary.json``, a ``toymill.results.summary.Summary``; of a study of kind optimisers a
            ``ComparisonSummary``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.summary: Summary | ComparisonSummary = read_summary(folder / "summary.json")

    def __repr__(self) -> str:
        item = self.summary
        names = ", ".join(item.ensembles)
        if isinstance(item, ComparisonSummary):
            return f"<Results of {item.study!r} in {self.folder}: optimisers compared on {names}; see .optimisers>"
        told = [
            f"<Results of {item.study!r} in {self.folder}: {item.headline.toys} toys, {item.headline.certified} certified; "
            f"ensembles {names}>"
            if names
            else f"<Results of {item.study!r} in {self.folder}: no ensembles>",
            *item.headline.answers,
        ]
        return "\n".join(told)

    def __getitem__(self, ensemble: str) -> OpenedEnsemble:
        _require_known("ensemble", ensemble, list(self.ensembles), self.folder)
        return self.ensembles[ensemble]

    def __iter__(self) -> Iterator[str]:
        return iter(self.ensembles)

    @cached_property
    def ensembles(self) -> dict[str, OpenedEnsemble]:
        """The ensembles of a study of kind toys, by name."""
        summary = self._of_toys("fits of ensembles")
        seed, names = int(self.config["seed"]), self.description.names
        return {
            name: OpenedEnsemble(
                name=name,
                poi=summary.poi,
                summary=item,
                names=names,
                folder=self.folder,
                key=ShardKey(name, item.digest, summary.model_digest, seed, 0, item.toys),
            )
            for name, item in summary.ensembles.items()
        }

    @cached_property
    def config(self) -> dict[str, Any]:
        """The study with every default, from ``config.yaml``."""
        path = self.folder / "config.yaml"
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
            assert isinstance(found, dict)
        except (OSError, ValueError, yaml.YAMLError, AssertionError) as error:
            msg = f"{path} cannot be read as YAML ({type(error).__name__}: {error}). {made_anew(path)}"
            raise ToymillError(msg) from None
        return found

    @cached_property
    def description(self) -> Description:
        """``model.json``: parameters, truth points, the fit to the observed data, information."""
        return read_description(self.folder / "model.json")

    @cached_property
    def provenance(self) -> Provenance:
        """``provenance.json``: versions, command, digests, seconds of each job.

        Raises:
            ToymillError: a study whose last job has not succeeded has none.
        """
        path = self.folder / "provenance.json"
        if not path.exists():
            msg = (
                f"{path} is not there: the study's last job has not succeeded, which refuses too many failed toys and "
                "missed minima. Run its workflow again, and read the log of the job 'finish'."
            )
            raise ToymillError(msg)
        return read_record(path, TypeAdapter(Provenance))

    @property
    def answers(self) -> Answers | None:
        """The answers to the study's sections (limit, interval, discovery, …); None without sections."""
        return self.summary.answers if isinstance(self.summary, Summary) else None

    @cached_property
    def design(self) -> Design | None:
        """``design.json``: the truth points and tested values of the sections; None without sections."""
        path = self.folder / "design.json"
        return read_design(path) if path.exists() else None

    @cached_property
    def audits(self) -> dict[str, Audit]:
        """The audit of each ensemble: toys that were fitted again with iminuit."""
        return read_audits(sorted(self.folder.glob("audit/**/*.json")))

    @property
    def parameters(self) -> pd.DataFrame:
        """Bias, spread and pulls: a row for each ensemble and free parameter, that of interest first."""
        items = self._of_toys("parameters").ensembles.items()
        rows = {(name, key): row for name, item in items for key, row in item.parameters.items()}
        return frame_of(rows, ("ensemble", "parameter"), without=QUANTILE_FIELDS)

    @property
    def tests(self) -> pd.DataFrame:
        """The distribution of t_μ, with quantiles and verdict: a row for each ensemble and tested value."""
        summary = self._of_toys("tests")
        rows = {(name, test.poi): test for name, item in summary.ensembles.items() for test in item.tests}
        return frame_of(rows, ("ensemble", summary.poi), without=("histogram", "poi"))

    @property
    def optimisers(self) -> pd.DataFrame:
        """What each optimiser made of the toys, a row for each ensemble and optimiser, in a study of kind optimisers."""
        if not isinstance(self.summary, ComparisonSummary):
            msg = f"{self.folder} compares no optimisers: it is a study of kind toys. See .parameters and .tests."
            raise ToymillError(msg)
        items = self.summary.ensembles.items()
        rows = {(name, method): row for name, item in items for method, row in item.methods.items()}
        return frame_of(rows, ("ensemble", "optimiser"))

    def optimiser(self, ensemble: str, name: str) -> dict[str, np.ndarray]:
        """What an optimiser made of every toy of an ensemble: arrays by name, ``parameters`` of shape (n, P) among them."""
        folder = self.folder / "optimisers"
        _require_known("ensemble", ensemble, [path.stem for path in sorted(folder.glob("*.h5"))], folder)
        path = folder / f"{ensemble}.h5"
        with opened(path) as file, damage_named(path):
            _require_known("optimiser", name, sorted(file), path)
            return {key: read_dataset(file, path, f"{name}/{key}") for key in file[name]}

    def scan(self, point: str) -> dict[str, pd.DataFrame]:
        """What the model of one signal of a scan says: frames of ``background`` and ``signal`` toys, ``observed``, ``asimov``.

        Args:
            point: the name of the signal's folder in ``scan/``.

        Raises:
            ToymillError: a signal that there is not, or a damaged file.
        """
        import pandas as pd

        folder = self.folder / "scan"
        _require_known("signal", point, sorted(path.name for path in folder.glob("*") if path.is_dir()), folder)
        found: dict[str, list[pd.DataFrame]] = {}
        for path in sorted((folder / point).glob("*.h5")):
            with opened(path) as file, damage_named(path):
                first, poi = int(file.attrs["first"]), str(file.attrs["poi"])
                for group in GROUPS:
                    columns = Tested(*(read_dataset(file, path, f"{group}/{name}") for name in Tested._fields))
                    table = {poi: columns.estimate, "q_0": columns.q_0, "q_mu": columns.q_mu, "failed": columns.failed}
                    index = pd.RangeIndex(first, first + len(columns.q_0), name="toy")
                    found.setdefault(group, []).append(pd.DataFrame(table, index=index))
        return {
            group: pd.concat(frames) if group in ("background", "signal") else frames[0]
            for group, frames in found.items()
        }

    def _of_toys(self, what: str) -> Summary:
        if isinstance(self.summary, ComparisonSummary):
            msg = f"{self.folder} has no {what}: it is a study of kind optimisers. See .optimisers and .optimiser()."
            raise ToymillError(msg)
        return self.summary


def _require_known(kind: str, name: str, known: list[str], where: Path) -> None:
    if name not in known:
        msg = f"{where} has no {kind} {name!r}. {nearest(name, known)}"
        raise ToymillError(msg)
