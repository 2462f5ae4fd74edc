"""Value, gradient and exact Hessian of an image's likelihood: time and memory of toymill's ways and of its peers.

An image of size x size pixels, a Gaussian blob of 6 parameters under Cauchy noise, at the truth. Each way runs in a
process of its own, so that its peak memory is its own. See benchmarks/README.md.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from machine import described

from toymill.job import prepare

TRUTH = np.array([0.0, 0.0, 1.0, 0.5, 0.0, 0.0])
SCALE = 0.5
PLAIN = "jit(jacfwd(jacrev))"
NUMPY_SIZE = 300  # numdifftools with NumPy takes minutes on the whole image: its time is scaled by the pixels
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


class Peer(NamedTuple):
    """A way to a Hessian: ``make(size, data)`` gives a function without arguments that evaluates it."""

    make: Callable[[int, np.ndarray], Callable[[], object]]
    cores: int = len(CORES)
    slow: bool = False  # run once, not as often as asked for
    numpy_only: bool = False  # on a smaller image


def plain(size: int, data: np.ndarray) -> Callable[[], object]:
    """The whole image at once, forward over reverse."""
    import jax

    hessian = jax.jit(jax.jacfwd(jax.jacrev(whole_nll(size, data))))
    return lambda: hessian(TRUTH)


def whole_nll(size: int, data: np.ndarray) -> Callable[[np.ndarray], object]:
    """The nll of all rows at once."""
    import jax
    import jax.numpy as jnp

    from toymill.models.gauss2d import cauchy_terms

    terms, image = jax.vmap(cauchy_terms(size, SCALE), (None, 0, 0)), jnp.asarray(data)
    return lambda params: -jnp.sum(terms(params, image, np.arange(size)))


def scan(size: int, data: np.ndarray) -> Callable[[], object]:
    """toymill's derivatives by JAX, traced as one program."""
    import jax

    from toymill.models import gauss2d, sums

    image, compiled = jax.numpy.asarray(data), jax.jit(sums.derivatives, static_argnums=0)
    return lambda: compiled(gauss2d.cauchy_terms(size, SCALE), TRUTH, image)[2]


def parallel(size: int, data: np.ndarray) -> Callable[[], object]:
    """toymill's derivatives by JAX, rows in parts."""
    from toymill.models import gauss2d, sums

    return lambda: sums.parallel_derivatives(gauss2d.cauchy_terms(size, SCALE), TRUTH, data)[2]


def closed(size: int, data: np.ndarray) -> Callable[[], object]:
    """toymill's closed form, rows in parts."""
    from toymill.models import gauss2d, sums

    return lambda: sums.parallel_derivatives(gauss2d.cauchy_derivatives(size, SCALE), TRUTH, data)[2]


def differences(size: int, data: np.ndarray) -> Callable[[], object]:
    """numdifftools with the nll compiled by JAX."""
    import jax
    import numdifftools

    nll = jax.jit(whole_nll(size, data))
    hessian = numdifftools.Hessian(lambda params: float(nll(params)))
    return lambda: hessian(TRUTH)


def numpy_differences(size: int, data: np.ndarray) -> Callable[[], object]:
    """numdifftools with the nll in NumPy."""
    import numdifftools

    grid = np.linspace(-2, 2, size)

    def nll(params: np.ndarray) -> float:
        x0, y0, amp, sigma, rho, delta = params
        dx, dy = grid - x0, (grid - y0)[:, None]
        form = dx**2 + dy**2 + rho * dx * dy + delta * (dx**2 - dy**2)
        z = (data - amp * np.exp(-0.5 / sigma**2 * form)) / SCALE
        return np.sum(np.log1p(z * z)) + data.size * np.log(np.pi * SCALE)

    hessian = numdifftools.Hessian(nll)
    return lambda: hessian(TRUTH)


PEERS = {
    PLAIN: Peer(plain),
    PLAIN + ", one core": Peer(plain, cores=1),
    "derivatives, one core": Peer(scan, cores=1),
    "parallel_derivatives": Peer(parallel),
    "closed form, one core": Peer(closed, cores=1),
    "closed form": Peer(closed),
    "numdifftools, jitted nll": Peer(differences, slow=True),
    "numdifftools, NumPy nll": Peer(numpy_differences, cores=1, slow=True, numpy_only=True),
}


def measured(name: str, size: int, repeats: int) -> dict[str, object]:
    """Seconds and memory of one peer, in this process."""
    peer = PEERS[name]
    pixels = min(size, NUMPY_SIZE) if peer.numpy_only else size
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(CORES[: peer.cores]))
    prepare(peer.cores)
    import jax

    jax.config.update("jax_enable_compilation_cache", False)  # the first call compiles
    data = noisy_image(pixels)
    before = peak_mb()
    scale = (size / pixels) ** 2
    begin = time.perf_counter()
    evaluate = peer.make(pixels, data)
    hessian = np.asarray(evaluate())
    first = time.perf_counter() - begin
    seconds = []
    for _ in range(1 if peer.slow else repeats):
        begin = time.perf_counter()
        np.asarray(evaluate())
        seconds.append(time.perf_counter() - begin)
    used = [sys.modules[module] for module in ("toymill", "jax", "numpy", "numdifftools") if module in sys.modules]
    return {
        "cores": peer.cores,
        "pixels": pixels**2,
        "first_call_s": first * scale,
        "median_s": statistics.median(seconds) * scale,
        "min_s": min(seconds) * scale,
        "max_s": max(seconds) * scale,
        "rss_before_mb": before,
        "rss_peak_mb": peak_mb(),
        "hessian": hessian.tolist(),
        "versions": {module.__name__: module.__version__ for module in used},
    }


def noisy_image(size: int) -> np.ndarray:
    """The image at the truth with noise of a fixed seed, made in place: the memory is that of one image."""
    data = np.random.default_rng(1).standard_cauchy((size, size))
    data *= SCALE
    grid = np.linspace(-2, 2, size)
    for row, y in zip(data, grid, strict=True):
        row += np.exp(-2 * (grid**2 + y**2))
    return data


def peak_mb() -> float:
    """Largest resident set of this process until now, in MB (10^6 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def main() -> None:
    """Run every peer in its own process and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=3000, help="pixels along each axis")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--peer", choices=PEERS, help="run this one alone, and print what it took as JSON")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/hessian.json"))
    options = parser.parse_args()
    if options.peer:
        print(json.dumps(measured(options.peer, options.size, options.repeats)))
        return
    results: dict[str, object] = {
        **described(),
        "cores": len(CORES),
        "size": options.size,
        "versions": {},
    }
    table: dict[str, dict] = {}
    print(f"{results['processor']}, {results['cores']} cores, {options.size} x {options.size} pixels")
    print(
        f"{'':30}{'cores':>6}{'first call':>12}{'median':>12}{'ratio':>8}{'RSS before':>12}{'peak':>10}{'difference':>12}"
    )
    for peer in PEERS:
        command = [sys.executable, __file__, "--peer", peer, "--size", str(options.size)]
        done = subprocess.run(
            [*command, "--repeats", str(options.repeats)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            why = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
            print(f"{peer:30}left out: {why}")
            continue
        row = json.loads(done.stdout.splitlines()[-1])
        results["versions"] |= row.pop("versions")
        hessian, plain = np.array(row["hessian"]), np.array(table.get(PLAIN, row)["hessian"])
        scale = np.sqrt(np.diag(plain))
        difference = np.max(np.abs(hessian - plain) / np.outer(scale, scale))
        row["difference"] = None if row["pixels"] != options.size**2 else difference
        row["ratio"] = table.get(PLAIN, row)["median_s"] / row["median_s"]
        table[peer] = row
        last = "" if row["difference"] is None else f"{difference:.1e}"
        scaled = "" if row["pixels"] == options.size**2 else f" (run on {row['pixels']} pixels, time scaled)"
        print(
            f"{peer:30}{row['cores']:>6}{row['first_call_s']:>10.2f} s{row['median_s'] * 1e3:>9.0f} ms"
            f"{row['ratio']:>8.3g}{row['rss_before_mb']:>9.0f} MB{row['rss_peak_mb']:>7.0f} MB{last:>12}{scaled}"
        )
    results["peers"] = table
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
