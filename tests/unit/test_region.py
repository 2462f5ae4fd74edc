"""A joint confidence region of two parameters, from its section to the summary."""

import json

import numpy as np
import pytest
import scipy.special
import scipy.stats
from asked import finish, stated
from builders import normsys, workspace

import toymill
from toymill.cli.show import answered
from toymill.config.sections import ROUNDS, needs
from toymill.config.study import read_study
from toymill.errors import ToymillError
from toymill.inference.regions import neyman_regions
from toymill.report.draw import draw
from toymill.report.tables import tables
from toymill.results.design import Design, DesignedEnsemble, DesignedRegion
from toymill.study.design import design_study
from toymill.study.model import checked_model, most_correlated
from toymill.study.region_points import FAR
from toymill.study.region_rounds import region_precision, region_wants, undecided_part
from toymill.study.rounds import next_round

COUNTS = {"kind": "onoff", "tau": 2.0, "observed": [12, 10]}


def t_of_counts(s, b, on, off):
    """Of n_on ~ Poisson(s + b) and n_off ~ Poisson(2 b): of as many parameters as counts the best fit is perfect."""
    parts = [mean - n + scipy.special.xlogy(n, n / mean) for n, mean in ((on, s + b), (off, 2 * b))]
    return 2 * (parts[0] + parts[1])


def exact_p(s, b):
    on, off = np.meshgrid(np.arange(90), np.arange(90), indexing="ij")
    probability = scipy.stats.poisson.pmf(on, s + b) * scipy.stats.poisson.pmf(off, 2 * b)
    return probability[t_of_counts(s, b, on, off) >= t_of_counts(s, b, 12, 10) - 1e-9].sum()


def test_the_region_of_two_counts_is_the_enumerated_one(tmp_path):
    """Nine points of a signal and its background, both held in a conditional fit: p is the enumerated one."""
    asked = {"parameters": ["s", "b"], "ranges": [[2, 14], [3, 9]], "points": 3, "levels": [0.9], "toys": 1000}
    asked["precision"] = 0.5
    study, design, summary = finish(read_study({"study": "asked", "model": COUNTS, "region": asked}), tmp_path)
    assert design.region.values == [[2.0, 8.0, 14.0], [3.0, 6.0, 9.0]]
    assert design.region.best == pytest.approx([7.0, 5.0])
    assert design.ensembles["region-002"].truth == {"s": 2.0, "b": 6.0}
    found = summary.answers.region
    right = [exact_p(*item.at) for item in found.toys.points]
    for item, p in zip(found.toys.points, right, strict=True):
        assert item.test.t == pytest.approx(t_of_counts(*item.at, 12, 10), abs=1e-6)
        assert abs(item.test.p_value.value - p) < 4 * np.sqrt(p * (1 - p) / item.test.p_value.toys) + 3e-3
        assert item.test.critical["0.9"].asymptotic == pytest.approx(scipy.stats.chi2.ppf(0.9, 2))
    region, inside = found.toys.regions["0.9"], {k for k, p in enumerate(right) if p > 0.1}
    assert set(region.accepted) <= inside <= {*region.accepted, *region.undecided}
    assert 4 in region.accepted
    verdict = found.verdicts["0.9"]
    assert verdict.asymptotic == [k for k, item in enumerate(found.toys.points) if item.test.t <= 4.60517]
    assert not {*verdict.accepted_by_toys} & {*verdict.asymptotic}
    assert found.precision.reached is (undecided_part(region) <= 0.5)
    assert design.region.rounds[0].toys == 9000
    assert sum(item.toys for item in design.ensembles.values()) == 9000 + sum(
        item.added for item in design.region.rounds
    )
    told = [region.sentence, verdict.sentence, found.precision.sentence]
    assert summary.headline.answers == [f"region: {sentence}" for sentence in told]
    draw(summary, {"region": tmp_path / "region.svg"})
    assert (tmp_path / "region.svg").read_bytes().startswith(b"<?xml")
    (table,) = [table for table in tables(summary, {}) if table.key == "region-points"]
    assert [len(row) for row in table.rows] == [len(table.columns)] * 9
    (shown,) = answered(summary.answers, every=False)
    assert [str(cell) for cell in shown.columns[1].cells] == [f"{len(region.accepted)} of 9"]
    assert list(needs(study)) == [f"region-00{k}" for k in range(1, 10)]


def test_toys_are_added_until_few_points_are_undecided():
    """Of 81 points of the same counts, thrown here: all that are decided are so rightly, on the edge toys are spared."""
    rng, points = (
        np.random.default_rng(5),
        np.array([[s, b] for s in np.linspace(1, 17, 9) for b in np.linspace(3, 9, 9)]),
    )
    right = np.array([exact_p(*point) for point in points])
    names = {f"region-{k + 1:03d}": s for k, (s, _) in enumerate(points)}
    observed = np.array([t_of_counts(s, b, 12, 10) for s, b in points])
    toys = [np.empty(0)] * len(points)
    design = design_of(dict.fromkeys(names, 200))
    parts, counts = [], []
    for _ in range(1 + ROUNDS):
        for k, ((s, b), item) in enumerate(zip(points, design.ensembles.values(), strict=True)):
            more = item.toys - len(toys[k])
            toys[k] = np.append(toys[k], t_of_counts(s, b, rng.poisson(s + b, more), rng.poisson(2 * b, more)))
        found = neyman_regions(points, toys, observed, levels=[0.9], tolerance=1e-9)
        region = found.regions["0.9"]
        parts.append(undecided_part(region))
        counts.append([len(item) for item in toys])
        inside = set(np.flatnonzero(right > 0.1).tolist())
        assert set(region.accepted) <= inside <= {*region.accepted, *region.undecided}
        design = next_round(design, {"region": lambda: region_wants(found, names, 0.15)})  # noqa: B023
    assert parts[0] > 0.3
    assert parts[-1] <= 0.15
    assert design.region.rounds[-1].added == 0
    assert design.region.rounds[0].errors == {"0.9": parts[0]}
    far = np.abs(right - 0.1) > 0.3
    assert {counts[-1][k] for k in np.flatnonzero(far).tolist()} <= {200, 400}
    assert region_precision(found, names, design, 0.15).reached


def design_of(toys):
    region = DesignedRegion(parameters=["s", "b"], values=[], best=[], rounds=[])
    ensembles = {name: DesignedEnsemble(truth={}, tests=[], toys=n, sections=["region"]) for name, n in toys.items()}
    return Design(
        toymill="", study="s", nuisances="nominal", limit=None, interval=None, region=region, ensembles=ensembles
    )


def test_a_grid_holds_the_asymptotic_region():
    """Of on/off counts, where t ≤ χ² of two degrees of freedom. Farther out a corner would expect less than no event."""
    design = design_study(read_study({"study": "asked", "model": COUNTS, "region": {"points": 3, "levels": [0.9]}}))
    assert design.region.parameters == ["s", "b"]
    (s_low, _, _), (b_low, _, b_high) = design.region.values
    assert s_low + b_low > 0
    far = np.array([b_low, b_high]) - design.region.best[1]
    factor = min(FAR, key=lambda item: abs(least_t(5 + far[1] / item) - scipy.stats.chi2.ppf(0.9, 2)))
    for distance in far / factor:
        assert least_t(5 + distance) == pytest.approx(scipy.stats.chi2.ppf(0.9, 2), abs=2e-3)


def least_t(b):
    """t of 10 counts off alone: the signal makes up for any background."""
    return 2 * (2 * b - 10 + 10 * np.log(10 / (2 * b)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parameters": ["mu", "mu"]}, "region.parameters: mu is there twice; name each once"),
        ({"parameters": ["mu"]}, "region.parameters: needs at least 2"),
        ({"ranges": [[0, 2], [1, 1]]}, "region.ranges: a range does not ascend"),
        ({"levels": [0.9, 0.9]}, "region.levels: 0.9 is there twice"),
        ({"parameters": ["mu", "c"]}, "region.parameters: 'c' is no free parameter. Allowed: b, mu"),
        ({"parameters": ["mu", "b"], "ranges": [[0, 2], [1, 1.0e9]]}, r"region.ranges: Parameter 'b' cannot be 1e\+09"),
    ],
)
def test_a_region_that_cannot_be_is_refused(root, changes, message):
    with pytest.raises(ToymillError, match=message):
        checked_model(stated(root, region=changes))


def test_the_most_correlated_parameter_is_known_at_a_bound(tmp_path):
    """A deficit holds mu at 0, where its covariance with others is 0; the background still tells most of mu."""
    small = normsys("a_luminosity", 1.015, 0.985)
    samples = {"s": ([10.0], [small]), "b": ([100.0], [small, normsys("background", 1.3, 0.7)])}
    spec = workspace({"SR": samples})
    spec["observations"][0]["data"] = [60.0]
    path = tmp_path / "deficit.json"
    path.write_text(json.dumps(spec))
    model = toymill.read_workspace(path)
    assert model.parameters.names.index("a_luminosity") < model.parameters.names.index("background")
    assert toymill.fit(model, model.observed, covariance=False).parameter("mu")[0] == 0.0
    assert most_correlated(model, "region") == "background"
