"""Each program is compiled once a model: no number of toys, tested value or way of cutting makes another.

JAX tells every trace and every compilation to listeners of ``jax.monitoring``.
"""

import contextlib
import re
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import toymill
from toymill.fitting.conditional import fit_tests
from toymill.fitting.lanes import Program, Request, fit_lanes
from toymill.fitting.newton import Domain, Stop, minimize
from toymill.fitting.scoring import Queues
from toymill.models import extended, normal, poisson

COMPILE = "/jax/core/compile/"
COUNTS = (1, 7, 100, 1000)


@contextlib.contextmanager
def compilations():
    """What is traced, lowered and compiled inside the block, as a Counter of (stage, function)."""
    seen = Counter()

    def listen(name, duration, **details):  # noqa: ARG001
        if name.startswith(COMPILE):
            seen[name.removeprefix(COMPILE), details.get("fun_name")] += 1

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def toys_of(model, count=1000):
    return toymill.throw(model, model.parameters.init, count, seed=1)


@pytest.fixture(params=["hww", pytest.param("every-modifier", marks=pytest.mark.long), "normal", "poisson"])
def model(request, spec):
    builders = {
        "hww": lambda: request.getfixturevalue("hww"),
        "every-modifier": lambda: toymill.read_workspace(spec),
        "normal": lambda: normal.build(n=5),
        "poisson": poisson.build,
    }
    return builders[request.param]()


def test_compilations_are_seen():
    """Both a new function and a new shape of an old one are noticed; the same again is not."""
    function = jax.jit(lambda x: 3 * x + 1)
    small, large = np.zeros(3), np.zeros(4)
    for values in (small, large):
        with compilations() as seen:
            function(values)
        assert {stage for stage, _ in seen} == {
            "jaxpr_trace_duration",
            "jaxpr_to_mlir_module_duration",
            "backend_compile_duration",
        }
    with compilations() as seen:
        function(small)
        function(large)
    assert not seen


def test_fits(model):
    """Free and conditional fits at any value, of any number of toys, with and without covariances and indices."""
    data, poi = toys_of(model), model.poi
    init = float(model.parameters.init[model.poi_index])
    fit_tests(model, data[:300], [{poi: init}])
    toymill.fit(model, data[:300])  # the whole covariance is a program of its own
    with compilations() as seen:
        for count in COUNTS:
            free = toymill.fit(model, data[:count])
            toymill.fit(model, data[:count], {poi: init + 0.1}, start=free.parameters, covariance=False)
        for count in COUNTS[:-1]:
            toymill.fit(model, data[:count], tolerance=1e-7, index=np.arange(count) + 13)
            for value in (round(init), np.float64(init), init + np.arange(count) / count):
                toymill.fit(model, data[:count], {poi: value})
    assert not seen


def test_chunks_and_shards(model):
    """However an ensemble is cut into shards, and however many test points a study has."""
    data, poi = toys_of(model, 300), model.poi
    tests = [{poi: float(model.parameters.init[model.poi_index]) + shift} for shift in (0.0, 0.05, 0.2)]
    fit_tests(model, data, tests[:1])
    with compilations() as seen:
        for size in (299, 256, 77):
            for first in range(0, len(data), size):
                fit_tests(model, data[first : first + size], tests[:1], first=first)
        for count in (1, 7, 100):
            fit_tests(model, data[:count], tests[: 1 + count % 3])
    assert not seen


def test_intervals(model):
    """The ends that are still searched for become fewer with every step."""
    data = toys_of(model, 100)
    fit_tests(model, data, [{model.poi: float(model.parameters.init[model.poi_index])}])
    with compilations() as seen:
        for count in (1, 7, 100):
            toymill.profile_interval(model, data[:count], levels=[1.0])
        toymill.profile_interval(model, data[:7], levels=[0.5, 2.0, 3.84])
    assert not seen


@pytest.mark.parametrize("build", [normal.build, extended.build])
def test_throws(build):
    """A density's toys are drawn by JAX, in blocks of one shape."""
    model = build()
    toys_of(model, 10)
    with compilations() as seen:
        for count in COUNTS:
            toys_of(model, count)
            toymill.throw(model, model.parameters.init, count, seed=2, first=5)
    assert not seen


def test_a_workspace_read_twice_is_compiled_once(root, hww):
    """The program has the model's constants as arguments."""
    data = toys_of(hww, 300)
    fit_tests(hww, data, [{"mu": 1.0}])
    again = toymill.read_workspace(root / "config/workspaces/hww.json")
    assert again is not hww
    with compilations() as seen:
        fit_tests(again, data, [{"mu": 1.0}])
    assert not seen


def lowered_for_a_gpu(function, *arguments):
    """What a program calls outside XLA, when it is lowered for CUDA on a machine without a GPU."""
    text = jax.export.export(jax.jit(function), platforms=["cuda"])(*arguments).mlir_module()
    return set(re.findall(r"custom_call @([\w.]+)", text))


@pytest.mark.parametrize("name", ["hww", "poisson"])
def test_programs_of_fits_lower_for_a_gpu(request, name):
    """No program of a fit calls the host, or an operation that has no kernel on a GPU."""
    model = request.getfixturevalue("hww") if name == "hww" else poisson.build()
    parameters, data, lanes = len(model.parameters), len(model.data_names), 16
    arrays = jax.tree.map(jnp.asarray, model.arrays)
    domain = Domain(jnp.asarray(model.parameters.bounds), jnp.asarray(model.parameters.fixed))
    start, toys = jnp.zeros((parameters, lanes)), jnp.zeros((data, lanes))
    called = lowered_for_a_gpu(
        lambda arrays, start, toys: minimize(model.kernel, arrays, start, toys, domain, Stop(1e-8, 10)),
        *(arrays, start, toys),
    )
    if model.kernel.fast:
        program = Program(model.kernel, model.tuning, covariance=True)
        queues = Queues(
            counts=jnp.zeros(lanes, dtype=int),
            start=jnp.zeros((4, lanes, parameters)),
            data=jnp.zeros((4, lanes, data)),
            hold=jnp.zeros((4, lanes), dtype=int),
        )
        asked = Request(1e-8, 40, 0, 0, certify=True, errors=True, first_step=True)
        called |= lowered_for_a_gpu(
            lambda arrays, queues: fit_lanes(program, arrays, queues, domain, asked, model.initial_step),
            *(arrays, queues),
        )
        bounds, fixed = domain.bounds, domain.fixed
        called |= lowered_for_a_gpu(
            lambda arrays, x, toys: model.kernel.second_minima(arrays, x, toys, fixed, bounds), *(arrays, start, toys)
        )
        if len(model.arrays.scan.loose.places):
            called |= lowered_for_a_gpu(
                lambda arrays, x, toys: model.kernel.product(arrays, x, toys, fixed, bounds, jnp.asarray(0)),
                *(arrays, start, toys),
            )
    assert called <= {"cusolver_potrf_ffi"}  # Cholesky factors; solutions of triangular systems are XLA's own
