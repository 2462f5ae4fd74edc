"""What tracing, compiling, shapes, captured arrays and float32 cost: every number of docs/jax.md."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BEGIN = time.perf_counter()

from machine import described  # noqa: E402

from toymill.job import prepare  # noqa: E402

prepare()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

import toymill  # noqa: E402
from toymill.fitting.batching import block_size  # noqa: E402
from toymill.fitting.newton import Domain, Stop, minimize  # noqa: E402
from toymill.fitting.results import EDM_TOLERANCE  # noqa: E402
from toymill.fitting.search import STAGES  # noqa: E402
from toymill.models import normal  # noqa: E402
from toymill.models.base import Model  # noqa: E402

IMPORTED = time.perf_counter() - BEGIN

MODELS: dict[str, Callable[[], Model]] = {
    "lifetime": lambda: toymill.load_model("config/models/lifetime.py"),
    "normal": normal.build,
    "hww": lambda: toymill.read_workspace("config/workspaces/hww.json"),
}
TABLE = 10**6  # numbers of the large captured array
EVENTS = 10**6  # of a likelihood of about 10⁶
ROWS: list[dict[str, Any]] = []
COMPILED: list[str] = []  # names of the programs that XLA was asked for


def add(part: str, what: str, unit: str, values: Any) -> None:
    """Keep and print one row: median, least and largest of the values."""
    numbers = [float(value) for value in np.atleast_1d(values)]
    row = {"part": part, "what": what, "unit": unit, "median": statistics.median(numbers), "values": numbers}
    ROWS.append(row)
    spread = f"{min(numbers):.4g} to {max(numbers):.4g}" if len(numbers) > 1 else ""
    print(f"{part:8}{what:66}{row['median']:>12.5g} {unit:7}{spread}", flush=True)


def seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """Seconds of one call, until its result is there."""
    begin = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - begin


def stages(function: Any, *arguments: Any) -> tuple[dict[str, float], Any]:
    """Seconds to trace, lower and compile a jitted function from nothing, and the compiled program."""
    jax.clear_caches()
    begin = time.perf_counter()
    if hasattr(function, "trace"):
        traced = function.trace(*arguments)
        middle = time.perf_counter()
        lowered = traced.lower()
    else:  # JAX before 0.4.31 lowers in one step
        middle = time.perf_counter()
        lowered = function.lower(*arguments)
    end = time.perf_counter()
    compiled = lowered.compile()
    return {"trace": middle - begin, "lower": end - middle, "compile": time.perf_counter() - end}, (lowered, compiled)


def listen() -> None:
    """Write the name of every program that is compiled into COMPILED."""

    def heard(event: str, _: float, **more: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            COMPILED.append(str(more.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(heard)


def toys_of(model: Model, count: int) -> np.ndarray:
    """Toys at the initial values."""
    return toymill.throw(model, model.parameters.init, count, seed=1)


def first_and_later(repeats: int) -> None:
    """Part a: where the first call's time goes, and what later calls take."""
    for name, build in MODELS.items():
        model = build()
        size = block_size(model)
        toys = toys_of(model, size)
        x = np.tile(model.parameters.init, (size, 1))
        arguments: list[Any] = [model.kernel, model.arrays, np.ascontiguousarray(x.T), np.ascontiguousarray(toys.T)]
        arguments += [Domain(model.parameters.bounds, model.parameters.fixed), Stop(EDM_TOLERANCE, STAGES[0])]
        arguments += [model.kinks if model.kinks.any() else None]
        for what, function, given in (
            (f"{name}: logpdf of {size} toys", jax.jit(model.logpdf), (x, toys)),
            (f"{name}: fit of {size} toys", minimize, arguments),
        ):
            found = [stages(function, *given)[0] for _ in range(repeats)]
            for stage in found[0]:
                add("a", f"{what}: {stage}", "s", [item[stage] for item in found])
            function(*given)
            add("a", f"{what}: run", "s", [seconds(function, *given) for _ in range(5 * repeats)])
        first = []
        for _ in range(repeats):
            jax.clear_caches()
            first.append(seconds(lambda m, t: toymill.fit(m, t).nll, model, toys))
        add("a", f"{name}: toymill.fit of {size} toys, first call", "s", first)
        later = [seconds(lambda m, t: toymill.fit(m, t).nll, model, toys) for _ in range(5 * repeats)]
        add("a", f"{name}: toymill.fit of {size} toys, later calls", "s", later)


def new_process(repeats: int) -> None:
    """Part b: the same in new processes, with an empty and with a filled persistent cache."""
    for name in MODELS:
        found: dict[str, list[dict[str, float]]] = {"empty": [], "filled": []}
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as folder:
                for state in found:
                    command = [sys.executable, __file__, "--child", name, "--cache", folder]
                    begin = time.perf_counter()
                    made = subprocess.run(command, check=True, capture_output=True, text=True)
                    answer = json.loads(made.stdout.splitlines()[-1])
                    found[state].append({**answer, "process": time.perf_counter() - begin})
                files = [path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()]
        for state, answers in found.items():
            for what in answers[0]:
                add("b", f"{name}: cache {state}: {what}", "s", [answer[what] for answer in answers])
        add("b", f"{name}: files in the cache", "", len(files))
        add("b", f"{name}: size of the cache", "kB", sum(files) / 1e3)


def child(name: str, cache: str) -> None:
    """One new process: import, first and second fit."""
    jax.config.update("jax_compilation_cache_dir", cache)
    model = MODELS[name]()
    toys = toys_of(model, block_size(model))
    first, second = (seconds(lambda m, t: toymill.fit(m, t).nll, model, toys) for _ in range(2))
    print(json.dumps({"import": IMPORTED, "first fit": first, "second fit": second}))


def sample(n: int, traces: list[int]) -> Model:
    """A normal sample of known width, whose log-density counts how often it is traced."""

    def logpdf(params: Any, x: Any) -> Any:
        traces.append(1)
        return -0.5 * jnp.sum((x - params[0]) ** 2 + jnp.log(2 * jnp.pi))

    def throw(key: Any, params: Any) -> Any:
        return params[0] + jax.random.normal(key, (n,))

    return toymill.define_model({"mu": toymill.Parameter(0.0)}, poi="mu", logpdf=logpdf, throw=throw)


def shape_cases() -> tuple[dict[str, Callable[[], Any]], list[int]]:
    """What part c does, in order, and the list that grows with every trace of a log-density."""
    traces: list[int] = []
    ten, eleven, again = (sample(n, traces) for n in (10, 11, 10))
    toys, longer = toys_of(ten, 1000), toys_of(eleven, 100)
    density = jax.jit(ten.logpdf)
    cases: dict[str, Callable[[], Any]] = {
        "first fit, 100 toys of 10 numbers": lambda: toymill.fit(ten, toys[:100]).nll,
        "fit, the same again": lambda: toymill.fit(ten, toys[:100]).nll,
        "fit, 1 toy": lambda: toymill.fit(ten, toys[0]).nll,
        "fit, 1000 toys": lambda: toymill.fit(ten, toys).nll,
        "fit, 100 toys, mu held at 0": lambda: toymill.fit(ten, toys[:100], {"mu": 0.0}).nll,
        "fit, 100 toys of 11 numbers": lambda: toymill.fit(eleven, longer).nll,
        "fit, 100 toys of 10 numbers, model built anew": lambda: toymill.fit(again, toys[:100]).nll,
    }
    for what, count in (("1 toy", 1), ("2 toys", 2), ("3 toys", 3), ("3 toys again", 3)):
        cases[f"jitted logpdf, {what}"] = lambda n=count: density(np.zeros((n, 1)), toys[:n])
    return cases, traces


def shapes(repeats: int) -> None:
    """Part c: what is compiled anew. The cases follow each other in one process, each time from nothing."""
    found: dict[str, list[tuple[float, int, int]]] = {}
    for _ in range(repeats):
        jax.clear_caches()
        cases, traces = shape_cases()
        for what, case in cases.items():
            COMPILED.clear()
            before = len(traces)
            found.setdefault(what, []).append((seconds(case), len(traces) - before, len(COMPILED)))
    for what, measured in found.items():
        took, traced, compiled = zip(*measured, strict=True)
        add("c", f"{what}: traces of logpdf", "", traced)
        add("c", f"{what}: programs compiled", "", compiled)
        add("c", f"{what}: time", "s", took)


def loops(repeats: int) -> None:
    """Part d: one at a time, or many at once; microseconds a toy."""
    for name in ("lifetime", "hww"):
        model = MODELS[name]()
        size = block_size(model)
        toys = toys_of(model, 4 * size)
        truth = model.parameters.init
        one = jax.jit(model.logpdf)
        many = jax.jit(jax.vmap(model.logpdf, (None, 0)))

        def plainly(rows: np.ndarray, model: Model = model, truth: np.ndarray = truth) -> None:
            with jax.disable_jit():
                for row in rows:
                    jax.block_until_ready(model.logpdf(truth, row))

        ways: dict[str, tuple[Callable[[np.ndarray], Any], np.ndarray]] = {
            "logpdf, loop, not jitted": (plainly, toys[:4]),
            "logpdf, loop, jitted": (lambda rows, f=one, p=truth: [f(p, row) for row in rows], toys),
            "logpdf, jax.jit of jax.vmap": (lambda rows, f=many, p=truth: f(p, rows), toys),
            "logpdf, model.logpdf of all": (
                lambda rows, f=model.logpdf, p=truth: f(np.tile(p, (len(rows), 1)), rows),
                toys,
            ),
            "fit, loop of toymill.fit": (lambda rows, m=model: [toymill.fit(m, row).nll for row in rows], toys[:16]),
            "fit, one toymill.fit of all": (lambda rows, m=model: toymill.fit(m, rows).nll, toys),
        }
        for what, (way, rows) in ways.items():
            way(rows)
            found = [1e6 * seconds(way, rows) / len(rows) for _ in range(repeats)]
            add("d", f"{name}: {what} ({len(rows)} toys)", "us/toy", found)


GLOBAL = np.ones(1000)


def captured(repeats: int) -> None:
    """Part e: arrays that a jitted function captures are constants of its program."""
    global GLOBAL  # the mistake that is measured
    doubled = jax.jit(lambda x: x * jnp.sum(GLOBAL))
    before = float(doubled(1.0))
    GLOBAL = 2 * GLOBAL
    add("e", "x · sum(captured) at x = 1, before the array is doubled", "", before)
    add("e", "the same program, after", "", float(doubled(1.0)))
    add("e", "the same function at a new shape, after", "", float(doubled(jnp.ones(1))[0]))
    table = np.random.default_rng(1).uniform(1.0, 2.0, TABLE)
    ways: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "passed": (jax.jit(lambda x, t: jnp.sum(jnp.exp(-x * t))), (1.0, jnp.asarray(table))),
        "captured": (jax.jit(lambda x: jnp.sum(jnp.exp(-x * table))), (1.0,)),
    }
    for what, (function, given) in ways.items():
        found = []
        for _ in range(repeats):
            took, (lowered, compiled) = stages(function, *given)
            found.append(took)
        for stage in found[0]:
            add("e", f"{TABLE:,} numbers, {what}: {stage}", "s", [item[stage] for item in found])
        add("e", f"{TABLE:,} numbers, {what}: text of the lowered program", "MB", len(lowered.as_text()) / 1e6)
        memory = compiled.memory_analysis()
        for kind in ("argument", "temp"):
            add("e", f"{TABLE:,} numbers, {what}: {kind} memory", "MB", getattr(memory, f"{kind}_size_in_bytes") / 1e6)
    for size in (1000, TABLE):
        first = []
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as folder:
                _cache(folder)
                model = looked_up(table[:size])
                toys = toys_of(model, 100)
                first.append(seconds(lambda m, t: toymill.fit(m, t).nll, model, toys))
                cached = sum(path.stat().st_size for path in Path(folder).rglob("*minimize*"))
                _cache(None)
        add("e", f"first fit of a model that captures {size:,} numbers", "s", first)
        add("e", f"its entry in the persistent cache, {size:,} numbers", "MB", cached / 1e6)


def _cache(folder: str | None) -> None:
    from jax.experimental.compilation_cache import compilation_cache

    jax.config.update("jax_compilation_cache_dir", folder)
    compilation_cache.reset_cache()


def looked_up(table: np.ndarray) -> Model:
    """Decays with an efficiency that is read off a captured table."""
    grid = np.linspace(0.0, 5.0, len(table))

    def logpdf(params: Any, t: Any) -> Any:
        return jnp.sum(-t / params[0] - jnp.log(params[0]) + jnp.log(jnp.interp(t, grid, table)))

    def throw(key: Any, params: Any) -> Any:
        return params[0] * jax.random.exponential(key, (100,))

    return toymill.define_model({"tau": toymill.Parameter(1.0, (0.1, 10.0))}, poi="tau", logpdf=logpdf, throw=throw)


def precision(toys: int) -> None:
    """Part f: t = 2 (nll(1) - nll(τ̂)) of exponential decays, in float32 and float64, against its closed form."""
    rng = np.random.default_rng(2)

    def nll(tau: Any, t: Any) -> Any:
        return jnp.sum(t / tau + jnp.log(tau))

    ratio = jax.jit(lambda t, best: 2 * (nll(jnp.ones((), t.dtype), t) - nll(best, t)))
    errors: dict[str, list[float]] = {"float32": [], "float64": []}
    truth, values = [], []
    for _ in range(toys):
        t = rng.exponential(1.0, EVENTS).astype(np.float32)
        best = np.float32(np.mean(t, dtype=np.float64))
        mean = np.mean(t, dtype=np.longdouble)
        # At τ = best, rounded to float32 for both: t = 2 n (mean - mean/best - log best).
        exact = float(2 * EVENTS * (mean - mean / np.longdouble(best) - np.log(np.longdouble(best))))
        truth.append(exact)
        values.append(float(jnp.sum(t / best + jnp.log(best))))
        for kind in errors:
            errors[kind].append(float(ratio(t.astype(kind), best.astype(kind))) - exact)
    add("f", f"nll of {EVENTS:,} decays", "", values)
    add("f", "t, exact", "", truth)
    for kind, found in errors.items():
        add("f", f"error of t in {kind}, rms", "", float(np.sqrt(np.mean(np.square(found)))))
        add("f", f"error of t in {kind}, largest", "", float(np.max(np.abs(found))))
    add("f", "spacing of float32 numbers at 10⁶", "", float(np.spacing(np.float32(1e6))))


def main() -> None:
    """Measure every part and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/jax_basics.json"))
    parser.add_argument("--child", choices=MODELS, help=argparse.SUPPRESS)
    parser.add_argument("--cache", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if options.child:
        child(options.child, options.cache)
        return
    _cache(None)  # first calls compile here; new_process tells what the cache saves
    listen()
    about = {
        **described(toymill, jax, np),
    }
    print(json.dumps(about, indent=1))
    first_and_later(options.repeats)
    new_process(options.repeats)
    shapes(options.repeats)
    loops(options.repeats)
    captured(options.repeats)
    precision(20)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(about | {"rows": ROWS}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
