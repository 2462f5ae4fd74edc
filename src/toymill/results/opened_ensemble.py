"""What is stored of one ensemble, as pandas frames: every toy's fits, read shard by shard. Needs no JAX."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toymill.budget import OPENED_FRAME, SHARD_ROWS
from toymill.errors import ToymillError, nearest
from toymill.fitting.results import Fits, concatenate, rows_of
from toymill.fitting.status import CERTIFIED_STATUSES, Status
from toymill.record import Record
from toymill.results.hdf5 import ShardKey, damage_named, opened, read_dataset, read_key
from toymill.results.store import Keep, ShardReader, reading_shard
from toymill.results.summary import EnsembleSummary, read_matrices
from toymill.results.tally import Tally

if TYPE_CHECKING:
    import pandas as pd
    from jaxtyping import Int

    Toys = int | range | Sequence[int] | None

QUANTILE_FIELDS = ("estimate_quantiles", "pull_quantiles")
"""What a frame of parameters leaves out: lists."""

_SHARD = re.compile(r"(\d+)-(\d+)\.h5")


@dataclass(frozen=True, eq=False, repr=False)
class OpenedEnsemble:
    """One ensemble of a study: its summary, and every fit of every toy that is kept.

    Frames have a row for each toy, whose index is the toy's index in the ensemble. ``toys`` of their methods is a range or
    a list of such indices, one index, or None for all; ``chunks`` gives ranges that fit into memory. Files are read when
    they are asked for, each checked first.

    Attributes:
        name: its name.
        poi: the parameter of interest.
        summary: its part of ``summary.json``.
        names: the parameters of the model, in its order.
        folder: the folder of the study.
        key: what its shards must say that they are, but for their toys.
    """

    name: str
    poi: str
    summary: EnsembleSummary
    names: tuple[str, ...]
    folder: Path
    key: ShardKey

    def __repr__(self) -> str:
        item = self.summary
        tests = ", ".join(f"{value:g}" for value in self.tested)
        return (
            f"<Ensemble {self.name!r}: {item.toys} toys, {item.certified} certified, at {self.poi} = "
            f"{item.truth[self.poi]:g}, tested at {tests}; keep: {self.keep}>"
        )

    @property
    def keep(self) -> Keep:
        """What is kept of the fits: all, of the parameter of interest (poi), or a summary."""
        return self.summary.keep

    @property
    def tested(self) -> tuple[float, ...]:
        """The tested values of the parameter of interest, ascending."""
        return tuple(test.poi for test in self.summary.tests)

    @property
    def parameters(self) -> pd.DataFrame:
        """Bias, spread and pulls of each free parameter, a row each, that of interest first; quantiles are ``quantiles``."""
        return frame_of(self.summary.parameters, "parameter", without=QUANTILE_FIELDS)

    @property
    def quantiles(self) -> pd.DataFrame:
        """Quantiles of the ``estimate`` and of the ``pull`` of each free parameter, with errors: a row for each and level."""
        import pandas as pd

        rows = {}
        for name, item in self.summary.parameters.items():
            for what, found in (("estimate", item.estimate_quantiles), ("pull", item.pull_quantiles)):
                columns = found.model_dump() if found is not None else {}
                for number, level in enumerate(self.summary.quantile_levels if found else []):
                    rows[name, what, level] = {key: values[number] for key, values in columns.items()}
        index = pd.MultiIndex.from_tuples(rows, names=["parameter", "of", "level"]) if rows else None
        return pd.DataFrame(list(rows.values()), index=index, dtype=float)

    @property
    def tests(self) -> pd.DataFrame:
        """The distribution of t_μ at each tested value, a row each, with quantiles and verdict; without its histogram."""
        return frame_of({test.poi: test for test in self.summary.tests}, self.poi, without=("histogram", "poi"))

    @property
    def intervals(self) -> pd.DataFrame:
        """The coverage of both kinds of interval, a row for each kind and level."""
        kinds = {"profile": self.summary.intervals.profile, "hessian": self.summary.intervals.hessian}
        rows = {(kind, level): item for kind, levels in kinds.items() for level, item in levels.items()}
        return frame_of(rows, ("kind", "level"))

    @property
    def matrices(self) -> dict[str, pd.DataFrame]:
        """Information, Cramér-Rao bound and covariance of the estimates, each over the free parameters, from ``summary.h5``.

        Raises:
            ToymillError: a file that is missing or damaged.
        """
        import pandas as pd

        labels = self.summary.information.parameters
        found = read_matrices(self.folder / "summary.h5", self.name)
        return {name: pd.DataFrame(matrix, index=labels, columns=labels) for name, matrix in found.items()}

    def estimates(self, parameters: str | Sequence[str] | None = None, toys: Toys = None) -> pd.DataFrame:
        """The fitted values of the free fits, a column for each parameter.

        Args:
            parameters: one or several of them; None for all that are kept.
            toys: which toys.

        Raises:
            ToymillError: toys, parameters or fits that there are not, with those that there are; a frame of more than
                2 GB; a shard that is missing, damaged, or not of this summary.

        Example:
            >>> mu1 = toymill.open_results("results/hww")["mu1"]  # doctest: +SKIP
            >>> mu1.estimates("mu", toys=range(100)).mean()  # doctest: +SKIP
        """
        return self._parameters("parameters", parameters, toys)

    def errors(self, parameters: str | Sequence[str] | None = None, toys: Toys = None) -> pd.DataFrame:
        """The errors of ``estimates`` from the exact Hessian: NaN at a bound. Arguments and exceptions are the same."""
        return self._parameters("errors", parameters, toys)

    def nll(self, toys: Toys = None) -> pd.DataFrame:
        """The minimised negative log-likelihood of the fit ``free`` and of that at each tested value, a column each."""
        return self._frame(["free", *self.tested], toys, self._nll)

    def status(self, toys: Toys = None) -> pd.DataFrame:
        """How the fit ``free`` and that at each tested value ended, a column each; and whether the toy is ``certified``."""
        import pandas as pd

        codes = self._frame(["free", *self.tested], toys, self._status)
        words = [status.name.lower() for status in Status]
        place = {int(status): number for number, status in enumerate(Status)}
        columns: dict[Any, Any] = {
            name: pd.Categorical.from_codes([place[code] for code in codes[name]], words) for name in codes
        }
        columns["certified"] = np.isin(codes, CERTIFIED_STATUSES).all(axis=1)
        return pd.DataFrame(columns, index=codes.index)

    def t(self, toys: Toys = None) -> pd.DataFrame:
        """t_μ at each tested value, a column each, as the summary counts it: 0 where it is below by rounding.

        It is NaN for a toy that is not certified.
        """
        return self._frame(list(self.tested), toys, self._t)

    def fits(self, toys: Toys = None) -> tuple[Fits, list[Fits]]:
        """The free fits and those at each tested value, as ``toymill.q_mu`` and its like take them; of ``poi``, with it alone.

        Only free fits have errors.
        """
        self._require_fits()
        asked = self._asked(toys)
        width = 1 if self.keep == "poi" else len(self.names)
        self._require_small(len(asked), (1 + len(self.tested)) * (2 * width + 3))
        ordered, place = np.unique(asked, return_inverse=True)
        lots = [
            [rows_of(fits, rows) for fits in reader.rows(begin, end)]
            for reader, begin, end, rows in self._pieces(ordered)
        ]
        free, *tests = (rows_of(concatenate(parts), place) for parts in zip(*lots, strict=True))
        return free, tests

    def chunks(self) -> Iterator[range]:
        """Ranges of toys, of a shard each or a part of one, whose fits fit into memory: for the ``toys`` of the other methods.

        Example:
            >>> for toys in results["mu1"].chunks():  # doctest: +SKIP
            ...     print(toys, results["mu1"].estimates(toys=toys).mean())
        """
        step = self._step()
        for shard in self._shards().values():
            yield from (range(first, min(first + step, shard.stop)) for first in range(shard.start, shard.stop, step))

    def kept(self) -> pd.DataFrame:
        """The toys of the tail (t ≥ 16 at the truth) and those that failed, of shards that do not keep all: a row each.

        Columns are ``t`` at the truth, NaN of a failed toy, and the fitted value of every parameter. There are a thousand
        of either kind at most.
        """
        import pandas as pd

        tally = self.tally()
        table = tally.kept_fits[0].parameters if tally.kept_fits else np.empty((0, len(self.names)))
        frame = pd.DataFrame(table, columns=list(self.names), index=pd.Index(tally.kept, name="toy"))
        frame.insert(0, "t", tally.kept_t, allow_duplicates=True)
        return frame

    def tally(self) -> Tally:
        """The sums and histograms over all toys, of shards that do not keep all."""
        if self.keep == "all":
            msg = f"Ensemble {self.name!r} keeps every fit, and no tally: use estimates(), status() and t()."
            raise ToymillError(msg)
        whole: Tally | None = None
        for path, shard in self._shards().items():
            with self._reading(path, shard) as reader:
                tally = reader.tally()
                if whole is None:
                    whole = tally
                else:
                    whole.merge(tally)
        assert whole is not None
        return whole

    def data(self, toys: Toys = None) -> pd.DataFrame:
        """The raw toys, a column for each datum, main then auxiliary, of a study with ``keep_toys: true``."""
        import pandas as pd

        asked, folder = self._asked(toys), self.folder / "toys" / self.name
        if not folder.is_dir():
            msg = (
                f"{self.folder} has no raw toys of {self.name!r}: its study does not say 'keep_toys: true'. toymill.throw "
                "throws them again, with the same bits."
            )
            raise ToymillError(msg)
        ordered, place = np.unique(asked, return_inverse=True)
        parts, names = [], []
        for path, shard, inside in self._files_of(ordered, folder):
            with opened(path) as file, damage_named(path):
                read_key(file, path, "toymill-toys", self.key._replace(first=shard.start, toys=len(shard)))
                names = [str(name) for name in file["data"].attrs["names"]]
                self._require_small(len(asked), len(names))
                here = inside - shard.start
                rows = read_dataset(file, path, "data", slice(int(here[0]), int(here[-1]) + 1))
                parts.append(rows[here - here[0]])
        return pd.DataFrame(np.concatenate(parts)[place], columns=names, index=pd.Index(asked, name="toy"))

    def _parameters(self, field: str, parameters: str | Sequence[str] | None, toys: Toys) -> pd.DataFrame:
        self._require_fits()
        held = (self.poi,) if self.keep == "poi" else self.names
        names = list(held) if parameters is None else [parameters] if isinstance(parameters, str) else list(parameters)
        for name in names:
            if name not in held:
                only = (
                    f" Its study says 'keep: poi': of every toy, {self.poi!r} alone is kept."
                    if name in self.names
                    else ""
                )
                msg = f"Ensemble {self.name!r} has no parameter {name!r}.{only} {nearest(name, held)}"
                raise ToymillError(msg)
        places = [held.index(name) for name in names]

        def take(reader: ShardReader, begin: int, end: int) -> np.ndarray:
            return reader.field("free", field, begin, end)[:, places]

        return self._frame(names, toys, take)

    def _nll(self, reader: ShardReader, begin: int, end: int) -> np.ndarray:
        return np.stack([reader.field(group, "nll", begin, end) for group in reader.groups], axis=1)

    def _status(self, reader: ShardReader, begin: int, end: int) -> np.ndarray:
        return np.stack([reader.field(group, "status", begin, end) for group in reader.groups], axis=1)

    def _t(self, reader: ShardReader, begin: int, end: int) -> np.ndarray:
        nll = self._nll(reader, begin, end)
        certified = np.isin(self._status(reader, begin, end), CERTIFIED_STATUSES).all(axis=1, keepdims=True)
        t: np.ndarray = np.where(certified, np.maximum(2 * (nll[:, 1:] - nll[:, :1]), 0.0), np.nan)
        return t

    def _frame(
        self, columns: Sequence[Any], toys: Toys, take: Callable[[ShardReader, int, int], np.ndarray]
    ) -> pd.DataFrame:
        """A frame of some toys, from what is taken of each shard: rows begin to end of it."""
        import pandas as pd

        self._require_fits()
        asked = self._asked(toys)
        self._require_small(len(asked), len(columns))
        ordered, place = np.unique(asked, return_inverse=True)
        parts = [take(reader, begin, end)[rows] for reader, begin, end, rows in self._pieces(ordered)]
        table = np.concatenate(parts)[place] if parts else np.empty((0, len(columns)))
        return pd.DataFrame(table, columns=list(columns), index=pd.Index(asked, name="toy"))

    def _asked(self, toys: Toys) -> Int[np.ndarray, " toy"]:
        """The indices of the toys that are asked for; raises ToymillError for what is no index of the ensemble's."""
        total = self.summary.toys
        if toys is None:
            return np.arange(total)
        asked = np.atleast_1d(np.asarray(toys))
        if asked.size == 0:
            asked = asked.astype(np.int64)
        if asked.ndim != 1 or asked.dtype.kind not in "iu":
            msg = f"toys is {toys!r}; expected a range or a list of indices of toys, one index, or None for all."
            raise ToymillError(msg)
        outside = asked[(asked < 0) | (asked >= total)]
        if outside.size:
            msg = f"Ensemble {self.name!r} has no toy {outside[0]}: its {total} toys are 0 to {total - 1}."
            raise ToymillError(msg)
        return asked

    def _require_small(self, toys: int, numbers: int) -> None:
        size = toys * numbers * 8
        if size > OPENED_FRAME:
            msg = (
                f"{toys} toys of {numbers} numbers are {size / 1e9:.1f} GB; a frame may have {OPENED_FRAME / 1e9:.1f} GB. "
                "Name parameters or toys, or go through 'for toys in ensemble.chunks()'."
            )
            raise ToymillError(msg)

    def _require_fits(self) -> None:
        if self.keep == "summary":
            msg = (
                f"Ensemble {self.name!r} has no fits of every toy: its study says 'keep: summary'. There are kept(), the "
                "toys of the tail and those that failed, and tally(), sums and histograms over all."
            )
            raise ToymillError(msg)

    def _step(self) -> int:
        """Toys whose fits are read at once."""
        return max(1, SHARD_ROWS // (16 * len(self.names) * (1 + len(self.tested))))

    def _pieces(
        self, ordered: Int[np.ndarray, " toy"]
    ) -> Iterator[tuple[ShardReader, int, int, Int[np.ndarray, " row"]]]:
        """Where toys, ascending, are: a shard, a range of its rows, and which of them are wanted, counted from its begin."""
        step = self._step()
        for path, shard, inside in self._files_of(ordered, self.folder / "fits" / self.name):
            with self._reading(path, shard) as reader:
                for first in range(int(inside[0]), int(inside[-1]) + 1, step):
                    here = inside[(inside >= first) & (inside < first + step)] - shard.start
                    if here.size:
                        yield reader, int(here[0]), int(here[-1]) + 1, here - here[0]

    @contextmanager
    def _reading(self, path: Path, shard: range) -> Iterator[ShardReader]:
        """A shard that is of this summary."""
        with reading_shard(path, self.key._replace(first=shard.start, toys=len(shard))) as reader:
            if reader.tests != self.tested or reader.keep != self.keep:
                msg = (
                    f"{path} is not of {self.folder / 'summary.json'}: it has the tested values {list(reader.tests)} and "
                    f"keeps {reader.keep}; expected {list(self.tested)} and {self.keep}. Run the workflow again."
                )
                raise ToymillError(msg)
            yield reader

    def _files_of(
        self, ordered: Int[np.ndarray, " toy"], folder: Path
    ) -> Iterator[tuple[Path, range, Int[np.ndarray, " toy"]]]:
        """The files that have some of the toys, with their ranges and those of the toys that are in them."""
        for path, shard in self._shards(folder).items():
            inside = ordered[np.searchsorted(ordered, shard.start) : np.searchsorted(ordered, shard.stop)]
            if inside.size:
                yield path, shard, inside

    def _shards(self, folder: Path | None = None) -> dict[Path, range]:
        """The files of a folder that have the ensemble's toys, ascending; raises ToymillError where toys are missing.

        Until a run ends, the folder also has files that others have taken the place of, as when toys were added in rounds.
        """
        folder = folder or self.folder / "fits" / self.name
        named = [(path, _SHARD.fullmatch(path.name)) for path in sorted(folder.glob("*.h5"))]
        shards = {path: range(int(match[1]), int(match[2]) + 1) for path, match in named if match}
        last: dict[int, Path] = {}  # of a chain of files from toy 0, by where it ends
        for path, shard in shards.items():
            if shard.start == 0 or shard.start in last:
                last[shard.stop] = path
        if self.summary.toys not in last:
            expected = max(last, default=0)
            msg = (
                f"{folder} has not the shards of the {self.summary.toys} toys of {self.folder / 'summary.json'}: what "
                f"follows toy {expected - 1} is missing, or is too much. Run the workflow again: what is there is used."
            )
            raise ToymillError(msg)
        chain, end = [], self.summary.toys
        while end:
            chain.append(last[end])
            end = shards[last[end]].start
        return {path: shards[path] for path in reversed(chain)}


def frame_of(rows: Mapping[Any, Record], index: str | tuple[str, str], *, without: Sequence[str] = ()) -> pd.DataFrame:
    """A frame with a row for each record; a mapping inside a record has a column for each key, named ``outer.inner``."""
    import pandas as pd

    frame = pd.DataFrame([dict(_flat(row.model_dump(exclude=set(without)))) for row in rows.values()])
    frame.index = (
        pd.MultiIndex.from_tuples(rows, names=index) if isinstance(index, tuple) else pd.Index(rows, name=index)
    )
    return frame


def _flat(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a nested mapping by their path; NaN for None."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", np.nan if value is None else value
