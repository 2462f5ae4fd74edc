"""The likelihood is pyhf's: random workspaces, hand-made ones for every modifier, and published ones."""

import copy
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from builders import bare, binned, normsys, prefixed, together, workspace
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import toymill
from toymill.formats.reader import read_specification
from toymill.histfactory.arrays import Histosys, Multipliers, Normsys, Order
from toymill.histfactory.compiler import compile_specification, own_blocks
from toymill.histfactory.expectation import expectation
from toymill.histfactory.kernel import KERNEL
from toymill.histfactory.rates import by_kind, by_model, main_nll, main_offset, rates_at
from toymill.histfactory.second_minima import no_scan
from toymill.histfactory.terms import scale_terms, shift_terms
from toymill.models.densities import FLOOR, constraint_nll, constraint_offset
from toymill.parameters import constraints_of

CODES = [(norm, hist) for norm in ("code1", "code4") for hist in ("code0", "code2", "code4p")]
ATLAS = "config/workspaces/atlas-3l-erjr"


def modifier_settings(codes):
    return {"normsys": {"interpcode": codes[0]}, "histosys": {"interpcode": codes[1]}}


def pyhf_model(spec, codes=("code4", "code4p"), patches=(), **options):
    workspace = pyhf.Workspace(spec)
    model = workspace.model(modifier_settings=modifier_settings(codes), patches=list(patches), **options)
    return model, np.array(workspace.data(model))


def histosys(name, nominal, up=(0.1, 0.02, -0.05), down=(-0.07, 0.04, 0.03)):
    hi = [value * (1 + shift) for value, shift in zip(nominal, up, strict=False)]
    lo = [value * (1 + shift) for value, shift in zip(nominal, down, strict=False)]
    return {"name": name, "type": "histosys", "data": {"hi_data": hi, "lo_data": lo}}


A, B = [12.0, 30.0, 7.0], [50.0, 21.0, 33.0]
LUMI = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.03], "bounds": [[0.5, 1.5]], "inits": [1.0]}
ALONE = {
    "lumi": workspace({"c": {"a": (A, [bare("lumi", "lumi")])}}, [LUMI]),
    "normfactor": workspace({"c": {"a": (A, [bare("normfactor", "k")])}}),
    "shapefactor": workspace({"c": {"a": (A, []), "b": (B, [bare("shapefactor", "f")])}}),
    "normsys": workspace({"c": {"a": (A, []), "b": (B, [normsys("n")])}}),
    "histosys": workspace({"c": {"a": (A, []), "b": (B, [histosys("h", B)])}}),
    "shapesys": workspace({"c": {"a": (A, []), "b": (B, [binned("shapesys", "s", [5.0, 0.0, 2.0])])}}),
    "shapesys without yield": workspace(
        {"c": {"a": (A, []), "b": ([0.0, 4.0, 9.0], [binned("shapesys", "s", [1.0, 2.0, 0.0])])}}
    ),
    "staterror": workspace({"c": {"a": (A, []), "b": (B, [binned("staterror", "s", [5.0, 0.0, 2.0])])}}),
    "staterror without yield": workspace(
        {"c": {"a": (A, []), "b": ([0.0, 4.0, 9.0], [binned("staterror", "s", [1.0, 2.0, 0.0])])}}
    ),
    "configured": workspace(
        {"c": {"a": (A, [normsys("n")]), "b": (B, [binned("shapesys", "s", [5.0, 1.0, 2.0])])}},
        [
            {"name": "mu", "inits": [0.5], "bounds": [[-1.0, 4.0]]},
            {"name": "n", "inits": [0.3], "bounds": [[-3.0, 2.0]], "auxdata": [0.2], "fixed": False},
            {"name": "s", "auxdata": [90.0, 400.0, 250.0], "factors": [100.0, 441.0, 272.0], "fixed": False},
        ],
    ),
}
SHARED = {
    "normsys and histosys of a sample": workspace({"c": {"a": (A, [normsys("n"), histosys("n", A)])}}),
    "normsys and histosys of two samples": workspace({"c": {"a": (A, [normsys("n")]), "b": (B, [histosys("n", B)])}}),
    "normsys of two channels": workspace({"c": {"a": (A, [normsys("n")])}, "d": {"b": (B[:2], [normsys("n", 0.9, 1.2)])}}),
    "histosys of two channels": workspace({"c": {"a": (A, [histosys("n", A)])}, "d": {"b": (B[:2], [histosys("n", B[:2])])}}),
    "normfactor of two samples": workspace({"c": {"a": (A, [bare("normfactor", "k")]), "b": (B, [bare("normfactor", "k")])}}),
    "lumi of two channels": workspace({"c": {"a": (A, [bare("lumi", "lumi")])}, "d": {"b": (B, [bare("lumi", "lumi")])}}, [LUMI]),
    "shapefactor of two samples": workspace({"c": {"a": (A, [bare("shapefactor", "f")]), "b": (B, [bare("shapefactor", "f")])}}),
    "shapefactor of two channels": workspace({"c": {"a": (A, []), "b": (B, [bare("shapefactor", "f")])}, "d": {"b": (B[:2], [bare("shapefactor", "f")])}}),
    "staterror of two samples": workspace(
        {"c": {"a": (A, [binned("staterror", "s", [3.0, 2.0, 1.0])]), "b": (B, [binned("staterror", "s", [5.0, 0.0, 2.0])])}}
    ),
    "staterror of two channels": workspace(
        {"c": {"a": (A, [binned("staterror", "s", [3.0, 2.0, 1.0])])}, "d": {"a": (B[:2], [binned("staterror", "s", [5.0, 1.0])]), "b": (A[:2], [])}}
    ),
}  # fmt: skip
HAND_MADE = {**ALONE, **SHARED}
DEGENERATE = {
    "lumi",
    "normfactor",
    "normfactor of two samples",
    "shapefactor",
    "shapefactor of two samples",
}  # free factors that multiply


def each_alone(names):
    """Each as a case of its own, in the long part: what is proved of them together."""
    return [pytest.param(name, marks=pytest.mark.long) for name in sorted(names)]


def other_signal(patch):
    """A case of the long part: what is proved with the first signal, with shapes, and so programs, of its own."""
    return pytest.param(patch, marks=pytest.mark.long)


def simple_models():
    observed = [55.0, 48.0]
    for name, model in {
        "uncorrelated_background": pyhf.simplemodels.uncorrelated_background([5.0, 3.0], [50.0, 52.0], [7.0, 3.0]),
        "correlated_background": pyhf.simplemodels.correlated_background(
            [5.0, 3.0], [50.0, 52.0], [55.0, 50.0], [46.0, 53.0]
        ),
    }.items():
        spec = json.loads(json.dumps(dict(model.spec)))
        config = {"poi": "mu", "parameters": spec.pop("parameters", [])}
        spec |= {"observations": [{"name": "singlechannel" if name[0] == "u" else "single_channel", "data": observed}]}
        spec |= {"measurements": [{"name": "m", "config": config}], "version": "1.0.0"}
        spec["observations"][0]["name"] = spec["channels"][0]["name"]
        yield name, spec


SIMPLE = dict(simple_models())


def points(parameters, rng, count):
    """Points inside the bounds: near the initial values, |α| on both sides of 1, and some numbers at 0, ±1 and the bounds."""
    low, high = parameters.bounds.T
    normal = np.array([kind == "normal" for kind in parameters.constraint]) & (low < 0)
    found = []
    for k in range(count):
        x = rng.normal(parameters.init, np.where(normal, 1.2, 0.15))
        if k % 2:
            special = np.where(normal, rng.choice([-1.0, 0.0, 1.0], len(x)), parameters.init)
            special = np.where(rng.random(len(x)) < 0.2, np.where(rng.random(len(x)) < 0.5, low, high), special)
            x = np.where(rng.random(len(x)) < 0.4, special, x)
        found.append(np.clip(x, low, high))
    return np.array(found)


def code2_jumps(codes, parameters, x):
    """Where pyhf's code 2 leaves out a constant, so that its likelihood jumps (scikit-hep/pyhf issues 2610, 2729)."""
    alphas = np.array([kind == "normal" for kind in parameters.constraint])
    return codes[1] == "code2" and bool((np.abs(x[alphas]) > 1).any())


def rounding(model, expected, data):
    """How far rounding may put pyhf's sum, which adds n log ν, ν and log Γ(n+1) as they are."""
    poisson = model.sampling.poisson
    n, rate = np.asarray(data)[poisson], np.asarray(expected)[poisson]
    terms = np.stack([n * np.log(np.maximum(rate, 1e-300)), rate, n * np.log(n + 1)])
    return 2e-16 * (len(expected) + 4) * np.max(np.abs(terms), initial=0.0)


def same_numbers(spec, codes, patches=(), seed=0, count=8):
    """Expectation, main and auxiliary parts and their sum against pyhf, through the public door."""
    model = toymill.read_workspace(copy.deepcopy(spec), modifier_settings=modifier_settings(codes), patches=patches)
    reference, data = pyhf_model(spec, codes, patches)
    assert list(model.parameters.names) == reference.config.par_names
    assert model.poi == reference.config.poi_name
    np.testing.assert_array_equal(model.parameters.init, reference.config.suggested_init())
    np.testing.assert_array_equal(model.parameters.bounds, reference.config.suggested_bounds())
    np.testing.assert_array_equal(model.parameters.fixed, reference.config.suggested_fixed())
    np.testing.assert_array_equal(model.observed, data)
    compared = 0
    for x in points(model.parameters, np.random.default_rng(seed), count):
        if code2_jumps(codes, model.parameters, x):
            continue
        expected = np.asarray(reference.expected_data(x))
        scale = np.max(np.abs(expected[: reference.config.nmaindata]))
        np.testing.assert_allclose(model.expected_data(x), expected, rtol=1e-12, atol=1e-13 * scale)
        if (expected[model.sampling.poisson & (data > 0)] <= FLOOR).any() or (
            expected[model.sampling.poisson] < 0
        ).any():
            continue
        main, auxiliary = data[: reference.config.nmaindata], data[reference.config.nmaindata :]
        room = rounding(model, expected, data)
        for ours, theirs in (
            (model.logpdf(x, data), reference.logpdf(x, data)[0]),
            (model.main_logpdf(x, data), reference.mainlogpdf(main, x)),
            (model.constraint_logpdf(x, data), reference.constraint_logpdf(auxiliary, x) if len(auxiliary) else 0.0),
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=room)
        compared += 1
    return model, reference, data, compared


@pytest.mark.parametrize("name", ["all hand-made", *SIMPLE, *each_alone(HAND_MADE)])
def test_hand_made(name):
    """The hand-made ones as one workspace, and each alone."""
    spec = {**HAND_MADE, **SIMPLE, "all hand-made": together(HAND_MADE)}[name]
    kinds = {item["type"] for channel in spec["channels"] for one in channel["samples"] for item in one["modifiers"]}
    compared = 0
    for codes in CODES if kinds & {"normsys", "histosys"} else CODES[-1:]:
        compared += same_numbers(spec, codes)[-1]
    assert compared >= 3


@pytest.mark.parametrize("patch", [None, "patch.ERJR_100p0_20p0.json", "patch.ERJR_150p0_50p0.json"])
@pytest.mark.parametrize("codes", [("code4", "code4p"), ("code1", "code0")])
def test_published(root, patch, codes):
    """hww (patch None) and the ATLAS workspace with each signal."""
    path = root / (f"{ATLAS}/BkgOnly.json" if patch else "config/workspaces/hww.json")
    patches = [json.loads((root / ATLAS / patch).read_text())] if patch else []
    assert same_numbers(json.loads(path.read_text()), codes, patches, count=16)[-1] >= 4


@pytest.fixture
def pyhf_jax():
    before = pyhf.get_backend()
    pyhf.set_backend("jax", precision="64b")
    yield
    pyhf.set_backend(*before)


def same_derivatives(spec, patches=(), count=10, least=4):
    """Gradient and Hessian against JAX through pyhf's backend, to 1e-8 in units of the parameters' errors."""
    model = toymill.read_workspace(copy.deepcopy(spec), patches=patches)
    reference, data = pyhf_model(spec, patches=patches)
    derivatives = jax.jit(lambda x: (jax.grad(nll)(x), jax.hessian(nll)(x)))

    def nll(x):
        return -reference.logpdf(x, jnp.asarray(data))[0]

    exact, expectation_of = jax.jit(KERNEL.exact), jax.jit(reference.expected_data)
    compared = 0
    for x in points(model.parameters, np.random.default_rng(4), count):
        x = np.clip(x, model.parameters.bounds[:, 0] + 1e-3, None)
        expected = np.asarray(expectation_of(x))
        if (expected[model.sampling.poisson] <= 1e-6).any():
            continue
        gradient, hessian = derivatives(x)
        _, our_gradient, our_hessian = exact(model.arrays, x[:, None], data[:, None])
        unit = np.sqrt(np.abs(np.diag(hessian)) + 1)
        np.testing.assert_allclose(our_gradient[:, 0] / unit, gradient / unit, rtol=1e-8, atol=1e-8)
        scale = np.outer(unit, unit)
        np.testing.assert_allclose(our_hessian[0] / scale, hessian / scale, rtol=1e-8, atol=1e-8)
        compared += 1
    assert compared >= least


@pytest.mark.usefixtures("pyhf_jax")
@pytest.mark.parametrize("name", ["every-modifier", "all hand-made", *SIMPLE, *each_alone(HAND_MADE)])
def test_gradient_and_hessian_are_those_of_pyhf_by_jax(name, root):
    """Also at α = 0 and ±1, where interpolations join: codes 4 and 4p have two continuous derivatives there.

    The hand-made ones as one workspace, and each alone.
    """
    named = {**HAND_MADE, **SIMPLE, "all hand-made": together(HAND_MADE)}
    same_derivatives(named.get(name) or json.loads((root / "tests/data/every-modifier.json").read_text()))


@pytest.mark.usefixtures("pyhf_jax")
@pytest.mark.parametrize("patch", [None, "patch.ERJR_100p0_20p0.json", other_signal("patch.ERJR_150p0_50p0.json")])
def test_published_gradient_and_hessian(root, patch):
    """hww (patch None) and the ATLAS workspace with each signal."""
    path = root / (f"{ATLAS}/BkgOnly.json" if patch else "config/workspaces/hww.json")
    patches = [json.loads((root / ATLAS / patch).read_text())] if patch else []
    same_derivatives(json.loads(path.read_text()), patches, count=6, least=2)


# Random workspaces. Their arrays are padded to one shape, so that one compilation serves them all.

MOST_IN_A_BIN = 12
SIZES = {
    "S": 3,
    "B": 9,
    "C": 3,
    "P": 64,
    "F": 8,
    "N": 64,
    "M": 32,
    "interpolating": 24,
    "multi": 16,
    "single": 48,
    "idle": 16,
}
POOLS = {"normsys": ["n0", "n1", "n2"], "histosys": ["n0", "h1", "h2"], "normfactor": ["k0", "k1"]}
YIELD = st.one_of(st.just(0.0), st.floats(0.5, 120.0))


@st.composite
def workspaces(draw):
    """A valid pyhf workspace: channels, samples, bins and modifiers of every kind, shared as pyhf lets them be."""
    channels = {}
    widths = [draw(st.integers(1, 3)) for _ in range(draw(st.integers(1, 3)))]
    everywhere = draw(st.booleans())  # a staterror of sample a in all channels
    parameters = []
    for c, bins in enumerate(widths):
        channel = f"{draw(st.sampled_from('zyx'))}{c}"
        local = draw(st.booleans())
        shape = draw(st.booleans())
        samples = {}
        for s in ["a", "b", "c"][: draw(st.integers(1, 3))]:
            nominal = [draw(YIELD) for _ in range(bins)]
            shifts = st.lists(st.floats(-0.6, 0.6), min_size=bins, max_size=bins)
            names = {kind: draw(st.sets(st.sampled_from(pool), max_size=2)) for kind, pool in POOLS.items()}
            factor = st.floats(0.6, 1.6)
            modifiers = [normsys(name, draw(factor), draw(factor)) for name in names["normsys"]]
            modifiers += [histosys(name, nominal, draw(shifts), draw(shifts)) for name in names["histosys"]]
            modifiers += [bare("normfactor", name) for name in names["normfactor"]]
            if draw(st.booleans()):
                modifiers.append(bare("lumi", "lumi"))
            errors = [draw(st.one_of(st.just(0.0), st.floats(0.02, 0.5))) * value for value in nominal]
            if s == "a" and everywhere:
                modifiers.append(binned("staterror", "everywhere", errors))
            elif local and s != "a":
                modifiers.append(binned("staterror", f"stat_{c}", errors))
            if draw(st.integers(0, 3)) == 0:
                modifiers.append(
                    binned(
                        "shapesys",
                        f"shapesys_{c}{s}",
                        [draw(st.one_of(st.just(0.0), st.floats(0.3, 9.0))) for _ in nominal],
                    )
                )
            if shape and s == "b":
                modifiers.append(bare("shapefactor", f"shape_{bins}"))
            samples[s] = (nominal, draw(st.permutations(modifiers)))
        channels[channel] = dict(draw(st.permutations(list(samples.items()))))
    parameters.append(LUMI | {"fixed": draw(st.booleans()), "sigmas": [draw(st.floats(0.01, 0.3))]})
    if draw(st.booleans()):
        parameters.append(
            {
                "name": "n0",
                "inits": [draw(st.floats(-1.0, 1.0))],
                "bounds": [[-2.0, 3.0]],
                "auxdata": [draw(st.floats(-0.5, 0.5))],
            }
        )
    if draw(st.booleans()):
        parameters.append({"name": "mu", "bounds": [[-1.0, 5.0]], "fixed": draw(st.booleans())})
    spec = workspace(channels, draw(st.permutations(parameters)))
    for item, channel in zip(spec["observations"], spec["channels"], strict=True):
        total = np.sum([sample["data"] for sample in channel["samples"]], axis=0)
        item["data"] = [float(draw(st.integers(0, 150))) if value > 0 else 0.0 for value in total]
    return spec, draw(st.sampled_from(CODES)), draw(st.integers(0, 2**31))  # fmt: skip


def padded(compiled):
    """The templates in the one shape, and functions that pad parameters and data."""
    t = compiled.templates
    histosys, normsys, factors = t.histosys, t.normsys, t.multipliers
    slots, bins = t.nominal.shape
    s, b, c, p, f, n, m = (SIZES[key] for key in "SBCPFNM")
    size, channels = len(compiled.parameters), normsys.log_hi.shape[2]
    kinds = {
        "interpolating": len(t.order.interpolating),
        "multi": len(factors.multi_present),
        "single": len(factors.single_bin),
    }
    kinds["idle"] = len(t.order.parameters) - sum(kinds.values())
    # Every parameter that interpolates has a histosys and a normsys in the one shape, without effect where it has none.
    spare, spare_datum = p - 1, b + n + m - 1  # an unused parameter at 1 with auxiliary data of 1
    order, place_of, old, new = [], {}, 0, 0
    for kind, count in kinds.items():
        place_of |= {old + i: new + i for i in range(count)}
        order += [*t.order.parameters[old : old + count], *[spare] * (SIZES[kind] - count)]
        assert count < SIZES[kind]
        old, new = old + count, new + SIZES[kind]
    places = np.full((1, p), new - 1)
    places[0, :size] = [place_of[place] for place in t.order.places[0]]
    place_of[old] = new

    def pad(array, *shape, before=0):
        return np.pad(array, [(before, shape[0] - len(array) - before), *zip_longest(array.shape[1:], shape[1:])])

    def zip_longest(have, want):
        return [(0, w - h) for h, w in zip(have, want, strict=True)]

    factor = np.full((f, s, b), new)
    factor[: len(factors.places), :slots, :bins] = np.vectorize(place_of.get, otypes=[int])(factors.places)
    a, first = SIZES["interpolating"], len(t.order.interpolating) - len(normsys.edge)
    old_constraints = t.constraints
    normal, poisson = len(old_constraints.normal_datum), len(old_constraints.poisson_datum)

    def constraints(datum, parameter, width, count):
        known = [(d - bins + b, place_of[q], v) for d, q, v in zip(datum, parameter, width, strict=True)]
        return known + [(spare_datum, new - 1, 1.0)] * (count - len(known))

    own = new - SIZES["interpolating"] - SIZES["multi"]
    blocks = own_blocks(factors.single_bin, b, own)
    fill = [(0, MOST_IN_A_BIN - len(blocks)), (0, b + own - blocks.shape[1])]
    blocks = np.pad(blocks, fill, constant_values=own)
    everywhere = np.ones((a, s, c), dtype=bool)
    channel, linear, even = pad(t.bin_channel, b), pad(histosys.linear, a, s, b), pad(histosys.even, a, s, b)
    polynomial = np.moveaxis(pad(np.moveaxis(normsys.polynomial, 0, -1), a, s, c, 6, before=first), -1, 0)
    arrays = t._replace(
        nominal=pad(t.nominal, s, b),
        bin_channel=channel,
        order=Order(np.array(order), places, np.array(order)[:a], np.zeros(0, dtype=np.int64)),
        histosys=Histosys(
            linear, even, pad(histosys.shape.T, a, 6).T, *shift_terms(everywhere[:, :, channel], linear, even)
        ),
        normsys=Normsys(
            pad(normsys.log_hi, a, s, c, before=first),
            pad(normsys.log_lo, a, s, c, before=first),
            polynomial,
            pad(normsys.edge, a, before=first),
            *scale_terms(everywhere, channel),
        ),
        multipliers=Multipliers(
            factor,
            pad(factors.multi_present, SIZES["multi"], s, b),
            pad(factors.single_bin, SIZES["single"]),
            blocks,
            pad(factors.single_present, SIZES["single"], s),
        ),
        constraints=constraints_of(
            constraints(*old_constraints[1::-1], old_constraints.normal_sigma, n),
            constraints(*old_constraints[4:2:-1], old_constraints.poisson_tau, m),
            new,
        ),
        scan=no_scan(b, s),
    )
    assert size < p
    assert channels <= c
    excess = (n - normal) * 0.5 * np.log(2 * np.pi) + (m - poisson)  # what the spare constraints add to the nll

    def parameters(x):
        return np.concatenate([x, np.ones((p - size, x.shape[1]))])

    def data(values):
        row = np.ones(b + n + m)
        row[:b] = 0.0
        row[:bins] = values[:bins]
        row[b : b + len(values) - bins] = values[bins:]
        return row[:, None]

    return arrays, parameters, data, excess


@functools.partial(jax.jit)
def evaluate(arrays, x, data):
    theta = by_kind(arrays, x)
    rates, constraints = rates_at(arrays, theta), arrays.constraints
    main = main_nll(rates, data) + main_offset(arrays, data)
    auxiliary = constraint_nll(constraints, theta, data) + constraint_offset(constraints, data)
    fast = by_model(arrays, KERNEL.fast.gradient(arrays, theta, data)[1])
    return rates, main, auxiliary, KERNEL.exact(arrays, x, data), KERNEL.quadratic(arrays, x, data)[:2], fast


STENCIL = np.array([1 / 280, -4 / 105, 1 / 5, -4 / 5, 0.0, 4 / 5, -1 / 5, 4 / 105, -1 / 280])
SECOND = np.array([-1 / 560, 8 / 315, -1 / 5, 8 / 5, -205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560])
STEP = 0.06


def slopes(function, x, direction):
    """First and second derivative along a direction, by differences of eighth order."""
    values = np.array([function(x + k * STEP * direction) for k in range(-4, 5)])
    values -= values[4]
    return STENCIL @ values / STEP, SECOND @ values / STEP**2


def examples(count):
    return settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@examples(80)
@given(workspaces())
def test_random_workspaces(drawn):
    same_numbers_and_slopes(drawn)


@pytest.mark.long
@examples(320)
@given(workspaces())
def test_more_random_workspaces(drawn):
    same_numbers_and_slopes(drawn)


def same_numbers_and_slopes(drawn):
    """Expectation, both parts and the sum to 1e-12; gradient and Hessian along random directions to 1e-8."""
    spec, codes, seed = drawn
    compiled = compile_specification(
        read_specification(copy.deepcopy(spec), modifier_settings=modifier_settings(codes))
    )
    reference, data = pyhf_model(spec, codes)
    parameters = compiled.parameters
    assert list(parameters.names) == reference.config.par_names
    np.testing.assert_array_equal(parameters.init, reference.config.suggested_init())
    np.testing.assert_array_equal(parameters.bounds, reference.config.suggested_bounds())
    np.testing.assert_array_equal(parameters.fixed, reference.config.suggested_fixed())
    np.testing.assert_array_equal(compiled.observed, data)
    rng = np.random.default_rng(seed)
    x = points(parameters, rng, 8)
    arrays, pad_parameters, pad_data, excess = padded(compiled)
    rates, main, auxiliary, (_, gradient, hessian), (_, fisher_gradient), fast_gradient = jax.tree.map(
        np.asarray, evaluate(arrays, pad_parameters(x.T), pad_data(data))
    )
    bins = reference.config.nmaindata
    counts, constraints = data[:bins], data[bins:]
    for k, point in enumerate(x):
        if code2_jumps(codes, parameters, point):
            continue
        expected = np.asarray(reference.expected_data(point))
        scale = 1e-13 * np.max(np.abs(expected[:bins]))
        np.testing.assert_allclose(rates[:bins, k], expected[:bins], rtol=1e-12, atol=scale)
        np.testing.assert_allclose(expectation(compiled.templates, point), expected[:bins], rtol=1e-12, atol=scale)
        if (expected[:bins] < 0).any() or (expected[:bins][counts > 0] <= 1e-9).any():
            continue  # there pyhf's is not a number, and ours the floor's
        rest = -excess - auxiliary[k] + 2 * excess
        theirs = float(reference.constraint_logpdf(constraints, point)) if len(constraints) else 0.0
        room = 1e-14 * np.max(np.abs(np.stack([constraints * np.log(constraints + 2)])), initial=1.0)
        np.testing.assert_allclose(rest, theirs, rtol=1e-12, atol=room * 50)
        theirs_main = float(reference.mainlogpdf(counts, point))
        np.testing.assert_allclose(-main[k], theirs_main, rtol=1e-12, atol=2e-15 * np.sum(counts * 6 + expected[:bins]))
        if k % 2:
            continue  # at joins and bounds differences of high order do not hold
        size = len(point)
        unit = 1 / np.sqrt(np.abs(np.diag(hessian[k])[:size]) + 1)
        direction = rng.normal(size=size) / np.sqrt(size) * unit * 0.5
        reach = np.abs(4 * STEP * direction)
        alphas = np.array([kind == "normal" for kind in parameters.constraint]) & (parameters.bounds[:, 0] < 0)
        edges = [0.0, 1.0, -1.0]
        near = np.any([np.abs(point - edge) <= reach for edge in edges], axis=0) & alphas
        near |= ~alphas & (point - reach <= 0.02)
        direction = np.where(near, 0.0, direction)
        if np.min(expected[:bins], initial=1.0) < 0.05 or not direction.any():
            continue
        # what rounding of pyhf's terms n log ν, ν and log Γ(n+1) does to the differences
        terms = np.concatenate([counts, constraints * (constraints > 1)])
        noise = 1e-15 * np.max(terms * np.log(terms + 2), initial=10.0)
        slope, curve = slopes(lambda y: -float(reference.logpdf(y, data)[0]), point, direction)
        np.testing.assert_allclose(gradient[:size, k] @ direction, slope, rtol=1e-8, atol=1e-8 + noise / STEP)
        for other in (fisher_gradient, fast_gradient):
            np.testing.assert_allclose(other[:size, k], gradient[:size, k], rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(
            direction @ hessian[k, :size, :size] @ direction, curve, rtol=1e-8, atol=1e-8 + noise / STEP**2
        )


@pytest.fixture
def pyhf_minuit():
    before = pyhf.get_backend()
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(strategy=1, tolerance=1e-3))
    yield
    pyhf.set_backend(*before)


def pyhf_minimum(reference, data, held):
    """pyhf's smallest nll, or None where iminuit gives up, in the valley of a DEGENERATE workspace."""
    try:
        if held:
            _, twice = pyhf.infer.mle.fixed_poi_fit(held["mu"], data, reference, return_fitted_val=True)
        else:
            _, twice = pyhf.infer.mle.fit(data, reference, return_fitted_val=True)
    except pyhf.exceptions.FailedMinimization:
        return None
    return float(twice) / 2


@pytest.mark.usefixtures("pyhf_minuit")
@pytest.mark.parametrize(
    "name",
    [*SIMPLE, "every-modifier", "hww", *each_alone(HAND_MADE)],
)
def test_best_fits_are_no_higher_than_pyhfs(name, root):
    """Free and at μ = 0.5, against pyhf with iminuit: the same nll to 1e-6, or lower."""
    files = {"every-modifier": "tests/data/every-modifier.json", "hww": "config/workspaces/hww.json"}
    spec = json.loads((root / files[name]).read_text()) if name in files else {**HAND_MADE, **SIMPLE}[name]
    model = toymill.read_workspace(copy.deepcopy(spec))
    reference, data = pyhf_model(spec)
    for held in ({}, {"mu": 0.5}):
        fits = toymill.fit(model, data, held, covariance=False)
        lowest = pyhf_minimum(reference, data, held)
        if lowest is None:
            continue
        assert fits.nll[0] <= lowest + 1e-6
        assert fits.ok[0] or name in DEGENERATE
        if fits.ok[0]:
            assert fits.nll[0] == pytest.approx(lowest, abs=1e-4)


@pytest.mark.usefixtures("pyhf_minuit")
def test_best_fits_of_all_hand_made_together():
    """One fit of the product of their likelihoods: in each, no higher than pyhf's fit of it alone; free and at μ = 0.5."""
    specs = {name: spec for name, spec in HAND_MADE.items() if name not in DEGENERATE}
    model = toymill.read_workspace(together(specs))
    for held in ({}, {"mu": 0.5}):
        each = {f"{number}.mu": value for number in range(len(specs)) for value in held.values()}
        fits = toymill.fit(model, model.observed, each, covariance=False)
        assert fits.ok[0]
        total = 0.0
        for number, spec in enumerate(specs.values()):
            reference, data = pyhf_model(spec)
            ours = np.array([fits.parameter(prefixed(number, name))[0] for name in reference.config.par_names])
            nll = -float(reference.logpdf(ours, data)[0])
            assert nll == pytest.approx(pyhf_minimum(reference, data, held), abs=1e-4)
            assert nll <= pyhf_minimum(reference, data, held) + 1e-6
            total += nll
        assert fits.nll[0] == pytest.approx(total, abs=1e-9)
